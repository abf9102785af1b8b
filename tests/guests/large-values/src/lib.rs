//! 09, 10: hands the host a list of many bytes, a list of many empty lists, a long text, or answers with one.

use kit::{Answer, Context, Error, Failure, files, log};

/// Within this guest's own memory, and far beyond what one call may carry.
const BYTES: usize = 16 << 20;
/// An empty list has no bytes, and its place in the host's list has.
const EMPTY: usize = 1_000_000;

fn run(context: &Context) -> Answer {
    let directory = kit::param(context, "directory");
    match kit::param(context, "how") {
        "list" => drop(files::remove(directory, &[vec![0; BYTES]], &kit::every_file())),
        "empty-lists" => drop(files::remove(
            directory,
            &vec![Vec::new(); EMPTY],
            &kit::every_file(),
        )),
        "text" => log::write("info", &"x".repeat(BYTES), &[]),
        "answer" => return Err(Failure::Permanent("x".repeat(BYTES))),
        "error" => return Err(Failure::PassedOn(Error::Fault("x".repeat(BYTES)))),
        how => return Err(Failure::InvalidParams(how.to_owned())),
    }
    kit::done()
}

kit::guest!(run);
