//! A process that a file names, told by a signal.
//!
//! The process is held by a descriptor before anything about it is looked at: what ends meanwhile is signalled no more, and
//! nobody who gets its number is. After that everything must fit together, because a file may be left from an earlier
//! process, and its number may have gone to another: see [`Facts`].

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, PidfdFlags, geteuid, getpid, pidfd_open, pidfd_send_signal};
use sereno_core::job::Signal;
use sereno_core::ports::writer::{Notice, Writer, WriterError};

use super::show_path;
use super::trust::{Held, hold};

/// The number stands in the first line; other lines are whatever the program likes.
const PIDFILE_BYTES_MAX: u64 = 4 << 10;

/// A program writes its file after it began. The kernel tells the beginning to a second at best.
const BEGAN_AFTER_ITS_FILE: i64 = 2;

/// One process, by its file.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pidfile: PathBuf,
    signal: Signal,
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    name: String,
    state: char,
    /// Real, effective, saved, of the file system.
    uids: Vec<u32>,
    /// Seconds since 1970.
    began: i64,
    /// A bit for each signal that it handles, from 1 on.
    handles: u64,
}

impl Process {
    pub(super) fn new(pidfile: PathBuf, signal: Signal) -> Self {
        Self { pidfile, signal }
    }

    fn signal(&self) -> rustix::process::Signal {
        match self.signal {
            Signal::Hup => rustix::process::Signal::HUP,
            Signal::Usr1 => rustix::process::Signal::USR1,
            Signal::Usr2 => rustix::process::Signal::USR2,
        }
    }

    /// The process that is meant, held, and how it is told.
    fn find(&self) -> Result<(OwnedFd, Notice), WriterError> {
        let shown = show_path(&self.pidfile);
        let Some(mut held) = hold(&self.pidfile)? else {
            return Err(WriterError::NotRunning(format!("there is no {shown}")));
        };
        let pid = read_pid(&mut held)
            .ok_or_else(|| WriterError::Refused(format!("{shown} does not begin with a process's number")))?;
        if pid.as_raw_nonzero().get() <= 1 || pid == getpid() {
            return Err(WriterError::Refused(format!(
                "{shown} names process {}, which is {}",
                pid.as_raw_nonzero(),
                if pid == getpid() {
                    "sereno itself"
                } else {
                    "the one that starts all others"
                }
            )));
        }
        let gone = || {
            WriterError::NotRunning(format!(
                "process {}, which {shown} names, is gone",
                pid.as_raw_nonzero()
            ))
        };
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => gone(),
            error => WriterError::Refused(format!(
                "could not hold process {}: {error}",
                pid.as_raw_nonzero()
            )),
        })?;
        let facts = look(pid).ok_or_else(gone)?;
        self.judge(&facts, &held, geteuid().as_raw())?;
        let how = format!(
            "{} to process {} ({})",
            self.signal.as_str(),
            pid.as_raw_nonzero(),
            facts.name
        );
        Ok((process, Notice { how }))
    }

    fn judge(&self, facts: &Facts, held: &Held, own: u32) -> Result<(), WriterError> {
        let shown = show_path(&self.pidfile);
        let name = &facts.name;
        let signal = self.signal.as_str();
        if matches!(facts.state, 'Z' | 'X') {
            return Err(WriterError::NotRunning(format!(
                "the process that {shown} names has ended"
            )));
        }
        if facts.began > held.meta.mtime() + BEGAN_AFTER_ITS_FILE {
            return Err(WriterError::Refused(format!(
                "{shown} was written before the process that it names ({name}) began: it is left from an earlier one; \
                 restart the program, or remove the file"
            )));
        }
        let Some(user) = facts.uids.first().copied() else {
            return Err(WriterError::Refused(format!("nobody says whose {name} is")));
        };
        if own != 0 && user != own {
            return Err(WriterError::Refused(format!(
                "{name} is another user's (uid {user}), and sereno runs as uid {own}: tell it by a `hook`"
            )));
        }
        let is_all_his = facts.uids.iter().all(|uid| *uid == user);
        let stranger = held
            .owners
            .iter()
            .find(|(owner, _)| !is_all_his || *owner != user);
        if let Some((owner, path)) = stranger {
            return Err(WriterError::Refused(format!(
                "{} belongs to uid {owner}, who could name a process that is not his; give it to root or to the user of {name}",
                show_path(path)
            )));
        }
        let bit = u32::try_from(self.signal().as_raw() - 1).unwrap_or_default();
        if facts.handles & (1 << bit) == 0 {
            return Err(WriterError::Refused(format!(
                "{name} does not handle {signal}, and would end of it or not notice it; look in its manual which signal has it \
                 open its log anew, or use a `hook`"
            )));
        }
        Ok(())
    }

    fn tell(&self) -> Result<Notice, WriterError> {
        let (process, notice) = self.find()?;
        match pidfd_send_signal(&process, self.signal()) {
            Ok(()) => Ok(notice),
            Err(Errno::SRCH) => Err(WriterError::NotRunning("its process has just ended".to_owned())),
            Err(error) => Err(WriterError::Refused(format!(
                "could not send {}: {error}",
                notice.how
            ))),
        }
    }
}

/// The number in the first line; none when nothing but digits makes one.
fn read_pid(held: &mut Held) -> Option<Pid> {
    let mut text = String::new();
    (&mut held.file)
        .take(PIDFILE_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let line = text.lines().next()?.trim();
    if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Pid::from_raw(line.parse().ok()?)
}

/// None when it is gone, or may not be looked at.
fn look(pid: Pid) -> Option<Facts> {
    let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    parse(&status, &stat, booted(Path::new("/proc/stat"))?)
}

/// When the machine began, in seconds since 1970.
fn booted(stat: &Path) -> Option<i64> {
    let text = fs::read_to_string(stat).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn parse(status: &str, stat: &str, booted: i64) -> Option<Facts> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    // A name may hold spaces and parentheses: what follows the last one is numbers.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let seconds = i64::try_from(ticks / clock_ticks_per_second().max(1)).ok()?;
    Some(Facts {
        name: field("Name")?.trim().escape_debug().to_string(),
        state: field("State")?.trim().chars().next()?,
        uids: field("Uid")?
            .split_whitespace()
            .map(|uid| uid.parse().ok())
            .collect::<Option<_>>()?,
        began: booted.checked_add(seconds)?,
        handles: u64::from_str_radix(field("SigCgt")?.trim(), 16).ok()?,
    })
}

#[async_trait]
impl Writer for Process {
    async fn notify(&self, _time: Duration) -> Result<Notice, WriterError> {
        let this = self.clone();
        blocking(move || this.tell()).await
    }

    async fn preview_notify(&self, _time: Duration) -> Result<Notice, WriterError> {
        let this = self.clone();
        blocking(move || this.find().map(|(_, notice)| notice)).await
    }
}

/// A network file system may let its caller wait.
async fn blocking(
    work: impl FnOnce() -> Result<Notice, WriterError> + Send + 'static,
) -> Result<Notice, WriterError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(WriterError::Failed(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\ta (b) c\nState:\tS (sleeping)\nUid:\t1000\t1000\t1000\t1000\nSigCgt:\t0000000000000201\n";

    fn stat(ticks: u64) -> String {
        format!("4711 (a (b) c) S 1 1 1 0 -1 4194304 99 0 0 0 0 0 0 0 20 0 1 0 {ticks} 3133440 414")
    }

    fn facts() -> Facts {
        let ticks = 10 * clock_ticks_per_second();
        parse(STATUS, &stat(ticks), 1_000_000).expect("a process")
    }

    fn judge(signal: Signal, facts: &Facts, owners: &[u32], own: u32) -> &'static str {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.pid");
        fs::write(&path, "4711\n").expect("a file");
        let mut held = hold(&path).expect("its own").expect("there");
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_012));
        held.file.set_times(time).expect("a time");
        held.meta = held.file.metadata().expect("it");
        held.owners = owners.iter().map(|owner| (*owner, path.clone())).collect();
        match Process::new(path, signal).judge(facts, &held, own) {
            Ok(()) => "told",
            Err(WriterError::NotRunning(_)) => "not running",
            Err(WriterError::Refused(text)) if text.contains("left from an earlier") => "reused",
            Err(WriterError::Refused(text)) if text.contains("another user's") => "another's",
            Err(WriterError::Refused(text)) if text.contains("not his") => "a stranger's file",
            Err(WriterError::Refused(text)) if text.contains("does not handle") => "not handled",
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        assert_eq!(
            facts(),
            Facts {
                name: "a (b) c".to_owned(),
                state: 'S',
                uids: vec![1_000; 4],
                began: 1_000_010,
                handles: 0x201
            }
        );
    }

    #[test]
    fn every_reason_not_to_tell_a_process_is_one_of_its_own() {
        let good = facts();
        assert_eq!(judge(Signal::Hup, &good, &[], 1_000), "told");
        assert_eq!(judge(Signal::Usr1, &good, &[], 0), "told");
        assert_eq!(judge(Signal::Usr2, &good, &[], 0), "not handled");
        assert_eq!(judge(Signal::Hup, &good, &[], 1_001), "another's");
        assert_eq!(judge(Signal::Hup, &good, &[1_000], 0), "told", "his own file");
        assert_eq!(judge(Signal::Hup, &good, &[1_001], 0), "a stranger's file");
        let mut setuid = good.clone();
        setuid.uids[1] = 0;
        assert_eq!(judge(Signal::Hup, &setuid, &[1_000], 0), "a stranger's file");
        for (began, expected) in [(1_000_014, "told"), (1_000_015, "reused")] {
            let facts = Facts {
                began,
                ..good.clone()
            };
            assert_eq!(judge(Signal::Hup, &facts, &[], 0), expected, "{began}");
        }
        let ended = Facts { state: 'Z', ..good };
        assert_eq!(judge(Signal::Hup, &ended, &[], 0), "not running");
    }
}
