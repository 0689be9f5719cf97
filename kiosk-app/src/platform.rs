//! The central platform: answers to a visitor's questions, the drain of the outbox, the state of the
//! line. The only place (with the updater) that knows HTTP and Tokio; one thread, one runtime.
//!
//! Everything that comes back is bounded and checked before it becomes an [`Event`]. A fault of the
//! line is never a fault of a transaction.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use offline_cache::{Cache, State};
use tokio::sync::mpsc;

use crate::clock;
use crate::event::{Answer, CaseState, Event, Question, Ticket, Unanswered};
use crate::runtime::Input;

mod client;
mod messages;
mod sync;

pub(crate) use client::hex;
pub use client::{Client, PlatformError};

/// Questions and wake-ups that may wait; a visit asks one at a time.
const INBOX_LIMIT: usize = 32;

/// What the loop asks of the platform thread.
enum Order {
    Ask(Ticket, Question),
    Wake,
}

/// The platform thread's inbox.
#[derive(Clone)]
pub struct Platform {
    inbox: mpsc::Sender<Order>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Platform")
    }
}

impl Platform {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the client cannot be made (a wrong key in the configuration) or no thread can be started.
    pub fn start(
        config: &crate::config::Platform,
        terminal: &str,
        cache: Cache,
        out: SyncSender<Input>,
    ) -> Result<Self, PlatformError> {
        let client = Client::new(config, terminal)?;
        let probe = Duration::from_secs(u64::from(config.probe_s));
        let (inbox, orders) = mpsc::channel(INBOX_LIMIT);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PlatformError::Start)?;
        crate::vital::spawn("platform", move || {
            runtime.block_on(run(client, cache, probe, orders, out));
        })
        .map_err(PlatformError::Start)?;
        Ok(Self { inbox })
    }

    /// Asks a question; its answer comes back as `Event::Answer`.
    pub(crate) fn ask(&self, ticket: Ticket, question: Question) -> Result<(), &'static str> {
        self.inbox
            .try_send(Order::Ask(ticket, question))
            .map_err(|_| "platform.busy")
    }

    /// Something was enqueued: send it now rather than at the next probe.
    pub(crate) fn wake(&self) {
        if self.inbox.try_send(Order::Wake).is_err() {
            tracing::debug!("the platform thread is busy; it will look at the outbox by itself");
        }
    }
}

async fn run(
    client: Client,
    cache: Cache,
    probe: Duration,
    mut orders: mpsc::Receiver<Order>,
    out: SyncSender<Input>,
) {
    let mut sync = sync::Sync::new(client.clone(), cache, probe, out.clone());
    sync.report_depth();
    loop {
        let pause = sync.pause();
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Wake) => sync.wake(),
                Some(Order::Ask(ticket, question)) => {
                    let known = if let Question::Case { number } = &question {
                        sync.known_case(number)
                    } else {
                        None
                    };
                    // A task of its own, so that a slow drain never keeps a citizen waiting.
                    tokio::spawn(answer(client.clone(), ticket, question, known, out.clone()));
                }
            },
            () = tokio::time::sleep(pause) => sync.pass().await,
        }
    }
}

/// A case as this terminal knows it.
#[derive(Debug)]
struct KnownCase {
    state: State,
    case: CaseState,
}

async fn answer(
    client: Client,
    ticket: Ticket,
    question: Question,
    known: Option<KnownCase>,
    out: SyncSender<Input>,
) {
    let answer = match question {
        Question::Identity { person, item } => Answer::Identity(
            client
                .identity(&person, &item)
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Face { person, jpeg } => Answer::Face(
            client
                .face(&person, jpeg.expose())
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Witness { person, item } => Answer::Witness(
            client
                .witness(&person, &item)
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Credential {
            person,
            item,
            answers,
        } => Answer::Credential(
            client
                .credential(&person, &item, &answers)
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Case { number } => Answer::Case(case(&client, &number, known).await),
    };
    if out
        .send(Input::Event(Event::Answer(ticket, answer)))
        .is_err()
    {
        tracing::debug!("the loop has ended");
    }
}

/// The state of a case: what waits here is known here; for the rest the platform is asked, and what
/// this terminal remembers of its receipt is better than nothing.
async fn case(
    client: &Client,
    number: &str,
    known: Option<KnownCase>,
) -> Result<Option<CaseState>, Unanswered> {
    if let Some(known) = &known
        && known.state != State::Acked
    {
        return Ok(Some(known.case.clone()));
    }
    match (client.case(number).await, known) {
        (Ok(Some(case)), _) => Ok(Some(case)),
        (_, Some(known)) => Ok(Some(known.case)),
        (Ok(None), None) => Ok(None),
        (Err(error), None) => Err(unanswered(&error)),
    }
}

fn unanswered(error: &PlatformError) -> Unanswered {
    tracing::warn!(code = error.code(), %error, "the platform did not answer");
    Unanswered {
        code: error.code(),
        words: error.words().to_owned(),
    }
}

/// Seconds of the wall clock for people, `2026-11-22 09:41`.
fn for_people(timestamp: jiff::Timestamp) -> String {
    timestamp
        .to_zoned(clock::local_zone())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}
