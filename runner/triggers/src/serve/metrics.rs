//! What runs came to, as numbers that a collector fetches. Labels are names from the configuration and outcomes, never ids.
//!
//! The recorder belongs to its process alone: nothing global is set.

use std::sync::Arc;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use sereno_core::report::Report;
use sereno_core::run::Mode;

/// From a quick check to a long backup, in seconds.
const DURATION_BUCKETS: [f64; 10] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];

const DURATION: &str = "sereno_run_duration_seconds";

/// See the module.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &DURATION_BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let metrics = Self {
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
        };
        metrics.record(|| {
            describe_counter!("sereno_runs_total", "Runs that have ended, by how.");
            describe_counter!(
                "sereno_ticks_total",
                "Times of schedules that came, by what became of them."
            );
            describe_counter!("sereno_effects_total", "Rows, files and other units changed.");
            describe_counter!("sereno_effect_bytes_total", "Bytes of what was changed.");
            describe_histogram!(DURATION, "How long runs took.");
            describe_gauge!("sereno_running", "Runs at work in this process.");
            describe_gauge!(
                "sereno_last_success_timestamp_seconds",
                "When a job or round last succeeded."
            );
            describe_gauge!(
                "sereno_reload_ok",
                "1 when the last configuration that was offered was taken."
            );
            describe_counter!("sereno_rescued_total", "Runs closed here whose host had died.");
        });
        metrics
    }

    /// Does `write`, in which the facade's macros write here.
    pub(crate) fn record(&self, write: impl FnOnce()) {
        metrics::with_local_recorder(&*self.recorder, write);
    }

    /// A run has ended.
    pub(crate) fn ended(&self, report: &Report) {
        let name = report.work.name().to_owned();
        let (outcome, mode) = (report.outcome.label(), report.mode.to_string());
        let took = (report.ended_at - report.started_at).to_std().unwrap_or_default();
        self.record(|| {
            counter!("sereno_runs_total", "job" => name.clone(), "mode" => mode.clone(), "outcome" => outcome)
                .increment(1);
            histogram!(DURATION, "job" => name.clone(), "mode" => mode).record(took.as_secs_f64());
            if report.mode != Mode::Apply {
                return;
            }
            if report.exit_code(None) == 0 {
                gauge!("sereno_last_success_timestamp_seconds", "job" => name.clone())
                    .set(report.ended_at.timestamp() as f64);
            }
            for effect in report.effects() {
                let verb = effect.verb.to_string();
                counter!("sereno_effects_total", "job" => name.clone(), "verb" => verb.clone(), "unit" => effect.unit.clone())
                    .increment(effect.done);
                counter!("sereno_effect_bytes_total", "job" => name.clone(), "verb" => verb)
                    .increment(effect.bytes.unwrap_or_default());
            }
        });
    }

    /// What became of a tick: `ran`, `taken` by another host, or `failed` before it could begin.
    pub(crate) fn ticked(&self, work: &str, became: &'static str) {
        self.record(|| {
            counter!("sereno_ticks_total", "job" => work.to_owned(), "result" => became).increment(1)
        });
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn text(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}
