//! Files from a web server, within bounds of size, time and speed. The server needs no intelligence;
//! ranges alone let a download go on where it was cut. Redirects are not followed, so that the one
//! address of the configuration says all about where bytes come from.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT_ENCODING, RANGE};
use reqwest::{Response, StatusCode, Url};
use rustls::client::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, crypto};
use tokio::runtime::Runtime;

use super::error::TransportError;
use super::transport::{Sink, Transport};

/// Most headers of a reply. Chosen: object stores send about twenty.
const HEADERS_MAX: usize = 64;
/// Largest certificate or key file; a chain of ten has 20 kB.
const PEM_BYTES_MAX: u64 = 256 * 1024;
/// Most certificates of one file.
const CERTIFICATES_MAX: usize = 32;
/// Deepest chain of causes that is looked through.
const CAUSES_MAX: usize = 16;

/// Whom to believe that it is the server, and how to say who the terminal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// File of the authorities of the operator, in PEM.
    pub ca: PathBuf,
    /// Files of the terminal's own certificate and key in PEM, where the server wants one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Bounds of time and speed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Longest time to a connection, and from a request to its answer.
    pub connect: Duration,
    /// Time over which the speed is measured.
    pub window: Duration,
    /// Fewest bytes of a window that is not the last; a slower server holds updates back.
    pub window_bytes_min: u64,
}

impl Default for Pace {
    /// For the thinnest line: 2 Mbit/s shared by a village brings a hundred times as much.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            window: Duration::from_secs(30),
            window_bytes_min: 30 * 256,
        }
    }
}

/// A web server.
#[derive(Debug)]
pub struct Http {
    base: Url,
    client: reqwest::Client,
    pace: Pace,
    runtime: Runtime,
}

/// A server's certificate is judged by the time that the update believes.
#[derive(Debug)]
struct BelievedTime(Timestamp);

impl TimeProvider for BelievedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.duration_since(Timestamp::UNIX_EPOCH);
        Duration::try_from(since)
            .ok()
            .map(UnixTime::since_unix_epoch)
    }
}

impl Http {
    /// A client for the files below `base`. An address with `https` needs `tls`; one with `http`
    /// hides nothing, and is no less safe in what is believed.
    ///
    /// # Errors
    /// `Configuration`, `Io`.
    pub fn new(
        base: &str,
        tls: Option<&Tls>,
        pace: Pace,
        now: Timestamp,
    ) -> Result<Self, TransportError> {
        let base = base_address(base)?;
        // A second call finds the provider installed already, which is as good.
        drop(crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .connect_timeout(pace.connect)
            .http1_max_headers(HEADERS_MAX)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("kiosk-updater/", env!("CARGO_PKG_VERSION")));
        match (tls, base.scheme()) {
            (Some(tls), _) => builder = builder.tls_backend_preconfigured(tls_config(tls, now)?),
            (None, "https") => {
                return Err(TransportError::Configuration(
                    "an https address needs an authority",
                ));
            }
            (None, _) => {}
        }
        let client = builder
            .build()
            .map_err(|_| TransportError::Configuration("no HTTP client can be made"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            base,
            client,
            pace,
            runtime,
        })
    }

    /// Sends the request; the answer is the file, from wherever the server begins.
    async fn open(&self, url: Url, offset: u64) -> Result<Response, TransportError> {
        // Compressed on the way, lengths would not be those that were signed.
        let mut request = self.client.get(url).header(ACCEPT_ENCODING, "identity");
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let answer = tokio::time::timeout(self.pace.connect, request.send());
        let response = answer.await.map_err(|_| self.too_slow())?.map_err(line)?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(TransportError::NotFound),
            status => Err(TransportError::Refused {
                status: status.as_u16(),
            }),
        }
    }

    async fn receive(
        &self,
        url: Url,
        offset: u64,
        bytes_max: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError> {
        let mut response = self.open(url, offset).await?;
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT if offset > 0 => 0,
            StatusCode::PARTIAL_CONTENT => return Err(TransportError::Refused { status: 206 }),
            // A server without ranges begins at the beginning.
            _ => offset,
        };
        let too_long = TransportError::TooLong { bytes_max };
        if response
            .content_length()
            .is_some_and(|length| length.saturating_sub(skip) > bytes_max)
        {
            return Err(too_long);
        }
        let mut total: u64 = 0;
        let mut in_window: u64 = 0;
        let mut window = Box::pin(tokio::time::sleep(self.pace.window));
        loop {
            let piece = tokio::select! {
                biased;
                piece = response.chunk() => piece.map_err(line)?,
                () = &mut window => {
                    if in_window < self.pace.window_bytes_min {
                        return Err(self.too_slow());
                    }
                    in_window = 0;
                    window = Box::pin(tokio::time::sleep(self.pace.window));
                    continue;
                }
            };
            let Some(piece) = piece else {
                return Ok(total);
            };
            in_window += piece.len() as u64;
            let skipped = usize::try_from(skip).map_or(piece.len(), |skip| skip.min(piece.len()));
            skip -= skipped as u64;
            let piece = &piece[skipped..];
            total += piece.len() as u64;
            if total > bytes_max {
                return Err(too_long);
            }
            if !piece.is_empty() {
                sink(piece)?;
            }
        }
    }

    fn too_slow(&self) -> TransportError {
        TransportError::TooSlow {
            bytes_min: self.pace.window_bytes_min,
            window_s: self.pace.window.as_secs(),
        }
    }
}

impl Transport for Http {
    fn fetch(
        &self,
        name: &str,
        offset: u64,
        bytes_max: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError> {
        let url = self.base.join(name).map_err(|_| TransportError::Name)?;
        // A name must not lead to another server, nor above the base.
        if !url.as_str().starts_with(self.base.as_str()) {
            return Err(TransportError::Name);
        }
        self.runtime
            .block_on(self.receive(url, offset, bytes_max, sink))
    }
}

fn base_address(text: &str) -> Result<Url, TransportError> {
    let text = if text.ends_with('/') {
        text.to_owned()
    } else {
        format!("{text}/")
    };
    Url::parse(&text)
        .ok()
        .filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        })
        .ok_or(TransportError::Configuration(
            "an address such as https://updates.example/program/ is needed",
        ))
}

/// The address itself says nothing that the configuration does not, and stays out of logs.
fn line(error: reqwest::Error) -> TransportError {
    if is_disbelief(&error) {
        return TransportError::NotBelieved;
    }
    TransportError::Line(error.without_url())
}

/// Whether a connection came to nothing because of the other end's certificate.
fn is_disbelief(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    for _ in 0..CAUSES_MAX {
        let Some(found) = cause else {
            return false;
        };
        if let Some(error) = found.downcast_ref::<rustls::Error>() {
            return matches!(error, rustls::Error::InvalidCertificate(_));
        }
        // An error of the system passes over what it was made of when it is asked for its cause.
        let inner = found
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => found.source(),
        };
    }
    false
}

fn tls_config(tls: &Tls, now: Timestamp) -> Result<ClientConfig, TransportError> {
    let wrong = TransportError::Configuration;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots
            .add(certificate)
            .map_err(|_| wrong("an authority in PEM is needed"))?;
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(BelievedTime(now)))
        .with_safe_default_protocol_versions()
        .map_err(|_| wrong("TLS 1.2 or 1.3 is needed"))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.own else {
        return Ok(builder.with_no_client_auth());
    };
    let key = zeroize::Zeroizing::new(pem(key)?);
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| wrong("the terminal's key in PEM is needed"))?;
    builder
        .with_client_auth_cert(certificates(certificate)?, key)
        .map_err(|_| wrong("the key is not the one of the terminal's certificate"))
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let bytes = pem(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes)
        .take(CERTIFICATES_MAX)
        .collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or(TransportError::Configuration(
            "a certificate in PEM is needed",
        ))
}

fn pem(path: &std::path::Path) -> Result<Vec<u8>, TransportError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(PEM_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    #[test]
    fn an_address_that_proves_nothing_is_refused() {
        for address in [
            "https://updates.example",
            "ftp://x/",
            "x",
            "http://h/?a=b",
            "file:///x",
        ] {
            let outcome = Http::new(address, None, Pace::default(), now());
            assert!(
                matches!(outcome, Err(TransportError::Configuration(_))),
                "{address}"
            );
        }
    }

    #[test]
    fn a_name_never_leads_away_from_its_server() {
        let http = Http::new("http://127.0.0.1:9/base", None, Pace::default(), now()).unwrap();
        for name in [
            "http://127.0.0.2/x",
            "//127.0.0.2/x",
            "../x",
            "/x",
            "a/../../x",
        ] {
            let outcome = http.fetch(name, 0, 1, &mut |_| Ok(()));
            assert!(matches!(outcome, Err(TransportError::Name)), "{name}");
        }
    }
}
