//! The audit chain: every entry carries the hash of the one before it, and from time to time the
//! device signs where the chain stands.
//!
//! The hashes show an entry that was changed, left out, put in or moved. Anyone who can write the
//! store can compute them anew, and a chain cut at its end is a chain: only the signed
//! checkpoints and the head that the platform remembers (the anchor) show that. Entries hold no
//! personal data; a person appears as a keyed digest.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::encoding::{hex, hex_hash, hex_hash_option};
use crate::signed::{self, CHECKPOINT, SignedError};
use crate::suite::{finish, sha256_of};
use crate::{DeviceKey, KeyError, PublicKey};

/// Longest detail of an entry in bytes; chosen, a screen of text.
pub const DETAIL_BYTES_MAX: usize = 4096;
/// Longest kind or actor of an entry in bytes; chosen.
pub const WORD_BYTES_MAX: usize = 128;
/// Most findings that a report lists one by one; what follows is counted.
pub const FINDINGS_MAX: usize = 100;
/// Most bytes of a checkpoint's body: a terminal's name, a hash and two numbers.
const CHECKPOINT_BODY_BYTES_MAX: usize = 1024;

const ENTRY_DOMAIN: &[u8] = b"kiosk.audit-entry.v1";
const GENESIS_DOMAIN: &[u8] = b"kiosk.audit-genesis.v1";

/// SHA-256 of a link of the chain.
pub type Hash = [u8; 32];

/// What happened once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Place in the chain; the first has 1, each next one more.
    pub sequence: u64,
    /// When, in milliseconds since 1970 by the terminal's clock; decides no order.
    pub at_ms: i64,
    /// What, such as `transaction.enqueued`.
    pub kind: String,
    /// Who: `citizen`, `platform`, or the name of a technician's badge.
    pub actor: String,
    /// Keyed digest of the person it is about.
    #[serde(default, with = "hex_hash_option")]
    pub subject: Option<[u8; 32]>,
    /// The transaction it is about.
    #[serde(default)]
    pub transaction: Option<Uuid>,
    /// More about it: JSON without personal data, at most [`DETAIL_BYTES_MAX`] bytes.
    pub detail: String,
}

/// Where the chain of a terminal begins.
pub fn genesis(terminal: &str) -> Hash {
    sha256_of(&[GENESIS_DOMAIN, &[0], terminal.as_bytes()])
}

/// The hash of an entry that follows `previous`: SHA-256 of the domain, a zero byte, the hash
/// before, and each field with its length or a byte that says whether it is there.
pub fn link(previous: &Hash, entry: &Entry) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(ENTRY_DOMAIN);
    context.update(&[0]);
    context.update(previous);
    context.update(&entry.sequence.to_be_bytes());
    context.update(&entry.at_ms.to_be_bytes());
    for text in [&entry.kind, &entry.actor, &entry.detail] {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    match &entry.subject {
        Some(subject) => {
            context.update(&[1]);
            context.update(subject);
        }
        None => context.update(&[0]),
    }
    match &entry.transaction {
        Some(transaction) => {
            context.update(&[1]);
            context.update(transaction.as_bytes());
        }
        None => context.update(&[0]),
    }
    finish(context)
}

/// Where the chain stood at one moment, signed by the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Last entry it covers.
    pub sequence: u64,
    /// Hash of that entry.
    #[serde(with = "hex_hash")]
    pub head: Hash,
    /// When it was signed, in milliseconds since 1970 by the terminal's clock.
    pub at_ms: i64,
    /// The same and the terminal's name, as a signed text of the domain
    /// [`CHECKPOINT`].
    pub signed: String,
}

/// What the signature of a checkpoint covers.
#[derive(Serialize, Deserialize)]
struct CheckpointBody {
    terminal: String,
    sequence: u64,
    #[serde(with = "hex_hash")]
    head: Hash,
    at_ms: i64,
}

impl Checkpoint {
    /// Signs where the chain stands.
    ///
    /// # Errors
    /// What [`DeviceKey::sign`] says.
    pub fn sign(
        key: &DeviceKey,
        terminal: &str,
        sequence: u64,
        head: Hash,
        at_ms: i64,
    ) -> Result<Self, KeyError> {
        let body = CheckpointBody {
            terminal: terminal.to_owned(),
            sequence,
            head,
            at_ms,
        };
        let body =
            serde_json::to_vec(&body).map_err(|_| KeyError::Unsignable { part: "checkpoint" })?;
        Ok(Self {
            sequence,
            head,
            at_ms,
            signed: signed::sign(key, CHECKPOINT, &body)?,
        })
    }

    /// Checks a signed checkpoint and gives the terminal, the sequence, the head and the time
    /// that it speaks of.
    ///
    /// # Errors
    /// [`SignedError`]; `Malformed` also when the body is not a checkpoint.
    pub fn verify(text: &str, keys: &[PublicKey]) -> Result<(String, u64, Hash, i64), SignedError> {
        let body = signed::verify(keys, CHECKPOINT, text, CHECKPOINT_BODY_BYTES_MAX)?;
        let body: CheckpointBody =
            serde_json::from_slice(&body).map_err(|_| SignedError::Malformed)?;
        Ok((body.terminal, body.sequence, body.head, body.at_ms))
    }
}

/// One thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// An entry does not fit its hash and the entry before it.
    Edited {
        /// The entry.
        sequence: u64,
    },
    /// Entries are left out.
    Missing {
        /// First one that is missing.
        sequence: u64,
        /// Last one that is missing.
        through: u64,
    },
    /// An entry comes twice, or after a later one.
    Misplaced {
        /// The entry.
        sequence: u64,
    },
    /// The end of the chain is cut off.
    Truncated {
        /// Last entry that is there.
        stored: u64,
        /// Last entry that was vouched for.
        anchored: u64,
    },
    /// The chain was written anew: it is whole in itself, but not the one that was vouched for.
    ForeignHead {
        /// The entry that was vouched for with another hash.
        sequence: u64,
    },
    /// A checkpoint is not signed by a trusted key, or says something else than its row.
    BadCheckpoint {
        /// Where it claims to stand.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint is genuine, but of another terminal.
    ForeignCheckpoint {
        /// Where it claims to stand.
        sequence: u64,
        /// Whose it is.
        terminal: String,
    },
    /// The store failed; what follows was not looked at.
    Unreadable {
        /// Last entry that was read.
        after: u64,
        /// What the store said.
        reason: String,
    },
    /// More findings than are listed.
    More {
        /// How many.
        count: u64,
    },
}

impl Finding {
    /// Stable problem code, explained in `kiosk-app/problems.toml`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Edited { .. } => "audit.edited",
            Self::Missing { .. } => "audit.missing",
            Self::Misplaced { .. } => "audit.misplaced",
            Self::Truncated { .. } => "audit.truncated",
            Self::ForeignHead { .. } => "audit.foreign-head",
            Self::BadCheckpoint { .. } => "audit.bad-checkpoint",
            Self::ForeignCheckpoint { .. } => "audit.foreign-checkpoint",
            Self::Unreadable { .. } => "audit.unreadable",
            Self::More { .. } => "audit.more",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { sequence } => write!(
                formatter,
                "entry {sequence} was changed, or what stands before it was"
            ),
            Self::Missing { sequence, through } if sequence == through => {
                write!(formatter, "entry {sequence} is missing")
            }
            Self::Missing { sequence, through } => {
                write!(formatter, "entries {sequence} to {through} are missing")
            }
            Self::Misplaced { sequence } => {
                write!(formatter, "entry {sequence} stands in the wrong place")
            }
            Self::Truncated { stored, anchored } => write!(
                formatter,
                "the log ends at entry {stored}, but {anchored} entries were vouched for"
            ),
            Self::ForeignHead { sequence } => write!(
                formatter,
                "entry {sequence} is not the one that was vouched for: the log was rewritten"
            ),
            Self::BadCheckpoint { sequence, reason } => write!(
                formatter,
                "the checkpoint at entry {sequence} is not genuine: {reason}"
            ),
            Self::ForeignCheckpoint { sequence, terminal } => write!(
                formatter,
                "the checkpoint at entry {sequence} belongs to terminal {terminal}"
            ),
            Self::Unreadable { after, reason } => write!(
                formatter,
                "the log cannot be read after entry {after}: {reason}"
            ),
            Self::More { count } => write!(formatter, "{count} more findings"),
        }
    }
}

/// What a check of a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries read.
    pub entries: u64,
    /// Sequence of the last entry; 0 for an empty chain.
    pub sequence: u64,
    /// Hash of the last entry; the genesis for an empty chain.
    pub head: Hash,
    /// What is wrong, at most [`FINDINGS_MAX`] and one that counts the rest; empty when the
    /// chain is whole.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks a chain from its beginning, against the checkpoints that were stored with it and the
/// anchor that somebody else remembers. Entries come in the order of the store; memory is
/// bounded by the checkpoints, not by the entries.
///
/// What can be checked after a finding still is: the chain is taken up again at the stored hash,
/// so that one change makes one finding.
pub fn verify<E: fmt::Display>(
    terminal: &str,
    entries: impl Iterator<Item = Result<(Entry, Hash), E>>,
    checkpoints: &[Checkpoint],
    keys: &[PublicKey],
    anchor: Option<(u64, Hash)>,
) -> Report {
    let mut findings = Findings::default();
    let mut vouched = vouched_heads(terminal, checkpoints, keys, &mut findings);
    if let Some((sequence, head)) = anchor {
        vouched.push((sequence, head));
    }
    let mut heads: BTreeMap<u64, Option<Hash>> = vouched
        .iter()
        .map(|(sequence, _)| (*sequence, None))
        .collect();
    let mut report = Report {
        entries: 0,
        sequence: 0,
        head: genesis(terminal),
        findings: Vec::new(),
    };
    if let Some(head) = heads.get_mut(&0) {
        *head = Some(report.head);
    }
    for entry in entries {
        let (entry, stored) = match entry {
            Ok(entry) => entry,
            Err(error) => {
                findings.add(Finding::Unreadable {
                    after: report.sequence,
                    reason: error.to_string(),
                });
                break;
            }
        };
        report.entries += 1;
        let sequence = entry.sequence;
        let next = report.sequence.saturating_add(1);
        if sequence < next {
            findings.add(Finding::Misplaced { sequence });
            continue;
        }
        if sequence > next {
            findings.add(Finding::Missing {
                sequence: next,
                through: sequence - 1,
            });
        } else if link(&report.head, &entry) != stored {
            findings.add(Finding::Edited { sequence });
        }
        (report.sequence, report.head) = (sequence, stored);
        if let Some(head) = heads.get_mut(&sequence) {
            *head = Some(stored);
        }
    }
    compare(&vouched, &heads, report.sequence, &mut findings);
    report.findings = findings.list();
    report
}

/// The heads that genuine checkpoints vouch for.
fn vouched_heads(
    terminal: &str,
    checkpoints: &[Checkpoint],
    keys: &[PublicKey],
    findings: &mut Findings,
) -> Vec<(u64, Hash)> {
    let mut vouched = Vec::new();
    for checkpoint in checkpoints {
        let sequence = checkpoint.sequence;
        match Checkpoint::verify(&checkpoint.signed, keys) {
            Ok((signer, ..)) if signer != terminal => {
                findings.add(Finding::ForeignCheckpoint {
                    sequence,
                    terminal: signer,
                });
            }
            Ok((_, signed_sequence, head, at_ms))
                if (signed_sequence, head, at_ms)
                    == (sequence, checkpoint.head, checkpoint.at_ms) =>
            {
                vouched.push((sequence, head));
            }
            Ok(_) => findings.add(Finding::BadCheckpoint {
                sequence,
                reason: "it says something else than was signed".to_owned(),
            }),
            Err(error) => findings.add(Finding::BadCheckpoint {
                sequence,
                reason: error.to_string(),
            }),
        }
    }
    vouched
}

/// Compares what was vouched for with what is there. A gap has been reported as missing.
fn compare(
    vouched: &[(u64, Hash)],
    heads: &BTreeMap<u64, Option<Hash>>,
    stored: u64,
    findings: &mut Findings,
) {
    let anchored = vouched.iter().map(|(sequence, _)| *sequence).max();
    if let Some(anchored) = anchored.filter(|anchored| *anchored > stored) {
        findings.add(Finding::Truncated { stored, anchored });
    }
    let mut last_foreign = None;
    for (sequence, head) in vouched {
        let is_foreign = heads
            .get(sequence)
            .copied()
            .flatten()
            .is_some_and(|found| found != *head);
        if is_foreign && last_foreign != Some(*sequence) {
            findings.add(Finding::ForeignHead {
                sequence: *sequence,
            });
            last_foreign = Some(*sequence);
        }
    }
}

/// A list that does not grow without end.
#[derive(Default)]
struct Findings {
    listed: Vec<Finding>,
    further: u64,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        if self.listed.len() < FINDINGS_MAX {
            self.listed.push(finding);
        } else {
            self.further += 1;
        }
    }

    fn list(mut self) -> Vec<Finding> {
        if self.further > 0 {
            self.listed.push(Finding::More {
                count: self.further,
            });
        }
        self.listed
    }
}

/// A hash as sixty-four hexadecimal digits, the form that travels in heartbeats.
pub fn hash_text(hash: &Hash) -> String {
    hex(hash)
}

/// The hash of sixty-four lower-case hexadecimal digits.
pub fn parse_hash(text: &str) -> Option<Hash> {
    crate::encoding::hash_from_hex(text)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::Algorithm;

    const TERMINAL: &str = "T001";

    fn key() -> DeviceKey {
        DeviceKey::generate(Algorithm::Ed25519).unwrap()
    }

    fn entry(sequence: u64) -> Entry {
        Entry {
            sequence,
            at_ms: 1_700_000_000_000 + sequence.cast_signed(),
            kind: "transaction.enqueued".to_owned(),
            actor: "citizen".to_owned(),
            subject: sequence.is_multiple_of(2).then_some([7; 32]),
            transaction: Some(Uuid::from_u128(u128::from(sequence))),
            detail: "{}".to_owned(),
        }
    }

    fn chain_of(terminal: &str, entries: impl IntoIterator<Item = Entry>) -> Vec<(Entry, Hash)> {
        let mut head = genesis(terminal);
        entries
            .into_iter()
            .map(|entry| {
                head = link(&head, &entry);
                (entry, head)
            })
            .collect()
    }

    fn chain(length: u64) -> Vec<(Entry, Hash)> {
        chain_of(TERMINAL, (1..=length).map(entry))
    }

    fn check(
        chain: &[(Entry, Hash)],
        checkpoints: &[Checkpoint],
        keys: &[PublicKey],
        anchor: Option<(u64, Hash)>,
    ) -> Vec<Finding> {
        let entries = chain.iter().cloned().map(Ok::<_, Infallible>);
        verify(TERMINAL, entries, checkpoints, keys, anchor).findings
    }

    fn checkpoint(key: &DeviceKey, chain: &[(Entry, Hash)], sequence: usize) -> Checkpoint {
        Checkpoint::sign(key, TERMINAL, sequence as u64, chain[sequence - 1].1, 5).unwrap()
    }

    #[test]
    fn a_whole_chain_has_no_findings() {
        let (key, chain) = (key(), chain(9));
        let checkpoints = [checkpoint(&key, &chain, 3), checkpoint(&key, &chain, 9)];
        let report = verify(
            TERMINAL,
            chain.iter().cloned().map(Ok::<_, Infallible>),
            &checkpoints,
            &[key.public()],
            Some((5, chain[4].1)),
        );
        assert!(report.is_whole(), "{:?}", report.findings);
        assert_eq!((report.entries, report.sequence), (9, 9));
        assert_eq!(report.head, chain[8].1);
        let empty = verify(
            TERMINAL,
            std::iter::empty::<Result<_, Infallible>>(),
            &[],
            &[],
            Some((0, genesis(TERMINAL))),
        );
        assert!(empty.is_whole());
        assert_eq!((empty.sequence, empty.head), (0, genesis(TERMINAL)));
    }

    #[test]
    fn every_field_of_an_entry_is_covered() {
        let edits: [fn(&mut Entry); 8] = [
            |entry| entry.at_ms += 1,
            |entry| entry.kind.push('x'),
            |entry| entry.actor = "platform".to_owned(),
            |entry| entry.subject = None,
            |entry| entry.subject = Some([8; 32]),
            |entry| entry.transaction = None,
            |entry| entry.transaction = Some(Uuid::from_u128(99)),
            |entry| entry.detail = "{ }".to_owned(),
        ];
        for edit in edits {
            let mut chain = chain(5);
            edit(&mut chain[1].0);
            assert_eq!(
                check(&chain, &[], &[], None),
                [Finding::Edited { sequence: 2 }]
            );
        }
    }

    #[test]
    fn letters_do_not_move_from_field_to_field() {
        let first = Entry {
            kind: "ab".to_owned(),
            actor: "c".to_owned(),
            ..entry(1)
        };
        let second = Entry {
            kind: "a".to_owned(),
            actor: "bc".to_owned(),
            ..entry(1)
        };
        assert_ne!(link(&[0; 32], &first), link(&[0; 32], &second));
    }

    #[test]
    fn an_edit_with_its_own_hash_mended_shows_at_the_next_entry() {
        let mut chain = chain(5);
        chain[1].0.detail = "{\"x\":1}".to_owned();
        chain[1].1 = link(&chain[0].1.clone(), &chain[1].0);
        assert_eq!(
            check(&chain, &[], &[], None),
            [Finding::Edited { sequence: 3 }]
        );
    }

    #[test]
    fn a_deletion_shows() {
        let mut chain = chain(9);
        chain.drain(3..5);
        assert_eq!(
            check(&chain, &[], &[], None),
            [Finding::Missing {
                sequence: 4,
                through: 5
            }]
        );
        // Also when the numbers were closed up.
        for (index, (entry, _)) in chain.iter_mut().enumerate() {
            entry.sequence = index as u64 + 1;
        }
        assert_eq!(
            check(&chain, &[], &[], None)[0],
            Finding::Edited { sequence: 4 }
        );
    }

    #[test]
    fn a_deletion_at_the_beginning_shows() {
        let mut chain = chain(4);
        chain.remove(0);
        assert_eq!(
            check(&chain, &[], &[], None),
            [Finding::Missing {
                sequence: 1,
                through: 1
            }]
        );
    }

    #[test]
    fn an_insertion_shows() {
        let whole = chain(4);
        let mut chain = whole.clone();
        chain.insert(2, (entry(2), [1; 32]));
        assert_eq!(
            check(&chain, &[], &[], None),
            [Finding::Misplaced { sequence: 2 }]
        );
        // Also when all that follows was moved up by one.
        let mut moved = whole.clone();
        moved.insert(2, (entry(3), [1; 32]));
        for (index, (entry, _)) in moved.iter_mut().enumerate() {
            entry.sequence = index as u64 + 1;
        }
        assert_eq!(
            check(&moved, &[], &[], None)[0],
            Finding::Edited { sequence: 3 }
        );
    }

    #[test]
    fn a_reordering_shows() {
        let mut chain = chain(5);
        chain.swap(1, 2);
        assert!(!check(&chain, &[], &[], None).is_empty());
        let (first, second) = (chain[1].0.sequence, chain[2].0.sequence);
        (chain[1].0.sequence, chain[2].0.sequence) = (second, first);
        assert!(!check(&chain, &[], &[], None).is_empty());
    }

    #[test]
    fn a_cut_end_shows_by_anchor_and_by_checkpoint_only() {
        let (key, chain) = (key(), chain(9));
        let cut = &chain[..6];
        assert_eq!(check(cut, &[], &[], None), []);
        let finding = [Finding::Truncated {
            stored: 6,
            anchored: 9,
        }];
        assert_eq!(check(cut, &[], &[], Some((9, chain[8].1))), finding);
        let checkpoints = [checkpoint(&key, &chain, 9), checkpoint(&key, &chain, 4)];
        assert_eq!(check(cut, &checkpoints, &[key.public()], None), finding);
        assert_eq!(
            check(&[], &[], &[], Some((9, chain[8].1))),
            [Finding::Truncated {
                stored: 0,
                anchored: 9
            }]
        );
    }

    #[test]
    fn a_chain_written_anew_shows_by_anchor_and_by_checkpoint_only() {
        let (key, genuine) = (key(), chain(9));
        let forged = chain_of(
            TERMINAL,
            (1..=9).map(|sequence| Entry {
                actor: "platform".to_owned(),
                ..entry(sequence)
            }),
        );
        assert_eq!(check(&forged, &[], &[], None), []);
        let checkpoints = [checkpoint(&key, &genuine, 4)];
        assert_eq!(
            check(&forged, &checkpoints, &[key.public()], None),
            [Finding::ForeignHead { sequence: 4 }]
        );
        assert_eq!(
            check(&forged, &[], &[], Some((9, genuine[8].1))),
            [Finding::ForeignHead { sequence: 9 }]
        );
    }

    #[test]
    fn the_chain_of_another_terminal_is_not_ours() {
        let (key, foreign) = (key(), chain_of("T002", (1..=3).map(entry)));
        assert_eq!(
            check(&foreign, &[], &[], None),
            [Finding::Edited { sequence: 1 }]
        );
        let checkpoint = Checkpoint::sign(&key, "T002", 3, foreign[2].1, 0).unwrap();
        assert_eq!(
            check(&chain(3), &[checkpoint], &[key.public()], None),
            [Finding::ForeignCheckpoint {
                sequence: 3,
                terminal: "T002".to_owned()
            }]
        );
    }

    #[test]
    fn a_forged_checkpoint_shows() {
        let (key, stranger, chain) = (key(), key(), chain(5));
        let keys = [key.public()];
        let codes = |checkpoint: Checkpoint| -> Vec<&str> {
            check(&chain, &[checkpoint], &keys, None)
                .iter()
                .map(Finding::code)
                .collect()
        };
        assert_eq!(codes(checkpoint(&key, &chain, 5)), [""; 0]);
        assert_eq!(
            codes(checkpoint(&stranger, &chain, 5)),
            ["audit.bad-checkpoint"]
        );
        let genuine = checkpoint(&key, &chain, 5);
        for altered in [
            Checkpoint {
                sequence: 4,
                ..genuine.clone()
            },
            Checkpoint {
                head: [0; 32],
                ..genuine.clone()
            },
            Checkpoint {
                at_ms: 6,
                ..genuine.clone()
            },
            Checkpoint {
                signed: String::new(),
                ..genuine.clone()
            },
            Checkpoint {
                signed: signed::sign(&key, CHECKPOINT, b"{}").unwrap(),
                ..genuine.clone()
            },
            Checkpoint {
                signed: signed::sign(&key, signed::COMMAND, b"{}").unwrap(),
                ..genuine.clone()
            },
        ] {
            assert_eq!(codes(altered), ["audit.bad-checkpoint"]);
        }
    }

    #[test]
    fn a_store_that_fails_is_reported_and_ends_the_check() {
        let chain = chain(2);
        let entries = chain
            .into_iter()
            .map(Ok)
            .chain(std::iter::repeat_with(|| Err("the disk fails")));
        let report = verify(TERMINAL, entries, &[], &[], None);
        assert_eq!(
            report.findings,
            [Finding::Unreadable {
                after: 2,
                reason: "the disk fails".to_owned()
            }]
        );
    }

    #[test]
    fn findings_are_counted_when_there_are_too_many_to_list() {
        let mut chain = chain(500);
        for (_, hash) in &mut chain {
            *hash = [0; 32];
        }
        let findings = check(&chain, &[], &[], None);
        assert_eq!(findings.len(), FINDINGS_MAX + 1);
        assert_eq!(findings[FINDINGS_MAX], Finding::More { count: 400 });
    }

    #[test]
    fn numbers_at_their_limits_do_not_wrap() {
        let chain = [(entry(u64::MAX), [1; 32]), (entry(u64::MAX), [2; 32])];
        let findings = check(&chain, &[], &[], Some((u64::MAX, [1; 32])));
        assert_eq!(
            findings,
            [
                Finding::Missing {
                    sequence: 1,
                    through: u64::MAX - 1
                },
                Finding::Edited { sequence: u64::MAX },
                Finding::ForeignHead { sequence: u64::MAX },
            ]
        );
    }

    #[test]
    fn entries_and_checkpoints_survive_json() {
        for sequence in [1, 2] {
            let entry = entry(sequence);
            let json = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
        }
        let checkpoint = checkpoint(&key(), &chain(1), 1);
        let json = serde_json::to_string(&checkpoint).unwrap();
        assert!(json.contains(&hash_text(&checkpoint.head)));
        assert_eq!(
            serde_json::from_str::<Checkpoint>(&json).unwrap(),
            checkpoint
        );
        assert_eq!(
            parse_hash(&hash_text(&checkpoint.head)),
            Some(checkpoint.head)
        );
    }

    #[test]
    fn each_finding_speaks_plainly() {
        assert_eq!(
            Finding::Truncated {
                stored: 6,
                anchored: 9
            }
            .to_string(),
            "the log ends at entry 6, but 9 entries were vouched for"
        );
    }

    #[test]
    fn the_hash_of_an_entry_never_changes() {
        // Computed apart from this code by the rule above: stored chains must verify for ever.
        assert_eq!(
            hash_text(&link(&genesis("T001"), &entry(2))),
            "b7486b8b99094c785a7b1adfb5de323caa13944fe5b9ce1c9834ef12cda502c6"
        );
    }
}
