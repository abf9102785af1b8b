//! A guest's log: its `log.write` calls and what it prints, escaped, counted and capped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sereno_core::job::Limits;
use sereno_core::ports::plugins::LogSink;
use sereno_core::run::RunEvent;

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::text::clean;

/// Fields of one line that are kept.
const FIELDS_MAX: usize = 32;

/// Bytes that a guest may print at once.
const PRINT_BYTES_MAX: usize = 64 << 10;

/// The log of one run.
pub(crate) struct Log {
    sink: Arc<dyn LogSink>,
    limits: Limits,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    lines: u64,
    bytes: u64,
    dropped: u64,
    last_printed: String,
}

impl Log {
    pub(crate) fn new(sink: Arc<dyn LogSink>, limits: Limits) -> Self {
        Self {
            sink,
            limits,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line, or counts it as dropped.
    pub(crate) fn write(&self, level: &str, message: &str, fields: &[(String, String)]) {
        let level = match level {
            "debug" | "warn" | "error" => level,
            _ => "info",
        };
        if self.kept().lines >= self.limits.log_lines {
            self.kept().dropped += 1;
            return;
        }
        let line_max = usize::try_from(self.limits.log_line_bytes).unwrap_or(usize::MAX);
        let message = clean(message, line_max);
        let mut left = line_max - message.len();
        let mut kept_fields = Vec::new();
        for (key, value) in fields.iter().take(FIELDS_MAX) {
            let key = clean(key, left);
            left -= key.len();
            let value = clean(value, left);
            left -= value.len();
            if !key.is_empty() {
                kept_fields.push((key, value));
            }
        }
        let bytes = (line_max - left) as u64;
        let mut kept = self.kept();
        if kept.bytes + bytes > self.limits.log_bytes {
            kept.dropped += 1;
            return;
        }
        kept.lines += 1;
        kept.bytes += bytes;
        drop(kept);
        self.sink.line(RunEvent::Log {
            level: level.to_owned(),
            message,
            fields: kept_fields,
        });
    }

    /// Lines kept and lines dropped.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let kept = self.kept();
        (kept.lines, kept.dropped)
    }

    /// What the guest printed last: after a trap, its last words.
    pub(crate) fn last_printed(&self) -> String {
        self.kept().last_printed.clone()
    }

    fn print(&self, level: &str, line: &str) {
        self.write(level, line, &[]);
        line.clone_into(&mut self.kept().last_printed);
    }
}

/// Standard output or error of a guest: every line of it becomes a line of the log.
#[derive(Clone)]
pub(crate) struct Print {
    log: Arc<Log>,
    level: &'static str,
    /// Printed, and not yet ended by a newline.
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    line: Vec<u8>,
    /// The line is full; the rest of it is let go.
    full: bool,
}

impl Print {
    pub(crate) fn new(log: Arc<Log>, level: &'static str) -> Self {
        Self {
            log,
            level,
            open: Arc::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: &[u8]) {
        let line_max = usize::try_from(self.log.limits.log_line_bytes).unwrap_or(usize::MAX);
        let mut open = self.open();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            if !open.full {
                let room = line_max.saturating_sub(open.line.len());
                open.full = text.len() > room;
                open.line.extend_from_slice(&text[..text.len().min(room)]);
            }
            if ended {
                self.end_line(&mut open);
            }
        }
    }

    fn end_line(&self, open: &mut Open) {
        let mut line = String::from_utf8_lossy(&open.line).into_owned();
        if open.full {
            line.push('…');
        }
        *open = Open::default();
        self.log.print(self.level, &line);
    }

    /// Keeps what was printed without a newline at the end.
    pub(crate) fn finish(&self) {
        let mut open = self.open();
        if !open.line.is_empty() {
            self.end_line(&mut open);
        }
    }
}

impl IsTerminal for Print {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Print {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Print {
    async fn ready(&mut self) {}
}

impl OutputStream for Print {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINT_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(String, String)>>);

    impl LogSink for Lines {
        fn line(&self, event: RunEvent) {
            let RunEvent::Log { level, message, .. } = event else {
                panic!("{event:?} is no line of a log");
            };
            self.0.lock().unwrap().push((level, message));
        }
    }

    fn log(limits: Limits) -> (Arc<Lines>, Arc<Log>) {
        let lines = Arc::new(Lines::default());
        let log = Log::new(Arc::clone(&lines) as Arc<dyn LogSink>, limits);
        (lines, Arc::new(log))
    }

    #[test]
    fn what_is_printed_becomes_lines_however_it_is_cut_up() {
        let (lines, log) = log(Limits::default());
        let print = Print::new(log, "warn");
        for part in ["on", "e\ntw", "o\n\nth", "ree"] {
            print.take(part.as_bytes());
        }
        print.finish();
        print.finish();
        let messages: Vec<_> = lines
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(_, text)| text.clone())
            .collect();
        assert_eq!(messages, ["one", "two", "", "three"]);
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_dropped() {
        let (lines, log) = log(Limits {
            log_lines: 2,
            ..Limits::default()
        });
        for _ in 0..5 {
            log.write("nonsense", "x", &[]);
        }
        assert_eq!(log.counts(), (2, 3));
        assert_eq!(
            *lines.0.lock().unwrap(),
            vec![("info".to_owned(), "x".to_owned()); 2]
        );
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_a_line_may() {
        let (lines, log) = log(Limits {
            log_line_bytes: 8,
            ..Limits::default()
        });
        let print = Print::new(log, "info");
        for _ in 0..1_000 {
            print.take(b"0123456789");
        }
        assert_eq!(print.open().line.len(), 8);
        print.finish();
        assert_eq!(lines.0.lock().unwrap()[0].1, "01234…");
    }

    #[test]
    fn bytes_of_all_lines_together_are_capped() {
        let (lines, log) = log(Limits {
            log_bytes: 10,
            ..Limits::default()
        });
        log.write("info", "12345", &[("k".into(), "v".into())]);
        log.write("info", "123", &[]);
        log.write("info", "4", &[]);
        assert_eq!(log.counts(), (2, 1));
        assert_eq!(lines.0.lock().unwrap().len(), 2);
    }
}
