//! What a delete would set off besides itself: triggers, and foreign keys that follow however far.
//!
//! It judges nothing: the guard asks the operator.

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Hazard};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::super::sql::Sql;
use super::catalogue;
use super::session::Session;

/// A foreign key by which rows follow.
struct Follows {
    parent: String,
    child: String,
    action: String,
}

const FOLLOWS: &str = "SELECT DISTINCT f.\"table\", t.name, f.on_delete \
    FROM pragma_table_list AS t, pragma_foreign_key_list(t.name, 'main') AS f \
    WHERE t.schema = 'main' AND t.type = 'table' AND f.on_delete NOT IN ('NO ACTION', 'RESTRICT') ORDER BY t.name";

async fn follows(session: &mut Session<'_>) -> Result<Vec<Follows>, DatabaseError> {
    let doing = session.doing;
    let read = |row: &SqliteRow| -> Result<_, sqlx::Error> {
        Ok(Follows {
            parent: row.try_get(0)?,
            child: row.try_get(1)?,
            action: row.try_get(2)?,
        })
    };
    let rows = session.all(Sql::new(FOLLOWS)).await?;
    rows.iter()
        .map(|row| read(row).map_err(|error| doing.sqlite(&error)))
        .collect()
}

/// Triggers of the table, and of those that follow it, that what happens to their rows would set off.
async fn triggers(
    session: &mut Session<'_>,
    wanted: &TableName,
    table: &str,
    event: Event,
) -> Result<Vec<Hazard>, DatabaseError> {
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.sqlite(&error);
    let mut sql = Sql::new("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ");
    sql.bind(table).push(" COLLATE NOCASE ORDER BY name");
    let mut hazards = Vec::new();
    for row in session.all(sql).await? {
        let name: String = row.try_get(0).map_err(fault)?;
        let text: String = row.try_get(1).map_err(fault)?;
        let happens = match event {
            Event::Delete => "deleted from",
            Event::Update => "changed in",
        };
        let (place, along) = if table.eq_ignore_ascii_case(&wanted.table) {
            (String::new(), "")
        } else {
            (format!("{table}."), " along")
        };
        if may_fire(&text, event) {
            hazards.push(Hazard {
                text: format!("the trigger {name} runs for every row that is{along} {happens} {table}"),
                name: format!("trigger:{place}{name}"),
            });
        }
    }
    Ok(hazards)
}

/// Triggers, and foreign keys that a delete would follow, however far.
pub(super) async fn find(
    session: &mut Session<'_>,
    wanted: &TableName,
) -> Result<Vec<Hazard>, DatabaseError> {
    catalogue::table(session, wanted).await?;
    let follows = follows(session).await?;
    let mut reach = vec![(wanted.table.as_str(), Event::Delete)];
    let (mut set_off, mut cascades) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(&(parent, event)) = reach.get(at) {
        at += 1;
        set_off.extend(triggers(session, wanted, parent, event).await?);
        let children = follows
            .iter()
            .filter(|key| event == Event::Delete && key.parent.eq_ignore_ascii_case(parent));
        for Follows { child, action, .. } in children {
            cascades.push(Hazard {
                text: format!(
                    "rows of {child} follow by ON DELETE {action} when rows of {parent} are deleted"
                ),
                name: format!("cascade:{child}"),
            });
            let next = match action.as_str() {
                "CASCADE" => Event::Delete,
                _ => Event::Update,
            };
            let is_known =
                |(table, known): &(&str, Event)| table.eq_ignore_ascii_case(child) && *known == next;
            if !reach.iter().any(is_known) {
                reach.push((child, next));
            }
        }
    }
    set_off.extend(cascades);
    Ok(set_off)
}

/// What happens to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Delete,
    /// By SET NULL or SET DEFAULT.
    Update,
}

/// True unless the text of a trigger says that it is for something else.
fn may_fire(create: &str, event: Event) -> bool {
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
    let others = match event {
        Event::Delete => ["INSERT", "UPDATE"],
        Event::Update => ["INSERT", "DELETE"],
    };
    let said = words.find(|word| {
        !["BEFORE", "AFTER", "INSTEAD", "OF"]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w))
    });
    !said.is_some_and(|said| others.iter().any(|other| said.eq_ignore_ascii_case(other)))
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
            assert_eq!(may_fire(text, Event::Delete), dangerous, "{text}");
        }
        let update = "CREATE TRIGGER t -- delete\n UPDATE OF x ON a BEGIN DELETE FROM b; END";
        assert!(may_fire(update, Event::Update));
        assert!(!may_fire(
            "CREATE TRIGGER t AFTER DELETE ON a BEGIN SELECT 1; END",
            Event::Update
        ));
    }
}
