//! The page by which a telephone checks certificates with no network: one HTML file with the keys of
//! the terminals in it. A policy in the page lets run only the script and the style that are in it.
//! A browser that knows digests in a policy ignores `'unsafe-inline'` beside them (CSP Level 2 §7.17);
//! an older one ignores the digests, and would run nothing without that word.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiosk_sealing::sha256;
use serde_json::{Value, json};

use crate::terminal_keys::TerminalKeys;

const PAGE: &str = include_str!("../../verify-page/page.html");
const STYLE: &str = include_str!("../../verify-page/style.css");
/// The verdict by itself: a function of a text, keys and a time.
pub const VERIFY_SCRIPT: &str = include_str!("../../verify-page/verify.js");
const PAGE_SCRIPT: &str = include_str!("../../verify-page/page.js");

/// The page with these keys.
pub fn page(keys: &TerminalKeys) -> String {
    let script = format!("{VERIFY_SCRIPT}\n{PAGE_SCRIPT}");
    PAGE.replace("{{SCRIPT-HASH}}", &source_hash(&script))
        .replace("{{STYLE-HASH}}", &source_hash(STYLE))
        .replace("{{STYLE}}", STYLE)
        .replace("{{SCRIPT}}", &script)
        .replace("{{KEYS}}", &keys_json(keys))
}

/// The keys as the page reads them.
pub fn keys_json(keys: &TerminalKeys) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(terminal, key)| json!({ "terminal": terminal, "key": key.to_string() }))
        .collect();
    // No tag can end in it.
    Value::Array(keys).to_string().replace('<', "\\u003c")
}

/// How a policy names a script or style that stands in the page (CSP Level 3 §2.3.1).
fn source_hash(source: &str) -> String {
    format!("sha256-{}", STANDARD.encode(sha256(source.as_bytes())))
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::{Algorithm, DeviceKey};

    use super::*;

    #[test]
    fn the_page_is_whole_and_lets_nothing_else_run() {
        let key = DeviceKey::generate(Algorithm::Sm2).unwrap().public();
        let keys = TerminalKeys::parse(&format!("T001 {key}")).unwrap();
        let page = page(&keys);
        assert!(!page.contains("{{"), "every place is filled");
        assert!(page.contains(&key.to_string()));
        assert!(page.contains("default-src 'none'"));
        // What the policy names is what stands in the page, byte for byte.
        for (open, close) in [("<script>", "</script>"), ("<style>", "</style>")] {
            assert_eq!(page.matches(open).count(), 1, "{open}");
            let (_, rest) = page.split_once(open).unwrap();
            let (content, _) = rest.split_once(close).unwrap();
            assert!(page.contains(&source_hash(content)), "{open}");
        }
        // Nothing is fetched, written as markup, or run from a text.
        for word in [
            "http://",
            "https://",
            " src=",
            "innerHTML",
            "eval(",
            "onclick",
            "fetch(",
            "style=",
            "XMLHttp",
            "import(",
            "\r",
        ] {
            assert!(!page.contains(word), "{word}");
        }
        // A literal such as `1n` would blank the page in a browser that does not have it.
        let has_literal = page
            .as_bytes()
            .windows(3)
            .any(|part| part[0].is_ascii_digit() && part[1] == b'n' && b";,) ".contains(&part[2]));
        assert!(!has_literal);
    }
}
