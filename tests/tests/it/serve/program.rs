//! The real program, several of them on one PostgreSQL ledger, with real signals: `kill -9` at random, SIGHUP, SIGTERM.
//!
//! `SERENO_SERVE_MINUTES` and `SERENO_SERVE_JOBS` make it longer: `./just soak` is five minutes of 100 jobs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use rustix::process::{Pid, Signal, kill_process};
use sereno_adapters::clock::SystemEntropy;
use sereno_adapters::ledger as ledgers;
use sereno_core::ports::clock::Entropy as _;
use sereno_core::ports::ledger::RunQuery;
use sereno_core::run::Mode;
use sereno_tests::house::{plugins_folder, program};
use sereno_tests::postgres;
use sereno_tests::wait::wait_for;

use super::{LIMIT, configuration};

/// One of several processes.
struct Process {
    child: Child,
    /// What it says.
    log: std::path::PathBuf,
}

impl Process {
    fn start(folder: &Path, name: &str) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().append(true).create(true).open(&log).unwrap();
        let child = Command::new(program().unwrap())
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .current_dir(folder)
            .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
            .env_remove("SERENO_CONFIG")
            .env_remove("SERENO_FORMAT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn said(&self, text: &str) -> bool {
        fs::read_to_string(&self.log).unwrap().contains(text)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code, once it has ended.
    fn exit(mut self) -> Option<i32> {
        let mut status = None;
        let ended = || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        };
        assert!(wait_for(ended, LIMIT), "it does not end");
        status.unwrap().code()
    }
}

fn world(folder: &Path, ledger: &str, jobs: usize, schedule: &str) {
    for job in 0..jobs {
        let of = folder.join(format!("d{job}"));
        if !of.exists() {
            fs::create_dir(of).unwrap();
        }
    }
    let text = configuration(
        "",
        "shared",
        jobs,
        &format!("schedule = \"{schedule}\"\nretries = 5"),
    );
    // Spread over some seconds, as in life.
    let text = text.replace("jitter = \"1ms\"", "jitter = \"10s\"");
    let plugin = plugins_folder().unwrap().join("temp-files.wasm");
    let more = format!(
        "[ledger]\nurl = \"{ledger}\"\n[plugin.temp-files]\npath = \"{}\"\n",
        plugin.display()
    );
    fs::write(folder.join("sereno.toml"), format!("{text}{more}")).unwrap();
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Until the wall clock shows it.
fn until(at: DateTime<Utc>) {
    let longer = (at - Utc::now()).to_std().unwrap_or_default() + LIMIT;
    assert!(wait_for(|| Utc::now() >= at, longer));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_one_of_them_killed_at_random_run_each_tick_once() {
    let minutes = setting("SERENO_SERVE_MINUTES", 1);
    let jobs = usize::try_from(setting("SERENO_SERVE_JOBS", 20)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let database = postgres::shared().unwrap().database("serve_soak").await.unwrap();
    world(folder.path(), &database.url, jobs, "* * * * *");
    let ledger = ledgers::open(&database.url, folder.path()).await.unwrap();
    let start = |name: &str| {
        let process = Process::start(folder.path(), name);
        assert!(wait_for(|| process.said("keeping the schedules"), LIMIT));
        process
    };
    let mut processes = [start("a"), start("b")];
    let minute = TimeDelta::minutes(1);
    let first = Utc::now().duration_trunc(minute).unwrap() + minute;
    let last = first + minute * i32::try_from(minutes - 1).unwrap();
    until(first);
    let random = |below: i64| {
        let number = SystemEntropy.next() % u64::try_from(below).unwrap();
        i64::try_from(number).unwrap()
    };
    let mut kills = 0;
    loop {
        // Within the seconds after a tick half of the time, when runs are at work.
        let wait = if random(2) == 0 {
            random(2_000)
        } else {
            random(15_000)
        };
        let next = Utc::now() + TimeDelta::milliseconds(wait);
        if next >= last + TimeDelta::seconds(20) {
            break;
        }
        until(next);
        let which = usize::try_from(random(2)).unwrap();
        let name = ["a", "b"][which];
        let killed = std::mem::replace(&mut processes[which], Process::start(folder.path(), name));
        killed.kill();
        kills += 1;
        let log = processes[which].log.clone();
        let starts = || {
            fs::read_to_string(&log)
                .unwrap()
                .matches("keeping the schedules\"")
                .count()
        };
        let _ = wait_for(|| starts() > 0, LIMIT);
    }
    let expected = jobs * usize::try_from(minutes).unwrap();
    let successes = async || {
        let query = RunQuery {
            mode: Some(Mode::Apply),
            ..RunQuery::default()
        };
        let mut successes: BTreeMap<(String, DateTime<Utc>), usize> = BTreeMap::new();
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        for row in ledger.runs(&query).await.unwrap() {
            if row.scheduled_at < first || row.scheduled_at > last {
                continue;
            }
            let outcome = row.outcome.clone().unwrap_or_else(|| "at work".to_owned());
            if outcome == "succeeded" {
                *successes
                    .entry((row.work.name().to_owned(), row.scheduled_at))
                    .or_default() += 1;
            } else {
                *others.entry(outcome).or_default() += 1;
            }
        }
        (successes, others)
    };
    // What was at work in a process that died is delivered again once its lease is over.
    let complete = || {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(successes()))
            .0
            .len()
            >= expected
    };
    let is_complete = wait_for(complete, Duration::from_secs(240));
    let (successes, others) = successes().await;
    let twice: Vec<_> = successes.iter().filter(|(_, count)| **count != 1).collect();
    println!(
        "{expected} ticks, {} with one applied run, {kills} kills, other attempts: {others:?}",
        successes.len() - twice.len()
    );
    assert!(
        is_complete && successes.len() == expected && twice.is_empty(),
        "{twice:#?} {others:?}"
    );
    for process in processes {
        process.signal(Signal::TERM);
        assert_eq!(process.exit(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_mistakes_is_told_and_the_old_one_kept_and_a_good_one_taken() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = "sqlite://ledger.db";
    world(folder.path(), ledger, 1, "0 4 * * *");
    let process = Process::start(folder.path(), "a");
    assert!(wait_for(|| process.said("keeping the schedules\""), LIMIT));
    let good = fs::read_to_string(folder.path().join("sereno.toml")).unwrap();
    fs::write(
        folder.path().join("sereno.toml"),
        format!("{good}\n[job.x]\nplugin = \"nobody\"\n"),
    )
    .unwrap();
    process.signal(Signal::HUP);
    assert!(wait_for(
        || process.said("kept the configuration as it was"),
        LIMIT
    ));
    world(folder.path(), ledger, 2, "0 4 * * *");
    process.signal(Signal::HUP);
    assert!(wait_for(|| process.said("took the new configuration"), LIMIT));
    process.signal(Signal::TERM);
    assert_eq!(process.exit(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_that_it_is_ready_reloads_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    world(folder.path(), "sqlite://ledger.db", 1, "0 4 * * *");
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let child = Command::new(program().unwrap())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "2000000")
        .env_remove("WATCHDOG_PID")
        .env_remove("SERENO_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process {
        child,
        log: folder.path().join("none"),
    };
    let heard = |wanted: &str| {
        let mut buffer = [0; 512];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..length])
                .lines()
                .any(|line| line == wanted)
            {
                return;
            }
        }
    };
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    process.signal(Signal::HUP);
    heard("RELOADING=1");
    heard("READY=1");
    process.signal(Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(process.exit(), Some(0));
}
