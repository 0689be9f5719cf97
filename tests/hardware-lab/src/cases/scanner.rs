//! Scanners behind the kernel: HID point of sale, a serial dialect over CDC-ACM, and keyboards that are
//! really scanners, grabbed so that nobody else hears them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kiosk_device::Driver as _;
use kiosk_emulators::{
    HidLayout, QrScanner as Emulator, QrScannerConfig, ScannerDialect, ScannerTransport,
};
use kiosk_qr_scanner::{Command, Event, Scanner};

use crate::case::Outcome;
use crate::cases::card::serial_node;
use crate::driven::{self, Done, config};
use crate::plug::Plug;
use crate::until;
use crate::virtual_input::VirtualInput;

const SCAN_LIMIT: Duration = Duration::from_secs(20);
/// Between two readings of a code that stays before the scanner. Chosen.
const TYPE_INTERVAL: Duration = Duration::from_millis(300);
/// Scans until a whole code comes at most: one may hear the end of a code. Chosen.
const TYPED_SCANS_MAX: u32 = 3;
/// What the code says: keys with and without shift.
const CODE: &str = "TESTqr0123456789";
/// A code of three reports with Chinese text.
const CODE_LONG: &str = "测试码 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789";

fn scan(scanner: &mut Scanner) -> Done<Event> {
    driven::execute(scanner, Command::Scan, SCAN_LIMIT, |_, _| ())
}

/// The one code that was scanned says what was shown.
fn check_code(done: Done<Event>, expect: &str) -> anyhow::Result<()> {
    let events = done.success()?;
    let is_read = matches!(&events[..], [Event::Code(code)] if code.text.expose() == expect);
    ensure!(is_read, "the code that was scanned is another");
    Ok(())
}

/// Scans until the whole code was read. Keys have no frame, so a driver that begins to listen while
/// somebody types hears the end of a code first.
fn check_typed_code(scanner: &mut Scanner) -> anyhow::Result<()> {
    for _ in 0..TYPED_SCANS_MAX {
        let events = scan(scanner).success()?;
        let [Event::Code(code)] = &events[..] else {
            anyhow::bail!("{} codes in one scan", events.len());
        };
        let text = code.text.expose();
        if text == CODE {
            return Ok(());
        }
        // Joining between shift and letter costs the shift of the first letter.
        let is_end = CODE.to_lowercase().ends_with(&text.to_lowercase());
        ensure!(is_end, "the code that was scanned is {text:?}");
    }
    anyhow::bail!("never the whole code")
}

fn type_until(stop: &AtomicBool, mut keyboard: VirtualInput) -> anyhow::Result<VirtualInput> {
    while !stop.load(Ordering::SeqCst) {
        keyboard.type_line(CODE)?;
        thread::park_timeout(TYPE_INTERVAL);
    }
    Ok(keyboard)
}

pub(crate) fn typed_code() -> Outcome {
    let keyboard = VirtualInput::keyboard("lab scanner")?;
    let node = keyboard.node();
    let mut bystander = evdev::Device::open(&node).context("the node cannot be opened")?;
    bystander.set_nonblocking(true)?;
    let mut scanner = Scanner::new(&config("qr-scanner", "keyboard-wedge", &node, "")?)?;
    driven::open(&mut scanner)?;
    let mut second = Scanner::new(&config("qr-scanner", "keyboard-wedge", &node, "")?)?;
    let code = second.open().err().map_or("nothing", |fault| fault.code);
    ensure!(
        code == "qr-scanner.keyboard-not-exclusive",
        "a second user is told {code}"
    );
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let typist = thread::Builder::new()
        .name("typist".to_owned())
        .spawn(move || type_until(&stopped, keyboard))?;
    let checked = check_typed_code(&mut scanner);
    stop.store(true, Ordering::SeqCst);
    let keyboard = match typist.join() {
        Ok(keyboard) => keyboard?,
        Err(_) => anyhow::bail!("the typist panicked"),
    };
    checked?;
    let overheard = bystander.fetch_events().map_or(0, Iterator::count);
    ensure!(overheard == 0, "somebody else heard {overheard} keys");
    drop(keyboard);
    let code = match scanner.status() {
        Err(fault) => fault.code,
        Ok(_) => scan(&mut scanner).fault()?.code,
    };
    ensure!(code == "device.gone", "an absent scanner is told as {code}");
    Ok(Vec::new())
}

fn emulator(config: QrScannerConfig) -> anyhow::Result<(Emulator, Plug)> {
    let emulator = Emulator::start(Path::new("/tmp"), config)?;
    let plug = Plug::into_kernel(&emulator.port().to_string_lossy())?;
    Ok((emulator, plug))
}

pub(crate) fn hid_pos() -> Outcome {
    for hid_layout in [HidLayout::Common, HidLayout::Packed] {
        let (emulator, plug) = emulator(QrScannerConfig {
            dialect: ScannerDialect::HidPos,
            hid_layout,
            ..QrScannerConfig::default()
        })?;
        let config = config(
            "qr-scanner",
            "hid-pos",
            &plug.usb(),
            "options = { trigger = \"newland\" }",
        )?;
        let mut scanner = Scanner::new(&config)?;
        driven::open(&mut scanner)?;
        for code in [CODE, CODE_LONG] {
            emulator.present(code.as_bytes())?;
            check_code(scan(&mut scanner), code).with_context(|| format!("{hid_layout:?}"))?;
        }
        ensure!(emulator.cut_cable(), "the plug was not pulled");
        plug.pull()?;
        let code = match scanner.status() {
            Err(fault) => fault.code,
            Ok(_) => scan(&mut scanner).fault()?.code,
        };
        ensure!(code == "device.gone", "an absent scanner is told as {code}");
    }
    Ok(Vec::new())
}

pub(crate) fn serial_dialect() -> Outcome {
    let (emulator, plug) = emulator(QrScannerConfig {
        transport: ScannerTransport::UsbSerial,
        ..QrScannerConfig::default()
    })?;
    let node = serial_node(&plug)?;
    let mut scanner = Scanner::new(&config("qr-scanner", "newland", &node, "baud = 9600")?)?;
    driven::open(&mut scanner)?;
    emulator.present(CODE_LONG.as_bytes())?;
    check_code(scan(&mut scanner), CODE_LONG)?;
    // A pseudo terminal hides line settings; the adapter sees them.
    let line = &emulator.report()["usb"]["line"];
    let found = ["baud", "data-bits", "parity", "stop-bits"].map(|key| line[key].as_u64());
    ensure!(
        found == [Some(9600), Some(8), Some(0), Some(0)],
        "the adapter was set to {line}"
    );
    scanner.close();
    plug.pull()?;
    Ok(Vec::new())
}

pub(crate) fn usb_keyboard() -> Outcome {
    let (emulator, plug) = emulator(QrScannerConfig {
        dialect: ScannerDialect::HidKeyboard,
        ..QrScannerConfig::default()
    })?;
    let node = until::entry("/dev/input/by-id", |name| name.ends_with("-event-kbd"))
        .context("udev gives keyboards no stable name")?;
    let node = node.to_string_lossy().into_owned();
    let mut scanner = Scanner::new(&config("qr-scanner", "keyboard-wedge", &node, "")?)?;
    driven::open(&mut scanner)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // Shown again and again: what was typed before the driver listened is thrown away.
    let shown = thread::Builder::new()
        .name("person".to_owned())
        .spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                emulator.present(CODE.as_bytes())?;
                until::until("the code is read", SCAN_LIMIT, || {
                    let is_over = emulator.report()["code-shown"] == false;
                    (is_over || stopped.load(Ordering::SeqCst)).then_some(())
                })?;
                thread::park_timeout(TYPE_INTERVAL);
            }
            anyhow::Ok(emulator)
        })?;
    let checked = check_typed_code(&mut scanner);
    stop.store(true, Ordering::SeqCst);
    let emulator = match shown.join() {
        Ok(emulator) => emulator?,
        Err(_) => anyhow::bail!("the person panicked"),
    };
    checked?;
    ensure!(emulator.cut_cable(), "the plug was not pulled");
    plug.pull()?;
    let code = match scanner.status() {
        Err(fault) => fault.code,
        Ok(_) => scan(&mut scanner).fault()?.code,
    };
    ensure!(code == "device.gone", "an absent scanner is told as {code}");
    Ok(Vec::new())
}
