//! What upkeep there is to do and where a run is in it, as a cursor keeps it.
//!
//! Nothing is done here.

use sereno_plugin::Failure;
use sereno_plugin::params::Json;

/// One piece of upkeep of a table, in the order in which they are done: an index is rebuilt after the dead rows it
/// points to are gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Vacuum { analyze: bool },
    Analyze,
    Reindex(String),
}

impl Action {
    /// As a person calls it: `vacuum`, `reindex of sessions_pkey`.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Vacuum { .. } => "vacuum".to_owned(),
            Self::Analyze => "analyze".to_owned(),
            Self::Reindex(index) => format!("reindex of {index}"),
        }
    }
}

/// Where a run is: the table, and what of it comes next; none: everything, its statistics first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) table: String,
    pub(crate) next: Option<Action>,
    /// A vacuum of the whole database was done already.
    pub(crate) whole: bool,
}

impl Place {
    pub(crate) fn write(&self) -> String {
        let (kind, index) = match &self.next {
            None => ("look", ""),
            Some(Action::Vacuum { analyze: false }) => ("vacuum", ""),
            Some(Action::Vacuum { analyze: true }) => ("vacuum-analyze", ""),
            Some(Action::Analyze) => ("analyze", ""),
            Some(Action::Reindex(index)) => ("reindex", index.as_str()),
        };
        let texts = [self.table.as_str(), kind, index].map(Json::from);
        Json::Array(texts.into_iter().chain([Json::Bool(self.whole)]).collect()).to_string()
    }

    pub(crate) fn read(cursor: &str) -> Result<Self, Failure> {
        let read = || {
            let parts = cursor.parse::<Json>().ok()?;
            let text = |place: usize| parts.get(place)?.as_str().map(str::to_owned);
            let next = match text(1)?.as_str() {
                "look" => None,
                "vacuum" => Some(Action::Vacuum { analyze: false }),
                "vacuum-analyze" => Some(Action::Vacuum { analyze: true }),
                "analyze" => Some(Action::Analyze),
                "reindex" => Some(Action::Reindex(text(2)?)),
                _ => return None,
            };
            Some(Self {
                table: text(0)?,
                next,
                whole: parts.get(3)?.as_bool()?,
            })
        };
        read().ok_or_else(|| Failure::Permanent(format!("`{cursor}` is not a cursor of table-upkeep")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cursor_is_read_back_and_a_foreign_one_is_refused() {
        for next in [
            None,
            Some(Action::Vacuum { analyze: false }),
            Some(Action::Vacuum { analyze: true }),
            Some(Action::Analyze),
            Some(Action::Reindex("odd \"name\"\n".to_owned())),
        ] {
            let place = Place {
                table: "año, \"x\"".to_owned(),
                next,
                whole: true,
            };
            assert_eq!(Place::read(&place.write()), Ok(place));
        }
        for foreign in ["age:", "[]", "[\"t\",\"nap\",\"\",true]", "[\"t\",\"look\",\"\"]"] {
            assert!(
                matches!(Place::read(foreign), Err(Failure::Permanent(_))),
                "{foreign}"
            );
        }
    }
}
