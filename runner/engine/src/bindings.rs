//! The contract as Rust, made from `wit/` by wasmtime. Nothing else is in here.
#![allow(missing_docs, clippy::pedantic, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "plugin",
    imports: { default: async | trappable },
    exports: { default: async },
});

pub(crate) use sereno::plugin::{
    backup, database_read, database_upkeep, database_write, files, http, log, measurements, notify_writer,
    storage, types,
};
