//! The in-memory twin of what a ledger keeps for those who watch: measurements, standings and the outbox.
//!
//! Run history is `memory`.

use std::collections::BTreeMap;

use sereno_core::name::RunId;
use sereno_core::ports::watch::{
    Aftermath, Letter, LetterState, MeasurementQuery, OUTBOX_KEPT, OutboxQuery, Outgoing, Sample, Standing,
};
use sereno_core::report::Measurement;
use sereno_core::value::Instant;

use super::{kept, known, micros};

#[derive(Debug, Default)]
pub(super) struct Watching {
    /// In the order in which they were kept.
    pub(super) measurements: Vec<(RunId, Instant, Measurement)>,
    standings: BTreeMap<String, Standing>,
    /// In the order in which they were written.
    outbox: Vec<Outgoing>,
}

impl Watching {
    pub(super) fn measure(&mut self, run: &RunId, at: Instant, measurements: &[Measurement]) {
        let known = measurements.iter().map(|measurement| Measurement {
            value: known(measurement.value),
            ..measurement.clone()
        });
        self.measurements
            .extend(known.map(|measurement| (run.clone(), kept(at), measurement)));
    }

    /// Writes them all, or none when one has changed since it was read.
    pub(super) fn stand(&mut self, standings: &[Standing]) -> bool {
        let version = |subject: &str| self.standings.get(subject).map_or(0, |standing| standing.version);
        if standings.iter().any(|new| version(&new.subject) != new.version) {
            return false;
        }
        for new in standings {
            let version = new.version + 1;
            let standing = Standing {
                version,
                ..new.clone()
            };
            self.standings.insert(new.subject.clone(), standing);
        }
        true
    }

    pub(super) fn keep(&mut self, run: &RunId, at: Instant, after: &Aftermath) {
        self.measure(run, at, &after.measurements);
        self.post(&after.letters);
        for outgoing in self
            .waiting()
            .filter(|outgoing| after.given_up.contains(&outgoing.letter.id))
        {
            outgoing.state = LetterState::GivenUp;
            outgoing.ended_at = Some(kept(at));
        }
    }

    fn waiting(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.outbox
            .iter_mut()
            .filter(|outgoing| outgoing.state == LetterState::Waiting)
    }

    pub(super) fn samples(&self, query: &MeasurementQuery) -> Vec<Sample> {
        let stretch = query.every.map_or(1, |every| {
            i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1)
        });
        let mut last: BTreeMap<i64, Sample> = BTreeMap::new();
        for (run, at, measurement) in &self.measurements {
            let wanted = measurement.name == query.name && measurement.target == query.target;
            if !wanted || micros(*at) < micros(query.since) {
                continue;
            }
            let place = micros(*at) / stretch;
            if last.get(&place).is_none_or(|other| other.at <= *at) {
                let sample = Sample {
                    at: *at,
                    run: run.clone(),
                    measurement: measurement.clone(),
                };
                last.insert(place, sample);
            }
        }
        let skipped = last
            .len()
            .saturating_sub(query.limit.try_into().unwrap_or(usize::MAX));
        last.into_values().skip(skipped).collect()
    }

    pub(super) fn standings(&self, subjects: &[String]) -> Vec<Standing> {
        let wanted = |standing: &&Standing| subjects.contains(&standing.subject);
        self.standings.values().filter(wanted).cloned().collect()
    }

    pub(super) fn claim(&mut self, now: Instant, due: Instant, until: Instant, limit: u32) -> Vec<Outgoing> {
        let (now, due) = (kept(now), kept(due));
        let mut seen = Vec::new();
        let mut taken = Vec::new();
        for outgoing in self.waiting().filter(|outgoing| outgoing.letter.expires_at > now) {
            let line = (
                outgoing.letter.sink.clone(),
                outgoing.letter.message.subject.clone(),
            );
            if seen.contains(&line) {
                continue;
            }
            seen.push(line);
            if outgoing.next_at <= due && taken.len() < limit.try_into().unwrap_or(usize::MAX) {
                outgoing.attempts += 1;
                outgoing.next_at = kept(until);
                taken.push(outgoing.clone());
            }
        }
        taken
    }

    pub(super) fn sent(&mut self, letter: &str, at: Instant) {
        for outgoing in self.waiting().filter(|outgoing| outgoing.letter.id == letter) {
            outgoing.state = LetterState::Sent;
            outgoing.ended_at = Some(kept(at));
            outgoing.last_error = None;
        }
        let old = kept(at - OUTBOX_KEPT);
        self.outbox
            .retain(|outgoing| outgoing.ended_at.is_none_or(|ended| ended >= old));
    }

    pub(super) fn put_off(&mut self, letter: &str, reason: &str, next_at: Instant) {
        for outgoing in self.waiting().filter(|outgoing| outgoing.letter.id == letter) {
            outgoing.last_error = Some(reason.to_owned());
            outgoing.next_at = kept(next_at);
        }
    }

    pub(super) fn post(&mut self, letters: &[Letter]) {
        for letter in letters {
            if self.outbox.iter().any(|other| other.letter.id == letter.id) {
                continue;
            }
            let letter = Letter {
                created_at: kept(letter.created_at),
                expires_at: kept(letter.expires_at),
                ..letter.clone()
            };
            self.outbox.push(Outgoing {
                state: LetterState::Waiting,
                attempts: 0,
                next_at: letter.created_at,
                last_error: None,
                ended_at: None,
                letter,
            });
        }
    }

    pub(super) fn outbox(&self, query: &OutboxQuery) -> Vec<Outgoing> {
        let wanted = |outgoing: &&Outgoing| {
            query.state.is_none_or(|state| outgoing.state == state)
                && query.expired.is_none_or(|by| outgoing.letter.expires_at <= by)
        };
        let mut found: Vec<Outgoing> = self.outbox.iter().rev().filter(wanted).cloned().collect();
        if query.limit > 0 {
            found.truncate(query.limit.try_into().unwrap_or(usize::MAX));
        }
        found
    }
}
