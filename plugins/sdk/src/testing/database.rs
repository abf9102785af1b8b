//! Databases in memory: rows by identity, and statistics that a test writes down.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::FakeHost;
use crate::data::{
    Archive, DatabaseStatistics, DeleteBatch, Filter, IndexStatistics, Operator, Rows, TableStatistics,
    Upkeep, Value,
};
use crate::insight::{
    Activity, Connection, ForeignKey, IndexDetail, Part, Partition, PartitionStep, Partitions, Queries,
    TableSize,
};
use crate::{DatabaseRead, DatabaseUpkeep, DatabaseWrite, End, Error, Instant};

/// Tables, grants and queries of one database.
#[derive(Debug, Default)]
pub struct FakeDatabase {
    tables: BTreeMap<String, FakeTable>,
    granted: BTreeMap<String, BTreeSet<String>>,
    queries: BTreeMap<String, Rows>,
    /// Its size and connections.
    pub statistics: DatabaseStatistics,
    /// The sizes of all its tables.
    pub sizes: Vec<TableSize>,
    /// Its connections; those that are ended go.
    pub connections: Vec<Connection>,
    /// What its statements took; none: nothing counts them.
    pub slow_queries: Option<Queries>,
    /// The texts of its statements.
    pub query_texts: BTreeMap<String, String>,
    /// What is at work.
    pub activities: Vec<Activity>,
}

/// Rows by an id that only the test knows.
#[derive(Debug, Default)]
pub struct FakeTable {
    rows: BTreeMap<u64, BTreeMap<String, Value>>,
    locked: BTreeSet<u64>,
    upkeep: BTreeMap<String, Upkeep>,
    /// Its size and upkeep.
    pub statistics: TableStatistics,
    /// Its indexes.
    pub indexes: Vec<IndexStatistics>,
    /// Their definition and use.
    pub index_details: Vec<IndexDetail>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Its partitions; each step moves one on, or answers why not by [`FakeTable::answers`] on its name.
    pub partitions: Partitions,
}

impl FakeDatabase {
    /// The table `name`, made when it is not there yet.
    pub fn table(&mut self, name: &str) -> &mut FakeTable {
        self.tables.entry(name.to_owned()).or_default()
    }

    /// Grants these verbs on a table.
    pub fn grant(&mut self, table: &str, verbs: &[&str]) -> &mut Self {
        for verb in verbs {
            self.granted
                .entry((*verb).to_owned())
                .or_default()
                .insert(table.to_owned());
        }
        self
    }

    /// What the named query answers.
    pub fn query(&mut self, name: &str, rows: Rows) -> &mut Self {
        self.queries.insert(name.to_owned(), rows);
        self
    }
}

impl FakeTable {
    /// Puts a row there; columns that are left out are NULL.
    pub fn row(&mut self, id: u64, columns: &[(&str, Value)]) -> &mut Self {
        let columns = columns
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        self.rows.insert(id, columns);
        self
    }

    /// Lets another transaction hold the row.
    pub fn lock(&mut self, id: u64) -> &mut Self {
        self.locked.insert(id);
        self
    }

    /// What upkeep (`vacuum`, `analyze`, or an index's name) answers instead of having been done.
    pub fn answers(&mut self, upkeep: &str, result: Upkeep) -> &mut Self {
        self.upkeep.insert(upkeep.to_owned(), result);
        self
    }

    /// The rows that are there, in order of their ids.
    pub fn ids(&self) -> Vec<u64> {
        self.rows.keys().copied().collect()
    }

    fn matching(&self, filter: &Filter) -> impl Iterator<Item = u64> {
        self.rows
            .iter()
            .filter(|(_, row)| matches(row, filter))
            .map(|(id, _)| *id)
    }

    /// Moves a partition on, if it may go.
    fn step(
        &mut self,
        partition: &str,
        state: &str,
        may_go: impl Fn(&Partition) -> bool,
    ) -> Result<PartitionStep, Error> {
        if let Some(Upkeep { note, .. }) = self.upkeep.get(partition) {
            return Ok(PartitionStep {
                note: note.clone(),
                ..PartitionStep::default()
            });
        }
        let missing = || Error::NotFound(format!("partition {partition}"));
        let mut known = self.partitions.partitions.iter_mut();
        let known = known.find(|known| known.name == partition).ok_or_else(missing)?;
        let done = may_go(known);
        if done {
            state.clone_into(&mut known.state);
        }
        Ok(PartitionStep {
            done,
            note: (!done).then(|| "it may not go".to_owned()),
            ..PartitionStep::default()
        })
    }

    fn done(&self, upkeep: &str) -> Upkeep {
        self.upkeep.get(upkeep).cloned().unwrap_or(Upkeep {
            done: true,
            bytes: None,
            note: None,
        })
    }
}

fn matches(row: &BTreeMap<String, Value>, filter: &Filter) -> bool {
    filter.0.iter().all(|condition| {
        let value = row.get(&condition.column).unwrap_or(&Value::Null);
        let order = compare(value, &condition.value);
        match condition.op {
            Operator::IsNull => *value == Value::Null,
            Operator::IsNotNull => *value != Value::Null,
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order.is_some_and(Ordering::is_ne),
            Operator::Less => order.is_some_and(Ordering::is_lt),
            Operator::LessOrEqual => order.is_some_and(Ordering::is_le),
            Operator::Greater => order.is_some_and(Ordering::is_gt),
            Operator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    })
}

/// NULL compares with nothing, and neither do values of different types.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Boolean(a), Value::Boolean(b)) => Some(a.cmp(b)),
        (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Instant(a), Value::Instant(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

impl FakeHost {
    fn in_database(
        &mut self,
        call: &'static str,
        name: &str,
        what: &str,
    ) -> Result<&mut FakeDatabase, Error> {
        self.enter(call, what)?;
        self.databases
            .get_mut(name)
            .ok_or_else(|| Error::NotFound(format!("database.{name} does not exist")))
    }

    fn in_table(&mut self, call: &'static str, name: &str, table: &str) -> Result<&mut FakeTable, Error> {
        let missing = || Error::NotFound(format!("table {table} does not exist"));
        self.in_database(call, name, table)?
            .tables
            .get_mut(table)
            .ok_or_else(missing)
    }
}

impl DatabaseRead for FakeHost {
    fn granted_tables(&mut self, database: &str, verb: &str) -> Result<Vec<String>, Error> {
        let database = self.in_database("granted_tables", database, verb)?;
        Ok(database
            .granted
            .get(verb)
            .into_iter()
            .flatten()
            .cloned()
            .collect())
    }

    fn database_statistics(&mut self, database: &str) -> Result<DatabaseStatistics, Error> {
        Ok(self
            .in_database("database_statistics", database, database)?
            .statistics
            .clone())
    }

    fn tables(&mut self, database: &str, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, Error> {
        let max = self.max(max);
        let sizes = &self.in_database("tables", database, database)?.sizes;
        let from = cursor.map_or(Ok(0), str::parse::<usize>);
        let from = from.map_err(|_| Error::Invalid("not a cursor of this host".to_owned()))?;
        let items: Vec<_> = sizes.iter().skip(from).take(max).cloned().collect();
        let end = from + items.len();
        Ok(Part {
            items,
            cursor: (end < sizes.len()).then(|| end.to_string()),
        })
    }

    fn table_statistics(&mut self, database: &str, table: &str) -> Result<TableStatistics, Error> {
        Ok(self
            .in_table("table_statistics", database, table)?
            .statistics
            .clone())
    }

    fn indexes(&mut self, database: &str, table: &str) -> Result<Vec<IndexStatistics>, Error> {
        Ok(self.in_table("indexes", database, table)?.indexes.clone())
    }

    fn count(&mut self, database: &str, table: &str, filter: &Filter) -> Result<u64, Error> {
        Ok(self.in_table("count", database, table)?.matching(filter).count() as u64)
    }

    fn query(&mut self, database: &str, name: &str, _params: &[Value]) -> Result<Rows, Error> {
        let missing = || Error::NotFound(format!("query {name} does not exist"));
        self.in_database("query", database, name)?
            .queries
            .get(name)
            .cloned()
            .ok_or_else(missing)
    }

    fn index_details(&mut self, database: &str, table: &str) -> Result<Vec<IndexDetail>, Error> {
        Ok(self
            .in_table("index_details", database, table)?
            .index_details
            .clone())
    }

    fn foreign_keys(&mut self, database: &str, table: &str) -> Result<Vec<ForeignKey>, Error> {
        Ok(self
            .in_table("foreign_keys", database, table)?
            .foreign_keys
            .clone())
    }

    fn slow_queries(&mut self, database: &str, _max: u32) -> Result<Queries, Error> {
        let missing = || Error::NotFound("extension pg_stat_statements does not exist".to_owned());
        self.in_database("slow_queries", database, database)?
            .slow_queries
            .clone()
            .ok_or_else(missing)
    }

    fn query_texts(&mut self, database: &str, ids: &[String]) -> Result<Vec<(String, String)>, Error> {
        let texts = &self.in_database("query_texts", database, database)?.query_texts;
        Ok(ids
            .iter()
            .filter_map(|id| Some((id.clone(), texts.get(id)?.clone())))
            .collect())
    }

    fn connections(
        &mut self,
        database: &str,
        _cursor: Option<&str>,
        _max: u32,
    ) -> Result<Part<Connection>, Error> {
        Ok(Part {
            items: self
                .in_database("connections", database, database)?
                .connections
                .clone(),
            cursor: None,
        })
    }

    fn partitions(&mut self, database: &str, table: &str) -> Result<Partitions, Error> {
        Ok(self.in_table("partitions", database, table)?.partitions.clone())
    }

    fn activities(&mut self, database: &str) -> Result<Vec<Activity>, Error> {
        Ok(self
            .in_database("activities", database, database)?
            .activities
            .clone())
    }
}

/// Where a purge stopped: the last visited row's age and id.
fn write_cursor(last: (Instant, u64)) -> String {
    format!("{}/{}", last.0.micros(), last.1)
}

fn read_cursor(text: &str) -> Result<(Instant, u64), Error> {
    let parts = text
        .split_once('/')
        .and_then(|(at, id)| Some((Instant::from_micros(at.parse().ok()?), id.parse().ok()?)));
    parts.ok_or_else(|| Error::Invalid(format!("`{text}` is not a cursor of this host")))
}

impl DatabaseWrite for FakeHost {
    fn delete_batch(
        &mut self,
        database: &str,
        table: &str,
        filter: &Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<DeleteBatch, Error> {
        let max = self.max(max);
        let table = self.in_table("delete_batch", database, table)?;
        if filter.0.is_empty() {
            return Err(Error::Invalid("an empty filter matches every row".to_owned()));
        }
        let after = cursor.map(read_cursor).transpose()?;
        let aged = |id: u64| match table.rows[&id].get(order_by) {
            Some(Value::Instant(at)) => Some((*at, id)),
            _ => None,
        };
        let mut visited: Vec<_> = table
            .matching(filter)
            .filter_map(aged)
            .filter(|row| Some(*row) > after)
            .collect();
        visited.sort_unstable();
        let more = visited.len() > max;
        visited.truncate(max);
        let mut batch = DeleteBatch::default();
        for (_, id) in &visited {
            if !table.locked.contains(id) {
                table.rows.remove(id);
                batch.rows += 1;
            }
        }
        batch.cursor = visited.last().filter(|_| more).copied().map(write_cursor);
        if batch.cursor.is_none() {
            batch.locked = table.matching(filter).count() as u64;
        }
        Ok(batch)
    }

    fn archive_batch(
        &mut self,
        database: &str,
        table: &str,
        filter: &Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
        archive: &Archive,
    ) -> Result<DeleteBatch, Error> {
        self.enter("archive_batch", table)?;
        let before = self.database(database).table(table).ids();
        let batch = self.delete_batch(database, table, filter, order_by, cursor, max)?;
        let left = self.database(database).table(table).ids();
        let gone = before.into_iter().filter(|id| !left.contains(id));
        self.archived
            .entry(format!("{}/{}", archive.storage, archive.prefix))
            .or_default()
            .extend(gone);
        Ok(batch)
    }

    fn detach_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        before: Instant,
    ) -> Result<PartitionStep, Error> {
        let _ = self.in_database("detach_partition", database, partition)?;
        let table = self.database(database).table(table);
        table.step(partition, "detached", |known| {
            known.state.starts_with("attach") && known.upper.is_some_and(|upper| upper <= before)
        })
    }

    fn archive_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        _archive: &Archive,
    ) -> Result<PartitionStep, Error> {
        let _ = self.in_database("archive_partition", database, partition)?;
        let table = self.database(database).table(table);
        table.step(partition, "archived", |known| known.state == "detached")
    }

    fn drop_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        archived_before: Instant,
        _storage: &str,
    ) -> Result<PartitionStep, Error> {
        let _ = self.in_database("drop_partition", database, partition)?;
        let table = self.database(database).table(table);
        let step = table.step(partition, "dropped", |known| {
            known.state == "gone" || known.archived_at.is_some_and(|at| at < archived_before)
        });
        table
            .partitions
            .partitions
            .retain(|known| known.state != "dropped");
        step
    }
}

impl DatabaseUpkeep for FakeHost {
    fn vacuum(&mut self, database: &str, table: &str, analyze: bool, _max_ms: u64) -> Result<Upkeep, Error> {
        let result = self.in_table("vacuum", database, table)?.done("vacuum");
        if analyze {
            self.calls.push(format!("with analyze {table}"));
        }
        Ok(result)
    }

    fn analyze(&mut self, database: &str, table: &str, _max_ms: u64) -> Result<Upkeep, Error> {
        Ok(self.in_table("analyze", database, table)?.done("analyze"))
    }

    fn reindex(&mut self, database: &str, table: &str, index: &str, _max_ms: u64) -> Result<Upkeep, Error> {
        self.in_database("reindex", database, index)?;
        let missing = || Error::NotFound(format!("index {index} does not exist"));
        let table = self.database(database).tables.get(table).ok_or_else(missing)?;
        table
            .indexes
            .iter()
            .find(|known| known.index == index)
            .ok_or_else(missing)?;
        Ok(table.done(index))
    }

    fn vacuum_full(&mut self, database: &str, table: &str, _max_ms: u64) -> Result<Upkeep, Error> {
        Ok(self.in_table("vacuum_full", database, table)?.done("vacuum-full"))
    }

    fn terminate(&mut self, database: &str, connection: &Connection, mode: End) -> Result<Upkeep, Error> {
        let what = format!("{} {}", mode.as_str(), connection.pid);
        let connections = &mut self.in_database("terminate", database, &what)?.connections;
        if let Some(kept) = &connection.kept {
            return Err(Error::Guard(format!("it is never ended: it is {kept}")));
        }
        let before = connections.len();
        if mode == End::Terminate {
            connections.retain(|known| known != connection);
        }
        Ok(Upkeep {
            done: mode == End::Cancel || connections.len() < before,
            bytes: None,
            note: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn a_purge_goes_by_age_in_batches_and_tells_of_locked_rows_at_the_end() {
        let mut host = FakeHost::new();
        host.batch_max = Some(2);
        let table = host.database("app").table("t");
        for (id, day) in [(1, 3), (2, 1), (3, 2), (4, 4), (5, 20)] {
            table.row(id, &[("at", Value::Instant(Instant::utc(2026, 11, day, 0, 0)))]);
        }
        table.row(6, &[]).lock(2);
        let filter = Filter::all().before("at", at("2026-11-10 00:00"));
        let first = host
            .delete_batch("app", "t", &filter, "at", None, 100)
            .expect("a batch");
        assert_eq!(
            (first.rows, first.locked),
            (1, 0),
            "the two oldest, of which one is locked"
        );
        assert_eq!(host.database("app").table("t").ids(), [1, 2, 4, 5, 6]);
        let last = host
            .delete_batch("app", "t", &filter, "at", first.cursor.as_deref(), 100)
            .expect("a batch");
        assert_eq!(
            last,
            DeleteBatch {
                rows: 2,
                cursor: None,
                locked: 1
            }
        );
        assert_eq!(host.database("app").table("t").ids(), [2, 5, 6]);
    }

    #[test]
    fn null_and_values_of_another_type_match_no_comparison() {
        let row = BTreeMap::from([("a".to_owned(), Value::Integer(1))]);
        let with = |column: &str, op, value| matches(&row, &Filter::all().and(column, op, value));
        assert!(with("a", Operator::NotEqual, Value::Integer(2)));
        assert!(!with("a", Operator::NotEqual, Value::Text("2".to_owned())));
        assert!(!with("b", Operator::NotEqual, Value::Integer(2)));
        assert!(with("b", Operator::IsNull, Value::Null));
        assert!(with("a", Operator::IsNotNull, Value::Null));
    }
}
