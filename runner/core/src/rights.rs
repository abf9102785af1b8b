//! What the roles of a database must be allowed so that its jobs can work, and no more: the union of what their plugins
//! need and their operator granted.
//!
//! Which statements give those rights is the adapter's knowledge.

use std::collections::{BTreeMap, BTreeSet};

use crate::grant::{Need, Path, Verb};
use crate::job::{FenceKind, Job, NamedQuery};
use crate::name::{JobName, TableName, TargetName};

/// Who wants something, by what they do with it.
pub type Wanted = BTreeMap<Verb, BTreeSet<JobName>>;

/// What the jobs do in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// On tables by their names.
    pub tables: BTreeMap<TableName, Wanted>,
    /// On every table there is. Looking at sizes and statistics needs no right and is not in here.
    pub all_tables: Wanted,
    /// On the database as a whole.
    pub whole: Wanted,
    /// Named queries with their SQL, which alone says what they read.
    pub queries: BTreeMap<TargetName, String>,
    /// Some job's changes are held against the fence in the database.
    pub is_fenced: bool,
    /// Nothing may be deleted from these.
    pub protected: Vec<TableName>,
}

impl Rights {
    /// Adds what `job`, whose plugin has these needs, does in `database`.
    pub fn add(
        &mut self,
        database: &TargetName,
        job: &Job,
        needs: &[Need],
        queries: &BTreeMap<TargetName, NamedQuery>,
    ) {
        let note = |wanted: &mut Wanted, verb: Verb| {
            wanted.entry(verb).or_default().insert(job.name.clone());
        };
        let all = Path::AllTables(database.clone());
        let of_all = job.grants.on(&all);
        for need in needs.iter().filter(|need| need.on.database() == Some(database)) {
            for verb in need.verbs.iter().copied() {
                let is_granted = job.grants.on(&need.on).contains(&verb);
                match &need.on {
                    Path::Table(_, table) if is_granted => {
                        note(self.tables.entry(table.clone()).or_default(), verb);
                    }
                    Path::AllTables(_) => {
                        for table in job.grants.tables(database, verb) {
                            note(self.tables.entry(table.clone()).or_default(), verb);
                        }
                        if of_all.contains(&verb) && verb != Verb::Read {
                            note(&mut self.all_tables, verb);
                        }
                    }
                    Path::Whole(_) if is_granted => note(&mut self.whole, verb),
                    Path::Query(_, query) if is_granted => {
                        let sql = queries
                            .get(query)
                            .map(|query| query.sql.clone())
                            .unwrap_or_default();
                        self.queries.insert(query.clone(), sql);
                    }
                    _ => continue,
                }
                self.is_fenced |= verb.is_fenced() && job.fence == FenceKind::Database;
            }
        }
    }

    /// True when no job does anything there.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.all_tables.is_empty()
            && self.whole.is_empty()
            && self.queries.is_empty()
    }
}
