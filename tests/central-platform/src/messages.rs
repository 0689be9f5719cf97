//! The words of the platform contract that travel in both directions; the `OpenAPI` document beside
//! the terminal's client says the same.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::limits::{Limit, NAME, NUMBER, bounded, strict_id, within};
use crate::problem::Problem;
use crate::switches::FaceAnswer;

/// Most transactions of one batch.
pub(crate) const BATCH_TRANSACTIONS_MAX: usize = 100;
/// Largest batch in bytes.
pub(crate) const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Largest attachment as it is sent: 16 MiB and what an envelope adds.
pub(crate) const ATTACHMENT_BYTES_MAX: u64 = 16_777_472;
/// Most attachments of a transaction.
const ATTACHMENTS_MAX: usize = 16;
/// Most members of a list in a heartbeat, and most faults of one device.
const LIST_MAX: usize = 64;
const FAULTS_MAX: usize = 16;
/// The word of a payload that is not sealed.
pub(crate) const PLAIN: &str = "plain";

#[derive(Deserialize)]
pub(crate) struct IdentityCheck {
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) valid_until: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct IdentityAnswer {
    pub(crate) known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age: Option<u16>,
    pub(crate) eligible: BTreeMap<String, Eligibility>,
}

#[derive(Serialize)]
pub(crate) struct Eligibility {
    pub(crate) eligible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct FaceComparison {
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) image: String,
}

#[derive(Serialize)]
pub(crate) struct FaceResult {
    pub(crate) result: FaceAnswer,
    pub(crate) score: f64,
    pub(crate) reference: Uuid,
}

#[derive(Deserialize)]
pub(crate) struct WitnessQuestion {
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) item: String,
}

#[derive(Serialize)]
pub(crate) struct WitnessAnswer {
    pub(crate) is_authorized: bool,
    pub(crate) reference: Uuid,
}

#[derive(Serialize)]
pub(crate) struct CatalogueAnswer {
    pub(crate) version: u32,
    pub(crate) items: Vec<CatalogueItem>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CatalogueItem {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) is_suspended: bool,
}

#[derive(Deserialize)]
pub(crate) struct Batch {
    pub(crate) terminal: String,
    pub(crate) transactions: Vec<Transaction>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Transaction {
    #[serde(deserialize_with = "strict_id")]
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) item: String,
    pub(crate) item_version: u32,
    pub(crate) case_number: String,
    pub(crate) enqueued_at: jiff::Timestamp,
    /// The system behind the platform that it is for; empty for the platform itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) upstream: String,
    /// `plain`, or the suite of the envelope that `payload` holds in base64.
    #[serde(default = "plain", skip_serializing_if = "is_plain")]
    pub(crate) payload_suite: String,
    pub(crate) payload: Value,
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
}

fn plain() -> String {
    PLAIN.to_owned()
}

fn is_plain(suite: &str) -> bool {
    suite == PLAIN
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Attachment {
    #[serde(deserialize_with = "strict_id")]
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

#[derive(Serialize)]
pub(crate) struct BatchAnswer {
    pub(crate) results: Vec<TransactionResult>,
}

#[derive(Clone, Serialize)]
pub(crate) struct TransactionResult {
    pub(crate) id: Uuid,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// One result for one id.
#[derive(Clone, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Accepted {
        receipt: Receipt,
    },
    Duplicate {
        receipt: Receipt,
    },
    Rejected {
        problem: Problem,
    },
    Retry {
        problem: Problem,
        retry_after_s: u32,
    },
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) reference: String,
    pub(crate) accepted_at: jiff::Timestamp,
    pub(crate) outcome: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) valid_until: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promised_by: Option<Date>,
}

/// What a terminal says of itself.
#[derive(Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    pub(crate) terminal: String,
    pub(crate) sent_at: jiff::Timestamp,
    pub(crate) program_version: String,
    #[serde(deserialize_with = "strict_id")]
    pub(crate) boot: Uuid,
    pub(crate) uptime_s: u64,
    pub(crate) clock_offset_s: i64,
    pub(crate) queue: QueueDepths,
    pub(crate) devices: Vec<DeviceState>,
    /// Null, but never absent.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) audit: Option<AuditAnchor>,
    pub(crate) usage: Usage,
    pub(crate) desired_version: u64,
    pub(crate) catalogue_etag: String,
    /// Absent from a terminal without an updater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) update: Option<UpdateState>,
}

/// What the updater of a terminal says. States and codes are open lists: an unknown word is kept
/// and never drops a report.
#[derive(Serialize, Deserialize)]
pub(crate) struct UpdateState {
    pub(crate) version: String,
    pub(crate) slot: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) offered: Option<String>,
    #[serde(default)]
    pub(crate) rolled_back: Option<TakenBack>,
    #[serde(default)]
    pub(crate) metadata_expires: Option<jiff::Timestamp>,
    #[serde(default)]
    pub(crate) items_version: Option<String>,
    #[serde(default)]
    pub(crate) items_metadata_expires: Option<jiff::Timestamp>,
}

/// The release that a terminal took back last.
#[derive(Serialize, Deserialize)]
pub(crate) struct TakenBack {
    pub(crate) version: String,
    pub(crate) code: String,
    pub(crate) reason: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct QueueDepths {
    pub(crate) waiting: u64,
    pub(crate) dead: u64,
    /// Null, but never absent.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) oldest_enqueued_at: Option<jiff::Timestamp>,
    pub(crate) upstreams: Vec<UpstreamDepth>,
    pub(crate) key_ids: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct UpstreamDepth {
    pub(crate) upstream: String,
    pub(crate) waiting: u64,
    pub(crate) dead: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DeviceState {
    pub(crate) id: String,
    pub(crate) class: String,
    pub(crate) state: String,
    pub(crate) faults: Vec<String>,
}

/// The head of the terminal's audit chain, signed by it.
#[derive(Serialize, Deserialize)]
pub(crate) struct AuditAnchor {
    pub(crate) sequence: u64,
    pub(crate) head: String,
    pub(crate) signed: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) visits: u64,
    pub(crate) transactions: u64,
    pub(crate) prints: u64,
}

#[derive(Serialize)]
pub(crate) struct HeartbeatAnswer {
    pub(crate) server_time: jiff::Timestamp,
    pub(crate) desired_version: u64,
    pub(crate) commands_waiting: u64,
}

/// What an operator may set for a terminal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) suspended_items: Vec<String>,
    pub(crate) bytes_per_s: Option<u32>,
    pub(crate) off_hours: Option<String>,
    pub(crate) heartbeat_s: u32,
    /// The operator's signed list of what no longer counts; handed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) staff_revocations: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            suspended_items: Vec::new(),
            bytes_per_s: None,
            off_hours: None,
            heartbeat_s: 60,
            staff_revocations: None,
        }
    }
}

/// The body of a signed desired state.
#[derive(Serialize)]
pub(crate) struct DesiredState<'a> {
    pub(crate) terminal: &'a str,
    pub(crate) version: u64,
    pub(crate) issued_at: &'a str,
    #[serde(flatten)]
    pub(crate) settings: &'a Settings,
    pub(crate) sealing_key: &'a str,
    /// Releases that no terminal fetches or switches to while they stand here.
    pub(crate) held_releases: &'a [String],
}

/// The body of a signed command.
#[derive(Serialize)]
pub(crate) struct Command<'a> {
    pub(crate) id: Uuid,
    pub(crate) terminal: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) arguments: &'a Value,
    pub(crate) issued_at: jiff::Timestamp,
    pub(crate) expires_at: jiff::Timestamp,
}

/// What became of a command at its terminal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandResult {
    pub(crate) state: CommandState,
    pub(crate) code: String,
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CommandState {
    Done,
    Failed,
    Refused,
}

impl CommandState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// An order of payment as a terminal makes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayment {
    #[serde(deserialize_with = "strict_id")]
    pub(crate) id: Uuid,
    pub(crate) item: String,
    pub(crate) case_number: String,
    pub(crate) amount_fen: u64,
    pub(crate) subject: String,
    pub(crate) expires_in_s: u32,
}

impl NewPayment {
    /// Refuses what is outside the limits of the contract.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        within(&[
            ("item", &self.item, Limit::Word),
            ("case_number", &self.case_number, Limit::Word),
            ("subject", &self.subject, NUMBER),
        ])?;
        bounded("amount_fen", (1..=10_000_000).contains(&self.amount_fen))?;
        bounded("expires_in_s", (30..=3600).contains(&self.expires_in_s))
    }
}

/// An order of payment as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Payment {
    pub(crate) id: Uuid,
    pub(crate) state: String,
    pub(crate) amount_fen: u64,
    pub(crate) code_url: String,
    pub(crate) expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) paid_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refunded_at: Option<String>,
}

/// A free time.
#[derive(Serialize)]
pub(crate) struct Slot {
    #[serde(rename = "slot")]
    pub(crate) id: String,
    pub(crate) from: jiff::Timestamp,
    pub(crate) until: jiff::Timestamp,
    pub(crate) free: u64,
}

/// An appointment as a terminal makes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAppointment {
    #[serde(deserialize_with = "strict_id")]
    pub(crate) id: Uuid,
    pub(crate) item: String,
    pub(crate) slot: String,
    pub(crate) number: String,
    pub(crate) name: String,
}

impl NewAppointment {
    /// Refuses what is outside the limits of the contract.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        within(&[
            ("item", &self.item, Limit::Word),
            ("slot", &self.slot, Limit::Slot),
        ])?;
        person(&self.number, &self.name)
    }
}

/// An appointment as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Appointment {
    pub(crate) id: Uuid,
    pub(crate) state: String,
    pub(crate) slot: String,
    pub(crate) reference: String,
}

/// A wish to speak to an official.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewVideoSession {
    #[serde(deserialize_with = "strict_id")]
    pub(crate) id: Uuid,
    pub(crate) item: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) language: Option<Language>,
}

/// Languages that officials speak.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Language {
    #[serde(rename = "zh-Hans")]
    ZhHans,
    #[serde(rename = "zh-Hant")]
    ZhHant,
    #[serde(rename = "en")]
    En,
}

/// A video session as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VideoSession {
    pub(crate) id: Uuid,
    pub(crate) state: String,
    pub(crate) join_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
}

/// Where the papers of a case are.
#[derive(Serialize)]
pub(crate) struct Logistics {
    pub(crate) case_number: String,
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) carrier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tracking_number: Option<String>,
    pub(crate) events: Vec<LogisticsEvent>,
}

/// One step of a shipment.
#[derive(Serialize, Deserialize)]
pub(crate) struct LogisticsEvent {
    pub(crate) at: String,
    pub(crate) text: String,
}

#[derive(Serialize)]
pub(crate) struct CaseAnswer {
    pub(crate) case_number: String,
    pub(crate) item: String,
    pub(crate) state: String,
    pub(crate) text: String,
    pub(crate) updated_at: String,
}

/// States a case can be in.
pub(crate) const CASE_STATES: &[&str] = &[
    "accepted",
    "processing",
    "completed",
    "rejected",
    "correction",
];

/// Refuses what names no person. The name may be empty: a typed number comes without one.
pub(crate) fn person(number: &str, name: &str) -> Result<(), Problem> {
    within(&[("number", number, NUMBER), ("name", name, NAME)])
}

impl Transaction {
    /// Refuses what is outside the limits of the contract.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        within(&[
            ("kind", &self.kind, Limit::Kind),
            ("item", &self.item, Limit::Word),
            ("case_number", &self.case_number, Limit::Word),
            ("upstream", &self.upstream, Limit::Upstream),
        ])?;
        bounded("attachments", self.attachments.len() <= ATTACHMENTS_MAX)?;
        for attachment in &self.attachments {
            attachment.check()?;
        }
        Ok(())
    }
}

impl Attachment {
    /// Refuses what is outside the limits of the contract.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        described(&self.name, &self.media_type, self.size, &self.sha256)
    }
}

/// Refuses an attachment that is described outside the limits of the contract.
pub(crate) fn described(
    name: &str,
    media_type: &str,
    size: u64,
    sha256: &str,
) -> Result<(), Problem> {
    within(&[
        (
            "name",
            name,
            Limit::Text {
                least: 1,
                most: 128,
            },
        ),
        ("media_type", media_type, Limit::Text { least: 3, most: 64 }),
        ("sha256", sha256, Limit::Digest),
    ])?;
    bounded("size", (1..=ATTACHMENT_BYTES_MAX).contains(&size))
}

impl Heartbeat {
    /// Refuses what is outside the limits of the contract.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let text = |most| Limit::Text { least: 0, most };
        let word = |most| Limit::Text { least: 1, most };
        within(&[
            ("terminal", &self.terminal, Limit::Terminal),
            ("program_version", &self.program_version, text(32)),
            ("catalogue_etag", &self.catalogue_etag, text(256)),
        ])?;
        let queue = &self.queue;
        bounded("upstreams", queue.upstreams.len() <= LIST_MAX)?;
        bounded("key_ids", queue.key_ids.len() <= LIST_MAX)?;
        bounded("devices", self.devices.len() <= LIST_MAX)?;
        for each in &queue.upstreams {
            within(&[("upstream", &each.upstream, Limit::Upstream)])?;
        }
        for key_id in &queue.key_ids {
            within(&[("key_ids", key_id, Limit::KeyId)])?;
        }
        for device in &self.devices {
            within(&[
                ("id", &device.id, word(64)),
                ("class", &device.class, word(32)),
                ("state", &device.state, word(32)),
            ])?;
            bounded("faults", device.faults.len() <= FAULTS_MAX)?;
            for fault in &device.faults {
                within(&[("faults", fault, text(64))])?;
            }
        }
        bounded(
            "clock_offset_s",
            self.clock_offset_s.unsigned_abs() <= SAFE_INTEGER_MAX,
        )?;
        bounded("desired_version", self.desired_version <= SAFE_INTEGER_MAX)?;
        if let Some(update) = &self.update {
            update.check()?;
        }
        let Some(audit) = &self.audit else {
            return Ok(());
        };
        within(&[("head", &audit.head, Limit::Digest)])?;
        bounded("signed", is_signed_text(&audit.signed))
    }
}

impl UpdateState {
    fn check(&self) -> Result<(), Problem> {
        let text = |most| Limit::Text { least: 0, most };
        within(&[
            ("version", &self.version, Limit::Upstream),
            ("slot", &self.slot, text(32)),
            ("state", &self.state, text(32)),
            ("offered", self.offered.as_deref().unwrap_or(""), text(32)),
            (
                "items_version",
                self.items_version.as_deref().unwrap_or(""),
                text(64),
            ),
        ])?;
        self.rolled_back.as_ref().map_or(Ok(()), |back| {
            within(&[
                ("version", &back.version, Limit::Upstream),
                ("code", &back.code, Limit::Upstream),
                ("reason", &back.reason, text(512)),
            ])
        })
    }
}

/// Largest whole number that every reader of JSON keeps exactly.
pub(crate) const SAFE_INTEGER_MAX: u64 = 9_007_199_254_740_991;
/// Longest signed text.
const SIGNED_BYTES_MAX: usize = 65_536;

/// Whether a text has the three parts of a signed one.
fn is_signed_text(text: &str) -> bool {
    let is_base64url = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let parts: Vec<&str> = text.splitn(4, '.').collect();
    text.len() <= SIGNED_BYTES_MAX
        && parts.len() == 3
        && parts[0].len() == 16
        && parts[0]
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && parts[1..].iter().all(|part| is_base64url(part))
}

/// Date of birth inside an 18-place identity number, if it holds one.
pub(crate) fn birth_date(number: &str) -> Option<Date> {
    let digits = number.get(6..14).filter(|_| number.len() == 18)?;
    Date::strptime("%Y%m%d", digits).ok()
}

/// Whole years from a birth to a day.
pub(crate) fn age_on(birth: Date, today: Date) -> Option<u16> {
    let had_birthday = (today.month(), today.day()) >= (birth.month(), birth.day());
    let years = i32::from(today.year()) - i32::from(birth.year()) - i32::from(!had_birthday);
    u16::try_from(years).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn age_turns_on_the_birthday() {
        let birth = birth_date("440100199001011237").unwrap();
        assert_eq!(birth, date(1990, 1, 1));
        assert_eq!(age_on(birth, date(2025, 12, 31)), Some(35));
        assert_eq!(age_on(birth, date(2026, 1, 1)), Some(36));
        assert_eq!(age_on(birth, date(1989, 1, 1)), None);
    }

    #[test]
    fn a_number_without_a_date_has_no_age() {
        for number in [
            "",
            "H00000000",
            "440100199013411237",
            "四四〇一〇〇一九九〇",
        ] {
            assert_eq!(birth_date(number), None, "{number}");
        }
    }
}
