//! Runs one of PostgreSQL's tools: no shell, no password in its arguments, a process group of its own that is killed with
//! whoever waits for it, and no success that its own words deny.

use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use sereno_core::ports::backup::BackupError;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// Of what a tool complains. A restore that fails can say a line for each object.
const COMPLAINT_BYTES_MAX: usize = 16 << 10;

/// Bytes that are read from a tool at once.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// What tools need of the caller's environment: where it keeps a password file and keys, and where to look for programs.
const INHERITED: [&str; 5] = ["PATH", "HOME", "PGPASSFILE", "PGPASSWORD", "TMPDIR"];

/// One call of a tool.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// How it reaches the server, the password included: an environment is only its own user's to read, and unlike a
    /// file it is gone with the process however that ends.
    pub(super) environment: Vec<(&'static str, String)>,
}

/// A tool at work. Dropping it kills it, with everything that it has started.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    group: Option<Pid>,
    complaint: JoinHandle<Vec<u8>>,
}

impl Tool {
    fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        name.display().to_string()
    }

    /// Starts it, with its ends of the pipes.
    pub(super) fn start(&self) -> Result<(Running, ChildStdin, ChildStdout), BackupError> {
        let name = self.name();
        let inherited = INHERITED
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let started = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(inherited)
            // What it says is looked through for its word for an error.
            .env("LC_ALL", "C")
            .envs(
                self.environment
                    .iter()
                    .map(|(name, value)| (*name, value.as_str())),
            )
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let failed = |error: std::io::Error| {
            BackupError::Failed(format!("could not start {}: {error}", self.program.display()))
        };
        let mut child = started.map_err(failed)?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pipes = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .zip(child.stderr.take());
        let ((stdin, stdout), stderr) = pipes.ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        let running = Running {
            name,
            child,
            group,
            complaint: tokio::spawn(read_capped(stderr)),
        };
        Ok((running, stdin, stdout))
    }
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// It failed, or says that it did: there are tools that exit with 0 all the same.
    pub(super) async fn finish(mut self) -> Result<(), BackupError> {
        let status = self.child.wait().await;
        // It is reaped: its number may be somebody else's by now.
        self.group = None;
        let complaint = (&mut self.complaint).await.unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint = complaint.trim();
        let status = status.map_err(|error| {
            BackupError::Failed(format!("could not wait for the end of {}: {error}", self.name))
        })?;
        if status.success() && !denies_success(complaint) {
            if !complaint.is_empty() {
                tracing::warn!(tool = %self.name, complaint, "the tool says");
            }
            return Ok(());
        }
        let how = if status.success() {
            "ended well, and says that it did not".to_owned()
        } else {
            format!("failed ({status})")
        };
        let text = format!("{} {how}: {}", self.name, one_line(complaint));
        Err(if is_out_of_reach(complaint) {
            BackupError::Unreachable(text)
        } else {
            BackupError::Failed(text)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.complaint.abort();
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn read_capped(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; 4 << 10]);
    // Read to its end in any case: a tool that nobody listens to stands still.
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let room = COMPLAINT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
    kept
}

/// True when a tool that exits with 0 reports an error all the same.
fn denies_success(complaint: &str) -> bool {
    complaint.lines().any(|line| {
        ["error:", "fatal:", "ERROR:", "FATAL:", "PANIC:"]
            .iter()
            .any(|word| line.contains(word))
    })
}

fn is_out_of_reach(complaint: &str) -> bool {
    [
        "Connection refused",
        "could not translate host name",
        "No such file or directory\n\tIs the server running",
        "timeout expired",
    ]
    .iter()
    .any(|words| complaint.contains(words))
}

fn one_line(complaint: &str) -> String {
    let lines: Vec<&str> = complaint
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        "it does not say why".to_owned()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tool {
        Tool {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("PGPASSWORD", "hunter2".to_owned())],
        }
    }

    /// Runs it to its end, and throws away what it writes.
    async fn run(tool: &Tool) -> Result<(), BackupError> {
        let (running, stdin, mut stdout) = tool.start()?;
        drop(stdin);
        let mut piece = vec![0; PIECE_BYTES];
        while stdout.read(&mut piece).await.is_ok_and(|read| read > 0) {}
        running.finish().await
    }

    #[tokio::test]
    async fn a_success_that_its_own_words_deny_is_none() {
        assert!(run(&shell("echo 'sh: warning: well' >&2")).await.is_ok());
        for script in [
            "echo 'sh: error: no' >&2; exit 0",
            "exit 1",
            "echo 'FATAL:  no' >&2",
            "kill -9 $$",
        ] {
            assert!(run(&shell(script)).await.is_err(), "{script}");
        }
    }

    #[tokio::test]
    async fn what_it_writes_and_says_is_bounded_and_never_blocks_it() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 'a line of thirty characters...' >&2; i=$((i+1)); done; exit 3";
        let text = run(&shell(script))
            .await
            .expect_err("it exits with 3")
            .to_string();
        assert!(
            text.len() < COMPLAINT_BYTES_MAX * 2 && text.contains("exit status: 3"),
            "{}",
            text.len()
        );
    }

    #[tokio::test]
    async fn it_goes_with_whoever_waits_and_takes_its_own_children_along() {
        let (running, stdin, mut stdout) = shell("sleep 600 & echo $!; wait").start().expect("a shell");
        let mut said = [0; 16];
        let read = stdout.read(&mut said).await.expect("a number");
        let pid = String::from_utf8_lossy(&said[..read]).trim().to_owned();
        drop((running, stdin));
        // Its end of the pipe closes when the last of the group is gone.
        assert_eq!(stdout.read(&mut said).await.expect("the end"), 0);
        // A process that ends closes its files before it counts as gone.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_gone = |state: &str| state.is_empty() || state.contains(") Z");
        let started = std::time::Instant::now();
        while !is_gone(&state()) && started.elapsed() < std::time::Duration::from_secs(10) {
            tokio::task::yield_now().await;
        }
        assert!(is_gone(&state()), "{}", state());
    }
}
