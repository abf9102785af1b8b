//! Holds a request against the configuration, the plugin's manifest and the targets' own catalogues, before
//! anything is leased or started. Every mistake at once; nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;
use std::sync::Arc;

use serde_json::Value as Json;

use super::consent::{hash, terms};
use super::{DispatchError, Problem, Services};
use crate::config::diagnostic::did_you_mean;
use crate::grant::{Authority, Denied, Interface, Need, Path, Verb};
use crate::job::{DatabaseTarget, Job, Scope};
use crate::manifest::{ParamKind, Reference, ReferenceKind, Sought};
use crate::name::{TableName, TargetName};
use crate::plan::{
    PlannedBackups, PlannedDatabase, PlannedDirectory, PlannedOrigin, PlannedSpace, PlannedStorage,
    PlannedWriter,
};
use crate::ports::backup::Backups;
use crate::ports::database::{Database, DatabaseError, Wanted};
use crate::ports::files::Directory;
use crate::ports::http::HttpOrigin;
use crate::ports::plugins::PluginInfo;
use crate::ports::storage::Storage;
use crate::ports::unreached::{UnreachedDatabase, UnreachedDirectory, UnreachedStorage};
use crate::ports::writer::Writer;
use crate::run::{Mode, RunRequest, Work};

/// A request that makes sense, as far as files and manifests can tell.
pub struct Examined {
    /// Its job.
    pub job: Job,
    /// Its plugin.
    pub plugin: PluginInfo,
    /// Defaults filled in, units normalised.
    pub params: Json,
    /// What the plugin asks for with these params.
    pub needs: Vec<Need>,
    /// Columns and indexes that the params name.
    pub references: Vec<Reference>,
    /// What it may do, or what is missing for it.
    pub authority: Result<Arc<Authority>, Vec<Denied>>,
    /// The targets it works on, sorted: `database.app`, `directory.temp`.
    pub targets: Vec<String>,
    /// Those that are this machine's own.
    pub host_scoped: BTreeSet<String>,
    /// All that consent to it is about: targets, params, grants, guards, needs.
    pub terms: Json,
    /// Their hash.
    pub consent: String,
}

impl Examined {
    /// The databases among the targets.
    pub fn databases(&self) -> BTreeSet<TargetName> {
        self.names(|path| match path {
            Path::Table(name, _) | Path::AllTables(name) | Path::Whole(name) | Path::Query(name, _) => {
                Some(name)
            }
            Path::Directory(_) | Path::Origin(_) | Path::Storage(_) | Path::Writer(_) => None,
        })
    }

    /// The directories among the targets.
    pub fn directories(&self) -> BTreeSet<TargetName> {
        self.names(|path| match path {
            Path::Directory(name) => Some(name),
            _ => None,
        })
    }

    /// The origins among the targets.
    pub fn origins(&self) -> BTreeSet<TargetName> {
        self.names(|path| match path {
            Path::Origin(name) => Some(name),
            _ => None,
        })
    }

    /// The storages among the targets.
    pub fn storages(&self) -> BTreeSet<TargetName> {
        self.names(|path| match path {
            Path::Storage(name) => Some(name),
            _ => None,
        })
    }

    /// The writers among the targets.
    pub fn writers(&self) -> BTreeSet<TargetName> {
        self.names(|path| match path {
            Path::Writer(name) => Some(name),
            _ => None,
        })
    }

    /// The databases of which tables may be rewritten, with the directory that shows their disk.
    fn disks(&self, services: &Services) -> BTreeMap<TargetName, TargetName> {
        let rewrites = self
            .needs
            .iter()
            .filter(|need| need.verbs.contains(&Verb::VacuumFull));
        rewrites
            .filter_map(|need| {
                let database = need.on.database()?;
                let target = services.config.databases.get(database)?;
                Some((database.clone(), target.data_directory_free.clone()?))
            })
            .collect()
    }

    /// True when the run changes nothing on the target that `on` is in.
    fn only_reads(&self, on: &Path) -> bool {
        let target = on.target();
        let mut needs = self.needs.iter().filter(|need| need.on.target() == target);
        needs.all(|need| need.verbs.iter().all(|verb| !verb.is_changing()))
    }

    fn names<'a>(&'a self, pick: impl Fn(&'a Path) -> Option<&'a TargetName>) -> BTreeSet<TargetName> {
        self.needs
            .iter()
            .filter_map(|need| pick(&need.on))
            .cloned()
            .collect()
    }
}

/// An event sets no param that its job does not list, whoever sent it.
fn only_event_params(job: &Job, request: &RunRequest) -> Result<(), DispatchError> {
    let wrong = request
        .params
        .keys()
        .filter(|name| !job.event_params.contains(name));
    let problems: Vec<Problem> = wrong
        .map(|name| {
            let hint = match job.event_params.as_slice() {
                [] => format!(
                    "its events set none; `event_params = [\"NAME\"]` under [job.{}] allows one",
                    job.name
                ),
                listed => format!("its events may set: {}", listed.join(", ")),
            };
            let name = name.escape_debug();
            Problem::new(
                format!("job.{}.event_params", job.name),
                format!("an event may not set the param `{name}`"),
                Some(hint),
            )
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(DispatchError::Usage(problems))
    }
}

/// Holds a request against configuration and manifest. Opens no target.
///
/// # Errors
/// Every mistake at once, or a plugin that cannot be read. A missing grant is not one of them: it is in
/// [`Examined::authority`], because it makes a refused run.
pub async fn examine(services: &Services, request: &RunRequest) -> Result<Examined, DispatchError> {
    let config = &services.config;
    let name = match &request.work {
        Work::Job(name) => name,
        Work::Round(name) => return Err(DispatchError::is_round(name)),
    };
    let job = config.job(name)?.clone();
    if request.reason.is_event() {
        only_event_params(&job, request)?;
    }
    let plugin = services.plugins.inspect(&job.plugin).await?;
    let mut given = job.params.clone();
    given.extend(request.params.clone());
    let at = |path: &str| format!("job.{}.params.{path}", job.name);
    let problems = |errors: Vec<crate::manifest::ParamError>| {
        DispatchError::Usage(
            errors
                .into_iter()
                .map(|error| Problem::new(at(&error.path), error.message, error.hint))
                .collect(),
        )
    };
    let params = plugin.manifest.settle_params(&given).map_err(problems)?;
    let mut needs = config.needs(&plugin.manifest, &params).map_err(problems)?;
    let references = plugin.manifest.references(&params).map_err(problems)?;
    needs.sort();
    let mut unknown = BTreeSet::new();
    let mut host_scoped = BTreeSet::new();
    for on in needs.iter().map(|need| &need.on) {
        let (section, name, is_host_scoped) = match on {
            Path::Directory(name) => {
                let found = config.directories.get(name);
                ("directory", name, found.map(|found| found.scope == Scope::Host))
            }
            Path::Origin(name) => ("origin", name, config.origins.get(name).map(|_| false)),
            Path::Storage(name) => {
                let found = config.storages.get(name);
                ("storage", name, found.map(|found| found.scope == Scope::Host))
            }
            Path::Writer(name) => ("writer", name, config.writers.get(name).map(|_| true)),
            Path::Table(name, _) | Path::AllTables(name) | Path::Whole(name) | Path::Query(name, _) => {
                let found = config.databases.get(name);
                ("database", name, found.map(DatabaseTarget::is_of_host))
            }
        };
        match is_host_scoped {
            Some(true) => drop(host_scoped.insert(on.target())),
            Some(false) => {}
            None => drop(unknown.insert((section, name))),
        }
    }
    if !unknown.is_empty() {
        let problem = |(section, name): (&str, &TargetName)| {
            let (sought, known): (_, Vec<&TargetName>) = match section {
                "database" => (Sought::Database(name), config.databases.keys().collect()),
                "origin" => (Sought::Origin(name), config.origins.keys().collect()),
                "storage" => (Sought::Storage(name), config.storages.keys().collect()),
                "writer" => (Sought::Writer(name), config.writers.keys().collect()),
                _ => (Sought::Directory(name), config.directories.keys().collect()),
            };
            let place = plugin.manifest.param_naming(&params, sought);
            let meant = did_you_mean(name.as_str(), known.iter().map(|name| name.as_str()));
            Problem::new(
                at(place.as_deref().unwrap_or_default()),
                format!("there is no `{section}.{name}`"),
                Some(meant.unwrap_or_else(|| format!("add a section `[{section}.{name}]`"))),
            )
        };
        return Err(DispatchError::Usage(unknown.into_iter().map(problem).collect()));
    }
    let mut targets: Vec<String> = needs.iter().map(|need| need.on.target()).collect();
    targets.sort();
    targets.dedup();
    let terms = terms(config, &job, &targets, &params, &needs);
    let consent = hash(&terms);
    let authority = Authority::resolve(needs.clone(), job.grants.clone())
        .map(|authority| Arc::new(authority.with_default_schemas(config.default_schemas())));
    Ok(Examined {
        job,
        plugin,
        params,
        needs,
        references,
        authority,
        targets,
        host_scoped,
        terms,
        consent,
    })
}

/// The opened targets of a run; in a plan, behind the decorators that change nothing.
#[derive(Clone, Default)]
pub struct Opened {
    /// By name.
    pub databases: BTreeMap<TargetName, Arc<dyn Database>>,
    /// By name.
    pub directories: BTreeMap<TargetName, Arc<dyn Directory>>,
    /// By name.
    pub origins: BTreeMap<TargetName, Arc<dyn HttpOrigin>>,
    /// By name.
    pub storages: BTreeMap<TargetName, Arc<dyn Storage>>,
    /// By name.
    pub writers: BTreeMap<TargetName, Arc<dyn Writer>>,
    /// By database: where its server keeps its data, for runs that need to know how much room there is.
    pub disks: BTreeMap<TargetName, Arc<dyn Directory>>,
    /// For a job that has to do with backups.
    pub backups: Option<Arc<dyn Backups>>,
    /// What kept targets from being opened that are only read: the port in such a target's place answers it.
    pub unreached: Arc<Vec<DispatchError>>,
    /// What the job may do, with every table named that a grant on all of them stands for.
    pub authority: Arc<Authority>,
}

/// Opens every target of an examined request and asks the catalogues for every table, column, index and right that
/// it will need. Changes nothing.
///
/// A target out of reach that the run only reads does not stop it, as long as another can be reached: what is unknown of
/// one is no reason to know nothing of all.
///
/// # Errors
/// Everything that is missing, at once; or a target that cannot be opened.
pub async fn preflight(
    services: &Services,
    examined: &Examined,
    mode: Mode,
) -> Result<Opened, DispatchError> {
    let mut opened = Opened {
        authority: examined.authority.clone().unwrap_or_default(),
        ..Opened::default()
    };
    let mut reasons = Vec::new();
    let space = Arc::new(PlannedSpace::default());
    for name in examined.directories() {
        let source = match services.targets.directory(&name).await {
            Ok(directory) => {
                let directory = match mode {
                    Mode::Plan => Arc::new(PlannedDirectory::new(directory, Arc::clone(&space))),
                    Mode::Apply => directory,
                };
                opened.directories.insert(name, directory);
                continue;
            }
            Err(source) => source,
        };
        let unreached =
            UnreachedDirectory::of(&source).filter(|_| examined.only_reads(&Path::Directory(name.clone())));
        let error = DispatchError::Directory {
            name: name.to_string(),
            source,
        };
        let Some(unreached) = unreached else {
            return Err(error);
        };
        reasons.push(error);
        opened.directories.insert(name, Arc::new(unreached));
    }
    for name in examined.origins() {
        let origin = services.targets.origin(&name).await;
        let origin = origin.map_err(|source| DispatchError::Origin {
            name: name.to_string(),
            source,
        })?;
        let asks_only = services
            .config
            .origins
            .get(&name)
            .is_some_and(|target| target.query);
        let origin = match mode {
            Mode::Plan if !asks_only => Arc::new(PlannedOrigin::new(origin)),
            _ => origin,
        };
        opened.origins.insert(name, origin);
    }
    for name in examined.storages() {
        let source = match services.targets.storage(&name).await {
            Ok(storage) => {
                let storage = match mode {
                    Mode::Plan => Arc::new(PlannedStorage::new(storage)),
                    Mode::Apply => storage,
                };
                opened.storages.insert(name, storage);
                continue;
            }
            Err(source) => source,
        };
        let unreached =
            UnreachedStorage::of(&source).filter(|_| examined.only_reads(&Path::Storage(name.clone())));
        let error = DispatchError::Storage {
            name: name.to_string(),
            source,
        };
        let Some(unreached) = unreached else {
            return Err(error);
        };
        reasons.push(error);
        opened.storages.insert(name, Arc::new(unreached));
    }
    for name in examined.writers() {
        let writer = services.targets.writer(&name).await;
        let writer = writer.map_err(|source| DispatchError::Writer {
            name: name.to_string(),
            source,
        })?;
        let writer = match mode {
            Mode::Plan => Arc::new(PlannedWriter::new(writer)),
            Mode::Apply => writer,
        };
        opened.writers.insert(name, writer);
    }
    for (database, name) in examined.disks(services) {
        let disk = services.targets.directory(&name).await;
        let disk = disk.map_err(|source| DispatchError::Directory {
            name: name.to_string(),
            source,
        })?;
        opened.disks.insert(database, disk);
    }
    if examined
        .needs
        .iter()
        .any(|need| need.interface == Interface::Backup)
    {
        opened.backups = services.targets.backups().map(|backups| match mode {
            Mode::Plan => Arc::new(PlannedBackups::new(backups)) as Arc<dyn Backups>,
            Mode::Apply => backups,
        });
    }
    let mut problems = Vec::new();
    let mut authority = Authority::clone(&opened.authority);
    for name in examined.databases() {
        let source = match reach(services, examined, mode, &name, &mut problems).await {
            Ok(database) => {
                if authority.asks_for_all(&name) {
                    let tables = database.tables().await;
                    let tables = tables.map_err(|source| DispatchError::Database {
                        name: name.to_string(),
                        source,
                    })?;
                    authority = authority.naming_all(&name, tables);
                }
                let database = match mode {
                    Mode::Plan => Arc::new(PlannedDatabase::new(database)),
                    Mode::Apply => database,
                };
                opened.databases.insert(name, database);
                continue;
            }
            Err(source) => source,
        };
        let unreached = UnreachedDatabase::of(&source, services.clock.now())
            .filter(|_| examined.only_reads(&Path::Whole(name.clone())));
        let error = DispatchError::Database {
            name: name.to_string(),
            source,
        };
        let Some(unreached) = unreached else {
            return Err(error);
        };
        reasons.push(error);
        opened.databases.insert(name, Arc::new(unreached));
    }
    if opened.origins.is_empty()
        && opened.writers.is_empty()
        && reasons.len() == opened.databases.len() + opened.directories.len() + opened.storages.len()
        && let Some(error) = reasons.pop()
    {
        return Err(error);
    }
    opened.unreached = Arc::new(reasons);
    opened.authority = Arc::new(authority);
    if problems.is_empty() {
        Ok(opened)
    } else {
        Err(DispatchError::Usage(problems))
    }
}

/// Opens a database and asks it for all that the run will need of it.
async fn reach(
    services: &Services,
    examined: &Examined,
    mode: Mode,
    name: &TargetName,
    problems: &mut Vec<Problem>,
) -> Result<Arc<dyn Database>, DatabaseError> {
    let database = services.targets.database(name).await?;
    let wanted = wanted(examined, name);
    if !database.missing(&wanted).await?.is_empty() {
        // One by one: only so is it known which of them is missing, and where that is written.
        for want in &wanted {
            for missing in database.missing(from_ref(want)).await? {
                let text = format!("there is no {}", missing.what);
                if !problems.iter().any(|problem| problem.message == text) {
                    let place = place(services, examined, name, want);
                    problems.push(Problem::new(place, text, Some(missing.hint)));
                }
            }
        }
    }
    if problems.is_empty() && mode == Mode::Apply {
        for (table, verbs) in verbs_by_table(examined, name) {
            let verbs: Vec<Verb> = verbs.into_iter().collect();
            for missing in database.rights_missing(&table, &verbs).await? {
                let on = Path::Table(name.clone(), table.clone());
                problems.push(Problem::new(
                    format!("job.{}.grant.{on}", examined.job.name),
                    missing.what,
                    Some(missing.hint),
                ));
            }
        }
    }
    Ok(database)
}

/// Where the configuration names what is wanted: a param, or else the grant on its table.
fn place(services: &Services, examined: &Examined, database: &TargetName, want: &Wanted) -> String {
    let schema = services
        .config
        .databases
        .get(database)
        .map_or("", |target| target.dialect().default_schema());
    let path = |table: TableName| Path::Table(database.clone(), table).canonical(schema);
    let (Wanted::Table(table) | Wanted::Column(table, _) | Wanted::Index(table, _)) = want;
    let on = path(table.clone());
    let is = |kind: &ParamKind, text: &str| match (kind, want) {
        (ParamKind::Table, Wanted::Table(_)) => text.parse().is_ok_and(|table| path(table) == on),
        (ParamKind::Column, Wanted::Column(_, name)) | (ParamKind::Index, Wanted::Index(_, name)) => {
            text == name
        }
        _ => false,
    };
    let job = &examined.job.name;
    let manifest = &examined.plugin.manifest;
    match manifest.param_naming(&examined.params, Sought::Within(database, &is)) {
        Some(param) => format!("job.{job}.params.{param}"),
        None => format!("job.{job}.grant.{on}"),
    }
}

/// Every table that a need or a grant behind "all tables" names, every column, every index.
fn wanted(examined: &Examined, database: &TargetName) -> Vec<Wanted> {
    let mut wanted: BTreeSet<Wanted> = verbs_by_table(examined, database)
        .into_keys()
        .map(Wanted::Table)
        .collect();
    for reference in examined
        .references
        .iter()
        .filter(|reference| reference.database == *database)
    {
        let table = reference.table.clone();
        wanted.insert(match &reference.kind {
            ReferenceKind::Column(column) => Wanted::Column(table, column.clone()),
            ReferenceKind::Index(index) => Wanted::Index(table, index.clone()),
        });
    }
    wanted.into_iter().collect()
}

fn verbs_by_table(examined: &Examined, database: &TargetName) -> BTreeMap<TableName, BTreeSet<Verb>> {
    let mut tables = BTreeMap::<TableName, BTreeSet<Verb>>::new();
    for need in &examined.needs {
        match &need.on {
            Path::Table(on, table) if on == database => {
                let granted = examined.job.grants.on(&need.on);
                tables
                    .entry(table.clone())
                    .or_default()
                    .extend(need.verbs.intersection(&granted));
            }
            Path::AllTables(on) if on == database => {
                for verb in &need.verbs {
                    for table in examined.job.grants.tables(database, *verb) {
                        tables.entry(table.clone()).or_default().insert(*verb);
                    }
                }
            }
            _ => {}
        }
    }
    tables
}
