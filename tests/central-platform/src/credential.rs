//! Certificates as a real authority would return them: typeset, numbered and sealed here. What
//! they state is synthetic and follows from the request alone, so that the same request gives the
//! same statement.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use kiosk_documents::{DocumentError, Template, Typesetter, qr_svg};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use axum::http::StatusCode;

use crate::limits::{Limit, NUMBER, bounded, within};
use crate::problem::Problem;
use crate::seal::{ISSUER, Seal, SealKey};
use kiosk_sealing::{hex, sha256};

const TEMPLATE: &str = include_str!("../templates/insurance-certificate.typ");
/// The only certificate this platform issues.
const ITEM: &str = "insurance-certificate";
const TITLE: &str = "社会保险参保证明";
/// Longest period a certificate covers, in months: thirty years.
const MONTHS_MAX: i64 = 360;
/// Most parameters, and what each may be.
const PARAMETERS_MAX: usize = 32;
const PARAMETER: Limit = Limit::Text {
    least: 0,
    most: 256,
};
/// Period when the request names none that is understood.
const MONTHS_DEFAULT: i64 = 24;
/// Kinds of insurance, and how many months later than the first each began.
const INSURANCES: &[(&str, i64)] = &[
    ("城乡居民基本养老保险", 0),
    ("城乡居民基本医疗保险", 0),
    ("失业保险", 6),
    ("工伤保险", 6),
];

/// What is asked for.
#[derive(Deserialize)]
pub(crate) struct CredentialRequest {
    item: String,
    number: String,
    name: String,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    purpose: String,
}

/// A certificate with its seal.
#[derive(Serialize)]
pub(crate) struct Credential {
    title: &'static str,
    document_number: String,
    pages: usize,
    issued_at: Timestamp,
    pdf: String,
    seal: Seal,
}

/// Typesets and seals one certificate.
pub(crate) fn issue(
    typesetter: &Typesetter,
    seal_key: &SealKey,
    request: &CredentialRequest,
    now: Timestamp,
) -> Result<Credential, Problem> {
    let CredentialRequest {
        item,
        number,
        name,
        purpose,
        ..
    } = request;
    within(&[
        ("item", item, Limit::Word),
        ("number", number, NUMBER),
        ("name", name, NUMBER),
        ("purpose", purpose, NUMBER),
    ])?;
    bounded("parameters", request.parameters.len() <= PARAMETERS_MAX)?;
    for value in request.parameters.values() {
        within(&[("parameters", value, PARAMETER)])?;
    }
    if item != ITEM {
        return Err(Problem::not_found(
            "credential.unknown-item",
            "no certificate is issued for this item",
        ));
    }
    let today = now.to_zoned(TimeZone::fixed(jiff::tz::offset(8))).date();
    let document_number = document_number(request, today);
    let link = format!("https://verify.example/c/{document_number}");
    let data = statement(request, &document_number, today);
    let template = Template {
        source: TEMPLATE,
        data: &data,
        files: &[("qr.svg", qr_svg(&link).map_err(|error| failed(&error))?)],
    };
    let document = typesetter
        .compile(&template)
        .map_err(|error| failed(&error))?;
    let pdf = document.pdf().map_err(|error| failed(&error))?;
    let pages = document.page_count();
    // The typesetter remembers pieces of what it set; nobody's certificate may stay there.
    typesetter.forget();
    Ok(Credential {
        title: TITLE,
        document_number,
        pages,
        issued_at: now,
        seal: seal_key.seal(&pdf, now),
        pdf: STANDARD.encode(pdf),
    })
}

/// What a typesetter that failed means for a request.
pub(crate) fn failed(error: &DocumentError) -> Problem {
    tracing::error!(code = error.code(), "a certificate could not be typeset");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "credential.typesetting",
        "the certificate could not be typeset",
    )
}

fn document_number(request: &CredentialRequest, today: Date) -> String {
    let seed = format!(
        "{}\n{}\n{:?}\n{}",
        request.number, request.item, request.parameters, request.purpose
    );
    let digest = hex(&sha256(seed.as_bytes())).to_uppercase();
    format!("SB{}{}", today.strftime("%Y%m%d"), &digest[..10])
}

/// The months asked for: a count in `parameters.period`, bare or with a word around it.
fn months(parameters: &BTreeMap<String, String>) -> i64 {
    let period = parameters.get("period").and_then(|text| {
        text.chars()
            .filter(char::is_ascii_digit)
            .take(4)
            .collect::<String>()
            .parse()
            .ok()
    });
    period
        .filter(|months| (1..=MONTHS_MAX).contains(months))
        .unwrap_or(MONTHS_DEFAULT)
}

fn statement(request: &CredentialRequest, document_number: &str, today: Date) -> Value {
    let months = months(&request.parameters);
    let last = today.first_of_month().saturating_sub(1.month());
    let rows: Vec<Value> = INSURANCES
        .iter()
        .filter(|(_, later)| *later < months)
        .map(|(insurance, later)| {
            let first = last.saturating_sub((months - 1 - later).months());
            json!({
                "insurance": insurance,
                "first": first.strftime("%Y年%m月").to_string(),
                "last": last.strftime("%Y年%m月").to_string(),
                "months": months - later,
                "state": "正常参保",
            })
        })
        .collect();
    json!({
        "title": TITLE,
        "issuer": ISSUER,
        "document_number": document_number,
        "name": request.name,
        "number": request.number,
        "purpose": purpose_words(&request.purpose),
        "date": today.strftime("%Y年%m月%d日").to_string(),
        "rows": rows,
    })
}

/// The item package sends the id of a choice; the document says it in words. An unknown id, or a
/// purpose in the citizen's own words, stands as it came.
fn purpose_words(purpose: &str) -> &str {
    match purpose {
        "personal" => "个人留存",
        "employment" => "求职、入职",
        "housing" => "购房、租房、落户",
        "school" => "子女入学",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn request(period: &str) -> CredentialRequest {
        CredentialRequest {
            item: ITEM.to_owned(),
            number: "440100199001011237".to_owned(),
            name: "测试甲".to_owned(),
            parameters: BTreeMap::from([("period".to_owned(), period.to_owned())]),
            purpose: "子女入学".to_owned(),
        }
    }

    #[test]
    fn a_period_is_understood_or_replaced_by_two_years() {
        for (period, expected) in [
            ("12", 12),
            ("36", 36),
            ("months-6", 6),
            ("all", MONTHS_DEFAULT),
            ("100000", MONTHS_DEFAULT),
            ("0", MONTHS_DEFAULT),
            ("", MONTHS_DEFAULT),
        ] {
            assert_eq!(months(&request(period).parameters), expected, "{period}");
        }
        assert_eq!(months(&BTreeMap::new()), MONTHS_DEFAULT);
    }

    #[test]
    fn a_statement_ends_with_the_month_before_and_counts_its_months() {
        let statement = statement(&request("12"), "SB1", date(2026, 3, 31));
        let first = &statement["rows"][0];
        assert_eq!(first["first"], "2025年03月");
        assert_eq!(first["last"], "2026年02月");
        assert_eq!(first["months"], 12);
        assert_eq!(statement["rows"][2]["months"], 6);
    }

    #[test]
    fn the_same_request_on_a_day_has_the_same_number_and_another_has_another() {
        let day = date(2026, 3, 31);
        let number = document_number(&request("12"), day);
        assert_eq!(number, document_number(&request("12"), day));
        assert_ne!(number, document_number(&request("24"), day));
        assert_eq!(number.len(), 20);
    }
}
