//! Cuts a `multipart/x-mixed-replace` body into its parts (RFC 2046 §5.1, as cameras use it).
//! A pure function of bytes: every size is bounded, boundaries may be split anywhere.

use kiosk_device::http::{find, header, parse_headers};

/// Longest head of a part. Chosen: real ones have three short lines.
const HEAD_BYTES_MAX: usize = 4096;
/// Longest boundary (RFC 2046: 70 characters).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Why a body is no stream of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The content type names no usable boundary.
    #[error("no multipart boundary")]
    NoBoundary,
    /// A part's head does not end or is no head.
    #[error("a part has no head")]
    Head,
    /// A part exceeds the bound.
    #[error("a part is too long")]
    TooLong,
}

/// The boundary in a `Content-Type` value.
///
/// # Errors
/// [`MultipartError::NoBoundary`].
pub fn boundary(content_type: &str) -> Result<String, MultipartError> {
    let mut fields = content_type.split(';').map(str::trim);
    let kind = fields.next().unwrap_or_default().to_ascii_lowercase();
    let boundary = fields
        .filter_map(|field| field.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim().trim_matches('"'))
        // Many cameras write the two hyphens of the delimiter into the header as well.
        .map(|value| value.strip_prefix("--").unwrap_or(value));
    match boundary {
        Some(boundary)
            if kind.starts_with("multipart/")
                && !boundary.is_empty()
                && boundary.len() <= BOUNDARY_BYTES_MAX =>
        {
            Ok(boundary.to_owned())
        }
        Some(_) | None => Err(MultipartError::NoBoundary),
    }
}

/// Collects bytes and gives parts out.
#[derive(Debug)]
pub struct Parts {
    delimiter: Vec<u8>,
    part_bytes_max: usize,
    buffer: Vec<u8>,
    /// Where the search for the next delimiter goes on, so that no byte is searched twice.
    searched: usize,
}

impl Parts {
    /// For parts divided by `boundary`, each `part_bytes_max` bytes at most.
    pub fn new(boundary: &str, part_bytes_max: usize) -> Self {
        Self {
            delimiter: format!("--{boundary}").into_bytes(),
            part_bytes_max,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// Takes bytes in. Follow with [`Parts::next_part`] until it gives nothing.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete part's content.
    ///
    /// # Errors
    /// [`MultipartError::Head`] and [`MultipartError::TooLong`]: the stream is of no more use.
    pub fn next_part(&mut self) -> Result<Option<Vec<u8>>, MultipartError> {
        let Some(start) = find(&self.buffer, &self.delimiter) else {
            // What stands before the first delimiter is of no interest.
            let keep = self.delimiter.len().min(self.buffer.len());
            self.buffer.drain(..self.buffer.len() - keep);
            return Ok(None);
        };
        self.buffer.drain(..start);
        let head_start = self.delimiter.len();
        let head = self.buffer.get(head_start..).unwrap_or_default();
        let searched = head.get(..HEAD_BYTES_MAX).unwrap_or(head);
        let Some(head_length) = find(searched, b"\r\n\r\n") else {
            return if head.len() >= HEAD_BYTES_MAX {
                Err(MultipartError::Head)
            } else {
                Ok(None)
            };
        };
        let text = String::from_utf8_lossy(head.get(..head_length).unwrap_or_default());
        // The first line is the end of the delimiter's own.
        let headers =
            parse_headers(text.split("\r\n").skip(1)).map_err(|_| MultipartError::Head)?;
        let length = header(&headers, "content-length")
            .map(|length| length.parse::<usize>().map_err(|_| MultipartError::Head))
            .transpose()?;
        let body_start = head_start + head_length + 4;
        match length {
            Some(length) => self.take_by_length(body_start, length),
            None => self.take_by_delimiter(body_start),
        }
    }

    fn take_by_length(
        &mut self,
        start: usize,
        length: usize,
    ) -> Result<Option<Vec<u8>>, MultipartError> {
        if length > self.part_bytes_max {
            return Err(MultipartError::TooLong);
        }
        let Some(part) = self.buffer.get(start..start + length) else {
            return Ok(None);
        };
        let part = part.to_vec();
        self.consume(start + length);
        Ok(Some(part))
    }

    fn take_by_delimiter(&mut self, start: usize) -> Result<Option<Vec<u8>>, MultipartError> {
        let line = [b"\r\n".as_slice(), &self.delimiter].concat();
        let from = self.searched.max(start);
        let unseen = self.buffer.get(from..).unwrap_or_default();
        match find(unseen, &line) {
            Some(at) => {
                let part = self
                    .buffer
                    .get(start..from + at)
                    .unwrap_or_default()
                    .to_vec();
                self.consume(from + at);
                if part.len() > self.part_bytes_max {
                    return Err(MultipartError::TooLong);
                }
                Ok(Some(part))
            }
            None if self.buffer.len() - start > self.part_bytes_max => Err(MultipartError::TooLong),
            None => {
                self.searched = self.buffer.len().saturating_sub(line.len());
                Ok(None)
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.buffer.drain(..count);
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &[u8], expect: &[&[u8]]) {
        for piece in [1, 2, 3, 7, stream.len()] {
            let mut parts = Parts::new("b", 64);
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                parts.push(bytes);
                while let Some(part) = parts.next_part().unwrap() {
                    found.push(part);
                }
            }
            assert_eq!(found, expect, "pieces of {piece}");
        }
    }

    #[test]
    fn parts_with_lengths_are_cut_whatever_they_contain() {
        check(
            b"preamble\r\n--b\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n1\r\n--b\r\n2\r\n--b\r\nContent-Length: 1\r\n\r\nx\r\n--b\r\n",
            &[b"1\r\n--b\r\n2", b"x"],
        );
    }

    #[test]
    fn parts_without_lengths_end_at_the_next_delimiter() {
        check(
            b"--b\r\nContent-Type: image/jpeg\r\n\r\nabc\r\n--b\r\nX: y\r\n\r\n\r\ndef\r\n--b",
            &[b"abc", b"\r\ndef"],
        );
    }

    #[test]
    fn boundaries_are_read_as_cameras_write_them() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(boundary(text).ok().as_deref(), expect, "{text}");
        };
        check("multipart/x-mixed-replace; boundary=b", Some("b"));
        check("multipart/x-mixed-replace;boundary=\"a b\"", Some("a b"));
        check("Multipart/x-mixed-replace; x=y; Boundary=--b", Some("b"));
        check("multipart/x-mixed-replace", None);
        check("multipart/x-mixed-replace; boundary=", None);
        check("image/jpeg; boundary=b", None);
        check(&format!("multipart/x; boundary={}", "b".repeat(71)), None);
    }

    #[test]
    fn what_exceeds_a_bound_is_refused_and_noise_does_not_pile_up() {
        let fail = |stream: &[u8]| {
            let mut parts = Parts::new("b", 64);
            parts.push(stream);
            parts.next_part().expect_err("it must be refused")
        };
        assert_eq!(
            fail(b"--b\r\nContent-Length: 65\r\n\r\n"),
            MultipartError::TooLong
        );
        assert_eq!(
            fail(b"--b\r\nContent-Length: x\r\n\r\n"),
            MultipartError::Head
        );
        assert_eq!(fail(b"--b\r\nno colon\r\n\r\n"), MultipartError::Head);
        let mut endless = b"--b\r\nX: y\r\n\r\n".to_vec();
        endless.extend([0; 100]);
        assert_eq!(fail(&endless), MultipartError::TooLong);
        let mut headless = b"--b\r\n".to_vec();
        headless.extend([b'x'; HEAD_BYTES_MAX]);
        assert_eq!(fail(&headless), MultipartError::Head);
        let mut parts = Parts::new("b", 64);
        for _ in 0..100 {
            parts.push(&[b'-'; 1000]);
            assert_eq!(parts.next_part(), Ok(None));
        }
        assert!(parts.buffer.len() <= 3);
    }
}
