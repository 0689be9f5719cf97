//! The end of a print: the slip is handed out, taken or pulled back. Only printers with a sensor in
//! the output (`device-protocols.md` §5.4) know the last two; the others present by cutting.

use std::time::Duration;

use kiosk_device::{Completion, Context, Media, WireError, clock};

use super::{Event, SlipPrinter, commands};

/// Wait for a slip to appear in the output. Chosen: a presenter moves it in two seconds.
const APPEAR_LIMIT: Duration = Duration::from_secs(5);
/// How long a slip that is not pulled back is watched. Chosen: the visit goes on meanwhile.
const WATCH_LIMIT: Duration = Duration::from_secs(30);
/// How often the output is looked at. Chosen: quicker than a person notices.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Looks in a row that may fail. Chosen.
const MISSES_MAX: u32 = 3;

impl SlipPrinter {
    /// Hands out a slip that is printed and cut. Whatever happens now, it was printed.
    pub(super) fn present(&mut self, context: &Context<'_, Event>) -> Completion {
        if !self.has_full_status {
            context.emit(Event::Presented);
            return Completion::Success;
        }
        if let Err(error) = self.write(&commands::present(self.present_steps)) {
            tracing::warn!(%error, "slip printed, but not handed out");
        }
        context.emit(Event::Presented);
        match self.watch_output(context) {
            Ok(Output::Taken) => context.emit(Event::Taken),
            Ok(Output::Left) => self.retract(context),
            Ok(Output::Unknown) => {}
            Err(error) => tracing::debug!(%error, "output not watched"),
        }
        Completion::Success
    }

    fn watch_output(&mut self, context: &Context<'_, Event>) -> Result<Output, WireError> {
        let start = clock::now();
        let limit = self.retract_after.unwrap_or(WATCH_LIMIT);
        let mut was_seen = false;
        let mut misses = 0;
        loop {
            match self.ask_full().map(super::FullStatus::media) {
                Ok(Media::Present) => was_seen = true,
                Ok(_) if was_seen => return Ok(Output::Taken),
                Ok(_) => misses = 0,
                Err(WireError::TimedOut) if misses < MISSES_MAX => misses += 1,
                Err(error) => return Err(error),
            }
            let passed = clock::now().saturating_duration_since(start);
            if !was_seen && passed >= APPEAR_LIMIT {
                return Ok(Output::Unknown);
            }
            if passed >= limit {
                return Ok(Output::Left);
            }
            if context.pause(LOOK_INTERVAL).is_err() {
                // Nobody waits for it any more; its status goes on telling.
                return Ok(Output::Unknown);
            }
        }
    }

    fn retract(&mut self, context: &Context<'_, Event>) {
        if self.retract_after.is_none() {
            return;
        }
        match self.write(commands::RETRACT) {
            Ok(()) => context.emit(Event::Retracted),
            Err(error) => tracing::warn!(%error, "slip not pulled back"),
        }
    }
}

/// What became of a slip in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// It was there and is gone.
    Taken,
    /// It is still there.
    Left,
    /// It was never seen, or nobody waits any more.
    Unknown,
}
