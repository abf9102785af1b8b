//! AWS Lambda: events come in by its Runtime API, one at a time. What an event means is core's (`event`).
