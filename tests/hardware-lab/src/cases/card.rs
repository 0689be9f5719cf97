//! Card readers behind the kernel's USB stack: the three layouts, a serial adapter, pulled plugs.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kiosk_device::usb::sysfs::Sysfs;
use kiosk_device::{Driver as _, clock};
use kiosk_emulators::{
    CardFault, CardSpec, IdCardConfig, IdCardReader as Emulator, IdCardTransport,
};
use kiosk_id_card::{Command, Event, IdCardReader};

use crate::case::{Measure, Outcome};
use crate::driven::{self, Done, config};
use crate::plug::Plug;
use crate::until;

/// One reading with its retries, in emulation.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// The synthetic person on the card (`kiosk-emulators`, `cards.toml`).
const PERSON: (&str, &str, &str) = ("elder", "测试㛃", "441521195103050022");

/// A reader that answers without the radio's delays.
///
/// # Errors
/// No socket is left.
pub(crate) fn emulator(transport: IdCardTransport) -> anyhow::Result<Emulator> {
    let config = IdCardConfig {
        transport,
        find_ms: 1,
        read_ms: 20,
        ..IdCardConfig::default()
    };
    Ok(Emulator::start(Path::new("/tmp"), config)?)
}

/// Plugs the reader into the kernel.
///
/// # Errors
/// As [`Plug::into_kernel`].
pub(crate) fn plug(emulator: &Emulator) -> anyhow::Result<Plug> {
    Plug::into_kernel(&emulator.port().to_string_lossy())
}

/// A driver for what is at `port`.
///
/// # Errors
/// The configuration is refused.
pub(crate) fn driver(port: &str) -> anyhow::Result<IdCardReader> {
    Ok(IdCardReader::new(&config("id-card", "sdt", port, "")?)?)
}

fn read(driver: &mut IdCardReader, on_event: impl Fn(&Event)) -> Done<Event> {
    driven::execute(driver, Command::Read, READ_LIMIT, |event, _| {
        on_event(event);
    })
}

/// Reads the person's card from a driver that is open.
fn check_read(driver: &mut IdCardReader, emulator: &Emulator) -> anyhow::Result<Duration> {
    emulator.insert(&CardSpec::named(PERSON.0)?)?;
    let done = read(driver, |_| ());
    let took = done.took;
    let events = done.success()?;
    let is_read = events.iter().any(|event| {
        matches!(event, Event::Card(card)
            if card.name.expose() == PERSON.1 && card.number.expose() == PERSON.2)
    });
    ensure!(is_read, "the card that was read is another");
    emulator.remove();
    Ok(took)
}

fn check_layout(transport: IdCardTransport) -> anyhow::Result<Duration> {
    let emulator = emulator(transport)?;
    let plug = plug(&emulator)?;
    let mut driver = driver(&plug.usb())?;
    let (capabilities, status) = driven::open(&mut driver)?;
    ensure!(!capabilities.serial.is_empty(), "the module has no id");
    ensure!(status.is_ready(), "the reader is {:?}", status.state);
    let took = check_read(&mut driver, &emulator)?;
    driver.close();
    let errors = emulator.report()["usb"]["errors"].clone();
    ensure!(
        errors.as_array().is_none_or(Vec::is_empty),
        "the reader was asked what it does not know: {errors}"
    );
    plug.pull()?;
    Ok(took)
}

pub(crate) fn four_pipes() -> Outcome {
    let took = check_layout(IdCardTransport::UsbFourPipes)?;
    Ok(vec![Measure::new("card-read-four-pipes", took)])
}

pub(crate) fn one_pair() -> Outcome {
    let took = check_layout(IdCardTransport::UsbPair)?;
    Ok(vec![Measure::new("card-read-one-pair", took)])
}

pub(crate) fn hid() -> Outcome {
    let took = check_layout(IdCardTransport::Hid)?;
    Ok(vec![Measure::new("card-read-hid", took)])
}

/// The node of a serial adapter by the stable name that udev gives it.
///
/// # Errors
/// It does not appear.
pub(crate) fn serial_node(plug: &Plug) -> anyhow::Result<String> {
    let tty = until::entry(
        plug.sysfs()
            .join(format!("{}:1.0", plug.path()))
            .join("tty"),
        |name| name.starts_with("ttyACM"),
    )?;
    let name = tty.file_name().context("a node has a name")?;
    let directory = Path::new("/dev/serial/by-path");
    // The link of an adapter that was there before may not be gone yet.
    let link = until::entry(directory, |link| {
        let target = directory.join(link).canonicalize().ok();
        target.is_some_and(|target| target.file_name() == Some(name))
    })
    .context("udev gives the adapter no stable name")?;
    Ok(link.to_string_lossy().into_owned())
}

pub(crate) fn serial_adapter() -> Outcome {
    let emulator = emulator(IdCardTransport::UsbSerial)?;
    let plug = plug(&emulator)?;
    let node = serial_node(&plug)?;
    let mut driver = driver(&node)?;
    driven::open(&mut driver)?;
    let took = check_read(&mut driver, &emulator)?;
    // A pseudo terminal hides line settings; the adapter sees them.
    let line = emulator.report()["usb"].to_string();
    ensure!(line.contains("115200"), "the adapter was set to {line}");
    driver.close();
    plug.pull()?;
    Ok(vec![Measure::new("card-read-serial-adapter", took)])
}

/// Pulls the plug when the card is found, plugs it in again, reads.
fn unplug(transport: IdCardTransport, port_of: fn(&Plug) -> anyhow::Result<String>) -> Outcome {
    let emulator = emulator(transport)?;
    let first = plug(&emulator)?;
    let port = port_of(&first)?;
    let mut driver = driver(&port)?;
    driven::open(&mut driver)?;
    emulator.insert(&CardSpec::named(PERSON.0)?)?;
    let pulled = Cell::new(None);
    let done = read(&mut driver, |event| {
        if matches!(event, Event::CardFound) && pulled.get().is_none() {
            pulled.set(emulator.cut_cable().then(clock::now));
        }
    });
    let pulled = pulled.get().context("the plug was not pulled")?;
    let told = clock::now().saturating_duration_since(pulled);
    let fault = done.fault()?;
    ensure!(
        fault.code == "device.gone",
        "a pulled plug is told as {fault}"
    );
    driver.close();
    first.pull()?;
    driven::expect_absent(&mut driver)?;
    emulator.remove();
    ensure!(emulator.plug_cable(), "the reader is not plugged again");
    let second = plug(&emulator)?;
    let started = clock::now();
    driven::open(&mut driver)?;
    let reopened = clock::now().saturating_duration_since(started);
    check_read(&mut driver, &emulator)?;
    ensure!(port_of(&second)? == port, "the socket has another name now");
    driver.close();
    second.pull()?;
    Ok(vec![
        Measure::new("unplug-to-fault", told),
        Measure::new("reopen-after-replug", reopened),
    ])
}

pub(crate) fn unplug_usb() -> Outcome {
    unplug(IdCardTransport::UsbFourPipes, |plug| Ok(plug.usb()))
}

pub(crate) fn unplug_serial_adapter() -> Outcome {
    unplug(IdCardTransport::UsbSerial, serial_node)
}

pub(crate) fn stalled_pipe() -> Outcome {
    let emulator = emulator(IdCardTransport::UsbPair)?;
    let plug = plug(&emulator)?;
    let mut driver = driver(&plug.usb())?;
    driven::open(&mut driver)?;
    emulator.fault(CardFault::Stall);
    // The refused answer may cost a status; the pipe must work again without reopening.
    let refused = driver.status();
    let status = driver.status().context("after the stall")?;
    ensure!(
        status.is_ready(),
        "after the stall the reader is {:?}",
        status.state
    );
    check_read(&mut driver, &emulator)?;
    if let Err(fault) = refused {
        ensure!(
            matches!(
                fault.code,
                "device.stalled" | "device.silent" | "id-card.bad-reply"
            ),
            "a stall is told as {fault}"
        );
    }
    driver.close();
    plug.pull()?;
    Ok(Vec::new())
}

pub(crate) fn in_use() -> Outcome {
    let emulator = emulator(IdCardTransport::UsbPair)?;
    let plug = plug(&emulator)?;
    let mut holder = driver(&plug.usb())?;
    driven::open(&mut holder)?;
    let mut second = driver(&plug.usb())?;
    // The list of this process has the device by now: the first user was found through it.
    let code = second.open().err().map_or("nothing", |fault| fault.code);
    ensure!(code == "device.in-use", "a second user is told {code}");
    holder.close();
    driven::open(&mut second).context("after the first user left")?;
    second.close();
    plug.pull()?;
    Ok(Vec::new())
}

/// Two readers of one kind are told apart by their sockets, and one is found by its serial number.
pub(crate) fn two_of_a_kind() -> Outcome {
    let emulators = [
        emulator(IdCardTransport::UsbPair)?,
        emulator(IdCardTransport::UsbPair)?,
    ];
    let plugs = [plug(&emulators[0])?, plug(&emulators[1])?];
    let mut drivers = [driver(&plugs[0].usb())?, driver(&plugs[1].usb())?];
    for driver in &mut drivers {
        driven::open(driver)?;
    }
    // The card lies on the second reader only, then on the first only.
    for at in [1, 0] {
        check_read(&mut drivers[at], &emulators[at])?;
    }
    drivers.iter_mut().for_each(kiosk_device::Driver::close);
    let listed = Sysfs::default().devices();
    let found = listed.iter().find(|device| device.path == plugs[1].path());
    let found = found.context("a plugged reader is not listed")?;
    let (vendor, product, serial) = (found.vendor, found.product, &found.serial);
    ensure!(!serial.is_empty(), "the list tells no serial number");
    let [first, second] = plugs;
    first.pull()?;
    let mut by_serial = driver(&format!("usb:{vendor:04x}:{product:04x}#{serial}"))?;
    driven::open(&mut by_serial)?;
    check_read(&mut by_serial, &emulators[1])?;
    by_serial.close();
    let mut other = driver(&format!("usb:{vendor:04x}:{product:04x}#NOT-{serial}"))?;
    driven::expect_absent(&mut other)?;
    second.pull()?;
    Ok(Vec::new())
}
