//! Scheduled times that went by without a success, in a list.

use serde_json::{Value as Json, json};
use sereno_core::ports::ledger::RunRow;
use sereno_core::run::Work;
use sereno_core::schedule::{Missed, Zone};

use super::jobs::local;
use super::paint::Paint;
use super::table::table;

/// A job or round that is late.
pub(crate) struct Late {
    pub(crate) work: Work,
    pub(crate) times: Missed,
    /// Its last success, if there ever was one.
    pub(crate) success: Option<RunRow>,
    /// Its last run that was to change something, however it ended.
    pub(crate) tried: Option<RunRow>,
    pub(crate) paused: bool,
}

impl Late {
    /// What happened instead, and what to look at.
    fn why(&self) -> String {
        match &self.tried {
            _ if self.paused => "paused".to_owned(),
            Some(row) if row.scheduled_at >= self.times.first => {
                let outcome = row.outcome.as_deref().unwrap_or("at work");
                format!("{outcome} ({})", row.id)
            }
            _ => "nothing ran".to_owned(),
        }
    }
}

/// Each on a line, or that all is well.
pub(crate) fn list(late: &[Late], scheduled: usize, zone: &Zone, paint: Paint) -> String {
    if late.is_empty() {
        return match scheduled {
            0 => "nothing has a schedule\n".to_owned(),
            _ => format!("nothing was missed; with a schedule: {scheduled}\n"),
        };
    }
    let rows: Vec<[String; 5]> = late
        .iter()
        .map(|one| {
            [
                match &one.work {
                    Work::Job(name) => name.to_string(),
                    Work::Round(name) => format!("round {name}"),
                },
                local(one.times.first, zone),
                local(one.times.latest, zone),
                one.success
                    .as_ref()
                    .map_or("never".to_owned(), |row| local(row.scheduled_at, zone)),
                one.why(),
            ]
        })
        .collect();
    table(
        ["missed", "since", "latest", "last success", "instead"],
        &rows,
        paint,
    )
}

/// The same for programs.
pub(crate) fn list_json(late: &Late) -> Json {
    let mut json = json!({
        "since": late.times.first,
        "latest": late.times.latest,
        "last_success": late.success.as_ref().map(super::json::row),
        "last_run": late.tried.as_ref().map(super::json::row),
        "paused": late.paused,
    });
    match &late.work {
        Work::Job(name) => json["job"] = json!(name),
        Work::Round(name) => json["round"] = json!(name),
    }
    json
}
