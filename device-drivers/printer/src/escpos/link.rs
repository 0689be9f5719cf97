//! The way to a slip printer: a byte stream, or the USB printer class (`device-protocols.md` §5.5)
//! with or without a way back. Knows ports and pipes, and nothing of what is printed.

use std::time::Duration;

use kiosk_device::usb::{self, Interface, Transfer, UsbDevice, UsbWire};
use kiosk_device::wire::{self, Port};
use kiosk_device::{Wire, WireError};

use super::device_id::{DEVICE_ID_BYTES_MAX, DeviceId};

/// USB class of printers.
const CLASS_PRINTER: u8 = 0x07;
const SUBCLASS_PRINTER: u8 = 0x01;
/// Interfaces with a way back first; IPP over USB (04) is another driver's.
const PROTOCOLS: [u8; 2] = [0x02, 0x01];
const GET_DEVICE_ID: (u8, u8) = (0xA1, 0x00);
const GET_PORT_STATUS: (u8, u8) = (0xA1, 0x01);
const SOFT_RESET: (u8, u8) = (0x21, 0x02);
/// The same with the request type of printers from before version 1.1 of the class.
const SOFT_RESET_OLD: (u8, u8) = (0x23, 0x02);
/// Wait for the control pipe. Chosen: the device answers in milliseconds or never.
const CONTROL_LIMIT: Duration = Duration::from_millis(500);
/// A pipe takes a limit of zero for "no limit".
const LIMIT_MIN: Duration = Duration::from_millis(1);

/// An open way to a printer.
pub(crate) enum Link {
    /// A serial line or TCP.
    Stream(Box<dyn Wire>),
    /// USB with a way back.
    TwoWay(UsbWire),
    /// USB without one.
    OneWay {
        /// The device.
        device: UsbDevice,
        /// Its OUT endpoint.
        out: u8,
    },
}

impl Link {
    /// Checks the name of a port without opening it.
    pub(crate) fn check(port: &str) -> Result<(), WireError> {
        if usb::is_usb(port) {
            usb::UsbPort::parse(port).map(drop)
        } else {
            Port::parse(port).map(drop)
        }
    }

    /// Opens the port called `port`; `baud` matters to serial ports only.
    pub(crate) fn open(port: &str, baud: u32) -> Result<Self, WireError> {
        if !usb::is_usb(port) {
            return wire::open(port, baud).map(Self::Stream);
        }
        let [two_way, one_way] = PROTOCOLS;
        let device = match UsbDevice::open(port, |interface| is_printer(interface, two_way)) {
            // The device may be there without such an interface.
            Err(WireError::NotThere { .. }) => {
                UsbDevice::open(port, |interface| is_printer(interface, one_way))?
            }
            other => other?,
        };
        let pipe = |is_in: bool| {
            let mut endpoints = device.interface().endpoints.iter();
            endpoints
                .find(|end| matches!(end.transfer, Transfer::Bulk) && end.is_in() == is_in)
                .map(|end| end.address)
        };
        let (out, inward) = (pipe(false), pipe(true));
        match (out, inward) {
            (Some(out), Some(inward)) => Ok(Self::TwoWay(UsbWire::new(device, out, inward))),
            (Some(out), None) => Ok(Self::OneWay { device, out }),
            (None, _) => Err(WireError::BadDescriptor),
        }
    }

    /// True when the printer can say anything at all.
    pub(crate) fn can_answer(&self) -> bool {
        !matches!(self, Self::OneWay { .. })
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        match self {
            Self::Stream(wire) => wire.write_all(bytes, limit),
            Self::TwoWay(wire) => wire.write_all(bytes, limit.max(LIMIT_MIN)),
            Self::OneWay { device, out } => device.write(*out, bytes, limit.max(LIMIT_MIN)),
        }
    }

    /// Reads one byte; `None` when nothing came within `limit`.
    pub(crate) fn read_byte(&mut self, limit: Duration) -> Result<Option<u8>, WireError> {
        let mut byte = [0_u8; 1];
        let count = match self {
            Self::Stream(wire) => wire.read(&mut byte, limit)?,
            Self::TwoWay(wire) => wire.read(&mut byte, limit.max(LIMIT_MIN))?,
            Self::OneWay { .. } => 0,
        };
        let [byte] = byte;
        Ok((count > 0).then_some(byte))
    }

    fn usb(&mut self) -> Option<&mut UsbDevice> {
        match self {
            Self::Stream(_) => None,
            Self::TwoWay(wire) => Some(wire.device()),
            Self::OneWay { device, .. } => Some(device),
        }
    }

    /// What a USB printer says it is. `None` on other ports, or when it does not tell.
    pub(crate) fn device_id(&mut self) -> Option<DeviceId> {
        let device = self.usb()?;
        let interface = device.interface();
        let index = u16::from_be_bytes([interface.number, interface.alternate]);
        let mut buffer = vec![0; DEVICE_ID_BYTES_MAX];
        let (kind, request) = GET_DEVICE_ID;
        let count = device
            .control_read(kind, request, 0, index, &mut buffer, CONTROL_LIMIT)
            .ok()?;
        let mut id = DeviceId::parse(buffer.get(..count).unwrap_or_default());
        let known = device.identity();
        if id.maker.is_empty() && id.model.is_empty() {
            id.maker.clone_from(&known.maker);
            id.model.clone_from(&known.model);
        }
        if id.serial.is_empty() {
            id.serial.clone_from(&known.serial);
        }
        Some(id)
    }

    /// The port status of a USB printer; a hint at most. `None` on other ports.
    pub(crate) fn port_status(&mut self) -> Option<Result<u8, WireError>> {
        let device = self.usb()?;
        let index = u16::from(device.interface().number);
        let (kind, request) = GET_PORT_STATUS;
        let mut status = [0];
        let result = device.control_read(kind, request, 0, index, &mut status, CONTROL_LIMIT);
        Some(match result {
            Ok(1..) => Ok(status[0]),
            Ok(0) => Err(WireError::TimedOut),
            Err(error) => Err(error),
        })
    }

    /// Empties the buffers of a USB printer by its class request; false on other ports or when the
    /// printer does not take it.
    pub(crate) fn soft_reset(&mut self) -> bool {
        let Some(device) = self.usb() else {
            return false;
        };
        let index = u16::from(device.interface().number);
        [SOFT_RESET, SOFT_RESET_OLD]
            .into_iter()
            .any(|(kind, request)| {
                device
                    .control_write(kind, request, 0, index, &[], CONTROL_LIMIT)
                    .is_ok()
            })
    }
}

fn is_printer(interface: &Interface, protocol: u8) -> bool {
    let has_out = interface
        .endpoints
        .iter()
        .any(|end| matches!(end.transfer, Transfer::Bulk) && !end.is_in());
    (interface.class, interface.subclass, interface.protocol)
        == (CLASS_PRINTER, SUBCLASS_PRINTER, protocol)
        && has_out
}
