//! What becomes of a directory that has been read: it stays, or goes with what was in it.
//!
//! Children come before their parents, on whatever thread the last of them ended.

use std::io;
use std::sync::Arc;

use tracing::debug;

use super::super::error::show;
use super::super::filter::Matcher;
use super::super::system::System;
use super::Purpose;
use super::node::Node;
use super::unit::Verdict;
use super::worker::{Stack, Worker};

impl<S: System> Worker<'_, '_, S> {
    /// A directory has been read; those that thereby have nothing left to wait for are tidied up.
    pub(super) fn end(&mut self, stack: &Stack<S>, mut node: Arc<Node<S>>) {
        while node.end_one() {
            let Some(parent) = node.parent.clone() else {
                return;
            };
            if self.shared.purpose.tidies() {
                self.tidy(stack, &node, &parent);
            }
            node = parent;
        }
    }

    /// Takes the directory away if it is left empty and a filter asks for that.
    fn tidy(&mut self, stack: &Stack<S>, node: &Node<S>, parent: &Node<S>) {
        let shared = self.shared;
        let main_at = shared.filters.main_at();
        if node.is_kept() || stack.unit.as_ref().is_some_and(|unit| unit.broken) {
            return parent.keep();
        }
        let Ok(stat) = shared.system.stat_self(&node.dir) else {
            return parent.keep();
        };
        let takes = |filter: usize, fits: &dyn Fn(&Matcher) -> bool| {
            let matcher = &shared.filters.all()[filter];
            match stack.verdict(filter) {
                Verdict::Goes => true,
                Verdict::ByFile => matcher.remove_emptied && node.is_active(filter) && fits(matcher),
                Verdict::Held | Verdict::Stays | Verdict::Open => false,
            }
        };
        let taker = match node.taken_by() {
            Some(filter) if takes(filter, &|_| true) => Some(filter),
            // Whoever comes after that finds it empty, and new if something was taken out of it just now.
            emptied_by => (emptied_by.map_or(0, |filter| filter + 1)..=main_at).find(|filter| {
                takes(*filter, &|matcher| {
                    let age = matcher.age(&stat).filter(|_| emptied_by.is_none());
                    matcher.takes_empty(node.path(), age)
                })
            }),
        };
        let Some(taker) = taker else {
            return parent.keep();
        };
        if taker == main_at && matches!(shared.purpose, Purpose::Remove) {
            match shared.system.rmdir(&parent.dir, node.name()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                // Somebody has put something into it.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return parent.keep(),
                Err(error) => {
                    debug!(path = show(node.path()), %error, "left where it is");
                    self.tally.skipped += 1;
                    return parent.keep();
                }
            }
        } else if !parent.rights(shared.system).cover(&stat) {
            if taker == main_at && shared.purpose.spends() {
                self.tally.skipped += 1;
            }
            return parent.keep();
        }
        if taker == main_at {
            self.tally.directories += 1;
        }
        parent.take(taker);
    }
}
