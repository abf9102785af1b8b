//! 02: a loop around a host call that costs the guest nothing.

use kit::{Answer, Context, log};

fn run(_context: &Context) -> Answer {
    loop {
        log::write("debug", "again", &[]);
    }
}

kit::guest!(run);
