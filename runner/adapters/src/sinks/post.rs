//! One HTTP request to a sink: bounded in time, no redirects, and errors without the URL.
//!
//! What it says is the sink's own business.

use std::sync::OnceLock;
use std::time::Duration;

use sereno_core::ports::sinks::SinkError;

use crate::http;

/// A reason is in the first lines of an answer.
const ANSWER_MAX: usize = 16 << 10;

const CONTENT_TYPE: &str = "content-type";

/// Makes the client at the first message: most commands send none.
pub(super) struct Poster {
    timeout: Duration,
    client: OnceLock<reqwest::Client>,
}

impl Poster {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Result<reqwest::Client, SinkError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        // An operator's own URL may be of this machine or its network.
        let client = http::client(true).map_err(|_| SinkError::new("there are no certificates to trust"))?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// Posts, as JSON unless a header says otherwise; answers what the server said, as much as matters of it.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: String,
    ) -> Result<String, SinkError> {
        let mut request = self.client()?.post(url);
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE))
        {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        answered(request.timeout(self.timeout).body(body).send().await).await
    }

    /// Pings.
    pub(super) async fn get(&self, url: &str) -> Result<(), SinkError> {
        answered(self.client()?.get(url).timeout(self.timeout).send().await)
            .await
            .map(drop)
    }
}

async fn answered(answer: Result<reqwest::Response, reqwest::Error>) -> Result<String, SinkError> {
    let mut answer = answer.map_err(failed)?;
    let status = answer.status();
    let mut said = Vec::new();
    while said.len() < ANSWER_MAX
        && let Ok(Some(more)) = answer.chunk().await
    {
        said.extend_from_slice(&more);
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    if status.is_success() {
        return Ok(said);
    }
    let status = status.as_u16();
    Err(SinkError::new(match code(&said) {
        Some(code) => format!("the server answered {status} ({code})"),
        None => format!("the server answered {status}"),
    }))
}

/// The code of an error as AWS's services give it, in XML or in JSON: a word, and never what was sent.
fn code(said: &str) -> Option<&str> {
    let between = |from: &str, to: &str| Some(said.split_once(from)?.1.split_once(to)?.0);
    let code = between("<Code>", "</Code>").or_else(|| {
        let text = between("\"__type\":", ",").or_else(|| between("\"__type\":", "}"))?;
        let text = text.trim().trim_matches('"');
        Some(text.rsplit_once('#').map_or(text, |(_, code)| code))
    })?;
    let is_word =
        (1..=64).contains(&code.len()) && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    is_word.then_some(code)
}

/// A URL may hold the secret itself.
fn failed(error: reqwest::Error) -> SinkError {
    let error = error.without_url();
    let reason = if error.is_timeout() {
        "the server did not answer in time"
    } else if error.is_connect() {
        "the server could not be reached"
    } else if error.is_builder() {
        "the URL or a header is none"
    } else {
        "the request failed"
    };
    SinkError::new(reason)
}
