//! Datalogic's single-byte commands (`device-protocols`, section 4.5).

use std::time::{Duration, Instant};

use super::dialect::{Asked, Build, Dialect, Mode, Turn};

/// A scanner of this make.
#[derive(Debug)]
pub(crate) struct Datalogic {
    build: Build,
    is_enabled: bool,
    reads: u32,
}

impl Datalogic {
    pub(crate) fn new(build: Build) -> Self {
        Self {
            build,
            is_enabled: true,
            reads: 0,
        }
    }
}

impl Dialect for Datalogic {
    fn reset(&mut self) {
        self.is_enabled = true;
    }

    fn hear(&mut self, received: &mut Vec<u8>, is_refused: bool) -> Option<Turn> {
        if received.is_empty() {
            return None;
        }
        let command = received.remove(0);
        if is_refused {
            return Some(Turn::refused(Vec::new()));
        }
        Some(match command {
            b'E' => {
                self.is_enabled = true;
                Turn::act(Asked::Nothing)
            }
            b'D' => {
                self.is_enabled = false;
                Turn::act(Asked::Release)
            }
            b'R' => {
                self.reset();
                Turn::act(Asked::Release)
            }
            b'T' if self.is_enabled => Turn::act(Asked::Trigger),
            b'X' => Turn::act(Asked::Release),
            // Beeps and the not-on-file signal make no difference to the line.
            b'B' | b'F' | 0x01 => Turn::act(Asked::Nothing),
            b'i' => Turn::done(b"EMU-DL 1.00\r\n".to_vec(), Asked::Nothing),
            b'h' => Turn::done(b"HEALTH OK\r\n".to_vec(), Asked::Nothing),
            b's' => Turn::done(
                format!("READS {}\r\n", self.reads).into_bytes(),
                Asked::Nothing,
            ),
            _ => Turn::refused(Vec::new()),
        })
    }

    fn mode(&self) -> Mode {
        if self.is_enabled {
            self.build.mode
        } else {
            Mode::Level
        }
    }

    fn trigger_time(&self) -> Duration {
        self.build.trigger_time()
    }

    fn code(&mut self, code: &[u8], _now: Instant) -> Vec<Vec<u8>> {
        self.reads = self.reads.saturating_add(1);
        vec![[code, self.build.suffix.bytes(b"\r\n")].concat()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_scanner_refuses_its_trigger() {
        let mut scanner = Datalogic::new(Build::default());
        let mut hear = |byte| scanner.hear(&mut vec![byte], false).unwrap();
        assert_eq!(hear(b'T').acts, [Asked::Trigger]);
        assert_eq!(hear(b'D').acts, [Asked::Release]);
        assert_eq!(hear(b'T').refused, 1);
        assert_eq!(hear(b'E').refused, 0);
        assert_eq!(hear(b'T').acts, [Asked::Trigger]);
        assert_eq!(hear(b'?').refused, 1);
        assert!(hear(b'i').reply.ends_with(b"\r\n"));
    }
}
