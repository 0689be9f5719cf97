//! From raw pictures of one or two eyes to frames: pace, pairing in time, stall, and the one reopening.
//! Knows no kernel, so that a test can play the eyes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiosk_device::{Completion, Context, Fault, clock};

use crate::camera::{Event, LOOK_LIMIT, Viewer, stalled};
use crate::picture::{Frame, Infrared, PictureError, Wanted};
use crate::video::{Layout, to_gray, to_wanted};

/// Pictures of two eyes are of the same moment when they are no further apart (§7).
const PAIR_LIMIT: Duration = Duration::from_millis(50);
/// Pictures taken from the kernel at once: all of its buffers.
const DRAIN_MAX: usize = 8;

/// When a picture was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// When it came here.
    pub(super) arrived_at: Instant,
    /// When the kernel says it was taken, on the clock that all its cameras share.
    pub(super) taken_at: Option<Duration>,
}

impl Stamp {
    /// How far apart two pictures were taken.
    fn apart(self, other: Self) -> Duration {
        if let (Some(one), Some(two)) = (self.taken_at, other.taken_at) {
            return one.abs_diff(two);
        }
        let later = self.arrived_at.max(other.arrived_at);
        later.saturating_duration_since(self.arrived_at.min(other.arrived_at))
    }

    fn is_before(self, other: Self) -> bool {
        if let (Some(one), Some(two)) = (self.taken_at, other.taken_at) {
            return one < two;
        }
        self.arrived_at < other.arrived_at
    }

    /// Whether no later picture of this eye can be much nearer to the one of `other`.
    fn fits(self, other: Self) -> bool {
        !self.is_before(other) || self.apart(other) <= PAIR_LIMIT / 4
    }
}

/// One picture in the kernel's buffer.
#[derive(Debug)]
pub(super) struct RawFrame<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stamp: Stamp,
}

/// A running stream of raw pictures.
pub(super) trait Frames {
    /// How their bytes lie.
    fn layout(&self) -> Layout;

    /// The next one, waiting `limit` at most; `None` when none came or a broken one.
    fn next(&mut self, limit: Duration) -> io::Result<Option<RawFrame<'_>>>;
}

/// The streams of one camera.
pub(super) struct Eyes<F> {
    color: Eye<F>,
    infrared: Option<Eye<F>>,
}

impl<F: Frames> Eyes<F> {
    pub(super) fn new(color: F, infrared: Option<F>) -> Self {
        Self {
            color: Eye::new(color),
            infrared: infrared.map(Eye::new),
        }
    }
}

/// One eye and the last picture that was taken from it.
struct Eye<F> {
    frames: F,
    held: Option<Held>,
}

struct Held {
    bytes: Vec<u8>,
    stamp: Stamp,
}

/// Keeps a copy of a picture in the memory of the last one.
fn hold(held: &mut Option<Held>, raw: &RawFrame<'_>) {
    let held = held.get_or_insert_with(|| Held {
        bytes: Vec::new(),
        stamp: raw.stamp,
    });
    held.bytes.clear();
    held.bytes.extend_from_slice(raw.bytes);
    held.stamp = raw.stamp;
}

impl<F: Frames> Eye<F> {
    fn new(frames: F) -> Self {
        Self { frames, held: None }
    }

    /// Takes one picture; false when none came.
    fn take(&mut self, limit: Duration) -> io::Result<bool> {
        let Some(raw) = self.frames.next(limit)? else {
            return Ok(false);
        };
        hold(&mut self.held, &raw);
        Ok(true)
    }

    /// Empties the kernel's buffers, which otherwise keep the oldest pictures, up to the first one that
    /// fits to `moment`.
    fn drain(&mut self, moment: Option<Stamp>) -> io::Result<()> {
        for _ in 0..DRAIN_MAX {
            // By its arrival, everything that waited is of this moment.
            if let (Some(held), Some(moment)) = (&self.held, moment)
                && held.stamp.taken_at.is_some()
                && moment.taken_at.is_some()
                && held.stamp.fits(moment)
            {
                break;
            }
            if !self.take(Duration::ZERO)? {
                break;
            }
        }
        Ok(())
    }

    /// The picture of the moment `stamp`, if there is one. Waits for one that may still come.
    fn partner(&mut self, stamp: Stamp) -> io::Result<Option<Infrared>> {
        let until = clock::now() + PAIR_LIMIT;
        for _ in 0..DRAIN_MAX {
            let Some(held) = &self.held else {
                if self.take(until.saturating_duration_since(clock::now()))? {
                    continue;
                }
                return Ok(None);
            };
            if held.stamp.fits(stamp) {
                return Ok(self.infrared_of(stamp));
            }
            let apart = held.stamp.apart(stamp);
            // An older one is held: a nearer one may come, but the one at hand is not given away.
            let older = self.held.take();
            let has_come = self.take(until.saturating_duration_since(clock::now()))?;
            let is_nearer = self
                .held
                .as_ref()
                .is_some_and(|newer| newer.stamp.apart(stamp) < apart);
            if has_come && is_nearer {
                continue;
            }
            let newer = std::mem::replace(&mut self.held, older);
            let found = self.infrared_of(stamp);
            self.held = newer.or_else(|| self.held.take());
            return Ok(found);
        }
        Ok(self.infrared_of(stamp))
    }

    /// The picture at hand, if it is near enough and whole.
    fn infrared_of(&self, stamp: Stamp) -> Option<Infrared> {
        let held = self.held.as_ref()?;
        if held.stamp.apart(stamp) > PAIR_LIMIT {
            return None;
        }
        let gray = to_gray(self.frames.layout(), &held.bytes).ok()?;
        Some(Infrared {
            width: gray.width(),
            height: gray.height(),
            gray: Arc::new(gray.into_raw()),
        })
    }
}

/// Why watching ended.
enum Ending {
    Completion(Completion),
    Stalled,
    Kernel(io::Error),
}

/// Shows pictures until the caller ends it. A stream that stalls or breaks is started again by
/// `start(true)`, once for each time that pictures came.
pub(super) fn watch_with_reopening<F: Frames>(
    mut start: impl FnMut(bool) -> Result<Eyes<F>, Fault>,
    fault_of: impl Fn(io::Error) -> Fault,
    viewer: &mut Viewer,
    context: &Context<'_, Event>,
) -> Result<Infallible, Completion> {
    let mut is_again = false;
    // Each turn takes the time of a stall at least, or fails; the deadline ends it.
    loop {
        context.check()?;
        let mut eyes = start(is_again).map_err(Completion::Failed)?;
        viewer.restart();
        let mut shown = 0_u64;
        let Err(ending) = watch(&mut eyes, viewer, &mut shown, context);
        drop(eyes);
        let fault = match ending {
            Ending::Completion(completion) => return Err(completion),
            Ending::Stalled => stalled("no picture for two seconds"),
            Ending::Kernel(error) => fault_of(error),
        };
        let may_pass = ["camera.stalled", "device.io"].contains(&fault.code);
        if !may_pass || (is_again && shown == 0) {
            return Err(Completion::Failed(fault));
        }
        tracing::info!(code = fault.code, "camera is opened again");
        is_again = true;
    }
}

fn watch<F: Frames>(
    eyes: &mut Eyes<F>,
    viewer: &mut Viewer,
    shown: &mut u64,
    context: &Context<'_, Event>,
) -> Result<Infallible, Ending> {
    let layout = eyes.color.frames.layout();
    loop {
        context.check().map_err(Ending::Completion)?;
        let limit = context.remaining().min(LOOK_LIMIT);
        let color = &mut eyes.color;
        let Some(raw) = color.frames.next(limit).map_err(Ending::Kernel)? else {
            if viewer.has_stalled() {
                return Err(Ending::Stalled);
            }
            continue;
        };
        if !viewer.is_due() {
            look(&mut eyes.infrared, None);
            continue;
        }
        hold(&mut color.held, &raw);
        // Whoever decodes slower than the camera takes pictures finds all buffers full, the oldest
        // first.
        color.drain(None).map_err(Ending::Kernel)?;
        let Some(held) = &color.held else {
            continue;
        };
        let infrared = look(&mut eyes.infrared, Some(held.stamp));
        let began_at = clock::now();
        viewer
            .show(context, |wanted| {
                with_infrared(layout, &held.bytes, wanted, infrared)
            })
            .map_err(|fault| Ending::Completion(Completion::Failed(fault)))?;
        *shown += 1;
        tracing::trace!(
            decode_ms = clock::now().saturating_duration_since(began_at).as_millis(),
            since_arrival_ms = clock::now()
                .saturating_duration_since(held.stamp.arrived_at)
                .as_millis(),
            "frame"
        );
    }
}

/// The partner of the picture of that moment; without a moment, old pictures are thrown away. An
/// infrared eye that fails is closed until the next stream.
fn look<F: Frames>(infrared: &mut Option<Eye<F>>, moment: Option<Stamp>) -> Option<Infrared> {
    let eye = infrared.as_mut()?;
    let found = eye.drain(moment).and_then(|()| match moment {
        Some(moment) => eye.partner(moment),
        None => Ok(None),
    });
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "infrared eye lost");
        *infrared = None;
        None
    })
}

fn with_infrared(
    layout: Layout,
    bytes: &[u8],
    wanted: Wanted,
    infrared: Option<Infrared>,
) -> Result<Frame, PictureError> {
    Ok(Frame {
        // The whole of one moment beside a part of it would not be the same sight.
        infrared: infrared.filter(|_| wanted.crop.is_none()),
        ..to_wanted(layout, bytes, wanted)?
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use kiosk_device::{Action, Cancel};

    use super::*;
    use crate::camera::Pace;
    use crate::video::Pixels;

    const LONG: Duration = Duration::from_secs(30);
    const GRAY: Layout = Layout {
        pixels: Pixels::Gray,
        width: 2,
        height: 2,
        stride: 2,
    };

    /// What an eye does at one asking: what stands without [`Act::Nothing`] between is there at once.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        /// A picture of this shade, taken at this millisecond.
        Picture(u8, u64),
        /// A picture that is not whole.
        Broken,
        /// Nothing comes.
        Nothing,
        /// The kernel fails with this number.
        Fail(i32),
    }

    /// An eye that acts as it is told, and then gives nothing.
    struct Eye {
        acts: VecDeque<Act>,
        bytes: Vec<u8>,
        origin: Instant,
    }

    fn eye(acts: &[Act]) -> Eye {
        Eye {
            acts: acts.iter().copied().collect(),
            bytes: Vec::new(),
            origin: clock::now(),
        }
    }

    impl Frames for Eye {
        fn layout(&self) -> Layout {
            GRAY
        }

        fn next(&mut self, limit: Duration) -> io::Result<Option<RawFrame<'_>>> {
            let taken_at = match self.acts.pop_front().unwrap_or(Act::Nothing) {
                Act::Nothing => {
                    std::thread::park_timeout(limit);
                    return Ok(None);
                }
                Act::Fail(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Act::Broken => {
                    self.bytes = vec![0];
                    Duration::ZERO
                }
                Act::Picture(shade, taken_ms) => {
                    self.bytes = vec![shade; 4];
                    Duration::from_millis(taken_ms)
                }
            };
            Ok(Some(RawFrame {
                bytes: &self.bytes,
                stamp: Stamp {
                    arrived_at: self.origin,
                    taken_at: Some(taken_at),
                },
            }))
        }
    }

    fn viewer() -> Viewer {
        Viewer::new(Pace {
            wanted: 8.into(),
            interval: Duration::ZERO,
        })
    }

    /// Plays these streams one after the other; the shades of color and infrared that were shown, how
    /// it ended, and how often the stream was opened again.
    fn play(
        streams: Vec<(Vec<Act>, Option<Vec<Act>>)>,
        frames_max: usize,
    ) -> (Vec<(u8, Option<u8>)>, Completion, usize) {
        let cancel = Cancel::default();
        let frames = RefCell::new(Vec::new());
        let emit = |Event::Frame(frame): Event| {
            let infrared = frame.infrared.map(|infrared| infrared.gray[0]);
            frames.borrow_mut().push((frame.rgb[0], infrared));
            if frames.borrow().len() == frames_max {
                cancel.cancel();
            }
        };
        let context = Context::new(LONG, &cancel, &emit);
        let mut streams = streams.into_iter();
        let mut again = 0;
        let result = watch_with_reopening(
            |is_again| {
                again += usize::from(is_again);
                let (color, infrared) = streams.next().unwrap();
                Ok(Eyes::new(eye(&color), infrared.as_deref().map(eye)))
            },
            |error| super::super::fault("/dev/video0", error),
            &mut viewer(),
            &context,
        );
        let Err(completion) = result;
        (frames.into_inner(), completion, again)
    }

    fn check_pairs(color: &[Act], infrared: &[Act], expect: &[(u8, Option<u8>)]) {
        let streams = vec![(color.to_vec(), Some(infrared.to_vec()))];
        let (frames, completion, _) = play(streams, expect.len());
        assert_eq!(frames, expect, "{color:?} {infrared:?}");
        assert_eq!(completion, Completion::Canceled);
    }

    #[test]
    fn pictures_are_paired_when_they_are_of_the_same_moment() {
        use Act::{Nothing, Picture};
        check_pairs(
            &[Picture(10, 1000)],
            &[Picture(200, 1049)],
            &[(10, Some(200))],
        );
        check_pairs(
            &[Picture(10, 1000)],
            &[Picture(200, 951)],
            &[(10, Some(200))],
        );
        check_pairs(&[Picture(10, 1000)], &[Picture(200, 1051)], &[(10, None)]);
        check_pairs(&[Picture(10, 1000)], &[Picture(200, 900)], &[(10, None)]);
        // Stale ones are thrown away, the nearest one counts, and it may come a little later.
        check_pairs(
            &[Picture(10, 1000)],
            &[Picture(1, 800), Picture(2, 960), Nothing, Picture(3, 1010)],
            &[(10, Some(3))],
        );
        check_pairs(
            &[Picture(10, 1000)],
            &[Picture(2, 980), Nothing, Picture(3, 1030)],
            &[(10, Some(2))],
        );
        // The one that came too late for the first is right for the second.
        check_pairs(
            &[Picture(10, 1000), Nothing, Picture(20, 1040)],
            &[Picture(2, 980), Nothing, Picture(3, 1030)],
            &[(10, Some(2)), (20, Some(3))],
        );
    }

    #[test]
    fn who_decodes_slowly_sees_the_newest_picture_and_its_partner() {
        use Act::{Nothing, Picture};
        let color = [
            Picture(10, 900),
            Picture(20, 933),
            Picture(30, 966),
            Picture(40, 1000),
            Nothing,
            Picture(50, 1300),
        ];
        let infrared = [
            Picture(1, 905),
            Picture(2, 938),
            Picture(3, 971),
            Picture(4, 1005),
            Nothing,
            Picture(5, 1305),
        ];
        check_pairs(&color, &infrared, &[(40, Some(4)), (50, Some(5))]);
        // An infrared eye that is ahead: the picture of the same moment counts, not its newest.
        let ahead = [
            Picture(1, 905),
            Picture(2, 990),
            Picture(3, 1060),
            Picture(4, 1130),
        ];
        check_pairs(&color[..4], &ahead, &[(40, Some(2))]);
    }

    #[test]
    fn a_lost_infrared_eye_does_not_take_the_picture_with_it() {
        use Act::{Fail, Nothing, Picture};
        check_pairs(
            &[Picture(10, 1000), Nothing, Picture(20, 1030)],
            &[Fail(19), Picture(200, 1030)],
            &[(10, None), (20, None)],
        );
    }

    #[test]
    fn a_stalled_stream_is_opened_again_and_goes_on() {
        let first = vec![Act::Picture(10, 0)];
        let second = vec![Act::Picture(20, 0)];
        let (frames, completion, again) = play(vec![(first, None), (second, None)], 2);
        assert_eq!(frames, [(10, None), (20, None)]);
        assert_eq!((completion, again), (Completion::Canceled, 1));
    }

    #[test]
    fn a_stream_that_stays_stalled_is_a_fault() {
        let (frames, completion, again) = play(vec![(vec![], None), (vec![], None)], 1);
        assert_eq!(frames, []);
        assert!(
            matches!(&completion, Completion::Failed(fault) if fault.code == "camera.stalled" && fault.action == Action::Reset),
            "{completion:?}"
        );
        assert_eq!(again, 1);
    }

    fn check_end(acts: &[Act], code: &str, expect_again: usize) {
        let streams = vec![(acts.to_vec(), None), (acts.to_vec(), None)];
        let (_, completion, again) = play(streams, usize::MAX);
        assert!(
            matches!(&completion, Completion::Failed(fault) if fault.code == code),
            "{completion:?}"
        );
        assert_eq!(again, expect_again, "{acts:?}");
    }

    #[test]
    fn what_cannot_pass_is_told_at_once() {
        check_end(&[Act::Fail(19)], "device.gone", 0);
        check_end(&[Act::Picture(1, 0), Act::Fail(16)], "device.in-use", 0);
        check_end(&[Act::Fail(28)], "camera.no-bandwidth", 0);
        check_end(&[Act::Fail(5)], "device.io", 1);
        check_end(
            &[Act::Broken, Act::Nothing].repeat(10),
            "camera.bad-picture",
            0,
        );
    }

    #[test]
    fn without_the_clock_of_the_kernel_the_arrival_decides() {
        let now = clock::now();
        let stamp = |offset_ms| Stamp {
            arrived_at: now + Duration::from_millis(offset_ms),
            taken_at: None,
        };
        assert_eq!(stamp(10).apart(stamp(40)), Duration::from_millis(30));
        assert_eq!(stamp(40).apart(stamp(10)), Duration::from_millis(30));
        assert!(stamp(10).is_before(stamp(11)));
    }
}
