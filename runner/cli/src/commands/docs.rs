//! `docs`: the pages of the reference as Markdown, from the command tree and the configuration's own table of keys.

use clap::{Command, CommandFactory as _};

use crate::args::{Arguments, Page};
use crate::failure::Failure;
use crate::output::Output;

/// Columns of the help texts: the same on every machine.
const WIDTH: usize = 100;

pub(super) fn docs(page: Page, output: &Output) -> Result<u8, Failure> {
    output.data(&match page {
        Page::Commands => reference(),
        Page::Configuration => sereno_core::config::reference_markdown(),
        #[cfg(feature = "serve")]
        Page::Openapi => format!("{}\n", sereno_triggers::http::openapi().trim_end()),
    })?;
    Ok(0)
}

fn reference() -> String {
    let mut root = Arguments::command()
        .term_width(WIDTH)
        .color(clap::ColorChoice::Never);
    root.build();
    let mut text = "# Command line\n\nMade by `./just docs` from the program; do not edit. Every command also takes the options under \
                    *Everywhere*.\n"
        .to_owned();
    section(&mut root, "sereno", &mut text);
    text
}

/// One command's help, then its subcommands'.
fn section(command: &mut Command, path: &str, text: &mut String) {
    let help = command.render_long_help().to_string();
    text.push_str(&format!("\n## `{path}`\n\n```text\n"));
    for line in help.trim().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str("```\n");
    for subcommand in command.get_subcommands_mut() {
        if !subcommand.is_hide_set() && subcommand.get_name() != "help" {
            *subcommand = std::mem::take(subcommand).mut_args(|arg| {
                let is_global = arg.is_global_set();
                arg.hide(is_global)
            });
            let path = format!("{path} {}", subcommand.get_name());
            section(subcommand, &path, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_command_and_no_hidden_one() {
        let text = reference();
        for command in [
            "sereno run",
            "sereno runs cancel",
            "sereno plugin pack",
            "sereno schedule next",
        ] {
            assert!(text.contains(&format!("## `{command}`")), "{command}");
        }
        assert!(!text.contains("sereno docs"));
        assert!(text.lines().all(|line| line == line.trim_end()));
    }
}
