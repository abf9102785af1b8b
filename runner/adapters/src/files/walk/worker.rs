//! One thread of a walk: visits entries, judges files, tidies directories up.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, Scope};

use sereno_core::ports::files::Entry;
use tracing::debug;

use super::super::error::show;
use super::super::system::{Entered, Kind, Names, Stat, System};
use super::node::Node;
use super::tally::Tally;
use super::unit::{Unit, Verdict};
use super::{DEPTH_MAX, EXHAUSTED, FAILED, LOST_AND_FOUND, Pool, Purpose, Shared, WAITING_MAX};

/// Entries a thread takes out of a shared budget at a time, so that two threads do not fight over one counter.
pub(super) const CLAIM: u64 = 16;

/// A directory that is being read.
pub(super) struct Frame<S: System> {
    pub(super) node: Arc<Node<S>>,
    pub(super) names: Names,
    pub(super) ended: bool,
}

/// A directory that is being read, and those below it that the walk has gone into.
pub(in super::super) struct Stack<S: System> {
    pub(super) frames: Vec<Frame<S>>,
    pub(super) unit: Option<Unit>,
    /// Where in `frames` the unit starts.
    pub(super) unit_at: usize,
}

impl<S: System> Stack<S> {
    pub(super) fn new(node: Arc<Node<S>>) -> Self {
        Self {
            frames: vec![Frame::new(node)],
            unit: None,
            unit_at: 0,
        }
    }

    pub(super) fn top(&self) -> &Node<S> {
        &self
            .frames
            .last()
            .expect("a stack that is visited has a frame")
            .node
    }

    pub(super) fn verdict(&self, filter: usize) -> Verdict {
        self.unit
            .as_ref()
            .map_or(Verdict::ByFile, |unit| unit.verdicts[filter])
    }

    /// Something stays in the directory on top; a unit that was to go whole does not go on.
    pub(super) fn keep(&mut self) {
        self.top().keep();
        if let Some(unit) = &mut self.unit {
            unit.broken = unit.is_going();
        }
    }

    /// A unit is on its way out, and should not be left half gone.
    pub(super) fn is_mid_unit(&self) -> bool {
        self.unit.as_ref().is_some_and(Unit::is_going)
    }

    /// What is charged for a unit and has not gone yet.
    pub(super) fn claimed(&self) -> (u64, u64) {
        self.unit
            .as_ref()
            .map_or((0, 0), |unit| (unit.files_claimed, unit.bytes_claimed))
    }
}

impl<S: System> Frame<S> {
    pub(super) fn new(node: Arc<Node<S>>) -> Self {
        Self {
            node,
            names: Names::default(),
            ended: false,
        }
    }
}

/// What comes after an entry.
pub(super) enum Step {
    /// The next entry of the same directory.
    On,
    /// Another directory is on top of the stack.
    Turn,
    /// Nothing: the batch is over.
    Stop,
}

pub(super) struct Worker<'scope, 'env, S: System> {
    pub(super) shared: &'env Shared<'env, S>,
    scope: &'scope Scope<'scope, 'env>,
    pub(super) tally: Tally,
    budget: u64,
    /// The path of the entry that is being visited, and a NUL.
    pub(super) line: Vec<u8>,
    /// Where its name starts.
    name_at: usize,
    scratch: Vec<u8>,
}

impl<'scope, 'env, S: System> Worker<'scope, 'env, S> {
    pub(super) fn new(shared: &'env Shared<'env, S>, scope: &'scope Scope<'scope, 'env>) -> Self {
        Self {
            shared,
            scope,
            tally: Tally::default(),
            budget: 0,
            line: Vec::new(),
            name_at: 0,
            scratch: Vec::new(),
        }
    }

    /// Ends the units that are half gone, whatever the budget, when the allowance is used up.
    pub(super) fn finish_units(mut self, stacks: Vec<Stack<S>>) {
        for mut stack in stacks {
            if stack.is_mid_unit() {
                self.run(&mut stack);
            }
        }
        self.shared.pool().tally.add(self.tally);
    }

    pub(super) fn work(mut self) {
        let mut was_busy = false;
        while let Some(mut stack) = self.shared.next(was_busy) {
            was_busy = true;
            self.recruit(&mut self.shared.pool());
            let ended = self.run(&mut stack);
            self.shared
                .budget
                .fetch_add(std::mem::take(&mut self.budget), Ordering::Relaxed);
            if !ended {
                self.shared.pool().paused.push(stack);
            }
        }
        self.shared.pool().tally.add(self.tally);
    }

    /// Starts another thread when work waits and nobody is idle.
    fn recruit(&self, pool: &mut Pool<S>) {
        if pool.waiting.is_empty() {
            return;
        }
        if pool.idle > 0 {
            self.shared.wake.notify_one();
        } else if pool.threads < pool.threads_max {
            let (shared, scope) = (self.shared, self.scope);
            let started = Builder::new()
                .name("sereno-walk".to_owned())
                .spawn_scoped(scope, move || Worker::new(shared, scope).work());
            match started {
                Ok(_) => pool.threads += 1,
                // The walk is as right with fewer.
                Err(_) => pool.threads_max = pool.threads,
            }
        }
    }

    /// Leaves half of the names that were just read to another thread, if one could use them: removals from one directory
    /// wait for each other, but what comes before and after them does not.
    fn share(&self, stack: &mut Stack<S>) {
        if self.shared.claim == 1 || stack.unit.is_some() {
            return;
        }
        let mut pool = self.shared.pool();
        let is_wanted = pool.threads_max > 1 && pool.waiting.is_empty();
        let frame = stack.frames.last_mut().filter(|_| is_wanted);
        if let Some((frame, names)) = frame.and_then(|frame| frame.names.split().map(|names| (frame, names)))
        {
            frame.node.expect_one();
            let mut half = Stack::new(Arc::clone(&frame.node));
            half.frames[0].names = names;
            half.frames[0].ended = true;
            pool.waiting.push(half);
            self.recruit(&mut pool);
        }
    }

    /// Leaves a subdirectory to whoever is free first; answers it back when enough are waiting.
    fn offer(&self, stack: Stack<S>) -> Option<Stack<S>> {
        let mut pool = self.shared.pool();
        if pool.threads_max == 1 || pool.waiting.len() >= WAITING_MAX {
            return Some(stack);
        }
        pool.waiting.push(stack);
        self.recruit(&mut pool);
        None
    }

    /// Visits until the stack is empty (true), or the batch is over.
    fn run(&mut self, stack: &mut Stack<S>) -> bool {
        while let Some(frame) = stack.frames.last() {
            frame.node.write_prefix(&mut self.line);
            self.name_at = self.line.len();
            loop {
                match self.step(stack) {
                    Step::On => {}
                    Step::Turn => break,
                    Step::Stop => return false,
                }
            }
        }
        true
    }

    fn step(&mut self, stack: &mut Stack<S>) -> Step {
        let is_finishing = stack.is_mid_unit() && self.shared.is_exhausted();
        let is_plain = stack.unit.is_none();
        let frame = stack
            .frames
            .last_mut()
            .expect("a stack that is visited has a frame");
        if self.shared.stopped() {
            // A directory that was emptied costs nothing more; left behind it would be young to the next walk.
            let is_leaving = is_plain && frame.names.is_empty() && self.shared.is_exhausted();
            if self.shared.is_cancelled() || !(is_finishing || is_leaving) {
                return Step::Stop;
            }
        }
        if frame.names.is_empty() {
            if frame.ended {
                return self.leave(stack);
            }
            return match self
                .shared
                .system
                .list(&frame.node.dir, &mut self.scratch, &mut frame.names)
            {
                Ok(goes_on) => {
                    frame.ended = !goes_on;
                    self.share(stack);
                    Step::On
                }
                Err(error) => self.unreadable(stack, error),
            };
        }
        if self.budget == 0 && !is_finishing {
            self.budget = self.shared.claim(self.shared.claim);
            if self.budget == 0 {
                return Step::Stop;
            }
        }
        self.budget = self.budget.saturating_sub(1);
        let Some((kind, name)) = frame.names.next() else {
            return Step::On;
        };
        self.line.truncate(self.name_at);
        self.line.extend_from_slice(name);
        let stat = match kind {
            Kind::Unknown => match self.stat(stack.top()) {
                Ok(Some(stat)) => Some(stat),
                Ok(None) => return Step::On,
                Err(error) => return self.refused(stack, &error),
            },
            _ => None,
        };
        let kind = stat.map_or(kind, |stat| stat.kind);
        if stack.unit.as_ref().is_some_and(|unit| unit.look.is_some()) {
            return self.look(stack, kind, stat);
        }
        match kind {
            Kind::File => self.file(stack, stat),
            Kind::Directory => self.descend(stack),
            Kind::Other | Kind::Unknown => {
                stack.keep();
                Step::On
            }
        }
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.line[..self.line.len() - 1]
    }

    pub(super) fn name(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.line[self.name_at..]).expect("the line ends in NUL")
    }

    /// None: it is gone.
    pub(super) fn stat(&self, node: &Node<S>) -> io::Result<Option<Stat>> {
        match self.shared.system.stat(&node.dir, self.name()) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The entry stays because the system does not give it up.
    pub(super) fn refused(&mut self, stack: &mut Stack<S>, error: &io::Error) -> Step {
        debug!(path = show(self.path()), %error, "left where it is");
        if stack.unit.as_ref().is_some_and(|unit| unit.look.is_some()) {
            return Self::block(stack);
        }
        self.skip(stack)
    }

    pub(super) fn skip(&mut self, stack: &mut Stack<S>) -> Step {
        self.tally.skipped += 1;
        stack.keep();
        Step::On
    }

    fn unreadable(&mut self, stack: &mut Stack<S>, error: io::Error) -> Step {
        let frame = stack.frames.last_mut().expect("it was read just now");
        frame.ended = true;
        frame.names.clear();
        if frame.node.depth > 0 {
            return self.refused(stack, &error);
        }
        self.shared.stop.store(FAILED, Ordering::Relaxed);
        self.shared.pool().error = Some(error);
        Step::Stop
    }

    /// True when the filter means this path, as far as names and verdicts say.
    fn is_named(&self, stack: &Stack<S>, filter: usize) -> bool {
        let matcher = &self.shared.filters.all()[filter];
        stack.top().is_active(filter)
            && match stack.verdict(filter) {
                Verdict::ByFile => matcher.includes(self.path()) && !matcher.excludes(self.path()),
                Verdict::Goes => true,
                // Shown as a match, but nothing that an earlier removal took.
                Verdict::Held => filter == self.shared.filters.main_at(),
                Verdict::Stays | Verdict::Open => false,
            }
    }

    pub(super) fn is_removable(&self, node: &Node<S>, stat: &Stat) -> bool {
        stat.links == 1 && node.rights(self.shared.system).cover(stat)
    }

    /// Which of the filters before `filter` has taken the file already.
    pub(super) fn gone_by(&self, stack: &Stack<S>, filter: usize, stat: &Stat) -> Option<usize> {
        (0..filter).find(|earlier| {
            self.is_named(stack, *earlier)
                && self.shared.filters.all()[*earlier].takes(stat)
                && self.is_removable(stack.top(), stat)
        })
    }

    fn file(&mut self, stack: &mut Stack<S>, stat: Option<Stat>) -> Step {
        let filters = self.shared.filters;
        let main_at = filters.main_at();
        // Names first: most files that cannot match are never looked at.
        let is_named = self.is_named(stack, main_at);
        if !is_named && !(0..main_at).any(|filter| self.is_named(stack, filter)) {
            self.tally.total += 1;
            stack.keep();
            return Step::On;
        }
        let stat = match stat.map_or_else(|| self.stat(stack.top()), |stat| Ok(Some(stat))) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Step::On,
            Err(error) if is_named => return self.refused(stack, &error),
            Err(_) => {
                stack.keep();
                return Step::On;
            }
        };
        if stat.kind != Kind::File {
            stack.keep();
            return Step::On;
        }
        if let Some(earlier) = self.gone_by(stack, main_at, &stat) {
            stack.top().take(earlier);
            return Step::On;
        }
        self.tally.total += 1;
        if is_named && filters.main().takes(&stat) {
            return self.matched(stack, &stat);
        }
        if is_named && stack.verdict(main_at) == Verdict::Goes {
            // It changed after the look that let the unit go.
            return self.skip(stack);
        }
        stack.keep();
        Step::On
    }

    fn matched(&mut self, stack: &mut Stack<S>, stat: &Stat) -> Step {
        let main_at = self.shared.filters.main_at();
        let stamp = self.shared.filters.main().stamp(stat);
        match self.shared.purpose {
            Purpose::Histogram(buckets) => {
                self.tally.count(stat.bytes);
                self.tally.sort(buckets, stamp, stat.bytes);
                Step::On
            }
            Purpose::Page => {
                let entry = Entry {
                    path: self.path().to_vec(),
                    bytes: stat.bytes,
                    stamp: stamp.instant(),
                };
                self.tally.entries.push(entry);
                Step::On
            }
            Purpose::Summarize => {
                self.tally.count(stat.bytes);
                self.tally.show(stamp);
                if stack.verdict(main_at) != Verdict::Held && self.is_removable(stack.top(), stat) {
                    stack.top().take(main_at);
                } else {
                    stack.top().keep();
                }
                Step::On
            }
            Purpose::Preview if !self.is_removable(stack.top(), stat) => self.skip(stack),
            Purpose::Remove if stat.links != 1 => self.skip(stack),
            Purpose::Preview | Purpose::Remove => self.remove(stack, stat),
        }
    }

    fn remove(&mut self, stack: &mut Stack<S>, stat: &Stat) -> Step {
        let shared = self.shared;
        match &mut stack.unit {
            Some(unit) if unit.is_going() => {
                // Files that came after the look were not charged, and stay.
                let is_charged = unit.files_claimed > 0 && unit.bytes_claimed >= stat.bytes;
                if unit.broken || !is_charged {
                    return self.skip(stack);
                }
                unit.files_claimed -= 1;
                unit.bytes_claimed -= stat.bytes;
            }
            _ if shared.spend(1, stat.bytes) => {}
            _ => {
                shared.stop.store(EXHAUSTED, Ordering::Relaxed);
                return Step::Stop;
            }
        }
        if matches!(shared.purpose, Purpose::Remove)
            && let Err(error) = shared.system.unlink(&stack.top().dir, self.name())
        {
            shared.refund(1, stat.bytes);
            if error.kind() == io::ErrorKind::NotFound {
                return Step::On;
            }
            return self.refused(stack, &error);
        }
        self.tally.count(stat.bytes);
        stack.top().take(shared.filters.main_at());
        Step::On
    }

    /// Goes into a subdirectory, or leaves it to another thread.
    fn descend(&mut self, stack: &mut Stack<S>) -> Step {
        let filters = self.shared.filters;
        let main_at = filters.main_at();
        let parent = Arc::clone(&stack.frames.last().expect("an entry has a directory").node);
        let reaches =
            parent.is_active(main_at) && filters.main().recursive && filters.main().may_enter(self.path());
        if !reaches || self.name().to_bytes() == LOST_AND_FOUND {
            stack.keep();
            return Step::On;
        }
        if parent.depth >= DEPTH_MAX {
            return self.skip(stack);
        }
        let dir = match self.shared.system.enter(&parent.dir, self.name()) {
            Entered::Inside(dir) => dir,
            Entered::Gone => return Step::On,
            Entered::Apart => {
                stack.keep();
                return Step::On;
            }
            Entered::Sealed => return self.skip(stack),
            Entered::Refused(error) => return self.refused(stack, &error),
        };
        let node = Arc::new(Node::below(&parent, dir, &self.line, filters));
        parent.expect_one();
        let mut below = Stack::new(Arc::clone(&node));
        below.unit = self.unit(&node);
        if below.unit.is_some() {
            self.begin_look(&mut below, &node, &parent);
        }
        if stack.unit.is_some() {
            stack.frames.append(&mut below.frames);
            return Step::Turn;
        }
        match self.offer(below) {
            None => Step::On,
            Some(mut below) => {
                stack.unit = below.unit.take();
                stack.unit_at = stack.frames.len();
                stack.frames.append(&mut below.frames);
                Step::Turn
            }
        }
    }

    /// The directory on top has been read to its end.
    fn leave(&mut self, stack: &mut Stack<S>) -> Step {
        let Some(frame) = stack.frames.pop() else {
            return Step::Turn;
        };
        let ends_unit = stack.unit.is_some() && stack.frames.len() == stack.unit_at;
        let looks = stack.unit.as_ref().is_some_and(|unit| unit.look.is_some());
        if looks && !ends_unit {
            // The pass that acts will come by here again.
            return Step::Turn;
        }
        if looks && let Some(step) = self.decide(stack, &frame.node) {
            return step;
        }
        self.end(stack, frame.node);
        if ends_unit && let Some(unit) = stack.unit.take() {
            self.shared.refund(unit.files_claimed, unit.bytes_claimed);
        }
        Step::Turn
    }
}
