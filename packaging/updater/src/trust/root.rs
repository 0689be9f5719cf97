//! What the checks of our own need of a root: which keys count for which role. Signatures are not
//! its business. Reads bytes from outside: bounded, and never panics.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Role;
use super::outline::sha256_text;

/// Most keys of a root, and most key ids of a role. Chosen: five people have ten.
const KEYS_MAX: usize = 256;

/// The keys of a root, by role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeys {
    keys: BTreeMap<String, String>,
    roles: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Envelope {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    keys: BTreeMap<String, Key>,
    roles: BTreeMap<String, RoleKeys>,
}

#[derive(Deserialize)]
struct Key {
    keyval: KeyValue,
}

#[derive(Deserialize)]
struct KeyValue {
    public: String,
}

#[derive(Deserialize)]
struct RoleKeys {
    keyids: Vec<String>,
}

impl RootKeys {
    /// Reads the keys of a root; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let Envelope { signed } = serde_json::from_slice(bytes).ok()?;
        let is_bounded = signed.keys.len() <= KEYS_MAX
            && signed.roles.len() <= KEYS_MAX
            && signed
                .roles
                .values()
                .all(|role| role.keyids.len() <= KEYS_MAX);
        is_bounded.then(|| Self {
            keys: signed
                .keys
                .into_iter()
                .map(|(id, key)| (id, plain(&key.keyval.public)))
                .collect(),
            roles: signed
                .roles
                .into_iter()
                .map(|(name, role)| (name, role.keyids))
                .collect(),
        })
    }

    /// Names the keys of the roles that are signed online. Other keys, another name.
    pub(super) fn online(&self) -> String {
        let mut text = String::new();
        for name in ["timestamp", "snapshot"] {
            let ids: BTreeSet<&String> = self.roles.get(name).into_iter().flatten().collect();
            text.push_str(name);
            for id in ids {
                text.push(' ');
                text.push_str(id);
            }
            text.push('\n');
        }
        sha256_text(text.as_bytes())
    }

    /// A role in which one key stands under two ids. Its one holder would count as two people.
    pub(super) fn doubled(&self) -> Option<Role> {
        let roles = [
            ("root", Role::Root),
            ("timestamp", Role::Timestamp),
            ("snapshot", Role::Snapshot),
            ("targets", Role::Targets),
        ];
        roles.into_iter().find_map(|(name, role)| {
            let ids: BTreeSet<&String> = self.roles.get(name).into_iter().flatten().collect();
            let known: Vec<&String> = ids.iter().filter_map(|id| self.keys.get(*id)).collect();
            let distinct: BTreeSet<&&String> = known.iter().collect();
            (distinct.len() < known.len()).then_some(role)
        })
    }
}

/// A public key without what may differ in its writing.
fn plain(public: &str) -> String {
    if public.starts_with("-----") {
        return public.split_whitespace().collect();
    }
    public.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(keys: &[(&str, &str)], targets: &[&str], timestamp: &str) -> RootKeys {
        let keys: serde_json::Map<String, serde_json::Value> = keys
            .iter()
            .map(|(id, public)| {
                (
                    (*id).to_owned(),
                    serde_json::json!({"keyval": {"public": public}}),
                )
            })
            .collect();
        let root = serde_json::json!({"signed": {"keys": keys, "roles": {
            "targets": {"keyids": targets}, "timestamp": {"keyids": [timestamp]},
            "snapshot": {"keyids": []}
        }}});
        RootKeys::parse(root.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn one_key_under_two_ids_is_found() {
        let keys = [("1", "AB"), ("2", "ab"), ("3", "cd")];
        assert_eq!(root(&keys, &["1", "2"], "3").doubled(), Some(Role::Targets));
        assert_eq!(root(&keys, &["1", "3"], "2").doubled(), None);
        // The same id twice counts once anyway.
        assert_eq!(root(&keys, &["1", "1"], "3").doubled(), None);
    }

    #[test]
    fn other_online_keys_have_another_name() {
        let keys = [("1", "ab"), ("2", "cd")];
        let name = |timestamp| root(&keys, &["1"], timestamp).online();
        assert_eq!(name("1"), name("1"));
        assert_ne!(name("1"), name("2"));
    }

    #[test]
    fn what_is_no_root_is_none() {
        for bytes in [
            &b""[..],
            b"{}",
            br#"{"signed":{"keys":{},"roles":{"root":{}}}}"#,
        ] {
            assert_eq!(RootKeys::parse(bytes), None);
        }
    }
}
