//! One HTTP request to a server of the operator's: bounded in time, no redirects, and errors without the URL.
//!
//! What it says is its caller's business: a sink's message, a question to a service of AWS. Requests of plugins are `http`.

use std::sync::OnceLock;
use std::time::Duration;

use crate::http;

/// A secret of AWS is half as long at most, and a reason is in the first lines.
const ANSWER_MAX: usize = 128 << 10;

/// Why there is no answer, as a fragment that names no secret.
pub(crate) type Unanswered = String;

const CONTENT_TYPE: &str = "content-type";

/// Makes the client at the first message: most commands send none.
pub(crate) struct Poster {
    timeout: Duration,
    client: OnceLock<reqwest::Client>,
}

impl Poster {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Result<reqwest::Client, Unanswered> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        // An operator's own URL may be of this machine or its network.
        let client = http::client(true).map_err(|_| "there are no certificates to trust")?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// Posts, as JSON unless a header says otherwise; answers what the server said, as much as matters of it.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: String,
    ) -> Result<String, Unanswered> {
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
    pub(crate) async fn get(&self, url: &str) -> Result<(), Unanswered> {
        answered(self.client()?.get(url).timeout(self.timeout).send().await)
            .await
            .map(drop)
    }
}

async fn answered(answer: Result<reqwest::Response, reqwest::Error>) -> Result<String, Unanswered> {
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
    Err(match code(&said) {
        Some(code) => format!("the server answered {status} ({code})"),
        None => format!("the server answered {status}"),
    })
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
fn failed(error: reqwest::Error) -> Unanswered {
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
    reason.to_owned()
}
