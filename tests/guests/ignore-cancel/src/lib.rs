//! Asks the host for something again and again, whatever it answers.

use kit::{Answer, Context, files};

fn run(context: &Context) -> Answer {
    let directory = kit::param(context, "directory");
    loop {
        drop(std::hint::black_box(files::usage(directory)));
    }
}

kit::guest!(run);
