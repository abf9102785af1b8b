//! Removing files: beside `find -delete` and the plan's Node script, and the memory it takes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::measure::{Table, quietly, rounds, timed};
use crate::scratch::{Scratch, files_home, fill, find, left, sereno};

pub(crate) fn files(out: &mut String) -> Result<()> {
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
