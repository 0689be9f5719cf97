//! A raw USB/IP host without a kernel: what goes in and out are the bytes of the protocol.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::common::{connect, receive};

/// One attached device.
pub(crate) struct Host {
    stream: TcpStream,
    device: u32,
    sequence: u32,
    /// What the import said: 312 bytes.
    pub(crate) record: Vec<u8>,
}

/// One reply of the device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) command: u32,
    pub(crate) sequence: u32,
    pub(crate) status: i32,
    pub(crate) actual: u32,
    pub(crate) data: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Address and bus id of `usbip:HOST:PORT/BUSID`.
pub(crate) fn split(port: &str) -> (&str, &str) {
    port.strip_prefix("usbip:")
        .unwrap()
        .split_once('/')
        .unwrap()
}

/// Bus ids on the list.
pub(crate) fn list(address: &str) -> Vec<String> {
    let mut stream = connect(address);
    stream.write_all(&[1, 0x11, 0x80, 5, 0, 0, 0, 0]).unwrap();
    let head = receive(&mut stream, 12);
    assert_eq!(head[..8], [1, 0x11, 0, 5, 0, 0, 0, 0]);
    (0..word(&head, 8))
        .map(|_| {
            let record = receive(&mut stream, 312);
            receive(&mut stream, 4 * usize::from(record[311]));
            let end = record[256..288].iter().position(|b| *b == 0).unwrap();
            String::from_utf8(record[256..256 + end].to_vec()).unwrap()
        })
        .collect()
}

/// Asks for a device: its host, or the status of the refusal.
pub(crate) fn import(port: &str) -> Result<Host, u32> {
    let (address, bus_id) = split(port);
    let mut stream = connect(address);
    let mut request = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
    request.extend(bus_id.as_bytes());
    request.resize(40, 0);
    stream.write_all(&request).unwrap();
    let head = receive(&mut stream, 8);
    assert_eq!(head[..4], [1, 0x11, 0, 3]);
    if word(&head, 4) != 0 {
        return Err(word(&head, 4));
    }
    let record = receive(&mut stream, 312);
    Ok(Host {
        device: word(&record, 288) << 16 | word(&record, 292),
        stream,
        sequence: 0,
        record,
    })
}

impl Host {
    /// Sends a transfer and does not wait for its end; its number.
    pub(crate) fn submit(&mut self, endpoint: u8, setup: [u8; 8], room: u32, out: &[u8]) -> u32 {
        self.sequence += 1;
        let is_in = endpoint & 0x80 != 0 || endpoint == 0 && setup[0] & 0x80 != 0;
        let length = if is_in {
            room
        } else {
            u32::try_from(out.len()).unwrap()
        };
        let mut message = Vec::new();
        for word in [
            1,
            self.sequence,
            self.device,
            u32::from(is_in),
            u32::from(endpoint & 0x7F),
            0,
            length,
            0,
            0,
            0,
        ] {
            message.extend(word.to_be_bytes());
        }
        message.extend(setup);
        message.extend(out);
        self.stream.write_all(&message).unwrap();
        self.sequence
    }

    pub(crate) fn unlink(&mut self, target: u32) -> u32 {
        self.sequence += 1;
        let mut message = Vec::new();
        for word in [2, self.sequence, self.device, 0, 0, target] {
            message.extend(word.to_be_bytes());
        }
        message.resize(48, 0);
        self.stream.write_all(&message).unwrap();
        self.sequence
    }

    /// The next reply; of an IN transfer with its data.
    pub(crate) fn reply(&mut self, is_in: bool) -> Reply {
        let header = receive(&mut self.stream, 48);
        let actual = word(&header, 24);
        let command = word(&header, 0);
        let data = if is_in && command == 3 {
            receive(&mut self.stream, actual as usize)
        } else {
            Vec::new()
        };
        Reply {
            command,
            sequence: word(&header, 4),
            status: word(&header, 20).cast_signed(),
            actual,
            data,
        }
    }

    /// True when no reply comes for a while.
    pub(crate) fn is_silent(&mut self) -> bool {
        let time = std::time::Duration::from_millis(80);
        self.stream.set_read_timeout(Some(time)).unwrap();
        let is_silent = self.stream.peek(&mut [0]).is_err();
        let time = std::time::Duration::from_secs(5);
        self.stream.set_read_timeout(Some(time)).unwrap();
        is_silent
    }

    /// True when the device is gone: the connection has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        let mut rest = Vec::new();
        let _ended = self.stream.read_to_end(&mut rest);
        rest.is_empty()
    }

    /// The data of an IN transfer that ends while an OUT request is answered, in whatever order.
    pub(crate) fn data_of(&mut self, transfer: u32) -> Vec<u8> {
        let mut data = Vec::new();
        for _ in 0..2 {
            let header = receive(&mut self.stream, 48);
            if word(&header, 4) == transfer {
                data = receive(&mut self.stream, word(&header, 24) as usize);
            }
        }
        data
    }

    /// A control request; the data, or the error.
    pub(crate) fn control(&mut self, setup: [u8; 8], out: &[u8]) -> Result<Vec<u8>, i32> {
        let room = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
        let sequence = self.submit(0, setup, room, out);
        let reply = self.reply(setup[0] & 0x80 != 0);
        assert_eq!((reply.command, reply.sequence), (3, sequence));
        if reply.status == 0 {
            Ok(reply.data)
        } else {
            Err(reply.status)
        }
    }

    /// An OUT transfer that must go through.
    pub(crate) fn write(&mut self, endpoint: u8, bytes: &[u8]) {
        let sequence = self.submit(endpoint, [0; 8], 0, bytes);
        let reply = self.reply(false);
        assert_eq!((reply.sequence, reply.status), (sequence, 0));
        assert_eq!(reply.actual as usize, bytes.len());
    }

    /// An IN transfer; its data, or the error.
    pub(crate) fn read(&mut self, endpoint: u8, room: u32) -> Result<Vec<u8>, i32> {
        let sequence = self.submit(endpoint, [0; 8], room, &[]);
        let reply = self.reply(true);
        assert_eq!(reply.sequence, sequence);
        if reply.status == 0 {
            Ok(reply.data)
        } else {
            Err(reply.status)
        }
    }
}
