//! Keeps one device alive on a thread of its own, and knows nothing of what the device is.
//!
//! Recovery ladder: ask again on the same handle, close and reopen with growing pauses, then climb
//! the rungs that this device has (USB re-bind, power cycle), one after each further miss. A fault
//! is reported only after three misses in a row and never during the grace of the start; a word from
//! the kernel that something was plugged in shortens every pause. A driver that panics is replaced;
//! one that hangs is reported by a second thread and left behind until it returns. Every command that
//! was accepted completes exactly once, whatever happens.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::driver::{Cancel, Completion, Context, Driver};
use crate::fault::{Action, Fault};
use crate::status::{Capabilities, DeviceState, Status};
use crate::tap::Tap;
use crate::usb::sysfs::Sysfs;

pub use diary::{Diary, Observer, Snapshot};

mod diary;

/// Commands that may wait behind the running one. Chosen: a visit asks one thing at a time.
const INBOX_LIMIT: usize = 8;
/// How long dropping the handle waits for the thread; a hung driver is left behind.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// Longest wait of a thread that has nothing to wait for.
const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// Time allowed to `open` and `status` before the hang margin begins.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// How long the rungs rest after the last one was climbed in vain. Chosen: a device that hangs for
/// a day is worth trying again, and a relay is not worth clicking all night.
const LADDER_REST: Duration = Duration::from_mins(10);
/// Time that a rung is given to show its effect. Chosen: a device is enumerated within a second or
/// two, and its coming and going wakes us meanwhile.
const RUNG_PAUSE: Duration = Duration::from_secs(5);

static NEXT_COMMAND: AtomicU64 = AtomicU64::new(1);

/// Names one command; unique over all devices of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(u64);

/// What a device thread reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent<E> {
    /// The device was opened, for the first time or again.
    Opened {
        /// What it is.
        capabilities: Capabilities,
    },
    /// Its status changed.
    Status(Status),
    /// A running command reports.
    Command {
        /// The command.
        id: CommandId,
        /// What it reports.
        event: E,
    },
    /// A command ended; nothing more comes from it.
    Completed {
        /// The command.
        id: CommandId,
        /// How it ended.
        completion: Completion,
    },
}

/// One way to bring a device back when reopening does not.
pub struct Rung {
    /// What it is, one of [`Rung::NAMES`].
    pub name: &'static str,
    /// Does it; the words of an error go into the log. Blocking, a few seconds at most.
    pub climb: Box<dyn FnMut() -> Result<(), String> + Send>,
}

impl Rung {
    /// The kernel lets go of the plug and takes it again.
    pub const USB_REBIND: &'static str = "usb-rebind";
    /// A relay cuts its power for a while.
    pub const POWER_CYCLE: &'static str = "power-cycle";
    /// Every name, the mildest first.
    pub const NAMES: [&'static str; 2] = [Self::USB_REBIND, Self::POWER_CYCLE];

    /// Lets the kernel drop the USB device behind `port` and take it up again. `None` where the
    /// port cannot be on this machine's USB.
    pub fn usb_rebind(port: &str) -> Option<Self> {
        let is_local = port.starts_with("usb:") || port.starts_with('/');
        is_local.then(|| {
            let port = port.to_owned();
            let sysfs = Sysfs::default();
            let mut last = sysfs.path_of(&port);
            Self {
                name: Self::USB_REBIND,
                climb: Box::new(move || {
                    // A device that fell off the bus may still be there under its old path.
                    last = sysfs.path_of(&port).or(last.take());
                    match &last {
                        Some(path) => sysfs.rebind(path),
                        None => Err("it is not on USB, or not plugged in".to_owned()),
                    }
                }),
            }
        })
    }
}

impl fmt::Debug for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rung")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a device has beside its driver.
#[derive(Debug, Default)]
pub struct Support {
    /// Records its bytes on request.
    pub tap: Tap,
    /// How it is brought back, the mildest first.
    pub rungs: Vec<Rung>,
}

/// Why a command was not accepted. Nothing was done and no completion will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Too many commands wait already.
    #[error("the inbox of the device is full")]
    Full,
    /// The driver hangs; the next change of status tells when it is back.
    #[error("the driver hangs")]
    Hung,
    /// The device thread has ended.
    #[error("the device is stopped")]
    Stopped,
}

impl Busy {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full => "device.busy",
            Self::Hung => "device.driver-hung",
            Self::Stopped => "device.stopped",
        }
    }
}

/// How the supervisor paces itself.
#[derive(Clone, Copy, Debug)]
struct Timing {
    grace: Duration,
    misses_before_gone: u32,
    pause_min: Duration,
    pause_max: Duration,
    call_limit: Duration,
    hang_margin: Duration,
    ladder_rest: Duration,
    rung_pause: Duration,
}

impl Default for Timing {
    /// The values of `design.md` §4 (chosen there).
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            misses_before_gone: 3,
            pause_min: Duration::from_millis(500),
            pause_max: Duration::from_secs(10),
            call_limit: CALL_LIMIT,
            hang_margin: Duration::from_secs(5),
            ladder_rest: LADDER_REST,
            rung_pause: RUNG_PAUSE,
        }
    }
}

impl Timing {
    fn pause(&self, misses: u32) -> Duration {
        let doublings = misses.saturating_sub(2).min(16);
        self.pause_min
            .saturating_mul(1 << doublings)
            .min(self.pause_max)
    }
}

/// Starts the thread of one device. `make` makes its driver, again after a crash. `emit` is called
/// from that thread and must not block.
///
/// # Panics
/// When the machine cannot start a thread, which happens at start-up or not at all.
pub fn spawn<D: Driver>(
    id: String,
    make: impl Fn() -> D + Send + 'static,
    emit: impl Fn(DeviceEvent<D::Event>) + Send + 'static,
) -> DeviceHandle<D::Command> {
    spawn_with(id, make, emit, Timing::default(), Support::default())
}

/// As [`spawn`], for a device that can be recorded and brought back.
///
/// # Panics
/// As [`spawn`].
pub fn spawn_supported<D: Driver>(
    id: String,
    make: impl Fn() -> D + Send + 'static,
    emit: impl Fn(DeviceEvent<D::Event>) + Send + 'static,
    support: Support,
) -> DeviceHandle<D::Command> {
    spawn_with(id, make, emit, Timing::default(), support)
}

fn spawn_with<D: Driver>(
    id: String,
    make: impl Fn() -> D + Send + 'static,
    emit: impl Fn(DeviceEvent<D::Event>) + Send + 'static,
    timing: Timing,
    support: Support,
) -> DeviceHandle<D::Command> {
    let (sender, inbox) = sync_channel(INBOX_LIMIT);
    let control = Arc::new(Control::default());
    let observer = Observer::default();
    let outlet = Arc::new(Outlet::new(Box::new(emit), observer.clone()));
    let handle = DeviceHandle {
        id: id.clone(),
        inbox: sender,
        control: Arc::clone(&control),
        observer,
    };
    let monitor_control = Arc::clone(&control);
    let monitor_outlet = Arc::clone(&outlet);
    start_thread(format!("watch-{id}"), move || {
        monitor(&monitor_control, &monitor_outlet);
    });
    start_thread(format!("device-{id}"), move || {
        // Made first and dropped last, so that it tells the end even of a panicking thread.
        let _end = TellEnd(Arc::clone(&control));
        // Names the device in every line its driver logs, so that one device can be made talkative.
        let _span = tracing::error_span!("device", %id).entered();
        support.tap.install();
        Runner::new(id, make, inbox, control, outlet, timing, support.rungs).run();
    });
    handle
}

fn start_thread(name: String, body: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name).spawn(body);
    // The handle is not joined: its end is told through `Control`, with a limit.
    drop(thread.expect("the machine can start a thread for each configured device"));
}

/// The way to one device thread. Dropping it stops the thread.
pub struct DeviceHandle<C> {
    id: String,
    inbox: SyncSender<Message<C>>,
    control: Arc<Control>,
    observer: Observer,
}

/// Wakes one device thread: something was plugged in or pulled out somewhere.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn(Nudge) -> bool + Send + Sync>);

/// What a device is told beside its commands.
#[derive(Clone, Copy, Debug)]
enum Nudge {
    Look,
    Climb(&'static str),
}

impl Waker {
    /// Makes the device look at its line now instead of at its next turn.
    pub fn wake(&self) {
        // A full inbox is awake anyway; a stopped device needs no waking.
        (self.0)(Nudge::Look);
    }

    /// Has the device climb this rung of its ladder, even while it is well: somebody stands there and
    /// wants it. What it is doing ends first. False when it cannot be told now; a rung that it does not
    /// have is not climbed.
    pub fn climb(&self, rung: &'static str) -> bool {
        (self.0)(Nudge::Climb(rung))
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

impl<C: Send + 'static> DeviceHandle<C> {
    /// The way to wake this device from any thread.
    pub fn waker(&self) -> Waker {
        let inbox = self.inbox.clone();
        Waker(Arc::new(move |nudge| {
            let message = match nudge {
                Nudge::Look => Message::Wake,
                Nudge::Climb(rung) => Message::Climb(rung),
            };
            inbox.try_send(message).is_ok()
        }))
    }
}

impl<C> DeviceHandle<C> {
    /// A look at this device from any thread.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// The device's name in the configuration.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Puts a command into the device's inbox. It ends after `limit` at the latest, counted from
    /// now, and completes exactly once.
    ///
    /// # Errors
    /// [`Busy`]: it was not accepted.
    pub fn command(&self, command: C, limit: Duration) -> Result<CommandId, Busy> {
        if self.control.is_hung.load(Ordering::SeqCst) {
            return Err(Busy::Hung);
        }
        let id = CommandId(NEXT_COMMAND.fetch_add(1, Ordering::Relaxed));
        let cancel = Cancel::default();
        let pending = Pending {
            id,
            command,
            deadline: clock::now() + limit,
            cancel: cancel.clone(),
        };
        // Held over the sending, so that the thread's last look at the inbox misses nothing.
        let mut outstanding = lock(&self.control.outstanding);
        if outstanding.is_closed {
            return Err(Busy::Stopped);
        }
        match self.inbox.try_send(Message::Command(pending)) {
            Ok(()) => {
                outstanding.commands.insert(id, cancel);
                Ok(id)
            }
            Err(TrySendError::Full(_)) => Err(Busy::Full),
            Err(TrySendError::Disconnected(_)) => Err(Busy::Stopped),
        }
    }

    /// Asks a command to end early. Harmless when it has ended already.
    pub fn cancel(&self, id: CommandId) {
        if let Some(cancel) = lock(&self.control.outstanding).commands.get(&id) {
            cancel.cancel();
        }
    }

    /// Stops the device thread and waits for it, one second at most. Waiting and running commands
    /// complete as canceled.
    pub fn stop(self) {
        drop(self);
    }
}

impl<C> Drop for DeviceHandle<C> {
    fn drop(&mut self) {
        self.control.stop();
        // A full inbox is no loss: the thread looks at the flag after each message.
        drop(self.inbox.try_send(Message::Stop));
        self.control.wait_for_end(STOP_LIMIT);
    }
}

impl<C> fmt::Debug for DeviceHandle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

enum Message<C> {
    Command(Pending<C>),
    Wake,
    Climb(&'static str),
    Stop,
}

struct Pending<C> {
    id: CommandId,
    command: C,
    deadline: Instant,
    cancel: Cancel,
}

/// What the handle, the device thread and the monitor share.
#[derive(Default)]
struct Control {
    is_stopping: AtomicBool,
    is_hung: AtomicBool,
    outstanding: Mutex<Outstanding>,
    watch: Mutex<Watch>,
    changed: Condvar,
}

/// Commands that have not completed; whoever takes an id out reports its completion.
#[derive(Default)]
struct Outstanding {
    commands: HashMap<CommandId, Cancel>,
    is_closed: bool,
}

/// The driver call that is being watched.
#[derive(Default)]
struct Watch {
    limit: Option<Instant>,
    command: Option<CommandId>,
    has_ended: bool,
}

impl Control {
    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        for cancel in lock(&self.outstanding).commands.values() {
            cancel.cancel();
        }
        drop(lock(&self.watch));
        self.changed.notify_all();
    }

    fn wait_for_end(&self, limit: Duration) {
        let watch = lock(&self.watch);
        drop(
            self.changed
                .wait_timeout_while(watch, limit, |watch| !watch.has_ended),
        );
    }

    fn begin_watch(&self, limit: Instant, command: Option<CommandId>) {
        let mut watch = lock(&self.watch);
        watch.limit = Some(limit);
        watch.command = command;
        self.changed.notify_all();
    }

    /// Ends the watch; true when the call had been reported as hanging.
    fn end_watch(&self) -> bool {
        let mut watch = lock(&self.watch);
        watch.limit = None;
        watch.command = None;
        self.is_hung.swap(false, Ordering::SeqCst)
    }
}

struct TellEnd(Arc<Control>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        lock(&self.0.watch).has_ended = true;
        self.0.changed.notify_all();
    }
}

type Emit<E> = Box<dyn Fn(DeviceEvent<E>) + Send>;

/// The one way out for events. The device thread and the monitor both use it, hence the lock.
/// Locks are taken in the order watch, outlet, outstanding.
struct Outlet<E>(Mutex<OutletState<E>>, Observer);

struct OutletState<E> {
    emit: Emit<E>,
    last_status: Option<Status>,
}

impl<E> Outlet<E> {
    fn new(emit: Emit<E>, observer: Observer) -> Self {
        let state = OutletState {
            emit,
            last_status: None,
        };
        Self(Mutex::new(state), observer)
    }

    fn opened(&self, capabilities: Capabilities) {
        self.1.opened(&capabilities);
        (lock(&self.0).emit)(DeviceEvent::Opened { capabilities });
    }

    fn status(&self, status: Status) {
        let mut state = lock(&self.0);
        if state.last_status.as_ref() != Some(&status) {
            self.1.status(&status);
            state.last_status = Some(status.clone());
            (state.emit)(DeviceEvent::Status(status));
        }
    }

    fn command_event(&self, control: &Control, id: CommandId, event: E) {
        let state = lock(&self.0);
        let is_outstanding = lock(&control.outstanding).commands.contains_key(&id);
        // A command that was given up as hanging has completed: it may not speak any more.
        if is_outstanding {
            (state.emit)(DeviceEvent::Command { id, event });
        }
    }

    fn complete(&self, control: &Control, id: CommandId, completion: Completion) {
        let state = lock(&self.0);
        let was_outstanding = lock(&control.outstanding).commands.remove(&id).is_some();
        if was_outstanding {
            self.1.completed(&completion);
            (state.emit)(DeviceEvent::Completed { id, completion });
        }
    }
}

/// Reports calls of the driver that do not return.
fn monitor<E>(control: &Control, outlet: &Outlet<E>) {
    let mut watch = lock(&control.watch);
    while !control.is_stopping() && !watch.has_ended {
        let left = match watch.limit {
            Some(limit) if !control.is_hung.load(Ordering::SeqCst) => {
                limit.saturating_duration_since(clock::now())
            }
            Some(_) | None => IDLE_LIMIT,
        };
        if left.is_zero() {
            control.is_hung.store(true, Ordering::SeqCst);
            let fault = Fault::new(
                "device.driver-hung",
                Action::Maintenance,
                "a call of the driver does not return",
            );
            // The watch stays locked, so that a late return cannot be overtaken by this report.
            if let Some(id) = watch.command {
                outlet.complete(control, id, Completion::Failed(fault.clone()));
            }
            outlet.status(Status::failed(DeviceState::HardwareError, fault));
            continue;
        }
        watch = match control.changed.wait_timeout(watch, left) {
            Ok((watch, _)) => watch,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}

enum Link {
    Closed { retry_at: Instant, fault: Fault },
    Open { poll_at: Instant },
}

struct Runner<D: Driver, M> {
    id: String,
    make: M,
    driver: D,
    inbox: Receiver<Message<D::Command>>,
    control: Arc<Control>,
    outlet: Arc<Outlet<D::Event>>,
    timing: Timing,
    link: Link,
    /// Set until the device has been well once.
    grace_until: Option<Instant>,
    misses: u32,
    rungs: Vec<Rung>,
    next_rung: usize,
    /// When the next rung may be climbed; the last one may still be taking effect.
    climb_at: Option<Instant>,
}

impl<D: Driver, M: Fn() -> D> Runner<D, M> {
    fn new(
        id: String,
        make: M,
        inbox: Receiver<Message<D::Command>>,
        control: Arc<Control>,
        outlet: Arc<Outlet<D::Event>>,
        timing: Timing,
        rungs: Vec<Rung>,
    ) -> Self {
        let now = clock::now();
        Self {
            id,
            driver: make(),
            make,
            inbox,
            control,
            outlet,
            link: Link::Closed {
                retry_at: now,
                fault: Fault::new("device.starting", Action::Reset, "not opened yet"),
            },
            grace_until: Some(now + timing.grace),
            timing,
            misses: 0,
            rungs,
            next_rung: 0,
            climb_at: None,
        }
    }

    fn run(mut self) {
        self.outlet.status(Status::default());
        while !self.control.is_stopping() {
            self.keep_link();
            if self.control.is_stopping() {
                break;
            }
            match self.inbox.recv_timeout(self.time_to_next_turn()) {
                Ok(Message::Command(pending)) => self.answer(pending),
                Ok(Message::Wake) => self.wake(),
                Ok(Message::Climb(name)) => self.climb_by_hand(name),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.close();
        self.cancel_waiting();
    }

    fn cancel_waiting(&self) {
        lock(&self.control.outstanding).is_closed = true;
        // Nothing can enter the inbox any more, so this ends.
        while let Ok(message) = self.inbox.try_recv() {
            if let Message::Command(pending) = message {
                self.complete(pending.id, Completion::Canceled);
            }
        }
    }

    fn time_to_next_turn(&self) -> Duration {
        let turn = match self.link {
            Link::Open { poll_at } => poll_at,
            Link::Closed { retry_at, .. } => self
                .grace_until
                .filter(|until| *until > clock::now())
                .map_or(retry_at, |until| until.min(retry_at)),
        };
        turn.saturating_duration_since(clock::now()).min(IDLE_LIMIT)
    }

    fn keep_link(&mut self) {
        let now = clock::now();
        if let Link::Closed { retry_at, .. } = self.link
            && now >= retry_at
        {
            self.open();
        }
        if let Link::Open { poll_at } = self.link
            && now >= poll_at
            && !self.control.is_stopping()
        {
            self.poll();
        }
        self.report_fault_if_due();
    }

    fn open(&mut self) {
        match self.call(self.timing.call_limit, None, Driver::open) {
            Ok(Ok(capabilities)) => {
                tracing::info!(device = self.id, model = capabilities.model, "opened");
                self.link = Link::Open {
                    poll_at: clock::now(),
                };
                self.outlet.opened(capabilities);
            }
            Ok(Err(fault)) | Err(fault) => self.miss(fault),
        }
    }

    fn poll(&mut self) {
        match self.call(self.timing.call_limit, None, Driver::status) {
            Ok(Ok(status)) => {
                self.misses = 0;
                self.next_rung = 0;
                self.climb_at = None;
                self.grace_until = None;
                self.link = Link::Open {
                    poll_at: clock::now() + self.driver.poll_interval(),
                };
                self.outlet.status(status);
            }
            Ok(Err(fault)) => self.miss(fault),
            Err(fault) => self.reopen_after(fault),
        }
    }

    /// One rung up the ladder: the first miss asks again on the same handle, further ones reopen.
    fn miss(&mut self, fault: Fault) {
        if self.misses == 0 && matches!(self.link, Link::Open { .. }) {
            self.misses = 1;
            self.link = Link::Open {
                poll_at: clock::now() + self.timing.pause(1),
            };
        } else {
            self.reopen_after(fault);
        }
    }

    fn reopen_after(&mut self, fault: Fault) {
        self.misses = self.misses.saturating_add(1);
        tracing::warn!(
            device = self.id,
            code = fault.code,
            detail = fault.detail,
            misses = self.misses,
            "device missed"
        );
        self.close();
        self.climb(&fault);
        self.link = Link::Closed {
            retry_at: clock::now() + self.timing.pause(self.misses),
            fault,
        };
    }

    /// Something was plugged or pulled: looks at once, and again soon, because the rights and links
    /// of a device file come a moment after the device.
    fn wake(&mut self) {
        let now = clock::now();
        match &mut self.link {
            Link::Open { poll_at } => *poll_at = now,
            Link::Closed { retry_at, .. } => {
                *retry_at = now;
                self.misses = self.misses.min(self.timing.misses_before_gone);
            }
        }
    }

    /// Climbs the next rung of the ladder when reopening alone has not helped. A fault of the
    /// configuration is not mended by pulling plugs.
    fn climb(&mut self, fault: &Fault) {
        let now = clock::now();
        let is_due = self.misses >= self.timing.misses_before_gone
            && self.grace_until.is_none_or(|until| now >= until)
            && self.climb_at.is_none_or(|at| now >= at)
            && fault.action != Action::Configuration;
        if !is_due {
            return;
        }
        let place = self.next_rung;
        let count = self.rungs.len();
        if place >= count {
            return;
        }
        self.next_rung = (place + 1) % count;
        let is_climbed = self.climb_rung(place);
        // A rung that could not be climbed needs no time to take effect.
        let pause = if self.next_rung == 0 {
            self.timing.ladder_rest
        } else if is_climbed {
            self.timing.rung_pause
        } else {
            Duration::ZERO
        };
        self.climb_at = Some(clock::now() + pause);
    }

    /// Somebody wants this rung: the device is closed, brought back and opened anew, and has the time of
    /// a start until it counts as missed.
    fn climb_by_hand(&mut self, name: &str) {
        let Some(place) = self.rungs.iter().position(|rung| rung.name == name) else {
            return;
        };
        self.close();
        self.outlet.status(Status::default());
        self.climb_rung(place);
        let now = clock::now();
        self.misses = 0;
        self.grace_until = Some(now + self.timing.grace);
        self.climb_at = Some(now + self.timing.rung_pause);
        self.link = Link::Closed {
            retry_at: now + self.timing.pause_min,
            fault: Fault::new("device.starting", Action::Reset, "brought back by hand"),
        };
    }

    /// True when the rung could be climbed.
    fn climb_rung(&mut self, place: usize) -> bool {
        let Some(rung) = self.rungs.get_mut(place) else {
            return false;
        };
        match (rung.climb)() {
            Ok(()) => {
                tracing::warn!(device = self.id, rung = rung.name, "brought back by force");
                self.outlet.1.recovered(rung.name);
                true
            }
            Err(reason) => {
                tracing::warn!(
                    device = self.id,
                    rung = rung.name,
                    reason,
                    "rung not climbed"
                );
                false
            }
        }
    }

    fn report_fault_if_due(&self) {
        if let Link::Closed { fault, .. } = &self.link
            && self.misses >= self.timing.misses_before_gone
            && self.grace_until.is_none_or(|until| clock::now() >= until)
        {
            self.outlet
                .status(Status::failed(state_for(fault), fault.clone()));
        }
    }

    fn close(&mut self) {
        // A panic while closing is the same as a closed driver: `call` has replaced it.
        if let Err(fault) = self.call(self.timing.call_limit, None, Driver::close) {
            tracing::warn!(
                device = self.id,
                code = fault.code,
                "driver crashed while closing"
            );
        }
    }

    fn answer(&mut self, pending: Pending<D::Command>) {
        let Pending {
            id,
            command,
            deadline,
            cancel,
        } = pending;
        let limit = deadline.saturating_duration_since(clock::now());
        if cancel.is_canceled() {
            return self.complete(id, Completion::Canceled);
        }
        if limit.is_zero() {
            return self.complete(id, Completion::TimeOut);
        }
        if let Link::Closed { fault, .. } = &self.link {
            return self.complete(id, Completion::NotReady(fault.clone()));
        }
        let outlet = Arc::clone(&self.outlet);
        let control = Arc::clone(&self.control);
        let emit = move |event| outlet.command_event(&control, id, event);
        let context = Context::new(limit, &cancel, &emit);
        match self.call(limit, Some(id), |driver| driver.execute(command, &context)) {
            Ok(completion) => {
                self.complete(id, completion);
                // What the command did to paper, card or line is worth knowing at once.
                self.link = Link::Open {
                    poll_at: clock::now(),
                };
            }
            Err(fault) => {
                self.complete(id, Completion::Failed(fault.clone()));
                self.reopen_after(fault);
            }
        }
    }

    fn complete(&self, id: CommandId, completion: Completion) {
        self.outlet.complete(&self.control, id, completion);
    }

    /// Calls the driver under watch. `Err`: it panicked and was replaced by a new one, closed.
    fn call<R>(
        &mut self,
        limit: Duration,
        command: Option<CommandId>,
        call: impl FnOnce(&mut D) -> R,
    ) -> Result<R, Fault> {
        self.control
            .begin_watch(clock::now() + limit + self.timing.hang_margin, command);
        let result = catch_unwind(AssertUnwindSafe(|| call(&mut self.driver)));
        if self.control.end_watch() {
            tracing::warn!(device = self.id, "the driver returned after hanging");
        }
        result.map_err(|panic| {
            // The message of a panic could quote what was read: it is not logged.
            drop(panic);
            let crashed = mem::replace(&mut self.driver, (self.make)());
            drop(catch_unwind(AssertUnwindSafe(|| drop(crashed))));
            Fault::new(
                "device.driver-crashed",
                Action::Reset,
                "the driver panicked and was replaced",
            )
        })
    }
}

/// The device state that a fault of the line or of `open` stands for (`device-protocols.md` §8.5).
pub fn state_for(fault: &Fault) -> DeviceState {
    match (fault.code, fault.action) {
        ("device.not-there" | "device.gone", _) => DeviceState::NoDevice,
        ("device.silent", _) => DeviceState::PowerOff,
        (_, Action::Maintenance) => DeviceState::HardwareError,
        (_, Action::Clear) => DeviceState::UserError,
        (_, Action::Reset | Action::Configuration | Action::Suspend) => DeviceState::Offline,
    }
}

/// A panic under a lock leaves plain values behind, never half an invariant.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
