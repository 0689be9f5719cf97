//! Slip printers of the USB printer class behind the kernel, which has a driver of its own for them.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kiosk_device::{Driver as _, Supply, clock};
use kiosk_emulators::{SlipOutcome, SlipPrinter as Emulator, SlipPrinterConfig, SlipTransport};
use kiosk_printer::escpos::{Command, Event, SlipPrinter, SlipRaster};

use crate::case::{Measure, Outcome};
use crate::driven::{self, Done, config};
use crate::plug::Plug;
use crate::until;

const PRINT_LIMIT: Duration = Duration::from_secs(40);
/// Rows of a slip that is printed to its end: 40 mm.
const ROWS: usize = 320;
/// Rows of a slip that lasts long enough to be interrupted: 1 m.
const ROWS_LONG: usize = 8000;

fn emulator() -> anyhow::Result<Emulator> {
    let config = SlipPrinterConfig {
        transport: SlipTransport::Usb,
        ..SlipPrinterConfig::default()
    };
    Ok(Emulator::start(Path::new("/tmp"), config)?)
}

fn driver(plug: &Plug) -> anyhow::Result<SlipPrinter> {
    Ok(SlipPrinter::new(&config(
        "slip-printer",
        "escpos",
        &plug.usb(),
        "",
    )?)?)
}

/// Stripes, so that a lost band would show.
fn slip(rows: usize) -> Command {
    Command::Print(SlipRaster {
        width_dots: 576,
        rows: (0..rows * 72)
            .map(|byte| if byte / 72 % 16 < 8 { 0xF0 } else { 0x0F })
            .collect(),
    })
}

fn print(printer: &mut SlipPrinter, rows: usize) -> Done<Event> {
    driven::execute(printer, slip(rows), PRINT_LIMIT, |_, _| ())
}

/// The driver of the kernel that holds the printer's interface, by name.
fn kernel_driver(plug: &Plug) -> Option<String> {
    let link = plug.sysfs().join(format!("{}:1.0/driver", plug.path()));
    let target = std::fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

pub(crate) fn whole_slip() -> Outcome {
    let emulator = emulator()?;
    let plug = Plug::into_kernel(&emulator.port())?;
    until::until("the kernel's printer driver", until::KERNEL_LIMIT, || {
        kernel_driver(&plug).filter(|name| name == "usblp")
    })?;
    let mut printer = driver(&plug)?;
    let (capabilities, status) = driven::open(&mut printer)?;
    ensure!(
        capabilities.model.contains("EMU80"),
        "the printer is {:?}",
        capabilities.model
    );
    ensure!(status.is_ready(), "the printer is {status:?}");
    let done = print(&mut printer, ROWS);
    let took = done.took;
    let events = done.success()?;
    ensure!(
        events.contains(&Event::Presented),
        "the slip was not presented"
    );
    let prints = emulator.prints();
    ensure!(
        matches!(&prints[..], [slip] if slip.outcome == SlipOutcome::Complete && slip.height_mm >= 40),
        "what came out: {prints:?}"
    );
    ensure!(
        emulator.errors().is_empty(),
        "the printer complains: {:?}",
        emulator.errors()
    );
    emulator.set_paper_mm(0);
    let status = printer.status()?;
    ensure!(
        status.paper == Supply::Out,
        "without paper the status is {status:?}"
    );
    printer.close();
    // What was taken from the kernel is given back.
    until::until(
        "the kernel's printer driver again",
        until::KERNEL_LIMIT,
        || kernel_driver(&plug).filter(|name| name == "usblp"),
    )?;
    plug.pull()?;
    Ok(vec![Measure::new("slip-40-mm", took)])
}

pub(crate) fn pulled_while_printing() -> Outcome {
    let emulator = emulator()?;
    let first = Plug::into_kernel(&emulator.port())?;
    let mut printer = driver(&first)?;
    driven::open(&mut printer)?;
    let emulator = Arc::new(emulator);
    let pulled_one = Arc::clone(&emulator);
    // Pulled by another hand as soon as paper moves.
    let hand = thread::Builder::new()
        .name("hand".to_owned())
        .spawn(move || {
            until::until("paper moves", PRINT_LIMIT, || {
                pulled_one.report()["busy"]
                    .as_bool()
                    .filter(|is_busy| *is_busy)
            })?;
            anyhow::ensure!(pulled_one.cut_cable(), "the plug was not pulled");
            Ok(clock::now())
        })?;
    let done = print(&mut printer, ROWS_LONG);
    let ended = clock::now();
    let pulled_at = match hand.join() {
        Ok(at) => at?,
        Err(_) => anyhow::bail!("the hand panicked"),
    };
    let fault = done.fault()?;
    ensure!(
        fault.code == "device.gone",
        "a pulled printer is told as {fault}"
    );
    printer.close();
    first.pull()?;
    ensure!(emulator.plug_cable(), "the printer is not plugged again");
    let second = Plug::into_kernel(&emulator.port())?;
    let mut printer = driver(&second)?;
    driven::open(&mut printer).context("after the replug")?;
    let before = emulator.prints().len();
    print(&mut printer, ROWS).success()?;
    let whole = Cell::new(0);
    for slip in emulator.prints().iter().skip(before) {
        if slip.outcome == SlipOutcome::Complete {
            whole.set(whole.get() + 1);
        }
    }
    ensure!(
        whole.get() == 1,
        "{} whole slips after the replug",
        whole.get()
    );
    printer.close();
    second.pull()?;
    Ok(vec![Measure::new(
        "printer-unplug-to-fault",
        ended.saturating_duration_since(pulled_at),
    )])
}
