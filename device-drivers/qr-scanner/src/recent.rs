//! Keeps one code from being reported twice while it lies before the window: what was just scanned
//! counts again only after it was away for a while. Remembers a keyed digest, never the code.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::text::ScannedCode;

/// The last code that was reported.
pub(crate) struct Recent {
    window: Duration,
    key: RandomState,
    last: Option<(u64, Instant)>,
}

impl Recent {
    /// Codes count as the same one within `window`; zero reports every code.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            key: RandomState::new(),
            last: None,
        }
    }

    /// True when `code` is the last one and was seen less than the window ago. Every code that is
    /// asked about becomes the last one, so a code that stays in sight stays the same.
    pub(crate) fn is_repeated(&mut self, code: &ScannedCode, now: Instant) -> bool {
        let digest = self.key.hash_one(code.raw.expose());
        let is_repeated = self.last.is_some_and(|(last, seen)| {
            last == digest && now.saturating_duration_since(seen) < self.window
        });
        self.last = Some((digest, now));
        is_repeated
    }
}

#[cfg(test)]
mod tests {
    use kiosk_device::clock;

    use super::*;
    use crate::text::decode;

    const WINDOW: Duration = Duration::from_millis(1500);

    #[test]
    fn a_code_counts_again_only_after_it_was_away() {
        let mut recent = Recent::new(WINDOW);
        let start = clock::now();
        let mut check = |code: &str, after_ms: u64, expect: bool| {
            let code = decode(code.as_bytes()).unwrap();
            let now = start + Duration::from_millis(after_ms);
            assert_eq!(recent.is_repeated(&code, now), expect, "{after_ms}");
        };
        check("A", 0, false);
        check("A", 1000, true);
        check("A", 2000, true);
        check("A", 3500, false);
        check("B", 3600, false);
        check("A", 3700, false);
    }

    #[test]
    fn without_a_window_every_code_counts() {
        let mut recent = Recent::new(Duration::ZERO);
        let code = decode(b"A").unwrap();
        let now = clock::now();
        assert!(!recent.is_repeated(&code, now));
        assert!(!recent.is_repeated(&code, now));
    }
}
