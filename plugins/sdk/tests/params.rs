//! The attribute against a manifest with every type of param: what it makes, and what it refuses to read.

use std::time::Duration;

use sereno_plugin::params::{self, Scalar};
use sereno_plugin::testing::{FakeHost, at, context};
use sereno_plugin::{Context, Error, Failure, Finding, Host, Outcome, Report};

#[sereno_plugin::plugin(manifest = "tests/every-kind.toml")]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    host.usage("temp")?;
    let report = Report::new().finding(Finding::info("text", "directory.temp", &*params.text));
    Ok(Outcome::More(report, context.job.clone()))
}

const FULL: &str = r#"{
    "text": "a", "count": -4, "share": 2, "yes": true, "keep": 86400000, "limit": 524288000, "pattern": "*.log",
    "tables": ["x", "s.y"], "do": ["re-index", "vacuum"], "mode": "hard",
    "where": [{"column": "status", "op": ">=", "value": "sent"}, {"column": "n", "op": "=", "value": 7},
              {"column": "gone", "op": "=", "value": null}]
}"#;

fn full() -> Params {
    params::parse(FULL).expect("params that fit")
}

#[test]
fn every_kind_of_param_becomes_its_type() {
    let condition = |column: &str, op, value| Where {
        column: column.to_owned(),
        op,
        value,
    };
    assert_eq!(
        full(),
        Params {
            text: "a".to_owned(),
            count: -4,
            share: 2.0,
            yes: true,
            keep: Duration::from_secs(86_400),
            limit: Some(500 << 20),
            pattern: Some("*.log".to_owned()),
            tables: Some(vec!["x".to_owned(), "s.y".to_owned()]),
            r#do: vec![Do::ReIndex, Do::Vacuum],
            mode: Mode::Hard,
            r#where: vec![
                condition(
                    "status",
                    WhereOp::GreaterOrEqual,
                    Some(Scalar::Text("sent".to_owned()))
                ),
                condition("n", WhereOp::Equal, Some(Scalar::Integer(7))),
                condition("gone", WhereOp::Equal, None),
            ],
        }
    );
    assert_eq!(Do::ReIndex.as_str(), "re-index");
    assert!(MANIFEST.contains("name = \"every-kind\""));
}

#[test]
fn what_may_be_left_out_is_none_and_what_may_not_is_named() {
    let short = FULL
        .replace("\"limit\": 524288000, \"pattern\": \"*.log\",", "")
        .replace("\"tables\": [\"x\", \"s.y\"], ", "");
    let params: Params = params::parse(&short).expect("params without the optional ones");
    assert_eq!((params.limit, params.pattern, params.tables), (None, None, None));
    for (from, to, problem) in [
        ("\"keep\": 86400000,", "", "`keep` is missing"),
        (
            "86400000",
            "\"24h\"",
            "`keep` should be a number of milliseconds, not \"24h\"",
        ),
        (
            "\"re-index\"",
            "\"reindex\"",
            "`do[0]` should be one of `vacuum`, `re-index`, not \"reindex\"",
        ),
        (
            "\"op\": \"=\", \"value\": 7",
            "\"op\": \"~\"",
            "`where[1].op` should be one of `=`, `>=`, not \"~\"",
        ),
        (
            "\"column\": \"status\"",
            "\"column\": 1",
            "`where[0].column` should be a text, not 1",
        ),
        (
            "\"count\": -4",
            "\"count\": 1.5",
            "`count` should be a whole number, not 1.5",
        ),
    ] {
        let refused = params::parse::<Params>(&FULL.replace(from, to));
        assert_eq!(refused, Err(Failure::InvalidParams(problem.to_owned())));
    }
    assert!(matches!(
        params::parse::<Params>("{"),
        Err(Failure::InvalidParams(_))
    ));
}

#[test]
fn the_function_itself_stays_callable() {
    let mut host = FakeHost::new();
    let missing = run(&context(at("2026-11-24 02:30")), &full(), &mut host);
    assert_eq!(
        missing,
        Err(Failure::PassedOn(Error::NotFound(
            "directory.temp does not exist".to_owned()
        )))
    );
    host.directory("temp");
    let outcome = run(&context(at("2026-11-24 02:30")), &full(), &mut host);
    let report = Report::new().finding(Finding::info("text", "directory.temp", "a"));
    assert_eq!(outcome, Ok(Outcome::More(report, "test".to_owned())));
}
