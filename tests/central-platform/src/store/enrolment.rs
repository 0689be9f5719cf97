//! Codes that make machines terminals, the terminals that there are, and which of them and of
//! their certificates count no more. A code is used once, in one commit with the terminal, its key
//! and its certificate; the same machine that asks again with it has the same answer.

use jiff::Timestamp;
use kiosk_sealing::PublicKey;
use serde::Serialize;

use super::keys::enroll;
use super::standing::{place_of, set_place};
use super::{ROWS_MAX, Store, StoreError};
use crate::authority::Issued;
use crate::database::{Database, Row, Value};
use crate::enrolment::code::Code;
use crate::standing::Place;

/// Wrong codes after which nobody is asked for a while. Chosen: a hurried person's, and of no use
/// against 60 bits.
const WRONG_MAX: i64 = 5;
/// How long that while is, in seconds.
const LOCKED_S: i64 = 15 * 60;

/// What a machine shows to become a terminal.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) terminal: &'a str,
    pub(crate) code: &'a Code,
    /// Digest of the key that its certificate is for.
    pub(crate) csr_key: &'a str,
    /// Its key that signs requests.
    pub(crate) device_key: &'a PublicKey,
}

/// What an enrolled terminal is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) certificate: String,
    pub(crate) not_after: String,
    pub(crate) region: String,
    pub(crate) site: String,
}

/// Why a machine does not become a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such code, or it is another terminal's.
    Wrong,
    /// It was used with other keys.
    Used,
    /// It is too old.
    Expired,
    /// There were too many wrong ones.
    Locked,
}

/// A code or a terminal as an administrator sees it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EnrolmentRow {
    terminal: String,
    region: String,
    site: String,
    installed_on: String,
    target: u32,
    /// `open`, `used`, `expired`, `locked` or `revoked`.
    state: &'static str,
    made_at: String,
    expires_at: String,
    /// Empty until it is used.
    used_at: String,
    /// End of the newest certificate; empty without one.
    certificate_until: String,
    /// Why it was revoked, or restored, last; empty when it never was.
    reason: String,
}

/// A stored code.
struct Kept {
    salt: Vec<u8>,
    digest: Vec<u8>,
    expires_s: i64,
    wrong: i64,
    wrong_s: i64,
    used_at: String,
    csr_key: String,
    device_key: String,
    certificate: String,
    not_after: String,
}

impl Store {
    /// Keeps a code for a terminal, and where it stands; a code that it had before counts no more.
    pub(crate) fn add_code(
        &mut self,
        place: &Place,
        salt: &[u8],
        digest: &[u8],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.database.transaction(|database| {
            set_place(database, place)?;
            drop_code(database, &place.terminal)?;
            database.execute(
                "INSERT INTO enrolment (terminal, salt, code_digest, made_at, expires_at, expires_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                &[
                    Value::Text(&place.terminal),
                    Value::Blob(salt),
                    Value::Blob(digest),
                    Value::Text(&now.to_string()),
                    Value::Text(&expires_at.to_string()),
                    Value::Integer(expires_at.as_second()),
                ],
            )?;
            Ok(())
        })
    }

    /// Makes a machine a terminal, if its code is good. `issue` signs its certificate and may be
    /// called several times. Keys and certificates that the terminal had before count no more: a
    /// number stands for one machine. One that was taken out of service is in it again.
    pub(crate) fn admit(
        &mut self,
        candidate: &Candidate<'_>,
        now: Timestamp,
        mut issue: impl FnMut() -> Result<Issued, StoreError>,
    ) -> Result<Result<Admission, Refusal>, StoreError> {
        self.database.transaction(|database| {
            let Some(kept) = kept(database, candidate.terminal)? else {
                return Ok(Err(Refusal::Wrong));
            };
            if let Err(refusal) = judge(database, &kept, candidate, now)? {
                return Ok(Err(refusal));
            }
            let Place { region, site, .. } = place_of(database, candidate.terminal)?;
            if !kept.used_at.is_empty() {
                return Ok(Ok(Admission {
                    certificate: kept.certificate,
                    not_after: kept.not_after,
                    region,
                    site,
                }));
            }
            let issued = issue()?;
            take_in(database, candidate, &issued, now)?;
            Ok(Ok(Admission {
                certificate: issued.chain,
                not_after: issued.not_after.to_string(),
                region,
                site,
            }))
        })
    }

    /// Notes a certificate that follows an earlier one.
    pub(crate) fn note_certificate(
        &mut self,
        terminal: &str,
        issued: &Issued,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database.transaction(|database| {
            note_certificate(database, terminal, issued, now)?;
            database.execute(
                "UPDATE installation SET certificate_until = ?2 WHERE terminal = ?1",
                &[
                    Value::Text(terminal),
                    Value::Text(&issued.not_after.to_string()),
                ],
            )?;
            Ok(())
        })
    }

    /// Whether a terminal, or a certificate by its serial number, counts no more. Either may be
    /// empty for none.
    pub(crate) fn is_revoked(&mut self, terminal: &str, serial: &str) -> Result<bool, StoreError> {
        let row = self.database.query_one(
            "SELECT terminal FROM installation WHERE terminal = ?1 AND is_revoked = 1
             UNION ALL SELECT terminal FROM certificate WHERE serial = ?2 AND is_retired = 1 LIMIT 1",
            &[Value::Text(terminal), Value::Text(serial)],
        )?;
        Ok(row.is_some())
    }

    /// Takes a terminal out of service, or back into it. A code that was handed out before does not
    /// bring it back.
    pub(crate) fn set_revoked(
        &mut self,
        terminal: &str,
        is_revoked: bool,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database.transaction(|database| {
            if is_revoked {
                drop_code(database, terminal)?;
            }
            database.execute(
                "INSERT INTO installation (terminal, enrolled_at, certificate_until, is_revoked,
                     reason, changed_at)
                 VALUES (?1, '', '', ?2, ?3, ?4) ON CONFLICT (terminal) DO UPDATE
                 SET is_revoked = excluded.is_revoked, reason = excluded.reason,
                     changed_at = excluded.changed_at",
                &[
                    Value::Text(terminal),
                    Value::Integer(is_revoked.into()),
                    Value::Text(reason),
                    Value::Text(&now.to_string()),
                ],
            )?;
            Ok(())
        })
    }

    /// Every code and every terminal that was revoked, by terminal.
    pub(crate) fn enrolments(&mut self, now: Timestamp) -> Result<Vec<EnrolmentRow>, StoreError> {
        let rows = self.database.query(
            "SELECT k.terminal, COALESCE(p.region, ''), COALESCE(p.site, ''),
                    COALESCE(p.installed_on, ''), COALESCE(p.target, 0), COALESCE(e.made_at, ''),
                    COALESCE(e.expires_at, ''), COALESCE(e.expires_s, 0), COALESCE(e.used_at, ''),
                    COALESCE(e.wrong, 0), COALESCE(e.wrong_s, 0),
                    COALESCE(i.certificate_until, ''), COALESCE(i.is_revoked, 0),
                    COALESCE(i.reason, '')
             FROM (SELECT terminal FROM enrolment UNION SELECT terminal FROM installation) k
             LEFT JOIN enrolment e ON e.terminal = k.terminal
             LEFT JOIN installation i ON i.terminal = k.terminal
             LEFT JOIN terminal_place p ON p.terminal = k.terminal
             ORDER BY k.terminal LIMIT ?1",
            &[Value::Integer(ROWS_MAX)],
        )?;
        rows.iter().map(|row| enrolment_row(row, now)).collect()
    }
}

fn enrolment_row(row: &Row, now: Timestamp) -> Result<EnrolmentRow, StoreError> {
    let used_at = row.text(8)?;
    let is_used = !used_at.is_empty() || row.text(5)?.is_empty();
    let state = if row.integer(12)? == 1 {
        "revoked"
    } else if is_used {
        "used"
    } else if now.as_second() >= row.integer(7)? {
        "expired"
    } else if is_locked(row.integer(9)?, row.integer(10)?, now) {
        "locked"
    } else {
        "open"
    };
    Ok(EnrolmentRow {
        terminal: row.text(0)?,
        region: row.text(1)?,
        site: row.text(2)?,
        installed_on: row.text(3)?,
        target: row.small(4)?,
        state,
        made_at: row.text(5)?,
        expires_at: row.text(6)?,
        used_at,
        certificate_until: row.text(11)?,
        reason: row.text(13)?,
    })
}

fn kept(database: &mut Database, terminal: &str) -> Result<Option<Kept>, StoreError> {
    let row = database.query_one(
        "SELECT salt, code_digest, expires_s, wrong, wrong_s, used_at, csr_key, device_key,
                certificate, not_after
         FROM enrolment WHERE terminal = ?1",
        &[Value::Text(terminal)],
    )?;
    row.map(|row| {
        Ok(Kept {
            salt: row.blob(0)?.to_vec(),
            digest: row.blob(1)?.to_vec(),
            expires_s: row.integer(2)?,
            wrong: row.integer(3)?,
            wrong_s: row.integer(4)?,
            used_at: row.text(5)?,
            csr_key: row.text(6)?,
            device_key: row.text(7)?,
            certificate: row.text(8)?,
            not_after: row.text(9)?,
        })
    })
    .transpose()
}

fn is_locked(wrong: i64, wrong_s: i64, now: Timestamp) -> bool {
    wrong >= WRONG_MAX && now.as_second() < wrong_s.saturating_add(LOCKED_S)
}

/// Whether the code is good for this machine; a wrong one is counted.
fn judge(
    database: &mut Database,
    kept: &Kept,
    candidate: &Candidate<'_>,
    now: Timestamp,
) -> Result<Result<(), Refusal>, StoreError> {
    if is_locked(kept.wrong, kept.wrong_s, now) {
        return Ok(Err(Refusal::Locked));
    }
    let terminal = candidate.terminal;
    if !candidate.code.is(&kept.salt, terminal, &kept.digest) {
        // After a lock the count begins anew.
        let wrong = if kept.wrong >= WRONG_MAX {
            1
        } else {
            kept.wrong + 1
        };
        database.execute(
            "UPDATE enrolment SET wrong = ?2, wrong_s = ?3 WHERE terminal = ?1",
            &[
                Value::Text(terminal),
                Value::Integer(wrong),
                Value::Integer(now.as_second()),
            ],
        )?;
        return Ok(Err(Refusal::Wrong));
    }
    if kept.used_at.is_empty() {
        let is_good = now.as_second() < kept.expires_s;
        return Ok(if is_good {
            Ok(())
        } else {
            Err(Refusal::Expired)
        });
    }
    let is_same =
        kept.csr_key == candidate.csr_key && kept.device_key == candidate.device_key.to_string();
    Ok(if is_same { Ok(()) } else { Err(Refusal::Used) })
}

/// The code is used up; the terminal, its key and its certificate take the place of earlier ones.
fn take_in(
    database: &mut Database,
    candidate: &Candidate<'_>,
    issued: &Issued,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (terminal, at) = (candidate.terminal, now.to_string());
    let (key, until) = (
        candidate.device_key.to_string(),
        issued.not_after.to_string(),
    );
    database.execute(
        "UPDATE enrolment SET used_at = ?2, csr_key = ?3, device_key = ?4, certificate = ?5,
             not_after = ?6, wrong = 0 WHERE terminal = ?1",
        &[
            Value::Text(terminal),
            Value::Text(&at),
            Value::Text(candidate.csr_key),
            Value::Text(&key),
            Value::Text(&issued.chain),
            Value::Text(&until),
        ],
    )?;
    database.execute(
        "INSERT INTO installation (terminal, enrolled_at, certificate_until, is_revoked, reason,
             changed_at)
         VALUES (?1, ?2, ?3, 0, '', ?2) ON CONFLICT (terminal) DO UPDATE
         SET enrolled_at = excluded.enrolled_at, certificate_until = excluded.certificate_until,
             is_revoked = 0, reason = '', changed_at = excluded.changed_at",
        &[Value::Text(terminal), Value::Text(&at), Value::Text(&until)],
    )?;
    database.execute(
        "UPDATE terminal_key SET is_retired = 1 WHERE terminal = ?1",
        &[Value::Text(terminal)],
    )?;
    enroll(database, terminal, candidate.device_key, "registered", now)?;
    database.execute(
        "UPDATE certificate SET is_retired = 1 WHERE terminal = ?1",
        &[Value::Text(terminal)],
    )?;
    note_certificate(database, terminal, issued, now)
}

fn drop_code(database: &mut Database, terminal: &str) -> Result<(), StoreError> {
    database.execute(
        "DELETE FROM enrolment WHERE terminal = ?1",
        &[Value::Text(terminal)],
    )?;
    Ok(())
}

fn note_certificate(
    database: &mut Database,
    terminal: &str,
    issued: &Issued,
    now: Timestamp,
) -> Result<(), StoreError> {
    // What has ended is refused by its date.
    database.execute(
        "DELETE FROM certificate WHERE terminal = ?1 AND until_s < ?2",
        &[Value::Text(terminal), Value::Integer(now.as_second())],
    )?;
    database.execute(
        "INSERT INTO certificate (serial, terminal, until_s, is_retired) VALUES (?1, ?2, ?3, 0)",
        &[
            Value::Text(&issued.serial),
            Value::Text(terminal),
            Value::Integer(issued.not_after.as_second()),
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use jiff::SignedDuration;
    use kiosk_sealing::{Algorithm, DeviceKey};

    use super::*;
    use crate::Config;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

    struct Bench {
        store: Store,
        code: Code,
        key: PublicKey,
        issued: Cell<u32>,
        _directory: tempfile::TempDir,
    }

    fn key() -> PublicKey {
        DeviceKey::generate(Algorithm::Ed25519).unwrap().public()
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut bench = Self {
                store: Store::open(directory.path(), &Config::default(), NOW).unwrap(),
                code: Code::generate().unwrap(),
                key: key(),
                issued: Cell::new(0),
                _directory: directory,
            };
            bench.give_code(NOW);
            bench
        }

        fn give_code(&mut self, now: Timestamp) {
            self.code = Code::generate().unwrap();
            let place = Place {
                terminal: "T1".to_owned(),
                region: "测试市/测试县/测试镇/测试村".to_owned(),
                site: "测试村党群服务中心".to_owned(),
                installed_on: "2026-11-22".to_owned(),
                target: 500,
            };
            let digest = self.code.digest(b"salt", "T1");
            self.store
                .add_code(&place, b"salt", &digest, now, now + WEEK)
                .unwrap();
        }

        fn ask(
            &mut self,
            terminal: &str,
            code: &Code,
            csr_key: &str,
            now: Timestamp,
        ) -> Result<Admission, Refusal> {
            let candidate = Candidate {
                terminal,
                code,
                csr_key,
                device_key: &self.key,
            };
            let issued = &self.issued;
            self.store
                .admit(&candidate, now, || {
                    issued.set(issued.get() + 1);
                    Ok(Issued {
                        chain: format!("certificate {}", issued.get()),
                        not_after: now + WEEK,
                        serial: format!("{:02x}", issued.get()),
                    })
                })
                .unwrap()
        }

        fn good(&mut self, csr_key: &str, now: Timestamp) -> Result<Admission, Refusal> {
            let code = self.code.clone();
            self.ask("T1", &code, csr_key, now)
        }

        fn state(&mut self, now: Timestamp) -> &'static str {
            self.store.enrolments(now).unwrap()[0].state
        }
    }

    #[test]
    fn a_code_is_used_once_and_the_same_machine_hears_the_same_again() {
        let mut bench = Bench::new();
        assert_eq!(bench.state(NOW), "open");
        let first = bench.good("a", NOW).unwrap();
        assert_eq!(
            (first.certificate.as_str(), first.site.as_str()),
            ("certificate 1", "测试村党群服务中心")
        );
        assert_eq!(bench.good("a", NOW + WEEK + WEEK).unwrap(), first);
        assert_eq!(bench.good("b", NOW), Err(Refusal::Used));
        bench.key = key();
        assert_eq!(bench.good("a", NOW), Err(Refusal::Used));
        assert_eq!((bench.issued.get(), bench.state(NOW)), (1, "used"));
        assert_eq!(bench.store.terminal_keys("T1").unwrap().len(), 1);
    }

    #[test]
    fn a_code_ends_after_a_week() {
        let mut bench = Bench::new();
        assert_eq!(bench.state(NOW + WEEK), "expired");
        assert_eq!(bench.good("a", NOW + WEEK), Err(Refusal::Expired));
        let just = NOW + WEEK - SignedDuration::from_secs(1);
        assert!(bench.good("a", just).is_ok());
    }

    #[test]
    fn five_wrong_codes_lock_for_a_while_and_a_new_code_opens_again() {
        let mut bench = Bench::new();
        let wrong = Code::generate().unwrap();
        for _ in 0..5 {
            assert_eq!(bench.ask("T1", &wrong, "a", NOW), Err(Refusal::Wrong));
        }
        assert_eq!(bench.good("a", NOW), Err(Refusal::Locked));
        assert_eq!(bench.state(NOW), "locked");
        let later = NOW + SignedDuration::from_secs(LOCKED_S);
        // One more wrong one does not lock at once.
        assert_eq!(bench.ask("T1", &wrong, "a", later), Err(Refusal::Wrong));
        assert!(bench.good("a", later).is_ok());
        bench.give_code(NOW);
        assert_eq!(bench.state(NOW), "open");
        // Nobody else's terminal was ever touched.
        assert_eq!(bench.ask("T2", &wrong, "a", NOW), Err(Refusal::Wrong));
    }

    #[test]
    fn a_new_enrolment_retires_the_keys_and_certificates_before_it() {
        let mut bench = Bench::new();
        bench.good("a", NOW).unwrap();
        let (old, new) = (bench.key.clone(), key());
        bench.give_code(NOW);
        bench.key = new.clone();
        bench.good("b", NOW).unwrap();
        assert_eq!(bench.store.terminal_keys("T1").unwrap(), [new]);
        assert!(bench.store.is_revoked("", "01").unwrap());
        assert!(!bench.store.is_revoked("T1", "02").unwrap());
        // An administrator who knows better has the last word.
        bench.store.register("T1", &old, NOW).unwrap();
        assert_eq!(bench.store.terminal_keys("T1").unwrap().len(), 2);
    }

    #[test]
    fn a_revoked_terminal_comes_back_by_order_or_by_a_code_that_was_made_since() {
        let mut bench = Bench::new();
        bench.store.set_revoked("T1", true, "被盗", NOW).unwrap();
        assert_eq!(bench.state(NOW), "revoked");
        assert!(bench.store.is_revoked("T1", "").unwrap());
        assert!(!bench.store.is_revoked("T2", "").unwrap());
        assert_eq!(bench.good("a", NOW), Err(Refusal::Wrong), "an old code");
        bench.store.set_revoked("T1", false, "", NOW).unwrap();
        assert!(!bench.store.is_revoked("T1", "").unwrap());
        bench.give_code(NOW);
        bench.good("a", NOW).unwrap();
        bench.store.set_revoked("T1", true, "被盗", NOW).unwrap();
        bench.give_code(NOW);
        assert!(bench.store.is_revoked("T1", "").unwrap(), "not used yet");
        bench.key = key();
        bench.good("b", NOW).unwrap();
        assert!(!bench.store.is_revoked("T1", "02").unwrap());
        assert!(
            bench.store.is_revoked("T1", "01").unwrap(),
            "the stolen one"
        );
        // One that was never enrolled is shown too.
        bench.store.set_revoked("T0", true, "", NOW).unwrap();
        let rows = bench.store.enrolments(NOW).unwrap();
        assert_eq!(
            (rows.len(), rows[0].state, rows[1].target),
            (2, "revoked", 500)
        );
    }
}
