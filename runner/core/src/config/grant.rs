//! `[job.NAME.grant]`: what a job may do, held against the targets that there are and the tables that are protected.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Diagnostic, did_you_mean};
use super::document::{Entry, Node};
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::grant::{Grants, Path, Verb};
use crate::job::{Config, DatabaseTarget};
use crate::name::{TableName, TargetName};

pub(super) static GRANT: Shape = Shape {
    keys: &[
        Key {
            name: "database",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&ON_DATABASE),
            },
            presence: Presence::Optional,
            doc: "By the name of the database.",
        },
        Key {
            name: "directory",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::List(&Kind::OneOf(&texts::DIRECTORY_VERB)),
            },
            presence: Presence::Optional,
            doc: "`read`, `read-content`, `remove`, `rename`, `compress`, `truncate`, by the name of the directory.",
        },
        Key {
            name: "origin",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::List(&Kind::OneOf(&texts::ORIGIN_VERB)),
            },
            presence: Presence::Optional,
            doc: "`get`, `post`, by the name of the origin.",
        },
        Key {
            name: "storage",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::List(&Kind::OneOf(&texts::STORAGE_VERB)),
            },
            presence: Presence::Optional,
            doc: "`read`, `write`, `remove`, by the name of the storage.",
        },
        Key {
            name: "writer",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::List(&Kind::OneOf(&texts::WRITER_VERB)),
            },
            presence: Presence::Optional,
            doc: "`notify`, by the name of the writer.",
        },
    ],
};

static ON_DATABASE: Shape = Shape {
    keys: &[
        Key {
            name: "tables",
            kind: Kind::Map {
                key: &texts::GRANTED_TABLE,
                of: &Kind::List(&Kind::OneOf(&texts::TABLE_VERB)),
            },
            presence: Presence::Optional,
            doc: "`read`, `delete`, `detach`, `drop`, `vacuum`, `analyze`, `reindex`, `vacuum-full`, by table. `\"*\"` is \
                  every table, for all but `delete`, `detach`, `drop` and `vacuum-full`.",
        },
        Key {
            name: "whole",
            kind: Kind::List(&Kind::OneOf(&texts::WHOLE_VERB)),
            presence: Presence::Optional,
            doc: "The database itself: `read` for sizes, connections and statements, `terminate` to end connections, \
                  upkeep of all of it, `backup`; and `restore`, with `scratch = true` on the database.",
        },
        Key {
            name: "queries",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::List(&Kind::OneOf(&texts::QUERY_VERB)),
            },
            presence: Presence::Optional,
            doc: "`query`, by the name of the query.",
        },
    ],
};

/// The grants of a job. `config` holds the targets; `protected` are the tables that the job's own guard adds.
pub(super) fn read(
    node: Option<&Node>,
    config: &Config,
    protected: &BTreeSet<TableName>,
    mistakes: &mut Vec<Diagnostic>,
) -> Grants {
    let mut grants = BTreeMap::<Path, BTreeSet<Verb>>::new();
    let Some(node) = node else { return Grants(grants) };
    for entry in node.entries_of("database") {
        let Ok(name) = entry.key.parse::<TargetName>() else {
            continue;
        };
        let Some(database) = config.databases.get(&name) else {
            mistakes.push(unknown_target(entry, "database", config.databases.keys()));
            continue;
        };
        read_tables(entry, &name, database, protected, &mut grants, mistakes);
        if let Some(verbs) = entry.node.get("whole") {
            if let Some(at) = verb_at(verbs, Verb::Restore).filter(|_| !database.scratch) {
                mistakes.push(
                    Diagnostic::at(
                        "not-scratch",
                        at.span.clone(),
                        format!("`database.{name}` is no scratch database, and nothing is restored into another"),
                    )
                    .label("this grant")
                    .hint(format!(
                        "name an empty database that nobody needs, and mark it: `[database.{name}] scratch = true`"
                    )),
                );
            }
            grants
                .entry(Path::Whole(name.clone()))
                .or_default()
                .extend(verbs_of(verbs));
        }
        for query in entry.node.entries_of("queries") {
            let Ok(query_name) = query.key.parse::<TargetName>() else {
                continue;
            };
            if !database.queries.contains_key(&query_name) {
                mistakes.push(unknown_target(
                    query,
                    &format!("database.{name}.queries"),
                    database.queries.keys(),
                ));
            }
            grants
                .entry(Path::Query(name.clone(), query_name))
                .or_default()
                .extend(verbs_of(&query.node));
        }
    }
    for entry in node.entries_of("directory") {
        let Ok(name) = entry.key.parse::<TargetName>() else {
            continue;
        };
        match config.directories.get(&name) {
            None => mistakes.push(unknown_target(entry, "directory", config.directories.keys())),
            Some(directory) if config.folder.starts_with(&directory.path) => {
                let mut changing = entry.node.items().iter();
                if let Some(at) =
                    changing.find(|item| item.text().and_then(Verb::parse).is_some_and(Verb::is_changing))
                {
                    mistakes.push(
                        Diagnostic::at(
                            "bad-root",
                            at.span.clone(),
                            format!("`{}` holds this configuration itself", directory.path.display()),
                        )
                        .label("would be cleaned")
                        .hint("name a folder that holds nothing but what may go"),
                    );
                }
            }
            Some(_) => {}
        }
        grants
            .entry(Path::Directory(name))
            .or_default()
            .extend(verbs_of(&entry.node));
    }
    for entry in node.entries_of("origin") {
        let Ok(name) = entry.key.parse::<TargetName>() else {
            continue;
        };
        if !config.origins.contains_key(&name) {
            mistakes.push(unknown_target(entry, "origin", config.origins.keys()));
        }
        grants
            .entry(Path::Origin(name))
            .or_default()
            .extend(verbs_of(&entry.node));
    }
    for entry in node.entries_of("storage") {
        let Ok(name) = entry.key.parse::<TargetName>() else {
            continue;
        };
        if !config.storages.contains_key(&name) {
            mistakes.push(unknown_target(entry, "storage", config.storages.keys()));
        }
        grants
            .entry(Path::Storage(name))
            .or_default()
            .extend(verbs_of(&entry.node));
    }
    for entry in node.entries_of("writer") {
        let Ok(name) = entry.key.parse::<TargetName>() else {
            continue;
        };
        if !config.writers.contains_key(&name) {
            mistakes.push(unknown_target(entry, "writer", config.writers.keys()));
        }
        grants
            .entry(Path::Writer(name))
            .or_default()
            .extend(verbs_of(&entry.node));
    }
    Grants(grants)
}

fn read_tables(
    on: &Entry,
    name: &TargetName,
    database: &DatabaseTarget,
    protected: &BTreeSet<TableName>,
    grants: &mut BTreeMap<Path, BTreeSet<Verb>>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let protected: BTreeSet<TableName> = database
        .protected
        .iter()
        .chain(protected)
        .flat_map(|table| database.spellings(table))
        .collect();
    for entry in on.node.entries_of("tables") {
        let delete = [Verb::Delete, Verb::Detach, Verb::Drop, Verb::VacuumFull]
            .into_iter()
            .find_map(|verb| verb_at(&entry.node, verb).map(|at| (at, verb)));
        if entry.key == "*" {
            if let Some((at, verb)) = delete {
                mistakes.push(
                    Diagnostic::at(
                        "wildcard-delete",
                        at.span.clone(),
                        format!("`{verb}` is granted table by table, never on `\"*\"`"),
                    )
                    .label("on every table there is, and every one to come")
                    .hint(format!(
                        "name the table: `{name}.tables.user_sessions = [\"{verb}\"]`"
                    )),
                );
            }
            grants
                .entry(Path::AllTables(name.clone()))
                .or_default()
                .extend(verbs_of(&entry.node));
            continue;
        }
        let Ok(table) = entry.key.parse::<TableName>() else {
            continue;
        };
        if let Some((at, verb)) = delete.filter(|_| protected.contains(&table)) {
            mistakes.push(
                Diagnostic::at(
                    "protected",
                    at.span.clone(),
                    match verb {
                        Verb::VacuumFull => format!("`{table}` is protected: VACUUM FULL is never run on it"),
                        Verb::Detach | Verb::Drop => {
                            format!("`{table}` is protected: its partitions are never detached or dropped")
                        }
                        _ => format!("`{table}` is protected: nothing may be deleted from it"),
                    },
                )
                .label("this grant")
                .hint(format!("remove `{verb}` here, or `{table}` from `protected`")),
            );
        }
        let path = Path::Table(name.clone(), table).canonical(database.dialect().default_schema());
        grants.entry(path).or_default().extend(verbs_of(&entry.node));
    }
}

fn verbs_of(node: &Node) -> impl Iterator<Item = Verb> {
    node.items().iter().filter_map(Node::text).filter_map(Verb::parse)
}

fn verb_at(node: &Node, verb: Verb) -> Option<&Node> {
    node.items()
        .iter()
        .find(|item| item.text() == Some(verb.as_str()))
}

fn unknown_target<'a>(
    entry: &Entry,
    section: &str,
    known: impl Iterator<Item = &'a TargetName>,
) -> Diagnostic {
    let known: Vec<&str> = known.map(TargetName::as_str).collect();
    let hint = did_you_mean(&entry.key, known.iter().copied());
    Diagnostic::at(
        "unknown-target",
        entry.key_span.clone(),
        format!("there is no `{section}.{}`", entry.key),
    )
    .label("unknown")
    .hint(hint.unwrap_or_else(|| format!("add a section `[{section}.{}]`", entry.key)))
}
