//! The dialects of scanners on a line of bytes, side by side: which frame asks what, whether it is
//! answered, and what the input is. The driver in `line.rs` knows no dialect but this list.

use crate::text::Suffix;
use crate::{datalogic, gm65, honeywell, newland, ssi};

/// How a scanner is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Newland,
    Honeywell,
    Gm65,
    Ssi,
    Datalogic,
    /// A keyboard: it takes no commands and only tells.
    Keyboard,
}

/// What a scanner can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A sign of life, without consequences.
    Probe,
    /// To scan on command only.
    Mode,
    /// What it is.
    Identity,
    /// To scan.
    Start,
    /// To stop.
    Stop,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes, with what it tells.
    Accepted(Vec<u8>),
    /// No.
    Refused,
    /// The question came damaged.
    Again,
    /// The answer to something else.
    Other,
}

/// What the beginning of the input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing, or too little to say.
    Incomplete,
    /// An answer to what was asked.
    Answer { length: usize, answer: Answer },
    /// Part of a code in a packet that wants to be acknowledged.
    Packet { length: usize, packet: ssi::Packet },
    /// A packet that has to be sent again.
    Damaged { length: usize },
    /// A code as plain bytes, or the beginning of one.
    Code,
}

impl Dialect {
    /// The dialect that a `driver` name means.
    pub(crate) fn from_driver(driver: &str) -> Option<Self> {
        match driver {
            "newland" => Some(Self::Newland),
            "honeywell" => Some(Self::Honeywell),
            "gm65" => Some(Self::Gm65),
            "ssi" => Some(Self::Ssi),
            "datalogic" => Some(Self::Datalogic),
            "keyboard-wedge" => Some(Self::Keyboard),
            _ => None,
        }
    }

    /// Both default speeds seen in the field (§4.1–4.5), the likelier one first.
    pub(crate) fn bauds(self) -> [u32; 2] {
        match self {
            Self::Newland | Self::Honeywell => [115_200, 9600],
            Self::Gm65 | Self::Ssi | Self::Datalogic | Self::Keyboard => [9600, 115_200],
        }
    }

    /// How its codes end when the configuration does not say.
    pub(crate) fn suffix(self) -> Suffix {
        match self {
            Self::Keyboard => Suffix::Key,
            Self::Newland | Self::Honeywell | Self::Gm65 | Self::Ssi | Self::Datalogic => {
                Suffix::Any
            }
        }
    }

    /// The bytes that ask; `None` when the dialect has no such question.
    pub(crate) fn frame(self, ask: Ask) -> Option<Vec<u8>> {
        match (self, ask) {
            // "Stop" is harmless to a scanner that does nothing.
            (Self::Newland, Ask::Stop | Ask::Probe) => Some(newland::command(newland::STOP)),
            (Self::Newland, Ask::Start) => Some(newland::command(newland::START)),
            (Self::Newland, Ask::Mode) => Some(newland::command(newland::COMMAND_MODE)),
            (Self::Newland, Ask::Identity) => Some(newland::query(newland::PRODUCT)),
            (Self::Honeywell, Ask::Stop) => Some(honeywell::UNTRIGGER.to_vec()),
            (Self::Honeywell, Ask::Start) => Some(honeywell::TRIGGER.to_vec()),
            (Self::Honeywell, Ask::Probe) => Some(honeywell::health()),
            (Self::Honeywell, Ask::Identity) => Some(honeywell::revision()),
            (Self::Gm65, Ask::Stop | Ask::Probe) => Some(gm65::stop()),
            (Self::Gm65, Ask::Start) => Some(gm65::start()),
            (Self::Gm65, Ask::Mode) => Some(gm65::command_mode()),
            (Self::Ssi, Ask::Stop | Ask::Probe) => Some(ssi::packet(ssi::STOP_SESSION, &[])),
            (Self::Ssi, Ask::Start) => Some(ssi::packet(ssi::START_SESSION, &[])),
            (Self::Ssi, Ask::Mode) => Some(ssi::host_trigger()),
            (Self::Ssi, Ask::Identity) => Some(ssi::packet(ssi::REQUEST_REVISION, &[])),
            (Self::Datalogic, Ask::Stop) => Some(datalogic::STOP.to_vec()),
            (Self::Datalogic, Ask::Start) => Some(datalogic::START.to_vec()),
            (Self::Datalogic, Ask::Probe) => Some(datalogic::HEALTH.to_vec()),
            (Self::Datalogic, Ask::Identity) => Some(datalogic::IDENTIFICATION.to_vec()),
            (Self::Honeywell | Self::Datalogic, Ask::Mode)
            | (Self::Gm65, Ask::Identity)
            | (Self::Keyboard, _) => None,
        }
    }

    /// Whether an answer comes.
    pub(crate) fn is_answered(self, ask: Ask) -> bool {
        match self {
            Self::Newland | Self::Gm65 | Self::Ssi => true,
            Self::Honeywell | Self::Datalogic => match ask {
                Ask::Probe | Ask::Identity => true,
                Ask::Mode | Ask::Start | Ask::Stop => false,
            },
            Self::Keyboard => false,
        }
    }

    /// Whether the scanner can be told when to look.
    pub(crate) fn has_trigger(self) -> bool {
        self.frame(Ask::Start).is_some()
    }

    /// Judges the beginning of `bytes`; without `asked`, nothing is an answer.
    pub(crate) fn parse(self, asked: Option<Ask>, bytes: &[u8]) -> Input {
        match (self, asked) {
            _ if bytes.is_empty() => Input::Incomplete,
            (Self::Ssi, _) => from_ssi(asked, bytes),
            (Self::Newland, Some(ask)) => from_newland(ask, bytes),
            (Self::Honeywell, Some(ask)) => from_honeywell(ask, bytes),
            (Self::Gm65, Some(_)) => from_gm65(bytes),
            (Self::Datalogic, Some(Ask::Probe | Ask::Identity)) => match datalogic::answer(bytes) {
                Some((length, line)) => Input::Answer {
                    length,
                    answer: Answer::Accepted(line.to_vec()),
                },
                None => Input::Incomplete,
            },
            (
                Self::Newland | Self::Honeywell | Self::Gm65 | Self::Datalogic | Self::Keyboard,
                _,
            ) => Input::Code,
        }
    }

    /// Bytes in front of the next place where an answer may begin; all of them when there is none.
    pub(crate) fn before_answer(self, ask: Ask, bytes: &[u8]) -> usize {
        (1..bytes.len())
            .find(|at| {
                let rest = bytes.get(*at..).unwrap_or_default();
                self.parse(Some(ask), rest) != Input::Code
            })
            .unwrap_or(bytes.len())
    }

    /// `bytes` up to the answer to "start" in them: a scan that is started again while a code comes in
    /// has its answer behind the code.
    pub(crate) fn without_answer(self, bytes: &[u8]) -> &[u8] {
        let is_answer = |at: &usize| {
            let rest = bytes.get(*at..).unwrap_or_default();
            matches!(
                self.parse(Some(Ask::Start), rest),
                Input::Answer {
                    answer: Answer::Accepted(_) | Answer::Refused | Answer::Again,
                    ..
                }
            )
        };
        let end = (0..bytes.len()).find(is_answer);
        end.and_then(|end| bytes.get(..end)).unwrap_or(bytes)
    }
}

/// The driver whose dialect an unexpected answer is in, as far as frames tell.
pub(crate) fn recognize(bytes: &[u8]) -> Option<&'static str> {
    (0..bytes.len()).find_map(|at| {
        let rest = bytes.get(at..)?;
        if matches!(newland::parse(rest), newland::Input::Answer { .. }) {
            return Some("newland");
        }
        if matches!(gm65::parse(rest), gm65::Input::Answer { .. }) {
            return Some("gm65");
        }
        if matches!(ssi::parse(rest), ssi::Input::Packet { .. }) {
            return Some("ssi");
        }
        None
    })
}

fn from_newland(ask: Ask, bytes: &[u8]) -> Input {
    let tag = match ask {
        Ask::Probe | Ask::Stop => newland::STOP,
        Ask::Start => newland::START,
        Ask::Mode => newland::COMMAND_MODE,
        Ask::Identity => newland::PRODUCT,
    };
    match newland::parse(bytes) {
        newland::Input::Incomplete => Input::Incomplete,
        newland::Input::Code => Input::Code,
        newland::Input::Answer { length, content } => Input::Answer {
            length,
            answer: match newland::verdict(&content, tag) {
                Some(true) => Answer::Accepted(newland::query_bytes(&content, tag)),
                Some(false) => Answer::Refused,
                None => Answer::Other,
            },
        },
    }
}

fn from_honeywell(ask: Ask, bytes: &[u8]) -> Input {
    let tag = match ask {
        Ask::Identity => honeywell::REVISION,
        Ask::Probe => honeywell::HEALTH,
        Ask::Mode | Ask::Start | Ask::Stop => return Input::Code,
    };
    match honeywell::parse(bytes, tag) {
        honeywell::Input::Incomplete => Input::Incomplete,
        honeywell::Input::Code => Input::Code,
        honeywell::Input::Answer {
            length,
            is_accepted,
            text,
        } => Input::Answer {
            length,
            answer: if is_accepted {
                Answer::Accepted(text)
            } else {
                Answer::Refused
            },
        },
    }
}

fn from_gm65(bytes: &[u8]) -> Input {
    match gm65::parse(bytes) {
        gm65::Input::Incomplete => Input::Incomplete,
        gm65::Input::Code => Input::Code,
        // Whatever it was: asked again, the module answers again.
        gm65::Input::Damaged { length } => Input::Answer {
            length,
            answer: Answer::Again,
        },
        gm65::Input::Answer {
            length,
            verdict,
            content,
        } => Input::Answer {
            length,
            answer: match verdict {
                gm65::Verdict::Accepted => Answer::Accepted(content),
                gm65::Verdict::Damaged => Answer::Again,
                gm65::Verdict::Refused => Answer::Refused,
            },
        },
    }
}

fn from_ssi(asked: Option<Ask>, bytes: &[u8]) -> Input {
    match ssi::parse(bytes) {
        ssi::Input::Incomplete => Input::Incomplete,
        ssi::Input::Code => Input::Code,
        ssi::Input::Damaged { length } => Input::Damaged { length },
        ssi::Input::Packet { length, packet } => {
            let answer = match (packet.opcode, asked) {
                // The revision is the answer; what only says "received" is not.
                (ssi::ACK, Some(Ask::Identity) | None) | (ssi::NAK, None) => Answer::Other,
                (ssi::ACK, Some(_)) => Answer::Accepted(Vec::new()),
                (ssi::NAK, Some(_)) if packet.content.first() == Some(&ssi::RESEND) => {
                    Answer::Again
                }
                (ssi::NAK, Some(_)) => Answer::Refused,
                _ => return Input::Packet { length, packet },
            };
            Input::Answer { length, answer }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GM65_OK: [u8; 7] = [0x02, 0x00, 0x00, 0x01, 0x00, 0x33, 0x31];

    #[test]
    fn a_code_that_looks_like_an_answer_is_a_code_when_nothing_was_asked() {
        let newland = b"\x02\x010000#SCNTRG1\x06;\x03";
        let check = |dialect: Dialect, bytes: &[u8]| {
            assert_eq!(dialect.parse(None, bytes), Input::Code, "{dialect:?}");
            assert!(
                matches!(dialect.parse(Some(Ask::Probe), bytes), Input::Answer { .. }),
                "{dialect:?}"
            );
        };
        check(Dialect::Newland, newland);
        check(Dialect::Gm65, &GM65_OK);
        check(Dialect::Honeywell, b"CBRENA1\x06.");
        check(Dialect::Datalogic, b"OK\r\n");
    }

    #[test]
    fn an_answer_behind_a_code_is_no_part_of_it() {
        let check = |dialect: Dialect, answer: &[u8]| {
            let stream = [b"TESTQR\r\n", answer].concat();
            assert_eq!(dialect.without_answer(&stream), b"TESTQR\r\n");
            assert_eq!(dialect.without_answer(b"TESTQR"), b"TESTQR");
        };
        check(Dialect::Newland, b"\x02\x010000#SCNTRG1\x06;\x03");
        check(Dialect::Gm65, &GM65_OK);
        check(Dialect::Ssi, &[4, 0xD0, 0, 0, 0xFF, 0x2C]);
        let other = b"TESTQR\r\n\x02\x010000#SCNTRG0\x06;\x03";
        assert_eq!(Dialect::Newland.without_answer(other), other);
    }

    #[test]
    fn what_stands_before_an_answer_is_skipped_in_bounded_steps() {
        let stream = [b"TESTQR\r\n", &GM65_OK[..]].concat();
        assert_eq!(Dialect::Gm65.before_answer(Ask::Stop, &stream), 8);
        assert_eq!(Dialect::Gm65.before_answer(Ask::Stop, b"TESTQR"), 6);
        assert_eq!(Dialect::Gm65.before_answer(Ask::Stop, b""), 0);
    }

    #[test]
    fn the_frames_of_another_dialect_are_recognized() {
        let check = |bytes: &[u8], expect: Option<&str>| assert_eq!(recognize(bytes), expect);
        check(&[&[0][..], &GM65_OK].concat(), Some("gm65"));
        check(b"\x02\x010000#SCNTRG0\x05;\x03", Some("newland"));
        check(&[5, 0xD1, 0, 0, 2, 0xFF, 0x28], Some("ssi"));
        check(b"TESTQR\r\n", None);
        check(b"", None);
    }

    #[test]
    fn every_question_that_is_answered_has_a_frame() {
        for dialect in [
            Dialect::Newland,
            Dialect::Honeywell,
            Dialect::Gm65,
            Dialect::Ssi,
            Dialect::Datalogic,
        ] {
            assert!(dialect.has_trigger());
            assert!(dialect.is_answered(Ask::Probe) && dialect.frame(Ask::Probe).is_some());
        }
        assert!(!Dialect::Keyboard.has_trigger());
    }
}
