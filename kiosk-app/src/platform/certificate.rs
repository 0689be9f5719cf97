//! The terminal's own certificate and its private key, in one file, so that no power cut leaves one
//! of them without the other. A key is made here, is durable before it is spoken of, and never
//! leaves the machine. What comes from the platform is checked before it takes the place of
//! anything: it fits the key, names this terminal, and is in force.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use kiosk_sealing::write_private;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, crypto};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

/// Largest chain in PEM; the contract says 64 KiB.
const CHAIN_BYTES_MAX: usize = 64 * 1024;
/// Largest file of a key; one has some hundred bytes.
const KEY_BYTES_MAX: u64 = 16 * 1024;
/// Most certificates of a chain.
const CERTIFICATES_MAX: usize = 32;
/// Most names that a certificate is looked through for.
const NAMES_MAX: usize = 64;
/// Before the number of a terminal in the name of its certificate (`openapi.yaml`).
const NAME: &str = "urn:kiosk:terminal:";
/// The key that the next certificate is asked for, beside the file of the present one.
pub(super) const NEXT_KEY: &str = "next-key.pem";

/// Why a certificate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none, or too much.
    #[error("there is no certificate in PEM")]
    Malformed,
    /// It is not for our key.
    #[error("the certificate is not for this terminal's key")]
    OtherKey,
    /// It is not for our number.
    #[error("the certificate names another terminal")]
    OtherTerminal,
    /// It has ended, or has not begun.
    #[error("the certificate is not in force by this terminal's clock")]
    NotInForce,
    /// The authority that came with it did not sign it.
    #[error("the certificate does not lead to the authority that came with it")]
    OtherAuthority,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The terminal that it names, if it names one.
    pub terminal: Option<String>,
    /// Its first moment.
    pub not_before: Timestamp,
    /// Its last one.
    pub not_after: Timestamp,
}

impl Standing {
    /// Reads a certificate in DER; `None` for what is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        if der.len() > CHAIN_BYTES_MAX {
            return None;
        }
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let terminal = names.and_then(|names| {
            let mut names = names.value.general_names.iter().take(NAMES_MAX);
            names.find_map(|name| {
                if let GeneralName::URI(uri) = name {
                    uri.strip_prefix(NAME).map(str::to_owned)
                } else {
                    None
                }
            })
        });
        let validity = certificate.validity();
        let moment = |seconds| Timestamp::from_second(seconds).ok();
        Some(Self {
            terminal,
            not_before: moment(validity.not_before.timestamp())?,
            not_after: moment(validity.not_after.timestamp())?,
        })
    }
}

/// Reads the certificates of a text in PEM, the terminal's own first.
pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if pem.len() > CHAIN_BYTES_MAX {
        return Err(CertificateError::Malformed);
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem)
        .take(CERTIFICATES_MAX)
        .collect();
    chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(CertificateError::Malformed)
}

/// A chain with its key, and what it says of itself.
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// None where the certificate cannot be read beyond what TLS needs.
    pub(super) standing: Option<Standing>,
}

impl Pair {
    /// Puts them together; both in PEM, and possibly the same text.
    pub(super) fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, CertificateError> {
        let chain = chain(chain_pem)?;
        let standing = chain.first().and_then(|own| Standing::read(own));
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| CertificateError::OtherKey)?;
        let certified = CertifiedKey::from_der(chain, key, &crypto::ring::default_provider())
            .map_err(|_| CertificateError::OtherKey)?;
        Ok(Self {
            certified: Arc::new(certified),
            standing,
        })
    }
}

/// Puts a chain that the platform sent together with our key and checks that it is ours.
pub(super) fn accepted(
    chain_pem: &[u8],
    key_pem: &[u8],
    terminal: &str,
    now: Timestamp,
) -> Result<(Pair, Standing), CertificateError> {
    let pair = Pair::read(chain_pem, key_pem)?;
    let standing = pair.standing.clone().ok_or(CertificateError::Malformed)?;
    if standing.terminal.as_deref() != Some(terminal) {
        return Err(CertificateError::OtherTerminal);
    }
    if !(standing.not_before..standing.not_after).contains(&now) {
        return Err(CertificateError::NotInForce);
    }
    Ok((pair, standing))
}

/// Checks that a chain leads to an authority.
pub(super) fn leads_to(
    chain_pem: &[u8],
    ca_pem: &[u8],
    now: Timestamp,
) -> Result<(), CertificateError> {
    const OTHER: CertificateError = CertificateError::OtherAuthority;
    let mut roots = RootCertStore::empty();
    for certificate in chain(ca_pem)? {
        roots.add(certificate).map_err(|_| OTHER)?;
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|_| OTHER)?;
    let chain = chain(chain_pem)?;
    let (own, between) = chain.split_first().ok_or(CertificateError::Malformed)?;
    let since = u64::try_from(now.as_second()).map_err(|_| CertificateError::NotInForce)?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(since));
    verifier
        .verify_client_cert(own, between, now)
        .map(drop)
        .map_err(|_| OTHER)
}

/// The key that a certificate is asked for: the one of an earlier try, else a new one, which is
/// durable when this returns. Never the one of `present`, which a power cut may have left behind.
pub(super) fn next_key(directory: &Path, present: &[u8]) -> io::Result<Zeroizing<String>> {
    let path = directory.join(NEXT_KEY);
    if let Some(key) = read_key(&path)? {
        let is_used = present
            .windows(key.len())
            .any(|part| part == key.as_bytes());
        if !is_used && KeyPair::from_pem(&key).is_ok() {
            return Ok(key);
        }
    }
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let key = Zeroizing::new(key.serialize_pem());
    write_private(&path, key.as_bytes())?;
    Ok(key)
}

fn read_key(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    use io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Zeroizing::new(String::new());
    // One that is no text is as good as none.
    let is_read = file.take(KEY_BYTES_MAX).read_to_string(&mut text).is_ok();
    Ok(is_read.then_some(text))
}

/// A request for a certificate of a key (PKCS#10 in PEM), in the name of the terminal.
pub(super) fn request(key_pem: &str, terminal: &str) -> Result<String, rcgen::Error> {
    let key = KeyPair::from_pem(key_pem)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.remove(DnType::CommonName);
    parameters
        .distinguished_name
        .push(DnType::CommonName, terminal);
    parameters.serialize_request(&key)?.pem()
}

/// Makes key and chain the ones in force, at once and for good; the key of the try is then done.
pub(super) fn store(path: &Path, key_pem: &str, chain_pem: &str) -> io::Result<()> {
    let text = Zeroizing::new([key_pem.trim_end(), "\n", chain_pem].concat());
    write_private(path, text.as_bytes())?;
    let next = path.with_file_name(NEXT_KEY);
    if let Err(error) = std::fs::remove_file(next) {
        // It is known by its content and never used again.
        tracing::debug!(%error, "the key of the try stays");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedIssuer, IsCa, SanType, date_time_ymd};

    use super::*;

    /// An authority, and the chains it signs.
    struct Office(CertifiedIssuer<'static, KeyPair>);

    impl Office {
        fn new() -> Self {
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
        }

        fn ca(&self) -> String {
            self.0.pem()
        }

        /// In force from 2026 until a year.
        fn sign(&self, key_pem: &str, terminal: &str, until: i32) -> String {
            let mut parameters = CertificateParams::default();
            let name = format!("{NAME}{terminal}");
            parameters.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
            parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            parameters.not_before = date_time_ymd(2026, 1, 1);
            parameters.not_after = date_time_ymd(until, 1, 1);
            let key = KeyPair::from_pem(key_pem).unwrap();
            parameters.signed_by(&key, &self.0).unwrap().pem()
        }
    }

    fn now() -> Timestamp {
        "2026-11-22T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn only_a_certificate_of_our_key_our_number_and_our_time_is_taken() {
        let (office, other) = (Office::new(), Office::new());
        let directory = tempfile::tempdir().unwrap();
        let key = next_key(directory.path(), b"").unwrap();
        let strange = KeyPair::generate().unwrap().serialize_pem();
        let check = |chain: &str, expected: Option<CertificateError>| {
            let outcome = accepted(chain.as_bytes(), key.as_bytes(), "T001", now());
            assert_eq!(outcome.err(), expected);
        };
        let good = office.sign(&key, "T001", 2027);
        check(&good, None);
        check("", Some(CertificateError::Malformed));
        check(&good[..good.len() / 2], Some(CertificateError::Malformed));
        check(&" ".repeat(70_000), Some(CertificateError::Malformed));
        check(
            &office.sign(&strange, "T001", 2027),
            Some(CertificateError::OtherKey),
        );
        check(
            &office.sign(&key, "T002", 2027),
            Some(CertificateError::OtherTerminal),
        );
        check(
            &office.sign(&key, "T001", 2026),
            Some(CertificateError::NotInForce),
        );
        let leads = |ca: &Office| leads_to(good.as_bytes(), ca.ca().as_bytes(), now());
        assert_eq!(leads(&office), Ok(()));
        assert_eq!(leads(&other), Err(CertificateError::OtherAuthority));
    }

    #[test]
    fn a_key_is_kept_for_a_second_try_and_never_used_for_a_second_certificate() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NEXT_KEY);
        let first = next_key(directory.path(), b"").unwrap();
        assert_eq!(next_key(directory.path(), b"").unwrap(), first);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The power went between the new pair and the end of the try.
        let second = next_key(directory.path(), first.as_bytes()).unwrap();
        assert_ne!(first, second);
        std::fs::write(&path, b"\xFF half").unwrap();
        assert_ne!(next_key(directory.path(), b"").unwrap(), second);
    }

    #[test]
    fn one_file_holds_both_and_is_whole_after_every_step() {
        let office = Office::new();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("terminal.pem");
        for until in [2027, 2028] {
            let key = next_key(directory.path(), b"").unwrap();
            let chain = office.sign(&key, "T001", until);
            store(&path, &key, &chain).unwrap();
            let text = std::fs::read(&path).unwrap();
            let (_, standing) = accepted(&text, &text, "T001", now()).unwrap();
            assert_eq!(
                standing.not_after.to_string(),
                format!("{until}-01-01T00:00:00Z")
            );
            assert!(!directory.path().join(NEXT_KEY).exists());
        }
    }

    #[test]
    fn rubbish_is_no_certificate() {
        for bytes in [Vec::new(), b"\x30\x82".to_vec(), vec![0x30; 100_000]] {
            assert_eq!(Standing::read(&bytes), None);
        }
        let office = Office::new();
        let der = CertificateDer::from_pem_slice(office.ca().as_bytes()).unwrap();
        assert_eq!(Standing::read(&der).unwrap().terminal, None);
        for end in 0..der.len() {
            assert_eq!(Standing::read(&der[..end]), None, "{end}");
        }
    }
}
