//! Programs that keep files open, as real processes: which are told, which are refused, and that a look tells nobody.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sereno_adapters::writers::open;
use sereno_core::job::{Signal, WriterTarget};
use sereno_core::ports::writer::{Writer, WriterError};
use sereno_tests::wait::wait_for;

const PLENTY: Duration = Duration::from_secs(20);

fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(wait_for(condition, PLENTY), "{what}: it never was");
}

/// A process that writes a line when it is told, and its number when it is ready to be.
struct Process {
    folder: tempfile::TempDir,
    child: Child,
}

impl Process {
    fn new(signals: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let script = format!(
            "for s in {signals}; do trap \"echo $s >> told\" $s; done; echo $$ > app.pid.new; mv app.pid.new app.pid; \
             while :; do sleep 0.02; done"
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("a shell");
        let process = Self { folder, child };
        let pidfile = process.pidfile();
        until("the process is ready", || pidfile.exists());
        process
    }

    fn pidfile(&self) -> PathBuf {
        self.folder.path().join("app.pid")
    }

    fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.folder.path().join("told")).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }

    fn writer(&self, signal: Signal) -> Arc<dyn Writer> {
        writer(&self.pidfile(), signal)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn writer(pidfile: &Path, signal: Signal) -> Arc<dyn Writer> {
    let target = WriterTarget::Process {
        pidfile: pidfile.to_owned(),
        signal,
    };
    open(&target, Path::new("/"))
}

fn hook(argv: &[&str], timeout: Duration) -> Arc<dyn Writer> {
    let target = WriterTarget::Hook {
        argv: argv.iter().map(|text| (*text).to_owned()).collect(),
        timeout,
    };
    open(&target, Path::new("/"))
}

/// Both ways, which must answer the same.
async fn refused(writer: &dyn Writer) -> String {
    let looked = writer.preview_notify(PLENTY).await.expect_err("refused");
    let told = writer.notify(PLENTY).await.expect_err("refused");
    assert_eq!(looked, told);
    match told {
        WriterError::Refused(text) => text,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_process_is_told_by_the_signal_that_it_handles_and_a_look_tells_nobody() {
    let process = Process::new("HUP USR1");
    let how = format!("SIGUSR1 to process {} (sh)", process.child.id());
    let usr1 = process.writer(Signal::Usr1);
    assert_eq!(usr1.preview_notify(PLENTY).await.expect("a look").how, how);
    let hup = process.writer(Signal::Hup);
    hup.notify(PLENTY).await.expect("told");
    until("it was told", || !process.told().is_empty());
    assert_eq!(process.told(), ["HUP"], "the look before told nobody");
    assert_eq!(usr1.notify(PLENTY).await.expect("told").how, how);
    until("it was told", || process.told().len() == 2);
    assert_eq!(process.told(), ["HUP", "USR1"]);
}

#[tokio::test]
async fn a_process_that_the_signal_would_end_is_left_alone() {
    let mut process = Process::new("HUP");
    let text = refused(&*process.writer(Signal::Usr2)).await;
    assert!(text.contains("does not handle SIGUSR2"), "{text}");
    assert!(process.child.try_wait().expect("it").is_none(), "it lives");
}

#[tokio::test]
async fn a_process_that_is_gone_is_told_apart_from_one_that_is_refused() {
    let mut process = Process::new("HUP");
    let hup = process.writer(Signal::Hup);
    process.child.kill().expect("its end");
    // It has ended, and nobody has asked for its end yet.
    let pid = process.child.id();
    until("it has ended", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    });
    for () in [(), ()] {
        let error = hup.notify(PLENTY).await.expect_err("it is gone");
        assert!(matches!(error, WriterError::NotRunning(_)), "{error:?}");
        process.child.wait().expect("its end");
    }
    fs::remove_file(process.pidfile()).expect("its file");
    let error = hup.notify(PLENTY).await.expect_err("it is gone");
    assert!(
        matches!(&error, WriterError::NotRunning(text) if text.contains("there is no")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_older_than_the_process_names_another_one() {
    let process = Process::new("HUP");
    let file = fs::File::options()
        .write(true)
        .open(process.pidfile())
        .expect("it");
    let hour = Duration::from_secs(3_600);
    file.set_modified(std::time::SystemTime::now() - hour)
        .expect("a time");
    let text = refused(&*process.writer(Signal::Hup)).await;
    assert!(text.contains("left from an earlier one"), "{text}");
    assert_eq!(process.told(), [""; 0]);
}

#[tokio::test]
async fn the_first_process_sereno_itself_and_nonsense_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("app.pid");
    let own = std::process::id().to_string();
    for (content, expected) in [
        ("0", "does not begin with"),
        ("1\n", "starts all others"),
        (own.as_str(), "sereno itself"),
        ("-1", "does not begin with"),
        ("+5", "does not begin with"),
        ("", "does not begin with"),
        ("12 34", "does not begin with"),
        ("99999999999999999999", "does not begin with"),
        ("\u{665}", "does not begin with"),
    ] {
        fs::write(&path, content).expect("a file");
        let text = refused(&*writer(&path, Signal::Hup)).await;
        assert!(text.contains(expected), "{content:?}: {text}");
    }
}

#[tokio::test]
async fn a_file_that_others_could_have_written_names_nobody() {
    let process = Process::new("HUP");
    let (hup, path) = (process.writer(Signal::Hup), process.pidfile());
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    for bad in [0o666, 0o664, 0o620] {
        mode(&path, bad);
        let text = refused(&*hup).await;
        assert!(text.contains("others may write"), "{bad:o}: {text}");
    }
    mode(&path, 0o644);
    for bad in [0o777, 0o775, 0o1777] {
        mode(process.folder.path(), bad);
        let text = refused(&*hup).await;
        assert!(text.contains("others may write"), "{bad:o}: {text}");
    }
    mode(process.folder.path(), 0o755);
    chown(&path, Some(12_345), None).expect("these tests run as root");
    let text = refused(&*hup).await;
    assert!(text.contains("belongs to uid 12345"), "{text}");
    chown(&path, Some(0), None).expect("root's again");
    chown(process.folder.path(), Some(12_345), None).expect("another's");
    let text = refused(&*hup).await;
    assert!(text.contains("belongs to uid 12345"), "{text}");
    chown(process.folder.path(), Some(0), None).expect("root's again");
    let link = process.folder.path().join("link.pid");
    symlink(&path, &link).expect("a link");
    let text = refused(&*writer(&link, Signal::Hup)).await;
    assert!(text.contains("is a link"), "{text}");
    let twin = process.folder.path().join("twin.pid");
    fs::hard_link(&path, &twin).expect("a link");
    let text = refused(&*hup).await;
    assert!(text.contains("one name"), "{text}");
    fs::remove_file(twin).expect("it");
    assert_eq!(process.told(), [""; 0]);
    hup.notify(PLENTY).await.expect("all is well again");
    until("it was told", || process.told() == ["HUP"]);
}

#[tokio::test]
async fn a_hook_runs_without_the_runners_secrets_and_a_look_only_finds_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let out = folder.path().join("out");
    let script = folder.path().join("reopen.sh");
    let text = format!("#!/bin/sh\n{{ pwd; echo \"$@\"; env; }} > {}\n", out.display());
    fs::write(&script, text).expect("a script");
    let argv = [script.to_str().expect("text"), "--all", "$(id) ; x"];
    let reopen = hook(&argv, PLENTY);
    let error = reopen.preview_notify(PLENTY).await.expect_err("not executable");
    assert!(
        matches!(&error, WriterError::Invalid(text) if text.contains("chmod +x")),
        "{error:?}"
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    assert_eq!(
        reopen.preview_notify(PLENTY).await.expect("a look").how,
        argv.join(" ")
    );
    assert!(!out.exists(), "a look runs nothing");
    reopen.notify(PLENTY).await.expect("told");
    let said = fs::read_to_string(&out).expect("its output");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["/", "--all $(id) ; x"]);
    let names: Vec<&str> = lines[2..]
        .iter()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(
        names
            .iter()
            .all(|name| ["PATH", "LANG", "PWD", "_", "SHLVL", "OLDPWD"].contains(name)),
        "{names:?}"
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o777)).expect("a mode");
    let text = refused(&*reopen).await;
    assert!(text.contains("others may write"), "{text}");
}

#[tokio::test]
async fn a_hook_that_fails_or_never_ends_is_told_and_nothing_of_it_lives_on() {
    let bad = hook(
        &["/bin/sh", "-c", "echo one >&2; echo no such pid >&2; exit 3"],
        PLENTY,
    );
    let error = bad.notify(PLENTY).await.expect_err("it failed");
    assert!(
        matches!(&error, WriterError::Failed(text) if text.ends_with("exit status: 3: no such pid")),
        "{error:?}"
    );
    let folder = tempfile::tempdir().expect("a temporary directory");
    let pid = folder.path().join("pid");
    let endless = format!("sleep 600 & echo $! > {}; wait", pid.display());
    let time = Duration::from_millis(1_500);
    let began = Instant::now();
    let error = hook(&["/bin/sh", "-c", &endless], time)
        .notify(PLENTY)
        .await
        .expect_err("it never ends");
    assert_eq!(error, WriterError::Timeout { within: time });
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let left = fs::read_to_string(&pid).expect("its child").trim().to_owned();
    until("what the hook started is gone", || {
        fs::read_to_string(format!("/proc/{left}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    let missing = hook(&["/nowhere/reopen"], PLENTY).notify(PLENTY).await;
    assert!(matches!(missing, Err(WriterError::Invalid(_))), "{missing:?}");
}
