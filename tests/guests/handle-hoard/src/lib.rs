//! 13: opens standard output again and again and closes it never.
//!
//! Rust's own standard library opens it once for each use and closes it; forgetting the handles takes a WASI of
//! one's own, which is what the raw import is for.

use kit::{Answer, Context};

#[link(wasm_import_module = "wasi:cli/stdout@0.2.0")]
unsafe extern "C" {
    #[link_name = "get-stdout"]
    fn get_stdout() -> i32;
}

fn run(_context: &Context) -> Answer {
    loop {
        // SAFETY: the function takes nothing and answers a handle; WASI says so.
        std::hint::black_box(unsafe { get_stdout() });
    }
}

kit::guest!(run);
