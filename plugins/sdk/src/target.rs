//! What findings and measurements are about, written as grants write it.

/// `directory.temp`.
pub fn directory(name: &str) -> String {
    format!("directory.{name}")
}

/// `writer.app`.
pub fn writer(name: &str) -> String {
    format!("writer.{name}")
}

/// `database.app`.
pub fn database(name: &str) -> String {
    format!("database.{name}")
}

/// `database.app.tables.user_sessions`; a name that TOML would quote is quoted.
pub fn table(database: &str, table: &str) -> String {
    let bare = !table.is_empty()
        && table
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare {
        format!("database.{database}.tables.{table}")
    } else {
        format!("database.{database}.tables.{table:?}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_table_in_a_schema_is_quoted_as_in_a_grant() {
        assert_eq!(
            super::table("app", "user_sessions"),
            "database.app.tables.user_sessions"
        );
        assert_eq!(
            super::table("app", "billing.rows"),
            r#"database.app.tables."billing.rows""#
        );
    }
}
