//! Pictures of QR codes as a bad camera in a dim hall sees them, drawn from seeded randomness: the
//! same seed gives the same picture on every machine.

use std::f32::consts::PI;

use qrcode::{Color, EcLevel, QrCode};

/// What is wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distortion {
    Rotation,
    Perspective,
    Blur,
    Noise,
    LowContrast,
    UnevenLight,
    SmallModules,
    Covered,
    Everything,
}

impl Distortion {
    pub(crate) const ALL: [Self; 9] = [
        Self::Rotation,
        Self::Perspective,
        Self::Blur,
        Self::Noise,
        Self::LowContrast,
        Self::UnevenLight,
        Self::SmallModules,
        Self::Covered,
        Self::Everything,
    ];
}

/// An 8-bit gray picture and what its code says.
pub(crate) struct Picture {
    pub(crate) gray: Vec<u8>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) text: String,
}

/// Splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// From `low` to `high`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        let share = (self.next() >> 48) as f32 / f32::from(u16::MAX);
        low + (high - low) * share
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    /// Roughly normal, mean 0, deviation 1.
    fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.between(-1.0, 1.0)).sum::<f32>() / 1.414
    }
}

/// Everything that decides how a picture looks.
struct Scene {
    angle: f32,
    module_px: f32,
    tilt: f32,
    blur_px: f32,
    noise: f32,
    ink: f32,
    paper: f32,
    light_min: f32,
    covered: f32,
    text_length: usize,
    level: EcLevel,
}

fn scene(distortion: Distortion, random: &mut Random) -> Scene {
    let mut scene = Scene {
        angle: random.between(-0.1, 0.1),
        module_px: random.between(4.0, 6.0),
        tilt: 0.0,
        blur_px: 0.5,
        noise: 2.0,
        ink: 30.0,
        paper: 225.0,
        light_min: 1.0,
        covered: 0.0,
        text_length: 20 + random.below(40),
        level: EcLevel::M,
    };
    let is_all = distortion == Distortion::Everything;
    if is_all || distortion == Distortion::Rotation {
        scene.angle = random.between(-PI, PI);
    }
    if is_all || distortion == Distortion::Perspective {
        scene.tilt = random.between(0.1, 0.5);
    }
    match distortion {
        Distortion::Rotation | Distortion::Perspective => {}
        Distortion::Blur => scene.blur_px = random.between(1.0, 4.5),
        Distortion::Noise => scene.noise = random.between(20.0, 110.0),
        Distortion::LowContrast => {
            scene.ink = random.between(90.0, 120.0);
            scene.paper = scene.ink + random.between(6.0, 40.0);
        }
        Distortion::UnevenLight => scene.light_min = random.between(0.03, 0.4),
        Distortion::SmallModules => {
            scene.module_px = random.between(1.2, 2.6);
            scene.text_length = 20 + random.below(100);
        }
        Distortion::Covered => {
            scene.covered = random.between(0.1, 0.45);
            scene.level = [EcLevel::M, EcLevel::Q, EcLevel::H][random.below(3)];
        }
        Distortion::Everything => {
            scene.module_px = random.between(2.5, 5.0);
            scene.tilt *= 0.5;
            scene.blur_px = random.between(0.5, 1.6);
            scene.noise = random.between(2.0, 25.0);
            scene.paper = random.between(120.0, 225.0);
            scene.light_min = random.between(0.3, 1.0);
        }
    }
    scene
}

/// The picture number `seed` with that distortion.
pub(crate) fn picture(distortion: Distortion, seed: u64, width: u32, height: u32) -> Picture {
    let mut random = Random(seed.wrapping_mul(31).wrapping_add(distortion as u64));
    let mut scene = scene(distortion, &mut random);
    let text: String = (0..scene.text_length)
        .map(|_| char::from(b"abcdefghijkmnpqrstuvwxyz23456789/:-"[random.below(35)]))
        .collect();
    let code = QrCode::with_error_correction_level(&text, scene.level)
        .expect("a hundred characters fit into a code");
    // A code fills at most most of the picture.
    let modules = code.width() as f32 + 8.0;
    let room = width.min(height) as f32 * 0.95;
    scene.module_px = scene
        .module_px
        .min(room / modules / (1.0 + scene.tilt * 0.2));
    let mut pixels = draw(&code, &scene, &mut random, width, height);
    cover(&mut pixels, &scene, modules, &mut random, width, height);
    light(&mut pixels, &scene, &mut random, width, height);
    blur(&mut pixels, scene.blur_px, width as usize, height as usize);
    let gray = pixels
        .iter()
        .map(|pixel| (pixel + random.normal() * scene.noise).clamp(0.0, 255.0) as u8)
        .collect();
    Picture {
        gray,
        width,
        height,
        text,
    }
}

/// Maps picture points into the unit square of the code with its border.
struct Mapping([f32; 9]);

impl Mapping {
    /// From the corners of the square in the picture, clockwise from the upper left.
    fn new(corners: [(f32, f32); 4]) -> Self {
        let [(x0, y0), (x1, y1), (x2, y2), (x3, y3)] = corners;
        // Square to quadrilateral (Heckbert 1989, section 2.2.3), then the adjugate of it.
        let (dx1, dx2, sx) = (x1 - x2, x3 - x2, x0 - x1 + x2 - x3);
        let (dy1, dy2, sy) = (y1 - y2, y3 - y2, y0 - y1 + y2 - y3);
        let whole = dx1 * dy2 - dx2 * dy1;
        let g = (sx * dy2 - dx2 * sy) / whole;
        let h = (dx1 * sy - sx * dy1) / whole;
        let (a, b, c) = (x1 - x0 + g * x1, x3 - x0 + h * x3, x0);
        let (d, e, f) = (y1 - y0 + g * y1, y3 - y0 + h * y3, y0);
        Self([
            e - f * h,
            c * h - b,
            b * f - c * e,
            f * g - d,
            a - c * g,
            c * d - a * f,
            d * h - e * g,
            b * g - a * h,
            a * e - b * d,
        ])
    }

    fn point(&self, x: f32, y: f32) -> (f32, f32) {
        let [a, b, c, d, e, f, g, h, i] = self.0;
        let depth = g * x + h * y + i;
        ((a * x + b * y + c) / depth, (d * x + e * y + f) / depth)
    }
}

fn draw(code: &QrCode, scene: &Scene, random: &mut Random, width: u32, height: u32) -> Vec<f32> {
    let modules = code.width();
    let whole = modules as f32 + 8.0;
    let half = whole * scene.module_px / 2.0;
    let (sin, cos) = scene.angle.sin_cos();
    let slack_x = (width as f32 / 2.0 - half * 1.05).max(0.0) * 0.5;
    let slack_y = (height as f32 / 2.0 - half * 1.05).max(0.0) * 0.5;
    let middle_x = width as f32 / 2.0 + random.between(-slack_x, slack_x);
    let middle_y = height as f32 / 2.0 + random.between(-slack_y, slack_y);
    let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(x, y): (f32, f32)| {
        let x = x * half * (1.0 + random.between(-scene.tilt, scene.tilt) * 0.5);
        let y = y * half * (1.0 + random.between(-scene.tilt, scene.tilt) * 0.5);
        (middle_x + x * cos - y * sin, middle_y + x * sin + y * cos)
    });
    let mapping = Mapping::new(corners);
    let behind = clutter(random);
    let colors = code.to_colors();
    let look = |x: f32, y: f32| {
        let (u, v) = mapping.point(x, y);
        let (u, v) = (u * whole, v * whole);
        if !(0.0..whole).contains(&u) || !(0.0..whole).contains(&v) {
            return behind(x, y);
        }
        let (column, row) = (u.floor() as i64 - 4, v.floor() as i64 - 4);
        let range = 0..modules as i64;
        if !range.contains(&column) || !range.contains(&row) {
            return scene.paper;
        }
        match colors[row as usize * modules + column as usize] {
            Color::Dark => scene.ink,
            Color::Light => scene.paper,
        }
    };
    let parts = [0.17, 0.5, 0.83];
    let mut pixels = Vec::with_capacity(width as usize * height as usize);
    for y in 0..height {
        for x in 0..width {
            let mut sum = 0.0;
            for dy in parts {
                for dx in parts {
                    sum += look(x as f32 + dx, y as f32 + dy);
                }
            }
            pixels.push(sum / 9.0);
        }
    }
    pixels
}

/// A table with things on it.
fn clutter(random: &mut Random) -> impl Fn(f32, f32) -> f32 + use<> {
    let table = random.between(90.0, 170.0);
    let things: Vec<[f32; 5]> = (0..12)
        .map(|_| {
            let (x, y) = (random.between(-50.0, 600.0), random.between(-50.0, 450.0));
            let size = (random.between(5.0, 90.0), random.between(5.0, 90.0));
            [x, y, x + size.0, y + size.1, random.between(20.0, 240.0)]
        })
        .collect();
    move |x, y| {
        let thing = things.iter().find(|[left, top, right, bottom, _]| {
            x > *left && x < *right && y > *top && y < *bottom
        });
        thing.map_or(table, |thing| thing[4])
    }
}

fn cover(
    pixels: &mut [f32],
    scene: &Scene,
    modules: f32,
    random: &mut Random,
    width: u32,
    height: u32,
) {
    if scene.covered <= 0.0 {
        return;
    }
    // A thumb or a sticker in the middle part, where no finder pattern is hurt.
    let side = modules * scene.module_px;
    let sticker = side * scene.covered;
    let left = width as f32 / 2.0 + random.between(-0.1, 0.1) * side - sticker / 2.0;
    let top = height as f32 / 2.0 + random.between(-0.1, 0.1) * side - sticker / 2.0;
    let shade = random.between(20.0, 240.0);
    for y in 0..height {
        for x in 0..width {
            let (dx, dy) = (x as f32 - left, y as f32 - top);
            if (0.0..sticker).contains(&dx) && (0.0..sticker).contains(&dy) {
                pixels[y as usize * width as usize + x as usize] = shade;
            }
        }
    }
}

fn light(pixels: &mut [f32], scene: &Scene, random: &mut Random, width: u32, height: u32) {
    let angle = random.between(-PI, PI);
    let (sin, cos) = angle.sin_cos();
    let reach = (width + height) as f32 / 2.0;
    for y in 0..height {
        for x in 0..width {
            let along =
                (x as f32 - width as f32 / 2.0) * cos + (y as f32 - height as f32 / 2.0) * sin;
            let share = (along / reach + 0.5).clamp(0.0, 1.0);
            pixels[y as usize * width as usize + x as usize] *=
                scene.light_min + (1.0 - scene.light_min) * share;
        }
    }
}

/// Three box filters of that deviation altogether: nearly a Gaussian.
fn blur(pixels: &mut [f32], deviation: f32, width: usize, height: usize) {
    let radius = ((deviation * deviation * 4.0 + 1.0).sqrt() - 1.0) / 2.0;
    for _ in 0..3 {
        for y in 0..height {
            let row = y * width;
            smooth(pixels, radius, |at| row + at, width);
        }
        for x in 0..width {
            smooth(pixels, radius, |at| at * width + x, height);
        }
    }
}

/// A box filter along one line; the part of the radius behind the point counts at the edges.
fn smooth(pixels: &mut [f32], radius: f32, index: impl Fn(usize) -> usize, length: usize) {
    let whole = radius.floor() as usize;
    let part = radius - radius.floor();
    let line: Vec<f32> = (0..length).map(|at| pixels[index(at)]).collect();
    let at = |position: isize| line[position.clamp(0, length as isize - 1) as usize];
    for position in 0..length {
        let middle = position as isize;
        let reach = whole as isize;
        let mut sum: f32 = (-reach..=reach).map(|offset| at(middle + offset)).sum();
        sum += part * (at(middle - reach - 1) + at(middle + reach + 1));
        pixels[index(position)] = sum / (2.0 * radius + 1.0);
    }
}
