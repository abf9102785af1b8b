//! One call of a guest: a fresh store, its limits, and the race of the guest against its time and its operator.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sereno_core::effect::Book;
use sereno_core::ports::plugins::{Activation, CallError, GuestEnd, GuestFailure, GuestRun};
use sereno_core::report::{Finding, LimitsUsed, Severity};
use tokio::time::Instant;
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::bindings::{PluginPre, types};
use crate::classify::classify;
use crate::limits::{LimitHit, LimitName};
use crate::log::{Log, Print};
use crate::meter::{Meter, Metered};
use crate::state::{Reach, State, Used, raised};
use crate::text::{clean, line};

/// How long a guest may go on after a cancel before it is ended where it stands.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Bytes of a finding's code and target: they are keys.
const KEY_BYTES_MAX: usize = 256;

/// Runs a guest once.
pub(crate) async fn run(engine: &Engine, plugin: &PluginPre<State>, activation: Activation) -> GuestRun {
    let began = Instant::now();
    let time = activation.time_left.min(activation.limits.wall);
    let limits = activation.limits;
    let meter = Arc::new(Meter::default());
    let used = Arc::new(Used::default());
    let log = Arc::new(Log::new(Arc::clone(&activation.log), limits));
    let printed = [
        Print::new(Arc::clone(&log), "info"),
        Print::new(Arc::clone(&log), "warn"),
    ];
    let reach = Arc::new(Reach::new(
        activation.capabilities.clone(),
        activation.cancel.clone(),
        began,
        time,
        Arc::clone(&meter),
    ));
    let context = context(&activation, time);
    let state = State::new(
        limits,
        Arc::clone(&log),
        &printed,
        Arc::clone(&activation.book),
        Arc::clone(&used),
        Arc::clone(&reach),
    );
    let store = store(engine, state, &meter, &reach);
    let guest = Metered::new(Arc::clone(&meter), call(store, plugin, context));
    let given_up = async {
        raised(activation.cancel.clone()).await;
        tokio::time::sleep(CANCEL_GRACE).await;
    };
    let end = tokio::select! {
        biased;
        ended = guest => match ended {
            Ok(Ok(answer)) => judge(answer, &reach, &activation.book, &used, limits.output_bytes),
            Ok(Err(error)) => {
                printed.iter().for_each(Print::finish);
                classify(&error, &log.last_printed())
            }
            Err(panic) => GuestEnd::Host(format!("the host panicked: {}", line(&panic))),
        },
        () = given_up => GuestEnd::Cancelled,
        () = tokio::time::sleep_until(began + time) => wall(time),
    };
    printed.iter().for_each(Print::finish);
    let (log_lines, log_lines_dropped) = log.counts();
    GuestRun {
        end,
        used: LimitsUsed {
            wall_ms: milliseconds(began.elapsed()),
            cpu_ms: milliseconds(meter.used()),
            memory_bytes: used.memory_bytes.load(Ordering::Relaxed),
            host_calls: used.host_calls.load(Ordering::Relaxed).min(limits.host_calls),
            rows: used.rows.load(Ordering::Relaxed),
            log_lines,
            log_lines_dropped,
        },
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wall(time: Duration) -> GuestEnd {
    let text = format!("the plugin was still at work after {} ms", time.as_millis());
    GuestEnd::Limit(LimitName::Wall.as_str().to_owned(), text)
}

fn context(activation: &Activation, time: Duration) -> types::Context {
    types::Context {
        run_id: activation.run.to_string(),
        job: activation.job.to_string(),
        scheduled_at: activation.scheduled_at.timestamp_micros(),
        params: activation.params.to_string(),
        shard: activation.shard.clone(),
        cursor: activation.cursor.clone(),
        time_left_ms: milliseconds(time),
        attributes: Vec::new(),
    }
}

/// A fresh store under the state's limits. At every tick the guest is looked at, and others get their turn.
fn store(engine: &Engine, state: State, meter: &Arc<Meter>, reach: &Arc<Reach>) -> Store<State> {
    let limits = state.limits;
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(usize::try_from(limits.call_bytes).unwrap_or(usize::MAX));
    store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
    let (meter, reach) = (Arc::clone(meter), Arc::clone(reach));
    store.epoch_deadline_callback(move |_| {
        if meter.used_now() > limits.cpu {
            let most = limits.cpu.as_millis();
            let text = format!("the plugin computed for more than {most} ms");
            return Err(LimitHit::new(LimitName::Cpu, text).into());
        }
        if reach.is_over() {
            // The timer beside us says so too, but a busy runtime may look at its timers late.
            return Err(LimitHit::new(
                LimitName::Wall,
                "the plugin was still computing when its time was over",
            )
            .into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    store.set_epoch_deadline(1);
    store
}

type Answer = Result<types::Outcome, types::Failure>;

/// Instantiates and calls; the store lives and dies in here.
async fn call(
    mut store: Store<State>,
    plugin: &PluginPre<State>,
    context: types::Context,
) -> wasmtime::Result<Answer> {
    let plugin = plugin.instantiate_async(&mut store).await?;
    plugin.call_run(&mut store, &context).await
}

/// What a guest's answer means. It is believed in what it noticed, and in nothing that the host knows better.
fn judge(answer: Answer, reach: &Reach, book: &Book, used: &Used, output_bytes_max: u64) -> GuestEnd {
    let (report, end) = match answer {
        Ok(types::Outcome::Done(report)) => (report, GuestEnd::Done),
        Ok(types::Outcome::More(more)) => {
            used.output_bytes
                .fetch_add(more.cursor.len() as u64, Ordering::Relaxed);
            (more.report, GuestEnd::More(more.cursor))
        }
        Ok(types::Outcome::Other(text)) => {
            return GuestEnd::Invalid(format!(
                "it answered an outcome that nobody knows: {}",
                line(&text)
            ));
        }
        Err(failure) => return failed(failure, reach),
    };
    for finding in report.findings {
        let finding = self::finding(&finding);
        let texts = [&finding.code, &finding.target, &finding.text];
        let bytes =
            texts.map(String::len).iter().sum::<usize>() + finding.next.as_ref().map_or(0, String::len);
        used.output_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if used.output_bytes.load(Ordering::Relaxed) > output_bytes_max {
            break;
        }
        book.finding(finding);
    }
    if used.output_bytes.load(Ordering::Relaxed) > output_bytes_max {
        return GuestEnd::Limit(
            LimitName::Output.as_str().to_owned(),
            format!("the plugin's findings, measurements and cursor have more than {output_bytes_max} bytes"),
        );
    }
    end
}

fn finding(finding: &types::Finding) -> Finding {
    Finding {
        code: clean(&finding.code, KEY_BYTES_MAX),
        severity: match finding.severity.as_str() {
            "info" => Severity::Info,
            "critical" => Severity::Critical,
            // A severity of a later contract is worth a person's look.
            _ => Severity::Warn,
        },
        target: clean(&finding.target, KEY_BYTES_MAX),
        text: line(&finding.text),
        next: finding.next.as_deref().map(line),
    }
}

fn failed(failure: types::Failure, reach: &Reach) -> GuestEnd {
    GuestEnd::Failed(match failure {
        types::Failure::InvalidParams(text) => GuestFailure::InvalidParams(line(&text)),
        types::Failure::Retryable(text) => GuestFailure::Retryable(line(&text)),
        types::Failure::Permanent(text) => GuestFailure::Permanent(line(&text)),
        types::Failure::Refused(text) => GuestFailure::Refused(line(&text)),
        types::Failure::Other(text) | types::Failure::PassedOn(types::Error::Other(text)) => {
            GuestFailure::Other(line(&text))
        }
        types::Failure::PassedOn(error) => {
            return match reach.answered_like(&error) {
                Some(CallError::Cancelled) => GuestEnd::Cancelled,
                Some(answered) => GuestEnd::PassedOn(answered),
                None => GuestEnd::Invalid("it passed on an error that no host call had answered".to_owned()),
            };
        }
    })
}
