//! An order of repair: the operator's word that a terminal's time was wrong, or that what it
//! believed is lost. Signed by the threshold of the keys of the targets, which are kept offline; for
//! one terminal; obeyed once.

use std::num::NonZeroU64;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tough::schema::{self, Role, RoleType, Signed};

use super::error::TrustError;

/// Largest order in bytes; one has about a thousand.
const ORDER_BYTES_MAX: usize = 16 * 1024;
/// Longest life of an order. Chosen: a technician's week.
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The signed part of an order of repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairOrder {
    /// Keeps an order from being taken for a list of targets, which the same keys sign.
    #[serde(rename = "_type")]
    pub kind: RepairKind,
    /// Version of the TUF specification whose rules of signing apply.
    pub spec_version: String,
    /// Number of the order; a terminal obeys none that is not above the last.
    pub version: NonZeroU64,
    /// When it ends, a week after `time` at most.
    pub expires: Timestamp,
    /// Number of the terminal.
    pub terminal: String,
    /// The time when it was signed; the terminal's floor of time falls to this.
    pub time: Timestamp,
    /// The versions that count from now on, where those that the terminal knew are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<RepairedVersions>,
}

/// The type that an order states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairKind {
    /// An order of repair.
    #[serde(rename = "repair")]
    Repair,
}

/// Versions of the repository's files when the order was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairedVersions {
    /// Of the root.
    pub root: u64,
    /// Of the timestamp.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the targets.
    pub targets: u64,
}

impl Role for RepairOrder {
    // The role whose keys sign it.
    const TYPE: RoleType = RoleType::Targets;

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn version(&self) -> NonZeroU64 {
        self.version
    }

    fn filename(&self, _consistent_snapshot: bool) -> String {
        format!("{}.repair.json", self.version)
    }
}

impl RepairOrder {
    /// Reads an order; whether it is to be obeyed is another question.
    ///
    /// # Errors
    /// `Repair` when it is none.
    pub fn parse(bytes: &[u8]) -> Result<Signed<Self>, TrustError> {
        if bytes.len() > ORDER_BYTES_MAX {
            return Err(TrustError::Repair("it is too long"));
        }
        serde_json::from_slice(bytes).map_err(|_| TrustError::Repair("it cannot be read"))
    }
}

/// Whom an order must fit.
pub(super) struct Addressee<'a> {
    pub(super) root: &'a [u8],
    pub(super) terminal: &'a str,
    /// Number of the last order that was obeyed.
    pub(super) last: u64,
    pub(super) built_at: Timestamp,
    pub(super) now: Timestamp,
}

/// The order, when it is to be obeyed.
///
/// # Errors
/// `Repair` says why not, `Malformed` that there is no root to check it by.
pub(super) fn check(bytes: &[u8], addressee: &Addressee<'_>) -> Result<RepairOrder, TrustError> {
    let order = RepairOrder::parse(bytes)?;
    let root: Signed<schema::Root> =
        serde_json::from_slice(addressee.root).map_err(|_| TrustError::Malformed {
            role: super::Role::Root,
        })?;
    let refuse = |reason| Err(TrustError::Repair(reason));
    if root.signed.verify_role(&order).is_err() {
        return refuse("it is not signed by enough of the keys of the targets");
    }
    let order = order.signed;
    if order.terminal != addressee.terminal {
        return refuse("it is for another terminal");
    }
    if order.version.get() <= addressee.last {
        return refuse("it was obeyed before");
    }
    if order.time < addressee.built_at || order.expires.duration_since(order.time) > LIFE_MAX {
        return refuse("its times are not possible");
    }
    // The clock is set right first; then the order's own times can be compared with it.
    if addressee.now < order.time || addressee.now >= order.expires {
        return refuse("the clock is not within its life; set the clock first");
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_order_is_refused() {
        let long = vec![b' '; ORDER_BYTES_MAX + 1];
        let targets =
            br#"{"signatures":[],"signed":{"_type":"targets","spec_version":"1.0","version":1,
            "expires":"2030-01-01T00:00:00Z","terminal":"x","time":"2029-12-31T00:00:00Z"}}"#;
        for bytes in [&b""[..], b"{}", &long, targets] {
            assert!(matches!(
                RepairOrder::parse(bytes),
                Err(TrustError::Repair(_))
            ));
        }
    }
}
