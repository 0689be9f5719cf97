//! A scanner that pretends to be a keyboard: key events become bytes (US layout), and the keyboard is
//! taken for this program alone, so that no code is ever typed into whatever has the focus. Where the
//! kernel lost keys because nobody read them in time, the bytes say so with [`LOST`].
//!
//! A fallback: Chinese text does not survive the way over keys. What is not a whole keyboard is never
//! taken, because it could be the touch screen or the power button.

use std::fmt;
use std::fs::File;
use std::io;
use std::time::Duration;

use evdev::KeyCode;
use evdev::raw_stream::RawDevice;
use kiosk_device::{Action, Fault, Wire, WireError, clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use zeroize::Zeroizing;

/// Bytes that may wait between two readings: one code of 4 KiB. What comes above it is dropped.
const WAITING_BYTES_MAX: usize = 4096 + 1;
/// Batches of events thrown away at once. Chosen: the kernel keeps fewer.
const DISCARD_BATCHES_MAX: usize = 64;

// Key codes of `linux/input-event-codes.h`.
const KEY_ENTER: u16 = 28;
const KEY_TAB: u16 = 15;
const KEY_KEYPAD_ENTER: u16 = 96;
const KEYS_SHIFT: [u16; 2] = [42, 54];
const KEYS_CONTROL: [u16; 2] = [29, 97];
/// Event value of a key that goes down; zero is up, two is a repetition.
const DOWN: i32 = 1;
const UP: i32 = 0;
/// Kinds and codes of events, of the same file.
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;

/// Stands where keys were lost: no key types this byte, so a code that contains it is not whole.
pub const LOST: u8 = 0xFF;

/// Key codes with what they type alone and with shift, US layout, each row from its first code on.
const ROWS: [(u16, &[u8], &[u8]); 5] = [
    (2, b"1234567890-=", b"!@#$%^&*()_+"),
    (16, b"qwertyuiop[]", b"QWERTYUIOP{}"),
    (30, b"asdfghjkl;'`", b"ASDFGHJKL:\"~"),
    (43, b"\\zxcvbnm,./", b"|ZXCVBNM<>?"),
    (57, b" ", b" "),
];
/// The number pad from its first code on; shift does not matter.
const PAD: (u16, &[u8]) = (71, b"789-456+1230.");
const KEYPAD_STAR: u16 = 55;
const KEYPAD_SLASH: u16 = 98;

/// Turns key events into the bytes they type. Pure: keys in, bytes out.
#[derive(Debug, Default)]
pub struct Translator {
    shifts: [bool; 2],
    controls: [bool; 2],
}

impl Translator {
    /// What an event of the kernel types: its kind and code after `linux/input-event-codes.h`. Where it
    /// says that events were lost, that is [`LOST`], and no key counts as held any more: its release may
    /// be among them.
    pub fn take(&mut self, kind: u16, code: u16, value: i32) -> Option<u8> {
        match (kind, code) {
            (EV_SYN, SYN_DROPPED) => {
                *self = Self::default();
                Some(LOST)
            }
            (EV_KEY, _) => self.push(code, value),
            (_, _) => None,
        }
    }

    /// What a key event types: `code` after `linux/input-event-codes.h`, `value` 0 up, 1 down, 2
    /// repeated. Enter types a line feed. `None` for everything that types nothing; a scanner never
    /// holds a key, so repetitions are accidents of a busy machine.
    pub fn push(&mut self, code: u16, value: i32) -> Option<u8> {
        for (keys, held) in [
            (KEYS_SHIFT, &mut self.shifts),
            (KEYS_CONTROL, &mut self.controls),
        ] {
            for (key, is_held) in keys.into_iter().zip(held) {
                if key == code {
                    *is_held = value != UP;
                    return None;
                }
            }
        }
        if value != DOWN {
            return None;
        }
        let byte = typed(code, self.shifts.contains(&true))?;
        // Scanners send control characters as control and a letter.
        if self.controls.contains(&true) && (byte.is_ascii_alphabetic() || b"[\\]".contains(&byte))
        {
            return Some(byte & 0x1F);
        }
        Some(byte)
    }
}

fn typed(code: u16, is_shifted: bool) -> Option<u8> {
    let within = |first: u16, keys: &[u8]| {
        let at = code.checked_sub(first)?;
        keys.get(usize::from(at)).copied()
    };
    match code {
        KEY_ENTER | KEY_KEYPAD_ENTER => return Some(b'\n'),
        KEY_TAB => return Some(b'\t'),
        KEYPAD_STAR => return Some(b'*'),
        KEYPAD_SLASH => return Some(b'/'),
        _ => {}
    }
    let row = ROWS.into_iter().find_map(|(first, plain, shifted)| {
        within(first, if is_shifted { shifted } else { plain })
    });
    row.or_else(|| within(PAD.0, PAD.1))
}

/// The bytes that a sequence of key events types, as [`Translator::push`] takes them.
pub fn typed_by(events: &[(u16, i32)]) -> Vec<u8> {
    let mut translator = Translator::default();
    events
        .iter()
        .filter_map(|(code, value)| translator.push(*code, *value))
        .collect()
}

/// A keyboard of our own: the kernel gives its keys to nobody else while this lives.
pub struct Keyboard {
    device: RawDevice,
    translator: Translator,
    waiting: Zeroizing<Vec<u8>>,
}

impl Keyboard {
    /// Opens the event node at `path` (`/dev/input/by-id/…-event-kbd`) and takes it exclusively.
    ///
    /// # Errors
    /// `device.not-there`, `device.no-permission`, `device.io`; `qr-scanner.not-a-keyboard` when it lacks the keys a scanner
    /// types with; `qr-scanner.keyboard-not-exclusive` when another program holds it.
    pub fn open(path: &str) -> Result<Self, Fault> {
        let unopened = |error: io::Error| {
            let port = path.to_owned();
            Fault::from(if error.kind() == io::ErrorKind::NotFound {
                WireError::NotThere { port }
            } else if error.kind() == io::ErrorKind::PermissionDenied {
                WireError::Denied { port }
            } else {
                WireError::Io(error)
            })
        };
        // A file that is no event node answers no request for its name: that is a wrong path.
        File::open(path).map_err(unopened)?;
        let not_a_keyboard = || {
            Fault::new(
                "qr-scanner.not-a-keyboard",
                Action::Configuration,
                format!("{path} is no keyboard"),
            )
        };
        // Not the crate's own repair of lost events: it hides that there were any.
        let mut device = RawDevice::open(path).map_err(|_| not_a_keyboard())?;
        let has_keys = device.supported_keys().is_some_and(|keys| {
            [KEY_ENTER, KEYS_SHIFT[0], 2, 30]
                .into_iter()
                .all(|key| keys.contains(KeyCode::new(key)))
        });
        if !has_keys {
            return Err(not_a_keyboard());
        }
        device.grab().map_err(|error| {
            Fault::new(
                "qr-scanner.keyboard-not-exclusive",
                Action::Configuration,
                format!("{path} cannot be taken exclusively: {error}"),
            )
        })?;
        ioctl_fionbio(&device, true).map_err(|error| unopened(error.into()))?;
        Ok(Self {
            device,
            translator: Translator::default(),
            waiting: empty(),
        })
    }

    /// What the keyboard calls itself.
    pub fn name(&self) -> &str {
        self.device.name().unwrap_or_default()
    }

    /// Takes over the events that are there; how many.
    fn take_events(&mut self) -> Result<usize, WireError> {
        let events = match self.device.fetch_events() {
            Ok(events) => events,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            // The node of an unplugged keyboard answers ENODEV.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
                return Err(WireError::Gone);
            }
            Err(error) => return Err(WireError::Io(error)),
        };
        let mut count = 0;
        for event in events {
            count += 1;
            let typed = self
                .translator
                .take(event.event_type().0, event.code(), event.value());
            if let Some(byte) = typed
                && self.waiting.len() < WAITING_BYTES_MAX
            {
                self.waiting.push(byte);
            }
        }
        Ok(count)
    }

    fn wait(&self, limit: Duration) -> Result<(), WireError> {
        let limit = Timespec::try_from(limit).map_err(|_| WireError::TimedOut)?;
        let mut nodes = [PollFd::new(&self.device, PollFlags::IN)];
        match poll(&mut nodes, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(WireError::Io(error.into())),
        }
    }
}

impl Wire for Keyboard {
    /// A keyboard takes no commands.
    fn write_all(&mut self, _bytes: &[u8], _limit: Duration) -> Result<(), WireError> {
        Err(WireError::Io(io::ErrorKind::Unsupported.into()))
    }

    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> Result<usize, WireError> {
        let deadline = clock::now() + limit;
        loop {
            self.take_events()?;
            let count = self.waiting.len().min(buffer.len());
            if count > 0 {
                for (to, from) in buffer.iter_mut().zip(self.waiting.drain(..count)) {
                    *to = from;
                }
                return Ok(count);
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(0);
            }
            // Keys that type nothing end the wait too; the deadline bounds the loop.
            self.wait(left)?;
        }
    }

    fn discard_input(&mut self) {
        for _ in 0..DISCARD_BATCHES_MAX {
            match self.take_events() {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.waiting = empty();
    }
}

/// Large enough from the start, so that growing leaves no copies behind.
fn empty() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(WAITING_BYTES_MAX))
}

impl fmt::Debug for Keyboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyboard").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIFT: u16 = KEYS_SHIFT[0];
    const CONTROL: u16 = KEYS_CONTROL[0];

    fn press(code: u16) -> [(u16, i32); 2] {
        [(code, DOWN), (code, UP)]
    }

    fn with(held: u16, code: u16) -> Vec<(u16, i32)> {
        [&[(held, DOWN)], &press(code)[..], &[(held, UP)]].concat()
    }

    #[test]
    fn keys_type_what_a_us_keyboard_types() {
        let keys = [20, 18, 31, 20, 2, 11, 12, 52, 57];
        let mut plain = Vec::new();
        let mut shifted = Vec::new();
        for key in keys {
            plain.extend(press(key));
            shifted.extend(with(SHIFT, key));
        }
        assert_eq!(typed_by(&plain), b"test10-. ");
        assert_eq!(typed_by(&shifted), b"TEST!)_> ");
        let edges = [13, 27, 40, 41, 43, 44, 53, 71, 83, 55, 98];
        let events: Vec<_> = edges.into_iter().flat_map(press).collect();
        assert_eq!(typed_by(&events), b"=]'`\\z/7.*/");
    }

    #[test]
    fn every_printable_character_can_be_typed() {
        let typed: Vec<u8> = (0..=255_u16)
            .flat_map(|key| [typed(key, false), typed(key, true)])
            .flatten()
            .collect();
        for character in b' '..=b'~' {
            assert!(typed.contains(&character), "{}", char::from(character));
        }
    }

    #[test]
    fn enter_and_tab_end_a_code_and_control_characters_come_through() {
        assert_eq!(typed_by(&press(KEY_ENTER)), b"\n");
        assert_eq!(typed_by(&press(KEY_KEYPAD_ENTER)), b"\n");
        assert_eq!(typed_by(&press(KEY_TAB)), b"\t");
        // Group separator: control and the closing bracket.
        assert_eq!(typed_by(&with(CONTROL, 27)), [0x1D]);
        assert_eq!(typed_by(&with(CONTROL, 2)), b"1");
    }

    #[test]
    fn repeated_released_and_unknown_keys_type_nothing() {
        assert_eq!(typed_by(&[(30, 2), (30, 0), (30, 7)]), b"");
        assert_eq!(typed_by(&[(u16::MAX, DOWN), (0, DOWN), (58, DOWN)]), b"");
        let both = [
            (KEYS_SHIFT[0], DOWN),
            (KEYS_SHIFT[1], DOWN),
            (KEYS_SHIFT[0], UP),
            (30, DOWN),
        ];
        assert_eq!(typed_by(&both), b"A");
    }

    #[test]
    fn lost_keys_show_and_leave_no_shift_behind() {
        let mut translator = Translator::default();
        let mut typed = |events: &[(u16, u16, i32)]| -> Vec<u8> {
            let bytes = events
                .iter()
                .filter_map(|(kind, code, value)| translator.take(*kind, *code, *value));
            bytes.collect()
        };
        let lost = [
            (EV_KEY, SHIFT, DOWN),
            (EV_KEY, 30, DOWN),
            (EV_SYN, 0, 0),
            // The release of the shift key is among what was lost.
            (EV_SYN, SYN_DROPPED, 0),
            (EV_KEY, 48, DOWN),
            (EV_KEY, KEY_ENTER, DOWN),
            (4, 4, 30),
        ];
        assert_eq!(typed(&lost), [b'A', LOST, b'b', b'\n']);
    }

    #[test]
    fn no_key_types_what_stands_for_lost_keys() {
        for key in 0..=u16::MAX {
            for held in [SHIFT, CONTROL, 0] {
                assert!(!typed_by(&with(held, key)).contains(&LOST), "{key}");
            }
        }
    }

    #[test]
    fn a_path_that_is_no_keyboard_is_a_fault_of_the_configuration() {
        let fault = Keyboard::open("/dev/null").unwrap_err();
        assert_eq!(
            (fault.code, fault.action),
            ("qr-scanner.not-a-keyboard", Action::Configuration)
        );
        let fault = Keyboard::open("/dev/input/no-such-keyboard").unwrap_err();
        assert_eq!(fault.code, "device.not-there");
    }
}
