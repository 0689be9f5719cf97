//! As much of an HTTP/1.1 server as printers and network cameras have: one request at a time,
//! bodies by length or in chunks, `Expect: 100-continue`.
//!
//! Header and body are bounded, a request must be complete within a deadline, and every wait ends
//! when the emulator stops.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::steering::now;
use crate::tcp::{is_patience, write_all};

/// Longest head of a request. Chosen.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest body. Chosen: a scanned document of 100 pages.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest line between chunks.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// A request is complete within this time after its first byte.
const REQUEST_WITHIN: Duration = Duration::from_mins(1);
/// A connection without a request ends after this time.
const IDLE_WITHIN: Duration = Duration::from_secs(30);
/// A reply is taken by the client within this time.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The first header of that name, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// Why there is no request.
#[derive(Debug)]
pub(crate) enum NoRequest {
    /// The client closed, was silent too long, or the emulator stops.
    Closed,
    /// Answer with this status and close.
    Bad(u16, &'static str),
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// One connection, with what was read ahead.
pub(crate) struct Connection<'a> {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
    keep: &'a dyn Fn() -> bool,
}

impl<'a> Connection<'a> {
    /// `keep` tells whether the emulator still runs and its cable is plugged.
    pub(crate) fn new(stream: TcpStream, keep: &'a dyn Fn() -> bool) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            keep,
        }
    }

    /// Reads some bytes; false at the end of the stream.
    fn fill(&mut self, deadline: Instant) -> Result<(), NoRequest> {
        let mut buffer = [0; 16 * 1024];
        // Bounded by the deadline: each turn waits a tick at most.
        while (self.keep)() && now() < deadline {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(NoRequest::Closed),
                Ok(count) => {
                    self.ahead.extend(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if is_patience(&error) => {}
                Err(_) => return Err(NoRequest::Closed),
            }
        }
        Err(NoRequest::Closed)
    }

    /// The next request.
    pub(crate) fn request(&mut self) -> Result<Request, NoRequest> {
        if self.ahead.is_empty() {
            self.fill(now() + IDLE_WITHIN)?;
        }
        let deadline = now() + REQUEST_WITHIN;
        let end = loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                break end;
            }
            if self.ahead.len() > HEAD_BYTES_MAX {
                return Err(NoRequest::Bad(431, "Request Header Fields Too Large"));
            }
            self.fill(deadline)?;
        };
        let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
        let mut request = parse_head(&head[..end]).ok_or(NoRequest::Bad(400, "Bad Request"))?;
        let is_expected = request
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if is_expected {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let is_chunked = request
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        request.body = if is_chunked {
            self.chunks(deadline)?
        } else {
            let length = match request.header("content-length").map(str::parse::<usize>) {
                None => 0,
                Some(Ok(length)) => length,
                Some(Err(_)) => return Err(NoRequest::Bad(400, "Bad Request")),
            };
            self.exactly(length, deadline)?
        };
        Ok(request)
    }

    fn exactly(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, NoRequest> {
        if length > BODY_BYTES_MAX {
            return Err(NoRequest::Bad(413, "Content Too Large"));
        }
        while self.ahead.len() < length {
            self.fill(deadline)?;
        }
        Ok(self.ahead.drain(..length).collect())
    }

    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, NoRequest> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let mut line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            if self.ahead.len() > CHUNK_LINE_BYTES_MAX {
                return Err(NoRequest::Bad(400, "Bad Request"));
            }
            self.fill(deadline)?;
        }
    }

    fn chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, NoRequest> {
        let mut body = Vec::new();
        // Bounded: each turn adds a byte to a bounded body, or is the last.
        loop {
            let line = self.line(deadline)?;
            let text = String::from_utf8_lossy(&line);
            let size = text.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| NoRequest::Bad(400, "Bad Request"))?;
            if size == 0 {
                break;
            }
            if body.len().saturating_add(size) > BODY_BYTES_MAX {
                return Err(NoRequest::Bad(413, "Content Too Large"));
            }
            body.extend(self.exactly(size, deadline)?);
            if !self.line(deadline)?.is_empty() {
                return Err(NoRequest::Bad(400, "Bad Request"));
            }
        }
        // Trailer fields end with an empty line; few are enough for anybody.
        for _ in 0..32 {
            if self.line(deadline)?.is_empty() {
                return Ok(body);
            }
        }
        Err(NoRequest::Bad(400, "Bad Request"))
    }

    /// Sends raw bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all(&mut self.stream, bytes, REPLY_WITHIN, self.keep)
    }

    /// Sends a whole reply.
    pub(crate) fn reply(
        &mut self,
        status: u16,
        reason: &str,
        kind: &str,
        body: &[u8],
    ) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat())
    }
}

fn parse_head(head: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut start = lines.next()?.split(' ');
    let method = start.next()?.to_owned();
    let path = start.next()?.to_owned();
    if !start.next()?.starts_with("HTTP/1.") || start.next().is_some() || path.is_empty() {
        return None;
    }
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Request {
        method,
        path,
        headers,
        body: Vec::new(),
    })
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;
    use crate::steering::TICK;

    fn receive(bytes: &[u8]) -> Result<Request, NoRequest> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(TICK)).unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        Connection::new(stream, &|| true).request()
    }

    #[test]
    fn bodies_come_by_length_and_in_chunks() {
        let request = receive(b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/a")
        );
        assert_eq!(request.body, b"abc");
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n";
        assert_eq!(receive(chunked).unwrap().body, b"abcde");
    }

    #[test]
    fn nonsense_and_excess_are_refused() {
        let status = |bytes: &[u8]| match receive(bytes) {
            Err(NoRequest::Bad(status, _)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(b"nonsense\r\n\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), 400);
        assert_eq!(
            status(b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"),
            413
        );
        assert_eq!(
            status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
            400
        );
        assert_eq!(status(&vec![b'A'; HEAD_BYTES_MAX + 1]), 431);
        assert!(matches!(
            receive(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
            Err(NoRequest::Closed)
        ));
    }
}
