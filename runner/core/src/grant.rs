//! Needs and grants: what a plugin's manifest asks for, what the operator allows, and the one function that decides.
//!
//! It does not know what a verb does. Reading a manifest is `manifest`, reading the configuration is `config`.

mod path;
mod verb;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::name::{TableName, TargetName};

pub use path::Path;
pub use verb::{Interface, Verb};

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
