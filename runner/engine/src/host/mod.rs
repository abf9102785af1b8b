//! The host's side of the contract, an interface a file: convert, let in, authorize, call the capability, convert.
//!
//! Nothing here decides what may be done: `Authority` does, and the capabilities hold the guards.

mod backup;
mod database_read;
mod database_upkeep;
mod database_write;
mod files;
mod http;
mod insight;
mod log;
mod measurements;
mod notify_writer;
mod storage;

use std::collections::BTreeSet;

use sereno_core::grant::Interface;
use wasmtime::Engine;
use wasmtime::component::{HasData, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::{cli, io};

use crate::bindings;
use crate::loader::{Offer, offer};
use crate::state::State;

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links what a component imports, and nothing else.
pub(crate) fn link(engine: &Engine, imports: &BTreeSet<String>) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    for import in imports {
        match offer(import) {
            Some(Offer::Types) => bindings::types::add_to_linker::<_, HasSelf<State>>(l, |state| state)?,
            Some(Offer::Log) => bindings::log::add_to_linker::<_, HasSelf<State>>(l, |state| state)?,
            Some(Offer::Measurements) => {
                bindings::measurements::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
            }
            Some(Offer::Capability(interface)) => link_capability(l, interface)?,
            Some(Offer::Wasi(interface)) => link_wasi(l, interface)?,
            // The loader has refused it, and wasmtime will too.
            None => {}
        }
    }
    Ok(linker)
}

fn link_capability(l: &mut Linker<State>, interface: Interface) -> wasmtime::Result<()> {
    match interface {
        Interface::Backup => bindings::backup::add_to_linker::<_, HasSelf<State>>(l, |state| state),
        Interface::DatabaseRead => {
            bindings::database_read::add_to_linker::<_, HasSelf<State>>(l, |state| state)
        }
        Interface::DatabaseWrite => {
            bindings::database_write::add_to_linker::<_, HasSelf<State>>(l, |state| state)
        }
        Interface::DatabaseUpkeep => {
            bindings::database_upkeep::add_to_linker::<_, HasSelf<State>>(l, |state| state)
        }
        Interface::Files => bindings::files::add_to_linker::<_, HasSelf<State>>(l, |state| state),
        Interface::Storage => bindings::storage::add_to_linker::<_, HasSelf<State>>(l, |state| state),
        Interface::NotifyWriter => {
            bindings::notify_writer::add_to_linker::<_, HasSelf<State>>(l, |state| state)
        }
        Interface::Http => bindings::http::add_to_linker::<_, HasSelf<State>>(l, |state| state),
    }
}

fn link_wasi(l: &mut Linker<State>, interface: &str) -> wasmtime::Result<()> {
    match interface {
        "wasi:io/error" => io::error::add_to_linker::<_, Io>(l, |state| state.ctx().table),
        "wasi:io/poll" => io::poll::add_to_linker::<_, Io>(l, |state| state.ctx().table),
        "wasi:io/streams" => io::streams::add_to_linker::<_, Io>(l, |state| state.ctx().table),
        "wasi:cli/environment" => cli::environment::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/exit" => cli::exit::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/stdin" => cli::stdin::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/stdout" => cli::stdout::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/stderr" => cli::stderr::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/terminal-input" => cli::terminal_input::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/terminal-output" => cli::terminal_output::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/terminal-stdin" => cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/terminal-stdout" => cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, State::cli),
        "wasi:cli/terminal-stderr" => cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, State::cli),
        _ => Ok(()),
    }
}

impl bindings::types::Host for State {}
