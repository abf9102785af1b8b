//! A plugin as its manifest and its imports tell it.

use serde_json::{Value as Json, json};
use sereno_core::manifest::{Param, ParamKind, VerbPattern};
use sereno_core::ports::plugins::PluginInfo;

use super::paint::Paint;
use super::table::table;
use super::words::in_unit;

/// For people.
pub(crate) fn text(info: &PluginInfo, paint: Paint) -> String {
    let manifest = &info.manifest;
    let mut text = format!(
        "{} {}, for contract {}\n  {}\n  {} {}\n  {} {}\n",
        paint.strong(&manifest.name),
        manifest.version,
        manifest.contract,
        manifest.summary,
        paint.faint("file   "),
        info.path,
        paint.faint("sha-256"),
        info.digest
    );
    text.push_str(&format!("\n{}\n", paint.strong("takes")));
    let rows: Vec<[String; 4]> = manifest
        .params
        .iter()
        .map(|param| {
            [
                param.name.clone(),
                kind(&param.kind),
                standing(param),
                param.doc.clone(),
            ]
        })
        .collect();
    text.push_str(&indented(&table(
        ["param", "type", "default", "meaning"],
        &rows,
        paint,
    )));
    text.push_str(&format!("\n{}\n", paint.strong("needs")));
    let rows: Vec<[String; 4]> = manifest
        .needs
        .iter()
        .map(|need| {
            let note = if need.optional { "can do without" } else { "" };
            [
                need.interface.as_str().to_owned(),
                verbs(&need.verbs),
                need.on.clone(),
                note.to_owned(),
            ]
        })
        .collect();
    text.push_str(&indented(&table(["interface", "verbs", "on", ""], &rows, paint)));
    text.push_str(&format!("\n{}\n", paint.strong("imports")));
    for import in &info.imports {
        text.push_str(&format!("  {import}\n"));
    }
    text
}

/// For programs.
pub(crate) fn json(info: &PluginInfo) -> Json {
    let manifest = &info.manifest;
    let needs: Vec<Json> = manifest
        .needs
        .iter()
        .map(|need| {
            let verbs: Vec<String> = need.verbs.iter().map(verb).collect();
            json!({ "interface": need.interface, "verbs": verbs, "on": need.on, "optional": need.optional })
        })
        .collect();
    json!({
        "schema_version": crate::output::DOCUMENT_SCHEMA_VERSION,
        "name": manifest.name,
        "version": manifest.version.to_string(),
        "contract": manifest.contract.to_string(),
        "summary": manifest.summary,
        "path": info.path,
        "digest": info.digest,
        "params": manifest.params.iter().map(param_json).collect::<Vec<_>>(),
        "needs": needs,
        "imports": info.imports,
    })
}

fn param_json(param: &Param) -> Json {
    json!({
        "name": param.name,
        "type": kind(&param.kind),
        "required": param.required,
        "required_unless": param.required_unless.as_ref().map(|unless| json!({ &unless.param: unless.values })),
        "default": param.default,
        "min": param.min,
        "max": param.max,
        "doc": param.doc,
    })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn verb(verb: &VerbPattern) -> String {
    match verb {
        VerbPattern::Verb(verb) => verb.to_string(),
        VerbPattern::Param(name) => format!("{{{name}}}"),
        VerbPattern::Field { param, field } => format!("{{{param}[].{field}}}"),
    }
}

fn verbs<'a>(verbs: impl IntoIterator<Item = &'a VerbPattern>) -> String {
    verbs.into_iter().map(verb).collect::<Vec<_>>().join(", ")
}

/// What a param holds, as a manifest writes it.
fn kind(kind: &ParamKind) -> String {
    match kind {
        ParamKind::String => "string".to_owned(),
        ParamKind::Integer => "integer".to_owned(),
        ParamKind::Float => "float".to_owned(),
        ParamKind::Boolean => "boolean".to_owned(),
        ParamKind::Duration => "duration".to_owned(),
        ParamKind::Size => "size".to_owned(),
        ParamKind::Glob => "glob".to_owned(),
        ParamKind::Database => "database".to_owned(),
        ParamKind::Directory => "directory".to_owned(),
        ParamKind::Origin => "origin".to_owned(),
        ParamKind::Storage => "storage".to_owned(),
        ParamKind::Writer => "writer".to_owned(),
        ParamKind::Table => "table".to_owned(),
        ParamKind::Column => "column".to_owned(),
        ParamKind::Index => "index".to_owned(),
        ParamKind::Scalar => "scalar".to_owned(),
        ParamKind::Enum(values) => values.join(" | "),
        ParamKind::List(of) => format!("list of {}", self::kind(&of.kind)),
        ParamKind::Record(fields) => {
            let fields: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}

/// Its default in the unit of its type, or that it must be given.
fn standing(param: &Param) -> String {
    let Some(default) = &param.default else {
        return if param.required {
            "required".to_owned()
        } else {
            "-".to_owned()
        };
    };
    in_unit(&param.kind, default)
}
