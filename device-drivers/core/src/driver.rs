//! The contract between a driver and the supervisor that runs it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::fault::Fault;
use crate::status::{Capabilities, Status};

/// A driver of one device: blocking, alone on its thread, every call bounded by a deadline.
///
/// The supervisor calls `open` first and again after each `close`; `status` between commands;
/// `execute` for each command. A driver never sleeps, never retries for ever and never panics on
/// what a device says; if it panics all the same, the supervisor makes a new one.
pub trait Driver: Send + 'static {
    /// What can be asked of this class.
    type Command: Send + 'static;
    /// What this class reports while a command runs, or unasked.
    type Event: Send + 'static;

    /// Opens the port and asks the device what it is.
    ///
    /// # Errors
    /// The fault that stands in the way; the supervisor climbs its recovery ladder.
    fn open(&mut self) -> Result<Capabilities, Fault>;

    /// Drops the handle. Called before every reopening.
    fn close(&mut self);

    /// Asks the device how it is. Conditions that staff can mend (paper, cover) are a `Status`;
    /// only a device that does not answer is an error.
    ///
    /// # Errors
    /// The device did not answer or answered rubbish.
    fn status(&mut self) -> Result<Status, Fault>;

    /// Carries out one command to its end: success, failure, deadline or cancellation.
    fn execute(&mut self, command: Self::Command, context: &Context<'_, Self::Event>)
    -> Completion;

    /// How long the supervisor waits between two calls of `status` while idle.
    fn poll_interval(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// How a command ended (XFS4IoT completion codes; device-specific causes travel as a [`Fault`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Done.
    Success,
    /// The caller changed its mind.
    Canceled,
    /// The deadline passed; nothing is wrong with the device.
    TimeOut,
    /// The device cannot work now (not open, no paper at the start); nothing was done.
    NotReady(Fault),
    /// It failed on the way; part of it may have happened.
    Failed(Fault),
}

/// Deadline, cancellation and the way to report, for one running command.
pub struct Context<'a, E> {
    deadline: Instant,
    cancel: &'a Cancel,
    emit: &'a dyn Fn(E),
}

impl<'a, E> Context<'a, E> {
    /// A context that ends `limit` from now. The supervisor makes them; tests may.
    pub fn new(limit: Duration, cancel: &'a Cancel, emit: &'a dyn Fn(E)) -> Self {
        Self {
            deadline: clock::now() + limit,
            cancel,
            emit,
        }
    }

    /// Time left until the deadline; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(clock::now())
    }

    /// `Err` with the completion to return when the command must end now.
    ///
    /// # Errors
    /// [`Completion::Canceled`] or [`Completion::TimeOut`].
    pub fn check(&self) -> Result<(), Completion> {
        if self.cancel.is_canceled() {
            return Err(Completion::Canceled);
        }
        if self.remaining().is_zero() {
            return Err(Completion::TimeOut);
        }
        Ok(())
    }

    /// Waits `pause` at most, less when the command is canceled or its deadline passes.
    /// For polling a device at its own pace, never for hoping.
    ///
    /// # Errors
    /// As [`Context::check`].
    pub fn pause(&self, pause: Duration) -> Result<(), Completion> {
        self.cancel.wait(pause.min(self.remaining()));
        self.check()
    }

    /// Reports an event of this command.
    pub fn emit(&self, event: E) {
        (self.emit)(event);
    }
}

impl<E> fmt::Debug for Context<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

/// Cancels one command from another thread.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    is_canceled: AtomicBool,
    lock: std::sync::Mutex<()>,
    wake: std::sync::Condvar,
}

impl Cancel {
    /// Asks the command to end as soon as it can.
    pub fn cancel(&self) {
        self.0.is_canceled.store(true, Ordering::SeqCst);
        // The lock closes the gap between a waiter's check and its wait.
        drop(self.0.lock.lock());
        self.0.wake.notify_all();
    }

    /// True once canceled.
    pub fn is_canceled(&self) -> bool {
        self.0.is_canceled.load(Ordering::SeqCst)
    }

    fn wait(&self, limit: Duration) {
        let Ok(guard) = self.0.lock.lock() else {
            return;
        };
        // A spurious or early end of the wait is harmless: every caller checks again.
        drop(
            self.0
                .wake
                .wait_timeout_while(guard, limit, |()| !self.is_canceled()),
        );
    }
}
