//! Lambda on this machine: `cargo-lambda`'s emulator with the real AWS command line in front of it, a Runtime API of our own
//! for what the emulator cannot do (deadlines, the error path, the end of a sandbox), and the program as a function.
//!
//! Both are reached on this machine only and end with the process. It downloads nothing and never skips.

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::web::{Asked, Told, Web};

/// Where the tools are looked for before anything else: a folder with `emulator` and `aws`, each for Python's path.
const TOOLS_VARIABLE: &str = "SERENO_LAMBDA_TOOLS";

/// Below the build's own folder, where `scripts/setup test` puts them.
const TOOLS: &str = "lambda-tools";

/// Ends the emulator when its standard input ends, as for moto.
const WATCHDOG: &str = r#""$1" lambda watch --only-lambda-apis --invoke-address 127.0.0.1 --invoke-port "$2" & read -r nothing; kill $! "#;

/// What the emulator says when it listens.
const LISTENING: &str = "starting Runtime server";

/// Longer than any invocation of a test.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// What an invocation was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The payload.
    pub payload: Json,
    /// The function failed: the payload says why.
    pub is_error: bool,
}

/// The emulator.
#[derive(Debug)]
pub struct Emulator {
    folder: TempDir,
    tools: PathBuf,
    port: u16,
    _watchdog: Child,
    _until: ChildStdin,
}

impl Emulator {
    /// Starts one.
    ///
    /// # Errors
    /// The tools are not there, or it does not start.
    pub fn start() -> Result<Self> {
        let tools = find_tools()?;
        let folder = tempfile::tempdir()?;
        // It will not start anywhere else.
        fs::create_dir(folder.path().join("src"))?;
        fs::write(folder.path().join("src/main.rs"), "fn main() {}\n")?;
        let package =
            "[package]\nname = \"function\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(folder.path().join("Cargo.toml"), package)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh"])
            .arg(tools.join("emulator/bin/cargo-lambda"))
            .arg(port.to_string())
            .current_dir(folder.path())
            .env("NO_COLOR", "1")
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("could not start sh")?;
        let until = watchdog.stdin.take().context("it has a standard input")?;
        let mut log = BufReader::new(watchdog.stdout.take().context("it has a log")?);
        let mut said = String::new();
        while !said.contains(LISTENING) {
            if log.read_line(&mut said)? == 0 {
                bail!("cargo-lambda did not start: {said}");
            }
        }
        // Its log goes on, and must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self {
            folder,
            tools,
            port,
            _watchdog: watchdog,
            _until: until,
        })
    }

    /// As `AWS_LAMBDA_RUNTIME_API` has it.
    pub fn runtime_api(&self) -> String {
        format!("http://127.0.0.1:{}/.rt", self.port)
    }

    /// Invokes the function with the AWS command line, and waits for its answer.
    ///
    /// # Errors
    /// It could not be invoked; an error of the function's own is an [`Answer`].
    pub fn invoke(&self, payload: &Json) -> Result<Answer> {
        let folder = tempfile::tempdir_in(self.folder.path())?;
        let (input, output) = (folder.path().join("in.json"), folder.path().join("out.json"));
        fs::write(&input, payload.to_string())?;
        let invoked = Command::new("python3")
            .args(["-m", "awscli", "lambda", "invoke", "--function-name", "_"])
            .args(["--endpoint-url", &format!("http://127.0.0.1:{}", self.port)])
            .args(["--payload", &format!("file://{}", input.display())])
            .arg(&output)
            .env("PYTHONPATH", self.tools.join("aws"))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_PAGER", "")
            .output()
            .context("could not start python3")?;
        let said = String::from_utf8_lossy(&invoked.stdout);
        if !invoked.status.success() {
            bail!(
                "aws lambda invoke failed: {said}{}",
                String::from_utf8_lossy(&invoked.stderr)
            );
        }
        let said: Json = serde_json::from_str(&said)?;
        Ok(Answer {
            payload: serde_json::from_str(&fs::read_to_string(&output)?)?,
            is_error: said.get("FunctionError").is_some(),
        })
    }
}

fn find_tools() -> Result<PathBuf> {
    let has_them = |folder: &PathBuf| folder.join("emulator/bin/cargo-lambda").is_file();
    if let Some(folder) = env::var_os(TOOLS_VARIABLE) {
        return Ok(folder.into());
    }
    // The test itself lies in the build's folder, two or three folders down.
    let test = env::current_exe().context("could not find this test's own file")?;
    test.ancestors()
        .map(|folder| folder.join(TOOLS))
        .find(has_them)
        .with_context(|| {
            format!(
                "found no cargo-lambda; run `./just setup` to install it and the AWS command line, or set {TOOLS_VARIABLE} \
                 to the folder that has their Python packages (`emulator` and `aws`)"
            )
        })
}

/// A Runtime API of our own: hands out what it is given, each with a deadline.
pub struct Stub {
    web: Web,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    waiting: Mutex<VecDeque<(String, String, Duration)>>,
    came: Condvar,
    answers: Mutex<BTreeMap<String, Answer>>,
    answered: Condvar,
    extensions: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const INVOCATION: &str = "/2018-06-01/runtime/invocation/";

impl Stub {
    /// Starts one for one function process.
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let answering = Arc::clone(&state);
        Self {
            web: Web::new(move |asked| answering.answer(asked)),
            state,
        }
    }

    /// As `AWS_LAMBDA_RUNTIME_API` has it.
    pub fn runtime_api(&self) -> String {
        format!("127.0.0.1:{}", self.web.port())
    }

    /// Hands an event to the function, which has `time` for it.
    pub fn send(&self, id: &str, payload: &Json, time: Duration) {
        lock(&self.state.waiting).push_back((id.to_owned(), payload.to_string(), time));
        self.state.came.notify_all();
    }

    /// The answer to an event, once it is there.
    ///
    /// # Errors
    /// It never came.
    pub fn answer(&self, id: &str) -> Result<Answer> {
        let answers = lock(&self.state.answers);
        let (answers, _) = self
            .state
            .answered
            .wait_timeout_while(answers, ANSWER_MAX, |answers| !answers.contains_key(id))
            .unwrap_or_else(PoisonError::into_inner);
        answers
            .get(id)
            .cloned()
            .with_context(|| format!("{id} was not answered"))
    }

    /// Hands an event to the function and waits for its answer.
    ///
    /// # Errors
    /// It never came.
    pub fn invoke(&self, id: &str, payload: &Json, time: Duration) -> Result<Answer> {
        self.send(id, payload, time);
        self.answer(id)
    }

    /// The names of the extensions that were registered.
    pub fn extensions(&self) -> Vec<String> {
        lock(&self.state.extensions).clone()
    }
}

impl State {
    fn answer(&self, asked: &Asked) -> Told {
        let accepted = || Told::Whole(202, String::new(), b"{\"status\":\"OK\"}".to_vec());
        let (method, path) = asked.line.split_once(' ').unwrap_or_default();
        match (method, path, path.strip_prefix(INVOCATION)) {
            ("GET", _, Some("next")) => self.next(),
            ("POST", _, Some(rest)) => {
                let Some((id, kind)) = rest.split_once('/') else {
                    return Told::Whole(404, String::new(), Vec::new());
                };
                let answer = Answer {
                    payload: serde_json::from_slice(&asked.body).unwrap_or(Json::Null),
                    is_error: kind == "error",
                };
                lock(&self.answers).insert(id.to_owned(), answer);
                self.answered.notify_all();
                accepted()
            }
            ("POST", "/2020-01-01/extension/register", _) => {
                lock(&self.extensions).push(asked.header("lambda-extension-name").to_owned());
                let headers = "lambda-extension-identifier: 1\r\ncontent-type: application/json\r\n";
                let body =
                    br#"{"functionName":"_","functionVersion":"1","handler":"bootstrap","accountId":"1"}"#;
                Told::Whole(200, headers.to_owned(), body.to_vec())
            }
            ("GET", "/2020-01-01/extension/event/next", _) => Told::Silence,
            _ => Told::Whole(404, String::new(), Vec::new()),
        }
    }

    fn next(&self) -> Told {
        let waiting = lock(&self.waiting);
        let mut waiting = self
            .came
            .wait_while(waiting, |waiting| waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let Some((id, payload, time)) = waiting.pop_front() else {
            return Told::Silence;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let deadline = (now + time).as_millis();
        let headers = format!(
            "lambda-runtime-aws-request-id: {id}\r\nlambda-runtime-deadline-ms: {deadline}\r\n\
             lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:123456789012:function:_\r\n\
             lambda-runtime-trace-id: Root=1-0-0\r\ncontent-type: application/json\r\n"
        );
        Told::Whole(200, headers, payload.into_bytes())
    }
}

/// The program as Lambda starts it: without a word.
#[derive(Debug)]
pub struct Function {
    child: Child,
    log: PathBuf,
}

impl Function {
    /// Starts it in `folder`, which has its `sereno.toml`.
    ///
    /// # Errors
    /// The program or the plugins are not built.
    pub fn start(folder: &Path, runtime_api: &str) -> Result<Self> {
        let plugins = folder.join("plugins");
        if !plugins.exists() {
            std::os::unix::fs::symlink(crate::house::plugins_folder()?, plugins)?;
        }
        let log = folder.join(format!("function-{}.log", runtime_api.replace(['/', ':'], "-")));
        let child = Command::new(crate::house::program()?)
            .current_dir(folder)
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .env("AWS_LAMBDA_FUNCTION_NAME", "_")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("SERENO_CACHE_DIR", &crate::guests::guests().cache)
            .env_remove("SERENO_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("could not start the program")?;
        Ok(Self { child, log })
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends SIGKILL and waits for its end.
    ///
    /// # Errors
    /// It cannot be.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    /// Its id is none.
    pub fn terminate(&self) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(id, rustix::process::Signal::TERM)?)
    }

    /// Its exit code, once it has ended.
    ///
    /// # Errors
    /// It does not end.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let mut status = None;
        crate::wait::wait_for(
            || {
                status = self.child.try_wait().ok().flatten();
                status.is_some()
            },
            Duration::from_secs(30),
        );
        Ok(status
            .with_context(|| format!("it did not end: {}", self.log()))?
            .code())
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.kill();
    }
}
