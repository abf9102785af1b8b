//! Every statement of the PostgreSQL ledger, each table named with its schema.

/// Both rows, or none when the key has had another attempt.
pub(super) const START: &str = "
WITH started AS (
    INSERT INTO sereno.run (id, key, attempt, job, targets, shard, mode, reason, scheduled_at, consent, digest,
                            state, cursor, started_at, events)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8::json, $9, $10, $11, $12, $13::json, $14, 1
    FROM sereno.run WHERE key = $2
    HAVING coalesce(max(attempt), 0) + 1 = $3
    RETURNING id, started_at
)
INSERT INTO sereno.event (run, seq, at, kind, body) SELECT id, 1, started_at, 'started', $15::json FROM started";

/// The row's lock keeps two appends apart; an ended run takes none.
pub(super) const APPEND: &str = "
WITH run AS (
    UPDATE sereno.run
    SET events = events + cardinality($7::text[]), state = $2, cursor = coalesce($3::json, cursor), ended_at = $4,
        outcome = $5
    WHERE id = $1 AND state = 'running'
    RETURNING events - cardinality($7::text[]) AS before
), told AS (
    INSERT INTO sereno.event (run, seq, at, kind, body)
    SELECT $1, before + seq, $6, kind, body::json
    FROM run, unnest($7::text[], $8::text[]) WITH ORDINALITY AS new (body, kind, seq)
), given_back AS (
    UPDATE sereno.lease SET holder = NULL FROM run WHERE holder = $1 AND $2 = 'ended'
), forgotten AS (
    DELETE FROM sereno.lease_lost AS lost USING run WHERE lost.run = $1 AND $2 = 'ended'
), lowered AS (
    DELETE FROM sereno.flag USING run WHERE subject = $1 AND $2 = 'ended'
)
SELECT count(*) FROM run";

macro_rules! run_columns {
    () => {
        "id, key, attempt, job, targets, shard, mode, reason::text AS reason, scheduled_at, consent, digest, state, \
         cursor::text AS cursor, started_at, ended_at, outcome"
    };
}

pub(super) const RUN_BY_PREFIX: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", count(*) OVER () AS found FROM sereno.run WHERE id >= $1 AND id < $2 LIMIT 1"
);

pub(super) const RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM sereno.run WHERE ($1::text IS NULL OR job = $1) AND ($2::text IS NULL OR key = $2) \
     AND (NOT $3 OR state = 'running') AND ($5::text IS NULL OR mode = $5) \
     AND ($6::text IS NULL OR outcome = $6) ORDER BY ordinal DESC LIMIT $4"
);

pub(super) const ORPHANS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM sereno.run WHERE state = 'running' \
     AND NOT EXISTS (SELECT 1 FROM sereno.lease WHERE holder = run.id AND until > $1) ORDER BY ordinal"
);

pub(super) const RUN_STATE: &str = "SELECT state FROM sereno.run WHERE id = $1";

pub(super) const EVENTS: &str = "SELECT seq, at, body::text FROM sereno.event WHERE run = $1 ORDER BY seq";

pub(super) const LAST_EVENT: &str =
    "SELECT body::text FROM sereno.event WHERE run = $1 ORDER BY seq DESC LIMIT 1";

/// Holds the rows until the transaction ends, in the order in which every runner takes them.
pub(super) const SCOPES: &str = "
SELECT scope, holder, job, token, until FROM sereno.lease WHERE scope = ANY ($1) ORDER BY scope FOR UPDATE";

/// The same, of those that a run holds.
pub(super) const OWN_SCOPES: &str = "
SELECT scope, holder, job, token, until FROM sereno.lease WHERE holder = $1 ORDER BY scope FOR UPDATE";

/// Keeps the run from ending until the transaction does.
pub(super) const LOCK_RUNNING: &str =
    "SELECT job FROM sereno.run WHERE id = $1 AND state = 'running' FOR UPDATE";

/// A scope that had no row may have got one from another runner since: then it is left alone, and the count tells.
pub(super) const TAKE_SCOPES: &str = "
INSERT INTO sereno.lease AS lease (scope, holder, job, token, until)
SELECT scope, $3, $4, token, $5 FROM unnest($1::text[], $2::bigint[]) AS new (scope, token)
ON CONFLICT (scope) DO UPDATE
SET holder = excluded.holder, job = excluded.job, token = excluded.token, until = excluded.until
WHERE lease.token < excluded.token AND (lease.holder IS NULL OR lease.holder = ANY ($6))";

pub(super) const LOSE_SCOPE: &str =
    "INSERT INTO sereno.lease_lost (run, scope) VALUES ($1, $2) ON CONFLICT DO NOTHING";

pub(super) const RENEW: &str = "
WITH own AS (UPDATE sereno.lease SET until = $2 WHERE holder = $1 RETURNING 1)
SELECT EXISTS (SELECT 1 FROM own) AND NOT EXISTS (SELECT 1 FROM sereno.lease_lost WHERE run = $1)";

pub(super) const RAISE_FLAG: &str =
    "INSERT INTO sereno.flag (subject, flag, raised_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

pub(super) const LOWER_FLAG: &str = "DELETE FROM sereno.flag WHERE subject = $1 AND flag = $2";

pub(super) const FLAG: &str =
    "SELECT EXISTS (SELECT 1 FROM sereno.flag WHERE subject = ANY ($1) AND flag = $2)";

pub(super) const RAISED: &str = "
SELECT subject, flag, raised_at FROM sereno.flag ORDER BY subject COLLATE \"C\", flag";

/// The body is all of it; what stands beside it is for people who look.
pub(super) const APPROVE: &str = "
INSERT INTO sereno.approval (job, consent, plan, at, body) VALUES ($1, $2, $3, $4, $5::json)
ON CONFLICT (job) DO UPDATE
SET consent = excluded.consent, plan = excluded.plan, at = excluded.at, body = excluded.body";

pub(super) const APPROVAL: &str = "SELECT body::text FROM sereno.approval WHERE job = $1";

pub(super) const MEASURE: &str = "
INSERT INTO sereno.measurement (run, at, name, target, value, unit, note)
SELECT $1, $2, name, target, value, unit, note
FROM unnest($3::text[], $4::text[], $5::float8[], $6::text[], $7::text[]) AS new (name, target, value, unit, note)";

/// Of each stretch the newest row. A stretch is a number of microseconds.
pub(super) const MEASUREMENTS: &str = "
SELECT at, run, name, target, value, unit, note FROM (
    SELECT DISTINCT ON (stretch) at, run, name, target, value, unit, note
    FROM (
        SELECT *, div((extract(epoch FROM at) * 1000000)::numeric, $4::bigint::numeric) AS stretch
        FROM sereno.measurement WHERE name = $1 AND target = $2 AND at >= $3
    ) AS one
    ORDER BY stretch DESC, at DESC
) AS last
ORDER BY at DESC LIMIT $5";

pub(super) const STANDINGS: &str = "
SELECT subject, version, body::text AS body FROM sereno.gauge_state WHERE subject = ANY ($1) ORDER BY subject";

/// Its version is the number of the change, so both take the version that was read.
pub(super) const FIRST_STANDING: &str = "
INSERT INTO sereno.gauge_state (subject, version, body) VALUES ($1, $2 + 1, $3::json) ON CONFLICT DO NOTHING";

pub(super) const NEXT_STANDING: &str = "
UPDATE sereno.gauge_state SET version = version + 1, body = $3::json WHERE subject = $1 AND version = $2";

pub(super) const POST: &str = "
INSERT INTO sereno.outbox (id, sink, subject, created_at, expires_at, body, state, attempts, next_at)
VALUES ($1, $2, $3, $4, $5, $6::json, 'waiting', 0, $4) ON CONFLICT (id) DO NOTHING";

macro_rules! letter_columns {
    () => {
        "id, sink, created_at, expires_at, body::text AS body, state, attempts, next_at, last_error, ended_at"
    };
}

/// The conditions are asked again of a row whose lock was waited for; what another runner is just taking is passed by.
pub(super) const CLAIM: &str = concat!(
    "UPDATE sereno.outbox SET attempts = attempts + 1, next_at = $3 WHERE ordinal IN (
        SELECT one.ordinal FROM sereno.outbox AS one
        WHERE one.state = 'waiting' AND one.next_at <= $2 AND one.expires_at > $1 AND NOT EXISTS (
            SELECT 1 FROM sereno.outbox AS earlier
            WHERE earlier.state = 'waiting' AND earlier.sink = one.sink AND earlier.subject = one.subject
              AND earlier.ordinal < one.ordinal AND earlier.expires_at > $1
        )
        ORDER BY one.ordinal LIMIT $4 FOR UPDATE SKIP LOCKED
    ) RETURNING ",
    letter_columns!()
);

pub(super) const SENT: &str = "
WITH forgotten AS (DELETE FROM sereno.outbox WHERE state <> 'waiting' AND ended_at < $3)
UPDATE sereno.outbox SET state = 'sent', ended_at = $2, last_error = NULL WHERE id = $1 AND state = 'waiting'";

pub(super) const PUT_OFF: &str =
    "UPDATE sereno.outbox SET last_error = $2, next_at = $3 WHERE id = $1 AND state = 'waiting'";

pub(super) const GIVE_UP: &str = "
UPDATE sereno.outbox SET state = 'given-up', ended_at = $2 WHERE id = ANY ($1) AND state = 'waiting'";

pub(super) const OUTBOX: &str = concat!(
    "SELECT ",
    letter_columns!(),
    " FROM sereno.outbox WHERE ($1::text IS NULL OR state = $1) \
     AND ($2::timestamptz IS NULL OR expires_at <= $2) ORDER BY ordinal DESC LIMIT $3"
);

/// What stays although it is old is little, so that an index over ends finds the rest at once.
pub(super) const FORGET: &str = "
WITH forgotten AS MATERIALIZED (
    SELECT id FROM sereno.run AS old
    WHERE ended_at < $1
      AND (SELECT count(*) FROM (
          SELECT 1 FROM sereno.run WHERE job = old.job AND ordinal > old.ordinal LIMIT $2) AS newer) >= $2
      AND (mode <> 'apply' OR outcome <> 'succeeded' OR EXISTS (
          SELECT 1 FROM sereno.run
          WHERE job = old.job AND ordinal > old.ordinal AND mode = 'apply' AND outcome = 'succeeded'))
    ORDER BY ordinal LIMIT $3),
events AS (DELETE FROM sereno.event WHERE run IN (SELECT id FROM forgotten)),
measurements AS (DELETE FROM sereno.measurement WHERE run IN (SELECT id FROM forgotten)),
scopes AS (DELETE FROM sereno.lease WHERE holder IS NULL AND until < $1)
DELETE FROM sereno.run WHERE id IN (SELECT id FROM forgotten)";
