//! Uploads and their pieces. A piece and the offset behind it are one commit; the bytes are taken
//! over by the transaction they belong to, opened, and then kept once.

use uuid::Uuid;

use super::{Store, StoreError};
use crate::database::{Database, Value, stored};
use crate::messages::Attachment;
use kiosk_sealing::{hex, sha256};

/// Most pieces of an upload that are joined: 16 MiB of pieces that have a byte each would be
/// more, and nobody sends those.
const PIECES_MAX: i64 = 65_536;

/// An upload as its sender describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewUpload<'a> {
    pub(crate) id: Uuid,
    pub(crate) name: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) length: u64,
    pub(crate) sha256: &'a str,
}

/// The state of an upload.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) length: u64,
    pub(crate) sha256: String,
    pub(crate) received: u64,
}

impl Upload {
    pub(crate) fn is_complete(&self) -> bool {
        self.received == self.length
    }
}

/// What became of a piece.
#[derive(Debug)]
pub(crate) enum Appended {
    /// There is no such upload.
    Unknown,
    /// The upload stands at another offset.
    Elsewhere,
    /// The piece goes beyond the end.
    TooLong,
    /// The whole does not match its digest; it begins again.
    Differs,
    /// The piece is durable.
    Yes(Upload),
}

impl Store {
    pub(crate) fn upload(&mut self, id: Uuid) -> Result<Option<Upload>, StoreError> {
        find(&mut self.database, id)
    }

    /// Makes an upload, or finds the one made before under the same id.
    pub(crate) fn make_upload(
        &mut self,
        upload: &NewUpload<'_>,
    ) -> Result<Option<Upload>, StoreError> {
        self.database.transaction(|database| {
            insert(database, upload, 0)?;
            find(database, upload.id)
        })
    }

    /// Appends a piece where the upload stands, and checks the whole when it is the last one.
    pub(crate) fn append(
        &mut self,
        id: Uuid,
        offset: u64,
        piece: &[u8],
    ) -> Result<Appended, StoreError> {
        self.database.transaction(|database| {
            let Some(mut upload) = find(database, id)? else {
                return Ok(Appended::Unknown);
            };
            if offset != upload.received {
                return Ok(Appended::Elsewhere);
            }
            let received = upload.received + piece.len() as u64;
            if received > upload.length {
                return Ok(Appended::TooLong);
            }
            if !piece.is_empty() {
                put_piece(database, id, offset, piece)?;
            }
            upload.received = received;
            if upload.is_complete() && !is_whole(database, id, &upload)? {
                erase_pieces(database, id)?;
                set_received(database, id, 0)?;
                return Ok(Appended::Differs);
            }
            set_received(database, id, received)?;
            Ok(Appended::Yes(upload))
        })
    }
}

/// The state of an upload.
pub(super) fn find(database: &mut Database, id: Uuid) -> Result<Option<Upload>, StoreError> {
    let row = database.query_one(
        "SELECT length, sha256, received FROM upload WHERE id = ?1",
        &[Value::Text(&id.to_string())],
    )?;
    row.map(|row| {
        Ok(Upload {
            length: row.count(0)?,
            sha256: row.text(1)?,
            received: row.count(2)?,
        })
    })
    .transpose()
}

/// The bytes of a complete upload; none when a transaction has taken them over.
pub(super) fn content(database: &mut Database, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
    let rows = database.query(
        "SELECT content FROM upload_piece WHERE upload = ?1 ORDER BY at_offset LIMIT ?2",
        &[Value::Text(&id.to_string()), Value::Integer(PIECES_MAX)],
    )?;
    let mut bytes = Vec::new();
    for row in &rows {
        bytes.extend_from_slice(row.blob(0)?);
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// Puts an upload that came whole, unless it is there already. One that does not match what its
/// transaction says is left out: the transaction is refused then.
pub(super) fn put_whole(
    database: &mut Database,
    attachment: &Attachment,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let is_described =
        attachment.size == bytes.len() as u64 && attachment.sha256 == hex(&sha256(bytes));
    if !is_described || bytes.is_empty() {
        return Ok(());
    }
    let upload = NewUpload {
        id: attachment.id,
        name: &attachment.name,
        media_type: &attachment.media_type,
        length: attachment.size,
        sha256: &attachment.sha256,
    };
    insert(database, &upload, 0)?;
    let found = find(database, attachment.id)?;
    let is_wanted = found.is_some_and(|found| {
        !found.is_complete() && found.length == attachment.size && found.sha256 == attachment.sha256
    });
    if is_wanted {
        // Pieces that came by the network before are part of the same bytes.
        erase_pieces(database, attachment.id)?;
        put_piece(database, attachment.id, 0, bytes)?;
        set_received(database, attachment.id, attachment.size)?;
    }
    Ok(())
}

/// Keeps what was opened from an upload with its transaction, in place of the pieces.
pub(super) fn take_over(
    database: &mut Database,
    transaction: Uuid,
    attachment: &Attachment,
    content: &[u8],
) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO attachment (id, transaction_id, name, media_type, content)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING",
        &[
            Value::Text(&attachment.id.to_string()),
            Value::Text(&transaction.to_string()),
            Value::Text(&attachment.name),
            Value::Text(&attachment.media_type),
            Value::Blob(content),
        ],
    )?;
    erase_pieces(database, attachment.id)
}

fn insert(
    database: &mut Database,
    upload: &NewUpload<'_>,
    received: u64,
) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO upload (id, name, media_type, length, sha256, received)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        &[
            Value::Text(&upload.id.to_string()),
            Value::Text(upload.name),
            Value::Text(upload.media_type),
            stored(upload.length),
            Value::Text(upload.sha256),
            stored(received),
        ],
    )?;
    Ok(())
}

fn put_piece(
    database: &mut Database,
    id: Uuid,
    offset: u64,
    piece: &[u8],
) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO upload_piece (upload, at_offset, content) VALUES (?1, ?2, ?3)",
        &[
            Value::Text(&id.to_string()),
            stored(offset),
            Value::Blob(piece),
        ],
    )?;
    Ok(())
}

fn set_received(database: &mut Database, id: Uuid, received: u64) -> Result<(), StoreError> {
    database.execute(
        "UPDATE upload SET received = ?2 WHERE id = ?1",
        &[Value::Text(&id.to_string()), stored(received)],
    )?;
    Ok(())
}

fn erase_pieces(database: &mut Database, id: Uuid) -> Result<(), StoreError> {
    database.execute(
        "DELETE FROM upload_piece WHERE upload = ?1",
        &[Value::Text(&id.to_string())],
    )?;
    Ok(())
}

fn is_whole(database: &mut Database, id: Uuid, upload: &Upload) -> Result<bool, StoreError> {
    let bytes = content(database, id)?.unwrap_or_default();
    Ok(bytes.len() as u64 == upload.length && hex(&sha256(&bytes)) == upload.sha256)
}
