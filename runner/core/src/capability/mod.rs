//! What a guest's host calls reach: a port behind its guards, the same in plan and apply.
//!
//! Order: grant (the engine's host functions ask `Authority`) → guard → plan or fence → adapter. A capability
//! counts and words every effect; it knows nothing of WebAssembly.

mod database;
mod files;

pub use database::DatabaseCapability;
pub use files::DirectoryCapability;
