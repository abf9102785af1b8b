//! The manifests of the shipped plugins' shapes, and a terrible one.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Manifest, ParamError, Reference, ReferenceKind};
use crate::grant::{Interface, Need, Path, Verb};

const ROW_RETENTION: &str = r#"
[plugin]
name = "row-retention"
version = "0.1.0"
contract = "0.1.0"
summary = "Deletes rows that are older than they need to be."

[params.database]
type = "database"
required = true
[params.table]
type = "table"
required = true
doc = "The table to purge."
[params.column]
type = "column"
required = true
[params.keep]
type = "duration"
required = true
min = "1h"
max = "3650 days"
[params.where]
type = "list"
items = { type = "record", fields = { column = { type = "column", required = true }, op = { type = "enum", values = ["=", "!=", "<", "is-null"], default = "=" }, value = { type = "scalar", required_unless = { op = ["is-null"] } } } }
default = []

[[needs]]
interface = "database-read"
verbs = ["read"]
on = "database.{database}.tables.{table}"
[[needs]]
interface = "database-write"
verbs = ["delete"]
on = "database.{database}.tables.{table}"

[[references]]
on = "database.{database}.tables.{table}"
column = "{column}"
[[references]]
on = "database.{database}.tables.{table}"
column = "{where[].column}"
"#;

const CAPACITY_CHECK: &str = r#"
[plugin]
name = "capacity-check"
version = "0.1.0"
contract = "0.1.0"
summary = "Measures."

[params.directories]
type = "list"
items = { type = "directory" }
[params.databases]
type = "list"
items = { type = "database" }
[params.tables]
type = "list"
items = { type = "table" }
[params.query]
type = "string"
[params.counts]
type = "list"
default = []
[params.counts.items]
type = "record"
[params.counts.items.fields]
database = { type = "database", required = true }
table = { type = "table", required = true }
active_within = { type = "duration", default = "15m" }
[params.max_total]
type = "size"
max = "1 TiB"

[[needs]]
interface = "files"
verbs = ["read"]
on = "directory.{directories}"
[[needs]]
interface = "database-read"
verbs = ["read"]
on = "database.{databases}.whole"
optional = true
[[needs]]
interface = "database-read"
verbs = ["read"]
on = "database.{counts[].database}.tables.{counts[].table}"
[[needs]]
interface = "database-upkeep"
verbs = ["vacuum", "analyze"]
on = "database.{databases}.tables.{tables}"
[[needs]]
interface = "database-read"
verbs = ["query"]
on = "database.main.queries.{query}"
"#;

fn manifest(text: &str) -> Manifest {
    Manifest::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn settle(manifest: &Manifest, params: Json) -> Result<Json, Vec<ParamError>> {
    let params: BTreeMap<String, Json> = serde_json::from_value(params).expect("an object");
    manifest.settle_params(&params)
}

fn paths(needs: &[Need]) -> Vec<String> {
    needs.iter().map(|need| need.on.to_string()).collect()
}

#[test]
fn params_keep_the_order_of_the_file() {
    let names: Vec<_> = manifest(ROW_RETENTION)
        .params
        .iter()
        .map(|param| param.name.clone())
        .collect();
    assert_eq!(names, ["database", "table", "column", "keep", "where"]);
}

#[test]
fn params_are_settled_with_defaults_and_units() {
    let manifest = manifest(ROW_RETENTION);
    let settled = settle(
        &manifest,
        json!({"database": "app", "table": "user_sessions", "column": "updated_at", "keep": "7 days",
               "where": [{"column": "status", "value": "sent"}]}),
    );
    assert_eq!(
        settled,
        Ok(
            json!({"database": "app", "table": "user_sessions", "column": "updated_at", "keep": 604_800_000,
                  "where": [{"column": "status", "op": "=", "value": "sent"}]})
        )
    );
}

#[test]
fn every_mistake_in_params_is_found_at_once_with_its_path() {
    let manifest = manifest(ROW_RETENTION);
    let errors = settle(
        &manifest,
        json!({"database": "App", "tabel": "x", "column": 3, "keep": "0 days",
               "where": [{"op": "=="}, {"column": "a", "value": [1]}, 7]}),
    )
    .expect_err("many mistakes");
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error.path.as_str(), error.message.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("tabel", "`tabel` is not a param of this plugin"),
            ("database", "`App` is not a target name"),
            ("", "`table` is missing"),
            ("column", "`column` should be the name of a column, not a number"),
            ("keep", "`0 days` is zero"),
            ("where[0]", "`where[0].column` is missing"),
            ("where[0].op", "`where[0].op` cannot be `==`"),
            (
                "where[1].value",
                "`where[1].value` should be a text, a number, true or false, not a list"
            ),
            ("where[2]", "`where[2]` should be a table of fields, not a number"),
        ]
    );
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean `table`?"));
    assert_eq!(
        errors[2].hint.as_deref(),
        Some("`table` is the name of a table: The table to purge.")
    );
}

#[test]
fn durations_are_held_against_their_range_and_need_a_unit() {
    let manifest = manifest(ROW_RETENTION);
    let with = |keep: Json| {
        let errors = settle(
            &manifest,
            json!({"database": "a", "table": "t", "column": "c", "keep": keep}),
        );
        errors.map_err(|errors| errors[0].message.clone())
    };
    assert!(with(json!("1h")).is_ok());
    assert_eq!(
        with(json!("59m")),
        Err("`keep` should be from 1 h to 3650 days".to_owned())
    );
    assert_eq!(
        with(json!("3651 days")),
        Err("`keep` should be from 1 h to 3650 days".to_owned())
    );
    assert_eq!(with(json!(90)), Err("`90` has no unit".to_owned()));
    assert_eq!(
        with(json!("3 months")),
        Err("`months` has no fixed length".to_owned())
    );
}

#[test]
fn needs_name_what_the_params_name() {
    let manifest = manifest(ROW_RETENTION);
    let params = settle(
        &manifest,
        json!({"database": "app", "table": "billing.rows", "column": "c", "keep": "2h"}),
    )
    .expect("good params");
    let table = Path::Table(
        "app".parse().expect("a name"),
        "billing.rows".parse().expect("a table"),
    );
    let need = |interface, verb| Need {
        interface,
        verbs: [verb].into(),
        on: table.clone(),
        optional: false,
    };
    assert_eq!(
        manifest.needs(&params),
        Ok(vec![
            need(Interface::DatabaseRead, Verb::Read),
            need(Interface::DatabaseWrite, Verb::Delete)
        ])
    );
}

const TABLE_UPKEEP: &str = r#"
[plugin]
name = "table-upkeep"
version = "0.1.0"
contract = "0.1.0"
summary = "Vacuums."
[params.do]
type = "list"
items = { type = "enum", values = ["vacuum", "reindex"] }
default = ["vacuum"]
[[needs]]
interface = "database-upkeep"
verbs = ["analyze", "{do}"]
on = "database.app.tables.a"
"#;

#[test]
fn a_need_takes_its_verbs_from_an_enum_param() {
    let manifest = manifest(TABLE_UPKEEP);
    let verbs = |params| {
        let params = settle(&manifest, params).expect("good params");
        let needs = manifest.needs(&params).expect("patterns that are filled");
        needs.into_iter().map(|need| need.verbs).collect::<Vec<_>>()
    };
    assert_eq!(verbs(json!({})), [[Verb::Vacuum, Verb::Analyze].into()]);
    assert_eq!(
        verbs(json!({"do": ["reindex"]})),
        [[Verb::Analyze, Verb::Reindex].into()]
    );
}

#[test]
fn a_verb_pattern_is_refused_where_a_value_is_no_verb_of_the_interface() {
    let refused = |from: &str, to: &str| {
        let mistakes = Manifest::parse(&TABLE_UPKEEP.replace(from, to)).expect_err("a bad pattern");
        mistakes
            .into_iter()
            .map(|mistake| mistake.message)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        refused("\"vacuum\", \"reindex\"", "\"vacuum\", \"remove\""),
        ["`database-upkeep` has no verb `remove`"]
    );
    assert_eq!(
        refused("{do}", "{table}"),
        ["`table` is no param that holds verbs"]
    );
}

const LADDER: &str = r#"
[plugin]
name = "ladder"
version = "0.1.0"
contract = "0.1.0"
summary = "Climbs."
[params.steps]
type = "list"
items = { type = "record", fields = { directory = { type = "directory", required = true }, do = { type = "enum", values = ["remove", "compress"], default = "remove" }, note = { type = "string" } } }
[[needs]]
interface = "files"
verbs = ["read", "{steps[].do}"]
on = "directory.{steps[].directory}"
"#;

#[test]
fn each_element_of_a_list_asks_for_its_own_verb_on_its_own_path() {
    let manifest = manifest(LADDER);
    let steps = json!({"steps": [{"directory": "temp"}, {"directory": "logs", "do": "compress"}, {"directory": "temp"}]});
    let needs = manifest.needs(&settle(&manifest, steps).expect("good params"));
    let needs: Vec<_> = needs
        .expect("patterns that are filled")
        .into_iter()
        .map(|need| (need.on.to_string(), need.verbs.into_iter().collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        needs,
        [
            ("directory.temp".to_owned(), vec![Verb::Read, Verb::Remove]),
            ("directory.logs".to_owned(), vec![Verb::Read, Verb::Compress]),
        ]
    );
    for (from, to, complaint) in [
        (
            "[].do}",
            "[].note}",
            "`steps[].note` is no param that holds verbs",
        ),
        (
            "[].do}",
            "[].gone}",
            "`steps[].gone` is no param that holds verbs",
        ),
        ("\"compress\"]", "\"vacuum\"]", "`files` has no verb `vacuum`"),
    ] {
        let mistakes = Manifest::parse(&LADDER.replace(from, to)).expect_err("a bad pattern");
        assert_eq!(mistakes[0].message, complaint);
    }
}

#[test]
fn lists_make_one_need_for_each_element_and_fields_of_one_list_advance_together() {
    let manifest = manifest(CAPACITY_CHECK);
    let params = settle(
        &manifest,
        json!({"directories": ["temp", "logs"], "databases": ["app"], "tables": ["a", "b.c"],
               "counts": [{"database": "app", "table": "x"}, {"database": "other", "table": "y"}]}),
    )
    .expect("good params");
    assert_eq!(
        paths(&manifest.needs(&params).expect("needs")),
        [
            "directory.temp",
            "directory.logs",
            "database.app.whole",
            "database.app.tables.x",
            "database.other.tables.y",
            "database.app.tables.a",
            "database.app.tables.\"b.c\"",
        ]
    );
}

#[test]
fn a_list_of_tables_left_out_or_starred_means_all_and_other_absent_params_mean_none() {
    let manifest = manifest(CAPACITY_CHECK);
    for tables in [
        json!({"databases": ["app"]}),
        json!({"databases": ["app"], "tables": ["*"]}),
    ] {
        let params = settle(&manifest, tables).expect("good params");
        assert_eq!(
            paths(&manifest.needs(&params).expect("needs")),
            ["database.app.whole", "database.app.tables.\"*\""]
        );
    }
    let params = settle(&manifest, json!({"databases": ["app"], "tables": []})).expect("good params");
    assert_eq!(
        paths(&manifest.needs(&params).expect("needs")),
        ["database.app.whole"]
    );
    let params = settle(&manifest, json!({})).expect("good params");
    assert_eq!(manifest.needs(&params), Ok(Vec::new()));
    assert!(settle(&manifest, json!({"tables": ["*", "a"]})).is_err());
}

#[test]
fn references_name_columns_of_params_and_of_each_element() {
    let manifest = manifest(ROW_RETENTION);
    let params = settle(
        &manifest,
        json!({"database": "app", "table": "t", "column": "at", "keep": "2h",
               "where": [{"column": "status", "value": 1}, {"column": "kind", "value": 2}, {"column": "at", "value": 3}]}),
    )
    .expect("good params");
    let column = |name: &str| Reference {
        database: "app".parse().expect("a name"),
        table: "t".parse().expect("a table"),
        kind: ReferenceKind::Column(name.to_owned()),
    };
    assert_eq!(
        manifest.references(&params),
        Ok(vec![column("at"), column("kind"), column("status")])
    );
}

#[test]
fn every_mistake_in_a_manifest_is_found_at_once() {
    let text = r#"
[plugin]
name = "Row Retention"
version = "1"
sumary = "x"

[params.keep]
type = "durations"
[params.table]
type = "table"
required = true
default = "x"
min = 3
[params.size]
type = "size"
min = "2 MiB"
max = "1 MiB"
[params.level]
type = "integer"
max = 5
default = 6
[params.mode]
type = "enum"
[params.many]
type = "list"
values = ["a"]

[[needs]]
interface = "database-writes"
verbs = ["delete"]
on = "database.{db}.tables.{table}"
[[needs]]
interface = "files"
verbs = ["delete"]
on = "directory.{table}"
[[needs]]
interface = "database-write"
verbs = ["delete"]
on = "database.app.whole"

[[references]]
on = "database.app.tables.{table}"
"#;
    let mistakes = Manifest::parse(text).expect_err("many mistakes");
    let mut found: Vec<_> = mistakes
        .iter()
        .map(|mistake| (mistake.code, &text[mistake.span.clone().expect("a place")]))
        .collect();
    found.sort_by_key(|(_, slice)| slice.as_ptr());
    assert_eq!(
        found,
        [
            ("missing-key", "[plugin]"),
            ("missing-key", "[plugin]"),
            ("bad-name", "\"Row Retention\""),
            ("bad-version", "\"1\""),
            ("unknown-key", "sumary"),
            ("bad-value", "\"durations\""),
            ("bad-default", "\"x\""),
            ("bad-range", "3"),
            ("bad-range", "\"1 MiB\""),
            ("bad-default", "6"),
            ("bad-param", "[params.mode]"),
            ("bad-param", "[params.many]"),
            ("bad-param", "[\"a\"]"),
            ("unknown-interface", "\"database-writes\""),
            ("bad-pattern", "\"database.{db}.tables.{table}\""),
            ("bad-verb", "\"delete\""),
            ("bad-pattern", "\"directory.{table}\""),
            ("bad-pattern", "\"database.app.whole\""),
            ("bad-pattern", "[[references]]"),
        ]
    );
}

#[test]
fn a_param_may_be_required_by_its_neighbour() {
    let manifest = Manifest::parse(ROW_RETENTION).expect("a manifest");
    let settle = |condition: Json| {
        let given = json!({ "database": "app", "table": "t", "column": "at", "keep": "7 days", "where": [condition] });
        let given: BTreeMap<String, Json> = serde_json::from_value(given).expect("params");
        manifest
            .settle_params(&given)
            .map(|params| params["where"][0].clone())
    };
    let missing = Err(vec![ParamError {
        path: "where[0]".to_owned(),
        is_unknown: false,
        message: "`where[0].value` is missing".to_owned(),
        hint: Some("`value` is a text, a number, true or false, needed unless `op` is `is-null`".to_owned()),
    }]);
    // The default of a neighbour asks as its value does.
    assert_eq!(settle(json!({ "column": "id" })), missing);
    assert_eq!(settle(json!({ "column": "id", "op": "<" })), missing);
    let null = json!({ "column": "id", "op": "is-null" });
    assert_eq!(settle(null.clone()), Ok(null));
    // One that is wrong is the only mistake.
    assert_eq!(
        settle(json!({ "column": "id", "op": "~" }))
            .expect_err("wrong")
            .len(),
        1
    );
}

#[test]
fn a_requirement_names_values_of_an_enum_beside_it() {
    let parse = |value: &str| {
        Manifest::parse(&ROW_RETENTION.replace("required_unless = { op = [\"is-null\"] }", value))
            .map_err(|mistakes| {
                mistakes
                    .into_iter()
                    .map(|mistake| mistake.message)
                    .collect::<Vec<_>>()
            })
            .map(|_| ())
    };
    assert_eq!(parse("required_unless = { op = [\"=\", \"is-null\"] }"), Ok(()));
    for wrong in [
        "required_unless = { op = [\"~\"] }",
        "required_unless = { op = [] }",
        "required_unless = { column = [\"a\"] }",
        "required_unless = { nothing = [\"a\"] }",
        "required_unless = {}",
        "required_unless = { op = [\"=\"], column = [\"a\"] }",
    ] {
        let told = vec!["this names no values of an enum beside it".to_owned()];
        assert_eq!(parse(wrong), Err(told), "{wrong}");
    }
    let both = parse("required = true, required_unless = { op = [\"=\"] }");
    assert_eq!(
        both,
        Err(vec![
            "`value` is required, or has a default, whatever its neighbours are".to_owned()
        ])
    );
}

#[test]
fn no_text_makes_the_reader_panic() {
    for text in [
        "",
        "[",
        "[plugin",
        "plugin = 3",
        "params = [1]",
        "needs = 1",
        "[[needs]]\n[needs.x]\n",
        "\u{0}",
        "é = ü",
    ] {
        assert!(Manifest::parse(text).is_err(), "{text:?}");
    }
}
