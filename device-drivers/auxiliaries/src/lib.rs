//! What stands beside the devices that serve the visit: the uninterruptible power supply ([`ups`]), the
//! board with the door switch, the lights and the power relays ([`io_board`]), the signature pad
//! ([`signature_pad`]) and the loudspeaker ([`speaker`]).
//!
//! Each is a driver of its own with commands of its own. What they tell (the door is open, the load is
//! 20 %) are readings of their status; only what somebody must act on is a fault.

pub mod io_board;
pub mod signature_pad;
pub mod speaker;
pub mod ups;

use std::io;

use kiosk_device::{Fault, WireError};

/// What the kernel says when the device behind an open handle was unplugged (`ENODEV`, `errno.h`).
const ERRNO_GONE: i32 = 19;
/// Likewise, when its node is still there (`ENXIO`).
const ERRNO_NO_DEVICE: i32 = 6;
/// Another program has it (`EBUSY`).
const ERRNO_BUSY: i32 = 16;

/// An error of the kernel about the device at `port` as a fault.
fn kernel_fault(port: &str, error: io::Error) -> Fault {
    let port = port.to_owned();
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) => WireError::NotThere { port },
        (io::ErrorKind::PermissionDenied, _) => WireError::Denied { port },
        (_, Some(ERRNO_BUSY)) => WireError::InUse { port },
        (_, Some(ERRNO_GONE | ERRNO_NO_DEVICE)) => WireError::Gone,
        (_, _) => WireError::Io(error),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_kernel_have_their_codes() {
        for (errno, expect) in [
            (2, "device.not-there"),
            (13, "device.no-permission"),
            (16, "device.in-use"),
            (19, "device.gone"),
            (6, "device.gone"),
            (5, "device.io"),
        ] {
            let fault = kernel_fault("/dev/x", io::Error::from_raw_os_error(errno));
            assert_eq!(fault.code, expect, "{errno}");
        }
    }
}
