//! One IPP address: requests to it, answers from it, and what stands in between when there is none.
//!
//! Every exchange has a connection of its own and a deadline. A document goes out in pieces, so that
//! a print can be given up while it is still on the wire.

use std::net::IpAddr;
use std::time::Duration;

use kiosk_device::http::{self, HttpError, Target};
use kiosk_device::{
    Action, Completion, Context, Fault, Status, Wire, WireError, clock, tap,
    wire::{self, TcpWire},
};

use super::Event;
use super::message::{Answer, Operation, Request, Version};
use super::reasons;

const SCHEMES: &[(&str, u16)] = &[("ipp://", 631), ("http://", 80)];
/// Longest answer taken. Chosen: a full description is about 20 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest address in the configuration. Chosen; IPP allows 1023 bytes.
const ADDRESS_BYTES_MAX: usize = 512;
/// Wait for an answer without a document. Chosen: sleeping printers take a second or two.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// The same at the very end of a command.
const ANSWER_LIMIT_MIN: Duration = Duration::from_millis(500);
/// Wait for the answer to a document. Chosen: a weak printer takes a few pages in that time.
const DOCUMENT_LIMIT: Duration = Duration::from_mins(1);
/// Bytes of a document between two looks at the cancellation. Chosen.
const PIECE_BYTES: usize = 16 * 1024;
/// How long a printer may take none of them. Chosen: a weak printer digests a page meanwhile.
const PIECE_LIMIT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read before it is looked at. Chosen: a status line.
const FIRST_BYTES: usize = 512;
/// How often a wait for the answer to a document looks at the cancellation.
const LOOK_LIMIT: Duration = Duration::from_millis(100);

const STATUS_VERSION_NOT_SUPPORTED: u16 = 0x0503;

const PRINTER_ATTRIBUTES: &[&str] = &[
    "printer-state",
    "printer-state-reasons",
    "printer-state-message",
    "printer-is-accepting-jobs",
    "queued-job-count",
    "printer-make-and-model",
    "printer-firmware-string-version",
    "printer-device-id",
    "document-format-supported",
    "page-ranges-supported",
    "media-ready",
    "marker-names",
    "marker-types",
    "marker-levels",
    "marker-low-levels",
    "printer-supply",
];

/// An address and how to speak to it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    target: Target,
    /// The address in IPP's own scheme, as the printer expects it.
    uri: String,
    pub(super) version: Version,
    next_request: u32,
    /// Wait for an answer; shorter when the command that asks is about to end.
    answer_limit: Duration,
}

/// Why there is no answer to a document.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The command was canceled or its deadline passed; the document may have arrived.
    Ended(Completion),
    /// Nothing was sent.
    NotSent(Fault),
    /// It may have arrived.
    Lost(Fault),
}

impl Endpoint {
    /// Takes `ipp://HOST[:PORT]/PATH` or `http://…` apart.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let target = Some(address)
            .filter(|address| address.len() <= ADDRESS_BYTES_MAX)
            .and_then(|address| Target::parse(address, SCHEMES))?;
        Some(Self {
            uri: format!("ipp://{}{}", target.authority(), target.path),
            target,
            version: Version::V2_0,
            next_request: 1,
            answer_limit: ANSWER_LIMIT,
        })
    }

    /// Waits no longer for answers than a command has left, so that it ends in time.
    pub(super) fn hurry(&mut self, left: Option<Duration>) {
        self.answer_limit = left.map_or(ANSWER_LIMIT, |left| {
            left.clamp(ANSWER_LIMIT_MIN, ANSWER_LIMIT)
        });
    }

    pub(super) fn request(&mut self, operation: Operation) -> Request {
        let id = self.next_request;
        // Ids are positive 32-bit integers.
        self.next_request = id % 0x7FFF_FFFF + 1;
        Request::new(self.version, operation, id, &self.uri)
    }

    fn connect(&self) -> Result<TcpWire, Fault> {
        let host = &self.target.host;
        TcpWire::connect(host, self.target.port).map_err(|error| {
            let is_name = host.parse::<IpAddr>().is_err();
            let is_missing = matches!(error, WireError::NotThere { .. });
            if is_missing && is_name && wire::resolve(host, self.target.port).is_none() {
                return Fault::new(
                    "printer.unknown-host",
                    Action::Configuration,
                    format!("nobody knows the address of {host}"),
                );
            }
            error.into()
        })
    }

    fn head(&self, length: usize) -> Vec<u8> {
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/ipp\r\nContent-Length: {length}\r\nAccept: application/ipp\r\nUser-Agent: kiosk\r\nConnection: close\r\n\r\n",
            self.target.path,
            self.target.authority(),
        )
        .into_bytes()
    }

    /// Sends one request and reads the answer.
    pub(super) fn exchange(&self, message: &[u8], limit: Duration) -> Result<Answer, Fault> {
        let mut wire = self.connect()?;
        let deadline = clock::now() + limit;
        let left = || deadline.saturating_duration_since(clock::now());
        let request = [self.head(message.len()), message.to_vec()].concat();
        wire.write_all(&request, left())?;
        read_answer(&mut wire, None, left())
    }

    /// As [`Endpoint::exchange`], for requests that can be repeated in the older version.
    pub(super) fn ask(&mut self, build: impl Fn(&mut Self) -> Vec<u8>) -> Result<Answer, Fault> {
        let request = build(self);
        let answer = self.exchange(&request, self.answer_limit)?;
        if answer.status != STATUS_VERSION_NOT_SUPPORTED || self.version == Version::V1_1 {
            return Ok(answer);
        }
        self.version = Version::V1_1;
        let request = build(self);
        self.exchange(&request, self.answer_limit)
    }

    /// Switches to the older version after a refusal; false when that was done already.
    pub(super) fn falls_back(&mut self, answer: &Answer) -> bool {
        let does = answer.status == STATUS_VERSION_NOT_SUPPORTED && self.version == Version::V2_0;
        if does {
            self.version = Version::V1_1;
        }
        does
    }

    /// Asks the printer behind this address how it is.
    pub(super) fn printer(&mut self) -> Result<(Answer, Status), Fault> {
        let answer = self.ask(|endpoint| {
            endpoint
                .request(Operation::GetPrinterAttributes)
                .keywords("requested-attributes", PRINTER_ATTRIBUTES)
                .finish()
        })?;
        if !is_success(answer.status) {
            return Err(refused(answer.status));
        }
        if answer.is_damaged {
            tracing::debug!("the printer's answer broke off");
        }
        let status =
            reasons::status(&answer).ok_or_else(|| malformed("the answer has no printer-state"))?;
        Ok((answer, status))
    }

    /// Sends a request with a document, in pieces.
    pub(super) fn upload(
        &self,
        message: &[u8],
        document: &[u8],
        context: &Context<'_, Event>,
    ) -> Result<Answer, UploadError> {
        let mut wire = self.connect().map_err(UploadError::NotSent)?;
        let head = [self.head(message.len() + document.len()), message.to_vec()].concat();
        wire.write_all(&head, context.remaining().min(PIECE_LIMIT))
            .map_err(|error| UploadError::NotSent(error.into()))?;
        let mut broken = None;
        for piece in document.chunks(PIECE_BYTES) {
            context.check().map_err(UploadError::Ended)?;
            let _personal = tap::personal();
            if let Err(error) = wire.write_all(piece, context.remaining().min(PIECE_LIMIT)) {
                broken = Some(error);
                break;
            }
        }
        // A printer that refuses may answer before it has read everything, and hang up.
        let limit = if broken.is_some() {
            ANSWER_LIMIT
        } else {
            DOCUMENT_LIMIT
        };
        let answer = read_answer(&mut wire, Some(context), context.remaining().min(limit));
        match (answer, broken) {
            (Ok(answer), _) => Ok(answer),
            (Err(fault), broken) => {
                context.check().map_err(UploadError::Ended)?;
                Err(UploadError::Lost(broken.map_or(fault, Fault::from)))
            }
        }
    }
}

/// Reads the answer to a request that was sent.
fn read_answer(
    wire: &mut TcpWire,
    context: Option<&Context<'_, Event>>,
    limit: Duration,
) -> Result<Answer, Fault> {
    let deadline = clock::now() + limit;
    let left = || deadline.saturating_duration_since(clock::now());
    let first = read_first(wire, context, limit)?;
    // A TLS alert or handshake: content type and major version (RFC 8446, section 5.1).
    if matches!(first.as_slice(), [0x15 | 0x16, 0x03, ..]) {
        return Err(Fault::new(
            "printer.tls-required",
            Action::Configuration,
            "the printer speaks TLS only",
        ));
    }
    let mut wire = Begun { first, wire };
    let mut answer = http::send(&mut wire, &[], left()).map_err(bad_reply)?;
    check_http(&answer.head)?;
    let body =
        http::read_body(&mut wire, &mut answer, ANSWER_BYTES_MAX, left()).map_err(bad_reply)?;
    Answer::parse(&body).map_err(|error| malformed(&error.to_string()))
}

/// Waits for the first bytes of an answer, or the end of the command.
fn read_first(
    wire: &mut TcpWire,
    context: Option<&Context<'_, Event>>,
    limit: Duration,
) -> Result<Vec<u8>, WireError> {
    let deadline = clock::now() + limit;
    let mut first = vec![0; FIRST_BYTES];
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        let count = wire.read(&mut first, left.min(LOOK_LIMIT))?;
        if count > 0 {
            first.truncate(count);
            return Ok(first);
        }
        let has_ended = context.is_some_and(|context| context.check().is_err());
        if left.is_zero() || has_ended {
            return Err(WireError::TimedOut);
        }
    }
}

/// What an HTTP status other than 200 means.
fn check_http(head: &http::Head) -> Result<(), Fault> {
    let leads_to_tls = head
        .header("location")
        .is_some_and(|location| location.starts_with("https:"));
    let (code, action, detail) = match head.status {
        200 => return Ok(()),
        426 => (
            "printer.tls-required",
            Action::Configuration,
            "the printer speaks TLS only",
        ),
        301..=308 if leads_to_tls => (
            "printer.tls-required",
            Action::Configuration,
            "the printer sends us to a TLS address",
        ),
        401 | 403 => (
            "printer.access-denied",
            Action::Configuration,
            "the printer asks for a password or forbids access",
        ),
        404 => (
            "printer.no-queue",
            Action::Configuration,
            "the host is there and has no printer under this path",
        ),
        503 => (
            "printer.busy",
            Action::Reset,
            "the printer's server is too busy to answer",
        ),
        other => {
            return Err(malformed(&format!(
                "the printer answers with HTTP status {other}"
            )));
        }
    };
    Err(Fault::new(code, action, detail))
}

/// A wire some of whose bytes have been read already.
struct Begun<'a> {
    first: Vec<u8>,
    wire: &'a mut TcpWire,
}

impl Wire for Begun<'_> {
    fn write_all(&mut self, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        self.wire.write_all(bytes, limit)
    }

    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> Result<usize, WireError> {
        if self.first.is_empty() {
            return self.wire.read(buffer, limit);
        }
        let count = self.first.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.first.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn discard_input(&mut self) {
        self.first.clear();
        self.wire.discard_input();
    }
}

/// `successful-ok` and its two relatives (ignored or conflicting attributes).
pub(super) fn is_success(status: u16) -> bool {
    status <= 0x0002
}

/// What an IPP status that is no success means.
pub(super) fn refused(status: u16) -> Fault {
    let (code, action) = match status {
        0x0401..=0x0403 => ("printer.access-denied", Action::Configuration),
        0x0406 => ("printer.no-queue", Action::Configuration),
        0x040A => ("printer.no-pdf", Action::Configuration),
        0x0502 | 0x0505 | 0x0507 => ("printer.busy", Action::Reset),
        0x0506 => ("printer.not-accepting-jobs", Action::Maintenance),
        _ => ("printer.refused", Action::Maintenance),
    };
    Fault::new(
        code,
        action,
        format!("the printer answers with IPP status {status:#06x}"),
    )
}

pub(super) fn malformed(what: &str) -> Fault {
    Fault::new("printer.bad-reply", Action::Maintenance, what)
}

fn bad_reply(error: HttpError) -> Fault {
    match error {
        HttpError::Wire(error) => error.into(),
        HttpError::Malformed(what) => malformed(what),
    }
}
