//! What `gauges`, `missed`, `doctor` and `alerts` take: looks at how things stand.

use clap::{Args, Subcommand, ValueEnum};
use sereno_core::name::SinkName;

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
#[command(after_help = "\
Examples:
  sereno doctor
  sereno doctor --json | jq '.findings[] | select(.state != \"ok\")'")]
pub(crate) struct Doctor {
    /// Show what is well, too
    #[arg(long)]
    pub(crate) all: bool,
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
