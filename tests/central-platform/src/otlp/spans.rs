//! How each transaction came, as spans: when it was confirmed at the terminal, how long it waited
//! there, and how long the platform took to make it durable. One trace for one transaction, however
//! often it was sent.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kiosk_sealing::sha256;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use uuid::Uuid;

use super::{
    Collector, Part, SERVICE, Sent, TERMINAL_SERVICE, attribute, nanoseconds, resource, scope,
};
use crate::clock;
use crate::messages::{Transaction, Verdict};
use crate::outbound::Turn;
use crate::store::Road;

/// Most arrivals that wait for the collector. Chosen: a busy minute of the whole fleet.
const WAITING_MAX: usize = 20_000;
/// Most arrivals of one request.
const ARRIVALS_MAX: usize = 512;

/// One arrival of a transaction.
#[derive(Clone, Debug)]
struct Arrival {
    id: Uuid,
    terminal: String,
    kind: String,
    item: String,
    upstream: String,
    road: Road,
    confirmed_at: Timestamp,
    arrived_at: Timestamp,
    answered_at: Timestamp,
    result: &'static str,
    /// Why it was not taken.
    code: Option<String>,
}

/// Arrivals that wait for the collector.
#[derive(Debug)]
pub(crate) struct Traces {
    is_wanted: bool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    arrivals: VecDeque<Arrival>,
    dropped: u64,
}

impl Traces {
    /// Notes nothing where nobody wants traces.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            waiting: Mutex::default(),
        }
    }

    /// Notes that a transaction came and what is answered now.
    pub(crate) fn note(
        &self,
        terminal: &str,
        submitted: &Transaction,
        verdict: &Verdict,
        road: Road,
        arrived_at: Timestamp,
    ) {
        if !self.is_wanted {
            return;
        }
        let (result, code) = match verdict {
            Verdict::Accepted { .. } => ("accepted", None),
            Verdict::Duplicate { .. } => ("duplicate", None),
            Verdict::Rejected { problem } => ("rejected", Some(problem.code().to_owned())),
            Verdict::Retry { problem, .. } => ("retry", Some(problem.code().to_owned())),
        };
        let mut waiting = self.waiting();
        if waiting.arrivals.len() == WAITING_MAX {
            waiting.arrivals.pop_front();
            waiting.dropped += 1;
        }
        waiting.arrivals.push_back(Arrival {
            id: submitted.id,
            terminal: terminal.to_owned(),
            kind: submitted.kind.clone(),
            item: submitted.item.clone(),
            upstream: submitted.upstream.clone(),
            road,
            confirmed_at: submitted.enqueued_at,
            arrived_at,
            answered_at: clock::now().max(arrived_at),
            result,
            code,
        });
    }

    /// Sends what waits; what is not taken waits on.
    pub(super) fn send(&self, collector: &Collector, turn: &mut Turn) -> ControlFlow<()> {
        loop {
            let mut waiting = self.waiting();
            let dropped = std::mem::take(&mut waiting.dropped);
            let count = waiting.arrivals.len().min(ARRIVALS_MAX);
            let arrivals: Vec<Arrival> = waiting.arrivals.drain(..count).collect();
            drop(waiting);
            if dropped > 0 {
                tracing::warn!(dropped, "the collector was gone too long for some traces");
            }
            if arrivals.is_empty() {
                return ControlFlow::Continue(());
            }
            let outcome = collector.send(Part::Traces, &request(&arrivals), turn);
            if outcome != Sent::Taken {
                self.put_back(arrivals);
                return outcome.flow();
            }
        }
    }

    fn put_back(&self, arrivals: Vec<Arrival>) {
        let mut waiting = self.waiting();
        for arrival in arrivals.into_iter().rev() {
            if waiting.arrivals.len() < WAITING_MAX {
                waiting.arrivals.push_front(arrival);
            } else {
                waiting.dropped += 1;
            }
        }
    }

    /// Whole after every step, so that a panic elsewhere does not end it.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(arrivals: &[Arrival]) -> ExportTraceServiceRequest {
    let of = |service, instance, spans| ResourceSpans {
        resource: Some(resource(service, instance)),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope()),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let platform = arrivals.iter().map(Arrival::taking).collect();
    let mut resource_spans = vec![of(SERVICE, None, platform)];
    // A transaction was confirmed once, whatever became of it later: who sent it again is told by the
    // platform's spans alone.
    let first = arrivals
        .iter()
        .filter(|arrival| arrival.result == "accepted");
    for arrival in first {
        let spans = vec![arrival.whole(), arrival.waiting()];
        resource_spans.push(of(TERMINAL_SERVICE, Some(&arrival.terminal), spans));
    }
    ExportTraceServiceRequest { resource_spans }
}

impl Arrival {
    /// From the confirmation to the receipt.
    fn whole(&self) -> Span {
        Span {
            name: format!("{} {}", self.kind, self.item),
            kind: SpanKind::Internal.into(),
            attributes: vec![
                attribute("kiosk.item", &self.item),
                attribute("kiosk.upstream", &self.upstream),
            ],
            ..self.span("whole", self.confirmed_at, self.answered_at)
        }
    }

    /// What it waited at the terminal, for a line or its turn.
    fn waiting(&self) -> Span {
        Span {
            name: "wait at the terminal".to_owned(),
            kind: SpanKind::Producer.into(),
            ..self.span("waiting", self.confirmed_at, self.arrived_at)
        }
    }

    /// What the platform took to make it durable, or to answer otherwise.
    fn taking(&self) -> Span {
        let mut attributes = vec![
            attribute("kiosk.terminal", &self.terminal),
            attribute("kiosk.road", self.road.word()),
            attribute("kiosk.result", self.result),
        ];
        attributes.extend(self.code.as_ref().map(|code| attribute("kiosk.code", code)));
        let status = (self.result == "rejected").then(|| Status {
            message: self.code.clone().unwrap_or_default(),
            code: StatusCode::Error.into(),
        });
        // Each arrival is a span of its own.
        let of = format!("taking {}", self.arrived_at);
        Span {
            name: "take".to_owned(),
            kind: SpanKind::Consumer.into(),
            attributes,
            status,
            ..self.span(&of, self.arrived_at, self.answered_at)
        }
    }

    /// A span of the transaction's trace. One whose clock was ahead begins when it ends.
    fn span(&self, of: &str, from: Timestamp, to: Timestamp) -> Span {
        let number = |of: &str| sha256(format!("{} {of}", self.id).as_bytes())[..8].to_vec();
        let root = "whole";
        Span {
            trace_id: self.id.as_bytes().to_vec(),
            span_id: number(of),
            parent_span_id: if of == root { Vec::new() } else { number(root) },
            start_time_unix_nano: nanoseconds(from.min(to)),
            end_time_unix_nano: nanoseconds(to),
            ..Span::default()
        }
    }
}
