//! Who this process is to AWS, and requests signed as such; which request is made is the caller's.
//!
//! Credentials are looked for where a bucket's are: `AWS_ACCESS_KEY_ID` and its neighbours, a container's or a Lambda's
//! role, a web identity, the machine's own role. Signature version 4 is the object store's, as is the search.

mod queue;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::post::{Poster, Unanswered};

pub use queue::Queue;

/// AWS's own default; every other server takes it too.
pub(crate) const REGION: &str = "us-east-1";

/// Another server than AWS, for every service of it.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL";

/// Why there is no signed request, as a sentence that names no secret.
type Unsigned = &'static str;

/// One service of AWS in one region, or a server that speaks like it.
pub(crate) struct Service {
    name: &'static str,
    region: String,
    url: String,
}

/// A POST, ready to be sent.
struct Signed {
    url: String,
    headers: Vec<(String, String)>,
}

/// The region that an ARN names, if this is one that does.
pub(crate) fn region_of(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split(':').collect();
    let is_arn = parts.first() == Some(&"arn");
    parts
        .get(3)
        .filter(|region| is_arn && !region.is_empty())
        .map(|region| (*region).to_owned())
}

impl Service {
    /// The service called `name` in signatures and in AWS's host names. `region`: by default `AWS_REGION`, else [`REGION`];
    /// `endpoint`: by default `AWS_ENDPOINT_URL`, else AWS.
    pub(crate) fn new(name: &'static str, region: Option<String>, endpoint: Option<String>) -> Self {
        let from_environment = || AmazonS3Builder::from_env().get_config_value(&AmazonS3ConfigKey::Region);
        let region = region
            .or_else(from_environment)
            .unwrap_or_else(|| REGION.to_owned());
        // China's partition has a domain of its own.
        let domain = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let url = endpoint
            .or_else(|| std::env::var(ENDPOINT_VARIABLE).ok())
            .filter(|url| !url.is_empty())
            .unwrap_or_else(|| format!("https://{name}.{region}.{domain}"));
        Self { name, region, url }
    }

    /// # Errors
    /// Credentials that are nowhere, or a URL or header that is none.
    async fn sign(&self, headers: &[(&'static str, &str)], body: &str) -> Result<Signed, Unsigned> {
        const NO_REQUEST: Unsigned = "the endpoint or a header of the request is none";
        let credential = self.credential().await?;
        let url = format!("{}/", self.url.trim_end_matches('/'));
        let mut request = HttpRequest::new(HttpRequestBody::from(body.to_owned()));
        *request.method_mut() = "POST".parse().map_err(|_| NO_REQUEST)?;
        *request.uri_mut() = url.parse().map_err(|_| NO_REQUEST)?;
        if request.uri().host().is_none() {
            return Err(NO_REQUEST);
        }
        for (name, value) in headers {
            let value = value.parse().map_err(|_| NO_REQUEST)?;
            request.headers_mut().insert(*name, value);
        }
        AwsAuthorizer::new(&credential, self.name, &self.region)
            .try_authorize(&mut request, None)
            .map_err(|_| "the request could not be signed")?;
        let headers = request.headers().iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        Ok(Signed {
            headers: headers.collect(),
            url,
        })
    }

    /// Signs and sends; answers what the service said.
    ///
    /// # Errors
    /// Whatever keeps the request from being made, sent or answered well.
    pub(crate) async fn post(
        &self,
        poster: &Poster,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Result<String, Unanswered> {
        let signed = self.sign(headers, &body).await?;
        poster.post(&signed.url, &signed.headers, body).await
    }

    async fn credential(&self) -> Result<std::sync::Arc<AwsCredential>, Unsigned> {
        const NO_CREDENTIALS: Unsigned = "found no credentials for AWS; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                                          give this machine a role";
        let store = AmazonS3Builder::from_env()
            .with_bucket_name("none")
            .with_region(&self.region)
            .build()
            .map_err(|_| NO_CREDENTIALS)?;
        store
            .credentials()
            .get_credential()
            .await
            .map_err(|_| NO_CREDENTIALS)
    }
}
