//! Both ends prove who they are: the platform by a certificate of the configured authority, the
//! terminal by its own. Whether a certificate is in force is judged by the platform's time as far
//! as it is known, because a terminal whose clock has stopped must still find home.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::ClientConfig;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, crypto};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use zeroize::Zeroizing;

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

/// What the client needs for mutual TLS.
///
/// # Errors
/// `Configuration` names the key of `kiosk.toml` whose file cannot be used.
pub(super) fn client_config(
    tls: &Tls,
    clock: &Arc<PlatformClock>,
) -> Result<ClientConfig, PlatformError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca, "tls.ca")? {
        roots
            .add(certificate)
            .map_err(|_| wrong("tls.ca", "a certificate authority in PEM"))?;
    }
    let chain = certificates(&tls.certificate, "tls.certificate")?;
    let key = Zeroizing::new(file(&tls.key, "tls.key")?);
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| wrong("tls.key", "a private key in PEM"))?;
    let provider = Arc::new(crypto::ring::default_provider());
    ClientConfig::builder_with_details(provider, Arc::new(BelievedTime(Arc::clone(clock))))
        .with_safe_default_protocol_versions()
        .map_err(|_| wrong("tls", "TLS 1.2 or 1.3"))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|_| wrong("tls.key", "the private key of tls.certificate"))
}

fn certificates(
    path: &Path,
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, PlatformError> {
    let bytes = file(path, key)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes)
        .take(CERTIFICATES_MAX)
        .collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| wrong(key, "a certificate in PEM"))
}

fn file(path: &Path, key: &'static str) -> Result<Vec<u8>, PlatformError> {
    use std::io::Read;
    let unreadable = |_| wrong(key, "a file that the terminal may read");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

fn wrong(key: &str, message: &'static str) -> PlatformError {
    PlatformError::Configuration {
        key: key.to_owned(),
        message,
    }
}
