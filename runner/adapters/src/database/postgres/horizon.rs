//! Who keeps dead rows from being removed, and rebuilds from being finished: transactions and standbys that may still see
//! what was deleted.
//!
//! Transactions of roles that ours may not look at are not seen; they cost time, not safety.

use std::time::Duration;

use sereno_core::ports::database::DatabaseError;
use sereno_core::units::show_duration;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::sql::Sql;
use super::session::Session;

/// REINDEX CONCURRENTLY waits for every older transaction: behind one this old it would only spend its time.
const LONG_TRANSACTION: Duration = Duration::from_secs(600);

/// The oldest first. A session that has written has a transaction of its own, and a snapshot only while it reads; a
/// prepared transaction has no session; a slot holds what its standby or consumer has not had yet.
const HOLDERS: &str = "SELECT h.who, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - h.since)::int8 FROM ( \
        SELECT 'the transaction of process ' || a.pid, a.xact_start, \
            greatest(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid)) \
            FROM pg_catalog.pg_stat_activity AS a WHERE a.pid <> pg_catalog.pg_backend_pid() \
            AND (a.datname = current_database() OR a.backend_type = 'walsender') \
            AND a.backend_type <> 'autovacuum worker' \
        UNION ALL SELECT 'the prepared transaction ' || x.gid, x.prepared, pg_catalog.age(x.transaction) \
            FROM pg_catalog.pg_prepared_xacts AS x WHERE x.database = current_database() \
        UNION ALL SELECT 'the replication slot ' || s.slot_name, NULL, pg_catalog.age(s.xmin) \
            FROM pg_catalog.pg_replication_slots AS s \
    ) AS h (who, since, age) WHERE h.age IS NOT NULL ORDER BY h.age DESC, h.since LIMIT 100";

/// Something that holds the horizon.
struct Holder {
    who: String,
    /// None: it is not open, it stands.
    open_for: Option<Duration>,
}

async fn holders(session: &mut Session) -> Result<Vec<Holder>, DatabaseError> {
    let doing = session.doing;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let seconds: Option<i64> = row.try_get(1)?;
        Ok(Holder {
            who: row.try_get(0)?,
            open_for: seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default())),
        })
    };
    let rows = session.all(Sql::new(HOLDERS)).await?;
    rows.iter()
        .map(|row| read(row).map_err(|error| doing.postgres(&error)))
        .collect()
}

/// Who holds it the longest.
pub(super) async fn oldest(session: &mut Session) -> Result<Option<String>, DatabaseError> {
    Ok(holders(session)
        .await?
        .into_iter()
        .next()
        .map(|holder| holder.who))
}

/// Why a rebuild would wait.
pub(super) async fn long_transaction(session: &mut Session) -> Result<Option<String>, DatabaseError> {
    let holders = holders(session).await?;
    let mut open = holders
        .into_iter()
        .filter_map(|holder| holder.open_for.map(|open| (open, holder.who)));
    Ok(open
        .find(|(open, _)| *open > LONG_TRANSACTION)
        .map(|(open, who)| format!("it would wait for {who}, open for {}", show_duration(open))))
}
