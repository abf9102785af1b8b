//! Turns what sqlx and the servers say into the port's errors.
//!
//! No URL and no password passes: texts that sqlx took from one are replaced.

use std::time::Duration;

use sereno_core::ports::database::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// SQLSTATE of a lock that was not had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// SQLSTATE of a statement that was stopped.
const QUERY_CANCELED: &str = "57014";

/// What was being done, and for how long it could be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing {
    pub(super) operation: &'static str,
    pub(super) limit: Duration,
}

impl Doing {
    /// An error that did not come from a statement.
    fn common(self, error: &sqlx::Error) -> DatabaseError {
        let unreachable = |reason: String| DatabaseError::Unreachable {
            operation: self.operation,
            reason,
        };
        match error {
            // These two quote the URL.
            sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => {
                DatabaseError::Invalid("the database's URL is not one that can be used".to_owned())
            }
            sqlx::Error::Io(error) => unreachable(error.to_string()),
            sqlx::Error::Tls(error) => unreachable(format!("TLS: {error}")),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                unreachable("the connection broke".to_owned())
            }
            other => DatabaseError::Fault {
                operation: self.operation,
                reason: other.to_string(),
            },
        }
    }

    /// From PostgreSQL, by SQLSTATE: its words are in the language of the server.
    pub(super) fn postgres(self, error: &sqlx::Error) -> DatabaseError {
        self.postgres_after(error, Duration::ZERO)
    }

    /// From PostgreSQL, of a statement that it answered after `took`.
    pub(super) fn postgres_after(self, error: &sqlx::Error, took: Duration) -> DatabaseError {
        let Some(said) = error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
        else {
            return self.common(error);
        };
        let Self { operation, limit } = self;
        let reason = match said.detail() {
            Some(detail) => format!("{}: {detail}", said.message()),
            None => said.message().to_owned(),
        };
        match said.code() {
            LOCK_NOT_AVAILABLE | "40P01" | "40001" => DatabaseError::Busy { operation, reason },
            // Our own statement_timeout has this code, and a person's pg_cancel_backend too, which comes sooner. Our own
            // cancellation is never heard: it goes with the future that would hear.
            QUERY_CANCELED if took.as_millis() >= limit.as_millis() => {
                DatabaseError::Timeout { operation, limit }
            }
            "42P01" | "42703" | "42704" | "3F000" | "42883" => DatabaseError::NotFound {
                what: reason.trim_end_matches(" does not exist").to_owned(),
            },
            // Insufficient privilege, read-only transaction, wrong password or role.
            "42501" | "25006" | "28000" | "28P01" => DatabaseError::Forbidden { operation, reason },
            code if code.starts_with("08")
                || code.starts_with("57P")
                || code == "53300"
                || code == "3D000" =>
            {
                DatabaseError::Unreachable { operation, reason }
            }
            code => DatabaseError::Fault {
                operation,
                reason: format!("{reason} ({code})"),
            },
        }
    }

    /// From SQLite, by result code.
    pub(super) fn sqlite(self, error: &sqlx::Error) -> DatabaseError {
        let Some(said) = error.as_database_error() else {
            return self.common(error);
        };
        let Self { operation, limit } = self;
        let reason = said.message().to_owned();
        let code: i32 = said.code().and_then(|code| code.parse().ok()).unwrap_or_default();
        // The low byte is the primary code: https://sqlite.org/rescode.html
        match code & 0xff {
            5 | 6 => DatabaseError::Busy { operation, reason },
            // Only our own progress handler interrupts, and whoever dropped the future hears no answer.
            9 => DatabaseError::Timeout { operation, limit },
            3 | 8 | 23 => DatabaseError::Forbidden { operation, reason },
            14 | 26 => DatabaseError::Unreachable { operation, reason },
            1 if reason.starts_with("no such ") => DatabaseError::NotFound { what: reason },
            _ => DatabaseError::Fault { operation, reason },
        }
    }
}
