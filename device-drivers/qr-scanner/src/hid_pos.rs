//! A scanner of the HID-POS class (`device-protocols.md` §4.6): its report descriptor is read first
//! and its reports are cut accordingly.
//!
//! Where the configuration names a maker, an output report pulls the trigger. Otherwise the scanner
//! looks by itself, and what it sees is taken only while somebody waits for it.

use std::time::Duration;

use kiosk_device::usb::{Interface, Transfer, UsbDevice};
use kiosk_device::{Action, Capabilities, Completion, Context, Fault, WireError, clock, tap};
use zeroize::Zeroizing;

use crate::hid_report::{DESCRIPTOR_BYTES_MAX, Layout};
use crate::line::too_long;
use crate::scanner::Event;
use crate::text::{ScannedCode, Suffix, decode_with};
use crate::{honeywell, newland};

/// Class of human interface devices, and the protocol of keyboards among them (HID 1.11 §4).
const CLASS_HID: u8 = 0x03;
const PROTOCOL_KEYBOARD: u8 = 0x01;
/// `GET_DESCRIPTOR` from the interface, for report descriptors (HID 1.11 §7.1.1).
const FROM_INTERFACE: u8 = 0x81;
const GET_DESCRIPTOR: u8 = 0x06;
const REPORT_DESCRIPTOR: u16 = 0x2200;
/// `SET_REPORT` to the interface, for output reports (HID 1.11 §7.2.2).
const TO_INTERFACE: u8 = 0x21;
const SET_REPORT: u8 = 0x09;
const OUTPUT_REPORT: u16 = 0x0200;
/// `GET_STATUS` of the device (USB 2.0 §9.4.5): every device answers it.
const FROM_DEVICE: u8 = 0x80;
const GET_STATUS: u8 = 0x00;

/// Wait for one control or output transfer. Chosen.
const TRANSFER_LIMIT: Duration = Duration::from_secs(1);
/// Wait between looks at the caller's wish to stop.
const LOOK_LIMIT: Duration = Duration::from_millis(100);
/// Silence that shows that nothing old is left. Chosen: twice the slowest usual interval of 10 ms,
/// and room for a busy machine.
const OLD_PAUSE: Duration = Duration::from_millis(40);
/// Old reports thrown away at once. Chosen: more than one code of 4 KiB.
const OLD_REPORTS_MAX: usize = 128;
/// Wait for the next report of a code. Chosen: reports follow each other within milliseconds.
const PIECE_PAUSE: Duration = Duration::from_millis(500);
/// Longest code.
const CODE_BYTES_MAX: usize = 4096;
/// Scanners that end one scan by themselves are started again in time, as on a line.
const RESTART_INTERVAL: Duration = Duration::from_secs(4);
/// Refusals of the input pipe in a row that are borne. Chosen.
const STALLS_MAX: u32 = 3;

/// Output reports that carry commands: number and bytes behind it where the descriptor is silent.
const NEWLAND_REPORT: (u8, usize) = (0x04, 63);
const HONEYWELL_REPORT: (u8, usize) = (0xFD, 4);

/// Whose commands pull the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Nobody's: the scanner looks by itself.
    None,
    /// Newland's unified commands in report 04.
    Newland,
    /// Honeywell's in report FD.
    Honeywell,
}

impl Trigger {
    /// The names in the configuration.
    pub(crate) const WORDS: [&'static str; 3] = ["none", "newland", "honeywell"];

    /// The trigger of that name; nobody's for another name.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "newland" => Self::Newland,
            "honeywell" => Self::Honeywell,
            _ => Self::None,
        }
    }

    /// The output report that starts or stops a scan: number, room without it, content.
    fn report(self, is_start: bool) -> Option<(u8, usize, Vec<u8>)> {
        let ((id, room), command) = match self {
            Self::None => return None,
            Self::Newland => {
                let tag = if is_start {
                    newland::START
                } else {
                    newland::STOP
                };
                (NEWLAND_REPORT, newland::command(tag))
            }
            Self::Honeywell if is_start => (HONEYWELL_REPORT, honeywell::TRIGGER.to_vec()),
            Self::Honeywell => (HONEYWELL_REPORT, honeywell::UNTRIGGER.to_vec()),
        };
        let length = u8::try_from(command.len()).unwrap_or(u8::MAX);
        Some((id, room, [&[length], &command[..]].concat()))
    }
}

/// One HID-POS scanner.
pub(crate) struct HidPos {
    port: String,
    trigger: Trigger,
    suffix: Suffix,
    opened: Option<Opened>,
    stalls: u32,
}

struct Opened {
    device: UsbDevice,
    layout: Layout,
    input: u8,
    output: Option<u8>,
    interface: u16,
    buffer: Zeroizing<Vec<u8>>,
}

impl HidPos {
    pub(crate) fn new(port: &str, trigger: Trigger, suffix: Suffix) -> Self {
        Self {
            port: port.to_owned(),
            trigger,
            suffix,
            opened: None,
            stalls: 0,
        }
    }

    fn opened(&mut self) -> Result<&mut Opened, WireError> {
        self.opened.as_mut().ok_or(WireError::Gone)
    }

    pub(crate) fn open(&mut self) -> Result<Capabilities, Fault> {
        self.opened = None;
        self.stalls = 0;
        let mut device = UsbDevice::open(&self.port, is_candidate)?;
        let interface = device.interface().clone();
        let mut descriptor = [0; DESCRIPTOR_BYTES_MAX];
        let count = device.control_read(
            FROM_INTERFACE,
            GET_DESCRIPTOR,
            REPORT_DESCRIPTOR,
            interface.number.into(),
            &mut descriptor,
            TRANSFER_LIMIT,
        )?;
        let layout = Layout::parse(descriptor.get(..count).unwrap_or_default());
        let layout = layout.map_err(|error| {
            Fault::new(
                "qr-scanner.not-hid-pos",
                Action::Configuration,
                format!("the device is no HID-POS scanner: {error}"),
            )
        })?;
        let interrupt = |is_in: bool| {
            let mut endpoints = interface.endpoints.iter();
            endpoints.find(|endpoint| {
                endpoint.transfer == Transfer::Interrupt && endpoint.is_in() == is_in
            })
        };
        let input = interrupt(true).ok_or(WireError::BadDescriptor)?;
        // One report at a time: the packets that hold one, and no more.
        let packet_bytes = usize::from(input.packet_bytes.max(1));
        let packets = layout.report_bytes.div_ceil(packet_bytes);
        let identity = device.identity().clone();
        self.opened = Some(Opened {
            layout,
            input: input.address,
            output: interrupt(false).map(|endpoint| endpoint.address),
            interface: interface.number.into(),
            buffer: Zeroizing::new(vec![0; packets * packet_bytes]),
            device,
        });
        // Left on by the last program, the light would stay on.
        self.pull(false)?;
        let ability = match self.trigger {
            Trigger::None => "presentation",
            Trigger::Newland | Trigger::Honeywell => "trigger",
        };
        Ok(Capabilities {
            model: [identity.maker, identity.model].join(" ").trim().to_owned(),
            serial: identity.serial,
            abilities: vec![ability.to_owned()],
            ..Capabilities::default()
        })
    }

    pub(crate) fn close(&mut self) {
        self.opened = None;
    }

    /// Asks for a sign of life, and throws away what was seen meanwhile.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        let opened = self.opened()?;
        let mut status = [0; 2];
        opened
            .device
            .control_read(FROM_DEVICE, GET_STATUS, 0, 0, &mut status, TRANSFER_LIMIT)?;
        Ok(self.drop_old()?)
    }

    pub(crate) fn forget(&mut self) {
        if let Err(error) = self.drop_old() {
            tracing::debug!(%error, "old reports not dropped");
        }
    }

    fn drop_old(&mut self) -> Result<(), WireError> {
        for _ in 0..OLD_REPORTS_MAX {
            if self.read(OLD_PAUSE)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Reads one report into the buffer; its length, zero when none came.
    fn read(&mut self, limit: Duration) -> Result<usize, WireError> {
        let _personal = tap::personal();
        let opened = self.opened()?;
        let result = opened.device.read(opened.input, &mut opened.buffer, limit);
        match result {
            Ok(count) => {
                self.stalls = 0;
                Ok(count)
            }
            Err(WireError::Stalled) if self.stalls < STALLS_MAX => {
                self.stalls += 1;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Pulls or releases the trigger where there is one.
    fn pull(&mut self, is_start: bool) -> Result<(), WireError> {
        let Some((id, room, content)) = self.trigger.report(is_start) else {
            return Ok(());
        };
        let opened = self.opened()?;
        let room = opened.layout.output_bytes(id).unwrap_or(room);
        let mut report = vec![id];
        report.extend(content);
        report.resize((room + 1).max(report.len()), 0);
        match opened.output {
            Some(endpoint) => opened.device.write(endpoint, &report, TRANSFER_LIMIT),
            None => opened.device.control_write(
                TO_INTERFACE,
                SET_REPORT,
                OUTPUT_REPORT | u16::from(id),
                opened.interface,
                &report,
                TRANSFER_LIMIT,
            ),
        }
    }

    pub(crate) fn start(&mut self) -> Result<(), Completion> {
        self.pull(true).map_err(|error| {
            Completion::Failed(if matches!(error, WireError::Stalled) {
                Fault::new(
                    "qr-scanner.command-refused",
                    Action::Configuration,
                    "the scanner refuses the report that starts a scan",
                )
            } else {
                error.into()
            })
        })
    }

    /// Stops scanning. A scanner that is gone shows at the next status.
    pub(crate) fn stop(&mut self) {
        if let Err(error) = self.pull(false) {
            tracing::debug!(%error, "scanner not stopped");
        }
        self.forget();
    }

    /// Waits for one code.
    pub(crate) fn next_code(
        &mut self,
        context: &Context<'_, Event>,
    ) -> Result<ScannedCode, Completion> {
        let failed = |error: WireError| Completion::Failed(error.into());
        let mut code = empty_code();
        let mut deadline = clock::now() + RESTART_INTERVAL;
        loop {
            context.check()?;
            let count = self
                .read(context.remaining().min(LOOK_LIMIT))
                .map_err(failed)?;
            let opened = self.opened().map_err(failed)?;
            let report = opened.buffer.get(..count).unwrap_or_default();
            if let Some(piece) = opened.layout.piece(report) {
                if code.len() + piece.bytes.len() > CODE_BYTES_MAX {
                    return Err(too_long());
                }
                code.extend_from_slice(piece.bytes);
                deadline = clock::now() + PIECE_PAUSE;
                if piece.has_more {
                    continue;
                }
                let whole = std::mem::replace(&mut code, empty_code());
                if let Some(found) = decode_with(&whole, self.suffix) {
                    return Ok(found);
                }
            }
            if clock::now() >= deadline {
                if !code.is_empty() {
                    tracing::debug!("a code broke off between two reports");
                    code = empty_code();
                }
                self.pull(true).map_err(failed)?;
                deadline = clock::now() + RESTART_INTERVAL;
            }
        }
    }
}

/// A human interface that is no keyboard and sends reports.
fn is_candidate(interface: &Interface) -> bool {
    interface.class == CLASS_HID
        && interface.protocol != PROTOCOL_KEYBOARD
        && interface
            .endpoints
            .iter()
            .any(|endpoint| endpoint.is_in() && endpoint.transfer == Transfer::Interrupt)
}

/// Large enough from the start, so that growing leaves no copies behind.
fn empty_code() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(CODE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triggers_are_those_of_the_fact_sheet() {
        let (id, _, content) = Trigger::Honeywell.report(true).unwrap();
        assert_eq!((id, content), (0xFD, vec![3, 0x16, 0x54, 0x0D]));
        let (id, _, content) = Trigger::Honeywell.report(false).unwrap();
        assert_eq!((id, content), (0xFD, vec![3, 0x16, 0x55, 0x0D]));
        let (id, room, content) = Trigger::Newland.report(true).unwrap();
        assert_eq!((id, room), (0x04, 63));
        assert_eq!(content, [&[16][..], &newland::command("SCNTRG1")].concat());
        assert_eq!(Trigger::None.report(true), None);
        for word in Trigger::WORDS {
            assert_eq!(Trigger::from_word(word) == Trigger::None, word == "none");
        }
    }
}
