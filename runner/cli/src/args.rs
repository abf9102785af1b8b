//! The command line: every command, flag and help text. It does nothing; `commands` does.

use std::path::PathBuf;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use serde_json::Value as Json;
use sereno_core::name::{JobName, RoundName, SinkName};
use sereno_core::report::Severity;
use sereno_core::units::parse_size;
use sereno_core::value::Instant;

/// Stands for `--format` where that is not given.
pub(crate) const FORMAT_VARIABLE: &str = "SERENO_FORMAT";

/// Runs maintenance jobs as sandboxed WebAssembly plugins that hold only the keys they need.
#[derive(Debug, Parser)]
#[command(
    name = "sereno",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
Examples:
  sereno demo                     see it work, on data made for it
  sereno init                     write a commented sereno.toml
  sereno validate                 find every mistake in it
  sereno plan temp-files          what would a job do?
  sereno apply RUN                do exactly that
  sereno runs list                what has been done

Exit codes:
    0  done                                      6  done, with findings (see --fail-on)
    1  failed                                    7  a database or the ledger is out of reach
    2  wrong command or configuration            8  a plugin used up a limit
    3  refused by a grant, a guard or a clock  130  cancelled
    4  done in part, more is left              143  told to stop
    5  skipped: at work, paused or stale"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The configuration; without it `SERENO_CONFIG`, else ./sereno.toml
    #[arg(short, long, global = true, value_name = "FILE", env = "SERENO_CONFIG", hide_env = true, value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// How data is written to standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = FORMAT_VARIABLE, hide_env = true)]
    pub(crate) format: Format,
    /// The same as --format json
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say less on standard error: errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: once for what is done, twice for how
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colours; `NO_COLOR` and TERM=dumb are heeded
    #[arg(long, global = true, value_enum, default_value_t = ColorWhen::Auto, value_name = "WHEN")]
    pub(crate) color: ColorWhen,
    /// How log lines are written to standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "SERENO_LOG_FORMAT", hide_env = true, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

impl Global {
    /// The format that counts.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How data is written: for people, as one document, or as a document a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Ndjson,
}

/// When to write colours: on a terminal, everywhere, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    Auto,
    Always,
    Never,
}

/// How log lines are written: for people, or as a document a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job or a round now
    Run(Run),
    /// Show what a job would do, and change nothing: the same as `run JOB --plan`
    Plan(Plan),
    /// Do what a plan showed: the same cutoffs, at most its counts (and a tenth), once, within 24 h
    Apply(Apply),
    /// Find every mistake in the configuration
    Validate(Validate),
    /// What has run: list, show, logs, cancel
    #[command(subcommand)]
    Runs(Runs),
    /// What is configured: list, explain; and whether it starts: pause, resume
    #[command(subcommand)]
    Jobs(Jobs),
    /// How every gauge stands: its value, its target, its state, where it is going
    Gauges(Gauges),
    /// Which scheduled times went by without a success
    #[command(after_help = "\
Exit 6 when something was missed, so that a cron line of another machine can watch over this one:
  sereno missed --grace 2h || mail -s 'sereno is late' ops@example.com
A run by hand counts for every time before it; a plan counts for nothing.")]
    Missed(Missed),
    /// Messages about gauges and jobs: list, send, test
    #[command(subcommand)]
    Alerts(Alerts),
    /// Take the events of an AWS Lambda function: what a command line without a command means there
    #[cfg(feature = "lambda")]
    Lambda,
    /// When jobs are due
    #[command(subcommand)]
    Schedule(Schedule),
    /// Stay: run every job and round at its time
    #[cfg(feature = "serve")]
    #[command(after_help = "\
Examples:
  sereno serve
  sereno serve --log-format json

SIGTERM or Ctrl-C: nothing new is taken, and what runs may end; a second one stops at once. SIGHUP reads the configuration
anew; one with mistakes is told, and the old one stays.
Several of them on one PostgreSQL ledger run each tick once; a directory or file of one machine is cleaned by that machine.")]
    Serve,
    /// Look into, pack and compile plugins
    #[command(subcommand)]
    Plugin(Plugin),
    /// Write a commented sereno.toml, and make the folder that its example cleans
    Init(Init),
    /// Print the JSON Schema of sereno.toml, for your editor
    Schema,
    /// Look at the configuration as sereno understands it
    #[command(subcommand)]
    Config(Config),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  sereno completions bash > ~/.local/share/bash-completion/completions/sereno
  sereno completions fish > ~/.config/fish/completions/sereno.fish")]
    Completions {
        /// Which one
        shell: clap_complete::Shell,
    },
    /// See it work: a folder with old files and a database with old rows, planned, applied, verified
    Demo(Demo),
    /// Print a page of the reference as Markdown
    #[command(hide = true)]
    Docs {
        /// Which one
        #[arg(value_enum, default_value_t = Page::Commands)]
        page: Page,
    },
}

impl Command {
    /// True for one that works until it is stopped, and tells what it does as it goes.
    pub(crate) fn stays(&self) -> bool {
        match self {
            #[cfg(feature = "serve")]
            Self::Serve => true,
            #[cfg(feature = "lambda")]
            Self::Lambda => true,
            _ => false,
        }
    }
}

/// A page of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// The command line.
    Commands,
    /// The configuration.
    Configuration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno run temp-files
  sereno run --round daily
  sereno run --round daily --tick
  sereno run expired-sessions --plan
  sereno run expired-sessions --param keep='14 days'
  sereno run audit-logs --at 2026-11-24T02:30:00Z --key night-of-the-24th

Ctrl-C cancels: what is done stays done and is recorded. A second Ctrl-C stops at once.")]
pub(crate) struct Run {
    /// Its name in the configuration
    #[arg(required_unless_present = "round")]
    pub(crate) job: Option<JobName>,
    /// Run the jobs of this round instead, one after the other
    #[arg(long, value_name = "ROUND", conflicts_with_all = ["job", "params"])]
    pub(crate) round: Option<RoundName>,
    /// Count and word every effect, change nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Run as the schedule does: at its latest tick, once for each; what is skipped exits 0
    #[arg(long, conflicts_with_all = ["at", "key", "plan"])]
    pub(crate) tick: bool,
    #[command(flatten)]
    pub(crate) how: RunHow,
    /// Stop where the plugin would go on, and print the command that does
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno plan expired-sessions
  sereno plan expired-sessions --json | jq '.targets[].effects[]'
  sereno plan --all               at deployment: plan every job, and approve what schedules may do from then on

A schedule applies a destructive job only with an approval, which a changed param, grant, guard, target or need voids, and a
plugin's new build does not. Without one it plans, ends refused(plan-needed), and tells its sinks. `[policy] plan_first = false`
switches that off.

A plan reads through read-only connections. `sereno apply RUN`, with the id that it prints, does what it shows.")]
pub(crate) struct Plan {
    /// Its name in the configuration
    #[arg(required_unless_present_any = ["round", "all"])]
    pub(crate) job: Option<JobName>,
    /// Plan every job that changes something, and approve those whose plans go well
    #[arg(long, conflicts_with_all = ["job", "round", "params", "at", "key"])]
    pub(crate) all: bool,
    /// Plan the jobs of this round instead, one after the other
    #[arg(long, value_name = "ROUND", conflicts_with_all = ["job", "params"])]
    pub(crate) round: Option<RoundName>,
    #[command(flatten)]
    pub(crate) how: RunHow,
}

/// What a run and a plan take alike.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunHow {
    /// Reckon every cutoff from this time instead of now: RFC 3339, or `2026-11-24 02:30` in UTC
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) at: Option<Instant>,
    /// Make runs with the same key one: once it has succeeded, the stored report is the answer
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Set a param of the job for this run
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param)]
    pub(crate) params: Vec<(String, Json)>,
    /// Exit 6 when a finding is at least this bad
    #[arg(long, value_enum, default_value_t = FailOn::Critical, value_name = "SEVERITY")]
    pub(crate) fail_on: FailOn,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno apply k3v9x2m4qd
  sereno apply k3v9 --allow max_rows_percent=92

Each --allow lifts one guard, up to its value, for this one apply. It is recorded.")]
pub(crate) struct Apply {
    /// The plan's run id, or enough of its beginning
    pub(crate) run: String,
    /// Lift a guard up to a value, this once
    #[arg(long, value_name = "GUARD=VALUE", value_parser = parse_allowance)]
    pub(crate) allow: Vec<(String, f64)>,
    /// Exit 6 when a finding is at least this bad
    #[arg(long, value_enum, default_value_t = FailOn::Critical, value_name = "SEVERITY")]
    pub(crate) fail_on: FailOn,
}

/// From which severity on a finding makes the exit code 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Any finding.
    Info,
    /// Work was left over.
    Warn,
    /// A person is needed.
    Critical,
    /// Never.
    None,
}

impl FailOn {
    /// The severity; none for never.
    pub(crate) fn severity(self) -> Option<Severity> {
        match self {
            Self::Info => Some(Severity::Info),
            Self::Warn => Some(Severity::Warn),
            Self::Critical => Some(Severity::Critical),
            Self::None => None,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno validate                 the file, the plugins' manifests, params, needs and grants; opens nothing
  sereno validate --online        the same, and asks databases and directories for what the jobs name")]
pub(crate) struct Validate {
    /// Ask databases and directories too: tables, columns, indexes, rights
    #[arg(long)]
    pub(crate) online: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// The newest runs, newest first
    #[command(after_help = "\
Examples:
  sereno runs list --job temp-files --limit 5
  sereno runs list --format ndjson | jq -r 'select(.outcome != \"succeeded\") | .id'")]
    List {
        /// Of this job only
        #[arg(long)]
        job: Option<JobName>,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// One run's report; of a run at work, what it has done so far
    Show {
        /// Its id, or enough of its beginning
        run: String,
    },
    /// What its plugin logged
    Logs {
        /// Its id, or enough of its beginning
        run: String,
    },
    /// Ask a run at work to stop: its next call to the host answers `cancelled`
    Cancel {
        /// Its id, or enough of its beginning
        run: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// Every job: its plugin, its schedule, how its last run ended
    List,
    /// All about one job: next runs, cutoffs, what its plugin asks for and what it was granted, guards, limits
    Explain {
        /// Its name in the configuration
        job: JobName,
    },
    /// Start no run of a job or a round any more, wherever it comes from; --all: of anything, and stop what is at work
    #[command(after_help = "\
Examples:
  sereno jobs pause temp-files      what is at work goes on to its end (`sereno runs cancel` stops it)
  sereno jobs pause --all           the kill switch: every run stops before its next batch

What would start meanwhile is skipped and recorded. It holds for every process on the same ledger, until it is resumed.")]
    Pause(Which),
    /// Take a pause back
    Resume(Which),
}

/// One job or round, or all of them.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its name in the configuration
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<JobName>,
    /// Everything
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno gauges
  sereno gauges --fail-on firing --quiet     exit 6 when something fires
  sereno gauges --json | jq '.gauges[] | select(.state != \"ok\")'")]
pub(crate) struct Gauges {
    /// Exit 6 when a gauge stands so
    #[arg(long, value_enum, default_value_t = GaugeFailOn::None, value_name = "STATE")]
    pub(crate) fail_on: GaugeFailOn,
}

#[derive(Debug, Args)]
pub(crate) struct Missed {
    /// How much later than its time a success may come
    #[arg(long, default_value = "1h", value_parser = sereno_core::units::parse_duration, value_name = "DURATION")]
    pub(crate) grace: std::time::Duration,
}

/// Which gauges make the exit code 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GaugeFailOn {
    /// Those that fire.
    Firing,
    /// Those that fire and those that miss their target.
    Target,
    /// Those and the ones that nobody could read.
    Unknown,
    /// None.
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alerts {
    /// The newest messages, newest first: what waits, what was sent, what was given up
    List {
        /// Only those that wait
        #[arg(long)]
        waiting: bool,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Send now what waits, whenever it was to be tried next; exit 7 when some sink does not take it
    Send,
    /// Send a test message, to see whether a sink works
    Test {
        /// Its name in the configuration
        sink: SinkName,
    },
}

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
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// What a plugin says it is, takes, needs and imports; it is not run
    #[command(after_help = "\
Examples:
  sereno plugin inspect row-retention
  sereno plugin inspect target/plugins/row-retention.wasm --json")]
    Inspect {
        /// A file, or the name of a plugin as a job would use it
        plugin: String,
    },
    /// Append a manifest to a finished component
    #[command(after_help = "\
Examples:
  sereno plugin pack target/wasm32-wasip2/release/my_plugin.wasm --manifest plugin.toml -o my-plugin.wasm")]
    Pack {
        /// The component, built in any language
        #[arg(value_hint = ValueHint::FilePath)]
        component: PathBuf,
        /// Its plugin.toml
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        manifest: PathBuf,
        /// Where the plugin goes
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
    },
    /// Compile a plugin for this machine, ahead of its first run
    Compile(Compile),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno plugin compile row-retention
  sereno plugin compile my-plugin.wasm")]
pub(crate) struct Compile {
    /// A file, or the name of a plugin as a job would use it
    pub(crate) plugin: String,
    /// Write bare machine code here instead of into the cache: what the cache's child process does
    #[arg(short, long, value_name = "FILE", hide = true)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno init
  sereno init /etc/sereno
  sereno init --stdout | less")]
pub(crate) struct Init {
    /// The folder it goes to
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Overwrite a sereno.toml that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Print it instead
    #[arg(long, conflicts_with = "force")]
    pub(crate) stdout: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Every setting with its value, defaults included; secrets stay hidden
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sereno demo
  sereno demo --dir /tmp/sereno-demo
  sereno demo --postgres

The folder is made anew each time; one that the demo did not make is refused.")]
pub(crate) struct Demo {
    /// The folder it makes
    #[arg(long, default_value = "sereno-demo", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Use a throw-away PostgreSQL server instead of SQLite
    #[arg(long)]
    pub(crate) postgres: bool,
    /// Leave the throw-away server running at the end, and say how to stop it
    #[arg(long, requires = "postgres")]
    pub(crate) keep: bool,
}

fn parse_time(text: &str) -> Result<Instant, String> {
    let utc = |time: NaiveDateTime| time.and_utc();
    if let Ok(time) = text.parse::<Instant>() {
        return Ok(time);
    }
    for format in [
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%dT%H:%M:%S",
    ] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Ok(utc(time));
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .map(|date| utc(date.and_time(NaiveTime::MIN)))
        .map_err(|_| "write `2026-11-24T02:30:00Z`, or `2026-11-24 02:30` in UTC".to_owned())
}

/// A value that reads as JSON is that; any other is text, so that `keep='7 days'` needs no second quotes.
fn parse_param(text: &str) -> Result<(String, Json), String> {
    let (name, value) = text.split_once('=').ok_or("write `name=value`")?;
    let name = name.trim();
    if name.is_empty() {
        return Err("the name is blank".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Json::from(value));
    Ok((name.to_owned(), value))
}

fn parse_allowance(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write `guard=value`, such as `max_rows_percent=92`")?;
    let plain = value
        .trim()
        .trim_end_matches('%')
        .trim_end()
        .replace(['_', ','], "");
    let number = plain
        .parse::<f64>()
        .ok()
        .or_else(|| parse_size(value).ok().map(|bytes| bytes as f64))
        .filter(|number| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| {
            format!("`{value}` is no number; write `max_rows_percent=92`, `max_bytes=\"20 GiB\"`")
        })?;
    Ok((name.trim().to_owned(), number))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let expected: Instant = "2026-11-24T02:30:00Z".parse().expect("a time");
        for text in [
            "2026-11-24T02:30:00Z",
            "2026-11-23T20:30:00-06:00",
            "2026-11-24 02:30",
            "2026-11-24T02:30",
        ] {
            assert_eq!(parse_time(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(
            parse_time("2099-01-01"),
            Ok("2099-01-01T00:00:00Z".parse().expect("a time"))
        );
        assert!(parse_time("tomorrow").is_err());
    }

    #[test]
    fn params_are_json_where_they_read_as_json_and_text_elsewhere() {
        let read = |text| parse_param(text).expect(text);
        assert_eq!(read("keep=7 days"), ("keep".into(), Json::from("7 days")));
        assert_eq!(read("recursive=true"), ("recursive".into(), Json::from(true)));
        assert_eq!(
            read("include=[\"*.log\"]"),
            ("include".into(), serde_json::json!(["*.log"]))
        );
        assert_eq!(read("note=a=b"), ("note".into(), Json::from("a=b")));
        assert!(parse_param("keep").is_err());
        assert!(parse_param("=1").is_err());
    }

    #[test]
    fn allowances_are_numbers_percentages_or_sizes() {
        for (text, value) in [
            ("g=92", 92.0),
            ("g=92%", 92.0),
            ("g=1,000", 1_000.0),
            ("g=20 GiB", 21_474_836_480.0),
        ] {
            assert_eq!(parse_allowance(text), Ok(("g".to_owned(), value)), "{text}");
        }
        for text in ["g", "g=", "g=-1", "g=inf", "g=lots"] {
            assert!(parse_allowance(text).is_err(), "{text}");
        }
    }
}
