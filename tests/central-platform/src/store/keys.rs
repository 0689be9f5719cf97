//! Keys: those that terminals sign with, those that payloads are sealed to, and the files of the
//! platform's own signing keys, which every instance on one database shares. An old sealing key
//! is kept for ever: something sealed to it may lie on a terminal that comes back next year.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use kiosk_sealing::{PublicKey, RecipientSecret, SealingError, Suite, open, write_private};

use super::{Store, StoreError};
use crate::database::{Database, Value};

/// Most sealing keys that are tried; a rotation a month for eight years.
const SECRETS_MAX: i64 = 100;
/// Most keys of one terminal; a new one comes with a new mainboard.
const TERMINAL_KEYS_MAX: i64 = 16;
/// Purpose of the keys that payloads are sealed to.
const SEALING: &str = "sealing";

/// The secrets that open what terminals seal.
pub(super) struct Secrets {
    /// Oldest first.
    all: Vec<RecipientSecret>,
}

impl Secrets {
    /// Reads the secrets; makes the first one, or one of the suite that is configured now.
    pub(super) fn open(
        database: &mut Database,
        suite: Suite,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let all = database.transaction(|database| {
            let all = read(database)?;
            let is_current = |secret: &RecipientSecret| secret.public().suite() == suite;
            if all.last().is_some_and(is_current) {
                return Ok::<_, StoreError>(all);
            }
            insert(database, suite, now)?;
            read(database)
        })?;
        Ok(Self { all })
    }

    /// Opens an envelope; reads the secrets again when another instance may have made a new one.
    pub(super) fn open_envelope(
        &mut self,
        database: &mut Database,
        context: &[u8],
        envelope: &[u8],
    ) -> Result<Result<Vec<u8>, SealingError>, StoreError> {
        let mut opened = open(&self.all, context, envelope);
        if matches!(opened, Err(SealingError::UnknownKey { .. })) {
            self.all = read(database)?;
            opened = open(&self.all, context, envelope);
        }
        Ok(opened.map(|plain| plain.to_vec()))
    }
}

fn read(database: &mut Database) -> Result<Vec<RecipientSecret>, StoreError> {
    let rows = database.query(
        "SELECT secret FROM platform_key WHERE purpose = ?1 ORDER BY position LIMIT ?2",
        &[Value::Text(SEALING), Value::Integer(SECRETS_MAX)],
    )?;
    rows.iter()
        .map(|row| {
            let text = std::str::from_utf8(row.blob(0)?).map_err(|_| StoreError::Key)?;
            text.parse().map_err(|_| StoreError::Key)
        })
        .collect()
}

fn insert(database: &mut Database, suite: Suite, now: Timestamp) -> Result<(), StoreError> {
    let secret = RecipientSecret::generate(suite).map_err(|_| StoreError::Key)?;
    let text = secret.to_text();
    insert_secret(database, SEALING, text.as_bytes(), now)
}

fn insert_secret(
    database: &mut Database,
    purpose: &str,
    secret: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO platform_key (purpose, secret, made_at) VALUES (?1, ?2, ?3)",
        &[
            Value::Text(purpose),
            Value::Blob(secret),
            Value::Text(&now.to_string()),
        ],
    )?;
    Ok(())
}

impl Store {
    /// The key that terminals seal to now.
    pub(crate) fn sealing_key(&mut self) -> Result<String, StoreError> {
        self.secrets.all = read(&mut self.database)?;
        let newest = self.secrets.all.last().ok_or(StoreError::Key)?;
        Ok(newest.public().to_string())
    }

    /// Makes a new key to seal to; every desired state becomes a newer one, which tells it.
    pub(crate) fn rotate_sealing_key(&mut self, now: Timestamp) -> Result<String, StoreError> {
        let suite = match self.secrets.all.last() {
            Some(newest) => newest.public().suite(),
            None => return Err(StoreError::Key),
        };
        self.database.transaction(|database| {
            insert(database, suite, now)?;
            database.execute(
                "UPDATE desired_state SET version = version + 1, issued_at = ?1",
                &[Value::Text(&now.to_string())],
            )?;
            Ok::<_, StoreError>(())
        })?;
        self.sealing_key()
    }

    /// Opens a key that lies in a file and that all instances on this database share: the first
    /// one made is everybody's. `open` reads the file, and makes it when there is none.
    ///
    /// # Errors
    /// `Key` when the directory holds another platform's key: it is kept, and nothing is signed
    /// with either.
    pub(crate) fn shared_key<K>(
        &mut self,
        purpose: &'static str,
        path: &Path,
        now: Timestamp,
        open: impl Fn() -> Result<K, StoreError>,
    ) -> Result<K, StoreError> {
        let is_new = !path.exists();
        if is_new && let Some(shared) = shared(&mut self.database, purpose)? {
            write_private(path, &shared)?;
        }
        let key = open()?;
        let mine = fs::read(path)?;
        let everybodys = self.database.transaction(|database| {
            if let Some(shared) = shared(database, purpose)? {
                return Ok::<_, StoreError>(shared);
            }
            insert_secret(database, purpose, &mine, now)?;
            Ok(mine.clone())
        })?;
        if everybodys == mine {
            return Ok(key);
        }
        if !is_new {
            return Err(StoreError::Key);
        }
        // Two instances began at once; nothing was signed with this one's key yet.
        write_private(path, &everybodys)?;
        open()
    }

    /// The keys of a terminal.
    pub(crate) fn terminal_keys(&mut self, terminal: &str) -> Result<Vec<PublicKey>, StoreError> {
        let rows = self.database.query(
            "SELECT public_key FROM terminal_key WHERE terminal = ?1 AND is_retired = 0
             ORDER BY enrolled_at LIMIT ?2",
            &[Value::Text(terminal), Value::Integer(TERMINAL_KEYS_MAX)],
        )?;
        rows.iter()
            .map(|row| row.text(0)?.parse().map_err(|_| StoreError::Key))
            .collect()
    }

    /// Notes a key of a terminal, by an official's act.
    pub(crate) fn register(
        &mut self,
        terminal: &str,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        enroll(&mut self.database, terminal, key, "registered", now)
    }

    /// Notes the key of a terminal that nobody knew before; false when it has a key already.
    pub(crate) fn enroll_first(
        &mut self,
        terminal: &str,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.database.transaction(|database| {
            let known = database.query_one(
                "SELECT key_id FROM terminal_key WHERE terminal = ?1 LIMIT 1",
                &[Value::Text(terminal)],
            )?;
            if let Some(known) = known {
                return Ok(known.text(0)? == key.key_id());
            }
            enroll(database, terminal, key, "first-use", now)?;
            Ok(true)
        })
    }

    /// Notes a nonce of a terminal; false when it was used before. Nonces from before
    /// `oldest_s` are forgotten: a request that old is stale anyway.
    pub(crate) fn use_nonce(
        &mut self,
        terminal: &str,
        nonce: &str,
        created_s: i64,
        oldest_s: i64,
    ) -> Result<bool, StoreError> {
        self.database.transaction(|database| {
            database.execute(
                "DELETE FROM nonce WHERE created_s < ?1",
                &[Value::Integer(oldest_s)],
            )?;
            let added = database.execute(
                "INSERT INTO nonce (terminal, nonce, created_s) VALUES (?1, ?2, ?3)
                 ON CONFLICT (terminal, nonce) DO NOTHING",
                &[
                    Value::Text(terminal),
                    Value::Text(nonce),
                    Value::Integer(created_s),
                ],
            )?;
            Ok(added == 1)
        })
    }
}

pub(super) fn enroll(
    database: &mut Database,
    terminal: &str,
    key: &PublicKey,
    how: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO terminal_key (terminal, key_id, public_key, enrolled, enrolled_at)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (terminal, key_id) DO UPDATE
         SET is_retired = 0",
        &[
            Value::Text(terminal),
            Value::Text(&key.key_id()),
            Value::Text(&key.to_string()),
            Value::Text(how),
            Value::Text(&now.to_string()),
        ],
    )?;
    Ok(())
}

fn shared(database: &mut Database, purpose: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let row = database.query_one(
        "SELECT secret FROM platform_key WHERE purpose = ?1 ORDER BY position LIMIT 1",
        &[Value::Text(purpose)],
    )?;
    row.map(|row| Ok(row.blob(0)?.to_vec())).transpose()
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::{Algorithm, DeviceKey};

    use super::*;
    use crate::Config;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        (directory, store)
    }

    #[test]
    fn only_the_first_key_of_a_terminal_is_believed_unseen() {
        let (_directory, mut store) = store();
        let key = || DeviceKey::generate(Algorithm::Ed25519).unwrap().public();
        let (first, second) = (key(), key());
        assert!(store.enroll_first("T1", &first, NOW).unwrap());
        assert!(store.enroll_first("T1", &first, NOW).unwrap());
        assert!(!store.enroll_first("T1", &second, NOW).unwrap());
        store.register("T1", &second, NOW).unwrap();
        assert_eq!(store.terminal_keys("T1").unwrap().len(), 2);
        assert!(store.terminal_keys("T2").unwrap().is_empty());
    }

    #[test]
    fn a_nonce_is_good_once_a_terminal() {
        let (_directory, mut store) = store();
        assert!(store.use_nonce("T1", "n", 1000, 0).unwrap());
        assert!(!store.use_nonce("T1", "n", 1000, 0).unwrap());
        assert!(store.use_nonce("T2", "n", 1000, 0).unwrap());
        // Forgotten only when it is too old to be fresh.
        assert!(store.use_nonce("T1", "n", 1000, 1001).unwrap());
    }

    #[test]
    fn another_suite_in_the_configuration_makes_a_key_of_it() {
        let (directory, mut store) = store();
        assert!(store.sealing_key().unwrap().starts_with("intl:"));
        drop(store);
        let config = Config {
            suite: Suite::Gm,
            ..Config::default()
        };
        let mut store = Store::open(directory.path(), &config, NOW).unwrap();
        assert!(store.sealing_key().unwrap().starts_with("gm:"));
    }

    #[test]
    fn a_key_file_of_another_platform_is_kept_and_refused() {
        let (directory, mut store) = store();
        let path = directory.path().join("key");
        let make = |content: &'static [u8]| {
            let path = path.clone();
            move || {
                if !path.exists() {
                    write_private(&path, content)?;
                }
                Ok(fs::read(&path)?)
            }
        };
        let mut open = |content| store.shared_key("command", &path, NOW, make(content));
        assert_eq!(open(b"one").unwrap(), b"one");
        assert_eq!(open(b"two").unwrap(), b"one");
        fs::remove_file(&path).unwrap();
        assert_eq!(open(b"two").unwrap(), b"one");
        fs::write(&path, b"three").unwrap();
        assert!(matches!(open(b"two"), Err(StoreError::Key)));
        assert_eq!(fs::read(&path).unwrap(), b"three");
    }
}
