//! A guest that tells others than its writer, and its own without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::ports::plugins::GuestEnd;
use sereno_core::ports::writer::{Notice, Writer, WriterError};
use sereno_engine::PluginHost;

use super::stage::{Run, options};

/// Counts how often it was told.
#[derive(Default)]
struct Told(AtomicU64);

#[async_trait]
impl Writer for Told {
    async fn notify(&self, time: Duration) -> Result<Notice, WriterError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.preview_notify(time).await
    }

    async fn preview_notify(&self, _time: Duration) -> Result<Notice, WriterError> {
        Ok(Notice {
            how: "SIGHUP to process 4711 (app)".to_owned(),
        })
    }
}

#[tokio::test]
async fn a_guest_tells_its_writer_so_often_and_nobody_else() {
    let told = Arc::new(Told::default());
    let run = Run {
        writer: Some(Arc::clone(&told) as Arc<dyn Writer>),
        ..Run::of("beyond-writer")
    };
    let ended = run.go(&PluginHost::new(options())).await;
    assert_eq!(ended.end, GuestEnd::Done);
    let answers: Vec<_> = ended
        .findings
        .iter()
        .map(|finding| format!("{} → {}", finding.code, finding.text))
        .collect();
    assert_eq!(
        answers,
        [
            "look app → SIGHUP to process 4711 (app)",
            r#"notify other → denied: writer.other = ["notify"]"#,
            r#"notify 1 → denied: writer.1 = ["notify"]"#,
            "notify /run/app.pid → invalid",
            "notify ../app → invalid",
            r"notify app\0 → invalid",
            "notify app; kill -9 1 → invalid",
            "notify  → invalid",
            "storm → limit: a run may send at most 16 notices to a writer, and this one has to writer.app",
        ]
    );
    assert_eq!(told.0.load(Ordering::SeqCst), 16);
}
