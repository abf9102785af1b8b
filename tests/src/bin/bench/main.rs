//! Measures sereno beside what a user would use instead, in one run, and writes docs/benchmarks.md.
//!
//! Every comparison is interleaved: a round measures each way once, in turn, so that a slow moment of the machine hits
//! all of them. Nothing is asserted: goals stand beside the figures. `bench [files] [cold] [warm] [neighbours] [purge]`, all by
//! default; `SERENO_BENCH_ROUNDS` (5) says how often.

mod cold;
mod files;
mod measure;
mod neighbours;
mod purge;
mod scratch;
mod warm;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

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
            "files" => files::files(&mut out)?,
            "cold" => cold::cold(&mut out)?,
            "warm" => runtime.block_on(warm::warm(&mut out))?,
            "neighbours" => neighbours::neighbours(&mut out)?,
            _ => runtime.block_on(purge::purge(&mut out))?,
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
