//! A TCP port on the loopback that keeps its number for life: while the cable is cut connections
//! are refused, and after it is plugged again they reach the same number.
//!
//! A second socket, bound and never listening, reserves the number meanwhile.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::steering::{TICK, now};

/// Connections the kernel may hold for us. Chosen: a kiosk opens one or two.
const BACKLOG: i32 = 16;

/// One listening port.
#[derive(Debug)]
pub(crate) struct TcpPort {
    address: SocketAddr,
    _reservation: OwnedFd,
    listener: Option<TcpListener>,
}

impl TcpPort {
    /// Takes a free port of 127.0.0.1 and listens on it.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_at(0)
    }

    /// Takes this port of 127.0.0.1 and listens on it; 0 takes a free one.
    pub(crate) fn open_at(number: u16) -> io::Result<Self> {
        let reservation = bound(SocketAddr::V4(SocketAddrV4::new(
            Ipv4Addr::LOCALHOST,
            number,
        )))?;
        let address = SocketAddr::try_from(rustix::net::getsockname(&reservation)?)
            .map_err(|_| io::Error::other("the port has no internet address"))?;
        let mut port = Self {
            address,
            _reservation: reservation,
            listener: None,
        };
        port.plug()?;
        Ok(port)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn is_plugged(&self) -> bool {
        self.listener.is_some()
    }

    pub(crate) fn plug(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            let socket = bound(self.address)?;
            rustix::net::listen(&socket, BACKLOG)?;
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            self.listener = Some(listener);
        }
        Ok(())
    }

    /// Refuses new connections; the caller closes those it holds.
    pub(crate) fn cut(&mut self) {
        self.listener = None;
    }

    /// A waiting connection, if there is one now.
    pub(crate) fn accept(&self) -> io::Result<Option<TcpStream>> {
        let Some(listener) = &self.listener else {
            return Ok(None);
        };
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(Duration::from_millis(500)))?;
                Ok(Some(stream))
            }
            Err(error)
                if is_patience(&error) || error.kind() == io::ErrorKind::ConnectionAborted =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// True for an error that only says "not yet".
pub(crate) fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Writes everything within `time`, going on after time-outs while `keep` says so.
pub(crate) fn write_all(
    stream: &mut TcpStream,
    mut bytes: &[u8],
    time: Duration,
    keep: impl Fn() -> bool,
) -> io::Result<()> {
    use std::io::Write as _;
    let deadline = now() + time;
    while !bytes.is_empty() {
        if !keep() || now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if is_patience(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads exactly so many bytes; false when the connection ends or nobody wants them any more.
pub(crate) fn read_all(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    is_wanted: impl Fn() -> bool,
) -> bool {
    use std::io::Read as _;
    let mut filled = 0;
    while filled < buffer.len() {
        if !is_wanted() {
            return false;
        }
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return false,
            Ok(count) => filled += count,
            Err(error) if is_patience(&error) => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_port_refuses_and_a_plugged_one_keeps_its_number() {
        let mut port = TcpPort::open().unwrap();
        let address = port.address();
        assert!(TcpStream::connect(address).is_ok());
        port.cut();
        assert!(TcpStream::connect(address).is_err());
        port.plug().unwrap();
        assert!(TcpStream::connect(address).is_ok());
        assert_eq!(port.address(), address);
    }
}
