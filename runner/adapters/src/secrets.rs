//! Resolves references to secrets (`${env:X}`, `${file:/run/secrets/x}`, `${ssm:/x}`) at the moment a value is used.
//!
//! Errors name the reference, never what it stands for. Nothing is cached: a rotated secret is read anew. How a cloud is
//! asked is `cloud`.

#[cfg(feature = "aws")]
mod cloud;

use std::collections::BTreeMap;
use std::env::VarError;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sereno_core::reference::{Part, Reference, ReferenceError, parse};

/// No secret is longer; `${file:/dev/zero}` ends here.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Why a value's references could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// They cannot even be read.
    #[error("{0}")]
    Syntax(#[from] ReferenceError),
    /// There is no such variable, and no default.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The variable is blank, and there is no default.
    #[error("the environment variable {0} is empty; write `${{env:{0}:-}}` where that is meant")]
    Empty(String),
    /// The variable or the file is not UTF-8.
    #[error("{0} is not text")]
    NotText(String),
    /// The file cannot be read, or is no secret.
    #[error("could not read the secret in {}: {reason}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// In the system's words.
        reason: String,
    },
    /// A cloud did not tell.
    #[error("could not read {reference}: {reason}")]
    Cloud {
        /// As it is written.
        reference: String,
        /// Without what was answered.
        reason: String,
    },
}

/// A value with its references resolved: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Where references are looked up.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
    /// None: the process's own.
    environment: Option<BTreeMap<String, String>>,
    #[cfg(feature = "aws")]
    cloud: cloud::Cloud,
}

impl Secrets {
    /// Looks into the process's environment; relative paths start from `folder`, the configuration's.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            environment: None,
            #[cfg(feature = "aws")]
            cloud: cloud::Cloud::default(),
        }
    }

    /// Looks into `environment` instead.
    #[must_use]
    pub fn with_environment(self, environment: BTreeMap<String, String>) -> Self {
        Self {
            environment: Some(environment),
            ..self
        }
    }

    /// The folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `text` with every reference replaced. What a reference stands for is not looked at again.
    ///
    /// # Errors
    /// Whatever keeps one of them from being read.
    pub async fn resolve(&self, text: &str) -> Result<Secret, SecretError> {
        let mut value = String::new();
        for part in parse(text)? {
            match part {
                Part::Text(text) => value.push_str(&text),
                Part::Reference(Reference::Env { name, default }) => {
                    value.push_str(&self.variable(&name, default)?);
                }
                Part::Reference(Reference::File(path)) => value.push_str(&read(&self.folder.join(path))?),
                Part::Reference(reference @ (Reference::Ssm(_) | Reference::SecretsManager { .. })) => {
                    let told = self.ask(&reference).await;
                    value.push_str(&told.map_err(|reason| SecretError::Cloud {
                        reference: written(&reference),
                        reason,
                    })?);
                }
            }
        }
        Ok(Secret(value))
    }

    #[cfg(feature = "aws")]
    async fn ask(&self, reference: &Reference) -> Result<String, String> {
        self.cloud.ask(reference).await
    }

    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "its twin asks a server")]
    async fn ask(&self, _reference: &Reference) -> Result<String, String> {
        Err(
            "this program was built without the feature `aws`; use `${env:NAME}` or `${file:PATH}`"
                .to_owned(),
        )
    }

    fn variable(&self, name: &str, default: Option<String>) -> Result<String, SecretError> {
        let found = match &self.environment {
            Some(environment) => environment.get(name).cloned(),
            None => match std::env::var(name) {
                Ok(value) => Some(value),
                Err(VarError::NotPresent) => None,
                Err(VarError::NotUnicode(_)) => {
                    return Err(SecretError::NotText(format!("the environment variable {name}")));
                }
            },
        };
        match (found, default) {
            (Some(value), _) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default),
            (Some(_), None) => Err(SecretError::Empty(name.to_owned())),
            (None, None) => Err(SecretError::Unset(name.to_owned())),
        }
    }
}

/// A cloud's reference as the configuration has it.
fn written(reference: &Reference) -> String {
    match reference {
        Reference::Ssm(path) => format!("${{ssm:{path}}}"),
        Reference::SecretsManager { id, key: None } => format!("${{secretsmanager:{id}}}"),
        Reference::SecretsManager { id, key: Some(key) } => format!("${{secretsmanager:{id}#{key}}}"),
        Reference::Env { name, .. } => format!("${{env:{name}}}"),
        Reference::File(path) => format!("${{file:{path}}}"),
    }
}

/// The file's text without its last line break, which editors and `echo` add.
fn read(path: &Path) -> Result<String, SecretError> {
    let refuse = |reason: String| SecretError::File {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::NotText(path.display().to_string()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        Err(refuse("it is empty".to_owned()))
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(folder: &Path) -> Secrets {
        let environment = [("HOST", "db.internal"), ("BLANK", ""), ("NESTED", "${env:HOST}")];
        let owned = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Secrets::new(folder).with_environment(owned.into())
    }

    async fn resolve(text: &str) -> Result<String, String> {
        let resolved = secrets(Path::new("/nonexistent")).resolve(text).await;
        resolved
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn files_variables_and_text_make_one_value() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("pw"), "hunter2\n").expect("a file");
        std::fs::write(folder.path().join("crlf"), "a\nb\r\n").expect("a file");
        let absolute = format!("${{file:{}}}", folder.path().join("pw").display());
        for (text, value) in [
            (
                "postgres://app:${file:pw}@${env:HOST}/app",
                "postgres://app:hunter2@db.internal/app",
            ),
            (absolute.as_str(), "hunter2"),
            ("${file:crlf}", "a\nb"),
        ] {
            let secret = secrets(folder.path()).resolve(text).await.expect(text);
            assert_eq!(secret.expose(), value);
            assert_eq!(format!("{secret:?}"), "<redacted>");
        }
    }

    #[tokio::test]
    async fn a_default_stands_for_a_missing_and_for_an_empty_variable() {
        assert_eq!(
            resolve("${env:HOST:-localhost}").await.as_deref(),
            Ok("db.internal")
        );
        assert_eq!(
            resolve("${env:MISSING:-localhost}").await.as_deref(),
            Ok("localhost")
        );
        assert_eq!(
            resolve("${env:BLANK:-localhost}").await.as_deref(),
            Ok("localhost")
        );
        assert_eq!(resolve("${env:MISSING:-}").await.as_deref(), Ok(""));
        assert_eq!(resolve("plain $text").await.as_deref(), Ok("plain $text"));
        assert_eq!(
            resolve("${env:NESTED}").await.as_deref(),
            Ok("${env:HOST}"),
            "values are not expanded again"
        );
    }

    #[tokio::test]
    async fn the_process_environment_is_the_usual_one() {
        let secrets = Secrets::new("/");
        let path = std::env::var("PATH").expect("cargo sets PATH");
        assert_eq!(
            secrets.resolve("${env:PATH}").await.expect("it is set").expose(),
            path
        );
    }

    #[tokio::test]
    async fn what_cannot_be_resolved_is_named_and_the_rest_of_the_value_is_not() {
        for (text, error) in [
            (
                "hunter2${env:MISSING}",
                "the environment variable MISSING is not set",
            ),
            (
                "hunter2${env:BLANK}",
                "the environment variable BLANK is empty; write `${env:BLANK:-}` where that is meant",
            ),
            (
                "hunter2${file:pw}",
                "could not read the secret in /nonexistent/pw: No such file or directory (os error 2)",
            ),
            ("hunter2${env:", "a reference is not closed with `}`"),
            ("hunter2${vault:x}", "references to `vault` are not known"),
        ] {
            assert_eq!(resolve(text).await, Err(error.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_secret_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("empty"), "\n").expect("a file");
        std::fs::write(folder.path().join("binary"), b"\xff\xfe").expect("a file");
        std::fs::write(folder.path().join("limit"), "x".repeat(64 << 10)).expect("a file");
        std::fs::write(folder.path().join("large"), "x".repeat((64 << 10) + 1)).expect("a file");
        let resolve = async |name: &str| secrets(folder.path()).resolve(&format!("${{file:{name}}}")).await;
        assert!(resolve("limit").await.is_ok());
        for (name, problem) in [
            ("empty", "it is empty"),
            ("binary", "is not text"),
            ("large", "it is larger than 65536 bytes"),
            (".", "Is a directory"),
        ] {
            let error = resolve(name).await.expect_err(name).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
