//! A database's URL in the words of PostgreSQL's own tools: environment variables, so that nothing of it stands in a list of
//! processes.

use percent_encoding::percent_decode_str;
use sereno_core::ports::backup::BackupError;
use url::Url;

/// What the server's own lists call the tools.
const APPLICATION_NAME: &str = "sereno-backup";

/// Seconds to wait for a server to answer.
const CONNECT_SECONDS: &str = "10";

/// The URL's parameters that the tools know too, with the variable that each is.
const PARAMETERS: [(&str, &str); 14] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("options", "PGOPTIONS"),
    ("sslmode", "PGSSLMODE"),
    ("ssl-mode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("ssl-root-cert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("ssl-cert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

/// The variables that lead a tool to where `url` leads.
pub(super) fn environment(url: &str) -> Result<Vec<(&'static str, String)>, BackupError> {
    let unusable = || BackupError::Invalid("the database's URL is not one that can be used".to_owned());
    let url = Url::parse(url).map_err(|_| unusable())?;
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map_err(|_| unusable())?;
        Ok::<_, BackupError>(text.into_owned())
    };
    let mut found = vec![
        ("PGAPPNAME", APPLICATION_NAME.to_owned()),
        ("PGCONNECT_TIMEOUT", CONNECT_SECONDS.to_owned()),
    ];
    if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
        found.push(("PGHOST", decoded(host)?));
    }
    if let Some(port) = url.port() {
        found.push(("PGPORT", port.to_string()));
    }
    if !url.username().is_empty() {
        found.push(("PGUSER", decoded(url.username())?));
    }
    if let Some(password) = url.password() {
        found.push(("PGPASSWORD", decoded(password)?));
    }
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() {
        found.push(("PGDATABASE", decoded(database)?));
    }
    for (name, value) in url.query_pairs() {
        if let Some((_, variable)) = PARAMETERS.iter().find(|(known, _)| *known == name) {
            found.retain(|(other, _)| other != variable);
            found.push((variable, value.into_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_what_the_tools_read() {
        let mut found = environment(
            "postgres://ana:p%40ss%2Fw@localhost:5433/app%20one?host=/tmp/sockets&sslmode=disable&statement-cache-capacity=0",
        )
        .expect("a URL");
        found.sort_unstable();
        let pairs: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("PGAPPNAME", "sereno-backup"),
                ("PGCONNECT_TIMEOUT", "10"),
                ("PGDATABASE", "app one"),
                ("PGHOST", "/tmp/sockets"),
                ("PGPASSWORD", "p@ss/w"),
                ("PGPORT", "5433"),
                ("PGSSLMODE", "disable"),
                ("PGUSER", "ana"),
            ]
        );
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_told() {
        let error = environment("postgres//ana:hunter2")
            .expect_err("no URL")
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
