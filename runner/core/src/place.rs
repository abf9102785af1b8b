//! Where a job runs: on Lambda, in a container, or on either, by what it was granted.
//!
//! Lambda has no directory, no file and no process of this machine's own, and no programs for backups. Starting jobs
//! there is the triggers' business; here it is only told whose they are.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::grant::{Grants, Path, Verb};
use crate::job::{Config, Scope};
use crate::run::Work;

/// Where a job or a round may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On either.
    #[default]
    Any,
    /// On Lambda only: its operator said so.
    Lambda,
    /// In a process of its own: `serve`, a `CronJob`, a line of a crontab.
    Container,
}

impl Place {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Lambda => "lambda",
            Self::Container => "container",
        }
    }

    /// The place called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Any, Self::Lambda, Self::Container]
            .into_iter()
            .find(|place| place.as_str() == text)
    }

    /// True when what runs here may run at `there`, which is one of the two.
    pub fn takes(self, there: Self) -> bool {
        self == Self::Any || self == there
    }

    /// Where both can run; none: nowhere.
    pub fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, place) | (place, Self::Any) => Some(place),
            (one, another) => (one == another).then_some(one),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Config {
    /// What keeps a job with these grants from running on Lambda, as the end of a sentence. None: nothing.
    pub fn bound_to_container(&self, grants: &Grants) -> Option<String> {
        grants.0.iter().find_map(|(path, verbs)| self.binds(path, verbs))
    }

    fn binds(&self, path: &Path, verbs: &BTreeSet<Verb>) -> Option<String> {
        let of_host = |scope: Option<Scope>| scope.is_none_or(|scope| scope == Scope::Host);
        if let Some(verb) = verbs
            .iter()
            .find(|verb| matches!(verb, Verb::Backup | Verb::Restore))
        {
            return Some(format!("`{verb}` runs the database's own programs"));
        }
        match path {
            Path::Directory(name) => of_host(self.directories.get(name).map(|target| target.scope))
                .then(|| format!("directory.{name} is one machine's own")),
            Path::Storage(name) => of_host(self.storages.get(name).map(|target| target.scope))
                .then(|| format!("storage.{name} is one machine's own")),
            Path::Writer(name) => Some(format!("writer.{name} is a process of one machine")),
            Path::Origin(_) => None,
            Path::Table(name, _) | Path::AllTables(name) | Path::Whole(name) | Path::Query(name, _) => self
                .databases
                .get(name)
                .is_some_and(crate::job::DatabaseTarget::is_of_host)
                .then(|| format!("database.{name} is a file of one machine")),
        }
    }

    /// Where `work` runs: a job where it says, a round where its most restricted job does. Nothing that has mistakes or
    /// is not there runs anywhere else than in a container.
    pub fn place(&self, work: &Work) -> Place {
        match work {
            Work::Job(name) => self.jobs.get(name).map_or(Place::Container, |job| job.on),
            Work::Round(name) => self.rounds.get(name).map_or(Place::Container, |round| {
                round
                    .steps
                    .iter()
                    .filter_map(|step| self.jobs.get(&step.job))
                    .try_fold(Place::Any, |place, job| place.and(job.on))
                    .unwrap_or(Place::Container)
            }),
        }
    }

    /// Why `work` does not run on Lambda, for people.
    pub fn why_in_container(&self, work: &Work) -> String {
        let reason = |name| {
            let job = self.jobs.get(name)?;
            let said = || (job.on == Place::Container).then(|| "`on` says so".to_owned());
            self.bound_to_container(&job.grants).or_else(said)
        };
        let found = match work {
            Work::Job(name) => reason(name),
            Work::Round(name) => self.rounds.get(name).and_then(|round| {
                let mut steps = round.steps.iter();
                steps.find_map(|step| Some(format!("job `{}`: {}", step.job, reason(&step.job)?)))
            }),
        };
        found.unwrap_or_else(|| "`on` says so".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use super::*;

    const CONFIG: &str = r#"
version = 1
[database.app]
url = "${env:DATABASE_URL}"
[database.notes]
url = "sqlite://notes.db"
[directory.temp]
path = "/srv/app/temp"
[directory.uploads]
path = "/mnt/efs/uploads"
scope = "shared"
[storage.backups]
url = "s3://backups"
[job.purge]
plugin = "row-retention"
grant = { database.app.tables.rows = ["read", "delete"] }
[job.notes]
plugin = "row-retention"
grant = { database.notes.tables.rows = ["read", "delete"] }
[job.backup]
plugin = "backup"
grant = { database.app.whole = ["backup"], storage.backups = ["read", "write", "remove"] }
[job.temp]
plugin = "temp-files"
grant = { directory.temp = ["read", "remove"] }
[job.uploads]
plugin = "temp-files"
grant = { directory.uploads = ["read", "remove"] }
[job.here]
plugin = "row-retention"
on = "container"
grant = { database.app.tables.rows = ["read", "delete"] }
[round.light]
jobs = ["purge", "uploads"]
[round.heavy]
jobs = ["backup", "purge"]
"#;

    #[test]
    fn what_a_job_was_granted_says_where_it_runs() {
        let config = crate::config::parse(CONFIG, FilePath::new("/srv")).expect("no mistakes");
        let place = |work: &str| {
            let work = match work.strip_prefix("round ") {
                Some(round) => Work::Round(round.parse().expect("a name")),
                None => Work::Job(work.parse().expect("a name")),
            };
            let place = config.place(&work);
            let why = (place == Place::Container).then(|| config.why_in_container(&work));
            (place, why)
        };
        let container = |why: &str| (Place::Container, Some(why.to_owned()));
        assert_eq!(place("purge"), (Place::Any, None));
        assert_eq!(place("uploads"), (Place::Any, None));
        assert_eq!(
            place("notes"),
            container("database.notes is a file of one machine")
        );
        assert_eq!(
            place("backup"),
            container("`backup` runs the database's own programs")
        );
        assert_eq!(place("temp"), container("directory.temp is one machine's own"));
        assert_eq!(place("here"), container("`on` says so"));
        assert_eq!(place("round light"), (Place::Any, None));
        assert_eq!(
            place("round heavy"),
            container("job `backup`: `backup` runs the database's own programs")
        );
    }

    #[test]
    fn a_job_cannot_be_sent_where_it_cannot_run() {
        let wrong = CONFIG
            .replace("[job.temp]\n", "[job.temp]\non = \"lambda\"\n")
            .replace("[job.purge]\n", "[job.purge]\non = \"lambda\"\n");
        let mistakes = crate::config::parse(&wrong, FilePath::new("/srv")).expect_err("two mistakes");
        let found: Vec<(&str, &str)> = mistakes
            .iter()
            .map(|mistake| (mistake.code, mistake.message.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "bad-place",
                    "job `temp` cannot run on Lambda: directory.temp is one machine's own"
                ),
                (
                    "bad-place",
                    "round `heavy` runs nowhere: job `backup` runs in a container only, job `purge` on Lambda only"
                ),
            ]
        );
    }
}
