//! Every statement of the SQLite ledger.
//!
//! Parameters are written `$1`: SQLite numbers those anew in every statement of a text, and sqlx knows them by their
//! number.

/// Takes the write lock at once, so that a transaction waits for another before it has read anything.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

pub(super) const COMMIT: &str = "COMMIT";

pub(super) const ROLLBACK: &str = "ROLLBACK";

/// Keeps every other start out until the transaction ends. Answers the rows of the scopes, and the key's highest attempt.
pub(super) const BEGIN_START: &str = "
BEGIN IMMEDIATE;
SELECT scope, holder, job, token, until FROM lease WHERE scope IN (SELECT value FROM json_each($1)) ORDER BY scope;
SELECT coalesce(max(attempt), 0) FROM run WHERE key = $2";

pub(super) const START: &str = "
INSERT INTO lease (scope, holder, job, token, until)
SELECT value ->> 'scope', $3, $6, value ->> 'token', value ->> 'until' FROM json_each($1) WHERE true
ON CONFLICT (scope) DO UPDATE
SET holder = excluded.holder, job = excluded.job, token = excluded.token, until = excluded.until;
INSERT OR IGNORE INTO lease_lost (run, scope) SELECT value ->> 0, value ->> 1 FROM json_each($2);
INSERT INTO run (id, key, attempt, job, targets, shard, mode, reason, scheduled_at, consent, digest, state, cursor,
                 started_at, events)
VALUES ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 1);
INSERT INTO event (run, seq, at, kind, body) VALUES ($3, 1, $16, 'started', $17);
COMMIT";

/// Answers a row when the run was running, and has done nothing otherwise. Each event is a text of its own within
/// the list, so that its bytes stay as they are.
pub(super) const APPEND: &str = "
BEGIN IMMEDIATE;
INSERT INTO event (run, seq, at, kind, body)
SELECT run.id, run.events + 1 + new.key, $2, new.value ->> 'kind', new.value
FROM run, json_each($3) AS new WHERE run.id = $1 AND run.state = 'running';
UPDATE run
SET events = events + json_array_length($3), state = $4, cursor = coalesce($5, cursor), ended_at = $6, outcome = $7
WHERE id = $1 AND state = 'running'
RETURNING events;
UPDATE lease SET holder = NULL WHERE holder = $1 AND $4 = 'ended';
DELETE FROM lease_lost WHERE run = $1 AND $4 = 'ended';
DELETE FROM flag WHERE subject = $1 AND $4 = 'ended';
COMMIT";

macro_rules! run_columns {
    () => {
        "id, key, attempt, job, targets, shard, mode, reason, scheduled_at, consent, digest, state, cursor, \
         started_at, ended_at, outcome"
    };
}

pub(super) const RUN_BY_PREFIX: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", count(*) OVER () AS found FROM run WHERE id >= $1 AND id < $2 LIMIT 1"
);

pub(super) const RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM run WHERE ($1 IS NULL OR job = $1) AND (NOT $2 OR state = 'running') \
     AND ($5 IS NULL OR mode = $5) AND ($6 IS NULL OR outcome = $6) ORDER BY ordinal DESC LIMIT $3"
);

/// A key has few attempts, and its index finds them; the planner would not use it through an `OR`.
pub(super) const RUNS_OF_KEY: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM run WHERE key = $4 AND ($1 IS NULL OR job = $1) AND (NOT $2 OR state = 'running') \
     AND ($5 IS NULL OR mode = $5) AND ($6 IS NULL OR outcome = $6) ORDER BY ordinal DESC LIMIT $3"
);

macro_rules! orphans {
    ($first:literal, $now:literal) => {
        concat!(
            "SELECT ", $first, run_columns!(),
            " FROM run WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM lease WHERE holder = run.id AND until > ",
            $now, ") ORDER BY ordinal"
        )
    };
}

pub(super) const ORPHANS: &str = orphans!("", "$1");

/// Three questions in one go; `part` says which of them a row answers.
pub(super) const PAST: &str = concat!(
    orphans!("'orphan' AS part, ", "$2"),
    "; SELECT 'attempt' AS part, ",
    run_columns!(),
    " FROM run WHERE key = $1 ORDER BY ordinal DESC",
    "; SELECT 'paused' AS part FROM flag WHERE flag = $4 AND subject IN (SELECT value FROM json_each($3)) LIMIT 1"
);

pub(super) const RUN_STATE: &str = "SELECT state FROM run WHERE id = $1";

pub(super) const EVENTS: &str = "SELECT seq, at, body FROM event WHERE run = $1 ORDER BY seq";

pub(super) const LAST_EVENT: &str = "SELECT body FROM event WHERE run = $1 ORDER BY seq DESC LIMIT 1";

/// Answers the rows that the run holds, and a row when it is running.
pub(super) const BEGIN_TAKE_OVER: &str = "
BEGIN IMMEDIATE;
SELECT scope, holder, job, token, until FROM lease WHERE holder = $1 ORDER BY scope;
SELECT 1 FROM run WHERE id = $1 AND state = 'running'";

pub(super) const TAKE_OVER: &str = "
UPDATE lease SET token = own.value ->> 'token', until = own.value ->> 'until'
FROM json_each($1) AS own WHERE lease.scope = own.value ->> 'scope';
INSERT OR IGNORE INTO lease_lost (run, scope) SELECT $2, value ->> 'scope' FROM json_each($1);
COMMIT";

pub(super) const RENEW: &str = "
UPDATE lease SET until = $2 WHERE holder = $1
RETURNING (SELECT count(*) FROM lease_lost WHERE run = $1)";

pub(super) const RAISE_FLAG: &str =
    "INSERT INTO flag (subject, flag, raised_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

pub(super) const LOWER_FLAG: &str = "DELETE FROM flag WHERE subject = $1 AND flag = $2";

pub(super) const FLAG: &str =
    "SELECT EXISTS (SELECT 1 FROM flag WHERE flag = $2 AND subject IN (SELECT value FROM json_each($1)))";

pub(super) const RAISED: &str = "SELECT subject, flag, raised_at FROM flag ORDER BY subject, flag";

/// The body is all of it; what stands beside it is for people who look.
pub(super) const APPROVE: &str = "
INSERT INTO approval (job, consent, plan, at, body) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (job) DO UPDATE
SET consent = excluded.consent, plan = excluded.plan, at = excluded.at, body = excluded.body";

pub(super) const APPROVAL: &str = "SELECT body FROM approval WHERE job = $1";

pub(super) const MEASURE: &str = "
INSERT INTO measurement (run, at, name, target, value, unit, note) VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// [`APPEND`] within a transaction that is open.
pub(super) const APPEND_WITHIN: &str = "
INSERT INTO event (run, seq, at, kind, body)
SELECT run.id, run.events + 1 + new.key, $2, new.value ->> 'kind', new.value
FROM run, json_each($3) AS new WHERE run.id = $1 AND run.state = 'running';
UPDATE run
SET events = events + json_array_length($3), state = $4, cursor = coalesce($5, cursor), ended_at = $6, outcome = $7
WHERE id = $1 AND state = 'running'
RETURNING events;
UPDATE lease SET holder = NULL WHERE holder = $1 AND $4 = 'ended';
DELETE FROM lease_lost WHERE run = $1 AND $4 = 'ended';
DELETE FROM flag WHERE subject = $1 AND $4 = 'ended'";

/// Of each stretch the row with the greatest time: SQLite takes the other columns from the row that has the maximum.
pub(super) const MEASUREMENTS: &str = "
SELECT max(one.at) AS at, run, name, target, value, unit, note FROM measurement AS one
WHERE one.name = $1 AND one.target = $2 AND one.at >= $3
GROUP BY one.at / $4 ORDER BY max(one.at) DESC LIMIT $5";

pub(super) const STANDINGS: &str = "
SELECT subject, version, body FROM gauge_state
WHERE subject IN (SELECT value FROM json_each($1)) ORDER BY subject";

/// Its version is the number of the change, so both take the version that was read.
pub(super) const FIRST_STANDING: &str = "
INSERT INTO gauge_state (subject, version, body) VALUES ($1, $2 + 1, $3) ON CONFLICT DO NOTHING";

pub(super) const NEXT_STANDING: &str = "
UPDATE gauge_state SET version = version + 1, body = $3 WHERE subject = $1 AND version = $2";

pub(super) const POST: &str = "
INSERT INTO outbox (id, sink, subject, created_at, expires_at, body, state, attempts, next_at)
VALUES ($1, $2, $3, $4, $5, $6, 'waiting', 0, $4) ON CONFLICT (id) DO NOTHING";

macro_rules! letter_columns {
    () => {
        "id, sink, created_at, expires_at, body, state, attempts, next_at, last_error, ended_at"
    };
}

/// `RETURNING` answers in no order, which the caller does not need: a subject has one letter a sink among them.
pub(super) const CLAIM: &str = concat!(
    "UPDATE outbox SET attempts = attempts + 1, next_at = $3 WHERE ordinal IN (
        SELECT one.ordinal FROM outbox AS one
        WHERE one.state = 'waiting' AND one.next_at <= $2 AND one.expires_at > $1 AND NOT EXISTS (
            SELECT 1 FROM outbox AS earlier
            WHERE earlier.state = 'waiting' AND earlier.sink = one.sink AND earlier.subject = one.subject
              AND earlier.ordinal < one.ordinal AND earlier.expires_at > $1
        )
        ORDER BY one.ordinal LIMIT $4
    ) RETURNING ",
    letter_columns!()
);

pub(super) const SENT: &str = "
BEGIN IMMEDIATE;
UPDATE outbox SET state = 'sent', ended_at = $2, last_error = NULL WHERE id = $1 AND state = 'waiting';
DELETE FROM outbox WHERE state <> 'waiting' AND ended_at < $3;
COMMIT";

pub(super) const PUT_OFF: &str =
    "UPDATE outbox SET last_error = $2, next_at = $3 WHERE id = $1 AND state = 'waiting'";

pub(super) const GIVE_UP: &str = "
UPDATE outbox SET state = 'given-up', ended_at = $2
WHERE id IN (SELECT value FROM json_each($1)) AND state = 'waiting'";

pub(super) const OUTBOX: &str = concat!(
    "SELECT ",
    letter_columns!(),
    " FROM outbox WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR expires_at <= $2) \
     ORDER BY ordinal DESC LIMIT $3"
);

/// Answers a row for each run. What stays although it is old is little, so that an index over ends finds the rest at once.
pub(super) const FORGET: &str = "
BEGIN IMMEDIATE;
CREATE TEMP TABLE IF NOT EXISTS forgotten (id TEXT PRIMARY KEY);
DELETE FROM forgotten;
INSERT INTO forgotten SELECT id FROM run AS old
WHERE ended_at < $1
  AND (SELECT count(*) FROM (SELECT 1 FROM run WHERE job = old.job AND ordinal > old.ordinal LIMIT $2)) >= $2
  AND (mode <> 'apply' OR outcome <> 'succeeded' OR EXISTS (
      SELECT 1 FROM run WHERE job = old.job AND ordinal > old.ordinal AND mode = 'apply' AND outcome = 'succeeded'))
ORDER BY ordinal LIMIT $3;
DELETE FROM event WHERE run IN (SELECT id FROM forgotten);
DELETE FROM measurement WHERE run IN (SELECT id FROM forgotten);
DELETE FROM lease WHERE holder IS NULL AND until < $1;
DELETE FROM run WHERE id IN (SELECT id FROM forgotten) RETURNING id;
COMMIT";
