//! Drivers as the terminal runs them: alone for one command, or under the supervisor.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kiosk_device::{
    Cancel, Capabilities, Completion, Context, DeviceConfig, DeviceEvent, DeviceHandle, Driver,
    Fault, Status, Support, clock, spawn_supported,
};

use crate::until::until;

/// Events that may wait for a case to look at them. Chosen: a stream of a few seconds.
const EVENTS_MAX: usize = 1024;
/// Wait for a device that the kernel has and a program's list does not. Chosen.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// The configuration of one device, as it stands in the terminal's file.
///
/// # Errors
/// The table is refused.
pub(crate) fn config(
    class: &str,
    driver: &str,
    port: &str,
    more: &str,
) -> anyhow::Result<DeviceConfig> {
    let text = format!(
        "id = \"lab\"\nclass = \"{class}\"\ndriver = \"{driver}\"\nport = \"{port}\"\n{more}"
    );
    toml::from_str(&text).context("the device table is refused")
}

/// What a driver did with one command.
#[derive(Debug)]
pub(crate) struct Done<E> {
    pub(crate) completion: Completion,
    pub(crate) events: Vec<E>,
    pub(crate) took: Duration,
}

impl<E> Done<E> {
    /// The events of a command that succeeded.
    ///
    /// # Errors
    /// It did not.
    pub(crate) fn success(self) -> anyhow::Result<Vec<E>> {
        ensure!(
            self.completion == Completion::Success,
            "the command ended as {:?}",
            self.completion
        );
        Ok(self.events)
    }

    /// The fault of a command that failed.
    ///
    /// # Errors
    /// It did not fail.
    pub(crate) fn fault(self) -> anyhow::Result<Fault> {
        match self.completion {
            Completion::Failed(fault) | Completion::NotReady(fault) => Ok(fault),
            other @ (Completion::Success | Completion::Canceled | Completion::TimeOut) => {
                anyhow::bail!("the command ended as {other:?}")
            }
        }
    }
}

/// Opens a driver and asks for its status once, as the supervisor does: the lists of programs
/// follow udev a moment later, so a device that is not there yet is tried again.
///
/// # Errors
/// The fault of either, in words.
pub(crate) fn open<D: Driver>(driver: &mut D) -> anyhow::Result<(Capabilities, Status)> {
    let mut last = None;
    let opened = until("open", OPEN_LIMIT, || match driver.open() {
        Ok(capabilities) => Some(Ok(capabilities)),
        Err(fault) if fault.code == "device.not-there" => {
            last = Some(fault);
            None
        }
        Err(fault) => Some(Err(fault)),
    });
    let capabilities = match (opened, last) {
        (Ok(opened), _) => opened.context("open")?,
        (Err(_), Some(fault)) => return Err(fault).context("open"),
        (Err(error), None) => return Err(error),
    };
    let status = driver.status().context("status")?;
    Ok((capabilities, status))
}

/// Carries out one command; `on_event` sees each event when it comes.
pub(crate) fn execute<D: Driver>(
    driver: &mut D,
    command: D::Command,
    limit: Duration,
    on_event: impl Fn(&D::Event, &Cancel),
) -> Done<D::Event> {
    let cancel = Cancel::default();
    let events = RefCell::new(Vec::new());
    let started = clock::now();
    let completion = {
        let emit = |event| {
            on_event(&event, &cancel);
            events.borrow_mut().push(event);
        };
        driver.execute(command, &Context::new(limit, &cancel, &emit))
    };
    Done {
        completion,
        events: events.into_inner(),
        took: clock::now().saturating_duration_since(started),
    }
}

/// A driver under the supervisor, with what it reports.
#[derive(Debug)]
pub(crate) struct Supervised<C, E> {
    pub(crate) handle: DeviceHandle<C>,
    events: Receiver<DeviceEvent<E>>,
}

impl<C: Send + 'static, E: Send + 'static> Supervised<C, E> {
    /// Starts the thread of a device.
    pub(crate) fn start<D: Driver<Command = C, Event = E>>(
        make: impl Fn() -> D + Send + 'static,
        support: Support,
    ) -> Self {
        let (sender, events) = sync_channel(EVENTS_MAX);
        let handle = spawn_supported(
            "lab".to_owned(),
            make,
            // A case that looks at nothing may lose events.
            move |event| drop(sender.try_send(event)),
            support,
        );
        Self { handle, events }
    }

    /// Waits for the first event that `pick` takes.
    ///
    /// # Errors
    /// None came in time.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        pick: impl Fn(DeviceEvent<E>) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = clock::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let event = self
                .events
                .recv_timeout(left)
                .with_context(|| format!("{what}: not within {} s", limit.as_secs()))?;
            if let Some(found) = pick(event) {
                return Ok(found);
            }
        }
    }

    /// Waits for a status that passes.
    ///
    /// # Errors
    /// None came in time.
    pub(crate) fn status(
        &self,
        what: &str,
        limit: Duration,
        passes: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        self.wait(what, limit, |event| match event {
            DeviceEvent::Status(status) if passes(&status) => Some(status),
            DeviceEvent::Status(_)
            | DeviceEvent::Opened { .. }
            | DeviceEvent::Command { .. }
            | DeviceEvent::Completed { .. } => None,
        })
    }
}

/// Waits until opening says that nothing is there. A moment after the plug was pulled, the lists of
/// programs may still have the device; then it is told as gone.
///
/// # Errors
/// It says something else.
pub(crate) fn expect_absent<D: Driver>(driver: &mut D) -> anyhow::Result<()> {
    let mut last = "nothing";
    until("an empty socket", OPEN_LIMIT, || {
        last = driver.open().err().map_or("nothing", |fault| fault.code);
        driver.close();
        (last != "device.gone").then_some(())
    })?;
    ensure!(
        last == "device.not-there",
        "an empty socket is told as {last}"
    );
    Ok(())
}
