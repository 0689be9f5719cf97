//! What is plugged into the machine and not configured: the first question about a device that "is
//! not there". Where the ids or the class are known, says what it probably is and which driver fits.

use kiosk_device::usb::sysfs::Sysfs;
use serde::{Deserialize, Serialize};

/// A USB device that no table of the configuration means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The name a table could use as its port.
    pub port: String,
    /// Port path on the bus.
    pub path: String,
    /// Maker, model and serial number in its own words.
    pub model: String,
    /// What it probably is; empty when nothing is known about it.
    pub guess: String,
}

/// Devices seen in the field (`device-protocols.md` §1.8, §4, §5.5): vendor, product, what it is.
const KNOWN: [(u16, u16, &str); 17] = [
    (0x0400, 0xC35A, "id-card, driver sdt"),
    (0x0316, 0x5020, "id-card, driver sdt"),
    (0x0483, 0x5652, "id-card, driver sdt"),
    (0x10C4, 0x0007, "id-card, driver sdt"),
    (0x10C4, 0x8A1B, "id-card, driver sdt"),
    (0x2015, 0x0008, "id-card, driver sdt"),
    (0x9573, 0x4836, "id-card, driver sdt"),
    (0x1EAB, 0x1D10, "qr-scanner, driver hid-pos"),
    (0x0C2E, 0x0DB3, "qr-scanner, driver hid-pos"),
    (0x0483, 0x5743, "slip-printer, driver escpos"),
    (0x6868, 0x0200, "slip-printer, driver escpos"),
    (0x6868, 0x0500, "slip-printer, driver escpos"),
    (
        0x0DD4,
        0x0237,
        "slip-printer, driver escpos, profile custom",
    ),
    (0x04B8, 0x0202, "slip-printer, driver escpos"),
    (0x04B8, 0x0E15, "slip-printer, driver escpos"),
    (0x0416, 0x5011, "slip-printer, driver escpos"),
    (
        0x1A86,
        0x7523,
        "serial adapter (relay board, scanner, reader)",
    ),
];

/// Class codes of interfaces and what they usually are on a terminal.
const CLASSES: [(u8, &str); 7] = [
    (0x07, "printer"),
    (0x0E, "camera, driver v4l2"),
    (0x0B, "chip card reader, driver ssc-pcsc"),
    (0x02, "serial adapter or scanner"),
    (0x03, "keyboard, scanner, touch screen or pad"),
    (0x01, "sound"),
    (0x08, "USB stick"),
];

/// Everything on USB that none of `ports` leads to.
pub(super) fn find(sysfs: &Sysfs, ports: &[&str]) -> Vec<Unknown> {
    let configured: Vec<String> = ports
        .iter()
        .filter_map(|port| sysfs.path_of(port))
        .collect();
    sysfs
        .devices()
        .into_iter()
        .filter(|device| !configured.contains(&device.path))
        .map(|device| {
            let serial = if device.serial.is_empty() {
                String::new()
            } else {
                format!("#{}", device.serial)
            };
            let by_ids = KNOWN
                .iter()
                .find(|(vendor, product, _)| (*vendor, *product) == (device.vendor, device.product))
                .map(|(_, _, guess)| *guess);
            let by_class = CLASSES
                .iter()
                .find(|(class, _)| device.classes.contains(class))
                .map(|(_, guess)| *guess);
            let model = [device.maker.as_str(), &device.model, &device.serial];
            let model: Vec<&str> = model.into_iter().filter(|word| !word.is_empty()).collect();
            Unknown {
                port: format!("usb:{:04x}:{:04x}{serial}", device.vendor, device.product),
                path: device.path,
                model: model.join(" "),
                guess: by_ids.or(by_class).unwrap_or_default().to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn plug(root: &Path, path: &str, vendor: &str, product: &str, class: &str) {
        let directory = root.join("bus/usb/devices").join(path);
        let interface = root.join("bus/usb/devices").join(format!("{path}:1.0"));
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(&interface).unwrap();
        fs::write(directory.join("idVendor"), vendor).unwrap();
        fs::write(directory.join("idProduct"), product).unwrap();
        fs::write(interface.join("bInterfaceClass"), class).unwrap();
    }

    #[test]
    fn what_is_plugged_in_and_not_configured_is_shown_with_a_guess() {
        let root = tempfile::tempdir().unwrap();
        plug(root.path(), "1-1", "0400", "c35a", "ff");
        plug(root.path(), "1-2", "6868", "0200", "07");
        plug(root.path(), "1-3", "1234", "5678", "0e");
        plug(root.path(), "1-4", "1d6b", "0002", "09");
        let found = find(&Sysfs::new(root.path()), &["usb:6868:0200", "/dev/ttyS0"]);
        let shown: Vec<(&str, &str)> = found
            .iter()
            .map(|device| (device.port.as_str(), device.guess.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("usb:0400:c35a", "id-card, driver sdt"),
                ("usb:1234:5678", "camera, driver v4l2"),
            ]
        );
    }
}
