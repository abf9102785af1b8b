//! The only crate of sereno that knows wasmtime: finds, checks, compiles, limits and runs plugins.
//!
//! It decides nothing about grants, guards or plans: host calls ask `Authority` and reach capabilities, which core
//! makes. Beside the `Plugins` port it offers what `sereno plugin compile` needs.

mod bindings;
mod cache;
mod classify;
mod compile;
mod convert;
mod engine;
mod host;
mod limits;
mod loader;
mod log;
mod meter;
mod packaged;
mod plugins;
mod run;
mod state;
mod text;
mod ticker;

pub use cache::{Cache, CacheError, artefact_name};
pub use compile::{CompileError, CompileVia};
#[cfg(feature = "compiler")]
pub use compile::{compile, compile_file};
pub use engine::{Allocation, TARGET, TARGETS, WASMTIME_VERSION};
pub use loader::{COMPONENT_BYTES_MAX, Places, SECTION};
pub use packaged::Packaged;
pub use plugins::{Options, PluginHost, Precompiled};
