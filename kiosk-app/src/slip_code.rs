//! The QR code on a slip: names a case so that any terminal can tell its state.
//!
//! Form: `KC1.<case number>.<local time YYYYMMDDhhmm>.<digest>.<signature>`; the signature is Ed25519
//! over everything before the last dot, by the key of the terminal that printed it. The code holds
//! nothing personal.

/// Longest code that is looked at; a real one has about 150 characters.
const LENGTH_MAX: usize = 256;
/// Marks our codes and their version.
const PREFIX: &str = "KC1";

/// The text that is signed.
pub fn unsigned(number: &str, compact_time: &str, digest: &str) -> String {
    format!("{PREFIX}.{number}.{compact_time}.{digest}")
}

/// The case number inside a scanned code; `None` when the code is not one of ours.
pub fn case_number(code: &str) -> Option<String> {
    if code.len() > LENGTH_MAX {
        return None;
    }
    let parts: Vec<&str> = code.trim().split('.').collect();
    let [PREFIX, number, time, digest, signature] = parts.as_slice() else {
        return None;
    };
    let is_number = (8..=40).contains(&number.len())
        && number
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_time = time.len() == 12 && time.bytes().all(|byte| byte.is_ascii_digit());
    let is_digest = digest.len() == 12 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_number && is_time && is_digest && !signature.is_empty()).then(|| (*number).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_codes_name_a_case() {
        let code = format!(
            "{}.AbC_-",
            unsigned("T001-20261122-00017", "202611220941", "0123456789ab")
        );
        for (code, expected) in [
            (code.as_str(), Some("T001-20261122-00017")),
            ("KC1.T001-20261122-00017", None),
            ("KC2.T001-20261122-00017.202611220941.0123456789ab.x", None),
            ("KC1.../../etc.202611220941.0123456789ab.x", None),
            ("https://example.org/", None),
            ("", None),
        ] {
            assert_eq!(case_number(code).as_deref(), expected, "{code}");
        }
        assert_eq!(case_number(&"K".repeat(5000)), None);
    }
}
