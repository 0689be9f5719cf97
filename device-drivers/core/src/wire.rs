//! The byte stream between a driver and its device: a serial port or a TCP connection.
//!
//! Every call has a limit. A serial port is opened exclusively, 8 data bits, no parity, 1 stop bit;
//! modem lines are left alone, because a pseudo-terminal has none. A cable that was pulled is
//! [`WireError::Gone`], whatever the kernel calls it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use serialport::{ClearBuffer, SerialPort, TTYPort};

use crate::clock;
use crate::fault::{Action, Fault};
use crate::tap::{self, Direction};

/// Longest wait for a TCP connection. Chosen: a device on the same switch answers in milliseconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for the address of a host name. Chosen.
const RESOLVE_LIMIT: Duration = Duration::from_secs(3);
/// Addresses of one host name that are tried. Chosen.
const ADDRESSES_MAX: usize = 4;
/// Bytes given to a serial port at once. A terminal that says it has room takes 256 bytes without
/// blocking (smallest buffer of the Linux terminal layer), so half of that never hangs the thread.
const SERIAL_CHUNK_BYTES: usize = 128;
/// Stale bytes thrown away at most by one [`Wire::discard_input`]. Chosen: twice the largest reply.
const DISCARD_BYTES_MAX: usize = 64 * 1024;
/// How often an interrupted system call is repeated. Chosen.
const INTERRUPTIONS_MAX: usize = 8;

/// A byte stream in both directions.
pub trait Wire: Send {
    /// Writes all of `bytes` within `limit`.
    ///
    /// # Errors
    /// [`WireError::TimedOut`] when the device stopped taking bytes; [`WireError::Gone`] and
    /// [`WireError::Io`] when the line broke: reopen.
    fn write_all(&mut self, bytes: &[u8], limit: Duration) -> Result<(), WireError>;

    /// Reads what is there, waiting `limit` at most for the first byte. `Ok(0)`: nothing came.
    ///
    /// # Errors
    /// [`WireError::Gone`] and [`WireError::Io`]: reopen.
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> Result<usize, WireError>;

    /// Throws away what came unasked. A broken line shows at the next call.
    fn discard_input(&mut self);
}

/// Why the wire does not carry.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The name in the configuration is no port.
    #[error("port {port:?} is neither an absolute path nor tcp:HOST:PORT")]
    BadName {
        /// The name.
        port: String,
    },
    /// No such port, or nobody listens there.
    #[error("nothing at {port}")]
    NotThere {
        /// The name.
        port: String,
    },
    /// Another program has it.
    #[error("{port} is in use by another program")]
    InUse {
        /// The name.
        port: String,
    },
    /// It was unplugged, or the other side closed.
    #[error("the device went away")]
    Gone,
    /// The other side gives no sign of life or takes no more bytes.
    #[error("nothing moved before the limit")]
    TimedOut,
    /// The device refused (a stalled USB pipe, already cleared).
    #[error("the device refused the transfer")]
    Stalled,
    /// This program may not open it.
    #[error("no permission to open {port}")]
    Denied {
        /// The name.
        port: String,
    },
    /// Descriptors or replies of the bus that make no sense.
    #[error("the descriptors of the device make no sense")]
    BadDescriptor,
    /// Anything else the kernel says.
    #[error("input or output failed: {0}")]
    Io(#[source] io::Error),
}

impl WireError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "device.bad-port",
            Self::NotThere { .. } => "device.not-there",
            Self::InUse { .. } => "device.in-use",
            Self::Gone => "device.gone",
            Self::TimedOut => "device.silent",
            Self::Stalled => "device.stalled",
            Self::Denied { .. } => "device.no-permission",
            Self::BadDescriptor => "device.bad-descriptor",
            Self::Io(_) => "device.io",
        }
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        let action = match error {
            WireError::BadName { .. } | WireError::InUse { .. } | WireError::Denied { .. } => {
                Action::Configuration
            }
            WireError::NotThere { .. }
            | WireError::Gone
            | WireError::TimedOut
            | WireError::Stalled
            | WireError::BadDescriptor
            | WireError::Io(_) => Action::Maintenance,
        };
        Self::new(error.code(), action, error.to_string())
    }
}

/// The name of a port, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A terminal device, or a symbolic link to one.
    Serial {
        /// Absolute path.
        path: String,
    },
    /// A TCP listener.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port number.
        port: u16,
    },
}

impl Port {
    /// Takes `name` apart: an absolute path, `tcp:HOST:PORT` or `tcp:[ADDRESS]:PORT`.
    ///
    /// # Errors
    /// [`WireError::BadName`].
    pub fn parse(name: &str) -> Result<Self, WireError> {
        let parsed = match name.strip_prefix("tcp:") {
            Some(authority) => {
                split_authority(authority).map(|(host, port)| Self::Tcp { host, port })
            }
            None if name.starts_with('/') && !name.contains('\0') => Some(Self::Serial {
                path: name.to_owned(),
            }),
            None => None,
        };
        parsed.ok_or_else(|| WireError::BadName {
            port: name.to_owned(),
        })
    }
}

/// Host and port of `HOST:PORT` or `[ADDRESS]:PORT`.
pub(crate) fn split_authority(authority: &str) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => authority
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains(':'))?,
    };
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".:-_%".contains(&byte));
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_host.then(|| (host.to_owned(), port))
}

/// Opens the port called `name`; `baud` matters to serial ports only.
///
/// # Errors
/// [`WireError::BadName`], [`WireError::NotThere`], [`WireError::InUse`], [`WireError::TimedOut`]
/// or [`WireError::Io`].
pub fn open(name: &str, baud: u32) -> Result<Box<dyn Wire>, WireError> {
    match Port::parse(name)? {
        Port::Serial { path } => Ok(Box::new(SerialWire::open(&path, baud)?)),
        Port::Tcp { host, port } => Ok(Box::new(TcpWire::connect(&host, port)?)),
    }
}

/// A serial port.
#[derive(Debug)]
pub struct SerialWire(TTYPort);

impl SerialWire {
    /// Opens the terminal at `path` exclusively with 8 data bits, no parity, 1 stop bit.
    ///
    /// # Errors
    /// [`WireError::NotThere`], [`WireError::InUse`] or [`WireError::Io`].
    pub fn open(path: &str, baud: u32) -> Result<Self, WireError> {
        serialport::new(path, baud)
            .open_native()
            .inspect(|_| tap::note(|| format!("opened at {baud} baud")))
            .map(Self)
            .map_err(|error| match error.kind {
                serialport::ErrorKind::Io(io::ErrorKind::PermissionDenied) => WireError::Denied {
                    port: path.to_owned(),
                },
                // The crate says `NoDevice` for both locks (TIOCEXCL and flock).
                serialport::ErrorKind::NoDevice => WireError::InUse {
                    port: path.to_owned(),
                },
                serialport::ErrorKind::Io(io::ErrorKind::NotFound) => WireError::NotThere {
                    port: path.to_owned(),
                },
                serialport::ErrorKind::InvalidInput
                | serialport::ErrorKind::Unknown
                | serialport::ErrorKind::Io(_) => WireError::Io(error.into()),
            })
    }

    fn set_limit(&mut self, limit: Duration) -> Result<(), WireError> {
        self.0
            .set_timeout(limit)
            .map_err(|error| WireError::Io(error.into()))
    }
}

impl Wire for SerialWire {
    fn write_all(&mut self, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        tap::bytes(Direction::Sent, bytes);
        let deadline = clock::now() + limit;
        for chunk in bytes.chunks(SERIAL_CHUNK_BYTES) {
            let mut rest = chunk;
            while !rest.is_empty() {
                self.set_limit(deadline.saturating_duration_since(clock::now()))?;
                match written(self.0.write(rest))? {
                    0 => return Err(WireError::TimedOut),
                    count => rest = rest.get(count..).unwrap_or_default(),
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> Result<usize, WireError> {
        self.set_limit(limit)?;
        received(read_some(&mut self.0, buffer), buffer)
    }

    fn discard_input(&mut self) {
        if let Err(error) = self.0.clear(ClearBuffer::Input) {
            tracing::debug!(%error, "input not discarded");
        }
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpWire(TcpStream);

impl TcpWire {
    /// Connects to `host`, trying its first few addresses, in two seconds at most for each.
    ///
    /// # Errors
    /// [`WireError::NotThere`] when the connection is refused or the name is unknown,
    /// [`WireError::TimedOut`] when nobody answers, else [`WireError::Io`].
    pub fn connect(host: &str, port: u16) -> Result<Self, WireError> {
        let stream = connect(host, port)?;
        tap::note(|| format!("connected to {host} port {port}"));
        Ok(Self(stream))
    }
}

/// Connects to one of the first few addresses of `host`.
pub(crate) fn connect(host: &str, port: u16) -> Result<TcpStream, WireError> {
    let not_there = || WireError::NotThere {
        port: format!("tcp:{host}:{port}"),
    };
    let mut failure = not_there();
    for address in resolve(host, port).ok_or_else(not_there)? {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => {
                // Commands are short and wait for their answers.
                stream.set_nodelay(true).map_err(WireError::Io)?;
                return Ok(stream);
            }
            Err(error) => {
                let is_refused = matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable
                );
                failure = if is_refused {
                    not_there()
                } else if is_time_out(&error) {
                    WireError::TimedOut
                } else {
                    WireError::Io(error)
                };
            }
        }
    }
    Err(failure)
}

/// The first few addresses of a host; `None` when the name is unknown or nobody answers within three
/// seconds.
pub fn resolve(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(address, port)]);
    }
    // The system's resolver has no limit of its own, so it works on a thread that may be left behind.
    let (sender, answer) = sync_channel(1);
    let name = (host.to_owned(), port);
    let asked = thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || {
            let found = name.to_socket_addrs().ok();
            let found = found.map(|addresses| addresses.take(ADDRESSES_MAX).collect());
            // Nobody listens any more when the limit has passed.
            drop(sender.send(found));
        });
    asked.ok()?;
    answer.recv_timeout(RESOLVE_LIMIT).ok().flatten()
}

impl Wire for TcpWire {
    fn write_all(&mut self, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        tap::bytes(Direction::Sent, bytes);
        let deadline = clock::now() + limit;
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(WireError::TimedOut);
            }
            self.0
                .set_write_timeout(Some(at_least_1_ms(left)))
                .map_err(WireError::Io)?;
            match written(self.0.write(rest))? {
                0 => return Err(WireError::TimedOut),
                count => rest = rest.get(count..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> Result<usize, WireError> {
        self.0
            .set_read_timeout(Some(at_least_1_ms(limit)))
            .map_err(WireError::Io)?;
        received(read_some(&mut self.0, buffer), buffer)
    }

    fn discard_input(&mut self) {
        let mut buffer = [0_u8; 1024];
        for _ in 0..DISCARD_BYTES_MAX / buffer.len() {
            match self.read(&mut buffer, Duration::ZERO) {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// A socket takes a limit of zero for "no limit", so the smallest one is given instead.
pub(crate) fn at_least_1_ms(limit: Duration) -> Duration {
    limit.max(Duration::from_millis(1))
}

/// Shows the tap what came.
fn received(result: Result<usize, WireError>, buffer: &[u8]) -> Result<usize, WireError> {
    if let Ok(count) = result {
        let bytes = buffer.get(..count).unwrap_or_default();
        tap::bytes(Direction::Received, bytes);
    }
    result
}

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, WireError> {
    for _ in 0..INTERRUPTIONS_MAX {
        match source.read(buffer) {
            // Both kinds of wire wait for readiness first, so an empty read is the end of the line.
            Ok(0) if !buffer.is_empty() => return Err(WireError::Gone),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_time_out(&error) => return Ok(0),
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(0)
}

/// Bytes taken; zero when the limit passed first.
fn written(result: io::Result<usize>) -> Result<usize, WireError> {
    match result {
        Ok(0) => Err(WireError::Gone),
        Ok(count) => Ok(count),
        Err(error) if is_time_out(&error) => Ok(0),
        Err(error) => Err(broken(error)),
    }
}

pub(crate) fn is_time_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

pub(crate) fn broken(error: io::Error) -> WireError {
    let is_gone = matches!(
        error.kind(),
        // `serialport` turns EIO, ENXIO and ENODEV, which mean an unplugged port, into `Other`.
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other
    );
    if is_gone {
        WireError::Gone
    } else {
        WireError::Io(error)
    }
}

impl fmt::Debug for dyn Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(20);

    fn check_name(name: &str, expect: Option<(&str, u16)>) {
        match (Port::parse(name), expect) {
            (Ok(Port::Tcp { host, port }), Some(expect)) => {
                assert_eq!((host.as_str(), port), expect);
            }
            (Err(WireError::BadName { .. }), None) => {}
            (found, _) => panic!("{name}: {found:?}"),
        }
    }

    #[test]
    fn port_names_are_taken_apart_and_nonsense_is_refused() {
        check_name("tcp:printer.lan:9100", Some(("printer.lan", 9100)));
        check_name("tcp:192.0.2.7:9100", Some(("192.0.2.7", 9100)));
        check_name("tcp:[::1]:9100", Some(("::1", 9100)));
        for name in [
            "",
            "COM3",
            "ttyS0",
            "tcp:",
            "tcp:host",
            "tcp:host:",
            "tcp:host:0",
            "tcp:host:70000",
            "tcp:::1:9100",
            "tcp:[::1]9100",
            "tcp::9100",
            "tcp:a b:1",
            "/dev/a\0b",
        ] {
            check_name(name, None);
        }
        assert_eq!(
            Port::parse("/dev/ttyS0").unwrap(),
            Port::Serial {
                path: "/dev/ttyS0".to_owned()
            }
        );
    }

    #[test]
    fn a_pseudo_terminal_carries_bytes_both_ways_and_its_end_is_gone() {
        let (mut master, slave) = TTYPort::pair().unwrap();
        let path = slave.name().unwrap();
        drop(slave);
        let mut wire = open(&path, 9600).unwrap();
        let mut buffer = [0_u8; 16];
        assert_eq!(wire.read(&mut buffer, SHORT).unwrap(), 0);
        master.write_all(b"\x00\x11\r\n").unwrap();
        assert_eq!(wire.read(&mut buffer, LONG).unwrap(), 4);
        assert_eq!(&buffer[..4], b"\x00\x11\r\n");
        wire.write_all(b"\x13\x04", LONG).unwrap();
        master.set_timeout(LONG).unwrap();
        let mut two = [0_u8; 2];
        master.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"\x13\x04");
        drop(master);
        assert!(matches!(wire.read(&mut buffer, LONG), Err(WireError::Gone)));
        assert!(matches!(wire.write_all(b"x", LONG), Err(WireError::Gone)));
    }

    #[test]
    fn a_port_in_use_and_a_missing_port_are_told_apart() {
        let (_master, slave) = TTYPort::pair().unwrap();
        let path = slave.name().unwrap();
        drop(slave);
        let first = open(&path, 115_200).unwrap();
        assert!(matches!(open(&path, 115_200), Err(WireError::InUse { .. })));
        drop(first);
        drop(open(&path, 115_200).unwrap());
        assert!(matches!(
            open("/dev/no-such-port", 9600),
            Err(WireError::NotThere { .. })
        ));
    }

    #[test]
    fn a_terminal_nobody_reads_from_times_out_instead_of_hanging() {
        let (_master, slave) = TTYPort::pair().unwrap();
        let path = slave.name().unwrap();
        drop(slave);
        let mut wire = open(&path, 115_200).unwrap();
        let result = wire.write_all(&vec![0x55; 256 * 1024], Duration::from_millis(200));
        assert!(matches!(result, Err(WireError::TimedOut)), "{result:?}");
    }

    #[test]
    fn stale_bytes_are_discarded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut wire = open(&format!("tcp:127.0.0.1:{port}"), 0).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"stale").unwrap();
        let mut one = [0_u8; 1];
        assert_eq!(wire.read(&mut one, LONG).unwrap(), 1);
        wire.discard_input();
        peer.write_all(b"fresh").unwrap();
        let mut buffer = [0_u8; 16];
        assert_eq!(wire.read(&mut buffer, LONG).unwrap(), 5);
        assert_eq!(&buffer[..5], b"fresh");
        drop(peer);
        assert!(matches!(wire.read(&mut buffer, LONG), Err(WireError::Gone)));
    }

    #[test]
    fn a_refused_connection_is_not_there() {
        let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let address = listener.unwrap().local_addr().unwrap();
        let result = open(&format!("tcp:{address}"), 0);
        assert!(
            matches!(result, Err(WireError::NotThere { .. })),
            "{result:?}"
        );
        let fault = Fault::from(result.unwrap_err());
        assert_eq!(
            (fault.code, fault.action),
            ("device.not-there", Action::Maintenance)
        );
    }
}
