//! The ledger's homes: a SQLite file (the default), PostgreSQL (for Lambda and for replicas), and memory (for tests).
//!
//! What a run's events mean for its row and who may lease what is decided in one place for all of them
//! ([`projection`], [`leases`]); the adapters only store it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use sereno_core::ports::ledger::{Flag, Ledger, LedgerError};
use sereno_core::ports::watch::LetterState;
use sereno_core::run::Mode;
use sereno_core::value::Instant;
use sqlx::sqlite::SqliteConnectOptions;

mod ballast;
mod leases;
pub mod memory;
pub mod postgres;
mod projection;
pub mod sqlite;
mod watching;

pub use memory::MemoryLedger;
pub use postgres::PostgresLedger;
pub use sqlite::SqliteLedger;

/// Opens the ledger that `url` names, and creates or upgrades its tables where that is needed.
///
/// `sqlite://path` starts a relative path from `folder`; `sqlite::memory:` and `memory:` are forgotten with the process.
pub async fn open(url: &str, folder: &Path) -> Result<Arc<dyn Ledger>, LedgerError> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => Ok(Arc::new(SqliteLedger::open(url, folder).await?)),
        Some("postgres" | "postgresql") => Ok(Arc::new(PostgresLedger::open(url).await?)),
        Some("memory") => Ok(Arc::new(MemoryLedger::default())),
        // The URL may hold a password, so it is not repeated.
        _ => Err(LedgerError::Unreachable {
            operation: "open it",
            reason: "its URL starts with none of `sqlite://`, `postgres://`".to_owned(),
        }),
    }
}

/// Opens the ledger to be read: a SQLite file that is not there is not made, and reads as empty.
pub async fn open_to_read(url: &str, folder: &Path) -> Result<Arc<dyn Ledger>, LedgerError> {
    if is_absent_file(url, folder) {
        return Ok(Arc::new(MemoryLedger::default()));
    }
    open(url, folder).await
}

/// True when `url` names a file that is not there. What cannot be looked at is told when it is opened.
fn is_absent_file(url: &str, folder: &Path) -> bool {
    let is_file = url.starts_with("sqlite:") && !url.ends_with(":memory:");
    let Some(options) = url.parse::<SqliteConnectOptions>().ok().filter(|_| is_file) else {
        return false;
    };
    let found = folder.join(options.get_filename()).symlink_metadata();
    matches!(found, Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Microseconds since 1970, which is what every home keeps of a time.
fn micros(at: Instant) -> i64 {
    at.timestamp_micros()
}

/// The time that [`micros`] stands for.
fn instant(micros: i64) -> Result<Instant, sqlx::Error> {
    Instant::from_timestamp_micros(micros)
        .ok_or_else(|| sqlx::Error::Decode(format!("{micros} is no time").into()))
}

/// The time as the ledger keeps it.
fn kept(at: Instant) -> Instant {
    Instant::from_timestamp_micros(at.timestamp_micros()).expect("it was a time before the cut")
}

/// The ids that start with `text` are those from `text` to this: an id has only digits and lower-case letters.
fn prefix_end(text: &str) -> String {
    format!("{text}\u{7f}")
}

/// A text column that core parses back into one of its types.
fn parsed<T>(text: &str) -> Result<T, sqlx::Error>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A JSON column that core reads back.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// The JSON of one of core's types.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("core's types have only text keys")
}

/// The flag as the `flag` table has it.
fn flag_text(flag: Flag) -> &'static str {
    match flag {
        Flag::Cancel => "cancel",
        Flag::Pause => "pause",
    }
}

/// The flag that [`flag_text`] stands for.
fn flag_of(text: &str) -> Result<Flag, sqlx::Error> {
    match text {
        "cancel" => Ok(Flag::Cancel),
        "pause" => Ok(Flag::Pause),
        _ => Err(sqlx::Error::Decode(format!("`{text}` is no flag").into())),
    }
}

/// A letter's state as the `outbox` table has it.
fn letter_state_text(state: LetterState) -> &'static str {
    match state {
        LetterState::Waiting => "waiting",
        LetterState::Sent => "sent",
        LetterState::GivenUp => "given-up",
    }
}

/// The state that [`letter_state_text`] stands for.
fn letter_state_of(text: &str) -> Result<LetterState, sqlx::Error> {
    match text {
        "waiting" => Ok(LetterState::Waiting),
        "sent" => Ok(LetterState::Sent),
        "given-up" => Ok(LetterState::GivenUp),
        _ => Err(sqlx::Error::Decode(
            format!("`{text}` is no state of a message").into(),
        )),
    }
}

/// A reading that is no number is unknown, in every home.
fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// The mode that its `Display` stands for.
fn mode_of(text: &str) -> Result<Mode, sqlx::Error> {
    match text {
        "plan" => Ok(Mode::Plan),
        "apply" => Ok(Mode::Apply),
        _ => Err(sqlx::Error::Decode(
            format!("`{text}` is no mode of a run").into(),
        )),
    }
}
