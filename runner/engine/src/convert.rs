//! The contract's values as core's, and back. What makes no sense is refused here, before anything is asked for.

use sereno_core::ports::files::{self as port, Span};
use sereno_core::ports::plugins::CallError;
use sereno_core::value::{Condition, FileFilter, Filter, Instant, Operator, Stamp, Value};

use crate::bindings::{files, types};

/// Buckets of one histogram: fine enough for a week in minutes, small enough to be handed over at once.
const BUCKETS_MAX: u32 = 4_096;

/// Entries that one page answers, so that it holds little memory.
const PAGE_MAX: u32 = 10_000;

/// Entries or rows that one batch visits, so that the next look at the deadline is near. Adapters take fewer where the
/// database is slow.
const STEP_MAX: u32 = 100_000;

/// Bytes of a file that one call answers: thousands of log lines, and a small part of a guest's memory.
const CONTENT_BYTES_MAX: u32 = 256 << 10;

/// Bytes of a path, as Linux has them.
const PATH_BYTES_MAX: usize = 4_096;

/// Conditions of one filter: more than anybody writes down, few enough for a statement that holds several filters.
const CONDITIONS_MAX: usize = 64;

/// Globs and stamps of one filter of files: each is held against every name.
const PATTERNS_MAX: usize = 256;

/// All texts of one filter: a filter is kept, put into words and recorded for as long as its run is.
const FILTER_BYTES_MAX: usize = 16 << 10;

/// Refuses a filter of too many parts, or too long ones.
fn bounded(parts: usize, parts_max: usize, what: &str, bytes: usize) -> Result<(), CallError> {
    if parts > parts_max {
        return Err(invalid(format!(
            "a filter of {parts} {what}; it may have {parts_max}"
        )));
    }
    if bytes > FILTER_BYTES_MAX {
        return Err(invalid(format!(
            "a filter of {bytes} bytes of text; it may have {FILTER_BYTES_MAX}"
        )));
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> CallError {
    CallError::Invalid(text.into())
}

pub(crate) fn instant(microseconds: i64) -> Result<Instant, CallError> {
    Instant::from_timestamp_micros(microseconds).ok_or_else(|| {
        invalid(format!(
            "{microseconds} microseconds since 1970 are beyond any calendar"
        ))
    })
}

pub(crate) fn value(value: types::Value) -> Result<Value, CallError> {
    Ok(match value {
        types::Value::Null => Value::Null,
        types::Value::Boolean(value) => Value::Boolean(value),
        types::Value::Integer(value) => Value::Integer(value),
        types::Value::Real(value) if value.is_finite() => Value::Real(value),
        types::Value::Real(value) => {
            return Err(invalid(format!("{value} cannot be compared with a column")));
        }
        types::Value::Text(text) => Value::Text(text),
        types::Value::Instant(at) => Value::Instant(instant(at)?),
        types::Value::Other(kind) => {
            return Err(invalid(format!("this host knows no value of kind `{kind}`")));
        }
    })
}

pub(crate) fn value_out(value: Value) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Boolean(value) => types::Value::Boolean(value),
        Value::Integer(value) => types::Value::Integer(value),
        Value::Real(value) => types::Value::Real(value),
        Value::Text(text) => types::Value::Text(text),
        Value::Instant(at) => types::Value::Instant(at.timestamp_micros()),
    }
}

pub(crate) fn filter(conditions: Vec<types::Condition>) -> Result<Filter, CallError> {
    let texts = conditions.iter().map(|condition| {
        let value = match &condition.value {
            types::Value::Text(text) | types::Value::Other(text) => text.len(),
            _ => 0,
        };
        condition.column.len() + value
    });
    bounded(conditions.len(), CONDITIONS_MAX, "conditions", texts.sum())?;
    let conditions = conditions.into_iter().map(|condition| {
        let op = Operator::parse(&condition.op)
            .ok_or_else(|| invalid(format!("`{}` is no comparison", condition.op)))?;
        if condition.column.is_empty() || condition.column.contains('\0') {
            return Err(invalid(format!("`{}` is no column", condition.column)));
        }
        let value = match op {
            Operator::IsNull | Operator::IsNotNull => Value::Null,
            _ => value(condition.value)?,
        };
        Ok(Condition {
            column: condition.column,
            op,
            value,
        })
    });
    Ok(Filter(conditions.collect::<Result<_, _>>()?))
}

/// An attribute may narrow what is meant, so one that is not known here makes the filter nonsense: to ignore it
/// could remove more than was asked for.
pub(crate) fn file_filter(filter: files::FileFilter) -> Result<FileFilter, CallError> {
    if let Some((name, _)) = filter.attributes.first() {
        return Err(invalid(format!(
            "this host knows no attribute `{name}` of a file filter"
        )));
    }
    let globs = || filter.include.iter().chain(&filter.exclude);
    let patterns = globs().count() + filter.age_by.len();
    bounded(
        patterns,
        PATTERNS_MAX,
        "globs and stamps",
        globs().map(String::len).sum(),
    )?;
    let age_by = filter.age_by.iter().map(|stamp| {
        Stamp::parse(stamp)
            .ok_or_else(|| invalid(format!("`{stamp}` is no stamp; there are mtime, ctime and btime")))
    });
    Ok(FileFilter {
        older_than: filter.older_than.map(instant).transpose()?,
        age_by: age_by.collect::<Result<_, _>>()?,
        include: filter.include,
        exclude: filter.exclude,
        recursive: filter.recursive,
        directory_as_unit: filter.directory_as_unit,
        remove_emptied: filter.remove_emptied,
    })
}

pub(crate) fn span(start: i64, end: i64, buckets: u32) -> Result<Span, CallError> {
    if !(1..=BUCKETS_MAX).contains(&buckets) {
        return Err(invalid(format!("{buckets} buckets; ask for 1 to {BUCKETS_MAX}")));
    }
    let (start, end) = (instant(start)?, instant(end)?);
    if start >= end {
        return Err(invalid("a span of time ends after it starts"));
    }
    Ok(Span { start, end, buckets })
}

/// How many entries or rows a batch may visit: what was asked for, or the most that one call does.
pub(crate) fn step(max: u32) -> Result<u32, CallError> {
    up_to(max, STEP_MAX)
}

/// How many entries a page may have.
pub(crate) fn page(max: u32) -> Result<u32, CallError> {
    up_to(max, PAGE_MAX)
}

/// How many bytes of a file one call may answer.
pub(crate) fn content(max: u32) -> Result<u32, CallError> {
    up_to(max, CONTENT_BYTES_MAX)
}

/// A path that is put into words and recorded. Whether it leads anywhere is the adapter's to say.
pub(crate) fn path(path: &[u8]) -> Result<(), CallError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(invalid(format!(
            "a path of {} bytes; it may have {PATH_BYTES_MAX}",
            path.len()
        )));
    }
    Ok(())
}

pub(crate) fn left(left: Vec<(Vec<u8>, port::Left)>) -> Vec<files::LeftFile> {
    let file = |(path, why): (Vec<u8>, port::Left)| files::LeftFile {
        path,
        reason: why.as_str().to_owned(),
    };
    left.into_iter().map(file).collect()
}

fn up_to(max: u32, most: u32) -> Result<u32, CallError> {
    if max == 0 {
        Err(invalid("a batch of at most 0 never ends; ask for 1 or more"))
    } else {
        Ok(max.min(most))
    }
}

pub(crate) fn removal(removal: port::Removal) -> files::Removal {
    files::Removal {
        files: removal.files,
        directories: removal.directories,
        bytes: removal.bytes,
        skipped: removal.skipped,
        cursor: removal.cursor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(column: &str, op: &str, value: types::Value) -> types::Condition {
        types::Condition {
            column: column.to_owned(),
            op: op.to_owned(),
            value,
        }
    }

    fn bare() -> files::FileFilter {
        files::FileFilter {
            older_than: None,
            age_by: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            recursive: false,
            directory_as_unit: false,
            remove_emptied: false,
            attributes: Vec::new(),
        }
    }

    fn is_invalid<T>(result: &Result<T, CallError>) -> bool {
        matches!(result, Err(CallError::Invalid(_)))
    }

    #[test]
    fn a_filter_comes_over_whole() {
        let given = vec![
            condition("at", "<", types::Value::Instant(1_000_000)),
            condition("gone", "is-null", types::Value::Other("ignored".to_owned())),
        ];
        let expected = Filter(vec![
            Condition {
                column: "at".into(),
                op: Operator::Less,
                value: Value::Instant(Instant::UNIX_EPOCH + std::time::Duration::from_secs(1)),
            },
            Condition {
                column: "gone".into(),
                op: Operator::IsNull,
                value: Value::Null,
            },
        ]);
        assert_eq!(filter(given), Ok(expected));
    }

    #[test]
    fn what_makes_no_sense_in_a_filter_is_refused() {
        for (column, op, value) in [
            ("a", "like", types::Value::Null),
            ("", "=", types::Value::Null),
            ("a\0b", "=", types::Value::Null),
            ("a", "=", types::Value::Real(f64::NAN)),
            ("a", "=", types::Value::Instant(i64::MAX)),
            ("a", "=", types::Value::Other("uuid".to_owned())),
        ] {
            assert!(
                is_invalid(&filter(vec![condition(column, op, value.clone())])),
                "{column} {op} {value:?}"
            );
        }
    }

    #[test]
    fn a_filter_has_so_many_parts_and_so_much_text_and_no_more() {
        let conditions = |count| vec![condition("a", "=", types::Value::Integer(1)); count];
        assert!(filter(conditions(CONDITIONS_MAX)).is_ok());
        assert!(is_invalid(&filter(conditions(CONDITIONS_MAX + 1))));
        let long = |bytes| vec![condition("a", "=", types::Value::Text("x".repeat(bytes - 1)))];
        assert!(filter(long(FILTER_BYTES_MAX)).is_ok());
        assert!(is_invalid(&filter(long(FILTER_BYTES_MAX + 1))));

        let globs = |include, exclude| files::FileFilter {
            include: vec!["*".to_owned(); include],
            exclude: vec!["*".to_owned(); exclude],
            ..bare()
        };
        assert!(file_filter(globs(PATTERNS_MAX - 1, 1)).is_ok());
        assert!(is_invalid(&file_filter(globs(PATTERNS_MAX, 1))));
        let long = |bytes| files::FileFilter {
            include: vec!["x".repeat(bytes)],
            ..bare()
        };
        assert!(file_filter(long(FILTER_BYTES_MAX)).is_ok());
        assert!(is_invalid(&file_filter(long(FILTER_BYTES_MAX + 1))));
        let stamps = files::FileFilter {
            age_by: vec!["mtime".to_owned(); PATTERNS_MAX + 1],
            ..bare()
        };
        assert!(is_invalid(&file_filter(stamps)));
    }

    #[test]
    fn an_attribute_that_could_narrow_a_file_filter_is_not_ignored() {
        assert!(file_filter(bare()).is_ok());
        let narrowed = files::FileFilter {
            attributes: vec![("larger-than".to_owned(), "1".to_owned())],
            ..bare()
        };
        assert!(is_invalid(&file_filter(narrowed)));
        let stamped = files::FileFilter {
            age_by: vec!["atime".to_owned()],
            ..bare()
        };
        assert!(is_invalid(&file_filter(stamped)));
    }

    #[test]
    fn no_step_is_endless() {
        assert_eq!(step(1), Ok(1));
        assert_eq!(step(u32::MAX), Ok(STEP_MAX));
        assert!(is_invalid(&step(0)));
        assert_eq!(page(PAGE_MAX), Ok(PAGE_MAX));
        assert_eq!(page(PAGE_MAX + 1), Ok(PAGE_MAX));
        assert!(is_invalid(&page(0)));
    }

    #[test]
    fn a_path_and_a_part_of_a_file_have_an_end() {
        assert_eq!(path(&[b'x'; PATH_BYTES_MAX]), Ok(()));
        assert!(is_invalid(&path(&[b'x'; PATH_BYTES_MAX + 1])));
        assert_eq!(content(CONTENT_BYTES_MAX + 1), Ok(CONTENT_BYTES_MAX));
        assert!(is_invalid(&content(0)));
    }

    #[test]
    fn spans_have_an_order_and_a_size() {
        assert!(span(0, 1, BUCKETS_MAX).is_ok());
        assert!(is_invalid(&span(0, 1, BUCKETS_MAX + 1)));
        assert!(is_invalid(&span(0, 1, 0)));
        assert!(is_invalid(&span(1, 1, 1)));
    }
}
