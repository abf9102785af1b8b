//! A directory that goes whole or stays whole: what was seen of it so far, and what follows.
//!
//! Several filters may take it as a unit, one after the other; each decides on what those before it have left.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::debug;

use super::super::error::show;
use super::super::system::{Entered, Kind, Stat, System, Time};
use super::node::Node;
use super::worker::{Frame, Stack, Step, Worker};
use super::{DEPTH_MAX, EXHAUSTED, LOST_AND_FOUND};

/// What one filter makes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This filter judges file by file, or does not reach here.
    ByFile,
    /// Not decided yet.
    Open,
    /// Goes whole.
    Goes,
    /// It matches, and cannot go whole.
    Held,
    /// Stays whole.
    Stays,
}

/// A unit on its way through the filters.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) verdicts: Vec<Verdict>,
    /// Filters that include every file in it, by its own path.
    pub(super) included: Vec<bool>,
    /// The look that is going on; none: all is decided, and this is the pass that acts.
    pub(super) look: Option<Look>,
    /// What the allowance was charged for it, less what went.
    pub(super) files_claimed: u64,
    pub(super) bytes_claimed: u64,
    /// A file changed after the look: the rest stays.
    pub(super) broken: bool,
}

/// One filter's look at a unit.
#[derive(Debug)]
pub(super) struct Look {
    /// Its place.
    pub(super) filter: usize,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Something in it keeps it.
    pub(super) blocked: bool,
    /// Something in it matches and cannot be removed.
    pub(super) held: bool,
    /// An earlier filter took something out of it, so that its directories are young now.
    pub(super) touched: bool,
    /// Of its directories; none: one of them has no age.
    pub(super) newest_directory: Option<Time>,
}

impl Look {
    pub(super) fn new(filter: usize) -> Self {
        Self {
            filter,
            files: 0,
            bytes: 0,
            blocked: false,
            held: false,
            touched: false,
            newest_directory: None,
        }
    }
}

impl Unit {
    /// The filter that is asked about lets it go, and this is the pass in which it goes.
    pub(super) fn is_going(&self) -> bool {
        self.look.is_none() && self.verdicts.last() == Some(&Verdict::Goes)
    }

    /// The first filter that is still to decide.
    pub(super) fn next_open(&self) -> Option<usize> {
        self.verdicts.iter().position(|verdict| *verdict == Verdict::Open)
    }
}

impl<S: System> Worker<'_, '_, S> {
    /// The unit that a directory is, if a filter takes it for one.
    pub(super) fn unit(&self, node: &Node<S>) -> Option<Unit> {
        let filters = self.shared.filters.all();
        let is_unit = |filter: usize| filters[filter].unit && node.depth == 1 && node.is_active(filter);
        (0..filters.len()).any(is_unit).then(|| Unit {
            verdicts: (0..filters.len())
                .map(|filter| {
                    if is_unit(filter) {
                        Verdict::Open
                    } else {
                        Verdict::ByFile
                    }
                })
                .collect(),
            included: filters
                .iter()
                .map(|filter| filter.includes(node.path()))
                .collect(),
            look: None,
            files_claimed: 0,
            bytes_claimed: 0,
            broken: false,
        })
    }

    /// Starts the look of the next filter that is to decide; false when all have.
    pub(super) fn begin_look(&self, stack: &mut Stack<S>, node: &Node<S>, parent: &Node<S>) -> bool {
        let Some(unit) = &mut stack.unit else {
            return false;
        };
        unit.look = unit.next_open().map(Look::new);
        if unit.look.is_none() {
            return false;
        }
        self.look_at_directory(stack, node, parent);
        true
    }

    fn look_at_directory(&self, stack: &mut Stack<S>, node: &Node<S>, parent: &Node<S>) {
        let system = self.shared.system;
        let Some(look) = stack.unit.as_mut().and_then(|unit| unit.look.as_mut()) else {
            return;
        };
        match system.stat_self(&node.dir) {
            Ok(stat) => {
                look.newest_directory = look
                    .newest_directory
                    .max(self.shared.filters.all()[look.filter].age(&stat));
                look.held |= !parent.rights(system).cover(&stat);
            }
            Err(_) => look.blocked = true,
        }
    }

    /// The unit stays; the rest of it need not be looked at.
    pub(super) fn block(stack: &mut Stack<S>) -> Step {
        stack.frames.truncate(stack.unit_at + 1);
        if let Some(look) = stack.unit.as_mut().and_then(|unit| unit.look.as_mut()) {
            look.blocked = true;
        }
        if let Some(frame) = stack.frames.last_mut() {
            frame.names.clear();
            frame.ended = true;
        }
        Step::Turn
    }

    /// Looks at one entry of a unit without touching it.
    pub(super) fn look(&mut self, stack: &mut Stack<S>, kind: Kind, stat: Option<Stat>) -> Step {
        match kind {
            Kind::File => self.look_at_file(stack, stat),
            Kind::Directory => self.look_into(stack),
            Kind::Other | Kind::Unknown => Self::block(stack),
        }
    }

    fn look_at_file(&self, stack: &mut Stack<S>, stat: Option<Stat>) -> Step {
        let stat = match stat.map_or_else(|| self.stat(stack.top()), |stat| Ok(Some(stat))) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Step::On,
            Err(_) => return Self::block(stack),
        };
        let Some(filter) = stack
            .unit
            .as_ref()
            .and_then(|unit| unit.look.as_ref())
            .map(|look| look.filter)
        else {
            return Step::On;
        };
        let is_gone = stat.kind == Kind::File && self.gone_by(stack, filter, &stat).is_some();
        let is_removable = self.is_removable(stack.top(), &stat);
        let Some(unit) = &mut stack.unit else {
            return Step::On;
        };
        let Some(look) = &mut unit.look else {
            return Step::On;
        };
        if is_gone {
            look.touched = true;
            return Step::On;
        }
        let matcher = &self.shared.filters.all()[filter];
        let is_included = unit.included[filter] || matcher.includes(self.path());
        if !matcher.takes(&stat) || !is_included || matcher.excludes(self.path()) {
            return Self::block(stack);
        }
        look.held |= !is_removable;
        look.files += 1;
        look.bytes += stat.bytes;
        Step::On
    }

    fn look_into(&self, stack: &mut Stack<S>) -> Step {
        let filters = self.shared.filters;
        let Some(filter) = stack
            .unit
            .as_ref()
            .and_then(|unit| unit.look.as_ref())
            .map(|look| look.filter)
        else {
            return Step::On;
        };
        let parent = Arc::clone(&stack.frames.last().expect("an entry has a directory").node);
        if filters.all()[filter].excludes(self.path())
            || self.name().to_bytes() == LOST_AND_FOUND
            || parent.depth >= DEPTH_MAX
        {
            return Self::block(stack);
        }
        match self.shared.system.enter(&parent.dir, self.name()) {
            Entered::Inside(dir) => {
                let node = Arc::new(Node::below(&parent, dir, &self.line, filters));
                self.look_at_directory(stack, &node, &parent);
                stack.frames.push(Frame::new(node));
                Step::Turn
            }
            Entered::Gone => Step::On,
            Entered::Apart | Entered::Sealed | Entered::Refused(_) => Self::block(stack),
        }
    }

    /// A filter has seen all of the unit. None: the unit is done with, nothing of it goes.
    pub(super) fn decide(&mut self, stack: &mut Stack<S>, node: &Arc<Node<S>>) -> Option<Step> {
        let filters = self.shared.filters;
        let unit = stack.unit.as_mut()?;
        let look = unit.look.take()?;
        let matcher = &filters.all()[look.filter];
        // What an earlier filter took something out of has no age yet: it will be new.
        let age = look.newest_directory.filter(|_| !look.touched);
        let is_young_and_empty = look.files == 0 && !(unit.included[look.filter] && matcher.is_old(age));
        let verdict = if look.blocked || is_young_and_empty {
            Verdict::Stays
        } else if look.held {
            Verdict::Held
        } else {
            Verdict::Goes
        };
        unit.verdicts[look.filter] = verdict;
        if look.filter == filters.main_at() && self.shared.purpose.spends() {
            match verdict {
                Verdict::Goes if self.shared.spend(look.files, look.bytes) => {
                    unit.files_claimed = look.files;
                    unit.bytes_claimed = look.bytes;
                }
                Verdict::Goes => {
                    self.shared.stop.store(EXHAUSTED, Ordering::Relaxed);
                    return Some(Step::Stop);
                }
                Verdict::Held => {
                    self.tally.skipped += look.files.max(1);
                    node.keep();
                    return None;
                }
                Verdict::Stays | Verdict::Open | Verdict::ByFile => {
                    node.keep();
                    return None;
                }
            }
        }
        if let Err(error) = self.shared.system.rewind(&node.dir) {
            debug!(path = show(node.path()), %error, "left where it is");
            self.tally.skipped += 1;
            node.keep();
            return None;
        }
        stack.frames.push(Frame::new(Arc::clone(node)));
        if let Some(parent) = node.parent.clone() {
            self.begin_look(stack, node, &parent);
        }
        Some(Step::Turn)
    }
}
