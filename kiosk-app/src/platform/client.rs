//! One request, one checked answer. Knows the contract, not the queue and not the visit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiosk_device::Sensitive;
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::messages::{
    Batch, BatchReply, BatchTransaction, CaseReply, CredentialReply, CredentialRequest, FaceReply,
    FaceRequest, IdentityReply, IdentityRequest, ProblemReply, WitnessReply, WitnessRequest,
};
use crate::event::{CaseState, Credential, FaceAnswer, FaceVerdict, IdentityAnswer, WitnessAnswer};
use crate::person::Person;

/// Largest ordinary reply in bytes; a batch of 100 results has about 60 kB.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Largest reply with a document: a PDF of 4 MiB in base64.
const DOCUMENT_BYTES_MAX: usize = 6 * 1024 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// A visitor waits for these; see `session::ANSWER_LIMIT`.
const QUESTION_LIMIT: Duration = Duration::from_secs(8);
const DOCUMENT_LIMIT: Duration = Duration::from_secs(22);
/// A batch of 256 KiB on the thinnest line.
const BATCH_LIMIT: Duration = Duration::from_mins(1);

/// Why the platform gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The client or its thread cannot be made.
    #[error("the platform thread cannot be started")]
    Start(#[source] std::io::Error),
    /// The configuration is wrong.
    #[error("platform.{key}: {message}")]
    Configuration {
        /// The key in `kiosk.toml`.
        key: String,
        /// What is expected.
        message: &'static str,
    },
    /// No connection.
    #[error("the platform cannot be reached")]
    Unreachable,
    /// The answer did not come in time.
    #[error("the platform is too slow")]
    Slow,
    /// The answer makes no sense.
    #[error("the platform's reply cannot be understood: {0}")]
    BadReply(&'static str),
    /// The platform failed (5xx).
    #[error("the platform failed with status {status}")]
    Server {
        /// HTTP status.
        status: u16,
        /// Seconds it asked to wait.
        retry_after_s: Option<u64>,
    },
    /// The platform does not serve us now (401, 403, 408, 429): nobody's fault here.
    #[error("the platform does not serve this terminal now, status {status}")]
    NotNow {
        /// HTTP status.
        status: u16,
        /// Seconds it asked to wait.
        retry_after_s: Option<u64>,
    },
    /// The platform refused the request itself (other 4xx).
    #[error("the platform refused the request with status {status}, code {code:?}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The platform's code.
        code: String,
        /// The platform's sentence for the citizen; never logged.
        words: Words,
    },
    /// A document whose seal is not valid must not be printed.
    #[error("the seal of the document is not valid: {0}")]
    Seal(&'static str),
}

/// Words for the citizen; they may name the citizen, so `Debug` hides them.
#[derive(Clone, Default)]
pub struct Words(String);

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl PlatformError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start(_) => "platform.start",
            Self::Configuration { .. } => "platform.configuration",
            Self::Unreachable => "platform.unreachable",
            Self::Slow => "platform.slow",
            Self::BadReply(_) => "platform.bad-reply",
            Self::Server { .. } => "platform.server-error",
            Self::NotNow { .. } => "platform.not-now",
            Self::Refused { .. } => "platform.refused",
            Self::Seal(_) => "platform.seal-invalid",
        }
    }

    /// The platform's own sentence for the citizen; empty when it gave none.
    pub fn words(&self) -> &str {
        match self {
            Self::Refused { words, .. } => &words.0,
            Self::Start(_)
            | Self::Configuration { .. }
            | Self::Unreachable
            | Self::Slow
            | Self::BadReply(_)
            | Self::Server { .. }
            | Self::NotNow { .. }
            | Self::Seal(_) => "",
        }
    }

    /// Seconds the platform asked to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Server { retry_after_s, .. } | Self::NotNow { retry_after_s, .. } => {
                retry_after_s.map(Duration::from_secs)
            }
            Self::Start(_)
            | Self::Configuration { .. }
            | Self::Unreachable
            | Self::Slow
            | Self::BadReply(_)
            | Self::Refused { .. }
            | Self::Seal(_) => None,
        }
    }
}

/// A client of one platform. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    terminal: String,
    seal_keys: Arc<BTreeMap<String, Vec<u8>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client as configured.
    ///
    /// # Errors
    /// [`PlatformError::Configuration`] names the key.
    pub fn new(config: &crate::config::Platform, terminal: &str) -> Result<Self, PlatformError> {
        let mut seal_keys = BTreeMap::new();
        for (id, key) in &config.seal_keys {
            let bytes = STANDARD.decode(key).ok().filter(|bytes| bytes.len() == 32);
            let bytes = bytes.ok_or_else(|| PlatformError::Configuration {
                key: format!("seal_keys.{id}"),
                message: "standard base64 of 32 bytes",
            })?;
            seal_keys.insert(id.clone(), bytes);
        }
        // A second call finds the provider installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("kiosk/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| PlatformError::Configuration {
                key: "url".to_owned(),
                message: "no HTTP client can be made on this system",
            })?;
        Ok(Self {
            http,
            base: config.url.trim_end_matches('/').to_owned(),
            terminal: terminal.to_owned(),
            seal_keys: Arc::new(seal_keys),
        })
    }

    /// True when the platform answers.
    pub(super) async fn is_reachable(&self) -> bool {
        let reply = self
            .request(Method::GET, "/v1/health", CONNECT_LIMIT)
            .send()
            .await;
        matches!(reply, Ok(reply) if reply.status().is_success())
    }

    pub(super) async fn identity(
        &self,
        person: &Person,
        item: &str,
    ) -> Result<IdentityAnswer, PlatformError> {
        let body = IdentityRequest {
            number: person.number.expose(),
            name: person.name.expose(),
        };
        let reply: IdentityReply = self
            .post(
                "/v1/identity-checks",
                &body,
                QUESTION_LIMIT,
                REPLY_BYTES_MAX,
            )
            .await?;
        let refusal = reply
            .eligible
            .get(item)
            .filter(|eligible| !eligible.eligible)
            .map(|eligible| eligible.reason.clone())
            .unwrap_or_default();
        Ok(IdentityAnswer {
            is_known: reply.known,
            refusal,
        })
    }

    pub(super) async fn face(
        &self,
        person: &Person,
        jpeg: &[u8],
    ) -> Result<FaceAnswer, PlatformError> {
        let body = FaceRequest {
            number: person.number.expose(),
            name: person.name.expose(),
            image: STANDARD.encode(jpeg),
        };
        let reply: FaceReply = self
            .post(
                "/v1/face-comparisons",
                &body,
                QUESTION_LIMIT,
                REPLY_BYTES_MAX,
            )
            .await?;
        let verdict = match reply.result.as_str() {
            "match" => FaceVerdict::Match,
            "mismatch" => FaceVerdict::Mismatch,
            "no-face" => FaceVerdict::NoFace,
            "several-faces" => FaceVerdict::SeveralFaces,
            "unavailable" => {
                return Err(PlatformError::Server {
                    status: 200,
                    retry_after_s: None,
                });
            }
            _ => {
                return Err(PlatformError::BadReply(
                    "unknown result of a face comparison",
                ));
            }
        };
        Ok(FaceAnswer {
            verdict,
            reference: reply.reference,
        })
    }

    pub(super) async fn witness(
        &self,
        person: &Person,
        item: &str,
    ) -> Result<WitnessAnswer, PlatformError> {
        let body = WitnessRequest {
            number: person.number.expose(),
            name: person.name.expose(),
            item,
        };
        let reply: WitnessReply = self
            .post("/v1/witnesses", &body, QUESTION_LIMIT, REPLY_BYTES_MAX)
            .await?;
        Ok(WitnessAnswer {
            is_authorized: reply.is_authorized,
            reference: reply.reference,
        })
    }

    pub(super) async fn credential(
        &self,
        person: &Person,
        item: &str,
        answers: &[(String, String)],
    ) -> Result<Credential, PlatformError> {
        let answer = |id: &str| {
            answers
                .iter()
                .find(|(field, _)| field == id)
                .map_or("", |(_, value)| value)
        };
        let body = CredentialRequest {
            item,
            number: person.number.expose(),
            name: person.name.expose(),
            parameters: answers
                .iter()
                .map(|(id, value)| (id.as_str(), value.as_str()))
                .collect(),
            purpose: answer("purpose"),
        };
        let reply: CredentialReply = self
            .post("/v1/credentials", &body, DOCUMENT_LIMIT, DOCUMENT_BYTES_MAX)
            .await?;
        self.open_credential(reply)
    }

    /// Only a document whose seal is valid leaves this function.
    fn open_credential(&self, reply: CredentialReply) -> Result<Credential, PlatformError> {
        let pdf = STANDARD
            .decode(reply.pdf.as_bytes())
            .map_err(|_| PlatformError::BadReply("the document is not base64"))?;
        let digest = hex(ring::digest::digest(&ring::digest::SHA256, &pdf).as_ref());
        if digest != reply.seal.digest {
            return Err(PlatformError::Seal("the document was altered"));
        }
        if reply.seal.algorithm != "ed25519" {
            return Err(PlatformError::Seal("unknown algorithm"));
        }
        let key = self
            .seal_keys
            .get(&reply.seal.key_id)
            .ok_or(PlatformError::Seal(
                "sealed with a key that this terminal does not trust",
            ))?;
        let signature = STANDARD
            .decode(reply.seal.signature.as_bytes())
            .map_err(|_| PlatformError::Seal("the signature is not base64"))?;
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
            .verify(digest.as_bytes(), &signature)
            .map_err(|_| PlatformError::Seal("the signature does not match"))?;
        Ok(Credential {
            title: reply.title,
            number: reply.document_number,
            pdf: Arc::new(Sensitive::new(pdf)),
            issuer: reply.seal.issuer,
        })
    }

    pub(super) async fn case(&self, number: &str) -> Result<Option<CaseState>, PlatformError> {
        let path = format!("/v1/cases/{number}");
        let request = self.request(Method::GET, &path, QUESTION_LIMIT);
        let reply: CaseReply = match receive(request.send().await, REPLY_BYTES_MAX).await {
            Err(PlatformError::Refused { status: 404, .. }) => return Ok(None),
            reply => reply?,
        };
        let updated = reply
            .updated_at
            .parse()
            .map(super::for_people)
            .unwrap_or(reply.updated_at);
        Ok(Some(CaseState {
            state: reply.state,
            text: reply.text,
            updated,
        }))
    }

    pub(super) async fn batch(
        &self,
        transactions: Vec<BatchTransaction>,
    ) -> Result<BatchReply, PlatformError> {
        let body = Batch {
            terminal: &self.terminal,
            transactions,
        };
        self.post("/v1/batches", &body, BATCH_LIMIT, REPLY_BYTES_MAX)
            .await
    }

    /// A request with the headers that every request has.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http://") || path.starts_with("https://") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        self.http
            .request(method, url)
            .timeout(limit)
            .header("kiosk-terminal", &self.terminal)
    }

    /// The base address, for checking that an upload stays at home.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<T, PlatformError> {
        let request = self.request(Method::POST, path, limit).json(body);
        receive(request.send().await, bytes_max).await
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let written = write!(text, "{byte:02x}");
        debug_assert!(written.is_ok());
        text
    })
}

pub(super) fn transport(error: &reqwest::Error) -> PlatformError {
    if error.is_timeout() && !error.is_connect() {
        PlatformError::Slow
    } else {
        PlatformError::Unreachable
    }
}

/// The reply itself when its status is a success, else the error that it means.
pub(super) async fn checked(
    reply: Result<Response, reqwest::Error>,
) -> Result<Response, PlatformError> {
    let reply = reply.map_err(|error| transport(&error))?;
    let status = reply.status();
    if status.is_success() {
        return Ok(reply);
    }
    let retry_after_s = reply
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let number = status.as_u16();
    if status.is_server_error() {
        return Err(PlatformError::Server {
            status: number,
            retry_after_s,
        });
    }
    let is_not_now = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    );
    if is_not_now {
        return Err(PlatformError::NotNow {
            status: number,
            retry_after_s,
        });
    }
    if !status.is_client_error() {
        return Err(PlatformError::BadReply("a redirect"));
    }
    let problem: ProblemReply = match bounded(reply, REPLY_BYTES_MAX).await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => ProblemReply::default(),
    };
    Err(PlatformError::Refused {
        status: number,
        code: problem.code.chars().take(64).collect(),
        words: Words(problem.detail.chars().take(200).collect()),
    })
}

async fn receive<T: DeserializeOwned>(
    reply: Result<Response, reqwest::Error>,
    bytes_max: usize,
) -> Result<T, PlatformError> {
    let bytes = bounded(checked(reply).await?, bytes_max).await?;
    serde_json::from_slice(&bytes)
        .map_err(|_| PlatformError::BadReply("not the JSON of the contract"))
}

/// The body, up to `bytes_max`; a longer one is an error before it fills the memory.
async fn bounded(mut reply: Response, bytes_max: usize) -> Result<Vec<u8>, PlatformError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(|error| transport(&error))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(PlatformError::BadReply("longer than the contract allows"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
