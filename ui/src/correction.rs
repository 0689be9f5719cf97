//! From where a panel feels a finger to where the finger is. Pure numbers; it knows neither panels nor pages.

/// How little and how much of the glass the panel may take for all of it. Chosen: a panel that is further off is
/// broken or belongs to another glass.
const SCALE_MIN: f64 = 0.25;
const SCALE_MAX: f64 = 4.0;
/// How far beyond the glass one of its corners may be put, in shares of a side. Chosen.
const BEYOND_MAX: f64 = 0.5;

/// An affine map between places on the glass, each in shares of its width and height from the upper left corner:
/// 0 is the left or upper edge, 1 the right or lower one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correction([f64; 6]);

impl Correction {
    /// Leaves every place where it is.
    pub const NONE: Self = Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    /// The map `x' = a·x + b·y + c`, `y' = d·x + e·y + f` of the terms `a` to `f`; the order of libinput's calibration
    /// matrix. `None` for one that no panel on this glass needs: not finite, nearly flat, or far beyond the edges.
    pub fn new(terms: [f64; 6]) -> Option<Self> {
        let [a, b, _, d, e, _] = terms;
        let is_finite = terms.iter().all(|term| term.is_finite());
        let scale = (a * e - b * d).abs();
        let map = Self(terms);
        let is_near = |(x, y): (f64, f64)| {
            let near = -BEYOND_MAX..=1.0 + BEYOND_MAX;
            near.contains(&x) && near.contains(&y)
        };
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)];
        let is_possible = is_finite
            && (SCALE_MIN..=SCALE_MAX).contains(&scale)
            && corners.into_iter().all(|(x, y)| is_near(map.apply(x, y)));
        is_possible.then_some(map)
    }

    /// The terms, in the order of [`Correction::new`].
    pub fn terms(&self) -> [f64; 6] {
        self.0
    }

    /// Where a finger is that is felt at `x`, `y`.
    #[expect(
        clippy::many_single_char_names,
        reason = "the terms of the map have no other names"
    )]
    pub fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + b * y + c, d * x + e * y + f)
    }
}

impl Default for Correction {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_leaves_every_place_where_it_is() {
        assert_eq!(Correction::default().apply(0.25, 0.75), (0.25, 0.75));
        assert_eq!(
            Correction::new(Correction::NONE.terms()),
            Some(Correction::NONE)
        );
    }

    #[test]
    fn a_panel_that_lies_on_its_side_can_be_put_right() {
        // A quarter turn, and a mirror.
        for terms in [
            [0.0, 1.0, 0.0, -1.0, 0.0, 1.0],
            [-1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        ] {
            assert!(Correction::new(terms).is_some(), "{terms:?}");
        }
        let turned = Correction::new([0.0, 1.0, 0.0, -1.0, 0.0, 1.0]).unwrap();
        assert_eq!(turned.apply(0.0, 0.0), (0.0, 1.0));
    }

    #[test]
    fn what_would_make_touching_impossible_is_no_correction() {
        for terms in [
            [f64::NAN, 0.0, 0.0, 0.0, 1.0, 0.0],
            [1.0, 0.0, f64::INFINITY, 0.0, 1.0, 0.0],
            // Flat: all fingers on one line.
            [1.0, 1.0, 0.0, 1.0, 1.0, 0.0],
            [0.1, 0.0, 0.0, 0.0, 0.1, 0.0],
            [3.0, 0.0, 0.0, 0.0, 3.0, 0.0],
            // Beside the glass.
            [1.0, 0.0, 0.8, 0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0, 0.0, 1.0, -0.8],
        ] {
            assert_eq!(Correction::new(terms), None, "{terms:?}");
        }
    }
}
