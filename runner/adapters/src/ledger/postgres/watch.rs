//! What the PostgreSQL ledger keeps for those who watch: measurements, standings and the outbox.
//!
//! Run history is the module's own.

use async_trait::async_trait;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::LedgerError;
use sereno_core::ports::watch::{
    Aftermath, Letter, MeasurementQuery, OUTBOX_KEPT, OutboxQuery, Outgoing, Sample, Settled, Standing, Watch,
};
use sereno_core::report::Measurement;
use sereno_core::run::{RunEvent, RunState};
use sereno_core::value::Instant;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::fault::met_another;
use super::{PostgresLedger, TRIES_MAX, add_measurements, sql, unsigned};
use crate::ledger::projection::{self, state_text};
use crate::ledger::{from_json, kept, letter_state_of, letter_state_text, parsed, to_json};

/// What became of the transaction that ends a run.
enum Ended {
    Done,
    Overtaken,
    /// The run was not running.
    Refused,
}

impl PostgresLedger {
    async fn try_settle(
        &self,
        run: &RunId,
        at: Instant,
        events: &[RunEvent],
        change: &projection::Change,
        after: &Aftermath,
    ) -> Result<Ended, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let ended = settle(&mut transaction, run, at, events, change, after).await?;
        if matches!(ended, Ended::Done) {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(ended)
    }

    async fn try_post(&self, letters: &[Letter]) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        post(&mut transaction, letters).await?;
        transaction.commit().await
    }
}

#[async_trait]
impl Watch for PostgresLedger {
    async fn settle(
        &self,
        run: &RunId,
        at: Instant,
        events: &[RunEvent],
        after: &Aftermath,
    ) -> Result<Settled, LedgerError> {
        const OPERATION: &str = "settle a run";
        if let Ok(change) = projection::change(run, RunState::Running, events) {
            let ended = retried!(
                self.fault,
                OPERATION,
                self.try_settle(run, at, events, &change, after)
            )?;
            match ended {
                Ended::Done => return Ok(Settled::Done),
                Ended::Overtaken => return Ok(Settled::Overtaken),
                Ended::Refused => {}
            }
        }
        let state = self.state(OPERATION, run).await?;
        projection::change(run, state, events).map(|_| Settled::Done)
    }

    async fn measurements(&self, query: &MeasurementQuery) -> Result<Vec<Sample>, LedgerError> {
        let every = query.every.map_or(1, |every| {
            i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1)
        });
        sqlx::query(sql::MEASUREMENTS)
            .bind(&query.name)
            .bind(&query.target)
            .bind(kept(query.since))
            .bind(every)
            .bind(i64::from(query.limit))
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().rev().map(sample).collect())
            .map_err(|error| self.fault("read measurements", &error))
    }

    async fn standings(&self, subjects: &[String]) -> Result<Vec<Standing>, LedgerError> {
        sqlx::query(sql::STANDINGS)
            .bind(subjects)
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(standing).collect())
            .map_err(|error| self.fault("read how gauges stand", &error))
    }

    async fn claim(
        &self,
        now: Instant,
        due: Instant,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<Outgoing>, LedgerError> {
        const OPERATION: &str = "take messages to send";
        let attempt = || {
            sqlx::query(sql::CLAIM)
                .bind(kept(now))
                .bind(kept(due))
                .bind(kept(until))
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
        };
        let rows = retried!(self.fault, OPERATION, attempt())?;
        let taken = rows.iter().map(outgoing).collect::<Result<_, _>>();
        taken.map_err(|error| self.fault(OPERATION, &error))
    }

    async fn sent(&self, letter: &str, at: Instant) -> Result<(), LedgerError> {
        sqlx::query(sql::SENT)
            .bind(letter)
            .bind(kept(at))
            .bind(kept(at - OUTBOX_KEPT))
            .execute(&self.pool)
            .await
            .map_err(|error| self.fault("mark a message as sent", &error))?;
        Ok(())
    }

    async fn put_off(&self, letter: &str, reason: &str, next_at: Instant) -> Result<(), LedgerError> {
        // PostgreSQL's text takes no NUL.
        sqlx::query(sql::PUT_OFF)
            .bind(letter)
            .bind(reason.replace('\0', " "))
            .bind(kept(next_at))
            .execute(&self.pool)
            .await
            .map_err(|error| self.fault("put a message off", &error))?;
        Ok(())
    }

    async fn post(&self, letters: &[Letter]) -> Result<(), LedgerError> {
        retried!(self.fault, "write a message", self.try_post(letters))
    }

    async fn outbox(&self, query: &OutboxQuery) -> Result<Vec<Outgoing>, LedgerError> {
        let limit = (query.limit > 0).then_some(i64::from(query.limit));
        sqlx::query(sql::OUTBOX)
            .bind(query.state.map(letter_state_text))
            .bind(query.expired.map(kept))
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(outgoing).collect())
            .map_err(|error| self.fault("list messages", &error))
    }
}

async fn settle(
    connection: &mut PgConnection,
    run: &RunId,
    at: Instant,
    events: &[RunEvent],
    change: &projection::Change,
    after: &Aftermath,
) -> Result<Ended, sqlx::Error> {
    let bodies: Vec<String> = events.iter().map(to_json).collect();
    let kinds: Vec<&str> = events.iter().map(projection::kind).collect();
    let (ended_at, outcome) = change.ended.clone().unzip();
    let appended: i64 = sqlx::query_scalar(sql::APPEND)
        .bind(run.as_str())
        .bind(state_text(change.state))
        .bind(change.cursor.as_ref().map(to_json))
        .bind(ended_at)
        .bind(&outcome)
        .bind(kept(at))
        .bind(&bodies)
        .bind(&kinds)
        .fetch_one(&mut *connection)
        .await?;
    if appended == 0 {
        return Ok(Ended::Refused);
    }
    // In one order, so that two runners do not wait for each other.
    let mut standings: Vec<&Standing> = after.standings.iter().collect();
    standings.sort_by(|a, b| a.subject.cmp(&b.subject));
    for standing in standings {
        let statement = if standing.version == 0 {
            sql::FIRST_STANDING
        } else {
            sql::NEXT_STANDING
        };
        let written = sqlx::query(statement)
            .bind(&standing.subject)
            .bind(standing.version)
            .bind(to_json(&standing.body))
            .execute(&mut *connection)
            .await?;
        if written.rows_affected() == 0 {
            return Ok(Ended::Overtaken);
        }
    }
    add_measurements(connection, run, at, &after.measurements).await?;
    post(connection, &after.letters).await?;
    if !after.given_up.is_empty() {
        sqlx::query(sql::GIVE_UP)
            .bind(&after.given_up)
            .bind(kept(at))
            .execute(connection)
            .await?;
    }
    Ok(Ended::Done)
}

async fn post(connection: &mut PgConnection, letters: &[Letter]) -> Result<(), sqlx::Error> {
    for letter in letters {
        sqlx::query(sql::POST)
            .bind(&letter.id)
            .bind(letter.sink.as_str())
            .bind(&letter.message.subject)
            .bind(kept(letter.created_at))
            .bind(kept(letter.expires_at))
            .bind(to_json(&letter.message))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn sample(row: &PgRow) -> Result<Sample, sqlx::Error> {
    Ok(Sample {
        at: row.try_get("at")?,
        run: parsed(row.try_get("run")?)?,
        measurement: Measurement {
            name: row.try_get("name")?,
            target: row.try_get("target")?,
            value: row.try_get("value")?,
            unit: row.try_get("unit")?,
            note: row.try_get("note")?,
        },
    })
}

fn standing(row: &PgRow) -> Result<Standing, sqlx::Error> {
    Ok(Standing {
        subject: row.try_get("subject")?,
        version: row.try_get("version")?,
        body: from_json(row.try_get("body")?)?,
    })
}

fn outgoing(row: &PgRow) -> Result<Outgoing, sqlx::Error> {
    Ok(Outgoing {
        letter: Letter {
            id: row.try_get("id")?,
            sink: parsed(row.try_get("sink")?)?,
            message: from_json(row.try_get("body")?)?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
        },
        state: letter_state_of(row.try_get("state")?)?,
        attempts: unsigned(row.try_get::<i32, _>("attempts")?)?,
        next_at: row.try_get("next_at")?,
        last_error: row.try_get("last_error")?,
        ended_at: row.try_get("ended_at")?,
    })
}
