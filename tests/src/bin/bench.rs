//! Measures sereno beside what a user would use instead, in one run, and writes docs/benchmarks.md.
//!
//! Every comparison is interleaved: a round measures each way once, in turn, so that a slow moment of the machine hits
//! all of them. Nothing is asserted: goals stand beside the figures. `bench [files] [cold] [warm] [purge]`, all by
//! default; `SERENO_BENCH_ROUNDS` (5) says how often.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use sereno_tests::house::{House, plugins_folder, program};
use sereno_tests::postgres::Cluster;
use sqlx::{Connection as _, PgConnection, Row as _};

/// Seconds of each way, in the order of its first round.
#[derive(Default)]
struct Table(Vec<(String, Vec<f64>)>);

impl Table {
    fn add(&mut self, way: &str, seconds: f64) {
        match self.0.iter_mut().find(|(name, _)| name == way) {
            Some((_, all)) => all.push(seconds),
            None => self.0.push((way.to_owned(), vec![seconds])),
        }
    }

    /// One line a way; ratios are to the first way.
    fn print(&self, title: &str, unit: &str, scale: f64, out: &mut String) -> Result<()> {
        let first = self.0.first().map_or(1.0, |(_, all)| median(all));
        writeln!(out, "\n### {title}\n")?;
        writeln!(
            out,
            "| way | median {unit} | lowest | highest | ratio to the first |"
        )?;
        writeln!(out, "|---|---|---|---|---|")?;
        for (way, all) in &self.0 {
            let (low, high) = all.iter().fold((f64::MAX, 0.0_f64), |(low, high), value| {
                (low.min(*value), high.max(*value))
            });
            writeln!(
                out,
                "| {way} | {:.2} | {:.2} | {:.2} | {:.2} |",
                median(all) * scale,
                low * scale,
                high * scale,
                median(all) / first
            )?;
        }
        Ok(())
    }
}

fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn rounds() -> usize {
    env::var("SERENO_BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64())
}

/// Runs a command to its end, its output thrown away.
fn quietly(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn main() -> Result<()> {
    let wanted: Vec<String> = env::args().skip(1).collect();
    let all = ["files", "cold", "warm", "neighbours", "purge"];
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("there is no benchmark `{unknown}`; there are {}", all.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut out = String::from(
        "# Benchmarks\n\nWritten by `./just bench`; figures of one run on one machine, each way measured in turn in every round.\n\n",
    );
    writeln!(out, "{}", machine())?;
    for name in all
        .into_iter()
        .filter(|name| wanted.is_empty() || wanted.iter().any(|want| want == name))
    {
        match name {
            "files" => files(&mut out)?,
            "cold" => cold(&mut out)?,
            "warm" => runtime.block_on(warm(&mut out))?,
            "neighbours" => neighbours(&mut out)?,
            _ => runtime.block_on(purge(&mut out))?,
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A person's reading of an earlier run; whoever measures anew reads anew.
    out.push('\n');
    out.push_str(&fs::read_to_string(folder.join("bench/reading.md"))?);
    let path = folder.join("../docs/benchmarks.md");
    fs::write(&path, &out).context("could not write docs/benchmarks.md")?;
    say(&out);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "figures are what this program prints")]
fn say(text: &str) {
    println!("{text}");
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")
                .map(|rest| rest.trim_start_matches(['\t', ' ', ':']).to_owned())
        })
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "Machine: {cores} cores, {cpu}, Linux {}; load when it began: {}.",
        kernel.trim(),
        load.split(' ').next().unwrap_or("?")
    )
}

/// A folder in memory where this user may mount one, so that a disk's noise is no part of the figures.
struct Scratch {
    folder: tempfile::TempDir,
    mounted: bool,
}

impl Scratch {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=4g,nr_inodes=0", "tmpfs"])
            .arg(folder.path());
        let mounted = quietly(&mut mount).is_ok();
        fs::create_dir(folder.path().join("home"))?;
        Ok(Self { folder, mounted })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.mounted {
            // What stays mounted goes with the machine; a benchmark must not fail over it.
            let _ = quietly(Command::new("umount").arg(self.folder.path()));
        }
    }
}

/// `count` files of three days' age, spread over `folders` (0: all in `root` itself).
fn fill(root: &Path, count: usize, folders: usize) -> Result<()> {
    let times = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400));
    for folder in 0..folders.max(1) {
        let at = if folders == 0 {
            root.to_owned()
        } else {
            root.join(format!("d{folder}"))
        };
        fs::create_dir_all(&at)?;
        for file in 0..count / folders.max(1) {
            File::create(at.join(format!("session-{file}.tmp")))?.set_times(times)?;
        }
    }
    Ok(())
}

/// A folder with a configuration for one temp-files job over `temp`, and the plugins beside it.
fn files_home(root: &Path) -> Result<()> {
    fs::write(
        root.join("sereno.toml"),
        r#"version = 1
[ledger]
url = "sqlite://ledger.db"
[directory.temp]
path = "temp"
[job.temp-files]
plugin = "temp-files"
params = { directory = "temp", older_than = "24h", age_by = ["mtime"], remove_emptied = false }
grant = { directory.temp = ["read", "remove"] }
guard = { max_files = 2_000_000 }
"#,
    )?;
    let plugins = root.join("plugins");
    if !plugins.exists() {
        std::os::unix::fs::symlink(plugins_folder()?, plugins)?;
    }
    Ok(())
}

fn sereno(root: &Path, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(program()?);
    command
        .args(args)
        .current_dir(root)
        .env("SERENO_CACHE_DIR", root.join("cache"));
    Ok(command)
}

fn find(root: &Path) -> Command {
    let mut command = Command::new("find");
    command
        .arg(root.join("temp"))
        .args(["-type", "f", "-mmin", "+1440", "-delete"]);
    command
}

fn left(root: &Path) -> Result<usize> {
    let mut open = vec![root.join("temp")];
    let mut count = 0;
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    Ok(count)
}

fn files(out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n## Removing files\n\nWhole processes; each way starts from the same files."
    )?;
    // The plan's script uses npm's glob, which must stand beside it.
    let scripts = tempfile::tempdir()?;
    let script = scripts.path().join("cleanup-temp-files.mjs");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/baselines/cleanup-temp-files.mjs"),
        &script,
    )?;
    let mut install = Command::new("npm");
    install
        .args(["install", "--silent", "--no-audit", "--prefix"])
        .arg(scripts.path())
        .arg("glob@14");
    let node = quietly(&mut install).is_ok();
    if !node {
        writeln!(
            out,
            "\nThe Node script was not measured: `npm install glob` did not work here."
        )?;
    }
    let cases = [
        (
            "100,000 files in one directory (goal: ≤ 0.85 × find)",
            100_000,
            0,
            false,
        ),
        (
            "100,000 files in 100 directories (goal: ≤ 0.5 × find on two cores)",
            100_000,
            100,
            false,
        ),
        (
            "300,000 files in one directory (goal: ≤ 0.05 × the Node script)",
            300_000,
            0,
            node,
        ),
    ];
    for (title, count, folders, with_node) in cases {
        let mut table = Table::default();
        let home = Scratch::new()?;
        files_home(&home.path())?;
        fs::create_dir_all(home.path().join("temp"))?;
        quietly(&mut sereno(&home.path(), &["run", "temp-files"])?)?;
        for _ in 0..rounds() {
            let mut measure = |way: &str, command: &mut Command| -> Result<()> {
                fill(&home.path().join("temp"), count, folders)?;
                table.add(way, timed(|| quietly(command))?);
                ensure!(left(&home.path())? == 0, "{way} left files behind");
                Ok(())
            };
            measure("`find -delete`", &mut find(&home.path()))?;
            measure(
                "`sereno run temp-files`",
                &mut sereno(&home.path(), &["run", "temp-files"])?,
            )?;
            if with_node {
                let mut command = Command::new("node");
                command.arg(&script).arg(home.path().join("temp"));
                measure("the plan's Node script", &mut command)?;
            }
        }
        table.print(title, "ms", 1_000.0, out)?;
    }
    memory(out)
}

/// The most memory that a sweep of ten thousand and of a million files held.
fn memory(out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n### Memory (goal: ≤ 1 MB more for a million files)\n\n| files | peak resident memory |\n|---|---|"
    )?;
    for count in [10_000, 1_000_000] {
        let home = Scratch::new()?;
        files_home(&home.path())?;
        fs::create_dir_all(home.path().join("temp"))?;
        quietly(&mut sereno(&home.path(), &["run", "temp-files"])?)?;
        fill(&home.path().join("temp"), count, 0)?;
        let mut child = sereno(&home.path(), &["run", "temp-files"])?
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0_u64;
        while child.try_wait()?.is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak = peak.max(
                line.and_then(|line| line.split_whitespace().next()?.parse().ok())
                    .unwrap_or(0),
            );
            std::thread::yield_now();
        }
        ensure!(left(&home.path())? == 0, "the sweep left files behind");
        writeln!(out, "| {count} | {peak} kB |")?;
    }
    Ok(())
}

/// A folder with a job of the guest that does nothing.
fn noop_home(root: &Path, ledger: &str) -> Result<()> {
    let noop = sereno_tests::guests::guests().folder.join("noop.wasm");
    fs::write(
        root.join("sereno.toml"),
        format!(
            "version = 1\n[ledger]\nurl = \"{ledger}\"\n[plugin.noop]\npath = \"{}\"\n[job.noop]\nplugin = \"noop\"\n",
            noop.display()
        ),
    )?;
    Ok(())
}

fn cold(out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n## Cold start\n\nA whole process, spawn to end, plugin cached (goal: ≤ 0.1 × `node -e 0`)."
    )?;
    let home = Scratch::new()?;
    noop_home(&home.path(), "sqlite://ledger.db")?;
    let hello = home.path().join("hello");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/baselines/hello.rs");
    quietly(Command::new("rustc").args(["-O", "-o"]).arg(&hello).arg(&source))?;
    quietly(&mut sereno(&home.path(), &["run", "noop"])?)?;
    let mut table = Table::default();
    for _ in 0..rounds() * 20 {
        table.add(
            "`node -e 0`",
            timed(|| quietly(Command::new("node").args(["-e", "0"])))?,
        );
        table.add(
            "`sereno run noop`, SQLite ledger",
            timed(|| quietly(&mut sereno(&home.path(), &["run", "noop"])?))?,
        );
        table.add("native hello", timed(|| quietly(&mut Command::new(&hello)))?);
    }
    table.print("A job that does nothing", "ms", 1_000.0, out)
}

async fn warm(out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n## Warm run\n\nIn one process, request to report (goal: ≤ 1 ms with the SQLite ledger)."
    )?;
    let home = Scratch::new()?;
    let noop = sereno_tests::guests::guests().folder.join("noop.wasm");
    let configuration = format!(
        "version = 1\n[plugin.noop]\npath = \"{}\"\n[job.noop]\nplugin = \"noop\"\n",
        noop.display()
    );
    let memory = House::new(&configuration, &home.path())?;
    let mut sqlite = House::new(&configuration, &home.path())?;
    let url = format!("sqlite://{}/ledger.db", home.path().display());
    sqlite.services.ledger = sereno_adapters::ledger::open(&url, &home.path()).await?;
    let bare = Bare::new(&fs::read(&noop)?)?;
    let mut table = Table::default();
    for round in 0..rounds() * 200 {
        let mut timings = Vec::new();
        let started = Instant::now();
        bare.run().await?;
        timings.push(("bare wasmtime, instantiate and drop", started.elapsed()));
        for (way, house) in [
            ("`submit`, memory ledger", &memory),
            ("`submit`, SQLite ledger", &sqlite),
        ] {
            let started = Instant::now();
            house.run("noop").await?;
            timings.push((way, started.elapsed()));
        }
        // The first rounds fill caches.
        for (way, elapsed) in timings.into_iter().filter(|_| round >= 20) {
            table.add(way, elapsed.as_secs_f64());
        }
    }
    table.print("A job that does nothing", "µs", 1_000_000.0, out)
}

/// Files that the neighbour counts: long enough for the system's own scheduling to even out.
const NEIGHBOUR_FILES: usize = 20_000;

/// A run beside a guest that misbehaves without end.
fn neighbours(out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n## A neighbour of hostile guests\n\nA plan of `temp-files` over {NEIGHBOUR_FILES} files, in one process with a hostile guest that is started again as soon as it has ended (goal: ≤ 2 × alone)."
    )?;
    let home = Scratch::new()?;
    fill(&home.path().join("temp"), NEIGHBOUR_FILES, 0)?;
    let guests = [
        "endless-loop",
        "memory-bomb",
        "recursion",
        "log-flood",
        "handle-hoard",
    ];
    let mut configuration = String::from(
        "version = 1\n[directory.temp]\npath = \"temp\"\n[job.neighbour]\nplugin = \"temp-files\"\n\
         params = { directory = \"temp\", older_than = \"24h\", age_by = [\"mtime\"] }\n\
         grant = { directory.temp = [\"read\", \"remove\"] }\n",
    );
    for guest in guests {
        writeln!(configuration, "[job.{guest}]\nplugin = \"{guest}\"")?;
    }
    let configuration = configuration.replace(
        "plugin = \"log-flood\"",
        "plugin = \"log-flood\"\nparams = { how = \"lines\" }",
    );
    let house = Arc::new(House::new(&configuration, &home.path())?);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .build()?;
    let mut table = Table::default();
    runtime.block_on(async {
        house.plan("neighbour").await?;
        for round in 0..rounds() * 5 {
            for beside in std::iter::once(None).chain(guests.map(Some)) {
                let stop = Arc::new(AtomicBool::new(false));
                let hostile = tokio::spawn(again_and_again(Arc::clone(&house), beside, Arc::clone(&stop)));
                let neighbour = Arc::clone(&house);
                let started = Instant::now();
                let report = tokio::spawn(async move { neighbour.plan("neighbour").await }).await??;
                let took = started.elapsed();
                stop.store(true, Ordering::Relaxed);
                hostile.await??;
                ensure!(report.outcome.exit_code() == 0, "{report:#?}");
                let way = beside.map_or("alone".to_owned(), |guest| format!("beside `{guest}`"));
                if round > 0 {
                    table.add(&way, took.as_secs_f64());
                }
            }
        }
        anyhow::Ok(())
    })?;
    table.print("The neighbour's plan", "ms", 1_000.0, out)
}

async fn again_and_again(house: Arc<House>, guest: Option<&str>, stop: Arc<AtomicBool>) -> Result<()> {
    while let Some(guest) = guest.filter(|_| !stop.load(Ordering::Relaxed)) {
        let report = house.run(guest).await?;
        ensure!(!report.outcome.label().is_empty(), "{report:#?}");
    }
    Ok(())
}

/// The same component without sereno: a store, the contract's functions as traps, an instance.
struct Bare {
    pre: wasmtime::component::InstancePre<()>,
}

impl Bare {
    fn new(component: &[u8]) -> Result<Self> {
        let make = || {
            let engine = wasmtime::Engine::new(&wasmtime::Config::new())?;
            let component = wasmtime::component::Component::new(&engine, component)?;
            let mut linker = wasmtime::component::Linker::new(&engine);
            linker.define_unknown_imports_as_traps(&component)?;
            linker.instantiate_pre(&component)
        };
        make()
            .map(|pre| Self { pre })
            .map_err(|error: wasmtime::Error| anyhow!("{error:#}"))
    }

    async fn run(&self) -> Result<()> {
        let mut store = wasmtime::Store::new(self.pre.engine(), ());
        let instance = self.pre.instantiate_async(&mut store).await;
        instance.map(drop).map_err(|error| anyhow!("{error:#}"))
    }
}

/// Rows in the table, half of them to be purged.
const ROWS: i64 = 4_000_000;
/// Rows that the other user keeps updating: none of the doomed.
const BUSY_ROWS: i64 = 20_000;

async fn purge(out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n## Purging rows\n\n2 of 4 million rows on PostgreSQL with fsync on, index on (updated_at, id), a fresh table each time (goals: ≤ 1.5 × one DELETE, and updates beside it quicker than beside one DELETE)."
    )?;
    let cluster = Cluster::durable()?;
    let database = cluster.database("bench").await?;
    let mut connection = PgConnection::connect(&database.url).await?;
    let statement =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/baselines/one-delete.sql"))?;
    let home = tempfile::tempdir()?;
    let configuration = format!(
        r#"version = 1
[database.app]
url = "{}"
[job.events]
plugin = "row-retention"
params = {{ database = "app", table = "events", column = "updated_at", keep = "7 days" }}
grant = {{ database.app.tables.events = ["read", "delete"] }}
guard = {{ max_rows_percent = 60 }}
"#,
        database.url
    );
    let mut table = Table::default();
    let mut latencies = BTreeMap::<&str, Vec<f64>>::new();
    let mut batches = Vec::new();
    for _ in 0..rounds() {
        for way in ["one `DELETE`", "`row-retention`"] {
            table_of_events(&mut connection).await?;
            let stop = Arc::new(AtomicBool::new(false));
            let updates = tokio::task::spawn_blocking({
                let (url, stop) = (database.url.clone(), Arc::clone(&stop));
                move || updates(&url, &stop)
            });
            let started = Instant::now();
            if way == "one `DELETE`" {
                sqlx::raw_sql(sql(statement.clone()))
                    .execute(&mut connection)
                    .await?;
            } else {
                let report = House::new(&configuration, home.path())?.run("events").await?;
                ensure!(report.outcome.exit_code() == 0, "{report:#?}");
                batches.extend(batches_of(&mut connection, report.run.as_str()).await?);
            }
            table.add(way, started.elapsed().as_secs_f64());
            stop.store(true, Ordering::Relaxed);
            latencies.entry(way).or_default().extend(updates.await??);
            let left: i64 = sqlx::query("SELECT count(*) FROM public.events")
                .fetch_one(&mut connection)
                .await?
                .get(0);
            ensure!(left == ROWS / 2, "{way} left {left} rows");
        }
    }
    table.print("Time, with another user's updates beside it", "s", 1.0, out)?;
    batches.sort_by(f64::total_cmp);
    writeln!(
        out,
        "\n### Batches, from one commit's record to the next (goal: none over 500 ms)\n\n| batches | median ms | longest ms |\n|---|---|---|\n| {} | {:.0} | {:.0} |",
        batches.len(),
        median(&batches) * 1_000.0,
        batches.last().copied().unwrap_or_default() * 1_000.0
    )?;
    writeln!(
        out,
        "\n### Single-row updates of other rows, beside it\n\n| beside | updates | median ms | p99 ms | longest ms |\n|---|---|---|---|---|"
    )?;
    for (way, mut all) in latencies {
        all.sort_by(f64::total_cmp);
        let p99 = all.get(all.len() * 99 / 100).copied().unwrap_or_default();
        writeln!(
            out,
            "| {way} | {} | {:.2} | {:.2} | {:.2} |",
            all.len(),
            median(&all) * 1_000.0,
            p99 * 1_000.0,
            all.last().copied().unwrap_or_default() * 1_000.0
        )?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the benchmark's own statements, from constants and a file of its own"
)]
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

/// Seconds from each batch's record to the next, which is a batch and the commit before it.
async fn batches_of(connection: &mut PgConnection, run: &str) -> Result<Vec<f64>> {
    let text = "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY batch))::float8 FROM sereno.effect WHERE run = $1 ORDER BY batch OFFSET 1";
    Ok(sqlx::query_scalar(text).bind(run).fetch_all(connection).await?)
}

async fn table_of_events(connection: &mut PgConnection) -> Result<()> {
    let text = format!(
        "DROP TABLE IF EXISTS public.events;
         DROP SCHEMA IF EXISTS sereno CASCADE;
         CREATE TABLE public.events (id bigint NOT NULL, updated_at timestamptz NOT NULL, payload text NOT NULL, hits bigint NOT NULL DEFAULT 0);
         INSERT INTO public.events
         SELECT i, now() - CASE WHEN i <= {half} THEN interval '30 days' ELSE interval '1 day' END - make_interval(secs => i * 0.1), repeat('x', 100)
         FROM generate_series(1, {ROWS}) i;
         ALTER TABLE public.events ADD PRIMARY KEY (id);
         CREATE INDEX events_age ON public.events (updated_at, id);
         ANALYZE public.events;
         CHECKPOINT;",
        half = ROWS / 2
    );
    sqlx::raw_sql(sql(text)).execute(connection).await?;
    Ok(())
}

/// Updates single young rows, one transaction each, until told to stop and at least [`BUSY_ROWS`] / 5 times.
fn updates(url: &str, stop: &AtomicBool) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let mut seconds = Vec::new();
        let mut id = ROWS;
        while !stop.load(Ordering::Relaxed) {
            id = if id <= ROWS - BUSY_ROWS { ROWS } else { id - 1 };
            let started = Instant::now();
            sqlx::query("UPDATE public.events SET hits = hits + 1 WHERE id = $1")
                .bind(id)
                .execute(&mut connection)
                .await?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        Ok(seconds)
    })
}
