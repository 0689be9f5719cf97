//! Commands of the platform: waited for beside everything else, believed only when signed for this
//! terminal and not expired, performed once, their results reported until the platform has them.
//!
//! What is written before a command is performed makes it safe to be told twice, also across a
//! restart. The readers here are functions of outside bytes: bounded, and they never panic.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kiosk_sealing::PublicKey;
use kiosk_sealing::signed::{self, SignedError};
use offline_cache::{Cache, CacheError, CommandStanding};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::desired::is_item;
use super::{PlatformError, Shared};
use crate::clock::{self, Moment};
use crate::event::{Event, Order};

/// Largest body of a command in bytes; one has some 300.
const BODY_BYTES_MAX: usize = 8 * 1024;
/// Commands of one answer (`openapi.yaml`).
const COMMANDS_MAX: usize = 32;
/// A command may not live longer than this: what is forgotten after 90 days must not come back.
const LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);
/// Results reported in one go.
const REPORTS_MAX: u32 = 32;
/// After an answer without anything new, and after a failure, the next question waits so long.
const PAUSE: Duration = Duration::from_secs(5);
/// Orders that the loop has and has not answered; it has one at a time as a rule.
const GIVEN_MAX: usize = 256;

/// A command as the platform signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its id; performed once.
    pub id: Uuid,
    /// For whom.
    pub terminal: String,
    /// What to do; `None` for a kind that this program does not know.
    pub act: Option<Act>,
    /// The word it came with, bounded.
    pub kind: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// It is not performed after this, by the platform's clock.
    pub expires_at: Timestamp,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send what waits, now.
    SyncNow,
    /// Something for the loop.
    Order(Order),
}

/// Why a command or a desired state was not taken; what was in force stays.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The signature does not hold; nothing is said back.
    #[error("not signed by the platform: {0}")]
    Signature(#[from] SignedError),
    /// The body is not what the contract says.
    #[error("cannot be understood: {0}")]
    Malformed(&'static str),
    /// It is for another terminal.
    #[error("meant for another terminal")]
    OtherTerminal,
}

impl CommandError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature(error) => error.code(),
            Self::Malformed(_) => "command.malformed",
            Self::OtherTerminal => "command.other-terminal",
        }
    }
}

#[derive(Deserialize)]
struct Written {
    id: Uuid,
    terminal: String,
    kind: String,
    #[serde(default)]
    arguments: Arguments,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    item: String,
}

#[derive(Deserialize)]
struct CommandsReply {
    commands: Vec<String>,
}

/// What the platform is told of a command.
#[derive(Serialize)]
struct CommandResult<'a> {
    state: &'a str,
    code: &'a str,
    detail: &'a str,
}

/// Opens a signed command for this terminal.
///
/// # Errors
/// [`CommandError`]; nothing of it may be used then.
pub fn open(text: &str, keys: &[PublicKey], terminal: &str) -> Result<Command, CommandError> {
    let body = signed::verify(keys, signed::COMMAND, text, BODY_BYTES_MAX)?;
    let command = read(&body)?;
    if command.terminal != terminal {
        return Err(CommandError::OtherTerminal);
    }
    Ok(command)
}

/// Reads the body of a command.
///
/// # Errors
/// `Malformed` says what is outside its limits.
pub fn read(body: &[u8]) -> Result<Command, CommandError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(CommandError::Malformed("too long"));
    }
    let written: Written = serde_json::from_slice(body)
        .map_err(|_| CommandError::Malformed("not the JSON of the contract"))?;
    let item = written.arguments.item;
    let act = match written.kind.as_str() {
        "sync-now" => Some(Act::SyncNow),
        "suspend-item" | "resume-item" if !is_item(&item) => {
            return Err(CommandError::Malformed("arguments.item"));
        }
        "suspend-item" => Some(Act::Order(Order::SuspendItem(item))),
        "resume-item" => Some(Act::Order(Order::ResumeItem(item))),
        "restart" => Some(Act::Order(Order::Restart)),
        "lock" => Some(Act::Order(Order::Lock)),
        "unlock" => Some(Act::Order(Order::Unlock)),
        "collect-logs" => Some(Act::Order(Order::CollectLogs)),
        _ => None,
    };
    let kind: String = written
        .kind
        .chars()
        .filter(|each| each.is_ascii_alphanumeric() || *each == '-')
        .take(32)
        .collect();
    Ok(Command {
        id: written.id,
        terminal: written.terminal,
        act,
        kind: if kind.is_empty() {
            "unknown".to_owned()
        } else {
            kind
        },
        issued_at: written.issued_at,
        expires_at: written.expires_at,
    })
}

/// Reads the list of commands; what is beyond the contract's number is left for the next time.
///
/// # Errors
/// `BadReply`.
pub fn read_list(body: &[u8]) -> Result<Vec<String>, PlatformError> {
    let mut reply: CommandsReply = serde_json::from_slice(body)
        .map_err(|_| PlatformError::BadReply("not the JSON of the contract"))?;
    reply.commands.truncate(COMMANDS_MAX);
    Ok(reply.commands)
}

/// Keeps the result of an order.
pub(super) fn finished(cache: &mut Cache, id: Uuid, result: Result<(), &'static str>, now: Moment) {
    let (state, code) = match result {
        Ok(()) => ("done", ""),
        Err(code) => ("failed", code),
    };
    if let Err(error) = finish(cache, id, state, code, now) {
        // It is begun and not finished: after a restart it is performed once more and reported.
        tracing::error!(%id, code = error.code(), %error, "the result of a command is not kept");
    }
}

fn finish(
    cache: &mut Cache,
    id: Uuid,
    state: &str,
    code: &str,
    now: Moment,
) -> Result<(), CacheError> {
    let result = CommandResult {
        state,
        code,
        detail: "",
    };
    let text = serde_json::to_string(&result).expect("plain text becomes JSON");
    cache.command_finish(id, &text, now.at)
}

/// What is to be done with a command now.
#[derive(Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing: it was performed before, or the loop has it.
    Nothing,
    /// The result is kept and may be reported.
    Finished,
    /// It is to be performed now; the result is kept already.
    SyncNow,
    /// The loop is to perform it.
    Give(Order),
}

/// The task that waits for commands.
pub(super) struct Listener {
    shared: Arc<Shared>,
    cache: Cache,
    keys: Vec<PublicKey>,
    /// Orders the loop has, in this life of the program.
    given: HashSet<Uuid>,
}

impl Listener {
    pub(super) fn new(shared: Arc<Shared>, cache: Cache, keys: Vec<PublicKey>) -> Self {
        Self {
            shared,
            cache,
            keys,
            given: HashSet::new(),
        }
    }

    /// Waits for commands until the thread ends.
    pub(super) async fn listen(mut self) {
        loop {
            self.shared.online().await;
            if let Err(error) = self.report().await {
                tracing::warn!(code = error.code(), %error, "results of commands");
            }
            let shared = Arc::clone(&self.shared);
            let reply = tokio::select! {
                reply = shared.client.commands() => reply,
                // A result goes out first; the question is asked again.
                () = shared.reports.notified() => continue,
            };
            let is_new = match reply.and_then(|body| read_list(&body)) {
                Ok(texts) if texts.is_empty() => continue,
                Ok(texts) => {
                    let mut is_new = false;
                    for text in &texts {
                        is_new |= self.take(text);
                    }
                    is_new
                }
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, "commands");
                    false
                }
            };
            if !is_new {
                let pause = PAUSE + self.shared.client.spread(PAUSE);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.shared.reports.notified() => {}
                }
            }
        }
    }

    /// Takes one command; true when it changed anything.
    fn take(&mut self, text: &str) -> bool {
        let terminal = self.shared.client.terminal().to_owned();
        let command = match open(text, &self.keys, &terminal) {
            Ok(command) => command,
            Err(error) => {
                tracing::error!(code = error.code(), %error, "a command was turned down");
                return false;
            }
        };
        let now = clock::now();
        let time = self.shared.client.time(now);
        match weigh(&mut self.cache, &mut self.given, &command, time, now) {
            Ok(Doing::Nothing) => false,
            Ok(Doing::Finished) => true,
            Ok(Doing::SyncNow) => {
                tracing::info!(id = %command.id, "the platform orders a sync");
                self.shared
                    .is_hurried
                    .store(true, std::sync::atomic::Ordering::Release);
                self.shared.stir.notify_one();
                self.shared.beat.notify_one();
                true
            }
            Ok(Doing::Give(order)) => {
                tracing::info!(id = %command.id, order = order.name(), "the platform orders");
                self.shared.send(Event::Ordered {
                    id: command.id,
                    order,
                });
                true
            }
            Err(error) => {
                tracing::error!(code = error.code(), %error, "a command could not be kept");
                false
            }
        }
    }

    /// Tells the platform what it does not know yet.
    async fn report(&mut self) -> Result<(), PlatformError> {
        let results = self
            .cache
            .commands_unreported(REPORTS_MAX)
            .map_err(PlatformError::Store)?;
        for (id, result) in results {
            match self.shared.client.command_result(id, &result).await {
                // What the platform does not know or does not want any more is reported enough.
                Ok(()) | Err(PlatformError::Refused { .. }) => self
                    .cache
                    .command_reported(id)
                    .map_err(PlatformError::Store)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Decides what to do with a command and writes down that it is being done.
fn weigh(
    cache: &mut Cache,
    given: &mut HashSet<Uuid>,
    command: &Command,
    time: Timestamp,
    now: Moment,
) -> Result<Doing, CacheError> {
    let id = command.id;
    let standing = cache.command_begin(id, &command.kind, now.at)?;
    let is_second = match standing {
        CommandStanding::Finished { .. } => return Ok(Doing::Nothing),
        CommandStanding::Begun if given.contains(&id) => return Ok(Doing::Nothing),
        CommandStanding::Begun => true,
        CommandStanding::New => false,
    };
    let refusal = match &command.act {
        None => Some("command.unknown-kind"),
        Some(_) if command.expires_at.duration_since(command.issued_at) > LIFETIME_MAX => {
            Some("command.lives-too-long")
        }
        // Begun before the restart, it may have been half done: it is brought to its end.
        Some(_) if time > command.expires_at && !is_second => Some("command.expired"),
        Some(_) => None,
    };
    match (refusal, &command.act) {
        (Some(code), _) => {
            tracing::warn!(%id, code, kind = command.kind, "a command was refused");
            finish(cache, id, "refused", code, now)?;
            Ok(Doing::Finished)
        }
        (None, Some(Act::SyncNow)) => {
            finish(cache, id, "done", "", now)?;
            Ok(Doing::SyncNow)
        }
        // This life of the program is the restart that was ordered.
        (None, Some(Act::Order(Order::Restart))) if is_second => {
            finish(cache, id, "done", "", now)?;
            Ok(Doing::Finished)
        }
        (None, Some(Act::Order(order))) => {
            if given.len() >= GIVEN_MAX {
                given.clear();
            }
            given.insert(id);
            Ok(Doing::Give(order.clone()))
        }
        (None, None) => Ok(Doing::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::{Algorithm, DeviceKey};
    use serde_json::{Value, json};

    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn moment() -> Moment {
        Moment {
            at: at("2026-11-22T01:00:00Z"),
            uptime: Duration::from_secs(9),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn body(kind: &str) -> Value {
        json!({
            "id": ID, "terminal": "T001", "kind": kind, "arguments": {"item": "a-b"},
            "issued_at": "2026-11-22T00:00:00Z", "expires_at": "2026-11-23T00:00:00Z",
        })
    }

    fn command(kind: &str) -> Command {
        read(body(kind).to_string().as_bytes()).unwrap()
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let (cache, _) = Cache::open(directory.path(), moment().at).unwrap();
        (directory, cache)
    }

    fn act(cache: &mut Cache, given: &mut HashSet<Uuid>, command: &Command) -> Doing {
        let now = moment();
        weigh(cache, given, command, now.at, now).unwrap()
    }

    #[test]
    fn a_command_is_believed_only_when_the_platform_signed_it_for_this_terminal() {
        let platform = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let keys = [platform.public()];
        let body = body("lock").to_string();
        let sign = |key: &DeviceKey, domain| signed::sign(key, domain, body.as_bytes()).unwrap();
        let good = sign(&platform, signed::COMMAND);
        assert_eq!(
            open(&good, &keys, "T001").unwrap().act,
            Some(Act::Order(Order::Lock))
        );
        assert_eq!(
            open(&good, &keys, "T002").unwrap_err().code(),
            "command.other-terminal"
        );
        for text in [
            sign(&stranger, signed::COMMAND),
            sign(&platform, signed::DESIRED_STATE),
            good.replacen('A', "B", 1),
            good[..good.len() - 1].to_owned(),
            String::new(),
        ] {
            assert!(matches!(
                open(&text, &keys, "T001"),
                Err(CommandError::Signature(_))
            ));
        }
        assert!(
            open(&good, &[], "T001").is_err(),
            "nobody is trusted by default"
        );
    }

    #[test]
    fn a_command_is_performed_once_however_often_it_comes() {
        let (_directory, mut cache) = cache();
        let mut given = HashSet::new();
        let lock = command("lock");
        assert_eq!(act(&mut cache, &mut given, &lock), Doing::Give(Order::Lock));
        assert_eq!(
            act(&mut cache, &mut given, &lock),
            Doing::Nothing,
            "the loop has it"
        );
        finished(&mut cache, ID, Ok(()), moment());
        assert_eq!(act(&mut cache, &mut given, &lock), Doing::Nothing);
        assert_eq!(
            act(&mut cache, &mut HashSet::new(), &lock),
            Doing::Nothing,
            "after a restart"
        );
        let results = cache.commands_unreported(9).unwrap();
        assert_eq!(results.len(), 1);
        assert!(results[0].1.contains("\"done\""), "{}", results[0].1);
        cache.command_reported(ID).unwrap();
        assert!(cache.commands_unreported(9).unwrap().is_empty());
    }

    #[test]
    fn what_a_power_cut_left_half_done_is_brought_to_its_end() {
        let (_directory, mut cache) = cache();
        let suspend = command("suspend-item");
        let first = act(&mut cache, &mut HashSet::new(), &suspend);
        let second = act(&mut cache, &mut HashSet::new(), &suspend);
        assert_eq!(first, Doing::Give(Order::SuspendItem("a-b".to_owned())));
        assert_eq!(first, second);
    }

    #[test]
    fn an_ordered_restart_is_done_when_the_program_is_back() {
        let (_directory, mut cache) = cache();
        let restart = command("restart");
        assert_eq!(
            act(&mut cache, &mut HashSet::new(), &restart),
            Doing::Give(Order::Restart)
        );
        assert_eq!(
            act(&mut cache, &mut HashSet::new(), &restart),
            Doing::Finished
        );
        assert!(cache.commands_unreported(9).unwrap()[0].1.contains("done"));
    }

    #[test]
    fn an_expired_an_unknown_and_an_immortal_command_are_refused_and_reported() {
        let check = |command: &Command, time: &str, code: &str| {
            let (_directory, mut cache) = cache();
            let doing = weigh(&mut cache, &mut HashSet::new(), command, at(time), moment());
            assert_eq!(doing.unwrap(), Doing::Finished, "{code}");
            let result = cache.commands_unreported(9).unwrap()[0].1.clone();
            assert!(
                result.contains("refused") && result.contains(code),
                "{result}"
            );
        };
        check(&command("lock"), "2026-11-23T00:00:01Z", "command.expired");
        check(
            &command("dance"),
            "2026-11-22T00:00:01Z",
            "command.unknown-kind",
        );
        let mut immortal = command("lock");
        immortal.expires_at = at("2036-01-01T00:00:00Z");
        check(&immortal, "2026-11-22T00:00:01Z", "command.lives-too-long");
    }

    #[test]
    fn a_sync_on_demand_is_done_at_once() {
        let (_directory, mut cache) = cache();
        let sync = command("sync-now");
        assert_eq!(act(&mut cache, &mut HashSet::new(), &sync), Doing::SyncNow);
        assert_eq!(act(&mut cache, &mut HashSet::new(), &sync), Doing::Nothing);
    }

    #[test]
    fn a_malformed_command_is_none() {
        let check = |name: &str, value: Value| {
            let mut body = body("suspend-item");
            body[name] = value;
            assert!(read(body.to_string().as_bytes()).is_err(), "{name}");
        };
        check("id", json!("x"));
        check("terminal", json!(null));
        check("arguments", json!({"item": "a b"}));
        check("arguments", json!({}));
        check("expires_at", json!("tomorrow"));
        assert!(read(&vec![b'['; BODY_BYTES_MAX]).is_err());
        assert!(read(&vec![b' '; BODY_BYTES_MAX + 1]).is_err());
        assert!(read_list(b"{\"commands\":[1]}").is_err());
        let many = json!({ "commands": vec!["x"; 99] }).to_string();
        assert_eq!(read_list(many.as_bytes()).unwrap().len(), COMMANDS_MAX);
    }
}
