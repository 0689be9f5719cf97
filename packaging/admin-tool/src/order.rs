//! Orders to a terminal, signed away from the platform: what the command key vouches for, a terminal
//! obeys once, before it expires.

use jiff::{SignedDuration, Timestamp};
use kiosk_sealing::{DeviceKey, KeyError, signed};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Kinds that take no arguments.
const PLAIN: [&str; 5] = ["sync-now", "restart", "lock", "unlock", "collect-logs"];
/// Kinds that name an item.
const OF_ITEMS: [&str; 2] = ["suspend-item", "resume-item"];
/// Longest life of an order, in seconds. Chosen: a week without a line.
const LIFE_S_MAX: i64 = 7 * 24 * 3600;

/// What to order of whom.
#[derive(Clone, Debug)]
pub struct Order {
    /// Minted once; a terminal obeys an id once.
    pub id: Uuid,
    /// Number of the terminal.
    pub terminal: String,
    /// What to do.
    pub kind: String,
    /// The item, where the kind names one.
    pub item: Option<String>,
    /// When it is issued.
    pub issued_at: Timestamp,
    /// How long it may be obeyed, in seconds, 1 to a week.
    pub life_s: i64,
}

/// Why an order was not signed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No terminal understands it.
    #[error("`{0}` is no order; there are {plain}, and with --item {of_items}", plain = PLAIN.join(", "), of_items = OF_ITEMS.join(", "))]
    Unknown(String),
    /// An item is missing, or makes no sense.
    #[error("{} {}", .0, if *.1 { "needs --item" } else { "takes no --item" })]
    Item(String, bool),
    /// It would live too long, or not at all.
    #[error("an order lives 1 to {LIFE_S_MAX} seconds")]
    Life,
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Signs an order with a command key; the text is what a terminal takes.
///
/// # Errors
/// [`OrderError`].
pub fn sign(key: &DeviceKey, order: &Order) -> Result<String, OrderError> {
    let kind = order.kind.as_str();
    check(kind, order.item.is_some())?;
    if !(1..=LIFE_S_MAX).contains(&order.life_s) {
        return Err(OrderError::Life);
    }
    let expires_at = order
        .issued_at
        .checked_add(SignedDuration::from_secs(order.life_s))
        .map_err(|_| OrderError::Life)?;
    let mut arguments = Map::new();
    if let Some(item) = &order.item {
        arguments.insert("item".to_owned(), Value::String(item.clone()));
    }
    let body = json!({
        "id": order.id,
        "terminal": order.terminal,
        "kind": kind,
        "arguments": arguments,
        "issued_at": order.issued_at.to_string(),
        "expires_at": expires_at.to_string(),
    });
    Ok(signed::sign(
        key,
        signed::COMMAND,
        body.to_string().as_bytes(),
    )?)
}

/// Refuses a kind that no terminal understands, and an item that is missing or makes no sense.
///
/// # Errors
/// `Unknown`, `Item`.
pub fn check(kind: &str, has_item: bool) -> Result<(), OrderError> {
    let needs_item = OF_ITEMS.contains(&kind);
    if !needs_item && !PLAIN.contains(&kind) {
        return Err(OrderError::Unknown(kind.to_owned()));
    }
    if has_item != needs_item {
        return Err(OrderError::Item(kind.to_owned(), needs_item));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::Algorithm;

    use super::*;

    fn order(kind: &str, item: Option<&str>, life_s: i64) -> Order {
        Order {
            id: Uuid::from_u128(7),
            terminal: "T001".to_owned(),
            kind: kind.to_owned(),
            item: item.map(str::to_owned),
            issued_at: Timestamp::constant(1_795_311_660, 0),
            life_s,
        }
    }

    #[test]
    fn a_signed_order_says_what_was_meant_and_verifies() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Sm2] {
            let key = DeviceKey::generate(algorithm).unwrap();
            let item = Some("old-age-allowance");
            let text = sign(&key, &order("suspend-item", item, 60)).unwrap();
            let body = signed::verify(&[key.public()], signed::COMMAND, &text, 4096).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["arguments"]["item"], "old-age-allowance");
            assert_eq!(body["terminal"], "T001");
            assert_eq!(body["expires_at"], "2026-11-22T01:42:00Z");
            assert!(signed::verify(&[key.public()], signed::RECEIPTS, &text, 4096).is_err());
        }
    }

    #[test]
    fn what_no_terminal_understands_is_not_signed() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        for order in [
            order("format-disk", None, 60),
            order("lock", Some("old-age-allowance"), 60),
            order("resume-item", None, 60),
            order("lock", None, 0),
            order("lock", None, LIFE_S_MAX + 1),
        ] {
            assert!(sign(&key, &order).is_err(), "{order:?}");
        }
    }
}
