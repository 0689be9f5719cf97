//! USB devices that a USB/IP server exports (protocol version 1.1.1, as documented with the Linux
//! kernel), spoken directly: no kernel module, no privileges. One transfer at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Bus, Endpoint, Interface, Setup};
use crate::clock;
use crate::wire::{WireError, at_least_1_ms, broken, connect, is_time_out};

const VERSION: u16 = 0x0111;
const REQUEST_IMPORT: u16 = 0x8003;
const REPLY_IMPORT: u16 = 0x0003;
/// Version, code and status, then what describes the device.
const IMPORT_REPLY_BYTES: usize = 8 + 312;
const HEADER_BYTES: usize = 48;
const SUBMIT: u32 = 1;
const UNLINK: u32 = 2;
const RETURN_SUBMIT: u32 = 3;
const RETURN_UNLINK: u32 = 4;
/// Wait for the server itself, apart from the device behind it. Chosen.
const SERVER_LIMIT: Duration = Duration::from_secs(2);
/// Replies to transfers given up earlier that are passed over. Chosen.
const STRAY_REPLIES_MAX: usize = 64;
/// Longest transfer that a server may claim to have done.
const TRANSFER_BYTES_MAX: usize = 1024 * 1024;
/// `EPIPE`, `ENODEV`, `ESHUTDOWN`, `EPROTO` of Linux, as the protocol carries them.
const STALLED: i32 = -32;
const VANISHED: [i32; 3] = [-19, -108, -71];

/// An imported device.
pub(crate) struct Network {
    stream: TcpStream,
    device_id: u32,
    sequence: u32,
    /// Bytes received and not yet used; at most one reply and one reading.
    input: Vec<u8>,
}

/// One reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A transfer ended.
    Submit {
        /// Which one.
        sequence: u32,
        /// Zero, or a negative error number of Linux.
        status: i32,
        /// Bytes moved.
        length: usize,
    },
    /// A transfer was given up.
    Unlink {
        /// The request to give it up.
        sequence: u32,
    },
}

/// The reply that begins `bytes`; `None` while it is incomplete.
///
/// # Errors
/// [`WireError::BadDescriptor`] when it is no reply.
pub fn parse_reply(bytes: &[u8]) -> Result<Option<Reply>, WireError> {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Ok(None);
    };
    let word = |index: usize| {
        let start = index * 4;
        header
            .get(start..start + 4)
            .and_then(|word| word.try_into().ok())
            .map_or(0, u32::from_be_bytes)
    };
    let sequence = word(1);
    match word(0) {
        RETURN_SUBMIT => {
            let length = usize::try_from(word(6)).unwrap_or(usize::MAX);
            if length > TRANSFER_BYTES_MAX {
                return Err(WireError::BadDescriptor);
            }
            Ok(Some(Reply::Submit {
                sequence,
                status: word(5).cast_signed(),
                length,
            }))
        }
        RETURN_UNLINK => Ok(Some(Reply::Unlink { sequence })),
        _ => Err(WireError::BadDescriptor),
    }
}

/// What is asked of one endpoint.
struct Request<'a> {
    endpoint: u8,
    is_in: bool,
    interval: u32,
    setup: [u8; 8],
    bytes: &'a [u8],
    length: usize,
}

impl Network {
    /// Imports the device with this bus id.
    pub(crate) fn import(
        name: &str,
        host: &str,
        port: u16,
        bus_id: &str,
    ) -> Result<Self, WireError> {
        let mut stream = connect(host, port)?;
        let mut request = Vec::with_capacity(40);
        request.extend(VERSION.to_be_bytes());
        request.extend(REQUEST_IMPORT.to_be_bytes());
        request.extend([0; 4]);
        request.extend(bus_id.bytes());
        request.resize(40, 0);
        stream
            .set_write_timeout(Some(SERVER_LIMIT))
            .map_err(WireError::Io)?;
        stream.write_all(&request).map_err(broken)?;
        let mut this = Self {
            stream,
            device_id: 0,
            sequence: 0,
            input: Vec::new(),
        };
        if !this.fill(8, SERVER_LIMIT)? {
            return Err(WireError::TimedOut);
        }
        let is_import = this.input.get(2..4) == Some(&REPLY_IMPORT.to_be_bytes());
        if !is_import || this.input.get(4..8) != Some(&[0; 4]) {
            return Err(WireError::NotThere {
                port: name.to_owned(),
            });
        }
        if !this.fill(IMPORT_REPLY_BYTES, SERVER_LIMIT)? {
            return Err(WireError::TimedOut);
        }
        let numbers = this.input.get(8 + 288..8 + 296).unwrap_or_default();
        if let [_, _, bus_high, bus_low, _, _, device_high, device_low] = numbers {
            this.device_id = u32::from_be_bytes([*bus_high, *bus_low, *device_high, *device_low]);
        }
        this.input.drain(..IMPORT_REPLY_BYTES);
        Ok(this)
    }

    /// Reads until `count` bytes are there; false when the limit passed first.
    fn fill(&mut self, count: usize, limit: Duration) -> Result<bool, WireError> {
        let deadline = clock::now() + limit;
        let mut buffer = [0; 4096];
        while self.input.len() < count {
            let left = deadline.saturating_duration_since(clock::now());
            self.stream
                .set_read_timeout(Some(at_least_1_ms(left)))
                .map_err(WireError::Io)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(WireError::Gone),
                Ok(count) => self
                    .input
                    .extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if is_time_out(&error) => {}
                Err(error) => return Err(broken(error)),
            }
            if self.input.len() < count && clock::now() >= deadline {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn header(&mut self, command: u32, endpoint: u8, is_in: bool) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = Vec::with_capacity(HEADER_BYTES);
        for word in [
            command,
            self.sequence,
            self.device_id,
            u32::from(is_in),
            u32::from(endpoint & 0x0F),
        ] {
            header.extend(word.to_be_bytes());
        }
        header
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<u32, WireError> {
        let mut message = self.header(SUBMIT, request.endpoint, request.is_in);
        let length = u32::try_from(request.length).unwrap_or(u32::MAX);
        for word in [0, length, 0, u32::MAX, request.interval] {
            message.extend(word.to_be_bytes());
        }
        message.extend(request.setup);
        message.extend_from_slice(request.bytes);
        self.stream.write_all(&message).map_err(broken)?;
        Ok(self.sequence)
    }

    /// The end of the transfer `sequence`: bytes moved, with the bytes at the front of the input
    /// when they came in. `None`: the limit passed.
    fn wait(
        &mut self,
        sequence: u32,
        is_in: bool,
        limit: Duration,
    ) -> Result<Option<usize>, WireError> {
        let deadline = clock::now() + limit;
        for _ in 0..STRAY_REPLIES_MAX {
            let left = deadline.saturating_duration_since(clock::now());
            if !self.fill(HEADER_BYTES, left)? {
                return Ok(None);
            }
            let reply = parse_reply(&self.input)?.ok_or(WireError::Gone)?;
            self.input.drain(..HEADER_BYTES);
            if let Reply::Submit {
                sequence: ended,
                status,
                length,
            } = reply
            {
                let carried = if is_in { length } else { 0 };
                if !self.fill(carried, SERVER_LIMIT)? {
                    return Err(WireError::Gone);
                }
                if ended == sequence {
                    return match status {
                        0 => Ok(Some(length)),
                        STALLED => Err(WireError::Stalled),
                        status if VANISHED.contains(&status) => Err(WireError::Gone),
                        status => Err(WireError::Io(std::io::Error::from_raw_os_error(
                            status.saturating_neg(),
                        ))),
                    };
                }
                self.input.drain(..carried);
            }
        }
        Err(WireError::BadDescriptor)
    }

    /// Gives a transfer up; it may end well all the same, in the last moment.
    fn unlink(&mut self, sequence: u32, request: &Request<'_>) -> Result<Option<usize>, WireError> {
        let mut message = self.header(UNLINK, request.endpoint, request.is_in);
        let unlink = self.sequence;
        message.extend(sequence.to_be_bytes());
        message.resize(HEADER_BYTES, 0);
        self.stream.write_all(&message).map_err(broken)?;
        if !self.fill(HEADER_BYTES, SERVER_LIMIT)? {
            return Err(WireError::Gone);
        }
        match parse_reply(&self.input)? {
            Some(Reply::Unlink { sequence }) if sequence == unlink => {
                self.input.drain(..HEADER_BYTES);
                Ok(None)
            }
            Some(_) => self.wait(sequence, request.is_in, SERVER_LIMIT),
            None => Err(WireError::Gone),
        }
    }

    /// Carries one transfer to its end; `None` when the limit passed.
    fn transfer(
        &mut self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Option<usize>, WireError> {
        let sequence = self.submit(request)?;
        match self.wait(sequence, request.is_in, limit)? {
            Some(count) => Ok(Some(count)),
            None => self.unlink(sequence, request),
        }
    }

    /// Moves the data of a finished transfer into `buffer`.
    fn take(&mut self, count: usize, buffer: &mut [u8]) -> usize {
        for (to, from) in buffer.iter_mut().zip(&self.input) {
            *to = *from;
        }
        self.input.drain(..count.min(self.input.len()));
        count.min(buffer.len())
    }

    fn control(setup: Setup, length: usize) -> [u8; 8] {
        let [value_low, value_high] = setup.value.to_le_bytes();
        let [index_low, index_high] = setup.index.to_le_bytes();
        let [low, high] = u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
        [
            setup.request_type,
            setup.request,
            value_low,
            value_high,
            index_low,
            index_high,
            low,
            high,
        ]
    }
}

impl Bus for Network {
    fn control_read(
        &mut self,
        setup: Setup,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let request = Request {
            endpoint: 0,
            is_in: true,
            interval: 0,
            setup: Self::control(setup, buffer.len()),
            bytes: &[],
            length: buffer.len(),
        };
        let count = self.transfer(&request, limit)?.ok_or(WireError::TimedOut)?;
        Ok(self.take(count, buffer))
    }

    fn control_write(
        &mut self,
        setup: Setup,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<(), WireError> {
        let request = Request {
            endpoint: 0,
            is_in: false,
            interval: 0,
            setup: Self::control(setup, bytes.len()),
            bytes,
            length: bytes.len(),
        };
        self.transfer(&request, limit)?
            .map(drop)
            .ok_or(WireError::TimedOut)
    }

    fn claim(&mut self, value: u8, interface: &Interface) -> Result<(), WireError> {
        let set = |request_type, request, value, index| Setup {
            request_type,
            request,
            value,
            index,
        };
        let configuration = set(0x00, 0x09, u16::from(value), 0);
        self.control_write(configuration, &[], SERVER_LIMIT)?;
        if interface.alternate != 0 {
            let number = u16::from(interface.number);
            let setting = set(0x01, 0x0B, u16::from(interface.alternate), number);
            self.control_write(setting, &[], SERVER_LIMIT)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        endpoint: Endpoint,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let request = Request {
            endpoint: endpoint.address,
            is_in: false,
            interval: 1,
            setup: [0; 8],
            bytes,
            length: bytes.len(),
        };
        self.transfer(&request, limit)?.ok_or(WireError::TimedOut)
    }

    fn receive(
        &mut self,
        endpoint: Endpoint,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let request = Request {
            endpoint: endpoint.address,
            is_in: true,
            interval: 1,
            setup: [0; 8],
            bytes: &[],
            length: buffer.len(),
        };
        let count = self.transfer(&request, limit)?.unwrap_or(0);
        Ok(self.take(count, buffer))
    }

    fn clear_halt(&mut self, endpoint: u8) -> Result<(), WireError> {
        // CLEAR_FEATURE(ENDPOINT_HALT), USB 2.0 §9.4.1.
        let setup = Setup {
            request_type: 0x02,
            request: 0x01,
            value: 0,
            index: u16::from(endpoint),
        };
        self.control_write(setup, &[], SERVER_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(words: &[u32]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    #[test]
    fn replies_are_told_apart_and_bounded() {
        let ended = header(&[3, 7, 0, 0, 0, STALLED.cast_unsigned(), 5]);
        let expect = Reply::Submit {
            sequence: 7,
            status: STALLED,
            length: 5,
        };
        assert_eq!(parse_reply(&ended).unwrap(), Some(expect));
        assert_eq!(parse_reply(&ended[..47]).unwrap(), None);
        let given_up = header(&[4, 8]);
        assert_eq!(
            parse_reply(&given_up).unwrap(),
            Some(Reply::Unlink { sequence: 8 })
        );
        assert!(parse_reply(&header(&[3, 7, 0, 0, 0, 0, u32::MAX])).is_err());
        assert!(parse_reply(&header(&[9])).is_err());
    }
}
