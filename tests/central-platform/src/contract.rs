//! The contract without a socket: the same store, the same switches, the same answers, as
//! functions of bytes and of the time. The HTTP side calls them, and so do simulations that know
//! no network.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::limits::{Limit, within};
use crate::messages::{
    BATCH_BYTES_MAX, BATCH_TRANSACTIONS_MAX, Batch, BatchAnswer, Receipt, TransactionResult,
    Verdict,
};
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::store::{NewUpload, Road, Upload};
use crate::switches::Fault;
use crate::{Accepted, Config, Content, PlatformError, carried, show, tickets, uploads};

/// Results that the fault `too-many-results` adds.
const SURPLUS_RESULTS: usize = 1000;
/// Body of the fault `rubbish`.
pub(crate) const RUBBISH: &[u8] = b"\xFF<html>{\"results\": [[[\0";

/// A platform without a network. Cheap to clone; all clones are the same platform.
#[derive(Clone)]
pub struct Contract {
    pub(crate) world: Arc<World>,
}

impl fmt::Debug for Contract {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contract").finish_non_exhaustive()
    }
}

/// An attachment before its bytes, as `Upload-Metadata` and `Upload-Length` tell it.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// Id of the attachment.
    pub id: Uuid,
    /// File name.
    pub name: &'a str,
    /// Media type of the content.
    pub media_type: &'a str,
    /// Bytes that will come: of the envelope, when it is sealed.
    pub length: u64,
    /// SHA-256 of these bytes, in 64 lower-case hex digits.
    pub sha256: &'a str,
}

impl Contract {
    /// Opens the directory of a platform, without listening anywhere.
    ///
    /// # Errors
    /// As [`crate::Platform::start`].
    pub fn open(directory: &Path, config: Config) -> Result<Self, PlatformError> {
        Ok(Self {
            world: Arc::new(World::open(directory, config)?),
        })
    }

    /// `POST /v1/batches`: the JSON body as it is before compression, and the answer's status and
    /// JSON. Faults that spoil statuses and results work; those of the line are the caller's.
    pub fn handle_batch(&self, terminal: &str, body: &[u8], now: Timestamp) -> (u16, Vec<u8>) {
        let fault = self.world.next_fault();
        if let Fault::Status { status } = fault {
            let problem = Problem::fault(status);
            return (problem.status(), problem.to_json());
        }
        if fault == Fault::Rubbish {
            return (StatusCode::OK.as_u16(), RUBBISH.to_vec());
        }
        match self.batch(Some(terminal), body, now, fault) {
            Ok(answer) => (StatusCode::OK.as_u16(), to_json(&answer)),
            Err(problem) => (problem.status(), problem.to_json()),
        }
    }

    /// `POST /v1/attachments`: status and how much of the upload is there (0 when refused).
    pub fn handle_place(&self, placement: &Placement<'_>) -> (u16, u64) {
        let upload = NewUpload {
            id: placement.id,
            name: placement.name,
            media_type: placement.media_type,
            length: placement.length,
            sha256: placement.sha256,
        };
        self.offset(StatusCode::CREATED, |world| {
            uploads::place(&mut world.store(), &upload)
        })
    }

    /// `HEAD /v1/attachments/{id}`: status and how much of the upload is there.
    pub fn handle_offset(&self, id: Uuid) -> (u16, u64) {
        self.offset(StatusCode::OK, |world| {
            uploads::find(&mut world.store(), id)
        })
    }

    /// `PATCH /v1/attachments/{id}`: a piece at an offset; status and the new offset.
    pub fn handle_chunk(&self, id: Uuid, offset: u64, piece: &[u8]) -> (u16, u64) {
        self.offset(StatusCode::NO_CONTENT, |world| {
            uploads::append(&mut world.store(), id, offset, piece)
        })
    }

    /// `POST /v1/bundles`: one part of a bundle, and the answer's status and JSON. The token of
    /// the one who brings it is the caller's.
    pub fn handle_bundle(&self, part: &[u8], now: Timestamp) -> (u16, Vec<u8>) {
        match carried::take(&self.world, part, now) {
            Ok(answer) => (StatusCode::OK.as_u16(), to_json(&answer)),
            Err(problem) => (problem.status(), problem.to_json()),
        }
    }

    /// `POST /v1/tickets` of a terminal: the answer's status and JSON.
    pub fn handle_tickets(&self, terminal: &str, body: &[u8], now: Timestamp) -> (u16, Vec<u8>) {
        if let Fault::Status { status } = self.world.next_fault() {
            let problem = Problem::fault(status);
            return (problem.status(), problem.to_json());
        }
        match tickets::take(&self.world, terminal, body, now) {
            Ok(answer) => (StatusCode::OK.as_u16(), to_json(&answer)),
            Err(problem) => (problem.status(), problem.to_json()),
        }
    }

    /// What an official would see of a transaction: its document with the payload opened, and
    /// its attachments, opened, by their ids; none when it did not take effect.
    ///
    /// # Errors
    /// `Store` when the database cannot be read.
    pub fn content(&self, id: Uuid) -> Result<Option<Content>, PlatformError> {
        Ok(self.world.store().content(id)?)
    }

    /// What it holds as lines of text, without anything personal.
    ///
    /// # Errors
    /// `Store` when the database cannot be read.
    pub fn show(&self) -> Result<String, PlatformError> {
        Ok(show::summary(&mut self.world.store())?)
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.world
            .change_switches(|switches| switches.fault = fault);
    }

    /// Takes an upstream system down or up again.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn set_upstream(&self, name: &str, is_up: bool) -> Result<(), PlatformError> {
        Ok(self.world.store().set_upstream(name, is_up)?)
    }

    /// Everything that took effect, in order.
    ///
    /// # Errors
    /// `Store` when the database cannot be read.
    pub fn accepted(&self) -> Result<Vec<Accepted>, PlatformError> {
        Ok(self.world.store().accepted()?)
    }

    /// The public key that terminals seal to now, as in `platform.sealing_key`.
    ///
    /// # Errors
    /// `Store` when the database cannot be read.
    pub fn sealing_key(&self) -> Result<String, PlatformError> {
        Ok(self.world.store().sealing_key()?)
    }

    /// Makes a new key to seal to; what was sealed to the old ones still opens. The desired state
    /// of every terminal tells it.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn rotate_sealing_key(&self, now: Timestamp) -> Result<String, PlatformError> {
        let key = self.world.store().rotate_sealing_key(now)?;
        self.world.changed.notify_waiters();
        Ok(key)
    }

    /// The public key that signs commands, desired state and receipts, as in
    /// `platform.command_keys`.
    pub fn command_key(&self) -> String {
        self.world.command_key.public().to_string()
    }

    /// What `POST /v1/batches` does; `terminal` is who signed the request, if it was signed.
    pub(crate) fn batch(
        &self,
        terminal: Option<&str>,
        body: &[u8],
        now: Timestamp,
        fault: Fault,
    ) -> Result<BatchAnswer, Problem> {
        if body.len() > BATCH_BYTES_MAX {
            return Err(Problem::batch_too_large());
        }
        let batch: Batch = parse(body)?;
        within(&[("terminal", &batch.terminal, Limit::Terminal)])?;
        if terminal.is_some_and(|terminal| terminal != batch.terminal) {
            return Err(Problem::other_terminal());
        }
        if batch.transactions.len() > BATCH_TRANSACTIONS_MAX {
            return Err(Problem::batch_too_large());
        }
        let results = self.world.store().accept_all(
            &batch.terminal,
            &batch.transactions,
            Road::Network,
            now,
        )?;
        for (submitted, result) in batch.transactions.iter().zip(&results) {
            let (terminal, verdict) = (&batch.terminal, &result.verdict);
            let traces = &self.world.traces;
            traces.note(terminal, submitted, verdict, Road::Network, now);
        }
        Ok(BatchAnswer {
            results: spoiled(results, fault),
        })
    }

    /// Status and offset of a request about an upload, with the fault that is switched on.
    fn offset(
        &self,
        good: StatusCode,
        act: impl FnOnce(&World) -> Result<Upload, Problem>,
    ) -> (u16, u64) {
        let outcome = if let Fault::Status { status } = self.world.next_fault() {
            Err(Problem::fault(status))
        } else {
            act(&self.world)
        };
        match outcome {
            Ok(upload) => (good.as_u16(), upload.received),
            Err(problem) => (problem.status(), 0),
        }
    }
}

/// JSON of an answer. Its types hold nothing that JSON cannot say.
pub(crate) fn to_json(answer: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("answers are made of text, numbers and lists")
}

/// Results as a platform with this fault would send them.
fn spoiled(mut results: Vec<TransactionResult>, fault: Fault) -> Vec<TransactionResult> {
    let unknown = |receipt: Receipt| TransactionResult {
        id: Uuid::now_v7(),
        verdict: Verdict::Accepted { receipt },
    };
    let sample = || Receipt {
        reference: "P-NOBODY".to_owned(),
        accepted_at: Timestamp::UNIX_EPOCH,
        outcome: "accepted".to_owned(),
        message: "已受理".to_owned(),
        valid_until: None,
        promised_by: None,
    };
    let doubled = |results: Vec<TransactionResult>| -> Vec<TransactionResult> {
        results
            .into_iter()
            .flat_map(|result| [result.clone(), result])
            .collect()
    };
    match fault {
        Fault::ReorderedResults => {
            results.reverse();
            results
        }
        Fault::UnknownIds => results.iter().map(|_| unknown(sample())).collect(),
        Fault::DoubledResults => doubled(results),
        Fault::TooManyResults => {
            results.extend((0..SURPLUS_RESULTS).map(|_| unknown(sample())));
            results
        }
        Fault::AcceptTwice => {
            for result in &mut results {
                if let Verdict::Duplicate { receipt } = &result.verdict {
                    result.verdict = Verdict::Accepted {
                        receipt: receipt.clone(),
                    };
                }
            }
            doubled(results)
        }
        Fault::None
        | Fault::Slow { .. }
        | Fault::Status { .. }
        | Fault::Burst { .. }
        | Fault::Rubbish
        | Fault::Timeout
        | Fault::DropAfterCommit
        | Fault::HalfClosed
        | Fault::EndlessReply => results,
    }
}

/// The answer of the health question.
pub(crate) fn health() -> serde_json::Value {
    json!({"status": "ok"})
}
