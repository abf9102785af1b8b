//! The demo's world as pure data: which files and rows there are, which of them must go, and which must stay.
//!
//! Everything follows from one time, so that what a job did can be held against what it had to do, one by one. Nothing
//! is written here, and nothing lies within an hour of a cutoff.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::Value as Json;
use sereno_core::value::Instant;

/// No age comes nearer to a cutoff than this.
const CLEARANCE: TimeDelta = TimeDelta::hours(2);

/// Rows sent to a database at once: large enough to be quick, small enough to stay out of the way.
pub(super) const CHUNK_ROWS: i64 = 5_000;

/// The jobs in the order that the tour takes, with what each is shown for.
pub(super) const JOBS: [(&str, &str); 7] = [
    (
        "capacity-check",
        "measure first: disks, files, tables, active sessions",
    ),
    (
        "temp-files",
        "temporary files that nothing has written to for a day",
    ),
    ("logs", "rotated logs: compressed, and kept for 30 days"),
    ("expired-sessions", "sessions that nobody has used for 7 days"),
    ("sent-notifications", "notifications sent more than 30 days ago"),
    ("audit-logs", "audit entries older than 90 days"),
    (
        "table-upkeep",
        "give back the room, and refresh what the planner knows",
    ),
];

/// A table of the plan's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Tenants,
    UserSessions,
    Notifications,
    AuditLogs,
    TenantInvoices,
    TenantPayments,
    TenantSubscriptions,
}

impl Table {
    /// All of them; those that others point at come first.
    pub(super) const ALL: [Self; 7] = [
        Self::Tenants,
        Self::UserSessions,
        Self::Notifications,
        Self::AuditLogs,
        Self::TenantInvoices,
        Self::TenantPayments,
        Self::TenantSubscriptions,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::UserSessions => "user_sessions",
            Self::Notifications => "notifications",
            Self::AuditLogs => "audit_logs",
            Self::TenantInvoices => "tenant_invoices",
            Self::TenantPayments => "tenant_payments",
            Self::TenantSubscriptions => "tenant_subscriptions",
        }
    }

    fn rows(self) -> i64 {
        match self {
            Self::Tenants | Self::TenantSubscriptions => TENANTS,
            Self::UserSessions => 60_000,
            Self::Notifications => 80_000,
            Self::AuditLogs => 120_000,
            Self::TenantInvoices => 30_000,
            Self::TenantPayments => 20_000,
        }
    }

    /// How long its rows are kept, and how many of a thousand have been kept longer. None: for ever.
    fn retention(self) -> Option<(TimeDelta, u64)> {
        match self {
            Self::UserSessions => Some((TimeDelta::days(7), 80)),
            // Of the old ones only those that were sent may go.
            Self::Notifications => Some((TimeDelta::days(30), 160)),
            Self::AuditLogs => Some((TimeDelta::days(90), 120)),
            Self::Tenants | Self::TenantInvoices | Self::TenantPayments | Self::TenantSubscriptions => None,
        }
    }
}

const TENANTS: i64 = 40;

/// The states of notifications with how many of ten have each.
const STATUSES: [(&str, u64); 4] = [("sent", 7), ("pending", 1), ("failed", 1), ("cancelled", 1)];

/// How a database wants its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// `2026-11-24 02:30:00`, as SQLite's own functions write them.
    Text,
    /// With the zone.
    Rfc3339,
}

/// A file to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Below the demo's folder.
    pub(super) path: String,
    pub(super) bytes: usize,
    pub(super) written: Instant,
    pub(super) fate: Fate,
}

/// What the jobs must do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// A compressed copy takes its place.
    IsCompressed,
    Goes,
}

impl File {
    /// The path at which it must be found afterwards; none: it must be gone.
    pub(super) fn afterwards(&self) -> Option<String> {
        match self.fate {
            Fate::Stays => Some(self.path.clone()),
            Fate::IsCompressed => Some(format!("{}.gz", self.path)),
            Fate::Goes => None,
        }
    }
}

/// The world at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    at: Instant,
}

impl World {
    pub(super) fn new(at: Instant) -> Self {
        Self { at }
    }

    /// Every file. Directories that only hold files that must go, must go too.
    pub(super) fn files(&self) -> Vec<File> {
        const TEMP_KEPT: TimeDelta = TimeDelta::hours(24);
        const LOGS_KEPT: TimeDelta = TimeDelta::days(30);
        let file = |path: String, draw: u64, age: TimeDelta, fate: Fate| File {
            bytes: 200 + usize::try_from(draw % 6_000).unwrap_or_default(),
            written: self.at - age,
            path,
            fate,
        };
        let by_age = |is_old: bool| if is_old { Fate::Goes } else { Fate::Stays };
        let mut files = Vec::new();
        for number in 0..400_u64 {
            let (folder, extension) = match number % 4 {
                0 => ("uploads", "part"),
                1 => ("previews", "png"),
                2 => ("exports", "csv"),
                _ => ("", "tmp"),
            };
            let draw = mix(1, number);
            let is_old = draw % 10 < 7;
            let age = age(draw, is_old, TEMP_KEPT, TimeDelta::days(20));
            let separator = if folder.is_empty() { "" } else { "/" };
            files.push(file(
                format!("temp/{folder}{separator}{number:04}.{extension}"),
                draw,
                age,
                by_age(is_old),
            ));
        }
        for number in 0..12_u64 {
            let draw = mix(2, number);
            let age = age(draw, true, TEMP_KEPT, TimeDelta::days(20));
            files.push(file(
                format!("temp/import-of-last-week/{number:02}.json"),
                draw,
                age,
                Fate::Goes,
            ));
        }
        for log in ["app", "access"] {
            files.push(file(
                format!("logs/{log}.log"),
                mix(3, 0),
                TimeDelta::minutes(3),
                Fate::Stays,
            ));
            for day in 1..=60_i64 {
                let age = TimeDelta::days(day) - TimeDelta::hours(12);
                files.push(file(
                    format!("logs/{log}.log.{day}"),
                    mix(4, day.unsigned_abs()),
                    age,
                    if age > LOGS_KEPT {
                        Fate::Goes
                    } else {
                        Fate::IsCompressed
                    },
                ));
            }
        }
        // Old, but nobody asked for it to go.
        files.push(file(
            "logs/how-to-read-these.txt".to_owned(),
            mix(5, 0),
            TimeDelta::days(400),
            Fate::Stays,
        ));
        files
    }

    /// The ids of a table.
    pub(super) fn ids(table: Table) -> std::ops::RangeInclusive<i64> {
        1..=table.rows()
    }

    /// Whether the jobs must take this row away.
    pub(super) fn must_go(table: Table, id: i64) -> bool {
        is_old(table, id) && (table != Table::Notifications || status(id) == "sent")
    }

    /// The ids that must be left in a table.
    pub(super) fn must_stay(table: Table) -> BTreeSet<i64> {
        Self::ids(table).filter(|id| !Self::must_go(table, *id)).collect()
    }

    /// A row, its values in the order of the table's columns.
    fn row(&self, table: Table, id: i64, times: Times) -> Vec<Json> {
        let draw = draw(table, id);
        let time = |at: Instant| {
            Json::from(match times {
                Times::Text => at.format("%Y-%m-%d %H:%M:%S").to_string(),
                Times::Rfc3339 => at.to_rfc3339(),
            })
        };
        let tenant = Json::from(1 + i64::try_from(draw % TENANTS.unsigned_abs()).unwrap_or_default());
        let aged = || time(self.at - row_age(table, id));
        let cents = Json::from(1_000 + draw % 900_000);
        match table {
            Table::Tenants => vec![id.into(), format!("Tenant {id:02}").into(), aged()],
            Table::UserSessions => {
                vec![
                    id.into(),
                    tenant,
                    format!("chat-{draw:016x}").into(),
                    "{\"step\":\"menu\"}".into(),
                    aged(),
                ]
            }
            Table::Notifications => {
                vec![
                    id.into(),
                    tenant,
                    status(id).into(),
                    format!("Invoice {} is ready", draw % 30_000).into(),
                    aged(),
                ]
            }
            Table::AuditLogs => {
                let action = [
                    "login",
                    "invoice.created",
                    "invoice.cancelled",
                    "customer.updated",
                ];
                let action = action[usize::try_from(draw % 4).unwrap_or_default()];
                vec![
                    id.into(),
                    tenant,
                    action.into(),
                    format!("request {draw:016x}").into(),
                    aged(),
                ]
            }
            Table::TenantInvoices => vec![id.into(), tenant, format!("F-{id:06}").into(), cents, aged()],
            Table::TenantPayments => vec![id.into(), tenant, id.into(), cents, aged()],
            Table::TenantSubscriptions => vec![id.into(), id.into(), "standard".into(), aged()],
        }
    }

    /// All rows of a table as JSON lists of [`CHUNK_ROWS`] rows.
    pub(super) fn chunks(&self, table: Table, times: Times) -> impl Iterator<Item = String> {
        let world = *self;
        let last = table.rows();
        (0..)
            .map(move |chunk| chunk * CHUNK_ROWS)
            .take_while(move |start| *start < last)
            .map(move |start| {
                let rows: Vec<Vec<Json>> = (start + 1..=(start + CHUNK_ROWS).min(last))
                    .map(|id| world.row(table, id, times))
                    .collect();
                Json::from(rows).to_string()
            })
    }
}

/// A number that follows from the two, spread evenly: the finalizer of `SplitMix64`.
fn mix(stream: u64, number: u64) -> u64 {
    let mut z = number
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(stream << 56);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn draw(table: Table, id: i64) -> u64 {
    mix(16 + table as u64, id.unsigned_abs())
}

fn is_old(table: Table, id: i64) -> bool {
    table
        .retention()
        .is_some_and(|(_, share)| draw(table, id) % 1_000 < share)
}

fn status(id: i64) -> &'static str {
    // Other digits than those that say whether it is old.
    let mut place = draw(Table::Notifications, id) / 1_000_000 % 10;
    for (status, share) in STATUSES {
        if place < share {
            return status;
        }
        place -= share;
    }
    STATUSES[0].0
}

/// How long ago the row was last touched.
fn row_age(table: Table, id: i64) -> TimeDelta {
    let draw = draw(table, id) / 1_000;
    match table.retention() {
        Some((kept, _)) => age(draw, is_old(table, id), kept, TimeDelta::days(200)),
        None => TimeDelta::minutes(1) + TimeDelta::seconds(within(draw, TimeDelta::days(700))),
    }
}

/// An age beyond `kept` or within it, and never near it.
fn age(draw: u64, is_old: bool, kept: TimeDelta, span: TimeDelta) -> TimeDelta {
    if is_old {
        kept + CLEARANCE + TimeDelta::seconds(within(draw, span))
    } else {
        TimeDelta::minutes(1) + TimeDelta::seconds(within(draw, kept - CLEARANCE - CLEARANCE))
    }
}

/// Seconds less than `span`.
fn within(draw: u64, span: TimeDelta) -> i64 {
    let span = span.num_seconds().max(1);
    i64::try_from(draw % span.unsigned_abs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Instant {
        "2026-11-24T02:30:00Z".parse().expect("a time")
    }

    #[test]
    fn nothing_lies_within_an_hour_of_a_cutoff_and_every_age_is_on_its_side() {
        for table in Table::ALL {
            let Some((kept, _)) = table.retention() else {
                continue;
            };
            for id in World::ids(table) {
                let age = row_age(table, id);
                assert!((age - kept).abs() > TimeDelta::hours(1), "{} {id}", table.name());
                assert_eq!(age > kept, is_old(table, id), "{} {id}", table.name());
                assert!(age > TimeDelta::zero(), "{} {id}", table.name());
            }
        }
        for file in World::new(at()).files() {
            let kept = if file.path.starts_with("temp/") {
                TimeDelta::hours(24)
            } else {
                TimeDelta::days(30)
            };
            let age = at() - file.written;
            assert!((age - kept).abs() > TimeDelta::hours(1), "{}", file.path);
        }
    }

    #[test]
    fn every_purge_is_within_the_default_guards_and_takes_something() {
        for table in Table::ALL {
            let all = World::ids(table).count();
            let gone = World::ids(table).filter(|id| World::must_go(table, *id)).count();
            assert!(gone * 5 <= all, "{}: {gone} of {all}", table.name());
            assert_eq!(gone > 0, table.retention().is_some(), "{}", table.name());
            assert_eq!(World::must_stay(table).len(), all - gone);
        }
        let files = World::new(at()).files();
        for fate in [Fate::Stays, Fate::IsCompressed, Fate::Goes] {
            assert!(files.iter().any(|file| file.fate == fate), "{fate:?}");
        }
    }

    #[test]
    fn old_notifications_that_were_not_sent_stay() {
        let table = Table::Notifications;
        let kept = World::ids(table)
            .filter(|id| is_old(table, *id) && !World::must_go(table, *id))
            .count();
        assert!(kept > 100, "{kept}");
    }

    #[test]
    fn chunks_hold_every_row_once_in_either_form() {
        let world = World::new(at());
        for times in [Times::Text, Times::Rfc3339] {
            let ids: Vec<i64> = world
                .chunks(Table::TenantPayments, times)
                .flat_map(|chunk| serde_json::from_str::<Vec<Vec<Json>>>(&chunk).expect("lists"))
                .map(|row| row[0].as_i64().expect("an id"))
                .collect();
            assert!(ids.iter().copied().eq(World::ids(Table::TenantPayments)));
        }
        let first = world.row(Table::UserSessions, 1, Times::Text)[4].clone();
        let text = first.as_str().expect("a text");
        assert!(
            chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").is_ok(),
            "{text}"
        );
    }
}
