//! Approvals: what a schedule may apply, what voids that, and what an operator may ask from outside.
//!
//! That approvals are kept is `ledger`'s; what a person sees of them is `tests/cli/approvals`.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sereno_core::approval::Standing;
use sereno_core::dispatch::{
    DispatchError, PlannedAll, Services, Stop, examine, operate, plan_all, standing,
};
use sereno_core::event::{Command, Scope};
use sereno_core::guard::Allowances;
use sereno_core::ports::clock::Clock as _;
use sereno_core::ports::watch::OutboxQuery;
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome, Reason, Refusal, RunRequest, Work};
use sereno_tests::house::{House, plugins_folder};
use tempfile::TempDir;
use tokio::sync::watch;

const DAY: Duration = Duration::from_secs(86_400);

const CONFIGURATION: &str = r#"
version = 1
[directory.temp]
path = "temp"
[directory.logs]
path = "logs"
[job.sweep]
plugin = "temp-files"
params = { directory = "temp", older_than = "24h" }
grant = { directory.temp = ["read", "remove"] }
guard = { max_files = 3 }
[job.usage]
plugin = "capacity-check"
params = { directories = ["logs"] }
grant = { directory.logs = ["read"] }
[round.nightly]
schedule = "0 5 * * *"
jobs = ["usage", "sweep"]
[alerts]
sinks = ["log"]
[sink.log.log]
"#;

/// Files of now, and a young one; the house's clock is two days ahead.
fn world() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["temp", "logs", "other"] {
        let of = folder.path().join(name);
        fs::create_dir(&of).unwrap();
        for (file, days) in [("old-1", 0), ("old-2", 0), ("young", 2)] {
            let file = File::create(of.join(file)).unwrap();
            let at = SystemTime::now() + DAY * days;
            file.set_times(FileTimes::new().set_modified(at)).unwrap();
        }
    }
    folder
}

fn house(configuration: &str, folder: &TempDir) -> House {
    let house = House::new(configuration, folder.path()).unwrap();
    house.clock.advance(2 * DAY);
    house
}

/// The same history under another configuration.
fn changed(house: &House, configuration: &str, folder: &TempDir) -> House {
    let mut other = self::house(configuration, folder);
    other.services.ledger = Arc::clone(&house.services.ledger);
    other.services.entropy = Arc::clone(&house.services.entropy);
    other
}

fn left(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("temp")).unwrap();
    let mut left: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    left
}

const ALL: [&str; 3] = ["old-1", "old-2", "young"];

fn never() -> watch::Receiver<Stop> {
    watch::channel(Stop::None).1
}

async fn tick(house: &House, work: &str) -> Report {
    let request = RunRequest {
        reason: Reason::Tick,
        scheduled_at: Some(house.clock.now() - chrono::TimeDelta::minutes(5)),
        ..RunRequest::manual(work.parse::<Work>().unwrap())
    };
    house.submit(request).await.unwrap()
}

async fn approve(house: &House) -> Vec<(String, bool)> {
    let all = plan_all(&house.services, never()).await.unwrap();
    all.jobs
        .iter()
        .map(|job| (job.job.to_string(), job.is_approved))
        .collect()
}

async fn stands(services: &Services, job: &str) -> Standing {
    let examined = examine(services, &House::request(job, Mode::Apply))
        .await
        .unwrap();
    standing(services, &examined).await.unwrap()
}

fn is_plan_needed(report: &Report) -> bool {
    matches!(report.outcome, Outcome::Refused(Refusal::PlanNeeded, _)) && report.mode == Mode::Plan
}

#[tokio::test]
async fn a_tick_without_an_approval_plans_and_tells_and_the_same_tick_with_one_applies() {
    let folder = world();
    let house = house(CONFIGURATION, &folder);
    let report = tick(&house, "sweep").await;
    assert!(is_plan_needed(&report), "{report:#?}");
    let text = report.outcome.message().unwrap();
    assert!(
        text.contains("nobody has approved it yet") && text.contains("`sereno plan --all`"),
        "{text}"
    );
    assert_eq!(
        report
            .effects()
            .map(|effect| (effect.planned, effect.done))
            .collect::<Vec<_>>(),
        [(2, 0)]
    );
    assert_eq!(left(folder.path()), ALL);
    let letters = house
        .services
        .ledger
        .outbox(&OutboxQuery::default())
        .await
        .unwrap();
    let titles: Vec<&str> = letters
        .iter()
        .map(|one| one.letter.message.title.as_str())
        .collect();
    assert_eq!(titles, ["sweep ended refused(plan-needed)"]);
    assert_eq!(stands(&house.services, "sweep").await, Standing::Missing);

    assert_eq!(
        approve(&house).await,
        [("sweep".to_owned(), true), ("usage".to_owned(), false)]
    );
    assert!(matches!(
        stands(&house.services, "sweep").await,
        Standing::Given(_)
    ));
    assert_eq!(stands(&house.services, "usage").await, Standing::NotNeeded);
    let report = tick(&house, "sweep").await;
    assert_eq!(
        (report.mode, &report.outcome),
        (Mode::Apply, &Outcome::Succeeded),
        "{report:#?}"
    );
    assert_eq!(left(folder.path()), ["young"]);
    let letters = house
        .services
        .ledger
        .outbox(&OutboxQuery::default())
        .await
        .unwrap();
    assert_eq!(letters[0].letter.message.title, "sweep succeeded again");
}

/// What is done by hand never asks, and the plan of a tick may be applied by hand, once.
#[tokio::test]
async fn a_person_is_never_asked_and_may_apply_the_plan_of_a_tick_once() {
    let folder = world();
    let house = house(CONFIGURATION, &folder);
    let plan = tick(&house, "sweep").await;
    assert!(is_plan_needed(&plan), "{plan:#?}");
    assert_eq!(house.apply(&plan, &[]).await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(left(folder.path()), ["young"]);
    let again = house.apply(&plan, &[]).await.unwrap_err();
    assert!(again.to_string().contains("a plan is applied once"), "{again}");

    let folder = world();
    let house = self::house(CONFIGURATION, &folder);
    let round = RunRequest::manual("round:nightly".parse::<Work>().unwrap());
    assert_eq!(house.submit(round).await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(left(folder.path()), ["young"]);
}

#[tokio::test]
async fn the_steps_of_a_ticked_round_are_approved_each_by_itself() {
    let folder = world();
    let house = house(CONFIGURATION, &folder);
    let outcomes = |report: &Report| {
        let label = |step: &sereno_core::report::StepReport| step.outcome.as_ref().unwrap().label();
        report.steps.iter().map(label).collect::<Vec<_>>()
    };
    let report = tick(&house, "round:nightly").await;
    assert_eq!(outcomes(&report), ["succeeded", "refused(plan-needed)"]);
    assert_eq!(report.outcome.exit_code(), 3);
    assert_eq!(left(folder.path()), ALL);
    approve(&house).await;
    let report = tick(&house, "round:nightly").await;
    assert_eq!(outcomes(&report), ["succeeded", "succeeded"]);
    assert_eq!(left(folder.path()), ["young"]);
}

#[tokio::test]
async fn what_was_consented_to_must_not_change_and_the_plugins_bytes_may() {
    let folder = world();
    let house = house(CONFIGURATION, &folder);
    approve(&house).await;
    for (from, to, change) in [
        (
            "older_than = \"24h\"",
            "older_than = \"25h\"",
            "params.older_than was 86400000, is 90000000",
        ),
        ("max_files = 3", "max_files = 4", "guard.max_files was 3, is 4"),
        (
            "[\"read\", \"remove\"] }\nguard",
            "[\"read\", \"remove\", \"rename\"] }\nguard",
            "grant.directory.temp was [\"read\",\"remove\"], is [\"read\",\"remove\",\"rename\"]",
        ),
        (
            "path = \"temp\"",
            "path = \"other\"",
            "targets.directory.temp was [",
        ),
    ] {
        let configuration = CONFIGURATION.replacen(from, to, 1);
        assert_ne!(configuration, CONFIGURATION);
        let other = changed(&house, &configuration, &folder);
        let report = tick(&other, "sweep").await;
        assert!(is_plan_needed(&report), "{to}: {report:#?}");
        let text = report.outcome.message().unwrap();
        assert!(
            text.contains("is void: ") && text.contains(change),
            "{to}: {text}"
        );
        assert_eq!(left(folder.path()), ALL);
    }
    // A new build of the plugin: other bytes, the same manifest.
    let mut bytes = fs::read(plugins_folder().unwrap().join("temp-files.wasm")).unwrap();
    bytes.extend([0, 6, 5]);
    bytes.extend(b"built");
    fs::write(folder.path().join("built-anew.wasm"), bytes).unwrap();
    let configuration = format!("{CONFIGURATION}[plugin.temp-files]\npath = \"built-anew.wasm\"\n");
    let other = changed(&house, &configuration, &folder);
    let digest = async |house: &House| {
        let request = House::request("sweep", Mode::Apply);
        examine(&house.services, &request).await.unwrap().plugin.digest
    };
    assert_ne!(digest(&house).await, digest(&other).await);
    assert_eq!(tick(&other, "sweep").await.outcome, Outcome::Succeeded);
    assert_eq!(left(folder.path()), ["young"]);
}

#[tokio::test]
async fn one_approval_stands_for_one_job_and_the_last_one_counts() {
    let folder = world();
    let house = house(CONFIGURATION, &folder);
    approve(&house).await;
    let other = changed(
        &house,
        &CONFIGURATION.replace("max_files = 3", "max_files = 4"),
        &folder,
    );
    let all = plan_all(&other.services, never()).await.unwrap();
    let changes: Vec<String> = all.jobs[0]
        .before
        .iter()
        .flat_map(Standing::changes)
        .map(ToString::to_string)
        .collect();
    assert_eq!(changes, ["guard.max_files was 3, is 4"]);
    // Back again is another change.
    assert!(is_plan_needed(&tick(&house, "sweep").await));
    assert_eq!(tick(&other, "sweep").await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_plan_that_a_guard_refuses_approves_nothing() {
    let folder = world();
    let house = house(&CONFIGURATION.replace("max_files = 3", "max_files = 1"), &folder);
    let all: PlannedAll = plan_all(&house.services, never()).await.unwrap();
    assert!(!all.jobs[0].is_approved);
    assert_eq!(all.exit_code(), 3);
    assert_eq!(stands(&house.services, "sweep").await, Standing::Missing);
    let report = tick(&house, "sweep").await;
    assert!(is_plan_needed(&report), "{report:#?}");
    assert!(
        report.outcome.message().unwrap().contains("max_files"),
        "{report:#?}"
    );
    // A person may lift the guard for it.
    let refused = house.apply(&report, &[]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 3, "{refused}");
    assert_eq!(
        house.apply(&report, &[("max_files", 2.0)]).await.unwrap().outcome,
        Outcome::Succeeded
    );
    assert_eq!(left(folder.path()), ["young"]);
}

#[tokio::test]
async fn nobody_is_asked_where_the_policy_says_so() {
    let folder = world();
    let house = house(&format!("{CONFIGURATION}[policy]\nplan_first = false\n"), &folder);
    assert_eq!(stands(&house.services, "sweep").await, Standing::NotAsked);
    assert_eq!(tick(&house, "sweep").await.outcome, Outcome::Succeeded);
    assert_eq!(left(folder.path()), ["young"]);
}

#[tokio::test]
async fn an_unapproved_tick_that_is_stale_is_skipped_like_any_other() {
    let folder = world();
    let house = house(CONFIGURATION, &folder);
    let request = RunRequest {
        reason: Reason::Tick,
        scheduled_at: Some(house.clock.now() - chrono::TimeDelta::hours(30)),
        ..House::request("sweep", Mode::Apply)
    };
    let report = house.submit(request).await.unwrap();
    assert_eq!(report.outcome.label(), "skipped(stale)");
    assert_eq!(left(folder.path()), ALL);
}

#[tokio::test]
async fn commands_from_outside_are_taken_only_where_the_policy_says_so() {
    let folder = world();
    let house = house(CONFIGURATION, &folder);
    let refused = operate(&house.services, Command::PlanAll, never())
        .await
        .unwrap_err();
    assert!(matches!(refused, DispatchError::Refused { .. }), "{refused}");

    let house = self::house(
        &format!("{CONFIGURATION}[policy]\nremote_commands = true\n"),
        &folder,
    );
    let asked = async |command| operate(&house.services, command, never()).await;
    let job = || Scope::One("sweep".parse().unwrap());
    let answer = asked(Command::PlanAll).await.unwrap();
    assert_eq!(answer.exit_code(), 0);
    let document = answer.document();
    assert_eq!(document["jobs"][0]["approved"], true);
    assert_eq!(document["jobs"][0]["plan"]["outcome"], "succeeded");
    assert_eq!(document["jobs"][1]["plan"], serde_json::Value::Null);
    let plan = document["jobs"][0]["plan"]["run"].as_str().unwrap().to_owned();

    let answer = asked(Command::Pause(job())).await.unwrap();
    assert_eq!(answer.document()["paused"][0]["on"], "sweep");
    assert_eq!(tick(&house, "sweep").await.outcome.label(), "skipped(paused)");
    let answer = asked(Command::Resume(job())).await.unwrap();
    assert_eq!(answer.document()["paused"], serde_json::json!([]));
    let nobody = Scope::One("sweeper".parse().unwrap());
    assert_eq!(asked(Command::Pause(nobody)).await.unwrap_err().exit_code(), 2);

    let apply = || Command::Apply {
        run: plan.clone(),
        allow: Allowances::default(),
    };
    let answer = asked(apply()).await.unwrap();
    assert_eq!(answer.document()["outcome"], "succeeded");
    assert_eq!(left(folder.path()), ["young"]);
    assert_eq!(asked(apply()).await.unwrap_err().exit_code(), 3);

    let runs = |run| Command::Runs {
        of: job(),
        run,
        limit: 2,
    };
    let document = asked(runs(None)).await.unwrap().document();
    let listed: Vec<&str> = document["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ["succeeded", "skipped(paused)"]);
    let answer = asked(runs(Some(plan.clone()))).await.unwrap();
    assert_eq!(
        (answer.document()["run"].as_str(), answer.exit_code()),
        (Some(plan.as_str()), 0)
    );
    let ended = asked(Command::Cancel { run: plan }).await.unwrap_err();
    assert!(matches!(ended, DispatchError::HasEnded(_)), "{ended}");
}
