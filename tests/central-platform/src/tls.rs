//! TLS of the platform: its certificate, and who may connect. Also a set of certificates for
//! tests, good and bad ones, so that a terminal can be tried against each.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::name_of;
use crate::config::Tls;

/// Why certificates cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not the PEM it should be.
    #[error("{} holds no usable certificate or key in PEM", path.display())]
    Pem {
        /// Which one.
        path: PathBuf,
    },
    /// Certificate and key do not fit together, or cannot be used for TLS.
    #[error("the certificates cannot be used for TLS")]
    Rustls(#[from] rustls::Error),
    /// The authority of the terminals cannot be used.
    #[error("the terminals' authority cannot be used")]
    Authority(#[from] rustls::server::VerifierBuilderError),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// Certificates of a test, all in PEM under one directory.
#[derive(Debug, Clone)]
pub struct TestCertificates {
    /// The authority that both sides trust.
    pub ca: PathBuf,
    /// The same with its key, for a platform that signs terminals with it.
    pub authority: Pair,
    /// The platform's certificate, for `localhost`, 127.0.0.1 and `::1`.
    pub server: Pair,
    /// The certificate of the terminal [`TEST_TERMINAL`].
    pub terminal: Pair,
    /// An authority that nobody trusts.
    pub foreign_ca: PathBuf,
    /// A platform's certificate of that authority.
    pub foreign_server: Pair,
    /// A terminal's certificate of that authority.
    pub foreign_terminal: Pair,
    /// A platform's certificate of the good authority that ended in 2021.
    pub expired_server: Pair,
    /// A platform's certificate of the good authority for another name.
    pub misnamed_server: Pair,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TestCertificates {
    /// Settings of a platform that serves with a certificate and wants one of every terminal.
    pub fn mutual(&self, server: &Pair) -> Tls {
        Tls {
            certificate: server.certificate.clone(),
            key: server.key.clone(),
            client_ca: Some(self.ca.clone()),
        }
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Platform,
    Expired,
    Misnamed,
    Terminal,
}

/// Number of the terminal that the certificates of a test are for.
pub const TEST_TERMINAL: &str = "T001";

/// Makes an authority, a platform's and a terminal's certificate, and their bad relatives.
///
/// # Errors
/// `Io` when the directory cannot be written, `Make` when the library refuses.
pub fn test_certificates(directory: &Path) -> Result<TestCertificates, TlsError> {
    let (good, ca) = authority(directory, "ca")?;
    let (foreign, foreign_ca) = authority(directory, "foreign-ca")?;
    let key = directory.join("ca-key.pem");
    write(&key, &good.key().serialize_pem())?;
    Ok(TestCertificates {
        server: issue(&good, directory, "server", Use::Platform)?,
        terminal: issue(&good, directory, "terminal", Use::Terminal)?,
        foreign_server: issue(&foreign, directory, "foreign-server", Use::Platform)?,
        foreign_terminal: issue(&foreign, directory, "foreign-terminal", Use::Terminal)?,
        expired_server: issue(&good, directory, "expired-server", Use::Expired)?,
        misnamed_server: issue(&good, directory, "misnamed-server", Use::Misnamed)?,
        authority: Pair {
            certificate: ca.clone(),
            key,
        },
        ca,
        foreign_ca,
    })
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(directory: &Path, name: &str) -> Result<(Authority, PathBuf), TlsError> {
    let mut parameters = CertificateParams::new(Vec::<String>::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
        .distinguished_name
        .push(DnType::CommonName, format!("kiosk test {name}"));
    let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
    let path = directory.join(format!("{name}.pem"));
    write(&path, &issuer.pem())?;
    Ok((issuer, path))
}

fn issue(issuer: &Authority, directory: &Path, name: &str, to: Use) -> Result<Pair, TlsError> {
    let mut parameters = CertificateParams::new(Vec::<String>::new())?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, format!("kiosk test {name}"));
    let purpose = match to {
        Use::Terminal => ExtendedKeyUsagePurpose::ClientAuth,
        Use::Platform | Use::Expired | Use::Misnamed => ExtendedKeyUsagePurpose::ServerAuth,
    };
    parameters.extended_key_usages = vec![purpose];
    parameters.subject_alt_names = match to {
        Use::Platform | Use::Expired => vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ],
        Use::Misnamed => vec![SanType::DnsName("elsewhere.example".try_into()?)],
        Use::Terminal => vec![SanType::URI(name_of(TEST_TERMINAL).try_into()?)],
    };
    if to == Use::Expired {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, issuer)?;
    let pair = Pair {
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}-key.pem")),
    };
    write(&pair.certificate, &certificate.pem())?;
    write(&pair.key, &key.serialize_pem())?;
    Ok(pair)
}

fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    fs::write(path, text).map_err(|source| TlsError::Io {
        path: path.to_owned(),
        source,
    })
}

/// What the server side of TLS needs, from the files of the configuration.
pub(crate) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|_| TlsError::Pem {
        path: tls.key.clone(),
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                // Whoever shows none is judged by what it asks: a new terminal has none yet.
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(Arc::new(builder.with_single_cert(chain, key)?))
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = || TlsError::Pem {
        path: path.to_owned(),
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|_| bad())?
        .collect::<Result<_, _>>()
        .map_err(|_| bad())?;
    if found.is_empty() {
        return Err(bad());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_the_tests_can_be_served_with() {
        let directory = tempfile::tempdir().unwrap();
        let set = test_certificates(directory.path()).unwrap();
        for server in [
            &set.server,
            &set.foreign_server,
            &set.expired_server,
            &set.misnamed_server,
        ] {
            server_config(&set.mutual(server)).unwrap();
        }
    }

    #[test]
    fn a_key_that_does_not_fit_and_a_file_that_is_none_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let set = test_certificates(directory.path()).unwrap();
        let mut tls = set.mutual(&set.server);
        tls.key = set.terminal.key.clone();
        assert!(matches!(server_config(&tls), Err(TlsError::Rustls(_))));
        tls.key = directory.path().join("none.pem");
        assert!(matches!(server_config(&tls), Err(TlsError::Pem { .. })));
        fs::write(&tls.key, "no PEM").unwrap();
        tls.certificate = tls.key.clone();
        assert!(matches!(server_config(&tls), Err(TlsError::Pem { .. })));
    }
}
