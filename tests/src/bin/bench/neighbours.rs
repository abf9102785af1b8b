//! A run beside hostile guests.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use sereno_tests::house::House;

use crate::measure::{Table, rounds};
use crate::scratch::{Scratch, fill};

/// Files that the neighbour counts: long enough for the system's own scheduling to even out.
const NEIGHBOUR_FILES: usize = 20_000;

/// A run beside a guest that misbehaves without end.
pub(crate) fn neighbours(out: &mut String) -> Result<()> {
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
