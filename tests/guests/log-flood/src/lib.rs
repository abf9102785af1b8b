//! 11: more log lines than are kept, more text than is kept, and what is printed besides; then ends well.

use kit::{Answer, Context, log};

fn run(context: &Context) -> Answer {
    let count = 10_000;
    match kit::param(context, "how") {
        "lines" => (0..count).for_each(|n| log::write("info", &format!("line {n}"), &[])),
        "bytes" => (0..count).for_each(|_| log::write("info", &"x".repeat(8 << 10), &[])),
        "fields" => {
            let fields = vec![("key".to_owned(), "value".to_owned()); 1_000];
            (0..count / 10).for_each(|_| log::write("info", "", &fields));
        }
        "print" => (0..count).for_each(|n| println!("printed {n}")),
        // One line of 64 MiB.
        _ => (0..count).for_each(|_| eprint!("{}", "x".repeat(6_710))),
    }
    kit::done()
}

kit::guest!(run);
