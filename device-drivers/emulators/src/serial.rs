//! A serial cable made of a pseudo terminal: a stable path for the driver, bytes paced at the
//! configured speed, and a cable that can be cut and plugged again. Or the same over USB, for devices
//! that are built so.
//!
//! The device side is the controlling end. The emulator keeps the terminal end open as well, so
//! that a driver which closes its port does not look like a broken cable. Cutting the cable closes
//! both ends and removes the path, as pulling a USB serial adapter does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use serde_json::{Value, json};

use crate::steering::{Rubbish, Steered, TICK, now};
use crate::usb::acm::{SharedLine, UsbLine};
use crate::usb::{UsbBus, UsbPort};

/// Bytes handed to the kernel at once. Chosen: the FIFO of a common UART (16550A).
const FIFO_BYTES: usize = 16;

/// Longest wait for a driver that does not read. Chosen: a device does not wait for its host.
const WRITE_WITHIN: Duration = Duration::from_millis(200);

/// One emulated serial device's end of the cable.
#[derive(Debug)]
pub(crate) struct SerialLine {
    path: PathBuf,
    cable: Cable,
    /// Symbols per second; 0 sends without pacing.
    pub(crate) baud: u32,
    /// Rubbish goes both ways while the driver has set another speed, as on a wire. A pseudo terminal
    /// carries bytes at any speed, but it remembers which one was set.
    pub(crate) heeds_speed: bool,
}

#[derive(Debug)]
enum Cable {
    Pty(Option<Ends>),
    Usb(UsbLine),
}

/// What there is to tell about a line besides its path.
#[derive(Debug, Clone)]
pub(crate) struct LineReport(Option<(UsbPort, Option<SharedLine>)>);

impl LineReport {
    /// What the host has set and what was refused; null for a line that cannot know.
    pub(crate) fn value(&self) -> Value {
        match &self.0 {
            Some((port, line)) => json!({
                "line": line.as_ref().map(SharedLine::get),
                "errors": port.errors(),
            }),
            None => Value::Null,
        }
    }
}

#[derive(Debug)]
struct Ends {
    device: OwnedFd,
    /// Held open: see the module's documentation.
    terminal: OwnedFd,
}

impl SerialLine {
    /// Opens a line whose driver side is reached at `path`.
    pub(crate) fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let mut line = Self {
            path: path.to_owned(),
            cable: Cable::Pty(None),
            baud,
            heeds_speed: false,
        };
        line.plug()?;
        Ok(line)
    }

    /// Opens a line over USB; bytes are not paced by a speed that no wire has.
    pub(crate) fn open_usb(bus: &UsbBus, model: &str) -> Self {
        Self::over(UsbLine::open(bus, model))
    }

    /// Opens a line of reports: what is sent in one go is one report.
    pub(crate) fn open_reports(port: UsbPort) -> Self {
        Self::over(UsbLine::over(port))
    }

    fn over(line: UsbLine) -> Self {
        Self {
            path: PathBuf::from(line.port.name()),
            cable: Cable::Usb(line),
            baud: 0,
            heeds_speed: false,
        }
    }

    /// Where a driver reaches the device: a path, or `usbip:HOST:PORT/BUSID`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_usb(&self) -> bool {
        matches!(self.cable, Cable::Usb(_))
    }

    pub(crate) fn report(&self) -> LineReport {
        LineReport(match &self.cable {
            Cable::Pty(_) => None,
            Cable::Usb(line) => Some((line.port.clone(), line.line())),
        })
    }

    /// Halts the endpoint of what is sent; false where there is none.
    pub(crate) fn stall(&self) -> bool {
        match &self.cable {
            Cable::Pty(_) => false,
            Cable::Usb(line) => {
                line.stall();
                true
            }
        }
    }

    pub(crate) fn is_plugged(&self) -> bool {
        match &self.cable {
            Cable::Pty(ends) => ends.is_some(),
            Cable::Usb(line) => line.port.is_plugged(),
        }
    }

    /// Plugs the cable in: a new pseudo terminal behind the same path.
    pub(crate) fn plug(&mut self) -> io::Result<()> {
        match &mut self.cable {
            Cable::Usb(line) => line.port.plug(),
            Cable::Pty(ends) => *ends = Some(Ends::open(&self.path)?),
        }
        Ok(())
    }

    /// Cuts the cable: the driver's handle breaks and the path is gone.
    pub(crate) fn cut(&mut self) {
        match &mut self.cable {
            Cable::Usb(line) => line.cut(),
            Cable::Pty(ends) => {
                *ends = None;
                if let Err(error) = remove_if_present(&self.path) {
                    tracing::warn!(%error, "the path of a cut cable stays behind");
                }
            }
        }
    }

    /// True while the driver has set another speed than the device has.
    fn is_misheard(&self) -> io::Result<bool> {
        match &self.cable {
            Cable::Pty(Some(ends)) if self.heeds_speed && self.baud != 0 => {
                Ok(tcgetattr(&ends.terminal)?.output_speed() != self.baud)
            }
            Cable::Pty(_) | Cable::Usb(_) => Ok(false),
        }
    }

    /// Waits up to `wait` for bytes; 0 when none came or the cable is cut.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize> {
        let count = self.take(buffer, wait)?;
        if count > 0 && self.is_misheard()? {
            let rubbish = Rubbish::new(self.baud).bytes(count);
            buffer[..count].copy_from_slice(&rubbish);
        }
        Ok(count)
    }

    fn take(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize> {
        let ends = match &mut self.cable {
            Cable::Usb(line) => return Ok(line.receive(buffer, wait)),
            Cable::Pty(None) => return Ok(0),
            Cable::Pty(Some(ends)) => ends,
        };
        if !is_ready(&ends.device, PollFlags::IN, wait)? {
            return Ok(0);
        }
        match rustix::io::read(&ends.device, buffer) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::IO) => {
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends `bytes` no faster than the line's speed; false when `keep` ended it or the driver
    /// does not read.
    pub(crate) fn send<S>(
        &self,
        bytes: &[u8],
        steered: &Steered<S>,
        keep: impl Fn(&S) -> bool,
    ) -> io::Result<bool> {
        if let Cable::Usb(line) = &self.cable
            && self.baud == 0
        {
            return Ok(line.send(bytes));
        }
        let rubbish;
        let bytes = if self.is_misheard()? {
            rubbish = Rubbish::new(self.baud).bytes(bytes.len());
            &rubbish
        } else {
            bytes
        };
        let start = now();
        let mut sent = 0;
        for chunk in bytes.chunks(FIFO_BYTES) {
            sent += chunk.len();
            let due = start + wire_time(sent, self.baud);
            if !steered.pause_while(due.saturating_duration_since(now()), &keep) {
                return Ok(false);
            }
            if !self.push(chunk)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn push(&self, mut bytes: &[u8]) -> io::Result<bool> {
        let ends = match &self.cable {
            Cable::Usb(line) => return Ok(line.send(bytes)),
            Cable::Pty(None) => return Ok(false),
            Cable::Pty(Some(ends)) => ends,
        };
        let deadline = now() + WRITE_WITHIN;
        while !bytes.is_empty() {
            match rustix::io::write(&ends.device, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    let left = deadline.saturating_duration_since(now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    is_ready(&ends.device, PollFlags::OUT, left.min(TICK))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

impl Ends {
    /// A new pseudo terminal, reached at `path`.
    fn open(path: &Path) -> io::Result<Self> {
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&device)?;
        unlockpt(&device)?;
        let name = ptsname(&device, Vec::new())?;
        let terminal = rustix::fs::open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut settings = tcgetattr(&terminal)?;
        settings.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &settings)?;
        let flags = fcntl_getfl(&device)?;
        fcntl_setfl(&device, flags | OFlags::NONBLOCK)?;

        let target = name.to_string_lossy().into_owned();
        // Rename replaces what an earlier life left behind in one step.
        let fresh = path.with_extension("fresh");
        remove_if_present(&fresh)?;
        std::os::unix::fs::symlink(target, &fresh)?;
        std::fs::rename(&fresh, path)?;
        Ok(Self { device, terminal })
    }
}

impl Drop for SerialLine {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Time that `count` bytes need on the wire: one start, eight data and one stop bit each.
fn wire_time(count: usize, baud: u32) -> Duration {
    if baud == 0 {
        return Duration::ZERO;
    }
    let bits = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(10);
    Duration::from_nanos(bits.saturating_mul(1_000_000_000) / u64::from(baud))
}

fn is_ready(file: &OwnedFd, flags: PollFlags, wait: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(file.as_fd(), flags)];
    let timeout = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_card_reply_takes_its_time_on_the_wire() {
        // 1295 bytes at 115200 baud: about 112 ms (device-protocols, section 1.6).
        assert_eq!(wire_time(1295, 115_200).as_millis(), 112);
        assert_eq!(wire_time(1, 9600).as_micros(), 1041);
        assert_eq!(wire_time(1000, 0), Duration::ZERO);
    }
}
