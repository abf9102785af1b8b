//! What every test guest shares: the contract's bindings, straight from `wit/`, and few words more.
//!
//! No SDK: these guests do what no SDK would.

// Of these bindings nothing but what a guest calls ends up in its imports.
#[allow(clippy::all, clippy::pedantic, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "kit",
    });
}

pub use bindings::*;
pub use sereno::plugin::types::{Condition, Continuation, Error, Finding, Report, Value};
pub use sereno::plugin::{
    backup, database_read, database_upkeep, database_write, files, http, log, measurements, notify_writer,
    storage,
};

/// What a guest's `run` answers.
pub type Answer = Result<Outcome, Failure>;

/// Makes a function the plugin's `run`.
#[macro_export]
macro_rules! guest {
    ($run:path) => {
        struct Plugin;
        impl $crate::Guest for Plugin {
            fn run(context: $crate::Context) -> $crate::Answer {
                $run(&context)
            }
        }
        $crate::export!(Plugin with_types_in $crate);
    };
}

/// The text of the param `name`; params of test guests are plain texts without quotes.
#[must_use]
pub fn param<'a>(context: &'a Context, name: &str) -> &'a str {
    let key = format!("\"{name}\":\"");
    context
        .params
        .split_once(&key)
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(value, _)| value)
}

/// All done, with nothing to say.
///
/// # Errors
/// Never.
pub fn done() -> Answer {
    done_with(Vec::new())
}

/// All done, with these findings.
///
/// # Errors
/// Never.
pub fn done_with(findings: Vec<Finding>) -> Answer {
    Ok(Outcome::Done(Report {
        findings,
        attributes: Vec::new(),
    }))
}

/// A finding with this code and text.
#[must_use]
pub fn finding(code: &str, text: impl Into<String>) -> Finding {
    Finding {
        code: code.to_owned(),
        severity: "info".to_owned(),
        target: String::new(),
        text: text.into(),
        next: None,
    }
}

/// Files that were old a year before the run; no guard of a test stands in the way of those.
#[must_use]
pub fn old_files(context: &Context) -> files::FileFilter {
    files::FileFilter {
        older_than: Some(context.scheduled_at - 365 * 86_400_000_000),
        ..every_file()
    }
}

/// Every file, whatever its age.
#[must_use]
pub fn every_file() -> files::FileFilter {
    files::FileFilter {
        older_than: None,
        age_by: Vec::new(),
        include: Vec::new(),
        exclude: Vec::new(),
        recursive: true,
        directory_as_unit: false,
        remove_emptied: false,
        attributes: Vec::new(),
    }
}
