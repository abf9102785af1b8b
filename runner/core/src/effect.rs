//! The book of a run's effects: what was planned, what was done, in the host's own words.
//!
//! It adds up; it does not decide. The capabilities write it, `dispatch::settle` reads it into the report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::report::{Effect, Finding, Measurement};

/// Effects, findings and measurements of one attempt, shared by the capabilities that write them.
#[derive(Debug, Default)]
pub struct Book {
    pages: Mutex<Pages>,
    unsure: AtomicBool,
}

/// A change of which nobody knows yet what it did. Dropped before it is [`over`](Self::over), it leaves the book unsure.
#[must_use = "it ends when it is dropped"]
pub struct UnderWay<'a>(Option<&'a Book>);

impl UnderWay<'_> {
    /// What the change did is in the book and in the ledger.
    pub fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(book) = self.0 {
            book.unsure.store(true, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct Pages {
    effects: Vec<Effect>,
    findings: Vec<Finding>,
    measurements: BTreeMap<(String, String), Measurement>,
}

/// True when two effects are parts of one: the same verb, on the same thing, in the same words.
pub fn is_same(a: &Effect, b: &Effect) -> bool {
    (a.verb, &a.on, &a.unit, &a.what) == (b.verb, &b.on, &b.unit, &b.what)
}

/// Adds `part` to `effects`: counts add up; the guard is the newest, but for those that were exceeded.
pub fn add(effects: &mut Vec<Effect>, part: &Effect) {
    let Some(sum) = effects.iter_mut().find(|effect| is_same(effect, part)) else {
        effects.push(part.clone());
        return;
    };
    sum.planned += part.planned;
    sum.done += part.done;
    sum.skipped += part.skipped;
    sum.bytes = match (sum.bytes, part.bytes) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    sum.freed = match (sum.freed, part.freed) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    sum.bytes_estimated |= part.bytes_estimated;
    sum.total = sum.total.or(part.total);
    sum.cutoff = sum.cutoff.or(part.cutoff);
    // A guest may swallow a refusal and ask for something harmless in the same words.
    if part.guard.is_some() && sum.exceeded().next().is_none() {
        sum.guard.clone_from(&part.guard);
        sum.also_exceeded.clone_from(&part.also_exceeded);
    }
}

impl Book {
    fn pages<T>(&self, f: impl FnOnce(&mut Pages) -> T) -> T {
        // Nothing panics while it holds the lock, and counts stay true if something ever does.
        f(&mut self.pages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A change begins.
    pub fn under_way(&self) -> UnderWay<'_> {
        UnderWay(Some(self))
    }

    /// True when a change was given up before it was told: it may have done more than is written here.
    pub fn is_unsure(&self) -> bool {
        self.unsure.load(Ordering::Relaxed)
    }

    /// Adds a part of an effect.
    pub fn effect(&self, part: &Effect) {
        self.pages(|pages| add(&mut pages.effects, part));
    }

    /// Adds a finding.
    pub fn finding(&self, finding: Finding) {
        self.pages(|pages| pages.findings.push(finding));
    }

    /// Keeps a measurement; a later one of the same name and target replaces it.
    pub fn measurement(&self, measurement: Measurement) {
        let key = (measurement.name.clone(), measurement.target.clone());
        self.pages(|pages| pages.measurements.insert(key, measurement));
    }

    /// The effects so far.
    pub fn effects(&self) -> Vec<Effect> {
        self.pages(|pages| pages.effects.clone())
    }

    /// The findings so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.pages(|pages| pages.findings.clone())
    }

    /// The measurements so far, by name and target.
    pub fn measurements(&self) -> Vec<Measurement> {
        self.pages(|pages| pages.measurements.values().cloned().collect())
    }
}
