//! 03: takes a mebibyte at a time and gives none back.

use kit::{Answer, Context};

fn run(_context: &Context) -> Answer {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

kit::guest!(run);
