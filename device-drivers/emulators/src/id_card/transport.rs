//! How the frames of the reader travel: a serial line, or USB in the three layouts of
//! `device-protocols`, section 1.8.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::serial::{LineReport, SerialLine};
use crate::steering::Steered;
use crate::usb::description::{Description, Endpoint, Interface};
use crate::usb::{Answer, UsbBus, UsbPort, hid};

/// Bytes of a frame's head: what layout 1 sends through pipes of its own.
const HEAD_BYTES: usize = 7;
/// Longest wait for a host that does not fetch a reply. Chosen.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);
/// Bytes of one HID report.
const REPORT_BYTES: u16 = 64;
/// First byte of a packet to a HID reader.
const TO_READER: u8 = 0x88;
/// First byte of a packet from a HID reader.
const FROM_READER: u8 = 0xAA;
/// Bytes of a packet beside its data, command included: flag, sequence, length, command, sum.
const PACKET_BYTES: usize = 8;
/// Longest packet accepted. Chosen: a request of the protocol has at most 11 bytes.
const PACKET_BYTES_MAX: usize = 512;

/// How a driver reaches the reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdCardTransport {
    /// A pseudo terminal, `<dir>/id-card`.
    #[default]
    Serial,
    /// USB layout 1: four bulk pipes, the head of each frame in pipes of its own.
    UsbFourPipes,
    /// USB layout 2: one pair of bulk pipes.
    UsbPair,
    /// USB layout 3: 64-byte HID reports around the frames.
    Hid,
    /// A serial line over USB (CDC-ACM).
    UsbSerial,
}

#[derive(Debug)]
enum Layout {
    Serial(SerialLine),
    FourPipes(UsbPort),
    Pair(UsbPort),
    Hid { port: UsbPort, packet: Vec<u8> },
}

/// The reader's end of its cable.
#[derive(Debug)]
pub(crate) struct Transport {
    layout: Layout,
    host: Option<u64>,
}

/// What there is to tell about the transport, for people.
#[derive(Debug, Clone)]
pub(crate) enum TransportReport {
    Line(LineReport),
    Usb(UsbPort),
}

impl TransportReport {
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Line(line) => line.value(),
            Self::Usb(port) => json!({ "errors": port.errors() }),
        }
    }
}

impl Transport {
    pub(crate) fn open_serial(path: &Path, baud: u32, heeds_speed: bool) -> io::Result<Self> {
        let mut line = SerialLine::open(path, baud)?;
        line.heeds_speed = heeds_speed;
        Ok(Self::new(Layout::Serial(line)))
    }

    /// Plugs the reader into the bus, in a layout other than a pseudo terminal.
    pub(crate) fn open_usb(bus: &UsbBus, transport: IdCardTransport) -> Self {
        // Vendor requests are not part of the protocol: all are refused.
        let vendor = |endpoints: &[u8]| {
            bus.export(
                vendor_description(endpoints),
                Box::new(|_, _| Answer::Refuse),
            )
        };
        Self::new(match transport {
            IdCardTransport::UsbFourPipes => Layout::FourPipes(vendor(&[0x02, 0x06, 0x81, 0x85])),
            IdCardTransport::UsbPair => Layout::Pair(vendor(&[0x02, 0x81])),
            IdCardTransport::Hid => Layout::Hid {
                port: bus.export(hid_description(), hid::control()),
                packet: Vec::new(),
            },
            IdCardTransport::Serial | IdCardTransport::UsbSerial => {
                Layout::Serial(SerialLine::open_usb(bus, "SDT reader"))
            }
        })
    }

    fn new(layout: Layout) -> Self {
        Self { layout, host: None }
    }

    fn usb(&self) -> Option<&UsbPort> {
        match &self.layout {
            Layout::Serial(_) => None,
            Layout::FourPipes(port) | Layout::Pair(port) | Layout::Hid { port, .. } => Some(port),
        }
    }

    /// Where a driver reaches the reader.
    pub(crate) fn name(&self) -> PathBuf {
        match &self.layout {
            Layout::Serial(line) => line.path().to_owned(),
            Layout::FourPipes(port) | Layout::Pair(port) | Layout::Hid { port, .. } => {
                PathBuf::from(port.name())
            }
        }
    }

    pub(crate) fn report(&self) -> TransportReport {
        match &self.layout {
            Layout::Serial(line) => TransportReport::Line(line.report()),
            Layout::FourPipes(port) | Layout::Pair(port) | Layout::Hid { port, .. } => {
                TransportReport::Usb(port.clone())
            }
        }
    }

    pub(crate) fn is_plugged(&self) -> bool {
        match &self.layout {
            Layout::Serial(line) => line.is_plugged(),
            Layout::FourPipes(port) | Layout::Pair(port) | Layout::Hid { port, .. } => {
                port.is_plugged()
            }
        }
    }

    pub(crate) fn plug(&mut self) -> io::Result<()> {
        match &mut self.layout {
            Layout::Serial(line) => line.plug()?,
            Layout::FourPipes(port) | Layout::Pair(port) | Layout::Hid { port, .. } => port.plug(),
        }
        Ok(())
    }

    pub(crate) fn cut(&mut self) {
        match &mut self.layout {
            Layout::Serial(line) => line.cut(),
            Layout::FourPipes(port) | Layout::Pair(port) | Layout::Hid { port, .. } => port.cut(),
        }
    }

    /// Speed of the line; 0 where bytes are not paced.
    pub(crate) fn baud(&self) -> u32 {
        match &self.layout {
            Layout::Serial(line) => line.baud,
            Layout::FourPipes(_) | Layout::Pair(_) | Layout::Hid { .. } => 0,
        }
    }

    pub(crate) fn set_baud(&mut self, baud: u32) {
        if let Layout::Serial(line) = &mut self.layout {
            line.baud = baud;
        }
    }

    /// True where a reply can leave in pieces of any size.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.layout, Layout::Serial(_) | Layout::Pair(_))
    }

    /// Waits up to `wait` for bytes of frames and adds them to `received`; true when some came.
    pub(crate) fn receive(&mut self, received: &mut Vec<u8>, wait: Duration) -> io::Result<bool> {
        if let Layout::Serial(line) = &mut self.layout {
            let mut buffer = [0; 256];
            let count = line.receive(&mut buffer, wait)?;
            received.extend(&buffer[..count]);
            return Ok(count > 0);
        }
        let Some(port) = self.usb().cloned() else {
            return Ok(false);
        };
        let arrived = port.receive(wait);
        let host = port.host();
        if host != self.host {
            // A new host: what the last one left half-said is forgotten.
            self.host = host;
            received.clear();
            if let Layout::Hid { packet, .. } = &mut self.layout {
                packet.clear();
            }
        }
        let Some((endpoint, bytes)) = arrived else {
            return Ok(false);
        };
        match &mut self.layout {
            Layout::FourPipes(port) => {
                let is_head = endpoint == 0x02;
                if is_head && bytes.len() != HEAD_BYTES {
                    port.complain(format!("{} bytes instead of a frame's head", bytes.len()));
                }
                if !is_head && received.len() != HEAD_BYTES {
                    port.complain("the body of a frame without its head".to_owned());
                }
                received.extend(bytes);
            }
            Layout::Hid { port, packet } => {
                if let Some(frame) = unwrap(port, packet, &bytes) {
                    received.extend(frame);
                }
            }
            Layout::Serial(_) | Layout::Pair(_) => received.extend(bytes),
        }
        Ok(true)
    }

    /// Sends one reply, or a piece of it where the transport is a stream; false when the driver does
    /// not take it.
    pub(crate) fn send<S>(
        &mut self,
        bytes: &[u8],
        steered: &Steered<S>,
        keep: impl Fn(&S) -> bool,
    ) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        Ok(match &mut self.layout {
            Layout::Serial(line) => line.send(bytes, steered, keep)?,
            Layout::FourPipes(port) => {
                let (head, body) = bytes.split_at(bytes.len().min(HEAD_BYTES));
                port.send(0x81, head)
                    && (body.is_empty() || port.send(0x85, body))
                    && port.drain(0x85, DRAIN_WITHIN)
            }
            Layout::Pair(port) => port.send(0x81, bytes) && port.drain(0x81, DRAIN_WITHIN),
            Layout::Hid { port, .. } => say(port, 0, bytes) && port.drain(hid::IN, DRAIN_WITHIN),
        })
    }

    /// Halts the endpoint of the replies; false where there is none.
    pub(crate) fn stall(&self) -> bool {
        match &self.layout {
            Layout::Serial(_) => return false,
            Layout::FourPipes(port) | Layout::Pair(port) | Layout::Hid { port, .. } => {
                port.stall(0x81);
            }
        }
        true
    }
}

/// Takes one report to a HID reader; the frame of a complete packet that is passed through.
///
/// A packet begins with a report and may go on in the next ones; the last one is filled up.
fn unwrap(port: &UsbPort, packet: &mut Vec<u8>, report: &[u8]) -> Option<Vec<u8>> {
    packet.extend(report);
    if packet.first() != Some(&TO_READER) {
        port.complain(format!("a packet that begins with {:02X?}", packet.first()));
        packet.clear();
        return None;
    }
    let length = match packet.get(3..5) {
        Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
        _ => return None,
    };
    if length == 0 || length > PACKET_BYTES_MAX {
        port.complain(format!("a packet of {length} bytes"));
        packet.clear();
        return None;
    }
    if packet.len() < PACKET_BYTES - 1 + length {
        return None;
    }
    let whole = std::mem::take(packet);
    let (body, rest) = whole[3..].split_at(2 + length);
    if sum(body) != [rest[0], rest[1]] {
        port.complain("a packet with a wrong sum".to_owned());
        say(port, 1, &[]);
        return None;
    }
    match body[2] {
        0xB1 => return Some(body[3..].to_vec()),
        0x0D => say(port, 0, b"EMU-HID 1.00"),
        command => {
            port.complain(format!("command {command:02X} of the HID framing"));
            say(port, 1, &[])
        }
    };
    None
}

/// Sends a packet from a HID reader.
fn say(port: &UsbPort, result: u8, data: &[u8]) -> bool {
    let mut body = u16::try_from(data.len() + 1)
        .unwrap_or(u16::MAX)
        .to_le_bytes()
        .to_vec();
    body.push(result);
    body.extend(data);
    let mut packet = vec![FROM_READER, 0, 0];
    packet.extend(&body);
    packet.extend(sum(&body));
    hid::reports(&packet, usize::from(REPORT_BYTES))
        .iter()
        .all(|report| port.send(hid::IN, report))
}

/// Additive, from the length field on.
fn sum(body: &[u8]) -> [u8; 2] {
    body.iter()
        .fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)))
        .to_le_bytes()
}

fn vendor_description(endpoints: &[u8]) -> Description {
    Description {
        vendor: 0x0400,
        product: 0xC35A,
        release: 0x0063,
        class: [0xFF, 0, 0],
        maker: "TEST".to_owned(),
        model: "SAM_V reader".to_owned(),
        serial: "EMU0000001".to_owned(),
        attributes: 0x80,
        power: 100,
        interfaces: vec![Interface {
            class: [0xFF, 0, 0],
            endpoints: endpoints.iter().map(|at| Endpoint::bulk(*at)).collect(),
            ..Interface::default()
        }],
    }
}

fn hid_description() -> Description {
    let report = vec![
        // Vendor page, one collection, 64 bytes in, 64 bytes out, no report ids.
        0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95,
        0x40, 0x09, 0x02, 0x81, 0x02, 0x95, 0x40, 0x09, 0x03, 0x91, 0x02, 0xC0,
    ];
    hid::description(hid::Introduction {
        vendor: 0x10C4,
        product: 0x0007,
        maker: "TEST",
        model: "MR-300",
        boot: [0, 0],
        report,
        report_bytes: REPORT_BYTES,
        has_out: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_runs_from_the_length_on() {
        // Length 2, command 0D, one byte.
        assert_eq!(sum(&[2, 0, 0x0D, 0xFF]), [0x0E, 0x01]);
        assert_eq!(
            sum(&[0xFF; 300]),
            (300_u32 * 255 % 65_536).to_le_bytes()[..2]
        );
    }
}
