//! AWS Lambda: events come in by its Runtime API, one at a time. What an event means is core's (`event`), and so is whether
//! it is delivered again (`dispatch::carry`).
//!
//! Nothing is opened before the first event, and nothing but the configuration and compiled plugins outlives one: each
//! invocation has connections of its own, so that none is older than a freeze of the sandbox. A run that was frozen in its
//! middle finds its leases renewed or lost by the next beat of its clock, and its fences hold until then.

mod answer;
mod function;
mod scratch;
mod shutdown;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value as Json;
use sereno_core::dispatch::Services;
use sereno_core::job::Config;
use sereno_core::ports::carrier::Continuations;

use function::{Function, Invocation};
use shutdown::Shutdown;

/// What is opened for invocations.
#[async_trait]
pub trait House: Send + Sync {
    /// The configuration, read once.
    fn config(&self) -> &Config;

    /// Everything that runs need, with connections of its own.
    ///
    /// # Errors
    /// As a sentence: the ledger is out of reach.
    async fn services(&self) -> Result<Services, String>;
}

/// What a function is made of.
pub struct Settings {
    /// Opens what an invocation needs.
    pub house: Arc<dyn House>,
    /// Takes what a run leaves; without one the answer says what to invoke next.
    pub continuations: Option<Arc<dyn Continuations>>,
    /// A folder of ours alone, emptied before each invocation.
    pub scratch: Option<PathBuf>,
}

/// What Lambda sets for every runtime, without which this is none.
pub const ENVIRONMENT: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
];

/// Takes events until the sandbox ends. Every name in [`ENVIRONMENT`] must be set.
///
/// # Errors
/// The Runtime API cannot be spoken to.
pub async fn run(settings: Settings) -> Result<(), String> {
    let shutdown = Arc::new(Shutdown::default());
    shutdown::listen(Arc::clone(&shutdown)).await;
    let function = Arc::new(Function::new(settings, shutdown));
    let handler = service_fn(move |event: LambdaEvent<Json>| {
        let function = Arc::clone(&function);
        async move {
            let invocation = Invocation::of(&event.context);
            let answer = function.invoked(&event.payload, &invocation).await;
            answer.map_err(|failed| Diagnostic {
                error_type: failed.kind,
                error_message: failed.message,
            })
        }
    });
    lambda_runtime::run(handler)
        .await
        .map_err(|error| error.to_string())
}
