//! Carry-out bundles: the queue of a terminal without a line, on a stick.
//!
//! A part is one stream of frames, each a tag, a length of four bytes (big-endian) and its
//! content: `M` manifest, then for each transaction `E` entry, `P` payload and one `A` for each
//! attachment, and at the end `S` with the signature over everything before it. A part is
//! checked whole before anything of it is used; a cut or altered one is refused whole.
//! Payloads and attachments are envelopes already, so a lost stick tells nobody anything.

use std::fmt;
use std::io::{self, Read, Write};

use jiff::Timestamp;
use ring::digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::encoding::{base64url, from_base64url, hash_from_hex, hex};
use crate::signed::BUNDLE;
use crate::suite::{finish, sha256_of};
use crate::{DeviceKey, ENVELOPE_OVERHEAD_MAX, KeyError, PublicKey};

/// The format that this program writes and reads.
pub const FORMAT: u32 = 1;
/// Largest part in bytes. Fits every stick's file system and the platform's request limit.
pub const PART_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most bytes of a part that are not transactions: magic, manifest and signature.
pub const PART_OVERHEAD_BYTES_MAX: u64 = 8 * 1024;
/// Largest payload in bytes, sealed.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024 + ENVELOPE_OVERHEAD_MAX;
/// Largest attachment in bytes, sealed.
pub const ATTACHMENT_BYTES_MAX: usize = 8 * 1024 * 1024 + ENVELOPE_OVERHEAD_MAX;
/// Most attachments of one transaction.
pub const ATTACHMENTS_MAX: usize = 16;
/// Most transactions of one part.
pub const TRANSACTIONS_MAX: u32 = 100_000;

const MAGIC: [u8; 8] = *b"KIOSKOUT";
const MANIFEST_BYTES_MAX: usize = 4 * 1024;
const ENTRY_BYTES_MAX: usize = 16 * 1024;
const TRAILER_BYTES_MAX: usize = 1024;
/// Bytes of a frame beside its content.
const FRAME_BYTES: u64 = 5;

const MANIFEST: u8 = b'M';
const ENTRY: u8 = b'E';
const PAYLOAD: u8 = b'P';
const ATTACHMENT: u8 = b'A';
const TRAILER: u8 = b'S';

/// What a part says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The terminal that made it.
    pub terminal: String,
    /// Which carry-out it is a part of.
    pub bundle: Uuid,
    /// Which part, from 1.
    pub part: u32,
    /// When, by the terminal's clock.
    pub made_at: Timestamp,
    /// How many transactions are in this part.
    pub transactions: u32,
}

/// One transaction of a part; its payload and attachments follow it as they are queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The idempotency key, as in every other way of submitting.
    pub id: Uuid,
    /// What is done, such as `pension-certification`.
    pub kind: String,
    /// Id of the item package.
    pub item: String,
    /// Its version.
    pub item_version: u32,
    /// Number on the citizen's slip.
    pub case_number: String,
    /// When the citizen confirmed.
    pub enqueued_at: Timestamp,
    /// Which upstream it is for; empty for the platform itself.
    pub upstream: String,
    /// `plain`, or the suite of the envelope.
    pub payload_suite: String,
    /// The attachments, in the order in which they follow.
    pub attachments: Vec<EntryAttachment>,
}

/// One attachment of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryAttachment {
    /// Id of the upload.
    pub id: Uuid,
    /// File name for the platform.
    pub name: String,
    /// Media type of the content, before sealing.
    pub media_type: String,
    /// Size as it follows, in bytes.
    pub size: u64,
    /// SHA-256 as it follows, in hexadecimal digits.
    pub sha256: String,
}

impl Entry {
    /// Bytes that this transaction takes in a part, so that parts can be planned before the
    /// first is begun: their sum and [`PART_OVERHEAD_BYTES_MAX`] must not exceed
    /// [`PART_BYTES_MAX`].
    pub fn framed_bytes(&self, payload_bytes: usize) -> u64 {
        let json = serde_json::to_vec(self).map_or(0, |json| json.len());
        self.attachments
            .iter()
            .map(|attachment| attachment.size.saturating_add(FRAME_BYTES))
            .fold(
                (json as u64)
                    .saturating_add(payload_bytes as u64)
                    .saturating_add(2 * FRAME_BYTES),
                u64::saturating_add,
            )
    }
}

/// Receipts that go back on the stick: the body of a signed text of the domain
/// [`RECEIPTS`](crate::signed::RECEIPTS).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedReceipts {
    /// The terminal they are for.
    pub terminal: String,
    /// The carry-out they answer.
    pub bundle: Uuid,
    /// The part they answer.
    pub part: u32,
    /// One result for each transaction, as in the answer of `POST /v1/batches`.
    pub results: Vec<serde_json::Value>,
}

/// The last frame.
#[derive(Serialize, Deserialize)]
struct Trailer {
    key_id: String,
    signature: String,
}

/// Why a bundle was not written or not believed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The stick or the file fails.
    #[error("the bundle cannot be read or written")]
    Io(#[from] io::Error),
    /// The file ends early.
    #[error("the bundle is cut short")]
    Truncated,
    /// The file is no bundle, or breaks a rule of the format.
    #[error("the bundle is malformed: {reason}")]
    Malformed {
        /// The rule.
        reason: &'static str,
    },
    /// Something is larger than the format allows, or the part is full; nothing was written.
    #[error("{what} is larger than a bundle allows")]
    TooLarge {
        /// What it is.
        what: &'static str,
    },
    /// A newer program made it.
    #[error("the bundle has format {found}, this program knows {FORMAT}")]
    NewerFormat {
        /// Its format.
        found: u32,
    },
    /// The manifest promises another number of transactions.
    #[error("the manifest speaks of {stated} transactions, there are {found}")]
    CountDiffers {
        /// Number in the manifest.
        stated: u32,
        /// Number found.
        found: u32,
    },
    /// An attachment is not what its entry says.
    #[error("attachment {id} is not what its entry says")]
    AttachmentDiffers {
        /// The attachment.
        id: Uuid,
    },
    /// Signed by a key that the terminal is not known by.
    #[error("the bundle of {terminal} is signed by key {key_id}, which is not known")]
    UnknownKey {
        /// Terminal that the manifest names.
        terminal: String,
        /// Key that the trailer names.
        key_id: String,
    },
    /// The signature does not cover the file: it was altered.
    #[error("the bundle was altered")]
    Forged,
    /// The device key did not sign.
    #[error("the bundle cannot be signed")]
    Key(#[from] KeyError),
}

impl BundleError {
    /// Stable problem code, explained in `kiosk-app/problems.toml`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "bundle.io",
            Self::Truncated => "bundle.truncated",
            Self::Malformed { .. } => "bundle.malformed",
            Self::TooLarge { .. } => "bundle.too-large",
            Self::NewerFormat { .. } => "bundle.newer-format",
            Self::CountDiffers { .. } => "bundle.count-differs",
            Self::AttachmentDiffers { .. } => "bundle.attachment-differs",
            Self::UnknownKey { .. } => "bundle.unknown-key",
            Self::Forged => "bundle.forged",
            Self::Key(error) => error.code(),
        }
    }
}

/// Why reading a bundle ended: the bundle, or whoever took its transactions.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The receiver refused a transaction.
    #[error("a transaction of the bundle was not taken")]
    Each(#[source] E),
}

/// Writes one part. Each call is refused before it writes anything that breaks the format.
pub struct Writer<W: Write> {
    out: W,
    written: u64,
    digest: digest::Context,
    stated: u32,
    transactions: u32,
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("written", &self.written)
            .field("transactions", &self.transactions)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Begins a part.
    ///
    /// # Errors
    /// `Malformed` or `TooLarge` for a manifest that no reader would take; `Io`.
    pub fn begin(out: W, manifest: &Manifest) -> Result<Self, BundleError> {
        check_manifest(manifest)?;
        let json = to_json(manifest, MANIFEST_BYTES_MAX, "the manifest")?;
        let mut writer = Self {
            out,
            written: 0,
            digest: digest::Context::new(&digest::SHA256),
            stated: manifest.transactions,
            transactions: 0,
        };
        writer.put(&MAGIC)?;
        writer.frame(MANIFEST, &json)?;
        Ok(writer)
    }

    /// Adds a transaction.
    ///
    /// # Errors
    /// `TooLarge` when it or the part would be too large, `AttachmentDiffers` when a blob is not
    /// what the entry says; nothing was written then. `Io`: give the file up.
    pub fn transaction(
        &mut self,
        entry: &Entry,
        payload: &[u8],
        attachments: &[Vec<u8>],
    ) -> Result<(), BundleError> {
        if self.transactions >= self.stated {
            return Err(BundleError::CountDiffers {
                stated: self.stated,
                found: self.stated.saturating_add(1),
            });
        }
        check_entry(entry)?;
        let json = to_json(entry, ENTRY_BYTES_MAX, "the entry")?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BundleError::TooLarge {
                what: "the payload",
            });
        }
        if entry.attachments.len() != attachments.len() {
            return Err(BundleError::Malformed {
                reason: "an entry and its attachments differ in number",
            });
        }
        for (stated, bytes) in entry.attachments.iter().zip(attachments) {
            check_attachment(stated, bytes)?;
        }
        let room = (PART_BYTES_MAX - PART_OVERHEAD_BYTES_MAX).saturating_sub(self.written);
        if entry.framed_bytes(payload.len()) > room {
            return Err(BundleError::TooLarge { what: "the part" });
        }
        self.frame(ENTRY, &json)?;
        self.frame(PAYLOAD, payload)?;
        for bytes in attachments {
            self.frame(ATTACHMENT, bytes)?;
        }
        self.transactions += 1;
        Ok(())
    }

    /// Signs the part and gives the output back, flushed; making it durable is the caller's.
    ///
    /// # Errors
    /// `CountDiffers` when the manifest promised another number; `Key`; `Io`.
    pub fn finish(mut self, key: &DeviceKey) -> Result<W, BundleError> {
        if self.transactions != self.stated {
            return Err(BundleError::CountDiffers {
                stated: self.stated,
                found: self.transactions,
            });
        }
        let digest = finish(self.digest.clone());
        let trailer = Trailer {
            key_id: key.public().key_id(),
            signature: base64url(&key.sign(&message(&digest))?),
        };
        let json = to_json(&trailer, TRAILER_BYTES_MAX, "the signature")?;
        self.frame(TRAILER, &json)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn frame(&mut self, tag: u8, content: &[u8]) -> Result<(), BundleError> {
        let length =
            u32::try_from(content.len()).map_err(|_| BundleError::TooLarge { what: "a frame" })?;
        self.put(&[tag])?;
        self.put(&length.to_be_bytes())?;
        self.put(content)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.out.write_all(bytes)?;
        self.digest.update(bytes);
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

/// A part that was checked whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it says about itself.
    pub manifest: Manifest,
    /// The key that signed it.
    pub key_id: String,
    /// SHA-256 of everything that is signed.
    pub digest: [u8; 32],
}

/// Reads a part to its end and checks every rule and the signature. `find_key` is asked for the
/// key of a terminal by its id.
///
/// # Errors
/// [`BundleError`]; nothing of the part is to be used.
pub fn verify<R: Read>(
    input: R,
    find_key: impl FnOnce(&str, &str) -> Option<PublicKey>,
) -> Result<Verified, BundleError> {
    let walked = walk(input, |_, _, _| Ok::<(), std::convert::Infallible>(()));
    let (manifest, trailer, digest) = match walked {
        Ok(walked) => walked,
        Err(ReadError::Bundle(error)) => return Err(error),
        Err(ReadError::Each(never)) => match never {},
    };
    let unknown = || BundleError::UnknownKey {
        terminal: manifest.terminal.clone(),
        key_id: trailer.key_id.clone(),
    };
    let key = find_key(&manifest.terminal, &trailer.key_id)
        .filter(|key| key.key_id() == trailer.key_id)
        .ok_or_else(unknown)?;
    let signature = from_base64url(&trailer.signature).ok_or(BundleError::Forged)?;
    if !key.verify(&message(&digest), &signature) {
        return Err(BundleError::Forged);
    }
    Ok(Verified {
        manifest,
        key_id: trailer.key_id,
        digest,
    })
}

/// Hands out the transactions of a part, in order. Only after [`verify`], and of the same bytes:
/// read a file into memory or a private copy first, since a stick may change in between.
///
/// # Errors
/// `Bundle` as [`verify`], but the signature is not checked; `Each` as soon as `each` fails.
pub fn read<R: Read, E>(
    input: R,
    each: impl FnMut(Entry, Vec<u8>, Vec<Vec<u8>>) -> Result<(), E>,
) -> Result<Manifest, ReadError<E>> {
    walk(input, each).map(|(manifest, ..)| manifest)
}

/// Walks a part from its first byte to its last, within every bound.
fn walk<R: Read, E>(
    input: R,
    mut each: impl FnMut(Entry, Vec<u8>, Vec<Vec<u8>>) -> Result<(), E>,
) -> Result<(Manifest, Trailer, [u8; 32]), ReadError<E>> {
    let mut frames = Frames::begin(input)?;
    let manifest: Manifest = frames.json(MANIFEST, MANIFEST_BYTES_MAX)?;
    check_manifest(&manifest)?;
    let mut transactions = 0;
    loop {
        // Taken before the tag is read: the signature covers what stands before its frame.
        let digest = finish(frames.digest.clone());
        match frames.tag()? {
            ENTRY => {
                transactions += 1;
                if transactions > manifest.transactions {
                    return Err(count_differs(&manifest, transactions).into());
                }
                let (entry, payload, attachments) = frames.transaction()?;
                each(entry, payload, attachments).map_err(ReadError::Each)?;
            }
            TRAILER => {
                let trailer: Trailer = frames.json_content(TRAILER_BYTES_MAX)?;
                frames.end()?;
                if transactions != manifest.transactions {
                    return Err(count_differs(&manifest, transactions).into());
                }
                return Ok((manifest, trailer, digest));
            }
            _ => return Err(malformed("a frame is out of place").into()),
        }
    }
}

/// An entry, its payload and its attachments.
type Transaction = (Entry, Vec<u8>, Vec<Vec<u8>>);

/// A part being read, bounded in all.
struct Frames<R> {
    input: io::Take<R>,
    digest: digest::Context,
}

impl<R: Read> Frames<R> {
    fn begin(input: R) -> Result<Self, BundleError> {
        let mut frames = Self {
            input: input.take(PART_BYTES_MAX),
            digest: digest::Context::new(&digest::SHA256),
        };
        if frames.fixed::<8>()? == MAGIC {
            Ok(frames)
        } else {
            Err(malformed("it does not begin as a bundle"))
        }
    }

    fn tag(&mut self) -> Result<u8, BundleError> {
        self.fixed::<1>().map(|[tag]| tag)
    }

    fn transaction(&mut self) -> Result<Transaction, BundleError> {
        let entry: Entry = self.json_content(ENTRY_BYTES_MAX)?;
        check_entry(&entry)?;
        let payload = self.frame(PAYLOAD, PAYLOAD_BYTES_MAX)?;
        let mut attachments = Vec::with_capacity(entry.attachments.len());
        for stated in &entry.attachments {
            let bytes = self.frame(ATTACHMENT, ATTACHMENT_BYTES_MAX)?;
            check_attachment(stated, &bytes)?;
            attachments.push(bytes);
        }
        Ok((entry, payload, attachments))
    }

    fn json<T: DeserializeOwned>(&mut self, tag: u8, bytes_max: usize) -> Result<T, BundleError> {
        if self.tag()? != tag {
            return Err(malformed("a frame is out of place"));
        }
        self.json_content(bytes_max)
    }

    fn json_content<T: DeserializeOwned>(&mut self, bytes_max: usize) -> Result<T, BundleError> {
        serde_json::from_slice(&self.content(bytes_max)?)
            .map_err(|_| malformed("a record is not what it should be"))
    }

    fn frame(&mut self, tag: u8, bytes_max: usize) -> Result<Vec<u8>, BundleError> {
        if self.tag()? != tag {
            return Err(malformed("a frame is out of place"));
        }
        self.content(bytes_max)
    }

    /// The content of a frame; memory grows with what is there, not with what is stated.
    fn content(&mut self, bytes_max: usize) -> Result<Vec<u8>, BundleError> {
        let length = u32::from_be_bytes(self.fixed()?) as usize;
        if length > bytes_max {
            return Err(BundleError::TooLarge { what: "a frame" });
        }
        let mut content = Vec::new();
        (&mut self.input)
            .take(length as u64)
            .read_to_end(&mut content)?;
        if content.len() < length {
            return Err(self.ended());
        }
        self.digest.update(&content);
        Ok(content)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => {
                self.digest.update(&bytes);
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.ended()),
            Err(error) => Err(error.into()),
        }
    }

    /// Nothing may follow the signature.
    fn end(&mut self) -> Result<(), BundleError> {
        let mut rest = Vec::new();
        self.input.set_limit(1);
        self.input.read_to_end(&mut rest)?;
        if rest.is_empty() {
            Ok(())
        } else {
            Err(malformed("something follows the signature"))
        }
    }

    /// Why there is no more: the file ended, or it is longer than a part may be.
    fn ended(&self) -> BundleError {
        if self.input.limit() == 0 {
            BundleError::TooLarge { what: "the part" }
        } else {
            BundleError::Truncated
        }
    }
}

fn check_manifest(manifest: &Manifest) -> Result<(), BundleError> {
    if manifest.format > FORMAT {
        return Err(BundleError::NewerFormat {
            found: manifest.format,
        });
    }
    if manifest.format == 0 || manifest.part == 0 {
        return Err(malformed("format and part count from 1"));
    }
    if manifest.transactions > TRANSACTIONS_MAX {
        return Err(BundleError::TooLarge {
            what: "the number of transactions",
        });
    }
    Ok(())
}

fn check_entry(entry: &Entry) -> Result<(), BundleError> {
    if entry.attachments.len() > ATTACHMENTS_MAX {
        return Err(BundleError::TooLarge {
            what: "the number of attachments",
        });
    }
    Ok(())
}

fn check_attachment(stated: &EntryAttachment, bytes: &[u8]) -> Result<(), BundleError> {
    if bytes.len() > ATTACHMENT_BYTES_MAX {
        return Err(BundleError::TooLarge {
            what: "an attachment",
        });
    }
    if stated.size != bytes.len() as u64
        || hash_from_hex(&stated.sha256) != Some(sha256_of(&[bytes]))
    {
        return Err(BundleError::AttachmentDiffers { id: stated.id });
    }
    Ok(())
}

fn count_differs(manifest: &Manifest, found: u32) -> BundleError {
    BundleError::CountDiffers {
        stated: manifest.transactions,
        found,
    }
}

fn malformed(reason: &'static str) -> BundleError {
    BundleError::Malformed { reason }
}

fn to_json(
    record: &impl Serialize,
    bytes_max: usize,
    what: &'static str,
) -> Result<Vec<u8>, BundleError> {
    let json = serde_json::to_vec(record).map_err(|_| malformed("a record is not JSON"))?;
    if json.len() > bytes_max {
        return Err(BundleError::TooLarge { what });
    }
    Ok(json)
}

/// What the signature covers.
fn message(digest: &[u8; 32]) -> Vec<u8> {
    [BUNDLE.as_bytes(), &[0], digest].concat()
}

/// The SHA-256 of an attachment in the form that [`EntryAttachment`] wants.
pub fn sha256_text(bytes: &[u8]) -> String {
    hex(&sha256_of(&[bytes]))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::Algorithm;

    fn manifest(transactions: u32) -> Manifest {
        Manifest {
            format: FORMAT,
            terminal: "T001".to_owned(),
            bundle: Uuid::from_u128(1),
            part: 1,
            made_at: Timestamp::UNIX_EPOCH,
            transactions,
        }
    }

    fn entry(id: u128, attachments: &[Vec<u8>]) -> Entry {
        Entry {
            id: Uuid::from_u128(id),
            kind: "certify".to_owned(),
            item: "pension".to_owned(),
            item_version: 3,
            case_number: "T001-1".to_owned(),
            enqueued_at: Timestamp::UNIX_EPOCH,
            upstream: String::new(),
            payload_suite: "intl".to_owned(),
            attachments: attachments
                .iter()
                .enumerate()
                .map(|(index, bytes)| EntryAttachment {
                    id: Uuid::from_u128(100 + index as u128),
                    name: "page-1.jpg".to_owned(),
                    media_type: "image/jpeg".to_owned(),
                    size: bytes.len() as u64,
                    sha256: sha256_text(bytes),
                })
                .collect(),
        }
    }

    /// A problem code, and frames that are refused with it.
    type Case<'a> = (&'a str, Vec<(u8, &'a [u8])>);

    fn key() -> DeviceKey {
        DeviceKey::generate(Algorithm::Ed25519).unwrap()
    }

    fn small(key: &DeviceKey) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), &manifest(2)).unwrap();
        let attachments = [b"jpeg".to_vec(), Vec::new()];
        writer
            .transaction(&entry(1, &attachments), b"sealed", &attachments)
            .unwrap();
        writer.transaction(&entry(2, &[]), b"", &[]).unwrap();
        writer.finish(key).unwrap()
    }

    fn check(key: &DeviceKey, bytes: &[u8]) -> Result<Verified, BundleError> {
        verify(bytes, |terminal, key_id| {
            (terminal == "T001" && key_id == key.public().key_id()).then(|| key.public())
        })
    }

    /// A part signed by `key` whatever its frames are.
    fn signed(key: &DeviceKey, frames: &[(u8, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), &manifest(1)).unwrap();
        for (tag, content) in frames {
            writer.frame(*tag, content).unwrap();
        }
        writer.transactions = 1;
        writer.finish(key).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
            let key = DeviceKey::generate(algorithm).unwrap();
            let bytes = small(&key);
            let verified = check(&key, &bytes).unwrap();
            assert_eq!(verified.manifest, manifest(2));
            assert_eq!(verified.key_id, key.public().key_id());
            let mut seen = Vec::new();
            let read = read(bytes.as_slice(), |entry, payload, attachments| {
                seen.push((entry, payload, attachments));
                Ok::<(), Infallible>(())
            })
            .unwrap();
            assert_eq!(read, manifest(2));
            let attachments = vec![b"jpeg".to_vec(), Vec::new()];
            assert_eq!(
                seen,
                [
                    (entry(1, &attachments), b"sealed".to_vec(), attachments),
                    (entry(2, &[]), Vec::new(), Vec::new()),
                ]
            );
        }
    }

    #[test]
    fn an_empty_part_is_a_part() {
        let key = key();
        let writer = Writer::begin(Vec::new(), &manifest(0)).unwrap();
        check(&key, &writer.finish(&key).unwrap()).unwrap();
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_refused_whole() {
        let key = key();
        let bytes = small(&key);
        for index in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut altered = bytes.clone();
                altered[index] ^= bit;
                assert!(check(&key, &altered).is_err(), "{index} {bit}");
            }
            assert!(
                matches!(check(&key, &bytes[..index]), Err(BundleError::Truncated)),
                "{index}"
            );
        }
        let error = check(&key, &[&bytes[..], &[0]].concat()).unwrap_err();
        assert_eq!(error.code(), "bundle.malformed");
    }

    #[test]
    fn strangers_are_not_believed() {
        let (ours, theirs) = (key(), key());
        let bytes = small(&theirs);
        let error = check(&ours, &bytes).unwrap_err();
        assert_eq!(error.code(), "bundle.unknown-key");
        // A key store that answers with another key than was asked for.
        let error = verify(bytes.as_slice(), |_, _| Some(ours.public())).unwrap_err();
        assert_eq!(error.code(), "bundle.unknown-key");
        // A stranger's part under the name of our key.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let from = text.find(&theirs.public().key_id()).unwrap();
        let from = bytes.len() - (text.len() - from);
        let mut renamed = bytes.clone();
        renamed[from..from + 16].copy_from_slice(ours.public().key_id().as_bytes());
        let error = check(&ours, &renamed).unwrap_err();
        assert_eq!(error.code(), "bundle.forged");
    }

    #[test]
    fn rules_hold_even_when_the_signature_does() {
        let key = key();
        let good = serde_json::to_vec(&entry(1, &[])).unwrap();
        let one = serde_json::to_vec(&entry(1, &[b"jpeg".to_vec()])).unwrap();
        let many = serde_json::to_vec(&entry(1, &vec![Vec::new(); 17])).unwrap();
        let large = vec![0; PAYLOAD_BYTES_MAX + 1];
        let cases: [Case<'_>; 9] = [
            ("bundle.count-differs", vec![]),
            (
                "bundle.count-differs",
                vec![(ENTRY, &good), (PAYLOAD, b""), (ENTRY, &good)],
            ),
            ("bundle.malformed", vec![(ENTRY, &good)]),
            ("bundle.malformed", vec![(ENTRY, b"{}"), (PAYLOAD, b"")]),
            ("bundle.malformed", vec![(ENTRY, &one), (PAYLOAD, b"")]),
            (
                "bundle.malformed",
                vec![(ENTRY, &good), (PAYLOAD, b""), (ATTACHMENT, b"")],
            ),
            (
                "bundle.attachment-differs",
                vec![(ENTRY, &one), (PAYLOAD, b""), (ATTACHMENT, b"JPEG")],
            ),
            ("bundle.too-large", vec![(ENTRY, &many), (PAYLOAD, b"")]),
            ("bundle.too-large", vec![(ENTRY, &good), (PAYLOAD, &large)]),
        ];
        for (code, frames) in cases {
            let error = check(&key, &signed(&key, &frames)).unwrap_err();
            assert_eq!(error.code(), code, "{frames:?}");
        }
        check(&key, &signed(&key, &[(ENTRY, &good), (PAYLOAD, b"")])).unwrap();
    }

    #[test]
    fn a_stated_length_buys_no_memory() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([MANIFEST, 255, 255, 255, 255]);
        let error = check(&key(), &bytes).unwrap_err();
        assert_eq!(error.code(), "bundle.too-large");
    }

    #[test]
    fn an_endless_file_is_given_up() {
        let key = key();
        let whole = small(&key);
        let error = verify(whole.as_slice().chain(io::repeat(0)), |_, _| {
            Some(key.public())
        })
        .unwrap_err();
        assert_eq!(error.code(), "bundle.malformed");
        assert!(verify(io::repeat(0), |_, _| None).is_err());
        // Transactions that are in order, but do not end.
        let mut writer = Writer::begin(Vec::new(), &manifest(TRANSACTIONS_MAX)).unwrap();
        let head = std::mem::take(&mut writer.out);
        writer
            .transaction(&entry(1, &[]), &vec![0; 1024 * 1024], &[])
            .unwrap();
        let transactions = writer.out.repeat(65);
        let error =
            verify(head.as_slice().chain(transactions.as_slice()), |_, _| None).unwrap_err();
        assert_eq!(error.code(), "bundle.too-large");
    }

    #[test]
    fn a_part_longer_than_allowed_is_refused() {
        let key = key();
        // Eight attachments of 8 MiB and their entry do not fit in 64 MiB.
        let blobs = vec![vec![0; 8 * 1024 * 1024]; 8];
        let large = entry(1, &blobs);
        let mut writer = Writer::begin(Vec::new(), &manifest(1)).unwrap();
        let error = writer.transaction(&large, b"", &blobs).unwrap_err();
        assert_eq!(error.code(), "bundle.too-large");
        assert!(large.framed_bytes(0) > PART_BYTES_MAX - PART_OVERHEAD_BYTES_MAX);
        // Nothing of it was written: the part goes on.
        writer.transaction(&entry(2, &[]), b"", &[]).unwrap();
        check(&key, &writer.finish(&key).unwrap()).unwrap();
        // A writer without scruples.
        let json = serde_json::to_vec(&large).unwrap();
        let mut frames: Vec<(u8, &[u8])> = vec![(ENTRY, &json), (PAYLOAD, b"")];
        frames.extend(blobs.iter().map(|blob| (ATTACHMENT, blob.as_slice())));
        let error = check(&key, &signed(&key, &frames)).unwrap_err();
        assert_eq!(error.code(), "bundle.too-large");
    }

    #[test]
    fn the_writer_keeps_to_its_manifest() {
        let key = key();
        let mut writer = Writer::begin(Vec::new(), &manifest(1)).unwrap();
        writer.transaction(&entry(1, &[]), b"", &[]).unwrap();
        let error = writer.transaction(&entry(2, &[]), b"", &[]).unwrap_err();
        assert_eq!(error.code(), "bundle.count-differs");
        let error = Writer::begin(Vec::new(), &manifest(1))
            .unwrap()
            .finish(&key)
            .unwrap_err();
        assert_eq!(error.code(), "bundle.count-differs");
        for (code, manifest) in [
            (
                "bundle.newer-format",
                Manifest {
                    format: 2,
                    ..manifest(0)
                },
            ),
            (
                "bundle.malformed",
                Manifest {
                    format: 0,
                    ..manifest(0)
                },
            ),
            (
                "bundle.malformed",
                Manifest {
                    part: 0,
                    ..manifest(0)
                },
            ),
            ("bundle.too-large", manifest(TRANSACTIONS_MAX + 1)),
            (
                "bundle.too-large",
                Manifest {
                    terminal: "T".repeat(5000),
                    ..manifest(0)
                },
            ),
        ] {
            let error = Writer::begin(Vec::new(), &manifest).unwrap_err();
            assert_eq!(error.code(), code);
        }
    }

    #[test]
    fn the_writer_checks_what_it_is_given() {
        let mut writer = Writer::begin(Vec::new(), &manifest(1)).unwrap();
        let blobs = [b"jpeg".to_vec()];
        let large = vec![0; PAYLOAD_BYTES_MAX + 1];
        let entry = entry(1, &blobs);
        let written = writer.written;
        for (code, payload, attachments) in [
            ("bundle.too-large", large.as_slice(), &blobs[..]),
            ("bundle.malformed", b"", &[]),
            ("bundle.attachment-differs", b"", &[b"JPEG".to_vec()]),
            ("bundle.attachment-differs", b"", &[b"jpe".to_vec()]),
        ] {
            let error = writer
                .transaction(&entry, payload, attachments)
                .unwrap_err();
            assert_eq!(error.code(), code);
        }
        assert_eq!(writer.written, written);
    }

    #[test]
    fn a_receiver_may_stop() {
        let bytes = small(&key());
        let mut taken = 0;
        let error = read(bytes.as_slice(), |_, _, _| {
            taken += 1;
            Err("the disk is full")
        })
        .unwrap_err();
        assert!(matches!(error, ReadError::Each("the disk is full")));
        assert_eq!(taken, 1);
    }

    #[test]
    fn a_stick_that_fails_is_not_a_forgery() {
        struct Pulled;
        impl Read for Pulled {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("pulled"))
            }
        }
        let bytes = small(&key());
        let error = verify(bytes[..40].chain(Pulled), |_, _| None).unwrap_err();
        assert_eq!(error.code(), "bundle.io");
    }
}
