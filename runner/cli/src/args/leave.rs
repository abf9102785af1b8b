//! What `schedule` and `roles` take: what leaves this program for other schedulers and for databases.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use sereno_core::name::{JobName, TargetName};

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// When jobs and rounds are due next
    Next {
        /// Only this job or round
        name: Option<JobName>,
        /// How many times for each
        #[arg(short = 'n', long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        count: u32,
    },
    /// What is doubtful about when things run: changes of the clock, collisions, purges before backups, rates
    #[command(after_help = "\
Exit 6 when something should be changed; what is only worth knowing (`note`) exits 0.")]
    Lint,
    /// Write the schedules for the scheduler that is to keep the time
    Export(Export),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno schedule export --to eventbridge > schedules.yaml
  sereno schedule export --to kubernetes --output deploy
  sereno schedule export --to kubernetes --output deploy --check    exit 6 when it is no longer what would be written
  sereno schedule export --to crontab | crontab -

What cannot run there is left out and listed on standard error: backups, and what works on one machine's own
directories, files and processes, do not run on Lambda (see `on` of a job).")]
pub(crate) struct Export {
    /// For whom
    #[arg(long, value_enum, value_name = "SCHEDULER")]
    pub(crate) to: Scheduler,
    /// Write into this folder instead of standard output
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) output: Option<PathBuf>,
    /// Write nothing: exit 6 when what is in the folder is not what would be written
    #[arg(long, requires = "output")]
    pub(crate) check: bool,
    /// Where the configuration is at the place it runs; for a crontab by default where it is now, elsewhere
    /// /etc/sereno/sereno.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) installed: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno roles                                  there is one PostgreSQL database
  sereno roles --database app > roles.sql       read it, then: psql --file roles.sql

It prints and changes nothing: read the SQL, then run it yourself.")]
pub(crate) struct Roles {
    /// The database, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<TargetName>,
    /// The role for rows; for a scratch database the one that restores [default: `sereno_rows` or `sereno_restore`]
    #[arg(long, value_name = "ROLE", value_parser = parse_role)]
    pub(crate) role: Option<String>,
    /// The role for upkeep
    #[arg(long, value_name = "ROLE", default_value = "sereno_upkeep", value_parser = parse_role)]
    pub(crate) upkeep_role: String,
}

/// Who keeps the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheduler {
    /// EventBridge Scheduler, which invokes the function: a CloudFormation template.
    Eventbridge,
    /// Kubernetes: a `CronJob` for each job and round.
    Kubernetes,
    /// cron: a line for each job and round.
    Crontab,
}

/// A role that needs no quotes wherever it is written.
fn parse_role(text: &str) -> Result<String, String> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && text.len() < 64
        && !text.starts_with("pg_");
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err("write lower-case letters, digits and `_`, not starting with a digit or `pg_`".to_owned())
    }
}
