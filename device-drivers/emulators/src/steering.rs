//! What a device emulator and the person who steers it share: one state behind a lock, waits that
//! end early when the emulator stops, and the only reading of the clock in this crate.
//!
//! A lock and not a message is used here on purpose: steering acts on the *world* (a card, a roll
//! of paper), and the one who acts must see the world changed when the call returns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often an idle emulator looks whether the world has changed. Chosen: below what a person
/// notices, above what a profiler does.
pub(crate) const TICK: Duration = Duration::from_millis(15);

/// Longest wait of a steering call for its emulator to follow. Chosen: more than any paced reply.
const FOLLOW_WITHIN: Duration = Duration::from_secs(5);

/// Reads the monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "an emulator paces real transports; this is the one place that reads the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A state that threads of one emulator and its steering calls share.
#[derive(Debug)]
pub(crate) struct Steered<S> {
    state: Mutex<S>,
    changed: Condvar,
    is_stopping: AtomicBool,
}

impl<S> Steered<S> {
    pub(crate) fn new(state: S) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            is_stopping: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // A panic elsewhere leaves plain data behind; the emulator goes on with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whoever waits on it.
    pub(crate) fn change<R>(&self, act: impl FnOnce(&mut S) -> R) -> R {
        let result = act(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Reads the state.
    pub(crate) fn look<R>(&self, read: impl FnOnce(&S) -> R) -> R {
        read(&self.lock())
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Waits for the whole of `time`; false when the wait ended early because `keep` no longer
    /// holds or the emulator stops.
    pub(crate) fn pause_while(&self, time: Duration, keep: impl Fn(&S) -> bool) -> bool {
        let deadline = now() + time;
        let mut state = self.lock();
        loop {
            if self.is_stopping() || !keep(&state) {
                return false;
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return true;
            }
            // Stopping sets a flag without the lock, so the wait is cut into ticks.
            state = self
                .changed
                .wait_timeout(state, left.min(TICK))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for the whole of `time`; false when the emulator stops.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        self.pause_while(time, |_| true)
    }

    /// Waits until the emulator has followed a steering call; false when it did not in time.
    pub(crate) fn follow(&self, is_done: impl Fn(&S) -> bool) -> bool {
        !self.pause_while(FOLLOW_WITHIN, |state| !is_done(state)) && self.look(is_done)
    }
}

/// The threads of one emulator; dropping it stops and joins them.
#[derive(Debug)]
pub(crate) struct Running<S> {
    pub(crate) steered: Arc<Steered<S>>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: Send + 'static> Running<S> {
    pub(crate) fn new(steered: Arc<Steered<S>>) -> Self {
        Self {
            steered,
            threads: Vec::new(),
        }
    }

    /// Adds one named thread.
    pub(crate) fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce(&Arc<Steered<S>>) + Send + 'static,
    ) -> std::io::Result<()> {
        let steered = Arc::clone(&self.steered);
        self.threads.push(
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || body(&steered))?,
        );
        Ok(())
    }
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        self.steered.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an emulator thread ended with a panic");
            }
        }
    }
}

/// A small deterministic source of rubbish bytes (xorshift), for faults that garble.
#[derive(Debug, Clone)]
pub(crate) struct Rubbish(u32);

impl Rubbish {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 17;
                self.0 ^= self.0 << 5;
                self.0.to_le_bytes()[1]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_early_when_its_condition_breaks() {
        let steered = Steered::new(1);
        assert!(!steered.pause_while(Duration::from_mins(1), |value| *value == 2));
        assert!(steered.pause(Duration::ZERO));
    }

    #[test]
    fn stopping_ends_every_wait() {
        let steered = Steered::new(());
        steered.stop();
        assert!(!steered.pause(Duration::from_mins(1)));
        assert!(!steered.follow(|()| false));
    }

    #[test]
    fn rubbish_is_the_same_for_the_same_seed() {
        assert_eq!(Rubbish::new(7).bytes(64), Rubbish::new(7).bytes(64));
        assert_ne!(Rubbish::new(7).bytes(64), Rubbish::new(9).bytes(64));
    }
}
