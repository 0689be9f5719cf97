//! Moving a slip across the head, for a roll that lies beside its place.

use super::SlipRaster;

/// What becomes of dots that find no room any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// None is lost: the slip is moved only until its outermost dot meets the edge.
    Keep,
    /// They are cut off: a test print whose bars fill the head shows just so how far it is moved.
    Cut,
}

impl SlipRaster {
    /// The same slip moved to the right by `dots`, to the left by negative ones, on a head that is
    /// `head_dots` wide; and how far it was moved.
    #[must_use]
    pub fn shifted(self, dots: i32, head_dots: u32, edge: Edge) -> (Self, i32) {
        let Some((first, last)) = self.ink() else {
            return (self, dots);
        };
        let width_dots = self.width_dots.max(head_dots);
        let room = |dots: u32| i32::try_from(dots).unwrap_or(i32::MAX);
        let moved = match edge {
            Edge::Keep => dots.clamp(-room(first), room(width_dots - 1 - last)),
            Edge::Cut => dots.clamp(-room(width_dots), room(width_dots)),
        };
        if moved == 0 {
            return (self, 0);
        }
        let new_row_bytes = width_dots.div_ceil(8) as usize;
        let (from, to) = (self.rows.chunks_exact(self.row_bytes()), new_row_bytes);
        // All the room at once: a vector that grows leaves copies behind.
        let mut rows = vec![0; from.len() * to];
        for (old, new) in from.zip(rows.chunks_exact_mut(to)) {
            move_row(old, new, moved);
            // Behind the width there is nothing.
            if let Some(last) = new.last_mut() {
                *last &= 0xFF << ((8 - width_dots % 8) % 8);
            }
        }
        (Self { width_dots, rows }, moved)
    }

    /// The first and the last column with a black dot.
    fn ink(&self) -> Option<(u32, u32)> {
        let row_bytes = self.row_bytes();
        // Which columns are black in any row.
        let mut columns = vec![0_u8; row_bytes];
        for row in self.rows.chunks_exact(row_bytes) {
            for (column, byte) in columns.iter_mut().zip(row) {
                *column |= byte;
            }
        }
        let is_black = |x: &u32| columns[(x / 8) as usize] & (0x80 >> (x % 8)) != 0;
        let first = (0..self.width_dots).find(is_black)?;
        let last = (0..self.width_dots).rev().find(is_black)?;
        Some((first, last))
    }
}

/// One row, most significant bit first, by whole bytes and the bits between them.
fn move_row(old: &[u8], new: &mut [u8], dots: i32) {
    let bytes = isize::try_from(dots.div_euclid(8)).unwrap_or(0);
    let bits = dots.rem_euclid(8).unsigned_abs();
    for (index, byte) in old.iter().enumerate() {
        let [left, right] = (u16::from(*byte) << (8 - bits)).to_be_bytes();
        for (part, step) in [(left, 0), (right, 1)] {
            let place = index.checked_add_signed(bytes + step);
            if let Some(target) = place.and_then(|place| new.get_mut(place)) {
                *target |= part;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of the black dots of each row.
    fn black(raster: &SlipRaster) -> Vec<Vec<u32>> {
        let row_bytes = raster.width_dots.div_ceil(8) as usize;
        raster
            .rows
            .chunks_exact(row_bytes)
            .map(|row| {
                let is_black = |x: &u32| row[(x / 8) as usize] & (0x80 >> (x % 8)) != 0;
                (0..raster.width_dots).filter(is_black).collect()
            })
            .collect()
    }

    fn slip() -> SlipRaster {
        // Three bytes a row: dots 10, 11 and 15; nothing; dot 12.
        SlipRaster {
            width_dots: 24,
            rows: vec![0, 0b0011_0001, 0, 0, 0, 0, 0, 0b0000_1000, 0],
        }
    }

    #[test]
    fn every_dot_moves_by_the_same() {
        let before = black(&slip());
        for dots in [-10_i32, -8, -7, -1, 0, 1, 3, 5, 8] {
            let (moved, by) = slip().shifted(dots, 24, Edge::Keep);
            assert_eq!((by, moved.width_dots), (dots, 24));
            let expect: Vec<Vec<u32>> = before
                .iter()
                .map(|row| {
                    row.iter()
                        .map(|x| x.checked_add_signed(dots).unwrap())
                        .collect()
                })
                .collect();
            assert_eq!(black(&moved), expect, "{dots}");
        }
    }

    #[test]
    fn what_is_to_be_kept_is_never_cut_off() {
        for (dots, head, by) in [(9, 24, 8), (80, 24, 8), (-11, 24, -10), (-80, 24, -10)] {
            let (moved, moved_by) = slip().shifted(dots, head, Edge::Keep);
            assert_eq!(moved_by, by, "{dots}");
            let count: usize = black(&moved).iter().map(Vec::len).sum();
            assert_eq!(count, 4, "{dots}");
        }
        // A wider head has more room, and no dot beyond it.
        let (moved, by) = slip().shifted(80, 44, Edge::Keep);
        assert_eq!((moved.width_dots, by), (44, 28));
        assert_eq!(black(&moved)[0], [38, 39, 43]);
        // A head that is narrower than the slip is the driver's to refuse.
        assert_eq!(slip().shifted(3, 8, Edge::Keep).0.width_dots, 24);
    }

    #[test]
    fn a_test_print_is_moved_over_the_edge() {
        let (moved, by) = slip().shifted(-11, 24, Edge::Cut);
        assert_eq!(
            (black(&moved), by),
            (vec![vec![0, 4], vec![], vec![1]], -11)
        );
        let (moved, _) = slip().shifted(9, 24, Edge::Cut);
        assert_eq!(black(&moved)[0], [19, 20]);
        let narrow = SlipRaster {
            width_dots: 12,
            rows: vec![0xFF, 0xF0],
        };
        let (moved, by) = narrow.shifted(3, 12, Edge::Cut);
        assert_eq!((moved.rows.clone(), by), (vec![0x1F, 0xF0], 3));
        for dots in [i32::MIN, -1000, 1000, i32::MAX] {
            let (moved, _) = slip().shifted(dots, 24, Edge::Cut);
            assert!(black(&moved).iter().all(Vec::is_empty), "{dots}");
        }
    }

    #[test]
    fn a_slip_without_ink_or_size_is_left_as_it_is() {
        for (width_dots, rows) in [
            (24, vec![0; 9]),
            (0, Vec::new()),
            (8, vec![]),
            (9, vec![0xFF]),
        ] {
            let raster = SlipRaster { width_dots, rows };
            let same = raster.clone();
            assert_eq!(raster.shifted(5, 24, Edge::Keep).0, same);
        }
    }
}
