//! Bundle parts from a stick to a platform, and its receipts back onto the stick.
//!
//! A part is looked at whole before a byte of it is sent. The platform takes every transaction once,
//! however often the same part comes; so a hand-over that broke is simply done again.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiosk_sealing::PublicKey;
use kiosk_sealing::bundle::{self, BundleError, Manifest, ReadError};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::files::{self, FileError};

/// Media type of a bundle part, as the contract names it.
const MEDIA_TYPE: &str = "application/vnd.kiosk.bundle";
/// Largest reply that is read, in bytes: 100,000 results, once plain and once signed, with a margin.
const REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Largest refusal that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
/// How long one part may take: 64 MiB over 10 Mbit/s, and the platform's work.
const PART_LIMIT: Duration = Duration::from_mins(10);
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Most results of one part (the format's own limit).
const RESULTS_MAX: usize = 100_000;
/// Longest code that is shown, in characters.
const CODE_CHARACTERS_MAX: usize = 64;

/// Where parts go.
#[derive(Debug)]
pub struct Destination {
    http: reqwest::Client,
    base: String,
    token: Zeroizing<String>,
}

/// Certificates of a connection, files in PEM.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// Who vouches for the platform.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, where the platform wants one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Why a part was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read, or the receipts cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The part is damaged, forged or none at all; nothing was sent.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The address, the token or the certificates cannot be used.
    #[error("{0}")]
    Setup(String),
    /// The platform cannot be reached, or the connection broke: hand over again.
    #[error("the platform cannot be reached, or the connection broke; run the same again")]
    Unreachable(#[source] reqwest::Error),
    /// The platform refused the part.
    #[error("the platform refused the part with status {status}, code {code:?}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The platform's code.
        code: String,
    },
    /// The reply makes no sense.
    #[error("the platform's reply cannot be understood: {0}")]
    BadReply(&'static str),
}

/// What became of one part.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the part says about itself.
    pub manifest: Manifest,
    /// One result a transaction.
    pub results: Vec<ItemResult>,
    /// Where the receipts were written.
    pub receipts: PathBuf,
}

/// What became of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResult {
    /// Its id.
    pub id: Uuid,
    /// `accepted`, `duplicate`, `rejected` or `retry`.
    pub result: String,
    /// The platform's reference or problem code.
    pub detail: String,
}

impl ItemResult {
    /// True when the platform has it.
    pub fn is_taken(&self) -> bool {
        matches!(self.result.as_str(), "accepted" | "duplicate")
    }
}

#[derive(Deserialize)]
struct Reply {
    results: Vec<ResultReply>,
    receipts: String,
}

#[derive(Deserialize)]
struct ResultReply {
    id: Uuid,
    result: String,
    #[serde(default)]
    receipt: Option<ReceiptReply>,
    #[serde(default)]
    problem: Option<ProblemReply>,
}

#[derive(Deserialize)]
struct ReceiptReply {
    #[serde(default)]
    reference: String,
}

#[derive(Default, Deserialize)]
struct ProblemReply {
    #[serde(default)]
    code: String,
}

impl Destination {
    /// A platform at `http://` or `https://`, with the import token that its operator set.
    ///
    /// # Errors
    /// `Setup` when the address or a certificate cannot be used.
    pub fn new(
        url: &str,
        token: Zeroizing<String>,
        certificates: &Certificates,
    ) -> Result<Self, ImportError> {
        Ok(Self {
            http: client(url, certificates, PART_LIMIT)?,
            base: url.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Hands one part over and writes the receipts beside it. With `keys` the part must be signed by
    /// one of them; without, the platform alone judges the signature.
    ///
    /// # Errors
    /// [`ImportError`]. After `Unreachable` the platform may have taken the part: the same again
    /// gives duplicates, and the receipts.
    pub async fn import(&self, path: &Path, keys: &[PublicKey]) -> Result<Outcome, ImportError> {
        let manifest = look(path, keys)?;
        let body = read(path)?;
        let mut token = HeaderValue::from_str(&format!("Bearer {}", *self.token))
            .map_err(|_| ImportError::Setup("the token is no token".to_owned()))?;
        token.set_sensitive(true);
        let reply = self
            .http
            .post(format!("{}/v1/bundles", self.base))
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .body(body)
            .send()
            .await
            .map_err(ImportError::Unreachable)?;
        let status = reply.status();
        if !status.is_success() {
            let body = bounded(reply, PROBLEM_BYTES_MAX).await.unwrap_or_default();
            return Err(ImportError::Refused {
                status: status.as_u16(),
                code: problem_code(&body),
            });
        }
        let (results, receipts) = understand(&bounded(reply, REPLY_BYTES_MAX).await?)?;
        let name = format!("receipts-{}-{:03}.txt", manifest.bundle, manifest.part);
        let place = path.with_file_name(name);
        files::write_result(&place, &receipts)?;
        Ok(Outcome {
            manifest,
            results,
            receipts: place,
        })
    }
}

/// What speaks to a platform at `http://` or `https://`, and to nobody else.
pub(crate) fn client(
    url: &str,
    certificates: &Certificates,
    limit: Duration,
) -> Result<reqwest::Client, ImportError> {
    let is_tls = url.starts_with("https://");
    if !is_tls && !url.starts_with("http://") {
        return Err(ImportError::Setup(format!(
            "`{url}` must start with http:// or https://"
        )));
    }
    if is_tls && certificates.ca.is_none() {
        return Err(ImportError::Setup(
            "https needs --ca: the certificate that vouches for the platform".to_owned(),
        ));
    }
    reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(limit)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("kiosk-admin/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls(certificates)?)
        .build()
        .map_err(|error| ImportError::Setup(error.to_string()))
}

/// Looks at a part as a whole.
fn look(path: &Path, keys: &[PublicKey]) -> Result<Manifest, ImportError> {
    let input = BufReader::new(open(path)?);
    if keys.is_empty() {
        let manifest = bundle::read(input, |_, _, _| Ok::<(), std::convert::Infallible>(()));
        return manifest.map_err(|error| match error {
            ReadError::Bundle(error) => error.into(),
            ReadError::Each(never) => match never {},
        });
    }
    let find_key = |_: &str, id: &str| keys.iter().find(|key| key.key_id() == id).cloned();
    Ok(bundle::verify(input, find_key)?.manifest)
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| FileError::Io {
        path: path.to_path_buf(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(bundle::PART_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::Io {
            path: path.to_path_buf(),
            source,
        })?;
    if bytes.len() as u64 > bundle::PART_BYTES_MAX {
        return Err(BundleError::TooLarge { what: "the part" }.into());
    }
    Ok(bytes)
}

/// A reply of at most so many bytes; a larger one is given up before it fills the memory.
pub(crate) async fn bounded(
    mut reply: reqwest::Response,
    bytes_max: usize,
) -> Result<Vec<u8>, ImportError> {
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(ImportError::Unreachable)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(ImportError::BadReply("it is far too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads the answer to `POST /v1/bundles`: the results, and the signed receipts as text.
///
/// # Errors
/// `BadReply`.
pub fn understand(body: &[u8]) -> Result<(Vec<ItemResult>, String), ImportError> {
    let reply: Reply = serde_json::from_slice(body)
        .map_err(|_| ImportError::BadReply("not the JSON of the contract"))?;
    if reply.results.len() > RESULTS_MAX {
        return Err(ImportError::BadReply("more results than a part can have"));
    }
    let is_text = reply.receipts.bytes().all(|byte| byte.is_ascii_graphic());
    if reply.receipts.is_empty() || !is_text {
        return Err(ImportError::BadReply("the receipts are no signed text"));
    }
    let results = reply
        .results
        .into_iter()
        .map(|result| {
            let reference = result.receipt.map(|receipt| receipt.reference);
            let code = result.problem.map(|problem| problem.code);
            ItemResult {
                id: result.id,
                result: plain(&result.result),
                detail: plain(&reference.or(code).unwrap_or_default()),
            }
        })
        .collect();
    Ok((results, reply.receipts))
}

pub(crate) fn problem_code(body: &[u8]) -> String {
    let problem: ProblemReply = serde_json::from_slice(body).unwrap_or_default();
    plain(&problem.code)
}

/// Nothing of a reply may steer the terminal window it is shown in.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(CODE_CHARACTERS_MAX)
        .collect()
}

fn tls(certificates: &Certificates) -> Result<ClientConfig, ImportError> {
    let unusable = |path: &Path, error: &dyn std::fmt::Display| {
        ImportError::Setup(format!("{}: {error}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    if let Some(path) = &certificates.ca {
        for certificate in chain(path)? {
            roots
                .add(certificate)
                .map_err(|error| unusable(path, &error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ImportError::Setup(error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &certificates.own else {
        return Ok(builder.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
    builder
        .with_client_auth_cert(chain(certificate)?, private)
        .map_err(|error| unusable(certificate, &error))
}

/// Every certificate of a PEM file; a file without one is a mistake.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ImportError> {
    let unusable =
        |error: &dyn std::fmt::Display| ImportError::Setup(format!("{}: {error}", path.display()));
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| unusable(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(&error))?;
    if chain.is_empty() {
        return Err(unusable(&"holds no certificate"));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_is_not_the_contract_is_refused() {
        for body in [
            &b""[..],
            b"{}",
            b"[]",
            b"\xff",
            br#"{"results":[],"receipts":""}"#,
            br#"{"results":[],"receipts":"a\nb"}"#,
            br#"{"results":[{"id":"x","result":"accepted"}],"receipts":"a.b.c"}"#,
            br#"{"results":{},"receipts":"a.b.c"}"#,
        ] {
            assert!(
                matches!(understand(body), Err(ImportError::BadReply(_))),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn results_are_told_without_steering_the_window() {
        let body = br#"{"results":[
            {"id":"00000000-0000-0000-0000-000000000001","result":"accepted","receipt":{"reference":"R\u001b[2J1"}},
            {"id":"00000000-0000-0000-0000-000000000002","result":"rejected","problem":{"code":"envelope.forged"}}
        ],"receipts":"a.b.c"}"#;
        let (results, receipts) = understand(body).unwrap();
        assert_eq!(receipts, "a.b.c");
        assert_eq!(results[0].detail, "R[2J1");
        assert!(results[0].is_taken() && !results[1].is_taken());
        assert_eq!(results[1].detail, "envelope.forged");
    }

    #[test]
    fn a_platform_that_nothing_vouches_for_is_not_talked_to() {
        let token = || Zeroizing::new("token".to_owned());
        let none = Certificates::default();
        for url in ["https://platform.example", "ftp://platform.example", ""] {
            assert!(
                matches!(
                    Destination::new(url, token(), &none),
                    Err(ImportError::Setup(_))
                ),
                "{url}"
            );
        }
        assert!(Destination::new("http://[::1]:1", token(), &none).is_ok());
    }
}
