//! The clock that interrupts guests: a thread that ticks while at least one guest runs, and rests otherwise.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// How often a guest is interrupted, so that others get their turn and its time can be looked at.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Ticks an engine's epoch while somebody holds an [`Active`].
#[derive(Default)]
pub(crate) struct Ticker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    active: usize,
    started: bool,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters stay true whatever panicked beside them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the clock ticking until it is dropped.
pub(crate) struct Active(Arc<Shared>);

impl Ticker {
    /// Ticks `engine` from now on. The thread is started by the first run, not before.
    pub(crate) fn activate(&self, engine: &Engine) -> std::io::Result<Active> {
        let mut state = self.0.state();
        if !state.started {
            let shared = Arc::clone(&self.0);
            let engine = engine.weak();
            std::thread::Builder::new()
                .name("sereno-ticker".to_owned())
                .spawn(move || tick(&shared, &engine))?;
            state.started = true;
        }
        state.active += 1;
        drop(state);
        self.0.woken.notify_all();
        Ok(Active(Arc::clone(&self.0)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.state().active -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.woken.notify_all();
    }
}

fn tick(shared: &Shared, engine: &EngineWeak) {
    let mut state = shared.state();
    loop {
        if state.closed {
            return;
        }
        if state.active == 0 {
            state = shared.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        // A run that starts meanwhile must not shorten the tick, so the time is slept out in full.
        drop(state);
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        state = shared.state();
    }
}
