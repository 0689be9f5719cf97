//! What a terminal says of itself in a QR symbol: what it runs, what it was found to be able to do
//! and where its log stands, signed by its key and valid for a day.
//!
//! Whoever checks it needs the terminal's public key and no network. Here is no clock: the caller
//! says what time it is. Nothing in it is about a person. Texts begin with `KR1:`.

use crate::cbor::{Reader, Writer};
use crate::cose::{self, Message, Refusal};
use crate::{DeviceKey, FormatError, KeyError, PublicKey};

/// Longest text that is looked at, in bytes. Chosen: a certificate with the largest fields has 1924.
pub const TEXT_BYTES_MAX: usize = 2048;
/// Longest life of a certificate, in seconds: a day.
pub const LIFE_S_MAX: i64 = 24 * 3600;
/// How far a certificate may lie in the future, in seconds. Chosen: a terminal without a network
/// and the telephone of whoever checks differ by some minutes.
pub const SKEW_S_MAX: i64 = 600;
/// Most open faults that are named; `is_ready` stands for all.
pub const FAULTS_MAX: usize = 16;
/// Longest code of a fault, in bytes.
pub const FAULT_BYTES_MAX: usize = 48;
/// Longest name of a site, in bytes.
pub const SITE_BYTES_MAX: usize = 96;
/// Longest version of the program, in bytes.
pub const PROGRAM_BYTES_MAX: usize = 32;

const PREFIX: &str = "KR1:";
const DOMAIN: &str = "kiosk.readiness.v1";
const FIELDS: usize = 16;
/// Longest number of a terminal in bytes; as in permissions.
const TERMINAL_BYTES_MAX: usize = crate::unlock::TERMINAL_BYTES_MAX;

/// What a terminal says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Number of the terminal, 1 to 32 bytes.
    pub terminal: String,
    /// Where it stands, at most [`SITE_BYTES_MAX`] bytes.
    pub site: String,
    /// When it says so, in seconds since 1970 by the terminal's clock.
    pub issued_at_s: i64,
    /// Until when it may be believed; at most [`LIFE_S_MAX`] later.
    pub valid_until_s: i64,
    /// Version of the program, 1 to [`PROGRAM_BYTES_MAX`] bytes.
    pub program: String,
    /// SHA-256 of the installed program.
    pub program_digest: [u8; 32],
    /// SHA-256 of the configuration.
    pub configuration_digest: [u8; 32],
    /// SHA-256 of the items.
    pub items_digest: [u8; 32],
    /// SHA-256 of the outcomes in their canonical form, as the report has them.
    pub report_digest: [u8; 32],
    /// Tests that passed.
    pub passed: u16,
    /// Tests that failed.
    pub failed: u16,
    /// Tests that were not run.
    pub not_run: u16,
    /// Codes of open faults, at most [`FAULTS_MAX`] of at most [`FAULT_BYTES_MAX`] bytes.
    pub open_faults: Vec<String>,
    /// Last entry of the audit log.
    pub audit_sequence: u64,
    /// Hash of that entry.
    pub audit_head: [u8; 32],
    /// Whether the terminal holds itself ready for a day.
    pub is_ready: bool,
}

/// Why a certificate was not signed or not believed.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Longer than any certificate; not looked at.
    #[error("{bytes} letters are more than a certificate has ({bytes_max})")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// Longest length in bytes.
        bytes_max: usize,
    },
    /// It cannot be read: mistyped, cut short, or no certificate.
    #[error("the certificate is not in order: {0}")]
    Malformed(#[from] FormatError),
    /// There is no such key for this terminal among those given. Ask for the list of terminals.
    #[error("no key {key_id} is known for terminal {terminal}")]
    UnknownTerminal {
        /// The terminal that it names.
        terminal: String,
        /// The key that it names.
        key_id: String,
    },
    /// The header names another algorithm than the key has.
    #[error("it names another way of signing than the terminal's key has")]
    OtherAlgorithm,
    /// The signature does not fit.
    #[error("the signature does not fit: it was altered, or is no certificate")]
    Forged,
    /// It is older than it may be.
    #[error("it is over: it was valid for a day at most")]
    Expired,
    /// It lies in the future.
    #[error("it is dated in the future: one of the two clocks is wrong")]
    NotYetValid,
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl CertificateError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "certificate.too-long",
            Self::Malformed(_) => "certificate.malformed",
            Self::UnknownTerminal { .. } => "certificate.unknown-terminal",
            Self::OtherAlgorithm | Self::Forged => "certificate.forged",
            Self::Expired => "certificate.expired",
            Self::NotYetValid => "certificate.not-yet-valid",
            Self::Key(error) => error.code(),
        }
    }
}

impl Readiness {
    /// Signs it with the terminal's key; the text begins with `KR1:`.
    ///
    /// # Errors
    /// `Malformed` when a field is out of its bounds; `Key`.
    pub fn sign(&self, key: &DeviceKey) -> Result<String, CertificateError> {
        self.check()?;
        let bytes = cose::sign(key, DOMAIN, &self.payload(), None)?;
        Ok(write_text(&bytes))
    }

    fn payload(&self) -> Vec<u8> {
        let mut payload = Writer::new();
        payload
            .map(FIELDS)
            .uint(1)
            .text(&self.terminal)
            .uint(2)
            .text(&self.site)
            .uint(3)
            .uint(self.issued_at_s.cast_unsigned())
            .uint(4)
            .uint(self.valid_until_s.cast_unsigned())
            .uint(5)
            .text(&self.program)
            .uint(6)
            .bytes(&self.program_digest)
            .uint(7)
            .bytes(&self.configuration_digest)
            .uint(8)
            .bytes(&self.items_digest)
            .uint(9)
            .bytes(&self.report_digest)
            .uint(10)
            .uint(self.passed.into())
            .uint(11)
            .uint(self.failed.into())
            .uint(12)
            .uint(self.not_run.into())
            .uint(13)
            .array(self.open_faults.len());
        for fault in &self.open_faults {
            payload.text(fault);
        }
        payload
            .uint(14)
            .uint(self.audit_sequence)
            .uint(15)
            .bytes(&self.audit_head)
            .uint(16)
            .bool(self.is_ready);
        payload.finish()
    }

    fn read(payload: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::default();
        let mut reader = Reader::new(payload);
        reader.map(FIELDS, |field, reader| fields.read(field, reader))?;
        reader.end()?;
        let readiness = fields.whole()?;
        readiness.check()?;
        Ok(readiness)
    }

    /// The bounds of its fields, when it is written and when it is read.
    fn check(&self) -> Result<(), FormatError> {
        let is_plain = |text: &str, bytes_max: usize| {
            text.len() <= bytes_max && !text.chars().any(char::is_control)
        };
        let is_word = |text: &str, bytes_max: usize| {
            !text.is_empty()
                && text.len() <= bytes_max
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let life_s = self.valid_until_s.saturating_sub(self.issued_at_s);
        let has_faults = self.open_faults.len() <= FAULTS_MAX
            && self
                .open_faults
                .iter()
                .all(|fault| is_word(fault, FAULT_BYTES_MAX));
        for (is_in_bounds, field) in [
            (is_word(&self.terminal, TERMINAL_BYTES_MAX), "terminal"),
            (is_plain(&self.site, SITE_BYTES_MAX), "site"),
            (is_word(&self.program, PROGRAM_BYTES_MAX), "program"),
            (self.issued_at_s >= 0, "issued at"),
            ((1..=LIFE_S_MAX).contains(&life_s), "valid until"),
            (has_faults, "open faults"),
        ] {
            if !is_in_bounds {
                return Err(FormatError::OutOfRange { field });
            }
        }
        Ok(())
    }
}

/// Fields of a certificate that were read so far.
#[derive(Default)]
struct Fields {
    terminal: Option<String>,
    site: Option<String>,
    issued_at_s: Option<i64>,
    valid_until_s: Option<i64>,
    program: Option<String>,
    program_digest: Option<[u8; 32]>,
    configuration_digest: Option<[u8; 32]>,
    items_digest: Option<[u8; 32]>,
    report_digest: Option<[u8; 32]>,
    passed: Option<u16>,
    failed: Option<u16>,
    not_run: Option<u16>,
    open_faults: Option<Vec<String>>,
    audit_sequence: Option<u64>,
    audit_head: Option<[u8; 32]>,
    is_ready: Option<bool>,
}

impl Fields {
    fn read(&mut self, field: i64, reader: &mut Reader<'_>) -> Result<(), FormatError> {
        fn time(reader: &mut Reader<'_>, field: &'static str) -> Result<i64, FormatError> {
            i64::try_from(reader.uint()?).map_err(|_| FormatError::OutOfRange { field })
        }
        fn count(reader: &mut Reader<'_>) -> Result<u16, FormatError> {
            u16::try_from(reader.uint()?).map_err(|_| FormatError::OutOfRange { field: "tests" })
        }
        match field {
            1 => self.terminal = Some(reader.text()?.to_owned()),
            2 => self.site = Some(reader.text()?.to_owned()),
            3 => self.issued_at_s = Some(time(reader, "issued at")?),
            4 => self.valid_until_s = Some(time(reader, "valid until")?),
            5 => self.program = Some(reader.text()?.to_owned()),
            6 => self.program_digest = Some(reader.exactly("program digest")?),
            7 => self.configuration_digest = Some(reader.exactly("configuration digest")?),
            8 => self.items_digest = Some(reader.exactly("items digest")?),
            9 => self.report_digest = Some(reader.exactly("report digest")?),
            10 => self.passed = Some(count(reader)?),
            11 => self.failed = Some(count(reader)?),
            12 => self.not_run = Some(count(reader)?),
            13 => {
                let mut faults = Vec::new();
                for _ in 0..reader.array(FAULTS_MAX, "open faults")? {
                    faults.push(reader.text()?.to_owned());
                }
                self.open_faults = Some(faults);
            }
            14 => self.audit_sequence = Some(reader.uint()?),
            15 => self.audit_head = Some(reader.exactly("audit head")?),
            16 => self.is_ready = Some(reader.bool()?),
            _ => return Err(FormatError::UnknownField),
        }
        Ok(())
    }

    fn whole(self) -> Result<Readiness, FormatError> {
        let missing = |field| FormatError::MissingField { field };
        Ok(Readiness {
            terminal: self.terminal.ok_or(missing("terminal"))?,
            site: self.site.ok_or(missing("site"))?,
            issued_at_s: self.issued_at_s.ok_or(missing("issued at"))?,
            valid_until_s: self.valid_until_s.ok_or(missing("valid until"))?,
            program: self.program.ok_or(missing("program"))?,
            program_digest: self.program_digest.ok_or(missing("program digest"))?,
            configuration_digest: self
                .configuration_digest
                .ok_or(missing("configuration digest"))?,
            items_digest: self.items_digest.ok_or(missing("items digest"))?,
            report_digest: self.report_digest.ok_or(missing("report digest"))?,
            passed: self.passed.ok_or(missing("passed"))?,
            failed: self.failed.ok_or(missing("failed"))?,
            not_run: self.not_run.ok_or(missing("not run"))?,
            open_faults: self.open_faults.ok_or(missing("open faults"))?,
            audit_sequence: self.audit_sequence.ok_or(missing("audit sequence"))?,
            audit_head: self.audit_head.ok_or(missing("audit head"))?,
            is_ready: self.is_ready.ok_or(missing("is ready"))?,
        })
    }
}

/// The text of a certificate that was just signed; the bounds of its fields keep it short enough.
fn write_text(bytes: &[u8]) -> String {
    let text = cose::to_text(PREFIX, bytes);
    assert!(
        text.len() <= TEXT_BYTES_MAX,
        "fields within their bounds fit"
    );
    text
}

/// Checks a certificate with the key that `find_key` has for the terminal and the id it names.
///
/// # Errors
/// [`CertificateError`]; nothing of it is to be believed.
pub fn verify(
    text: &str,
    find_key: impl FnOnce(&str, &str) -> Option<PublicKey>,
    now_s: i64,
) -> Result<Readiness, CertificateError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(CertificateError::TooLong {
            bytes: text.len(),
            bytes_max: TEXT_BYTES_MAX,
        });
    }
    let bytes = cose::from_text(PREFIX, text)?;
    let message = Message::parse(&bytes)?;
    if message.delegation.is_some() {
        return Err(FormatError::UnknownHeader.into());
    }
    let readiness = Readiness::read(message.payload)?;
    let unknown = || CertificateError::UnknownTerminal {
        terminal: readiness.terminal.clone(),
        key_id: message.key_id(),
    };
    let key = find_key(&readiness.terminal, &message.key_id()).ok_or_else(unknown)?;
    message
        .verify(&key, DOMAIN)
        .map_err(|refusal| match refusal {
            Refusal::OtherKey => unknown(),
            Refusal::OtherAlgorithm => CertificateError::OtherAlgorithm,
            Refusal::Forged => CertificateError::Forged,
        })?;
    if readiness.issued_at_s > now_s.saturating_add(SKEW_S_MAX) {
        return Err(CertificateError::NotYetValid);
    }
    if now_s > readiness.valid_until_s {
        return Err(CertificateError::Expired);
    }
    Ok(readiness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2];
    const NOW_S: i64 = 1_795_311_660;

    fn readiness() -> Readiness {
        Readiness {
            terminal: "T001".to_owned(),
            site: "测试村".to_owned(),
            issued_at_s: NOW_S - 60,
            valid_until_s: NOW_S - 60 + LIFE_S_MAX,
            program: "0.1.0".to_owned(),
            program_digest: [1; 32],
            configuration_digest: [2; 32],
            items_digest: [3; 32],
            report_digest: [4; 32],
            passed: 21,
            failed: 1,
            not_run: 2,
            open_faults: vec!["printer.media-empty".to_owned()],
            audit_sequence: 4711,
            audit_head: [5; 32],
            is_ready: false,
        }
    }

    fn check(text: &str, key: &PublicKey) -> Result<Readiness, CertificateError> {
        let find = |terminal: &str, key_id: &str| {
            (terminal == "T001" && key_id == key.key_id()).then(|| key.clone())
        };
        verify(text, find, NOW_S)
    }

    fn refused(text: &str, key: &PublicKey) -> &'static str {
        check(text, key).unwrap_err().code()
    }

    /// A text of a payload that is signed, whatever it holds.
    fn signed(key: &DeviceKey, domain: &str, payload: &[u8]) -> String {
        cose::to_text(PREFIX, &cose::sign(key, domain, payload, None).unwrap())
    }

    #[test]
    fn a_certificate_is_believed_with_the_key_of_its_terminal() {
        for algorithm in ALGORITHMS {
            let key = DeviceKey::generate(algorithm).unwrap();
            let text = readiness().sign(&key).unwrap();
            assert!(text.len() < 512, "{}", text.len());
            assert_eq!(check(&text, &key.public()).unwrap(), readiness());
        }
    }

    #[test]
    fn the_largest_certificate_is_a_text_that_is_looked_at() {
        let largest = Readiness {
            terminal: "T".repeat(TERMINAL_BYTES_MAX),
            site: "村".repeat(SITE_BYTES_MAX / 3),
            issued_at_s: i64::MAX - LIFE_S_MAX,
            valid_until_s: i64::MAX,
            program: "1".repeat(PROGRAM_BYTES_MAX),
            passed: u16::MAX,
            failed: u16::MAX,
            not_run: u16::MAX,
            open_faults: vec!["f".repeat(FAULT_BYTES_MAX); FAULTS_MAX],
            audit_sequence: u64::MAX,
            ..readiness()
        };
        let key = DeviceKey::generate(Algorithm::Sm2).unwrap();
        let text = largest.sign(&key).unwrap();
        let read = verify(&text, |_, _| Some(key.public()), i64::MAX).unwrap();
        assert_eq!(read, largest);
        assert!(TEXT_BYTES_MAX - text.len() < 128, "{}", text.len());
    }

    #[test]
    fn fields_out_of_their_bounds_are_neither_signed_nor_read() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let changes: [fn(&mut Readiness); 10] = [
            |readiness| readiness.terminal = String::new(),
            |readiness| readiness.terminal = "T 1".to_owned(),
            |readiness| readiness.terminal = "T".repeat(33),
            |readiness| readiness.site = "\n".to_owned(),
            |readiness| readiness.site = "x".repeat(97),
            |readiness| readiness.program = String::new(),
            |readiness| readiness.valid_until_s = readiness.issued_at_s,
            |readiness| readiness.valid_until_s += 1,
            |readiness| readiness.open_faults = vec!["a.b".to_owned(); 17],
            |readiness| readiness.open_faults = vec!["x".repeat(49)],
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut altered = readiness();
            change(&mut altered);
            assert!(altered.sign(&key).is_err(), "{index}");
            let text = signed(&key, DOMAIN, &altered.payload());
            assert_eq!(
                refused(&text, &key.public()),
                "certificate.malformed",
                "{index}"
            );
        }
    }

    #[test]
    fn every_altered_letter_and_every_cut_is_refused() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let text = readiness().sign(&key).unwrap();
        for index in 0..text.len() {
            assert!(check(&text[..index], &key.public()).is_err(), "{index}");
            for letter in [b'0', b'A', b'Z'] {
                let mut altered = text.clone().into_bytes();
                if altered[index] == letter {
                    continue;
                }
                altered[index] = letter;
                let altered = String::from_utf8(altered).unwrap();
                assert!(check(&altered, &key.public()).is_err(), "{index}");
            }
        }
        assert_eq!(
            refused(&format!("{text}00"), &key.public()),
            "certificate.malformed"
        );
        assert_eq!(
            refused(&text.repeat(10), &key.public()),
            "certificate.too-long"
        );
    }

    #[test]
    fn a_certificate_holds_for_its_day_only() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let text = readiness().sign(&key).unwrap();
        let at = |now_s| {
            verify(&text, |_, _| Some(key.public()), now_s)
                .map_or_else(|error| error.code(), |_| "valid")
        };
        let (from_s, until_s) = (readiness().issued_at_s, readiness().valid_until_s);
        assert_eq!(at(from_s - SKEW_S_MAX - 1), "certificate.not-yet-valid");
        assert_eq!(at(from_s - SKEW_S_MAX), "valid");
        assert_eq!(at(until_s), "valid");
        assert_eq!(at(until_s + 1), "certificate.expired");
        assert_eq!(at(i64::MIN), "certificate.not-yet-valid");
        assert_eq!(at(i64::MAX), "certificate.expired");
    }

    #[test]
    fn strangers_and_words_of_another_kind_are_refused() {
        let (key, stranger) = (
            DeviceKey::generate(Algorithm::Ed25519).unwrap(),
            DeviceKey::generate(Algorithm::Ed25519).unwrap(),
        );
        let public = key.public();
        let theirs = readiness().sign(&stranger).unwrap();
        assert_eq!(refused(&theirs, &public), "certificate.unknown-terminal");
        // A list that answers with another key than was asked for.
        let error = verify(&theirs, |_, _| Some(public.clone()), NOW_S).unwrap_err();
        assert_eq!(error.code(), "certificate.unknown-terminal");
        let elsewhere = Readiness {
            terminal: "T002".to_owned(),
            ..readiness()
        };
        let elsewhere = elsewhere.sign(&key).unwrap();
        assert_eq!(refused(&elsewhere, &public), "certificate.unknown-terminal");
        for domain in ["kiosk.unlock.v1", "kiosk.delegation.v1", ""] {
            let text = signed(&key, domain, &readiness().payload());
            assert_eq!(refused(&text, &public), "certificate.forged", "{domain}");
        }
        let carrying = cose::sign(&key, DOMAIN, &readiness().payload(), Some(b"")).unwrap();
        let carrying = cose::to_text(PREFIX, &carrying);
        assert_eq!(refused(&carrying, &public), "certificate.malformed");
        // The id of our key over a stranger's signature.
        let bytes = cose::from_text(PREFIX, &theirs).unwrap();
        let at = bytes
            .windows(8)
            .position(|window| window == stranger.public().key_id_bytes())
            .unwrap();
        let mut swapped = bytes.clone();
        swapped[at..at + 8].copy_from_slice(&public.key_id_bytes());
        let swapped = cose::to_text(PREFIX, &swapped);
        assert_eq!(refused(&swapped, &public), "certificate.forged");
    }

    #[test]
    fn fields_that_are_missing_doubled_or_unknown_are_refused() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let payload = readiness().payload();
        assert_eq!(payload[0], 0xb0);
        // The last field, 10 F4, is left out, doubled, or another one follows.
        let cut = &payload[..payload.len() - 2];
        for (head, tail) in [
            (0xaf, &[][..]),
            (0xb0, &[0x0e, 0]),
            (0xb0, &[0x0f, 0]),
            (0xb0, &[0x11, 0]),
            (0xb0, &[0x10, 0xf4, 0]),
            (0xbf, &[0x10, 0xf4, 0xff]),
        ] {
            let payload = [&[head][..], &cut[1..], tail].concat();
            let text = signed(&key, DOMAIN, &payload);
            assert_eq!(refused(&text, &key.public()), "certificate.malformed");
        }
        let text = signed(&key, DOMAIN, &payload);
        assert_eq!(check(&text, &key.public()).unwrap(), readiness());
    }
}
