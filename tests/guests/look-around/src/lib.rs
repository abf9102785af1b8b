//! 41: reads its arguments, environment, standard input and context, and reports them.

use std::io::Read;

use kit::{Answer, Context};

fn run(context: &Context) -> Answer {
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input);
    kit::done_with(vec![
        kit::finding("args", format!("{:?}", std::env::args().collect::<Vec<_>>())),
        kit::finding("env", format!("{:?}", std::env::vars().collect::<Vec<_>>())),
        kit::finding("stdin", format!("{} bytes, {}", input.len(), read.is_ok())),
        kit::finding("context", format!("{context:?}")),
    ])
}

kit::guest!(run);
