//! What a delete would set off besides itself: triggers, rules, foreign keys that follow however far, heirs, row security.
//!
//! It judges nothing: the guard asks the operator. What an update by SET NULL sets off beyond its triggers is not followed.

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Hazard};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::sql::Sql;
use super::catalogue::{self, Table};
use super::session::Session;

/// `reach (oid, root, deleted)`: every table whose rows a delete would delete or (SET NULL, SET DEFAULT) change, with the
/// table by which a foreign key came to it. A delete takes partitions and heirs along; what follows a foreign key, only
/// partitions. A key that a partition has from its parent is the parent's.
const REACH: &str = "reach (oid, root, deleted) AS (SELECT target.oid, target.oid, true FROM target \
    UNION SELECT step.oid, step.root, step.deleted FROM reach CROSS JOIN target CROSS JOIN LATERAL ( \
        SELECT i.inhrelid, reach.root, reach.deleted FROM pg_catalog.pg_inherits AS i \
            JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid \
            WHERE i.inhparent = reach.oid AND (c.relispartition OR reach.root = target.oid) \
        UNION ALL SELECT k.child, k.child, k.action = 'c' FROM follows AS k WHERE k.parent = reach.oid AND reach.deleted \
    ) AS step (oid, root, deleted))";

/// `follows (parent, child, action)`: the foreign keys by which rows follow.
const FOLLOWS: &str = "follows (parent, child, action) AS (SELECT k.confrelid, k.conrelid, k.confdeltype \
    FROM pg_catalog.pg_constraint AS k WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd') AND NOT EXISTS \
        (SELECT FROM pg_catalog.pg_constraint AS p WHERE p.oid = k.conparentid AND p.confrelid = k.confrelid))";

/// `named (oid, name)`: what `accept` calls a table.
const NAMED: &str = "named (oid, name) AS (SELECT c.oid, \
    CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace)";

/// Begins a statement over everything that a delete from `table` would reach.
fn over_reach(table: &Table) -> Sql {
    let mut sql = Sql::new("WITH RECURSIVE target (oid) AS (SELECT ");
    sql.bind(table.oid).push("::oid), ").push(FOLLOWS).push(", ");
    sql.push(REACH).push(", ").push(NAMED).push(" ");
    sql
}

/// On each table of the reach: what it is called in `accept` (alone on the target, else after its table), its own name,
/// the table, whether that is the target, and whether rows of it are deleted.
const SEEN: &str = "CASE WHEN reach.root = target.oid THEN '' ELSE named.name || '.' END || g.name, g.name, named.name, \
    reach.root = target.oid, reach.deleted FROM reach CROSS JOIN target JOIN named ON named.oid = reach.root ";

/// Bit 3 of a trigger's type is DELETE and bit 4 UPDATE; one for every partition is one hazard.
const TRIGGERS: &str = "JOIN (SELECT t.tgrelid, t.tgname::text, t.tgtype FROM pg_catalog.pg_trigger AS t \
        WHERE NOT t.tgisinternal AND t.tgenabled <> 'D') AS g (oid, name, kind) \
    ON g.oid = reach.oid AND (g.kind & CASE WHEN reach.deleted THEN 8 ELSE 16 END) <> 0 ORDER BY 1";

const RULES: &str = "JOIN (SELECT r.ev_class, r.rulename::text, r.ev_type FROM pg_catalog.pg_rewrite AS r \
        WHERE r.ev_enabled <> 'D') AS g (oid, name, kind) \
    ON g.oid = reach.oid AND g.kind = CASE WHEN reach.deleted THEN '4' ELSE '2' END ORDER BY 1";

const KEYS: &str = "SELECT DISTINCT child.name, follows.action::text, parent.name FROM reach \
    JOIN follows ON follows.parent = reach.oid AND reach.deleted \
    JOIN named AS child ON child.oid = follows.child JOIN named AS parent ON parent.oid = reach.root ORDER BY 1";

const HEIRS: &str = "SELECT DISTINCT named.name FROM reach CROSS JOIN target JOIN named ON named.oid = reach.oid \
    JOIN pg_catalog.pg_class AS c ON c.oid = reach.oid \
    WHERE reach.root = target.oid AND reach.oid <> target.oid AND NOT c.relispartition ORDER BY 1";

/// A trigger or rule somewhere in the reach.
struct Seen {
    accepted_as: String,
    name: String,
    table: String,
    is_targets: bool,
    deleted: bool,
}

impl Seen {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            accepted_as: row.try_get(0)?,
            name: row.try_get(1)?,
            table: row.try_get(2)?,
            is_targets: row.try_get(3)?,
            deleted: row.try_get(4)?,
        })
    }

    async fn all(
        session: &mut Session,
        table: &Table,
        what: &'static str,
    ) -> Result<Vec<Self>, DatabaseError> {
        let doing = session.doing;
        let mut sql = over_reach(table);
        sql.push("SELECT DISTINCT ").push(SEEN).push(what);
        session
            .all(sql)
            .await?
            .iter()
            .map(Self::read)
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|error| doing.postgres(&error))
    }

    fn trigger(self) -> Hazard {
        let Self { name, table, .. } = &self;
        let (is, from) = if self.deleted {
            ("deleted", "from")
        } else {
            ("changed", "in")
        };
        let along = if self.is_targets { "" } else { " along" };
        Hazard {
            text: format!("the trigger {name} runs when rows are {is}{along} {from} {table}"),
            name: format!("trigger:{}", self.accepted_as),
        }
    }

    fn rule(self) -> Hazard {
        let Self { name, table, .. } = &self;
        let what = if self.deleted {
            "a delete from"
        } else {
            "a change in"
        };
        Hazard {
            text: format!("the rule {name} rewrites {what} {table} into something else"),
            name: format!("rule:{}", self.accepted_as),
        }
    }
}

async fn refuse_read_only(session: &mut Session) -> Result<(), DatabaseError> {
    let doing = session.doing;
    let sql = Sql::new(
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only') = 'on'",
    );
    let row = session.one(sql).await?;
    for (at, reason) in [
        (0, "this server is a standby"),
        (1, "default_transaction_read_only is on"),
    ] {
        if row.try_get(at).map_err(|error| doing.postgres(&error))? {
            return Err(DatabaseError::Forbidden {
                operation: "change rows",
                reason: reason.to_owned(),
            });
        }
    }
    Ok(())
}

/// Everything that a delete from the table would meet or set off.
pub(super) async fn find(session: &mut Session, wanted: &TableName) -> Result<Vec<Hazard>, DatabaseError> {
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.postgres(&error);
    let found = catalogue::table(session, wanted).await?;
    refuse_read_only(session).await?;
    let mut hazards = Vec::new();
    let triggers = Seen::all(session, &found, TRIGGERS).await?;
    hazards.extend(triggers.into_iter().map(Seen::trigger));
    let rules = Seen::all(session, &found, RULES).await?;
    hazards.extend(rules.into_iter().map(Seen::rule));
    let mut sql = over_reach(&found);
    sql.push(KEYS);
    for row in session.all(sql).await? {
        let (child, action, parent): (String, String, String) = (
            row.try_get(0).map_err(fault)?,
            row.try_get(1).map_err(fault)?,
            row.try_get(2).map_err(fault)?,
        );
        let action = match action.as_str() {
            "c" => "CASCADE",
            "n" => "SET NULL",
            _ => "SET DEFAULT",
        };
        hazards.push(Hazard {
            text: format!("rows of {child} follow by ON DELETE {action} when rows of {parent} are deleted"),
            name: format!("cascade:{child}"),
        });
    }
    let mut sql = over_reach(&found);
    sql.push(HEIRS);
    for heir in catalogue::texts(session, sql).await? {
        hazards.push(Hazard {
            text: format!("{heir} inherits from {wanted}: its rows that match are deleted too"),
            name: format!("cascade:{heir}"),
        });
    }
    let mut sql = Sql::new("SELECT pg_catalog.row_security_active(");
    sql.bind(found.oid).push("::oid)");
    if session.one(sql).await?.try_get(0).map_err(fault)? {
        hazards.push(Hazard {
            name: "row-security".to_owned(),
            text: format!(
                "row security hides rows of {wanted} from this role: not all that match can be deleted"
            ),
        });
    }
    Ok(hazards)
}
