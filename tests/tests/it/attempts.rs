//! Several attempts of one piece of work: two deliveries at once, a host that sleeps and wakes, work that goes on
//! where it stopped, and waiting that can be ended.
//!
//! What the ledger alone promises is `ledger`; what one run does to rows and files is `tests/scenarios`.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use sereno_core::dispatch::{DispatchError, Services, Stop, rescue, submit};
use sereno_core::name::TargetName;
use sereno_core::ports::clock::Clock as _;
use sereno_core::ports::database::{Database, DatabaseError, Fence, Progress};
use sereno_core::ports::files::{
    Allowance, Bucket, Directory, DiskUsage, FilesError, Page, Removal, Span, Summary,
};
use sereno_core::ports::http::{HttpError, HttpOrigin};
use sereno_core::ports::ledger::{Flag, RunQuery, Start};
use sereno_core::ports::plugins::Targets;
use sereno_core::ports::storage::{Storage, StorageError};
use sereno_core::ports::writer::{Writer, WriterError};
use sereno_core::report::{Effect, Report};
use sereno_core::run::{Mode, Outcome, RunEvent, RunRequest, Skip};
use sereno_core::value::{FileFilter, Filter, Operator, Value};
use sereno_tests::house::House;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::database::{condition, purge};
use crate::ledger::{id, new_run};

const CONFIGURATION: &str = r#"
version = 1
[directory.temp]
path = "temp"
[job.sweep]
plugin = "temp-files"
params = { directory = "temp", older_than = "24h" }
grant = { directory.temp = ["read", "remove"] }
[job.steps]
plugin = "step-by-step"
params = { directory = "temp" }
grant = { directory.temp = ["read", "remove"] }
limits = { wall = "400ms" }
"#;

/// By the house's clock, which nobody sets back.
const TWO_YEARS: Duration = Duration::from_secs(730 * 86_400);

/// A folder `temp` with so many files of now, and one that will be written in two years.
fn temp(old: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let temp = folder.path().join("temp");
    fs::create_dir(&temp).unwrap();
    for file in 0..old {
        File::create(temp.join(format!("{file}.tmp"))).unwrap();
    }
    let times = FileTimes::new().set_modified(SystemTime::now() + TWO_YEARS);
    let young = File::create(temp.join("young.tmp")).unwrap();
    young.set_times(times).unwrap();
    folder
}

/// The house in two years, so that what was made today is old, whichever of its times is asked.
fn aged(configuration: &str, folder: &TempDir) -> House {
    let house = House::new(configuration, folder.path()).unwrap();
    house.clock.advance(TWO_YEARS);
    house
}

fn files(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder.join("temp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn young() -> BTreeSet<String> {
    BTreeSet::from(["young.tmp".to_owned()])
}

fn keyed(job: &str, key: &str) -> RunRequest {
    RunRequest {
        key: Some(key.to_owned()),
        ..House::request(job, Mode::Apply)
    }
}

async fn outcomes(services: &Services) -> Vec<(u32, String)> {
    let mut rows = services.ledger.runs(&RunQuery::default()).await.unwrap();
    rows.reverse();
    rows.into_iter()
        .map(|row| (row.attempt, row.outcome.unwrap_or_default()))
        .collect()
}

fn removed(effects: &[Effect]) -> u64 {
    effects.iter().map(|effect| effect.done).sum()
}

/// Opens a directory only after the other delivery has come, run and ended.
struct Late {
    targets: Arc<dyn Targets>,
    other: Mutex<Option<(Services, RunRequest)>>,
    answer: Mutex<Option<Report>>,
}

#[async_trait::async_trait]
impl Targets for Late {
    async fn database(&self, name: &TargetName) -> Result<Arc<dyn Database>, DatabaseError> {
        self.targets.database(name).await
    }

    async fn directory(&self, name: &TargetName) -> Result<Arc<dyn Directory>, FilesError> {
        let other = self.other.lock().unwrap().take();
        if let Some((services, request)) = other {
            let report = submit(&services, request, watch::channel(Stop::None).1)
                .await
                .unwrap();
            *self.answer.lock().unwrap() = Some(report);
        }
        self.targets.directory(name).await
    }

    async fn origin(&self, name: &TargetName) -> Result<Arc<dyn HttpOrigin>, HttpError> {
        self.targets.origin(name).await
    }

    async fn storage(&self, name: &TargetName) -> Result<Arc<dyn Storage>, StorageError> {
        self.targets.storage(name).await
    }

    async fn writer(&self, name: &TargetName) -> Result<Arc<dyn Writer>, WriterError> {
        self.targets.writer(name).await
    }
}

/// The first delivery has looked, and found nothing; the second does all the work before the first takes its lease.
#[tokio::test]
async fn of_two_deliveries_of_one_key_the_later_answers_what_the_other_did() {
    let folder = temp(3);
    let mut house = aged(CONFIGURATION, &folder);
    let late = Arc::new(Late {
        targets: Arc::clone(&house.services.targets),
        other: Mutex::new(Some((house.services.clone(), keyed("sweep", "k")))),
        answer: Mutex::default(),
    });
    house.services.targets = Arc::clone(&late) as Arc<dyn Targets>;
    let answer = house.submit(keyed("sweep", "k")).await.unwrap();
    let ran = late.answer.lock().unwrap().take().unwrap();
    assert_eq!((ran.duplicate, removed(&ran.effects_of_key())), (false, 3));
    assert_eq!(
        answer,
        Report {
            duplicate: true,
            ..ran
        }
    );
    assert_eq!(outcomes(&house.services).await, [(1, "succeeded".to_owned())]);
    assert_eq!(files(folder.path()), young());
}

/// A directory whose removals are done and never answered.
struct Mute(Arc<dyn Directory>);

#[async_trait::async_trait]
impl Directory for Mute {
    async fn usage(&self) -> Result<DiskUsage, FilesError> {
        self.0.usage().await
    }

    async fn files_up_to(&self, recursive: bool, limit: u64) -> Result<u64, FilesError> {
        self.0.files_up_to(recursive, limit).await
    }

    async fn summarize(&self, filter: &FileFilter, without: &[FileFilter]) -> Result<Summary, FilesError> {
        self.0.summarize(filter, without).await
    }

    async fn age_histogram(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        span: Span,
    ) -> Result<Vec<Bucket>, FilesError> {
        self.0.age_histogram(filter, without, span).await
    }

    async fn entries(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, FilesError> {
        self.0.entries(filter, without, cursor, max).await
    }

    async fn remove_batch(
        &self,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.0.remove_batch(filter, cursor, max, allowance).await?;
        std::future::pending().await
    }

    async fn preview_remove_batch(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.0
            .preview_remove_batch(filter, without, cursor, max, allowance)
            .await
    }

    async fn remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.0.remove(paths, filter, allowance).await
    }

    async fn preview_remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.0.preview_remove(paths, filter, without, allowance).await
    }
}

struct Muted(Arc<dyn Targets>);

#[async_trait::async_trait]
impl Targets for Muted {
    async fn database(&self, name: &TargetName) -> Result<Arc<dyn Database>, DatabaseError> {
        self.0.database(name).await
    }

    async fn directory(&self, name: &TargetName) -> Result<Arc<dyn Directory>, FilesError> {
        Ok(Arc::new(Mute(self.0.directory(name).await?)))
    }

    async fn origin(&self, name: &TargetName) -> Result<Arc<dyn HttpOrigin>, HttpError> {
        self.0.origin(name).await
    }

    async fn storage(&self, name: &TargetName) -> Result<Arc<dyn Storage>, StorageError> {
        self.0.storage(name).await
    }

    async fn writer(&self, name: &TargetName) -> Result<Arc<dyn Writer>, WriterError> {
        self.0.writer(name).await
    }
}

/// The run is over before the call has answered; what it did in the meantime nobody counted.
#[tokio::test]
async fn a_batch_whose_answer_nobody_heard_is_told() {
    let folder = temp(40);
    let mut house = aged(CONFIGURATION, &folder);
    house.services.targets = Arc::new(Muted(Arc::clone(&house.services.targets)));
    let once = RunRequest {
        once: true,
        ..keyed("steps", "k")
    };
    let report = house.submit(once).await.unwrap();
    assert_eq!(report.outcome.label(), "limit(wall)", "{report:#?}");
    assert_eq!(removed(&report.effects_of_key()), 0);
    assert!(
        matches!(&report.notes[..], [note] if note.contains("never recorded")),
        "{report:#?}"
    );
}

/// What a watcher does at the first effect.
struct AtFirst(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl AtFirst {
    fn new(what: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Box::new(what)))))
    }

    fn now(&self) {
        let what = self.0.lock().unwrap().take();
        if let Some(what) = what {
            what();
        }
    }
}

impl Progress for AtFirst {
    fn effect(&self, _effect: &Effect) {
        self.now();
    }

    fn waiting(&self, _what: &str) {
        self.now();
    }
}

/// Runs `work` to its end from within a callback.
fn elsewhere(work: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::spawn(move || runtime.block_on(work)).join().unwrap();
}

#[tokio::test]
async fn a_host_that_wakes_up_after_its_run_was_closed_answers_what_the_other_found() {
    let folder = temp(3);
    let mut house = aged(CONFIGURATION, &folder);
    let (other, clock) = (house.services.clone(), Arc::clone(&house.clock));
    house.services.progress = AtFirst::new(move || {
        clock.advance(Duration::from_mins(2));
        elsewhere(async move {
            assert_eq!(rescue(&other).await.unwrap().len(), 1);
        });
    });
    let report = house.run("sweep").await.unwrap();
    assert_eq!(report.outcome.label(), "lost", "{report:#?}");
    let stored = house.services.ledger.report(&report.run).await.unwrap();
    assert_eq!(stored, Some(report.clone()));
    let events = house.services.ledger.events(&report.run).await.unwrap();
    let ends = events
        .iter()
        .filter(|stored| matches!(stored.event, RunEvent::Ended { .. } | RunEvent::Rescued { .. }));
    assert_eq!(ends.count(), 1);
    // The leases are free: the next run finds the rest.
    house.services.progress = AtFirst::new(|| {});
    assert_eq!(house.run("sweep").await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(files(folder.path()), young());
}

/// The sleeper had its fence; whoever closes its run raises it.
#[tokio::test]
async fn a_closed_run_can_delete_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/app.db?mode=rwc", folder.path().display());
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::raw_sql(
        "CREATE TABLE user_sessions (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL);
         INSERT INTO user_sessions VALUES (1, '2020-01-01 00:00:00'), (2, '2020-01-02 00:00:00')",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let configuration = r#"
version = 1
[database.app]
url = "sqlite://app.db"
[job.sessions]
plugin = "row-retention"
params = { database = "app", table = "user_sessions", column = "updated_at", keep = "7 days" }
grant = { database.app.tables.user_sessions = ["read", "delete"] }
"#;
    let house = House::new(configuration, folder.path()).unwrap();
    let services = &house.services;
    let scope = "database.app.tables.user_sessions";
    let mut new = new_run(&id("a"), "key", "sessions", house.clock.now());
    new.row.targets = vec!["database.app".to_owned()];
    let leased = format!("{scope}@{}", services.host);
    let ttl = Duration::from_mins(1);
    let Start::Begun(_, leases) = services.ledger.start(new, &[leased], ttl).await.unwrap() else {
        panic!("nothing is in the way");
    };
    let fence = Fence {
        run: id("a"),
        attempt: 1,
        scope: scope.to_owned(),
        token: leases[0].token,
        in_database: true,
    };
    let database = services.targets.database(&"app".parse().unwrap()).await.unwrap();
    database.take_fence(&fence).await.unwrap();
    let old = condition("updated_at", Operator::Less, Value::Instant(house.clock.now()));
    let purge = purge("user_sessions", "updated_at", Filter(vec![old]));
    let batch = database.delete_batch(&purge, None, 1, &fence).await.unwrap();
    assert_eq!(batch.rows, 1);

    house.clock.advance(Duration::from_mins(2));
    let lost = rescue(services).await.unwrap();
    assert_eq!(lost.iter().map(|row| &row.id).collect::<Vec<_>>(), [&id("a")]);
    let late = database
        .delete_batch(&purge, batch.cursor.as_deref(), 1, &fence)
        .await;
    assert!(matches!(late, Err(DatabaseError::Fenced { .. })), "{late:?}");
    let left: Vec<i64> = sqlx::query_scalar("SELECT id FROM user_sessions")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, [2]);
    // A neighbour of that name has a file of its own, of which nothing is asked and to which nothing is written.
    let elsewhere = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/app.db?mode=rwc", elsewhere.path().display());
    let mut theirs = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::raw_sql("CREATE TABLE user_sessions (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL)")
        .execute(&mut theirs)
        .await
        .unwrap();
    let mut neighbour = House::new(configuration, elsewhere.path()).unwrap();
    neighbour.services.host = "neighbour".to_owned();
    let mut new = new_run(&id("b"), "other", "sessions", neighbour.clock.now());
    new.row.targets = vec!["database.app".to_owned()];
    let leased = format!("{scope}@{}", services.host);
    let start = neighbour
        .services
        .ledger
        .start(new, &[leased], ttl)
        .await
        .unwrap();
    assert!(matches!(start, Start::Begun(..)));
    neighbour.clock.advance(Duration::from_mins(2));
    assert_eq!(rescue(&neighbour.services).await.unwrap().len(), 1);
    let closed = neighbour.services.ledger.report(&id("b")).await.unwrap().unwrap();
    assert!(
        closed.notes[0].contains("of the machine that the run was on"),
        "{closed:#?}"
    );
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut theirs)
        .await
        .unwrap();
    assert_eq!(tables, ["user_sessions"]);
    // Nobody had told the ledger of the first batch; the report has it from beside the rows.
    let report = services.ledger.report(&id("a")).await.unwrap().unwrap();
    assert_eq!(removed(&report.effects_of_key()), 1, "{report:#?}");
}

#[tokio::test]
async fn a_key_keeps_the_time_and_the_params_of_its_first_attempt() {
    let folder = temp(3);
    let guarded = CONFIGURATION.replacen("[job.sweep]", "[job.sweep]\nguard = { max_files = 2 }", 1);
    let house = aged(&guarded, &folder);
    let first = house.submit(keyed("sweep", "k")).await.unwrap();
    assert_eq!(first.outcome.label(), "refused(guard)", "{first:#?}");
    house.clock.advance(Duration::from_secs(3_600));
    let second = house.submit(keyed("sweep", "k")).await.unwrap();
    assert_eq!(
        (second.attempt, second.scheduled_at),
        (2, first.scheduled_at),
        "an hour later"
    );
    let mut other = RunRequest {
        scheduled_at: Some(house.clock.now()),
        ..keyed("sweep", "k")
    };
    other.params.insert("older_than".to_owned(), "48h".into());
    let error = house.submit(other).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let DispatchError::Usage(problems) = error else {
        panic!("{error:?}")
    };
    let told: Vec<_> = problems
        .iter()
        .map(|problem| problem.message.replace(first.run.as_str(), "FIRST"))
        .collect();
    let time = sereno_core::value::show_instant(first.scheduled_at);
    assert_eq!(
        told,
        [
            "run FIRST had this key with other params".to_owned(),
            format!("run FIRST had this key with the scheduled time {time}"),
        ]
    );
    assert_eq!(
        outcomes(&house.services).await.len(),
        2,
        "nothing more was started"
    );
}

/// Every effect takes its time, as on a slow disk: an attempt gets done only a part of the work.
struct Slow;

impl Progress for Slow {
    fn effect(&self, _effect: &Effect) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
    }

    fn waiting(&self, _what: &str) {}
}

#[tokio::test]
async fn what_does_not_fit_one_attempt_goes_on_where_it_stopped() {
    const OLD: u64 = 40;
    let folder = temp(40);
    let mut house = aged(CONFIGURATION, &folder);
    house.services.progress = Arc::new(Slow);
    let report = house.submit(keyed("steps", "k")).await.unwrap();
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:#?}");
    assert!(report.attempt > 1);
    assert_eq!(files(folder.path()), young());
    // Every attempt says what it did itself; the last one, what all did.
    let rows = house.services.ledger.runs(&RunQuery::default()).await.unwrap();
    let mut sum = 0;
    for row in &rows {
        let report = house.services.ledger.report(&row.id).await.unwrap().unwrap();
        sum += report.effects().map(|effect| effect.done).sum::<u64>();
        let expected = if row.attempt == rows[0].attempt {
            "succeeded"
        } else {
            "continued"
        };
        assert_eq!(report.outcome.label(), expected, "attempt {}", row.attempt);
    }
    assert_eq!(sum, OLD);
    assert_eq!(removed(&report.effects_of_key()), OLD);
}

#[tokio::test]
async fn a_run_once_stops_where_it_would_go_on() {
    let folder = temp(40);
    let mut house = aged(CONFIGURATION, &folder);
    house.services.progress = Arc::new(Slow);
    let once = || RunRequest {
        once: true,
        ..keyed("steps", "k")
    };
    let report = house.submit(once()).await.unwrap();
    assert_eq!(
        (report.attempt, report.outcome.exit_code()),
        (1, 4),
        "{report:#?}"
    );
    let left = files(folder.path()).len() as u64 - 1;
    let first = removed(&report.effects_of_key());
    assert!(first > 0 && left == 40 - first, "{first} removed, {left} left");
    let second = house.submit(once()).await.unwrap();
    assert_eq!(second.attempt, 2);
    assert_eq!(removed(&second.earlier), first);
}

#[tokio::test]
async fn a_plan_in_several_attempts_is_applied_as_a_whole_by_the_name_of_any() {
    let folder = temp(40);
    let mut house = aged(CONFIGURATION, &folder);
    house.services.progress = Arc::new(Slow);
    let plan = house.plan("steps").await.unwrap();
    assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
    let planned: u64 = plan.effects_of_key().iter().map(|effect| effect.planned).sum();
    assert_eq!((plan.attempt > 1, planned), (true, 40));
    let of_key = RunQuery {
        key: Some(plan.key.clone()),
        ..RunQuery::default()
    };
    let attempts = house.services.ledger.runs(&of_key).await.unwrap();
    let first = Report {
        run: attempts.last().unwrap().id.clone(),
        ..plan.clone()
    };
    assert_ne!(first.run, plan.run);
    let applied = house.apply(&first, &[]).await.unwrap();
    assert_eq!(applied.outcome, Outcome::Succeeded, "{applied:#?}");
    assert_eq!(removed(&applied.effects_of_key()), 40);
    assert_eq!(files(folder.path()), young());
    // Whichever attempt is named: it is one plan, and was applied.
    let again = house.apply(&plan, &[]).await.unwrap_err();
    assert_eq!(again.exit_code(), 3, "{again}");
}

#[tokio::test]
async fn consent_to_one_directory_is_none_to_another_of_its_name() {
    let folder = temp(3);
    fs::create_dir(folder.path().join("precious")).unwrap();
    let house = aged(CONFIGURATION, &folder);
    let plan = house.plan("sweep").await.unwrap();
    let moved = CONFIGURATION.replace("path = \"temp\"", "path = \"precious\"");
    let mut other = aged(&moved, &folder);
    other.services.ledger = Arc::clone(&house.services.ledger);
    let refused = other.apply(&plan, &[]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 3, "{refused}");
    assert_eq!(house.apply(&plan, &[]).await.unwrap().outcome, Outcome::Succeeded);
}

/// Another job's run holds the directory, and will for ever.
async fn held(house: &House) {
    let new = new_run(&id("a"), "key", "other", house.clock.now());
    let scope = format!("directory.temp@{}", house.services.host);
    let ttl = Duration::from_secs(86_400);
    let start = house.services.ledger.start(new, &[scope], ttl).await.unwrap();
    assert!(matches!(start, Start::Begun(..)));
}

#[tokio::test]
async fn a_run_that_waits_for_another_job_hears_a_cancel() {
    let folder = temp(3);
    let mut house = aged(CONFIGURATION, &folder);
    held(&house).await;
    let (tell, stop) = watch::channel(Stop::None);
    house.services.progress = AtFirst::new(move || {
        tell.send(Stop::Interrupt).unwrap();
    });
    let report = submit(&house.services, keyed("sweep", "k"), stop).await.unwrap();
    assert_eq!(report.outcome, Outcome::Interrupted);
    assert_eq!(files(folder.path()).len(), 4);
}

#[tokio::test]
async fn a_run_that_waits_for_another_job_hears_a_pause_and_ends_with_its_patience() {
    let folder = temp(3);
    let configuration = CONFIGURATION.replacen("[job.sweep]", "[job.sweep]\nwait = \"2s\"", 1);
    let mut house = aged(&configuration, &folder);
    held(&house).await;
    let clock = Arc::clone(&house.clock);
    let pass = async |house: &House, request| {
        let mut run = std::pin::pin!(house.submit(request));
        loop {
            tokio::select! {
                biased;
                report = &mut run => return report.unwrap(),
                () = tokio::task::yield_now() => clock.advance(Duration::from_millis(500)),
            }
        }
    };
    let report = pass(&house, keyed("sweep", "patient")).await;
    assert_eq!(report.outcome.label(), "failed(retryable)", "{report:#?}");
    let text = report.outcome.message().unwrap();
    assert!(text.contains("job `other`") && text.contains("2.0 s"), "{text}");

    let ledger = Arc::clone(&house.services.ledger);
    house.services.progress = AtFirst::new(move || {
        elsewhere(async move {
            let now = "2026-11-24T00:00:00Z".parse().unwrap();
            ledger.set_flag("sweep", Flag::Pause, true, now).await.unwrap();
        });
    });
    let report = pass(&house, keyed("sweep", "paused")).await;
    assert!(
        matches!(report.outcome, Outcome::Skipped(Skip::Paused, _)),
        "{report:#?}"
    );
    assert_eq!(files(folder.path()).len(), 4);
}
