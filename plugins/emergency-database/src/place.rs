//! Where a run is on the ladder, as a cursor keeps it.

use sereno_plugin::Failure;
use sereno_plugin::params::Json;

/// What was done, and the table at which time ran out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Connections ended and statements cancelled.
    pub(crate) ended: u64,
    /// Tables done, as `analyze NAME` and the like.
    pub(crate) done: Vec<String>,
    /// What did not fit into the time that was left.
    pub(crate) stuck: Option<String>,
}

impl Place {
    pub(crate) fn write(&self) -> String {
        let done = self.done.iter().map(|what| Json::from(what.as_str())).collect();
        let stuck = self.stuck.as_deref().map_or(Json::Null, Json::from);
        Json::Array(vec![Json::from(self.ended), Json::Array(done), stuck]).to_string()
    }

    pub(crate) fn read(cursor: Option<&str>) -> Result<Self, Failure> {
        let Some(cursor) = cursor else {
            return Ok(Self::default());
        };
        let read = || {
            let parts = cursor.parse::<Json>().ok()?;
            let text = |value: &Json| value.as_str().map(str::to_owned);
            Some(Self {
                ended: parts.get(0)?.as_u64()?,
                done: parts
                    .get(1)?
                    .as_array()?
                    .iter()
                    .map(text)
                    .collect::<Option<_>>()?,
                stuck: text(parts.get(2)?),
            })
        };
        read().ok_or_else(|| Failure::Permanent(format!("`{cursor}` is not a cursor of emergency-database")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_read_back_and_a_foreign_one_is_refused() {
        let place = Place {
            ended: 3,
            done: vec!["analyze a".to_owned(), "vacuum \"b".to_owned()],
            stuck: Some("vacuum c".to_owned()),
        };
        assert_eq!(Place::read(Some(&place.write())), Ok(place));
        assert_eq!(Place::read(None), Ok(Place::default()));
        assert!(matches!(Place::read(Some("x")), Err(Failure::Permanent(_))));
    }
}
