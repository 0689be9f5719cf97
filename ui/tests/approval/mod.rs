//! Comparing the glass with the picture of it that a person has approved. Shared by portrait and landscape.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::GrayImage;
use kiosk_ui::Picture;

/// Pixels of the glass to one of the golden, each way.
const SHRINK: u32 = 4;
/// Side of the square that is compared on its own, in golden pixels: 40 pixels of the glass, a line of text.
const BLOCK: u32 = 10;
/// Squares overlap by half, so that no element hides on the seam between two.
const STEP: usize = 5;
/// Mean difference of a square that is still the same, of 255. Chosen between what was measured: up to 14 where the
/// whole glass is shifted by a pixel each way, 23 and more where a button has moved or a line of text is gone.
const BLOCK_MEAN_MAX: u32 = 18;
/// Mean difference of a whole picture that is still the same, of 255. Chosen: a glass shifted by a pixel has up to 3.5;
/// what is above is a shade that has changed everywhere.
const MEAN_MAX: f64 = 4.0;
/// Compares with the golden of this name, or writes it when asked to.
pub(crate) fn check(folder: &str, name: &str, actual: &GrayImage) -> Result<(), String> {
    let path = golden_path(folder, name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        actual.save(&path).unwrap();
        return Ok(());
    }
    let golden = image::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    compare(&golden.into_luma8(), actual).map_err(|difference| {
        let seen = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ui-{folder}-{name}.png"));
        actual.save(&seen).unwrap();
        let (seen, path) = (seen.display(), path.display());
        format!("{name}: {difference}\n  seen:     {seen}\n  approved: {path}")
    })
}

fn golden_path(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/{folder}/{name}.png"))
}

/// The names of all goldens there are in a folder.
pub(crate) fn goldens(folder: &str) -> BTreeSet<String> {
    std::fs::read_dir(golden_path(folder, "").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// `Err` says how two pictures differ, and where on the glass.
pub(crate) fn compare(golden: &GrayImage, actual: &GrayImage) -> Result<(), String> {
    let (width, height) = golden.dimensions();
    if actual.dimensions() != (width, height) {
        let (is, was) = (actual.dimensions(), (width, height));
        return Err(format!("{is:?} pixels instead of {was:?}"));
    }
    let differences = smooth_differences(golden, actual);
    for top in (0..=height - BLOCK).step_by(STEP) {
        for left in (0..=width - BLOCK).step_by(STEP) {
            let rows = (top..top + BLOCK).map(|y| (y * width + left) as usize);
            let sum: u32 = rows
                .flat_map(|start| &differences[start..start + BLOCK as usize])
                .sum();
            let mean = sum / (BLOCK * BLOCK);
            if mean > BLOCK_MEAN_MAX {
                let (x, y) = (left * SHRINK, top * SHRINK);
                return Err(format!("differs by {mean} of 255 around ({x}, {y})"));
            }
        }
    }
    let mean = f64::from(differences.iter().sum::<u32>()) / f64::from(width * height);
    if mean > MEAN_MAX {
        return Err(format!("differs by {mean:.1} of 255 everywhere"));
    }
    Ok(())
}

/// How far the mean of the nine pixels around each pixel differs. Ink that is a little further left cancels out,
/// ink that is gone does not.
fn smooth_differences(golden: &GrayImage, actual: &GrayImage) -> Vec<u32> {
    let pairs = golden.as_raw().iter().zip(actual.as_raw());
    let raw: Vec<i32> = pairs
        .map(|(was, is)| i32::from(*was) - i32::from(*is))
        .collect();
    let width = golden.width() as usize;
    let at = |index: usize, by: usize| (index + by).checked_sub(width + 1).and_then(|i| raw.get(i));
    (0..raw.len())
        .map(|index| {
            let around = (0..3).flat_map(|y| (0..3).map(move |x| y * width + x));
            let sum: i32 = around.filter_map(|by| at(index, by)).sum();
            sum.unsigned_abs() / 9
        })
        .collect()
}

/// The picture in gray at a quarter of its size; each pixel is the mean of those it stands for.
pub(crate) fn shrunk(picture: &Picture) -> GrayImage {
    let row = picture.width as usize * 3;
    GrayImage::from_fn(
        picture.width / SHRINK,
        picture.height / SHRINK,
        |left, top| {
            let start = (left * SHRINK) as usize * 3;
            let sum: u32 = (top * SHRINK..(top + 1) * SHRINK)
                .map(|y| y as usize * row + start)
                .flat_map(|at| picture.rgb[at..at + SHRINK as usize * 3].chunks_exact(3))
                .map(|rgb| (u32::from(rgb[0]) * 3 + u32::from(rgb[1]) * 6 + u32::from(rgb[2])) / 10)
                .sum();
            let mean = sum / (SHRINK * SHRINK);
            image::Luma([u8::try_from(mean).expect("a mean of bytes is a byte")])
        },
    )
}
