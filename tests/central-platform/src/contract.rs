//! The words of the platform contract that travel in both directions; the `OpenAPI` document beside
//! the terminal's client says the same.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::problem::Problem;
use crate::switches::FaceAnswer;

/// Most transactions of one batch.
pub(crate) const BATCH_TRANSACTIONS_MAX: usize = 100;
/// Largest batch in bytes.
pub(crate) const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Longest short text of a request in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

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

#[derive(Serialize, Deserialize)]
pub(crate) struct Transaction {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) item: String,
    pub(crate) item_version: u32,
    pub(crate) case_number: String,
    pub(crate) enqueued_at: jiff::Timestamp,
    pub(crate) payload: Value,
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Attachment {
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

#[derive(Serialize)]
pub(crate) struct TransactionResult {
    pub(crate) id: Uuid,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// One result for one id.
#[derive(Serialize)]
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

/// Refuses an empty or overlong text by the name of its field.
pub(crate) fn bounded(fields: &[(&'static str, &str)]) -> Result<(), Problem> {
    for (name, text) in fields {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(Problem::unprocessable(
                "request.field",
                format!("`{name}` is empty or too long"),
            ));
        }
    }
    Ok(())
}

/// Refuses what names no person. The name may be empty: a typed number comes without one.
pub(crate) fn person(number: &str, name: &str) -> Result<(), Problem> {
    bounded(&[("number", number)])?;
    if name.is_empty() {
        return Ok(());
    }
    bounded(&[("name", name)])
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
