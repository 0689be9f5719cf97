//! A small repository with keys of its own, written and signed by hand, so that it can also be
//! wrong in every way that the client has to notice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use kiosk_update::trust::sha256;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Map, Value, json};

/// Roles in the order of the specification.
pub(crate) const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// When the tests play.
pub(crate) fn now() -> Timestamp {
    "2027-01-15T03:00:00Z".parse().unwrap()
}

/// Days after that.
pub(crate) fn day(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

/// A key, named by its seed.
pub(crate) fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// The public part as a root lists it.
pub(crate) fn public(seed: u8) -> Value {
    json!({
        "keytype": "ed25519",
        "scheme": "ed25519",
        "keyval": {"public": hex(key(seed).public_key().as_ref())},
    })
}

/// Id of a public key.
pub(crate) fn key_id(public: &Value) -> String {
    hex(&sha256(&canonical(public)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Canonical JSON of what these tests sign: numbers, and text without control characters.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let members: Vec<Vec<u8>> = sorted
                .into_iter()
                .map(|(name, value)| {
                    let mut member = serde_json::to_vec(name).unwrap();
                    member.push(b':');
                    member.extend(canonical(value));
                    member
                })
                .collect();
            [&b"{"[..], &members.join(&b','), b"}"].concat()
        }
        Value::Array(values) => {
            let values: Vec<Vec<u8>> = values.iter().map(canonical).collect();
            [&b"["[..], &values.join(&b','), b"]"].concat()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            serde_json::to_vec(value).unwrap()
        }
    }
}

/// Signs with the keys of these seeds, each under its own id.
pub(crate) fn sign(signed: &Value, seeds: &[u8]) -> Value {
    let content = canonical(signed);
    let signatures: Vec<Value> = seeds
        .iter()
        .map(|seed| {
            json!({
                "keyid": key_id(&public(*seed)),
                "sig": hex(key(*seed).sign(&content).as_ref()),
            })
        })
        .collect();
    json!({"signed": signed, "signatures": signatures})
}

/// A repository on the disk, with `metadata/` and `targets/`.
pub(crate) struct Repository {
    directory: tempfile::TempDir,
    /// Seeds of the keys that are listed, and how many must sign.
    pub(crate) keys: BTreeMap<&'static str, (Vec<u8>, u64)>,
    /// Seeds of the keys that sign.
    pub(crate) signers: BTreeMap<&'static str, Vec<u8>>,
    /// Versions of what is published next.
    pub(crate) versions: BTreeMap<&'static str, u64>,
    /// Ends of life of what is published next.
    pub(crate) expires: BTreeMap<&'static str, Timestamp>,
    /// Further keys of the next root, by role.
    pub(crate) more_keys: Vec<(&'static str, Value)>,
    targets: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// One that is published: root 1 (two of three keys), and version 1 of the others.
    pub(crate) fn new() -> Self {
        let mut repository = Self::empty();
        repository.publish_root();
        repository.release("release.json", br#"{"version":"1.0.0"}"#);
        repository
    }

    /// One in which nothing is published.
    pub(crate) fn empty() -> Self {
        let repository = Self {
            directory: tempfile::tempdir().unwrap(),
            keys: BTreeMap::from([
                ("root", (vec![1, 2, 3], 2)),
                ("timestamp", (vec![4], 1)),
                ("snapshot", (vec![5], 1)),
                ("targets", (vec![6, 7], 2)),
            ]),
            signers: BTreeMap::from([
                ("root", vec![1, 2]),
                ("timestamp", vec![4]),
                ("snapshot", vec![5]),
                ("targets", vec![6, 7]),
            ]),
            versions: ROLES.into_iter().map(|role| (role, 0)).collect(),
            expires: BTreeMap::from([
                ("root", day(730)),
                ("timestamp", day(30)),
                ("snapshot", day(180)),
                ("targets", day(180)),
            ]),
            more_keys: Vec::new(),
            targets: BTreeMap::new(),
        };
        fs::create_dir(repository.path().join("metadata")).unwrap();
        fs::create_dir(repository.path().join("targets")).unwrap();
        fs::create_dir(repository.path().join("chunks")).unwrap();
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn metadata(&self, name: &str) -> PathBuf {
        self.path().join("metadata").join(name)
    }

    pub(crate) fn write(&self, name: &str, file: &Value) -> Vec<u8> {
        let bytes = serde_json::to_vec_pretty(file).unwrap();
        fs::write(self.metadata(name), &bytes).unwrap();
        bytes
    }

    /// The content of the next root.
    pub(crate) fn root(&self) -> Value {
        let mut keys = Map::new();
        let mut roles = Map::new();
        for role in ROLES {
            let (seeds, threshold) = &self.keys[role];
            let more = self.more_keys.iter().filter(|(of, _)| *of == role);
            let listed: Vec<Value> = seeds
                .iter()
                .map(|seed| public(*seed))
                .chain(more.map(|(_, key)| key.clone()))
                .collect();
            let ids: Vec<String> = listed.iter().map(key_id).collect();
            keys.extend(ids.iter().cloned().zip(listed));
            roles.insert(
                role.to_owned(),
                json!({"keyids": ids, "threshold": threshold}),
            );
        }
        json!({
            "_type": "root",
            "spec_version": "1.0.31",
            "version": self.versions["root"],
            "expires": self.expires["root"].to_string(),
            "consistent_snapshot": true,
            "keys": keys,
            "roles": roles,
        })
    }

    /// Publishes the next root.
    pub(crate) fn publish_root(&mut self) -> Vec<u8> {
        let version = self.next("root");
        let root = sign(&self.root(), &self.signers["root"]);
        self.write(&format!("{version}.root.json"), &root)
    }

    /// The root of a version.
    pub(crate) fn root_bytes(&self, version: u64) -> Vec<u8> {
        fs::read(self.metadata(&format!("{version}.root.json"))).unwrap()
    }

    /// Adds a file and publishes it.
    pub(crate) fn release(&mut self, name: &str, content: &[u8]) {
        self.add(name, content);
        self.publish_targets();
    }

    /// Adds a file to what is published next.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) {
        let hash = hex(&sha256(content));
        let path = match name.rsplit_once('/') {
            Some((folder, file)) => format!("{folder}/{hash}.{file}"),
            None => format!("{hash}.{name}"),
        };
        let path = self.path().join("targets").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self.targets.insert(name.to_owned(), content.to_vec());
    }

    pub(crate) fn publish_targets(&mut self) {
        let version = self.next("targets");
        let mut targets = self.signed("targets", version);
        targets["targets"] = Value::Object(
            self.targets
                .iter()
                .map(|(name, content)| (name.clone(), Self::described(content)))
                .collect(),
        );
        let file = sign(&targets, &self.signers["targets"]);
        self.write(&format!("{version}.targets.json"), &file);
        self.publish_snapshot();
    }

    fn described(content: &[u8]) -> Value {
        json!({
            "length": content.len(),
            "hashes": {"sha256": hex(&sha256(content))},
            "custom": {"kind": "release"},
        })
    }

    pub(crate) fn publish_snapshot(&mut self) {
        let version = self.next("snapshot");
        let mut snapshot = self.signed("snapshot", version);
        snapshot["meta"] = self.meta("targets");
        let file = sign(&snapshot, &self.signers["snapshot"]);
        self.write(&format!("{version}.snapshot.json"), &file);
        self.publish_timestamp();
    }

    pub(crate) fn publish_timestamp(&mut self) {
        let version = self.next("timestamp");
        let mut timestamp = self.signed("timestamp", version);
        timestamp["meta"] = self.meta("snapshot");
        let file = sign(&timestamp, &self.signers["timestamp"]);
        self.write("timestamp.json", &file);
    }

    fn signed(&self, role: &str, version: u64) -> Value {
        json!({
            "_type": role,
            "spec_version": "1.0.31",
            "version": version,
            "expires": self.expires[role].to_string(),
        })
    }

    /// What one file says of the newest of another.
    fn meta(&self, role: &str) -> Value {
        let version = self.versions[role];
        let bytes = fs::read(self.metadata(&format!("{version}.{role}.json"))).unwrap();
        let mut meta = json!({});
        meta[format!("{role}.json")] = json!({
            "version": version,
            "length": bytes.len(),
            "hashes": {"sha256": hex(&sha256(&bytes))},
        });
        meta
    }

    fn next(&mut self, role: &'static str) -> u64 {
        let version = self.versions.get_mut(role).unwrap();
        *version += 1;
        *version
    }

    /// Gives a role one other key and publishes the root that says so.
    pub(crate) fn rotate(&mut self, role: &'static str, seed: u8) {
        self.keys.insert(role, (vec![seed], 1));
        self.signers.insert(role, vec![seed]);
        self.publish_root();
    }

    /// A copy as an attacker or a cache keeps it.
    pub(crate) fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for part in ["metadata", "targets"] {
            fs::create_dir(copy.path().join(part)).unwrap();
            for entry in fs::read_dir(self.path().join(part)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), copy.path().join(part).join(entry.file_name())).unwrap();
            }
        }
        copy
    }
}
