//! The victim's line to the platform: one request, one connection, blocking, every wait with a
//! deadline. What is sent and how answers are read is the program's own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kiosk_app::platform::drain::{
    BatchReply, Place, PlatformError, batch_body, batch_reply, upload_metadata,
};
use offline_cache::{QueuedAttachment, QueuedTransaction};

use super::TERMINAL;

/// Longest wait for a connection, and for each part of an answer: the platform is in the next
/// process.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Largest answer in bytes.
const REPLY_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) address: SocketAddr,
}

/// An answer that came whole.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    /// A field of the head by its lower-case name.
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    fn retry_after_s(&self) -> Option<u64> {
        self.field("retry-after")?.parse().ok()
    }

    /// The answer if it is a success, else what it means.
    fn checked(self) -> Result<Self, PlatformError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let retry_after_s = self.retry_after_s();
        Err(PlatformError::from_reply(
            self.status,
            retry_after_s,
            &self.body,
        ))
    }

    fn offset(&self) -> Option<u64> {
        self.field("upload-offset")?.parse().ok()
    }
}

impl Line {
    /// Whether the platform answers at all.
    pub(super) fn is_reachable(self) -> bool {
        self.request("GET", "/v1/health", &[], &[])
            .is_ok_and(|reply| reply.status == 200)
    }

    pub(super) fn submit(self, batch: &[QueuedTransaction]) -> Result<BatchReply, PlatformError> {
        let body = batch_body(TERMINAL, batch);
        let fields = [("content-type", "application/json".to_owned())];
        let reply = self.request("POST", "/v1/batches", &fields, &body)?;
        batch_reply(reply.status, reply.retry_after_s(), &reply.body)
    }

    /// Asks where an upload goes on, or makes it.
    pub(super) fn place(self, attachment: &QueuedAttachment) -> Result<Place, PlatformError> {
        if let Some(url) = &attachment.upload_url {
            let reply = self.request("HEAD", url, &[], &[])?.checked()?;
            let offset = reply
                .offset()
                .ok_or(PlatformError::BadReply("an upload without an offset"))?;
            return Ok(Place {
                url: url.clone(),
                offset,
            });
        }
        let fields = [
            ("upload-length", attachment.size.to_string()),
            ("upload-metadata", upload_metadata(attachment)),
        ];
        let reply = self
            .request("POST", "/v1/attachments", &fields, &[])?
            .checked()?;
        let base = format!("http://{}", self.address);
        let location = reply
            .field("location")
            .ok_or(PlatformError::BadReply("an upload without a place"))?;
        Ok(Place {
            url: location.strip_prefix(&base).unwrap_or(location).to_owned(),
            offset: reply.offset().unwrap_or(0),
        })
    }

    /// Sends a piece; how much the platform has now.
    pub(super) fn chunk(self, url: &str, offset: u64, bytes: &[u8]) -> Result<u64, PlatformError> {
        let fields = [
            ("upload-offset", offset.to_string()),
            ("content-type", "application/offset+octet-stream".to_owned()),
        ];
        let reply = self.request("PATCH", url, &fields, bytes)?.checked()?;
        reply
            .offset()
            .ok_or(PlatformError::BadReply("an upload without an offset"))
    }

    fn request(
        self,
        method: &str,
        path: &str,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> Result<Reply, PlatformError> {
        let mut stream = TcpStream::connect_timeout(&self.address, CONNECT_MAX)
            .map_err(|_| PlatformError::Unreachable)?;
        let mut message = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             kiosk-terminal: {TERMINAL}\r\ntus-resumable: 1.0.0\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in fields {
            message.extend([*name, ": ", value.as_str(), "\r\n"]);
        }
        message.push_str("\r\n");
        let mut message = message.into_bytes();
        message.extend_from_slice(body);
        let mut answer = Vec::new();
        let exchanged = stream
            .set_read_timeout(Some(ANSWER_MAX))
            .and_then(|()| stream.set_write_timeout(Some(ANSWER_MAX)))
            .and_then(|()| stream.write_all(&message))
            .and_then(|()| stream.take(REPLY_BYTES_MAX).read_to_end(&mut answer));
        match exchanged {
            Ok(_) => read(&answer, method),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(PlatformError::Slow)
            }
            Err(_) => Err(PlatformError::Cut),
        }
    }
}

/// Reads an answer; one whose body is shorter than its head says was cut.
fn read(answer: &[u8], method: &str) -> Result<Reply, PlatformError> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or(PlatformError::Cut)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(PlatformError::BadReply("no status"))?;
    let body = answer[end + 4..].to_vec();
    let reply = Reply { status, head, body };
    let announced: usize = match reply.field("content-length") {
        Some(length) if method != "HEAD" => length
            .parse()
            .map_err(|_| PlatformError::BadReply("no length"))?,
        Some(_) | None => 0,
    };
    if reply.body.len() < announced {
        return Err(PlatformError::Cut);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_answer_is_a_cut_and_not_an_answer() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nUpload-Offset: 7\r\n\r\nbody";
        let reply = read(whole, "POST").unwrap();
        assert_eq!((reply.status, reply.offset()), (200, Some(7)));
        for length in 0..whole.len() {
            assert!(read(&whole[..length], "POST").is_err(), "{length}");
        }
        // The answer to HEAD says how long the body would be.
        assert!(read(&whole[..whole.len() - 4], "HEAD").is_ok());
    }
}
