//! The little HTTP/1.x that devices speak (IPP printers, network cameras): one request, one answer
//! over a [`Wire`], every size bounded, no redirect, no reuse of connections.
//!
//! Parsing is a function of bytes and never panics on what a device sends.

use std::time::Duration;

use crate::clock;
use crate::fault::{Action, Fault};
use crate::wire::{Wire, WireError, split_authority};

/// Longest head of an answer. Chosen: real ones stay below 1 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header lines of an answer. Chosen.
const HEADERS_MAX: usize = 100;
/// Informational answers (`100 Continue`) before the real one. Chosen.
const INTERIM_ANSWERS_MAX: usize = 4;
/// Longest line that announces a chunk. Chosen: a size of 16 digits and some extensions.
const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The line broke or nothing came.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// What came is not HTTP or exceeds a bound.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Wire(error) => error.into(),
            HttpError::Malformed(what) => Self::new("device.bad-reply", Action::Maintenance, what),
        }
    }
}

/// Where a device's HTTP server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path with its leading slash.
    pub path: String,
}

impl Target {
    /// Takes `text` apart: `PREFIX` `HOST[:PORT]` `[/path]`, with the prefix and the port that goes
    /// with it out of `schemes`. `None` when it does not fit.
    pub fn parse(text: &str, schemes: &[(&str, u16)]) -> Option<Self> {
        let (rest, default_port) = schemes
            .iter()
            .find_map(|(prefix, port)| Some((text.strip_prefix(prefix)?, *port)))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic());
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'));
        let (host, port) = if has_port {
            split_authority(authority)?
        } else {
            split_authority(&format!("{authority}:{default_port}"))?
        };
        is_path.then(|| Self {
            host,
            port,
            path: path.to_owned(),
        })
    }

    /// `HOST:PORT`, bracketed where it must be.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Status line and header lines of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Status code, 100 to 999.
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Parses a head at the beginning of `bytes`: the head and its length, or `None` while it is
    /// incomplete.
    ///
    /// # Errors
    /// [`HttpError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HttpError> {
        let searched = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
        let Some(end) = find(searched, b"\r\n\r\n") else {
            return if bytes.len() >= HEAD_BYTES_MAX {
                Err(HttpError::Malformed("the head of the answer does not end"))
            } else {
                Ok(None)
            };
        };
        let text = String::from_utf8_lossy(searched.get(..end).unwrap_or_default());
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|line| line.split(' ').nth(1))
            .filter(|code| code.len() == 3)
            .and_then(|code| code.parse().ok())
            .filter(|status| *status >= 100)
            .ok_or(HttpError::Malformed("no HTTP/1 status line"))?;
        let headers = parse_headers(lines)?;
        Ok(Some((Self { status, headers }, end + 4)))
    }

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The decoder of the body that follows this head.
    ///
    /// # Errors
    /// [`HttpError::Malformed`] when the length is no number.
    pub fn body(&self) -> Result<BodyDecoder, HttpError> {
        let is_chunked = self
            .header("transfer-encoding")
            .is_some_and(|encoding| encoding.to_ascii_lowercase().contains("chunked"));
        let framing = if is_chunked {
            Framing::ChunkLine(Vec::new())
        } else if let Some(length) = self.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| HttpError::Malformed("content-length is no number"))?;
            Framing::Length(length)
        } else {
            Framing::UntilClose
        };
        Ok(BodyDecoder(framing))
    }
}

/// Parses `Name: value` lines into lower-case names and trimmed values.
///
/// # Errors
/// [`HttpError::Malformed`] for a line without a colon or too many lines.
pub fn parse_headers<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> Result<Vec<(String, String)>, HttpError> {
    let mut headers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if headers.len() == HEADERS_MAX {
            return Err(HttpError::Malformed("too many header lines"));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or(HttpError::Malformed("a header line without a colon"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(headers)
}

/// The first header of that name (lower case) in a parsed list.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// First position of `needle` in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len().max(1))
        .position(|window| window == needle)
}

/// Takes the framing off a body, whatever pieces it arrives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyDecoder(Framing);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    ChunkLine(Vec<u8>),
    Chunk(u64),
    /// The line end behind a chunk; bytes of it still to come.
    ChunkEnd(u8),
    UntilClose,
    Done,
}

impl BodyDecoder {
    /// Appends the payload of `input` to `output`; true when the body is complete.
    ///
    /// # Errors
    /// [`HttpError::Malformed`] for broken chunks.
    pub fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<bool, HttpError> {
        let mut rest = input;
        while !rest.is_empty() && self.0 != Framing::Done {
            rest = self.step(rest, output)?;
        }
        if self.0 == Framing::Length(0) {
            self.0 = Framing::Done;
        }
        Ok(self.0 == Framing::Done)
    }

    /// True when the body may end with the connection.
    pub fn ends_with_connection(&self) -> bool {
        self.0 == Framing::UntilClose
    }

    fn step<'a>(&mut self, input: &'a [u8], output: &mut Vec<u8>) -> Result<&'a [u8], HttpError> {
        let mut take = |left: u64| {
            let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
            let (payload, rest) = input.split_at(count);
            output.extend_from_slice(payload);
            (left - count as u64, rest)
        };
        match &mut self.0 {
            Framing::Length(left) => {
                let (left, rest) = take(*left);
                self.0 = if left == 0 {
                    Framing::Done
                } else {
                    Framing::Length(left)
                };
                Ok(rest)
            }
            Framing::Chunk(left) => {
                let (left, rest) = take(*left);
                self.0 = if left == 0 {
                    Framing::ChunkEnd(2)
                } else {
                    Framing::Chunk(left)
                };
                Ok(rest)
            }
            Framing::UntilClose => {
                take(u64::MAX);
                Ok(&[])
            }
            Framing::ChunkEnd(left) => {
                let expect = if *left == 2 { b'\r' } else { b'\n' };
                if input.first() != Some(&expect) {
                    return Err(HttpError::Malformed("a chunk does not end with a line end"));
                }
                self.0 = if *left == 2 {
                    Framing::ChunkEnd(1)
                } else {
                    Framing::ChunkLine(Vec::new())
                };
                Ok(input.get(1..).unwrap_or_default())
            }
            Framing::ChunkLine(line) => {
                let (byte, rest) = input.split_first().unwrap_or((&0, &[]));
                if line.len() >= CHUNK_LINE_BYTES_MAX {
                    return Err(HttpError::Malformed("a chunk size does not end"));
                }
                line.push(*byte);
                if *byte == b'\n' {
                    // Trailers behind the last chunk are of no interest: the connection is closed.
                    self.0 = match chunk_size(line)? {
                        0 => Framing::Done,
                        size => Framing::Chunk(size),
                    };
                }
                Ok(rest)
            }
            Framing::Done => Ok(&[]),
        }
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, HttpError> {
    let text = String::from_utf8_lossy(line);
    let digits = text.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(|_| HttpError::Malformed("a chunk size is no number"))
}

/// An answer whose head has come.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Takes the framing off what follows.
    pub body: BodyDecoder,
    /// Bytes of the body that came along with the head, still framed.
    pub leftover: Vec<u8>,
}

/// Sends `request` (head and body together) and waits for the head of the answer.
///
/// # Errors
/// [`HttpError::Wire`] with [`WireError::TimedOut`] after `limit`; [`HttpError::Malformed`].
pub fn send(wire: &mut dyn Wire, request: &[u8], limit: Duration) -> Result<Answer, HttpError> {
    let deadline = clock::now() + limit;
    wire.write_all(request, limit)?;
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    for _ in 0..INTERIM_ANSWERS_MAX {
        let (head, length) = loop {
            if let Some(parsed) = Head::parse(&bytes)? {
                break parsed;
            }
            let left = deadline.saturating_duration_since(clock::now());
            match wire.read(&mut buffer, left)? {
                0 => return Err(WireError::TimedOut.into()),
                count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        };
        bytes.drain(..length);
        if head.status >= 200 {
            return Ok(Answer {
                body: head.body()?,
                head,
                leftover: bytes,
            });
        }
    }
    Err(HttpError::Malformed("only informational answers"))
}

/// Reads the whole body of an answer, `bytes_max` bytes at most.
///
/// # Errors
/// As [`send`]; a longer body is [`HttpError::Malformed`].
pub fn read_body(
    wire: &mut dyn Wire,
    answer: &mut Answer,
    bytes_max: usize,
    limit: Duration,
) -> Result<Vec<u8>, HttpError> {
    let deadline = clock::now() + limit;
    let mut body = Vec::new();
    let mut buffer = [0_u8; 4096];
    let mut is_done = answer.body.feed(&answer.leftover, &mut body)?;
    answer.leftover.clear();
    while !is_done {
        if body.len() > bytes_max {
            return Err(HttpError::Malformed("the answer is too long"));
        }
        let left = deadline.saturating_duration_since(clock::now());
        match wire.read(&mut buffer, left) {
            Ok(0) => return Err(WireError::TimedOut.into()),
            Ok(count) => {
                is_done = answer
                    .body
                    .feed(buffer.get(..count).unwrap_or_default(), &mut body)?;
            }
            Err(WireError::Gone) if answer.body.ends_with_connection() => is_done = true,
            Err(error) => return Err(error.into()),
        }
    }
    if body.len() > bytes_max {
        return Err(HttpError::Malformed("the answer is too long"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_target(text: &str, expect: Option<(&str, u16, &str)>) {
        let target = Target::parse(text, &[("ipp://", 631), ("tcp:", 80)]);
        let found = target
            .as_ref()
            .map(|target| (target.host.as_str(), target.port, target.path.as_str()));
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn addresses_are_taken_apart_and_nonsense_is_refused() {
        check_target("ipp://h:60000/ipp/print", Some(("h", 60000, "/ipp/print")));
        check_target("ipp://h/ipp", Some(("h", 631, "/ipp")));
        check_target("tcp:[::1]:81/v", Some(("::1", 81, "/v")));
        check_target("tcp:[::1]/v", Some(("::1", 80, "/v")));
        check_target("tcp:h:1", Some(("h", 1, "/")));
        for text in [
            "",
            "http://h/",
            "ipp://",
            "ipp:///x",
            "ipp://h:0/",
            "ipp://h/a b",
            "ipp://h\r\n/",
        ] {
            check_target(text, None);
        }
    }

    #[test]
    fn a_head_is_parsed_at_every_split() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX: y: z\r\n\r\nbody";
        let end = bytes.len() - 4;
        for split in 0..end {
            assert!(Head::parse(&bytes[..split]).unwrap().is_none());
        }
        let (head, length) = Head::parse(bytes).unwrap().unwrap();
        assert_eq!((head.status, length), (200, end));
        assert_eq!(head.header("content-type"), Some("a/b"));
        assert_eq!(head.header("x"), Some("y: z"));
    }

    #[test]
    fn endless_and_foreign_heads_are_malformed() {
        assert!(Head::parse(&[b'a'; HEAD_BYTES_MAX]).is_err());
        assert!(Head::parse(b"SSH-2.0\r\n\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 9 x\r\n\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n").is_err());
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "a: b\r\n".repeat(HEADERS_MAX + 1)
        );
        assert!(Head::parse(many.as_bytes()).is_err());
    }

    fn check_body(head: &str, wire: &[u8], expect: Option<&[u8]>) {
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
        let (head, _) = Head::parse(head.as_bytes()).unwrap().unwrap();
        for piece in 1..=wire.len() {
            let mut decoder = head.body().unwrap();
            let mut body = Vec::new();
            let mut is_done = Ok(false);
            for bytes in wire.chunks(piece) {
                is_done = decoder.feed(bytes, &mut body);
                if !matches!(is_done, Ok(false)) {
                    break;
                }
            }
            match expect {
                Some(expect) => {
                    assert!(is_done.unwrap());
                    assert_eq!(body, expect);
                }
                None => assert!(is_done.is_err()),
            }
        }
    }

    #[test]
    fn bodies_are_unframed_in_pieces_of_any_size() {
        check_body("Content-Length: 3\r\n", b"abcd", Some(b"abc"));
        let chunked = "Transfer-Encoding: Chunked\r\n";
        check_body(
            chunked,
            b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            Some(b"abc0123456789"),
        );
        check_body(chunked, b"zz\r\n", None);
        check_body(chunked, b"1\r\nabc", None);
        check_body(chunked, &[b'1'; CHUNK_LINE_BYTES_MAX + 2], None);
    }
}
