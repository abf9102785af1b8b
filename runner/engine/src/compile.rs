//! Makes native code of components: in a child process with little memory and time, because a component can be made
//! to cost a compiler any amount of both.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::cache::{Cache, CacheError};

/// Time a compiler may take: a plugin of 100 kB takes a tenth of a second, one of 64 MiB half a minute.
const COMPILE_TIME: Duration = Duration::from_secs(60);

/// Memory that a compiler may write to.
#[cfg(feature = "compiler")]
const COMPILE_MEMORY_BYTES: u64 = 1 << 30;

/// Of what a compiler complains.
const COMPLAINT_BYTES_MAX: u64 = 8 << 10;

/// Who compiles a plugin that is not in the cache.
#[derive(Debug, Clone)]
pub enum CompileVia {
    /// A program, called as `PROGRAM ARGS… INPUT -o OUTPUT --target T`: `sereno plugin compile INPUT -o OUTPUT`. It calls
    /// [`compile_file`].
    Child {
        /// The program.
        program: PathBuf,
        /// What comes before the two files.
        args: Vec<OsString>,
    },
    /// This process: for tests, where the components are our own.
    #[cfg(feature = "compiler")]
    InProcess,
    /// Nobody: only what is in the cache runs.
    Nobody,
}

/// Why there is no artefact.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It is no component, or one that uses what is switched off, or it costs too much to compile.
    #[error("{0}")]
    Refused(String),
    /// This build cannot compile, and there is no precompiled artefact.
    #[error(
        "it is not compiled, and this program does not compile; run `sereno plugin compile` with one that does"
    )]
    Nobody,
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The compiler could not be started or read.
    #[error("could not {operation} the compiler")]
    Child {
        /// What was attempted.
        operation: &'static str,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
}

/// Native code of a component, for `target`: one of [`crate::TARGETS`], or this machine. Not for components of strangers: [`compile_file`], in a
/// process of its own, is.
///
/// # Errors
/// It is no component, or uses what is switched off.
#[cfg(feature = "compiler")]
pub fn compile(wasm: &[u8], target: Option<&str>) -> Result<Vec<u8>, CompileError> {
    use crate::engine::{Role, config};
    let compiled = config(Role::Compile, target)
        .and_then(|config| wasmtime::Engine::new(&config))
        .and_then(|engine| engine.precompile_component(wasm));
    compiled.map_err(|error| CompileError::Refused(format!("{error:#}")))
}

/// What the child of [`CompileVia::Child`] does: compiles `input` to `output`, with limits on memory and time that
/// hold for the rest of this process.
///
/// # Errors
/// As for [`compile`], or a file that cannot be read or written.
#[cfg(feature = "compiler")]
pub fn compile_file(
    input: &std::path::Path,
    output: &std::path::Path,
    target: Option<&str>,
) -> Result<(), CompileError> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let failed = |operation| move |source| CompileError::Child { operation, source };
    let limit = |resource, most: u64| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(|error| failed("limit")(error.into()))
    };
    limit(Resource::Data, COMPILE_MEMORY_BYTES)?;
    limit(Resource::Cpu, COMPILE_TIME.as_secs())?;
    limit(Resource::Core, 0)?;
    let wasm = std::fs::read(input).map_err(failed("read the input of"))?;
    let artefact = compile(&wasm, target)?;
    std::fs::write(output, artefact).map_err(failed("write the output of"))
}

/// Compiles a component for `target`; drafts for the child are made in the cache's folder, which is nobody else's.
pub(crate) async fn compile_via(
    via: &CompileVia,
    cache: &Cache,
    wasm: Vec<u8>,
    target: Option<&'static str>,
) -> Result<Vec<u8>, CompileError> {
    match via {
        CompileVia::Child { program, args } => {
            let input = cache.draft()?;
            let output = cache.draft()?;
            // The very bytes that were hashed: the file at the plugin's path may be another by now.
            input
                .create()
                .and_then(|mut file| std::io::Write::write_all(&mut file, &wasm))
                .map_err(|source| CompileError::Child {
                    operation: "write the input of",
                    source,
                })?;
            let mut command = tokio::process::Command::new(program);
            command
                // A compiler that a component got the better of finds no secrets there.
                .env_clear()
                .args(args)
                .arg(&input.0)
                .arg("-o")
                .arg(&output.0)
                .args(target.into_iter().flat_map(|target| ["--target", target]))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true);
            run_child(command).await?;
            tokio::fs::read(&output.0)
                .await
                .map_err(|source| CompileError::Child {
                    operation: "read the output of",
                    source,
                })
        }
        #[cfg(feature = "compiler")]
        CompileVia::InProcess => tokio::task::spawn_blocking(move || compile(&wasm, target))
            .await
            .map_err(|error| CompileError::Refused(format!("the compiler panicked: {error}")))?,
        CompileVia::Nobody => Err(CompileError::Nobody),
    }
}

async fn run_child(mut command: tokio::process::Command) -> Result<(), CompileError> {
    let failed = |operation| move |source| CompileError::Child { operation, source };
    let mut child = command.spawn().map_err(failed("start"))?;
    let complaints = child.stderr.take().expect("it is piped");
    let ended = tokio::time::timeout(COMPILE_TIME, async {
        let mut text = Vec::new();
        let mut complaints = complaints.take(COMPLAINT_BYTES_MAX);
        complaints.read_to_end(&mut text).await?;
        // Beyond what is kept it may write into the void, and not wait for a reader.
        drop(complaints);
        Ok((child.wait().await?, text))
    });
    let Ok(ended) = ended.await else {
        return Err(CompileError::Refused(format!(
            "compiling it takes more than {} s",
            COMPILE_TIME.as_secs()
        )));
    };
    let (status, text) = ended.map_err(failed("wait for"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(_) => Err(CompileError::Refused(
            String::from_utf8_lossy(&text).trim().to_owned(),
        )),
        // Out of memory ends in an abort, out of time in a signal: both come from the component.
        None => Err(CompileError::Refused(format!(
            "compiling it takes more memory or time than it may ({status})"
        ))),
    }
}
