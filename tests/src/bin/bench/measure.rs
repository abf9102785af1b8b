//! What every benchmark reports with: timings by way, their median, a table of them, how often each is taken.

use std::env;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

/// Seconds of each way, in the order of its first round.
#[derive(Default)]
pub(crate) struct Table(Vec<(String, Vec<f64>)>);

impl Table {
    pub(crate) fn add(&mut self, way: &str, seconds: f64) {
        match self.0.iter_mut().find(|(name, _)| name == way) {
            Some((_, all)) => all.push(seconds),
            None => self.0.push((way.to_owned(), vec![seconds])),
        }
    }

    /// One line a way; ratios are to the first way.
    pub(crate) fn print(&self, title: &str, unit: &str, scale: f64, out: &mut String) -> Result<()> {
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

pub(crate) fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn rounds() -> usize {
    env::var("SERENO_BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64())
}

/// Runs a command to its end, its output thrown away.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
