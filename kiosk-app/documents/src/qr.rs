//! QR symbols (ISO/IEC 18004) as SVG, one unit a module, so that a template can scale them to whole printer dots.

use qrcode::{Color, EcLevel, QrCode};

use crate::DocumentError;

/// White modules on each side: ISO/IEC 18004 asks for four.
const QUIET_MODULES: usize = 4;

/// A QR symbol of error correction level M with its quiet zone, as SVG.
/// The `viewBox` is `0 0 n n` with `n` the width in modules: `n` times a whole number of dots prints sharp.
///
/// # Errors
/// [`DocumentError::QrTooLong`] beyond 2331 bytes.
pub fn qr_svg(text: &str) -> Result<Vec<u8>, DocumentError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .map_err(|_| DocumentError::QrTooLong { bytes: text.len() })?;
    let width = code.width();
    let side = width + 2 * QUIET_MODULES;
    let mut path = Vec::new();
    for (y, row) in code.to_colors().chunks_exact(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|left, right| left == right) {
            if run[0] == Color::Dark {
                let (left, top, length) = (x + QUIET_MODULES, y + QUIET_MODULES, run.len());
                path.push(format!("M{left} {top}h{length}v1h-{length}z"));
            }
            x += run.len();
        }
    }
    let path = path.concat();
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" width=\"{side}\" height=\"{side}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>"
    );
    Ok(svg.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_a_version_one_symbol_with_its_quiet_zone() {
        let svg = String::from_utf8(qr_svg("TEST").unwrap()).unwrap();
        assert!(svg.contains("viewBox=\"0 0 29 29\""), "{svg}");
        // The top left finder pattern starts with seven dark modules after the quiet zone.
        assert!(svg.contains("M4 4h7v1h-7z"), "{svg}");
    }

    #[test]
    fn a_text_that_does_not_fit_is_refused_with_its_length() {
        assert!(qr_svg(&"x".repeat(2331)).is_ok());
        let error = qr_svg(&"x".repeat(2332)).unwrap_err();
        assert!(
            matches!(error, DocumentError::QrTooLong { bytes: 2332 }),
            "{error}"
        );
    }
}
