//! A program of the operator's that tells a writer.
//!
//! It gets no shell, no input, and of the environment only where programs are: the environment of a runner holds secrets.
//! When its time is over, it and all that it started in its process group are ended.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use sereno_core::ports::writer::{Notice, Writer, WriterError};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};

use super::show_path;
use super::trust::hold;

/// What is kept of what a hook that failed has said.
const SAID_BYTES_MAX: u64 = 1 << 10;

/// A program that has ended may have left another behind that still holds its output; nobody waits for that.
const LAST_WORDS: Duration = Duration::from_millis(500);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Any of owner, group and others may run it.
const EXECUTABLE: u32 = 0o111;

/// One program with its arguments.
#[derive(Debug)]
pub(super) struct Hook {
    argv: Vec<String>,
    timeout: Duration,
}

/// Ends the group when it is dropped before its time: a cancelled run leaves nothing behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Hook {
    pub(super) fn new(argv: Vec<String>, timeout: Duration) -> Self {
        Self { argv, timeout }
    }

    /// The program must be one that only root or sereno's own user could have written.
    fn find(&self) -> Result<Notice, WriterError> {
        let program = self.argv.first().map_or(Path::new(""), Path::new);
        let shown = show_path(program);
        // Where programs are, links are usual; what counts is where they lead.
        let resolved = program
            .canonicalize()
            .map_err(|error| WriterError::Invalid(format!("could not find the hook {shown}: {error}")))?;
        let Some(held) = hold_program(&resolved)? else {
            return Err(WriterError::Invalid(format!("the hook {shown} is not there")));
        };
        if held & EXECUTABLE == 0 {
            return Err(WriterError::Invalid(format!(
                "the hook {shown} is not executable: `chmod +x {shown}`"
            )));
        }
        Ok(Notice {
            how: self
                .argv
                .iter()
                .map(|text| text.escape_debug().to_string())
                .collect::<Vec<_>>()
                .join(" "),
        })
    }

    async fn run(&self, time: Duration) -> Result<Notice, WriterError> {
        let notice = self.find()?;
        let within = self.timeout.min(time);
        let failed = |error: io::Error| WriterError::Failed(format!("could not run {}: {error}", notice.how));
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(WriterError::Invalid("the hook names no program".to_owned()));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        let mut group = Group(number.and_then(Pid::from_raw));
        let stderr = child.stderr.take();
        let Ok(ended) = tokio::time::timeout(within, finish(&mut child, stderr)).await else {
            return Err(WriterError::Timeout { within });
        };
        let (status, said) = ended.map_err(failed)?;
        // What it left running on purpose stays: a server that was started again is its child.
        group.0 = None;
        if status.success() {
            return Ok(notice);
        }
        let said: String = said
            .trim()
            .lines()
            .last()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {}", said.escape_debug())
        };
        Err(WriterError::Failed(format!(
            "the hook {} ended with {status}{said}",
            notice.how
        )))
    }
}

/// Its mode; none when it is not there.
fn hold_program(path: &Path) -> Result<Option<u32>, WriterError> {
    let Some(held) = hold(path)? else {
        return Ok(None);
    };
    match held.owners.first() {
        Some((owner, path)) => Err(WriterError::Refused(format!(
            "{} belongs to uid {owner}, who could have sereno run anything; give it to root or to sereno's own user",
            show_path(path)
        ))),
        None => Ok(Some(held.meta.mode())),
    }
}

/// Waits for the end, and reads what is said meanwhile so that nobody waits for a full pipe.
async fn finish(
    child: &mut Child,
    stderr: Option<ChildStderr>,
) -> io::Result<(std::process::ExitStatus, String)> {
    let reading = tokio::spawn(async move {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr).take(SAID_BYTES_MAX).read_to_end(&mut said).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        said
    });
    let abort = reading.abort_handle();
    let status = child.wait().await?;
    let said = tokio::time::timeout(LAST_WORDS, reading).await;
    abort.abort();
    let said = said.ok().and_then(Result::ok).unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

#[async_trait]
impl Writer for Hook {
    async fn notify(&self, time: Duration) -> Result<Notice, WriterError> {
        self.run(time).await
    }

    async fn preview_notify(&self, _time: Duration) -> Result<Notice, WriterError> {
        self.find()
    }
}
