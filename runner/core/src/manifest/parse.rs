//! Reads `plugin.toml`.
//!
//! Every mistake at once: the shape first, then what depends on several values (a default and its range, a pattern
//! and the params it names).

use std::collections::BTreeSet;

use semver::Version;

use super::params::settle;
use super::pattern::{PathPattern, Slot, Template};
use super::unless::{self, Unless};
use super::{Manifest, NeedPattern, Param, ParamKind, ReferencePattern, VerbPattern};
use crate::config::diagnostic::{Diagnostic, did_you_mean};
use crate::config::document::{self, Data, Entry, Node};
use crate::config::shape::{self, Choice, Complaint, Key, Kind, Parsed, Presence, Shape};
use crate::grant::{Interface, Verb};
use crate::name::PluginName;

/// A mistake in a manifest.
pub type ManifestError = Diagnostic;

/// Every kind of param with its name in the manifest.
static KINDS: Choice = Choice {
    what: "a type of param",
    code: "bad-value",
    texts: &[
        "string",
        "integer",
        "float",
        "boolean",
        "duration",
        "size",
        "glob",
        "database",
        "directory",
        "origin",
        "storage",
        "writer",
        "table",
        "column",
        "index",
        "scalar",
        "enum",
        "list",
        "record",
    ],
};

static PLUGIN_NAME: Parsed = Parsed {
    what: "a plugin name",
    code: "bad-name",
    pattern: None,
    check: |text| text.parse::<PluginName>().map(drop).map_err(Complaint::from),
};

static PARAM_NAME: Parsed = Parsed {
    what: "a param name",
    code: "bad-name",
    pattern: None,
    check: |text| {
        let good = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let rule = "use lower-case letters, digits and `_`, starting with a letter";
        if good {
            Ok(())
        } else {
            Err(Complaint::new(format!("`{text}` is not a param name"), rule))
        }
    },
};

static VERSION: Parsed = Parsed {
    what: "a version",
    code: "bad-version",
    pattern: None,
    check: |text| {
        let complaint = |error| {
            Complaint::new(
                format!("`{text}` is not a version: {error}"),
                "write three numbers: `\"0.1.0\"`",
            )
        };
        Version::parse(text).map(drop).map_err(complaint)
    },
};

static ROOT: Shape = Shape {
    keys: &[
        Key {
            name: "plugin",
            kind: Kind::Table(&PLUGIN),
            presence: Presence::Required,
            doc: "What it is.",
        },
        Key {
            name: "params",
            kind: Kind::Map {
                key: &PARAM_NAME,
                of: &Kind::Table(&PARAM),
            },
            presence: Presence::Optional,
            doc: "What it takes.",
        },
        Key {
            name: "needs",
            kind: Kind::List(&Kind::Table(&NEED)),
            presence: Presence::Optional,
            doc: "What it must be allowed to do.",
        },
        Key {
            name: "references",
            kind: Kind::List(&Kind::Table(&REFERENCE)),
            presence: Presence::Optional,
            doc: "Columns and indexes that must exist before anything runs.",
        },
    ],
};

static PLUGIN: Shape = Shape {
    keys: &[
        Key {
            name: "name",
            kind: Kind::Parsed(&PLUGIN_NAME),
            presence: Presence::Required,
            doc: "Its name.",
        },
        Key {
            name: "version",
            kind: Kind::Parsed(&VERSION),
            presence: Presence::Required,
            doc: "Its version.",
        },
        Key {
            name: "contract",
            kind: Kind::Parsed(&VERSION),
            presence: Presence::Required,
            doc: "The contract it was built against.",
        },
        Key {
            name: "summary",
            kind: Kind::Text,
            presence: Presence::Required,
            doc: "One sentence.",
        },
    ],
};

static PARAM: Shape = Shape {
    keys: &[
        Key {
            name: "type",
            kind: Kind::OneOf(&KINDS),
            presence: Presence::Required,
            doc: "What it holds.",
        },
        Key {
            name: "required",
            kind: Kind::Boolean,
            presence: Presence::Default("false"),
            doc: "Must be given.",
        },
        Key {
            name: "required_unless",
            kind: Kind::Map {
                key: &PARAM_NAME,
                of: &Kind::List(&Kind::Text),
            },
            presence: Presence::Optional,
            doc: "Must be given, unless an enum beside it has one of these values.",
        },
        Key {
            name: "default",
            kind: Kind::Any,
            presence: Presence::Optional,
            doc: "Taken when it is not given.",
        },
        Key {
            name: "min",
            kind: Kind::Any,
            presence: Presence::Optional,
            doc: "Smallest allowed value.",
        },
        Key {
            name: "max",
            kind: Kind::Any,
            presence: Presence::Optional,
            doc: "Largest allowed value.",
        },
        Key {
            name: "values",
            kind: Kind::List(&Kind::Text),
            presence: Presence::Optional,
            doc: "Of an enum.",
        },
        Key {
            name: "items",
            kind: Kind::Table(&PARAM),
            presence: Presence::Optional,
            doc: "Of a list.",
        },
        Key {
            name: "fields",
            kind: Kind::Map {
                key: &PARAM_NAME,
                of: &Kind::Table(&PARAM),
            },
            presence: Presence::Optional,
            doc: "Of a record.",
        },
        Key {
            name: "doc",
            kind: Kind::Text,
            presence: Presence::Optional,
            doc: "One sentence.",
        },
    ],
};

static NEED: Shape = Shape {
    keys: &[
        Key {
            name: "interface",
            kind: Kind::Text,
            presence: Presence::Required,
            doc: "The capability.",
        },
        Key {
            name: "verbs",
            kind: Kind::List(&Kind::Text),
            presence: Presence::Required,
            doc: "What it will do.",
        },
        Key {
            name: "on",
            kind: Kind::Text,
            presence: Presence::Required,
            doc: "A pattern for a path.",
        },
        Key {
            name: "optional",
            kind: Kind::Boolean,
            presence: Presence::Default("false"),
            doc: "The plugin can do without.",
        },
    ],
};

static REFERENCE: Shape = Shape {
    keys: &[
        Key {
            name: "on",
            kind: Kind::Text,
            presence: Presence::Required,
            doc: "A pattern for a table's path.",
        },
        Key {
            name: "column",
            kind: Kind::Text,
            presence: Presence::Optional,
            doc: "A pattern for a column.",
        },
        Key {
            name: "index",
            kind: Kind::Text,
            presence: Presence::Optional,
            doc: "A pattern for an index.",
        },
    ],
};

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn parse(text: &str) -> Result<Self, Vec<ManifestError>> {
        let (root, mut mistakes) = document::read(text);
        shape::check_table(&ROOT, &root, "", &mut mistakes);
        let params = read_params(root.entries_of("params"), &mut mistakes);
        let list = |key: &str| root.get(key).map_or(&[][..], Node::items).iter();
        let needs = list("needs")
            .filter_map(|node| read_need(node, &params, &mut mistakes))
            .collect();
        let references = list("references")
            .filter_map(|node| read_reference(node, &params, &mut mistakes))
            .collect();
        let plugin = root.get("plugin");
        let text_of = |key: &str| plugin.and_then(|plugin| plugin.text_of(key)).unwrap_or_default();
        let name = text_of("name").parse::<PluginName>();
        let version = Version::parse(text_of("version"));
        let contract = Version::parse(text_of("contract"));
        match (name, version, contract) {
            (Ok(name), Ok(version), Ok(contract)) if mistakes.is_empty() => Ok(Self {
                name,
                version,
                contract,
                summary: text_of("summary").to_owned(),
                params,
                needs,
                references,
            }),
            _ => Err(mistakes),
        }
    }
}

fn read_params(entries: &[Entry], mistakes: &mut Vec<Diagnostic>) -> Vec<Param> {
    let params: Vec<Param> = entries
        .iter()
        .filter_map(|entry| read_param(entry, mistakes))
        .collect();
    unless::check(entries, &params, mistakes);
    params
}

/// One param. None when its type is unknown, which the shape has said already.
fn read_param(entry: &Entry, mistakes: &mut Vec<Diagnostic>) -> Option<Param> {
    let node = &entry.node;
    let kind = read_kind(node, &entry.key, mistakes)?;
    let mut param = Param {
        name: entry.key.clone(),
        kind,
        required: node.is_true("required"),
        required_unless: Unless::read(node),
        default: None,
        min: None,
        max: None,
        doc: node.text_of("doc").unwrap_or_default().to_owned(),
    };
    param.min = bound(&param, node, "min", mistakes);
    param.max = bound(&param, node, "max", mistakes);
    if let (Some(min), Some(max), Some(at)) = (param.min, param.max, node.get("max"))
        && min > max
    {
        mistakes.push(Diagnostic::at("bad-range", at.span.clone(), "`max` is less than `min`").label("here"));
    }
    if let Some(default) = node.get("default") {
        if param.required {
            mistakes.push(
                Diagnostic::at(
                    "bad-default",
                    default.span.clone(),
                    format!("`{}` is required and has a default", param.name),
                )
                .label("a default that is never taken")
                .hint("remove one of the two"),
            );
        } else if let Some(json) = default.json() {
            let mut errors = Vec::new();
            param.default = settle(&param, &json, &param.name, &mut errors);
            mistakes.extend(errors.into_iter().map(|error| {
                Diagnostic::at("bad-default", default.span.clone(), error.message)
                    .label("this default")
                    .maybe_hint(error.hint)
            }));
        }
    }
    Some(param)
}

fn read_kind(node: &Node, name: &str, mistakes: &mut Vec<Diagnostic>) -> Option<ParamKind> {
    let kind = node.text_of("type")?;
    for (key, belongs_to) in [("values", "enum"), ("items", "list"), ("fields", "record")] {
        match node.get(key) {
            Some(found) if kind != belongs_to => mistakes.push(
                Diagnostic::at(
                    "bad-param",
                    found.span.clone(),
                    format!("`{key}` belongs to the type `{belongs_to}`, not `{kind}`"),
                )
                .label("here"),
            ),
            None if kind == belongs_to => mistakes.push(
                Diagnostic::at(
                    "bad-param",
                    node.span.clone(),
                    format!("`{name}` is {} `{kind}` without `{key}`", article(kind)),
                )
                .label("here"),
            ),
            _ => {}
        }
    }
    Some(match kind {
        "string" => ParamKind::String,
        "integer" => ParamKind::Integer,
        "float" => ParamKind::Float,
        "boolean" => ParamKind::Boolean,
        "duration" => ParamKind::Duration,
        "size" => ParamKind::Size,
        "glob" => ParamKind::Glob,
        "database" => ParamKind::Database,
        "directory" => ParamKind::Directory,
        "origin" => ParamKind::Origin,
        "storage" => ParamKind::Storage,
        "writer" => ParamKind::Writer,
        "table" => ParamKind::Table,
        "column" => ParamKind::Column,
        "index" => ParamKind::Index,
        "scalar" => ParamKind::Scalar,
        "enum" => {
            let values: Vec<_> = node.texts_of("values").into_iter().map(str::to_owned).collect();
            if let Some(found) = node.get("values").filter(|_| values.is_empty()) {
                mistakes.push(
                    Diagnostic::at(
                        "bad-param",
                        found.span.clone(),
                        format!("`{name}` can have no value"),
                    )
                    .label("here"),
                );
            }
            ParamKind::Enum(values)
        }
        "list" => {
            let items = Entry {
                key: format!("{name}[]"),
                key_span: node.span.clone(),
                node: node.get("items")?.clone(),
            };
            ParamKind::List(Box::new(read_param(&items, mistakes)?))
        }
        "record" => ParamKind::Record(read_params(node.entries_of("fields"), mistakes)),
        _ => return None,
    })
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// `min` or `max`, in the param's own notation: a number, milliseconds or bytes.
fn bound(param: &Param, node: &Node, key: &str, mistakes: &mut Vec<Diagnostic>) -> Option<f64> {
    let found = node.get(key)?;
    let unbounded = Param {
        min: None,
        max: None,
        ..param.clone()
    };
    if !matches!(
        param.kind,
        ParamKind::Integer | ParamKind::Float | ParamKind::Duration | ParamKind::Size
    ) {
        mistakes.push(
            Diagnostic::at(
                "bad-range",
                found.span.clone(),
                format!("`{}` is nothing that has a `{key}`", param.name),
            )
            .label("here")
            .hint("integers, floats, durations and sizes have one"),
        );
        return None;
    }
    let mut errors = Vec::new();
    // A bound of zero is a number like any other, though a duration or a size of zero is refused.
    let json = found.json()?;
    let settled = settle(&unbounded, &json, key, &mut errors);
    mistakes.extend(errors.into_iter().map(|error| {
        Diagnostic::at("bad-range", found.span.clone(), error.message)
            .label("here")
            .maybe_hint(error.hint)
    }));
    settled.and_then(|json| json.as_f64())
}

fn read_need(node: &Node, params: &[Param], mistakes: &mut Vec<Diagnostic>) -> Option<NeedPattern> {
    let before = mistakes.len();
    let interface = node.get("interface").and_then(|found| {
        let text = found.text()?;
        let interface = Interface::parse(text);
        if interface.is_none() {
            mistakes.push(
                Diagnostic::at(
                    "unknown-interface",
                    found.span.clone(),
                    format!("there is no interface `{text}`"),
                )
                .label("unknown")
                .maybe_hint(did_you_mean(text, Interface::ALL.map(|(name, _)| name))),
            );
        }
        interface
    });
    let mut verbs = BTreeSet::new();
    let listed = node.get("verbs").map_or(&[][..], Node::items);
    if let Some(found) = node
        .get("verbs")
        .filter(|found| matches!(&found.data, Data::List(items) if items.is_empty()))
    {
        mistakes.push(
            Diagnostic::at(
                "bad-verb",
                found.span.clone(),
                "a need without verbs asks for nothing",
            )
            .label("here"),
        );
    }
    for found in listed {
        let Some(text) = found.text() else { continue };
        let Some(interface) = interface else { continue };
        match read_verb(text, interface, params) {
            Ok(verb) => {
                verbs.insert(verb);
            }
            Err(complaint) => mistakes.push(
                Diagnostic::at("bad-verb", found.span.clone(), complaint.message)
                    .label("unknown")
                    .maybe_hint(complaint.hint),
            ),
        }
    }
    let on = node.get("on")?;
    let pattern = read_path(on, params, mistakes)?;
    let (interface, fits) = (interface?, |kinds: &[Slot]| kinds.contains(&pattern.slot()));
    let good = match interface {
        Interface::DatabaseRead if verbs.contains(&VerbPattern::Verb(Verb::Query)) => fits(&[Slot::Query]),
        Interface::DatabaseWrite => fits(&[Slot::Table]),
        Interface::DatabaseRead | Interface::DatabaseUpkeep => fits(&[Slot::Table, Slot::Whole]),
        Interface::Files => fits(&[Slot::Directory]),
        Interface::Http => fits(&[Slot::Origin]),
        Interface::Storage => fits(&[Slot::Storage]),
        Interface::NotifyWriter => fits(&[Slot::Writer]),
        Interface::Backup => fits(&[Slot::Storage, Slot::Whole]),
    };
    if !good {
        mistakes.push(
            Diagnostic::at(
                "bad-pattern",
                on.span.clone(),
                format!(
                    "these verbs of `{}` do not work on {}",
                    interface.as_str(),
                    pattern.slot().what()
                ),
            )
            .label("here"),
        );
    }
    (mistakes.len() == before).then(|| NeedPattern {
        interface,
        verbs,
        on: on.text().unwrap_or_default().to_owned(),
        optional: node.is_true("optional"),
    })
}

/// A verb by name, or the verbs that an enum holds: a param, or a field of each element of a list.
fn read_verb(text: &str, interface: Interface, params: &[Param]) -> Result<VerbPattern, Complaint> {
    let known = |text: &str| Verb::parse(text).filter(|verb| interface.verbs().contains(verb));
    let unknown = |text: &str| Complaint {
        message: format!("`{}` has no verb `{text}`", interface.as_str()),
        hint: did_you_mean(text, interface.verbs().iter().map(|verb| verb.as_str())),
    };
    let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return known(text).map(VerbPattern::Verb).ok_or_else(|| unknown(text));
    };
    let element = |param: &Param| match &param.kind {
        ParamKind::List(items) => items.kind.clone(),
        kind => kind.clone(),
    };
    let kind_of = |name: &str, among: &[Param]| among.iter().find(|param| param.name == name).map(element);
    let (kind, pattern) = match name.split_once("[].") {
        None => (kind_of(name, params), VerbPattern::Param(name.to_owned())),
        Some((param, field)) => {
            let kind = match kind_of(param, params) {
                Some(ParamKind::Record(fields)) => kind_of(field, &fields),
                _ => None,
            };
            let (param, field) = (param.to_owned(), field.to_owned());
            (kind, VerbPattern::Field { param, field })
        }
    };
    let Some(ParamKind::Enum(values)) = kind else {
        return Err(Complaint::new(
            format!("`{name}` is no param that holds verbs"),
            "name a param of type `enum`, a list of one, or one in each record of a list: `{list[].field}`",
        ));
    };
    match values.iter().find(|value| known(value).is_none()) {
        Some(value) => Err(unknown(value)),
        None => Ok(pattern),
    }
}

fn read_path(on: &Node, params: &[Param], mistakes: &mut Vec<Diagnostic>) -> Option<PathPattern> {
    match PathPattern::parse(on.text()?, params) {
        Ok(pattern) => Some(pattern),
        Err(complaint) => {
            mistakes.push(
                Diagnostic::at("bad-pattern", on.span.clone(), complaint.message)
                    .label("here")
                    .maybe_hint(complaint.hint),
            );
            None
        }
    }
}

fn read_reference(node: &Node, params: &[Param], mistakes: &mut Vec<Diagnostic>) -> Option<ReferencePattern> {
    let before = mistakes.len();
    let on = node.get("on")?;
    if let Some(pattern) = read_path(on, params, mistakes)
        && pattern.slot() != Slot::Table
    {
        mistakes
            .push(Diagnostic::at("bad-pattern", on.span.clone(), "a reference is on a table").label("here"));
    }
    for (key, kind) in [("column", ParamKind::Column), ("index", ParamKind::Index)] {
        let Some(found) = node.get(key) else { continue };
        if let Some(text) = found.text()
            && let Err(complaint) =
                Template::parse(text).and_then(|template| template.check(params, &[&kind], key))
        {
            mistakes.push(
                Diagnostic::at("bad-pattern", found.span.clone(), complaint.message)
                    .label("here")
                    .maybe_hint(complaint.hint),
            );
        }
    }
    if node.get("column").is_some() == node.get("index").is_some() {
        mistakes.push(
            Diagnostic::at(
                "bad-pattern",
                node.span.clone(),
                "a reference names a `column` or an `index`, and one of them",
            )
            .label("here"),
        );
    }
    let text_of = |key: &str| node.text_of(key).map(str::to_owned);
    (mistakes.len() == before).then(|| ReferencePattern {
        on: on.text().unwrap_or_default().to_owned(),
        column: text_of("column"),
        index: text_of("index"),
    })
}
