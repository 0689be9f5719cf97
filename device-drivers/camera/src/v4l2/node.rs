//! One capture node of the kernel: found by capability, asked for its formats, set up and streamed from
//! with mapped buffers. The only file that calls the kernel about video.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiosk_device::clock;
use v4l::buffer::{Flags as BufferFlags, Type};
use v4l::capability::Flags;
use v4l::control::{Control, Value};
use v4l::framesize::FrameSizeEnum;
use v4l::io::traits::{CaptureStream, Stream};
use v4l::prelude::MmapStream;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC};

use super::controls::{Settings, plan};
use super::formats::{Offer, Size, Sizes, choose};
use super::watch::{Frames, RawFrame, Stamp};
use super::{ERRNO_GONE, Wanted};
use crate::picture::SIDE_PIXELS_MAX;
use crate::video::{Layout, Pixels};

/// Where the kernel describes its video nodes.
const CLASS: &str = "/sys/class/video4linux";
/// Where stable names of nodes are.
const STABLE: [&str; 2] = ["/dev/v4l/by-path", "/dev/v4l/by-id"];
/// Nodes looked at. Chosen: a terminal has a handful.
const NODES_MAX: usize = 64;
/// Formats and sizes taken from one camera. Chosen: real ones have some thirty.
const OFFERS_MAX: usize = 256;
/// Buffers shared with the kernel. Chosen: one is read while the others fill.
const BUFFERS: u32 = 4;
/// Longest text in a description of a device.
const TEXT_BYTES_MAX: u64 = 256;
/// A descriptor can be read (`poll.h`).
const POLL_IN: i16 = 1;
/// Wait for a picture that the kernel said is there.
const READY_LIMIT: Duration = Duration::from_millis(100);

/// Why a node cannot be used.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The kernel says so.
    Kernel(io::Error),
    /// Neither it nor a sibling captures video.
    NoCapture,
    /// No format that is understood here.
    NoFormat,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}

/// What a camera is.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) model: String,
    pub(super) serial: String,
    pub(super) firmware: String,
}

/// A capture node that somebody could configure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureNode {
    /// Its stable name, or `/dev/videoN` where it has none.
    pub port: String,
    /// What it calls itself.
    pub model: String,
}

/// The capture nodes of this machine, in the order of their numbers. Nodes that cannot be opened are
/// left out.
pub fn capture_nodes() -> Vec<CaptureNode> {
    node_names(Path::new(CLASS))
        .into_iter()
        .filter_map(|name| {
            let path = Path::new("/dev").join(&name);
            let device = Device::with_path(&path).ok()?;
            captures(&device, &name).then(|| CaptureNode {
                port: stable_name(&path)
                    .unwrap_or(path)
                    .to_string_lossy()
                    .into_owned(),
                model: about(&name).model,
            })
        })
        .collect()
}

/// An open capture node with its format set.
pub(super) struct Node {
    device: Device,
    offers: Vec<Offer>,
    layout: Layout,
    about: About,
}

impl Node {
    /// Opens the node at `port`, or the sibling of it that captures, and sets its format.
    pub(super) fn open(port: &str, wanted: &Wanted) -> Result<Self, OpenError> {
        let path = fs::canonicalize(port)?;
        let name = file_name(&path);
        let (device, name) = open_capture(&path, &name)?;
        let offers = offers(&device)?;
        let (pixels, size) =
            choose(&offers, wanted.size, &wanted.pixels).ok_or(OpenError::NoFormat)?;
        let characters = offered_characters(&device, pixels)?;
        let set = device.set_format(&Format::new(size.width, size.height, characters))?;
        // The camera may give another size than the one it was asked for, but not another storage.
        let is_usable = [set.width, set.height]
            .iter()
            .all(|side| (1..=SIDE_PIXELS_MAX).contains(side));
        let pixels = Pixels::from_four_characters(set.fourcc.repr)
            .filter(|_| is_usable)
            .ok_or(OpenError::NoFormat)?;
        // Not every camera lets its pace be chosen.
        if let Err(error) = device.set_params(&Parameters::with_fps(wanted.frames_per_second)) {
            tracing::debug!(%error, "pace of the camera not set");
        }
        Ok(Self {
            layout: Layout {
                pixels,
                width: set.width,
                height: set.height,
                stride: set.stride,
            },
            device,
            offers,
            about: about(&name),
        })
    }

    pub(super) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    pub(super) fn about(&self) -> &About {
        &self.about
    }

    /// The format in use, as a word.
    pub(super) fn mode_name(&self) -> String {
        let sizes = Sizes::One(Size {
            width: self.layout.width,
            height: self.layout.height,
        });
        Offer {
            pixels: self.layout.pixels,
            sizes,
        }
        .name()
    }

    /// Sets the controls; the names of those that the camera does not have, or not so.
    pub(super) fn set_controls(&self, settings: &Settings) -> io::Result<Vec<&'static str>> {
        let mut missed = Vec::new();
        for step in plan(settings) {
            let mut is_set = false;
            for value in step.values {
                let control = Control {
                    id: step.id,
                    value: Value::Integer(i64::from(value)),
                };
                match self.device.set_control(control) {
                    Ok(()) => {
                        is_set = true;
                        break;
                    }
                    Err(error) if error.raw_os_error() == Some(ERRNO_GONE) => return Err(error),
                    Err(_) => {}
                }
            }
            if !is_set {
                missed.push(step.name);
            }
        }
        Ok(missed)
    }

    /// Asks the kernel whether the camera is still there.
    pub(super) fn check(&self) -> io::Result<()> {
        self.device.format().map(|_| ())
    }

    /// Starts the stream.
    pub(super) fn start(&self) -> io::Result<Running> {
        let stream = MmapStream::with_buffers(&self.device, Type::VideoCapture, BUFFERS)?;
        let mut running = Running {
            stream: Some(stream),
            layout: self.layout,
        };
        let stream = running.stream()?;
        stream.set_timeout(READY_LIMIT);
        // The first buffer is queued by the first reading; the kernel may have granted fewer.
        let queued = (1..BUFFERS as usize)
            .take_while(|index| CaptureStream::queue(stream, *index).is_ok())
            .count();
        if queued == 0 {
            return Err(io::Error::other("the kernel grants no buffers"));
        }
        stream.start()?;
        Ok(running)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("layout", &self.layout)
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}

/// A stream that runs.
pub(super) struct Running {
    stream: Option<MmapStream<'static>>,
    layout: Layout,
}

impl Running {
    fn stream(&mut self) -> io::Result<&mut MmapStream<'static>> {
        self.stream
            .as_mut()
            .ok_or_else(|| io::Error::other("the stream has ended"))
    }
}

impl Frames for Running {
    fn layout(&self) -> Layout {
        self.layout
    }

    fn next(&mut self, limit: Duration) -> io::Result<Option<RawFrame<'_>>> {
        let stream = self.stream()?;
        let limit_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        // The stream's own waiting would lose a buffer each time nothing came.
        match stream.handle().poll(POLL_IN, limit_ms) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(error),
        }
        let arrived_at = clock::now();
        let (buffer, about) = stream.next()?;
        let bytes = buffer.get(..about.bytesused as usize).unwrap_or_default();
        if bytes.is_empty() || about.flags.contains(BufferFlags::ERROR) {
            return Ok(None);
        }
        let taken_at = Duration::from(about.timestamp);
        let stamp = Stamp {
            arrived_at,
            taken_at: about
                .flags
                .contains(BufferFlags::TIMESTAMP_MONOTONIC)
                .then_some(taken_at),
        };
        Ok(Some(RawFrame { bytes, stamp }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        match stream.stop() {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(ERRNO_GONE) => {}
            Err(error) => {
                // Dropping a stream that cannot be stopped panics; its buffers are the smaller loss.
                tracing::warn!(%error, "camera stream not stopped");
                std::mem::forget(stream);
            }
        }
    }
}

/// The node itself, or the first sibling that captures: a USB camera has a node for its pictures and
/// another for what it says about them.
fn open_capture(path: &Path, name: &str) -> Result<(Device, String), OpenError> {
    let device = Device::with_path(path)?;
    if captures(&device, name) {
        return Ok((device, name.to_owned()));
    }
    for sibling in siblings(Path::new(CLASS), name) {
        if let Ok(device) = Device::with_path(Path::new("/dev").join(&sibling))
            && captures(&device, &sibling)
        {
            return Ok((device, sibling));
        }
    }
    Err(OpenError::NoCapture)
}

/// Whether pictures can be streamed from a node.
fn captures(device: &Device, name: &str) -> bool {
    // A name that was cut inside a character would make the crate panic over the capabilities; then
    // the formats decide alone.
    let raw_name = text_bytes(&Path::new(CLASS).join(name).join("name"));
    let is_text = raw_name.is_none_or(|bytes| std::str::from_utf8(&bytes).is_ok());
    let can = is_text.then(|| device.query_caps().ok()).flatten();
    let wanted = Flags::VIDEO_CAPTURE | Flags::STREAMING;
    can.is_none_or(|can| can.capabilities.contains(wanted))
        && device
            .enum_formats()
            .is_ok_and(|formats| !formats.is_empty())
}

/// What a camera offers among the storages that are understood here.
fn offers(device: &Device) -> io::Result<Vec<Offer>> {
    let mut offers = Vec::new();
    for format in device.enum_formats()? {
        let Some(pixels) = Pixels::from_four_characters(format.fourcc.repr) else {
            continue;
        };
        let sizes: Vec<Sizes> = match device.enum_framesizes(format.fourcc) {
            Ok(sizes) => sizes.into_iter().map(|size| to_sizes(&size.size)).collect(),
            Err(error) if error.raw_os_error() == Some(ERRNO_GONE) => return Err(error),
            // Old drivers do not tell their sizes.
            Err(_) => vec![Sizes::Unknown],
        };
        offers.extend(sizes.into_iter().map(|sizes| Offer { pixels, sizes }));
        offers.truncate(OFFERS_MAX);
    }
    Ok(offers)
}

fn to_sizes(size: &FrameSizeEnum) -> Sizes {
    match size {
        FrameSizeEnum::Discrete(size) => Sizes::One(Size {
            width: size.width,
            height: size.height,
        }),
        FrameSizeEnum::Stepwise(steps) => Sizes::Steps {
            smallest: Size {
                width: steps.min_width,
                height: steps.min_height,
            },
            largest: Size {
                width: steps.max_width,
                height: steps.max_height,
            },
            step: Size {
                width: steps.step_width,
                height: steps.step_height,
            },
        },
    }
}

/// The four characters under which this camera offers a storage.
fn offered_characters(device: &Device, pixels: Pixels) -> io::Result<FourCC> {
    let offered = device
        .enum_formats()?
        .into_iter()
        .map(|format| format.fourcc)
        .find(|characters| Pixels::from_four_characters(characters.repr) == Some(pixels));
    Ok(offered.unwrap_or_else(|| FourCC::new(&pixels.four_characters())))
}

/// Nodes of the same device as `name`, without it.
fn siblings(class: &Path, name: &str) -> Vec<String> {
    let device = |name: &str| fs::canonicalize(class.join(name).join("device")).ok();
    let Some(own) = device(name) else {
        return Vec::new();
    };
    node_names(class)
        .into_iter()
        .filter(|other| other != name && device(other).as_ref() == Some(&own))
        .collect()
}

/// The names of all video nodes, by number.
fn node_names(class: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(class) else {
        return Vec::new();
    };
    let numbered: BTreeMap<u32, String> = entries
        .take(4 * NODES_MAX)
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let number = name.strip_prefix("video")?.parse().ok()?;
            Some((number, name))
        })
        .collect();
    numbered.into_values().take(NODES_MAX).collect()
}

/// What the kernel knows of the device behind a node; for USB its serial number and release.
fn about(name: &str) -> About {
    let node = Path::new(CLASS).join(name);
    let text = |path: PathBuf| {
        let bytes = text_bytes(&path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    // The device of a node is a USB interface; what it belongs to is above it.
    let usb = fs::canonicalize(node.join("device")).map(|path| path.join(".."));
    let usb_text = |file: &str| {
        usb.as_ref()
            .map(|usb| text(usb.join(file)))
            .unwrap_or_default()
    };
    About {
        model: text(node.join("name")),
        serial: usb_text("serial"),
        firmware: usb_text("bcdDevice"),
    }
}

fn text_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn stable_name(path: &Path) -> Option<PathBuf> {
    STABLE.iter().find_map(|directory| {
        fs::read_dir(directory)
            .ok()?
            .take(4 * NODES_MAX)
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|link| fs::canonicalize(link).is_ok_and(|target| target == path))
    })
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn siblings_are_the_other_nodes_of_the_same_device() {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("class");
        for (node, device) in [
            ("video10", "usb-a"),
            ("video2", "usb-a"),
            ("video0", "usb-a"),
            ("video1", "usb-b"),
            ("v4l-subdev0", "usb-a"),
        ] {
            fs::create_dir_all(root.path().join(device)).unwrap();
            fs::create_dir_all(class.join(node)).unwrap();
            symlink(root.path().join(device), class.join(node).join("device")).unwrap();
        }
        assert_eq!(siblings(&class, "video0"), ["video2", "video10"]);
        assert_eq!(siblings(&class, "video1"), [""; 0]);
        assert_eq!(siblings(&class, "video7"), [""; 0]);
        assert_eq!(siblings(Path::new("/no/such/class"), "video0"), [""; 0]);
    }

    #[test]
    fn looking_for_cameras_finds_only_nodes_that_capture() {
        // Without a camera the list is empty; with one, each port can be opened.
        for node in capture_nodes() {
            assert!(node.port.starts_with("/dev/"), "{}", node.port);
        }
    }
}
