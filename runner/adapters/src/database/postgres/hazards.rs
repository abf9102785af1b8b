//! What a delete would set off besides itself: triggers, rules, foreign keys that follow, row security.
//!
//! It judges nothing: the guard asks the operator.

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Hazard};
use sqlx::Row;

use super::super::sql::Sql;
use super::catalogue;
use super::session::Session;

/// Triggers, rules, row security and foreign keys that a delete would meet, on the table and on its partitions.
pub(super) async fn find(session: &mut Session, wanted: &TableName) -> Result<Vec<Hazard>, DatabaseError> {
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.postgres(&error);
    let found = catalogue::table(session, wanted).await?;
    let sql = Sql::new(
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only') = 'on'",
    );
    let row = session.one(sql).await?;
    for (at, reason) in [
        (0, "this server is a standby"),
        (1, "default_transaction_read_only is on"),
    ] {
        if row.try_get(at).map_err(fault)? {
            return Err(DatabaseError::Forbidden {
                operation: "change rows",
                reason: reason.to_owned(),
            });
        }
    }
    let mut hazards = Vec::new();
    let mut sql = catalogue::with_tree(&found);
    // Bit 3 of the type is DELETE; a trigger for it on every partition is one hazard.
    sql.push(
        "SELECT DISTINCT g.tgname::text FROM pg_catalog.pg_trigger AS g JOIN tree ON tree.oid = g.tgrelid \
        WHERE NOT g.tgisinternal AND g.tgenabled <> 'D' AND (g.tgtype & 8) <> 0 ORDER BY 1",
    );
    for name in catalogue::texts(session, sql).await? {
        hazards.push(Hazard {
            text: format!("the trigger {name} runs when rows are deleted from {wanted}"),
            name: format!("trigger:{name}"),
        });
    }
    let mut sql = catalogue::with_tree(&found);
    sql.push(
        "SELECT DISTINCT r.rulename::text FROM pg_catalog.pg_rewrite AS r JOIN tree ON tree.oid = r.ev_class \
        WHERE r.ev_type = '4' AND r.ev_enabled <> 'D' ORDER BY 1",
    );
    for name in catalogue::texts(session, sql).await? {
        hazards.push(Hazard {
            text: format!("the rule {name} rewrites a delete from {wanted} into something else"),
            name: format!("rule:{name}"),
        });
    }
    let mut sql = catalogue::with_tree(&found);
    sql.push("SELECT DISTINCT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname, k.confdeltype::text \
        FROM pg_catalog.pg_constraint AS k JOIN tree ON tree.oid = k.confrelid \
        JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
        WHERE k.contype = 'f' AND NOT c.relispartition AND k.confdeltype IN ('c', 'n', 'd') ORDER BY 1");
    for row in session.all(sql).await? {
        let (name, action): (String, String) =
            (row.try_get(0).map_err(fault)?, row.try_get(1).map_err(fault)?);
        let action = match action.as_str() {
            "c" => "CASCADE",
            "n" => "SET NULL",
            _ => "SET DEFAULT",
        };
        hazards.push(Hazard {
            text: format!("rows of {name} follow by ON DELETE {action} when rows of {wanted} are deleted"),
            name: format!("cascade:{name}"),
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
