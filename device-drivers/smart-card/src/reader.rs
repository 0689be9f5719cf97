//! The driver: waits for a card in a PC/SC reader and reads it.
//!
//! The service counts every insertion and removal of a card, so that a card that was changed while
//! nobody looked is known to be another one. A card that was read, or could not be read, must be
//! pulled out before the next is read. Calls to a card have the limits of the reader's own driver
//! (ISO/IEC 7816-3 waiting times); everything else here is bounded by ours.

use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Media, Status, WireError,
};
use pcsc::{Attribute, Disposition, Protocols, ReaderState, Scope, ShareMode, State};
use zeroize::Zeroizing;

use crate::apdu::{Channel, ChannelError, RESPONSE_BYTES_MAX};
use crate::card::{self, ReadError, SocialCard};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["ssc-pcsc"];

const PORT_PREFIX: &str = "pcsc:";
/// Longest wait for a change without a look at the deadline and at a cancellation. Chosen.
const WATCH_LIMIT: Duration = Duration::from_millis(200);
/// Time in which the service notices that a card is gone. Chosen: pcscd looks every 400 ms where a
/// reader does not tell by itself.
const PULL_LIMIT: Duration = Duration::from_millis(800);
/// Changes of state in a row that are looked at for one answer. Chosen.
const CHANGES_MAX: usize = 16;

/// What the reader can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Wait for a card and read it.
    Read,
}

/// What the reader reports meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A card was put in: do not pull it out.
    CardFound,
    /// It was read.
    Card(Box<SocialCard>),
    /// It could not be read: pull it out and put it in again, or take another one. The reader keeps
    /// waiting.
    ReadAgain(Fault),
    /// The card of an earlier reading was pulled out.
    CardRemoved,
}

/// The driver of one chip card reader.
pub struct SmartCardReader {
    port: String,
    /// Part of the reader's name; empty for the first reader.
    pattern: String,
    model: String,
    reader: Option<Reader>,
}

impl SmartCardReader {
    /// A closed driver for the device in `config`. Its port is `pcsc:` and a part of the reader's
    /// name.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::SmartCard, DRIVERS, &[])?;
        let pattern = config.port.strip_prefix(PORT_PREFIX).ok_or_else(|| {
            config.not_accepted(
                "port",
                &config.port,
                "pcsc: and a part of the reader's name, or pcsc: for the first reader",
            )
        })?;
        Ok(Self {
            port: config.port.clone(),
            pattern: pattern.to_owned(),
            model: config.model.clone().unwrap_or_default(),
            reader: None,
        })
    }

    fn reader(&mut self) -> Result<&mut Reader, Fault> {
        Ok(self.reader.as_mut().ok_or(WireError::Gone)?)
    }

    /// Waits for a card until one is read; every way out is a completion.
    fn wait_for_card(&mut self, context: &Context<'_, Event>) -> Result<(), Completion> {
        let reader = self.reader().map_err(Completion::Failed)?;
        let mut tried = None;
        let mut limit = Duration::ZERO;
        loop {
            context.check()?;
            let slot = reader
                .look(limit.min(context.remaining()))
                .map_err(Completion::Failed)?;
            limit = WATCH_LIMIT;
            if reader.is_old_card_gone() {
                context.emit(Event::CardRemoved);
            }
            let insertion = reader.insertion;
            if slot == Slot::Empty || tried == Some(insertion) {
                continue;
            }
            tried = Some(insertion);
            if slot == Slot::Mute {
                let mute = ReadError::Channel(ChannelError::Mute);
                context.emit(Event::ReadAgain(mute.into()));
                continue;
            }
            if reader.read_card == Some(insertion) {
                context.emit(Event::ReadAgain(card_left()));
                continue;
            }
            context.emit(Event::CardFound);
            match reader.read_card() {
                Ok(card) => {
                    context.emit(Event::Card(Box::new(card)));
                    return Ok(());
                }
                Err(ReadError::Channel(ChannelError::ReaderGone(fault))) => {
                    return Err(Completion::Failed(fault));
                }
                Err(error) => context.emit(Event::ReadAgain(error.into())),
            }
        }
    }
}

fn card_left() -> Fault {
    Fault::new(
        "smart-card.card-left",
        Action::Clear,
        "the card that was read before is still in the reader",
    )
}

impl Driver for SmartCardReader {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        let reader = self.reader.insert(Reader::open(&self.port, &self.pattern)?);
        reader.look(Duration::ZERO)?;
        let (serial, firmware) = reader.identity();
        let name = reader.name().to_string_lossy().into_owned();
        Ok(Capabilities {
            model: if self.model.is_empty() {
                name
            } else {
                self.model.clone()
            },
            serial,
            firmware,
            abilities: ["presence", "social-security"].map(str::to_owned).to_vec(),
        })
    }

    fn close(&mut self) {
        self.reader = None;
    }

    fn status(&mut self) -> Result<Status, Fault> {
        let mut status = Status::online();
        status.media = match self.reader()?.look(Duration::ZERO)? {
            Slot::Empty => Media::NotPresent,
            Slot::Card => Media::Present,
            Slot::Mute => {
                status.readings.insert("card".to_owned(), "mute".to_owned());
                Media::Present
            }
        };
        Ok(status)
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        match command {
            Command::Read => match self.wait_for_card(context) {
                Ok(()) => Completion::Success,
                Err(completion) => completion,
            },
        }
    }
}

impl fmt::Debug for SmartCardReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmartCardReader")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// What is in the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Empty,
    Card,
    /// Something is, and gives no answer to reset: upside down, or broken.
    Mute,
}

impl Slot {
    /// `None`: the reader itself is gone.
    fn of(state: State) -> Option<Self> {
        if state.intersects(State::UNKNOWN | State::UNAVAILABLE | State::IGNORE) {
            None
        } else if !state.contains(State::PRESENT) {
            Some(Self::Empty)
        } else if state.contains(State::MUTE) {
            Some(Self::Mute)
        } else {
            Some(Self::Card)
        }
    }
}

/// One reader at the service.
struct Reader {
    context: pcsc::Context,
    port: String,
    state: ReaderState,
    slot: Slot,
    /// Which insertion the slot shows: the service's count.
    insertion: u32,
    /// The insertion whose card was read, until it is pulled out.
    read_card: Option<u32>,
}

impl Reader {
    fn open(port: &str, pattern: &str) -> Result<Self, Fault> {
        let context =
            pcsc::Context::establish(Scope::System).map_err(|error| fault(error, port))?;
        let not_there = || WireError::NotThere {
            port: port.to_owned(),
        };
        let names = match context.list_readers_owned() {
            Err(pcsc::Error::NoReadersAvailable) => return Err(not_there().into()),
            names => names.map_err(|error| fault(error, port))?,
        };
        let name = names
            .into_iter()
            .find(|name| name.to_string_lossy().contains(pattern))
            .ok_or_else(not_there)?;
        Ok(Self {
            context,
            port: port.to_owned(),
            state: ReaderState::new(name, State::UNAWARE),
            slot: Slot::Empty,
            insertion: 0,
            read_card: None,
        })
    }

    fn name(&self) -> &CStr {
        self.state.name()
    }

    /// Serial number and firmware of the reader, as far as it tells.
    fn identity(&self) -> (String, String) {
        let direct = self
            .context
            .connect(self.name(), ShareMode::Direct, Protocols::UNDEFINED);
        let Ok(direct) = direct else {
            return Default::default();
        };
        let attribute = |attribute| direct.get_attribute_owned(attribute).unwrap_or_default();
        let serial = attribute(Attribute::VendorIfdSerialNo);
        let serial: String = serial
            .into_iter()
            .filter(u8::is_ascii_graphic)
            .map(char::from)
            .collect();
        // 0xMMmmbbbb, little-endian: major, minor, build (PC/SC part 3 §3.1.2).
        let firmware = match attribute(Attribute::VendorIfdVersion).as_slice() {
            &[low, high, minor, major] => {
                format!("{major}.{minor}.{}", u16::from_le_bytes([low, high]))
            }
            _ => String::new(),
        };
        if let Err((_, error)) = direct.disconnect(Disposition::LeaveCard) {
            tracing::debug!(%error, "reader not let go");
        }
        (serial, firmware)
    }

    /// What is in the reader now, or after a change within `limit`.
    fn look(&mut self, limit: Duration) -> Result<Slot, Fault> {
        let mut limit = limit;
        for _ in 0..CHANGES_MAX {
            let states = std::slice::from_mut(&mut self.state);
            match self.context.get_status_change(limit, states) {
                Ok(()) => {}
                Err(pcsc::Error::Timeout) => return Ok(self.slot),
                Err(error) => return Err(fault(error, &self.port)),
            }
            self.slot = Slot::of(self.state.event_state()).ok_or(WireError::Gone)?;
            self.insertion = self.state.event_count();
            self.state.sync_current_state();
            // A burst of changes ends in one state.
            limit = Duration::ZERO;
        }
        Ok(self.slot)
    }

    /// True once when the card that was read is no longer there.
    fn is_old_card_gone(&mut self) -> bool {
        let is_gone = self
            .read_card
            .is_some_and(|read| self.slot == Slot::Empty || read != self.insertion);
        if is_gone {
            self.read_card = None;
        }
        is_gone
    }

    /// Reads the card that was put in.
    fn read_card(&mut self) -> Result<SocialCard, ReadError> {
        let insertion = self.insertion;
        match self.converse() {
            Ok(card) => {
                self.read_card = Some(insertion);
                Ok(card)
            }
            // Some readers call a card that was pulled out a failed exchange, or make up an answer.
            Err(error @ (ReadError::Protocol | ReadError::Channel(ChannelError::Broken))) => {
                let slot = self.look(PULL_LIMIT).map_err(ChannelError::ReaderGone)?;
                let is_pulled = slot == Slot::Empty || self.insertion != insertion;
                Err(if is_pulled {
                    ReadError::Channel(ChannelError::Removed)
                } else {
                    error
                })
            }
            Err(error) => Err(error),
        }
    }

    fn converse(&self) -> Result<SocialCard, ReadError> {
        // Alone, so that nobody selects another file in between; and at once or not at all.
        let card = self
            .context
            .connect(self.name(), ShareMode::Exclusive, Protocols::ANY)
            .map_err(|error| channel_error(error, &self.port))?;
        let mut channel = PcscChannel {
            card,
            port: &self.port,
        };
        let result = card::read(&mut channel);
        // Without a reset: of a card that was just pulled out it fails, after which pcscd 1.9.9 calls
        // the slot empty and may miss the next card. Nothing is unlocked that a reset would lock.
        if let Err((_, error)) = channel.card.disconnect(Disposition::LeaveCard) {
            tracing::debug!(%error, "card not let go");
        }
        result
    }
}

struct PcscChannel<'a> {
    card: pcsc::Card,
    port: &'a str,
}

impl Channel for PcscChannel<'_> {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        let mut buffer = Zeroizing::new([0; RESPONSE_BYTES_MAX]);
        let response = self
            .card
            .transmit(command, buffer.as_mut_slice())
            .map_err(|error| channel_error(error, self.port))?;
        Ok(Zeroizing::new(response.to_vec()))
    }
}

/// What an error of the service means for the conversation with a card.
fn channel_error(error: pcsc::Error, port: &str) -> ChannelError {
    use pcsc::Error as E;
    if matches!(error, E::RemovedCard | E::NoSmartcard) {
        ChannelError::Removed
    } else if matches!(error, E::UnresponsiveCard) {
        ChannelError::Mute
    } else if is_service_gone(error) || is_reader_gone(error) || error == E::SharingViolation {
        ChannelError::ReaderGone(fault(error, port))
    } else {
        tracing::debug!(%error, "exchange with the card failed");
        ChannelError::Broken
    }
}

/// A service that hangs up in the middle of an exchange is called a security violation by its
/// library (pcsc-lite 1.9.9): it died, or it refuses this user. Either way it does not serve us.
fn is_service_gone(error: pcsc::Error) -> bool {
    use pcsc::Error as E;
    matches!(
        error,
        E::NoService
            | E::ServiceStopped
            | E::Shutdown
            | E::CommError
            | E::InvalidHandle
            | E::SecurityViolation
    )
}

fn is_reader_gone(error: pcsc::Error) -> bool {
    use pcsc::Error as E;
    matches!(
        error,
        E::UnknownReader | E::ReaderUnavailable | E::NoReadersAvailable
    )
}

/// What an error of the service means for the device.
fn fault(error: pcsc::Error, port: &str) -> Fault {
    if is_service_gone(error) {
        Fault::new(
            "smart-card.no-service",
            Action::Maintenance,
            format!("the PC/SC service does not answer: {error}"),
        )
    } else if is_reader_gone(error) {
        WireError::Gone.into()
    } else if error == pcsc::Error::SharingViolation {
        let port = port.to_owned();
        WireError::InUse { port }.into()
    } else {
        Fault::new(
            "smart-card.reader-failed",
            Action::Maintenance,
            format!("the PC/SC service says: {error}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(port: &str) -> DeviceConfig {
        toml::from_str(&format!(
            "id = \"ssc\"\nclass = \"smart-card\"\ndriver = \"ssc-pcsc\"\nport = \"{port}\""
        ))
        .unwrap()
    }

    #[test]
    fn only_a_pcsc_port_is_accepted() {
        assert!(SmartCardReader::new(&config("pcsc:")).is_ok());
        let reader = SmartCardReader::new(&config("pcsc:Virtual PCD")).unwrap();
        assert_eq!(reader.pattern, "Virtual PCD");
        let error = SmartCardReader::new(&config("/dev/ttyUSB0")).unwrap_err();
        assert!(error.to_string().contains("pcsc:"), "{error}");
    }

    #[test]
    fn what_the_service_says_of_the_slot_is_understood() {
        let check = |state: State, expect: Option<Slot>| {
            assert_eq!(Slot::of(state | State::CHANGED), expect, "{state:?}");
        };
        check(State::EMPTY, Some(Slot::Empty));
        check(State::PRESENT, Some(Slot::Card));
        check(State::PRESENT | State::UNPOWERED, Some(Slot::Card));
        check(State::PRESENT | State::EXCLUSIVE, Some(Slot::Card));
        check(State::PRESENT | State::MUTE, Some(Slot::Mute));
        check(State::UNAVAILABLE, None);
        check(State::UNKNOWN, None);
    }

    #[test]
    fn every_kind_of_failure_has_its_code_and_action() {
        use pcsc::Error as E;
        let check = |error: E, code: &str, action: Action| {
            let fault = fault(error, "pcsc:");
            assert_eq!((fault.code, fault.action), (code, action), "{error}");
        };
        check(E::NoService, "smart-card.no-service", Action::Maintenance);
        check(
            E::SecurityViolation,
            "smart-card.no-service",
            Action::Maintenance,
        );
        check(E::UnknownReader, "device.gone", Action::Maintenance);
        check(E::SharingViolation, "device.in-use", Action::Configuration);
        check(E::NoMemory, "smart-card.reader-failed", Action::Maintenance);
    }

    #[test]
    fn a_card_that_went_away_is_told_from_a_reader_that_did() {
        use pcsc::Error as E;
        assert_eq!(channel_error(E::RemovedCard, ""), ChannelError::Removed);
        assert_eq!(channel_error(E::NoSmartcard, ""), ChannelError::Removed);
        assert_eq!(channel_error(E::UnresponsiveCard, ""), ChannelError::Mute);
        assert_eq!(channel_error(E::NotTransacted, ""), ChannelError::Broken);
        let gone = channel_error(E::ReaderUnavailable, "");
        assert!(matches!(gone, ChannelError::ReaderGone(fault) if fault.code == "device.gone"));
    }
}
