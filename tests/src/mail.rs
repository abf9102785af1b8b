//! A real mail server on this machine (aiosmtpd, a Python package), which keeps what it is given.
//!
//! It ends with the process, however that ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::moto::find_packages;

/// Speaks SMTP, and prints its port and then each letter as a line of JSON. Arguments: the port or 0, `none` or `starttls`
/// or `tls`, a file for the certificate it makes itself, and the user and password it asks for, if any.
const SERVER: &str = include_str!("mail.py");

/// A letter as it came in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Letter {
    /// Who sent it, as the envelope has it.
    pub from: String,
    /// Whom it was for, as the envelope has it.
    pub to: Vec<String>,
    /// Its header `Subject`, decoded.
    pub subject: String,
    /// Its header `Message-ID`.
    pub id: String,
    /// Its text.
    pub text: String,
    /// True when it came over TLS.
    pub private: bool,
    /// Who had logged in.
    pub user: Option<String>,
}

/// The server.
#[derive(Debug)]
pub struct MailServer {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    letters: Arc<Mutex<Vec<Letter>>>,
    process: Child,
    _until: ChildStdin,
}

impl MailServer {
    /// # Errors
    /// It does not start.
    pub fn start(port: u16, security: &str, certificate: &Path, login: Option<(&str, &str)>) -> Result<Self> {
        let mut command = Command::new("python3");
        command
            .args(["-c", SERVER, &port.to_string(), security])
            .arg(certificate)
            .env("PYTHONPATH", find_packages()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it thinks of certificates and passwords of tests is noise.
            .stderr(Stdio::null());
        if let Some((user, password)) = login {
            command.args([user, password]);
        }
        let mut process = command.spawn().context("could not start python3")?;
        let until = process.stdin.take().context("it has a standard input")?;
        let mut said = BufReader::new(process.stdout.take().context("it has an output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let Ok(port) = line.trim().parse() else {
            bail!("the mail server did not start");
        };
        let letters: Arc<Mutex<Vec<Letter>>> = Arc::default();
        let kept = Arc::clone(&letters);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let letter = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
            }
        });
        Ok(Self {
            port,
            letters,
            process,
            _until: until,
        })
    }

    /// All that it was given so far. It is given a letter before the sender hears so, and shows it a moment later.
    pub fn letters(&self) -> Vec<Letter> {
        self.letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
