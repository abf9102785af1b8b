//! Rounds: which files went and which stayed when a step fails, when a host dies, when it is delivered again, when the
//! window ends.

use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sereno_core::name::TargetName;
use sereno_core::ports::database::{Database, DatabaseError};
use sereno_core::ports::files::{Directory, FilesError};
use sereno_core::ports::http::{HttpError, HttpOrigin};
use sereno_core::ports::ledger::RunQuery;
use sereno_core::ports::plugins::Targets;
use sereno_core::ports::storage::{Storage, StorageError};
use sereno_core::ports::writer::{Writer, WriterError};
use sereno_core::run::{Mode, Outcome, Reason, RunRequest, Work};
use sereno_tests::house::House;
use tempfile::TempDir;
use tokio::sync::Notify;

fn round() -> RunRequest {
    RunRequest::manual("round:nightly".parse::<Work>().unwrap())
}

/// Three folders with an old and a young file each, and a round of a job for each.
fn world(round: &str) -> (TempDir, House) {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = "version = 1\n".to_owned();
    for name in ["a", "b", "c"] {
        let of = folder.path().join(name);
        fs::create_dir(&of).unwrap();
        // The house's clock is two days ahead, because what was only moved here counts as young.
        for (file, days) in [("old", 0), ("young", 2)] {
            let file = File::create(of.join(file)).unwrap();
            let at = SystemTime::now() + Duration::from_secs(days * 86_400);
            file.set_times(FileTimes::new().set_modified(at)).unwrap();
        }
        write!(
            configuration,
            "[directory.{name}]\npath = \"{name}\"\n[job.{name}]\nplugin = \"temp-files\"\n\
             params = {{ directory = \"{name}\", older_than = \"24h\" }}\n\
             grant = {{ directory.{name} = [\"read\", \"remove\"] }}\n"
        )
        .unwrap();
    }
    writeln!(configuration, "[round.nightly]\n{round}").unwrap();
    let house = House::new(&configuration, folder.path()).unwrap();
    house.clock.advance(Duration::from_secs(2 * 86_400));
    (folder, house)
}

fn left(folder: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for of in ["a", "b", "c"] {
        for file in ["old", "young"] {
            if folder.join(of).join(file).exists() {
                left.push(format!("{of}/{file}"));
            }
        }
    }
    left
}

#[tokio::test]
async fn a_round_runs_its_jobs_in_order_and_a_duplicate_runs_none() {
    let (folder, house) = world("jobs = [\"a\", \"b\", \"c\"]");
    let keyed = || RunRequest {
        key: Some("tonight".to_owned()),
        ..round()
    };
    let plan = house
        .submit(RunRequest {
            mode: Mode::Plan,
            ..keyed()
        })
        .await
        .unwrap();
    assert_eq!((plan.outcome, left(folder.path()).len()), (Outcome::Succeeded, 6));
    let report = house.submit(keyed()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Succeeded);
    let jobs: Vec<_> = report.steps.iter().map(|step| step.job.as_str()).collect();
    assert_eq!(jobs, ["a", "b", "c"]);
    assert_eq!(left(folder.path()), ["a/young", "b/young", "c/young"]);
    let runs = async || house.services.ledger.runs(&RunQuery::default()).await.unwrap();
    let before = runs().await;
    assert_eq!(
        before[0].reason,
        Reason::Step {
            round: report.run.clone(),
            is_scheduled: false
        }
    );
    assert!(
        before
            .iter()
            .take(4)
            .all(|row| row.scheduled_at == before[0].scheduled_at)
    );
    let again = house.submit(keyed()).await.unwrap();
    assert!(again.duplicate && again.run == report.run);
    assert_eq!(runs().await, before);
}

#[tokio::test]
async fn what_comes_after_a_failed_step_is_left_and_the_next_delivery_does_only_what_is_missing() {
    let (folder, house) = world("jobs = [\"a\", \"b\", { job = \"c\", after = [\"b\"] }]");
    let away = folder.path().join("away");
    fs::rename(folder.path().join("b"), &away).unwrap();
    let keyed = || RunRequest {
        key: Some("tonight".to_owned()),
        ..round()
    };
    let report = house.submit(keyed()).await.unwrap();
    assert_eq!(report.outcome.label(), "usage");
    let ended: Vec<_> = report
        .steps
        .iter()
        .map(|step| step.outcome.as_ref().map(Outcome::label))
        .collect();
    assert_eq!(
        ended,
        [Some("succeeded".to_owned()), Some("usage".to_owned()), None]
    );
    assert!(
        report.steps[1].run.is_some(),
        "what failed before its start has a run"
    );
    assert_eq!(
        report.steps[2].why.as_deref(),
        Some("it comes after `b`, which did not succeed")
    );
    assert_eq!(left(folder.path()), ["a/young", "c/old", "c/young"]);
    fs::rename(away, folder.path().join("b")).unwrap();
    let second = house.submit(keyed()).await.unwrap();
    assert_eq!((second.attempt, &second.outcome), (2, &Outcome::Succeeded));
    assert_eq!(
        second.steps[0].run, report.steps[0].run,
        "a duplicate of the first delivery's"
    );
    assert_eq!(left(folder.path()), ["a/young", "b/young", "c/young"]);
}

#[tokio::test]
async fn after_the_end_of_its_window_no_step_starts() {
    let (folder, house) = world("schedule = \"0 4 * * *\"\nwindow = \"1h\"\njobs = [\"a\", \"b\", \"c\"]");
    let six = house.advance_to_next(6);
    let report = house
        .submit(RunRequest {
            reason: Reason::Tick,
            scheduled_at: Some(six - chrono::TimeDelta::hours(2)),
            ..round()
        })
        .await
        .unwrap();
    assert_eq!(report.outcome.label(), "skipped(stale)");
    assert!(
        report
            .steps
            .iter()
            .all(|step| step.why.as_deref() == Some("the window had ended"))
    );
    assert_eq!((report.steps.len(), left(folder.path()).len()), (3, 6));
}

/// Stays at the first opening of `b` until somebody lets it go on.
struct Halted {
    targets: Arc<dyn Targets>,
    was_there: AtomicBool,
    reached: Notify,
    go_on: Notify,
}

impl Halted {
    fn put_into(house: &mut House) -> Arc<Self> {
        let halted = Arc::new(Self {
            targets: Arc::clone(&house.services.targets),
            was_there: AtomicBool::new(false),
            reached: Notify::new(),
            go_on: Notify::new(),
        });
        house.services.targets = Arc::clone(&halted) as Arc<dyn Targets>;
        halted
    }
}

#[async_trait::async_trait]
impl Targets for Halted {
    async fn database(&self, name: &TargetName) -> Result<Arc<dyn Database>, DatabaseError> {
        self.targets.database(name).await
    }

    async fn directory(&self, name: &TargetName) -> Result<Arc<dyn Directory>, FilesError> {
        if name.as_str() == "b" && !self.was_there.swap(true, Ordering::Relaxed) {
            self.reached.notify_one();
            self.go_on.notified().await;
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

#[tokio::test]
async fn a_round_whose_host_died_goes_on_with_the_step_it_was_at() {
    let (folder, mut house) = world("jobs = [\"a\", \"b\", \"c\"]");
    let halted = Halted::put_into(&mut house);
    let keyed = || RunRequest {
        key: Some("tonight".to_owned()),
        ..round()
    };
    // The first host is gone in the middle of the round, and with it whatever it would have written.
    tokio::select! {
        report = house.submit(keyed()) => panic!("it ended: {report:?}"),
        () = halted.reached.notified() => {}
    }
    assert_eq!(
        left(folder.path()),
        ["a/young", "b/old", "b/young", "c/old", "c/young"]
    );
    house.clock.advance(Duration::from_secs(120));
    let report = house.submit(keyed()).await.unwrap();
    assert_eq!((report.attempt, &report.outcome), (2, &Outcome::Succeeded));
    assert_eq!(left(folder.path()), ["a/young", "b/young", "c/young"]);
    let rows = house.services.ledger.runs(&RunQuery::default()).await.unwrap();
    let told = rows.iter().rev().map(|row| {
        (
            row.work.text(),
            row.attempt,
            row.outcome.as_deref().unwrap_or_default(),
        )
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("round:nightly".to_owned(), 1, "lost"),
            ("a".to_owned(), 1, "succeeded"),
            ("round:nightly".to_owned(), 2, "succeeded"),
            ("b".to_owned(), 1, "succeeded"),
            ("c".to_owned(), 1, "succeeded"),
        ]
    );
    let steps: Vec<_> = report.steps.iter().map(|step| step.run.clone()).collect();
    assert_eq!(
        steps,
        [1, 3, 4].map(|at| Some(rows[rows.len() - 1 - at].id.clone()))
    );
}

#[tokio::test]
async fn a_window_that_ends_in_the_middle_leaves_what_was_not_started() {
    let (folder, mut house) = world("window = \"1h\"\njobs = [\"a\", \"b\", \"c\"]");
    let halted = Halted::put_into(&mut house);
    let (report, ()) = tokio::join!(house.submit(round()), async {
        halted.reached.notified().await;
        house.clock.advance(Duration::from_secs(2 * 3_600));
        halted.go_on.notify_one();
    });
    let report = report.unwrap();
    assert_eq!(
        (report.steps[0].outcome.as_ref(), report.steps[2].outcome.as_ref()),
        (Some(&Outcome::Succeeded), None)
    );
    assert_ne!(
        report.steps[1].outcome,
        Some(Outcome::Succeeded),
        "its time was over too"
    );
    assert_eq!(report.steps[2].why.as_deref(), Some("the window had ended"));
    assert_eq!(
        left(folder.path()),
        ["a/young", "b/old", "b/young", "c/old", "c/young"]
    );
}
