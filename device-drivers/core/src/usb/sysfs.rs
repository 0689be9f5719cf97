//! What the kernel knows about USB devices (`/sys/bus/usb`), and the one thing it is told: to let go
//! of a device and take it up again, which does for a device what pulling its plug does.

use std::fs;
use std::path::{Path, PathBuf};

use super::UsbPort;

/// Devices that are looked at. Chosen: USB allows 127 on one bus.
const DEVICES_MAX: usize = 512;
/// Longest attribute that is read.
const ATTRIBUTE_BYTES_MAX: usize = 256;
/// How far above a port's own directory its USB device is looked for.
const LEVELS_MAX: usize = 12;

/// One device on a USB bus, as the kernel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Port path, `BUS-PORT[.PORT…]`.
    pub path: String,
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
    /// Class codes of its interfaces, without repetition.
    pub classes: Vec<u8>,
}

/// The kernel's view of USB below a root; the root is `/sys` on a terminal.
#[derive(Clone, Debug)]
pub struct Sysfs(PathBuf);

impl Default for Sysfs {
    fn default() -> Self {
        Self(PathBuf::from("/sys"))
    }
}

impl Sysfs {
    /// The view below `root`.
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// Every device that is plugged in, without hubs, by port path.
    pub fn devices(&self) -> Vec<Listed> {
        let Ok(entries) = fs::read_dir(self.0.join("bus/usb/devices")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .take(DEVICES_MAX)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        let devices = names.iter().filter(|name| is_device(name));
        devices
            .filter_map(|name| self.device(name, &names))
            .filter(|device| device.classes != [0x09])
            .collect()
    }

    fn device(&self, path: &str, names: &[String]) -> Option<Listed> {
        let directory = self.0.join("bus/usb/devices").join(path);
        let id = |name| u16::from_str_radix(&attribute(&directory, name)?, 16).ok();
        let interfaces = format!("{path}:");
        let mut classes: Vec<u8> = names
            .iter()
            .filter(|name| name.starts_with(&interfaces))
            .filter_map(|name| {
                let interface = self.0.join("bus/usb/devices").join(name);
                u8::from_str_radix(&attribute(&interface, "bInterfaceClass")?, 16).ok()
            })
            .collect();
        classes.sort_unstable();
        classes.dedup();
        Some(Listed {
            path: path.to_owned(),
            vendor: id("idVendor")?,
            product: id("idProduct")?,
            maker: attribute(&directory, "manufacturer").unwrap_or_default(),
            model: attribute(&directory, "product").unwrap_or_default(),
            serial: attribute(&directory, "serial").unwrap_or_default(),
            classes,
        })
    }

    /// The port path of the USB device behind a configured port (a USB name or a device file);
    /// `None` when it is not plugged in or not on USB.
    pub fn path_of(&self, port: &str) -> Option<String> {
        if super::is_usb(port) {
            let UsbPort::Local { ids, serial, path } = UsbPort::parse(port).ok()? else {
                return None;
            };
            let fits = |device: &Listed| {
                ids.is_none_or(|ids| ids == (device.vendor, device.product))
                    && serial
                        .as_ref()
                        .is_none_or(|serial| *serial == device.serial)
                    && path.as_ref().is_none_or(|path| *path == device.path)
            };
            let found = self.devices().into_iter().find(fits);
            return found.map(|device| device.path);
        }
        let file = fs::canonicalize(port).ok()?;
        let name = file.file_name()?;
        let class = ["tty", "video4linux", "hidraw", "input", "usbmisc"]
            .into_iter()
            .map(|class| self.0.join("class").join(class).join(name))
            .find(|directory| directory.exists())?;
        let mut directory = fs::canonicalize(class).ok()?;
        for _ in 0..LEVELS_MAX {
            let name = directory.file_name()?.to_str()?.to_owned();
            if is_device(&name) && directory.join("idVendor").exists() {
                return Some(name);
            }
            directory.pop();
        }
        None
    }

    /// Makes the kernel let go of the device at a port path and take it up again.
    ///
    /// # Errors
    /// In words: it is not there any more, or this program may not.
    pub fn rebind(&self, path: &str) -> Result<(), String> {
        if !is_device(path) {
            return Err(format!("{path:?} is no port path"));
        }
        let driver = self.0.join("bus/usb/drivers/usb");
        let tell = |file: &str| {
            fs::write(driver.join(file), path).map_err(|error| format!("{file} {path}: {error}"))
        };
        tell("unbind")?;
        tell("bind")
    }
}

/// `1-2` and `1-2.3` are devices; `usb1` is a root hub and `1-2:1.0` an interface.
fn is_device(name: &str) -> bool {
    name.contains('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.')
}

fn attribute(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read(directory.join(name)).ok()?;
    let text = text.get(..ATTRIBUTE_BYTES_MAX).unwrap_or(&text);
    let text = String::from_utf8_lossy(text);
    Some(text.trim().chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A tree such as the kernel shows: a serial adapter on port 1-2.3 and a hub on 1-2.
    fn tree(root: &Path) -> Sysfs {
        let real = root.join("devices/pci/usb1/1-2/1-2.3");
        write(&real.join("idVendor"), "1a86\n");
        write(&real.join("idProduct"), "7523\n");
        write(&real.join("serial"), "A1\n");
        write(&real.join("1-2.3:1.0/bInterfaceClass"), "ff\n");
        let hub = root.join("devices/pci/usb1/1-2");
        write(&hub.join("idVendor"), "05e3\n");
        write(&hub.join("idProduct"), "0608\n");
        write(&hub.join("1-2:1.0/bInterfaceClass"), "09\n");
        let tty = real.join("1-2.3:1.0/ttyUSB0/tty/ttyUSB0");
        write(&tty.join("dev"), "188:0\n");
        let link = |from: &str, to: &Path| {
            let from = root.join(from);
            fs::create_dir_all(from.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, from).unwrap();
        };
        link("bus/usb/devices/1-2", &hub);
        link("bus/usb/devices/1-2:1.0", &hub.join("1-2:1.0"));
        link("bus/usb/devices/1-2.3", &real);
        link("bus/usb/devices/1-2.3:1.0", &real.join("1-2.3:1.0"));
        link("class/tty/ttyUSB0", &tty);
        write(&root.join("dev/ttyUSB0"), "");
        Sysfs::new(root)
    }

    #[test]
    fn devices_are_listed_without_hubs() {
        let root = tempfile::tempdir().unwrap();
        let devices = tree(root.path()).devices();
        assert_eq!(devices.len(), 1);
        let adapter = &devices[0];
        assert_eq!(
            (adapter.vendor, adapter.product, adapter.serial.as_str()),
            (0x1A86, 0x7523, "A1")
        );
        assert_eq!(adapter.classes, [0xFF]);
    }

    #[test]
    fn a_port_is_traced_to_its_plug_by_ids_serial_number_and_device_file() {
        let root = tempfile::tempdir().unwrap();
        let sysfs = tree(root.path());
        let file = root.path().join("dev/ttyUSB0");
        for port in ["usb:1a86:7523", "usb:1a86:7523#A1", "usb:@1-2.3"] {
            assert_eq!(sysfs.path_of(port).as_deref(), Some("1-2.3"), "{port}");
        }
        assert_eq!(
            sysfs.path_of(file.to_str().unwrap()).as_deref(),
            Some("1-2.3")
        );
        for port in ["usb:1a86:7523#B2", "usb:0400:c35a", "/dev/null", "tcp:a:1"] {
            assert_eq!(sysfs.path_of(port), None, "{port}");
        }
    }

    #[test]
    fn a_device_is_let_go_and_taken_up_again() {
        let root = tempfile::tempdir().unwrap();
        let sysfs = tree(root.path());
        assert!(sysfs.rebind("1-2.3").is_err());
        let driver = root.path().join("bus/usb/drivers/usb");
        fs::create_dir_all(&driver).unwrap();
        sysfs.rebind("1-2.3").unwrap();
        for file in ["unbind", "bind"] {
            assert_eq!(fs::read_to_string(driver.join(file)).unwrap(), "1-2.3");
        }
        assert!(sysfs.rebind("../../etc").is_err());
    }
}
