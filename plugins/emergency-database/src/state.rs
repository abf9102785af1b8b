//! How the database stands at one moment: what is above its target, and who is in the way, the worst first.
//!
//! It asks nobody and ends nobody. What the host never ends is told as kept with each connection.

use std::time::Duration;

use sereno_plugin::{Activity, Connection, DatabaseStatistics, Instant, TableStatistics, text};

use crate::Params;

/// Fewer dead rows than this are no emergency, whatever share of a small table they are.
const DEAD_ROWS_MIN: u64 = 1_000;

/// What was looked at.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Instant,
    pub(crate) statistics: DatabaseStatistics,
    pub(crate) connections: Vec<Connection>,
    pub(crate) activities: Vec<Activity>,
}

impl State {
    /// The share of the server's connections that is taken, in percent.
    pub(crate) fn used_percent(&self) -> Option<f64> {
        let (used, limit) = self
            .statistics
            .connections
            .zip(self.statistics.connections_limit)?;
        (limit > 0).then(|| used as f64 * 100.0 / limit as f64)
    }

    pub(crate) fn is_full(&self, params: &Params) -> bool {
        self.used_percent()
            .is_some_and(|used| used >= params.connections_under)
    }

    fn age(&self, since: Option<Instant>) -> Duration {
        since.map_or(Duration::ZERO, |since| self.now.since(since))
    }

    /// The connection whose transaction is open for the longest.
    pub(crate) fn oldest(&self) -> Option<(&Connection, Duration)> {
        let open = self
            .connections
            .iter()
            .filter(|one| one.transaction_started.is_some());
        open.map(|one| (one, self.age(one.transaction_started)))
            .max_by_key(|(_, age)| *age)
    }

    pub(crate) fn has_old_transaction(&self, params: &Params) -> bool {
        self.oldest()
            .is_some_and(|(_, age)| age >= params.oldest_transaction_under)
    }

    /// Those that have waited for others for too long.
    pub(crate) fn waiting(&self, params: &Params) -> Vec<&Connection> {
        let waits = |one: &&Connection| {
            !one.blocked_by.is_empty() && self.age(one.query_started) >= params.blocked_under
        };
        self.connections.iter().filter(waits).collect()
    }

    /// How many wait for this one, for long or not.
    pub(crate) fn blocks(&self, connection: &Connection) -> usize {
        let waits = |one: &&Connection| one.blocked_by.contains(&connection.pid);
        self.connections.iter().filter(waits).count()
    }

    /// Whether anything that ending connections brings down is above its target.
    pub(crate) fn is_above(&self, params: &Params) -> bool {
        self.is_full(params) || self.has_old_transaction(params) || !self.waiting(params).is_empty()
    }

    /// Step 1: idle in a transaction, those that others wait for first, then failed transactions, then the oldest.
    pub(crate) fn idle_in_transaction(&self, params: &Params) -> Vec<&Connection> {
        let mut found = self.those(params, |one, state| {
            state.starts_with("idle in transaction")
                && self.age(one.state_changed) >= params.idle_in_transaction_over
        });
        found.sort_by_key(|one| {
            let is_open = one.state.as_deref() == Some("idle in transaction");
            (
                std::cmp::Reverse(self.blocks(one)),
                is_open,
                one.state_changed,
                one.pid,
            )
        });
        found
    }

    /// Step 2: at work for long, and others have waited for it for too long.
    pub(crate) fn blockers_at_work(&self, params: &Params) -> Vec<&Connection> {
        let Some(over) = params.cancel_over else {
            return Vec::new();
        };
        let waiting = self.waiting(params);
        let mut found = self.those(params, |one, state| {
            state == "active"
                && self.age(one.query_started) >= over
                && waiting.iter().any(|other| other.blocked_by.contains(&one.pid))
        });
        found.sort_by_key(|one| (std::cmp::Reverse(self.blocks(one)), one.query_started, one.pid));
        found
    }

    /// Step 3: plainly idle, by name alone.
    pub(crate) fn idle(&self, params: &Params) -> Vec<&Connection> {
        let mut found = self.those(params, |one, state| {
            state == "idle"
                && (text::is_among(&params.idle_users, &one.user)
                    || text::is_among(&params.idle_applications, &one.application))
        });
        found.sort_by_key(|one| (one.state_changed, one.pid));
        found
    }

    fn those(&self, params: &Params, is_meant: impl Fn(&Connection, &str) -> bool) -> Vec<&Connection> {
        let may_go = |one: &&Connection| {
            one.kept.is_none()
                && !text::is_among(&params.keep_users, &one.user)
                && !text::is_among(&params.keep_applications, &one.application)
                && !text::is_among(&params.keep_clients, &one.client)
        };
        let meant = |one: &&Connection| one.state.as_deref().is_some_and(|state| is_meant(one, state));
        self.connections.iter().filter(may_go).filter(meant).collect()
    }

    /// Who keeps dead rows from being removed, for longer than a transaction may be open.
    pub(crate) fn horizon(&self, params: &Params) -> Option<&Activity> {
        let holds = |one: &&Activity| {
            one.kind == "horizon"
                && self.age(one.since) >= params.oldest_transaction_under
                && one.since.is_some()
        };
        self.activities.iter().filter(holds).min_by_key(|one| one.since)
    }

    /// Whether this kind of work is under way on the table.
    pub(crate) fn is_under_way(&self, kind: &str, table: &str) -> bool {
        self.activities.iter().any(|one| {
            let of = one
                .what
                .split(" of ")
                .nth(1)
                .and_then(|rest| rest.split(',').next());
            let of = of.unwrap_or_default().replace('"', "");
            one.kind == kind && (of == table || of.strip_prefix("public.") == Some(table))
        })
    }

    /// `process 4711 (app from 10.0.0.7, "worker"), UPDATE, open for 12 min`.
    pub(crate) fn words(&self, connection: &Connection) -> String {
        let application = match connection.application.as_str() {
            "" => String::new(),
            name => format!(", {name:?}"),
        };
        let state = connection
            .state
            .as_deref()
            .unwrap_or("in a state that the host's role may not see");
        let open = match connection.transaction_started {
            Some(_) => format!(
                ", its transaction open for {}",
                text::about(self.age(connection.transaction_started))
            ),
            None => format!(" for {}", text::about(self.age(connection.state_changed))),
        };
        format!(
            "process {} ({} from {}{application}), {state}{open}",
            connection.pid, connection.user, connection.client
        )
    }
}

/// The share of a table's rows that is dead, in percent, when there are enough to matter.
pub(crate) fn dead_percent(table: &TableStatistics) -> Option<f64> {
    let dead = table
        .dead_rows_estimate
        .filter(|dead| *dead >= DEAD_ROWS_MIN && !table.partitioned)?;
    let rows = table.rows_estimate.unwrap_or(0).saturating_add(dead);
    Some(dead as f64 * 100.0 / rows as f64)
}

#[cfg(test)]
pub(crate) mod tests {
    use sereno_plugin::testing::{at, days};

    use super::*;

    pub(crate) fn now() -> Instant {
        at("2026-11-24 02:30")
    }

    pub(crate) fn ago(seconds: u64) -> Instant {
        now() - Duration::from_secs(seconds)
    }

    pub(crate) fn params() -> Params {
        Params {
            analyzed_within: days(7),
            blocked_under: Duration::from_secs(60),
            cancel_over: None,
            connections_at_most: 10,
            connections_under: 80.0,
            database: "app".to_owned(),
            dead_under: 20.0,
            full_table: None,
            idle_applications: Vec::new(),
            idle_in_transaction_over: Duration::from_secs(60),
            idle_users: Vec::new(),
            keep_applications: vec!["pgbouncer*".to_owned()],
            keep_clients: Vec::new(),
            keep_users: Vec::new(),
            oldest_transaction_under: Duration::from_secs(600),
            tables_at_most: 2,
            time_per_table: Duration::from_secs(600),
        }
    }

    /// A connection that has been in `state` for so many seconds, with its transaction and its statement.
    pub(crate) fn connection(pid: i64, state: &str, seconds: u64, blocked_by: &[i64]) -> Connection {
        Connection {
            pid,
            started: now() - days(1),
            user: "app".to_owned(),
            application: "web".to_owned(),
            client: "local".to_owned(),
            state: Some(state.to_owned()),
            state_changed: Some(ago(seconds)),
            transaction_started: (state != "idle").then(|| ago(seconds)),
            query_started: Some(ago(seconds)),
            query_kind: None,
            waits_for: None,
            blocked_by: blocked_by.to_vec(),
            kept: None,
        }
    }

    fn state(connections: Vec<Connection>) -> State {
        State {
            now: now(),
            statistics: DatabaseStatistics {
                connections: Some(50),
                connections_limit: Some(100),
                ..DatabaseStatistics::default()
            },
            connections,
            activities: Vec::new(),
        }
    }

    fn pids(found: &[&Connection]) -> Vec<i64> {
        found.iter().map(|one| one.pid).collect()
    }

    #[test]
    fn each_target_is_reached_exactly_at_its_value() {
        let mut calm = state(vec![
            connection(1, "active", 599, &[]),
            connection(2, "active", 59, &[1]),
        ]);
        assert!(!calm.is_above(&params()));
        calm.statistics.connections = Some(80);
        assert!(calm.is_full(&params()) && calm.is_above(&params()));
        let old = state(vec![connection(1, "active", 600, &[])]);
        assert!(old.has_old_transaction(&params()) && old.is_above(&params()));
        let blocked = state(vec![connection(2, "active", 60, &[1])]);
        assert_eq!(pids(&blocked.waiting(&params())), [2]);
        assert!(
            !state(vec![connection(1, "idle", 9_999, &[])]).is_above(&params()),
            "no transaction"
        );
    }

    #[test]
    fn the_worst_come_first_and_the_kept_never() {
        let mut found = state(vec![
            connection(1, "idle in transaction", 900, &[]),
            connection(2, "idle in transaction (aborted)", 70, &[]),
            connection(3, "idle in transaction", 100, &[]),
            connection(4, "active", 20, &[3]),
            connection(5, "idle in transaction", 59, &[]),
            connection(6, "idle in transaction", 900, &[]),
            connection(7, "idle in transaction", 900, &[]),
        ]);
        found.connections[5].kept = Some("a superuser".to_owned());
        found.connections[6].application = "PgBouncer".to_owned();
        assert_eq!(pids(&found.idle_in_transaction(&params())), [3, 2, 1]);
        assert_eq!(
            found.words(&found.connections[0]),
            "process 1 (app from local, \"web\"), idle in transaction, its transaction open for 15 min"
        );
    }

    #[test]
    fn statements_are_cancelled_and_idle_ones_ended_only_when_asked_for() {
        let mut params = params();
        let found = state(vec![
            connection(1, "active", 400, &[]),
            connection(2, "active", 90, &[1]),
            connection(3, "active", 400, &[]),
            connection(4, "idle", 5, &[]),
        ]);
        assert!(found.blockers_at_work(&params).is_empty() && found.idle(&params).is_empty());
        params.cancel_over = Some(Duration::from_secs(300));
        assert_eq!(pids(&found.blockers_at_work(&params)), [1]);
        params.idle_applications.push("w*".to_owned());
        assert_eq!(pids(&found.idle(&params)), [4]);
    }

    #[test]
    fn who_holds_the_horizon_and_what_is_under_way_is_seen() {
        let mut found = state(Vec::new());
        let activity = |kind: &str, what: &str, since| Activity {
            kind: kind.to_owned(),
            what: what.to_owned(),
            since,
            ..Activity::default()
        };
        found.activities = vec![
            activity("horizon", "the transaction of process 1", Some(ago(599))),
            activity("horizon", "the prepared transaction x", Some(ago(700))),
            activity("vacuum", "vacuum of public.orders, scanning heap", None),
        ];
        assert_eq!(
            found.horizon(&params()).map(|one| &*one.what),
            Some("the prepared transaction x")
        );
        assert!(found.is_under_way("vacuum", "orders") && !found.is_under_way("vacuum", "order"));
        let table = |rows, dead| TableStatistics {
            rows_estimate: Some(rows),
            dead_rows_estimate: Some(dead),
            ..TableStatistics::default()
        };
        assert_eq!(dead_percent(&table(3_000, 1_000)), Some(25.0));
        assert_eq!(dead_percent(&table(0, 999)), None, "few");
    }
}
