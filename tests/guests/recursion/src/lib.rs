//! 05: calls itself for ever.

use kit::{Answer, Context};

// The optimiser must neither see the end nor make a loop of it.
fn deeper(depth: u64) -> u64 {
    let below = std::hint::black_box(deeper as fn(u64) -> u64)(depth + 1);
    std::hint::black_box(below) + depth
}

fn run(_context: &Context) -> Answer {
    std::hint::black_box(deeper(0));
    kit::done()
}

kit::guest!(run);
