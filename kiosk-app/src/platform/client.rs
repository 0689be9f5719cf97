//! One request, one checked answer: signed, bounded and with a deadline. Knows how to speak, not
//! what about: the contract's messages stand in the files beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use kiosk_sealing::{DeviceKey, request};
use offline_cache::{QueuedAttachment, QueuedTransaction};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use super::drain::{BatchReply, Place, batch_body, batch_reply, upload_metadata};
use super::error::PlatformError;
use super::messages;
use super::time::PlatformClock;
use super::tls::{self, OwnCertificate};
use crate::clock::{self, Moment};

/// Largest ordinary reply in bytes; a batch of 100 results has about 60 kB.
pub(super) const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Of a refusal no more than this is read; a problem document has some hundred bytes.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a reply; the contract has ten.
const HEADERS_MAX: usize = 64;
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// A visitor waits for these; see `session::ANSWER_LIMIT`.
pub(super) const QUESTION_LIMIT: Duration = Duration::from_secs(8);
/// A batch of 256 KiB, or a piece of an upload, on the thinnest line.
const BULK_LIMIT: Duration = Duration::from_mins(1);
/// A heartbeat, a desired state, a catalogue: nobody waits.
const QUIET_LIMIT: Duration = Duration::from_secs(30);
/// Seconds the platform holds a request for commands (`openapi.yaml`: 50 at most) …
const COMMANDS_WAIT_S: u32 = 50;
/// … and how long the answer may take in all.
const COMMANDS_LIMIT: Duration = Duration::from_secs(65);
/// A connection that nobody uses is closed before proxies forget it silently.
const IDLE_LIMIT: Duration = Duration::from_secs(50);
/// A batch below this is not worth compressing.
const COMPRESSED_FROM: usize = 1024;
/// zstd's own default; 2 ms for a full batch.
const COMPRESSION_LEVEL: i32 = 3;
/// The media type of counters (`openapi.yaml`).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;

/// Who the terminal is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its number.
    pub terminal: String,
    /// Signs its requests.
    pub key: Arc<DeviceKey>,
}

/// A client of one platform. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Arc<Url>,
    identity: Identity,
    clock: Arc<PlatformClock>,
    pub(super) seal_keys: Arc<BTreeMap<String, Vec<u8>>>,
    random: SystemRandom,
    /// An older platform may not inflate; it is asked once a start.
    is_compressing: Arc<AtomicBool>,
    /// The certificate of this terminal, where the line has any.
    own: Option<Arc<OwnCertificate>>,
    /// The platform has taken this terminal out of service.
    is_revoked: Arc<AtomicBool>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path of the contract, from `/v1`.
    pub(super) path: &'a str,
    /// Without its question mark.
    pub(super) query: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) limit: Duration,
    pub(super) reply_bytes_max: usize,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: &'a str, limit: Duration) -> Self {
        Self {
            method: Method::GET,
            path,
            query: "",
            headers: Vec::new(),
            body: Vec::new(),
            limit,
            reply_bytes_max: REPLY_BYTES_MAX,
        }
    }

    pub(super) fn post(path: &'a str, body: Vec<u8>, limit: Duration) -> Self {
        Self {
            method: Method::POST,
            headers: vec![("content-type", "application/json".to_owned())],
            body,
            ..Self::get(path, limit)
        }
    }
}

/// A reply that was read to its end within its bounds.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after_s: Option<u64>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The reply itself when its status is a success, else the error that it means.
    pub(super) fn success(self) -> Result<Self, PlatformError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(PlatformError::from_reply(
            self.status,
            self.retry_after_s,
            &self.body,
        ))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn upload_offset(&self) -> Result<u64, PlatformError> {
        self.header("upload-offset")
            .and_then(|value| value.parse().ok())
            .ok_or(PlatformError::BadReply("an upload without an offset"))
    }
}

impl Client {
    /// A client as configured.
    ///
    /// # Errors
    /// [`PlatformError::Configuration`] names the key.
    pub(super) fn new(
        config: &crate::config::Platform,
        identity: Identity,
        clock: PlatformClock,
    ) -> Result<Self, PlatformError> {
        let wrong = |key: &str, message| PlatformError::Configuration {
            key: key.to_owned(),
            message,
        };
        let mut seal_keys = BTreeMap::new();
        for (id, key) in &config.seal_keys {
            let bytes = STANDARD.decode(key).ok().filter(|bytes| bytes.len() == 32);
            let bytes = bytes
                .ok_or_else(|| wrong(&format!("seal_keys.{id}"), "standard base64 of 32 bytes"))?;
            seal_keys.insert(id.clone(), bytes);
        }
        let base = Url::parse(&config.url)
            .ok()
            .filter(|url| url.has_host() && url.query().is_none())
            .ok_or_else(|| wrong("url", "an address such as https://platform.example"))?;
        let clock = Arc::new(clock);
        let mut builder = builder();
        let mut own = None;
        match (&config.tls, base.scheme()) {
            (Some(tls), _) => {
                let (config, certificate) = tls::client_config(tls, &clock)?;
                own = Some(certificate);
                builder = builder.tls_backend_preconfigured(config);
            }
            (None, "https") => {
                return Err(wrong("tls", "ca, certificate and key for an https address"));
            }
            (None, _) => {}
        }
        let http = builder
            .build()
            .map_err(|_| wrong("url", "no HTTP client can be made on this system"))?;
        Ok(Self {
            http,
            base: Arc::new(base),
            identity,
            clock,
            seal_keys: Arc::new(seal_keys),
            random: SystemRandom::new(),
            is_compressing: Arc::new(AtomicBool::new(true)),
            own,
            is_revoked: Arc::new(AtomicBool::new(false)),
        })
    }

    /// The terminal's number.
    pub(super) fn terminal(&self) -> &str {
        &self.identity.terminal
    }

    /// The platform's time as far as it is known.
    pub(super) fn time(&self, now: Moment) -> Timestamp {
        self.clock.now(now)
    }

    /// The certificate of this terminal, where the line has any.
    pub(super) fn own_certificate(&self) -> Option<Arc<OwnCertificate>> {
        self.own.clone()
    }

    /// The time by which certificates are judged.
    pub(super) fn certificate_time(&self, now: Moment) -> Timestamp {
        self.clock.for_certificates(now)
    }

    /// Asks for a certificate that follows the present one.
    pub(super) async fn certificate<T: serde::de::DeserializeOwned>(
        &self,
        body: Vec<u8>,
    ) -> Result<T, PlatformError> {
        let call = Call::post("/v1/certificates", body, QUIET_LIMIT);
        read_json(&self.send(&call).await?.success()?.body)
    }

    /// Seconds the platform's clock is ahead.
    pub(super) fn clock_offset_s(&self, now: Moment) -> i64 {
        self.clock.offset_s(now)
    }

    /// The same, where the platform has said what time it is.
    pub(super) fn clock_ahead_s(&self, now: Moment) -> Option<i64> {
        self.clock.has_seen().then(|| self.clock.offset_s(now))
    }

    /// What is to be stored of the platform's time, now and then.
    pub(super) fn time_to_store(&self) -> Option<String> {
        self.clock.to_store()
    }

    /// Anything up to a bound.
    pub(super) fn spread(&self, bound: Duration) -> Duration {
        let mut bytes = [0_u8; 4];
        if self.random.fill(&mut bytes).is_err() {
            return bound;
        }
        bound.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }

    /// True when the platform answers.
    pub(super) async fn is_reachable(&self) -> bool {
        let call = Call {
            reply_bytes_max: REFUSAL_BYTES_MAX,
            ..Call::get("/v1/health", CONNECT_LIMIT)
        };
        matches!(self.once(&call, false).await, Ok(reply) if (200..300).contains(&reply.status))
    }

    pub(super) async fn batch(
        &self,
        transactions: &[QueuedTransaction],
    ) -> Result<BatchReply, PlatformError> {
        let body = batch_body(self.terminal(), transactions);
        let mut call = Call::post("/v1/batches", Vec::new(), BULK_LIMIT);
        let packed = self.packed(&body);
        let is_packed = packed.is_some();
        if is_packed {
            call.headers.push(("content-encoding", "zstd".to_owned()));
        }
        call.body = packed.unwrap_or_else(|| body.clone());
        let mut reply = self.send(&call).await?;
        if reply.status == 415 && is_packed {
            tracing::warn!("the platform does not inflate; batches go as they are");
            self.is_compressing.store(false, Ordering::Relaxed);
            call.headers.pop();
            call.body = body;
            reply = self.send(&call).await?;
        }
        batch_reply(reply.status, reply.retry_after_s, &reply.body)
    }

    /// The body compressed, when that is worth it.
    fn packed(&self, body: &[u8]) -> Option<Vec<u8>> {
        if body.len() <= COMPRESSED_FROM || !self.is_compressing.load(Ordering::Relaxed) {
            return None;
        }
        zstd::bulk::compress(body, COMPRESSION_LEVEL)
            .ok()
            .filter(|packed| packed.len() < body.len())
    }

    /// Where an upload goes on, asked or made.
    pub(super) async fn place(
        &self,
        attachment: &QueuedAttachment,
    ) -> Result<Place, PlatformError> {
        if let Some(url) = &attachment.upload_url {
            let call = Call {
                method: Method::HEAD,
                headers: vec![("tus-resumable", "1.0.0".to_owned())],
                ..Call::get(url, QUIET_LIMIT)
            };
            let reply = self.send(&call).await?.success()?;
            return Ok(Place {
                url: url.clone(),
                offset: reply.upload_offset()?,
            });
        }
        let call = Call {
            method: Method::POST,
            headers: vec![
                ("tus-resumable", "1.0.0".to_owned()),
                ("upload-length", attachment.size.to_string()),
                ("upload-metadata", upload_metadata(attachment)),
            ],
            ..Call::get("/v1/attachments", QUIET_LIMIT)
        };
        let reply = self.send(&call).await?.success()?;
        let location = reply
            .header("location")
            .ok_or(PlatformError::BadReply("an upload without a place"))?;
        Ok(Place {
            url: self.at_home(location)?,
            offset: reply.upload_offset().unwrap_or(0),
        })
    }

    pub(super) async fn chunk(
        &self,
        url: &str,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, PlatformError> {
        let call = Call {
            method: Method::PATCH,
            headers: vec![
                ("tus-resumable", "1.0.0".to_owned()),
                ("upload-offset", offset.to_string()),
                ("content-type", "application/offset+octet-stream".to_owned()),
            ],
            body: bytes,
            ..Call::get(url, BULK_LIMIT)
        };
        self.send(&call).await?.success()?.upload_offset()
    }

    pub(super) async fn heartbeat<T: serde::de::DeserializeOwned>(
        &self,
        body: &[u8],
    ) -> Result<T, PlatformError> {
        let call = Call::post("/v1/heartbeats", body.to_vec(), QUIET_LIMIT);
        read_json(&self.send(&call).await?.success()?.body)
    }

    /// Hands in counters, as `OpenMetrics` text.
    pub(super) async fn telemetry(&self, text: String) -> Result<(), PlatformError> {
        let call = Call {
            method: Method::POST,
            headers: vec![("content-type", OPENMETRICS.to_owned())],
            body: text.into_bytes(),
            ..Call::get("/v1/telemetry", QUIET_LIMIT)
        };
        self.send(&call).await?.success().map(drop)
    }

    /// A desired state newer than `have`, still signed; `None` when there is none.
    pub(super) async fn desired_state(&self, have: u64) -> Result<Option<Vec<u8>>, PlatformError> {
        let query = format!("have={have}");
        let call = Call {
            query: &query,
            ..Call::get("/v1/desired-state", QUIET_LIMIT)
        };
        let reply = self.send(&call).await?;
        if reply.status == 304 {
            return Ok(None);
        }
        reply.success().map(|reply| Some(reply.body))
    }

    /// The body of a catalogue that is not the one of `etag`, with its own; `None` when it is.
    pub(super) async fn catalogue(
        &self,
        etag: &str,
    ) -> Result<Option<(String, Vec<u8>)>, PlatformError> {
        let mut call = Call::get("/v1/catalogue", QUIET_LIMIT);
        if !etag.is_empty() {
            call.headers.push(("if-none-match", etag.to_owned()));
        }
        let reply = self.send(&call).await?;
        if reply.status == 304 {
            return Ok(None);
        }
        let reply = reply.success()?;
        let etag = reply
            .header("etag")
            .ok_or(PlatformError::BadReply("a catalogue without an ETag"))?
            .to_owned();
        Ok(Some((etag, reply.body)))
    }

    /// Waits for commands.
    pub(super) async fn commands(&self) -> Result<Vec<u8>, PlatformError> {
        let query = format!("wait={COMMANDS_WAIT_S}");
        let call = Call {
            query: &query,
            ..Call::get("/v1/commands", COMMANDS_LIMIT)
        };
        Ok(self.send(&call).await?.success()?.body)
    }

    /// Reports what became of a command.
    pub(super) async fn command_result(&self, id: Uuid, body: &str) -> Result<(), PlatformError> {
        let path = format!("/v1/commands/{id}/result");
        let call = Call::post(&path, body.as_bytes().to_vec(), QUIET_LIMIT);
        self.send(&call).await?.success().map(drop)
    }

    /// Sends a signed request. When the platform finds its time stale, the terminal takes the
    /// platform's time and tries once more.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Reply, PlatformError> {
        let reply = self.once(call, true).await?;
        let is_stale =
            reply.status == 401 && messages::problem(&reply.body).code == "signature.stale";
        if is_stale {
            tracing::info!("the platform's time was taken over for signatures");
            return self.once(call, true).await;
        }
        Ok(reply)
    }

    async fn once(&self, call: &Call<'_>, is_signed: bool) -> Result<Reply, PlatformError> {
        let mut request = self
            .http
            .request(call.method.clone(), self.address(call))
            .timeout(call.limit)
            .header("kiosk-terminal", self.terminal());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if is_signed {
            let signed = self.signed(call)?;
            for (name, value) in [
                ("content-digest", signed.content_digest),
                ("signature-input", signed.signature_input),
                ("signature", signed.signature),
                // A platform that takes a terminal's first key at its word has to see it once.
                ("kiosk-key", self.identity.key.public().to_string()),
            ] {
                request = request.header(name, value);
            }
        }
        let response = request
            .body(call.body.clone())
            .send()
            .await
            .map_err(|error| transport(&error))?;
        let now = clock::now();
        let date = response
            .headers()
            .get("date")
            .and_then(|value| messages::http_date(value.to_str().ok()?));
        if let Some(date) = date {
            self.clock.saw(date, self.base.scheme() == "https", now);
        }
        let time = date.unwrap_or_else(|| self.clock.now(now));
        let reply = self.read(response, call.reply_bytes_max, time).await?;
        self.note_standing(&reply);
        Ok(reply)
    }

    /// Says once that this terminal was taken out of service, and once that it is back.
    fn note_standing(&self, reply: &Reply) {
        let is_revoked = messages::is_revocation(reply.status, &reply.body);
        if !is_revoked && !(200..300).contains(&reply.status) {
            return;
        }
        let was_revoked = self.is_revoked.swap(is_revoked, Ordering::Relaxed);
        if is_revoked && !was_revoked {
            tracing::error!(
                code = "platform.revoked",
                "the platform has taken this terminal out of service; what is queued waits"
            );
        }
        if was_revoked && !is_revoked {
            tracing::info!("the platform serves this terminal again");
        }
    }

    async fn read(
        &self,
        response: Response,
        bytes_max: usize,
        time: Timestamp,
    ) -> Result<Reply, PlatformError> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let retry_after_s = headers
            .get("retry-after")
            .and_then(|value: &HeaderValue| messages::retry_after(value.to_str().ok()?, time));
        let body = if response.status().is_success() {
            bounded(response, bytes_max).await?
        } else {
            // What a refusal says is useful; that it says it too long changes nothing.
            bounded(response, REFUSAL_BYTES_MAX)
                .await
                .unwrap_or_default()
        };
        Ok(Reply {
            status,
            retry_after_s,
            headers,
            body,
        })
    }

    fn signed(&self, call: &Call<'_>) -> Result<request::Headers, PlatformError> {
        let mut nonce = [0_u8; NONCE_BYTES];
        self.random
            .fill(&mut nonce)
            .map_err(|_| PlatformError::Signature(kiosk_sealing::KeyError::Random))?;
        let message = request::Request {
            method: call.method.as_str(),
            // What stands before /v1 is the affair of a proxy, which may take it away.
            path: call.path,
            query: call.query,
            terminal: self.terminal(),
            body: &call.body,
        };
        let created_s = self.clock.now(clock::now()).as_second();
        request::sign(
            &self.identity.key,
            &message,
            created_s,
            &URL_SAFE_NO_PAD.encode(nonce),
        )
        .map_err(PlatformError::Signature)
    }

    fn address(&self, call: &Call<'_>) -> Url {
        let mut url = Url::clone(&self.base);
        let path = format!("{}{}", url.path().trim_end_matches('/'), call.path);
        url.set_path(&path);
        url.set_query(Some(call.query).filter(|query| !query.is_empty()));
        url
    }

    /// The path of an upload, which stays at this platform.
    fn at_home(&self, location: &str) -> Result<String, PlatformError> {
        const ELSEWHERE: PlatformError = PlatformError::BadReply("an upload to somewhere else");
        let url = self.base.join(location).map_err(|_| ELSEWHERE)?;
        if url.origin() != self.base.origin() || url.query().is_some() {
            return Err(ELSEWHERE);
        }
        let path = url.path();
        let prefix = self.base.path().trim_end_matches('/');
        let path = path.strip_prefix(prefix).unwrap_or(path);
        if !path.starts_with("/v1/") {
            return Err(ELSEWHERE);
        }
        Ok(path.to_owned())
    }
}

/// Reads JSON of the contract.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, PlatformError> {
    serde_json::from_slice(body)
        .map_err(|_| PlatformError::BadReply("not the JSON of the contract"))
}

/// What every client of a platform has in common, whether it has a certificate already or not.
pub(super) fn builder() -> reqwest::ClientBuilder {
    // A second call finds the provider installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .pool_idle_timeout(IDLE_LIMIT)
        .http1_max_headers(HEADERS_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("kiosk/", env!("CARGO_PKG_VERSION")))
}

/// No connection at all is the line's; everything after it may have taken effect.
pub(super) fn transport(error: &reqwest::Error) -> PlatformError {
    if error.is_connect() {
        PlatformError::Unreachable
    } else if error.is_timeout() {
        PlatformError::Slow
    } else {
        PlatformError::Cut
    }
}

/// The body, up to `bytes_max`; a longer one is an error before it is read, or at least before it
/// fills the memory.
pub(super) async fn bounded(
    mut response: Response,
    bytes_max: usize,
) -> Result<Vec<u8>, PlatformError> {
    const TOO_LONG: PlatformError = PlatformError::BadReply("longer than the contract allows");
    if response
        .content_length()
        .is_some_and(|length| length > bytes_max as u64)
    {
        return Err(TOO_LONG);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(TOO_LONG);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
