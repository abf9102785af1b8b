//! Plan mode: decorators of the ports that map every changing verb to its `preview_` twin.
//!
//! They remember which filters were planned and answer later reads less those, in flat memory: a plan walks the
//! very path of the apply. No guard and no word of a report is decided here.

mod backup;
mod database;
mod files;
mod http;
mod overlay;
mod partition;
mod space;
mod storage;
mod writer;

pub use backup::PlannedBackups;
pub use database::PlannedDatabase;
pub use files::PlannedDirectory;
pub use http::PlannedOrigin;
pub use space::PlannedSpace;
pub use storage::PlannedStorage;
pub use writer::PlannedWriter;
