//! Reads the QR code on a printed slip from the picture that the printer left: what a scanner or a
//! telephone reads must be what was printed.

use std::path::Path;

/// Why no code could be read.
#[derive(Debug, thiserror::Error)]
pub enum SlipCodeError {
    /// The file is no picture.
    #[error("cannot open {file}")]
    Picture {
        /// The file.
        file: String,
        /// Why.
        source: image::ImageError,
    },
    /// There is no code that can be read.
    #[error("no QR code can be read in {file}: {reason}")]
    NoCode {
        /// The file.
        file: String,
        /// The decoder's words.
        reason: String,
    },
}

/// The text of the QR code in the picture `file`.
///
/// # Errors
/// [`SlipCodeError`]: the file is no picture, or no code in it can be read.
pub fn read(file: &Path) -> Result<String, SlipCodeError> {
    let name = || file.display().to_string();
    let picture = image::open(file)
        .map_err(|source| SlipCodeError::Picture {
            file: name(),
            source,
        })?
        .into_luma8();
    let (width, height) = picture.dimensions();
    let found = rxing::helpers::detect_in_luma(
        picture.into_raw(),
        width,
        height,
        Some(rxing::BarcodeFormat::QR_CODE),
    )
    .map_err(|error| SlipCodeError::NoCode {
        file: name(),
        reason: error.to_string(),
    })?;
    Ok(found.getText().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_slip_has_no_code() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("slip.png");
        image::GrayImage::from_pixel(576, 800, image::Luma([255]))
            .save(&file)
            .unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("no QR code"), "{error}");
    }
}
