//! Tells the service manager that the terminal lives, and only while both of its loops turn: the
//! glass and the visit. One that hangs falls silent and is started anew from outside, which a
//! program cannot do for itself (`sd_notify(3)`; `packaging/systemd/kiosk.service`). When both have
//! turned for long enough, the run is proved and earlier bad ends are forgotten (`boot`).

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kiosk_ui::UiHandle;

use crate::boot::PROVEN;
use crate::clock;

/// Signs of life within one patience of the service manager: two may be late.
const SIGNS: u32 = 3;
/// Between two looks until the manager knows that we are ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);
/// Shortest and longest wait between two signs. Chosen.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Between two looks where nobody waits for signs. Chosen: thirty of them prove a run.
const QUIET_INTERVAL: Duration = Duration::from_secs(10);

/// Counts the turns of the visit's loop.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The loop has turned.
    pub(crate) fn turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches both loops: gives signs of life where a service manager listens (`NOTIFY_SOCKET`,
/// `WATCHDOG_USEC`), and calls `proven` once, when both have turned for five minutes.
///
/// # Errors
/// The manager's socket cannot be reached, or the machine cannot start a thread.
pub fn start(ui: &UiHandle, proven: impl FnOnce() + Send + 'static) -> io::Result<Pulse> {
    let visit = Pulse::default();
    let mut watch = Watch {
        manager: Manager::from_environment()?,
        glass: Pulse::default(),
        visit: visit.clone(),
        judge: Judge::default(),
        trial: Trial::default(),
    };
    let ui = ui.clone();
    let mut proven = Some(proven);
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            loop {
                if watch.look()
                    && let Some(proven) = proven.take()
                {
                    tell(proven);
                }
                if proven.is_none() && !watch.has_patience() {
                    return;
                }
                let counter = Arc::clone(&watch.glass.0);
                ui.beat(move || {
                    counter.fetch_add(1, Ordering::Relaxed);
                });
                thread::park_timeout(watch.interval());
            }
        })?;
    Ok(visit)
}

/// On a thread of its own: what is done then may wait for a disk, and the signs of life may not.
fn tell(proven: impl FnOnce() + Send + 'static) {
    let told = thread::Builder::new()
        .name("proven".to_owned())
        .spawn(proven);
    if let Err(error) = told {
        tracing::warn!(%error, "earlier bad ends are not forgotten");
    }
}

/// What the watching thread knows.
struct Watch {
    manager: Option<Manager>,
    glass: Pulse,
    visit: Pulse,
    judge: Judge,
    trial: Trial,
}

impl Watch {
    /// Looks at both loops and gives a sign of life when they have turned; true when the run is proved.
    fn look(&mut self) -> bool {
        let is_alive = self.judge.look([&self.glass, &self.visit]);
        if is_alive && let Some(manager) = &mut self.manager {
            manager.tell();
        }
        self.trial.look(is_alive, clock::now().uptime)
    }

    fn has_patience(&self) -> bool {
        self.manager
            .as_ref()
            .is_some_and(|manager| manager.patience.is_some() || !manager.is_ready)
    }

    fn interval(&self) -> Duration {
        match &self.manager {
            Some(manager) if !manager.is_ready => READY_INTERVAL,
            Some(Manager {
                patience: Some(patience),
                ..
            }) => (*patience / SIGNS).clamp(INTERVAL_MIN, INTERVAL_MAX),
            Some(_) | None => QUIET_INTERVAL,
        }
    }
}

/// The service manager that started us.
struct Manager {
    socket: UnixDatagram,
    /// How long it waits for a sign of life; `None` where it wants none.
    patience: Option<Duration>,
    is_ready: bool,
}

impl Manager {
    fn from_environment() -> io::Result<Option<Self>> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(None);
        };
        let patience = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Duration::from_micros);
        Ok(Some(Self {
            socket: connect(&name)?,
            patience,
            is_ready: false,
        }))
    }

    fn tell(&mut self) {
        let words: &[u8] = match (self.is_ready, self.patience) {
            (false, _) => b"READY=1\nWATCHDOG=1",
            (true, Some(_)) => b"WATCHDOG=1",
            (true, None) => return,
        };
        match self.socket.send(words) {
            // Until it has heard so, it waits for us to be ready.
            Ok(_) => self.is_ready = true,
            Err(error) => tracing::warn!(%error, "the service manager does not hear us"),
        }
    }
}

/// The manager's socket: a path, or an abstract name behind `@`.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(name)?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Remembers how far both loops were at the last look.
#[derive(Debug, Default)]
struct Judge([u64; 2]);

impl Judge {
    /// True when both loops have turned since the last time this was true.
    fn look(&mut self, pulses: [&Pulse; 2]) -> bool {
        let now = pulses.map(|pulse| pulse.0.load(Ordering::Relaxed));
        let is_alive = now.iter().zip(self.0).all(|(now, then)| *now != then);
        if is_alive {
            self.0 = now;
        }
        is_alive
    }
}

/// Measures for how long both loops have turned without a pause.
#[derive(Debug, Default)]
struct Trial {
    since: Option<Duration>,
}

impl Trial {
    /// True when it was long enough.
    fn look(&mut self, is_alive: bool, now: Duration) -> bool {
        if !is_alive {
            self.since = None;
            return false;
        }
        now.saturating_sub(*self.since.get_or_insert(now)) >= PROVEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_lives_only_while_both_of_its_loops_turn() {
        let (glass, visit) = (Pulse::default(), Pulse::default());
        let mut judge = Judge::default();
        let mut look = || judge.look([&glass, &visit]);
        assert!(!look());
        glass.turn();
        assert!(!look(), "the visit has not turned");
        visit.turn();
        assert!(look());
        visit.turn();
        visit.turn();
        assert!(!look(), "the glass hangs");
        glass.turn();
        assert!(look());
    }

    #[test]
    fn a_run_is_proved_by_five_minutes_without_a_pause() {
        let second = Duration::from_secs;
        let mut trial = Trial::default();
        assert!(!trial.look(false, second(0)));
        assert!(!trial.look(true, second(1)));
        assert!(!trial.look(true, second(290)));
        assert!(!trial.look(false, second(295)), "it hangs");
        assert!(!trial.look(true, second(302)), "and begins anew");
        assert!(!trial.look(true, second(601)));
        assert!(trial.look(true, second(602)));
    }
}
