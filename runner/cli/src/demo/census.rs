//! What is in the demo's folder and tables at one moment, and how two such moments differ.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::world::Table;

/// What there is at one moment.
pub(super) struct Census {
    pub(super) files: BTreeSet<String>,
    pub(super) rows: Vec<(Table, BTreeSet<i64>)>,
}

/// What is missing and what should not be there, by name, a few of each.
pub(super) fn difference<T: Ord + std::fmt::Debug>(
    what: &str,
    expected: &BTreeSet<T>,
    found: &BTreeSet<T>,
) -> Option<String> {
    const NAMED: usize = 3;
    let missing: Vec<&T> = expected.difference(found).collect();
    let left: Vec<&T> = found.difference(expected).collect();
    (!missing.is_empty() || !left.is_empty()).then(|| {
        format!(
            "{what}: {} that had to stay are gone {:?}, {} that had to go are there {:?}",
            missing.len(),
            &missing[..missing.len().min(NAMED)],
            left.len(),
            &left[..left.len().min(NAMED)]
        )
    })
}

/// Every file and directory below `top`, directories with a slash at their end.
pub(super) fn list(folder: &Path, top: &str, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let path = folder.join(top);
    let failed = || format!("could not list {}", path.display());
    found.insert(format!("{top}/"));
    for entry in fs::read_dir(&path).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let name = format!("{top}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().with_context(failed)?.is_dir() {
            list(folder, &name, found)?;
        } else {
            found.insert(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_is_missing_and_what_is_left() {
        let set = |ids: &[i64]| ids.iter().copied().collect::<BTreeSet<i64>>();
        assert_eq!(difference("rows", &set(&[1, 2]), &set(&[1, 2])), None);
        assert_eq!(
            difference("rows", &set(&[1, 2]), &set(&[2, 3])).as_deref(),
            Some("rows: 1 that had to stay are gone [1], 1 that had to go are there [3]")
        );
    }
}
