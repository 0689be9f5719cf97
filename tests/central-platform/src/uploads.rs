//! Attachments in pieces after tus 1.0: an upload is made, its offset asked, pieces are appended,
//! and the whole is checked against its digest. A piece is durable before its offset is said.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::limits;
use crate::messages::{ATTACHMENT_BYTES_MAX, described};
use crate::problem::Problem;
use crate::store::{Appended, NewUpload, Store, Upload};

/// Largest piece of one request.
pub(crate) const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// Most keys of `Upload-Metadata`.
const KEYS_MAX: usize = 16;
/// Longest `Upload-Metadata`.
const METADATA_BYTES_MAX: usize = 4096;
/// The version spoken.
pub(crate) const TUS_VERSION: &str = "1.0.0";
/// Status of tus for bytes that do not match their digest.
const CHECKSUM_MISMATCH: u16 = 460;

/// What a request about an upload is answered with.
pub(crate) struct UploadAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// What `Upload-Metadata` tells.
struct Metadata {
    id: Uuid,
    name: String,
    media_type: String,
    sha256: String,
}

/// Makes an upload, or finds the same one made before.
pub(crate) fn place(store: &mut Store, wanted: &NewUpload<'_>) -> Result<Upload, Problem> {
    if wanted.length == 0 || wanted.length > ATTACHMENT_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "attachment.too-large",
            "the upload is empty or too large",
        ));
    }
    described(wanted.name, wanted.media_type, wanted.length, wanted.sha256)?;
    let upload = store.make_upload(wanted)?.ok_or_else(unknown)?;
    if upload.length != wanted.length || upload.sha256 != wanted.sha256 {
        return Err(Problem::conflict(
            "attachment.differs",
            "the id was used before for another file",
        ));
    }
    Ok(upload)
}

/// How much of an upload is there.
pub(crate) fn find(store: &mut Store, id: Uuid) -> Result<Upload, Problem> {
    store.upload(id)?.ok_or_else(unknown)
}

/// Appends a piece where the upload stands.
pub(crate) fn append(
    store: &mut Store,
    id: Uuid,
    offset: u64,
    piece: &[u8],
) -> Result<Upload, Problem> {
    if piece.len() > PIECE_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "attachment.too-large",
            "a piece has 1 MiB at most",
        ));
    }
    match store.append(id, offset, piece)? {
        Appended::Yes(upload) => Ok(upload),
        Appended::Unknown => Err(unknown()),
        Appended::Elsewhere => Err(Problem::conflict(
            "attachment.offset",
            "the upload stands at another offset",
        )),
        Appended::TooLong => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "attachment.too-large",
            "the piece goes beyond the end",
        )),
        Appended::Differs => Err(Problem::new(
            StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::CONFLICT),
            "attachment.checksum",
            "the bytes do not match their digest; start over",
        )),
    }
}

/// `POST /v1/attachments`.
pub(crate) fn answer_place(
    store: &mut Store,
    headers: &HeaderMap,
) -> Result<UploadAnswer, Problem> {
    require_version(headers)?;
    let length = number(headers, "upload-length")?;
    let Metadata {
        id,
        name,
        media_type,
        sha256,
    } = metadata(headers)?;
    let upload = NewUpload {
        id,
        name: &name,
        media_type: &media_type,
        length,
        sha256: &sha256,
    };
    let mut answer = answer(StatusCode::CREATED, &place(store, &upload)?);
    let location = format!("/v1/attachments/{id}");
    answer.headers.push((header::LOCATION, location));
    Ok(answer)
}

/// `HEAD /v1/attachments/{id}`.
pub(crate) fn answer_offset(
    store: &mut Store,
    id: &str,
    headers: &HeaderMap,
) -> Result<UploadAnswer, Problem> {
    require_version(headers)?;
    let id = limits::id(id).ok_or_else(unknown)?;
    let mut answer = answer(StatusCode::OK, &find(store, id)?);
    answer
        .headers
        .push((header::CACHE_CONTROL, "no-store".to_owned()));
    Ok(answer)
}

/// `PATCH /v1/attachments/{id}`.
pub(crate) fn answer_append(
    store: &mut Store,
    id: &str,
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
    let id = limits::id(id).ok_or_else(unknown)?;
    let offset = number(headers, "upload-offset")?;
    let upload = append(store, id, offset, piece)?;
    Ok(answer(StatusCode::NO_CONTENT, &upload))
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

fn unknown() -> Problem {
    Problem::not_found("attachment.unknown", "no such upload")
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
        .filter(|text| text.len() <= METADATA_BYTES_MAX)
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
    let id = value_of("id").and_then(|id| limits::id(&id));
    Ok(Metadata {
        id: id.ok_or_else(|| refused("id"))?,
        name: value_of("name").ok_or_else(|| refused("name"))?,
        media_type: value_of("media_type").ok_or_else(|| refused("media_type"))?,
        sha256: value_of("sha256").ok_or_else(|| refused("sha256"))?,
    })
}
