//! What a `[[device]]` table of a scanner may say, and how it is refused.

use kiosk_qr_scanner::{DRIVERS, Scanner};

fn error(driver: &str, port: &str, options: &str) -> Option<String> {
    let table = format!(
        "id = \"scanner-1\"\nclass = \"qr-scanner\"\ndriver = \"{driver}\"\nport = \"{port}\"\n[options]\n{options}\n"
    );
    let config = toml::from_str(&table).expect("the table is well-formed");
    Scanner::new(&config).err().map(|error| error.to_string())
}

fn check_refused(driver: &str, port: &str, options: &str, expect: &str) {
    let found = error(driver, port, options).expect("it must be refused");
    assert!(found.contains(expect), "{found}");
}

#[test]
fn every_driver_has_a_port_of_its_kind() {
    for driver in DRIVERS {
        let (good, bad) = match *driver {
            "hid-pos" => ("usbip:127.0.0.1:3240/1-1", "/dev/hidraw0"),
            "keyboard-wedge" => ("/dev/input/by-id/x-event-kbd", "tcp:127.0.0.1:9"),
            _ => ("tcp:127.0.0.1:9", "usb:0C2E:0DB3"),
        };
        assert_eq!(error(driver, good, ""), None, "{driver}");
        check_refused(driver, bad, "", "`port`");
    }
    assert_eq!(error("hid-pos", "usb:0C2E:0DB3", ""), None);
}

#[test]
fn options_are_those_of_the_driver() {
    assert_eq!(error("gm65", "/dev/ttyS0", "suffix = \"cr-lf\""), None);
    assert_eq!(error("ssi", "/dev/ttyS0", "same_code_ms = 0"), None);
    assert_eq!(
        error("hid-pos", "usb:0C2E:0DB3", "trigger = \"honeywell\""),
        None
    );
    check_refused("gm65", "/dev/ttyS0", "suffix = \"tab\"", "cr-lf");
    check_refused("gm65", "/dev/ttyS0", "trigger = \"none\"", "unknown");
    check_refused("hid-pos", "usb:0C2E:0DB3", "trigger = \"gm65\"", "newland");
    check_refused(
        "keyboard-wedge",
        "/dev/input/event3",
        "suffix = \"cr\"",
        "same_code_ms",
    );
    check_refused("ssi", "/dev/ttyS0", "same_code_ms = 70000", "60000");
    check_refused("toaster", "/dev/ttyS0", "", "keyboard-wedge");
}
