//! Files of The Update Framework as an operator signs them: roots, targets, snapshots, timestamps and
//! orders of repair (theupdateframework.github.io/specification, 1.0). What is signed is the canonical
//! form, so that every reader checks the same bytes. The editor of `tough` wants the keys of all roles
//! in one place, which a ceremony avoids; so the files are made here. Nothing here reads files or
//! clocks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kiosk_sealing::{Algorithm, DeviceKey, PublicKey};
use kiosk_update::manifest::Sha256;
use olpc_cjson::CanonicalFormatter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Version of the specification that is followed.
const SPECIFICATION: &str = "1.0.31";

/// A role of the framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Says which keys count.
    Root,
    /// Says which files there are.
    Targets,
    /// Says which lists belong together.
    Snapshot,
    /// Says that this is still so.
    Timestamp,
}

impl Role {
    /// All of them, in the order of trust.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// Its name in the files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }
}

/// Why something cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// The key signs in another way.
    #[error(
        "releases are signed with Ed25519; this key is for {0}: make one with `kiosk-admin keys new`"
    )]
    OtherAlgorithm(Algorithm),
    /// The key signed it already.
    #[error("this key has signed it already")]
    SignedAlready,
    /// The key is not listed for the role.
    #[error("this key is not one of those of the {role}; `kiosk-admin repository show` lists them")]
    NotListed {
        /// The role.
        role: &'static str,
    },
    /// The key failed.
    #[error("the key cannot sign")]
    Key,
    /// It cannot be written in the canonical form.
    #[error("it cannot be written in the form that is signed")]
    Form,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Id of the key.
    pub keyid: String,
    /// The signature in hexadecimal digits.
    pub sig: String,
}

/// A file with its signatures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// What is signed.
    pub signed: Value,
    /// By whom.
    pub signatures: Vec<Signature>,
}

/// The keys of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: usize,
}

/// A file that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its length in bytes.
    pub length: u64,
    /// Its hash.
    pub sha256: Sha256,
}

impl Described {
    /// These bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len() as u64,
            sha256: Sha256::of(bytes),
        }
    }

    fn value(self) -> Value {
        json!({"length": self.length, "hashes": {"sha256": self.sha256.to_string()}})
    }
}

fn canonical(value: &Value) -> Result<Vec<u8>, TufError> {
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    value.serialize(&mut writer).map_err(|_| TufError::Form)?;
    Ok(bytes)
}

/// A key as a root lists it.
fn listed(key: &PublicKey) -> Value {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex(key.bytes())}})
}

/// Id of a key: the hash of what a root lists.
///
/// # Errors
/// `OtherAlgorithm`, `Form`.
pub fn key_id(key: &PublicKey) -> Result<String, TufError> {
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(TufError::OtherAlgorithm(key.algorithm()));
    }
    Ok(Sha256::of(&canonical(&listed(key))?).to_string())
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// What all files begin with.
fn begun(role: Role, version: u64, expires: Timestamp) -> Value {
    json!({
        "_type": role.word(),
        "spec_version": SPECIFICATION,
        "version": version,
        "expires": whole_second(expires).to_string(),
    })
}

/// The specification has no fractions of seconds.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A root that nobody has signed yet.
///
/// # Errors
/// `OtherAlgorithm`, `Form`.
pub fn root(
    version: u64,
    expires: Timestamp,
    roles: &BTreeMap<Role, Keys>,
) -> Result<Signed, TufError> {
    let mut keys = Map::new();
    let mut ids_by_role = Map::new();
    for (role, of_role) in roles {
        let mut ids = Vec::new();
        for key in &of_role.keys {
            let id = key_id(key)?;
            keys.insert(id.clone(), listed(key));
            ids.push(id);
        }
        let listed = json!({"keyids": ids, "threshold": of_role.threshold});
        ids_by_role.insert(role.word().to_owned(), listed);
    }
    let mut signed = begun(Role::Root, version, expires);
    signed["consistent_snapshot"] = json!(true);
    signed["keys"] = Value::Object(keys);
    signed["roles"] = Value::Object(ids_by_role);
    Ok(unsigned(signed))
}

/// The list of files, not signed yet.
pub fn targets(version: u64, expires: Timestamp, files: &BTreeMap<String, Described>) -> Signed {
    let mut signed = begun(Role::Targets, version, expires);
    signed["targets"] = files
        .iter()
        .map(|(name, file)| (name.clone(), file.value()))
        .collect::<Map<_, _>>()
        .into();
    unsigned(signed)
}

/// Which list of files counts, or which snapshot does, not signed yet.
pub fn pointer(
    role: Role,
    version: u64,
    expires: Timestamp,
    of: Role,
    of_version: u64,
    file: Described,
) -> Signed {
    let mut described = file.value();
    described["version"] = json!(of_version);
    let mut signed = begun(role, version, expires);
    let mut meta = Map::new();
    meta.insert(format!("{}.json", of.word()), described);
    signed["meta"] = Value::Object(meta);
    unsigned(signed)
}

/// Anything else that the framework's rules of signing apply to.
pub fn unsigned(signed: Value) -> Signed {
    Signed {
        signed,
        signatures: Vec::new(),
    }
}

impl Signed {
    /// Its version; 0 when it has none.
    pub fn version(&self) -> u64 {
        self.signed["version"].as_u64().unwrap_or(0)
    }

    /// When it ends.
    pub fn expires(&self) -> Option<Timestamp> {
        self.signed["expires"].as_str()?.parse().ok()
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// [`TufError`]; nothing is added then.
    pub fn sign(&mut self, key: &DeviceKey) -> Result<(), TufError> {
        let keyid = key_id(&key.public())?;
        if self.signatures.iter().any(|made| made.keyid == keyid) {
            return Err(TufError::SignedAlready);
        }
        let bytes = canonical(&self.signed)?;
        let sig = hex(&key.sign(&bytes).map_err(|_| TufError::Key)?);
        self.signatures.push(Signature { keyid, sig });
        Ok(())
    }

    /// The file as it is published.
    ///
    /// # Errors
    /// `Form`.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TufError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|_| TufError::Form)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Ids of the keys that this root lists for a role, and how many of them must sign.
    pub fn listed(&self, role: Role) -> (Vec<String>, usize) {
        let of_role = &self.signed["roles"][role.word()];
        let ids = of_role["keyids"].as_array().into_iter().flatten();
        let ids = ids.filter_map(Value::as_str).map(str::to_owned).collect();
        let threshold = of_role["threshold"].as_u64().unwrap_or(u64::MAX);
        (ids, usize::try_from(threshold).unwrap_or(usize::MAX))
    }

    /// The keys that this root lists for a role.
    pub fn keys(&self, role: Role) -> Option<Keys> {
        let (ids, threshold) = self.listed(role);
        let keys = ids
            .iter()
            .map(|id| {
                let digits = self.signed["keys"][id]["keyval"]["public"].as_str()?;
                public_key(digits)
            })
            .collect::<Option<_>>()?;
        Some(Keys { keys, threshold })
    }

    /// How many different keys of these have signed this file well.
    pub fn signers(&self, keys: &Keys) -> usize {
        let Ok(bytes) = canonical(&self.signed) else {
            return 0;
        };
        let has_signed = |key: &&PublicKey| {
            key_id(key).is_ok_and(|id| {
                self.signatures.iter().any(|made| {
                    made.keyid == id
                        && unhex(&made.sig).is_some_and(|made| key.verify(&bytes, &made))
                })
            })
        };
        keys.keys.iter().filter(has_signed).count()
    }
}

fn public_key(digits: &str) -> Option<PublicKey> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(unhex(digits)?);
    format!("{}:{text}", Algorithm::Ed25519).parse().ok()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DeviceKey {
        DeviceKey::generate(Algorithm::Ed25519).unwrap()
    }

    fn end() -> Timestamp {
        "2027-06-01T00:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn a_root_lists_its_keys_and_says_who_has_signed() {
        let (first, second, online) = (key(), key(), key());
        let keys = |keys: &[&DeviceKey], threshold| Keys {
            keys: keys.iter().map(|key| key.public()).collect(),
            threshold,
        };
        let roles = BTreeMap::from([
            (Role::Root, keys(&[&first, &second], 2)),
            (Role::Targets, keys(&[&first], 1)),
            (Role::Snapshot, keys(&[&online], 1)),
            (Role::Timestamp, keys(&[&online], 1)),
        ]);
        let mut root = root(1, end(), &roles).unwrap();
        for role in Role::ALL {
            assert_eq!(root.keys(role).as_ref(), roles.get(&role), "{role:?}");
        }
        assert_eq!(root.signed["expires"], "2027-06-01T00:00:00Z");
        root.sign(&first).unwrap();
        assert!(matches!(root.sign(&first), Err(TufError::SignedAlready)));
        assert_eq!(root.signers(&roles[&Role::Root]), 1);
        // The same signature again, under the other key's id, is none of the other key.
        let copied = Signature {
            keyid: key_id(&second.public()).unwrap(),
            ..root.signatures[0].clone()
        };
        root.signatures.push(copied);
        assert_eq!(root.signers(&roles[&Role::Root]), 1);
        root.signatures.pop();
        root.sign(&second).unwrap();
        assert_eq!(root.signers(&roles[&Role::Root]), 2);
        root.signed["version"] = json!(2);
        assert_eq!(root.signers(&roles[&Role::Root]), 0);
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let key = DeviceKey::generate(Algorithm::Sm2).unwrap();
        let mut file = targets(1, end(), &BTreeMap::new());
        let refused = file.sign(&key);
        assert!(matches!(
            refused,
            Err(TufError::OtherAlgorithm(Algorithm::Sm2))
        ));
        assert!(file.signatures.is_empty());
    }
}
