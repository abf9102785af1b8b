//! Writes a filter as PostgreSQL's SQL, over a table called `t`, so that indexes on its columns still help.
//!
//! NULL and ±infinity match no comparison. A value that does not fit its column is refused, never converted.

use sereno_core::ports::database::DatabaseError;
use sereno_core::value::{Condition, Filter, Operator, Value};

use super::super::sql::{Arg, Sql};
use super::catalogue::{Column, Kind, Table};

/// Writes the conditions, joined by AND, never nothing.
pub(super) fn write(
    sql: &mut Sql,
    table: &Table,
    filter: &Filter,
    timezone: &str,
) -> Result<(), DatabaseError> {
    if filter.0.is_empty() {
        sql.push("true");
    }
    for (place, condition) in filter.0.iter().enumerate() {
        if place > 0 {
            sql.push(" AND ");
        }
        write_condition(sql, table.column(&condition.column)?, condition, timezone)?;
    }
    Ok(())
}

/// Writes `filter` less the rows that match one of `without`.
pub(super) fn write_less(
    sql: &mut Sql,
    table: &Table,
    filter: &Filter,
    without: &[Filter],
    timezone: &str,
) -> Result<(), DatabaseError> {
    write(sql, table, filter, timezone)?;
    for gone in without {
        sql.push(" AND (");
        write(sql, table, gone, timezone)?;
        sql.push(") IS NOT TRUE");
    }
    Ok(())
}

fn write_condition(
    sql: &mut Sql,
    column: &Column,
    condition: &Condition,
    timezone: &str,
) -> Result<(), DatabaseError> {
    let name = &column.name;
    sql.push("t.").name(name);
    let operator = match condition.op {
        Operator::IsNull => {
            sql.push(" IS NULL");
            return Ok(());
        }
        Operator::IsNotNull => {
            sql.push(" IS NOT NULL");
            return Ok(());
        }
        Operator::Equal => " = ",
        Operator::NotEqual => " <> ",
        Operator::Less => " < ",
        Operator::LessOrEqual => " <= ",
        Operator::Greater => " > ",
        Operator::GreaterOrEqual => " >= ",
    };
    match (column.kind, &condition.value) {
        (_, Value::Null) => {
            return Err(DatabaseError::Invalid(format!(
                "NULL is neither more nor less than anything: test the column {} with is-null",
                name.as_str()
            )));
        }
        (Kind::Boolean, Value::Boolean(value)) => {
            sql.push(operator).bind(Arg::Boolean(Some(*value)));
        }
        (Kind::Number, Value::Integer(value)) => {
            sql.push(operator).bind(*value);
        }
        (Kind::Number, Value::Real(value)) => {
            sql.push(operator).bind(Arg::Real(Some(*value)));
        }
        (Kind::Text, Value::Text(value)) => {
            sql.push(operator).bind(value.as_str());
        }
        (Kind::LikeText, Value::Text(value)) => {
            sql.push("::text").push(operator).bind(value.as_str());
        }
        (Kind::TimestampTz, Value::Instant(at)) => {
            sql.push(operator).bind(Arg::Instant(Some(*at)));
        }
        (Kind::Timestamp, Value::Instant(at)) => {
            sql.push(operator)
                .push("pg_catalog.timezone(")
                .bind(timezone)
                .push(", ");
            sql.bind(Arg::Instant(Some(*at))).push("::timestamptz)");
        }
        (Kind::Date, Value::Instant(at)) => {
            sql.push(operator)
                .push("pg_catalog.timezone(")
                .bind(timezone)
                .push(", ");
            sql.bind(Arg::Instant(Some(*at))).push("::timestamptz)::date");
        }
        (_, value) => {
            return Err(DatabaseError::Invalid(format!(
                "the column {} is of type {}, and {value} does not fit it",
                name.as_str(),
                column.type_name.as_str()
            )));
        }
    }
    if matches!(column.kind, Kind::TimestampTz | Kind::Timestamp | Kind::Date) {
        sql.push(" AND pg_catalog.isfinite(t.").name(name).push(")");
    }
    Ok(())
}
