//! The bytes of one device as they come, for somebody who looks over its shoulder: only while the
//! page is open, only the last lines, personal content masked as in every ordinary recording.

use std::time::Duration;

use kiosk_device::Tap;

use crate::clock::Moment;

/// Lines that are kept. Chosen: two screens.
const LINES_MAX: usize = 80;
/// Nobody has asked for so long: the page is closed. It asks every second.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is being looked at.
#[derive(Debug, Default)]
pub(super) struct Monitor(Option<Open>);

#[derive(Debug)]
struct Open {
    device: String,
    tap: Tap,
    asked_at: Duration,
}

impl Monitor {
    /// The last lines of a device; from the first call on they are kept.
    pub(super) fn lines(&mut self, device: &str, tap: &Tap, now: Moment) -> Vec<String> {
        if self.0.as_ref().is_none_or(|open| open.device != device) {
            self.close();
            tap.watch(LINES_MAX);
            self.0 = Some(Open {
                device: device.to_owned(),
                tap: tap.clone(),
                asked_at: now.uptime,
            });
        }
        if let Some(open) = &mut self.0 {
            open.asked_at = now.uptime;
        }
        tap.lines()
    }

    /// Closes it when nobody asks any more.
    pub(super) fn turn(&mut self, now: Moment) {
        let is_left = self
            .0
            .as_ref()
            .is_some_and(|open| now.uptime.saturating_sub(open.asked_at) > PATIENCE);
        if is_left {
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        if let Some(open) = self.0.take() {
            open.tap.unwatch();
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.close();
    }
}
