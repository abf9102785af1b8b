//! The parameters of a named query, held against the types that the operator gave them.
//!
//! How a point in time is bound is the database's own affair.

use sereno_core::job::NamedQuery;
use sereno_core::ports::database::DatabaseError;
use sereno_core::value::{Instant, Value};

use super::sql::Arg;

/// The arguments for `query`, in the order of their numbers.
pub(super) fn args(
    query: &NamedQuery,
    params: &[Value],
    instant: impl Fn(Option<Instant>) -> Arg,
) -> Result<Vec<Arg>, DatabaseError> {
    if params.len() != query.params.len() {
        return Err(DatabaseError::Invalid(format!(
            "the query takes {} parameters, not {}",
            query.params.len(),
            params.len()
        )));
    }
    query
        .params
        .iter()
        .zip(params)
        .map(|((name, kind), value)| match (kind.as_str(), value) {
            ("text", Value::Text(value)) => Ok(Arg::from(value.as_str())),
            ("text", Value::Null) => Ok(Arg::Text(None)),
            ("integer", Value::Integer(value)) => Ok(Arg::from(*value)),
            ("integer", Value::Null) => Ok(Arg::Integer(None)),
            ("real", Value::Real(value)) => Ok(Arg::Real(Some(*value))),
            ("real", Value::Null) => Ok(Arg::Real(None)),
            ("boolean", Value::Boolean(value)) => Ok(Arg::Boolean(Some(*value))),
            ("boolean", Value::Null) => Ok(Arg::Boolean(None)),
            ("timestamp", Value::Instant(value)) => Ok(instant(Some(*value))),
            ("timestamp", Value::Null) => Ok(instant(None)),
            _ => Err(DatabaseError::Invalid(format!(
                "the parameter {name} is of type {kind}, and {value} is not"
            ))),
        })
        .collect()
}
