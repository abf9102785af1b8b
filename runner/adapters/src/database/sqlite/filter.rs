//! Writes a filter as SQLite's SQL, with the database's own way to keep time.
//!
//! A stored value of another type or shape than the condition's never matches: SQLite keeps what it is given, and a
//! number is smaller than every text.

use chrono::{SubsecRound, Timelike};
use sereno_core::job::TimeFormat;
use sereno_core::ports::database::DatabaseError;
use sereno_core::value::{Condition, Filter, Instant, Operator, Value};

use super::super::sql::{Arg, Identifier, Sql};
use super::catalogue::{Affinity, Column, Table};

/// Milliseconds before this are taken for seconds that lie in a column of milliseconds: 1973-03-03.
const EPOCH_MS_MIN: i64 = 100_000_000_000;

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

/// Writes the conditions, joined by AND, never nothing.
pub(super) fn write(
    sql: &mut Sql,
    table: &Table,
    filter: &Filter,
    format: TimeFormat,
) -> Result<(), DatabaseError> {
    if filter.0.is_empty() {
        sql.push("1");
    }
    for (place, condition) in filter.0.iter().enumerate() {
        if place > 0 {
            sql.push(" AND ");
        }
        write_condition(sql, table.column(&condition.column)?, condition, format)?;
    }
    Ok(())
}

/// Writes `filter` less the rows that match one of `without`.
pub(super) fn write_less(
    sql: &mut Sql,
    table: &Table,
    filter: &Filter,
    without: &[Filter],
    format: TimeFormat,
) -> Result<(), DatabaseError> {
    write(sql, table, filter, format)?;
    for gone in without {
        sql.push(" AND (");
        write(sql, table, gone, format)?;
        sql.push(") IS NOT TRUE");
    }
    Ok(())
}

/// A point in time as columns keep it, for parameters of named queries.
pub(super) fn instant(at: Option<Instant>, format: TimeFormat) -> Arg {
    match (at, format) {
        (None, _) => Arg::Text(None),
        (Some(at), TimeFormat::Text) => Arg::Text(Some(text(at, " "))),
        (Some(at), TimeFormat::Iso) => Arg::Text(Some(text(at, "T") + "Z")),
        (Some(at), TimeFormat::Epoch) => Arg::from(at.timestamp()),
        (Some(at), TimeFormat::EpochMs) => Arg::from(at.timestamp_millis()),
    }
}

/// `2026-11-17 02:30:00[.25]`: a fraction only where there is one, without zeros at its end.
fn text(at: Instant, between: &str) -> String {
    let whole = at.format(&format!("%Y-%m-%d{between}%H:%M:%S")).to_string();
    match at.trunc_subsecs(6).nanosecond() / 1_000 {
        0 => whole,
        micros => format!("{whole}.{micros:06}").trim_end_matches('0').to_owned(),
    }
}

fn write_condition(
    sql: &mut Sql,
    column: &Column,
    condition: &Condition,
    format: TimeFormat,
) -> Result<(), DatabaseError> {
    let name = &column.name;
    let unfit = || {
        DatabaseError::Invalid(format!(
            "the column {} is declared {}, and {} does not fit it",
            name.as_str(),
            column.declared,
            condition.value
        ))
    };
    let operator = match condition.op {
        Operator::IsNull => {
            sql.name(name).push(" IS NULL");
            return Ok(());
        }
        Operator::IsNotNull => {
            sql.name(name).push(" IS NOT NULL");
            return Ok(());
        }
        op => sign(op),
    };
    let keeps_numbers = matches!(column.affinity, Affinity::Integer | Affinity::Real);
    let keeps_text = column.affinity == Affinity::Text;
    match &condition.value {
        Value::Null => {
            return Err(DatabaseError::Invalid(format!(
                "NULL is neither more nor less than anything: test the column {} with is-null",
                name.as_str()
            )));
        }
        Value::Boolean(_) | Value::Integer(_) | Value::Real(_) if keeps_text => return Err(unfit()),
        Value::Text(_) if keeps_numbers => return Err(unfit()),
        Value::Boolean(value) => {
            sql.push("(typeof(")
                .name(name)
                .push(") = 'integer' AND ")
                .name(name)
                .push(operator)
                .bind(i64::from(*value))
                .push(")");
        }
        Value::Integer(value) => write_number(sql, name, operator, Arg::from(*value)),
        Value::Real(value) => write_number(sql, name, operator, Arg::Real(Some(*value))),
        Value::Text(value) => {
            sql.push("(typeof(")
                .name(name)
                .push(") = 'text' AND ")
                .name(name)
                .push(operator)
                .bind(value.as_str())
                .push(")");
        }
        Value::Instant(at) => match format {
            TimeFormat::Text | TimeFormat::Iso if keeps_numbers => return Err(unfit()),
            TimeFormat::Epoch | TimeFormat::EpochMs if keeps_text => return Err(unfit()),
            TimeFormat::Text | TimeFormat::Iso => write_text_time(sql, name, condition.op, *at, format),
            TimeFormat::Epoch => {
                write_epoch(sql, name, condition.op, at.timestamp_micros(), MICROS, i64::MIN);
            }
            TimeFormat::EpochMs => write_epoch(
                sql,
                name,
                condition.op,
                at.timestamp_micros(),
                1_000,
                EPOCH_MS_MIN,
            ),
        },
    }
    Ok(())
}

fn sign(op: Operator) -> &'static str {
    match op {
        Operator::Equal => " = ",
        Operator::NotEqual => " <> ",
        Operator::Less => " < ",
        Operator::LessOrEqual => " <= ",
        Operator::Greater => " > ",
        Operator::GreaterOrEqual => " >= ",
        Operator::IsNull => " IS NULL ",
        Operator::IsNotNull => " IS NOT NULL ",
    }
}

fn write_number(sql: &mut Sql, name: &Identifier, operator: &'static str, value: Arg) {
    sql.push("(typeof(")
        .name(name)
        .push(") IN ('integer', 'real') AND ")
        .name(name)
        .push(operator)
        .bind(value)
        .push(")");
}

/// Text is compared twice: once as it is, to a whole second, so that an index helps; and once without the fraction's
/// zeros and the `Z`, which sort otherwise than time does.
fn write_text_time(sql: &mut Sql, name: &Identifier, op: Operator, at: Instant, format: TimeFormat) {
    let (between, ends_with_z) = if format == TimeFormat::Iso {
        ("T", true)
    } else {
        (" ", false)
    };
    let second = at.trunc_subsecs(0);
    let next = second + chrono::TimeDelta::seconds(1);
    sql.push("(typeof(").name(name).push(") = 'text'");
    if matches!(op, Operator::Less | Operator::LessOrEqual | Operator::Equal) {
        sql.push(" AND ")
            .name(name)
            .push(" < ")
            .bind(text(next, between).as_str());
    }
    if matches!(op, Operator::Greater | Operator::GreaterOrEqual | Operator::Equal) {
        sql.push(" AND ")
            .name(name)
            .push(" >= ")
            .bind(text(second, between).as_str());
    }
    sql.push(" AND ").name(name).push(match (between, ends_with_z) {
        (" ", _) => " GLOB '[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]*'",
        _ => " GLOB '[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]*Z'",
    });
    // After the seconds: nothing, or a point and digits. SQLite itself says whether there is such a day.
    let bare = |sql: &mut Sql| {
        if ends_with_z {
            sql.push("rtrim(").name(name).push(", 'Z')");
        } else {
            sql.name(name);
        }
    };
    sql.push(" AND (length(");
    bare(sql);
    sql.push(") = 19 OR (substr(");
    bare(sql);
    sql.push(", 20) GLOB '.[0-9]*' AND substr(");
    bare(sql);
    sql.push(", 21) NOT GLOB '*[^0-9]*')) AND julianday(")
        .name(name)
        .push(") IS NOT NULL AND CASE WHEN length(");
    bare(sql);
    sql.push(") = 19 THEN ");
    bare(sql);
    sql.push(" ELSE rtrim(rtrim(");
    bare(sql);
    sql.push(", '0'), '.') END")
        .push(sign(op))
        .bind(text(at, between).as_str())
        .push(")");
}

/// Whole units, so that the cutoff is rounded the way that keeps the comparison's meaning.
fn write_epoch(sql: &mut Sql, name: &Identifier, op: Operator, micros: i64, unit: i64, least: i64) {
    let (floor, is_whole) = (micros.div_euclid(unit), micros.rem_euclid(unit) == 0);
    let ceiling = if is_whole { floor } else { floor + 1 };
    sql.push("(typeof(")
        .name(name)
        .push(") = 'integer' AND ")
        .name(name)
        .push(" >= ")
        .bind(least)
        .push(" AND ");
    match op {
        Operator::Equal | Operator::NotEqual if !is_whole => {
            sql.push(if op == Operator::Equal { "0" } else { "1" });
        }
        Operator::Less | Operator::GreaterOrEqual => {
            sql.name(name).push(sign(op)).bind(ceiling);
        }
        _ => {
            sql.name(name).push(sign(op)).bind(floor);
        }
    }
    sql.push(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_written_as_the_column_keeps_it() {
        let at: Instant = "2026-11-17T02:30:00.250Z".parse().expect("a time");
        let whole: Instant = "2026-11-17T02:30:00Z".parse().expect("a time");
        assert_eq!(
            instant(Some(at), TimeFormat::Text),
            Arg::from("2026-11-17 02:30:00.25")
        );
        assert_eq!(
            instant(Some(whole), TimeFormat::Text),
            Arg::from("2026-11-17 02:30:00")
        );
        assert_eq!(
            instant(Some(at), TimeFormat::Iso),
            Arg::from("2026-11-17T02:30:00.25Z")
        );
        assert_eq!(instant(Some(at), TimeFormat::Epoch), Arg::from(1_794_882_600_i64));
        assert_eq!(
            instant(Some(at), TimeFormat::EpochMs),
            Arg::from(1_794_882_600_250_i64)
        );
    }
}
