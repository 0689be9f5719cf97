//! The driver: waits for a card, reads it, and knows afterwards whether it still lies there.
//!
//! A card that was read answers "find" with "no card" until it is lifted, but its management number
//! can be read without authentication as long as it has not moved (`device-protocols.md` §1.6): that
//! is how presence is known without disturbing anything.

use std::fmt;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, DeviceState,
    Driver, Fault, Media, Status, Wire, WireError, clock, wire,
};

use crate::record::{CardKind, CardRecord, parse_address};
use crate::sdt::{self, Decoder, Reply, Request};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["sdt"];

/// Default of every certified module (§1.1).
const BAUD_DEFAULT: u32 = 115_200;
/// Find, select, status and id answer within 500 ms in the field (§1.6); twice that, because a USB
/// bridge and a busy machine add to it.
const SHORT_LIMIT: Duration = Duration::from_secs(1);
/// Text and photo (§1.6: sources say 3 to 5 s).
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Appended address and management number (§1.6 says 1 s; doubled as above).
const APPENDIX_LIMIT: Duration = Duration::from_secs(2);
/// Silence in the middle of a frame that makes it a broken one (§1.2).
const SILENCE_LIMIT: Duration = Duration::from_millis(800);
/// Between two tries to find a card (§1.6: 300 ms or more).
const FIND_INTERVAL: Duration = Duration::from_millis(300);
/// Failures of the line in a row that end a command. Chosen.
const MISSES_MAX: u32 = 3;

/// What the reader can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Wait for a card and read it.
    Read,
}

/// What the reader reports meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A card lies on the reader: do not move it.
    CardFound,
    /// It was read.
    Card(Box<CardRecord>),
    /// It could not be read: lift it and put it down again. The reader keeps waiting.
    ReadAgain(Fault),
    /// The card of an earlier reading was lifted.
    CardRemoved,
}

/// The driver of one card reader.
pub struct IdCardReader {
    port: String,
    baud: u32,
    model: String,
    wire: Option<Box<dyn Wire>>,
    /// A card was read and has not moved since, as far as is known.
    card: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// No card has been read since opening.
    NeverRead,
    Present,
    Lifted,
}

/// Why an exchange gave no answer.
#[derive(Debug)]
enum Failure {
    Wire(WireError),
    /// Not a byte came.
    Silent,
    /// A frame broke off or did not check.
    Broken,
}

impl Failure {
    fn is_fatal(&self) -> bool {
        matches!(self, Self::Wire(_))
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Wire(error) => error.into(),
            Failure::Silent => WireError::TimedOut.into(),
            Failure::Broken => Self::new(
                "id-card.bad-reply",
                Action::Maintenance,
                "an answer of the module broke off or did not check",
            ),
        }
    }
}

/// How one try to read ended.
enum Attempt {
    NoCard,
    Read(Box<CardRecord>),
    Again(Fault),
    Broken(Fault),
}

impl IdCardReader {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::IdCard, DRIVERS, &[])?;
        wire::Port::parse(&config.port).map_err(|_| {
            config.not_accepted("port", &config.port, "an absolute path or tcp:HOST:PORT")
        })?;
        Ok(Self {
            port: config.port.clone(),
            baud: config.baud.unwrap_or(BAUD_DEFAULT),
            model: config.model.clone().unwrap_or_default(),
            wire: None,
            card: Presence::NeverRead,
        })
    }

    /// One request and its answer.
    fn ask(&mut self, request: Request, limit: Duration) -> Result<Reply, Failure> {
        let wire = self.wire.as_deref_mut().ok_or(WireError::Gone)?;
        // A late answer to an earlier request must not be taken for this one's.
        wire.discard_input();
        wire.write_all(&request.frame(), SHORT_LIMIT)?;
        let deadline = clock::now() + limit;
        let mut decoder = Decoder::default();
        let mut buffer = [0_u8; 512];
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let wait = if decoder.is_partial() {
                left.min(SILENCE_LIMIT)
            } else {
                left
            };
            let count = wire.read(&mut buffer, wait)?;
            if let Some(reply) = decoder.push(buffer.get(..count).unwrap_or_default()) {
                return Ok(reply);
            }
            if count == 0 || left.is_zero() {
                return Err(if decoder.is_partial() {
                    Failure::Broken
                } else {
                    Failure::Silent
                });
            }
        }
    }

    /// The module's own state; its faults are worth a status, not an error.
    fn module_fault(&mut self) -> Result<Option<Fault>, Failure> {
        let status = self.ask(Request::Status, SHORT_LIMIT)?.status;
        Ok((status != sdt::SUCCESS).then(|| sdt::fault(status)))
    }

    /// Whether the card that was read still lies there, unmoved.
    fn has_card_stayed(&mut self) -> Result<bool, Failure> {
        if self.card != Presence::Present {
            return Ok(false);
        }
        let reply = self.ask(Request::ReadManagementNumber, APPENDIX_LIMIT)?;
        if reply.status == sdt::SUCCESS {
            return Ok(true);
        }
        self.card = Presence::Lifted;
        Ok(false)
    }

    /// Finds, selects and reads a card once.
    fn attempt(&mut self, context: &Context<'_, Event>) -> Result<Attempt, Failure> {
        let find = self.ask(Request::Find, SHORT_LIMIT)?;
        match find.status {
            sdt::FOUND | sdt::SUCCESS => {}
            sdt::NOT_FOUND => return Ok(Attempt::NoCard),
            status => {
                let fault = sdt::fault(status);
                return Ok(if fault.action == Action::Clear {
                    Attempt::Again(fault)
                } else {
                    Attempt::Broken(fault)
                });
            }
        }
        context.emit(Event::CardFound);
        // From here on a silent or broken answer mostly means a card that was moved.
        match self.read_found() {
            Ok(Ok(record)) => Ok(Attempt::Read(record)),
            Ok(Err(fault)) => Ok(Attempt::Again(fault)),
            Err(failure) if failure.is_fatal() => Err(failure),
            Err(failure) => {
                tracing::debug!(?failure, "card not read");
                Ok(Attempt::Again(Fault::new(
                    "id-card.read-failed",
                    Action::Clear,
                    "the answer of the module broke off",
                )))
            }
        }
    }

    fn read_found(&mut self) -> Result<Result<Box<CardRecord>, Fault>, Failure> {
        let select = self.ask(Request::Select, SHORT_LIMIT)?;
        if select.status != sdt::SUCCESS {
            return Ok(Err(sdt::fault(select.status)));
        }
        let base = self.ask(Request::ReadBase, READ_LIMIT)?;
        if base.status != sdt::SUCCESS {
            return Ok(Err(sdt::fault(base.status)));
        }
        let data = kiosk_device::Sensitive::new(base.data);
        let parsed = sdt::split_base(data.expose())
            .ok_or_else(|| "the length words do not fit".to_owned())
            .and_then(|(text, photo)| {
                CardRecord::parse(text, photo).map_err(|error| error.to_string())
            });
        let mut record = match parsed {
            Ok(record) => Box::new(record),
            Err(detail) => {
                let fault = Fault::new("id-card.unreadable-content", Action::Clear, detail);
                return Ok(Err(fault));
            }
        };
        if matches!(record.kind, CardKind::Resident | CardKind::HkMoTw) {
            let address = self.ask(Request::ReadNewAddress, APPENDIX_LIMIT)?;
            match address.status {
                sdt::SUCCESS => {
                    let newest = parse_address(&address.data);
                    if !newest.expose().is_empty() {
                        record.address = newest;
                    }
                }
                // Nothing appended, or a module that does not know the command.
                sdt::NO_SUCH_ITEM | 0x21 | 0x23 => {}
                // An old address taken for the newest would be wrong: read the whole card again.
                status => return Ok(Err(sdt::fault(status))),
            }
        }
        Ok(Ok(record))
    }

    /// Waits for a card until one is read; every way out is a completion.
    fn wait_for_card(&mut self, context: &Context<'_, Event>) -> Completion {
        let mut misses = 0;
        let mut last_again: Option<&'static str> = None;
        loop {
            if let Err(completion) = context.check() {
                return completion;
            }
            match self.turn(context) {
                Ok(Attempt::Read(record)) => {
                    self.card = Presence::Present;
                    context.emit(Event::Card(record));
                    return Completion::Success;
                }
                Ok(Attempt::NoCard) => {
                    misses = 0;
                    last_again = None;
                }
                Ok(Attempt::Again(fault)) => {
                    misses = 0;
                    // Some modules find a bad card again and again: it is said once.
                    if last_again != Some(fault.code) {
                        last_again = Some(fault.code);
                        context.emit(Event::ReadAgain(fault));
                    }
                }
                Ok(Attempt::Broken(fault)) => return Completion::Failed(fault),
                Err(failure) => {
                    misses += 1;
                    if failure.is_fatal() || misses == MISSES_MAX {
                        return Completion::Failed(failure.into());
                    }
                }
            }
            if let Err(completion) = context.pause(FIND_INTERVAL) {
                return completion;
            }
        }
    }

    /// One look at the reader: an old card first, which must be lifted before anything is found.
    fn turn(&mut self, context: &Context<'_, Event>) -> Result<Attempt, Failure> {
        if self.card == Presence::Present {
            if self.has_card_stayed()? {
                return Ok(Attempt::Again(Fault::new(
                    "id-card.card-left",
                    Action::Clear,
                    "the card that was read before still lies on the reader",
                )));
            }
            context.emit(Event::CardRemoved);
        }
        self.attempt(context)
    }
}

impl Driver for IdCardReader {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        self.card = Presence::NeverRead;
        self.wire = Some(wire::open(&self.port, self.baud)?);
        if let Some(fault) = self.module_fault()? {
            return Err(fault);
        }
        let id = self.ask(Request::SamId, SHORT_LIMIT)?;
        let serial = sdt::format_sam_id(&id.data)
            .filter(|_| id.status == sdt::SUCCESS)
            .unwrap_or_default();
        Ok(Capabilities {
            model: self.model.clone(),
            serial,
            firmware: String::new(),
            abilities: ["presence", "appended-address"].map(str::to_owned).to_vec(),
        })
    }

    fn close(&mut self) {
        self.wire = None;
        self.card = Presence::NeverRead;
    }

    fn status(&mut self) -> Result<Status, Fault> {
        if self.has_card_stayed()? {
            // A module that reads the card's chip is well.
            return Ok(Status {
                media: Media::Present,
                ..Status::online()
            });
        }
        let media = match self.card {
            Presence::NeverRead | Presence::Present => Media::Unknown,
            Presence::Lifted => Media::NotPresent,
        };
        let status = match self.module_fault()? {
            None => Status::online(),
            Some(fault) => Status::failed(DeviceState::HardwareError, fault),
        };
        Ok(Status { media, ..status })
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        match command {
            Command::Read => self.wait_for_card(context),
        }
    }

    fn poll_interval(&self) -> Duration {
        // While a card lies there, its removal should show soon.
        match self.card {
            Presence::Present => Duration::from_millis(500),
            Presence::NeverRead | Presence::Lifted => Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for IdCardReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdCardReader")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
