//! 01: computes for ever.

use kit::{Answer, Context};

fn run(_context: &Context) -> Answer {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

kit::guest!(run);
