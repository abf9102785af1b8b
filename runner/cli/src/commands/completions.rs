//! `completions`: for a shell, from the same command tree as everything else.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn completions(shell: Shell, output: &Output) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sereno", &mut script);
    output.data(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
