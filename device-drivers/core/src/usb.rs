//! One USB device with one claimed interface, seen as pipes with deadlines.
//!
//! A device is found by its ids, its serial number or the port it is plugged into, never by its
//! place in a list, and is reached through libusb or through a USB/IP server. Which interface and
//! which endpoints a driver uses is decided from the descriptors. A stalled pipe is cleared before
//! it is reported; a pulled plug is [`WireError::Gone`].

use std::fmt;
use std::time::Duration;

use crate::clock;
use crate::tap::{self, Direction};
use crate::wire::{Wire, WireError, split_authority};

pub mod descriptor;
mod libusb;
mod network;
pub mod sysfs;

pub use descriptor::{Endpoint, Interface, Transfer};
pub use network::parse_reply as parse_network_reply;

/// Wait for one answer on the control pipe while a device is opened. Chosen: USB 2.0 §9.2.6.4
/// allows a device 500 ms for its first data; doubled for a hub and a busy machine.
const CONTROL_LIMIT: Duration = Duration::from_secs(1);
/// Longest configuration descriptor that is read. Chosen: composite devices stay below 1 KiB.
const CONFIGURATION_BYTES_MAX: u16 = 4096;
/// Bytes asked for at once through [`UsbWire`]: a multiple of every packet size.
const READ_BYTES: usize = 4096;
/// Packets thrown away by one [`Wire::discard_input`]. Chosen.
const DISCARD_READS_MAX: usize = 16;
/// Request type of a standard request to the device that reads (USB 2.0 §9.3).
const STANDARD_IN: u8 = 0x80;
const GET_DESCRIPTOR: u8 = 0x06;

/// Where a USB device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsbPort {
    /// On this machine.
    Local {
        /// Vendor and product id; `None` for whatever is plugged into `path`.
        ids: Option<(u16, u16)>,
        /// Its serial number.
        serial: Option<String>,
        /// Its port path as the kernel writes it, `BUS-PORT[.PORT…]`.
        path: Option<String>,
    },
    /// Exported by a USB/IP server.
    Network {
        /// Host name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// Bus id on the server.
        bus_id: String,
    },
}

/// True when the name of a port means a USB device.
pub fn is_usb(port: &str) -> bool {
    port.starts_with("usb:") || port.starts_with("usbip:")
}

impl UsbPort {
    /// Takes a name apart: `usb:VVVV:PPPP`, with `#SERIAL` or `@BUS-PORT.PORT` behind it,
    /// `usb:@BUS-PORT.PORT`, or `usbip:HOST:PORT/BUSID`.
    ///
    /// # Errors
    /// [`WireError::BadName`].
    pub fn parse(name: &str) -> Result<Self, WireError> {
        let parsed = if let Some(rest) = name.strip_prefix("usb:") {
            Self::parse_local(rest)
        } else {
            name.strip_prefix("usbip:").and_then(Self::parse_network)
        };
        parsed.ok_or_else(|| WireError::BadName {
            port: name.to_owned(),
        })
    }

    fn parse_local(rest: &str) -> Option<Self> {
        let (rest, path) = match rest.split_once('@') {
            Some((rest, path)) => (rest, Some(path)),
            None => (rest, None),
        };
        let (ids, serial) = match rest.split_once('#') {
            Some((ids, serial)) => (ids, Some(serial)),
            None => (rest, None),
        };
        let ids = if ids.is_empty() {
            None
        } else {
            let (vendor, product) = ids.split_once(':')?;
            Some((hex_id(vendor)?, hex_id(product)?))
        };
        let is_path = |path: &str| {
            path.contains('-')
                && path
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.')
        };
        let is_serial = |serial: &str| {
            !serial.is_empty()
                && serial.len() <= 126
                && serial.bytes().all(|b| b.is_ascii_graphic())
        };
        let is_sound = (ids.is_some() || (path.is_some() && serial.is_none()))
            && path.is_none_or(is_path)
            && serial.is_none_or(is_serial);
        is_sound.then(|| Self::Local {
            ids,
            serial: serial.map(str::to_owned),
            path: path.map(str::to_owned),
        })
    }

    fn parse_network(rest: &str) -> Option<Self> {
        let (authority, bus_id) = rest.split_once('/')?;
        let (host, port) = split_authority(authority)?;
        let is_bus_id = (1..32).contains(&bus_id.len())
            && bus_id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
        is_bus_id.then(|| Self::Network {
            host,
            port,
            bus_id: bus_id.to_owned(),
        })
    }
}

fn hex_id(text: &str) -> Option<u16> {
    (text.len() == 4)
        .then(|| u16::from_str_radix(text, 16).ok())
        .flatten()
}

/// What a device says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Product id.
    pub product: u16,
    /// Maker; empty when it does not tell.
    pub maker: String,
    /// Model; empty when it does not tell.
    pub model: String,
    /// Serial number; empty when it does not tell.
    pub serial: String,
}

/// The eight bytes that begin a control transfer, without the length (USB 2.0 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) request_type: u8,
    pub(crate) request: u8,
    pub(crate) value: u16,
    pub(crate) index: u16,
}

/// How transfers reach a device: libusb, or a USB/IP server.
pub(crate) trait Bus: Send {
    fn control_read(
        &mut self,
        setup: Setup,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError>;
    fn control_write(
        &mut self,
        setup: Setup,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<(), WireError>;
    /// Claims an interface of the configuration `value`.
    fn claim(&mut self, value: u8, interface: &Interface) -> Result<(), WireError>;
    /// Bytes taken, at least one; [`WireError::TimedOut`] when none were.
    fn send(
        &mut self,
        endpoint: Endpoint,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<usize, WireError>;
    /// Bytes that came; zero when none did before the limit.
    fn receive(
        &mut self,
        endpoint: Endpoint,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError>;
    fn clear_halt(&mut self, endpoint: u8) -> Result<(), WireError>;
}

/// An opened device with one claimed interface.
pub struct UsbDevice {
    bus: Box<dyn Bus>,
    identity: Identity,
    interface: Interface,
}

impl UsbDevice {
    /// Opens the device at `port` and claims the first interface that `choose` accepts; a driver of
    /// the kernel lets go of it.
    ///
    /// # Errors
    /// [`WireError::NotThere`]: not plugged, or it has no such interface. [`WireError::InUse`],
    /// [`WireError::Denied`], [`WireError::BadName`]: the configuration. Others: reopen.
    pub fn open(port: &str, choose: impl Fn(&Interface) -> bool) -> Result<Self, WireError> {
        let not_there = || WireError::NotThere {
            port: port.to_owned(),
        };
        let mut bus: Box<dyn Bus> = match UsbPort::parse(port)? {
            UsbPort::Local { ids, serial, path } => Box::new(libusb::Local::open(
                port,
                ids,
                serial.as_deref(),
                path.as_deref(),
            )?),
            UsbPort::Network {
                host,
                port: tcp,
                bus_id,
            } => Box::new(network::Network::import(port, &host, tcp, &bus_id)?),
        };
        let mut head = [0; 18];
        let setup = descriptor_request(0x01, 0, 0);
        let count = bus.control_read(setup, &mut head, CONTROL_LIMIT)?;
        let found = descriptor::device(head.get(..count).unwrap_or_default())
            .ok_or(WireError::BadDescriptor)?;
        let bytes = read_configuration(bus.as_mut())?;
        let (value, interfaces) =
            descriptor::configuration(&bytes).ok_or(WireError::BadDescriptor)?;
        let interface = interfaces.into_iter().find(choose).ok_or_else(not_there)?;
        bus.claim(value, &interface)?;
        let [maker, model, serial] = found
            .strings
            .map(|index| read_string(bus.as_mut(), index).unwrap_or_default());
        tap::note(|| format!("opened interface {}", interface.number));
        Ok(Self {
            bus,
            identity: Identity {
                vendor: found.vendor,
                product: found.product,
                maker,
                model,
                serial,
            },
            interface,
        })
    }

    /// What the device says it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The claimed interface.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    fn endpoint(&self, address: u8) -> Result<Endpoint, WireError> {
        let mut endpoints = self.interface.endpoints.iter();
        let found = endpoints.find(|endpoint| endpoint.address == address);
        found.copied().ok_or(WireError::BadDescriptor)
    }

    /// Sends all of `bytes` to an endpoint of the claimed interface.
    ///
    /// # Errors
    /// [`WireError::TimedOut`] when the device stopped taking bytes, [`WireError::Stalled`] when it
    /// refused, [`WireError::BadDescriptor`] when there is no such endpoint; others: reopen.
    pub fn write(&mut self, address: u8, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        let endpoint = self.endpoint(address)?;
        tap::bytes(Direction::Sent, bytes);
        let deadline = clock::now() + limit;
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(clock::now());
            let result = self.bus.send(endpoint, rest, left);
            match self.cleared(address, result)? {
                0 => return Err(WireError::TimedOut),
                count => rest = rest.get(count..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Reads what an endpoint of the claimed interface has, waiting `limit` at most. `Ok(0)`:
    /// nothing came, or an empty packet. `buffer` holds a whole number of packets.
    ///
    /// # Errors
    /// As [`UsbDevice::write`].
    pub fn read(
        &mut self,
        address: u8,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let endpoint = self.endpoint(address)?;
        let result = self.bus.receive(endpoint, buffer, limit);
        let count = self.cleared(address, result)?;
        tap::bytes(Direction::Received, buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn cleared<T>(&mut self, address: u8, result: Result<T, WireError>) -> Result<T, WireError> {
        if let Err(WireError::Stalled) = result {
            self.bus.clear_halt(address)?;
        }
        result
    }

    /// Reads through the control pipe (a class or vendor request; USB 2.0 §9.3).
    ///
    /// # Errors
    /// [`WireError::Stalled`] when the device does not know the request; others: reopen.
    pub fn control_read(
        &mut self,
        request_type: u8,
        request: u8,
        value: u16,
        index: u16,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let setup = Setup {
            request_type,
            request,
            value,
            index,
        };
        let count = self.bus.control_read(setup, buffer, limit)?;
        tap::note(|| format!("control {request_type:02X} {request:02X} {value:04X} {index:04X}"));
        tap::bytes(Direction::Received, buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// Writes through the control pipe.
    ///
    /// # Errors
    /// As [`UsbDevice::control_read`].
    pub fn control_write(
        &mut self,
        request_type: u8,
        request: u8,
        value: u16,
        index: u16,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<(), WireError> {
        let setup = Setup {
            request_type,
            request,
            value,
            index,
        };
        tap::note(|| format!("control {request_type:02X} {request:02X} {value:04X} {index:04X}"));
        tap::bytes(Direction::Sent, bytes);
        self.bus.control_write(setup, bytes, limit)
    }
}

impl fmt::Debug for UsbDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsbDevice")
            .field("identity", &self.identity)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

fn descriptor_request(kind: u8, number: u8, language: u16) -> Setup {
    Setup {
        request_type: STANDARD_IN,
        request: GET_DESCRIPTOR,
        value: u16::from_be_bytes([kind, number]),
        index: language,
    }
}

fn read_configuration(bus: &mut dyn Bus) -> Result<Vec<u8>, WireError> {
    let setup = descriptor_request(0x02, 0, 0);
    let mut head = [0; 9];
    bus.control_read(setup, &mut head, CONTROL_LIMIT)?;
    let [_, _, low, high, ..] = head;
    let length = u16::from_le_bytes([low, high]).clamp(9, CONFIGURATION_BYTES_MAX);
    let mut bytes = vec![0; usize::from(length)];
    let count = bus.control_read(setup, &mut bytes, CONTROL_LIMIT)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// A string of the device in its first language. Devices that stall here are common and harmless.
fn read_string(bus: &mut dyn Bus, index: u8) -> Option<String> {
    if index == 0 {
        return None;
    }
    let mut buffer = [0; 255];
    let setup = descriptor_request(0x03, 0, 0);
    bus.control_read(setup, &mut buffer, CONTROL_LIMIT).ok()?;
    let [_, _, low, high, ..] = buffer;
    let setup = descriptor_request(0x03, index, u16::from_le_bytes([low, high]));
    let count = bus.control_read(setup, &mut buffer, CONTROL_LIMIT).ok()?;
    descriptor::string(buffer.get(..count)?)
}

/// A byte stream over one OUT and one IN endpoint.
pub struct UsbWire {
    device: UsbDevice,
    out: u8,
    inward: u8,
    /// Bytes that came and did not fit the caller's buffer; at most one transfer.
    pending: Vec<u8>,
}

impl UsbWire {
    /// A stream over the endpoints with these addresses.
    pub fn new(device: UsbDevice, out: u8, inward: u8) -> Self {
        Self {
            device,
            out,
            inward,
            pending: Vec::new(),
        }
    }

    /// The device below, for its control requests.
    pub fn device(&mut self) -> &mut UsbDevice {
        &mut self.device
    }
}

impl fmt::Debug for UsbWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsbWire")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl Wire for UsbWire {
    fn write_all(&mut self, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        self.device.write(self.out, bytes, limit)
    }

    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> Result<usize, WireError> {
        if self.pending.is_empty() {
            let mut packet = zeroize::Zeroizing::new([0; READ_BYTES]);
            let count = self
                .device
                .read(self.inward, packet.as_mut_slice(), limit)?;
            self.pending
                .extend_from_slice(packet.get(..count).unwrap_or_default());
        }
        let count = self.pending.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.pending.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn discard_input(&mut self) {
        self.pending.clear();
        let mut packet = [0; READ_BYTES];
        for _ in 0..DISCARD_READS_MAX {
            match self.device.read(self.inward, &mut packet, Duration::ZERO) {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expect: &UsbPort) {
        assert_eq!(UsbPort::parse(name).as_ref().ok(), Some(expect), "{name}");
    }

    fn local(ids: Option<(u16, u16)>, serial: Option<&str>, path: Option<&str>) -> UsbPort {
        UsbPort::Local {
            ids,
            serial: serial.map(str::to_owned),
            path: path.map(str::to_owned),
        }
    }

    #[test]
    fn a_device_is_named_by_ids_serial_number_or_port() {
        let ids = Some((0x0400, 0xC35A));
        check("usb:0400:c35a", &local(ids, None, None));
        check("usb:0400:C35A#A-1", &local(ids, Some("A-1"), None));
        check("usb:0400:c35a@1-2.3", &local(ids, None, Some("1-2.3")));
        check("usb:@3-1", &local(None, None, Some("3-1")));
        check(
            "usbip:[::1]:3240/1-1",
            &UsbPort::Network {
                host: "::1".to_owned(),
                port: 3240,
                bus_id: "1-1".to_owned(),
            },
        );
    }

    #[test]
    fn nonsense_is_no_usb_port() {
        for name in [
            "",
            "usb:",
            "usb:0400",
            "usb:400:c35a",
            "usb:0400:c35g",
            "usb:0400:c35a#",
            "usb:0400:c35a@",
            "usb:#serial",
            "usb:@../../etc",
            "usbip:host:3240",
            "usbip:host/1-1",
            "usbip:host:3240/",
            "/dev/ttyUSB0",
        ] {
            assert!(UsbPort::parse(name).is_err(), "{name}");
        }
    }
}
