//! Programs that keep files open: each is told by a signal to the process that a file names, or by a hook.
//!
//! `trust` says who else could have written a file, `process` which process is meant, `hook` runs a program. What cannot be
//! made sure of is refused: a signal to the wrong process may end it.

mod hook;
mod process;
mod trust;

use std::path::Path;
use std::sync::Arc;

use sereno_core::job::WriterTarget;
use sereno_core::ports::writer::Writer;

/// A path as words of one line.
fn show_path(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// A writer, as configured; relative paths start from `folder`. Nothing is looked at yet.
pub fn open(target: &WriterTarget, folder: &Path) -> Arc<dyn Writer> {
    match target {
        WriterTarget::Process { pidfile, signal } => {
            Arc::new(process::Process::new(folder.join(pidfile), *signal))
        }
        WriterTarget::Hook { argv, timeout } => Arc::new(hook::Hook::new(argv.clone(), *timeout)),
    }
}
