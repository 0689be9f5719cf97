//! The platform as an administrator asks it: every request shows the token, goes nowhere but to the
//! platform that was named, and has a limit; every reply is bounded before it is understood.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::import::{self, Certificates, ImportError};

/// How long one request may take; a page of the fleet takes well under a second.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);
/// Largest reply that is read, in bytes: a page of 500 terminals has a megabyte at most.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most pages of one question: 200,000 terminals of which none is wanted.
const PAGES_MAX: usize = 1000;
/// Most villages of a list; a province has some twenty-six thousand.
const VILLAGES_MAX: usize = 100_000;

/// Why the platform did not answer.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The address, the token or the certificates cannot be used, or the reply is too long.
    #[error(transparent)]
    Connection(#[from] ImportError),
    /// The runtime of the connection cannot be made.
    #[error("cannot begin to connect")]
    Io(#[from] std::io::Error),
    /// The platform cannot be reached, or the connection broke.
    #[error("the platform cannot be reached, or the connection broke; run the same again")]
    Unreachable(#[source] reqwest::Error),
    /// The platform refused.
    #[error(
        "the platform refused with status {status}, code {code:?}{}",
        hint(code)
    )]
    Refused {
        /// HTTP status.
        status: u16,
        /// The platform's code.
        code: String,
    },
    /// The reply makes no sense.
    #[error("the platform's reply cannot be understood")]
    BadReply,
    /// A line of a list of villages is none.
    #[error("line {0} of the list is no place such as city/county/town/village")]
    Village(usize),
    /// The list is too long.
    #[error("the list has more than {VILLAGES_MAX} villages")]
    TooMany,
}

/// What to do about a refusal.
fn hint(code: &str) -> &'static str {
    match code {
        "token.invalid" => ": is it the token of an administrator of this platform?",
        "admin.role" => ": the role of this administrator does not allow it",
        "admin.region" => ": this is outside the places of this administrator",
        "terminal.unknown" => ": there is no such terminal, or it is none of yours",
        "request.path" => ": this platform does not do that",
        _ => "",
    }
}

/// A platform and who asks it.
#[derive(Debug)]
pub struct Central {
    http: reqwest::Client,
    runtime: Runtime,
    base: String,
    token: Zeroizing<String>,
}

impl Central {
    /// A platform at `http://` or `https://`, with the token of an administrator.
    ///
    /// # Errors
    /// `Connection`, `Io`.
    pub fn new(
        url: &str,
        token: Zeroizing<String>,
        certificates: &Certificates,
    ) -> Result<Self, FleetError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            http: import::client(url, certificates, REQUEST_LIMIT)?,
            runtime,
            base: url.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Reads something; parts of the query that are empty are left out.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, FleetError> {
        let query: Vec<String> = query
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", percent(value)))
            .collect();
        let target = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", query.join("&"))
        };
        self.send(Method::GET, &target, None)
    }

    /// Changes something.
    ///
    /// # Errors
    /// [`FleetError`]. After `Unreachable` it may have been done.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, FleetError> {
        self.send(Method::POST, path, Some(body.to_string()))
    }

    /// Reads every page of a list; `each` gets every entry.
    ///
    /// # Errors
    /// [`FleetError`], and what `each` answers.
    pub fn pages<E: From<FleetError>>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        list: &str,
        mut each: impl FnMut(&Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("after", &after));
            let page = self.get(path, &query)?;
            let entries = page[list].as_array().ok_or(FleetError::BadReply)?;
            for entry in entries {
                each(entry)?;
            }
            after = match &page["next"] {
                Value::String(next) => next.clone(),
                Value::Number(next) => next.to_string(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Ok(()),
            };
        }
        Err(FleetError::BadReply.into())
    }

    fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<String>,
    ) -> Result<Value, FleetError> {
        let mut token = HeaderValue::from_str(&format!("Bearer {}", *self.token))
            .map_err(|_| ImportError::Setup("the token is no token".to_owned()))?;
        token.set_sensitive(true);
        let mut request = self
            .http
            .request(method, format!("{}{target}", self.base))
            .header(AUTHORIZATION, token);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.runtime.block_on(async {
            let reply = request.send().await.map_err(FleetError::Unreachable)?;
            answer(reply).await
        })
    }
}

async fn answer(reply: Response) -> Result<Value, FleetError> {
    let status = reply.status();
    let body = import::bounded(reply, REPLY_BYTES_MAX).await?;
    if !status.is_success() {
        return Err(FleetError::Refused {
            status: status.as_u16(),
            code: import::problem_code(&body),
        });
    }
    understand(&body)
}

/// Reads a reply; an empty one is nothing.
///
/// # Errors
/// `BadReply`.
pub fn understand(body: &[u8]) -> Result<Value, FleetError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|_| FleetError::BadReply)
}

/// A part of a path or of a query, as an address takes it.
pub fn percent(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(digit.into(), 16).unwrap_or('0');
                escaped.push(digit.to_ascii_uppercase());
            }
        }
    }
    escaped
}

/// Reads a list of villages: one a line, `city/county/town/village`, with a code and a comma before
/// it or without; lines that are empty or begin with `#` say nothing.
///
/// # Errors
/// `Village`, `TooMany`.
pub fn villages(text: &str) -> Result<BTreeSet<String>, FleetError> {
    let mut found = BTreeSet::new();
    // A list that a spreadsheet wrote begins with a mark of its encoding.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (place, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let path = line.split_once(',').map_or(line, |(_, path)| path.trim());
        let is_segment = |segment: &str| !segment.trim().is_empty() && segment.len() <= 128;
        if !path.split('/').all(is_segment) || path.chars().any(char::is_control) {
            return Err(FleetError::Village(place + 1));
        }
        if found.len() == VILLAGES_MAX {
            return Err(FleetError::TooMany);
        }
        found.insert(path.to_owned());
    }
    Ok(found)
}

/// A place and everything that it is in: `a/b/c` is in `a/b` and in `a`.
pub fn with_those_around(region: &str) -> impl Iterator<Item = &str> {
    let ends = region.match_indices('/').map(|(place, _)| place);
    ends.chain([region.len()])
        .map(|end| &region[..end])
        .filter(|place| !place.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn villages_are_read_with_and_without_codes() {
        let text = "\u{feff}# code,place\n445281104201,揭阳市/普宁市/里湖镇/某某村\r\n\n揭阳市/普宁市/里湖镇/另一村\n";
        let found = villages(text).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.contains("揭阳市/普宁市/里湖镇/某某村"));
        for text in ["a//b", "1,", "/a", "a/\u{1b}[2J"] {
            assert!(
                matches!(villages(text), Err(FleetError::Village(1))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_place_is_in_those_around_it() {
        let around: Vec<&str> = with_those_around("a/b/c").collect();
        assert_eq!(around, ["a", "a/b", "a/b/c"]);
        assert_eq!(with_those_around("").count(), 0);
    }

    #[test]
    fn an_address_takes_every_text() {
        assert_eq!(percent("揭/a b&"), "%E6%8F%AD%2Fa%20b%26");
    }

    #[test]
    fn a_reply_is_json_or_nothing() {
        assert_eq!(understand(b"").unwrap(), Value::Null);
        assert!(matches!(understand(b"<html>"), Err(FleetError::BadReply)));
    }
}
