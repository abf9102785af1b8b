//! The sentences of effects, guards, findings and measurements. Plan and apply use the same words.

use std::time::Duration;

use serde_json::Value as Json;
use sereno_core::grant::Verb;
use sereno_core::guard::GuardState;
use sereno_core::manifest::ParamKind;
use sereno_core::report::{Effect, Measurement, Severity};
use sereno_core::run::Mode;
use sereno_core::units::{show_bytes, show_count, show_counted, show_duration};

use super::paint::Paint;

/// What happened, or would: `would delete 3,120 of 40,000 rows (7.8 %) from app.user_sessions, updated_at before
/// 2026-11-17 02:30 UTC; guard 20 %`.
pub(crate) fn effect(effect: &Effect, mode: Mode, paint: Paint) -> String {
    let mut text = match effect.unit.as_str() {
        "tables" | "indexes" | "databases" => upkeep(effect, mode),
        _ if matches!(effect.verb, Verb::Rename | Verb::Compress | Verb::Truncate) => moved(effect, mode),
        _ => amount(effect, mode),
    };
    if mode == Mode::Apply
        && effect.done < effect.planned
        && !matches!(effect.unit.as_str(), "tables" | "indexes" | "databases")
    {
        text.push_str(&format!("; {} were to go", show_count(effect.planned)));
    }
    if effect.skipped > 0 && !matches!(effect.unit.as_str(), "tables" | "indexes" | "databases") {
        text.push_str(&format!("; {} skipped", show_count(effect.skipped)));
    }
    let exceeded: Vec<String> = effect.exceeded().map(guard).collect();
    match &effect.guard {
        _ if !exceeded.is_empty() => {
            let exceeded = format!("{} exceeded", exceeded.join(" and "));
            format!("{text}; {}", paint.error(exceeded))
        }
        // Every apply is held against its plan; that is worth a word only when it matters.
        Some(state) if state.name != "plan" => format!("{text}; {}", guard(state)),
        _ => text,
    }
}

fn amount(effect: &Effect, mode: Mode) -> String {
    let count = match mode {
        Mode::Plan => effect.planned,
        Mode::Apply => effect.done,
    };
    let many = &effect.unit;
    let mut text = verb(effect.verb, mode).to_owned();
    text.push(' ');
    match effect.total {
        Some(total) => {
            // Files left nothing to count before: what was removed is part of the whole all the same.
            text.push_str(&format!("{} of {} {many}", show_count(count), show_count(total)));
        }
        None if many == "directories" => {
            text.push_str(&show_counted(count, "emptied directory", "emptied directories"));
        }
        None => text.push_str(&show_counted(count, many.trim_end_matches('s'), many)),
    }
    if let Some(bytes) = effect.bytes.filter(|bytes| *bytes > 0 && many != "directories") {
        text.push_str(&format!(
            " ({}{})",
            if effect.bytes_estimated { "about " } else { "" },
            show_bytes(bytes)
        ));
    } else if let Some(share) = effect.total.and_then(|total| share(count, total)) {
        text.push_str(&format!(" ({share})"));
    }
    let way = if matches!(effect.verb, Verb::Post | Verb::Write | Verb::Notify) {
        "to"
    } else {
        "from"
    };
    text.push_str(&format!(" {way} {}", place(&effect.on)));
    if !effect.what.is_empty() && many != "directories" {
        text.push_str(&format!(", {}", effect.what));
    }
    text
}

/// `would compress 12 files (340 MiB) in directory.logs, giving back about 310 MiB, older than ...`.
fn moved(effect: &Effect, mode: Mode) -> String {
    let count = match mode {
        Mode::Plan => effect.planned,
        Mode::Apply => effect.done,
    };
    let mut text = format!(
        "{} {}",
        verb(effect.verb, mode),
        show_counted(count, "file", "files")
    );
    if let Some(bytes) = effect.bytes.filter(|bytes| *bytes > 0) {
        text.push_str(&format!(" ({})", show_bytes(bytes)));
    }
    text.push_str(&format!(" in {}", place(&effect.on)));
    if let Some(freed) = effect.freed.filter(|_| count > 0) {
        let about = if effect.bytes_estimated { "about " } else { "" };
        text.push_str(&format!(", giving back {about}{}", show_bytes(freed)));
    }
    if !effect.what.is_empty() {
        text.push_str(&format!(", {}", effect.what));
    }
    text
}

fn upkeep(effect: &Effect, mode: Mode) -> String {
    let is_skipped = effect.skipped > 0 && effect.done == 0 && effect.planned == 0;
    let verb = match (is_skipped, mode) {
        (true, Mode::Plan) => format!("would not {}", verb_stem(effect.verb)),
        (true, Mode::Apply) => format!("did not {}", verb_stem(effect.verb)),
        (false, _) => verb(effect.verb, mode).to_owned(),
    };
    let on = place(&effect.on);
    let mut text = match (effect.unit.as_str(), effect.what.as_str()) {
        ("indexes", index) if !index.is_empty() => format!("{verb} {index} of {on}"),
        (_, "") => format!("{verb} {on}"),
        (_, what) => format!("{verb} {on}, {what}"),
    };
    if let Some(bytes) = effect.bytes.filter(|bytes| *bytes > 0) {
        text.push_str(&format!(
            " ({}{})",
            if effect.bytes_estimated { "about " } else { "" },
            show_bytes(bytes)
        ));
    }
    text
}

fn verb_stem(verb: Verb) -> &'static str {
    verb.as_str()
}

fn verb(verb: Verb, mode: Mode) -> &'static str {
    match (verb, mode) {
        (Verb::Delete, Mode::Plan) => "would delete",
        (Verb::Delete, Mode::Apply) => "deleted",
        (Verb::Detach, Mode::Plan) => "would detach",
        (Verb::Detach, Mode::Apply) => "detached",
        (Verb::Drop, Mode::Plan) => "would drop",
        (Verb::Drop, Mode::Apply) => "dropped",
        (Verb::Remove, Mode::Plan) => "would remove",
        (Verb::Remove, Mode::Apply) => "removed",
        (Verb::Rename, Mode::Plan) => "would rename",
        (Verb::Rename, Mode::Apply) => "renamed",
        (Verb::Compress, Mode::Plan) => "would compress",
        (Verb::Compress, Mode::Apply) => "compressed",
        (Verb::Truncate, Mode::Plan) => "would copy and empty",
        (Verb::Truncate, Mode::Apply) => "copied and emptied",
        (Verb::Vacuum, Mode::Plan) => "would vacuum",
        (Verb::Vacuum, Mode::Apply) => "vacuumed",
        (Verb::Analyze, Mode::Plan) => "would analyze",
        (Verb::Analyze, Mode::Apply) => "analyzed",
        (Verb::Reindex, Mode::Plan) => "would reindex",
        (Verb::Reindex, Mode::Apply) => "reindexed",
        (Verb::Write, Mode::Plan) => "would write",
        (Verb::Write, Mode::Apply) => "wrote",
        (Verb::Notify, Mode::Plan) => "would send",
        (Verb::Notify, Mode::Apply) => "sent",
        (Verb::Post, Mode::Plan) => "would post",
        (Verb::Post, Mode::Apply) => "posted",
        (Verb::Read | Verb::ReadContent | Verb::Query | Verb::Get, Mode::Plan) => "would read",
        (Verb::Read | Verb::ReadContent | Verb::Query | Verb::Get, Mode::Apply) => "read",
        (Verb::Terminate, Mode::Plan) => "would end",
        (Verb::Terminate, Mode::Apply) => "ended",
        (Verb::VacuumFull, Mode::Plan) => "would rewrite (VACUUM FULL)",
        (Verb::VacuumFull, Mode::Apply) => "rewrote (VACUUM FULL)",
        (Verb::Backup, Mode::Plan) => "would back up",
        (Verb::Backup, Mode::Apply) => "backed up",
        (Verb::Restore, Mode::Plan) => "would restore into",
        (Verb::Restore, Mode::Apply) => "restored into",
    }
}

/// `7.8 %`; none where there is nothing to tell.
fn share(part: u64, whole: u64) -> Option<String> {
    let percent = sereno_core::guard::percent(part, whole);
    match part {
        0 => None,
        _ if percent < 0.05 => Some("<0.1 %".to_owned()),
        _ => Some(format!("{percent:.1} %")),
    }
}

/// `guard 20 %`, `guard 100,000`, `guard 10 GiB`.
pub(crate) fn guard(guard: &GuardState) -> String {
    format!("guard {}", guard_limit(&guard.name, guard.limit))
}

/// A guard's limit in its own unit.
pub(crate) fn guard_limit(name: &str, limit: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limits are counts, far below 2^53"
    )]
    let whole = limit.max(0.0) as u64;
    match name {
        "max_rows_percent" | "max_files_percent" | "max_connections_percent" => format!("{limit} %"),
        "max_bytes" => show_bytes(whole),
        "free_space" => format!("of free space {}", show_bytes(whole)),
        "retention_floor" => format!("retention floor {}", show_duration(Duration::from_secs(whole))),
        "plan" => format!("of the plan {}", show_count(whole)),
        "accept" => "against hazards".to_owned(),
        "last_backup" => "for the last backup".to_owned(),
        _ => show_count(whole),
    }
}

/// Where, without the words that only configurations need: `app.user_sessions`, `directory.temp`.
pub(crate) fn place(path: &str) -> String {
    let Some(rest) = path.strip_prefix("database.") else {
        return path.to_owned();
    };
    let Some((database, of)) = rest.split_once('.') else {
        return path.to_owned();
    };
    match of.split_once('.') {
        Some(("tables", table)) => format!("{database}.{}", unquoted(table)),
        Some(("queries", query)) => format!("{database}, query {query}"),
        _ => database.to_owned(),
    }
}

/// The text of a quoted TOML key.
fn unquoted(key: &str) -> String {
    if key.starts_with('"') {
        serde_json::from_str(key).unwrap_or_else(|_| key.to_owned())
    } else {
        key.to_owned()
    }
}

/// A measurement's value with its unit; what is unknown says so.
pub(crate) fn measured(measurement: &Measurement) -> String {
    let Some(value) = measurement.value else {
        return "unknown".to_owned();
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only whole values in range come here"
    )]
    let whole = (value >= 0.0 && value.fract() == 0.0 && value < 9e15).then_some(value as u64);
    let is_one = whole == Some(1);
    match (measurement.unit.as_str(), whole) {
        ("percent", _) => format!("{value:.1} %"),
        ("bytes", Some(bytes)) => show_bytes(bytes),
        ("seconds", _) => {
            Duration::try_from_secs_f64(value).map_or_else(|_| format!("{value} s"), show_duration)
        }
        ("count", Some(count)) => show_count(count),
        (unit, Some(count)) => show_counted(
            count,
            if is_one { unit.trim_end_matches('s') } else { unit },
            unit,
        ),
        (unit, None) => format!("{value:.2} {unit}"),
    }
}

/// A param's value as it is written in a configuration: plugins get milliseconds and bytes, people do not.
pub(crate) fn in_unit(kind: &ParamKind, value: &Json) -> String {
    match (kind, value) {
        (ParamKind::Duration, Json::Number(millis)) => {
            let duration = Duration::from_millis(millis.as_u64().unwrap_or_default());
            format!("{:?}", show_duration(duration))
        }
        (ParamKind::Size, Json::Number(bytes)) => {
            format!("{:?}", show_bytes(bytes.as_u64().unwrap_or_default()))
        }
        (ParamKind::List(items), Json::Array(values)) => {
            let values: Vec<String> = values.iter().map(|value| in_unit(&items.kind, value)).collect();
            format!("[{}]", values.join(", "))
        }
        (ParamKind::Record(fields), Json::Object(values)) => {
            let values: Vec<String> = fields
                .iter()
                .filter_map(|field| {
                    let value = values.get(&field.name)?;
                    Some(format!("{} = {}", field.name, in_unit(&field.kind, value)))
                })
                .collect();
            format!("{{ {} }}", values.join(", "))
        }
        _ => value.to_string(),
    }
}

/// A severity, so wide that findings line up.
pub(crate) fn severity(severity: Severity, paint: Paint) -> String {
    match severity {
        Severity::Info => paint.hint("info    "),
        Severity::Warn => paint.warn("warn    "),
        Severity::Critical => paint.error("critical"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge() -> Effect {
        Effect {
            planned: 3_120,
            total: Some(40_000),
            guard: Some(GuardState::new("max_rows_percent", 20.0, 7.8)),
            ..Effect::of(
                Verb::Delete,
                "database.app.tables.user_sessions",
                "rows",
                "updated_at before 2026-11-17 02:30 UTC",
            )
        }
    }

    fn files() -> Effect {
        Effect {
            verb: Verb::Remove,
            on: "directory.temp".to_owned(),
            unit: "files".to_owned(),
            what: "older than 2026-11-23 02:30 UTC".to_owned(),
            planned: 412,
            total: Some(500),
            bytes: Some(1_468_006),
            guard: Some(GuardState::new("max_files", 100_000.0, 412.0)),
            ..purge()
        }
    }

    fn words(effect: &Effect, mode: Mode) -> String {
        super::effect(effect, mode, Paint::plain())
    }

    #[test]
    fn a_plan_and_its_apply_use_the_same_words() {
        assert_eq!(
            words(&purge(), Mode::Plan),
            "would delete 3,120 of 40,000 rows (7.8 %) from app.user_sessions, \
             updated_at before 2026-11-17 02:30 UTC; guard 20 %"
        );
        assert_eq!(
            words(
                &Effect {
                    done: 3_120,
                    ..purge()
                },
                Mode::Apply
            ),
            "deleted 3,120 of 40,000 rows (7.8 %) from app.user_sessions, \
             updated_at before 2026-11-17 02:30 UTC; guard 20 %"
        );
        assert_eq!(
            words(&files(), Mode::Plan),
            "would remove 412 of 500 files (1.4 MiB) from directory.temp, older than 2026-11-23 02:30 UTC; \
             guard 100,000"
        );
        assert_eq!(
            words(&Effect { done: 412, ..files() }, Mode::Apply),
            "removed 412 of 500 files (1.4 MiB) from directory.temp, older than 2026-11-23 02:30 UTC; guard 100,000"
        );
    }

    #[test]
    fn what_was_moved_is_told_with_what_it_gave_back() {
        let compress = Effect {
            verb: Verb::Compress,
            planned: 12,
            total: None,
            bytes: Some(340 << 20),
            freed: Some(310 << 20),
            bytes_estimated: true,
            guard: None,
            ..files()
        };
        assert_eq!(
            words(&compress, Mode::Plan),
            "would compress 12 files (340 MiB) in directory.temp, giving back about 310 MiB, \
             older than 2026-11-23 02:30 UTC"
        );
        let rename = Effect {
            verb: Verb::Rename,
            planned: 1,
            done: 1,
            total: None,
            bytes: Some(812),
            what: "app.log to app.log-2026-11-24".to_owned(),
            guard: None,
            ..files()
        };
        assert_eq!(
            words(&rename, Mode::Apply),
            "renamed 1 file (812 B) in directory.temp, app.log to app.log-2026-11-24"
        );
    }

    #[test]
    fn what_was_left_is_told() {
        assert_eq!(
            words(
                &Effect {
                    done: 3_000,
                    skipped: 120,
                    guard: None,
                    ..purge()
                },
                Mode::Apply
            ),
            "deleted 3,000 of 40,000 rows (7.5 %) from app.user_sessions, updated_at before 2026-11-17 02:30 UTC; \
             3,120 were to go; 120 skipped"
        );
        let beyond = GuardState::new("max_rows_percent", 20.0, 92.0);
        assert_eq!(
            words(
                &Effect {
                    planned: 36_800,
                    guard: Some(beyond),
                    ..purge()
                },
                Mode::Plan
            ),
            "would delete 36,800 of 40,000 rows (92.0 %) from app.user_sessions, \
             updated_at before 2026-11-17 02:30 UTC; guard 20 % exceeded"
        );
    }

    #[test]
    fn nothing_is_nothing_and_little_is_not_nothing() {
        let none = Effect {
            planned: 0,
            total: Some(36_880),
            guard: None,
            ..purge()
        };
        assert!(words(&none, Mode::Plan).starts_with("would delete 0 of 36,880 rows from app.user_sessions"));
        let one = Effect {
            planned: 1,
            total: Some(36_880),
            guard: None,
            ..purge()
        };
        assert!(words(&one, Mode::Plan).starts_with("would delete 1 of 36,880 rows (<0.1 %) from"));
        let uncounted = Effect {
            planned: 1,
            total: None,
            bytes: Some(812),
            guard: None,
            ..files()
        };
        assert!(words(&uncounted, Mode::Plan).starts_with("would remove 1 file (812 B) from directory.temp"));
    }

    #[test]
    fn upkeep_names_the_table_or_the_index() {
        let vacuum = Effect {
            verb: Verb::Vacuum,
            unit: "tables".to_owned(),
            what: "with statistics".to_owned(),
            planned: 1,
            total: None,
            bytes: Some(12 << 20),
            bytes_estimated: true,
            guard: None,
            ..purge()
        };
        assert_eq!(
            words(&vacuum, Mode::Plan),
            "would vacuum app.user_sessions, with statistics (about 12 MiB)"
        );
        let done = Effect {
            done: 1,
            bytes_estimated: false,
            ..vacuum.clone()
        };
        assert_eq!(
            words(&done, Mode::Apply),
            "vacuumed app.user_sessions, with statistics (12 MiB)"
        );
        let skipped = Effect {
            planned: 0,
            skipped: 1,
            bytes: None,
            ..vacuum.clone()
        };
        assert_eq!(
            words(&skipped, Mode::Apply),
            "did not vacuum app.user_sessions, with statistics"
        );
        let index = Effect {
            verb: Verb::Reindex,
            unit: "indexes".to_owned(),
            what: "by_time".to_owned(),
            bytes: None,
            ..vacuum
        };
        assert_eq!(
            words(&index, Mode::Plan),
            "would reindex by_time of app.user_sessions"
        );
    }

    #[test]
    fn places_lose_only_what_configurations_need() {
        assert_eq!(place("database.app.tables.\"billing.rows\""), "app.billing.rows");
        assert_eq!(place("database.app.whole"), "app");
        assert_eq!(place("database.app"), "database.app");
        assert_eq!(place("directory.temp"), "directory.temp");
    }

    #[test]
    fn unknown_is_never_zero() {
        let measurement = |value, unit: &str| {
            measured(&Measurement {
                name: "m".to_owned(),
                target: "t".to_owned(),
                value,
                unit: unit.to_owned(),
                note: None,
            })
        };
        assert_eq!(measurement(None, "bytes"), "unknown");
        assert_eq!(measurement(Some(0.0), "bytes"), "0 B");
        assert_eq!(measurement(Some(81.25), "percent"), "81.2 %");
        assert_eq!(measurement(Some(1.0), "files"), "1 file");
        assert_eq!(measurement(Some(40_000.0), "rows"), "40,000 rows");
    }
}
