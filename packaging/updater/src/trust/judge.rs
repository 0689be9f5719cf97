//! What of a pass is believed. Pure: takes what was believed, what was asked and how it ended, and
//! says what is believed now. Each file stands on the one before: the first that fails ends it, and
//! what stood before it stays, so that a repository that is repaired half-way is followed half-way.

use jiff::{SignedDuration, Timestamp};
use tough::schema;

use super::Role;
use super::error::TrustError;
use super::floor::Floor;
use super::load::{Asked, Believed, Pass};
use super::outline::Outline;
use super::root::RootKeys;
use super::store::Files;

/// Beyond this after the end of signed metadata, the clock is wrong rather than the metadata old.
/// Chosen: more than twice the two years that a root lives.
const CLOCK_AHEAD: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);
/// The floor's time is written no more often than this, to spare the disk.
const TIME_STEP: SignedDuration = SignedDuration::from_hours(1);

/// What is believed after a pass.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) files: Files,
    pub(super) floor: Floor,
    /// The list of what may be installed, or why nothing may be.
    pub(super) outcome: Result<schema::Targets, TrustError>,
}

/// Judges a pass.
pub(super) fn judge(believed: Believed<'_>, pass: Pass) -> Verdict {
    let mut files = believed.files.clone();
    let mut floor = believed.floor.clone();
    let accepted = match &pass.outcome {
        Ok(_) => pass.asked.as_slice(),
        // Whatever was asked for last is what was found wrong, or did not come.
        Err(_) => pass.asked.split_last().map_or(&[][..], |(_, rest)| rest),
    };
    let weighed = weigh(believed, accepted, &mut files, &mut floor);
    Verdict {
        files,
        floor,
        outcome: weighed.and(pass.outcome),
    }
}

fn weigh(
    believed: Believed<'_>,
    accepted: &[Asked],
    files: &mut Files,
    floor: &mut Floor,
) -> Result<(), TrustError> {
    let file = |role| {
        let mut of_role = accepted.iter().filter(move |asked| asked.role == role);
        of_role.find_map(|asked| asked.bytes.as_deref())
    };
    let time = believed.time;
    let mut first_end = weigh_root(believed, accepted, files, floor)?;
    let Some(bytes) = file(Role::Timestamp) else {
        return Ok(());
    };
    let timestamp = outline(Role::Timestamp, bytes)?;
    if !floor.admits_timestamp(&timestamp) {
        return Err(TrustError::RolledBack {
            role: Role::Timestamp,
        });
    }
    first_end = first_end.min(in_force(Role::Timestamp, &timestamp, time)?);
    floor.raise_timestamp(&timestamp);
    files.timestamp = Some(bytes.to_vec());
    let Some(bytes) = file(Role::Snapshot) else {
        return Ok(());
    };
    let snapshot = outline(Role::Snapshot, bytes)?;
    if !floor.admits_snapshot(&snapshot) {
        return Err(TrustError::RolledBack {
            role: Role::Snapshot,
        });
    }
    first_end = first_end.min(in_force(Role::Snapshot, &snapshot, time)?);
    floor.raise_snapshot(&snapshot);
    files.snapshot = Some(bytes.to_vec());
    let Some(bytes) = file(Role::Targets) else {
        return Ok(());
    };
    let targets = outline(Role::Targets, bytes)?;
    first_end = first_end.min(in_force(Role::Targets, &targets, time)?);
    files.targets = Some(bytes.to_vec());
    // Everything was in force at this time, so that no clock that is years ahead comes here.
    if time.duration_since(floor.time) >= TIME_STEP {
        floor.time = time.min(first_end);
    }
    Ok(())
}

/// Takes over the newest root; says when it ends.
fn weigh_root(
    believed: Believed<'_>,
    accepted: &[Asked],
    files: &mut Files,
    floor: &mut Floor,
) -> Result<Timestamp, TrustError> {
    let role = Role::Root;
    let malformed = || TrustError::Malformed { role };
    let new = || {
        let roots = accepted.iter().filter(|asked| asked.role == Role::Root);
        roots.filter_map(|asked| asked.bytes.as_deref())
    };
    for bytes in new() {
        if let Some(role) = RootKeys::parse(bytes).ok_or_else(malformed)?.doubled() {
            return Err(TrustError::KeyTwice { role });
        }
    }
    let bytes = new().next_back().unwrap_or(believed.root);
    let root = outline(role, bytes)?;
    if root.version < floor.root {
        return Err(TrustError::RootDelayed { wanted: floor.root });
    }
    let keys = RootKeys::parse(bytes).ok_or_else(malformed)?;
    if floor.follow_keys(&keys.online()) {
        files.timestamp = None;
        files.snapshot = None;
    }
    floor.root = root.version;
    files.root = Some(bytes.to_vec());
    in_force(role, &root, believed.time)
}

fn outline(role: Role, bytes: &[u8]) -> Result<Outline, TrustError> {
    Outline::parse(bytes)
        .filter(|outline| outline.kind == role.to_string())
        .ok_or(TrustError::Malformed { role })
}

/// When a file ends, if it has not ended yet.
fn in_force(role: Role, outline: &Outline, time: Timestamp) -> Result<Timestamp, TrustError> {
    if outline.expires > time {
        return Ok(outline.expires);
    }
    if time.duration_since(outline.expires) > CLOCK_AHEAD {
        return Err(TrustError::ClockAhead);
    }
    Err(TrustError::Expired { role })
}
