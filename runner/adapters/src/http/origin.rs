//! One origin: puts the operator's headers to a plugin's request, sends it, and reads the answer within its bounds.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use sereno_core::ports::http::{Bounds, HttpError, HttpOrigin};
use sereno_core::web::{Answer, Method, Origin, Question, is_header_told, is_header_value};

use super::client::{client, reason_of, refusal};
use crate::secrets::Secret;

/// Headers of an answer that are kept at most, and one value's bytes.
const HEADERS_MAX: usize = 32;
const HEADER_BYTES_MAX: usize = 1 << 10;

/// An origin as it was configured, references resolved.
pub struct Options {
    /// Scheme, host and port.
    pub url: Secret,
    /// It may be this machine's or its network's, and unencrypted.
    pub allow_private: bool,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
}

struct WebOrigin {
    origin: Origin,
    client: Client,
    headers: HeaderMap,
}

impl fmt::Debug for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebOrigin({})", self.origin)
    }
}

/// An origin, ready to be asked. Nothing connects yet.
///
/// # Errors
/// It is none, or one that nobody may be sent to, or a header is none.
pub fn open(options: &Options) -> Result<Arc<dyn HttpOrigin>, HttpError> {
    let origin = Origin::parse(options.url.expose(), options.allow_private)
        .map_err(|error| HttpError::Invalid(format!("its url: {}; {}", error.problem, error.hint)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let bad = || HttpError::Invalid(format!("its header {name} is not one line of printable ASCII"));
        let value = value.expose();
        if !is_header_value(value) {
            return Err(bad());
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value);
    }
    let client = client(options.allow_private)
        .map_err(|error| HttpError::Invalid(format!("no client could be made: {}", reason_of(&error))))?;
    Ok(Arc::new(WebOrigin {
        origin,
        client,
        headers,
    }))
}

#[async_trait]
impl HttpOrigin for WebOrigin {
    async fn send(&self, question: &Question, bounds: Bounds) -> Result<Answer, HttpError> {
        tokio::time::timeout(bounds.time, self.ask(question, bounds.bytes))
            .await
            .unwrap_or(Err(HttpError::Timeout { within: bounds.time }))
    }

    async fn preview_send(&self, _question: &Question, _bounds: Bounds) -> Result<Answer, HttpError> {
        Ok(Answer {
            status: StatusCode::NO_CONTENT.as_u16(),
            ..Answer::default()
        })
    }
}

impl WebOrigin {
    async fn ask(&self, question: &Question, limit: u64) -> Result<Answer, HttpError> {
        // The path was checked, and begins with one slash: nothing in it can move the end of the host.
        let url = format!("{}{}", self.origin, question.path());
        let mut request = match question.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url).body(question.body.clone()),
        };
        for (name, value) in question.headers() {
            request = request.header(name, value);
        }
        // After the plugin's, and instead of them.
        let response = request.headers(self.headers.clone()).send().await;
        read(response.map_err(|error| unreached(&error))?, limit).await
    }
}

async fn read(mut response: Response, limit: u64) -> Result<Answer, HttpError> {
    let status = response.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        let to = response.headers().get(reqwest::header::LOCATION);
        let to = to.and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        let to: String = to.chars().take(200).collect();
        return Err(HttpError::Refused(format!(
            "it redirects to {to} ({}), and redirects are not followed; if that is where it is now, write it as `url`",
            status.as_u16()
        )));
    }
    if response.content_length().is_some_and(|bytes| bytes > limit) {
        return Err(HttpError::TooLong { limit });
    }
    let headers = response
        .headers()
        .iter()
        .filter(|(name, _)| is_header_told(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .filter(|(_, value)| value.len() <= HEADER_BYTES_MAX)
        .take(HEADERS_MAX)
        .collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreached(&error))? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(HttpError::TooLong { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: status.as_u16(),
        headers,
        body,
    })
}

fn unreached(error: &reqwest::Error) -> HttpError {
    if let Some(refused) = refusal(error) {
        return HttpError::Refused(format!(
            "{refused}; if it is a server of your own network, write `allow_private = true`"
        ));
    }
    let operation = if error.is_connect() {
        "connect"
    } else if error.is_body() || error.is_decode() {
        "read its answer"
    } else {
        "send the request"
    };
    HttpError::Unreachable {
        operation,
        reason: reason_of(error),
    }
}
