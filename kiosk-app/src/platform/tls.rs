//! Both ends prove who they are: the platform by a certificate of the configured authority, the
//! terminal by its own. Whether a certificate is in force is judged by the platform's time as far
//! as it is known, because a terminal whose clock has stopped must still find home.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::{ClientConfig, ResolvesClientCert, WantsClientCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ConfigBuilder, RootCertStore, SignatureScheme, crypto};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use zeroize::Zeroizing;

use super::certificate::{CertificateError, Pair, Standing};
use super::error::PlatformError;
use super::time::PlatformClock;
use crate::clock;
use crate::config::Tls;

/// Largest certificate or key file; a chain of ten has 20 kB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most certificates of one file.
const CERTIFICATES_MAX: usize = 32;

/// The time as the check of certificates takes it.
#[derive(Debug)]
struct BelievedTime(Arc<PlatformClock>);

impl TimeProvider for BelievedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self
            .0
            .for_certificates(clock::now())
            .duration_since(Timestamp::UNIX_EPOCH);
        Duration::try_from(since)
            .ok()
            .map(UnixTime::since_unix_epoch)
    }
}

/// The certificate that the next connection shows, and the file that it stands in.
pub(super) struct OwnCertificate {
    /// Where certificate and key are one file, which a new certificate may take the place of.
    file: Option<PathBuf>,
    pair: Mutex<Pair>,
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate")
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

impl OwnCertificate {
    /// What it says of itself, if that can be read.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.pair().standing.clone()
    }

    /// Whether a new one can be put in its place.
    pub(super) fn is_renewable(&self) -> bool {
        self.file.is_some()
    }

    /// The file and what stands in it.
    pub(super) fn file(&self) -> io::Result<(&Path, Zeroizing<Vec<u8>>)> {
        let path = self.file.as_deref().ok_or(io::ErrorKind::NotFound)?;
        Ok((path, Zeroizing::new(read(path)?)))
    }

    /// Shows another one from the next connection on.
    pub(super) fn show(&self, pair: Pair) {
        *self.pair() = pair;
    }

    fn pair(&self) -> MutexGuard<'_, Pair> {
        self.pair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What the client needs for mutual TLS.
///
/// # Errors
/// `Configuration` names the key of `kiosk.toml` whose file cannot be used.
pub(super) fn client_config(
    tls: &Tls,
    clock: &Arc<PlatformClock>,
) -> Result<(ClientConfig, Arc<OwnCertificate>), PlatformError> {
    let roots = roots(&file(&tls.ca, "tls.ca")?)
        .ok_or_else(|| wrong("tls.ca", "a certificate authority in PEM"))?;
    let chain = Zeroizing::new(file(&tls.certificate, "tls.certificate")?);
    let key = Zeroizing::new(file(&tls.key, "tls.key")?);
    let pair = Pair::read(&chain, &key).map_err(|error| {
        if error == CertificateError::Malformed {
            wrong("tls.certificate", "a certificate in PEM")
        } else {
            wrong("tls.key", "the private key of tls.certificate, in PEM")
        }
    })?;
    let own = Arc::new(OwnCertificate {
        file: (tls.certificate == tls.key).then(|| tls.certificate.clone()),
        pair: Mutex::new(pair),
    });
    let config = builder(roots, clock)
        .ok_or_else(|| wrong("tls", "TLS 1.2 or 1.3"))?
        .with_client_cert_resolver(Arc::clone(&own) as Arc<dyn ResolvesClientCert>);
    Ok((config, own))
}

/// What a machine needs that has no certificate yet; `None` where no authority is named.
pub(super) fn enrolment_config(ca: &[u8], clock: &Arc<PlatformClock>) -> Option<ClientConfig> {
    Some(builder(roots(ca)?, clock)?.with_no_client_auth())
}

fn builder(
    roots: RootCertStore,
    clock: &Arc<PlatformClock>,
) -> Option<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let provider = Arc::new(crypto::ring::default_provider());
    let time = Arc::new(BelievedTime(Arc::clone(clock)));
    let builder = ClientConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()
        .ok()?;
    Some(builder.with_root_certificates(roots))
}

/// The authorities of a text in PEM; `None` where it names none, or one that cannot be used.
fn roots(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem).take(CERTIFICATES_MAX) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(roots)
}

fn file(path: &Path, key: &'static str) -> Result<Vec<u8>, PlatformError> {
    read(path).map_err(|_| wrong(key, "a file that the terminal may read"))
}

/// The bytes of a file, bounded.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn wrong(key: &str, message: &'static str) -> PlatformError {
    PlatformError::Configuration {
        key: key.to_owned(),
        message,
    }
}
