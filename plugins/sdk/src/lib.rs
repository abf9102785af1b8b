//! Everything a plugin author needs: the context, the host's capabilities as traits, one attribute macro, and a host
//! to test against without WebAssembly.
//!
//! A plugin is a folder with `plugin.toml` (what it is, takes and needs), `src/task.rs` (its decisions, tested
//! natively) and `src/lib.rs`, which is only this:
//!
//! ```text
//! mod task;
//! use sereno_plugin::{Context, Failure, Host, Outcome};
//!
//! #[sereno_plugin::plugin]
//! fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
//!     task::run(context, params, host)
//! }
//! ```
//!
//! `Params` is made from `plugin.toml`: a param of type `duration` is a [`std::time::Duration`], a `size` a `u64`, an
//! `enum` an enum, a `list` of records a `Vec` of structs; one that may be left out and has no default is an
//! `Option`. Building for `wasm32-wasip2` gives a component; `sereno plugin pack` puts the manifest into it.
//!
//! What there is not: no clock (every cutoff is reckoned from [`Context::scheduled_at`], which stays the same through
//! retries), no random numbers, no SQL text, no paths outside the granted directories, and no way to tell a plan from
//! an apply. Work in batches, hand a cursor back when the host says [`Error::Deadline`] ([`in_batches`] does that),
//! and let `?` pass on what else the host refuses: it words a denial better than a plugin can.

mod backup;
mod context;
mod data;
mod error;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod glue;
mod host;
mod insight;
mod instant;
pub mod logs;
mod outcome;
pub mod params;
pub mod target;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod text;

pub use backup::{Backup, Backups, Verification};
pub use context::Context;
pub use data::{
    Archive, Bucket, Compression, Condition, Content, DatabaseStatistics, DeleteBatch, DiskUsage, Entry,
    FileFilter, Filter, IndexStatistics, Listing, Object, ObjectPart, Operator, Page, Removal, Response,
    Rows, Summary, TableStatistics, Upkeep, Value,
};
pub use error::{Batches, Error, Failure, in_batches};
pub use host::{
    DatabaseRead, DatabaseUpkeep, DatabaseWrite, End, Files, Host, Http, Level, Log, Measurements,
    NotifyWriter, Storage,
};
pub use insight::{
    Activity, Connection, ForeignKey, IndexDetail, Part, Partition, PartitionStep, Partitions, Queries,
    QueryStatistics, TableSize,
};
pub use instant::Instant;
pub use outcome::{Finding, Measurement, Outcome, Report, Severity, Unit};
pub use sereno_plugin_macros::plugin;
