//! What SQLite's errors mean for the ledger.

use sereno_core::ports::ledger::LedgerError;

/// SQLite's primary result codes.
const SQLITE_BUSY: i32 = 5;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;

/// Extended codes that a full disk or an exhausted quota shows itself as, where it is not `SQLITE_FULL`.
const SQLITE_IOERR_WRITE: i32 = 778;
const SQLITE_IOERR_SHMSIZE: i32 = 4874;

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

pub(super) fn fault(operation: &'static str, error: &sqlx::Error) -> LedgerError {
    let reason = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        _ => error.to_string(),
    };
    match code(error) {
        Some(SQLITE_IOERR_WRITE | SQLITE_IOERR_SHMSIZE) => LedgerError::Full(reason),
        Some(code) if code & 0xff == SQLITE_FULL => LedgerError::Full(reason),
        Some(code) if matches!(code & 0xff, SQLITE_BUSY | SQLITE_CANTOPEN) => {
            LedgerError::Unreachable { operation, reason }
        }
        None if matches!(error, sqlx::Error::Configuration(_)) => {
            LedgerError::Unreachable { operation, reason }
        }
        _ => LedgerError::Fault { operation, reason },
    }
}
