//! `init`: a commented configuration to start from.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::args::Init;
use crate::config_source::FILE_NAME;
use crate::failure::{Failure, USAGE};
use crate::output::Output;
use crate::render::next::program;

/// The directory that the template names: a first plan must find it.
const DIRECTORY: &str = "temp";

/// What `init` writes.
const TEMPLATE: &str = include_str!("init.toml");

pub(super) fn init(args: &Init, output: &Output) -> Result<u8, Failure> {
    if args.stdout {
        output.data(TEMPLATE)?;
        return Ok(0);
    }
    let file = args.folder.join(FILE_NAME);
    fs::create_dir_all(&args.folder).with_context(|| format!("could not make {}", args.folder.display()))?;
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true);
    } else {
        // The check and the creation are one step: whatever is there stays.
        options.create_new(true);
    }
    let mut opened = match options.open(&file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(
                Failure::new(USAGE, "exists", format!("{} is there already", file.display()))
                    .hint("`--force` overwrites it; `--stdout` prints the new one"),
            );
        }
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("could not write {}", file.display()))
                .into());
        }
    };
    opened
        .write_all(TEMPLATE.as_bytes())
        .with_context(|| format!("could not write {}", file.display()))?;
    let directory = args.folder.join(DIRECTORY);
    fs::create_dir_all(&directory).with_context(|| format!("could not make {}", directory.display()))?;
    output.data(&format!(
        "wrote {}\nits example job cleans {}\n",
        file.display(),
        directory.display()
    ))?;
    // In its own folder a configuration is found by itself.
    let elsewhere = (args.folder != Path::new(".")).then_some(file.as_path());
    let program = program(elsewhere);
    output.talk(&format!(
        "next: `{program} plan temp-files`; name your own directories and databases; `{program} validate`"
    ));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn the_template_is_in_order_as_it_stands_and_with_every_example_switched_on() {
        let folder = std::path::Path::new("/srv/app");
        let switched_on: String = TEMPLATE
            .lines()
            // `# key = value` and `# [table]` are examples, other comments are words.
            .map(|line| match line.strip_prefix("# ") {
                Some(code) if code.starts_with('[') || code.contains(" = ") => format!("{code}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        // `init` makes the only directory that is named at first.
        for (text, named) in [
            (TEMPLATE, vec![DIRECTORY]),
            (&*switched_on, vec!["logs", DIRECTORY]),
        ] {
            let config = sereno_core::config::parse(text, folder)
                .unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{text}"));
            assert!(config.jobs.keys().any(|job| job.as_str() == "temp-files"));
            let directories = config.directories.values().map(|directory| &directory.path);
            let named: Vec<_> = named.iter().map(|name| folder.join(name)).collect();
            assert!(directories.eq(&named), "{text}");
        }
    }

    #[test]
    fn what_is_there_is_overwritten_only_when_that_was_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Output::new(
            &Arguments::try_parse_from(["sereno", "-q", "schema"])
                .expect("a command")
                .global,
        );
        let args = |force| Init {
            folder: folder.path().to_owned(),
            force,
            stdout: false,
        };
        let file = folder.path().join(FILE_NAME);
        fs::write(&file, "mine").expect("a file");
        let failure = init(&args(false), &output).expect_err("it is there");
        assert_eq!((failure.exit, failure.code), (USAGE, "exists"));
        assert_eq!(fs::read_to_string(&file).expect("a file"), "mine");
        assert_eq!(init(&args(true), &output).expect("it was asked for"), 0);
        assert_eq!(fs::read_to_string(&file).expect("a file"), TEMPLATE);
        assert!(folder.path().join(DIRECTORY).is_dir());
    }
}
