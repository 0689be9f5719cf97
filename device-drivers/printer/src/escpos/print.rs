//! One print: bytes to the printer no faster than it takes them, what it says meanwhile, and the
//! proof that the slip is out.

use std::time::{Duration, Instant};

use kiosk_device::{Action, Completion, Context, Fault, WireError, clock, tap};

use super::commands::{self, BAND_ROWS};
use super::{
    AskError, Condition, Confirmation, Dialect, Element, Event, ROWS_MAX, Report, SlipPrinter,
    SlipRaster, SlipText, Source, text,
};

/// Bytes written between two looks at what the printer says. Chosen: a few rows.
const PIECE_BYTES: usize = 1024;
/// How long the printer may refuse bytes before it is asked what is wrong. Chosen: longer than the
/// slowest board prints the rows that a piece needs room for.
const WRITE_LIMIT: Duration = Duration::from_secs(4);
/// Wait for the rest of a picture to go through when a print is given up. Chosen below the margin after
/// which the supervisor takes the driver for hanging.
const REST_LIMIT: Duration = Duration::from_secs(3);
/// Wait between looks at the printer while it prints, so that cancellation is prompt.
const LOOK_LIMIT: Duration = Duration::from_millis(100);
/// Slow paper: 50 mm/s at 8 dots a millimetre. Chosen below the slowest common mechanism.
const ROWS_PER_SECOND_MIN: usize = 400;
/// Fast paper: 500 mm/s. Chosen above the fastest common mechanism.
const ROWS_PER_SECOND_MAX: u32 = 4000;
/// Cutting and starting the motor. Chosen.
const CUT_TIME: Duration = Duration::from_secs(1);
/// How much later than expected a proof may come before it is asked for again. Chosen.
const PROOF_EXTRA: Duration = Duration::from_secs(2);
/// How often the printer is asked while it prints without automatic status. Chosen.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Bands between two process ids. Chosen: 64 mm, since an echo may halt the motor for a moment.
const MARK_BANDS: usize = 4;
/// Reports that are taken in when the printer takes no bytes. Chosen: more than wait by then.
const REPORTS_MAX: usize = 16;
/// Looks in a row at which nothing may move before the printer is taken to rest. Chosen: one could
/// fall between two commands.
const RESTS_MIN: u32 = 2;

/// Ends a print on its way; what the caller turns into the command's completion.
pub(super) type Step<T> = Result<T, Completion>;

/// What is known of the running print.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// When its first byte was sent.
    start: Option<Instant>,
    /// Rows of the whole slip.
    rows: usize,
    /// Process ids sent behind so many rows.
    marks: Vec<([u8; 4], usize)>,
    /// Rows known to be out.
    rows_printed: usize,
    /// Rows that the caller knows to be out.
    rows_told: usize,
    /// Something of the slip has been sent.
    has_begun: bool,
    /// Bytes of the command under way that the printer still waits for.
    owed_bytes: usize,
    /// What delays the print and passes by itself.
    delay: Option<Fault>,
    /// When the printer is asked again.
    next_question: Option<Instant>,
}

impl Run {
    /// Takes in an echo, whenever it comes.
    pub(super) fn heard(&mut self, id: [u8; 4]) {
        let mark = self.marks.iter().find(|(mark, _)| *mark == id);
        let rows = mark.map_or(0, |(_, rows)| *rows);
        self.rows_printed = self.rows_printed.max(rows);
    }
}

impl SlipPrinter {
    /// Prints dots, feeds and cuts.
    pub(super) fn print_raster(
        &mut self,
        slip: &SlipRaster,
        context: &Context<'_, Event>,
    ) -> Step<()> {
        let row_bytes = self.check(slip)?;
        let rows = slip.rows.len() / usize::from(row_bytes);
        self.begin(rows, context)?;
        self.send(commands::INITIALIZE, context)?;
        self.watch(context)?;
        let bands = slip.rows.chunks(usize::from(row_bytes) * BAND_ROWS);
        for (index, band) in bands.enumerate() {
            self.run.has_begun = true;
            let command = commands::raster_band(row_bytes, band);
            {
                let _personal = tap::personal();
                self.send(&command, context)?;
            }
            let rows_sent = (index + 1) * BAND_ROWS;
            if (index + 1).is_multiple_of(MARK_BANDS) && rows_sent < rows {
                self.mark(rows_sent, context)?;
            }
        }
        self.sever(context)?;
        self.confirm(context)
    }

    /// Prints text; the cut at its end is added when it is missing.
    pub(super) fn print_text(&mut self, slip: &SlipText, context: &Context<'_, Event>) -> Step<()> {
        let profile = *self.profile();
        let rows = slip
            .check(&profile, ROWS_MAX)
            .map_err(Completion::NotReady)?;
        self.begin(rows, context)?;
        self.send(commands::INITIALIZE, context)?;
        self.watch(context)?;
        self.run.has_begun = true;
        for command in text::commands(slip, &profile) {
            let _personal = tap::personal();
            self.send(&command, context)?;
        }
        if slip.elements.last() != Some(&Element::Cut) {
            self.sever(context)?;
        }
        self.confirm(context)
    }

    /// Bytes of a row, when the slip can be printed at all.
    fn check(&self, slip: &SlipRaster) -> Step<u16> {
        let bad = |detail: String| {
            let fault = Fault::new("printer.bad-raster", Action::Configuration, detail);
            Err(Completion::NotReady(fault))
        };
        let head = self.profile().width_dots;
        if slip.width_dots == 0 || slip.width_dots > head {
            return bad(format!(
                "the slip is {} dots wide, the head {head}",
                slip.width_dots
            ));
        }
        let row_bytes = slip.row_bytes();
        let bytes = slip.rows.len();
        if bytes == 0 || !bytes.is_multiple_of(row_bytes) || bytes / row_bytes > ROWS_MAX {
            return bad(format!("{bytes} bytes are no 1 to {ROWS_MAX} rows"));
        }
        Ok(u16::try_from(row_bytes).unwrap_or(u16::MAX))
    }

    /// Makes sure that the printer can print. Nothing was sent when this fails.
    fn begin(&mut self, rows: usize, context: &Context<'_, Event>) -> Step<()> {
        self.run = Run {
            start: Some(clock::now()),
            rows,
            ..Run::default()
        };
        let not_ready = |error: AskError| Completion::NotReady(error.into());
        let condition = self.condition().map_err(not_ready)?;
        let condition = self.free_cutter(condition).map_err(not_ready)?;
        if let Some(fault) = condition.faults().into_iter().next() {
            return Err(Completion::NotReady(fault));
        }
        self.probe()
            .map_err(|error| Completion::NotReady(error.into()))?;
        if self.has_remains {
            // The next person must not find the last one's paper on theirs.
            self.send(commands::INITIALIZE, context)?;
            self.sever(context)?;
            self.has_remains = false;
        }
        Ok(())
    }

    /// Switches automatic status on, where it exists.
    fn watch(&mut self, context: &Context<'_, Event>) -> Step<()> {
        if self.profile().dialect == Dialect::Plain || self.source == Source::Port {
            return Ok(());
        }
        self.send(commands::AUTOMATIC_STATUS_ON, context)
    }

    fn sever(&mut self, context: &Context<'_, Event>) -> Step<()> {
        let profile = *self.profile();
        self.send(&commands::feed_lines(profile.feed_lines), context)?;
        self.send(commands::cut(profile.cut), context)
    }

    /// Asks for an echo behind the rows sent so far, so that it is known how far a slip came.
    fn mark(&mut self, rows_sent: usize, context: &Context<'_, Event>) -> Step<()> {
        if self.confirmation != Confirmation::ProcessId {
            return Ok(());
        }
        let id = self.next_id();
        self.run.marks.push((id, rows_sent));
        self.send(&commands::process_id(id), context)
    }

    /// Sends one command. Waits while the printer cannot take it; a printer that refuses bytes is
    /// asked why.
    fn send(&mut self, bytes: &[u8], context: &Context<'_, Event>) -> Step<()> {
        let mut sent = 0;
        for piece in bytes.chunks(PIECE_BYTES) {
            self.wait_until_ready(context)?;
            let limit = context.remaining().min(WRITE_LIMIT);
            if let Err(error) = self.link().and_then(|link| link.write_all(piece, limit)) {
                return Err(Completion::Failed(self.refusal(error, context)));
            }
            sent += piece.len();
            self.run.owed_bytes = bytes.len() - sent;
        }
        Ok(())
    }

    /// Why the printer takes no bytes.
    fn refusal(&mut self, error: WireError, context: &Context<'_, Event>) -> Fault {
        let is_stuck = matches!(error, WireError::TimedOut | WireError::Stalled);
        // How much of the piece went through is unknown: nothing can be sent in order any more.
        self.run.owed_bytes = 0;
        if !is_stuck {
            return error.into();
        }
        // What it said of itself comes first: it may be too late to ask.
        for _ in 0..REPORTS_MAX {
            if let Err(Completion::Failed(fault)) = self.hear(Duration::ZERO, context) {
                return fault;
            }
        }
        let fault = self
            .condition()
            .ok()
            .and_then(|condition| condition.faults().into_iter().next());
        fault
            .or_else(|| self.run.delay.clone())
            .unwrap_or_else(|| error.into())
    }

    /// Takes in what the printer says, and waits while it is delayed.
    fn wait_until_ready(&mut self, context: &Context<'_, Event>) -> Step<()> {
        self.check_time(context)?;
        self.hear(Duration::ZERO, context)?;
        while self.run.delay.is_some() || self.is_held {
            self.check_time(context)?;
            self.hear(LOOK_LIMIT, context)?;
            // A question inside a picture would be printed.
            if self.run.owed_bytes == 0 {
                self.ask_in_time(context)?;
            }
        }
        Ok(())
    }

    /// Takes in what the printer says within `limit`. Ends the print when it cannot go on.
    fn hear(&mut self, limit: Duration, context: &Context<'_, Event>) -> Step<()> {
        let can_answer = self.link().is_ok_and(|link| link.can_answer());
        if !can_answer {
            return if limit.is_zero() {
                Ok(())
            } else {
                context.pause(limit)
            };
        }
        let report = self.next_report(limit);
        self.tell_progress(context);
        match report {
            Ok(Some(Report::Automatic(bytes))) => {
                self.judge(Condition::from_automatic(bytes), context)
            }
            Ok(
                Some(
                    Report::ProcessId(_)
                    | Report::RealTime(_)
                    | Report::Full(_)
                    | Report::PaperSensors(_)
                    | Report::Hold
                    | Report::Release,
                )
                | None,
            ) => Ok(()),
            Err(error) => Err(Completion::Failed(error.into())),
        }
    }

    fn tell_progress(&mut self, context: &Context<'_, Event>) {
        if self.run.rows_printed > self.run.rows_told {
            self.run.rows_told = self.run.rows_printed;
            context.emit(Event::Progress {
                rows_printed: u32::try_from(self.run.rows_printed).unwrap_or(u32::MAX),
            });
        }
    }

    /// Ends the print for faults that do not pass by themselves; remembers those that do.
    fn judge(&mut self, condition: Condition, context: &Context<'_, Event>) -> Step<()> {
        let fault = condition.faults().into_iter().next();
        match (&fault, &self.run.delay) {
            (Some(new), Some(old)) if new == old => return Ok(()),
            (Some(new), _) => context.emit(Event::Stopped(new.clone())),
            (None, Some(_)) => context.emit(Event::Resumed),
            (None, None) => {}
        }
        if let Some(fault) = &fault
            && fault.action != Action::Reset
            // Off-line without a cause: the cause follows in a moment, or the deadline ends it.
            && fault.code != "printer.offline"
        {
            return Err(Completion::Failed(fault.clone()));
        }
        self.run.delay = fault;
        Ok(())
    }

    /// Asks when it is time to. Automatic status may be lost or missing: the question is the safety
    /// net. Behind a full buffer it may go unanswered for a while, which says nothing.
    fn ask_in_time(&mut self, context: &Context<'_, Event>) -> Step<()> {
        let now = clock::now();
        let due = *self.run.next_question.get_or_insert(now + ASK_INTERVAL);
        if now < due {
            return Ok(());
        }
        self.run.next_question = Some(now + ASK_INTERVAL);
        match self.condition() {
            Ok(condition) => self.judge(condition, context),
            Err(error) if error.is_silence() => Ok(()),
            Err(error) => Err(Completion::Failed(error.into())),
        }
    }

    /// Waits for the proof that the slip is out.
    fn confirm(&mut self, context: &Context<'_, Event>) -> Step<()> {
        let seconds = u64::try_from(self.run.rows / ROWS_PER_SECOND_MIN).unwrap_or(u64::MAX);
        let print_time = Duration::from_secs(seconds) + CUT_TIME;
        let id = self.next_id();
        self.request_proof(id, context)?;
        let printed_by = self.run.start.unwrap_or_else(clock::now) + print_time;
        let mut proof_by = clock::now() + print_time + PROOF_EXTRA;
        let mut rests = 0;
        loop {
            self.check_time(context)?;
            self.hear(LOOK_LIMIT, context)?;
            if !self.has_proof(id) {
                self.ask_in_time(context)?;
            }
            let now = clock::now();
            let is_well = self.run.delay.is_none();
            match self.confirmation {
                Confirmation::InTurn if self.sensors.is_some() && self.is_too_early() => {
                    // It answers at once, not in its turn: only time tells.
                    self.confirmation = Confirmation::Time;
                }
                Confirmation::ProcessId | Confirmation::InTurn => {
                    if self.has_proof(id) {
                        break;
                    }
                    if now >= proof_by && is_well {
                        // The proof may have been lost on the line.
                        self.request_proof(id, context)?;
                        proof_by = now + print_time + PROOF_EXTRA;
                    }
                }
                Confirmation::FullStatus => {
                    let is_busy = self.ask_full().map_or(true, super::FullStatus::is_busy);
                    rests = if is_busy { 0 } else { rests + 1 };
                    if rests >= RESTS_MIN {
                        break;
                    }
                }
                Confirmation::Time | Confirmation::Unknown => {
                    if now >= printed_by && is_well {
                        break;
                    }
                }
            }
        }
        self.verify(context)
    }

    /// No mechanism could have printed the slip by now.
    fn is_too_early(&self) -> bool {
        let rows = u32::try_from(self.run.rows).unwrap_or(u32::MAX);
        let fastest = Duration::from_secs(rows.into()) / ROWS_PER_SECOND_MAX;
        self.run
            .start
            .is_some_and(|start| clock::now() < start + fastest)
    }

    fn request_proof(&mut self, id: [u8; 4], context: &Context<'_, Event>) -> Step<()> {
        match self.confirmation {
            Confirmation::ProcessId => {
                self.run.marks.push((id, self.run.rows));
                self.send(&commands::process_id(id), context)
            }
            Confirmation::InTurn => {
                self.sensors = None;
                self.parser.expect_paper_sensors();
                self.send(commands::PAPER_SENSORS, context)
            }
            Confirmation::FullStatus | Confirmation::Time | Confirmation::Unknown => Ok(()),
        }
    }

    fn has_proof(&self, id: [u8; 4]) -> bool {
        match self.confirmation {
            Confirmation::ProcessId => self.printed == Some(id),
            Confirmation::InTurn => self.sensors.is_some(),
            Confirmation::FullStatus | Confirmation::Time | Confirmation::Unknown => false,
        }
    }

    /// As [`Context::check`], but a deadline that passed during a known trouble is that trouble.
    fn check_time(&self, context: &Context<'_, Event>) -> Step<()> {
        context.check().map_err(|completion| match &self.run.delay {
            Some(fault) if completion == Completion::TimeOut => Completion::Failed(fault.clone()),
            Some(_) | None => completion,
        })
    }

    /// A last question before success is claimed. Paper that ended behind a slip that is known to
    /// be out is the next slip's trouble; without the echo it may have ended inside this one.
    fn verify(&mut self, context: &Context<'_, Event>) -> Step<()> {
        self.tell_progress(context);
        let sensors = self.sensors.take().map(Condition::from_paper_sensors);
        let mut condition = self
            .condition()
            .map_err(|error| Completion::Failed(error.into()))?
            .or(sensors.unwrap_or_default());
        if self.confirmation == Confirmation::ProcessId {
            condition.is_paper_out = false;
            condition.is_offline = false;
        }
        self.judge(condition, context)
    }

    /// Ends a print that failed: what is left of it must not come out in front of the next person.
    pub(super) fn give_up(&mut self, completion: Completion) -> Completion {
        let completion = match completion {
            // Nothing of the slip was sent, so nothing of it can be out.
            Completion::Failed(fault) if !self.run.has_begun => Completion::NotReady(fault),
            Completion::Failed(mut fault) => {
                fault.detail = format!(
                    "{}; at least {} of {} rows are out",
                    fault.detail, self.run.rows_printed, self.run.rows
                );
                Completion::Failed(fault)
            }
            other @ (Completion::NotReady(_)
            | Completion::Success
            | Completion::Canceled
            | Completion::TimeOut) => other,
        };
        if matches!(completion, Completion::NotReady(_)) {
            return completion;
        }
        // The printer takes the rest of a picture for dots, whatever it is.
        let rest = vec![0; self.run.owed_bytes];
        let cleared = self
            .link()
            .and_then(|link| link.write_all(&rest, REST_LIMIT))
            .and_then(|()| self.write(commands::RECOVER_AND_CLEAR));
        if let Err(error) = cleared {
            let is_reset = self.link().is_ok_and(super::Link::soft_reset);
            tracing::debug!(%error, is_reset, "buffer not cleared");
            self.has_remains = self.run.has_begun;
            return completion;
        }
        if self.run.has_begun && !is_mended_by_hand(&completion) {
            self.has_remains = self.sever_remains().is_err();
        }
        completion
    }

    fn sever_remains(&mut self) -> Result<(), WireError> {
        let profile = *self.profile();
        self.write(commands::INITIALIZE)?;
        self.write(&commands::feed_lines(profile.feed_lines))?;
        self.write(commands::cut(profile.cut))
    }
}

/// Whoever puts in paper or frees the cutter takes the torn piece out.
fn is_mended_by_hand(completion: &Completion) -> bool {
    matches!(completion, Completion::Failed(fault) if fault.action == Action::Clear)
}
