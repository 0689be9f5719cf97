//! The driver: waits for a card, reads it, and knows afterwards whether it still lies there.
//!
//! A card that was read answers "find" with "no card" until it is lifted, but its management number
//! can be read without authentication as long as it has not moved (`device-protocols.md` §1.6): that
//! is how presence is known without disturbing anything. A module that does not tell it leaves
//! presence unknown, and is trusted to find no card before the old one was lifted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, DeviceState,
    Driver, Fault, Media, Sensitive, Status, WireError, clock, tap, usb, wire,
};

use crate::line::{Line, LineError};
use crate::portrait::PortraitProgram;
use crate::record::{CardKind, CardRecord, parse_address};
use crate::sdt::{self, Decoder, Reply, Request};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["sdt"];

const OPTIONS: &[&str] = &["fingerprints", "select_without_find", "portrait_program"];

/// Default of every certified module (§1.1).
const BAUD_DEFAULT: u32 = 115_200;
/// Find, select, status and id answer within 500 ms in the field (§1.6); twice that, because a USB
/// bridge and a busy machine add to it.
const SHORT_LIMIT: Duration = Duration::from_secs(1);
/// Text and photo (§1.6: sources say 3 to 5 s).
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Appended address and management number (§1.6 says 1 s; doubled as above).
const APPENDIX_LIMIT: Duration = Duration::from_secs(2);
/// Answer about the firmware of a reader around the module. Chosen as the shortest of §1.6.
const FIRMWARE_LIMIT: Duration = Duration::from_millis(300);
/// Silence in the middle of a frame, or behind a broken one, that makes it a broken one (§1.2).
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
    /// Some readers answer "find" with "no card" although one lies there (§1.6).
    selects_without_find: bool,
    fingerprints: Fingerprints,
    portrait: Option<PortraitProgram>,
    line: Option<Line>,
    /// A request for personal content was not answered.
    owes_personal: bool,
    /// A card was read and has not moved since, as far as is known.
    card: Presence,
    /// The module has told once that a card still lies there.
    tells_presence: bool,
}

/// Whether fingerprints are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fingerprints {
    NotWanted,
    Wanted,
    /// Those of the present card cannot be read.
    NotThisTime,
    /// The module refuses to.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// No card has been read since opening.
    NeverRead,
    Present,
    /// One was read, and the module does not tell whether it still lies there.
    Untold,
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
    /// The reader refuses before its module was asked.
    Refused(u8),
}

impl Failure {
    /// True when only reopening can help.
    fn is_fatal(&self) -> bool {
        match self {
            // A stalled pipe was cleared already.
            Self::Wire(error) => !matches!(error, WireError::Stalled),
            Self::Silent | Self::Broken | Self::Refused(_) => false,
        }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<LineError> for Failure {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Wire(error) => Self::Wire(error),
            LineError::Refused(result) => Self::Refused(result),
            LineError::Garbled => Self::Broken,
        }
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
            Failure::Refused(result) => Self::new(
                "id-card.command-refused",
                Action::Reset,
                format!("the reader refuses with {result:02x}"),
            ),
        }
    }
}

/// One request and its answer on an open line.
fn exchange(line: &mut Line, request: Request, limit: Duration) -> Result<Reply, Failure> {
    {
        // A late answer to an earlier request must not be taken for this one's.
        let _personal = tap::personal();
        line.discard_input();
    }
    line.send(&request.frame(), SHORT_LIMIT)?;
    let deadline = clock::now() + limit;
    let mut decoder = Decoder::default();
    let mut heard = None;
    // Each turn waits for what is left of a limit that does not move beyond the deadline.
    loop {
        let has_begun = decoder.is_partial() || decoder.has_dropped_frame() || line.is_partial();
        let until = match heard {
            Some(heard) if has_begun => deadline.min(heard + SILENCE_LIMIT),
            Some(_) | None => deadline,
        };
        let left = until.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(if has_begun {
                Failure::Broken
            } else {
                Failure::Silent
            });
        }
        let bytes = line.receive(decoder.missing(), left)?;
        if !bytes.is_empty() {
            heard = Some(clock::now());
        }
        let mut found = decoder.push(bytes);
        // Each turn takes a frame out of what has come.
        while let Some(reply) = found {
            if request.accepts(&reply) {
                return Ok(reply);
            }
            tracing::debug!(status = reply.status, "late answer passed over");
            found = decoder.push(&[]);
        }
    }
}

/// How one try to read ended.
enum Attempt {
    NoCard,
    Read(Box<CardRecord>),
    /// The person must lift the card and put it down again.
    Again(Fault),
    /// The machine tries again by itself.
    Retry(Fault),
    Broken(Fault),
}

impl IdCardReader {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::IdCard, DRIVERS, OPTIONS)?;
        let is_port = if usb::is_usb(&config.port) {
            usb::UsbPort::parse(&config.port).is_ok()
        } else {
            wire::Port::parse(&config.port).is_ok()
        };
        if !is_port {
            return Err(config.not_accepted(
                "port",
                &config.port,
                "an absolute path, tcp:HOST:PORT, usb:VVVV:PPPP or usbip:HOST:PORT/BUSID",
            ));
        }
        Ok(Self {
            port: config.port.clone(),
            baud: config.baud.unwrap_or(BAUD_DEFAULT),
            model: config.model.clone().unwrap_or_default(),
            selects_without_find: option_bool(config, "select_without_find")?,
            fingerprints: if option_bool(config, "fingerprints")? {
                Fingerprints::Wanted
            } else {
                Fingerprints::NotWanted
            },
            portrait: portrait_program(config)?,
            line: None,
            owes_personal: false,
            card: Presence::NeverRead,
            tells_presence: false,
        })
    }

    /// One request and its answer.
    fn ask(&mut self, request: Request, limit: Duration) -> Result<Reply, Failure> {
        let line = self.line.as_mut().ok_or(WireError::Gone)?;
        // The answer that an earlier request still owes may come now.
        let is_personal = request.is_personal() || self.owes_personal;
        let _personal = is_personal.then(tap::personal);
        let result = exchange(line, request, limit);
        line.settle(result.is_ok());
        self.owes_personal = is_personal && result.is_err();
        result
    }

    /// The module's own state; its faults are worth a status, not an error.
    fn module_fault(&mut self) -> Result<Option<Fault>, Failure> {
        let status = self.ask(Request::Status, SHORT_LIMIT)?.status;
        Ok((status != sdt::SUCCESS).then(|| sdt::fault(status)))
    }

    /// Whether the card that was read still lies there, unmoved.
    fn look_for_old_card(&mut self) -> Result<Presence, Failure> {
        if self.card == Presence::Present {
            let reply = self.ask(Request::ReadManagementNumber, APPENDIX_LIMIT)?;
            self.tells_presence |= reply.status == sdt::SUCCESS;
            self.card = match reply.status {
                sdt::SUCCESS => Presence::Present,
                // Said of a card that was not read, too, hence by modules that know the command.
                sdt::BAD_COMMAND | sdt::NOT_PERMITTED if !self.tells_presence => Presence::Untold,
                _ => Presence::Lifted,
            };
        }
        Ok(self.card)
    }

    /// Finds, selects and reads a card once.
    fn attempt(&mut self, context: &Context<'_, Event>) -> Result<Attempt, Failure> {
        let find = self.ask(Request::Find, SHORT_LIMIT)?;
        let is_selected = match find.status {
            sdt::FOUND | sdt::SUCCESS => false,
            sdt::NOT_FOUND if self.selects_without_find => {
                if self.ask(Request::Select, SHORT_LIMIT)?.status != sdt::SUCCESS {
                    if self.card == Presence::Untold {
                        self.card = Presence::Lifted;
                        context.emit(Event::CardRemoved);
                    }
                    return Ok(Attempt::NoCard);
                }
                if self.card == Presence::Untold {
                    return Ok(Attempt::Again(card_left()));
                }
                true
            }
            sdt::NOT_FOUND => return Ok(Attempt::NoCard),
            status => return Ok(refused(sdt::fault(status))),
        };
        context.emit(Event::CardFound);
        // From here on a silent or broken answer mostly means a card that was moved.
        match self.read_found(is_selected) {
            Ok(Ok(record)) => Ok(Attempt::Read(record)),
            Ok(Err(fault)) if fault.action == Action::Maintenance => Ok(Attempt::Broken(fault)),
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

    fn read_found(&mut self, is_selected: bool) -> Result<Result<Box<CardRecord>, Fault>, Failure> {
        if !is_selected {
            let select = self.ask(Request::Select, SHORT_LIMIT)?;
            if select.status != sdt::SUCCESS {
                return Ok(Err(sdt::fault(select.status)));
            }
        }
        let mut record = match self.read_content()? {
            Ok(record) => record,
            Err(fault) => return Ok(Err(fault)),
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
                sdt::NO_SUCH_ITEM | sdt::BAD_COMMAND | sdt::NOT_PERMITTED => {}
                // An old address taken for the newest would be wrong: read the whole card again.
                status => return Ok(Err(sdt::fault(status))),
            }
        }
        if let Some(program) = &mut self.portrait {
            record.portrait = program.decode(record.photo.expose());
        }
        if self.fingerprints == Fingerprints::NotThisTime {
            self.fingerprints = Fingerprints::Wanted;
        }
        Ok(Ok(record))
    }

    /// Reads text, photo and, where they are wanted and can be had, fingerprints.
    fn read_content(&mut self) -> Result<Result<Box<CardRecord>, Fault>, Failure> {
        if self.fingerprints == Fingerprints::Wanted {
            let full = self.ask(Request::ReadFull, READ_LIMIT)?;
            match full.status {
                sdt::SUCCESS => {
                    return Ok(
                        parse(sdt::split_full(&full.data)).map(|(mut record, block)| {
                            record.fingerprints = Some(Sensitive::new(block.to_vec()));
                            record
                        }),
                    );
                }
                // Without fingerprints, then; a card that the refusal has used up is read again.
                sdt::BAD_COMMAND | sdt::NOT_PERMITTED => {
                    tracing::warn!(status = full.status, "the module refuses fingerprints");
                    self.fingerprints = Fingerprints::Refused;
                }
                sdt::BAD_FINGERPRINTS => self.fingerprints = Fingerprints::NotThisTime,
                status => return Ok(Err(sdt::fault(status))),
            }
        }
        let base = self.ask(Request::ReadBase, READ_LIMIT)?;
        if base.status != sdt::SUCCESS {
            return Ok(Err(sdt::fault(base.status)));
        }
        let parts = sdt::split_base(&base.data).map(|(text, photo)| (text, photo, &[][..]));
        Ok(parse(parts).map(|(record, _)| record))
    }

    /// What is limited although the reader works.
    fn readings(&self) -> BTreeMap<String, String> {
        let mut readings = BTreeMap::new();
        if self
            .portrait
            .as_ref()
            .is_some_and(PortraitProgram::has_failed)
        {
            readings.insert("portrait".to_owned(), "failed".to_owned());
        }
        if self.fingerprints == Fingerprints::Refused {
            readings.insert("fingerprints".to_owned(), "refused".to_owned());
        }
        readings
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
                Ok(Attempt::Retry(fault)) => {
                    misses += 1;
                    if misses == MISSES_MAX {
                        return Completion::Failed(fault);
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
            match self.look_for_old_card()? {
                Presence::Present => return Ok(Attempt::Again(card_left())),
                Presence::Lifted => context.emit(Event::CardRemoved),
                Presence::Untold | Presence::NeverRead => {}
            }
        }
        self.attempt(context)
    }
}

fn option_bool(config: &DeviceConfig, key: &str) -> Result<bool, ConfigError> {
    match config.options.get(key) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| {
            config.not_accepted(
                &format!("options.{key}"),
                value.to_string(),
                "true or false",
            )
        }),
    }
}

fn portrait_program(config: &DeviceConfig) -> Result<Option<PortraitProgram>, ConfigError> {
    let Some(value) = config.options.get("portrait_program") else {
        return Ok(None);
    };
    let path = value.as_str().map(PathBuf::from);
    match path.filter(|path| path.is_absolute()) {
        Some(path) => Ok(Some(PortraitProgram::new(path))),
        None => Err(config.not_accepted(
            "options.portrait_program",
            value.to_string(),
            "the absolute path of a program",
        )),
    }
}

/// Text and photo as a record, and what comes beside them.
fn parse<'a>(
    parts: Option<(&'a [u8], &'a [u8], &'a [u8])>,
) -> Result<(Box<CardRecord>, &'a [u8]), Fault> {
    parts
        .ok_or_else(|| "the length words do not fit".to_owned())
        .and_then(|(text, photo, rest)| {
            let record = CardRecord::parse(text, photo).map_err(|error| error.to_string())?;
            Ok((Box::new(record), rest))
        })
        .map_err(|detail| Fault::new("id-card.unreadable-content", Action::Clear, detail))
}

/// What a refusal to find a card leads to.
fn refused(fault: Fault) -> Attempt {
    match fault.action {
        Action::Clear => Attempt::Again(fault),
        Action::Reset => Attempt::Retry(fault),
        Action::Maintenance | Action::Configuration | Action::Suspend => Attempt::Broken(fault),
    }
}

fn card_left() -> Fault {
    Fault::new(
        "id-card.card-left",
        Action::Clear,
        "the card that was read before still lies on the reader",
    )
}

impl Driver for IdCardReader {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        self.card = Presence::NeverRead;
        self.tells_presence = false;
        if self.fingerprints != Fingerprints::NotWanted {
            self.fingerprints = Fingerprints::Wanted;
        }
        if let Some(program) = &mut self.portrait {
            program.forgive();
        }
        let line = self.line.insert(Line::open(&self.port, self.baud)?);
        let firmware = line.firmware(FIRMWARE_LIMIT);
        let mut abilities = vec![line.ability(), "presence", "appended-address"];
        let model = if self.model.is_empty() {
            line.model().to_owned()
        } else {
            self.model.clone()
        };
        if let Some(fault) = self.module_fault()? {
            return Err(fault);
        }
        let id = self.ask(Request::SamId, SHORT_LIMIT)?;
        let serial = sdt::format_sam_id(&id.data)
            .filter(|_| id.status == sdt::SUCCESS)
            .unwrap_or_default();
        if self.fingerprints == Fingerprints::Wanted {
            abilities.push("fingerprints");
        }
        if self
            .portrait
            .as_ref()
            .is_some_and(PortraitProgram::is_usable)
        {
            abilities.push("portrait");
        }
        Ok(Capabilities {
            model,
            serial,
            firmware,
            abilities: abilities.into_iter().map(str::to_owned).collect(),
        })
    }

    fn close(&mut self) {
        self.line = None;
        self.card = Presence::NeverRead;
    }

    fn status(&mut self) -> Result<Status, Fault> {
        let readings = self.readings();
        if self.look_for_old_card()? == Presence::Present {
            // A module that reads the card's chip is well.
            return Ok(Status {
                media: Media::Present,
                readings,
                ..Status::online()
            });
        }
        let media = match self.card {
            Presence::NeverRead | Presence::Present | Presence::Untold => Media::Unknown,
            Presence::Lifted => Media::NotPresent,
        };
        let status = match self.module_fault()? {
            None => Status::online(),
            Some(fault) => Status::failed(DeviceState::HardwareError, fault),
        };
        Ok(Status {
            media,
            readings,
            ..status
        })
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
            Presence::NeverRead | Presence::Untold | Presence::Lifted => Duration::from_secs(2),
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
