//! What the SQLite ledger keeps for those who watch: measurements, standings and the outbox.
//!
//! Run history is the module's own.

use std::time::Duration;

use async_trait::async_trait;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::LedgerError;
use sereno_core::ports::watch::{
    Aftermath, Letter, MeasurementQuery, OUTBOX_KEPT, OutboxQuery, Outgoing, Sample, Settled, Standing, Watch,
};
use sereno_core::report::Measurement;
use sereno_core::run::{RunEvent, RunState};
use sereno_core::value::Instant;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::fault::fault;
use super::{SqliteLedger, add_measurements, sql};
use crate::ledger::ballast::Ballast;
use crate::ledger::projection::{self, state_text};
use crate::ledger::{from_json, instant, letter_state_of, letter_state_text, micros, parsed, to_json};

/// What became of the transaction that ends a run.
enum Ended {
    Done,
    Overtaken,
    /// The run was not running.
    Refused,
}

impl SqliteLedger {
    async fn try_settle(
        &self,
        run: &RunId,
        at: Instant,
        events: &[RunEvent],
        change: &projection::Change,
        after: &Aftermath,
    ) -> Result<Ended, LedgerError> {
        const OPERATION: &str = "settle a run";
        let mut turn = self.turn(OPERATION).await?;
        match settle(&mut turn.connection, run, at, events, change, after).await {
            Ok(ended) => {
                turn.give_back();
                Ok(ended)
            }
            Err(error) => Err(turn.give_up(OPERATION, error).await),
        }
    }

    async fn try_post(&self, letters: &[Letter]) -> Result<(), LedgerError> {
        const OPERATION: &str = "write a message";
        let mut turn = self.turn(OPERATION).await?;
        match post_all(&mut turn.connection, letters).await {
            Ok(()) => {
                turn.give_back();
                Ok(())
            }
            Err(error) => Err(turn.give_up(OPERATION, error).await),
        }
    }
}

#[async_trait]
impl Watch for SqliteLedger {
    async fn settle(
        &self,
        run: &RunId,
        at: Instant,
        events: &[RunEvent],
        after: &Aftermath,
    ) -> Result<Settled, LedgerError> {
        if let Ok(change) = projection::change(run, RunState::Running, events) {
            let ended = with_ballast!(self, self.try_settle(run, at, events, &change, after))?;
            match ended {
                Ended::Done => return Ok(Settled::Done),
                Ended::Overtaken => return Ok(Settled::Overtaken),
                Ended::Refused => {}
            }
        }
        let state = self.state("settle a run", run).await?;
        projection::change(run, state, events).map(|_| Settled::Done)
    }

    async fn measurements(&self, query: &MeasurementQuery) -> Result<Vec<Sample>, LedgerError> {
        const OPERATION: &str = "read measurements";
        let statement = sqlx::query(sql::MEASUREMENTS)
            .bind(&query.name)
            .bind(&query.target)
            .bind(micros(query.since))
            .bind(stretch(query.every))
            .bind(i64::from(query.limit));
        let rows = self.execute(OPERATION, statement).await?;
        rows.iter()
            .rev()
            .map(sample)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(OPERATION, &error))
    }

    async fn standings(&self, subjects: &[String]) -> Result<Vec<Standing>, LedgerError> {
        const OPERATION: &str = "read how gauges stand";
        let rows = self
            .execute(OPERATION, sqlx::query(sql::STANDINGS).bind(to_json(&subjects)))
            .await?;
        rows.iter()
            .map(standing)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(OPERATION, &error))
    }

    async fn claim(
        &self,
        now: Instant,
        due: Instant,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<Outgoing>, LedgerError> {
        const OPERATION: &str = "take messages to send";
        let statement = || {
            sqlx::query(sql::CLAIM)
                .bind(micros(now))
                .bind(micros(due))
                .bind(micros(until))
                .bind(i64::from(limit))
        };
        let rows = with_ballast!(self, self.execute(OPERATION, statement()))?;
        outgoing_rows(OPERATION, &rows)
    }

    async fn sent(&self, letter: &str, at: Instant) -> Result<(), LedgerError> {
        let statement = || {
            sqlx::query(sql::SENT)
                .bind(letter)
                .bind(micros(at))
                .bind(micros(at - OUTBOX_KEPT))
        };
        with_ballast!(self, self.execute("mark a message as sent", statement()))?;
        Ok(())
    }

    async fn put_off(&self, letter: &str, reason: &str, next_at: Instant) -> Result<(), LedgerError> {
        let statement = || {
            sqlx::query(sql::PUT_OFF)
                .bind(letter)
                .bind(reason)
                .bind(micros(next_at))
        };
        with_ballast!(self, self.execute("put a message off", statement()))?;
        Ok(())
    }

    async fn post(&self, letters: &[Letter]) -> Result<(), LedgerError> {
        with_ballast!(self, self.try_post(letters))
    }

    async fn outbox(&self, query: &OutboxQuery) -> Result<Vec<Outgoing>, LedgerError> {
        const OPERATION: &str = "list messages";
        let limit = if query.limit == 0 {
            -1
        } else {
            i64::from(query.limit)
        };
        let statement = sqlx::query(sql::OUTBOX)
            .bind(query.state.map(letter_state_text))
            .bind(query.expired.map(micros))
            .bind(limit);
        outgoing_rows(OPERATION, &self.execute(OPERATION, statement).await?)
    }
}

/// A stretch in microseconds; none is the shortest that there is.
fn stretch(every: Option<Duration>) -> i64 {
    every.map_or(1, |every| {
        i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1)
    })
}

async fn settle(
    connection: &mut SqliteConnection,
    run: &RunId,
    at: Instant,
    events: &[RunEvent],
    change: &projection::Change,
    after: &Aftermath,
) -> Result<Ended, sqlx::Error> {
    let bodies: Vec<String> = events.iter().map(to_json).collect();
    let (ended_at, outcome) = change.ended.clone().unzip();
    sqlx::query(sql::BEGIN).execute(&mut *connection).await?;
    let appended = sqlx::query(sql::APPEND_WITHIN)
        .bind(run.as_str())
        .bind(micros(at))
        .bind(to_json(&bodies))
        .bind(state_text(change.state))
        .bind(&change.cursor)
        .bind(ended_at.map(micros))
        .bind(&outcome)
        .fetch_all(&mut *connection)
        .await?;
    if appended.is_empty() {
        sqlx::query(sql::ROLLBACK).execute(connection).await?;
        return Ok(Ended::Refused);
    }
    for standing in &after.standings {
        let written = sqlx::query(if standing.version == 0 {
            sql::FIRST_STANDING
        } else {
            sql::NEXT_STANDING
        })
        .bind(&standing.subject)
        .bind(standing.version)
        .bind(to_json(&standing.body))
        .execute(&mut *connection)
        .await?;
        if written.rows_affected() == 0 {
            sqlx::query(sql::ROLLBACK).execute(connection).await?;
            return Ok(Ended::Overtaken);
        }
    }
    add_measurements(connection, run, at, &after.measurements).await?;
    post(connection, &after.letters).await?;
    if !after.given_up.is_empty() {
        sqlx::query(sql::GIVE_UP)
            .bind(to_json(&after.given_up))
            .bind(micros(at))
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(sql::COMMIT).execute(connection).await?;
    Ok(Ended::Done)
}

async fn post_all(connection: &mut SqliteConnection, letters: &[Letter]) -> Result<(), sqlx::Error> {
    sqlx::query(sql::BEGIN).execute(&mut *connection).await?;
    post(connection, letters).await?;
    sqlx::query(sql::COMMIT).execute(connection).await?;
    Ok(())
}

async fn post(connection: &mut SqliteConnection, letters: &[Letter]) -> Result<(), sqlx::Error> {
    for letter in letters {
        sqlx::query(sql::POST)
            .bind(&letter.id)
            .bind(letter.sink.as_str())
            .bind(&letter.message.subject)
            .bind(micros(letter.created_at))
            .bind(micros(letter.expires_at))
            .bind(to_json(&letter.message))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn sample(row: &SqliteRow) -> Result<Sample, sqlx::Error> {
    Ok(Sample {
        at: row.try_get("at").and_then(instant)?,
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

fn standing(row: &SqliteRow) -> Result<Standing, sqlx::Error> {
    Ok(Standing {
        subject: row.try_get("subject")?,
        version: row.try_get("version")?,
        body: from_json(row.try_get("body")?)?,
    })
}

fn outgoing_rows(operation: &'static str, rows: &[SqliteRow]) -> Result<Vec<Outgoing>, LedgerError> {
    rows.iter()
        .map(outgoing)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(operation, &error))
}

fn outgoing(row: &SqliteRow) -> Result<Outgoing, sqlx::Error> {
    let time = |column| row.try_get(column).and_then(instant);
    let ended_at: Option<i64> = row.try_get("ended_at")?;
    Ok(Outgoing {
        letter: Letter {
            id: row.try_get("id")?,
            sink: parsed(row.try_get("sink")?)?,
            message: from_json(row.try_get("body")?)?,
            created_at: time("created_at")?,
            expires_at: time("expires_at")?,
        },
        state: letter_state_of(row.try_get("state")?)?,
        attempts: row.try_get("attempts")?,
        next_at: time("next_at")?,
        last_error: row.try_get("last_error")?,
        ended_at: ended_at.map(instant).transpose()?,
    })
}
