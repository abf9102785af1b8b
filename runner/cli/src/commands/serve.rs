//! `serve`: stays, keeps the schedules, and reads its configuration anew when it is told to.
//!
//! Two runtimes: one thread that never waits for a guest, and as many for guests as run at once.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Context as _;
use async_trait::async_trait;
use sereno_core::config;
use sereno_core::dispatch::Services;
use sereno_core::job::Config;
use sereno_core::ports::ledger::Ledger;
use sereno_triggers::serve::{Ended, Host, Rejected, Reload, Setting, keep, obey, signals};

use super::check::{Reach, mistakes};
use super::{block_on, source};
use crate::args::Global;
use crate::compose;
use crate::failure::Failure;
use crate::output::Output;

/// What a process answers that was told to stop and left something where it stood.
const EXIT_AT_ONCE: u8 = 143;

pub(super) fn serve(global: &Global, output: &Output) -> Result<u8, Failure> {
    let config = block_on(validated(global, output))?;
    let max_runs = max_runs(&config);
    let guests = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::try_from(max_runs).unwrap_or(1))
        .thread_name("guest")
        .enable_all()
        .build()
        .context("could not start the threads of guests")?;
    let setting = Setting {
        guests: guests.handle().clone(),
        max_runs,
    };
    let ended = block_on(stay(global, output, config, setting));
    guests.shutdown_background();
    Ok(match ended? {
        Ended::Drained => 0,
        Ended::AtOnce => EXIT_AT_ONCE,
    })
}

/// As the configuration has it, or as many as there are cores.
fn max_runs(config: &Config) -> u32 {
    let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
    let cores = || u32::try_from(cores()).unwrap_or(1);
    config.serve.max_runs.unwrap_or_else(cores)
}

/// The configuration with nothing wrong in it, as far as that can be told without opening anything.
async fn validated(global: &Global, output: &Output) -> Result<Arc<Config>, Failure> {
    let source = source(global)?;
    let reading = config::read(&source.text, &source.folder);
    let mistakes = mistakes(&reading, Reach::Offline).await?;
    if !mistakes.is_empty() {
        return Err(source.failure(&mistakes, "nothing was started", output));
    }
    Ok(Arc::new(reading.draft().clone()))
}

async fn stay(
    global: &Global,
    output: &Output,
    config: Arc<Config>,
    setting: Setting,
) -> Result<Ended, Failure> {
    // Before anything else: a word to stop that comes early is heard.
    let orders = signals().context("could not listen for signals")?;
    let ledger = compose::ledger(&config).await?;
    let services = compose::serving(Arc::clone(&config), Arc::clone(&ledger), setting.max_runs)?;
    let reload = Again {
        global: global.clone(),
        output: output.clone(),
        ledger,
        ledger_url: config.ledger_url.reference().to_owned(),
        max_runs: setting.max_runs,
    };
    let host = Host::new(services, setting, Box::new(reload));
    let preparing = Arc::clone(&host);
    tokio::spawn(async move { preparing.prepare().await });
    let keeping = Arc::clone(&host);
    let keeping = tokio::spawn(async move { keep(&keeping).await });
    output.talk("keeping the schedules; SIGTERM or Ctrl-C stops in good order, twice at once, SIGHUP reads the configuration anew");
    let ended = obey(&host, orders).await;
    // It ends with the host, or stands where it stood when that was told twice.
    keeping.abort();
    Ok(ended)
}

/// Reads the configuration anew, over the ledger that is open.
struct Again {
    global: Global,
    output: Output,
    ledger: Arc<dyn Ledger>,
    ledger_url: String,
    max_runs: u32,
}

#[async_trait]
impl Reload for Again {
    async fn load(&self) -> Result<Services, Rejected> {
        let rejected = |failure: Failure| Rejected(failure.text(self.output.paint_talk));
        let config = validated(&self.global, &self.output).await.map_err(rejected)?;
        if config.ledger_url.reference() != self.ledger_url {
            return Err(Rejected(
                "`url` under [ledger] changes with a new process".to_owned(),
            ));
        }
        compose::serving(config, Arc::clone(&self.ledger), self.max_runs).map_err(rejected)
    }
}
