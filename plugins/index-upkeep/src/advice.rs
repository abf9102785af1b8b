//! What one table's indexes have too much of, and what they lack, by their definitions and use alone.
//!
//! It asks nobody. An index that a constraint stands on is never called unneeded, nor is the only one that serves a foreign key
//! or a purge: the next run would ask for it again.

use sereno_plugin::{Finding, ForeignKey, IndexDetail, Instant, text};

use crate::Params;
use crate::statement::{self, Dialect};

/// A table as it was looked at.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) name: &'a str,
    /// As grants write it.
    pub(crate) on: String,
    pub(crate) dialect: Dialect,
    pub(crate) rows: Option<u64>,
    pub(crate) indexes: Vec<IndexDetail>,
    pub(crate) keys: Vec<ForeignKey>,
    /// An index of it is being built at this moment.
    pub(crate) is_building: bool,
}

/// What is to be said of a table.
#[derive(Debug, Default)]
pub(crate) struct Advice {
    pub(crate) findings: Vec<Finding>,
    /// Bytes of indexes that nothing needs.
    pub(crate) unneeded: u64,
    /// Uses are counted since this only: too short to call anything unused.
    pub(crate) counted_since: Option<Instant>,
}

/// Judges a table. `unused_before` is what a last use must lie before.
pub(crate) fn advise(table: &Table<'_>, params: &Params, unused_before: Instant) -> Advice {
    let mut advice = Advice::default();
    for index in &table.indexes {
        if !index.valid {
            advice.findings.extend(invalid(table, index));
        } else if let Some(by) = redundant(table, index) {
            advice.unneeded(table, index, params, "index-redundant", &by);
        } else {
            match unused(table, index, params, unused_before) {
                Use::None(words) => advice.unneeded(table, index, params, "index-unused", &words),
                Use::Young(since) => advice.counted_since = advice.counted_since.max(Some(since)),
                Use::Needed => {}
            }
        }
    }
    if table
        .rows
        .is_none_or(|rows| rows >= u64::try_from(params.rows_from).unwrap_or(0))
    {
        missing(table, params, &mut advice.findings);
    }
    advice
}

impl Advice {
    fn unneeded(&mut self, table: &Table<'_>, index: &IndexDetail, params: &Params, code: &str, why: &str) {
        let bytes = index.bytes.unwrap_or(0);
        self.unneeded += bytes;
        if bytes < params.bytes_from {
            return;
        }
        let text = format!("{} ({}) {why}", index.index, text::bytes(bytes));
        let next = statement::drop(table.dialect, table.name, &index.index);
        self.findings
            .push(Finding::warn(code, &*table.on, text).next(next));
    }
}

/// An index that an interrupted build left behind; one that is being built is invalid until it is done.
fn invalid(table: &Table<'_>, index: &IndexDetail) -> Option<Finding> {
    if table.is_building {
        return None;
    }
    let stem = index.index.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_leftover = stem.ends_with("_ccnew") || stem.ends_with("_ccold");
    let text = format!(
        "{} is invalid: no query uses it, and every write pays for it",
        index.index
    );
    let next = if is_leftover {
        statement::drop(table.dialect, table.name, &index.index)
    } else {
        statement::rebuild(table.dialect, table.name, &index.index)
    };
    Some(Finding::warn("index-invalid", &*table.on, text).next(next))
}

/// Nothing but queries depends on it.
fn is_free(index: &IndexDetail) -> bool {
    !index.primary && !index.constraint
}

/// Whatever `small` does, `big` does too.
fn covers(big: &IndexDetail, small: &IndexDetail) -> bool {
    let keys = small.columns.len();
    let is_prefix = big.columns.get(..keys) == Some(&small.columns[..])
        && big.ordering.get(..keys) == small.ordering.get(..keys);
    let is_equal = is_prefix && big.columns.len() == keys;
    let carries = |column: &String| big.columns.contains(column) || big.included.contains(column);
    big.valid
        && is_free(small)
        && big.method == small.method
        && big.predicate == small.predicate
        && (is_equal || (is_prefix && small.method == "btree" && !small.unique))
        && (!small.unique || big.unique)
        && small.included.iter().all(carries)
}

/// Why another index makes this one redundant. Of two that are alike the one whose name comes first stays.
fn redundant(table: &Table<'_>, index: &IndexDetail) -> Option<String> {
    let by = table.indexes.iter().find(|other| {
        other.index != index.index
            && covers(other, index)
            && (!covers(index, other) || other.index < index.index)
    })?;
    Some(if by.columns.len() == index.columns.len() {
        format!("does nothing that {} does not", by.index)
    } else {
        format!(
            "is redundant: {} begins with the same columns ({})",
            by.index,
            by.columns.join(", ")
        )
    })
}

enum Use {
    Needed,
    None(String),
    /// It looks unused, but nobody has counted for long enough.
    Young(Instant),
}

fn unused(table: &Table<'_>, index: &IndexDetail, params: &Params, before: Instant) -> Use {
    if !is_free(index) || index.unique || is_only_one_for_something(table, index, params) {
        return Use::Needed;
    }
    // It would do the work of those that it makes redundant.
    let taken_over = || table.indexes.iter().filter(|other| covers(index, other));
    let Some(scans) = index.scans else {
        return Use::Needed;
    };
    let scans = taken_over().filter_map(|other| other.scans).fold(scans, u64::max);
    let last_scan = taken_over().map(|other| other.last_scan).fold(None, Option::max);
    let here = "on this server; look at every standby too, which counts for itself";
    if let Some(last) = last_scan {
        return if last < before {
            Use::None(format!("was last used at {last} {here}"))
        } else {
            Use::Needed
        };
    }
    if scans > u64::try_from(params.unused_scans).unwrap_or(0) {
        return Use::Needed;
    }
    match index.counted_since {
        Some(since) if since < before => Use::None(format!(
            "was used {} since {since} {here}",
            text::counted(scans, "time", "times")
        )),
        Some(since) => Use::Young(since),
        None => Use::Needed,
    }
}

/// It begins with these columns, in any order.
fn leads(index: &IndexDetail, columns: &[String]) -> bool {
    let start = index.columns.get(..columns.len()).unwrap_or(&[]);
    index.valid
        && index.predicate.is_none()
        && !start.is_empty()
        && columns.iter().all(|column| start.contains(column))
}

fn purged<'a>(table: &'a Table<'_>, params: &'a Params) -> impl Iterator<Item = Vec<String>> + 'a {
    let of_table = params.purges.iter().filter(|purge| purge.table == table.name);
    of_table.map(|purge| vec![purge.column.clone()])
}

fn is_only_one_for_something(table: &Table<'_>, index: &IndexDetail, params: &Params) -> bool {
    let keys = table.keys.iter().map(|key| key.columns.clone());
    keys.chain(purged(table, params)).any(|columns| {
        leads(index, &columns)
            && !table
                .indexes
                .iter()
                .any(|other| other.index != index.index && leads(other, &columns))
    })
}

/// Indexes that should be there.
fn missing(table: &Table<'_>, params: &Params, findings: &mut Vec<Finding>) {
    let mut asked = Vec::new();
    for key in table.keys.iter().filter(|key| !key.indexed) {
        if asked.contains(&key.columns) {
            continue;
        }
        asked.push(key.columns.clone());
        let name = match key.name.as_str() {
            "" => String::new(),
            name => format!(" {name}"),
        };
        let text = format!(
            "no index begins with {} of the foreign key{name}: every delete in {} reads all of {}",
            key.columns.join(", "),
            key.refers_to,
            table.name
        );
        let next = statement::create(table.dialect, table.name, &key.columns);
        findings.push(Finding::warn("index-missing-for-key", &*table.on, text).next(next));
    }
    for columns in purged(table, params) {
        let serves = |index: &IndexDetail| index.method == "btree" && leads(index, &columns);
        if asked.contains(&columns) || table.indexes.iter().any(serves) {
            continue;
        }
        let text = format!(
            "no index begins with {}, by which {} is purged: every purge reads and sorts all of it",
            columns.join(", "),
            table.name
        );
        let next = statement::create(table.dialect, table.name, &columns);
        findings.push(Finding::warn("index-missing-for-purge", &*table.on, text).next(next));
        asked.push(columns);
    }
}

#[cfg(test)]
pub(crate) mod tests;
