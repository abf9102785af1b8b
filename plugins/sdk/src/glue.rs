//! Between the contract's bindings and this crate's types; only in a component, and only for [`crate::plugin`].
//!
//! Nothing is decided here. `other` is what a newer host may say to an older plugin.

mod database;

use std::time::Duration;

use crate::data::{
    Bucket, Compression, Content, DiskUsage, Entry, FileFilter, Filter, Listing, Object, ObjectPart, Page,
    Removal, Response, Summary, Upkeep, Value,
};
use crate::params::{self, FromParam};
use crate::{
    Context, Error, Failure, Files, Http, Instant, Level, Log, Measurement, Measurements, NotifyWriter,
    Outcome, Report, Storage,
};

#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::too_many_arguments,
    reason = "generated from wit/, which documents it"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
    });
}

use bindings::sereno::plugin as wit;
use bindings::sereno::plugin::types;
pub use bindings::{Guest, export_plugin};

/// The real host, behind the component's imports.
pub struct Imports;

/// One call of the plugin, from the contract's types and back to them.
pub fn call<P: FromParam>(
    context: types::Context,
    run: impl FnOnce(&Context, &P, &mut Imports) -> Result<Outcome, Failure>,
) -> Result<types::Outcome, types::Failure> {
    let params: P = params::parse(&context.params).map_err(failure)?;
    let context = Context {
        run_id: context.run_id,
        job: context.job,
        scheduled_at: Instant::from_micros(context.scheduled_at),
        shard: context.shard,
        cursor: context.cursor,
        time_left: Duration::from_millis(context.time_left_ms),
    };
    run(&context, &params, &mut Imports).map(outcome).map_err(failure)
}

fn outcome(outcome: Outcome) -> types::Outcome {
    match outcome {
        Outcome::Done(report) => types::Outcome::Done(self::report(report)),
        Outcome::More(report, cursor) => types::Outcome::More(types::Continuation {
            report: self::report(report),
            cursor,
        }),
    }
}

fn report(report: Report) -> types::Report {
    let findings = report.findings.into_iter().map(|finding| types::Finding {
        code: finding.code,
        severity: finding.severity.as_str().to_owned(),
        target: finding.target,
        text: finding.text,
        next: finding.next,
    });
    types::Report {
        findings: findings.collect(),
        attributes: Vec::new(),
    }
}

fn failure(failure: Failure) -> types::Failure {
    match failure {
        Failure::InvalidParams(text) => types::Failure::InvalidParams(text),
        Failure::Retryable(text) => types::Failure::Retryable(text),
        Failure::Permanent(text) => types::Failure::Permanent(text),
        Failure::Refused(text) => types::Failure::Refused(text),
        Failure::PassedOn(error) => types::Failure::PassedOn(error.into()),
        Failure::Other(text) => types::Failure::Other(text),
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(text) => Self::Denied(text),
            types::Error::Guard(text) => Self::Guard(text),
            types::Error::Limit(text) => Self::Limit(text),
            types::Error::Cancelled => Self::Cancelled,
            types::Error::Deadline => Self::Deadline,
            types::Error::NotFound(text) => Self::NotFound(text),
            types::Error::Invalid(text) => Self::Invalid(text),
            types::Error::Busy(text) => Self::Busy(text),
            types::Error::Unreachable(text) => Self::Unreachable(text),
            types::Error::Fault(text) => Self::Fault(text),
            types::Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(text) => Self::Denied(text),
            Error::Guard(text) => Self::Guard(text),
            Error::Limit(text) => Self::Limit(text),
            Error::Cancelled => Self::Cancelled,
            Error::Deadline => Self::Deadline,
            Error::NotFound(text) => Self::NotFound(text),
            Error::Invalid(text) => Self::Invalid(text),
            Error::Busy(text) => Self::Busy(text),
            Error::Unreachable(text) => Self::Unreachable(text),
            Error::Fault(text) => Self::Fault(text),
            Error::Other(text) => Self::Other(text),
        }
    }
}

fn value_out(value: &Value) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Boolean(value) => types::Value::Boolean(*value),
        Value::Integer(value) => types::Value::Integer(*value),
        Value::Real(value) => types::Value::Real(*value),
        Value::Text(value) => types::Value::Text(value.clone()),
        Value::Instant(value) => types::Value::Instant(value.micros()),
        Value::Other(value) => types::Value::Other(value.clone()),
    }
}

fn value_in(value: types::Value) -> Value {
    match value {
        types::Value::Null => Value::Null,
        types::Value::Boolean(value) => Value::Boolean(value),
        types::Value::Integer(value) => Value::Integer(value),
        types::Value::Real(value) => Value::Real(value),
        types::Value::Text(value) => Value::Text(value),
        types::Value::Instant(value) => Value::Instant(Instant::from_micros(value)),
        types::Value::Other(value) => Value::Other(value),
    }
}

fn filter_out(filter: &Filter) -> Vec<types::Condition> {
    let condition = |condition: &crate::Condition| types::Condition {
        column: condition.column.clone(),
        op: condition.op.as_str().to_owned(),
        value: value_out(&condition.value),
    };
    filter.0.iter().map(condition).collect()
}

fn file_filter_out(filter: &FileFilter) -> wit::files::FileFilter {
    wit::files::FileFilter {
        older_than: filter.older_than.map(Instant::micros),
        age_by: filter.age_by.clone(),
        include: filter.include.clone(),
        exclude: filter.exclude.clone(),
        recursive: filter.recursive,
        directory_as_unit: filter.directory_as_unit,
        remove_emptied: filter.remove_emptied,
        attributes: Vec::new(),
    }
}

fn removal_in(removal: wit::files::Removal) -> Removal {
    Removal {
        files: removal.files,
        directories: removal.directories,
        bytes: removal.bytes,
        skipped: removal.skipped,
        cursor: removal.cursor,
    }
}

fn upkeep_in(result: wit::database_upkeep::UpkeepResult) -> Upkeep {
    Upkeep {
        done: result.done,
        bytes: result.bytes,
        note: result.note,
    }
}

impl Log for Imports {
    fn log(&mut self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        wit::log::write(level.as_str(), message, &fields);
    }
}

impl Measurements for Imports {
    fn measure(&mut self, measurement: Measurement) {
        wit::measurements::add(&wit::measurements::Measurement {
            name: measurement.name,
            target: measurement.target,
            value: measurement.value,
            unit: measurement.unit.as_str().to_owned(),
            note: measurement.note,
        });
    }
}

impl Files for Imports {
    fn usage(&mut self, directory: &str) -> Result<DiskUsage, Error> {
        let usage = wit::files::usage(directory)?;
        Ok(DiskUsage {
            bytes_total: usage.bytes_total,
            bytes_free: usage.bytes_free,
            inodes_total: usage.inodes_total,
            inodes_free: usage.inodes_free,
        })
    }

    fn summarize(&mut self, directory: &str, filter: &FileFilter) -> Result<Summary, Error> {
        let summary = wit::files::summarize(directory, &file_filter_out(filter))?;
        Ok(Summary {
            files: summary.files,
            bytes: summary.bytes,
            directories: summary.directories,
            oldest: summary.oldest.map(Instant::from_micros),
            newest: summary.newest.map(Instant::from_micros),
        })
    }

    fn age_histogram(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        start: Instant,
        end: Instant,
        buckets: u32,
    ) -> Result<Vec<Bucket>, Error> {
        let (start, end) = (start.micros(), end.micros());
        let found = wit::files::age_histogram(directory, &file_filter_out(filter), start, end, buckets)?;
        let bucket = |bucket: wit::files::Bucket| Bucket {
            from: Instant::from_micros(bucket.from),
            files: bucket.files,
            bytes: bucket.bytes,
        };
        Ok(found.into_iter().map(bucket).collect())
    }

    fn entries(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, Error> {
        let page = wit::files::entries(directory, &file_filter_out(filter), cursor, max)?;
        let entry = |entry: wit::files::Entry| Entry {
            path: entry.path,
            bytes: entry.bytes,
            stamp: Instant::from_micros(entry.stamp),
        };
        Ok(Page {
            entries: page.entries.into_iter().map(entry).collect(),
            cursor: page.cursor,
        })
    }

    fn remove_batch(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Removal, Error> {
        Ok(removal_in(wit::files::remove_batch(
            directory,
            &file_filter_out(filter),
            cursor,
            max,
        )?))
    }

    fn remove(&mut self, directory: &str, paths: &[Vec<u8>], filter: &FileFilter) -> Result<Removal, Error> {
        Ok(removal_in(wit::files::remove(
            directory,
            paths,
            &file_filter_out(filter),
        )?))
    }

    fn read_content(
        &mut self,
        directory: &str,
        path: &[u8],
        offset: u64,
        max: u32,
    ) -> Result<Content, Error> {
        let content = wit::files::read_content(directory, path, offset, max)?;
        Ok(Content {
            bytes: content.bytes,
            total: content.total,
        })
    }

    fn rename(&mut self, directory: &str, from: &[u8], to: &[u8]) -> Result<(), Error> {
        Ok(wit::files::rename(directory, from, to)?)
    }

    fn compress(
        &mut self,
        directory: &str,
        paths: &[Vec<u8>],
        filter: &FileFilter,
    ) -> Result<Compression, Error> {
        let done = wit::files::compress(directory, paths, &file_filter_out(filter))?;
        Ok(Compression {
            files: done.files,
            bytes: done.bytes,
            bytes_after: done.bytes_after,
            left: done
                .left
                .into_iter()
                .map(|file| (file.path, file.reason))
                .collect(),
        })
    }

    fn copy_truncate(&mut self, directory: &str, from: &[u8], to: &[u8]) -> Result<(), Error> {
        Ok(wit::files::copy_truncate(directory, from, to)?)
    }
}

fn headers_out(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let header = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    headers.iter().map(header).collect()
}

fn response_in(response: wit::http::Response) -> Response {
    Response {
        status: response.status,
        headers: response.headers,
        body: response.body,
    }
}

impl Http for Imports {
    fn get(&mut self, origin: &str, path: &str, headers: &[(&str, &str)]) -> Result<Response, Error> {
        let headers = headers_out(headers);
        Ok(response_in(wit::http::get(origin, path, &headers)?))
    }

    fn post(
        &mut self,
        origin: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, Error> {
        let headers = headers_out(headers);
        Ok(response_in(wit::http::post(origin, path, &headers, body)?))
    }
}

fn object_in(object: wit::storage::Object) -> Object {
    Object {
        key: object.key,
        bytes: object.bytes,
        modified: Instant::from_micros(object.modified),
    }
}

impl NotifyWriter for Imports {
    fn look(&mut self, writer: &str) -> Result<String, Error> {
        Ok(wit::notify_writer::look(writer)?)
    }

    fn notify(&mut self, writer: &str) -> Result<String, Error> {
        Ok(wit::notify_writer::notify(writer)?)
    }
}

impl Storage for Imports {
    fn list_objects(
        &mut self,
        storage: &str,
        prefix: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Listing, Error> {
        let page = wit::storage::list(storage, prefix, cursor, max)?;
        Ok(Listing {
            objects: page.objects.into_iter().map(object_in).collect(),
            cursor: page.cursor,
        })
    }

    fn object(&mut self, storage: &str, key: &str) -> Result<Option<Object>, Error> {
        Ok(wit::storage::head(storage, key)?.map(object_in))
    }

    fn read_object(&mut self, storage: &str, key: &str, from: u64, max: u32) -> Result<ObjectPart, Error> {
        let part = wit::storage::get(storage, key, from, max)?;
        Ok(ObjectPart {
            bytes: part.bytes,
            total: part.total,
        })
    }

    fn put_object(&mut self, storage: &str, key: &str, content: &[u8]) -> Result<Object, Error> {
        Ok(object_in(wit::storage::put(storage, key, content)?))
    }

    fn remove_object(&mut self, storage: &str, key: &str) -> Result<bool, Error> {
        Ok(wit::storage::remove(storage, key)?)
    }
}
