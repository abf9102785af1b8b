//! The statements that a person types to follow the advice. They are text for people; nothing here runs them.

/// What the database has for making indexes without keeping writers out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PostgreSQL, a plain table.
    Concurrent,
    /// PostgreSQL, a partitioned table: its indexes are made and dropped in one go, or partition by partition.
    Partitioned,
    /// SQLite.
    File,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `name` in the schema of `table`, as SQL has it.
fn beside(table: &str, name: &str) -> String {
    match table.split_once('.') {
        Some((schema, _)) => format!("{}.{}", quoted(schema), quoted(name)),
        None => quoted(name),
    }
}

fn bare(table: &str) -> &str {
    table.split_once('.').map_or(table, |(_, bare)| bare)
}

/// Takes an index away.
pub(crate) fn drop(dialect: Dialect, table: &str, index: &str) -> String {
    let name = beside(table, index);
    match dialect {
        Dialect::Concurrent => format!("DROP INDEX CONCURRENTLY {name};"),
        Dialect::Partitioned | Dialect::File => format!("DROP INDEX {name};"),
    }
}

/// Builds one again.
pub(crate) fn rebuild(dialect: Dialect, table: &str, index: &str) -> String {
    let name = beside(table, index);
    match dialect {
        Dialect::Concurrent => format!("REINDEX INDEX CONCURRENTLY {name};"),
        Dialect::Partitioned => format!(
            "CREATE INDEX CONCURRENTLY on each partition that lacks it, and ALTER INDEX {name} ATTACH PARTITION each;"
        ),
        Dialect::File => format!("REINDEX {name};"),
    }
}

/// Makes one on these columns.
pub(crate) fn create(dialect: Dialect, table: &str, columns: &[String]) -> String {
    let on = beside(table, bare(table));
    let list = columns
        .iter()
        .map(|column| quoted(column))
        .collect::<Vec<_>>()
        .join(", ");
    match dialect {
        Dialect::Concurrent => format!("CREATE INDEX CONCURRENTLY ON {on} ({list});"),
        Dialect::Partitioned => format!(
            "CREATE INDEX ON ONLY {on} ({list}); then CREATE INDEX CONCURRENTLY on each partition, and ALTER INDEX ... ATTACH \
             PARTITION each;"
        ),
        Dialect::File => {
            let name = format!("{}_{}", bare(table), columns.join("_"));
            format!("CREATE INDEX {} ON {on} ({list});", quoted(&name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_indexes_are_in_their_tables_schema() {
        let concurrent = Dialect::Concurrent;
        assert_eq!(
            drop(concurrent, "orders", "by_age"),
            "DROP INDEX CONCURRENTLY \"by_age\";"
        );
        assert_eq!(
            drop(concurrent, "billing.orders", "odd\"name"),
            "DROP INDEX CONCURRENTLY \"billing\".\"odd\"\"name\";"
        );
        assert_eq!(drop(Dialect::Partitioned, "orders", "i"), "DROP INDEX \"i\";");
        assert_eq!(
            rebuild(concurrent, "s.t", "i"),
            "REINDEX INDEX CONCURRENTLY \"s\".\"i\";"
        );
    }

    #[test]
    fn a_new_index_keeps_nobody_out_where_that_can_be() {
        let columns = ["a".to_owned(), "B".to_owned()];
        assert_eq!(
            create(Dialect::Concurrent, "s.t", &columns),
            "CREATE INDEX CONCURRENTLY ON \"s\".\"t\" (\"a\", \"B\");"
        );
        let partitioned = create(Dialect::Partitioned, "t", &columns);
        assert!(partitioned.starts_with("CREATE INDEX ON ONLY \"t\" (\"a\", \"B\");"));
        assert_eq!(
            create(Dialect::File, "t", &columns),
            "CREATE INDEX \"t_a_B\" ON \"t\" (\"a\", \"B\");"
        );
    }
}
