//! How many pages a PDF has, counted and not understood: enough for a printer that only pretends.

use std::io::Read as _;

/// Bytes taken out of one compressed object stream at most. Chosen.
const STREAM_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Object streams looked into at most. Chosen.
const STREAMS_MAX: usize = 1000;

/// Number of pages; 0 when none can be found.
pub(crate) fn count_pages(document: &[u8]) -> u32 {
    let plain = count_page_objects(document);
    if plain > 0 {
        return plain;
    }
    // Since PDF 1.5 the page objects may lie in compressed object streams.
    positions(document, b"/ObjStm")
        .take(STREAMS_MAX)
        .filter_map(|at| inflate(&document[at..]))
        .map(|objects| count_page_objects(&objects))
        .sum()
}

fn count_page_objects(bytes: &[u8]) -> u32 {
    let pages = positions(bytes, b"/Type").filter(|at| {
        let after = bytes[at + 5..].trim_ascii_start();
        let is_page = after.starts_with(b"/Page");
        // `/Pages` is the tree above the pages.
        is_page && !after.get(5).is_some_and(u8::is_ascii_alphanumeric)
    });
    u32::try_from(pages.count()).unwrap_or(u32::MAX)
}

fn inflate(object: &[u8]) -> Option<Vec<u8>> {
    let start = positions(object, b"stream").next()? + 6;
    let data = object.get(start..)?;
    let data = data.strip_prefix(b"\r").unwrap_or(data);
    let data = data.strip_prefix(b"\n").unwrap_or(data);
    let mut objects = Vec::new();
    flate2::read::ZlibDecoder::new(data)
        .take(STREAM_BYTES_MAX)
        .read_to_end(&mut objects)
        .ok()?;
    Some(objects)
}

fn positions<'a>(bytes: &'a [u8], what: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .windows(what.len())
        .enumerate()
        .filter(move |(_, window)| *window == what)
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn page_objects_are_counted_and_the_tree_is_not() {
        assert_eq!(
            count_pages(b"<</Type/Pages/Kids[]>><</Type /Page>><< /Type\n/Page/X 1>>"),
            2
        );
        assert_eq!(count_pages(b"%PDF-1.7 nothing"), 0);
        assert_eq!(count_pages(b"/Type"), 0);
    }

    #[test]
    fn pages_in_compressed_streams_are_counted() {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder
            .write_all(b"<</Type/Page>><</Type/Page>><</Type/Pages>>")
            .unwrap();
        let mut document =
            b"%PDF-1.7 1 0 obj <</Type/ObjStm/Filter/FlateDecode>> stream\r\n".to_vec();
        document.extend(encoder.finish().unwrap());
        assert_eq!(count_pages(&document), 2);
    }
}
