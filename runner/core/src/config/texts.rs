//! The texts of a configuration that must be readable as something: names, zones, schedules, references, paths.

use super::secret;
use super::shape::{Choice, Complaint, Parsed};
use crate::name::{GaugeName, JobName, NameError, PluginName, RoundName, SinkName, TableName, TargetName};
use crate::schedule::{Schedule, ScheduleError, Zone};

/// For editors; the types of `name` decide.
const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";

fn name<T: std::str::FromStr<Err = NameError>>(text: &str) -> Result<(), Complaint> {
    text.parse::<T>().map(drop).map_err(Complaint::from)
}

impl From<ScheduleError> for Complaint {
    fn from(error: ScheduleError) -> Self {
        Self {
            message: error.message,
            hint: error.hint,
        }
    }
}

pub(super) static JOB_NAME: Parsed = Parsed {
    what: "a job name",
    code: "bad-name",
    pattern: Some(NAME_PATTERN),
    check: name::<JobName>,
};

pub(super) static ROUND_NAME: Parsed = Parsed {
    what: "a round name",
    code: "bad-name",
    pattern: Some(NAME_PATTERN),
    check: name::<RoundName>,
};

pub(super) static PLUGIN_NAME: Parsed = Parsed {
    what: "a plugin name",
    code: "bad-name",
    pattern: Some(NAME_PATTERN),
    check: name::<PluginName>,
};

pub(super) static TARGET_NAME: Parsed = Parsed {
    what: "a name",
    code: "bad-name",
    pattern: Some(NAME_PATTERN),
    check: name::<TargetName>,
};

pub(super) static GAUGE_NAME: Parsed = Parsed {
    what: "a gauge name",
    code: "bad-name",
    pattern: Some(NAME_PATTERN),
    check: name::<GaugeName>,
};

pub(super) static SINK_NAME: Parsed = Parsed {
    what: "a sink name",
    code: "bad-name",
    pattern: Some(NAME_PATTERN),
    check: name::<SinkName>,
};

/// What a measurement is about. Whether it is configured is asked where it is read.
pub(super) static MEASURED: Parsed = Parsed {
    what: "what was measured, as a grant path",
    code: "bad-target",
    pattern: Some("^(database|directory|storage)\\..+$"),
    check: |text| {
        let known = ["database.", "directory.", "storage."];
        if known
            .iter()
            .any(|start| text.strip_prefix(start).is_some_and(|rest| !rest.is_empty()))
        {
            return Ok(());
        }
        Err(Complaint::new(
            format!("`{text}` is no grant path"),
            "write `directory.NAME`, `database.NAME` or `database.NAME.tables.TABLE`",
        ))
    },
};

pub(super) static TABLE_NAME: Parsed = Parsed {
    what: "a table, as `table` or `schema.table`",
    code: "bad-name",
    pattern: Some(r#"^[^."*]+(\.[^."*]+)?$"#),
    check: name::<TableName>,
};

/// A table, or all of them.
pub(super) static GRANTED_TABLE: Parsed = Parsed {
    what: "a table, as `table` or `\"schema.table\"`, or `\"*\"`",
    code: "bad-name",
    pattern: Some(r#"^(\*|[^."*]+(\.[^."*]+)?)$"#),
    check: |text| {
        if text == "*" {
            Ok(())
        } else {
            name::<TableName>(text)
        }
    },
};

/// The plugin's manifest knows which there are.
pub(super) static PARAM_NAME: Parsed = Parsed {
    what: "a param name",
    code: "bad-name",
    pattern: None,
    check: |text| {
        if text.is_empty() {
            Err(Complaint::new("a param has a name", "write one"))
        } else {
            Ok(())
        }
    },
};

pub(super) static ZONE: Parsed = Parsed {
    what: "a time zone",
    code: "bad-zone",
    pattern: None,
    check: |text| Zone::parse(text).map(drop).map_err(Complaint::from),
};

pub(super) static SCHEDULE: Parsed = Parsed {
    what: "a schedule",
    code: "bad-schedule",
    pattern: None,
    check: |text| Schedule::parse(text).map(drop).map_err(Complaint::from),
};

pub(super) static LEDGER_URL: Parsed = Parsed {
    what: "a database URL",
    code: "bad-url",
    pattern: None,
    check: secret::check_url,
};

pub(super) static DATABASE_URL: Parsed = Parsed {
    what: "a database URL",
    code: "bad-url",
    pattern: None,
    check: secret::check_url,
};

pub(super) static PATH: Parsed = Parsed {
    what: "a path",
    code: "bad-path",
    pattern: None,
    check: |text| {
        if text.is_empty() || text.contains('\0') {
            return Err(Complaint::new(
                "a path cannot be blank",
                "write a folder, absolute or beside this file",
            ));
        }
        if text.contains("${") {
            return Err(Complaint::new(
                "a path takes no references",
                "write the path itself",
            ));
        }
        if text.starts_with('~') {
            return Err(Complaint::new(
                "`~` is something that only a shell knows",
                "write the whole path",
            ));
        }
        Ok(())
    },
};

pub(super) static SQL: Parsed = Parsed {
    what: "an SQL statement",
    code: "bad-sql",
    pattern: None,
    check: |text| {
        if text.trim().is_empty() {
            return Err(Complaint::new("a query has no statement", "write one `SELECT`"));
        }
        Ok(())
    },
};

pub(super) static ACCEPT: Parsed = Parsed {
    what: "a hazard",
    code: "bad-value",
    pattern: Some("^(trigger:.+|cascade:.+|downtime:.+|row-security)$"),
    check: |text| match text.split_once(':') {
        Some(("trigger" | "cascade" | "downtime", name)) if !name.is_empty() => Ok(()),
        None if text == "row-security" => Ok(()),
        _ => Err(Complaint::new(
            format!("`{text}` is not a hazard"),
            "write `trigger:NAME`, `cascade:TABLE`, `downtime:TABLE` or `row-security`, as the plan names it",
        )),
    },
};

pub(super) static EVENT_SOURCE: Parsed = Parsed {
    what: "an event source",
    code: "bad-value",
    pattern: Some("^(rule/[^/]+|schedule/[^/]+/[^/]+)$"),
    check: |text| match text.split('/').collect::<Vec<_>>()[..] {
        ["rule", name] if !name.is_empty() => Ok(()),
        ["schedule", group, name] if !group.is_empty() && !name.is_empty() => Ok(()),
        _ => Err(Complaint::new(
            format!("`{text}` is not an event source"),
            "write `rule/NAME` or `schedule/GROUP/NAME`, the end of its ARN",
        )),
    },
};

pub(super) static SCOPE: Choice = Choice {
    what: "a scope",
    code: "bad-value",
    texts: &["host", "shared"],
};

pub(super) static TIME_FORMAT: Choice = Choice {
    what: "a time format",
    code: "bad-value",
    texts: &["text", "iso", "epoch", "epoch-ms"],
};

pub(super) static QUERY_TYPE: Choice = Choice {
    what: "a type of a query's param",
    code: "bad-value",
    texts: &["text", "integer", "real", "boolean", "timestamp"],
};

pub(super) static FENCE: Choice = Choice {
    what: "a kind of fence",
    code: "bad-value",
    texts: &["database", "ledger only"],
};

pub(super) static PLACE: Choice = Choice {
    what: "a place",
    code: "bad-value",
    texts: &["any", "lambda", "container"],
};

pub(super) static TABLE_VERB: Choice = Choice {
    what: "a verb of a table",
    code: "bad-verb",
    texts: &[
        "read",
        "delete",
        "detach",
        "drop",
        "vacuum",
        "analyze",
        "reindex",
        "vacuum-full",
    ],
};

pub(super) static WHOLE_VERB: Choice = Choice {
    what: "a verb of a whole database",
    code: "bad-verb",
    texts: &[
        "read",
        "vacuum",
        "analyze",
        "reindex",
        "terminate",
        "backup",
        "restore",
    ],
};

pub(super) static QUERY_VERB: Choice = Choice {
    what: "a verb of a query",
    code: "bad-verb",
    texts: &["query"],
};

pub(super) static DIRECTORY_VERB: Choice = Choice {
    what: "a verb of a directory",
    code: "bad-verb",
    texts: &["read", "read-content", "remove", "rename", "compress", "truncate"],
};

pub(super) static ORIGIN_VERB: Choice = Choice {
    what: "a verb of an origin",
    code: "bad-verb",
    texts: &["get", "post"],
};

pub(super) static STORAGE_VERB: Choice = Choice {
    what: "a verb of a storage",
    code: "bad-verb",
    texts: &["read", "write", "remove"],
};

pub(super) static WRITER_VERB: Choice = Choice {
    what: "a verb of a writer",
    code: "bad-verb",
    texts: &["notify"],
};

pub(super) static SIGNAL: Choice = Choice {
    what: "a signal",
    code: "bad-value",
    texts: &["HUP", "USR1", "USR2"],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::grant::{Interface, Verb};

    #[test]
    fn the_verbs_of_grants_are_those_of_the_contract() {
        let choices = [
            &TABLE_VERB,
            &WHOLE_VERB,
            &QUERY_VERB,
            &DIRECTORY_VERB,
            &ORIGIN_VERB,
            &STORAGE_VERB,
            &WRITER_VERB,
        ];
        let granted: BTreeSet<&str> = choices.iter().flat_map(|choice| choice.texts).copied().collect();
        let offered: BTreeSet<&str> = Interface::ALL
            .iter()
            .flat_map(|(_, interface)| interface.verbs())
            .map(|verb| verb.as_str())
            .collect();
        assert_eq!(granted, offered);
        assert!(Verb::ALL.iter().all(|(text, _)| offered.contains(text)));
    }
}
