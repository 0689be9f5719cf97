//! Attachments in pieces after tus 1.0: an upload is made, its offset asked, pieces are appended,
//! and the whole is checked against its digest. A piece is on disk before its offset is said.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::StoreError;
use crate::contract::bounded;
use crate::problem::Problem;
use crate::seal::{hex, sha256};
use crate::store::{Store, Upload};

/// Largest attachment.
const LENGTH_MAX: u64 = 16 * 1024 * 1024;
/// Largest piece of one request.
pub(crate) const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// Most keys of `Upload-Metadata`.
const KEYS_MAX: usize = 16;
/// The version spoken.
pub(crate) const TUS_VERSION: &str = "1.0.0";
/// Status of tus for bytes that do not match their digest.
const CHECKSUM_MISMATCH: u16 = 460;

/// What a request about an upload is answered with.
pub(crate) struct UploadAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// Where the pieces lie.
pub(crate) struct Uploads {
    directory: PathBuf,
}

/// What `Upload-Metadata` tells.
struct Metadata {
    id: Uuid,
    name: String,
    media_type: String,
    sha256: String,
}

impl Uploads {
    pub(crate) fn new(directory: PathBuf) -> std::io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// Appends a piece where the upload stands.
    pub(crate) fn append(
        &self,
        store: &mut Store,
        id: Uuid,
        headers: &HeaderMap,
        piece: &[u8],
    ) -> Result<UploadAnswer, Problem> {
        require_version(headers)?;
        let is_piece = headers
            .get("content-type")
            .is_some_and(|value| value == "application/offset+octet-stream");
        if !is_piece {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "attachment.media-type",
                "a piece is application/offset+octet-stream",
            ));
        }
        let mut upload = find(store, id)?;
        if number(headers, "upload-offset")? != upload.received {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "attachment.offset",
                "the upload stands at another offset",
            ));
        }
        let received = upload.received + piece.len() as u64;
        if received > upload.length {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "attachment.too-large",
                "the piece goes beyond the end",
            ));
        }
        self.write(id, upload.received, piece)
            .map_err(StoreError::from)?;
        if received == upload.length && !self.is_whole(id, &upload)? {
            store.set_received(id, 0)?;
            let status = StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::CONFLICT);
            return Err(Problem::new(
                status,
                "attachment.checksum",
                "the bytes do not match their digest; start over",
            ));
        }
        store.set_received(id, received)?;
        upload.received = received;
        Ok(answer(StatusCode::NO_CONTENT, &upload))
    }

    fn write(&self, id: Uuid, offset: u64, piece: &[u8]) -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path(id))?;
        // What a lost answer left behind the offset is written over.
        file.set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(piece)?;
        file.sync_data()
    }

    fn is_whole(&self, id: Uuid, upload: &Upload) -> Result<bool, Problem> {
        let bytes = fs::read(self.path(id)).map_err(StoreError::from)?;
        Ok(bytes.len() as u64 == upload.length && hex(&sha256(&bytes)) == upload.sha256)
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

/// Makes an upload, or finds the same one made before.
pub(crate) fn make(store: &mut Store, headers: &HeaderMap) -> Result<UploadAnswer, Problem> {
    require_version(headers)?;
    let length = number(headers, "upload-length")?;
    if length == 0 || length > LENGTH_MAX {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "attachment.too-large",
            "the upload is empty or too large",
        ));
    }
    let metadata = metadata(headers)?;
    let Metadata {
        id,
        name,
        media_type,
        sha256,
    } = &metadata;
    bounded(&[("name", name), ("media_type", media_type)])?;
    store.make_upload(*id, name, media_type, length, sha256)?;
    let upload = find(store, *id)?;
    if upload.length != length || upload.sha256 != *sha256 {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "attachment.differs",
            "the id was used before for another file",
        ));
    }
    let mut answer = answer(StatusCode::CREATED, &upload);
    let location = format!("/v1/attachments/{id}");
    answer.headers.push((header::LOCATION, location));
    Ok(answer)
}

/// How much of an upload is there.
pub(crate) fn offset(
    store: &Store,
    id: Uuid,
    headers: &HeaderMap,
) -> Result<UploadAnswer, Problem> {
    require_version(headers)?;
    let upload = find(store, id)?;
    let mut answer = answer(StatusCode::OK, &upload);
    answer
        .headers
        .push((header::CACHE_CONTROL, "no-store".to_owned()));
    Ok(answer)
}

fn answer(status: StatusCode, upload: &Upload) -> UploadAnswer {
    UploadAnswer {
        status,
        headers: vec![
            (
                HeaderName::from_static("upload-offset"),
                upload.received.to_string(),
            ),
            (
                HeaderName::from_static("upload-length"),
                upload.length.to_string(),
            ),
        ],
    }
}

fn find(store: &Store, id: Uuid) -> Result<Upload, Problem> {
    store
        .upload(id)?
        .ok_or_else(|| Problem::not_found("attachment.unknown", "no such upload"))
}

fn require_version(headers: &HeaderMap) -> Result<(), Problem> {
    if headers
        .get("tus-resumable")
        .is_some_and(|value| value == TUS_VERSION)
    {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "attachment.tus-version",
        "Tus-Resumable must be 1.0.0",
    ))
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<u64, Problem> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "request.header",
                format!("`{name}` is missing or no number"),
            )
        })
}

/// `key base64,key base64`, as tus writes it.
fn metadata(headers: &HeaderMap) -> Result<Metadata, Problem> {
    let text = headers
        .get("upload-metadata")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let value_of = |wanted: &str| -> Option<String> {
        text.split(',').take(KEYS_MAX).find_map(|pair| {
            let (key, value) = pair.trim().split_once(' ')?;
            let bytes = (key == wanted).then(|| STANDARD.decode(value.trim()))?;
            String::from_utf8(bytes.ok()?).ok()
        })
    };
    let refused = |key: &str| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "request.header",
            format!("`Upload-Metadata` has no proper `{key}`"),
        )
    };
    let id = value_of("id").and_then(|id| Uuid::parse_str(&id).ok());
    let digest = value_of("sha256").filter(|digest| {
        digest.len() == 64
            && digest
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    Ok(Metadata {
        id: id.ok_or_else(|| refused("id"))?,
        name: value_of("name").ok_or_else(|| refused("name"))?,
        media_type: value_of("media_type").ok_or_else(|| refused("media_type"))?,
        sha256: digest.ok_or_else(|| refused("sha256"))?,
    })
}
