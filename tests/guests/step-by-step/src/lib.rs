//! Removes files a batch at a time; when the host says that time is nearly over, it answers where it stopped.

use kit::{Answer, Context, Continuation, Error, Failure, Outcome, Report, files};

fn run(context: &Context) -> Answer {
    let directory = kit::param(context, "directory");
    let old = kit::old_files(context);
    let mut cursor = context.cursor.clone();
    loop {
        match files::remove_batch(directory, &old, cursor.as_deref(), 1) {
            Ok(removal) => match removal.cursor {
                Some(next) => cursor = Some(next),
                None => return kit::done(),
            },
            Err(Error::Deadline) => {
                return Ok(Outcome::More(Continuation {
                    report: Report {
                        findings: Vec::new(),
                        attributes: Vec::new(),
                    },
                    cursor: cursor.unwrap_or_default(),
                }));
            }
            Err(error) => return Err(Failure::PassedOn(error)),
        }
    }
}

kit::guest!(run);
