//! The supervisor and the kernel: hot-plug messages, recovery after a replug, the rung that re-binds.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kiosk_device::supervisor::Rung;
use kiosk_device::{DeviceState, Support, clock, hotplug};
use kiosk_emulators::{CardFault, IdCardTransport};

use super::card;
use crate::case::{Measure, Outcome};
use crate::driven::Supervised;
use crate::plug::Plug;
use crate::until::{KERNEL_LIMIT, until};

/// Three misses with their pauses and the grace of the start, in emulation.
const LADDER_LIMIT: Duration = Duration::from_secs(90);
/// Messages that may wait. Chosen: a plug makes about ten.
const MESSAGES_MAX: usize = 256;

pub(crate) fn hotplug_messages() -> Outcome {
    let (sender, messages) = sync_channel(MESSAGES_MAX);
    let watch = hotplug::watch(move |uevent| drop(sender.try_send(uevent.clone())))?;
    let emulator = card::emulator(IdCardTransport::UsbPair)?;
    let plug = card::plug(&emulator)?;
    let end = format!("/{}", plug.path());
    let wait = |action: &str| {
        until(&format!("the message {action}"), KERNEL_LIMIT, || {
            messages
                .try_iter()
                .find(|uevent| uevent.action == action && uevent.path.ends_with(&end))
                .map(drop)
        })
    };
    wait("add")?;
    plug.pull()?;
    wait("remove")?;
    drop(watch);
    Ok(Vec::new())
}

/// Pulls a supervised reader and plugs it in again; times of pulling to missing, plugging to
/// enumerated, plugging to online.
fn replug(
    transport: IdCardTransport,
    port_of: fn(&Plug) -> anyhow::Result<String>,
) -> anyhow::Result<[Duration; 3]> {
    let emulator = card::emulator(transport)?;
    let plug = card::plug(&emulator)?;
    let port = port_of(&plug)?;
    // Fails here rather than in the thread below.
    card::driver(&port)?;
    let make = move || card::driver(&port).expect("the configuration was accepted before");
    let supervised = Supervised::start(make, Support::default());
    let waker = supervised.handle.waker();
    let watch = hotplug::watch(move |_| waker.wake())?;
    supervised.status(
        "the reader online",
        LADDER_LIMIT,
        kiosk_device::Status::is_ready,
    )?;
    ensure!(emulator.cut_cable(), "the plug was not pulled");
    let pulled = clock::now();
    plug.pull()?;
    supervised.status("the reader missing", LADDER_LIMIT, |status| {
        status.state == DeviceState::NoDevice
    })?;
    let told = clock::now().saturating_duration_since(pulled);
    ensure!(emulator.plug_cable(), "the reader is not plugged again");
    let plugged = clock::now();
    let plug = card::plug(&emulator)?;
    let enumerated = clock::now();
    supervised.status(
        "the reader again",
        LADDER_LIMIT,
        kiosk_device::Status::is_ready,
    )?;
    let back = clock::now();
    drop(watch);
    supervised.handle.stop();
    plug.pull()?;
    Ok([
        told,
        enumerated.saturating_duration_since(plugged),
        back.saturating_duration_since(plugged),
    ])
}

pub(crate) fn replugged_usb_reader() -> Outcome {
    let [told, enumerated, back] = replug(IdCardTransport::UsbFourPipes, |plug| Ok(plug.usb()))?;
    Ok(vec![
        Measure::new("unplug-to-missing", told),
        Measure::new("replug-to-enumerated", enumerated),
        Measure::new("replug-to-online", back),
    ])
}

pub(crate) fn replugged_serial_reader() -> Outcome {
    let [told, enumerated, back] = replug(IdCardTransport::UsbSerial, card::serial_node)?;
    Ok(vec![
        Measure::new("serial-unplug-to-missing", told),
        Measure::new("serial-replug-to-enumerated", enumerated),
        Measure::new("serial-replug-to-online", back),
    ])
}

pub(crate) fn rebind() -> Outcome {
    let emulator = card::emulator(IdCardTransport::UsbPair)?;
    let plug = card::plug(&emulator)?;
    let port = plug.usb();
    card::driver(&port)?;
    let rung = Rung::usb_rebind(&port).context("a USB port has no rung")?;
    let make = move || card::driver(&port).expect("the configuration was accepted before");
    let support = Support {
        rungs: vec![rung],
        ..Support::default()
    };
    let supervised = Supervised::start(make, support);
    supervised.status(
        "the reader online",
        LADDER_LIMIT,
        kiosk_device::Status::is_ready,
    )?;
    let (sender, messages) = sync_channel(MESSAGES_MAX);
    let watch = hotplug::watch(move |uevent| drop(sender.try_send(uevent.clone())))?;
    emulator.fault(CardFault::Silence);
    let silent = clock::now();
    let end = format!("/{}", plug.path());
    until("the kernel binds the device anew", LADDER_LIMIT, || {
        messages
            .try_iter()
            .find(|uevent| uevent.action == "bind" && uevent.path.ends_with(&end))
            .map(drop)
    })?;
    let bound = clock::now().saturating_duration_since(silent);
    emulator.mend();
    supervised.status(
        "the reader online after the re-bind",
        LADDER_LIMIT,
        kiosk_device::Status::is_ready,
    )?;
    let diary = supervised.handle.observer().snapshot().diary;
    ensure!(
        diary
            .recovered
            .get("usb-rebind")
            .is_some_and(|count| *count >= 1),
        "the diary does not tell the re-bind: {:?}",
        diary.recovered
    );
    drop(watch);
    supervised.handle.stop();
    plug.pull()?;
    Ok(vec![Measure::new("silence-to-rebind", bound)])
}
