//! `doctor`: whether everything that the configuration names is there and as jobs will want it, each with the next step.
//!
//! It looks and changes nothing. Mistakes in the configuration itself are `validate`'s, doubts about schedules `schedule lint`'s.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{Datelike, TimeDelta};
use sereno_core::config::{self, Dialect};
use sereno_core::dispatch::Services;
use sereno_core::grant::Verb;
use sereno_core::job::{Config, SecretText};
use sereno_core::name::TargetName;
use sereno_core::place::Place;
use sereno_core::ports::database::DatabaseError;
use sereno_core::report::Severity;
use sereno_core::run::Work;
use sereno_core::schedule::database_version;
use sereno_core::timetable::doubts;
use sereno_core::units::{show_bytes, show_duration};

use super::check::{Reach, configuration, mistakes};
use super::source;
use crate::args::{Doctor, Global};
use crate::compose;
use crate::config_source::Source;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::doctor::{Finding, State, json, text};

/// Exit codes: something is wrong; something is out of reach.
const WRONG: u8 = 1;
const UNREACHABLE: u8 = 7;

/// The oldest server whose catalogue is known.
const SERVER_MIN: u32 = 12;

/// A clock that is further off shifts cutoffs noticeably; past the second one runs are refused.
const SKEW_NOTED: TimeDelta = TimeDelta::seconds(5);
const SKEW_REFUSED: TimeDelta = TimeDelta::seconds(60);

/// A disk that is fuller than this has no room for what jobs write first and remove later.
const DISK_FULL_PERCENT: u64 = 90;

pub(super) async fn doctor(global: &Global, args: &Doctor, output: &Output) -> Result<u8, Failure> {
    let source = source(global)?;
    let config = configuration(&source, output).await?;
    let services = compose::offline(Arc::clone(&config))?;
    let mut found = vec![time_zones(&services)];
    found.extend(secrets(&source, &config).await);
    found.push(ledger(&config).await);
    for name in config.databases.keys() {
        found.extend(database(&config, name).await);
    }
    found.extend(rights(&source).await?);
    for name in config.directories.keys() {
        found.push(disk(&services, name).await);
    }
    found.extend(plugins(&services).await);
    found.extend(schedules(&config, &services));
    let shown: Vec<&Finding> = found
        .iter()
        .filter(|finding| args.all || output.verbose > 0 || finding.state != State::Well || !output.is_text())
        .collect();
    if output.is_text() {
        output.data(&text(&shown, found.len(), output.paint))?;
    } else {
        output.documents("findings", shown.into_iter().map(json).collect())?;
    }
    let any = |state: State| found.iter().any(|finding| finding.state == state);
    Ok(if any(State::Unreachable) {
        UNREACHABLE
    } else if any(State::Wrong) {
        WRONG
    } else {
        0
    })
}

fn time_zones(services: &Services) -> Finding {
    let version = database_version();
    let found = Finding::well("time zones", format!("IANA database {version}, built in"));
    let year = version.get(..4).and_then(|year| year.parse::<i32>().ok());
    match year {
        Some(year) if services.clock.now().year() > year + 1 => found.becomes(
            State::Doubtful,
            "the rules of some zones have changed since: take a newer release of sereno",
        ),
        _ => found,
    }
}

/// Every reference in the configuration, by where it stands.
async fn secrets(source: &Source, config: &Config) -> Vec<Finding> {
    let values = config::origins(&source.text, &source.folder).unwrap_or_default();
    let mut found = Vec::new();
    let mut count = 0_usize;
    for value in values {
        let text = value.value.trim_matches('"');
        if !text.contains("${") {
            continue;
        }
        count += 1;
        if let Err(reason) = compose::resolves(config, &SecretText::new(text)).await {
            found.push(Finding::well(&value.key, reason).becomes(
                State::Wrong,
                "set it where sereno runs, or give it a default: `${env:NAME:-…}`",
            ));
        }
    }
    if found.is_empty() && count > 0 {
        found.push(Finding::well(
            "secrets",
            format!("all {count} references resolve"),
        ));
    }
    found
}

async fn ledger(config: &Config) -> Finding {
    match compose::history(config).await {
        Ok(_) => Finding::well("ledger", "within reach"),
        Err(failure) => Finding::of_failure("ledger", failure),
    }
}

async fn database(config: &Config, name: &TargetName) -> Vec<Finding> {
    let mut found = Vec::new();
    let target = &config.databases[name];
    let mut ways = vec![("url", &target.url)];
    ways.extend(target.upkeep_url.as_ref().map(|url| ("upkeep_url", url)));
    for (key, url) in ways {
        let at = format!("database.{name}.{key}");
        let looked = match compose::look(config, url).await {
            Ok(Some(looked)) => looked,
            // Left blank: the other way is taken.
            Ok(None) => continue,
            Err(error @ DatabaseError::Unreachable { .. }) => {
                found.push(Finding::well(&at, error.to_string()).becomes(
                    State::Unreachable,
                    "look whether the server runs, and whether this machine may reach it",
                ));
                continue;
            }
            Err(error) => {
                found.push(
                    Finding::well(&at, error.to_string())
                        .becomes(State::Wrong, "look at the URL, its role and its password"),
                );
                continue;
            }
        };
        let role = looked.role.as_ref();
        let who = role.map_or(String::new(), |role| format!(", as {}", role.name));
        found.push(Finding::well(
            &at,
            format!(
                "{}{who}, answers in {}",
                looked.server,
                show_duration(looked.took)
            ),
        ));
        let mut tell =
            |state, text: String, next: &str| found.push(Finding::well(&at, text).becomes(state, next));
        if target.dialect() == Dialect::Postgres && looked.major < SERVER_MIN {
            tell(
                State::Wrong,
                format!("{} is older than {SERVER_MIN}", looked.server),
                "upgrade the server",
            );
        }
        if role.is_some_and(|role| role.is_superuser) {
            tell(
                State::Wrong,
                "its role is a superuser: a trigger on any table that jobs delete from would have all its power".to_owned(),
                &format!("make the roles that `sereno roles --database {name}` prints"),
            );
        } else if let Some(role) = role.filter(|role| role.owns > 0 && key == "url" && !target.scratch) {
            tell(
                State::Doubtful,
                format!(
                    "its role owns {} tables: no grant bounds what it may do with them",
                    role.owns
                ),
                &format!("make the roles that `sereno roles --database {name}` prints"),
            );
        }
        if looked.is_replica {
            tell(
                State::Doubtful,
                "the server only follows another one: nothing can be changed here".to_owned(),
                "name the primary in the URL",
            );
        }
        if looked.shares_sessions {
            tell(
                State::Wrong,
                "a pooler between gives sessions away after each transaction, which upkeep and cancelling need for themselves"
                    .to_owned(),
                "reach the server directly, or set the pooler to session mode",
            );
        }
        if let Some(ahead) = looked.ahead.filter(|ahead| ahead.abs() > SKEW_NOTED) {
            let state = if ahead.abs() > SKEW_REFUSED {
                State::Wrong
            } else {
                State::Doubtful
            };
            let by = show_duration(ahead.abs().to_std().unwrap_or_default());
            let way = if ahead > TimeDelta::zero() {
                "ahead of"
            } else {
                "behind"
            };
            tell(
                state,
                format!("its clock is {by} {way} this machine's"),
                "let both follow a time server (chrony, systemd-timesyncd)",
            );
        }
        let is_backed_up = config.jobs.values().any(|job| {
            let mut grants = job.grants.0.iter();
            grants.any(|(path, verbs)| path.database() == Some(name) && verbs.contains(&Verb::Backup))
        });
        if is_backed_up && key == "url" && target.dialect() == Dialect::Postgres {
            found.push(match compose::client_programs(config, looked.major).await {
                Ok(there) => Finding::well("backup", there),
                Err(reason) => Finding::well("backup", reason).becomes(
                    State::Wrong,
                    &format!("install postgresql-client-{} where backups run", looked.major),
                ),
            });
        }
    }
    found
}

/// What jobs lack on what they name: tables, columns, rights, directories.
async fn rights(source: &Source) -> Result<Vec<Finding>, Failure> {
    let reading = config::read(&source.text, &source.folder);
    let missing = mistakes(&reading, Reach::Online).await?;
    if missing.is_empty() {
        return Ok(vec![Finding::well(
            "rights",
            "every job has what it needs on what it names",
        )]);
    }
    let found = missing.into_iter().map(|mistake| {
        let line = mistake
            .line(&source.text)
            .map_or(String::new(), |line| format!(":{line}"));
        let at = format!("{}{line}", source.file.display());
        Finding::well(&at, mistake.message).becomes(
            State::Wrong,
            &mistake
                .hint
                .unwrap_or_else(|| "`sereno validate --online` shows where".to_owned()),
        )
    });
    Ok(found.collect())
}

async fn disk(services: &Services, name: &TargetName) -> Finding {
    let at = format!("directory.{name}");
    let usage = match services.targets.directory(name).await {
        Ok(directory) => directory.usage().await,
        Err(error) => Err(error),
    };
    let usage = match usage {
        Ok(usage) => usage,
        Err(error) => {
            return Finding::well(&at, error.to_string()).becomes(
                State::Wrong,
                "make it, or mount it, for the user that sereno runs as",
            );
        }
    };
    let (Some(total), Some(free)) = (usage.bytes_total, usage.bytes_free) else {
        return Finding::well(&at, "there; its file system does not say how full it is");
    };
    let used = total.saturating_sub(free).saturating_mul(100) / total.max(1);
    let found = Finding::well(
        &at,
        format!("its disk is {used} % full, {} free", show_bytes(free)),
    );
    if used > DISK_FULL_PERCENT {
        found.becomes(State::Doubtful, "make room before the next run needs some")
    } else {
        found
    }
}

async fn plugins(services: &Services) -> Vec<Finding> {
    let names: BTreeSet<_> = services
        .config
        .jobs
        .values()
        .map(|job| job.plugin.clone())
        .collect();
    let mut found = Vec::new();
    for name in names {
        let at = format!("plugin.{name}");
        found.push(match services.plugins.inspect(&name).await {
            Ok(plugin) => {
                let digest: String = plugin.digest.chars().take(12).collect();
                Finding::well(
                    &at,
                    format!("version {}, sha256 {digest}…", plugin.manifest.version),
                )
            }
            Err(error) => Finding::of_failure(&at, error.into()),
        });
    }
    found
}

fn schedules(config: &Config, services: &Services) -> Vec<Finding> {
    let warnings = doubts(config, services.clock.now())
        .into_iter()
        .filter(|doubt| doubt.severity > Severity::Info)
        .count();
    let mut found = Vec::new();
    found.push(match warnings {
        0 => Finding::well("schedules", "nothing is doubtful about them"),
        count => Finding::well("schedules", format!("{count} of them are doubtful"))
            .becomes(State::Doubtful, "`sereno schedule lint` says which"),
    });
    let on_lambda = config.scheduled().into_iter().any(|(work, _)| {
        config.place(&work) == Place::Lambda && matches!(work, Work::Job(_) | Work::Round(_))
    });
    if on_lambda && config.ledger_url.reference().starts_with("sqlite:") {
        found.push(
            Finding::well("ledger", "a job runs on Lambda, where no file outlives a run").becomes(
                State::Wrong,
                "name a PostgreSQL database: `[ledger] url = \"postgres://…\"`",
            ),
        );
    }
    found
}
