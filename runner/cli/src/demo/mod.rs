//! `demo`: a guided tour on data made for it, through the same dispatch as every run, checked one file and row at a time.
//!
//! It touches nothing outside the folder it makes, and refuses a folder that it did not make.

mod census;
mod postgres;
mod sqlite;
mod usage;
mod world;

use std::collections::BTreeSet;
use std::fs::{self, File as StdFile};
use std::path::{Path, PathBuf};
use std::time::Instant as Stopwatch;

use anyhow::Context as _;
use chrono::{SubsecRound as _, TimeDelta};
use serde_json::json;
use sereno_core::dispatch::{self, Services};
use sereno_core::guard::Allowances;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::RunQuery;
use sereno_core::report::{Effect, Report};
use sereno_core::run::{Mode, Outcome, RunRequest, RunState, Work};
use sereno_core::units::{show_count, show_duration};
use sereno_core::value::{Instant, rfc3339};

use crate::args::Demo;
use crate::commands::run::stoppable;
use crate::compose::{self, Watching};
use crate::config_source::{FILE_NAME, Source};
use crate::failure::{Failure, USAGE};
use crate::output::{DOCUMENT_SCHEMA_VERSION, Output};
use crate::render::next::{Asked, shell_quoted};
use crate::render::report::report as report_text;
use crate::render::table::table;
use census::{Census, difference, list};
use postgres::Server;
use world::{JOBS, Table, World};

/// The whole plan, as `sereno.toml` has it.
const ROUNDS: [&str; 3] = ["daily", "weekly", "monthly"];

/// The job that only measures.
const MEASURING: &str = "capacity-check";

/// The folders of the storages of backups and archives.
const BACKUPS: &str = "backups";
const ARCHIVE: &str = "archive";

/// Says that a folder is the demo's own and may be made anew.
const MARKER: &str = ".made-by-sereno-demo";

/// The demo's configuration; `{url}` is where its database is, `{scratch}` an empty one beside it.
const CONFIGURATION: &str = include_str!("sereno.toml");

pub(crate) async fn demo(args: &Demo, output: &Output) -> Result<u8, Failure> {
    let stopwatch = Stopwatch::now();
    // Whole minutes read better; a time that lies behind us is as good as now.
    let now = compose::clock().now();
    let at = now.trunc_subsecs(0) - TimeDelta::seconds(now.timestamp() % 60);
    let world = World::new(at);
    let folder = fresh_folder(&args.dir)?;
    let server = if args.postgres {
        say(output, "starting a throw-away PostgreSQL server");
        Some(Server::start(now.timestamp_micros().unsigned_abs())?)
    } else {
        None
    };
    let data = match &server {
        Some(server) => Data::Postgres(server.url()),
        None => Data::Sqlite(folder.join("app.db")),
    };
    make(&folder, &world, &data).await?;
    let source = Source::find(Some(&folder.join(FILE_NAME)))?;
    let watching = Watching::new(output);
    let services = compose::services(source.parse(output)?, &watching).await?;
    let tour = Tour {
        services,
        watching,
        world,
        data,
        folder,
        output,
        at,
    };
    let summary = tour.go().await?;
    tour.farewell(&summary, server.filter(|_| args.keep), stopwatch)?;
    Ok(u8::from(!summary.mistakes.is_empty()))
}

/// Where the rows are.
enum Data {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Data {
    async fn ids(&self, table: Table) -> anyhow::Result<BTreeSet<i64>> {
        match self {
            Self::Sqlite(file) => sqlite::ids(file, table).await,
            Self::Postgres(url) => postgres::ids(url, table).await,
        }
    }
}

struct Tour<'a> {
    services: Services,
    watching: Watching,
    world: World,
    data: Data,
    folder: PathBuf,
    output: &'a Output,
    at: Instant,
}

/// What the tour came to.
struct Summary {
    /// Runs that were submitted.
    runs: usize,
    /// Files and rows that are gone.
    gone: u64,
    /// What is not as it must be.
    mistakes: Vec<String>,
}

impl Tour<'_> {
    async fn go(&self) -> Result<Summary, Failure> {
        self.say(&format!(
            "{} holds a configuration, old and new files, and a database; all cutoffs are reckoned from {}\n",
            self.folder.display(),
            rfc3339(self.at)
        ));
        let before = self.census().await?;
        self.show("before", &before, None);
        let mut runs = 0;
        let mut mistakes = Vec::new();
        for (job, what) in JOBS {
            self.say(&format!("\n{}", self.output.paint.strong(format!("# {what}"))));
            let plan = self.submit(Work::Job(name(job)?), Mode::Plan).await?;
            runs += 1;
            if plan.effects().all(|effect| effect.planned == 0) {
                // Nothing to apply.
                continue;
            }
            self.command(&format!("apply {}", plan.run));
            self.watching
                .start(&self.services.config, &plan.work, Mode::Apply);
            let report = stoppable(self.output, &self.watching, |stop| {
                dispatch::apply(&self.services, plan.run.as_str(), Allowances::default(), stop)
            })
            .await??;
            self.tell(&report)?;
            runs += 1;
            if planned(&plan) != done(&report) {
                mistakes.push(format!(
                    "{job}: the apply did something else than the plan showed"
                ));
            }
        }
        self.say(&format!(
            "\n{}",
            self.output
                .paint
                .strong("# and again, as its clock would run it all: backups, their proof, a report; nothing more goes")
        ));
        for round in ROUNDS {
            let report = self.submit(Work::Round(name(round)?), Mode::Apply).await?;
            runs += 1;
            for step in report.steps.iter().filter_map(|step| step.run.as_ref()) {
                runs += 1;
                mistakes.extend(self.took_more(step).await?);
            }
        }
        // What its clock would do every hour: gauges tell how things stand now.
        self.submit(Work::Job(name(MEASURING)?), Mode::Apply).await?;
        runs += 1;
        let after = self.census().await?;
        mistakes.extend(self.verify_report(&after)?);
        self.say("");
        self.show("after", &after, Some(&before));
        mistakes.extend(self.verify(&before, &after));
        mistakes.extend(self.verify_ledger(runs).await?);
        let is_there = |path: &&String| after.files.contains(&format!("{path}.gz"));
        let gone = before
            .files
            .difference(&after.files)
            .filter(|path| !is_there(path))
            .count()
            + before
                .rows
                .iter()
                .zip(&after.rows)
                .map(|((_, was), (_, is))| was.difference(is).count())
                .sum::<usize>();
        Ok(Summary {
            runs,
            gone: u64::try_from(gone).unwrap_or(u64::MAX),
            mistakes,
        })
    }

    /// What a step took although nothing was left to take. Statistics may be gathered any number of times.
    async fn took_more(&self, step: &RunId) -> Result<Option<String>, Failure> {
        let Some(report) = self.services.ledger.report(step).await? else {
            return Ok(Some(format!("run {step} has no report")));
        };
        let effects = report.effects().filter(|effect| effect.verb.is_destructive());
        let again: u64 = effects.map(|effect| effect.done).sum();
        Ok((again > 0).then(|| format!("{}: the second run took {again} more", report.work.name())))
    }

    async fn submit(&self, work: Work, mode: Mode) -> Result<Report, Failure> {
        let verb = match mode {
            Mode::Plan => "plan",
            Mode::Apply => "run",
        };
        let what = match &work {
            Work::Job(name) => name.to_string(),
            Work::Round(name) => format!("--round {name}"),
        };
        self.command(&format!("{verb} {what} --at {}", rfc3339(self.at)));
        self.watching.start(&self.services.config, &work, mode);
        let request = RunRequest {
            mode,
            scheduled_at: Some(self.at),
            ..RunRequest::manual(work)
        };
        let report = stoppable(self.output, &self.watching, |stop| {
            dispatch::submit(&self.services, request, stop)
        })
        .await??;
        self.tell(&report)?;
        Ok(report)
    }

    /// The command that does on its own what the tour does next.
    fn command(&self, command: &str) {
        self.say(&format!("\n$ sereno {command}"));
    }

    /// Shows a report; a run that did not succeed ends the tour.
    fn tell(&self, report: &Report) -> Result<(), Failure> {
        self.watching.clear();
        let asked = Asked {
            // What the tour does next it does from its own folder.
            at: Some(self.at),
            ..Asked::plainly("sereno")
        };
        self.say(report_text(report, &asked, self.output.verbose, self.output.paint).trim_end());
        if report.outcome == Outcome::Succeeded {
            return Ok(());
        }
        let message = format!(
            "the demo ends here: {} ended {}",
            report.work.name(),
            report.outcome.label()
        );
        Err(Failure::new(report.outcome.exit_code(), "demo", message))
    }

    fn say(&self, text: &str) {
        say(self.output, text);
    }

    async fn census(&self) -> Result<Census, Failure> {
        let mut files = BTreeSet::new();
        for top in ["temp", "logs"] {
            list(&self.folder, top, &mut files)?;
        }
        let mut rows = Vec::new();
        for table in Table::ALL {
            rows.push((table, self.data.ids(table).await?));
        }
        Ok(Census { files, rows })
    }

    fn show(&self, title: &str, census: &Census, before: Option<&Census>) {
        let line = |what: &str, count: usize, was: Option<usize>| {
            let number = |count: usize| show_count(u64::try_from(count).unwrap_or(u64::MAX));
            let gone = was.map(|was| was - count).filter(|gone| *gone > 0);
            [
                what.to_owned(),
                number(count),
                gone.map(|gone| format!("{} gone", number(gone)))
                    .unwrap_or_default(),
            ]
        };
        let below = |census: &Census, top: &str| {
            census
                .files
                .iter()
                .filter(|path| path.starts_with(top) && !path.ends_with('/'))
                .count()
        };
        let mut rows = Vec::new();
        for (top, what) in [("temp/", "files in temp"), ("logs/", "files in logs")] {
            rows.push(line(
                what,
                below(census, top),
                before.map(|before| below(before, top)),
            ));
        }
        for (place, (table, ids)) in census.rows.iter().enumerate() {
            let was = before.map(|before| before.rows[place].1.len());
            rows.push(line(&format!("rows of {}", table.name()), ids.len(), was));
        }
        self.say(table(["", title, ""], &rows, self.output.paint).trim_end());
    }

    /// Holds every file, directory and row against what must be there: all that should go are gone, all others stay.
    fn verify(&self, before: &Census, after: &Census) -> Vec<String> {
        let mut expected = BTreeSet::new();
        for path in self.world.files().iter().filter_map(world::File::afterwards) {
            for (place, _) in path.match_indices('/') {
                expected.insert(path[..=place].to_owned());
            }
            expected.insert(path);
        }
        // The directories themselves are targets, not litter.
        expected.extend(["temp/".to_owned(), "logs/".to_owned()]);
        let mut mistakes = Vec::new();
        mistakes.extend(difference("files and directories", &expected, &after.files));
        for ((table, was), (_, is)) in before.rows.iter().zip(&after.rows) {
            let all: BTreeSet<i64> = World::ids(*table).collect();
            mistakes.extend(difference(
                &format!("rows of {} at first", table.name()),
                &all,
                was,
            ));
            mistakes.extend(difference(
                &format!("rows of {}", table.name()),
                &World::must_stay(*table),
                is,
            ));
        }
        mistakes
    }

    /// The usage report tells what is there.
    fn verify_report(&self, now: &Census) -> Result<Vec<String>, Failure> {
        let rows: Vec<(&str, usize)> = now
            .rows
            .iter()
            .map(|(table, ids)| (table.name(), ids.len()))
            .collect();
        let bytes = match &self.data {
            Data::Sqlite(file) => fs::metadata(file).ok().map(|found| found.len()),
            Data::Postgres(_) => None,
        };
        let (page, mistakes) = usage::check(&self.folder, &rows, bytes)?;
        self.say(&format!("\nthe usage report is a page: {}", page.display()));
        Ok(mistakes)
    }

    /// Every run is in the ledger, and ended.
    async fn verify_ledger(&self, runs: usize) -> Result<Vec<String>, Failure> {
        let rows = self
            .services
            .ledger
            .runs(&RunQuery {
                limit: u32::MAX,
                ..RunQuery::default()
            })
            .await?;
        let ended = rows
            .iter()
            .filter(|row| row.state == RunState::Ended && row.outcome.as_deref() == Some("succeeded"))
            .count();
        Ok((rows.len() != runs || ended != runs)
            .then(|| {
                format!(
                    "the ledger holds {} runs, {ended} of them succeeded; {runs} were made",
                    rows.len()
                )
            })
            .into_iter()
            .collect())
    }

    fn farewell(&self, summary: &Summary, kept: Option<Server>, stopwatch: Stopwatch) -> Result<(), Failure> {
        let took = show_duration(stopwatch.elapsed());
        let stop = match kept {
            Some(server) => server.keep()?,
            None => Vec::new(),
        };
        if !self.output.is_text() {
            self.output.document(&json!({
                "schema_version": DOCUMENT_SCHEMA_VERSION,
                "folder": self.folder.display().to_string(),
                "at": self.at,
                "runs": summary.runs,
                "gone": summary.gone,
                "mistakes": summary.mistakes,
            }))?;
            return Ok(());
        }
        let paint = self.output.paint;
        if summary.mistakes.is_empty() {
            self.say(&format!(
                "\n{} {} files, directories and rows are gone, each of which had to go, and every other one is there; \
                 {} runs, {took}",
                paint.good("verified:"),
                show_count(summary.gone),
                summary.runs
            ));
        } else {
            self.say(&format!("\n{}", paint.error("this is not as it must be:")));
            for mistake in &summary.mistakes {
                self.say(&format!("  {mistake}"));
            }
        }
        self.next(&stop);
        Ok(())
    }

    fn next(&self, stop: &[String]) {
        let program = std::env::current_exe().ok();
        let program = program
            .as_deref()
            .map_or("sereno".into(), |path| path.display().to_string());
        let folder = self.folder.display().to_string();
        let mut lines = vec![
            format!("cd {}", shell_quoted(&folder)),
            format!("alias sereno={}", shell_quoted(&program)),
            "sereno runs list                      # everything that was just done".to_owned(),
            "sereno gauges                         # how what was measured stands against its targets"
                .to_owned(),
            "sereno jobs explain expired-sessions  # what a job may do, and what bounds it".to_owned(),
        ];
        if matches!(self.data, Data::Sqlite(_)) || !stop.is_empty() {
            lines.push(
                "sereno plan expired-sessions --param keep='2 days'   # a guard that says no".to_owned(),
            );
        }
        lines.extend(
            stop.iter()
                .map(|command| format!("{command}   # ends the server that --keep left")),
        );
        self.say(&format!("\n{}", self.output.paint.hint("try:")));
        for line in lines {
            self.say(&format!("  {line}"));
        }
    }
}

/// The tour is the demo's data where people read it, and talk where a program does.
fn say(output: &Output, text: &str) {
    if output.is_text() {
        // A reader that went away stops the tour at its next write of a document, or never; the work is the same.
        let _ = output.data(&format!("{text}\n"));
    } else {
        output.talk(text);
    }
}

/// What a plan said it would do: verb, place, words and count.
fn planned(report: &Report) -> Vec<(String, u64)> {
    effects(report, |effect| effect.planned)
}

/// What an apply did, in the same terms.
fn done(report: &Report) -> Vec<(String, u64)> {
    effects(report, |effect| effect.done)
}

fn effects(report: &Report, count: impl Fn(&Effect) -> u64) -> Vec<(String, u64)> {
    let mut effects: Vec<(String, u64)> = report
        .effects()
        .map(|effect| {
            (
                format!("{} {} {} {}", effect.verb, effect.on, effect.unit, effect.what),
                count(effect),
            )
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    effects.sort();
    effects
}

/// Makes the folder anew, if it is ours or nobody's.
fn fresh_folder(folder: &Path) -> Result<PathBuf, Failure> {
    let refuse = |why: &str| {
        Failure::new(USAGE, "foreign-folder", format!("{} {why}", folder.display()))
            .hint("give the demo a folder of its own: sereno demo --dir NEW")
    };
    match fs::symlink_metadata(folder) {
        Ok(found) if !found.is_dir() => return Err(refuse("is not a folder")),
        Ok(_) if folder.join(MARKER).is_file() => {
            fs::remove_dir_all(folder)
                .with_context(|| format!("could not remove the old {}", folder.display()))?;
        }
        Ok(_) => {
            let mut inside =
                fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
            if inside.next().is_some() {
                return Err(refuse("was not made by the demo, and is not touched"));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("could not look at {}", folder.display()))
                .into());
        }
    }
    let made = |what: &str| format!("could not {what} {}", folder.display());
    fs::create_dir_all(folder).with_context(|| made("make"))?;
    fs::write(
        folder.join(MARKER),
        "This folder is made anew by every `sereno demo`; keep nothing in it.\n",
    )
    .with_context(|| made("mark"))?;
    Ok(folder.canonicalize().with_context(|| made("find"))?)
}

/// Writes the configuration, the files and the database.
async fn make(folder: &Path, world: &World, data: &Data) -> anyhow::Result<()> {
    let (url, scratch) = match data {
        Data::Sqlite(_) => ("sqlite://app.db".to_owned(), "sqlite://scratch.db".to_owned()),
        Data::Postgres(url) => (url.clone(), postgres::scratch(url)),
    };
    let configuration = CONFIGURATION
        .replace("{url}", &url)
        .replace("{scratch}", &scratch);
    fs::write(folder.join(FILE_NAME), configuration).context("could not write the configuration")?;
    // No storage makes its own folder.
    for storage in [BACKUPS, ARCHIVE, usage::REPORTS] {
        fs::create_dir(folder.join(storage)).with_context(|| format!("could not make {storage}"))?;
    }
    make_files(folder, &world.files())?;
    match data {
        Data::Sqlite(file) => {
            fs::write(folder.join("scratch.db"), "").context("could not make scratch.db")?;
            sqlite::build(file, world).await
        }
        Data::Postgres(url) => postgres::build(url, world).await,
    }
}

fn make_files(folder: &Path, files: &[world::File]) -> anyhow::Result<()> {
    for file in files {
        let path = folder.join(&file.path);
        let failed = || format!("could not make {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(failed)?;
        }
        fs::write(&path, vec![b'.'; file.bytes]).with_context(failed)?;
        let made = StdFile::options().append(true).open(&path).with_context(failed)?;
        made.set_modified(file.written.into()).with_context(failed)?;
    }
    Ok(())
}

fn name<T: std::str::FromStr<Err = sereno_core::name::NameError>>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: sereno_core::name::NameError| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use sereno_core::name::RoundName;

    use super::*;

    #[test]
    fn the_configuration_is_in_order_and_has_the_jobs_of_the_tour() {
        for url in [
            "sqlite://app.db",
            "postgres://postgres@localhost:5432/postgres?host=/tmp/x",
        ] {
            let text = CONFIGURATION
                .replace("{url}", url)
                .replace("{scratch}", "sqlite://scratch.db");
            let config = sereno_core::config::parse(&text, Path::new("/srv/demo"))
                .unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
            let configured: BTreeSet<&str> = config
                .jobs
                .keys()
                .map(sereno_core::name::JobName::as_str)
                .collect();
            let rounds: BTreeSet<&str> = config.rounds.keys().map(RoundName::as_str).collect();
            assert_eq!(rounds, ROUNDS.into());
            let steps = config.rounds.values().flat_map(|round| &round.steps);
            let toured = JOBS.iter().map(|(job, _)| *job);
            let by_hand = ["emergency-database", "emergency-space", "idle-connections"];
            let toured: BTreeSet<&str> = toured
                .chain(steps.map(|step| step.job.as_str()))
                .chain(by_hand)
                .collect();
            assert_eq!(configured, toured);
        }
    }

    #[test]
    fn only_an_empty_folder_or_the_demos_own_is_used() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("demo");
        fresh_folder(&folder).expect("there was none");
        fs::write(folder.join("old.db"), "rows").expect("a file");
        fresh_folder(&folder).expect("it is the demo's own");
        assert!(!folder.join("old.db").exists(), "it is made anew");

        let foreign = parent.path().join("foreign");
        fs::create_dir(&foreign).expect("a folder");
        fresh_folder(&foreign).expect("it is empty");
        fs::remove_file(foreign.join(MARKER)).expect("the mark");
        fs::write(foreign.join("invoices.db"), "rows").expect("a file");
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("a link");
        for refused in [foreign.as_path(), link.as_path(), &foreign.join("invoices.db")] {
            let failure = fresh_folder(refused).expect_err("refused");
            assert_eq!(
                (failure.exit, failure.code),
                (USAGE, "foreign-folder"),
                "{}",
                refused.display()
            );
        }
        assert_eq!(
            fs::read_to_string(foreign.join("invoices.db")).expect("still there"),
            "rows"
        );
        assert!(
            folder.join(MARKER).exists(),
            "what the link leads to is untouched"
        );
    }

    #[test]
    fn files_are_made_with_their_times_and_listed_with_their_directories() {
        let folder = tempfile::tempdir().expect("a folder");
        let at: Instant = "2026-11-24T02:30:00Z".parse().expect("a time");
        let files = World::new(at).files();
        make_files(folder.path(), &files).expect("they are made");
        for file in &files {
            let found = fs::metadata(folder.path().join(&file.path)).expect("it is there");
            assert_eq!(
                Instant::from(found.modified().expect("a time")),
                file.written,
                "{}",
                file.path
            );
        }
        let mut found = BTreeSet::new();
        for top in ["temp", "logs"] {
            list(folder.path(), top, &mut found).expect("they are listed");
        }
        assert_eq!(
            found.iter().filter(|path| !path.ends_with('/')).count(),
            files.len()
        );
        assert!(found.contains("temp/import-of-last-week/"));
    }
}
