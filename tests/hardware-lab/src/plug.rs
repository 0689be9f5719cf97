//! Plugs an emulated USB device into the kernel of the guest, as `usbip attach` does: the import
//! over TCP here, the transfers by the kernel's virtual host controller afterwards.
//!
//! What is behind a plug is an ordinary device of the kernel: it is enumerated, drivers bind to it,
//! udev names it, and pulling it is what pulling a cable is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::until::{self, KERNEL_LIMIT, until};

const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// Bytes of an import's answer: head and `struct usbip_usb_device` (`usbip_protocol.rst`).
const REPLY_BYTES: usize = 8 + 312;
/// Wait for the server, which runs in this process.
const SERVER_LIMIT: Duration = Duration::from_secs(5);

/// States of a port in the controller's table (`enum usbip_device_status` of the kernel).
const PORT_FREE: &str = "004";
const PORT_USED: &str = "006";

/// One device in one port of the virtual controller. Dropping it pulls the plug.
#[derive(Debug)]
pub(crate) struct Plug {
    port: u32,
    path: String,
    record: PathBuf,
}

impl Plug {
    /// Imports the device `usbip:HOST:PORT/BUSID`, hands the connection to the kernel and waits
    /// until it has enumerated the device.
    ///
    /// # Errors
    /// The server refuses, there is no free port, or the kernel cannot enumerate the device.
    pub(crate) fn into_kernel(address: &str) -> anyhow::Result<Self> {
        let (server, bus_id) = address
            .strip_prefix("usbip:")
            .and_then(|rest| rest.split_once('/'))
            .with_context(|| format!("{address} is no USB/IP address"))?;
        let (stream, device, speed) = import(server, bus_id)?;
        let port = free_port()?;
        let order = format!("{port} {} {device} {speed}", stream.as_raw_fd());
        fs::write(format!("{CONTROLLER}/attach"), order).context("the kernel does not attach")?;
        // The kernel holds its own reference to the socket.
        drop(stream);
        let path = until("enumeration", KERNEL_LIMIT, || {
            let (_, state, path) = ports().ok()?.into_iter().find(|found| found.0 == port)?;
            let attribute = |name: &str| {
                let file = format!("/sys/bus/usb/devices/{path}/{name}");
                fs::read_to_string(file)
                    .ok()
                    .map(|text| text.trim().to_owned())
            };
            let is_configured = attribute("bConfigurationValue").is_some_and(|it| !it.is_empty());
            let number = attribute("dev").filter(|_| state == PORT_USED && is_configured)?;
            Some((path, number))
        });
        // Nothing may stay in the port when it is of no use.
        let mut plug = Self {
            port,
            path: String::new(),
            record: PathBuf::new(),
        };
        let (path, number) = path?;
        plug.path = path;
        // udev's own record of the device; programs that list devices see it from then on.
        plug.record = PathBuf::from(format!("/run/udev/data/c{number}"));
        until::there(&plug.record)?;
        Ok(plug)
    }

    /// The port path as the kernel writes it, `BUS-PORT`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The name of this port for drivers.
    pub(crate) fn usb(&self) -> String {
        format!("usb:@{}", self.path)
    }

    /// Its directory in sysfs.
    pub(crate) fn sysfs(&self) -> PathBuf {
        PathBuf::from(format!("/sys/bus/usb/devices/{}", self.path))
    }

    /// Pulls the plug at the host's side and waits until the kernel has let go of the device.
    ///
    /// # Errors
    /// The kernel does not let go.
    pub(crate) fn pull(self) -> anyhow::Result<()> {
        let (port, sysfs, record) = (self.port, self.sysfs(), self.record.clone());
        drop(self);
        until("a free port", KERNEL_LIMIT, || {
            let is_free = ports()
                .ok()?
                .iter()
                .any(|found| found.0 == port && found.1 == PORT_FREE);
            is_free.then_some(())
        })?;
        until::gone(&sysfs)?;
        until::gone(&record)
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        // A device that the emulator has pulled is detached already; then the kernel refuses.
        drop(fs::write(
            format!("{CONTROLLER}/detach"),
            self.port.to_string(),
        ));
    }
}

/// The connection of an import, the device's number and its speed.
fn import(server: &str, bus_id: &str) -> anyhow::Result<(TcpStream, u32, u32)> {
    let mut stream = TcpStream::connect(server).context("no USB/IP server")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SERVER_LIMIT))?;
    let mut request = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    request.extend(bus_id.bytes().take(31));
    request.resize(8 + 32, 0);
    stream.write_all(&request)?;
    let mut reply = [0; REPLY_BYTES];
    stream.read_exact(&mut reply[..8])?;
    let status = word(&reply, 4);
    ensure!(
        reply[2..4] == [0x00, 0x03] && status == 0,
        "the server refuses {bus_id} with status {status}"
    );
    stream.read_exact(&mut reply[8..])?;
    // Path and bus id come before the numbers.
    let at = 8 + 256 + 32;
    let (bus, device, speed) = (word(&reply, at), word(&reply, at + 4), word(&reply, at + 8));
    // The kernel's reader must wait for ever.
    stream.set_read_timeout(None)?;
    Ok((stream, bus << 16 | device, speed))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn free_port() -> anyhow::Result<u32> {
    for (port, state, _) in ports()? {
        if state == PORT_FREE {
            return Ok(port);
        }
    }
    bail!("every port of the virtual controller is taken")
}

/// Number, state and local path of each port up to high speed.
fn ports() -> anyhow::Result<Vec<(u32, String, String)>> {
    let table = fs::read_to_string(format!("{CONTROLLER}/status"))
        .context("there is no virtual host controller")?;
    Ok(parse_ports(&table))
}

fn parse_ports(table: &str) -> Vec<(u32, String, String)> {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["hs", port, state, _, _, _, path] => {
                Some((port.parse().ok()?, state.to_owned(), path.to_owned()))
            }
            _ => None,
        }
    };
    table.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_table_is_read_up_to_high_speed() {
        let table = "hub port sta spd dev      sockfd local_busid\n\
            hs  0000 006 002 00010002 000003 1-1\n\
            hs  0001 004 000 00000000 000000 0-0\n\
            ss  0015 004 000 00000000 000000 0-0\n";
        let expect = [(0, PORT_USED, "1-1"), (1, PORT_FREE, "0-0")];
        let expect = expect.map(|(port, state, path)| (port, state.to_owned(), path.to_owned()));
        assert_eq!(parse_ports(table), expect);
    }

    #[test]
    fn words_are_big_endian() {
        assert_eq!(word(&[9, 0, 1, 2, 3], 1), 0x0001_0203);
    }
}
