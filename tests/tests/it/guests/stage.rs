//! What a guest needs to run in a test: a host, a directory that does as the test says, and ears for its log.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sereno_adapters::clock::FakeClock;
use sereno_core::capability::{
    DirectoryCapability, Hold, OriginCapability, Recorder, StorageCapability, WriterCapability,
};
use sereno_core::effect::Book;
use sereno_core::grant::{Authority, Grants, Path, Verb};
use sereno_core::guard::Guards;
use sereno_core::job::{Limits, OriginTarget, SecretText};
use sereno_core::name::{PluginName, RunId, TargetName};
use sereno_core::ports::database::Progress;
use sereno_core::ports::files::{
    Allowance, Bucket, Directory, DiskUsage, FilesError, Page, Removal, Span, Summary,
};
use sereno_core::ports::http::HttpOrigin;
use sereno_core::ports::plugins::{Activation, CallError, Capabilities, GuestEnd, LogSink, Plugins};
use sereno_core::ports::storage::Storage;
use sereno_core::ports::writer::Writer;
use sereno_core::report::{Effect, Finding, LimitsUsed, Measurement};
use sereno_core::run::{Mode, RunEvent};
use sereno_core::value::{FileFilter, Instant};
use sereno_engine::{Allocation, CompileVia, Options, Places, PluginHost};
use sereno_tests::guests::guests;
use tokio::sync::{Notify, watch};

/// Options for the guests as they are, with a cache that lives on.
pub(super) fn options() -> Options {
    options_with_cache(&guests().cache)
}

/// Options for the guests as they are.
pub(super) fn options_with_cache(cache: &FilePath) -> Options {
    Options {
        places: Places {
            paths: BTreeMap::new(),
            folders: vec![guests().folder.clone()],
        },
        cache: cache.to_owned(),
        compile: CompileVia::InProcess,
        allocation: Allocation::OnDemand,
        packaged: None,
        pins: BTreeMap::new(),
    }
}

pub(super) fn plugin(name: &str) -> PluginName {
    name.parse().unwrap()
}

/// When every run of these tests is meant to be.
pub(super) fn scheduled_at() -> Instant {
    "2026-11-24T02:30:00Z".parse().unwrap()
}

/// One run of a guest, before it starts.
pub(super) struct Run {
    pub(super) guest: &'static str,
    pub(super) params: Json,
    pub(super) grants: Grants,
    pub(super) limits: Limits,
    pub(super) time_left: Duration,
    pub(super) directory: Arc<dyn Directory>,
    /// What is behind `origin.web`.
    pub(super) origin: Option<Arc<dyn HttpOrigin>>,
    pub(super) storage: Option<Arc<dyn Storage>>,
    /// What is behind `writer.app`.
    pub(super) writer: Option<Arc<dyn Writer>>,
    pub(super) cancel: watch::Receiver<bool>,
}

/// A run, after it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: GuestEnd,
    pub(super) used: LimitsUsed,
    pub(super) findings: Vec<Finding>,
    pub(super) measurements: Vec<Measurement>,
    pub(super) lines: Vec<Line>,
}

/// Level, message and fields.
pub(super) type Line = (String, String, Vec<(String, String)>);

impl Run {
    /// Of `guest`, with small limits: a test need not wait for what an operator would.
    pub(super) fn of(guest: &'static str) -> Self {
        Self {
            guest,
            params: json!({}),
            grants: Grants(BTreeMap::from([
                (Path::Directory(temp()), [Verb::Read, Verb::Remove].into()),
                (Path::Origin(web()), [Verb::Get].into()),
                (Path::Writer(app()), [Verb::Notify].into()),
            ])),
            limits: Limits {
                cpu: Duration::from_millis(300),
                ..Limits::default()
            },
            time_left: Duration::from_secs(120),
            directory: Arc::new(Still::default()),
            origin: None,
            storage: None,
            writer: None,
            cancel: watch::channel(false).1,
        }
    }

    /// With the param `how`.
    pub(super) fn how(mut self, how: &str) -> Self {
        if !how.is_empty() {
            self.params["how"] = json!(how);
        }
        self
    }

    pub(super) fn on(mut self, directory: Arc<dyn Directory>) -> Self {
        self.directory = directory;
        self
    }

    pub(super) fn without_grants(mut self) -> Self {
        self.grants = Grants::default();
        self
    }

    pub(super) fn until(mut self, cancel: watch::Receiver<bool>) -> Self {
        self.cancel = cancel;
        self
    }

    /// Runs it. The plugin must load.
    pub(super) async fn go(mut self, host: &PluginHost) -> Ended {
        let name = plugin(self.guest);
        let info = host.inspect(&name).await.unwrap();
        if info
            .manifest
            .params
            .iter()
            .any(|param| param.name == "directory" && param.required)
        {
            self.params["directory"] = json!("temp");
        }
        let given = self.params.as_object().unwrap().clone().into_iter().collect();
        let params = info.manifest.settle_params(&given).unwrap();
        let needs = info.manifest.needs(&params).unwrap();
        let authority = Authority::resolve(needs, self.grants).unwrap();
        let book = Arc::new(Book::default());
        let log = Arc::new(Ears::default());
        let hold = hold(Arc::clone(&book));
        let clock = Arc::new(FakeClock::at(scheduled_at()));
        let directory = DirectoryCapability::new(temp(), self.directory, clock, Arc::clone(&hold));
        let origins = self.origin.into_iter().map(|port| {
            let origin = OriginCapability::new(web(), port, &an_origin(), Arc::clone(&hold));
            (web(), Arc::new(origin))
        });
        let storages = self.storage.into_iter().map(|port| {
            let clock = Arc::new(FakeClock::at(scheduled_at()));
            let storage = StorageCapability::new(reports(), port, clock, Arc::clone(&hold));
            (reports(), Arc::new(storage))
        });
        let writers = self.writer.into_iter().map(|port| {
            let writer = WriterCapability::new(app(), port, Arc::clone(&hold));
            (app(), Arc::new(writer))
        });
        let activation = Activation {
            run: RunId::from_entropy(1),
            job: "a-job".parse().unwrap(),
            scheduled_at: scheduled_at(),
            params,
            shard: None,
            cursor: None,
            time_left: self.time_left,
            limits: self.limits,
            capabilities: Capabilities {
                authority: Arc::new(authority),
                databases: BTreeMap::new(),
                directories: BTreeMap::from([(temp(), Arc::new(directory))]),
                origins: origins.collect(),
                storages: storages.collect(),
                writers: writers.collect(),
                backups: None,
            },
            book: Arc::clone(&book),
            log: Arc::clone(&log) as Arc<dyn LogSink>,
            cancel: self.cancel,
        };
        let ran = host.run(&name, activation).await.unwrap();
        Ended {
            end: ran.end,
            used: ran.used,
            findings: book.findings(),
            measurements: book.measurements(),
            lines: std::mem::take(&mut log.0.lock().unwrap()),
        }
    }
}

/// The end in one word, as outcomes are labelled.
pub(super) fn label(end: &GuestEnd) -> String {
    match end {
        GuestEnd::Done => "done".to_owned(),
        GuestEnd::More(_) => "more".to_owned(),
        GuestEnd::Failed(_) => "failed".to_owned(),
        GuestEnd::PassedOn(_) => "passed on".to_owned(),
        GuestEnd::Limit(name, _) => format!("limit({name})"),
        GuestEnd::Trap(_) => "trap".to_owned(),
        GuestEnd::Invalid(_) => "invalid".to_owned(),
        GuestEnd::Cancelled => "cancelled".to_owned(),
        GuestEnd::Host(_) => "host".to_owned(),
    }
}

fn web() -> TargetName {
    "web".parse().unwrap()
}

/// As an operator would have it who says no more than its `url`.
fn an_origin() -> OriginTarget {
    OriginTarget {
        url: SecretText::new(""),
        allow_private: false,
        query: false,
        headers: BTreeMap::new(),
        timeout: Duration::from_secs(30),
        max_response: 8 << 20,
    }
}

pub(super) fn reports() -> TargetName {
    "reports".parse().unwrap()
}

fn app() -> TargetName {
    "app".parse().unwrap()
}

fn temp() -> TargetName {
    "temp".parse().unwrap()
}

fn hold(book: Arc<Book>) -> Arc<Hold> {
    Arc::new(Hold {
        run: RunId::from_entropy(1),
        attempt: 1,
        mode: Mode::Apply,
        // These guests never stop by themselves, and no guard is to stop them.
        guards: Guards {
            max_files: None,
            max_bytes: None,
            ..Guards::default()
        },
        plan: None,
        before: Vec::new(),
        book,
        recorder: Arc::new(Nobody),
        progress: Arc::new(Nobody),
        tokens: BTreeMap::new(),
        fence_in_database: false,
    })
}

/// Records nothing and watches nothing.
struct Nobody;

#[async_trait]
impl Recorder for Nobody {
    async fn record(&self, _events: Vec<RunEvent>) -> Result<(), CallError> {
        Ok(())
    }
}

impl Progress for Nobody {
    fn effect(&self, _effect: &Effect) {}

    fn waiting(&self, _what: &str) {}
}

#[derive(Default)]
struct Ears(Mutex<Vec<Line>>);

impl LogSink for Ears {
    fn line(&self, event: RunEvent) {
        let RunEvent::Log {
            level,
            message,
            fields,
        } = event
        else {
            panic!("{event:?} is no line of a log");
        };
        self.0.lock().unwrap().push((level, message, fields));
    }
}

/// A directory whose calls never answer, and that knows when one was made and when one was given up.
#[derive(Default)]
pub(super) struct Still {
    pub(super) entered: Notify,
    pub(super) dropped: Arc<AtomicBool>,
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Still {
    async fn wait<T>(&self) -> T {
        let _guard = OnDrop(Arc::clone(&self.dropped));
        self.entered.notify_one();
        std::future::pending().await
    }
}

/// A directory whose removals go on for ever, a file at a time, and that counts them.
#[derive(Default)]
pub(super) struct Bottomless {
    pub(super) removals: AtomicU64,
}

/// A directory that is not there.
pub(super) struct Missing;

/// A directory that panics, as no adapter should.
pub(super) struct Broken;

macro_rules! directory {
    ($type:ty { usage: |$this:ident| $usage:expr, remove_batch: |$that:ident| $remove_batch:expr }) => {
        #[async_trait]
        impl Directory for $type {
            async fn usage(&self) -> Result<DiskUsage, FilesError> {
                let $this = self;
                $usage
            }
            async fn files_up_to(&self, _recursive: bool, _limit: u64) -> Result<u64, FilesError> {
                Ok(0)
            }
            async fn summarize(
                &self,
                _filter: &FileFilter,
                _without: &[FileFilter],
            ) -> Result<Summary, FilesError> {
                Ok(Summary::default())
            }
            async fn age_histogram(
                &self,
                _filter: &FileFilter,
                _without: &[FileFilter],
                _span: Span,
            ) -> Result<Vec<Bucket>, FilesError> {
                Ok(Vec::new())
            }
            async fn entries(
                &self,
                _filter: &FileFilter,
                _without: &[FileFilter],
                _cursor: Option<&str>,
                _max: u32,
            ) -> Result<Page, FilesError> {
                Ok(Page::default())
            }
            async fn remove_batch(
                &self,
                _filter: &FileFilter,
                _cursor: Option<&str>,
                _max: u32,
                _allowance: Allowance,
            ) -> Result<Removal, FilesError> {
                let $that = self;
                $remove_batch
            }
            async fn preview_remove_batch(
                &self,
                _filter: &FileFilter,
                _without: &[FileFilter],
                _cursor: Option<&str>,
                _max: u32,
                _allowance: Allowance,
            ) -> Result<Removal, FilesError> {
                Ok(Removal::default())
            }
            async fn remove(
                &self,
                _paths: &[Vec<u8>],
                _filter: &FileFilter,
                _allowance: Allowance,
            ) -> Result<Removal, FilesError> {
                Ok(Removal::default())
            }
            async fn preview_remove(
                &self,
                _paths: &[Vec<u8>],
                _filter: &FileFilter,
                _without: &[FileFilter],
                _allowance: Allowance,
            ) -> Result<Removal, FilesError> {
                Ok(Removal::default())
            }
        }
    };
}

directory!(Still {
    usage: |this| this.wait().await,
    remove_batch: |this| this.wait().await
});

directory!(Bottomless {
    usage: |_this| Ok(DiskUsage::default()),
    remove_batch: |this| {
        // As a disk would: not at once, and not on this thread.
        tokio::task::yield_now().await;
        let removed = this.removals.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Removal {
            files: 1,
            cursor: Some(removed.to_string()),
            ..Removal::default()
        })
    }
});

directory!(Missing {
    usage: |_this| Err(FilesError::NotFound {
        path: "/nowhere".to_owned()
    }),
    remove_batch: |_this| Ok(Removal::default())
});

directory!(Broken {
    usage: |_this| panic!("an adapter's own fault"),
    remove_batch: |_this| panic!("an adapter's own fault")
});
