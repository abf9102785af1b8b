//! What changed since the last report: the same names held against each other.
//!
//! What was not there before is new, and has no change: there is nothing to reckon it from.

use std::collections::BTreeMap;

use crate::report::{DatabaseUse, Gone, UsageReport, difference};

/// Tables that are no more, told by name.
const GONE_MAX: usize = 50;

impl UsageReport {
    /// Reckons every change from `last`.
    pub(crate) fn compare(&mut self, last: &Self) {
        self.since = Some(last.at);
        for database in &mut self.databases {
            if let Some(before) = last.databases.iter().find(|before| before.name == database.name) {
                database.compare(before);
            }
        }
        for disk in &mut self.disks {
            let before = last.disks.iter().find(|before| before.name == disk.name);
            disk.change = before.and_then(|before| difference(disk.bytes_used, before.bytes_used));
        }
    }
}

impl DatabaseUse {
    fn compare(&mut self, last: &Self) {
        self.change = difference(self.bytes, last.bytes);
        let mut before: BTreeMap<(&str, &str), Option<u64>> = last
            .tables
            .iter()
            .map(|table| ((table.schema.as_str(), table.table.as_str()), table.bytes))
            .collect();
        for table in &mut self.tables {
            match before.remove(&(table.schema.as_str(), table.table.as_str())) {
                Some(bytes) => table.change = difference(table.bytes, bytes),
                // Of a list that was cut nobody knows what was in the rest.
                None => table.new = last.tables_left_out == 0,
            }
        }
        if self.tables_left_out == 0 {
            self.gone = before
                .into_iter()
                .take(GONE_MAX)
                .map(|((schema, table), bytes)| Gone {
                    table: format!("{schema}.{table}"),
                    bytes,
                })
                .collect();
        }
        for schema in &mut self.schemas {
            let before = last
                .schemas
                .iter()
                .find(|before| before.schema == schema.schema)
                .filter(|before| before.unknown_tables == 0 && schema.unknown_tables == 0);
            schema.change = before.and_then(|before| difference(Some(schema.bytes), Some(before.bytes)));
        }
        let before: BTreeMap<(&str, &str), Option<u64>> = last
            .indexes
            .iter()
            .map(|index| ((index.table.as_str(), index.index.as_str()), index.bytes))
            .collect();
        for index in &mut self.indexes {
            let bytes = before.get(&(index.table.as_str(), index.index.as_str()));
            index.change = bytes.and_then(|bytes| difference(index.bytes, *bytes));
        }
        for tenants in &mut self.tenants {
            let Some(last) = last.tenants.iter().find(|last| last.by == tenants.by) else {
                continue;
            };
            let before: BTreeMap<&str, _> = last
                .list
                .iter()
                .map(|tenant| (tenant.name.as_str(), tenant))
                .collect();
            for tenant in &mut tenants.list {
                let Some(before) = before.get(tenant.name.as_str()) else {
                    continue;
                };
                tenant.change = difference(tenant.bytes, before.bytes);
                tenant.rows_change = difference(tenant.rows, before.rows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{DiskUse, IndexUse, Moment, SchemaUse, TableUse, TenantUse, Tenants};

    fn table(name: &str, bytes: u64) -> TableUse {
        TableUse {
            schema: "public".to_owned(),
            table: name.to_owned(),
            bytes: Some(bytes),
            ..TableUse::default()
        }
    }

    fn report(at: i64, bytes: u64, tables: Vec<TableUse>) -> UsageReport {
        UsageReport {
            at: Moment(at),
            databases: vec![DatabaseUse {
                name: "app".to_owned(),
                bytes: Some(bytes),
                schemas: vec![SchemaUse {
                    schema: "public".to_owned(),
                    bytes,
                    ..SchemaUse::default()
                }],
                indexes: vec![IndexUse {
                    table: "public.a".to_owned(),
                    index: "a_pkey".to_owned(),
                    bytes: Some(bytes / 10),
                    change: None,
                }],
                tenants: vec![Tenants {
                    by: "query q".to_owned(),
                    list: vec![TenantUse {
                        name: "t1".to_owned(),
                        rows: Some(bytes),
                        ..TenantUse::default()
                    }],
                    ..Tenants::default()
                }],
                tables,
                ..DatabaseUse::default()
            }],
            disks: vec![DiskUse {
                name: "data".to_owned(),
                bytes_used: Some(bytes * 2),
                ..DiskUse::default()
            }],
            ..UsageReport::default()
        }
    }

    #[test]
    fn everything_is_held_against_the_same_name() {
        let last = report(1, 100, vec![table("a", 60), table("b", 40)]);
        let mut now = report(2, 150, vec![table("a", 100), table("c", 50)]);
        now.compare(&last);
        assert_eq!(now.since, Some(Moment(1)));
        let database = &now.databases[0];
        assert_eq!(database.change, Some(50));
        assert_eq!(
            (database.tables[0].change, database.tables[0].new),
            (Some(40), false)
        );
        assert_eq!((database.tables[1].change, database.tables[1].new), (None, true));
        let gone: Vec<_> = database
            .gone
            .iter()
            .map(|gone| (gone.table.as_str(), gone.bytes))
            .collect();
        assert_eq!(gone, [("public.b", Some(40))]);
        assert_eq!(database.schemas[0].change, Some(50));
        assert_eq!(database.indexes[0].change, Some(5));
        assert_eq!(database.tenants[0].list[0].rows_change, Some(50));
        assert_eq!(now.disks[0].change, Some(100));
    }

    #[test]
    fn of_a_list_that_was_cut_nothing_is_new_or_gone() {
        let mut last = report(1, 100, vec![table("a", 60)]);
        last.databases[0].tables_left_out = 3;
        let mut now = report(2, 150, vec![table("c", 50)]);
        now.databases[0].tables_left_out = 3;
        now.compare(&last);
        assert!(!now.databases[0].tables[0].new);
        assert!(now.databases[0].gone.is_empty());
    }
}
