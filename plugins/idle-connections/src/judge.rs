//! Decides which connections have been idle for too long, by what the server tells of them alone.
//!
//! Asks nobody and ends nothing. What the host never ends (itself, superusers, replication, backup tools) is told as kept
//! with each connection; what the operator keeps is added here.

use std::cmp::Reverse;

use sereno_plugin::{Connection, Context, Instant, text};

use crate::{Params, States};

/// What is to become of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is idle for too long.
    End(Idle),
    /// It would be ended, and is not for this reason.
    Keep(Idle, String),
    /// It is not idle, not for long, or not meant.
    Leave,
}

/// How a connection is idle. The worst comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Idle {
    /// How many wait for what it holds.
    blocks: Reverse<usize>,
    /// A failed transaction can only be rolled back, an open one may still be wanted.
    state: States,
    since: Instant,
}

/// Judges one of `all`.
pub(crate) fn judge(
    connection: &Connection,
    all: &[Connection],
    params: &Params,
    context: &Context,
) -> Verdict {
    let Some(state) = state(connection).filter(|state| params.states.contains(state)) else {
        return Verdict::Leave;
    };
    let over = match state {
        States::Aborted => params.aborted_over,
        States::InTransaction => params.in_transaction_over,
        States::Idle => params.idle_over,
    };
    let Some(since) = connection.state_changed else {
        return Verdict::Leave;
    };
    let is_meant = (params.users.is_empty() || text::is_among(&params.users, &connection.user))
        && (params.applications.is_empty() || text::is_among(&params.applications, &connection.application));
    if !is_meant || since > context.cutoff(over) {
        return Verdict::Leave;
    }
    let blocks = all
        .iter()
        .filter(|other| other.blocked_by.contains(&connection.pid))
        .count();
    let idle = Idle {
        blocks: Reverse(blocks),
        state,
        since,
    };
    match kept(connection, params) {
        Some(why) => Verdict::Keep(idle, why),
        None => Verdict::End(idle),
    }
}

fn state(connection: &Connection) -> Option<States> {
    match connection.state.as_deref()? {
        "idle in transaction (aborted)" => Some(States::Aborted),
        "idle in transaction" => Some(States::InTransaction),
        "idle" => Some(States::Idle),
        _ => None,
    }
}

fn kept(connection: &Connection, params: &Params) -> Option<String> {
    let listed = |list: &[String], name: &str, param: &str| {
        text::is_among(list, name).then(|| format!("in `{param}`"))
    };
    connection
        .kept
        .clone()
        .or_else(|| listed(&params.keep_users, &connection.user, "keep_users"))
        .or_else(|| {
            listed(
                &params.keep_applications,
                &connection.application,
                "keep_applications",
            )
        })
        .or_else(|| listed(&params.keep_clients, &connection.client, "keep_clients"))
}

impl Idle {
    /// `idle in a transaction for 15 min, and 2 connections wait for it`.
    pub(crate) fn words(&self, now: Instant) -> String {
        let state = match self.state {
            States::Aborted => "idle in a transaction that failed",
            States::InTransaction => "idle in an open transaction",
            States::Idle => "idle",
        };
        let blocks = match self.blocks.0 {
            0 => String::new(),
            1 => ", and 1 connection waits for it".to_owned(),
            many => format!(", and {} connections wait for it", text::count(many as u64)),
        };
        format!("{state} for {}{blocks}", text::about(now.since(self.since)))
    }
}

/// `process 4711 (app from 10.0.0.7, "worker")`.
pub(crate) fn who(connection: &Connection) -> String {
    let application = match connection.application.as_str() {
        "" => String::new(),
        name => format!(", {name:?}"),
    };
    format!(
        "process {} ({} from {}{application})",
        connection.pid, connection.user, connection.client
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use sereno_plugin::testing::{at, context, hours};

    use super::*;

    pub(crate) fn params() -> Params {
        Params {
            aborted_over: Duration::from_secs(60),
            applications: Vec::new(),
            at_most: 5,
            database: "app".to_owned(),
            idle_over: hours(8),
            in_transaction_over: Duration::from_secs(600),
            keep_applications: vec!["pgbouncer*".to_owned()],
            keep_clients: Vec::new(),
            keep_users: Vec::new(),
            states: vec![States::Aborted, States::InTransaction],
            used_over: 0.0,
            users: Vec::new(),
        }
    }

    pub(crate) fn now() -> Instant {
        at("2026-11-24 02:30")
    }

    /// A connection that has been in `state` for so many seconds.
    pub(crate) fn connection(pid: i64, state: &str, seconds: u64) -> Connection {
        Connection {
            pid,
            started: now() - hours(24),
            user: "app".to_owned(),
            application: "web".to_owned(),
            client: "10.0.0.7".to_owned(),
            state: Some(state.to_owned()),
            state_changed: Some(now() - Duration::from_secs(seconds)),
            transaction_started: None,
            query_started: None,
            query_kind: None,
            waits_for: None,
            blocked_by: Vec::new(),
            kept: None,
        }
    }

    fn ends(connection: &Connection, params: &Params) -> bool {
        matches!(judge(connection, &[], params, &context(now())), Verdict::End(_))
    }

    #[test]
    fn each_state_has_its_own_time_and_only_what_is_named_is_judged() {
        for (state, seconds, expected) in [
            ("idle in transaction (aborted)", 59, false),
            ("idle in transaction (aborted)", 60, true),
            ("idle in transaction", 599, false),
            ("idle in transaction", 600, true),
            ("idle", 1_000_000, false),
            ("active", 1_000_000, false),
            ("fastpath function call", 1_000_000, false),
        ] {
            let ends = ends(&connection(1, state, seconds), &params());
            assert_eq!(ends, expected, "{state} {seconds}");
        }
        let plain = Params {
            states: vec![States::Idle],
            ..params()
        };
        assert!(!ends(&connection(1, "idle", 28_799), &plain));
        assert!(ends(&connection(1, "idle", 28_800), &plain));
        assert!(!ends(&connection(1, "idle in transaction", 28_800), &plain));
        let unseen = Connection {
            state: None,
            state_changed: None,
            ..connection(1, "", 0)
        };
        assert!(!ends(&unseen, &params()));
    }

    #[test]
    fn lists_of_names_narrow_and_lists_of_the_kept_win() {
        let mut params = Params {
            users: vec!["APP*".to_owned()],
            applications: vec!["web".to_owned()],
            ..params()
        };
        let found = connection(1, "idle in transaction", 900);
        assert!(ends(&found, &params));
        let of = |user: &str, application: &str| Connection {
            user: user.to_owned(),
            application: application.to_owned(),
            ..found.clone()
        };
        assert!(ends(&of("app_two", "web"), &params));
        assert!(!ends(&of("other", "web"), &params), "neither of these users");
        assert!(!ends(&of("app", "web2"), &params), "no star");
        let why = |params: &Params, connection: &Connection| match judge(
            connection,
            &[],
            params,
            &context(now()),
        ) {
            Verdict::Keep(_, why) => why,
            other => panic!("{other:?}"),
        };
        params.applications.clear();
        assert_eq!(why(&params, &of("app", "PgBouncer 1")), "in `keep_applications`");
        params.keep_clients.push("10.0.0.7".to_owned());
        assert_eq!(why(&params, &found), "in `keep_clients`");
        params.keep_users.push("app".to_owned());
        assert_eq!(why(&params, &found), "in `keep_users`");
        let host_keeps = Connection {
            kept: Some("a superuser".to_owned()),
            ..found
        };
        assert_eq!(why(&params, &host_keeps), "a superuser");
    }

    #[test]
    fn who_blocks_most_comes_first_then_the_failed_then_the_oldest() {
        let mut all: Vec<_> = [
            (1, "idle in transaction", 700),
            (2, "idle in transaction (aborted)", 70),
            (3, "idle in transaction", 900),
            (4, "idle in transaction", 650),
            (5, "active", 5),
            (6, "active", 5),
        ]
        .map(|(pid, state, seconds)| connection(pid, state, seconds))
        .into();
        all[4].blocked_by = vec![4];
        all[5].blocked_by = vec![4, 5];
        let mut order: Vec<_> = all
            .iter()
            .filter_map(|one| match judge(one, &all, &params(), &context(now())) {
                Verdict::End(idle) => Some((idle, one.pid)),
                _ => None,
            })
            .collect();
        order.sort();
        let pids: Vec<_> = order.iter().map(|(_, pid)| *pid).collect();
        assert_eq!(pids, [4, 2, 3, 1]);
        assert_eq!(
            order[0].0.words(now()),
            "idle in an open transaction for 10 min, and 2 connections wait for it"
        );
        assert_eq!(
            order[1].0.words(now()),
            "idle in a transaction that failed for 70 s"
        );
        assert_eq!(who(&all[0]), "process 1 (app from 10.0.0.7, \"web\")");
    }

    #[test]
    fn times_are_told_in_a_unit_of_which_there_are_two() {
        let shown =
            [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(|s| text::about(Duration::from_secs(s)));
        assert_eq!(
            shown,
            ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]
        );
    }
}
