//! What ends a guest: the limits it can meet, and the limiter that wasmtime asks before memory and tables grow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sereno_core::job::Limits;
use wasmtime::ResourceLimiter;

use crate::state::Used;

/// Linear memories of one component. Only the main module needs one.
const MEMORIES_MAX: usize = 4;

/// A limit, by the name that outcomes carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitName {
    Cpu,
    Wall,
    Memory,
    Stack,
    Handles,
    Bytes,
    Calls,
    Output,
}

impl LimitName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Handles => "handles",
            Self::Bytes => "bytes",
            Self::Calls => "calls",
            Self::Output => "output",
        }
    }
}

/// A limit that was met: the error that traps the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitHit {
    pub(crate) name: LimitName,
    pub(crate) text: String,
}

impl LimitHit {
    pub(crate) fn new(name: LimitName, text: impl Into<String>) -> Self {
        Self {
            name,
            text: text.into(),
        }
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for LimitHit {}

/// Counts a guest's memory and tables. A denial traps at once: a guest that is told "no" aborts anyway, and then
/// nobody would know why.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes_max: usize,
    table_elements_max: usize,
    instances_max: usize,
    memory_bytes: usize,
    table_elements: usize,
    used: Arc<Used>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, used: Arc<Used>) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            memory_bytes_max: size(limits.memory_bytes),
            table_elements_max: size(u64::from(limits.table_elements)),
            instances_max: size(u64::from(limits.instances)),
            memory_bytes: 0,
            table_elements: 0,
            used,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let all = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if all > self.memory_bytes_max {
            return Err(LimitHit::new(
                LimitName::Memory,
                format!(
                    "the plugin asked for {all} bytes of memory, and may have {}",
                    self.memory_bytes_max
                ),
            )
            .into());
        }
        self.memory_bytes = all;
        self.used.memory_bytes.fetch_max(all as u64, Ordering::Relaxed);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error.context(LimitHit::new(
            LimitName::Memory,
            "the memory that the plugin asked for could not be had",
        )))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let all = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if all > self.table_elements_max {
            return Err(LimitHit::new(
                LimitName::Memory,
                format!(
                    "the plugin asked for tables of {all} elements, and may have {}",
                    self.table_elements_max
                ),
            )
            .into());
        }
        self.table_elements = all;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_over_all_memories_and_denied_one_byte_past_the_limit() {
        let used = Arc::new(Used::default());
        let limits = Limits {
            memory_bytes: 300,
            ..Limits::default()
        };
        let mut limiter = Limiter::new(&limits, Arc::clone(&used));
        assert!(limiter.memory_growing(0, 100, None).expect("a third"));
        assert!(limiter.memory_growing(0, 200, None).expect("all of it"));
        let denied = limiter.memory_growing(100, 101, None).expect_err("one more");
        let hit = denied.downcast_ref::<LimitHit>().expect("a limit");
        assert_eq!(hit.name, LimitName::Memory);
        assert_eq!(used.memory_bytes.load(Ordering::Relaxed), 300);
    }

    #[test]
    fn tables_are_denied_one_element_past_the_limit() {
        let limits = Limits {
            table_elements: 10,
            ..Limits::default()
        };
        let mut limiter = Limiter::new(&limits, Arc::default());
        assert!(limiter.table_growing(0, 10, None).expect("all of them"));
        assert!(limiter.table_growing(10, 11, None).is_err());
    }
}
