//! What earlier attempts of a key were and did, for the attempt that comes after them.

use super::{DispatchError, Services};
use crate::effect::add;
use crate::ports::ledger::RunRow;
use crate::report::{Effect, Report};
use crate::run::Mode;
use crate::value::Instant;

/// The label of an outcome after which the next attempt goes on from the cursor.
const CONTINUED: &str = "continued";
/// The label of the one outcome that settles a key.
const SUCCEEDED: &str = "succeeded";

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// How many there were.
    pub(super) attempts: u32,
    /// The oldest whose params are known.
    pub(super) first: Option<Box<Report>>,
    /// When its work was scheduled, which stands for all that come after.
    pub(super) scheduled_at: Option<Instant>,
    /// The one that settled the key.
    pub(super) settled: Option<Box<Report>>,
    /// What they did; in a plan, what those found from whose cursor the next went on.
    pub(super) before: Vec<Effect>,
    /// Where the newest stopped that got anywhere.
    pub(super) cursor: Option<String>,
    /// Where each stopped that answered "more", newest first.
    pub(super) stops: Vec<Option<String>>,
}

impl History {
    /// Reads the reports of `attempts`, newest first, all of a key in `mode`.
    ///
    /// # Errors
    /// The ledger's own.
    pub(super) async fn read(
        services: &Services,
        attempts: &[RunRow],
        mode: Mode,
    ) -> Result<Self, DispatchError> {
        let is = |row: &RunRow, label: &str| row.outcome.as_deref() == Some(label);
        let mut history = Self {
            attempts: attempts.first().map_or(0, |newest| newest.attempt),
            scheduled_at: attempts.last().map(|oldest| oldest.scheduled_at),
            // An attempt that never moved its cursor says nothing about an older one's.
            cursor: attempts.iter().find_map(|row| row.cursor.clone()),
            stops: attempts
                .iter()
                .filter(|row| is(row, CONTINUED))
                .map(|row| row.cursor.clone())
                .collect(),
            ..Self::default()
        };
        for row in attempts.iter().rev() {
            let Some(report) = services.ledger.report(&row.id).await? else {
                continue;
            };
            // A plan changes nothing: what it found counts once, where the next did not look again.
            if mode == Mode::Apply || is(row, CONTINUED) {
                report
                    .effects()
                    .for_each(|effect| add(&mut history.before, effect));
            }
            let report = Box::new(report);
            if is(row, SUCCEEDED) {
                history.settled = Some(report.clone());
            }
            // Nobody knows the params of one that nobody could examine.
            if !report.params.is_null() {
                history.first.get_or_insert(report);
            }
        }
        Ok(history)
    }
}
