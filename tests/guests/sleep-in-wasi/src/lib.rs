//! 31: asks WASI for a clock to sleep by. No plugin gets one, so it is refused before it runs.

use std::time::Duration;

use kit::{Answer, Context};

fn run(_context: &Context) -> Answer {
    std::thread::sleep(Duration::from_hours(1));
    kit::done()
}

kit::guest!(run);
