//! One configuration of wasmtime for the side that compiles and the side that runs; they must agree, or artefacts
//! are refused.
//!
//! It holds nothing per run: limits of one run are set on its store.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig};

/// The release of wasmtime that this program was built with. Artefacts of any other are refused.
pub const WASMTIME_VERSION: &str = wasmtime_environ::VERSION;

/// What plugins are compiled for. Naming it keeps the compiler from using what this very processor can do beyond
/// its architecture's baseline, so that an artefact runs on every machine of the architecture.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub const TARGET: Option<&str> = Some("x86_64-unknown-linux-gnu");
/// See above.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "musl"))]
pub const TARGET: Option<&str> = Some("x86_64-unknown-linux-musl");
/// See above.
#[cfg(all(target_os = "linux", target_arch = "aarch64", target_env = "gnu"))]
pub const TARGET: Option<&str> = Some("aarch64-unknown-linux-gnu");
/// See above.
#[cfg(all(target_os = "linux", target_arch = "aarch64", target_env = "musl"))]
pub const TARGET: Option<&str> = Some("aarch64-unknown-linux-musl");
/// Elsewhere the compiler finds out by itself.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    any(target_env = "gnu", target_env = "musl")
)))]
pub const TARGET: Option<&str> = None;

/// What plugins can be compiled for on any machine.
pub const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Stack of WebAssembly frames. A plugin that needs more recurses without an end.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Stack of a fiber: the guest's frames and, above them, those of the host calls it makes.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Memory of a pooled slot that stays mapped between two runs: what a small plugin touches.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// The most linear memory a pooled slot can have; a job's own limit is below it.
const POOLED_MEMORY_BYTES_MAX: usize = 512 << 20;

/// Table elements of a pooled slot; a job's own limit is below it.
const POOLED_TABLE_ELEMENTS_MAX: usize = 20_000;

/// Core instances, tables and memories of one component at most: what `wit-component` makes needs four.
const POOLED_PARTS_MAX: u32 = 16;

/// Where a run's memory comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Mapped for each run and given back after it: for one-shot commands.
    #[default]
    OnDemand,
    /// From slots for this many runs at a time, made once: for servers.
    Pool(u32),
}

/// Which half of the engine is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes artefacts.
    #[cfg(feature = "compiler")]
    Compile,
    /// Runs artefacts; holds no compiler, so that it starts at once.
    Run(Allocation),
}

/// One configuration for both halves; `target`: of [`TARGETS`], or this machine.
pub(crate) fn config(role: Role, target: Option<&str>) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    if let Some(target) = target {
        config.target(target)?;
    }
    config.module_version(ModuleVersionStrategy::Custom(WASMTIME_VERSION.to_owned()))?;
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config.max_wasm_stack(WASM_STACK_BYTES);
    config.async_stack_size(FIBER_STACK_BYTES);
    // What one guest leaves on a stack is never seen by the next.
    config.async_stack_zeroing(true);

    // Traps are reported without the guest's frames; their tables would be a sixth of every artefact.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    config.native_unwind_info(false);

    // What plugins need and nothing more. Garbage collection and threads are compiled in all the same: two
    // advisories concern builds without them.
    config.wasm_component_model(true);
    config.concurrency_support(false);
    config.wasm_threads(false);
    config.wasm_gc(false);
    config.wasm_function_references(false);
    config.wasm_exceptions(false);
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_relaxed_simd(false);
    config.wasm_tail_call(false);
    config.wasm_stack_switching(false);
    config.wasm_custom_page_sizes(false);
    config.wasm_wide_arithmetic(false);

    match role {
        #[cfg(feature = "compiler")]
        Role::Compile => {}
        Role::Run(allocation) => {
            #[cfg(feature = "compiler")]
            config.enable_compiler(false);
            if let Allocation::Pool(runs) = allocation {
                config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(runs)));
            }
        }
    }
    Ok(config)
}

fn pool(runs: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let parts = runs.saturating_mul(POOLED_PARTS_MAX);
    pool.total_component_instances(runs)
        .total_core_instances(parts)
        .total_memories(runs.saturating_mul(2))
        .total_tables(parts)
        .total_stacks(runs)
        .max_core_instances_per_component(POOLED_PARTS_MAX)
        .max_tables_per_component(POOLED_PARTS_MAX)
        .max_memory_size(POOLED_MEMORY_BYTES_MAX)
        .table_elements(POOLED_TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(runs)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}
