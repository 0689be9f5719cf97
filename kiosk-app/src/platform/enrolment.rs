//! How this machine becomes a terminal: it makes its keys, shows a code that an administrator made
//! for its number, and keeps the certificate that comes back. Whatever breaks off may be done again:
//! the keys are durable before they are spoken of, and the platform repeats its answer.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiosk_sealing::{DeviceKey, KeyError, KeySource, PublicKey, RecipientKey, write_private};
use reqwest::Url;
use rustls::client::ClientConfig;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::certificate::{self, CertificateError, Standing};
use super::client::{self, REPLY_BYTES_MAX, bounded, transport};
use super::error::PlatformError;
use super::messages;
use super::time::PlatformClock;
use super::tls::{self, read};
use crate::clock::Moment;

/// Directory of the certificate in that of the durable state.
const DIRECTORY: &str = "tls";
/// Certificate and key.
const PAIR: &str = "terminal.pem";
/// Who vouches for the platform.
const CA: &str = "ca.pem";
/// What the platform said besides.
const TOLD: &str = "terminal.json";
/// Letters of a code (`openapi.yaml`).
const CODE_LETTERS: usize = 12;
/// Longest name of a place, in characters (`openapi.yaml`).
const PLACE_MAX: usize = 200;
/// Longest wait for the whole answer; a person stands before it.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Deepest chain of causes that is looked through.
const CAUSES_MAX: usize = 16;

/// Why this machine did not become a terminal.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The address is none.
    #[error("the address of the platform starts with https:// and has no question mark")]
    Address,
    /// The number is none.
    #[error("a number of a terminal has 3 to 16 letters, digits or `-`")]
    Number,
    /// The code was typed wrong; nobody was asked.
    #[error("a code has 12 letters and digits")]
    CodeMalformed,
    /// Whoever runs the command is not the terminal's user.
    #[error("{} belongs to another user; run this as the terminal's user", directory.display())]
    WrongUser {
        /// The directory of the state.
        directory: PathBuf,
    },
    /// The file of authorities is none.
    #[error("{} holds no certificate authority in PEM", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
    },
    /// The directory of the state cannot be written.
    #[error("the directory of the state cannot be read or written")]
    Storage(#[from] io::Error),
    /// The terminal's own key cannot be used.
    #[error("the terminal's own key cannot be used")]
    Key(#[from] KeyError),
    /// The machine on the other end is not the platform.
    #[error("the platform's certificate is not believed")]
    NotBelieved,
    /// No code of this terminal.
    #[error("the code is wrong")]
    CodeWrong,
    /// Another machine used it.
    #[error("the code was used by another machine")]
    CodeUsed,
    /// It is too old.
    #[error("the code is too old")]
    CodeExpired,
    /// Too many wrong codes.
    #[error("there were too many wrong codes")]
    Locked,
    /// The platform signs no certificates.
    #[error("the platform takes in no terminals")]
    NotOffered,
    /// The answer cannot be used.
    #[error("the certificate that came cannot be used")]
    Certificate(#[from] CertificateError),
    /// The line, or the platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

impl EnrolmentError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address => "enrolment.address",
            Self::Number => "enrolment.number",
            Self::CodeMalformed => "enrolment.code-malformed",
            Self::WrongUser { .. } => "enrolment.wrong-user",
            Self::Authority { .. } => "enrolment.ca-unusable",
            Self::Storage(error) if error.kind() == io::ErrorKind::StorageFull => {
                "enrolment.disk-full"
            }
            Self::Storage(_) => "enrolment.storage",
            Self::Key(error) => error.code(),
            Self::NotBelieved => "enrolment.platform-not-believed",
            Self::CodeWrong => "enrolment.code-wrong",
            Self::CodeUsed => "enrolment.code-used",
            Self::CodeExpired => "enrolment.code-expired",
            Self::Locked => "enrolment.locked",
            Self::NotOffered => "enrolment.not-offered",
            Self::Certificate(_) => "enrolment.certificate-unusable",
            Self::Platform(error) => error.code(),
        }
    }
}

/// What this machine brings to become a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Application<'a> {
    /// Address of the platform, `https://`.
    pub url: &'a str,
    /// The terminal's number.
    pub terminal: &'a str,
    /// File of who vouches for the platform, in PEM.
    pub ca: &'a Path,
    /// Directory of the durable state; made when absent.
    pub state: &'a Path,
    /// Where the terminal's own key is; made at the first start.
    pub key: &'a KeySource,
}

/// A terminal that is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// What the platform said.
    pub told: Told,
    /// End of its certificate.
    pub not_after: Timestamp,
    /// File of certificate and key.
    pub certificate: PathBuf,
    /// File of who vouches for the platform.
    pub ca: PathBuf,
}

/// What the platform said of a terminal. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its number.
    pub terminal: String,
    /// Address of the platform.
    pub url: String,
    /// Where it stands, 市/县/镇/村.
    pub region: String,
    /// Name of the place.
    pub site: String,
    /// Whom everything is sealed to.
    pub sealing_key: String,
    /// Who gives orders.
    pub command_key: String,
}

impl Enrolled {
    /// The lines of `kiosk.toml` that follow from it.
    pub fn lines(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Path| quoted(&path.display().to_string());
        let Told {
            terminal,
            url,
            site,
            sealing_key,
            command_key,
            ..
        } = &self.told;
        format!(
            "[terminal]\nid = {}\nsite = {}\n\n[platform]\nurl = {}\nsealing_key = {}\n\
             command_keys = [{}]\ntls = {{ ca = {}, certificate = {}, key = {} }}\n",
            quoted(terminal),
            quoted(site),
            quoted(url),
            quoted(sealing_key),
            quoted(command_key),
            path(&self.ca),
            path(&self.certificate),
            path(&self.certificate),
        )
    }
}

/// The answer of the platform.
#[derive(Debug, Deserialize)]
pub struct EnrolmentReply {
    certificate: String,
    ca: String,
    region: String,
    site: String,
    sealing_key: String,
    command_key: String,
}

impl EnrolmentReply {
    /// Reads the answer; `None` for what is none, names no keys or is longer than the contract allows.
    /// A function of outside bytes.
    pub fn read(body: &[u8]) -> Option<Self> {
        if body.len() > REPLY_BYTES_MAX {
            return None;
        }
        let reply: Self = serde_json::from_slice(body).ok()?;
        let is_place = |text: &str| {
            (1..=PLACE_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        };
        let is_good = is_place(&reply.region)
            && is_place(&reply.site)
            && reply.sealing_key.parse::<RecipientKey>().is_ok()
            && reply.command_key.parse::<PublicKey>().is_ok();
        is_good.then_some(reply)
    }
}

/// What is asked.
#[derive(Serialize)]
struct Question<'a> {
    terminal: &'a str,
    code: &'a str,
    csr: &'a str,
    device_key: String,
}

/// The terminal that this machine is already, if its certificate is for that number and has not
/// ended.
pub fn enrolled(state: &Path, terminal: &str, now: Timestamp) -> Option<Enrolled> {
    let directory = state.join(DIRECTORY);
    let pair = Zeroizing::new(read(&directory.join(PAIR)).ok()?);
    let told: Told = serde_json::from_slice(&read(&directory.join(TOLD)).ok()?).ok()?;
    let (_, Standing { not_after, .. }) =
        certificate::accepted(&pair, &pair, terminal, now).ok()?;
    (told.terminal == terminal).then(|| Enrolled {
        told,
        not_after,
        certificate: directory.join(PAIR),
        ca: directory.join(CA),
    })
}

/// Makes this machine a terminal.
///
/// # Errors
/// [`EnrolmentError`]; doing it again with the same code is right after every one of them but those
/// about the code.
pub fn enroll(
    application: &Application<'_>,
    code: &str,
    now: Moment,
) -> Result<Enrolled, EnrolmentError> {
    let Application { url, terminal, .. } = *application;
    let address = address(url).ok_or(EnrolmentError::Address)?;
    if !is_number(terminal) {
        return Err(EnrolmentError::Number);
    }
    if !is_code(code) {
        return Err(EnrolmentError::CodeMalformed);
    }
    let directory = home(application.state)?;
    let unusable = || EnrolmentError::Authority {
        path: application.ca.to_owned(),
    };
    let ca = read(application.ca).map_err(|_| unusable())?;
    let clock = Arc::new(PlatformClock::new(None));
    let config = tls::enrolment_config(&ca, &clock).ok_or_else(unusable)?;
    let device_key = DeviceKey::open(application.key)?.public();
    let present = Zeroizing::new(read(&directory.join(PAIR)).unwrap_or_default());
    let key = certificate::next_key(&directory, &present)?;
    let csr = certificate::request(&key, terminal).map_err(|_| KeyError::Random)?;
    let question = Question {
        terminal,
        code,
        csr: &csr,
        device_key: device_key.to_string(),
    };
    let body = Zeroizing::new(serde_json::to_vec(&question).map_err(io::Error::other)?);
    let reply = ask(config, address, &body, &clock, now)?;
    let at = clock.for_certificates(now);
    let chain = reply.certificate.as_bytes();
    let (_, standing) = certificate::accepted(chain, key.as_bytes(), terminal, at)?;
    certificate::leads_to(chain, reply.ca.as_bytes(), at)?;
    let enrolled = Enrolled {
        told: Told {
            terminal: terminal.to_owned(),
            url: url.to_owned(),
            region: reply.region,
            site: reply.site,
            sealing_key: reply.sealing_key,
            command_key: reply.command_key,
        },
        not_after: standing.not_after,
        certificate: directory.join(PAIR),
        ca: directory.join(CA),
    };
    write_private(&enrolled.ca, &ca)?;
    let told = serde_json::to_vec(&enrolled.told).map_err(io::Error::other)?;
    write_private(&directory.join(TOLD), &told)?;
    // Last: whoever finds it finds the rest too.
    certificate::store(&enrolled.certificate, &key, &reply.certificate)?;
    Ok(enrolled)
}

fn address(url: &str) -> Option<Url> {
    let mut url = Url::parse(url).ok()?;
    let is_good = url.scheme() == "https" && url.has_host() && url.query().is_none();
    let path = format!("{}/v1/enrolments", url.path().trim_end_matches('/'));
    url.set_path(&path);
    is_good.then_some(url)
}

fn is_number(terminal: &str) -> bool {
    (3..=16).contains(&terminal.len())
        && terminal
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Twelve letters, whatever stands between them; which letters are good is the platform's to say.
fn is_code(code: &str) -> bool {
    let letters = code.bytes().filter(u8::is_ascii_alphanumeric).count();
    let is_clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-');
    code.len() <= 2 * CODE_LETTERS && letters == CODE_LETTERS && code.bytes().all(is_clean)
}

/// The directory of the certificate, which only the terminal's user may read.
fn home(state: &Path) -> Result<PathBuf, EnrolmentError> {
    let directory = state.join(DIRECTORY);
    let make = |path: &Path| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
    };
    make(state)?;
    // A file of another user in there stops the next start.
    if std::fs::metadata(state)?.uid() != rustix::process::geteuid().as_raw() {
        return Err(EnrolmentError::WrongUser {
            directory: state.to_owned(),
        });
    }
    make(&directory)?;
    std::fs::File::open(state)?.sync_all()?;
    Ok(directory)
}

fn ask(
    config: ClientConfig,
    address: Url,
    body: &[u8],
    clock: &PlatformClock,
    now: Moment,
) -> Result<EnrolmentReply, EnrolmentError> {
    let client = client::builder()
        .timeout(ANSWER_LIMIT)
        .tls_backend_preconfigured(config)
        .build()
        .map_err(|_| EnrolmentError::Address)?;
    let request = client
        .post(address)
        .header("content-type", "application/json")
        .body(body.to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(PlatformError::Start)?;
    let (status, bytes) = runtime.block_on(async {
        let response = request.send().await.map_err(|error| {
            if is_disbelief(&error) {
                EnrolmentError::NotBelieved
            } else {
                transport(&error).into()
            }
        })?;
        let date = response.headers().get("date").and_then(|value| {
            let text = value.to_str().ok()?;
            messages::http_date(text)
        });
        if let Some(date) = date {
            clock.saw(date, true, now);
        }
        let status = response.status().as_u16();
        let bytes = bounded(response, REPLY_BYTES_MAX).await?;
        Ok::<_, EnrolmentError>((status, bytes))
    })?;
    if (200..300).contains(&status) {
        let bad = PlatformError::BadReply("not the enrolment of the contract");
        return EnrolmentReply::read(&bytes).ok_or_else(|| bad.into());
    }
    Err(refusal(status, &bytes))
}

/// What a refusal means.
fn refusal(status: u16, body: &[u8]) -> EnrolmentError {
    match messages::problem(body).code.as_str() {
        "enrolment.code-wrong" => EnrolmentError::CodeWrong,
        "enrolment.code-used" => EnrolmentError::CodeUsed,
        "enrolment.code-expired" => EnrolmentError::CodeExpired,
        "enrolment.locked" => EnrolmentError::Locked,
        "enrolment.not-offered" => EnrolmentError::NotOffered,
        _ => PlatformError::from_reply(status, None, body).into(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_about_the_code() {
        for (status, code, expected) in [
            (403, "enrolment.code-wrong", "enrolment.code-wrong"),
            (409, "enrolment.code-used", "enrolment.code-used"),
            (410, "enrolment.code-expired", "enrolment.code-expired"),
            (429, "enrolment.locked", "enrolment.locked"),
            (404, "enrolment.not-offered", "enrolment.not-offered"),
            (403, "terminal.revoked", "platform.revoked"),
            (429, "platform.busy", "platform.not-now"),
            (503, "platform.busy", "platform.server-error"),
            (422, "request.field", "platform.refused"),
        ] {
            let body = format!("{{\"code\":\"{code}\"}}");
            assert_eq!(refusal(status, body.as_bytes()).code(), expected);
        }
        assert_eq!(refusal(404, b"<html>").code(), "platform.refused");
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let storage = |kind: io::ErrorKind| EnrolmentError::from(io::Error::from(kind)).code();
        assert_eq!(storage(io::ErrorKind::StorageFull), "enrolment.disk-full");
        assert_eq!(
            storage(io::ErrorKind::PermissionDenied),
            "enrolment.storage"
        );
    }

    #[test]
    fn what_is_typed_wrong_is_told_before_anybody_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let key = KeySource::File {
            path: directory.path().join("device-key.pk8"),
            algorithm: kiosk_sealing::Algorithm::Ed25519,
        };
        let (state, ca) = (directory.path().join("state"), directory.path().join("ca"));
        for (url, terminal, code, expected) in [
            (
                "http://platform.example",
                "T001",
                "7K3M-9QXT-01AB",
                "enrolment.address",
            ),
            (
                "https://platform.example?x",
                "T001",
                "7K3M-9QXT-01AB",
                "enrolment.address",
            ),
            (
                "https://platform.example",
                "T 1",
                "7K3M-9QXT-01AB",
                "enrolment.number",
            ),
            (
                "https://platform.example",
                "T001",
                "7K3M-9QXT-01A",
                "enrolment.code-malformed",
            ),
            (
                "https://platform.example",
                "T001",
                "7K3M-9QXT-01A测",
                "enrolment.code-malformed",
            ),
            (
                "https://platform.example",
                "T001",
                "7k3m 9qxt 01ab",
                "enrolment.ca-unusable",
            ),
        ] {
            let application = Application {
                url,
                terminal,
                ca: &ca,
                state: &state,
                key: &key,
            };
            let now = crate::clock::now();
            let error = enroll(&application, code, now).unwrap_err();
            assert_eq!(error.code(), expected);
        }
    }

    #[test]
    fn an_answer_without_keys_or_with_endless_names_is_none() {
        let device = DeviceKey::generate(kiosk_sealing::Algorithm::Ed25519).unwrap();
        let sealing = kiosk_sealing::RecipientSecret::generate(kiosk_sealing::Suite::Intl).unwrap();
        let good = serde_json::json!({"certificate": "c", "ca": "a", "not_after": "",
            "region": "测试市/测试县", "site": "测试村", "sealing_key": sealing.public().to_string(),
            "command_key": device.public().to_string()});
        let is_read = |reply: &serde_json::Value| {
            EnrolmentReply::read(reply.to_string().as_bytes()).is_some()
        };
        assert!(is_read(&good));
        for (name, bad) in [
            ("sealing_key", "intl:"),
            ("command_key", ""),
            ("site", "一\n二"),
            ("region", ""),
            ("site", &"测".repeat(201)),
        ] {
            let mut reply = good.clone();
            reply[name] = bad.into();
            assert!(!is_read(&reply), "{name}");
        }
        assert!(EnrolmentReply::read(b"{").is_none());
    }

    #[test]
    fn the_lines_are_a_configuration_whatever_the_place_is_called() {
        let device = DeviceKey::generate(kiosk_sealing::Algorithm::Ed25519).unwrap();
        let sealing = kiosk_sealing::RecipientSecret::generate(kiosk_sealing::Suite::Intl).unwrap();
        let enrolled = Enrolled {
            told: Told {
                terminal: "T001".to_owned(),
                url: "https://platform.example".to_owned(),
                region: "测试市/测试县".to_owned(),
                site: "\"测试\\村\"".to_owned(),
                sealing_key: sealing.public().to_string(),
                command_key: device.public().to_string(),
            },
            not_after: Timestamp::UNIX_EPOCH,
            certificate: PathBuf::from("/s/tls/terminal.pem"),
            ca: PathBuf::from("/s/tls/ca.pem"),
        };
        let lines = enrolled.lines();
        let text = lines.replace("[platform]", "help_phone = \"12345\"\n[platform]")
            + "[paths]\nstate = \"s\"\nitems = \"i\"\n";
        let config = crate::Config::parse(&text).unwrap();
        assert_eq!(config.terminal.site, "\"测试\\村\"");
        assert_eq!(config.platform.command_keys, [device.public()]);
        assert_eq!(config.platform.tls.unwrap().key, enrolled.certificate);
    }
}
