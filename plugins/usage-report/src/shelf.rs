//! Where reports are kept: the last one is read, the new one is put, old ones go.
//!
//! A report is there when its JSON object is, which is put last: what is left of an attempt that died counts for nothing and
//! goes with the old ones.

use std::collections::BTreeMap;
use std::time::Duration;

use sereno_plugin::{Error, Instant, Object, Storage};

use crate::report::{Moment, UsageReport};

/// What one call carries: well within the default limit on a call's bytes.
const READ_BYTES: u32 = 256 << 10;

/// Larger than any report that is written here.
const REPORT_BYTES_MAX: u64 = 4 << 20;

/// Reports that are tried when the last one cannot be read.
const TRIED_MAX: usize = 3;

/// Objects that are listed: the most reports that may be kept, each with its pages, and as many again.
const LISTED_MAX: usize = 50_000;

/// Old objects that one run removes; the next goes on.
const REMOVED_MAX: usize = 1_000;

/// The reports of one job.
pub(crate) struct Shelf<'a> {
    storage: &'a str,
    folder: String,
}

/// The objects of one report, by what their keys end with.
type Reports = BTreeMap<String, Vec<Object>>;

impl<'a> Shelf<'a> {
    /// The shelf of `job`.
    pub(crate) fn new(storage: &'a str, prefix: &str, job: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self {
            storage,
            folder: format!("{prefix}{slash}{job}/"),
        }
    }

    /// What the keys of a report begin with.
    pub(crate) fn stem(&self, at: Moment, run: &str) -> String {
        format!("{}{}-{run}", self.folder, at.stamp())
    }

    /// Every report, the oldest first.
    fn reports(&self, host: &mut impl Storage) -> Result<Reports, Error> {
        let (mut reports, mut cursor, mut listed) = (Reports::new(), None, 0);
        loop {
            let page = host.list_objects(self.storage, &self.folder, cursor.as_deref(), 1_000)?;
            listed += page.objects.len();
            for object in page.objects {
                if let Some(stem) = self.is_ours(&object.key) {
                    reports.entry(stem).or_default().push(object);
                }
            }
            cursor = page.cursor;
            if cursor.is_none() || listed >= LISTED_MAX {
                return Ok(reports);
            }
        }
    }

    /// The stem of a key that only this plugin makes; what others put beside it is theirs.
    fn is_ours(&self, key: &str) -> Option<String> {
        let name = key.strip_prefix(&self.folder)?;
        let (stem, extension) = name.rsplit_once('.')?;
        let (stamp, run) = stem.split_once('-')?;
        let digits = stamp
            .chars()
            .filter(|c| !matches!(c, 'T' | 'Z'))
            .all(|c| c.is_ascii_digit());
        let is_stamp = stamp.len() == "20261124T023000Z".len() && digits;
        let known = ["json", "html", "md", "txt"].contains(&extension);
        (is_stamp && known && !run.is_empty() && !run.contains('/')).then(|| format!("{}{stem}", self.folder))
    }

    /// The last report before `at` that can be read, and those that could not.
    pub(crate) fn last(
        &self,
        at: Moment,
        host: &mut impl Storage,
    ) -> Result<(Option<UsageReport>, Vec<String>), Error> {
        let before = format!("{}{}", self.folder, at.stamp());
        let reports = self.reports(host)?;
        let mut unread = Vec::new();
        for (stem, objects) in reports.range(..before).rev() {
            let key = format!("{stem}.json");
            if !objects.iter().any(|object| object.key == key) {
                continue;
            }
            match self.read(&key, host)? {
                Ok(report) => return Ok((Some(report), unread)),
                Err(why) => unread.push(format!("{key}: {why}")),
            }
            if unread.len() == TRIED_MAX {
                break;
            }
        }
        Ok((None, unread))
    }

    fn read(&self, key: &str, host: &mut impl Storage) -> Result<Result<UsageReport, String>, Error> {
        let mut content = Vec::new();
        loop {
            let part = match host.read_object(self.storage, key, content.len() as u64, READ_BYTES) {
                Ok(part) => part,
                Err(error) if error.is_local() && !matches!(error, Error::Denied(_)) => {
                    return Ok(Err(error.to_string()));
                }
                Err(error) => return Err(error),
            };
            if part.total > REPORT_BYTES_MAX {
                return Ok(Err(format!("it has {} bytes", part.total)));
            }
            if part.bytes.is_empty() {
                break;
            }
            content.extend(part.bytes);
            if content.len() as u64 >= part.total {
                break;
            }
        }
        Ok(serde_json::from_slice(&content).map_err(|error| error.to_string()))
    }

    /// Removes reports beyond the newest `keep`, and what attempts left that died, as far as they are older than `keep_for`.
    /// Answers how many objects went.
    pub(crate) fn tidy(
        &self,
        keep: usize,
        younger_stay: Instant,
        host: &mut impl Storage,
    ) -> Result<usize, Error> {
        let reports = self.reports(host)?;
        let is_whole = |stem: &String, objects: &[Object]| {
            let json = format!("{stem}.json");
            objects.iter().any(|object| object.key == json)
        };
        let (mut kept, mut old) = (0, Vec::new());
        for (stem, objects) in reports.into_iter().rev() {
            if is_whole(&stem, &objects) && kept < keep {
                kept += 1;
            } else {
                old.push(objects);
            }
        }
        let mut removed = 0;
        for mut objects in old.into_iter().rev() {
            if objects.iter().any(|object| object.modified >= younger_stay) {
                continue;
            }
            // What makes it a report goes first: half a report is none.
            objects.sort_by_key(|object| object.key.rsplit('.').next() != Some("json"));
            for object in objects {
                if removed == REMOVED_MAX {
                    return Ok(removed);
                }
                if host.remove_object(self.storage, &object.key)? {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Puts one object of a report.
    pub(crate) fn put(&self, key: &str, content: &[u8], host: &mut impl Storage) -> Result<(), Error> {
        host.put_object(self.storage, key, content).map(drop)
    }
}

/// Before this an object may go.
pub(crate) fn younger_stay(now: Instant, keep_for: Duration) -> Instant {
    now - keep_for
}
