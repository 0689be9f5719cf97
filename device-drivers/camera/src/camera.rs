//! The driver: a network camera ([`crate::mjpeg`]) or a camera of the kernel ([`crate::v4l2`]), which
//! reports pictures at the pace that is wanted.

use std::time::{Duration, Instant};

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Status, clock,
};

use crate::mjpeg::NetworkCamera;
use crate::picture::{Crop, Frame, PictureError, Wanted};
use crate::v4l2::KernelCamera;

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["mjpeg", "v4l2"];

const OPTIONS_MJPEG: &[&str] = &["role"];
const OPTIONS_V4L2: &[&str] = &[
    "role",
    "width",
    "height",
    "fps",
    "infrared",
    "power_line_hz",
    "exposure",
    "focus",
    "zoom",
];
/// A stream without a picture for so long has stalled (`device-protocols.md` §7).
const STALL_LIMIT: Duration = Duration::from_secs(2);
/// Wait between looks at the caller's wish to stop.
pub(crate) const LOOK_LIMIT: Duration = Duration::from_millis(100);
/// Broken pictures in a row that end the stream. Chosen.
const BROKEN_PICTURES_MAX: u32 = 10;

/// What the camera can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Report pictures until canceled or until the deadline.
    Stream {
        /// Width of the preview in pixels.
        preview_width: u32,
        /// Most pictures a second; the camera may send fewer.
        frames_per_second: u32,
    },
    /// The same, of each picture only a part: what lies on the tray, and not what stands beside it.
    StreamPart {
        /// The part.
        crop: Crop,
        /// Width of the preview in pixels.
        preview_width: u32,
        /// Most pictures a second; the camera may send fewer.
        frames_per_second: u32,
    },
}

/// What the camera reports meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A picture.
    Frame(Frame),
}

/// The driver of one camera.
#[derive(Debug)]
pub struct Camera {
    role: Role,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Network(NetworkCamera),
    Kernel(Box<KernelCamera>),
}

/// What a camera looks at; `options.role` in the configuration, `face` where it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The visitor.
    Face,
    /// The document tray.
    Document,
}

impl Camera {
    /// A driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        let is_v4l2 = config.driver == "v4l2";
        let options = if is_v4l2 { OPTIONS_V4L2 } else { OPTIONS_MJPEG };
        config.expect(DeviceClass::Camera, DRIVERS, options)?;
        let role = match config.option_word("role", &["face", "document"], "face")? {
            "document" => Role::Document,
            _ => Role::Face,
        };
        let source = if is_v4l2 {
            Source::Kernel(Box::new(KernelCamera::new(config, role)?))
        } else {
            Source::Network(NetworkCamera::new(config)?)
        };
        Ok(Self { role, source })
    }

    /// What this camera looks at.
    pub fn role(&self) -> Role {
        self.role
    }
}

impl Driver for Camera {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        match &mut self.source {
            Source::Network(camera) => camera.open(),
            Source::Kernel(camera) => camera.open(),
        }
    }

    fn close(&mut self) {
        match &mut self.source {
            // Each stream has a connection of its own: there is nothing to close.
            Source::Network(_) => {}
            Source::Kernel(camera) => camera.close(),
        }
    }

    fn status(&mut self) -> Result<Status, Fault> {
        match &mut self.source {
            Source::Network(camera) => camera.status(),
            Source::Kernel(camera) => camera.status(),
        }
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        let (crop, preview_width, frames_per_second) = match command {
            Command::Stream {
                preview_width,
                frames_per_second,
            } => (None, preview_width, frames_per_second),
            Command::StreamPart {
                crop,
                preview_width,
                frames_per_second,
            } => (Some(crop), preview_width, frames_per_second),
        };
        let mut viewer = Viewer::new(Pace {
            wanted: Wanted {
                preview_width,
                crop,
            },
            interval: Duration::from_secs(1) / frames_per_second.clamp(1, 60),
        });
        let result = match &mut self.source {
            Source::Network(camera) => camera.stream(&mut viewer, context),
            Source::Kernel(camera) => camera.stream(&mut viewer, context),
        };
        match result {
            Ok(never) => match never {},
            Err(completion) => completion,
        }
    }

    fn poll_interval(&self) -> Duration {
        match &self.source {
            Source::Network(_) => Duration::from_secs(10),
            // One question to the kernel.
            Source::Kernel(_) => Duration::from_secs(2),
        }
    }
}

/// What the caller wants to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) wanted: Wanted,
    pub(crate) interval: Duration,
}

/// Decides which pictures are worth decoding.
#[derive(Debug)]
pub(crate) struct Viewer {
    pace: Pace,
    next_at: Instant,
    last_at: Instant,
    broken: u32,
}

impl Viewer {
    pub(crate) fn new(pace: Pace) -> Self {
        let now = clock::now();
        Self {
            pace,
            next_at: now,
            last_at: now,
            broken: 0,
        }
    }

    /// The source was started (again): it gets its time.
    pub(crate) fn restart(&mut self) {
        self.last_at = clock::now();
    }

    /// A picture came; true when it is time to show one.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = clock::now();
        self.last_at = now;
        now >= self.next_at
    }

    /// Shows the picture that `decode` makes as it is wanted.
    pub(crate) fn show(
        &mut self,
        context: &Context<'_, Event>,
        decode: impl FnOnce(Wanted) -> Result<Frame, PictureError>,
    ) -> Result<(), Fault> {
        let began_at = clock::now();
        match decode(self.pace.wanted) {
            Ok(frame) => {
                self.broken = 0;
                self.next_at = began_at + self.pace.interval;
                context.emit(Event::Frame(frame));
                Ok(())
            }
            Err(error) => {
                self.broken += 1;
                if self.broken < BROKEN_PICTURES_MAX {
                    return Ok(());
                }
                Err(Fault::new(
                    "camera.bad-picture",
                    Action::Maintenance,
                    error.to_string(),
                ))
            }
        }
    }

    pub(crate) fn has_stalled(&self) -> bool {
        clock::now().saturating_duration_since(self.last_at) > STALL_LIMIT
    }
}

/// No picture comes any more.
pub(crate) fn stalled(detail: &str) -> Fault {
    Fault::new("camera.stalled", Action::Reset, detail)
}
