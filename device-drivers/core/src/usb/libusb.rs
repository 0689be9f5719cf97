//! USB devices of this machine, through libusb.

use std::time::Duration;

use rusb::{Device, DeviceHandle, GlobalContext};

use super::{Bus, Endpoint, Interface, Setup, Transfer};
use crate::wire::WireError;

/// Devices of one machine that are looked at. Chosen: USB allows 127 on one bus.
const DEVICES_MAX: usize = 512;

/// One opened device.
pub(crate) struct Local {
    handle: DeviceHandle<GlobalContext>,
    claimed: Option<u8>,
}

impl Local {
    /// Opens the first device that fits.
    pub(crate) fn open(
        name: &str,
        ids: Option<(u16, u16)>,
        serial: Option<&str>,
        path: Option<&str>,
    ) -> Result<Self, WireError> {
        let devices = rusb::devices().map_err(|error| refused(name, error))?;
        let mut failure = WireError::NotThere {
            port: name.to_owned(),
        };
        for device in devices.iter().take(DEVICES_MAX) {
            if !fits(&device, ids, path) {
                continue;
            }
            match open_one(&device, serial) {
                Ok(Some(handle)) => {
                    return Ok(Self {
                        handle,
                        claimed: None,
                    });
                }
                Ok(None) => {}
                Err(error) => failure = refused(name, error),
            }
        }
        Err(failure)
    }
}

fn fits(device: &Device<GlobalContext>, ids: Option<(u16, u16)>, path: Option<&str>) -> bool {
    let has_ids = ids.is_none_or(|ids| {
        device
            .device_descriptor()
            .is_ok_and(|descriptor| (descriptor.vendor_id(), descriptor.product_id()) == ids)
    });
    has_ids && path.is_none_or(|path| port_path(device).as_deref() == Some(path))
}

/// The path as the kernel writes it; `None` for a root hub.
fn port_path(device: &Device<GlobalContext>) -> Option<String> {
    let ports = device
        .port_numbers()
        .ok()
        .filter(|ports| !ports.is_empty())?;
    let ports: Vec<String> = ports.iter().map(u8::to_string).collect();
    Some(format!("{}-{}", device.bus_number(), ports.join(".")))
}

fn open_one(
    device: &Device<GlobalContext>,
    serial: Option<&str>,
) -> rusb::Result<Option<DeviceHandle<GlobalContext>>> {
    let handle = device.open()?;
    if let Some(serial) = serial {
        let descriptor = device.device_descriptor()?;
        if handle.read_serial_number_string_ascii(&descriptor)? != serial {
            return Ok(None);
        }
    }
    Ok(Some(handle))
}

impl Bus for Local {
    fn control_read(
        &mut self,
        setup: Setup,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let Setup {
            request_type,
            request,
            value,
            index,
        } = setup;
        self.handle
            .read_control(request_type, request, value, index, buffer, at_least(limit))
            .map_err(broken)
    }

    fn control_write(
        &mut self,
        setup: Setup,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<(), WireError> {
        let Setup {
            request_type,
            request,
            value,
            index,
        } = setup;
        self.handle
            .write_control(request_type, request, value, index, bytes, at_least(limit))
            .map(drop)
            .map_err(broken)
    }

    fn claim(&mut self, value: u8, interface: &Interface) -> Result<(), WireError> {
        // A kernel without drivers for the interface is as good as one that lets go.
        if let Err(error) = self.handle.set_auto_detach_kernel_driver(true) {
            tracing::debug!(%error, "kernel drivers are not detached here");
        }
        let is_configured = self
            .handle
            .active_configuration()
            .is_ok_and(|now| now == value);
        if !is_configured {
            self.handle
                .set_active_configuration(value)
                .map_err(broken)?;
        }
        self.handle
            .claim_interface(interface.number)
            .map_err(broken)?;
        self.claimed = Some(interface.number);
        if interface.alternate != 0 {
            self.handle
                .set_alternate_setting(interface.number, interface.alternate)
                .map_err(broken)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        endpoint: Endpoint,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let limit = at_least(limit);
        match endpoint.transfer {
            Transfer::Interrupt => self.handle.write_interrupt(endpoint.address, bytes, limit),
            Transfer::Bulk | Transfer::Other => {
                self.handle.write_bulk(endpoint.address, bytes, limit)
            }
        }
        .map_err(broken)
    }

    fn receive(
        &mut self,
        endpoint: Endpoint,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        let limit = at_least(limit);
        let result = match endpoint.transfer {
            Transfer::Interrupt => self.handle.read_interrupt(endpoint.address, buffer, limit),
            Transfer::Bulk | Transfer::Other => {
                self.handle.read_bulk(endpoint.address, buffer, limit)
            }
        };
        match result {
            Err(rusb::Error::Timeout | rusb::Error::Interrupted) => Ok(0),
            result => result.map_err(broken),
        }
    }

    fn clear_halt(&mut self, endpoint: u8) -> Result<(), WireError> {
        self.handle.clear_halt(endpoint).map_err(broken)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(number) = self.claimed
            && let Err(error) = self.handle.release_interface(number)
        {
            tracing::debug!(%error, "interface not released");
        }
    }
}

/// libusb takes a limit of zero for "no limit".
fn at_least(limit: Duration) -> Duration {
    limit.max(Duration::from_millis(1))
}

fn refused(port: &str, error: rusb::Error) -> WireError {
    let port = port.to_owned();
    if error == rusb::Error::Access {
        WireError::Denied { port }
    } else if error == rusb::Error::NotFound {
        WireError::NotThere { port }
    } else if error == rusb::Error::Busy {
        WireError::InUse { port }
    } else {
        broken(error)
    }
}

fn broken(error: rusb::Error) -> WireError {
    match error {
        rusb::Error::Pipe => WireError::Stalled,
        rusb::Error::Timeout => WireError::TimedOut,
        rusb::Error::Busy => WireError::InUse {
            port: "the interface".to_owned(),
        },
        // Linux reports a device that vanished in the middle of a transfer as an input error.
        rusb::Error::NoDevice | rusb::Error::NotFound | rusb::Error::Io => WireError::Gone,
        rusb::Error::InvalidParam
        | rusb::Error::Access
        | rusb::Error::Overflow
        | rusb::Error::Interrupted
        | rusb::Error::NoMem
        | rusb::Error::NotSupported
        | rusb::Error::BadDescriptor
        | rusb::Error::Other => WireError::Io(std::io::Error::other(error)),
    }
}
