//! Tells when the kernel or udev adds, removes or changes a device, so that nobody has to wait for
//! the next try.
//!
//! A message only wakes: whoever is woken looks for itself, by id, serial number or port path. Where
//! the machine has no such socket (a container), devices are found by the ordinary retries.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// Groups of the kernel (1) and of udev (2), which speaks again when links and rights are in place.
const GROUPS: u32 = 0b11;
/// Longest message: the kernel's own limit is 2 KiB, udev's a little more.
const MESSAGE_BYTES_MAX: usize = 8192;
/// Wait between looks at the wish to stop, in seconds.
const LOOK_S: i64 = 1;
/// Subsystems in which devices of a terminal appear.
const SUBSYSTEMS: [&str; 8] = [
    "usb",
    "usb-serial",
    "tty",
    "video4linux",
    "hidraw",
    "input",
    "usbmisc",
    "sound",
];

/// One message of the kernel or of udev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `bind`, `unbind`, `change`, `move` and the like.
    pub action: String,
    /// Path below `/sys`.
    pub path: String,
    /// Subsystem.
    pub subsystem: String,
}

/// Takes a message apart; `None` when it is none, or of a subsystem without our devices.
pub fn parse(message: &[u8]) -> Option<Uevent> {
    let message = message.get(..MESSAGE_BYTES_MAX).unwrap_or(message);
    let mut uevent = Uevent {
        action: String::new(),
        path: String::new(),
        subsystem: String::new(),
    };
    for field in message.split(|byte| *byte == 0) {
        let Ok(field) = std::str::from_utf8(field) else {
            // The binary head of udev's messages.
            continue;
        };
        if let Some((key, value)) = field.split_once('=') {
            match key {
                "ACTION" => value.clone_into(&mut uevent.action),
                "DEVPATH" => value.clone_into(&mut uevent.path),
                "SUBSYSTEM" => value.clone_into(&mut uevent.subsystem),
                _ => {}
            }
        }
    }
    let is_ours = SUBSYSTEMS.contains(&uevent.subsystem.as_str());
    (is_ours && !uevent.action.is_empty()).then_some(uevent)
}

/// The running watch; dropping it ends the thread within a second.
#[derive(Debug)]
pub struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Calls `on_change` from a thread of its own for every message about a device.
///
/// # Errors
/// The machine has no such socket, or does not let this program listen.
pub fn watch(on_change: impl Fn(&Uevent) + Send + 'static) -> io::Result<Watch> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&is_stopping);
    thread::Builder::new()
        .name("hotplug".to_owned())
        .spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                if let Some(uevent) = next(&socket) {
                    on_change(&uevent);
                }
            }
        })?;
    Ok(Watch(is_stopping))
}

/// The next message, or nothing for a second.
fn next(socket: &OwnedFd) -> Option<Uevent> {
    let mut polled = [PollFd::new(socket, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: LOOK_S,
        tv_nsec: 0,
    };
    let count = poll(&mut polled, Some(&limit)).ok()?;
    if count == 0 {
        return None;
    }
    let mut message = [0; MESSAGE_BYTES_MAX];
    // A full socket has lost messages: whoever is woken by a later one looks for itself anyway.
    let (count, _) = recv(socket, &mut message[..], RecvFlags::DONTWAIT).ok()?;
    parse(message.get(..count)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &[u8] =
        b"add@/devices/x/usb1/1-2\0ACTION=add\0DEVPATH=/devices/x/usb1/1-2\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0";

    #[test]
    fn a_message_of_the_kernel_and_one_of_udev_say_the_same() {
        let expect = Uevent {
            action: "add".to_owned(),
            path: "/devices/x/usb1/1-2".to_owned(),
            subsystem: "usb".to_owned(),
        };
        assert_eq!(parse(KERNEL), Some(expect.clone()));
        let mut udev = b"libudev\0\xFE\xED\xCA\xFE\x28\0\0\0".to_vec();
        udev.extend_from_slice(KERNEL.split_at(24).1);
        assert_eq!(parse(&udev), Some(expect));
    }

    #[test]
    fn other_subsystems_and_rubbish_wake_nobody() {
        assert_eq!(parse(b"ACTION=add\0SUBSYSTEM=net\0"), None);
        assert_eq!(parse(b"SUBSYSTEM=usb\0"), None);
        assert_eq!(parse(b"\xFF\xFE"), None);
        assert_eq!(parse(&vec![b'a'; 100_000]), None);
    }
}
