//! Begins one removal after another, each with a filter of its own, until the host will not have it.

use kit::{Answer, Context, Failure, files};

fn run(context: &Context) -> Answer {
    let mut filter = kit::old_files(context);
    loop {
        if let Err(error) = files::remove_batch(kit::param(context, "directory"), &filter, None, 1) {
            return Err(Failure::PassedOn(error));
        }
        filter.older_than = filter.older_than.map(|at| at - 1);
    }
}

kit::guest!(run);
