//! The bytes of the ESC/POS commands in use (`device-protocols.md` §5.1 to §5.3).

/// `ESC @`: initialize.
pub(crate) const INITIALIZE: &[u8] = &[0x1B, 0x40];
/// `GS a 15`: automatic status back for everything.
pub(crate) const AUTOMATIC_STATUS_ON: &[u8] = &[0x1D, 0x61, 0x0F];
/// `DLE ENQ 2`: recover and clear the buffers.
pub(crate) const RECOVER_AND_CLEAR: &[u8] = &[0x10, 0x05, 0x02];
/// `GS I 67`: model name as text.
pub(crate) const MODEL_NAME: &[u8] = &[0x1D, 0x49, 0x43];
/// Rows of one raster band. Chosen: small enough for the buffers of cheap boards.
pub(crate) const BAND_ROWS: usize = 128;

/// `DLE EOT n`: real-time status.
pub(crate) fn real_time_status(n: u8) -> [u8; 3] {
    [0x10, 0x04, n]
}

/// `ESC d n`: feed lines.
pub(crate) fn feed_lines(lines: u8) -> [u8; 3] {
    [0x1B, 0x64, lines]
}

/// How the slip is severed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Partial,
    Full,
    None,
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

/// `GS v 0`: one raster band. `rows` holds whole rows of `row_bytes` bytes, [`BAND_ROWS`] at most.
pub(crate) fn raster_band(row_bytes: u16, rows: &[u8]) -> Vec<u8> {
    let count = rows.len() / usize::from(row_bytes.max(1));
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    let mut band = vec![0x1D, 0x76, 0x30, 0x00];
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
            raster_band(1, &[0xFF, 0x81]),
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
}
