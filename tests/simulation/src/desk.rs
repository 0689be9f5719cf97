//! The other end of the line: the reference platform, in this process, and before it a desk where
//! officials refuse some transactions for good reasons and where single upstreams are down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use central_platform::{Accepted, Config, Contract, Platform};
use jiff::Timestamp;
use kiosk_sealing::PublicKey;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::TERMINAL;
use crate::signing::{Gate, Refusal, Signed};
use kiosk_tests::random::Random;

/// What the officials think of one transaction; they change their mind only when somebody talks
/// to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// It goes on to the platform.
    Fine,
    /// It is rejected, in the words of the contract.
    Rejected,
    /// Every batch with it in is refused as a whole.
    Poison,
}

/// The platform and those before it.
pub(crate) struct Desk {
    /// Held for its life; its network is off.
    platform: Platform,
    contract: Contract,
    judgements: BTreeMap<Uuid, Judgement>,
    /// Receipts that were given, whether or not they arrived.
    given: BTreeMap<Uuid, BTreeSet<String>>,
    /// The key that sealed texts need is not at hand.
    is_keyless: bool,
    /// Nothing makes whole batches fail any more.
    is_mended: bool,
    /// Copies of requests that were lost, and when they arrive after all.
    wandering: Vec<(Duration, Signed)>,
    /// Who is let in; some platforms stand behind a proxy and look at no signature.
    gate: Option<Gate>,
}

/// An answer as the client would read it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            body: refusal.body,
        }
    }
}

impl Desk {
    /// Opens the platform in a directory.
    pub(crate) fn open(directory: &Path, config: Config) -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let platform = Platform::start(directory, nowhere, config)?;
        platform.set_network(false)?;
        Ok(Self {
            contract: platform.contract(),
            platform,
            judgements: BTreeMap::new(),
            given: BTreeMap::new(),
            is_keyless: false,
            is_mended: false,
            wandering: Vec::new(),
            gate: None,
        })
    }

    /// The platform itself.
    pub(crate) fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Everything that took effect.
    pub(crate) fn accepted(&self) -> Result<Vec<Accepted>> {
        Ok(self.contract.accepted()?)
    }

    /// One batch arrives.
    pub(crate) fn batch(
        &mut self,
        body: &[u8],
        now: Timestamp,
        random: &mut Random,
    ) -> Result<Answer> {
        let batch: Value = serde_json::from_slice(body).context("the batch is no JSON")?;
        let transactions = batch["transactions"]
            .as_array()
            .context("the batch has no transactions")?;
        let mut answers = BTreeMap::new();
        let mut passed = Vec::new();
        let mut order = Vec::new();
        for transaction in transactions {
            let id = id_of(transaction)?;
            order.push(id);
            match self.judge(id, random) {
                Judgement::Poison => return Ok(refused_as_a_whole()),
                Judgement::Rejected => drop(answers.insert(id, rejected(id))),
                Judgement::Fine if self.is_keyless => drop(answers.insert(id, keyless(id))),
                Judgement::Fine => passed.push(transaction.clone()),
            }
        }
        if !passed.is_empty() {
            let body = json!({ "terminal": TERMINAL, "transactions": passed });
            let body = serde_json::to_vec(&body)?;
            let (status, reply) = self.contract.handle_batch(TERMINAL, &body, now);
            if status != 200 {
                return Ok(Answer {
                    status,
                    body: reply,
                });
            }
            let reply: Value = serde_json::from_slice(&reply)?;
            for result in reply["results"].as_array().context("no results")? {
                let id = id_of(result)?;
                self.remember(id, result);
                answers.insert(id, result.clone());
            }
        }
        let results: Vec<Value> = order.iter().filter_map(|id| answers.remove(id)).collect();
        ensure!(
            results.len() == transactions.len(),
            "the platform gave {} results for {} transactions",
            results.len(),
            transactions.len()
        );
        Ok(Answer {
            status: 200,
            body: serde_json::to_vec(&json!({ "results": results }))?,
        })
    }

    /// Copies of lost requests that have arrived by now; their answers go nowhere.
    pub(crate) fn late(
        &mut self,
        since: Duration,
        now: Timestamp,
        random: &mut Random,
    ) -> Result<u64> {
        let (arrived, open) = std::mem::take(&mut self.wandering)
            .into_iter()
            .partition(|(at, _)| *at <= since);
        self.wandering = open;
        let arrived: Vec<(Duration, Signed)> = arrived;
        for (_, signed) in &arrived {
            if self.admit(signed, now).is_ok() {
                self.batch(&signed.body, now, random)?;
            }
        }
        Ok(u64::try_from(arrived.len()).unwrap_or(u64::MAX))
    }

    /// Whether a request is let in.
    pub(crate) fn admit(&mut self, signed: &Signed, now: Timestamp) -> Result<(), Refusal> {
        let gate = self.gate.as_mut();
        gate.map_or(Ok(()), |gate| gate.check(signed, now))
    }

    /// A copy of a request will arrive at a time.
    pub(crate) fn wander(&mut self, at: Duration, signed: Signed) {
        self.wandering.push((at, signed));
    }

    /// Whether the platform ever gave this receipt.
    pub(crate) fn has_given(&self, id: Uuid, reference: &str) -> bool {
        self.given
            .get(&id)
            .is_some_and(|given| given.contains(reference))
    }

    /// Somebody notes the key of the terminal, as at its installation; whether the platform looks
    /// at the signatures of requests.
    pub(crate) fn register(&mut self, key: PublicKey, is_gated: bool) -> Result<()> {
        self.platform
            .register_terminal(TERMINAL, &key.to_string())?;
        self.gate = is_gated.then(|| Gate::new(key));
        Ok(())
    }

    /// Somebody hands in a part of a bundle; the signed receipts, or nothing when the part was not
    /// believed.
    pub(crate) fn bundle(&mut self, part: &[u8], now: Timestamp) -> Result<Option<String>> {
        let (status, answer) = self.contract.handle_bundle(part, now);
        if status != 200 {
            return Ok(None);
        }
        let answer: Value = serde_json::from_slice(&answer)?;
        for result in answer["results"].as_array().context("no results")? {
            self.remember(id_of(result)?, result);
        }
        let receipts = answer["receipts"].as_str().context("no receipts")?;
        Ok(Some(receipts.to_owned()))
    }

    fn remember(&mut self, id: Uuid, result: &Value) {
        if let Some(reference) = result["receipt"]["reference"].as_str() {
            let given = self.given.entry(id).or_default();
            given.insert(reference.to_owned());
        }
    }

    /// The key that opens envelopes is lost or found.
    pub(crate) fn set_keyless(&mut self, is_keyless: bool) {
        self.is_keyless = is_keyless;
    }

    /// Whatever made whole batches fail is mended.
    pub(crate) fn mend(&mut self) {
        self.is_keyless = false;
        for judgement in self.judgements.values_mut() {
            if *judgement == Judgement::Poison {
                *judgement = Judgement::Fine;
            }
        }
        self.is_mended = true;
    }

    /// Somebody talked to the officials about one transaction.
    pub(crate) fn persuade(&mut self, id: Uuid) {
        self.judgements.insert(id, Judgement::Fine);
    }

    fn judge(&mut self, id: Uuid, random: &mut Random) -> Judgement {
        let is_mended = self.is_mended;
        *self
            .judgements
            .entry(id)
            .or_insert_with(|| match random.below(100) {
                0..=2 => Judgement::Rejected,
                3 if !is_mended => Judgement::Poison,
                _ => Judgement::Fine,
            })
    }
}

fn id_of(value: &Value) -> Result<Uuid> {
    let id = value["id"].as_str().context("no id")?;
    Ok(id.parse()?)
}

fn rejected(id: Uuid) -> Value {
    let problem = json!({
        "type": "about:blank", "title": "rejected", "status": 422,
        "code": "case.incomplete", "detail": "材料不全",
    });
    json!({ "id": id, "result": "rejected", "problem": problem })
}

fn keyless(id: Uuid) -> Value {
    let problem = json!({
        "type": "about:blank", "title": "unknown key", "status": 422,
        "code": "envelope.unknown-key", "detail": "",
    });
    json!({ "id": id, "result": "retry", "problem": problem, "retry_after_s": 300 })
}

fn refused_as_a_whole() -> Answer {
    let problem = json!({
        "type": "about:blank", "title": "unprocessable", "status": 422,
        "code": "batch.unprocessable", "detail": "",
    });
    Answer {
        status: 422,
        body: problem.to_string().into_bytes(),
    }
}
