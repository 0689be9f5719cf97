//! Which of the formats that a camera offers is taken. Pure functions of what it says.

use std::cmp::Reverse;

use crate::picture::SIDE_PIXELS_MAX;
use crate::video::Pixels;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Size {
    fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    fn covers(self, other: Self) -> bool {
        self.width >= other.width && self.height >= other.height
    }

    fn is_usable(self) -> bool {
        let side = 1..=SIDE_PIXELS_MAX;
        side.contains(&self.width) && side.contains(&self.height)
    }
}

/// One format that a camera offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The storage of its pixels.
    pub pixels: Pixels,
    /// The sizes of its pictures.
    pub sizes: Sizes,
}

/// The sizes of one offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// This one.
    One(Size),
    /// Any from the smallest to the largest, in these steps.
    Steps {
        /// The smallest.
        smallest: Size,
        /// The largest.
        largest: Size,
        /// Pixels from one width or height to the next.
        step: Size,
    },
    /// It does not tell: one asks for a size and gets the nearest.
    Unknown,
}

impl Offer {
    /// A word for a technician: `mjpg-1280x720`.
    pub fn name(&self) -> String {
        let pixels = self.pixels.name();
        match self.sizes {
            Sizes::One(size) => format!("{pixels}-{}x{}", size.width, size.height),
            Sizes::Steps { largest, .. } => {
                format!("{pixels}-to-{}x{}", largest.width, largest.height)
            }
            Sizes::Unknown => pixels.to_owned(),
        }
    }

    /// The size to ask for when `wanted` is wanted.
    fn nearest(&self, wanted: Size) -> Size {
        match self.sizes {
            Sizes::One(size) => size,
            Sizes::Unknown => wanted,
            Sizes::Steps {
                smallest,
                largest,
                step,
            } => {
                let side = |wanted: u32, least: u32, most: u32, step: u32| {
                    let above = wanted.saturating_sub(least);
                    let steps = above.div_ceil(step.max(1));
                    let side = steps.saturating_mul(step.max(1)).saturating_add(least);
                    side.min(most)
                };
                Size {
                    width: side(wanted.width, smallest.width, largest.width, step.width),
                    height: side(wanted.height, smallest.height, largest.height, step.height),
                }
            }
        }
    }
}

/// The format and size to ask for: the smallest at or above `wanted` in both directions, else the
/// largest there is; among equals the storage that stands first in `preference`. `None` when nothing on
/// offer is usable.
pub fn choose(offers: &[Offer], wanted: Size, preference: &[Pixels]) -> Option<(Pixels, Size)> {
    let rank = |pixels: Pixels| preference.iter().position(|preferred| *preferred == pixels);
    let candidates = offers
        .iter()
        .map(|offer| (offer.pixels, offer.nearest(wanted)))
        .filter(|(pixels, size)| size.is_usable() && rank(*pixels).is_some());
    let (covering, others): (Vec<_>, Vec<_>) =
        candidates.partition(|(_, size)| size.covers(wanted));
    covering
        .into_iter()
        .min_by_key(|(pixels, size)| (size.area(), rank(*pixels)))
        .or_else(|| {
            others
                .into_iter()
                .min_by_key(|(pixels, size)| (Reverse(size.area()), rank(*pixels)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOR: &[Pixels] = &[Pixels::Jpeg, Pixels::Yuyv, Pixels::Gray];

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    fn one(pixels: Pixels, width: u32, height: u32) -> Offer {
        Offer {
            pixels,
            sizes: Sizes::One(size(width, height)),
        }
    }

    fn check(offers: &[Offer], wanted: (u32, u32), expect: Option<(Pixels, u32, u32)>) {
        let found = choose(offers, size(wanted.0, wanted.1), COLOR);
        let found = found.map(|(pixels, size)| (pixels, size.width, size.height));
        assert_eq!(found, expect, "{wanted:?}");
    }

    #[test]
    fn the_smallest_that_is_large_enough_is_taken() {
        let offers = [
            one(Pixels::Yuyv, 640, 480),
            one(Pixels::Yuyv, 1280, 720),
            one(Pixels::Jpeg, 640, 480),
            one(Pixels::Jpeg, 1280, 720),
            one(Pixels::Jpeg, 1920, 1080),
        ];
        check(&offers, (1280, 720), Some((Pixels::Jpeg, 1280, 720)));
        check(&offers, (800, 600), Some((Pixels::Jpeg, 1280, 720)));
        check(&offers, (1300, 400), Some((Pixels::Jpeg, 1920, 1080)));
        check(&offers, (1, 1), Some((Pixels::Jpeg, 640, 480)));
        check(&offers, (4000, 4000), Some((Pixels::Jpeg, 1920, 1080)));
        check(&offers[..2], (600, 400), Some((Pixels::Yuyv, 640, 480)));
    }

    #[test]
    fn an_infrared_eye_is_asked_for_gray_first() {
        let offers = [one(Pixels::Yuyv, 640, 480), one(Pixels::Gray, 640, 480)];
        let infrared = [Pixels::Gray, Pixels::Jpeg, Pixels::Yuyv];
        let found = choose(&offers, size(640, 480), &infrared);
        assert_eq!(found, Some((Pixels::Gray, size(640, 480))));
    }

    #[test]
    fn steps_are_kept_and_what_is_too_large_is_left() {
        let steps = Offer {
            pixels: Pixels::Yuyv,
            sizes: Sizes::Steps {
                smallest: size(48, 32),
                largest: size(1920, 1200),
                step: size(16, 8),
            },
        };
        check(&[steps], (641, 480), Some((Pixels::Yuyv, 656, 480)));
        check(&[steps], (9000, 9000), Some((Pixels::Yuyv, 1920, 1200)));
        assert_eq!(steps.name(), "yuyv-to-1920x1200");
        check(&[one(Pixels::Jpeg, 8000, 6000)], (640, 480), None);
        check(&[one(Pixels::Jpeg, 0, 0)], (640, 480), None);
        check(&[], (640, 480), None);
        let silent = Offer {
            pixels: Pixels::Gray,
            sizes: Sizes::Unknown,
        };
        check(&[silent], (640, 480), Some((Pixels::Gray, 640, 480)));
    }
}
