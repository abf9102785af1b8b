//! Schedules and time zones.

/// A time zone of the bundled IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
}

impl Zone {
    /// UTC.
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
        }
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// When a job runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
}

impl Schedule {
    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first run after `at`.
    pub fn next_after(&self, _at: crate::value::Instant, _zone: &Zone) -> Option<crate::value::Instant> {
        None
    }
}
