//! Needs and grants: what a plugin's manifest asks for, what the operator allows, and the one function that decides.
//!
//! It does not know what a verb does. Reading a manifest is `manifest`, reading the configuration is `config`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{TableName, TargetName};

/// A capability: one interface of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Typed reads and named queries.
    DatabaseRead,
    /// Changes to rows.
    DatabaseWrite,
    /// VACUUM, ANALYZE, REINDEX, and ends of connections.
    DatabaseUpkeep,
    /// Files below a directory.
    Files,
    /// Requests to an origin of the web.
    Http,
    /// Whole objects in a storage.
    Storage,
    /// Telling the programs that write files.
    NotifyWriter,
    /// Backups of databases in storages.
    Backup,
}

impl Interface {
    /// Every interface that needs a grant, with its name in `wit/`.
    pub const ALL: [(&'static str, Self); 8] = [
        ("backup", Self::Backup),
        ("database-read", Self::DatabaseRead),
        ("database-write", Self::DatabaseWrite),
        ("database-upkeep", Self::DatabaseUpkeep),
        ("files", Self::Files),
        ("http", Self::Http),
        ("storage", Self::Storage),
        ("notify-writer", Self::NotifyWriter),
    ];

    /// The interface called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, interface)| interface)
    }

    /// Its name in `wit/`.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, interface)| *interface == self)
            .map_or("?", |(name, _)| name)
    }

    /// The verbs it offers.
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Self::DatabaseRead => &[Verb::Read, Verb::Query],
            Self::DatabaseWrite => &[Verb::Delete],
            Self::Files => &[
                Verb::Read,
                Verb::ReadContent,
                Verb::Remove,
                Verb::Rename,
                Verb::Compress,
                Verb::Truncate,
            ],
            Self::Http => &[Verb::Get, Verb::Post],
            Self::Storage => &[Verb::Read, Verb::Write, Verb::Remove],
            Self::NotifyWriter => &[Verb::Notify],
            Self::DatabaseUpkeep => &[
                Verb::Vacuum,
                Verb::Analyze,
                Verb::Reindex,
                Verb::Terminate,
                Verb::VacuumFull,
            ],
            Self::Backup => &[Verb::Read, Verb::Write, Verb::Remove, Verb::Backup, Verb::Restore],
        }
    }
}

/// What may be done with a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Look at sizes, statistics, counts, names.
    Read,
    /// Call a named query.
    Query,
    /// Delete rows.
    Delete,
    /// VACUUM.
    Vacuum,
    /// ANALYZE.
    Analyze,
    /// REINDEX.
    Reindex,
    /// End connections.
    Terminate,
    /// VACUUM FULL.
    VacuumFull,
    /// Remove files or objects.
    Remove,
    /// Read what is in files.
    ReadContent,
    /// Give files other names.
    Rename,
    /// Put compressed files in the place of files.
    Compress,
    /// Copy files and empty them where they are.
    Truncate,
    /// Ask an origin.
    Get,
    /// Ask an origin with a body, or tell it something.
    Post,
    /// Put new objects into a storage.
    Write,
    /// Tell a writer to open its files anew.
    Notify,
    /// Make backups of a database.
    Backup,
    /// Restore backups into a scratch database.
    Restore,
}

impl Verb {
    /// Every verb with its text.
    pub const ALL: [(&'static str, Self); 19] = [
        ("backup", Self::Backup),
        ("restore", Self::Restore),
        ("read", Self::Read),
        ("query", Self::Query),
        ("delete", Self::Delete),
        ("vacuum", Self::Vacuum),
        ("analyze", Self::Analyze),
        ("reindex", Self::Reindex),
        ("terminate", Self::Terminate),
        ("vacuum-full", Self::VacuumFull),
        ("remove", Self::Remove),
        ("read-content", Self::ReadContent),
        ("rename", Self::Rename),
        ("compress", Self::Compress),
        ("truncate", Self::Truncate),
        ("get", Self::Get),
        ("post", Self::Post),
        ("write", Self::Write),
        ("notify", Self::Notify),
    ];

    /// The verb called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, verb)| verb)
    }

    /// Its text.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, verb)| *verb == self)
            .map_or("?", |(name, _)| name)
    }

    /// True when something is gone afterwards: such a job needs guards and, on a schedule, an approval.
    pub fn is_destructive(self) -> bool {
        matches!(
            self,
            Self::Delete | Self::Remove | Self::Truncate | Self::Terminate | Self::VacuumFull
        )
    }

    /// True when the world differs afterwards: such a job holds leases on what it changes. An origin or a writer is nothing
    /// that one job could hold against another, so a POST or a notice is none of these.
    pub fn is_changing(self) -> bool {
        !matches!(
            self,
            Self::Read | Self::ReadContent | Self::Query | Self::Get | Self::Post | Self::Notify
        )
    }

    /// True when a change of a database is held against the fence in it. Backups change nothing there, and a restore wants it
    /// empty: their tools end with the host that started them.
    pub fn is_fenced(self) -> bool {
        self.is_changing() && !matches!(self, Self::Backup | Self::Restore)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a grant or a need is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// `database.D.tables.T`.
    Table(TargetName, TableName),
    /// `database.D.tables."*"`: every table that the grants name, or in a grant every table there is.
    AllTables(TargetName),
    /// `database.D.whole`: sizes and connections of the database itself.
    Whole(TargetName),
    /// `database.D.queries.Q`.
    Query(TargetName, TargetName),
    /// `directory.N`.
    Directory(TargetName),
    /// `origin.N`.
    Origin(TargetName),
    /// `storage.N`.
    Storage(TargetName),
    /// `writer.N`.
    Writer(TargetName),
}

impl Path {
    /// The configured target this path is in, as `database.app` or `directory.temp`.
    pub fn target(&self) -> String {
        match self {
            Self::Table(database, _)
            | Self::AllTables(database)
            | Self::Whole(database)
            | Self::Query(database, _) => {
                format!("database.{database}")
            }
            Self::Directory(name) => format!("directory.{name}"),
            Self::Origin(name) => format!("origin.{name}"),
            Self::Storage(name) => format!("storage.{name}"),
            Self::Writer(name) => format!("writer.{name}"),
        }
    }

    /// The database that it is in.
    pub fn database(&self) -> Option<&TargetName> {
        match self {
            Self::Table(database, _)
            | Self::AllTables(database)
            | Self::Whole(database)
            | Self::Query(database, _) => Some(database),
            Self::Directory(_) | Self::Origin(_) | Self::Storage(_) | Self::Writer(_) => None,
        }
    }

    /// The same path with a table of the default schema named without it: `public.x` and `x` are one table on
    /// PostgreSQL, `main.x` and `x` on SQLite. Grants and needs are held against each other in this form.
    #[must_use]
    pub fn canonical(self, default_schema: &str) -> Self {
        match self {
            Self::Table(
                database,
                TableName {
                    schema: Some(schema),
                    table,
                },
            ) if schema == default_schema => Self::Table(database, TableName { schema: None, table }),
            other => other,
        }
    }

    /// True when a grant on `self` also covers `other`; both are in their canonical form.
    pub fn covers(&self, other: &Self) -> bool {
        self == other
            || match (self, other) {
                (Self::AllTables(mine), Self::Table(theirs, _)) => mine == theirs,
                _ => false,
            }
    }
}

/// A TOML key: bare where TOML allows it, quoted otherwise.
fn key(text: &str) -> String {
    if !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(database, table) => {
                write!(f, "database.{database}.tables.{}", key(&table.to_string()))
            }
            Self::AllTables(database) => write!(f, "database.{database}.tables.\"*\""),
            Self::Whole(database) => write!(f, "database.{database}.whole"),
            Self::Query(database, query) => write!(f, "database.{database}.queries.{query}"),
            Self::Directory(name) => write!(f, "directory.{name}"),
            Self::Origin(name) => write!(f, "origin.{name}"),
            Self::Storage(name) => write!(f, "storage.{name}"),
            Self::Writer(name) => write!(f, "writer.{name}"),
        }
    }
}

/// One thing a plugin asks for, after its manifest met the job's params.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Need {
    /// The capability.
    pub interface: Interface,
    /// What it will do with it.
    pub verbs: BTreeSet<Verb>,
    /// On what.
    pub on: Path,
    /// The plugin can do without; it is linked as always-denied.
    pub optional: bool,
}

/// What the operator allows one job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(#[serde(with = "grants_as_list")] pub BTreeMap<Path, BTreeSet<Verb>>);

mod grants_as_list {
    //! JSON has no structured keys: grants are a list of pairs there.
    use super::{BTreeMap, BTreeSet, Path, Verb};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<Path, BTreeSet<Verb>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Path, BTreeSet<Verb>>, D::Error> {
        Ok(Vec::<(Path, BTreeSet<Verb>)>::deserialize(from)?
            .into_iter()
            .collect())
    }
}

/// A call or a need that no grant covers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no grant covers `{verb}` on {on}", verb = verbs_text(.verbs))]
pub struct Denied {
    /// The verbs that are missing.
    pub verbs: BTreeSet<Verb>,
    /// On what.
    pub on: Path,
    /// Every verb the job then has on that path, so that the line to add is complete.
    pub all: BTreeSet<Verb>,
}

fn verbs_text(verbs: &BTreeSet<Verb>) -> String {
    verbs
        .iter()
        .map(|verb| verb.as_str())
        .collect::<Vec<_>>()
        .join("`, `")
}

impl Denied {
    /// The exact line to put under `[job.NAME.grant]`.
    pub fn line_to_add(&self) -> String {
        let verbs = self
            .all
            .iter()
            .map(|verb| format!("\"{verb}\""))
            .collect::<Vec<_>>()
            .join(", ");
        format!("{} = [{verbs}]", self.on)
    }
}

impl Grants {
    /// The verbs granted on `path`.
    pub fn on(&self, path: &Path) -> BTreeSet<Verb> {
        self.0
            .iter()
            .filter(|(granted, _)| granted.covers(path))
            .flat_map(|(_, verbs)| verbs.iter().copied())
            .collect()
    }

    /// The tables of `database` that are granted `verb` by name.
    pub fn tables(&self, database: &TargetName, verb: Verb) -> impl Iterator<Item = &TableName> {
        self.0.iter().filter_map(move |(path, verbs)| match path {
            Path::Table(on, table) if on == database && verbs.contains(&verb) => Some(table),
            _ => None,
        })
    }

    /// True when some granted verb destroys something.
    pub fn is_destructive(&self) -> bool {
        self.0.values().flatten().any(|verb| verb.is_destructive())
    }
}

/// What a job may really do: what its plugin needs *and* its operator granted. The only gate before a port.
#[derive(Debug, Clone, Default)]
pub struct Authority {
    needs: Vec<Need>,
    grants: Grants,
    /// The default schema of each database, so that a call may name a table either way.
    default_schemas: BTreeMap<TargetName, &'static str>,
}

impl Authority {
    /// Holds a job's needs against its grants.
    ///
    /// # Errors
    /// Every need that is not optional and not covered, each with the line to add.
    pub fn resolve(needs: Vec<Need>, grants: Grants) -> Result<Self, Vec<Denied>> {
        let mut denied = BTreeMap::<Path, Denied>::new();
        for need in needs.iter().filter(|need| !need.optional) {
            let has = match &need.on {
                // "All granted": satisfied by any one table that has the verbs.
                Path::AllTables(database) => need
                    .verbs
                    .iter()
                    .copied()
                    .filter(|verb| {
                        grants.tables(database, *verb).next().is_some() || grants.on(&need.on).contains(verb)
                    })
                    .collect(),
                on => grants.on(on),
            };
            let missing: BTreeSet<Verb> = need.verbs.difference(&has).copied().collect();
            if !missing.is_empty() {
                let entry = denied.entry(need.on.clone()).or_insert_with(|| Denied {
                    verbs: BTreeSet::new(),
                    on: need.on.clone(),
                    all: grants.on(&need.on),
                });
                entry.all.extend(missing.iter().copied());
                entry.verbs.extend(missing);
            }
        }
        if denied.is_empty() {
            Ok(Self {
                needs,
                grants,
                default_schemas: BTreeMap::new(),
            })
        } else {
            Err(denied.into_values().collect())
        }
    }

    /// The same, for databases with these default schemas.
    #[must_use]
    pub fn with_default_schemas(mut self, default_schemas: BTreeMap<TargetName, &'static str>) -> Self {
        self.default_schemas = default_schemas;
        self
    }

    /// True when the plugin asks for all granted tables of `database`, and all there are were granted: then somebody has
    /// to say which those are.
    pub fn asks_for_all(&self, database: &TargetName) -> bool {
        let all = Path::AllTables(database.clone());
        self.grants.0.contains_key(&all) && self.needs.iter().any(|need| need.on == all)
    }

    /// The same, with what was granted on all tables of `database` granted on each of `tables` by its name, so that each
    /// is leased, fenced and listed.
    #[must_use]
    pub fn naming_all(mut self, database: &TargetName, tables: Vec<TableName>) -> Self {
        let verbs = self.grants.on(&Path::AllTables(database.clone()));
        for table in tables {
            let path = self.canonical(Path::Table(database.clone(), table));
            self.grants.0.entry(path).or_default().extend(&verbs);
        }
        self
    }

    /// Decides one call: allowed only when the manifest needs it and the operator granted it.
    ///
    /// # Errors
    /// The denial, with the line that would allow it.
    pub fn authorize(&self, interface: Interface, verb: Verb, on: &Path) -> Result<(), Denied> {
        let on = &self.canonical(on.clone());
        let needed = self
            .needs
            .iter()
            .any(|need| need.interface == interface && need.verbs.contains(&verb) && need.on.covers(on));
        let granted = self.grants.on(on);
        if needed && granted.contains(&verb) {
            return Ok(());
        }
        let mut all = granted;
        all.insert(verb);
        Err(Denied {
            verbs: BTreeSet::from([verb]),
            on: on.clone(),
            all,
        })
    }

    /// The path as grants, needs and leases write it: a table of the default schema without its schema.
    pub fn canonical(&self, on: Path) -> Path {
        match on.database().and_then(|name| self.default_schemas.get(name)) {
            Some(schema) => on.canonical(schema),
            None => on,
        }
    }

    /// The grants it was made from.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The needs it was made from.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// The interfaces that may be linked; those in `optional` but ungranted answer every call with a denial.
    pub fn interfaces(&self) -> BTreeSet<Interface> {
        self.needs.iter().map(|need| need.interface).collect()
    }

    /// What the job will change: the scopes that it leases. New objects are in nobody's way: they are made whole, under
    /// keys that are not taken.
    pub fn changes(&self) -> BTreeSet<Path> {
        self.needs
            .iter()
            .flat_map(|need| {
                need.verbs
                    .iter()
                    .filter(|verb| verb.is_changing())
                    .map(move |verb| (need, *verb))
            })
            .flat_map(|(need, verb)| match &need.on {
                Path::AllTables(database) => self
                    .grants
                    .tables(database, verb)
                    .map(|table| Path::Table(database.clone(), table.clone()))
                    .collect::<Vec<_>>(),
                Path::Storage(_) if verb == Verb::Write => Vec::new(),
                on if self.grants.on(on).contains(&verb) => vec![on.clone()],
                _ => Vec::new(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> TargetName {
        name.parse().expect("a name")
    }

    fn table(name: &str) -> Path {
        Path::Table(target("app"), name.parse().expect("a table"))
    }

    fn need(interface: Interface, verbs: &[Verb], on: Path) -> Need {
        Need {
            interface,
            verbs: verbs.iter().copied().collect(),
            on,
            optional: false,
        }
    }

    fn grants(entries: &[(Path, &[Verb])]) -> Grants {
        Grants(
            entries
                .iter()
                .map(|(path, verbs)| (path.clone(), verbs.iter().copied().collect()))
                .collect(),
        )
    }

    #[test]
    fn a_missing_grant_names_the_whole_line_to_add() {
        let needs = vec![
            need(Interface::DatabaseRead, &[Verb::Read], table("user_sessions")),
            need(Interface::DatabaseWrite, &[Verb::Delete], table("user_sessions")),
        ];
        let denied = Authority::resolve(needs, grants(&[(table("user_sessions"), &[Verb::Read])]))
            .expect_err("delete is missing");
        assert_eq!(denied.len(), 1);
        assert_eq!(
            denied[0].line_to_add(),
            r#"database.app.tables.user_sessions = ["read", "delete"]"#
        );
    }

    #[test]
    fn a_grant_without_a_need_allows_nothing() {
        let all = grants(&[(table("a"), &[Verb::Read, Verb::Delete])]);
        let authority = Authority::resolve(
            vec![need(Interface::DatabaseRead, &[Verb::Read], table("a"))],
            all,
        )
        .expect("read is granted");
        assert!(
            authority
                .authorize(Interface::DatabaseRead, Verb::Read, &table("a"))
                .is_ok()
        );
        assert!(
            authority
                .authorize(Interface::DatabaseWrite, Verb::Delete, &table("a"))
                .is_err()
        );
        assert!(
            authority
                .authorize(Interface::DatabaseRead, Verb::Read, &table("b"))
                .is_err()
        );
    }

    #[test]
    fn a_table_may_be_named_with_its_default_schema_and_with_no_other() {
        let authority = Authority::resolve(
            vec![need(Interface::DatabaseRead, &[Verb::Read], table("a"))],
            grants(&[(table("a"), &[Verb::Read])]),
        )
        .expect("read is granted")
        .with_default_schemas(BTreeMap::from([(target("app"), "public")]));
        let may_read = |name: &str| {
            authority
                .authorize(Interface::DatabaseRead, Verb::Read, &table(name))
                .is_ok()
        };
        assert!(may_read("a"));
        assert!(may_read("public.a"));
        assert!(
            !may_read("main.a"),
            "a schema called main is another one on PostgreSQL"
        );
        assert!(!may_read("public.b"));
    }

    #[test]
    fn all_tables_means_those_that_were_granted() {
        let authority = Authority::resolve(
            vec![need(
                Interface::DatabaseUpkeep,
                &[Verb::Vacuum],
                Path::AllTables(target("app")),
            )],
            grants(&[(table("a"), &[Verb::Vacuum]), (table("b"), &[Verb::Read])]),
        )
        .expect("one table is granted");
        assert!(
            authority
                .authorize(Interface::DatabaseUpkeep, Verb::Vacuum, &table("a"))
                .is_ok()
        );
        assert!(
            authority
                .authorize(Interface::DatabaseUpkeep, Verb::Vacuum, &table("b"))
                .is_err()
        );
        assert_eq!(authority.changes(), BTreeSet::from([table("a")]));
    }

    #[test]
    fn odd_table_names_are_quoted_as_toml_keys() {
        assert_eq!(
            table("billing.rows").to_string(),
            r#"database.app.tables."billing.rows""#
        );
    }

    #[test]
    fn a_grant_on_all_tables_becomes_one_on_each() {
        let all = Path::AllTables(target("app"));
        let needs = vec![need(Interface::DatabaseUpkeep, &[Verb::Vacuum], all.clone())];
        let granted = grants(&[(all, &[Verb::Vacuum]), (table("b"), &[Verb::Read])]);
        let authority = Authority::resolve(needs, granted)
            .expect("granted")
            .with_default_schemas([(target("app"), "public")].into());
        assert!(authority.asks_for_all(&target("app")));
        assert_eq!(authority.changes(), BTreeSet::new(), "nobody has said which");
        let names = ["public.a", "b", "other.c"].map(|name| name.parse().expect("a table"));
        let named = authority.naming_all(&target("app"), names.to_vec());
        assert_eq!(
            named.changes(),
            BTreeSet::from([table("a"), table("b"), table("other.c")])
        );
        let on_b = named.grants().on(&table("b"));
        assert_eq!(on_b, BTreeSet::from([Verb::Read, Verb::Vacuum]));
    }
}
