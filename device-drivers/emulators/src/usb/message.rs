//! USB/IP version 1.1.1 as bytes: the two operations before a device is attached, and the transfers
//! after it (`Documentation/usb/usbip_protocol.rst` of the Linux kernel).
//!
//! Pure functions; every length is read before anything is reserved for it.

use super::description::Description;

/// Protocol version 1.1.1.
const VERSION: u16 = 0x0111;
/// Bytes of an operation's head: version, code, status.
pub(crate) const OPERATION_BYTES: usize = 8;
/// Bytes of a bus id in an import.
pub(crate) const BUS_ID_BYTES: usize = 32;
/// Bytes of the head of a transfer.
pub(crate) const HEADER_BYTES: usize = 48;
/// Longest transfer. Chosen: a slip of raster in one piece, as a host without a kernel may send it.
pub(crate) const TRANSFER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// `USB_SPEED_FULL` of the kernel.
const SPEED_FULL: u32 = 2;

/// What a host wants before it has a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `OP_REQ_DEVLIST`.
    List,
    /// `OP_REQ_IMPORT`; the bus id follows.
    Import,
}

/// Reads the head of an operation; `None` when it is no request of this version.
pub(crate) fn operation(head: [u8; OPERATION_BYTES]) -> Option<Operation> {
    if u16::from_be_bytes([head[0], head[1]]) != VERSION {
        return None;
    }
    match u16::from_be_bytes([head[2], head[3]]) {
        0x8005 => Some(Operation::List),
        0x8003 => Some(Operation::Import),
        _ => None,
    }
}

/// Why an import is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another host has the device.
    Busy,
    /// No such device, or it is unplugged.
    Absent,
}

impl Refusal {
    /// `ST_DEV_BUSY` and `ST_NODEV`.
    fn status(self) -> u32 {
        match self {
            Self::Busy => 2,
            Self::Absent => 4,
        }
    }
}

fn head(code: u16, status: u32) -> Vec<u8> {
    let mut bytes = VERSION.to_be_bytes().to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend(status.to_be_bytes());
    bytes
}

/// `OP_REP_DEVLIST`.
pub(crate) fn list_reply<'a>(
    devices: impl ExactSizeIterator<Item = (&'a str, u16, &'a Description)>,
) -> Vec<u8> {
    let mut bytes = head(0x0005, 0);
    bytes.extend(
        u32::try_from(devices.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    for (bus_id, number, description) in devices {
        bytes.extend(record(bus_id, number, description));
        for interface in &description.interfaces {
            bytes.extend(interface.class);
            bytes.push(0);
        }
    }
    bytes
}

/// `OP_REP_IMPORT` for a device that is handed over.
pub(crate) fn import_reply(bus_id: &str, number: u16, description: &Description) -> Vec<u8> {
    let mut bytes = head(0x0003, 0);
    bytes.extend(record(bus_id, number, description));
    bytes
}

/// `OP_REP_IMPORT` for a device that is not.
pub(crate) fn import_refusal(refusal: Refusal) -> Vec<u8> {
    head(0x0003, refusal.status())
}

/// `struct usbip_usb_device`: 312 bytes.
fn record(bus_id: &str, number: u16, description: &Description) -> Vec<u8> {
    let text = |text: &str, room: usize| {
        let mut bytes: Vec<u8> = text.bytes().take(room - 1).collect();
        bytes.resize(room, 0);
        bytes
    };
    let mut bytes = text(&format!("/emulated/{bus_id}"), 256);
    bytes.extend(text(bus_id, BUS_ID_BYTES));
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend(u32::from(number).to_be_bytes());
    bytes.extend(SPEED_FULL.to_be_bytes());
    bytes.extend(description.vendor.to_be_bytes());
    bytes.extend(description.product.to_be_bytes());
    bytes.extend(description.release.to_be_bytes());
    bytes.extend(description.class);
    // Configured already, one configuration: as a host exports a device that it has enumerated.
    bytes.extend([1, 1]);
    bytes.push(u8::try_from(description.interfaces.len()).unwrap_or(u8::MAX));
    bytes
}

/// The number by which transfers name a device.
pub(crate) fn device_number(number: u16) -> u32 {
    1 << 16 | u32::from(number)
}

/// One transfer that a host asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submit {
    pub(crate) sequence: u32,
    pub(crate) device: u32,
    pub(crate) is_in: bool,
    /// Endpoint number without direction.
    pub(crate) endpoint: u8,
    /// Bytes that follow (OUT) or that there is room for (IN).
    pub(crate) bytes: usize,
    /// Packets of an isochronous transfer.
    pub(crate) packets: u32,
    pub(crate) setup: [u8; 8],
}

/// What a host wants from a device it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// `USBIP_CMD_SUBMIT`.
    Submit(Submit),
    /// `USBIP_CMD_UNLINK`.
    Unlink {
        sequence: u32,
        /// The transfer to be taken back.
        target: u32,
    },
}

/// Reads the head of a transfer; `None` when nobody can tell what follows it.
pub(crate) fn order(header: &[u8; HEADER_BYTES]) -> Option<Order> {
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let sequence = word(4);
    match word(0) {
        1 => {
            let bytes = usize::try_from(word(24)).ok()?;
            if bytes > TRANSFER_BYTES_MAX || word(12) > 1 || word(16) > 15 {
                return None;
            }
            let mut setup = [0; 8];
            setup.copy_from_slice(&header[40..48]);
            Some(Order::Submit(Submit {
                sequence,
                device: word(8),
                is_in: word(12) == 1,
                endpoint: header[19],
                bytes,
                // Both 0 and FFFFFFFF are sent for transfers that are not isochronous.
                packets: match word(32) {
                    u32::MAX => 0,
                    packets => packets,
                },
                setup,
            }))
        }
        2 => Some(Order::Unlink {
            sequence,
            target: word(20),
        }),
        _ => None,
    }
}

/// How a transfer ended, as the kernel's error numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// `EPIPE`: the endpoint or the request is refused.
    Stalled,
    /// `EOVERFLOW`: a packet did not fit.
    Overflow,
    /// `ENODEV`: the transfer names another device.
    NoDevice,
}

impl Outcome {
    fn number(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Stalled => -32,
            Self::Overflow => -75,
            Self::NoDevice => -19,
        }
    }
}

/// `USBIP_RET_SUBMIT`; `taken` are the bytes the device took (OUT), `data` those it gives (IN).
pub(crate) fn submit_reply(sequence: u32, outcome: Outcome, taken: usize, data: &[u8]) -> Vec<u8> {
    let actual = u32::try_from(taken.max(data.len())).unwrap_or(u32::MAX);
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend(outcome.number().to_be_bytes());
    bytes.extend(actual.to_be_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend(data);
    bytes
}

/// `USBIP_RET_UNLINK`: `ECONNRESET` when the transfer was taken back, 0 when it was over already.
pub(crate) fn unlink_reply(sequence: u32, is_taken_back: bool) -> Vec<u8> {
    let status: i32 = if is_taken_back { -104 } else { 0 };
    let mut bytes = 4_u32.to_be_bytes().to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend(status.to_be_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(patch: &[(usize, u8)]) -> Option<Order> {
        let mut header = [0; HEADER_BYTES];
        header[3] = 1;
        header[7] = 9;
        header[15] = 1;
        header[19] = 1;
        header[27] = 64;
        for (at, byte) in patch {
            header[*at] = *byte;
        }
        order(&header)
    }

    #[test]
    fn a_transfer_is_read_from_its_48_bytes() {
        let Some(Order::Submit(read)) = submit(&[]) else {
            panic!("not a transfer");
        };
        assert_eq!(
            (read.sequence, read.is_in, read.endpoint, read.bytes),
            (9, true, 1, 64)
        );
        assert_eq!(
            submit(&[(3, 2), (23, 5)]),
            Some(Order::Unlink {
                sequence: 9,
                target: 5
            })
        );
    }

    #[test]
    fn a_head_that_makes_no_sense_is_refused() {
        assert_eq!(submit(&[(3, 7)]), None);
        assert_eq!(submit(&[(15, 2)]), None);
        assert_eq!(submit(&[(19, 16)]), None);
        assert_eq!(submit(&[(24, 0x7F)]), None);
        assert_eq!(
            operation([1, 0x11, 0x80, 5, 0, 0, 0, 0]),
            Some(Operation::List)
        );
        assert_eq!(operation([1, 0x11, 0x80, 9, 0, 0, 0, 0]), None);
        assert_eq!(operation([1, 0x06, 0x80, 5, 0, 0, 0, 0]), None);
    }

    #[test]
    fn replies_have_the_length_the_kernel_expects() {
        assert_eq!(submit_reply(1, Outcome::Done, 0, b"abc").len(), 51);
        assert_eq!(
            submit_reply(1, Outcome::Stalled, 0, &[])[20..24],
            [0xFF, 0xFF, 0xFF, 0xE0]
        );
        assert_eq!(unlink_reply(1, true)[20..24], [0xFF, 0xFF, 0xFF, 0x98]);
        assert_eq!(import_refusal(Refusal::Busy), [1, 0x11, 0, 3, 0, 0, 0, 2]);
    }
}
