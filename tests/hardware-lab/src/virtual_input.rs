//! Input devices of the kernel made by `uinput`: a keyboard for the scanner that types, a digitizer
//! for the signature pad. Pulling one is dropping it.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use evdev::uinput::VirtualDevice;
use evdev::{
    AbsInfo, AbsoluteAxisCode, AttributeSet, EventType, InputEvent, KeyCode, UinputAbsSetup,
};

use crate::until;

/// Largest coordinate and pressure of the digitizer.
pub(crate) const PEN_MAX: i32 = 4095;
/// Key codes of a whole keyboard up to the space bar and the pad (`linux/input-event-codes.h`).
const KEYS_MAX: u16 = 120;
const KEY_LEFT_SHIFT: u16 = 42;
/// Pace of typing. Chosen: a USB keyboard is asked every 8 ms.
const KEY_INTERVAL: Duration = Duration::from_millis(8);

/// One device with its event node.
#[derive(Debug)]
pub(crate) struct VirtualInput {
    device: VirtualDevice,
    node: PathBuf,
}

impl VirtualInput {
    /// A keyboard with all keys.
    ///
    /// # Errors
    /// The kernel makes none.
    pub(crate) fn keyboard(name: &str) -> anyhow::Result<Self> {
        let keys: AttributeSet<KeyCode> = (1..KEYS_MAX).map(KeyCode::new).collect();
        let device = VirtualDevice::builder()
            .context("no uinput")?
            .name(name)
            .with_keys(&keys)?
            .build()?;
        Self::with_node(device)
    }

    /// A pen digitizer with pressure.
    ///
    /// # Errors
    /// The kernel makes none.
    pub(crate) fn pen(name: &str) -> anyhow::Result<Self> {
        let keys: AttributeSet<KeyCode> = [KeyCode::BTN_TOUCH, KeyCode::BTN_TOOL_PEN]
            .into_iter()
            .collect();
        let axis = |code| UinputAbsSetup::new(code, AbsInfo::new(0, 0, PEN_MAX, 0, 0, 100));
        let device = VirtualDevice::builder()
            .context("no uinput")?
            .name(name)
            .with_keys(&keys)?
            .with_absolute_axis(&axis(AbsoluteAxisCode::ABS_X))?
            .with_absolute_axis(&axis(AbsoluteAxisCode::ABS_Y))?
            .with_absolute_axis(&axis(AbsoluteAxisCode::ABS_PRESSURE))?
            .build()?;
        Self::with_node(device)
    }

    fn with_node(mut device: VirtualDevice) -> anyhow::Result<Self> {
        let directory = device.get_syspath()?;
        let event = until::entry(directory, |name| name.starts_with("event"))?;
        let name = event.file_name().context("a node has a name")?;
        let node = PathBuf::from("/dev/input").join(name);
        until::there(&node)?;
        Ok(Self { device, node })
    }

    /// The event node.
    pub(crate) fn node(&self) -> String {
        self.node.to_string_lossy().into_owned()
    }

    /// Types text of lower-case and upper-case letters and digits, and Enter behind it.
    ///
    /// # Errors
    /// The kernel takes no events.
    pub(crate) fn type_line(&mut self, text: &str) -> anyhow::Result<()> {
        for character in text.chars() {
            let key = key_of(character).with_context(|| format!("no key for {character:?}"))?;
            let is_shifted = character.is_ascii_uppercase();
            if is_shifted {
                self.key(KEY_LEFT_SHIFT, 1)?;
            }
            self.key(key, 1)?;
            self.key(key, 0)?;
            // The kernel keeps sixteen keys for a reader; more at once would be lost.
            thread::park_timeout(KEY_INTERVAL);
            if is_shifted {
                self.key(KEY_LEFT_SHIFT, 0)?;
            }
        }
        self.key(KeyCode::KEY_ENTER.code(), 1)?;
        self.key(KeyCode::KEY_ENTER.code(), 0)
    }

    fn key(&mut self, code: u16, value: i32) -> anyhow::Result<()> {
        let event = InputEvent::new(EventType::KEY.0, code, value);
        self.device.emit(&[event])?;
        Ok(())
    }

    /// Moves the pen to a point while it touches, or lifts it.
    ///
    /// # Errors
    /// The kernel takes no events.
    pub(crate) fn pen_at(&mut self, x: i32, y: i32, pressure: i32) -> anyhow::Result<()> {
        let axis =
            |code: AbsoluteAxisCode, value| InputEvent::new(EventType::ABSOLUTE.0, code.0, value);
        let touch = InputEvent::new(
            EventType::KEY.0,
            KeyCode::BTN_TOUCH.code(),
            i32::from(pressure > 0),
        );
        self.device.emit(&[
            axis(AbsoluteAxisCode::ABS_X, x),
            axis(AbsoluteAxisCode::ABS_Y, y),
            axis(AbsoluteAxisCode::ABS_PRESSURE, pressure),
            touch,
        ])?;
        Ok(())
    }
}

fn key_of(character: char) -> Option<u16> {
    let rows = [
        (2, "1234567890"),
        (16, "qwertyuiop"),
        (30, "asdfghjkl"),
        (44, "zxcvbnm"),
    ];
    rows.into_iter().find_map(|(first, row)| {
        let at = row.find(character.to_ascii_lowercase())?;
        u16::try_from(at).ok().map(|at| first + at)
    })
}
