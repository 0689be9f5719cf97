//! The victim's line to the platform: one request, one connection, blocking, every wait with a
//! deadline, several at a time. Each request is signed with the terminal's own key as the program
//! signs it, with the platform's last word on what time it is; the platform takes no other. What
//! is sent and how answers are read is the program's own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiosk_app::platform::drain::{
    BatchReply, Outcome, Place, PlatformError, Step, batch_body, batch_reply, upload_metadata,
};
use kiosk_app::platform::messages::{http_date, problem};
use kiosk_app::platform::tickets::{self, TicketResult};
use kiosk_sealing::{DeviceKey, request};
use offline_cache::{QueuedAttachment, QueuedTransaction, Ticket};
use serde_json::{Value, json};

use super::TERMINAL;

/// Longest wait for a connection, and for each part of an answer: the platform is in the next
/// process.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Largest answer in bytes.
const REPLY_BYTES_MAX: u64 = 1024 * 1024;

/// A line. Cheap to clone; all clones are the same line.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    key: Arc<DeviceKey>,
    /// The terminal's own clock in milliseconds since 1970.
    clock: Arc<AtomicI64>,
    /// The platform's last word on the time, in seconds since 1970; 0 before the first.
    seen_s: AtomicI64,
    /// Makes nonces that no other life has.
    dice: u64,
    nonces: AtomicU64,
    /// The last results of any batch, where answers are mixed up on purpose.
    mixed: Option<Mutex<Vec<Value>>>,
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

    fn offset(&self) -> Result<u64, PlatformError> {
        self.field("upload-offset")
            .and_then(|value| value.parse().ok())
            .ok_or(PlatformError::BadReply("an upload without an offset"))
    }
}

/// One request.
struct Call<'a> {
    method: &'a str,
    path: &'a str,
    fields: &'a [(&'a str, String)],
    body: &'a [u8],
}

impl Line {
    /// A line of the terminal with this key and this clock.
    pub(super) fn new(
        address: SocketAddr,
        key: Arc<DeviceKey>,
        clock: Arc<AtomicI64>,
        dice: u64,
        mixes_answers: bool,
    ) -> Self {
        Self(Arc::new(Shared {
            address,
            key,
            clock,
            seen_s: AtomicI64::new(0),
            dice,
            nonces: AtomicU64::new(0),
            mixed: mixes_answers.then(Mutex::default),
        }))
    }

    /// Does a step of the drain.
    pub(super) fn perform(&self, step: Step) -> Outcome {
        match step {
            Step::Probe => Outcome::Reachable(self.is_reachable()),
            Step::Place(attachment) => Outcome::Placed(attachment.id, self.place(&attachment)),
            Step::Chunk {
                attachment,
                url,
                offset,
                bytes,
            } => Outcome::ChunkDone(attachment, self.chunk(&url, offset, &bytes)),
            Step::Submit(batch) => {
                let ids = batch.iter().map(|each| each.id).collect();
                Outcome::Batch(ids, self.submit(&batch))
            }
            // These two need no line; nobody sends them here.
            Step::Scrub | Step::Wait(_) => Outcome::Scrubbed(false),
        }
    }

    /// Tells fault tickets.
    pub(super) fn tickets(&self, waiting: &[Ticket]) -> Result<Vec<TicketResult>, PlatformError> {
        let reply = self.send(&Call {
            method: "POST",
            path: "/v1/tickets",
            fields: &json_field(),
            body: &tickets::body(waiting),
        })?;
        tickets::read_reply(&reply.checked()?.body)
    }

    /// Whether the platform answers at all.
    fn is_reachable(&self) -> bool {
        let call = Call {
            method: "GET",
            path: "/v1/health",
            fields: &[],
            body: &[],
        };
        self.once(&call, false)
            .is_ok_and(|reply| reply.status == 200)
    }

    fn submit(&self, batch: &[QueuedTransaction]) -> Result<BatchReply, PlatformError> {
        let reply = self.send(&Call {
            method: "POST",
            path: "/v1/batches",
            fields: &json_field(),
            body: &batch_body(TERMINAL, batch),
        });
        if let Some(mixed) = &self.0.mixed
            && let Some(foreign) = foreign_answer(mixed, batch, reply.as_ref().ok())
        {
            return batch_reply(200, None, &foreign);
        }
        let reply = reply?;
        batch_reply(reply.status, reply.retry_after_s(), &reply.body)
    }

    /// Asks where an upload goes on, or makes it.
    fn place(&self, attachment: &QueuedAttachment) -> Result<Place, PlatformError> {
        let tus = ("tus-resumable", "1.0.0".to_owned());
        if let Some(url) = &attachment.upload_url {
            let call = Call {
                method: "HEAD",
                path: url,
                fields: &[tus],
                body: &[],
            };
            let offset = self.send(&call)?.checked()?.offset()?;
            return Ok(Place {
                url: url.clone(),
                offset,
            });
        }
        let fields = [
            tus,
            ("upload-length", attachment.size.to_string()),
            ("upload-metadata", upload_metadata(attachment)),
        ];
        let call = Call {
            method: "POST",
            path: "/v1/attachments",
            fields: &fields,
            body: &[],
        };
        let reply = self.send(&call)?.checked()?;
        let base = format!("http://{}", self.0.address);
        let location = reply
            .field("location")
            .ok_or(PlatformError::BadReply("an upload without a place"))?;
        Ok(Place {
            url: location.strip_prefix(&base).unwrap_or(location).to_owned(),
            offset: reply.offset().unwrap_or(0),
        })
    }

    /// Sends a piece; how much the platform has now.
    fn chunk(&self, url: &str, offset: u64, bytes: &[u8]) -> Result<u64, PlatformError> {
        let fields = [
            ("tus-resumable", "1.0.0".to_owned()),
            ("upload-offset", offset.to_string()),
            ("content-type", "application/offset+octet-stream".to_owned()),
        ];
        let call = Call {
            method: "PATCH",
            path: url,
            fields: &fields,
            body: bytes,
        };
        self.send(&call)?.checked()?.offset()
    }

    /// Sends a signed request; with the platform's time once more when it finds ours stale.
    fn send(&self, call: &Call<'_>) -> Result<Reply, PlatformError> {
        let reply = self.once(call, true)?;
        if reply.status == 401 && problem(&reply.body).code == "signature.stale" {
            return self.once(call, true);
        }
        Ok(reply)
    }

    fn once(&self, call: &Call<'_>, is_signed: bool) -> Result<Reply, PlatformError> {
        let mut stream = TcpStream::connect_timeout(&self.0.address, CONNECT_MAX)
            .map_err(|_| PlatformError::Unreachable)?;
        let mut message = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             kiosk-terminal: {TERMINAL}\r\ncontent-length: {}\r\n",
            call.method,
            call.path,
            self.0.address,
            call.body.len()
        );
        for (name, value) in call.fields {
            message.extend([*name, ": ", value.as_str(), "\r\n"]);
        }
        if is_signed {
            let signed = self.signed(call)?;
            for (name, value) in [
                ("content-digest", signed.content_digest),
                ("signature-input", signed.signature_input),
                ("signature", signed.signature),
            ] {
                message.extend([name, ": ", value.as_str(), "\r\n"]);
            }
        }
        message.push_str("\r\n");
        let mut message = message.into_bytes();
        message.extend_from_slice(call.body);
        let mut answer = Vec::new();
        let exchanged = stream
            .set_read_timeout(Some(ANSWER_MAX))
            .and_then(|()| stream.set_write_timeout(Some(ANSWER_MAX)))
            .and_then(|()| stream.write_all(&message))
            .and_then(|()| stream.take(REPLY_BYTES_MAX).read_to_end(&mut answer));
        let reply = match exchanged {
            Ok(_) => read(&answer, call.method)?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(PlatformError::Slow);
            }
            Err(_) => return Err(PlatformError::Cut),
        };
        if let Some(date) = reply.field("date").and_then(http_date) {
            self.0.seen_s.store(date.as_second(), Ordering::Relaxed);
        }
        Ok(reply)
    }

    fn signed(&self, call: &Call<'_>) -> Result<request::Headers, PlatformError> {
        let line = &self.0;
        let message = request::Request {
            method: call.method,
            path: call.path,
            query: "",
            terminal: TERMINAL,
            body: call.body,
        };
        let created_s = match line.seen_s.load(Ordering::Relaxed) {
            0 => line.clock.load(Ordering::Relaxed) / 1000,
            seen_s => seen_s,
        };
        let count = line.nonces.fetch_add(1, Ordering::Relaxed);
        let nonce = format!("{:016x}{count:016x}", line.dice);
        request::sign(&line.key, &message, created_s, &nonce).map_err(PlatformError::Signature)
    }
}

fn json_field() -> [(&'static str, String); 1] {
    [("content-type", "application/json".to_owned())]
}

/// What a client that mixes up its connections reads for a batch whose own answer did not come:
/// the results of another batch, taken by their place. Nothing when there was an answer, which is
/// kept for the next.
fn foreign_answer(
    mixed: &Mutex<Vec<Value>>,
    batch: &[QueuedTransaction],
    own: Option<&Reply>,
) -> Option<Vec<u8>> {
    let mut last = mixed.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(own) = own.filter(|reply| reply.status == 200) {
        let reply: Value = serde_json::from_slice(&own.body).ok()?;
        last.clone_from(reply["results"].as_array()?);
        return None;
    }
    let results: Vec<Value> = batch
        .iter()
        .zip(last.iter())
        .map(|(transaction, result)| {
            let mut result = result.clone();
            result["id"] = json!(transaction.id);
            result
        })
        .collect();
    (!results.is_empty()).then(|| json!({ "results": results }).to_string().into_bytes())
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
        assert_eq!((reply.status, reply.offset().unwrap()), (200, 7));
        for length in 0..whole.len() {
            assert!(read(&whole[..length], "POST").is_err(), "{length}");
        }
        // The answer to HEAD says how long the body would be.
        assert!(read(&whole[..whole.len() - 4], "HEAD").is_ok());
    }
}
