//! Attachments in pieces after tus 1.0: where an upload stands is the platform's word, an upload
//! it has lost starts over, and an attachment that is damaged here parks its own transaction
//! alone. A few uploads at a time, one piece of each; their bytes are held in memory until they are
//! done.

use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{Cache, CacheError, QueuedAttachment, Ready};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::pace::BACKOFF_MAX;
use super::settle::is_about_the_content;
use super::{Departure, Drain, News, Place, PlatformError, Step, unless_gone};
use crate::clock::Moment;
use crate::platform::messages::ProblemReply;

/// Bytes of one upload request (the contract allows 256 KiB to 1 MiB).
const CHUNK_BYTES: usize = 512 * 1024;
/// The same under a bandwidth cap, so that the debt of the bucket stays short.
const CHUNK_BYTES_CAPPED: usize = 256 * 1024;
/// An upload that starts over more often than this in a row waits before the next time.
const RESTARTS_MAX: u32 = 3;

/// Most uploads begun at once; chosen: two fill a line while a third is asked where it stands.
const UPLOADS_MAX: usize = 3;

/// An upload that has begun.
pub(super) struct Upload {
    attachment: QueuedAttachment,
    /// Where it goes on; asked for when there is none.
    place: Option<Place>,
    bytes: Zeroizing<Vec<u8>>,
    restarts: u32,
    /// Of the request that is on its way.
    out: Option<Departure>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("attachment", &self.attachment.id)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// Whether it belongs to a transaction.
    pub(super) fn is_of(&self, transaction: Uuid) -> bool {
        self.attachment.transaction_id == transaction
    }

    /// Whether a request of it is on its way.
    pub(super) fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// Nothing of it is on its way any more.
    pub(super) fn is_back(&mut self) {
        self.out = None;
    }
}

impl Drain {
    pub(super) fn next_upload(
        &mut self,
        cache: &mut Cache,
        steady: Timestamp,
        ready: &Ready<'_>,
        now: Duration,
    ) -> Result<Option<Step>, CacheError> {
        let at_rest = self.uploads.iter().position(|upload| !upload.is_out());
        let index = match at_rest {
            Some(index) => index,
            None if self.uploads.len() < UPLOADS_MAX => {
                let Some(attachment) = self.another_attachment(cache, steady, ready)? else {
                    return Ok(None);
                };
                self.uploads.push(Upload {
                    attachment,
                    place: None,
                    bytes: Zeroizing::default(),
                    restarts: 0,
                    out: None,
                });
                self.uploads.len() - 1
            }
            None => return Ok(None),
        };
        let departure = self.departure(now);
        let upload = &mut self.uploads[index];
        upload.out = Some(departure);
        let Some(place) = &upload.place else {
            return Ok(Some(Step::Place(upload.attachment.clone())));
        };
        let size = if self.policy.bytes_per_s.is_some() {
            CHUNK_BYTES_CAPPED
        } else {
            CHUNK_BYTES
        };
        let start = usize::try_from(place.offset)
            .unwrap_or(usize::MAX)
            .min(upload.bytes.len());
        let end = (start + size).min(upload.bytes.len());
        let step = Step::Chunk {
            attachment: upload.attachment.id,
            url: place.url.clone(),
            offset: place.offset,
            bytes: upload.bytes[start..end].to_vec(),
        };
        self.bucket.take(end - start);
        Ok(Some(step))
    }

    /// The first attachment in the line that is not being uploaded.
    fn another_attachment(
        &self,
        cache: &mut Cache,
        steady: Timestamp,
        ready: &Ready<'_>,
    ) -> Result<Option<QueuedAttachment>, CacheError> {
        let limit = u32::try_from(UPLOADS_MAX).unwrap_or(u32::MAX);
        let due = cache.attachments_due(steady, limit, ready)?;
        let is_new = |each: &QueuedAttachment| self.upload_of(each.id).is_none();
        Ok(due.into_iter().find(is_new))
    }

    /// Which of the uploads is of an attachment.
    fn upload_of(&self, attachment: Uuid) -> Option<usize> {
        let is_it = |upload: &Upload| upload.attachment.id == attachment;
        self.uploads.iter().position(is_it)
    }

    pub(super) fn placed(
        &mut self,
        cache: &mut Cache,
        id: Uuid,
        place: Result<Place, PlatformError>,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        let Some(index) = self.upload_of(id) else {
            return Ok(());
        };
        let upload = &mut self.uploads[index];
        let departure = upload.out.take().unwrap_or_default();
        match place {
            Ok(place) => {
                if upload.bytes.is_empty() {
                    match cache.attachment_bytes(id) {
                        Ok(bytes) => upload.bytes = Zeroizing::new(bytes),
                        Err(error @ CacheError::AttachmentDamaged { .. }) => {
                            return self.damaged(cache, index, &error, now, news);
                        }
                        Err(CacheError::UnknownAttachment { .. }) => {
                            self.uploads.remove(index);
                            return Ok(());
                        }
                        Err(error) => return Err(error),
                    }
                }
                self.goes_on(cache, index, place, departure, now)
            }
            // The platform has forgotten the upload: make it anew.
            Err(PlatformError::Refused {
                status: 404 | 410, ..
            }) if upload.attachment.upload_url.is_some() => {
                upload.attachment.upload_url = None;
                self.start_over(cache, index, now, news)
            }
            Err(error) => self.upload_failed(cache, index, &error, departure, now, news),
        }
    }

    pub(super) fn chunk_done(
        &mut self,
        cache: &mut Cache,
        id: Uuid,
        offset: Result<u64, PlatformError>,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        let Some(index) = self.upload_of(id) else {
            return Ok(());
        };
        let upload = &mut self.uploads[index];
        let departure = upload.out.take().unwrap_or_default();
        let Some(place) = upload.place.clone() else {
            return Ok(());
        };
        match offset {
            Ok(offset) if offset > place.offset && offset <= upload.attachment.size => {
                upload.restarts = 0;
                self.goes_on(cache, index, Place { offset, ..place }, departure, now)
            }
            Ok(_) => {
                let error = PlatformError::BadReply("an upload that does not move");
                self.upload_failed(cache, index, &error, departure, now, news)
            }
            Err(PlatformError::Refused {
                status: 404 | 410 | 460,
                ..
            }) => {
                // Lost, or not what was announced: from the first byte.
                upload.attachment.upload_url = None;
                upload.place = None;
                self.start_over(cache, index, now, news)
            }
            Err(PlatformError::Refused { status: 409, .. }) => {
                // It stands elsewhere than believed: ask where.
                upload.attachment.upload_url = Some(place.url);
                upload.place = None;
                self.start_over(cache, index, now, news)
            }
            Err(error) => {
                // How much arrived is not known: ask before the next piece.
                upload.attachment.upload_url = Some(place.url);
                upload.place = None;
                self.upload_failed(cache, index, &error, departure, now, news)
            }
        }
    }

    /// Records what the platform has; the last byte ends the upload.
    fn goes_on(
        &mut self,
        cache: &mut Cache,
        index: usize,
        place: Place,
        departure: Departure,
        now: Moment,
    ) -> Result<(), CacheError> {
        self.in_contact(now.uptime);
        self.succeeded(departure, now.uptime);
        let upload = &mut self.uploads[index];
        let offset = place.offset.min(upload.attachment.size);
        let is_done = offset == upload.attachment.size;
        let id = upload.attachment.id;
        let recorded = unless_gone(cache.attachment_progress(id, offset, Some(&place.url)))?;
        if is_done || !recorded {
            self.uploads.remove(index);
        } else {
            upload.place = Some(Place { offset, ..place });
        }
        Ok(())
    }

    /// Counts a fresh start; too many in a row wait like a failure of this upload alone.
    fn start_over(
        &mut self,
        cache: &mut Cache,
        index: usize,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        self.in_contact(now.uptime);
        self.counts.uploads_restarted += 1;
        let upload = &mut self.uploads[index];
        upload.restarts += 1;
        if upload.restarts <= RESTARTS_MAX {
            return Ok(());
        }
        news.push(News::Alarm("platform.upload-lost"));
        let upload = self.uploads.remove(index);
        let pause = self.random.backoff(upload.restarts);
        let id = upload.attachment.transaction_id;
        self.defer(cache, id, pause, "platform.upload-lost", now)
    }

    /// The upload failed: the line, the platform, or this attachment.
    fn upload_failed(
        &mut self,
        cache: &mut Cache,
        index: usize,
        error: &PlatformError,
        departure: Departure,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        let upload = self.uploads.remove(index);
        let id = upload.attachment.transaction_id;
        if let PlatformError::Refused {
            status,
            code,
            words,
        } = error
            && is_about_the_content(*status, code)
        {
            self.in_contact(now.uptime);
            if *status == 413 {
                news.push(News::Alarm("platform.too-large"));
                return self.defer(cache, id, BACKOFF_MAX, "platform.too-large", now);
            }
            let problem = ProblemReply {
                code: code.clone(),
                detail: words.expose().to_owned(),
                upstream: String::new(),
            };
            return self.refuse(cache, id, 0, "platform.refused", problem, now, news);
        }
        let pause = self.failed(error, departure, now, news);
        if !self.is_online {
            return Ok(());
        }
        // It may be this one that makes the platform fail: others go first next time.
        let own = self.random.backoff(upload.restarts);
        self.defer(cache, id, pause.max(own), error.code(), now)
    }

    /// What is damaged here is never sent; a person has to look at it.
    fn damaged(
        &mut self,
        cache: &mut Cache,
        index: usize,
        error: &CacheError,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        tracing::error!(code = error.code(), %error, "outbox");
        let upload = self.uploads.remove(index);
        let (id, code) = (upload.attachment.transaction_id, error.code());
        if unless_gone(cache.park(id, "terminal", code, "", now.at))? {
            news.push(News::Parked { id, code });
        }
        Ok(())
    }
}
