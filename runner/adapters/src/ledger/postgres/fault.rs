//! What PostgreSQL's errors mean for the ledger.

use sereno_core::ports::ledger::LedgerError;

const UNDEFINED_TABLE: &str = "42P01";
const DISK_FULL: &str = "53100";

/// Classes and codes after which another server, or this one later, may answer: connection exceptions, bad
/// credentials, no such database, too many connections, shutting down.
const UNREACHABLE: [&str; 5] = ["08", "28", "3D", "53300", "57P"];

/// Two at once: the second may have its turn now.
const MET_ANOTHER: [&str; 5] = [
    "40001", // serialization failure
    "40P01", // deadlock
    "23505", // unique: the same next attempt, or the same new table
    "42P06", // the schema has just been created
    "42P07", // the table has just been created
];

/// The attempt of a key is the only unique value that another try finds anew.
const RUN_ID_CONSTRAINT: &str = "run_id";

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

pub(super) fn is_undefined_table(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == UNDEFINED_TABLE)
}

pub(super) fn met_another(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    code(error).is_some_and(|code| MET_ANOTHER.contains(&code.as_str()))
        && constraint != Some(RUN_ID_CONSTRAINT)
}

pub(super) fn fault(operation: &'static str, error: &sqlx::Error) -> LedgerError {
    let reason = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        _ => error.to_string(),
    };
    match code(error) {
        Some(code) if code == DISK_FULL => LedgerError::Full(reason),
        Some(code) if UNREACHABLE.iter().any(|class| code.starts_with(class)) => {
            LedgerError::Unreachable { operation, reason }
        }
        Some(_) => LedgerError::Fault { operation, reason },
        None => match error {
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                LedgerError::Fault { operation, reason }
            }
            // Everything that is not an answer of the server: sockets, TLS, the pool's patience, the URL itself.
            _ => LedgerError::Unreachable { operation, reason },
        },
    }
}
