//! What a process that stays is told: where it listens, how much it does at once, who may ask it for what.
//!
//! Reading it from `sereno.toml` is `config::serve`; doing it is the triggers'.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::SecretText;
use crate::name::TargetName;
use crate::run::digest;

/// `[serve]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSettings {
    /// Where the HTTP API is; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// No tick starts later than this after its time; how much later is the same each time for the same work.
    pub jitter: Duration,
    /// Runs at once; none: as many as the machine has cores.
    pub max_runs: Option<u32>,
    /// Of those on the same database.
    pub runs_per_database: u32,
    /// How long runs at work may take to end once the process is told to stop.
    pub drain: Duration,
    /// `[serve.token.NAME]`, by name.
    pub tokens: BTreeMap<TargetName, Token>,
}

/// What a caller proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Itself by reference, or its hash in plain text.
    pub secret: SecretText,
    /// What it is good for.
    pub role: Role,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Run, plan, apply, cancel, pause, resume and reload too.
    Operate,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Operate => "operate",
        })
    }
}

/// Before the hash of a token; what follows are 64 hexadecimal digits.
pub const HASH_PREFIX: &str = "sha256:";

/// Shorter tokens could be guessed.
pub const TOKEN_CHARS_MIN: usize = 20;

/// The hash of a token, from the token itself or from `sha256:…`. None when it is neither: a hash that is none, a token
/// that is too short or holds what no header can.
pub fn hash_of_token(text: &str) -> Option<String> {
    if let Some(hash) = text.strip_prefix(HASH_PREFIX) {
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        return is_hash.then(|| hash.to_ascii_lowercase());
    }
    let is_token = text.len() >= TOKEN_CHARS_MIN && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| digest(text.as_bytes()))
}
