//! The clock of a process that stays: each tick of each schedule becomes a run. It speaks no HTTP.
//!
//! `timetable` says what is due, `gate` how much runs at once, `host` carries requests to dispatch, `keeper` is the loop
//! around them, `orders` what the process is told from outside. Several such processes share one ledger: a tick is the first
//! attempt of its key, and a key has one first attempt.

mod gate;
mod host;
mod keeper;
mod notify;
mod orders;
mod timetable;

pub use host::{Host, Rejected, Reload, Setting};
pub use keeper::keep;
pub use orders::{Ended, Order, obey, signals};
