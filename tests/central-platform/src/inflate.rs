//! Bodies that come compressed. What inflates beyond the limit is refused before it takes memory.

use std::borrow::Cow;
use std::io::Read;

use axum::http::{HeaderMap, StatusCode, header};

use crate::messages::BATCH_BYTES_MAX;
use crate::problem::Problem;

/// Largest window that a frame may ask for, as a power of two: 8 MiB, what every decoder of
/// RFC 8878 should grant.
const WINDOW_LOG_MAX: u32 = 23;

/// The body of a batch as it is before compression, by what its headers say.
pub(crate) fn body<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        None => Ok(Cow::Borrowed(body)),
        Some(value) if value == "zstd" => inflate(body).map(Cow::Owned),
        Some(_) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "request.encoding",
            "a body is plain or zstd",
        )),
    }
}

/// Inflates a zstd body to 256 KiB at most.
fn inflate(body: &[u8]) -> Result<Vec<u8>, Problem> {
    let malformed = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "request.encoding",
            "the body is no zstd",
        )
    };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| malformed())?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(|_| malformed())?;
    let mut inflated = Vec::new();
    decoder
        .take(BATCH_BYTES_MAX as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| malformed())?;
    if inflated.len() > BATCH_BYTES_MAX {
        return Err(Problem::batch_too_large());
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_inflates_too_far_is_refused() {
        let deflated = |length: usize| zstd::bulk::compress(&vec![b' '; length], 3).unwrap();
        assert_eq!(
            inflate(&deflated(BATCH_BYTES_MAX)).unwrap().len(),
            BATCH_BYTES_MAX
        );
        let bomb = deflated(64 * 1024 * 1024);
        assert!(bomb.len() < BATCH_BYTES_MAX);
        assert_eq!(inflate(&bomb).unwrap_err().status(), 413);
    }

    #[test]
    fn what_is_no_zstd_is_refused() {
        let mut cut = zstd::bulk::compress(b"{\"terminal\": \"T1\"}", 3).unwrap();
        cut.truncate(cut.len() - 3);
        for nonsense in [&b"{}"[..], b"\x28\xB5\x2F\xFD", &cut] {
            assert_eq!(inflate(nonsense).unwrap_err().status(), 400);
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(body(&headers, b"x").unwrap_err().status(), 415);
    }
}
