//! Tells the service manager that the terminal lives, and only while both of its loops turn: the
//! glass and the visit. One that hangs falls silent and is started anew from outside, which a
//! program cannot do for itself (`sd_notify(3)`; `packaging/systemd/kiosk.service`).

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

/// Signs of life within one patience of the service manager: two may be late.
const SIGNS: u32 = 3;
/// Between two looks when the manager wants no signs of life but wants to know when we are ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);
/// Shortest and longest wait between two signs. Chosen.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Counts the turns of the visit's loop.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The loop has turned.
    pub(crate) fn turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts giving signs of life where a service manager listens (`NOTIFY_SOCKET`,
/// `WATCHDOG_USEC`); does nothing elsewhere.
///
/// # Errors
/// The manager's socket cannot be reached, or the machine cannot start a thread.
pub fn start(ui: &UiHandle) -> io::Result<Pulse> {
    let visit = Pulse::default();
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(visit);
    };
    let socket = connect(&name)?;
    let patience = std::env::var("WATCHDOG_USEC")
        .ok()
        .and_then(|text| text.parse().ok())
        .map(Duration::from_micros);
    let glass = Pulse::default();
    let ui = ui.clone();
    let turning = visit.clone();
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            let mut judge = Judge::default();
            let mut is_ready = false;
            let interval = patience.map_or(READY_INTERVAL, |patience| {
                (patience / SIGNS).clamp(INTERVAL_MIN, INTERVAL_MAX)
            });
            loop {
                let counter = Arc::clone(&glass.0);
                let is_alive = judge.look([&glass, &turning]);
                if is_alive {
                    let words: &[u8] = if is_ready {
                        b"WATCHDOG=1"
                    } else {
                        b"READY=1\nWATCHDOG=1"
                    };
                    is_ready = true;
                    if let Err(error) = socket.send(words) {
                        tracing::warn!(%error, "the service manager does not hear us");
                    }
                    if patience.is_none() {
                        return;
                    }
                }
                ui.beat(move || {
                    counter.fetch_add(1, Ordering::Relaxed);
                });
                thread::park_timeout(interval);
            }
        })?;
    Ok(visit)
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
}
