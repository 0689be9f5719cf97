//! Signatures of requests, at both ends: the terminal's pen, which signs with its device key and
//! the platform's last word on the time, and the platform's gate, which believes only the key that
//! was noted at the installation, only what is fresh, and each signature once.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use kiosk_sealing::request::{self, Headers, Request};
use kiosk_sealing::{DeviceKey, PublicKey};
use serde_json::json;

use crate::TERMINAL;
use crate::time::Time;

/// How far a signature's time may be from the platform's clock; the reference platform has the
/// same.
const FRESH_S: u64 = 300;

/// A signed request as it travels.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    method: &'static str,
    path: String,
    pub(crate) body: Vec<u8>,
    headers: Headers,
}

/// What the platform answers to whom it does not believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) is_stale: bool,
}

/// What a terminal signs with, for as long as its program runs.
#[derive(Debug, Default)]
pub(crate) struct Pen {
    /// The platform's last word on the time, and when it came.
    said: Option<(Timestamp, Duration)>,
}

impl Pen {
    /// The program ends; what it had heard is gone.
    pub(crate) fn forget(&mut self) {
        self.said = None;
    }

    /// An answer came, with the platform's time in its head.
    pub(crate) fn hear(&mut self, time: &Time) {
        self.said = Some((time.truth(), time.since()));
    }

    /// Signs a request. The nonce is a number that no other request of the month has.
    ///
    /// # Errors
    /// When the key does not sign.
    pub(crate) fn sign(
        &self,
        key: &DeviceKey,
        (method, path): (&'static str, &str),
        body: &[u8],
        time: &Time,
        nonce: u64,
    ) -> Result<Signed> {
        let created = match self.said {
            Some((said, then)) => said.saturating_add(time.since().saturating_sub(then))?,
            // The terminal's own clock, which may lie.
            None => time.now().at,
        };
        let request = Request {
            method,
            path,
            query: "",
            terminal: TERMINAL,
            body,
        };
        let headers = request::sign(
            key,
            &request,
            created.as_second().max(0),
            &format!("{nonce:016x}"),
        )?;
        Ok(Signed {
            method,
            path: path.to_owned(),
            body: body.to_vec(),
            headers,
        })
    }
}

/// Who is let in to the platform.
#[derive(Debug)]
pub(crate) struct Gate {
    key: PublicKey,
    nonces: BTreeSet<String>,
}

impl Gate {
    /// A gate for one terminal.
    pub(crate) fn new(key: PublicKey) -> Self {
        Self {
            key,
            nonces: BTreeSet::new(),
        }
    }

    /// Whether a request is let in: signed well, fresh, and not seen before.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(&mut self, signed: &Signed, truth: Timestamp) -> Result<(), Refusal> {
        let request = Request {
            method: signed.method,
            path: &signed.path,
            query: "",
            terminal: TERMINAL,
            body: &signed.body,
        };
        let find = |id: &str| (id == self.key.key_id()).then(|| self.key.clone());
        let verified = request::verify(find, &request, &signed.headers)
            .map_err(|error| refusal(error.code()))?;
        if truth.as_second().abs_diff(verified.created_s) > FRESH_S {
            return Err(refusal("signature.stale"));
        }
        if !self.nonces.insert(verified.nonce) {
            return Err(refusal("signature.replayed"));
        }
        Ok(())
    }
}

fn refusal(code: &str) -> Refusal {
    let problem = json!({
        "type": "about:blank", "title": "unauthorized", "status": 401, "code": code, "detail": "",
    });
    Refusal {
        status: 401,
        body: problem.to_string().into_bytes(),
        is_stale: code == "signature.stale",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Lie;
    use kiosk_sealing::Algorithm;

    const HERE: (&str, &str) = ("POST", "/v1/batches");

    #[test]
    fn a_signature_is_believed_once_and_only_while_it_is_fresh() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let mut gate = Gate::new(key.public());
        let mut time = Time::new();
        let signed = Pen::default().sign(&key, HERE, b"{}", &time, 1).unwrap();
        gate.check(&signed, time.truth()).unwrap();
        assert!(!gate.check(&signed, time.truth()).unwrap_err().is_stale);
        let late = Pen::default().sign(&key, HERE, b"{}", &time, 2).unwrap();
        time.pass(Duration::from_hours(1));
        assert!(gate.check(&late, time.truth()).unwrap_err().is_stale);
        let mut altered = Pen::default().sign(&key, HERE, b"{}", &time, 3).unwrap();
        altered.body.push(b' ');
        assert!(gate.check(&altered, time.truth()).is_err());
        let other = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let foreign = Pen::default().sign(&other, HERE, b"{}", &time, 4).unwrap();
        assert!(gate.check(&foreign, time.truth()).is_err());
    }

    #[test]
    fn a_clock_that_lies_signs_well_once_the_platform_has_spoken() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let mut gate = Gate::new(key.public());
        let (mut time, mut pen) = (Time::new(), Pen::default());
        time.tell(Lie::YearsAhead);
        let lying = pen.sign(&key, HERE, b"{}", &time, 1).unwrap();
        assert!(gate.check(&lying, time.truth()).unwrap_err().is_stale);
        pen.hear(&time);
        time.pass(Duration::from_hours(5));
        let right = pen.sign(&key, HERE, b"{}", &time, 2).unwrap();
        gate.check(&right, time.truth()).unwrap();
        pen.forget();
        let again = pen.sign(&key, HERE, b"{}", &time, 3).unwrap();
        assert!(gate.check(&again, time.truth()).is_err());
    }
}
