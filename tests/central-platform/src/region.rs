//! Places of terminals in the tree city/county/town/village, such as `揭阳市/普宁市/里湖镇`. One place
//! is within another only by whole segments.

use crate::problem::Problem;

/// Most segments: province, city, county, town, village and a site.
const SEGMENTS_MAX: usize = 6;
/// Longest segment in characters.
const SEGMENT_MAX: usize = 32;

/// Whether a place is another one or within it; everything is within the empty one.
pub(crate) fn is_within(region: &str, of: &str) -> bool {
    let rest = region.strip_prefix(of);
    of.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a text is a place.
pub(crate) fn is_region(text: &str) -> bool {
    let is_segment = |segment: &str| {
        let is_plain = |each: char| !each.is_control() && !matches!(each, '"' | '\\' | ',');
        segment.len() <= 4 * SEGMENT_MAX
            && (1..=SEGMENT_MAX).contains(&segment.chars().count())
            && segment.trim() == segment
            && segment.chars().all(is_plain)
    };
    // One more than there may be, so that a longer one is refused and not cut.
    let segments = text.split('/').take(SEGMENTS_MAX + 1);
    segments.clone().count() <= SEGMENTS_MAX && segments.clone().all(is_segment)
}

/// Refuses what is no place; the empty one stands for everywhere.
pub(crate) fn check(text: &str) -> Result<(), Problem> {
    if text.is_empty() || is_region(text) {
        return Ok(());
    }
    Err(Problem::unprocessable(
        "request.field",
        "`region` is no place such as city/county/town/village",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_within_another_by_whole_segments() {
        let place = "揭阳市/普宁市/里湖镇/某某村";
        for of in ["", "揭阳市", "揭阳市/普宁市", place] {
            assert!(is_within(place, of), "{of}");
        }
        for of in ["揭阳", "揭阳市/普宁市/里湖", "普宁市", "揭阳市/"] {
            assert!(!is_within(place, of), "{of}");
        }
        assert!(!is_within("", "揭阳市"));
    }

    #[test]
    fn a_place_is_written_one_way() {
        assert!(is_region("揭阳市/普宁市"));
        for text in [
            "",
            "/a",
            "a/",
            "a//b",
            " a",
            "a\nb",
            "a\"b",
            "a/b/c/d/e/f/g",
            &"a".repeat(33),
        ] {
            assert!(!is_region(text), "{text}");
        }
    }
}
