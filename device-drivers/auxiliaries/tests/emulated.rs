//! The drivers against the emulators of their devices on pseudo-terminals, under the supervisor where
//! a cable is pulled: two implementations of one protocol, written apart, check each other.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use kiosk_auxiliaries::io_board::{self, IoBoard, Pattern};
use kiosk_auxiliaries::ups::{self, Ups};
use kiosk_device::{
    Cancel, Completion, Context, DeviceConfig, DeviceEvent, DeviceState, Driver, Status, clock,
    spawn,
};
use kiosk_emulators as emulators;
use kiosk_emulators::{InputChoice, IoBoardConfig, IoDialect, IoFault, Misbehavior, UpsConfig};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

fn config(class: &str, driver: &str, port: &Path, options: &str) -> DeviceConfig {
    toml::from_str(&format!(
        "id = \"device\"\nclass = \"{class}\"\ndriver = \"{driver}\"\nport = \"{}\"\n[options]\n{options}",
        port.display()
    ))
    .unwrap()
}

fn execute<D: Driver<Event = Infallible>>(driver: &mut D, command: D::Command) -> Completion {
    let cancel = Cancel::default();
    let emit = |event: Infallible| match event {};
    driver.execute(command, &Context::new(LONG, &cancel, &emit))
}

fn ups() -> (TempDir, emulators::Ups, DeviceConfig) {
    let directory = TempDir::new().unwrap();
    let ups = emulators::Ups::start(directory.path(), &UpsConfig::default()).unwrap();
    let config = config("ups", "megatec-q1", ups.port(), "");
    (directory, ups, config)
}

fn codes(status: &Status) -> Vec<&'static str> {
    status.faults.iter().map(|fault| fault.code).collect()
}

#[test]
fn a_power_cut_is_told_from_its_beginning_to_its_end() {
    let (_directory, ups, config) = ups();
    let mut driver = Ups::new(&config).unwrap();
    let capabilities = driver.open().unwrap();
    assert_eq!(capabilities.model, "TEST EMU-UPS");
    assert_eq!(capabilities.firmware, "1.00");
    let status = driver.status().unwrap();
    assert_eq!(
        (status.state, codes(&status)),
        (DeviceState::Online, vec![])
    );
    assert_eq!(status.readings["load-percent"], "20");
    ups.set_mains(false);
    assert_eq!(codes(&driver.status().unwrap()), ["ups.on-battery"]);
    ups.set_battery_low(true);
    let both = ["ups.battery-low", "ups.on-battery"];
    assert_eq!(codes(&driver.status().unwrap()), both);
    ups.set_mains(true);
    ups.set_load(120);
    assert_eq!(codes(&driver.status().unwrap()), ["ups.overload"]);
    ups.set_load(30);
    ups.set_failed(true);
    let status = driver.status().unwrap();
    assert_eq!(status.state, DeviceState::HardwareError);
    assert_eq!(codes(&status), ["ups.failed"]);
    assert!(ups.errors().is_empty(), "{:?}", ups.errors());
}

#[test]
fn the_ups_follows_its_commands() {
    let (_directory, ups, config) = ups();
    let mut driver = Ups::new(&config).unwrap();
    driver.open().unwrap();
    for command in [
        ups::Command::Test,
        ups::Command::Shutdown { minutes: 2 },
        ups::Command::CancelShutdown,
    ] {
        assert_eq!(execute(&mut driver, command), Completion::Success);
    }
    assert_eq!(ups.report()["shutting-down"], false);
    assert!(ups.errors().is_empty(), "{:?}", ups.errors());
}

#[test]
fn a_misbehaving_ups_is_told_apart_and_forgiven() {
    let (_directory, ups, config) = ups();
    let mut driver = Ups::new(&config).unwrap();
    driver.open().unwrap();
    for (misbehavior, code) in [
        (Misbehavior::Silence, "device.silent"),
        (Misbehavior::EndlessGarbage, "ups.bad-reply"),
        (Misbehavior::Trickle, "ups.bad-reply"),
        (Misbehavior::Vanish, "device.gone"),
    ] {
        ups.misbehave(misbehavior);
        let fault = driver.status().unwrap_err();
        assert_eq!(fault.code, code, "{misbehavior:?}");
        driver.close();
        ups.mend();
        // One that vanished may still be about to cut its cable.
        assert!(ups.cut_cable() && ups.plug_cable());
        driver.open().unwrap();
        driver.status().unwrap();
    }
}

/// Statuses as they are reported.
struct Told(Receiver<Status>);

impl Told {
    /// Waits for one that `is_it`.
    fn wait(&self, is_it: impl Fn(&Status) -> bool) -> Status {
        let until = clock::now() + LONG;
        loop {
            let left = until.saturating_duration_since(clock::now());
            let status = self.0.recv_timeout(left).expect("the status is told");
            if is_it(&status) {
                return status;
            }
        }
    }
}

fn tell<E>(sender: std::sync::mpsc::SyncSender<Status>) -> impl Fn(DeviceEvent<E>) + Send {
    move |event| {
        if let DeviceEvent::Status(status) = event {
            drop(sender.try_send(status));
        }
    }
}

#[test]
fn a_pulled_cable_is_noticed_and_the_ups_is_back_after_it() {
    let (_directory, ups, config) = ups();
    let (sender, receiver) = sync_channel(64);
    let told = Told(receiver);
    let make = move || Ups::new(&config).unwrap();
    let handle = spawn("ups".to_owned(), make, tell(sender));
    told.wait(|status| status.state == DeviceState::Online);
    assert!(ups.cut_cable());
    let gone = told.wait(|status| status.state == DeviceState::NoDevice);
    assert!(codes(&gone)[0].starts_with("device."), "{gone:?}");
    assert!(ups.plug_cable());
    told.wait(|status| status.state == DeviceState::Online);
    handle.stop();
}

fn board(dialect: IoDialect, options: &str) -> (TempDir, emulators::IoBoard, IoBoard) {
    let directory = TempDir::new().unwrap();
    let emulated = IoBoardConfig {
        dialect,
        ..IoBoardConfig::default()
    };
    let board = emulators::IoBoard::start(directory.path(), emulated).unwrap();
    let name = match dialect {
        IoDialect::ModbusRtu => "modbus-rtu",
        IoDialect::Lcus1 => "lcus-1",
    };
    let driver = IoBoard::new(&config("io-board", name, board.port(), options)).unwrap();
    (directory, board, driver)
}

fn set(output: &str, pattern: Pattern) -> io_board::Command {
    io_board::Command::Set {
        output: output.to_owned(),
        pattern,
    }
}

#[test]
fn doors_and_lights_work_over_modbus() {
    let (_directory, board, mut driver) = board(
        IoDialect::ModbusRtu,
        "inputs = { cabinet-door = 0, tamper = 1, presence = 2 }\noutputs = { light = 0, printer-power = 3 }",
    );
    driver.open().unwrap();
    let words = |driver: &mut IoBoard| {
        driver.status().unwrap();
        let status = driver.status().unwrap();
        let names = ["cabinet-door", "tamper", "presence"];
        (
            names.map(|name| status.readings[name].clone()).join(" "),
            codes(&status),
        )
    };
    assert_eq!(
        words(&mut driver),
        ("closed no not-present".to_owned(), vec![])
    );
    for number in 0..3 {
        assert!(board.set_input(&InputChoice::Number(number), true));
    }
    let faults = vec!["io-board.tamper", "io-board.door-open"];
    assert_eq!(words(&mut driver), ("open yes present".to_owned(), faults));
    let completion = execute(&mut driver, set("light", Pattern::On));
    assert_eq!(completion, Completion::Success);
    let cycle = io_board::Command::PowerCycle {
        output: "printer-power".to_owned(),
        off: Duration::from_millis(500),
    };
    assert_eq!(execute(&mut driver, cycle), Completion::Success);
    assert_eq!(board.outputs()[..4], [true, false, false, true]);
    // It was off already, so it was only switched on.
    assert_eq!(board.history(), [(0, true), (3, true)]);
    // The board forgets when it loses its power, and gets told again.
    driver.close();
    assert!(board.cut_cable() && board.plug_cable());
    driver.open().unwrap();
    assert_eq!(board.outputs()[..4], [true, false, false, true]);
    assert!(board.errors().is_empty(), "{:?}", board.errors());
}

#[test]
fn spoiled_answers_are_asked_for_again() {
    let (_directory, board, mut driver) = board(IoDialect::ModbusRtu, "inputs = { door = 0 }");
    driver.open().unwrap();
    for fault in [
        IoFault::BadCrc,
        IoFault::WrongAddress,
        IoFault::Truncated { bytes: 3 },
    ] {
        board.fault(fault);
        driver.status().unwrap();
    }
    board.fault(IoFault::Exception { code: 4 });
    let fault = driver.status().unwrap_err();
    assert_eq!(fault.code, "io-board.refused");
    assert!(fault.detail.contains("exception 4"), "{fault}");
    for (misbehavior, code) in [
        (Misbehavior::Silence, "device.silent"),
        (Misbehavior::Garbage, "io-board.bad-reply"),
        (Misbehavior::EndlessGarbage, "io-board.bad-reply"),
        (Misbehavior::Trickle, "io-board.bad-reply"),
        (Misbehavior::Vanish, "device.gone"),
    ] {
        board.misbehave(misbehavior);
        let fault = driver.status().unwrap_err();
        assert_eq!(fault.code, code, "{misbehavior:?}");
        driver.close();
        board.mend();
        // One that vanished may still be about to cut its cable.
        assert!(board.cut_cable() && board.plug_cable());
        driver.open().unwrap();
        driver.status().unwrap();
    }
}

#[test]
fn relays_that_never_answer_are_switched_and_their_loss_is_noticed() {
    let (_directory, board, mut driver) = board(IoDialect::Lcus1, "outputs = { light = 0 }");
    driver.open().unwrap();
    let completion = execute(&mut driver, set("light", Pattern::On));
    assert_eq!(completion, Completion::Success);
    driver.status().unwrap();
    wait_until(|| board.outputs()[0]);
    let completion = execute(&mut driver, set("light", Pattern::Off));
    assert_eq!(completion, Completion::Success);
    wait_until(|| !board.outputs()[0]);
    assert!(board.errors().is_empty(), "{:?}", board.errors());
    assert!(board.cut_cable());
    assert_eq!(driver.status().unwrap_err().code, "device.gone");
}

/// The board takes its time; nothing tells when it has switched.
fn wait_until(is_so: impl Fn() -> bool) {
    let until: Instant = clock::now() + LONG;
    while !is_so() {
        assert!(clock::now() < until, "it never came to be so");
        std::thread::yield_now();
    }
}
