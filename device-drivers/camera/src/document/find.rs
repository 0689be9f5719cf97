//! Where the page is: what differs from the table, its hull, four corners of it, and how far each side
//! is an edge in the picture.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "places in a small picture: exact in each of these types"
)]

use std::collections::VecDeque;

use image::{RgbImage, imageops};

use super::{Point, Quad};

/// Longest side of the picture that is searched, in pixels. Chosen: a page keeps some hundred pixels.
const SEARCH_PIXELS: u32 = 400;
/// Smallest side that can be searched.
const SEARCH_PIXELS_MIN: u32 = 24;
/// A page differs from its table by this much at least, of 255.
const CONTRAST_MIN: f32 = 36.0;
/// Shares of the page's difference from the table at which it is told from it; which one fits depends
/// on the shadows.
const SHARES: [f32; 5] = [0.25, 0.35, 0.45, 0.55, 0.7];
/// Least share of the picture that a page takes. Chosen: what is smaller was not laid down as one.
const AREA_MIN: f32 = 0.12;
/// A second thing of more than this share of the page leaves open which one is meant.
const SECOND_MAX: f32 = 0.35;
/// Corners of the hull that are kept for the choice of four.
const HULL_POINTS_MAX: usize = 22;
/// Places along a side at which its edge is looked for.
const PROBES: usize = 24;
/// Pixels to either side in which an edge is looked for.
const REACH: i32 = 7;
/// Pixels by which an edge may be off its line.
const STRAY_MAX: f32 = 1.6;
/// Share of the page's difference that an edge has at least.
const EDGE_SHARE: f32 = 0.18;
/// Cosine of the smallest and largest angle of a corner: 55° and 125°.
const CORNER_COSINE_MAX: f32 = 0.574;
/// Least ratio of two opposite sides.
const SIDES_RATIO_MIN: f32 = 0.55;

/// The page and the certainty of its edges.
pub(super) fn page(picture: &RgbImage) -> Option<(Quad, f32)> {
    let longest = picture.width().max(picture.height());
    let scale = (longest as f32 / SEARCH_PIXELS as f32).max(1.0);
    let side = |pixels: u32| ((pixels as f32 / scale).round() as u32).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    if width.min(height) < SEARCH_PIXELS_MIN {
        return None;
    }
    let small = imageops::thumbnail(picture, width, height);
    let field = Field::of(&small);
    let contrast = field.high();
    if contrast < CONTRAST_MIN {
        return None;
    }
    let (quad, confidence) = SHARES
        .iter()
        .filter_map(|share| candidate(&field, contrast * share, contrast))
        .max_by(|one, other| one.1.total_cmp(&other.1))?;
    // The middle of a small pixel is the middle of the pixels it was made of.
    let (across, down) = (
        picture.width() as f32 / width as f32,
        picture.height() as f32 / height as f32,
    );
    let corners = quad.0.map(|point| Point {
        x: (point.x + 0.5) * across - 0.5,
        y: (point.y + 0.5) * down - 0.5,
    });
    Some((Quad(corners), confidence))
}

/// How much each pixel differs from the table.
struct Field {
    width: usize,
    height: usize,
    values: Vec<u8>,
}

impl Field {
    fn of(picture: &RgbImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let table = table_color(picture);
        let raw: Vec<u8> = picture
            .pixels()
            .map(|pixel| {
                let differences = pixel.0.iter().zip(table);
                differences
                    .map(|(one, other)| one.abs_diff(other))
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let mut field = Self {
            width,
            height,
            values: raw,
        };
        field.smooth();
        field
    }

    /// The mean of each pixel and its neighbors, so that grain is no edge.
    fn smooth(&mut self) {
        let mut smooth = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                let mut sum = 0_u32;
                let mut count = 0_u32;
                for row in y.saturating_sub(1)..(y + 2).min(self.height) {
                    let from = row * self.width + x.saturating_sub(1);
                    let to = row * self.width + (x + 2).min(self.width);
                    let values = self.values.get(from..to).unwrap_or_default();
                    sum += values.iter().map(|value| u32::from(*value)).sum::<u32>();
                    count += values.len() as u32;
                }
                smooth.push(u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX));
            }
        }
        self.values = smooth;
    }

    /// What nineteen of twenty pixels stay below.
    fn high(&self) -> f32 {
        let mut counts = [0_usize; 256];
        for value in &self.values {
            counts[usize::from(*value)] += 1;
        }
        let mut above = self.values.len() / 20;
        for (value, count) in counts.iter().enumerate().rev() {
            if *count > above {
                return value as f32;
            }
            above -= count;
        }
        0.0
    }

    /// The value between pixels; the border goes on for ever.
    fn at(&self, point: Point) -> f32 {
        let inside = |value: f32, length: usize| value.clamp(0.0, (length - 1) as f32);
        let (x, y) = (inside(point.x, self.width), inside(point.y, self.height));
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = (
            (left + 1).min(self.width - 1),
            (top + 1).min(self.height - 1),
        );
        let value = |x: usize, y: usize| {
            f32::from(
                self.values
                    .get(y * self.width + x)
                    .copied()
                    .unwrap_or_default(),
            )
        };
        let (across, down) = (x - left as f32, y - top as f32);
        let upper = value(left, top) * (1.0 - across) + value(right, top) * across;
        let lower = value(left, bottom) * (1.0 - across) + value(right, bottom) * across;
        upper * (1.0 - down) + lower * down
    }
}

/// The middle color of the border: what the page lies on.
fn table_color(picture: &RgbImage) -> [u8; 3] {
    let (width, height) = picture.dimensions();
    let margin = (width.min(height) / 40).max(1);
    let mut channels: [Vec<u8>; 3] = Default::default();
    for (x, y, pixel) in picture.enumerate_pixels() {
        let is_border = x < margin || y < margin || x >= width - margin || y >= height - margin;
        if is_border {
            for (channel, value) in channels.iter_mut().zip(pixel.0) {
                channel.push(value);
            }
        }
    }
    channels.map(|mut channel| {
        channel.sort_unstable();
        channel.get(channel.len() / 2).copied().unwrap_or_default()
    })
}

/// What stands out by more than `threshold`, as a quad, if it is like a page.
fn candidate(field: &Field, threshold: f32, contrast: f32) -> Option<(Quad, f32)> {
    let region = largest_region(field, threshold)?;
    let hull = hull(&region.edge);
    let rough = largest_quad(&thin_out(hull))?;
    let (quad, support) = refine(field, rough, contrast)?;
    let picture = (field.width * field.height) as f32;
    if !is_like_a_page(&quad) || quad.area() < AREA_MIN * picture {
        return None;
    }
    let fill = region.area / quad.area().max(1.0);
    let fit = fill.min(1.0 / fill.max(f32::MIN_POSITIVE));
    Some((quad, support * fit))
}

struct Region {
    /// Pixels between the first and the last of each row.
    area: f32,
    /// The first and the last pixel of each row.
    edge: Vec<Point>,
}

/// The largest connected region above the threshold; `None` when another one is nearly as large.
fn largest_region(field: &Field, threshold: f32) -> Option<Region> {
    let is_above = |at: usize| {
        field
            .values
            .get(at)
            .is_some_and(|value| f32::from(*value) >= threshold)
    };
    let mut is_seen = vec![false; field.values.len()];
    let mut largest: Vec<usize> = Vec::new();
    let mut second = 0;
    for start in 0..field.values.len() {
        if is_seen[start] || !is_above(start) {
            continue;
        }
        let region = flood(field, start, &mut is_seen, is_above);
        if region.len() > largest.len() {
            second = largest.len();
            largest = region;
        } else {
            second = second.max(region.len());
        }
    }
    if second as f32 > largest.len() as f32 * SECOND_MAX {
        return None;
    }
    let mut rows: Vec<Option<(usize, usize)>> = vec![None; field.height];
    for at in &largest {
        let (x, y) = (at % field.width, at / field.width);
        let row = rows.get_mut(y)?;
        *row = Some(row.map_or((x, x), |(first, last)| (first.min(x), last.max(x))));
    }
    let mut region = Region {
        area: 0.0,
        edge: Vec::new(),
    };
    for (y, row) in rows.iter().enumerate() {
        if let Some((first, last)) = row {
            region.area += (last - first + 1) as f32;
            for x in [first, last] {
                region.edge.push(Point {
                    x: *x as f32,
                    y: y as f32,
                });
            }
        }
    }
    Some(region)
}

/// All pixels connected with `start`; each is visited once.
fn flood(
    field: &Field,
    start: usize,
    is_seen: &mut [bool],
    is_above: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let mut region = Vec::new();
    let mut next = VecDeque::from([start]);
    is_seen[start] = true;
    while let Some(at) = next.pop_front() {
        region.push(at);
        let x = at % field.width;
        let neighbors = [
            (x > 0).then(|| at - 1),
            (x + 1 < field.width).then_some(at + 1),
            at.checked_sub(field.width),
            (at + field.width < field.values.len()).then_some(at + field.width),
        ];
        for neighbor in neighbors.into_iter().flatten() {
            if !is_seen[neighbor] && is_above(neighbor) {
                is_seen[neighbor] = true;
                next.push_back(neighbor);
            }
        }
    }
    region
}

/// The convex hull, clockwise on the screen (monotone chain). The points come row by row.
fn hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|one, other| one.x.total_cmp(&other.x).then(one.y.total_cmp(&other.y)));
    sorted.dedup();
    let half = |points: &mut dyn Iterator<Item = &Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., before, last] = chain[..]
                && last.minus(before).cross(point.minus(before)) <= 0.0
            {
                chain.pop();
            }
            chain.push(*point);
        }
        chain.pop();
        chain
    };
    let upper = half(&mut sorted.iter());
    let lower = half(&mut sorted.iter().rev());
    [upper, lower].concat()
}

/// Leaves the corners that make the most of the hull.
fn thin_out(mut hull: Vec<Point>) -> Vec<Point> {
    // Each turn takes one corner away.
    while hull.len() > HULL_POINTS_MAX {
        let count = hull.len();
        let worth = |at: usize| {
            let (before, here, after) = (
                hull[(at + count - 1) % count],
                hull[at],
                hull[(at + 1) % count],
            );
            here.minus(before).cross(after.minus(here)).abs()
        };
        let least = (0..count).min_by(|one, other| worth(*one).total_cmp(&worth(*other)));
        match least {
            Some(least) => drop(hull.remove(least)),
            None => break,
        }
    }
    hull
}

/// The four corners of the hull that enclose the most, with the upper left one first.
fn largest_quad(hull: &[Point]) -> Option<Quad> {
    let mut best: Option<Quad> = None;
    let count = hull.len();
    for first in 0..count {
        for second in first + 1..count {
            for third in second + 1..count {
                for fourth in third + 1..count {
                    let quad = Quad([hull[first], hull[second], hull[third], hull[fourth]]);
                    if best.is_none_or(|best| quad.area() > best.area()) {
                        best = Some(quad);
                    }
                }
            }
        }
    }
    best.map(upright)
}

/// The same corners, beginning with that from which the next one lies most to the right.
fn upright(quad: Quad) -> Quad {
    let mut corners = quad.0;
    let first = (0..4)
        .max_by(|one, other| {
            let slant = |at: usize| {
                let (from, to) = quad.sides()[at];
                let side = to.minus(from);
                side.x / side.length().max(f32::MIN_POSITIVE)
            };
            slant(*one).total_cmp(&slant(*other))
        })
        .unwrap_or_default();
    corners.rotate_left(first);
    Quad(corners)
}

/// Moves each side onto its edge; the new corners, and the share of places where there is an edge.
fn refine(field: &Field, rough: Quad, contrast: f32) -> Option<(Quad, f32)> {
    let mut lines = [Line::default(); 4];
    let mut support = 0.0_f32;
    let mut weakest = 1.0_f32;
    for (line, (from, to)) in lines.iter_mut().zip(rough.sides()) {
        let points = edge_points(field, from, to, contrast);
        let (fitted, on_line) = fit(&points, from, to);
        *line = fitted;
        let share = on_line as f32 / PROBES as f32;
        support += share / 4.0;
        weakest = weakest.min(share);
    }
    let [top, right, bottom, left] = lines;
    let corners = [
        left.meets(top)?,
        top.meets(right)?,
        right.meets(bottom)?,
        bottom.meets(left)?,
    ];
    // One missing edge is worse than many small gaps.
    Some((Quad(corners), support.min(weakest.sqrt())))
}

/// Where the picture changes most across the side, at places along it.
fn edge_points(field: &Field, from: Point, to: Point, contrast: f32) -> Vec<Point> {
    let side = to.minus(from);
    let length = side.length().max(f32::MIN_POSITIVE);
    let direction = Point {
        x: side.x / length,
        y: side.y / length,
    };
    // The corners go clockwise, so the page lies to the right of each side.
    let inward = Point {
        x: -direction.y,
        y: direction.x,
    };
    (0..PROBES)
        .filter_map(|probe| {
            let share = 0.06 + 0.88 * probe as f32 / (PROBES - 1) as f32;
            let place = from.along(direction, length * share);
            let step = |offset: i32| {
                let here = place.along(inward, offset as f32);
                field.at(here.along(inward, 1.5)) - field.at(here.along(inward, -1.5))
            };
            let best = (-REACH..=REACH).max_by(|one, other| step(*one).total_cmp(&step(*other)))?;
            let strength = step(best);
            if strength < contrast * EDGE_SHARE {
                return None;
            }
            // The top of the parabola through three steps lies between pixels.
            let (before, after) = (step(best - 1), step(best + 1));
            let bend = before - 2.0 * strength + after;
            let between = if bend < -f32::EPSILON {
                ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5)
            } else {
                0.0
            };
            Some(place.along(inward, best as f32 + between))
        })
        .collect()
}

/// A line through a point.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    through: Point,
    direction: Point,
}

impl Line {
    fn off(self, point: Point) -> f32 {
        self.direction.cross(point.minus(self.through)).abs()
    }

    fn meets(self, other: Self) -> Option<Point> {
        let turn = self.direction.cross(other.direction);
        if turn.abs() < 0.05 {
            return None;
        }
        let distance = other.through.minus(self.through).cross(other.direction) / turn;
        Some(self.through.along(self.direction, distance))
    }
}

/// The line that most of the points lie on, and how many do: least squares, twice without strays.
fn fit(points: &[Point], from: Point, to: Point) -> (Line, usize) {
    let mut line = line_through(&[from, to]);
    let mut kept = points.to_vec();
    // The first line is only near: strays are told by the middle of all offsets.
    for limit in [REACH as f32, 2.0 * STRAY_MAX, STRAY_MAX] {
        if kept.len() < PROBES / 4 {
            return (line, 0);
        }
        line = line_through(&kept);
        kept = points
            .iter()
            .copied()
            .filter(|point| line.off(*point) <= limit)
            .collect();
    }
    (line, kept.len())
}

fn line_through(points: &[Point]) -> Line {
    let count = points.len().max(1) as f32;
    let sum = points
        .iter()
        .fold(Point::default(), |sum, point| sum.along(*point, 1.0));
    let middle = Point {
        x: sum.x / count,
        y: sum.y / count,
    };
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for point in points {
        let off = point.minus(middle);
        xx += off.x * off.x;
        xy += off.x * off.y;
        yy += off.y * off.y;
    }
    let angle = 0.5 * f32::atan2(2.0 * xy, xx - yy);
    Line {
        through: middle,
        direction: Point {
            x: angle.cos(),
            y: angle.sin(),
        },
    }
}

/// Convex, with corners that a sheet seen from above has, and sides that belong together.
fn is_like_a_page(quad: &Quad) -> bool {
    let sides = quad.sides().map(|(from, to)| to.minus(from));
    let lengths = sides.map(Point::length);
    let ratio = |one: f32, other: f32| one.min(other) / one.max(other).max(f32::MIN_POSITIVE);
    let corners_fit = (0..4).all(|at| {
        let (side, next) = (sides[at], sides[(at + 1) % 4]);
        let product = (lengths[at] * lengths[(at + 1) % 4]).max(f32::MIN_POSITIVE);
        side.cross(next) > 0.0 && (side.dot(next) / product).abs() <= CORNER_COSINE_MAX
    });
    corners_fit
        && ratio(lengths[0], lengths[2]) >= SIDES_RATIO_MIN
        && ratio(lengths[1], lengths[3]) >= SIDES_RATIO_MIN
}
