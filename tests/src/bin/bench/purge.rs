//! A purge of rows on PostgreSQL beside one DELETE, with another user's updates beside both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use sereno_tests::house::House;
use sereno_tests::postgres::Cluster;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::measure::{Table, median, rounds};

/// Rows in the table, half of them to be purged.
const ROWS: i64 = 4_000_000;
/// Rows that the other user keeps updating: none of the doomed.
const BUSY_ROWS: i64 = 20_000;

pub(crate) async fn purge(out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n## Purging rows\n\n2 of 4 million rows on PostgreSQL with fsync on, index on (updated_at, id), a fresh table each time (goals: ≤ 1.5 × one DELETE, and updates beside it quicker than beside one DELETE)."
    )?;
    let cluster = Cluster::durable()?;
    let database = cluster.database("bench").await?;
    let mut connection = PgConnection::connect(&database.url).await?;
    let statement =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/baselines/one-delete.sql"))?;
    let home = tempfile::tempdir()?;
    let configuration = format!(
        r#"version = 1
[database.app]
url = "{}"
[job.events]
plugin = "row-retention"
params = {{ database = "app", table = "events", column = "updated_at", keep = "7 days" }}
grant = {{ database.app.tables.events = ["read", "delete"] }}
guard = {{ max_rows_percent = 60 }}
"#,
        database.url
    );
    let mut table = Table::default();
    let mut latencies = BTreeMap::<&str, Vec<f64>>::new();
    let mut batches = Vec::new();
    for _ in 0..rounds() {
        for way in ["one `DELETE`", "`row-retention`"] {
            table_of_events(&mut connection).await?;
            let stop = Arc::new(AtomicBool::new(false));
            let updates = tokio::task::spawn_blocking({
                let (url, stop) = (database.url.clone(), Arc::clone(&stop));
                move || updates(&url, &stop)
            });
            let started = Instant::now();
            if way == "one `DELETE`" {
                sqlx::raw_sql(sql(statement.clone()))
                    .execute(&mut connection)
                    .await?;
            } else {
                let report = House::new(&configuration, home.path())?.run("events").await?;
                ensure!(report.outcome.exit_code() == 0, "{report:#?}");
                batches.extend(batches_of(&mut connection, report.run.as_str()).await?);
            }
            table.add(way, started.elapsed().as_secs_f64());
            stop.store(true, Ordering::Relaxed);
            latencies.entry(way).or_default().extend(updates.await??);
            let left: i64 = sqlx::query("SELECT count(*) FROM public.events")
                .fetch_one(&mut connection)
                .await?
                .get(0);
            ensure!(left == ROWS / 2, "{way} left {left} rows");
        }
    }
    table.print("Time, with another user's updates beside it", "s", 1.0, out)?;
    batches.sort_by(f64::total_cmp);
    writeln!(
        out,
        "\n### Batches, from one commit's record to the next (goal: none over 500 ms)\n\n| batches | median ms | longest ms |\n|---|---|---|\n| {} | {:.0} | {:.0} |",
        batches.len(),
        median(&batches) * 1_000.0,
        batches.last().copied().unwrap_or_default() * 1_000.0
    )?;
    writeln!(
        out,
        "\n### Single-row updates of other rows, beside it\n\n| beside | updates | median ms | p99 ms | longest ms |\n|---|---|---|---|---|"
    )?;
    for (way, mut all) in latencies {
        all.sort_by(f64::total_cmp);
        let p99 = all.get(all.len() * 99 / 100).copied().unwrap_or_default();
        writeln!(
            out,
            "| {way} | {} | {:.2} | {:.2} | {:.2} |",
            all.len(),
            median(&all) * 1_000.0,
            p99 * 1_000.0,
            all.last().copied().unwrap_or_default() * 1_000.0
        )?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the benchmark's own statements, from constants and a file of its own"
)]
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

/// Seconds from each batch's record to the next, which is a batch and the commit before it.
async fn batches_of(connection: &mut PgConnection, run: &str) -> Result<Vec<f64>> {
    let text = "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY batch))::float8 FROM sereno.effect WHERE run = $1 ORDER BY batch OFFSET 1";
    Ok(sqlx::query_scalar(text).bind(run).fetch_all(connection).await?)
}

async fn table_of_events(connection: &mut PgConnection) -> Result<()> {
    let text = format!(
        "DROP TABLE IF EXISTS public.events;
         DROP SCHEMA IF EXISTS sereno CASCADE;
         CREATE TABLE public.events (id bigint NOT NULL, updated_at timestamptz NOT NULL, payload text NOT NULL, hits bigint NOT NULL DEFAULT 0);
         INSERT INTO public.events
         SELECT i, now() - CASE WHEN i <= {half} THEN interval '30 days' ELSE interval '1 day' END - make_interval(secs => i * 0.1), repeat('x', 100)
         FROM generate_series(1, {ROWS}) i;
         ALTER TABLE public.events ADD PRIMARY KEY (id);
         CREATE INDEX events_age ON public.events (updated_at, id);
         ANALYZE public.events;
         CHECKPOINT;",
        half = ROWS / 2
    );
    sqlx::raw_sql(sql(text)).execute(connection).await?;
    Ok(())
}

/// Updates single young rows, one transaction each, until told to stop and at least [`BUSY_ROWS`] / 5 times.
fn updates(url: &str, stop: &AtomicBool) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let mut seconds = Vec::new();
        let mut id = ROWS;
        while !stop.load(Ordering::Relaxed) {
            id = if id <= ROWS - BUSY_ROWS { ROWS } else { id - 1 };
            let started = Instant::now();
            sqlx::query("UPDATE public.events SET hits = hits + 1 WHERE id = $1")
                .bind(id)
                .execute(&mut connection)
                .await?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        Ok(seconds)
    })
}
