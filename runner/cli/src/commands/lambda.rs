//! `lambda`: takes the events of an AWS Lambda function until its sandbox ends.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sereno_core::dispatch::Services;
use sereno_core::job::Config;
use sereno_triggers::lambda::{self, ENVIRONMENT, House, Settings};

use super::check::configuration;
use super::source;
use crate::args::Global;
use crate::compose::{self, Warm};
use crate::failure::Failure;
use crate::output::Output;

/// Below the one folder that a function may write to.
const SCRATCH: &str = "sereno-scratch";

struct Sandbox(Warm);

#[async_trait]
impl House for Sandbox {
    fn config(&self) -> &Config {
        self.0.config()
    }

    async fn services(&self) -> Result<Services, String> {
        self.0.services().await.map_err(|failure| failure.sentence())
    }
}

pub(crate) async fn lambda(global: &Global, output: &Output) -> Result<u8, Failure> {
    let missing: Vec<&str> = ENVIRONMENT
        .into_iter()
        .filter(|name| std::env::var_os(name).is_none())
        .collect();
    if !missing.is_empty() {
        let message = format!(
            "this is no function of AWS Lambda: {} is not set",
            missing.join(", ")
        );
        return Err(Failure::usage(message)
            .hint("Lambda sets it, and so does `cargo lambda watch`; `sereno run` runs a job here"));
    }
    let source = source(global)?;
    let config = configuration(&source, output).await?;
    compose::insist_on_a_shared_ledger(&config).await?;
    let scratch = scratch();
    let mut config = Arc::unwrap_or_clone(config);
    // What is unpacked for a while belongs where the next invocation removes what was left.
    config.backup.work.get_or_insert_with(|| scratch.clone());
    let continuations = compose::continuations(&config)?;
    let settings = Settings {
        house: Arc::new(Sandbox(Warm::new(Arc::new(config))?)),
        continuations,
        scratch: Some(scratch),
    };
    lambda::run(settings).await.map_err(|error| {
        Failure::from(anyhow::anyhow!(error).context("the Runtime API of Lambda cannot be spoken to"))
    })?;
    Ok(0)
}

/// Emulators run several functions on one machine; Lambda has one a sandbox.
fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("{SCRATCH}-{}", std::process::id()))
}
