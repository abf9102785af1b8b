//! 32, 33: panics, divides by zero, reads beyond its memory, calls what is no function, exits.

use kit::{Answer, Context, Failure};

fn run(context: &Context) -> Answer {
    let zero = std::hint::black_box(0_i32);
    match kit::param(context, "how") {
        "panic" => panic!(
            "these are my last words\nand \u{1b}[31mmore\u{1b}[0m {}",
            "x".repeat(10_000)
        ),
        "unreachable" => core::arch::wasm32::unreachable(),
        // Rust checks its own divisions; this one it does not see.
        "divide" => {
            let divided = std::hint::black_box(i32::checked_div as fn(i32, i32) -> Option<i32>)(1, zero);
            divided.expect("nothing divided by nothing");
        }
        "read" => {
            // SAFETY: there is none; the address is beyond any memory that this guest may have.
            std::hint::black_box(unsafe {
                std::ptr::with_exposed_provenance::<u8>(0xffff_fff0).read_volatile()
            });
        }
        "call" => {
            // SAFETY: there is none; no function is at this place of the table.
            let nothing: fn() = unsafe { std::mem::transmute(0x7fff_ffff_usize) };
            std::hint::black_box(nothing)();
        }
        "exit-0" => std::process::exit(0),
        "exit-7" => std::process::exit(7),
        how => return Err(Failure::InvalidParams(how.to_owned())),
    }
    kit::done()
}

kit::guest!(run);
