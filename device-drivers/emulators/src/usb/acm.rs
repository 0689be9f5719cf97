//! A device on USB that is spoken to as if by a line of bytes: a serial one by the abstract control model of the communication device class (CDC 1.2,
//! PSTN 1.2), any other by its reports.
//!
//! Line coding and control lines that the host sets can be looked at; they change nothing, as in most
//! devices of this kind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::description::{Description, Endpoint, Interface, Setup};
use super::{Answer, UsbBus, UsbPort};

/// pid.codes test ids: no maker's.
const VENDOR: u16 = 0x1209;
const PRODUCT: u16 = 0x0001;
const NOTIFICATIONS: u8 = 0x82;
const OUT: u8 = 0x01;
const IN: u8 = 0x81;
/// Longest wait for a host that does not read. Chosen: as for a serial line.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);
/// Bytes the device keeps of what the host sends. Chosen: as a terminal's buffer.
const INBOX_BYTES_MAX: usize = 64 * 1024;

/// What the host has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LineState {
    /// Symbols a second.
    pub(crate) baud: u32,
    /// 0: one stop bit, 1: one and a half, 2: two.
    pub(crate) stop_bits: u8,
    /// 0: none, 1: odd, 2: even, 3: mark, 4: space.
    pub(crate) parity: u8,
    pub(crate) data_bits: u8,
    pub(crate) dtr: bool,
    pub(crate) rts: bool,
}

impl Default for LineState {
    fn default() -> Self {
        Self {
            baud: 9600,
            stop_bits: 0,
            parity: 0,
            data_bits: 8,
            dtr: false,
            rts: false,
        }
    }
}

impl LineState {
    fn coding(self) -> Vec<u8> {
        let mut bytes = self.baud.to_le_bytes().to_vec();
        bytes.extend([self.stop_bits, self.parity, self.data_bits]);
        bytes
    }
}

/// One device's end of such a line.
#[derive(Debug)]
pub(crate) struct UsbLine {
    pub(crate) port: UsbPort,
    inbox: Vec<u8>,
    host: Option<u64>,
    /// Where the host can set the line, which reports do not have.
    line: Option<SharedLine>,
}

/// What the host has set, for whoever wants to look.
#[derive(Debug, Clone)]
pub(crate) struct SharedLine(Arc<Mutex<LineState>>);

impl SharedLine {
    pub(crate) fn get(&self) -> LineState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut LineState)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl UsbLine {
    /// Plugs a serial device of that name into the bus.
    pub(crate) fn open(bus: &UsbBus, model: &str) -> Self {
        let line = SharedLine(Arc::default());
        let shared = line.clone();
        let port = bus.export(
            description(model),
            Box::new(move |setup, data| control(&shared, setup, data)),
        );
        Self {
            line: Some(line),
            ..Self::over(port)
        }
    }

    /// A line over reports: what is sent in one go is one report.
    pub(crate) fn over(port: UsbPort) -> Self {
        Self {
            port,
            inbox: Vec::new(),
            host: None,
            line: None,
        }
    }

    pub(crate) fn line(&self) -> Option<SharedLine> {
        self.line.clone()
    }

    pub(crate) fn cut(&mut self) {
        self.inbox.clear();
        self.port.cut();
    }

    /// Waits up to `wait` for bytes; 0 when none came.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> usize {
        let host = self.port.host();
        if host != self.host {
            // What another host left half-said is forgotten.
            self.host = host;
            self.inbox.clear();
        }
        if self.inbox.is_empty()
            && let Some((_, bytes)) = self.port.receive(wait)
        {
            self.inbox.extend(bytes.iter().take(INBOX_BYTES_MAX));
        }
        let count = self.inbox.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.inbox[..count]);
        self.inbox.drain(..count);
        count
    }

    pub(crate) fn stall(&self) {
        self.port.stall(IN);
    }

    /// Sends bytes; what a host does not fetch in time is late, and lost when too much waits.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        self.port.send(IN, bytes) && self.port.drain(IN, DRAIN_WITHIN)
    }
}

fn description(model: &str) -> Description {
    Description {
        vendor: VENDOR,
        product: PRODUCT,
        release: 0x0100,
        class: [2, 0, 0],
        maker: "TEST".to_owned(),
        model: model.to_owned(),
        serial: "EMU0000001".to_owned(),
        attributes: 0x80,
        power: 50,
        interfaces: vec![
            Interface {
                class: [2, 2, 1],
                // Header, call management, control model (line coding), union of 0 and 1.
                extra: vec![
                    5, 0x24, 0x00, 0x10, 0x01, 5, 0x24, 0x01, 0x00, 0x01, 4, 0x24, 0x02, 0x02, 5,
                    0x24, 0x06, 0x00, 0x01,
                ],
                endpoints: vec![Endpoint::interrupt(NOTIFICATIONS, 8)],
                ..Interface::default()
            },
            Interface {
                class: [0x0A, 0, 0],
                endpoints: vec![Endpoint::bulk(OUT), Endpoint::bulk(IN)],
                ..Interface::default()
            },
        ],
    }
}

fn control(line: &SharedLine, setup: Setup, data: &[u8]) -> Answer {
    match (setup.request_type, setup.request, data) {
        // SET_LINE_CODING.
        (0x21, 0x20, [a, b, c, d, stop_bits, parity, data_bits]) => line.set(|line| {
            line.baud = u32::from_le_bytes([*a, *b, *c, *d]);
            line.stop_bits = *stop_bits;
            line.parity = *parity;
            line.data_bits = *data_bits;
        }),
        // GET_LINE_CODING.
        (0xA1, 0x21, []) => return Answer::Data(line.get().coding()),
        // SET_CONTROL_LINE_STATE.
        (0x21, 0x22, []) => line.set(|line| {
            line.dtr = setup.value & 1 != 0;
            line.rts = setup.value & 2 != 0;
        }),
        // SEND_BREAK.
        (0x21, 0x23, []) => {}
        _ => return Answer::Refuse,
    }
    Answer::Data(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_coding_and_control_lines_are_kept() {
        let line = SharedLine(Arc::default());
        let setup = |request_type, request, value| Setup {
            request_type,
            request,
            value,
            index: 0,
            length: 7,
        };
        let coding = [0x00, 0xC2, 0x01, 0x00, 0, 2, 8];
        assert!(matches!(
            control(&line, setup(0x21, 0x20, 0), &coding),
            Answer::Data(_)
        ));
        control(&line, setup(0x21, 0x22, 3), &[]);
        let state = line.get();
        assert_eq!((state.baud, state.parity, state.dtr), (115_200, 2, true));
        let Answer::Data(told) = control(&line, setup(0xA1, 0x21, 0), &[]) else {
            panic!("refused");
        };
        assert_eq!(told, coding);
        assert!(matches!(
            control(&line, setup(0x21, 0x20, 0), &[1]),
            Answer::Refuse
        ));
    }
}
