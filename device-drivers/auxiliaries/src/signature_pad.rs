//! The signature pad or pen screen: a digitizer of the kernel's input layer (`device-protocols.md` §9.5),
//! taken for itself while somebody signs, so that the pen does not move anything else.
//!
//! A signature is personal: where the pen is can be had from a [`PenPoint`] and is in no log. Turning
//! input events into pen movements is a pure function of numbers.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use evdev::{AbsoluteAxisCode, Device, KeyCode};
use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Sensitive, Status,
};

use crate::kernel_fault;

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["evdev-pen"];

/// Time between looks at the pen. Chosen: digitizers report 100 to 200 times a second, and the kernel
/// keeps what comes meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(8);
/// Batches of stale input thrown away at most before signing. Chosen.
const STALE_BATCHES_MAX: usize = 64;
/// Kinds and codes of input events (`linux/input-event-codes.h`).
const EV_SYN: u16 = 0x00;
const EV_KEY: u16 = 0x01;
const EV_ABS: u16 = 0x03;
const SYN_REPORT: u16 = 0;
const ABS_X: u16 = 0x00;
const ABS_Y: u16 = 0x01;
const ABS_PRESSURE: u16 = 0x18;
const BTN_TOUCH: u16 = 0x14A;

/// What the pad can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Report the pen until canceled or until the deadline.
    Sign,
}

/// What the pad reports meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The pen touches the pad: a stroke begins.
    Down(PenPoint),
    /// The pen went on.
    Moved(PenPoint),
    /// The pen left the pad: the stroke ends.
    Up,
}

/// Where the pen is and how hard it presses.
#[derive(Clone, Debug, PartialEq)]
pub struct PenPoint {
    place: Sensitive<[f32; 3]>,
    is_outside: bool,
}

impl PenPoint {
    /// From the left edge, 0, to the right one, 1.
    pub fn x(&self) -> f32 {
        self.place.expose()[0]
    }

    /// From the upper edge, 0, to the lower one, 1.
    pub fn y(&self) -> f32 {
        self.place.expose()[1]
    }

    /// From 0 to 1; always 1 on a pad that does not tell.
    pub fn pressure(&self) -> f32 {
        self.place.expose()[2]
    }

    /// True when the pad has told a place beyond its own ends, which `x` and `y` do not show: it is
    /// broken, or not the device that it says.
    pub fn is_outside(&self) -> bool {
        self.is_outside
    }
}

/// The driver of one pad.
pub struct SignaturePad {
    port: String,
    model: String,
    device: Option<Device>,
}

impl SignaturePad {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::SignaturePad, DRIVERS, &[])?;
        if !config.port.starts_with("/dev/input/") || config.port.contains('\0') {
            return Err(config.not_accepted("port", &config.port, "/dev/input/…"));
        }
        Ok(Self {
            port: config.port.clone(),
            model: config.model.clone().unwrap_or_default(),
            device: None,
        })
    }

    fn fault(&self, error: io::Error) -> Fault {
        kernel_fault(&self.port, error)
    }

    fn sign(&mut self, context: &Context<'_, Event>) -> Result<(), Completion> {
        let failed = |error| Completion::Failed(kernel_fault(&self.port, error));
        let Some(device) = &mut self.device else {
            return Err(failed(io::Error::from(ErrorKind::NotFound)));
        };
        device.grab().map_err(failed)?;
        let result = follow(&self.port, device, context);
        // An unplugged pad cannot be let go of, and need not be.
        if let Err(error) = device.ungrab() {
            tracing::debug!(%error, "signature pad not let go");
        }
        result
    }
}

/// The ranges of the axes and how the pen is now; a device without two axes is no pad.
fn axes(port: &str, device: &Device) -> Result<(Axes, Start), Fault> {
    let failed = |error| kernel_fault(port, error);
    let mut axes = Axes::default();
    let mut start = Start::default();
    for (code, info) in device.get_absinfo().map_err(failed)? {
        let range = Range {
            minimum: info.minimum(),
            maximum: info.maximum(),
        };
        match code {
            AbsoluteAxisCode::ABS_X => (axes.x, start.x) = (range, info.value()),
            AbsoluteAxisCode::ABS_Y => (axes.y, start.y) = (range, info.value()),
            AbsoluteAxisCode::ABS_PRESSURE => {
                (axes.pressure, start.pressure) = (Some(range), info.value());
            }
            _ => {}
        }
    }
    axes.has_touch = device
        .supported_keys()
        .is_some_and(|keys| keys.contains(KeyCode::BTN_TOUCH));
    let can_touch = axes.has_touch || axes.pressure.is_some();
    if !(axes.x.is_usable() && axes.y.is_usable() && can_touch) {
        return Err(Fault::new(
            "signature-pad.no-pen",
            Action::Configuration,
            "the input device is no digitizer",
        ));
    }
    let keys = device.get_key_state().map_err(failed)?;
    start.touches = keys.contains(KeyCode::BTN_TOUCH);
    Ok((axes, start))
}

/// Reports the pen until the caller ends it.
fn follow(port: &str, device: &mut Device, context: &Context<'_, Event>) -> Result<(), Completion> {
    let failed = |error| Completion::Failed(kernel_fault(port, error));
    for _ in 0..STALE_BATCHES_MAX {
        if look(device, |_, _, _| ()).map_err(failed)? == 0 {
            break;
        }
    }
    // Asked behind the stale input, so that nothing lies between this and the first movement.
    let (axes, start) = axes(port, device).map_err(Completion::Failed)?;
    let mut pen = Pen::new(axes, start);
    loop {
        let report = |kind, code, value| {
            if let Some(event) = pen.feed(kind, code, value) {
                context.emit(event);
            }
        };
        look(device, report).map_err(failed)?;
        context.pause(LOOK_INTERVAL)?;
    }
}

/// Takes what has come, one bounded batch of the kernel's buffer; how many events it was.
fn look(device: &mut Device, mut take: impl FnMut(u16, u16, i32)) -> io::Result<usize> {
    match device.fetch_events() {
        Ok(events) => {
            let mut count = 0;
            for event in events {
                count += 1;
                take(event.event_type().0, event.code(), event.value());
            }
            Ok(count)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

impl Driver for SignaturePad {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        let device = Device::open(&self.port).map_err(|error| self.fault(error))?;
        let (axes, _) = axes(&self.port, &device)?;
        device
            .set_nonblocking(true)
            .map_err(|error| self.fault(error))?;
        let mut abilities = vec!["strokes".to_owned()];
        if axes.pressure.is_some() {
            abilities.push("pressure".to_owned());
        }
        let capabilities = Capabilities {
            model: device.name().unwrap_or(&self.model).to_owned(),
            serial: device.unique_name().unwrap_or_default().to_owned(),
            abilities,
            ..Capabilities::default()
        };
        self.device = Some(device);
        Ok(capabilities)
    }

    fn close(&mut self) {
        self.device = None;
    }

    fn status(&mut self) -> Result<Status, Fault> {
        let Some(device) = &self.device else {
            return Err(self.fault(io::Error::from(ErrorKind::NotFound)));
        };
        // Answered by the kernel, which knows when the pad is gone.
        device.get_key_state().map_err(|error| self.fault(error))?;
        Ok(Status::online())
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        let Command::Sign = command;
        match self.sign(context) {
            Ok(()) => Completion::Success,
            Err(completion) => completion,
        }
    }
}

impl fmt::Debug for SignaturePad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignaturePad")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The lowest and highest value of one axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Lowest value.
    pub minimum: i32,
    /// Highest value.
    pub maximum: i32,
}

impl Range {
    fn is_usable(self) -> bool {
        self.maximum > self.minimum
    }

    /// True for a value that lies clearly beyond the ends. Chosen: a fiftieth of the range may be the
    /// rim of a pad, on which pens slip.
    fn is_beyond(self, value: i32) -> bool {
        let (minimum, maximum) = (i64::from(self.minimum), i64::from(self.maximum));
        let rim = (maximum - minimum) / 50;
        !(minimum - rim..=maximum + rim).contains(&i64::from(value))
    }

    /// Where `value` lies between the ends, 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a fraction between 0 and 1 loses digits that no pad has"
    )]
    fn fraction(self, value: i32) -> f32 {
        if !self.is_usable() {
            return 0.0;
        }
        let (minimum, maximum) = (f64::from(self.minimum), f64::from(self.maximum));
        let fraction = (f64::from(value) - minimum) / (maximum - minimum);
        fraction.clamp(0.0, 1.0) as f32
    }
}

/// The axes of a pad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Axes {
    /// Left to right.
    pub x: Range,
    /// Top to bottom.
    pub y: Range,
    /// Pressure of the pen, when the pad tells it.
    pub pressure: Option<Range>,
    /// Whether the pad says when it is touched; else pressure tells.
    pub has_touch: bool,
}

impl Axes {
    /// Whether the pen touches: what the pad said, or else what its pressure tells.
    fn touches(&self, said: bool, pressure: i32) -> bool {
        if self.has_touch {
            return said;
        }
        self.pressure.is_some_and(|range| pressure > range.minimum)
    }
}

/// How the pen is when somebody begins to watch it: the kernel tells changes only.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// Where it is on the axis from left to right.
    pub x: i32,
    /// Where it is on the axis from top to bottom.
    pub y: i32,
    /// How hard it presses; any number on a pad that does not tell.
    pub pressure: i32,
    /// Whether it touches, on a pad that says so.
    pub touches: bool,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where a pen is may be part of a signature.
        f.debug_struct("Start").finish_non_exhaustive()
    }
}

/// Turns input events into pen movements.
#[derive(Clone)]
pub struct Pen {
    axes: Axes,
    x: i32,
    y: i32,
    pressure: i32,
    touches: bool,
    /// Whether a stroke is being reported.
    is_down: bool,
    has_changed: bool,
}

impl Pen {
    /// A pen that is as `start` says. One that touches already begins its stroke with its first
    /// movement.
    pub fn new(axes: Axes, start: Start) -> Self {
        Self {
            axes,
            x: start.x,
            y: start.y,
            pressure: start.pressure,
            touches: axes.touches(start.touches, start.pressure),
            is_down: false,
            has_changed: false,
        }
    }

    /// Takes one input event; what it completes, if it completes anything.
    pub fn feed(&mut self, kind: u16, code: u16, value: i32) -> Option<Event> {
        match (kind, code) {
            (EV_ABS, ABS_X) => self.x = value,
            (EV_ABS, ABS_Y) => self.y = value,
            (EV_ABS, ABS_PRESSURE) => {
                self.pressure = value;
                self.touches = self.axes.touches(self.touches, value);
            }
            (EV_KEY, BTN_TOUCH) => self.touches = value != 0,
            (EV_SYN, SYN_REPORT) => return self.report(),
            _ => return None,
        }
        self.has_changed = true;
        None
    }

    fn report(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        match (self.is_down, self.touches) {
            (false, false) => None,
            (false, true) => {
                self.is_down = true;
                Some(Event::Down(self.point()))
            }
            (true, true) => Some(Event::Moved(self.point())),
            (true, false) => {
                self.is_down = false;
                Some(Event::Up)
            }
        }
    }

    fn point(&self) -> PenPoint {
        let pressure = self
            .axes
            .pressure
            .map_or(1.0, |range| range.fraction(self.pressure));
        PenPoint {
            place: Sensitive::new([
                self.axes.x.fraction(self.x),
                self.axes.y.fraction(self.y),
                pressure,
            ]),
            is_outside: self.axes.x.is_beyond(self.x) || self.axes.y.is_beyond(self.y),
        }
    }
}

impl fmt::Debug for Pen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pen")
            .field("axes", &self.axes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kiosk_device::Cancel;

    use super::*;

    const AXES: Axes = Axes {
        x: Range {
            minimum: 0,
            maximum: 10_000,
        },
        y: Range {
            minimum: -100,
            maximum: 100,
        },
        pressure: Some(Range {
            minimum: 0,
            maximum: 1024,
        }),
        has_touch: true,
    };

    const CORNER: Start = Start {
        x: 0,
        y: -100,
        pressure: 0,
        touches: false,
    };

    fn feed(pen: &mut Pen, events: &[(u16, u16, i32)]) -> Vec<String> {
        events
            .iter()
            .filter_map(|(kind, code, value)| pen.feed(*kind, *code, *value))
            .map(|event| match event {
                Event::Down(point) => {
                    format!("down {} {} {}", point.x(), point.y(), point.pressure())
                }
                Event::Moved(point) => {
                    format!("moved {} {} {}", point.x(), point.y(), point.pressure())
                }
                Event::Up => "up".to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_stroke_is_reported_from_its_touch_to_its_end() {
        let mut pen = Pen::new(AXES, CORNER);
        let events = [
            // The pen hovers.
            (EV_ABS, ABS_X, 100),
            (EV_SYN, SYN_REPORT, 0),
            (EV_ABS, ABS_X, 5000),
            (EV_ABS, ABS_Y, 0),
            (EV_ABS, ABS_PRESSURE, 512),
            (EV_KEY, BTN_TOUCH, 1),
            (EV_SYN, SYN_REPORT, 0),
            (EV_ABS, ABS_X, 7500),
            (EV_SYN, SYN_REPORT, 0),
            // Nothing new.
            (EV_SYN, SYN_REPORT, 0),
            (EV_KEY, BTN_TOUCH, 0),
            (EV_SYN, SYN_REPORT, 0),
            (EV_ABS, ABS_X, 0),
            (EV_SYN, SYN_REPORT, 0),
        ];
        assert_eq!(
            feed(&mut pen, &events),
            ["down 0.5 0.5 0.5", "moved 0.75 0.5 0.5", "up"]
        );
    }

    #[test]
    fn an_axis_that_does_not_change_counts_from_where_the_pen_was() {
        let start = Start {
            x: 5000,
            y: 50,
            pressure: 256,
            touches: false,
        };
        let touch = [
            (EV_ABS, ABS_Y, 0),
            (EV_KEY, BTN_TOUCH, 1),
            (EV_SYN, SYN_REPORT, 0),
        ];
        let mut pen = Pen::new(AXES, start);
        assert_eq!(feed(&mut pen, &touch), ["down 0.5 0.5 0.25"]);
    }

    #[test]
    fn a_pen_that_touches_already_begins_a_stroke_with_its_first_movement() {
        let start = Start {
            pressure: 512,
            touches: true,
            ..CORNER
        };
        let without_touch = Axes {
            has_touch: false,
            ..AXES
        };
        let silent = Start {
            touches: false,
            ..start
        };
        let movement = [(EV_ABS, ABS_X, 2500), (EV_SYN, SYN_REPORT, 0)];
        for (axes, start) in [(AXES, start), (without_touch, silent)] {
            let mut pen = Pen::new(axes, start);
            assert_eq!(feed(&mut pen, &[(EV_SYN, SYN_REPORT, 0)]), [""; 0]);
            assert_eq!(feed(&mut pen, &movement), ["down 0.25 0 0.5"]);
        }
    }

    #[test]
    fn pressure_tells_the_touch_where_nothing_else_does() {
        let axes = Axes {
            has_touch: false,
            ..AXES
        };
        let mut pen = Pen::new(axes, CORNER);
        let events = [
            (EV_ABS, ABS_PRESSURE, 1024),
            (EV_SYN, SYN_REPORT, 0),
            (EV_ABS, ABS_PRESSURE, 0),
            (EV_SYN, SYN_REPORT, 0),
        ];
        assert_eq!(feed(&mut pen, &events), ["down 0 0 1", "up"]);
    }

    #[test]
    fn values_outside_the_range_stay_on_the_pad() {
        let axes = Axes {
            pressure: None,
            ..AXES
        };
        let mut pen = Pen::new(axes, CORNER);
        let events = [
            (EV_ABS, ABS_X, i32::MAX),
            (EV_ABS, ABS_Y, i32::MIN),
            (EV_KEY, BTN_TOUCH, 1),
            (EV_SYN, SYN_REPORT, 0),
        ];
        assert_eq!(feed(&mut pen, &events), ["down 1 0 1"]);
        let flat = Range {
            minimum: 5,
            maximum: 5,
        };
        assert!(flat.fraction(7).abs() < f32::EPSILON);
        let widest = Range {
            minimum: i32::MIN,
            maximum: i32::MAX,
        };
        assert!((widest.fraction(0) - 0.5).abs() < 0.001);
        assert!(!widest.is_beyond(i32::MIN) && !widest.is_beyond(i32::MAX));
    }

    #[test]
    fn a_place_beyond_the_pad_is_told_and_its_rim_is_not() {
        for (x, is_outside) in [
            (0, false),
            (-200, false),
            (10_200, false),
            (-201, true),
            (20_000, true),
        ] {
            let mut pen = Pen::new(AXES, Start { x, ..CORNER });
            pen.feed(EV_KEY, BTN_TOUCH, 1);
            let Some(Event::Down(point)) = pen.feed(EV_SYN, SYN_REPORT, 0) else {
                panic!("the pen is down");
            };
            assert_eq!(point.is_outside(), is_outside, "{x}");
            assert!((0.0..=1.0).contains(&point.x()));
        }
    }

    #[test]
    fn a_point_is_not_printed() {
        let start = Start { x: 1234, ..CORNER };
        let mut pen = Pen::new(AXES, start);
        pen.feed(EV_ABS, ABS_X, 1234);
        pen.feed(EV_KEY, BTN_TOUCH, 1);
        let event = pen.feed(EV_SYN, SYN_REPORT, 0).unwrap();
        assert_eq!(
            format!("{event:?}"),
            "Down(PenPoint { place: <redacted>, is_outside: false })"
        );
        let shown = format!("{pen:?} {start:?}");
        assert!(!shown.contains("1234"), "{shown}");
    }

    #[test]
    fn a_pad_that_is_not_there_says_so() {
        let config = "id = \"pad\"\nclass = \"signature-pad\"\ndriver = \"evdev-pen\"\nport = \"/dev/input/no-such-pad\"";
        let mut pad = SignaturePad::new(&toml::from_str(config).unwrap()).unwrap();
        assert_eq!(pad.open().unwrap_err().code, "device.not-there");
        assert_eq!(pad.status().unwrap_err().code, "device.not-there");
        let cancel = Cancel::default();
        let context = Context::new(Duration::from_secs(1), &cancel, &|_| ());
        let completion = pad.execute(Command::Sign, &context);
        assert!(
            matches!(&completion, Completion::Failed(fault) if fault.code == "device.not-there"),
            "{completion:?}"
        );
        let other = config.replace("/dev/input/no-such-pad", "/dev/ttyS0");
        assert!(SignaturePad::new(&toml::from_str(&other).unwrap()).is_err());
    }
}
