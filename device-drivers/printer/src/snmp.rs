//! The little SNMP (v1 and v2c, GET only) with which a printer is asked how it is, past any spooler
//! (`device-protocols.md` §6.3; RFC 1157, RFC 3416, RFC 2790).
//!
//! Encoding and decoding are bounded functions of bytes; an answer is taken from the asked address
//! and under the asked number only. Nothing is ever set.

mod ber;

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use kiosk_device::{Action, Fault, Status, Supply, WireError, clock, wire};

pub use self::ber::{Response, SnmpError, Value};
use crate::ipp::reasons;

/// `hrPrinterStatus` of the first device.
const PRINTER_STATUS: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 3, 5, 1, 1, 1];
/// `hrPrinterDetectedErrorState` of the first device.
const ERROR_STATE: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 3, 5, 1, 2, 1];
/// `prtMarkerSuppliesMaxCapacity` of the first supply.
const SUPPLY_CAPACITY: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 11, 1, 1, 8, 1, 1];
/// `prtMarkerSuppliesLevel` of the first supply.
const SUPPLY_LEVEL: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 11, 1, 1, 9, 1, 1];
/// What every printer knows.
const QUESTIONS_MIN: &[&[u32]] = &[PRINTER_STATUS, ERROR_STATE];
/// What most know; under version 1 one unknown object spoils the whole answer.
const QUESTIONS: &[&[u32]] = &[PRINTER_STATUS, ERROR_STATE, SUPPLY_CAPACITY, SUPPLY_LEVEL];

/// Bits of the error state from the most significant of the first byte (RFC 2790), as IPP keywords.
const ERRORS: [&str; 16] = [
    "media-low",
    "media-empty",
    "toner-low",
    "toner-empty",
    "door-open",
    "media-jam",
    "offline",
    "service-requested",
    "input-tray-missing",
    "output-tray-missing",
    "marker-supply-missing",
    "output-area-almost-full",
    "output-area-full",
    // One of several trays: the bit for no paper says when none is left.
    "media-low",
    "maintenance-overdue",
    "",
];
const STATUS_PRINTING: i64 = 4;
const STATUS_WARM_UP: i64 = 5;

/// Port of SNMP agents.
const PORT_DEFAULT: u16 = 161;
/// Longest answer: one datagram.
const DATAGRAM_BYTES_MAX: usize = 1500;
/// Wait for one answer. Chosen: an agent on the same network answers in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_millis(700);
/// How often a question is sent: datagrams get lost.
const TRIES: u32 = 2;
/// Strange datagrams that are passed over for one question. Chosen.
const STRANGERS_MAX: u32 = 8;

/// Protocol version; the numbers stand in the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Version 1.
    V1 = 0,
    /// Version 2 with communities.
    V2c = 1,
}

/// One printer's agent.
#[derive(Clone)]
pub(crate) struct Agent {
    host: String,
    port: u16,
    community: String,
    version: Version,
    next_request: i32,
}

/// How the printer is, from its own mouth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// What it says of itself.
    pub status: Status,
    /// Pages are on their way.
    pub is_busy: bool,
}

impl Agent {
    /// Takes `snmp:HOST` or `snmp:HOST:PORT` apart; the host is bracketed when it is an IPv6 address.
    pub(crate) fn parse(text: &str, community: &str) -> Option<Self> {
        let schemes = [("snmp:", PORT_DEFAULT)];
        let target = kiosk_device::http::Target::parse(text, &schemes)?;
        (target.path == "/" && !text.ends_with('/')).then(|| Self {
            host: target.host,
            port: target.port,
            community: community.to_owned(),
            version: Version::V2c,
            next_request: 1,
        })
    }

    /// Asks the printer how it is.
    ///
    /// # Errors
    /// `device.not-there` or `device.silent`; `printer.bad-reply` when it knows of no printer.
    pub(crate) fn ask(&mut self) -> Result<Testimony, Fault> {
        let response = match self.get(QUESTIONS) {
            Err(WireError::TimedOut) if self.version == Version::V2c => {
                // Old agents drop what they do not understand.
                self.version = Version::V1;
                let result = self.get(QUESTIONS_MIN);
                if result.is_err() {
                    self.version = Version::V2c;
                }
                result
            }
            result => result,
        }?;
        testimony(&response).ok_or_else(|| {
            Fault::new(
                "printer.bad-reply",
                Action::Maintenance,
                "the SNMP agent knows no printer",
            )
        })
    }

    fn get(&mut self, questions: &[&[u32]]) -> Result<Response, WireError> {
        let questions = match self.version {
            Version::V1 => QUESTIONS_MIN,
            Version::V2c => questions,
        };
        let addresses = wire::resolve(&self.host, self.port);
        let address = addresses
            .and_then(|found| found.first().copied())
            .ok_or_else(|| WireError::NotThere {
                port: format!("snmp:{}", self.host),
            })?;
        let own: IpAddr = if address.is_ipv4() {
            [0; 4].into()
        } else {
            [0_u16; 8].into()
        };
        let socket = UdpSocket::bind((own, 0)).map_err(WireError::Io)?;
        // From now on the socket hears this printer and nobody else.
        socket.connect(address).map_err(WireError::Io)?;
        for _ in 0..TRIES {
            let id = self.next_request;
            self.next_request = id % 0x7FFF_FFFF + 1;
            let request = ber::get(self.version, &self.community, id, questions);
            if let Err(error) = socket.send(&request) {
                return Err(refused(error, &self.host));
            }
            if let Some(response) = await_response(&socket, id, &self.host)? {
                return Ok(response);
            }
        }
        Err(WireError::TimedOut)
    }
}

/// The answer under this number; `None` when none came in time.
fn await_response(socket: &UdpSocket, id: i32, host: &str) -> Result<Option<Response>, WireError> {
    let deadline = clock::now() + ANSWER_LIMIT;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    for _ in 0..STRANGERS_MAX {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            break;
        }
        // A socket takes a limit of zero for "no limit".
        let limit = left.max(Duration::from_millis(1));
        socket
            .set_read_timeout(Some(limit))
            .map_err(WireError::Io)?;
        match socket.recv(&mut buffer) {
            Ok(count) => {
                let response = Response::parse(buffer.get(..count).unwrap_or_default());
                if let Ok(response) = response
                    && response.request_id == i64::from(id)
                {
                    return Ok(Some(response));
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock
                        | std::io::ErrorKind::TimedOut
                        | std::io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(refused(error, host)),
        }
    }
    Ok(None)
}

fn refused(error: std::io::Error, host: &str) -> WireError {
    if error.kind() == std::io::ErrorKind::ConnectionRefused {
        WireError::NotThere {
            port: format!("snmp:{host}"),
        }
    } else {
        WireError::Io(error)
    }
}

/// What an answer says about a printer; `None` when it says nothing about one.
pub fn testimony(response: &Response) -> Option<Testimony> {
    let errors = match response.value(ERROR_STATE)? {
        Value::Octets(bytes) => bytes.as_slice(),
        Value::Integer(_) | Value::Missing | Value::Other => return None,
    };
    let is_set = |bit: usize| {
        errors
            .get(bit / 8)
            .is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
    };
    let keywords: Vec<&str> = ERRORS
        .iter()
        .enumerate()
        .filter(|(bit, keyword)| is_set(*bit) && !keyword.is_empty())
        .map(|(_, keyword)| *keyword)
        .collect();
    let number = |object| match response.value(object) {
        Some(Value::Integer(number)) => Some(*number),
        Some(Value::Octets(_) | Value::Missing | Value::Other) | None => None,
    };
    let mut status = reasons::judge(false, &keywords);
    if let Some(percent) = percent(number(SUPPLY_LEVEL), number(SUPPLY_CAPACITY)) {
        let supply = reasons::supply_at(percent, reasons::TONER_LOW_PERCENT);
        reasons::worsen(&mut status.toner, supply);
    } else if status.toner == Supply::Unknown && status.paper == Supply::Unknown {
        tracing::trace!("the SNMP agent tells no level");
    }
    for keyword in ["service-requested", "maintenance-overdue"] {
        if keywords.contains(&keyword) {
            status.readings.insert(keyword.to_owned(), "yes".to_owned());
        }
    }
    Some(Testimony {
        status,
        is_busy: matches!(
            number(PRINTER_STATUS),
            Some(STATUS_PRINTING | STATUS_WARM_UP)
        ),
    })
}

/// Negative numbers mean that the printer does not know (RFC 3805).
fn percent(level: Option<i64>, capacity: Option<i64>) -> Option<i32> {
    let (level, capacity) = (level?, capacity?);
    if level < 0 || capacity <= 0 {
        return None;
    }
    i32::try_from(level.saturating_mul(100) / capacity).ok()
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The community is a kind of password.
        f.debug_struct("Agent")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kiosk_device::DeviceState;

    use super::*;

    fn response(errors: &[u8], status: i64, supply: Option<(i64, i64)>) -> Response {
        let mut values = vec![
            (PRINTER_STATUS.to_vec(), Value::Integer(status)),
            (ERROR_STATE.to_vec(), Value::Octets(errors.to_vec())),
        ];
        if let Some((level, capacity)) = supply {
            values.push((SUPPLY_LEVEL.to_vec(), Value::Integer(level)));
            values.push((SUPPLY_CAPACITY.to_vec(), Value::Integer(capacity)));
        }
        Response {
            request_id: 1,
            error_status: 0,
            values,
        }
    }

    fn check(errors: &[u8], codes: &[&str]) {
        let told = testimony(&response(errors, 3, None)).unwrap();
        let found: Vec<&str> = told.status.faults.iter().map(|fault| fault.code).collect();
        assert_eq!(found, codes, "{errors:02X?}");
    }

    #[test]
    fn every_bit_of_the_error_state_has_its_meaning() {
        check(&[], &[]);
        check(&[0x00, 0x00], &[]);
        check(&[0x80], &[]);
        check(&[0x40], &["printer.media-empty"]);
        check(&[0x20], &[]);
        check(&[0x10], &["printer.toner-empty"]);
        check(&[0x08], &["printer.cover-open"]);
        check(&[0x04], &["printer.media-jam"]);
        check(&[0x02], &["printer.offline"]);
        check(&[0x01], &[]);
        check(&[0, 0x80], &["printer.input-tray-missing"]);
        check(&[0, 0x40], &["printer.output-tray-missing"]);
        check(&[0, 0x20], &["printer.toner-missing"]);
        check(&[0, 0x10], &[]);
        check(&[0, 0x08], &["printer.output-full"]);
        check(&[0, 0x04], &[]);
        check(&[0, 0x03], &[]);
        check(
            &[0x4C],
            &[
                "printer.media-jam",
                "printer.cover-open",
                "printer.media-empty",
            ],
        );
        let told = testimony(&response(&[0x81, 0x02], 4, Some((5, 100)))).unwrap();
        assert_eq!(
            (told.status.paper, told.status.toner, told.status.state),
            (Supply::Low, Supply::Low, DeviceState::Online)
        );
        assert!(told.is_busy);
        assert_eq!(told.status.readings.len(), 2);
    }

    #[test]
    fn levels_are_percentages_and_unknown_ones_say_nothing() {
        let toner = |level, capacity| {
            testimony(&response(&[0], 3, Some((level, capacity))))
                .unwrap()
                .status
                .toner
        };
        assert_eq!(toner(80, 100), Supply::Full);
        assert_eq!(toner(200, 2000), Supply::Low);
        assert_eq!(toner(-3, 100), Supply::Unknown);
        assert_eq!(toner(50, -2), Supply::Unknown);
        assert_eq!(toner(i64::MAX, 1), Supply::Unknown);
    }

    #[test]
    fn an_agent_that_knows_no_printer_is_told_from_a_well_one() {
        let mut without = response(&[0], 3, None);
        without.values.pop();
        assert_eq!(testimony(&without), None);
        without.values.push((ERROR_STATE.to_vec(), Value::Missing));
        assert_eq!(testimony(&without), None);
    }

    #[test]
    fn addresses_are_taken_apart_and_nonsense_is_refused() {
        let parse = |text: &str| Agent::parse(text, "public").map(|agent| (agent.host, agent.port));
        assert_eq!(parse("snmp:192.0.2.1"), Some(("192.0.2.1".to_owned(), 161)));
        assert_eq!(
            parse("snmp:printer:1161"),
            Some(("printer".to_owned(), 1161))
        );
        assert_eq!(parse("snmp:[::1]:162"), Some(("::1".to_owned(), 162)));
        for text in ["", "snmp:", "snmp:h:0", "http:h", "snmp:h/x", "snmp:h/"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_closed_port_and_a_silent_one_are_told_apart() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut agent = Agent::parse(&format!("snmp:127.0.0.1:{port}"), "public").unwrap();
        assert_eq!(agent.ask().unwrap_err().code, "device.silent");
        drop(socket);
        assert_eq!(agent.ask().unwrap_err().code, "device.not-there");
    }
}
