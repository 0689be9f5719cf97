//! The authority of the terminals: reads what a new terminal asks for and signs a certificate that
//! names it. Of a request nothing but its public key is taken over; name, use and dates are the
//! authority's own. Also reads out of a certificate whom it is for.

use std::time::Duration;

use jiff::Timestamp;
use kiosk_sealing::{hex, sha256};
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config;
use crate::limits::{Limit, within};
use crate::tls::{self, TlsError};

/// Largest request in PEM; one with a key of 384 bits has under 1 kB.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Largest certificate that is read; one of a terminal has under 1 kB.
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Most names that one certificate is looked through for.
const NAMES_MAX: usize = 64;
/// A certificate is good so far back, for terminals whose clock is behind. Chosen.
const BACK_S: i64 = 24 * 3600;
/// Longest life of a certificate in days; what clients of the web allow.
const DAYS_MAX: u32 = 825;
/// Bytes of a serial number (RFC 5280 section 4.1.2.2: 20 at most).
const SERIAL_BYTES: usize = 16;
/// Before the number of a terminal in the name of its certificate.
const NAME: &str = "urn:kiosk:terminal:";

/// The name by which a certificate names a terminal.
pub(crate) fn name_of(terminal: &str) -> String {
    format!("{NAME}{terminal}")
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The terminal that it names, if it names one.
    pub terminal: Option<String>,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
}

impl Shown {
    /// Reads a certificate in DER; `None` for what is none. The terminal stands in a URI of the
    /// subject's alternative names, or is the common name (of an authority that knows no URI).
    pub fn read(der: &[u8]) -> Option<Self> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return None;
        }
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let in_uri = names.and_then(|names| {
            let mut names = names.value.general_names.iter().take(NAMES_MAX);
            names.find_map(|name| {
                if let GeneralName::URI(uri) = name {
                    uri.strip_prefix(NAME)
                } else {
                    None
                }
            })
        });
        let in_subject = || {
            let mut names = certificate.subject().iter_common_name().take(NAMES_MAX);
            names.find_map(|name| name.as_str().ok())
        };
        let is_number = |text: &&str| within(&[("terminal", text, Limit::Terminal)]).is_ok();
        Some(Self {
            terminal: in_uri
                .or_else(in_subject)
                .filter(is_number)
                .map(str::to_owned),
            serial: hex(certificate.raw_serial()),
        })
    }
}

/// What a new terminal asks for: a certificate of its key, which it has proved to hold.
#[derive(Debug)]
pub struct CertificateRequest(CertificateSigningRequestParams);

impl CertificateRequest {
    /// Reads a request (PKCS#10, RFC 2986) in PEM and checks that its own key signed it. `None` for
    /// what is none, is too large, or has a key of a kind that is not signed here: anything but
    /// ECDSA on P-256 or P-384, or Ed25519.
    pub fn read(pem: &[u8]) -> Option<Self> {
        if pem.len() > REQUEST_BYTES_MAX {
            return None;
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem).ok()?;
        let request = CertificateSigningRequestParams::from_der(&der).ok()?;
        let good = [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ED25519,
        ];
        good.contains(&request.public_key.algorithm())
            .then_some(Self(request))
    }

    /// Digest of its key: the same terminal that asks again is known by it.
    pub(crate) fn key_digest(&self) -> String {
        hex(&sha256(self.0.public_key.der_bytes()))
    }
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    /// With what stands between it and the root, in PEM.
    pub(crate) chain: String,
    pub(crate) not_after: Timestamp,
    /// In hexadecimal digits.
    pub(crate) serial: String,
}

/// Signs the certificates of terminals.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate and those above it, without the root, in PEM.
    between: String,
    /// The root, in PEM.
    root: String,
    not_after: Timestamp,
    days: u32,
}

impl Authority {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// `Pem` when a file is not what it should be, is no authority, or key and certificate do not
    /// fit together; `Io`; `Make` when the library refuses them.
    pub(crate) fn open(config: &config::Authority) -> Result<Self, TlsError> {
        let bad = |path: &std::path::Path| TlsError::Pem {
            path: path.to_owned(),
        };
        let chain = tls::certificates(&config.certificate)?;
        let text = std::fs::read_to_string(&config.key).map_err(|source| TlsError::Io {
            path: config.key.clone(),
            source,
        })?;
        let key = KeyPair::from_pem(&text).map_err(|_| bad(&config.key))?;
        let (own, above) = chain
            .split_first()
            .ok_or_else(|| bad(&config.certificate))?;
        let (_, read) = X509Certificate::from_der(own).map_err(|_| bad(&config.certificate))?;
        let is_good = read.is_ca() && (1..=DAYS_MAX).contains(&config.days);
        if !is_good {
            return Err(bad(&config.certificate));
        }
        if *read.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(bad(&config.key));
        }
        let not_after = Timestamp::from_second(read.validity().not_after.timestamp())
            .map_err(|_| bad(&config.certificate))?;
        let (root, between) = match above.split_last() {
            None => (own, &chain[..0]),
            Some((root, _)) => (root, &chain[..chain.len() - 1]),
        };
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(own, key)?,
            between: between.iter().map(pem).collect(),
            root: pem(root),
            not_after,
            days: config.days,
        })
    }

    /// The root that the certificates of terminals lead to, in PEM.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Signs a certificate for a terminal. It ends after the configured days, and not later than
    /// the authority's own.
    pub(crate) fn issue(
        &self,
        request: &CertificateRequest,
        terminal: &str,
        now: Timestamp,
    ) -> Result<Issued, TlsError> {
        let from_s = now.as_second().saturating_sub(BACK_S).max(0);
        let until_s = now
            .as_second()
            .saturating_add(i64::from(self.days) * 24 * 3600);
        let not_after = Timestamp::from_second(until_s)
            .map_or(self.not_after, |until| until.min(self.not_after));
        let mut serial = [0; SERIAL_BYTES];
        SystemRandom::new()
            .fill(&mut serial)
            .map_err(|_| rcgen::Error::RingUnspecified)?;
        // Positive, and never with a zero in front.
        serial[0] = serial[0] & 0x7F | 0x40;
        // Seconds since 1970 as the library takes them.
        let moment =
            |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
        let mut parameters = CertificateParams::default();
        parameters.not_before = moment(from_s);
        parameters.not_after = moment(not_after.as_second());
        parameters.serial_number = Some(SerialNumber::from_slice(&serial));
        parameters.distinguished_name.remove(DnType::CommonName);
        parameters
            .distinguished_name
            .push(DnType::CommonName, terminal);
        let name = Ia5String::try_from(name_of(terminal))?;
        parameters.subject_alt_names = vec![SanType::URI(name)];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&request.0.public_key, &self.issuer)?;
        Ok(Issued {
            chain: certificate.pem() + &self.between,
            not_after: Timestamp::from_second(not_after.as_second()).unwrap_or(not_after),
            serial: hex(&serial),
        })
    }
}

/// A certificate in PEM (RFC 7468).
fn pem(der: &CertificateDer<'static>) -> String {
    use base64::Engine as _;
    const LINE: usize = 64;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for at in (0..text.len()).step_by(LINE) {
        pem.push_str(&text[at..text.len().min(at + LINE)]);
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{TEST_TERMINAL, test_certificates};

    fn authority(days: u32) -> (tempfile::TempDir, config::Authority) {
        let directory = tempfile::tempdir().unwrap();
        let set = test_certificates(directory.path()).unwrap();
        let config = config::Authority {
            certificate: set.authority.certificate,
            key: set.authority.key,
            days,
        };
        (directory, config)
    }

    fn request(key: &KeyPair) -> String {
        let mut parameters = CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_certificate_names_its_terminal_and_takes_nothing_over_but_the_key() {
        let (_directory, config) = authority(30);
        let authority = Authority::open(&config).unwrap();
        let key = KeyPair::generate().unwrap();
        let asked = CertificateRequest::read(request(&key).as_bytes()).unwrap();
        let now: Timestamp = "2026-11-22T01:00:00Z".parse().unwrap();
        let issued = authority.issue(&asked, "T-007", now).unwrap();
        assert_eq!(issued.not_after.to_string(), "2026-12-22T01:00:00Z");
        let der = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
        let shown = Shown::read(&der).unwrap();
        assert_eq!(shown.terminal.as_deref(), Some("T-007"));
        assert_eq!(shown.serial, issued.serial);
        let (_, read) = X509Certificate::from_der(&der).unwrap();
        assert!(!read.is_ca());
        assert_eq!(
            *read.public_key().subject_public_key.data,
            *key.public_key_raw()
        );
        assert_eq!(
            read.validity().not_after.timestamp(),
            issued.not_after.as_second()
        );
        assert!(!issued.chain.contains("elsewhere"));
        // Two are never taken for one.
        let again = authority.issue(&asked, "T-007", now).unwrap();
        assert_ne!(again.serial, issued.serial);
        assert!(
            authority
                .root()
                .starts_with("-----BEGIN CERTIFICATE-----\n")
        );
    }

    #[test]
    fn what_is_no_authority_and_a_key_that_does_not_fit_are_refused() {
        let (directory, good) = authority(30);
        for (certificate, key, days) in [
            ("terminal.pem", "terminal-key.pem", 30),
            ("ca.pem", "terminal-key.pem", 30),
            ("ca.pem", "ca-key.pem", 0),
            ("ca.pem", "ca-key.pem", 826),
        ] {
            let config = config::Authority {
                certificate: directory.path().join(certificate),
                key: directory.path().join(key),
                days,
            };
            assert!(
                matches!(Authority::open(&config), Err(TlsError::Pem { .. })),
                "{certificate} {key} {days}"
            );
        }
        Authority::open(&good).unwrap();
    }

    #[test]
    fn a_request_that_is_none_is_refused_whatever_its_bytes() {
        let key = KeyPair::generate().unwrap();
        let good = request(&key);
        assert!(CertificateRequest::read(good.as_bytes()).is_some());
        let long = format!("{good}{}", " ".repeat(REQUEST_BYTES_MAX));
        for bad in [
            "",
            "x",
            long.as_str(),
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert!(
                CertificateRequest::read(bad.as_bytes()).is_none(),
                "{bad:.40}"
            );
        }
        // No single changed bit of what is signed is let through: all but the last two members, the
        // name of the algorithm and the signature, whose encoding has more than one form.
        let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap();
        let (_, read) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
        let signed = read.certification_request_info.raw;
        let from = signed.as_ptr() as usize - der.as_ptr() as usize;
        for at in from..from + signed.len() {
            let mut bytes = der.to_vec();
            bytes[at] ^= 1;
            let text =
                pem(&CertificateDer::from(bytes)).replace("CERTIFICATE", "CERTIFICATE REQUEST");
            assert!(
                CertificateRequest::read(text.as_bytes()).is_none(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_certificate_without_a_number_names_nobody() {
        let (directory, _) = authority(30);
        let read = |name: &str| {
            let der = CertificateDer::from_pem_file(directory.path().join(name)).unwrap();
            Shown::read(&der).unwrap().terminal
        };
        assert_eq!(read("terminal.pem").as_deref(), Some(TEST_TERMINAL));
        assert_eq!(read("server.pem"), None);
        for bytes in [Vec::new(), vec![0x30], vec![0x30; 70_000]] {
            assert_eq!(Shown::read(&bytes), None);
        }
    }
}
