//! A cold start: a whole process beside `node -e 0`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::measure::{Table, quietly, rounds, timed};
use crate::scratch::{Scratch, sereno};

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

pub(crate) fn cold(out: &mut String) -> Result<()> {
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
