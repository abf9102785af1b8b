//! One HTTP request to a sink: bounded in time, no redirects, and errors without the URL.
//!
//! What it says is the sink's own business.

use std::sync::OnceLock;
use std::time::Duration;

use sereno_core::ports::sinks::SinkError;

use crate::http;

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

    /// Posts JSON.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: String,
    ) -> Result<(), SinkError> {
        let mut request = self
            .client()?
            .post(url)
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        answered(request.timeout(self.timeout).body(body).send().await)
    }

    /// Pings.
    pub(super) async fn get(&self, url: &str) -> Result<(), SinkError> {
        answered(self.client()?.get(url).timeout(self.timeout).send().await)
    }
}

fn answered(answer: Result<reqwest::Response, reqwest::Error>) -> Result<(), SinkError> {
    let status = answer.map_err(failed)?.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(SinkError::new(format!("the server answered {}", status.as_u16())))
    }
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
