//! A camera of the kernel (V4L2, `device-protocols.md` §7): its capture node is chosen by capability,
//! its format by what is wanted, and its controls are set before each stream. A second node may deliver
//! infrared pictures of the same moment.
//!
//! A stream without a picture is reopened once before it counts as a fault; a camera that was unplugged
//! or that somebody else uses is told as such. A control the camera does not have is skipped.

pub mod controls;
pub mod formats;
mod node;
mod watch;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceConfig, DeviceState, Fault,
    Status, WireError,
};

use crate::camera::{Event, Role, Viewer};
use crate::picture::SIDE_PIXELS_MAX;
use crate::video::Pixels;
use controls::{Knob, Settings};
use formats::{Offer, Size};
use node::Node;
pub use node::{CaptureNode, capture_nodes};
use watch::Eyes;

/// Names of control settings in the configuration.
const AUTO: &str = "auto";
/// Longest exposure that can be asked for, in units of 100 µs: a second.
const EXPOSURE_MAX: u32 = 10_000;
/// Highest focus and zoom that can be asked for; each camera has a scale of its own.
const SCALE_MAX: u32 = 65_535;
/// Formats told as abilities. Chosen: a technician reads no more.
const ABILITIES_MAX: usize = 24;
/// What a face is seen with where the configuration says nothing.
const FACE_SIZE: Size = Size {
    width: 1280,
    height: 720,
};
/// What a document is seen with: five megapixels read an A4 page at 200 dots an inch.
const DOCUMENT_SIZE: Size = Size {
    width: 2592,
    height: 1944,
};
/// What an infrared eye is seen with.
const INFRARED_SIZE: Size = Size {
    width: 640,
    height: 480,
};

/// What is wanted of a camera.
#[derive(Debug)]
struct Wanted {
    size: Size,
    frames_per_second: u32,
    /// The storage of pixels, the most welcome first.
    pixels: [Pixels; 3],
}

/// The driver of one camera, with its infrared eye where it has one.
#[derive(Debug)]
pub(crate) struct KernelCamera {
    color: Source,
    infrared: Option<Source>,
    model: String,
    settings: Settings,
    /// Controls that were missed, each told once.
    missed: BTreeSet<&'static str>,
    /// Why the infrared eye is not used.
    blind: Option<Fault>,
}

/// One eye: where it is, what is wanted of it, and its open node.
#[derive(Debug)]
struct Source {
    port: String,
    wanted: Wanted,
    node: Option<Node>,
}

impl KernelCamera {
    pub(crate) fn new(config: &DeviceConfig, role: Role) -> Result<Self, ConfigError> {
        let default = match role {
            Role::Face => FACE_SIZE,
            Role::Document => DOCUMENT_SIZE,
        };
        let size = Size {
            width: config.option_number("width", 1..=SIDE_PIXELS_MAX, default.width)?,
            height: config.option_number("height", 1..=SIDE_PIXELS_MAX, default.height)?,
        };
        let frames_per_second = config.option_number("fps", 1..=120, 30)?;
        let infrared = match config.options.get("infrared") {
            None => None,
            Some(value) => Some(value.as_str().filter(|port| is_node(port)).ok_or_else(|| {
                config.not_accepted("options.infrared", value.to_string(), "/dev/…")
            })?),
        };
        if !is_node(&config.port) {
            let accepted = "/dev/v4l/by-path/…, /dev/v4l/by-id/… or /dev/videoN";
            return Err(config.not_accepted("port", &config.port, accepted));
        }
        Ok(Self {
            color: Source {
                port: config.port.clone(),
                wanted: Wanted {
                    size,
                    frames_per_second,
                    pixels: [Pixels::Jpeg, Pixels::Yuyv, Pixels::Gray],
                },
                node: None,
            },
            infrared: infrared.map(|port| Source {
                port: port.to_owned(),
                wanted: Wanted {
                    size: INFRARED_SIZE,
                    frames_per_second,
                    pixels: [Pixels::Gray, Pixels::Jpeg, Pixels::Yuyv],
                },
                node: None,
            }),
            model: config.model.clone().unwrap_or_default(),
            settings: settings(config)?,
            missed: BTreeSet::new(),
            blind: None,
        })
    }

    pub(crate) fn open(&mut self) -> Result<Capabilities, Fault> {
        self.close();
        let node = self.color.open()?;
        let missed = node
            .set_controls(&self.settings)
            .map_err(|error| fault(&self.color.port, error))?;
        let abilities = abilities(node.offers());
        let about = node.about().clone();
        let mode = node.mode_name();
        self.color.node = Some(node);
        for name in missed {
            if self.missed.insert(name) {
                tracing::info!(port = self.color.port, control = name, "control missing");
            }
        }
        let mut abilities = [vec![format!("mode-{mode}")], abilities].concat();
        if self.open_infrared() {
            abilities.push("infrared".to_owned());
        }
        Ok(Capabilities {
            model: if about.model.is_empty() {
                self.model.clone()
            } else {
                about.model
            },
            serial: about.serial,
            firmware: about.firmware,
            abilities,
        })
    }

    /// Opens the infrared eye. Without it the camera still shows pictures, and the status says so.
    fn open_infrared(&mut self) -> bool {
        let Some(infrared) = &mut self.infrared else {
            return false;
        };
        let opened = infrared.open().and_then(|node| {
            let set = node.set_controls(&Settings {
                power_line_hertz: self.settings.power_line_hertz,
                ..Settings::default()
            });
            set.map_err(|error| fault(&infrared.port, error))?;
            Ok(node)
        });
        match opened {
            Ok(node) => {
                infrared.node = Some(node);
                self.blind = None;
                true
            }
            Err(fault) => {
                self.blind = Some(no_infrared(&fault));
                false
            }
        }
    }

    pub(crate) fn close(&mut self) {
        self.color.node = None;
        if let Some(infrared) = &mut self.infrared {
            infrared.node = None;
        }
    }

    pub(crate) fn status(&mut self) -> Result<Status, Fault> {
        self.color.check()?;
        if let Some(infrared) = &mut self.infrared
            && infrared.node.is_some()
            && let Err(fault) = infrared.check()
        {
            infrared.node = None;
            self.blind = Some(no_infrared(&fault));
        } else if self.blind.is_some() {
            self.open_infrared();
        }
        Ok(Status {
            state: DeviceState::Online,
            faults: self.blind.iter().cloned().collect(),
            ..Status::default()
        })
    }

    /// Shows pictures until the caller ends it or the camera fails for good.
    pub(crate) fn stream(
        &mut self,
        viewer: &mut Viewer,
        context: &Context<'_, Event>,
    ) -> Result<Infallible, Completion> {
        let port = self.color.port.clone();
        watch::watch_with_reopening(
            |is_again| {
                if is_again {
                    self.open()?;
                }
                self.start()
            },
            |error| fault(&port, error),
            viewer,
            context,
        )
    }

    fn start(&mut self) -> Result<Eyes<node::Running>, Fault> {
        let color = self.color.start()?;
        let infrared = match self.infrared.as_mut().map(Source::start) {
            None => None,
            Some(Ok(infrared)) => Some(infrared),
            Some(Err(fault)) => {
                self.blind = Some(no_infrared(&fault));
                None
            }
        };
        Ok(Eyes::new(color, infrared))
    }
}

impl Source {
    fn open(&self) -> Result<Node, Fault> {
        Node::open(&self.port, &self.wanted).map_err(|error| match error {
            node::OpenError::Kernel(error) => opening_fault(&self.port, error),
            node::OpenError::NoCapture => unsupported("no node of it captures video"),
            node::OpenError::NoFormat => unsupported("it offers none of MJPG, YUYV and GREY"),
        })
    }

    fn node(&self) -> Result<&Node, Fault> {
        self.node.as_ref().ok_or_else(|| WireError::Gone.into())
    }

    fn check(&self) -> Result<(), Fault> {
        self.node()?
            .check()
            .map_err(|error| fault(&self.port, error))
    }

    fn start(&mut self) -> Result<node::Running, Fault> {
        self.node()?
            .start()
            .map_err(|error| fault(&self.port, error))
    }
}

fn settings(config: &DeviceConfig) -> Result<Settings, ConfigError> {
    let knob = |key: &str, max: u32| match config.options.get(key) {
        None => Ok(None),
        Some(value) if value.as_str() == Some(AUTO) => Ok(Some(Knob::Auto)),
        Some(value) => value
            .as_integer()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number <= max)
            .map(|number| Some(Knob::Fixed(number)))
            .ok_or_else(|| {
                let accepted = format!("\"{AUTO}\" or a number from 0 to {max}");
                config.not_accepted(&format!("options.{key}"), value.to_string(), accepted)
            }),
    };
    let zoom = match config.options.get("zoom") {
        None => None,
        Some(_) => Some(config.option_number("zoom", 0..=SCALE_MAX, 0)?),
    };
    let power_line_hertz = config.option_number("power_line_hz", 0..=60, 50)?;
    if ![0, 50, 60].contains(&power_line_hertz) {
        return Err(config.not_accepted(
            "options.power_line_hz",
            power_line_hertz.to_string(),
            "50, 60, or 0 for off",
        ));
    }
    Ok(Settings {
        power_line_hertz: Some(power_line_hertz),
        exposure: knob("exposure", EXPOSURE_MAX)?,
        focus: knob("focus", SCALE_MAX)?,
        zoom,
    })
}

fn is_node(port: &str) -> bool {
    port.starts_with("/dev/") && !port.contains('\0')
}

/// What the camera offers, as words.
fn abilities(offers: &[Offer]) -> Vec<String> {
    offers.iter().map(Offer::name).take(ABILITIES_MAX).collect()
}

/// `ENXIO`, `EIO`, `EBUSY`, `ENODEV`, `EINVAL`, `ENOTTY`, `ENOSPC` of Linux (`errno.h`).
const ERRNO_NO_DEVICE: i32 = 6;
const ERRNO_BUSY: i32 = 16;
const ERRNO_GONE: i32 = 19;
const ERRNO_INVALID: i32 = 22;
const ERRNO_NO_SUCH_CALL: i32 = 25;
const ERRNO_NO_SPACE: i32 = 28;

/// What an error of the kernel about an open camera means (`device-protocols.md` §7).
fn fault(port: &str, error: io::Error) -> Fault {
    let port = port.to_owned();
    match (error.kind(), error.raw_os_error()) {
        (_, Some(ERRNO_GONE | ERRNO_NO_DEVICE)) => WireError::Gone.into(),
        (_, Some(ERRNO_BUSY)) => WireError::InUse { port }.into(),
        // The USB host has no room for another stream of this size.
        (_, Some(ERRNO_NO_SPACE)) => Fault::new(
            "camera.no-bandwidth",
            Action::Configuration,
            "the bus has no room for this stream: choose a smaller size or another port",
        ),
        (_, Some(ERRNO_INVALID | ERRNO_NO_SUCH_CALL)) => {
            unsupported("it refuses what is configured")
        }
        (io::ErrorKind::NotFound, _) => WireError::NotThere { port }.into(),
        (io::ErrorKind::PermissionDenied, _) => WireError::Denied { port }.into(),
        (_, _) => WireError::Io(error).into(),
    }
}

/// The same while opening: what is gone was not there.
fn opening_fault(port: &str, error: io::Error) -> Fault {
    let found = fault(port, error);
    if found.code == "device.gone" {
        let port = port.to_owned();
        return WireError::NotThere { port }.into();
    }
    found
}

fn unsupported(detail: &str) -> Fault {
    Fault::new("camera.not-supported", Action::Configuration, detail)
}

fn no_infrared(cause: &Fault) -> Fault {
    Fault::new(
        "camera.no-infrared",
        Action::Maintenance,
        format!("the infrared eye does not work: {cause}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Camera;
    use kiosk_device::Driver;

    fn camera(port: &str, options: &str) -> Result<Camera, ConfigError> {
        let config = format!(
            "id = \"camera\"\nclass = \"camera\"\ndriver = \"v4l2\"\nport = \"{port}\"\n[options]\n{options}"
        );
        Camera::new(&toml::from_str(&config).unwrap())
    }

    #[test]
    fn errors_of_the_kernel_have_their_codes() {
        for (errno, code, action) in [
            (1, "device.no-permission", Action::Configuration),
            (2, "device.not-there", Action::Maintenance),
            (5, "device.io", Action::Maintenance),
            (6, "device.gone", Action::Maintenance),
            (13, "device.no-permission", Action::Configuration),
            (16, "device.in-use", Action::Configuration),
            (19, "device.gone", Action::Maintenance),
            (22, "camera.not-supported", Action::Configuration),
            (25, "camera.not-supported", Action::Configuration),
            (28, "camera.no-bandwidth", Action::Configuration),
            (71, "device.io", Action::Maintenance),
        ] {
            let found = fault("/dev/video0", io::Error::from_raw_os_error(errno));
            assert_eq!((found.code, found.action), (code, action), "{errno}");
        }
        for errno in [2, 6, 19] {
            let found = opening_fault("/dev/video0", io::Error::from_raw_os_error(errno));
            assert_eq!(found.code, "device.not-there", "{errno}");
        }
    }

    #[test]
    fn a_camera_that_is_not_there_says_so() {
        let mut camera = camera("/dev/no-such-camera", "").unwrap();
        assert_eq!(camera.open().unwrap_err().code, "device.not-there");
        assert_eq!(camera.status().unwrap_err().code, "device.gone");
    }

    #[test]
    fn what_is_no_camera_is_refused() {
        let mut camera = camera("/dev/null", "").unwrap();
        assert_eq!(camera.open().unwrap_err().code, "camera.not-supported");
    }

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let good = "width = 640\nheight = 480\nfps = 15\ninfrared = \"/dev/video2\"\npower_line_hz = 60\nexposure = \"auto\"\nfocus = 30\nzoom = 100\nrole = \"document\"";
        assert_eq!(camera("/dev/video0", good).unwrap().role(), Role::Document);
        for (port, options, expect) in [
            ("tcp:host:80", "", "/dev/v4l/by-path/"),
            ("/dev/video0", "width = 0", "options.width"),
            ("/dev/video0", "power_line_hz = 55", "options.power_line_hz"),
            ("/dev/video0", "exposure = \"bright\"", "options.exposure"),
            ("/dev/video0", "focus = -1", "options.focus"),
            ("/dev/video0", "infrared = 3", "options.infrared"),
            ("/dev/video0", "zoom = \"auto\"", "options.zoom"),
        ] {
            let error = camera(port, options).unwrap_err();
            assert!(error.to_string().contains(expect), "{options}: {error}");
        }
    }
}
