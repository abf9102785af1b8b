//! What a delete would set off besides itself: triggers, and foreign keys that follow.
//!
//! It judges nothing: the guard asks the operator.

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Hazard};
use sqlx::Row;

use super::super::sql::Sql;
use super::catalogue;
use super::session::Session;

/// Triggers on DELETE and foreign keys that a delete would follow.
pub(super) async fn find(
    session: &mut Session<'_>,
    wanted: &TableName,
) -> Result<Vec<Hazard>, DatabaseError> {
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.sqlite(&error);
    catalogue::table(session, wanted).await?;
    let mut hazards = Vec::new();
    let mut sql = Sql::new("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ");
    sql.bind(wanted.table.as_str())
        .push(" COLLATE NOCASE ORDER BY name");
    for row in session.all(sql).await? {
        let name: String = row.try_get(0).map_err(fault)?;
        let text: String = row.try_get(1).map_err(fault)?;
        if fires_on_delete(&text) {
            hazards.push(Hazard {
                text: format!("the trigger {name} runs for every row that is deleted from {wanted}"),
                name: format!("trigger:{name}"),
            });
        }
    }
    let mut sql = Sql::new(
        "SELECT DISTINCT t.name, f.on_delete FROM pragma_table_list AS t, pragma_foreign_key_list(t.name, 'main') AS f \
         WHERE t.schema = 'main' AND t.type = 'table' AND f.on_delete NOT IN ('NO ACTION', 'RESTRICT') AND f.\"table\" = ",
    );
    sql.bind(wanted.table.as_str())
        .push(" COLLATE NOCASE ORDER BY t.name");
    for row in session.all(sql).await? {
        let name: String = row.try_get(0).map_err(fault)?;
        let action: String = row.try_get(1).map_err(fault)?;
        hazards.push(Hazard {
            text: format!("rows of {name} follow by ON DELETE {action} when rows of {wanted} are deleted"),
            name: format!("cascade:{name}"),
        });
    }
    Ok(hazards)
}

/// True unless the text of a trigger says that it is for INSERT or UPDATE.
fn fires_on_delete(create: &str) -> bool {
    let words = words(create);
    let mut words = words
        .iter()
        .map(String::as_str)
        .skip_while(|word| !word.eq_ignore_ascii_case("TRIGGER"))
        .skip(1)
        .peekable();
    if words.peek().is_some_and(|word| word.eq_ignore_ascii_case("IF")) {
        words.nth(2);
    }
    // The name, perhaps after its schema.
    words.next();
    while words.peek() == Some(&".") {
        words.nth(1);
    }
    let event = words.find(|word| {
        !["BEFORE", "AFTER", "INSTEAD", "OF"]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w))
    });
    !event.is_some_and(|event| event.eq_ignore_ascii_case("INSERT") || event.eq_ignore_ascii_case("UPDATE"))
}

/// Words, quoted names and single signs, without comments and spaces.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        let closing = match first {
            '"' | '`' | '\'' => Some(first),
            '[' => Some(']'),
            _ => None,
        };
        if let Some(closing) = closing {
            let mut word = String::from(first);
            while let Some(c) = chars.next() {
                if c == closing && chars.peek() != Some(&closing) {
                    break;
                }
                if c == closing {
                    chars.next();
                }
                word.push(c);
            }
            words.push(word);
        } else if first == '-' && chars.peek() == Some(&'-') {
            let _ = chars.by_ref().find(|c| *c == '\n');
        } else if first == '/' && chars.peek() == Some(&'*') {
            let mut last = ' ';
            let _ = chars.by_ref().skip(1).find(|c| {
                let ends = last == '*' && *c == '/';
                last = *c;
                ends
            });
        } else if first.is_alphanumeric() || first == '_' || first == '$' {
            let mut word = String::from(first);
            while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '$') {
                word.push(c);
            }
            words.push(word);
        } else if !first.is_whitespace() {
            words.push(first.to_string());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_dangerous_unless_it_is_for_something_else() {
        for (text, dangerous) in [
            ("CREATE TRIGGER t AFTER DELETE ON a BEGIN SELECT 1; END", true),
            ("CREATE TRIGGER t DELETE ON a BEGIN SELECT 1; END", true),
            (
                "CREATE TRIGGER \"before delete\" AFTER INSERT ON a BEGIN DELETE FROM b; END",
                false,
            ),
            (
                "CREATE TRIGGER IF NOT EXISTS main.t /* insert */ BEFORE DELETE ON a BEGIN SELECT 1; END",
                true,
            ),
            (
                "CREATE TRIGGER t -- delete\n UPDATE OF x ON a BEGIN DELETE FROM b; END",
                false,
            ),
            (
                "CREATE TRIGGER [insert] INSTEAD OF DELETE ON v BEGIN SELECT 1; END",
                true,
            ),
            ("nonsense", true),
        ] {
            assert_eq!(fires_on_delete(text), dangerous, "{text}");
        }
    }
}
