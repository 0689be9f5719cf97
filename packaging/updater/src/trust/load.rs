//! The one place that calls `tough`. It verifies signatures, thresholds and how files belong
//! together; the files come to it over a desk that knows what is believed already. The desk notes
//! what was asked: tough asks for the next file only once it believes the one before, and so the
//! order of questions says how far it came. Time stays outside: ends of life are checked here by the
//! time that is given, never by the clock.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use futures_util::stream;
use jiff::Timestamp;
use reqwest::Url;
use tokio::sync::oneshot;
use tough::schema::{self, Signed};
use tough::{ExpirationEnforcement, RepositoryLoader, TransportErrorKind, TransportStream};

use super::Role;
use super::error::{TransportError, TrustError};
use super::floor::Floor;
use super::outline::Outline;
use super::store::Files;
use super::transport::{Transport, fetch_whole};

/// Most roots of one pass; the next pass goes on from there. Chosen: one a week for five years.
pub(super) const ROOTS_MAX: u64 = 256;
/// Most files of one pass.
const FILES_MAX: usize = 384;
/// Most bytes of all files of one pass; they lie in memory. Chosen: a thousand times a usual pass.
const PASS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest root in bytes. Chosen: twenty keys have 12 kB.
const ROOT_BYTES_MAX: u64 = 512 * 1024;
/// Largest timestamp in bytes; it names one file.
const TIMESTAMP_BYTES_MAX: u64 = 64 * 1024;
/// Largest snapshot in bytes; it names the lists of targets.
const SNAPSHOT_BYTES_MAX: u64 = 512 * 1024;
/// Largest list of targets in bytes. Chosen: 10,000 targets.
const TARGETS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest time between two questions; checking takes milliseconds.
const QUESTION_LIMIT: Duration = Duration::from_mins(1);
/// The address under which tough believes the repository to be. Nothing is ever sent there.
const PLACE: &str = "https://repository.invalid/";
/// Where tough finds what is believed, inside the store.
const SCRATCH: &str = "scratch";

/// What a pass begins with.
#[derive(Clone, Copy)]
pub(super) struct Believed<'a> {
    /// The newest root that is believed.
    pub(super) root: &'a [u8],
    pub(super) files: &'a Files,
    pub(super) floor: &'a Floor,
    /// The time by which ends of life are judged.
    pub(super) time: Timestamp,
}

/// One question of tough and its answer.
pub(super) struct Asked {
    pub(super) role: Role,
    pub(super) bytes: Option<Vec<u8>>,
}

/// How far a pass came.
pub(super) struct Pass {
    pub(super) asked: Vec<Asked>,
    pub(super) outcome: Result<schema::Targets, TrustError>,
}

/// Lets tough check a repository. Without a transport, only what is believed already is checked.
///
/// # Errors
/// `Run` and `Store`, when no check could be run; what was found wrong stands in the pass.
pub(super) fn run(
    transport: Option<&dyn Transport>,
    believed: Believed<'_>,
    store: &Path,
) -> Result<Pass, TrustError> {
    let scratch = store.join(SCRATCH);
    lay_out(&scratch, believed.files).map_err(TrustError::Store)?;
    let (requests, inbox) = mpsc::sync_channel(1);
    let mut desk = Desk {
        transport,
        believed,
        newest_root: believed.root.to_vec(),
        asked: Vec::new(),
        failure: None,
    };
    let outcome = thread::scope(|scope| {
        let relay = Relay { requests };
        let worker = thread::Builder::new()
            .name("trust".to_owned())
            .spawn_scoped(scope, || check(believed.root, relay, &scratch))?;
        while let Ok(Request { name, reply }) = inbox.recv_timeout(QUESTION_LIMIT) {
            // A check that has ended needs no answer.
            drop(reply.send(desk.answer(&name)));
        }
        drop(inbox);
        worker
            .join()
            .map_err(|_| io::Error::other("the check ended early"))?
    })
    .map_err(TrustError::Run)?;
    fs::remove_dir_all(&scratch).map_err(TrustError::Store)?;
    let role = desk.asked.last().map_or(Role::Root, |asked| asked.role);
    let outcome = match (desk.failure, outcome) {
        (Some((role, TransportError::NotFound)), _) => Err(TrustError::Missing { role }),
        (Some((role, source)), _) => Err(TrustError::Transport { role, source }),
        (None, outcome) => outcome.map_err(|error| explain(&error, role)),
    };
    Ok(Pass {
        asked: desk.asked,
        outcome,
    })
}

/// Gives tough a copy of what is believed, so that its own checks look at it too. What it makes of
/// the copy is never read back.
fn lay_out(scratch: &Path, files: &Files) -> io::Result<()> {
    match fs::remove_dir_all(scratch) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir(scratch)?;
    for (name, bytes) in files.named() {
        fs::write(scratch.join(name), bytes)?;
    }
    Ok(())
}

fn check(
    root: &[u8],
    relay: Relay,
    scratch: &Path,
) -> io::Result<Result<schema::Targets, Box<tough::error::Error>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let place = Url::parse(PLACE).expect("a constant address");
    let limits = tough::Limits {
        max_root_size: ROOT_BYTES_MAX,
        max_targets_size: TARGETS_BYTES_MAX,
        max_timestamp_size: TIMESTAMP_BYTES_MAX,
        max_snapshot_size: SNAPSHOT_BYTES_MAX,
        max_root_updates: ROOTS_MAX,
    };
    let loader = RepositoryLoader::new(&root, place.clone(), place)
        .transport(relay)
        .limits(limits)
        .datastore(scratch)
        // Not less safe: ends of life are judged outside, by a time that never falls.
        .expiration_enforcement(ExpirationEnforcement::Unsafe);
    Ok(runtime.block_on(async {
        let repository = loader.load().await.map_err(Box::new)?;
        Ok(repository.targets().signed.clone())
    }))
}

struct Request {
    name: String,
    reply: oneshot::Sender<Result<Vec<u8>, TransportErrorKind>>,
}

/// Carries questions from tough to the desk. One is under way at a time.
#[derive(Clone, Debug)]
struct Relay {
    requests: SyncSender<Request>,
}

#[tough::async_trait]
impl tough::Transport for Relay {
    async fn fetch(&self, url: Url) -> Result<TransportStream, tough::TransportError> {
        let (reply, answer) = oneshot::channel();
        let name = url.as_str().strip_prefix(PLACE).unwrap_or_default();
        let request = Request {
            name: name.to_owned(),
            reply,
        };
        let other = TransportErrorKind::Other;
        if self.requests.try_send(request).is_err() {
            return Err(tough::TransportError::new(other, url));
        }
        match answer.await.unwrap_or(Err(other)) {
            Ok(bytes) => {
                let piece: Result<_, tough::TransportError> = Ok(tough::Bytes::from(bytes));
                Ok(Box::pin(stream::iter([piece])))
            }
            Err(kind) => Err(tough::TransportError::new(kind, url)),
        }
    }
}

/// Answers tough's questions from the transport, or from what is believed already.
struct Desk<'a> {
    transport: Option<&'a dyn Transport>,
    believed: Believed<'a>,
    newest_root: Vec<u8>,
    asked: Vec<Asked>,
    failure: Option<(Role, TransportError)>,
}

impl Desk<'_> {
    fn answer(&mut self, name: &str) -> Result<Vec<u8>, TransportErrorKind> {
        let role = self.role(name);
        if self.failure.is_some() || !self.may_go_on(role) {
            self.note(role, None);
            return Err(TransportErrorKind::Other);
        }
        let has_room = self.asked.len() < FILES_MAX && self.bytes() < PASS_BYTES_MAX;
        let answer = if has_room {
            self.file(role, name)
        } else {
            Err(TransportError::TooMany)
        };
        match answer {
            Ok(bytes) => {
                if role == Role::Root {
                    self.newest_root.clone_from(&bytes);
                }
                self.note(role, Some(bytes.clone()));
                Ok(bytes)
            }
            // The only answer that ends the walk over the roots; any other failure ends the pass.
            Err(TransportError::NotFound) if role == Role::Root => {
                self.note(role, None);
                Err(TransportErrorKind::FileNotFound)
            }
            Err(error) => {
                self.failure = Some((role, error));
                self.note(role, None);
                Err(TransportErrorKind::Other)
            }
        }
    }

    fn bytes(&self) -> usize {
        let lengths = self
            .asked
            .iter()
            .map(|asked| asked.bytes.as_ref().map_or(0, Vec::len));
        lengths.sum()
    }

    fn note(&mut self, role: Role, bytes: Option<Vec<u8>>) {
        self.asked.push(Asked { role, bytes });
    }

    /// Tough asks for roots, for the timestamp, the snapshot, the targets, and for delegated lists.
    fn role(&self, name: &str) -> Role {
        match self.asked.last().map(|asked| asked.role) {
            None | Some(Role::Root) if name == "timestamp.json" => Role::Timestamp,
            None | Some(Role::Root) => Role::Root,
            Some(Role::Timestamp) => Role::Snapshot,
            Some(Role::Snapshot) => Role::Targets,
            Some(Role::Targets | Role::Delegated) => Role::Delegated,
        }
    }

    /// False when the file before was already too old, so that nothing more is to be fetched.
    fn may_go_on(&self, role: Role) -> bool {
        let in_force = |bytes: &[u8]| {
            Outline::parse(bytes).filter(|outline| outline.expires > self.believed.time)
        };
        let floor = self.believed.floor;
        match role {
            Role::Root | Role::Delegated => true,
            Role::Timestamp => in_force(&self.newest_root).is_some(),
            Role::Snapshot => self
                .last()
                .and_then(in_force)
                .is_some_and(|timestamp| self.has_new_keys() || floor.admits_timestamp(&timestamp)),
            Role::Targets => self
                .last()
                .and_then(in_force)
                .is_some_and(|snapshot| self.has_new_keys() || floor.admits_snapshot(&snapshot)),
        }
    }

    fn last(&self) -> Option<&[u8]> {
        self.asked.last()?.bytes.as_deref()
    }

    /// True when versions are counted anew.
    fn has_new_keys(&self) -> bool {
        super::root::RootKeys::parse(&self.newest_root)
            .is_none_or(|keys| self.believed.floor.counts_anew(&keys.online()))
    }

    fn file(&self, role: Role, name: &str) -> Result<Vec<u8>, TransportError> {
        let bytes_max = match role {
            Role::Root => ROOT_BYTES_MAX,
            Role::Timestamp => TIMESTAMP_BYTES_MAX,
            Role::Snapshot => SNAPSHOT_BYTES_MAX,
            Role::Targets | Role::Delegated => TARGETS_BYTES_MAX,
        };
        if let Some(bytes) = self.kept(role) {
            return Ok(bytes.to_vec());
        }
        let Some(transport) = self.transport else {
            return match role {
                Role::Timestamp => self.believed.files.of(role).map(<[u8]>::to_vec),
                Role::Root | Role::Snapshot | Role::Targets | Role::Delegated => None,
            }
            .ok_or(TransportError::NotFound);
        };
        let bytes = fetch_whole(transport, name, bytes_max)?;
        if role == Role::Timestamp
            && let Some(same) = self.same_timestamp(&bytes)
        {
            return Ok(same.to_vec());
        }
        Ok(bytes)
    }

    /// What is believed already and named by the file before is not fetched again.
    fn kept(&self, role: Role) -> Option<&[u8]> {
        let named = match role {
            Role::Snapshot => "snapshot.json",
            Role::Targets => "targets.json",
            Role::Root | Role::Timestamp | Role::Delegated => return None,
        };
        let bytes = self.believed.files.of(role)?;
        let version = Outline::parse(bytes)?.version;
        let outline = Outline::parse(self.last()?)?;
        let fits = outline.meta.get(named)?.fits(version, bytes);
        let root: Signed<schema::Root> = serde_json::from_slice(&self.newest_root).ok()?;
        let stays_signed = if role == Role::Snapshot {
            is_signed::<schema::Snapshot>(&root, bytes)
        } else {
            is_signed::<schema::Targets>(&root, bytes)
        };
        (fits && stays_signed).then_some(bytes)
    }

    /// The believed timestamp, when another of the same version comes: a version means one content
    /// (TUF 1.0.34, 5.4.3.1).
    fn same_timestamp(&self, bytes: &[u8]) -> Option<&[u8]> {
        let believed = self.believed.files.of(Role::Timestamp)?;
        let is_same = Outline::parse(bytes)?.version == Outline::parse(believed)?.version;
        let root: Signed<schema::Root> = serde_json::from_slice(&self.newest_root).ok()?;
        let stays_signed = is_signed::<schema::Timestamp>(&root, believed);
        // What comes must be signed too, else a stranger could feign that all is as it was.
        let came_signed = is_signed::<schema::Timestamp>(&root, bytes);
        (is_same && stays_signed && came_signed && !self.has_new_keys()).then_some(believed)
    }
}

fn is_signed<T>(root: &Signed<schema::Root>, bytes: &[u8]) -> bool
where
    T: schema::Role + serde::de::DeserializeOwned,
{
    serde_json::from_slice::<Signed<T>>(bytes)
        .is_ok_and(|file| root.signed.verify_role(&file).is_ok())
}

/// What tough's errors mean to an operator.
fn explain(error: &tough::error::Error, role: Role) -> TrustError {
    use tough::error::Error;
    if matches!(
        error,
        Error::VerifyTrustedMetadata { .. } | Error::ParseTrustedMetadata { .. }
    ) {
        return TrustError::PinnedRoot;
    }
    if matches!(error, Error::VerifyMetadata { .. }) {
        return TrustError::Unsigned { role };
    }
    if matches!(
        error,
        Error::OlderMetadata { .. }
            | Error::OlderSnapshotInTimestamp { .. }
            | Error::SnapshotRoleRollback { .. }
            | Error::SnapshotRoleMissing { .. }
    ) {
        return TrustError::RolledBack { role };
    }
    if matches!(error, Error::MaxUpdatesExceeded { .. }) {
        return TrustError::Transport {
            role,
            source: TransportError::TooMany,
        };
    }
    // No failure of the line was noted, so that only the length or the hash can have been wrong.
    if matches!(
        error,
        Error::VersionMismatch { .. } | Error::Transport { .. } | Error::HashMismatch { .. }
    ) {
        return TrustError::Mixed { role };
    }
    TrustError::Malformed { role }
}
