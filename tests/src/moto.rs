//! One throw-away server that speaks AWS's protocols (moto, a Python package), for all tests of the process.
//!
//! It listens on this machine only, keeps everything in memory and ends with the process, however that ends. It downloads
//! nothing and never skips: without moto it fails with the command that installs it.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Where moto is looked for before anything else: a folder for Python's path.
const PACKAGES_VARIABLE: &str = "SERENO_MOTO";

/// Below the build's own folder, where `scripts/setup test` puts it.
const PACKAGES: &str = "moto-server";

/// Ends the server when its standard input ends: the kernel closes that pipe when the test process dies, even by SIGKILL.
const WATCHDOG: &str = r"python3 -m moto.server -H 127.0.0.1 -p 0 & read -r nothing; kill $! ";

/// What its log says before its address.
const ADDRESS_AFTER: &str = "Running on http://";

/// The server.
#[derive(Debug)]
pub struct Moto {
    address: String,
    _watchdog: Child,
    _until: ChildStdin,
}

/// The server of this process, started when it is first wanted.
pub fn shared() -> Result<&'static Moto> {
    static SHARED: OnceLock<Result<Moto, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| Moto::start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!(error.clone()))
}

impl Moto {
    fn start() -> Result<Self> {
        let packages = find_packages()?;
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG])
            .env("PYTHONPATH", packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not start sh")?;
        let until = watchdog.stdin.take().context("it has a standard input")?;
        let mut log = BufReader::new(watchdog.stderr.take().context("it has a log")?);
        let mut said = String::new();
        let address = loop {
            let before = said.len();
            if log.read_line(&mut said)? == 0 {
                bail!("moto did not start: {said}");
            }
            if let Some((_, address)) = said[before..].split_once(ADDRESS_AFTER) {
                break address.trim().to_owned();
            }
        };
        // Its log goes on, and must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self {
            address,
            _watchdog: watchdog,
            _until: until,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends one request, with the header `host` of the service that is meant, and answers the whole reply.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        self.send(method, path, "", body)
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        if !reply.starts_with("HTTP/1.1 2") {
            bail!("{method} {path} was answered {reply}");
        }
        Ok(reply)
    }

    /// Asks a service, as AWS's clients name it in what they sign. Headers are lines that end in `\r\n`.
    pub fn call(&self, service: &str, headers: &str, body: &str) -> Result<String> {
        let signed = format!(
            "authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=none\r\n{headers}"
        );
        self.send("POST", "/", &signed, body)
    }

    /// Makes a bucket of this name.
    pub fn make_bucket(&self, name: &str) -> Result<()> {
        self.ask("PUT", &format!("/{name}"), "").map(drop)
    }
}

/// The folder that has moto, and the Python packages beside it.
pub(crate) fn find_packages() -> Result<PathBuf> {
    let has_it = |folder: &PathBuf| folder.join("moto/server.py").is_file();
    if let Some(folder) = env::var_os(PACKAGES_VARIABLE) {
        return Ok(folder.into());
    }
    // The test itself lies in the build's folder, two or three folders down.
    let test = env::current_exe().context("could not find this test's own file")?;
    test.ancestors()
        .map(|folder| folder.join(PACKAGES))
        .find(has_it)
        .with_context(|| {
            format!(
                "found no moto; run `./just setup` to install it, or set {PACKAGES_VARIABLE} to the folder that has its \
                 Python packages"
            )
        })
}
