//! Asks AWS for a parameter or a secret; which reference means what is `secrets`.
//!
//! Two operations of two services, over the client and the signature that are linked anyway: an SDK for each would add
//! megabytes to a function that starts cold. (Systems Manager API, `GetParameter`; Secrets Manager API, `GetSecretValue`.)

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sereno_core::reference::Reference;

use crate::aws::{Service, region_of};
use crate::post::Poster;

/// A run waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who is asked; nothing is opened before the first reference.
#[derive(Clone)]
pub(super) struct Cloud(Arc<Poster>);

impl Default for Cloud {
    fn default() -> Self {
        Self(Arc::new(Poster::new(TIMEOUT)))
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

impl Cloud {
    /// What the reference stands for, or why nobody tells.
    pub(super) async fn ask(&self, reference: &Reference) -> Result<String, String> {
        match reference {
            Reference::Ssm(path) => {
                let asked = json!({ "Name": path, "WithDecryption": true });
                let answer = self.call("ssm", "AmazonSSM.GetParameter", path, &asked).await?;
                text(&answer["Parameter"]["Value"]).ok_or_else(|| "it has no value".to_owned())
            }
            Reference::SecretsManager { id, key } => {
                let asked = json!({ "SecretId": id });
                let answer = self
                    .call("secretsmanager", "secretsmanager.GetSecretValue", id, &asked)
                    .await?;
                let secret = text(&answer["SecretString"])
                    .ok_or_else(|| "it is binary; keep it as text".to_owned())?;
                match key {
                    None => Ok(secret),
                    Some(key) => field(&secret, key),
                }
            }
            Reference::Env { .. } | Reference::File(_) => Err("it is kept on this machine".to_owned()),
        }
    }

    async fn call(
        &self,
        service: &'static str,
        target: &str,
        name: &str,
        body: &Json,
    ) -> Result<Json, String> {
        let service = Service::new(service, region_of(name), None);
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target),
        ];
        let answer = service.post(&self.0, &headers, body.to_string()).await?;
        serde_json::from_str(&answer).map_err(|_| "the answer is no JSON".to_owned())
    }
}

/// One field of a secret that is a JSON object.
fn field(secret: &str, key: &str) -> Result<String, String> {
    let whole: Json = serde_json::from_str(secret)
        .map_err(|_| format!("the secret is no JSON object, so it has no `{key}`; leave `#{key}` out"))?;
    match &whole[key] {
        Json::Number(number) => Ok(number.to_string()),
        value => text(value).ok_or_else(|| format!("the secret has no text or number called `{key}`")),
    }
}

fn text(value: &Json) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_text_or_a_number_and_nothing_of_a_secret_is_told_when_it_is_not_there() {
        let secret = r#"{"url":"postgres://hunter2","port":5432,"empty":"","deep":{"x":"hunter2"}}"#;
        assert_eq!(field(secret, "url").as_deref(), Ok("postgres://hunter2"));
        assert_eq!(field(secret, "port").as_deref(), Ok("5432"));
        for (secret, key) in [
            (secret, "empty"),
            (secret, "deep"),
            (secret, "other"),
            ("hunter2", "url"),
        ] {
            let reason = field(secret, key).expect_err(key);
            assert!(reason.contains(key) && !reason.contains("hunter2"), "{reason}");
        }
    }
}
