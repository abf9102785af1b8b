//! Lets every backup go, the best one last; makes backups until it may not; and asks for what it was not granted.

use kit::{Answer, Context, Error, Finding, backup};

fn answer<T>(call: &str, result: Result<T, Error>) -> Finding {
    let text = match result {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    kit::finding(call, text)
}

fn run(context: &Context) -> Answer {
    let (database, storage) = ("app", "backups");
    let mut findings = Vec::new();
    match kit::param(context, "how") {
        "make" => loop {
            if let Err(error) = backup::create(database, storage, "logical") {
                findings.push(answer::<()>("create", Err(error)));
                break;
            }
        },
        "beyond" => {
            findings.push(answer("other", backup::backups(database, "others")));
            findings.push(answer(
                "into",
                backup::restore(database, storage, "x", database, true),
            ));
            for id in ["../x", "", "a/b", "\0"] {
                findings.push(answer(
                    "verify",
                    backup::verify(database, storage, id, "checksums"),
                ));
                findings.push(answer("expire", backup::expire(database, storage, id)));
            }
            findings.push(answer(
                "level",
                backup::verify(database, storage, "x", "restored"),
            ));
            findings.push(answer("kind", backup::create(database, storage, "kind")));
        }
        _ => {
            for one in backup::backups(database, storage).unwrap_or_default() {
                findings.push(answer("expire", backup::expire(database, storage, &one.id)));
            }
        }
    }
    kit::done_with(findings)
}

kit::guest!(run);
