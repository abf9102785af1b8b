//! Command-line sessions: `tests/cli/<case>/session.txt` is what a person types and sees, and the test types it again.
//!
//! A case is data: `sereno.toml`, optionally `files` (a path and an age in hours a line) and `app.sql` (what the SQLite
//! database `app.db` holds), and the session. What differs from run to run is replaced: run ids by RUN, times by TIME,
//! durations by N ms, the folder by DIR, the one that programs are built in by TARGET.
//! `SERENO_BLESS=1` writes the sessions anew; look at the difference before you commit it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use sereno_core::name::RunId;
use sereno_tests::house::{plugins_folder, program};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

#[tokio::test]
async fn sessions_go_as_they_are_written() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli");
    let mut names: Vec<_> = fs::read_dir(&cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert!(names.len() >= 4, "the cases are there: {names:?}");
    let bless = std::env::var_os("SERENO_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in names {
        let wanted = fs::read_to_string(case.join("session.txt")).unwrap();
        let found = play(&case, &wanted).await;
        if bless {
            fs::write(case.join("session.txt"), &found).unwrap();
        } else if found != wanted {
            wrong.push(format!(
                "{}\n--- written\n{wanted}\n--- found\n{found}",
                case.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// How a run ended and where it came from are the same texts in its report, in its list and at its end.
#[tokio::test]
async fn programs_read_one_shape_of_a_run() {
    let folder = stage(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/grant-removed")).await;
    let read = |words: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&sereno(folder.path(), words).stdout).unwrap()
    };
    let report = read(&["run", "temp-files", "--json"]);
    let stored = read(&["runs", "show", report["run"].as_str().unwrap(), "--json"]);
    let list = read(&["runs", "list", "--json"]);
    let jobs = read(&["jobs", "list", "--json"]);
    for run in [&report, &stored, &list["runs"][0], &jobs["jobs"][0]["last"]] {
        assert_eq!(
            (&run["outcome"], &run["reason"]),
            (&"refused(grant)".into(), &"manual".into())
        );
    }
    assert_eq!(report, stored);
    assert!(
        report["message"]
            .as_str()
            .unwrap()
            .ends_with("directory.temp = [\"read\", \"remove\"]")
    );
}

/// A fresh copy of a case.
async fn stage(case: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    fs::copy(case.join("sereno.toml"), home.join("sereno.toml")).unwrap();
    std::os::unix::fs::symlink(plugins_folder().unwrap(), home.join("plugins")).unwrap();
    if let Ok(files) = fs::read_to_string(case.join("files")) {
        files.lines().for_each(|line| write_file(home, line));
    }
    if let Ok(sql) = fs::read_to_string(case.join("app.sql")) {
        database(home, &sql).await;
    }
    folder
}

/// The program, run in `home` with these words.
fn sereno(home: &Path, words: &[impl AsRef<OsStr>]) -> Output {
    Command::new(program().unwrap())
        .args(words)
        .current_dir(home)
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env_remove("SERENO_CONFIG")
        .env_remove("SERENO_FORMAT")
        .output()
        .unwrap()
}

/// Types every `$ sereno ...` line of `session` in a fresh copy of the case, and answers the session as it went.
async fn play(case: &Path, session: &str) -> String {
    let folder = stage(case).await;
    let home = folder.path().canonicalize().unwrap();
    let mut plan = String::new();
    let mut found = String::new();
    for line in session.lines().filter(|line| line.starts_with("$ ")) {
        let words = words(&line["$ ".len()..].replace("RUN", &plan)).unwrap();
        found.extend([line, "\n"]);
        let (text, code) = match words[0].as_str() {
            "sereno" => {
                let output = sereno(&home, &words[1..]);
                let text = [output.stdout, output.stderr].concat();
                (String::from_utf8(text).unwrap(), output.status.code().unwrap())
            }
            "ls" => (list(&home.join(&words[1])), 0),
            other => panic!("a session knows `sereno` and `ls`, not {other:?}"),
        };
        if let Some(run) = run_id(&text) {
            plan = run;
        }
        found.push_str(&replaced(&text, &home));
        if code != 0 {
            writeln!(found, "[exit {code}]").unwrap();
        }
        found.push('\n');
    }
    found
}

/// Splits as a shell does, as far as documents and sessions need it: single quotes, and comments.
pub(super) fn words(command: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in command.chars() {
        match letter {
            '\'' => quoted = !quoted,
            '#' if !quoted && words.last().is_some_and(String::is_empty) => break,
            ' ' if !quoted => words.push(String::new()),
            '|' | '>' | '<' | ';' | '&' | '"' | '\\' | '$' | '`' if !quoted => {
                return Err(format!("`{command}` needs a shell"));
            }
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// Makes the SQLite database `app.db`.
pub(super) async fn database(home: &Path, sql: &str) {
    let url = format!("sqlite://{}/app.db?mode=rwc", home.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
    let sql = sqlx::AssertSqlSafe(sql);
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The run that a command's output is about.
pub(super) fn run_id(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .windows(2)
        .filter(|pair| matches!(pair[0], "plan" | "run"))
        .find_map(|pair| id(pair[1].trim_end_matches(',')))
}

/// The run id that `text` starts with: ten of the characters that ids are made of.
fn id(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    word.parse::<RunId>().ok().map(String::from)
}

/// Names in order, one a line.
fn list(folder: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap() + "\n")
        .collect();
    names.sort();
    names.concat()
}

/// `path hours`: a file whose last write was so long ago.
fn write_file(home: &Path, line: &str) {
    let (path, hours) = line.split_once(' ').unwrap();
    let path = home.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, line).unwrap();
    let age = Duration::from_secs(hours.parse::<u64>().unwrap() * 3_600);
    let times = FileTimes::new().set_modified(SystemTime::now() - age);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(times)
        .unwrap();
}

/// The text with what no two runs share replaced, word by word.
fn replaced(text: &str, home: &Path) -> String {
    let program = program().unwrap();
    let target = program.ancestors().nth(2).unwrap();
    let text = text
        .replace(&home.display().to_string(), "DIR")
        .replace(&target.display().to_string(), "TARGET");
    let mut lines = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut shown: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        for (at, word) in words.iter().enumerate() {
            let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let before = at.saturating_sub(1);
            match bare {
                _ if id(bare).is_some() => shown[at] = word.replace(bare, "RUN"),
                _ if is_date(bare) && !bare.starts_with("2099") => {
                    shown[at] = word.replace(bare, "DATE");
                    if words.get(at + 1).is_some_and(|next| next.contains(':')) {
                        "TIME".clone_into(&mut shown[at + 1]);
                    }
                }
                "ms" | "s" => {
                    "N".clone_into(&mut shown[before]);
                    shown[at] = word.replace(bare, "ms");
                }
                "" if *word == "%" && line.contains("disk.") => "N".clone_into(&mut shown[before]),
                _ => {}
            }
        }
        lines.push_str(shown.join(" ").trim_end());
        lines.push('\n');
    }
    lines
}

fn is_date(word: &str) -> bool {
    let mut parts = word.split('-');
    let digits = |part: Option<&str>, count: usize| {
        part.is_some_and(|part| part.len() == count && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next(), 4) && digits(parts.next(), 2) && digits(parts.next(), 2) && parts.next().is_none()
}
