//! A warm run: one process, beside a bare wasmtime instance.

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use anyhow::{Result, anyhow};
use sereno_tests::house::House;

use crate::measure::{Table, rounds};
use crate::scratch::Scratch;

pub(crate) async fn warm(out: &mut String) -> Result<()> {
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
