//! The bytes of the ESC/POS commands in use (`device-protocols.md` §5.1 to §5.4).

use zeroize::Zeroizing;

use super::profile::Cut;

/// `ESC @`: initialize.
pub(crate) const INITIALIZE: &[u8] = &[0x1B, 0x40];
/// `FS &`: Chinese mode, two bytes a character.
pub(crate) const CHINESE_ON: &[u8] = &[0x1C, 0x26];
/// `GS a 15`: automatic status back for everything.
pub(crate) const AUTOMATIC_STATUS_ON: &[u8] = &[0x1D, 0x61, 0x0F];
/// `DLE ENQ 2`: recover and clear the buffers.
pub(crate) const RECOVER_AND_CLEAR: &[u8] = &[0x10, 0x05, 0x02];
/// `DLE EOT 20`: full status of Custom's printers (§5.4).
pub(crate) const FULL_STATUS: &[u8] = &[0x10, 0x04, 0x14];
/// `GS r 1`: the paper sensors, answered when everything before is done.
pub(crate) const PAPER_SENSORS: &[u8] = &[0x1D, 0x72, 0x01];
/// `GS I 67`: model name as text.
pub(crate) const MODEL_NAME: &[u8] = &[0x1D, 0x49, 0x43];
/// `GS e 2`: pull the slip back in (§5.4).
pub(crate) const RETRACT: &[u8] = &[0x1D, 0x65, 0x02];
/// Rows of one raster band. Chosen: small enough for the buffers of cheap boards.
pub(crate) const BAND_ROWS: usize = 128;

/// `DLE EOT n`: real-time status.
pub(crate) fn real_time_status(n: u8) -> [u8; 3] {
    [0x10, 0x04, n]
}

/// `GS e 3 n`: hand the slip out by n steps (§5.4).
pub(crate) fn present(steps: u8) -> [u8; 4] {
    [0x1D, 0x65, 0x03, steps]
}

/// `ESC d n`: feed lines.
pub(crate) fn feed_lines(lines: u8) -> [u8; 3] {
    [0x1B, 0x64, lines]
}

/// `ESC a n`: 0 left, 1 center, 2 right.
pub(crate) fn align(n: u8) -> [u8; 3] {
    [0x1B, 0x61, n]
}

/// `ESC E n`: emphasis.
pub(crate) fn emphasis(n: u8) -> [u8; 3] {
    [0x1B, 0x45, n]
}

/// `GS ! n`: magnification, each 1 to 8.
pub(crate) fn size(width: u8, height: u8) -> [u8; 3] {
    let nibble = |times: u8| times.clamp(1, 8) - 1;
    [0x1D, 0x21, nibble(width) << 4 | nibble(height)]
}

/// `GS V`: feed to the cutter, then cut.
pub(crate) fn cut(cut: Cut) -> &'static [u8] {
    match cut {
        Cut::Partial => &[0x1D, 0x56, 0x42, 0x00],
        Cut::Full => &[0x1D, 0x56, 0x41, 0x00],
        Cut::None => &[],
    }
}

/// `GS ( H`: asks for an echo of `id` when everything before is printed.
pub(crate) fn process_id(id: [u8; 4]) -> [u8; 11] {
    let [a, b, c, d] = id;
    [0x1D, 0x28, 0x48, 0x06, 0x00, 0x30, 0x30, a, b, c, d]
}

/// `GS ( k`: a QR code of model 2, stored and printed. `level` is 0 to 3 for L, M, Q, H.
pub(crate) fn qr_code(data: &[u8], module_dots: u8, level: u8) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 + data.len()));
    bytes.extend([0x1D, 0x28, 0x6B, 0x04, 0x00, 0x31, 0x41, 0x32, 0x00]);
    bytes.extend([0x1D, 0x28, 0x6B, 0x03, 0x00, 0x31, 0x43, module_dots]);
    bytes.extend([
        0x1D,
        0x28,
        0x6B,
        0x03,
        0x00,
        0x31,
        0x45,
        0x30 + level.min(3),
    ]);
    bytes.extend([0x1D, 0x28, 0x6B]);
    // The caller bounds `data` by what a code can hold, far below 65 535.
    let length = u16::try_from(data.len() + 3).unwrap_or(u16::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend([0x31, 0x50, 0x30]);
    bytes.extend_from_slice(data);
    bytes.extend([0x1D, 0x28, 0x6B, 0x03, 0x00, 0x31, 0x51, 0x30]);
    bytes
}

/// `GS v 0`: one raster band. `rows` holds whole rows of `row_bytes` bytes, [`BAND_ROWS`] at most.
pub(crate) fn raster_band(row_bytes: u16, rows: &[u8]) -> Zeroizing<Vec<u8>> {
    let count = rows.len() / usize::from(row_bytes.max(1));
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    let mut band = Zeroizing::new(Vec::with_capacity(8 + rows.len()));
    band.extend([0x1D, 0x76, 0x30, 0x00]);
    band.extend(row_bytes.to_le_bytes());
    band.extend(count.to_le_bytes());
    band.extend_from_slice(rows);
    band
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raster_of_the_fact_sheet_is_built() {
        assert_eq!(
            *raster_band(1, &[0xFF, 0x81]),
            [0x1D, 0x76, 0x30, 0x00, 0x01, 0x00, 0x02, 0x00, 0xFF, 0x81]
        );
    }

    #[test]
    fn the_process_id_command_is_built() {
        assert_eq!(
            process_id(*b"0001"),
            [
                0x1D, 0x28, 0x48, 0x06, 0x00, 0x30, 0x30, 0x30, 0x30, 0x30, 0x31
            ]
        );
    }

    #[test]
    fn sizes_stay_in_their_nibbles() {
        assert_eq!(size(1, 1), [0x1D, 0x21, 0x00]);
        assert_eq!(size(2, 2), [0x1D, 0x21, 0x11]);
        assert_eq!(size(0, 200), [0x1D, 0x21, 0x07]);
    }
}
