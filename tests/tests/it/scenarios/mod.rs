//! Scenarios: `tests/scenarios/<case>/` is data, and this plays every one on every database for which it has rows.
//!
//! A case holds `sereno.toml`, the world before (`files.toml`, and `rows.sql` or one of `sqlite.sql` and `postgres.sql`,
//! where `@{3 days}` is the time so long ago) and `scenario.toml`, the steps and what each must end as (the words are in
//! `read.rs`). What no case has to say is held for all: a plan changes nothing, what is done is what was planned, rows
//! and files that a step does not name are as they were, and jobs that run again change nothing. What needs code (a
//! kill, a clock, a look into the ledger) is in `runs.rs`.

mod read;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use chrono::{DateTime, Utc};
use sereno_core::dispatch::DispatchError;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::RunQuery;
use sereno_core::ports::watch::OutboxQuery;
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome, RunRequest, Work};
use sereno_tests::house::{House, amounts};

use read::{Adapter, Ask, Scenario, Step};
use world::{Look, World};

#[tokio::test]
async fn every_scenario_goes_as_it_is_written() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut folders: Vec<_> = fs::read_dir(&cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "there are no scenarios");
    let mut wrong = String::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().display();
        if let Err(error) = play_everywhere(&folder).await {
            write!(wrong, "\n\n{name}: {error:#}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

async fn play_everywhere(folder: &Path) -> Result<()> {
    let scenario = Scenario::read(folder)?;
    if scenario.sql.is_empty() {
        return play(&scenario, None).await;
    }
    for adapter in scenario.sql.keys() {
        play(&scenario, Some(*adapter))
            .await
            .with_context(|| format!("{adapter:?}"))?;
    }
    Ok(())
}

/// Plays all steps, and then every job once more.
async fn play(scenario: &Scenario, adapter: Option<Adapter>) -> Result<()> {
    let world = World::new(scenario, adapter).await?;
    let house = House::with_environment(&scenario.configuration, &world.home, world.environment())?;
    let mut play = Play {
        look: world.look().await?,
        house,
        world,
        told: BTreeSet::new(),
        plans: BTreeMap::new(),
        again: BTreeMap::new(),
        tells_of_the_disk: scenario.script.tells_of_the_disk,
    };
    for (place, step) in scenario.script.steps.iter().enumerate() {
        play.step(step)
            .await
            .with_context(|| format!("({}) step {}", scenario.script.about, place + 1))?;
    }
    play.everything_again(scenario.script.repeats).await
}

/// A scenario in the middle of its steps.
struct Play {
    house: House,
    world: World,
    /// How the world looked last.
    look: Look,
    /// The ids of all messages so far.
    told: BTreeSet<String>,
    /// The last plan of each job, and whether the world has been left alone since.
    plans: BTreeMap<String, (Report, bool)>,
    /// What each job was last asked to change, and the label it ended with.
    again: BTreeMap<String, (RunRequest, String)>,
    tells_of_the_disk: bool,
}

type Ended = Result<Report, DispatchError>;

impl Play {
    async fn step(&mut self, step: &Step) -> Result<()> {
        let (ask, ended, plan) = match step {
            Step::Change(change) => {
                self.world.change(change).await?;
                let now = self.world.look().await?;
                ensure!(now != self.look, "the change changes nothing");
                self.look = now;
                self.plans.values_mut().for_each(|(_, current)| *current = false);
                return Ok(());
            }
            Step::Plan(ask) => {
                let job = self.job(ask)?;
                let ended = self.plan(&job, ask).await?;
                if let Ok(report) = &ended {
                    self.plans.insert(job, (report.clone(), true));
                }
                (ask, ended, None)
            }
            Step::Run(ask) => self.run(ask).await?,
            Step::Apply(ask) => self.apply(ask).await?,
        };
        let now = self.world.look().await?;
        let mut wrong = Vec::new();
        ended_as(ask, &ended, &mut wrong);
        let alerts = self.alerts().await?;
        same(
            "alerts",
            ask.alerts.iter().cloned(),
            alerts.into_iter(),
            &mut wrong,
        );
        let at = ended.as_ref().ok().map(|report| report.scheduled_at);
        self.world_is(ask, &now, at, &mut wrong);
        if let (Ok(report), Some(plan)) = (&ended, plan)
            && report.outcome == Outcome::Succeeded
            && !report.duplicate
        {
            agree(&plan, report, self.tells_of_the_disk, &mut wrong);
        }
        self.look = now;
        ensure!(wrong.is_empty(), "\n{}\n{ended:#?}", wrong.join("\n"));
        Ok(())
    }

    /// Plans, and holds the world to looking the same in every respect: only the ledger has gained a run.
    async fn plan(&self, job: &str, ask: &Ask) -> Result<Ended> {
        let before = self.runs().await?;
        let ended = self.house.submit(request(job, Mode::Plan, ask)?).await;
        let mut runs = self.runs().await?;
        match &ended {
            Ok(report) => {
                let steps = report.steps.iter().rev().filter_map(|step| step.run.as_ref());
                for run in steps.chain([&report.run]) {
                    ensure!(
                        runs.pop().as_ref() == Some(run),
                        "{run} is not the newest of {runs:?}"
                    );
                }
            }
            // A mistake in what was asked is only told; what kept a right request from its start is in the history.
            Err(error) if error.exit_code() == 2 => {}
            Err(error) => ensure!(
                runs.pop().is_some() && runs.len() == before.len(),
                "{error} is not in the history {runs:?}"
            ),
        }
        ensure!(runs == before, "{before:?} became {runs:?}");
        if let Ok(report) = &ended {
            let done: u64 = report.effects().map(|effect| effect.done).sum();
            ensure!(done == 0, "a plan says that it did something: {report:#?}");
        }
        let now = self.world.look().await?;
        ensure!(
            now == self.look,
            "a plan changed the world: {}",
            difference(&self.look, &now)
        );
        Ok(ended)
    }

    /// Runs a job, planned just before.
    async fn run<'a>(&mut self, ask: &'a Ask) -> Result<(&'a Ask, Ended, Option<Report>)> {
        let job = self.job(ask)?;
        let plan = self.plan(&job, ask).await?.ok();
        let request = request(&job, Mode::Apply, ask)?;
        let held = match &ask.beside {
            Some(statement) => Some(self.world.hold(statement).await?),
            None => None,
        };
        let ended = self.house.submit(request.clone()).await;
        // Whoever was beside it may have kept it from something that was planned.
        let plan = plan.filter(|_| held.is_none());
        drop(held);
        if ended.is_ok() {
            let request = RunRequest { key: None, ..request };
            self.again.insert(job, (request, label(&ended)));
        }
        Ok((ask, ended, plan))
    }

    /// Applies the last plan of a job.
    async fn apply<'a>(&mut self, ask: &'a Ask) -> Result<(&'a Ask, Ended, Option<Report>)> {
        ensure!(
            ask.at.is_none() && ask.key.is_none() && ask.params.is_empty() && ask.beside.is_none(),
            "an apply takes its plan's time and params"
        );
        let job = self.job(ask)?;
        let (plan, current) = self.plans.get(&job).context("there is no plan to apply")?;
        let allow: Vec<(&str, f64)> = ask
            .allow
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let ended = self.house.apply(plan, &allow).await;
        if ended
            .as_ref()
            .is_ok_and(|report| report.outcome == Outcome::Succeeded)
        {
            let mut request = House::request(&job, Mode::Apply);
            request.scheduled_at = Some(plan.scheduled_at);
            self.again.insert(job, (request, label(&ended)));
        }
        Ok((ask, ended, current.then(|| plan.clone())))
    }

    /// What was told since the last time.
    async fn alerts(&mut self) -> Result<Vec<String>> {
        let outbox = self.house.services.ledger.outbox(&OutboxQuery::default()).await?;
        let fresh = outbox.into_iter().map(|one| one.letter);
        Ok(fresh
            .filter(|letter| self.told.insert(letter.id.clone()))
            .map(|letter| format!("{} {}", letter.message.kind.label(), letter.message.subject))
            .collect())
    }

    /// All runs of the ledger, the newest last.
    async fn runs(&self) -> Result<Vec<RunId>> {
        let rows = self.house.services.ledger.runs(&RunQuery::default()).await?;
        Ok(rows.into_iter().rev().map(|row| row.id).collect())
    }

    /// The job that is meant.
    fn job(&self, ask: &Ask) -> Result<String> {
        let jobs = &self.house.services.config.jobs;
        match &ask.job {
            Some(job) => Ok(job.clone()),
            None if jobs.len() == 1 => Ok(jobs.keys().next().context("one job")?.to_string()),
            None => bail!("there are several jobs, and the step names none"),
        }
    }

    /// The rows and files that `ask` names are there and no other; of what it does not name nothing has changed.
    fn world_is(&self, ask: &Ask, now: &Look, at: Option<DateTime<Utc>>, wrong: &mut Vec<String>) {
        let at = at.map(|at| at.format("%Y-%m-%dT%H%M%SZ").to_string());
        match &ask.files {
            Some(files) => {
                let filled: BTreeSet<&str> = now
                    .files
                    .keys()
                    .filter_map(|path| Some(&path[..=path.trim_end_matches('/').rfind('/')?]))
                    .collect();
                let there = now
                    .files
                    .keys()
                    .filter(|path| !filled.contains(path.as_str()))
                    .map(|path| match &at {
                        Some(at) => path.replace(at, "@{at}"),
                        None => path.clone(),
                    });
                same("files", files.iter().cloned(), there, wrong);
                for (path, looks) in now.files.iter().filter(|(path, _)| !path.ends_with('/')) {
                    // One that is new was named by the step.
                    if self.look.files.get(path).is_some_and(|before| before != looks) {
                        wrong.push(format!("{path} stayed and is another: {looks}"));
                    }
                }
            }
            None if now.files == self.look.files => {}
            None => wrong.push(format!(
                "no files are named, and they changed: {}",
                difference(&self.look, now)
            )),
        }
        match &ask.backups {
            Some(backups) => same(
                "backups",
                backups.iter().cloned(),
                now.backups.iter().cloned(),
                wrong,
            ),
            None if now.backups == self.look.backups => {}
            None => wrong.push(format!(
                "no backups are named, and they changed: {}",
                difference(&self.look, now)
            )),
        }
        match &ask.sessions {
            Some(sessions) => same(
                "sessions",
                sessions.iter().cloned(),
                now.sessions.iter().cloned(),
                wrong,
            ),
            None if now.sessions == self.look.sessions => {}
            None => wrong.push(format!(
                "no sessions are named, and they changed: {}",
                difference(&self.look, now)
            )),
        }
        match &ask.rows {
            Some(tables) => {
                for (table, rows) in tables {
                    let expected = rows.iter().flat_map(|row| range(row));
                    let there = now.rows.get(table).cloned().unwrap_or_default();
                    same(table, expected, there.into_iter(), wrong);
                }
                for (table, rows) in &now.tables {
                    let before: BTreeSet<_> = self.look.tables.get(table).into_iter().flatten().collect();
                    for row in rows.iter().filter(|row| !before.contains(row)) {
                        wrong.push(format!("a row of {table} stayed and is another: {row}"));
                    }
                }
                for (table, rows) in now.rows.iter().filter(|(table, _)| !tables.contains_key(*table)) {
                    let before = self.look.rows.get(table).cloned().unwrap_or_default();
                    same(table, before.into_iter(), rows.iter().cloned(), wrong);
                }
            }
            None if now.tables == self.look.tables => {}
            None => wrong.push(format!(
                "no rows are named, and they changed: {}",
                difference(&self.look, now)
            )),
        }
    }

    /// Every job once more: it ends the same and finds nothing left to do.
    async fn everything_again(&self, repeats: bool) -> Result<()> {
        for (job, (request, ended)) in &self.again {
            let again = self.house.submit(request.clone()).await;
            ensure!(
                label(&again) == *ended,
                "{job} ended {ended}, and run again: {again:#?}"
            );
            let done: u64 = again
                .iter()
                .flat_map(Report::effects)
                .map(|effect| effect.done)
                .sum();
            ensure!(repeats || done == 0, "{job} run again did something: {again:#?}");
            let now = self.world.look().await?;
            ensure!(
                (&now.files, &now.tables, &now.sessions)
                    == (&self.look.files, &self.look.tables, &self.look.sessions),
                "{job} run again changed the world: {}",
                difference(&self.look, &now)
            );
        }
        Ok(())
    }
}

/// The request that `ask` describes. A plan is never a duplicate of a run, so it goes without the key.
fn request(job: &str, mode: Mode, ask: &Ask) -> Result<RunRequest> {
    let work: Work = job.parse().map_err(|error| anyhow!("{job}: {error}"))?;
    ensure!(
        ask.allow.is_empty() || mode == Mode::Apply,
        "only an apply lifts a guard"
    );
    let mut request = RunRequest {
        mode,
        ..RunRequest::manual(work)
    };
    request.scheduled_at = ask.at.as_deref().map(str::parse).transpose()?;
    request.params.clone_from(&ask.params);
    request.key = ask.key.clone().filter(|_| mode == Mode::Apply);
    Ok(request)
}

fn label(ended: &Ended) -> String {
    ended
        .as_ref()
        .map_or_else(|_| "error".to_owned(), |report| report.outcome.label())
}

/// Holds how a step ended against what it says.
fn ended_as(ask: &Ask, ended: &Ended, wrong: &mut Vec<String>) {
    let exit = match ended {
        Ok(report) => report.exit_code(None),
        Err(error) => error.exit_code(),
    };
    let expected = (ask.ends.clone(), ask.exit);
    if (label(ended), exit) != expected {
        wrong.push(format!("it was to end {expected:?}"));
    }
    let (mut effects, mut findings, mut steps, mut measured, mut words) =
        (vec![], vec![], vec![], BTreeMap::new(), String::new());
    match ended {
        Err(error) => words = format!("{error:?}"),
        Ok(report) => {
            if report.duplicate != ask.duplicate {
                wrong.push(format!("duplicate: {}", report.duplicate));
            }
            words.extend(report.outcome.message());
            steps.extend(report.steps.iter().map(|step| {
                let outcome = step.outcome.as_ref().map(Outcome::label);
                format!("{} {}", step.job, outcome.unwrap_or_else(|| "left".to_owned()))
            }));
            for effect in report.effects() {
                let (verb, on, unit) = (effect.verb, &effect.on, &effect.unit);
                let skipped = match effect.skipped {
                    0 => String::new(),
                    skipped => format!(", {skipped} skipped"),
                };
                effects.push(format!(
                    "{verb} {on}: {} of {} {unit}{skipped}",
                    effect.done, effect.planned
                ));
                words.extend(["\n", &effect.what]);
            }
            for finding in report.findings() {
                let severity = format!("{:?}", finding.severity).to_lowercase();
                let told = format!("{severity} {} {}", finding.code, finding.target);
                findings.push(told.trim_end().to_owned());
                words.extend([
                    "\n",
                    &finding.text,
                    "\n",
                    finding.next.as_deref().unwrap_or_default(),
                ]);
            }
            for reading in &report.measurements {
                measured.insert(format!("{} {}", reading.name, reading.target), reading.value);
                words.extend(["\n", reading.note.as_deref().unwrap_or_default()]);
            }
        }
    }
    same("effects", ask.effects.iter().cloned(), effects.into_iter(), wrong);
    same(
        "findings",
        ask.findings.iter().cloned(),
        findings.into_iter(),
        wrong,
    );
    if ask.steps != steps {
        wrong.push(format!("steps: {steps:?}"));
    }
    for expected in &ask.measured {
        let fits = expected.split_once(" = ").is_some_and(|(name, value)| {
            measured.get(name).is_some_and(|found| match (value, found) {
                ("unknown", None) => true,
                ("some", Some(found)) => *found > 0.0,
                (value, Some(found)) => value == found.to_string(),
                _ => false,
            })
        });
        if !fits {
            wrong.push(format!("it was to measure {expected}"));
        }
    }
    for said in ask.says.iter().filter(|said| !words.contains(*said)) {
        wrong.push(format!("it was to say {said:?}"));
    }
}

/// What was done is what was planned, and the plugin was told the same at every turn.
fn agree(plan: &Report, applied: &Report, tells_of_the_disk: bool, wrong: &mut Vec<String>) {
    if amounts(plan) != amounts(applied) {
        wrong.push(format!("the plan said {:?}", amounts(plan)));
    }
    for effect in applied.effects() {
        if effect.done + effect.skipped < effect.planned || effect.done > effect.planned {
            wrong.push(format!("done is not what was planned: {effect:?}"));
        }
    }
    let noticed = |report: &Report| -> Vec<(String, String)> {
        report
            .findings()
            .map(|finding| {
                let text = if tells_of_the_disk { "" } else { &finding.text };
                (finding.code.clone(), text.to_owned())
            })
            .collect()
    };
    if noticed(plan) != noticed(applied) {
        wrong.push(format!("the plan noticed {:?}", noticed(plan)));
    }
    // Not the values: a disk fills while we look.
    let measured = |report: &Report| -> Vec<(String, String, bool)> {
        let readings = report.measurements.iter();
        readings
            .map(|found| (found.name.clone(), found.target.clone(), found.value.is_some()))
            .collect()
    };
    if measured(plan) != measured(applied) {
        wrong.push(format!("the plan measured {:?}", measured(plan)));
    }
}

/// `7`, or `1..1000` with both ends.
fn range(text: &str) -> Vec<String> {
    let ends = text
        .split_once("..")
        .and_then(|(from, to)| Some((from.parse::<i64>().ok()?, to.parse::<i64>().ok()?)));
    match ends {
        Some((from, to)) => (from..=to).map(|number| number.to_string()).collect(),
        None => vec![text.to_owned()],
    }
}

/// Compares without order, and tells only what differs.
fn same(
    what: &str,
    expected: impl Iterator<Item = String>,
    found: impl Iterator<Item = String>,
    wrong: &mut Vec<String>,
) {
    let mut unforeseen: Vec<String> = found.collect();
    let mut missing = Vec::new();
    for item in expected {
        match unforeseen.iter().position(|found| *found == item) {
            Some(place) => drop(unforeseen.swap_remove(place)),
            None => missing.push(item),
        }
    }
    if !missing.is_empty() || !unforeseen.is_empty() {
        unforeseen.sort();
        wrong.push(format!(
            "{what}: missing {missing:?}, not expected {unforeseen:?}"
        ));
    }
}

fn difference(before: &Look, now: &Look) -> String {
    let lines = |look: &Look| -> BTreeSet<String> {
        let files = look.files.iter().map(|(path, looks)| format!("{path} {looks}"));
        let tables = look.tables.iter().chain(&look.rest);
        files
            .chain(tables.flat_map(|(table, rows)| rows.iter().map(move |row| format!("{table} {row}"))))
            .collect()
    };
    let (before, now) = (lines(before), lines(now));
    let gone: Vec<_> = before.difference(&now).collect();
    let new: Vec<_> = now.difference(&before).collect();
    format!("gone {gone:#?}, new {new:#?}")
}

#[test]
fn a_scenario_that_is_broken_or_expects_nothing_is_refused() {
    let right = r#"
about = "x"
identity = { t = "id" }
[[step]]
do = "run"
ends = "succeeded"
exit = 0
rows = { t = ["1..3", "9"] }
"#;
    assert!(read::script(right).is_ok());
    for (from, to, told) in [
        (r#"about = "x""#, r#"about = " ""#, "says nothing"),
        (r#"rows = { t = ["1..3", "9"] }"#, "", "no step names"),
        ("ends = \"succeeded\"\n", "", "ends"),
        ("exit = 0\n", "", "exit"),
        ("identity = { t = \"id\" }\n", "", "no `identity`"),
        ("do = \"run\"", "do = \"rum\"", "rum"),
        ("rows =", "row =", "row"),
        ("exit = 0", "exit = 0\neffect = []", "effect"),
    ] {
        let broken = right.replace(from, to);
        assert_ne!(broken, right, "{from}");
        let error = format!("{:#}", read::script(&broken).unwrap_err());
        assert!(error.contains(told), "{to}: {error}");
    }
    assert!(read::files("\"a\" = { aeg = \"3 days\" }").is_err());
    assert_eq!(range("-1..1"), ["-1", "0", "1"]);
    assert_eq!(range("2026-11-24"), ["2026-11-24"]);

    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        Scenario::read(folder.path())
            .map(|_| ())
            .map_err(|error| format!("{error:#}"))
    };
    assert_eq!(
        read("sereno.toml", "version = 1").unwrap_err(),
        "there is no scenario.toml"
    );
    assert!(
        read("scenario.toml", right)
            .unwrap_err()
            .contains("neither a row nor a file")
    );
    assert_eq!(read("rows.sql", "SELECT 1"), Ok(()));
    assert!(
        read("sqlite.sql", "SELECT 1")
            .unwrap_err()
            .contains("rows.sql is for all")
    );
    assert_eq!(read("notes.txt", "").unwrap_err(), "nobody reads notes.txt");
}
