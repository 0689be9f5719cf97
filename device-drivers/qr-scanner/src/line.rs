//! A scanner on a line of bytes, in any dialect.
//!
//! A plain code has no length and may hold line ends of its own, so its end is a pause behind it: a
//! short one behind the suffix, a longer one without. Only as long as the scanner owes an answer can
//! anything in the input be one; everything else is a code, whatever it looks like.

use std::time::{Duration, Instant};

use kiosk_device::{
    Action, Capabilities, Completion, Context, Fault, Wire, WireError, clock, tap, wire,
};
use zeroize::Zeroizing;

use crate::dialect::{self, Answer, Ask, Dialect, Input};
use crate::identity;
use crate::keyboard::{self, Keyboard};
use crate::scanner::Event;
use crate::ssi;
use crate::text::{ScannedCode, Suffix, decode_with};

/// Wait for the answer to a command. Chosen: one frame at 9600 baud takes 20 ms.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Wait for the answer while the speed is being found out. Chosen.
const PROBE_LIMIT: Duration = Duration::from_millis(500);
/// Wait between looks at the caller's wish to stop.
const LOOK_LIMIT: Duration = Duration::from_millis(100);
/// Pause that ends a code with a suffix. Chosen: 50 bytes at 9600 baud.
const END_PAUSE: Duration = Duration::from_millis(60);
/// Pause that ends a code without a suffix. Chosen: longer than a busy machine delays a byte.
const END_PAUSE_WITHOUT_SUFFIX: Duration = Duration::from_millis(300);
/// Pause after which a code that must have a suffix and has none is given up. Chosen: no line stalls
/// longer in the middle of a code.
const BROKEN_PAUSE: Duration = Duration::from_secs(2);
/// Modules end one scan by themselves after a few seconds (`ORTSET`): started again in time.
const RESTART_INTERVAL: Duration = Duration::from_secs(4);
/// Longest code: 4 KiB, more than a QR code of version 40 holds.
const CODE_BYTES_MAX: usize = 4096;
/// Bytes read at once.
const READ_BYTES: usize = 512;
/// How often a frame is sent that came damaged or was lost. Chosen.
const ATTEMPTS_MAX: usize = 3;
/// Unusable bytes of a probe that are kept to recognize another dialect in them. Chosen.
const STRANGE_BYTES_MAX: usize = 256;

/// One scanner on its line.
pub(crate) struct Line {
    port: String,
    baud: Option<u32>,
    dialect: Dialect,
    suffix: Suffix,
    wire: Option<Box<dyn Wire>>,
    /// What the kernel calls the scanner; empty where only the scanner itself tells.
    name: String,
    /// Input that was read and not used; bounded by [`CODE_BYTES_MAX`] and one reading.
    input: Zeroizing<Vec<u8>>,
    /// The packets of a code so far.
    packets: Zeroizing<Vec<u8>>,
    /// A packet was refused and comes again.
    awaits_again: bool,
    /// The beginning of a code in packets was missed: the rest of it is worth nothing.
    is_skipping: bool,
    /// A code that was whole before the answer to "start" came.
    ready: Option<ScannedCode>,
    /// An answer to "start" is still to come.
    owes_answer: bool,
    /// What comes instead of an answer, while the speed is found out and not a moment longer.
    strange: Option<Zeroizing<Vec<u8>>>,
}

/// How a question ended.
enum Outcome {
    Answered(Answer),
    Silent,
}

impl Line {
    pub(crate) fn new(port: &str, baud: Option<u32>, dialect: Dialect, suffix: Suffix) -> Self {
        Self {
            port: port.to_owned(),
            baud,
            dialect,
            suffix,
            wire: None,
            name: String::new(),
            input: empty_input(),
            packets: empty_input(),
            awaits_again: false,
            is_skipping: false,
            ready: None,
            owes_answer: false,
            strange: None,
        }
    }

    /// What the kernel calls the scanner; empty where only the scanner itself tells.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn wire(&mut self) -> Result<&mut (dyn Wire + 'static), WireError> {
        self.wire.as_deref_mut().ok_or(WireError::Gone)
    }

    /// Throws away what came unasked.
    pub(crate) fn forget(&mut self) {
        let _personal = tap::personal();
        self.input = empty_input();
        self.packets = empty_input();
        self.awaits_again = false;
        self.ready = None;
        if let Some(wire) = self.wire.as_deref_mut() {
            wire.discard_input();
        }
    }

    /// Reads more input; the number of bytes that came.
    fn read_more(&mut self, limit: Duration) -> Result<usize, WireError> {
        // A code may come at any time, also where an answer is waited for.
        let _personal = tap::personal();
        let mut buffer = Zeroizing::new([0_u8; READ_BYTES]);
        let count = self.wire()?.read(buffer.as_mut_slice(), limit)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        self.input.extend_from_slice(bytes);
        Ok(count)
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), WireError> {
        self.wire()?.write_all(frame, ANSWER_LIMIT)
    }

    /// Asks and waits for the answer; accepted at once when none comes in this dialect.
    fn ask(&mut self, ask: Ask, limit: Duration) -> Result<Answer, WireError> {
        let Some(mut frame) = self.dialect.frame(ask) else {
            return Ok(Answer::Accepted(Vec::new()));
        };
        for attempt in 0..ATTEMPTS_MAX {
            self.write(&frame)?;
            if !self.dialect.is_answered(ask) {
                return Ok(Answer::Accepted(Vec::new()));
            }
            match self.answer(ask, clock::now() + limit)? {
                Outcome::Answered(Answer::Again) => {}
                Outcome::Answered(answer) => return Ok(answer),
                // Only this dialect knows decoders that sleep.
                Outcome::Silent if self.dialect == Dialect::Ssi => {
                    self.write(&[ssi::WAKE])?;
                    self.read_more(Duration::from_millis(ssi::WAKE_PAUSE_MS))?;
                }
                // A damaged answer is as good as none, and somebody waits.
                Outcome::Silent if ask == Ask::Start && attempt == 0 => {}
                Outcome::Silent => return Err(WireError::TimedOut),
            }
            if self.dialect == Dialect::Ssi {
                frame = ssi::again(&frame);
            }
        }
        Err(WireError::TimedOut)
    }

    /// Waits for the answer to `ask`.
    fn answer(&mut self, ask: Ask, deadline: Instant) -> Result<Outcome, WireError> {
        loop {
            match self.dialect.parse(Some(ask), &self.input) {
                Input::Answer { length, answer } => {
                    self.input.drain(..length);
                    if answer != Answer::Other {
                        return Ok(Outcome::Answered(answer));
                    }
                    continue;
                }
                Input::Packet { length, packet } => {
                    self.input.drain(..length);
                    self.write(&ssi::packet(ssi::ACK, &[]))?;
                    if ask == Ask::Identity && packet.opcode == ssi::REPLY_REVISION {
                        let told = Answer::Accepted(packet.content.clone());
                        return Ok(Outcome::Answered(told));
                    }
                    if ask == Ask::Start {
                        // A scan that has begun may be faster than the second answer to it.
                        let code = self.join(&packet);
                        self.ready = code.or(self.ready.take());
                    } else if packet.opcode == ssi::DECODE_DATA {
                        self.is_skipping = packet.has_more;
                    }
                    continue;
                }
                Input::Damaged { length } => {
                    self.drop_front(length);
                    return Ok(Outcome::Answered(Answer::Again));
                }
                // A code is as good an answer; the other one is behind it.
                Input::Code if ask == Ask::Start => {
                    self.owes_answer = true;
                    return Ok(Outcome::Answered(Answer::Accepted(Vec::new())));
                }
                // A code in front of another answer was not asked for.
                Input::Code => {
                    let length = self.dialect.before_answer(ask, &self.input);
                    self.drop_front(length);
                }
                Input::Incomplete => {}
            }
            if self.input.len() > CODE_BYTES_MAX {
                self.drop_front(self.input.len());
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(Outcome::Silent);
            }
            self.read_more(left)?;
        }
    }

    /// Drops input that is no answer, and keeps a little of it as a hint at the dialect.
    fn drop_front(&mut self, length: usize) {
        let length = length.min(self.input.len());
        let dropped = self.input.drain(..length);
        if let Some(strange) = &mut self.strange {
            let room = STRANGE_BYTES_MAX.saturating_sub(strange.len());
            strange.extend(dropped.take(room));
        }
    }

    /// Opens the port at the configured speed, or at the first one at which the scanner answers.
    fn connect(&mut self) -> Result<(), Fault> {
        self.wire = None;
        if self.dialect == Dialect::Keyboard {
            let keyboard = Keyboard::open(&self.port)?;
            self.name = identity::plain(keyboard.name());
            self.wire = Some(Box::new(keyboard));
            self.forget();
            return Ok(());
        }
        let is_serial = matches!(wire::Port::parse(&self.port), Ok(wire::Port::Serial { .. }));
        let bauds = match self.baud {
            Some(baud) => vec![baud],
            None if is_serial => self.dialect.bauds().to_vec(),
            None => self.dialect.bauds().into_iter().take(1).collect(),
        };
        self.strange = Some(Zeroizing::new(Vec::with_capacity(STRANGE_BYTES_MAX)));
        let found = self.find_speed(&bauds);
        let strange = self.strange.take().unwrap_or_default();
        if found.is_err() {
            self.wire = None;
        }
        match (found, dialect::recognize(&strange)) {
            (Err(WireError::TimedOut), Some(driver))
                if Dialect::from_driver(driver) != Some(self.dialect) =>
            {
                Err(Fault::new(
                    "qr-scanner.wrong-dialect",
                    Action::Configuration,
                    format!("the scanner answers in the dialect of driver `{driver}`"),
                ))
            }
            (found, _) => Ok(found?),
        }
    }

    fn find_speed(&mut self, bauds: &[u32]) -> Result<(), WireError> {
        let mut failure = WireError::TimedOut;
        for baud in bauds {
            self.wire = None;
            self.wire = Some(wire::open(&self.port, *baud)?);
            self.forget();
            match self.probe() {
                Ok(()) => return Ok(()),
                Err(WireError::TimedOut) => self.drop_front(self.input.len()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn probe(&mut self) -> Result<(), WireError> {
        if !self.dialect.is_answered(Ask::Stop) {
            self.ask(Ask::Stop, PROBE_LIMIT)?;
            self.settle()?;
        }
        self.ask(Ask::Probe, PROBE_LIMIT).map(|_| ())
    }

    /// Lets a code that is under way run out, so that it is not taken for an answer.
    fn settle(&mut self) -> Result<(), WireError> {
        let deadline = clock::now() + PROBE_LIMIT;
        while clock::now() < deadline && self.read_more(END_PAUSE)? > 0 {
            self.forget();
        }
        self.forget();
        Ok(())
    }

    pub(crate) fn open(&mut self) -> Result<Capabilities, Fault> {
        self.connect()?;
        if self.ask(Ask::Mode, ANSWER_LIMIT)? == Answer::Refused {
            tracing::warn!("the scanner refuses command mode");
        }
        let told = match self.ask(Ask::Identity, ANSWER_LIMIT) {
            Ok(Answer::Accepted(told)) => told,
            // A refused question is an answer too: then the configuration says what it is.
            Ok(Answer::Refused | Answer::Again | Answer::Other) | Err(WireError::TimedOut) => {
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let mut capabilities = identity::capabilities(&told);
        if self.dialect == Dialect::Ssi {
            // The reply is one line, and its text is the revision.
            capabilities = Capabilities {
                firmware: identity::plain(&String::from_utf8_lossy(&told)),
                ..Capabilities::default()
            };
        }
        let ability = if self.dialect.has_trigger() {
            "trigger"
        } else {
            "presentation"
        };
        capabilities.abilities.push(ability.to_owned());
        Ok(capabilities)
    }

    pub(crate) fn close(&mut self) {
        self.wire = None;
        self.forget();
        self.is_skipping = false;
    }

    /// Asks for a sign of life.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        self.forget();
        if self.dialect.has_trigger() {
            self.ask(Ask::Probe, ANSWER_LIMIT)?;
        } else {
            // A keyboard that was unplugged shows at the next reading.
            self.read_more(Duration::ZERO)?;
        }
        self.forget();
        Ok(())
    }

    pub(crate) fn start(&mut self) -> Result<(), Completion> {
        self.owes_answer = false;
        match self.ask(Ask::Start, ANSWER_LIMIT) {
            Ok(Answer::Refused) => Err(Completion::Failed(Fault::new(
                "qr-scanner.command-refused",
                Action::Configuration,
                "the scanner refuses the command to start",
            ))),
            Ok(Answer::Accepted(_) | Answer::Again | Answer::Other) => Ok(()),
            Err(error) => Err(Completion::Failed(error.into())),
        }
    }

    /// Stops scanning. A scanner that does not answer shows at the next status.
    pub(crate) fn stop(&mut self) {
        if let Err(error) = self.ask(Ask::Stop, ANSWER_LIMIT) {
            tracing::debug!(%error, "scanner not stopped");
        }
        self.owes_answer = false;
        self.forget();
    }

    /// Waits for one code.
    pub(crate) fn next_code(
        &mut self,
        context: &Context<'_, Event>,
    ) -> Result<ScannedCode, Completion> {
        let mut restart_at = clock::now() + RESTART_INTERVAL;
        loop {
            context.check()?;
            if let Some(code) = self.ready.take() {
                return Ok(code);
            }
            let asked = self.owes_answer.then_some(Ask::Start);
            match self.dialect.parse(asked, &self.input) {
                Input::Answer { length, answer } => {
                    self.input.drain(..length);
                    self.owes_answer &= answer == Answer::Other;
                    continue;
                }
                Input::Packet { length, packet } => {
                    self.input.drain(..length);
                    let acknowledged = self.write(&ssi::packet(ssi::ACK, &[]));
                    acknowledged.map_err(failed)?;
                    self.ready = self.join(&packet);
                    if self.packets.len() > CODE_BYTES_MAX {
                        return Err(too_long());
                    }
                    continue;
                }
                Input::Damaged { length } => {
                    self.drop_front(length);
                    self.refuse_packet()?;
                    continue;
                }
                Input::Code => {
                    if let Some(code) = self.rest_of_code(context)? {
                        return Ok(code);
                    }
                    continue;
                }
                Input::Incomplete if self.input.is_empty() => {}
                Input::Incomplete => {
                    if let Some(code) = self.more_or_end(context)? {
                        return Ok(code);
                    }
                    continue;
                }
            }
            if clock::now() >= restart_at {
                // A code whose next packet did not come until now broke off.
                self.packets = empty_input();
                self.restart().map_err(failed)?;
                restart_at = clock::now() + RESTART_INTERVAL;
            }
            let limit = context.remaining().min(LOOK_LIMIT);
            if self.read_more(limit).map_err(failed)? > 0 {
                restart_at = clock::now() + RESTART_INTERVAL;
            }
        }
    }

    /// Starts again a scan that the scanner may have ended by itself.
    fn restart(&mut self) -> Result<(), WireError> {
        let Some(frame) = self.dialect.frame(Ask::Start) else {
            return Ok(());
        };
        self.write(&frame)?;
        self.owes_answer = self.dialect.is_answered(Ask::Start);
        Ok(())
    }

    /// Waits for the rest of what may be an answer or a packet; when nothing comes it was neither.
    fn more_or_end(
        &mut self,
        context: &Context<'_, Event>,
    ) -> Result<Option<ScannedCode>, Completion> {
        if self.read_more(END_PAUSE_WITHOUT_SUFFIX).map_err(failed)? > 0 {
            return Ok(None);
        }
        if self.dialect != Dialect::Ssi {
            // Only an answer can be incomplete: it broke off.
            self.input = empty_input();
            self.owes_answer = false;
            return Ok(None);
        }
        if ssi::begins_packet(&self.input) {
            self.input = empty_input();
            self.refuse_packet()?;
            return Ok(None);
        }
        self.rest_of_code(context)
    }

    /// Adds a packet of the decoder to the code; the code when it was the last one. Packets have no
    /// numbers: a repetition at the front is the rest of a code whose beginning nobody waited for.
    fn join(&mut self, packet: &ssi::Packet) -> Option<ScannedCode> {
        if packet.opcode != ssi::DECODE_DATA {
            return None;
        }
        let is_repeated = packet.is_again && !self.awaits_again;
        self.awaits_again = false;
        // The first byte is the kind of code.
        let (_, bytes) = packet.content.split_first()?;
        if self.is_skipping || is_repeated && self.packets.is_empty() {
            self.is_skipping = packet.has_more;
            return None;
        }
        if is_repeated && self.packets.ends_with(bytes) {
            return None;
        }
        // What is too long is noticed with one packet beyond the limit, and grows no further.
        if self.packets.len() <= CODE_BYTES_MAX {
            self.packets.extend_from_slice(bytes);
        }
        if packet.has_more || self.packets.len() > CODE_BYTES_MAX {
            return None;
        }
        let bytes = std::mem::replace(&mut self.packets, empty_input());
        decode_with(&bytes, self.suffix)
    }

    fn refuse_packet(&mut self) -> Result<(), Completion> {
        self.awaits_again = true;
        self.write(&ssi::packet(ssi::NAK, &[ssi::RESEND]))
            .map_err(failed)
    }

    /// Reads on until the pause that ends a code; `None` when it was only a suffix, or broke off.
    fn rest_of_code(
        &mut self,
        context: &Context<'_, Event>,
    ) -> Result<Option<ScannedCode>, Completion> {
        loop {
            context.check()?;
            if self.input.len() > CODE_BYTES_MAX {
                return Err(too_long());
            }
            let is_whole = self.suffix.ends(&self.input);
            let pause = match (is_whole, self.suffix.is_required()) {
                (true, _) => END_PAUSE,
                (false, false) => END_PAUSE_WITHOUT_SUFFIX,
                (false, true) => BROKEN_PAUSE,
            };
            if self.read_more(pause).map_err(failed)? > 0 {
                continue;
            }
            let bytes = std::mem::replace(&mut self.input, empty_input());
            let code = if self.owes_answer {
                self.dialect.without_answer(&bytes)
            } else {
                &bytes
            };
            self.owes_answer &= code.len() == bytes.len();
            if self.dialect == Dialect::Keyboard && code.contains(&keyboard::LOST) {
                tracing::warn!("keys were lost: the code is not whole and is thrown away");
                return Ok(None);
            }
            if self.suffix.is_required() && !self.suffix.ends(code) {
                tracing::debug!("a code broke off before its suffix");
                return Ok(None);
            }
            return Ok(decode_with(code, self.suffix));
        }
    }
}

fn failed(error: WireError) -> Completion {
    Completion::Failed(error.into())
}

pub(crate) fn too_long() -> Completion {
    Completion::Failed(Fault::new(
        "qr-scanner.code-too-long",
        Action::Clear,
        "the code is longer than 4 KiB",
    ))
}

/// Large enough from the start, so that growing leaves no copies behind.
fn empty_input() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(CODE_BYTES_MAX + READ_BYTES))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use kiosk_device::Cancel;

    use super::*;

    /// Gives these pieces, each after a pause that ends a code.
    struct Pieces(VecDeque<&'static [u8]>);

    impl Wire for Pieces {
        fn write_all(&mut self, _bytes: &[u8], _limit: Duration) -> Result<(), WireError> {
            Ok(())
        }

        fn read(&mut self, buffer: &mut [u8], _limit: Duration) -> Result<usize, WireError> {
            let Some(piece) = self.0.pop_front() else {
                return Err(WireError::Gone);
            };
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }

        fn discard_input(&mut self) {}
    }

    fn first_code(dialect: Dialect, pieces: &[&'static [u8]]) -> Option<Vec<u8>> {
        let mut line = Line::new("/dev/null", None, dialect, dialect.suffix());
        line.wire = Some(Box::new(Pieces(pieces.iter().copied().collect())));
        let cancel = Cancel::default();
        let context = Context::new(Duration::from_secs(30), &cancel, &|_| ());
        let code = line.next_code(&context).ok()?;
        Some(code.raw.expose().clone())
    }

    #[test]
    fn a_typed_code_that_lost_keys_is_thrown_away_up_to_its_end() {
        let check = |pieces: &[&'static [u8]], expect: Option<&[u8]>| {
            let found = first_code(Dialect::Keyboard, pieces);
            assert_eq!(found.as_deref(), expect);
        };
        check(&[b"TESTQR\n", b""], Some(b"TESTQR"));
        // Its beginning was handed over before the rest was lost.
        let cut: [&[u8]; 6] = [b"TEST", b"\xFF", b"R\n", b"", b"TESTQR\n", b""];
        check(&cut, Some(b"TESTQR"));
        // Its end was lost too: the pause behind it ends it.
        check(&[b"TES\xFF", b"", b"TESTQR\n", b""], Some(b"TESTQR"));
        check(&[b"\xFFTQR\n", b""], None);
        // The end was lost and the next code came at once.
        check(&[b"TES\xFFTESTQR\n", b""], None);
    }

    #[test]
    fn on_a_line_the_same_byte_is_part_of_a_code() {
        let found = first_code(Dialect::Datalogic, &[b"\xFFTEST\r", b""]);
        assert_eq!(found.as_deref(), Some(&b"\xFFTEST"[..]));
    }
}
