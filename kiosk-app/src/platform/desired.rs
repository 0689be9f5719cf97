//! The desired state: how the platform wants this terminal to be. Signed, for this terminal alone,
//! and applied only when it is newer than the one in force: an old one that is sent again changes
//! nothing. The readers here are functions of outside bytes: bounded, and they never panic.

use jiff::civil::Time;
use kiosk_sealing::signed;
use kiosk_sealing::{PublicKey, RecipientKey};
use serde::Deserialize;

use super::commands::CommandError;
use super::drain::off_hours;

/// Largest body in bytes; a thousand suspended items have 64 KiB at most.
const BODY_BYTES_MAX: usize = 128 * 1024;
/// Most releases that are held at once (`openapi.yaml`).
const HELD_MAX: usize = 64;
/// Most suspended items (`openapi.yaml`).
const ITEMS_MAX: usize = 1000;
/// Longest item id in bytes (`openapi.yaml`).
const ITEM_BYTES_MAX: usize = 64;
/// Bounds of the heartbeat in seconds (`openapi.yaml`).
const HEARTBEAT_S: std::ops::RangeInclusive<u32> = 10..=3600;
/// Bounds of the bandwidth cap in bytes a second (`openapi.yaml`).
const BYTES_PER_S: std::ops::RangeInclusive<u32> = 1_000..=1_000_000_000;
/// Versions stay exact in every JSON reader up to this (RFC 8259 section 6).
const VERSION_MAX: u64 = 9_007_199_254_740_991;

/// How the platform wants a terminal to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredState {
    /// For whom.
    pub terminal: String,
    /// Rises with each change; 1 is the first.
    pub version: u64,
    /// Items that are not offered.
    pub suspended_items: Vec<String>,
    /// What new work is sealed to.
    pub sealing_key: RecipientKey,
    /// Cap on uploads in bytes a second, in place of the configuration's.
    pub bytes_per_s: Option<u32>,
    /// When what can wait is sent, in place of the configuration's.
    pub off_hours: Option<(Time, Time)>,
    /// Seconds between two heartbeats.
    pub heartbeat_s: u32,
    /// Releases that are neither fetched nor switched to.
    pub held_releases: Vec<String>,
}

/// As it is written.
#[derive(Deserialize)]
struct Written {
    terminal: String,
    version: u64,
    suspended_items: Vec<String>,
    sealing_key: String,
    bytes_per_s: Option<u32>,
    off_hours: Option<String>,
    heartbeat_s: u32,
    #[serde(default)]
    held_releases: Vec<String>,
}

/// Opens a signed desired state and gives its body too, for the store.
///
/// # Errors
/// [`CommandError`]; nothing of it may be used then.
pub fn open(
    text: &str,
    keys: &[PublicKey],
    terminal: &str,
) -> Result<(DesiredState, String), CommandError> {
    let body = signed::verify(keys, signed::DESIRED_STATE, text, BODY_BYTES_MAX)?;
    let state = read(&body)?;
    if state.terminal != terminal {
        return Err(CommandError::OtherTerminal);
    }
    let body = String::from_utf8(body).map_err(|_| CommandError::Malformed("not UTF-8"))?;
    Ok((state, body))
}

/// Reads the body of a desired state.
///
/// # Errors
/// `Malformed` names what is outside its limits.
pub fn read(body: &[u8]) -> Result<DesiredState, CommandError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(CommandError::Malformed("too long"));
    }
    let written: Written = serde_json::from_slice(body)
        .map_err(|_| CommandError::Malformed("not the JSON of the contract"))?;
    if !(1..=VERSION_MAX).contains(&written.version) {
        return Err(CommandError::Malformed("version"));
    }
    let are_items = written.suspended_items.len() <= ITEMS_MAX
        && written.suspended_items.iter().all(|item| is_item(item));
    if !are_items {
        return Err(CommandError::Malformed("suspended_items"));
    }
    let are_releases = written.held_releases.len() <= HELD_MAX
        && written.held_releases.iter().all(|version| is_item(version));
    if !are_releases {
        return Err(CommandError::Malformed("held_releases"));
    }
    if !HEARTBEAT_S.contains(&written.heartbeat_s) {
        return Err(CommandError::Malformed("heartbeat_s"));
    }
    if written
        .bytes_per_s
        .is_some_and(|rate| !BYTES_PER_S.contains(&rate))
    {
        return Err(CommandError::Malformed("bytes_per_s"));
    }
    let off_hours = match &written.off_hours {
        None => None,
        Some(text) => Some(off_hours(text).ok_or(CommandError::Malformed("off_hours"))?),
    };
    Ok(DesiredState {
        terminal: written.terminal,
        version: written.version,
        suspended_items: written.suspended_items,
        sealing_key: written
            .sealing_key
            .parse()
            .map_err(|_| CommandError::Malformed("sealing_key"))?,
        bytes_per_s: written.bytes_per_s,
        off_hours,
        heartbeat_s: written.heartbeat_s,
        held_releases: written.held_releases,
    })
}

/// Whether a text can be the id of an item.
pub(super) fn is_item(text: &str) -> bool {
    (1..=ITEM_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::{Algorithm, DeviceKey, RecipientSecret, Suite};
    use serde_json::{Value, json};

    use super::*;

    fn body(change: impl Fn(&mut Value)) -> Vec<u8> {
        let secret = RecipientSecret::generate(Suite::Intl).unwrap();
        let mut body = json!({
            "terminal": "T001", "version": 3, "issued_at": "2026-11-22T00:00:00Z",
            "suspended_items": ["a-b"], "sealing_key": secret.public().to_string(),
            "bytes_per_s": 500_000, "off_hours": "22:00-06:00", "heartbeat_s": 60,
        });
        change(&mut body);
        body.to_string().into_bytes()
    }

    #[test]
    fn a_desired_state_is_for_one_terminal_and_signed_by_the_platform() {
        let platform = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let keys = [platform.public()];
        let body = body(|_| {});
        let text = signed::sign(&platform, signed::DESIRED_STATE, &body).unwrap();
        let (state, kept) = open(&text, &keys, "T001").unwrap();
        assert_eq!((state.version, state.heartbeat_s), (3, 60));
        assert_eq!(kept.as_bytes(), body);
        assert!(
            state.held_releases.is_empty(),
            "a platform of an earlier day"
        );
        assert!(matches!(
            open(&text, &keys, "T002"),
            Err(CommandError::OtherTerminal)
        ));
        let forged = signed::sign(&stranger, signed::DESIRED_STATE, &body).unwrap();
        assert!(matches!(
            open(&forged, &keys, "T001"),
            Err(CommandError::Signature(_))
        ));
        let command = signed::sign(&platform, signed::COMMAND, &body).unwrap();
        assert!(open(&command, &keys, "T001").is_err(), "another domain");
    }

    #[test]
    fn what_is_outside_its_limits_is_named_and_nothing_of_it_is_used() {
        let check = |name: &'static str, value: Value| {
            let body = body(|body| body[name] = value.clone());
            match read(&body) {
                Err(CommandError::Malformed(what)) => {
                    assert!(what == name || what.starts_with("not the JSON"), "{what}");
                }
                other => panic!("{name}: {other:?}"),
            }
        };
        check("version", json!(0));
        check("version", json!(u64::MAX));
        check("suspended_items", json!(["a b"]));
        check("suspended_items", json!(vec!["a"; 1001]));
        check("heartbeat_s", json!(9));
        check("held_releases", json!(["1 2"]));
        check("held_releases", json!(vec!["1.0.0"; 65]));
        check("bytes_per_s", json!(10));
        check("off_hours", json!("26:00-06:00"));
        check("sealing_key", json!("intl:"));
        check("terminal", json!(7));
        assert!(read(b"").is_err() && read(&vec![b' '; BODY_BYTES_MAX + 1]).is_err());
    }
}
