//! Reads references to secrets (`${env:X}`) inside a parsed configuration value, so that a mistake in one is found
//! before anything is opened.
//!
//! It resolves nothing: that is the secrets adapter's work, at the moment a value is used. Errors never repeat the
//! text around a reference, which may be a secret itself.

/// One piece of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Stands as it is.
    Text(String),
    /// Stands for something kept elsewhere.
    Reference(Reference),
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `${env:NAME}` or `${env:NAME:-default}`; the default also stands for a variable that is empty.
    Env {
        /// The variable.
        name: String,
        /// May be empty.
        default: Option<String>,
    },
    /// `${file:/run/secrets/x}`: the file's text without its last line break. A relative path starts from the
    /// configuration's folder.
    File(String),
    /// `${ssm:/path}`: a parameter of AWS Systems Manager.
    Ssm(String),
    /// `${secretsmanager:id#key}`: a field of a secret of AWS Secrets Manager, or all of it without `#key`.
    SecretsManager {
        /// The secret's name or ARN.
        id: String,
        /// Which field of its JSON.
        key: Option<String>,
    },
}

/// Why a value's references cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ReferenceError {
    /// Where the reference starts, in bytes of the value.
    pub at: usize,
    /// What is wrong, as a fragment.
    pub problem: String,
    /// What to write instead.
    pub hint: &'static str,
}

const HINT: &str = "write `${env:NAME}`, `${env:NAME:-default}`, `${file:/run/secrets/name}`, `${ssm:/path}` or \
                    `${secretsmanager:id#key}`";

/// Splits a value into text and references. A `$` without `{` is text.
pub fn parse(text: &str) -> Result<Vec<Part>, ReferenceError> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("${").map(|offset| at + offset) {
        if start > at {
            parts.push(Part::Text(text[at..start].to_owned()));
        }
        let refuse = |problem: String| ReferenceError {
            at: start,
            problem,
            hint: HINT,
        };
        let inside = start + 2;
        let end = text[inside..]
            .find('}')
            .map(|offset| inside + offset)
            .ok_or_else(|| refuse("a reference is not closed with `}`".to_owned()))?;
        parts.push(Part::Reference(read(&text[inside..end]).map_err(refuse)?));
        at = end + 1;
    }
    if at < text.len() {
        parts.push(Part::Text(text[at..].to_owned()));
    }
    Ok(parts)
}

fn read(inside: &str) -> Result<Reference, String> {
    let Some((scheme, rest)) = inside.split_once(':') else {
        return Err("a reference does not say where to look".to_owned());
    };
    let reference = match scheme {
        "env" => {
            let (name, default) = match rest.split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (rest, None),
            };
            if !is_variable(name) {
                return Err("a reference to the environment does not name a variable".to_owned());
            }
            Reference::Env {
                name: name.to_owned(),
                default,
            }
        }
        "file" => Reference::File(rest.to_owned()),
        "ssm" => Reference::Ssm(rest.to_owned()),
        "secretsmanager" => match rest.split_once('#') {
            Some((id, key)) => Reference::SecretsManager {
                id: id.to_owned(),
                key: Some(key.to_owned()),
            },
            None => Reference::SecretsManager {
                id: rest.to_owned(),
                key: None,
            },
        },
        scheme if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase()) => {
            return Err(format!("references to `{scheme}` are not known"));
        }
        _ => return Err("a reference does not say where to look".to_owned()),
    };
    let blank = match &reference {
        Reference::Env { .. } => false,
        Reference::File(path) | Reference::Ssm(path) => path.trim().is_empty(),
        Reference::SecretsManager { id, key } => id.trim().is_empty() || key.as_deref() == Some(""),
    };
    if blank {
        Err(format!("a reference to `{scheme}` is blank"))
    } else {
        Ok(reference)
    }
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str, default: Option<&str>) -> Part {
        Part::Reference(Reference::Env {
            name: name.to_owned(),
            default: default.map(str::to_owned),
        })
    }

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    #[test]
    fn references_and_text_mix() {
        assert_eq!(
            parse("postgres://app:${file:/run/secrets/pw}@${env:HOST:-db}/app"),
            Ok(vec![
                text("postgres://app:"),
                Part::Reference(Reference::File("/run/secrets/pw".to_owned())),
                text("@"),
                env("HOST", Some("db")),
                text("/app"),
            ])
        );
        assert_eq!(
            parse("${env:A}${env:_B1:-}"),
            Ok(vec![env("A", None), env("_B1", Some(""))])
        );
        assert_eq!(
            parse("${env:LEDGER:-sqlite://sereno.db}"),
            Ok(vec![env("LEDGER", Some("sqlite://sereno.db"))])
        );
    }

    #[test]
    fn clouds_keep_secrets_too() {
        assert_eq!(
            parse("${ssm:/sereno/url}"),
            Ok(vec![Part::Reference(Reference::Ssm("/sereno/url".to_owned()))])
        );
        for (written, id, key) in [
            ("${secretsmanager:prod/db#url}", "prod/db", Some("url")),
            ("${secretsmanager:arn:aws:x}", "arn:aws:x", None),
        ] {
            let (id, key) = (id.to_owned(), key.map(str::to_owned));
            assert_eq!(
                parse(written),
                Ok(vec![Part::Reference(Reference::SecretsManager { id, key })])
            );
        }
    }

    #[test]
    fn a_value_without_references_is_itself() {
        assert_eq!(parse(""), Ok(vec![]));
        for plain in ["sqlite://sereno.db", "$", "pa$$w0rd}", "a$b{c}"] {
            assert_eq!(parse(plain), Ok(vec![text(plain)]));
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_without_the_text_around_it() {
        for (bad, at, problem) in [
            ("hunter2${env:X", 7, "a reference is not closed with `}`"),
            (
                "hunter2${env:}",
                7,
                "a reference to the environment does not name a variable",
            ),
            (
                "${env:1X}",
                0,
                "a reference to the environment does not name a variable",
            ),
            (
                "${env:A B}",
                0,
                "a reference to the environment does not name a variable",
            ),
            (
                "${env:X:default}",
                0,
                "a reference to the environment does not name a variable",
            ),
            ("${hunter2}", 0, "a reference does not say where to look"),
            ("${}", 0, "a reference does not say where to look"),
            ("${hunter2:}", 0, "a reference does not say where to look"),
            ("${vault:hunter2}", 0, "references to `vault` are not known"),
            ("${file:}", 0, "a reference to `file` is blank"),
            ("${ssm: }", 0, "a reference to `ssm` is blank"),
            (
                "${secretsmanager:#hunter2}",
                0,
                "a reference to `secretsmanager` is blank",
            ),
            (
                "${secretsmanager:id#}",
                0,
                "a reference to `secretsmanager` is blank",
            ),
        ] {
            let error = parse(bad).expect_err(bad);
            assert_eq!((error.at, error.problem.as_str()), (at, problem), "{bad}");
            assert!(!format!("{error} {}", error.hint).contains("hunter2"), "{bad}");
        }
    }
}
