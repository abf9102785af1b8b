//! How things go wrong: what a host call answers, what a plugin answers, and how to stop in order.

use std::fmt;

/// Why a host call was not done. Nothing here is a reason to panic: pass it on with `?`, or do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No grant covers it; the text is the line to add.
    Denied(String),
    /// A blast-radius guard stopped it.
    Guard(String),
    /// A limit on what the plugin may consume.
    Limit(String),
    /// The operator cancelled the run.
    Cancelled,
    /// The attempt's time is nearly over: return [`crate::Outcome::More`].
    Deadline,
    /// No such table, directory, query.
    NotFound(String),
    /// The arguments make no sense.
    Invalid(String),
    /// Somebody else holds a lock.
    Busy(String),
    /// No connection.
    Unreachable(String),
    /// The database or the file system refused, and would again.
    Fault(String),
    /// Something that this contract has no word for yet.
    Other(String),
}

impl Error {
    /// True when it is about one target only, so that work on others may go on; a finding should tell.
    pub const fn is_local(&self) -> bool {
        !matches!(
            self,
            Self::Guard(_) | Self::Limit(_) | Self::Cancelled | Self::Deadline
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(line) => write!(f, "denied: add `{line}`"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Deadline => f.write_str("the attempt's time is nearly over"),
            Self::Guard(text)
            | Self::Limit(text)
            | Self::NotFound(text)
            | Self::Invalid(text)
            | Self::Busy(text)
            | Self::Unreachable(text)
            | Self::Fault(text)
            | Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Why a plugin gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The params make no sense together.
    InvalidParams(String),
    /// Worth delivering again.
    Retryable(String),
    /// Would fail again in the same way.
    Permanent(String),
    /// The plugin thinks that it should not.
    Refused(String),
    /// What a host call answered; the host knows what it meant. `?` makes this.
    PassedOn(Error),
    /// Anything else.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::PassedOn(error)
    }
}

/// How a loop of batches ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batches {
    /// The last batch had no cursor.
    Finished,
    /// The attempt's time ran out; go on from here next time. None: before the first batch.
    OutOfTime(Option<String>),
}

/// Calls `batch` with the cursor of the one before until it answers none, and stops in order when the host says that
/// time is nearly over.
///
/// # Errors
/// What else the host answered.
pub fn in_batches(
    from: Option<String>,
    mut batch: impl FnMut(Option<&str>) -> Result<Option<String>, Error>,
) -> Result<Batches, Error> {
    let mut cursor = from;
    loop {
        match batch(cursor.as_deref()) {
            Ok(None) => return Ok(Batches::Finished),
            Ok(next) => cursor = next,
            Err(Error::Deadline) => return Ok(Batches::OutOfTime(cursor)),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_follow_the_cursor_and_keep_it_when_time_runs_out() {
        let mut seen = Vec::new();
        let mut answers = vec![Ok(None), Ok(Some("b".to_owned())), Ok(Some("a".to_owned()))];
        let all = in_batches(None, |cursor| {
            seen.push(cursor.map(str::to_owned));
            answers.pop().expect("three batches")
        });
        assert_eq!(all, Ok(Batches::Finished));
        assert_eq!(seen, [None, Some("a".to_owned()), Some("b".to_owned())]);

        let late = in_batches(Some("c".to_owned()), |_| Err(Error::Deadline));
        assert_eq!(late, Ok(Batches::OutOfTime(Some("c".to_owned()))));
        let broken = in_batches(None, |_| Err(Error::Cancelled));
        assert_eq!(broken, Err(Error::Cancelled));
    }
}
