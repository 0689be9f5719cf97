//! The catalogue's way down: fetched by its `ETag`, checked whole, swapped in one transaction of
//! the store. A torn or malformed reply changes nothing, and nothing here can reach the outbox.

use std::collections::HashSet;

use jiff::Timestamp;
use offline_cache::{Cache, Catalogue, CatalogueItem};
use serde::Deserialize;

use super::PlatformError;
use super::desired::is_item;

/// Most items (`openapi.yaml`).
const ITEMS_MAX: usize = 5000;
/// Longest `ETag` in bytes (`openapi.yaml`).
const ETAG_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
struct Written {
    version: u32,
    items: Vec<WrittenItem>,
}

#[derive(Deserialize)]
struct WrittenItem {
    id: String,
    version: u32,
    is_suspended: bool,
}

/// Reads a catalogue. A function of outside bytes: bounded, and it never panics.
///
/// # Errors
/// `BadReply` says what is outside its limits.
pub fn read_catalogue(etag: &str, body: &[u8], now: Timestamp) -> Result<Catalogue, PlatformError> {
    let bad = |what| Err(PlatformError::BadReply(what));
    let is_etag = (2..=ETAG_BYTES_MAX).contains(&etag.len())
        && etag.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !is_etag {
        return bad("a catalogue without a proper ETag");
    }
    let Ok(written) = serde_json::from_slice::<Written>(body) else {
        return bad("a catalogue that is not the JSON of the contract");
    };
    let mut seen = HashSet::new();
    let are_items = written.items.len() <= ITEMS_MAX
        && written
            .items
            .iter()
            .all(|item| is_item(&item.id) && seen.insert(item.id.as_str()));
    if !are_items {
        return bad("a catalogue with too many, repeated or unnamed items");
    }
    Ok(Catalogue {
        etag: etag.to_owned(),
        version: written.version,
        fetched_at: now,
        items: written
            .items
            .into_iter()
            .map(|item| CatalogueItem {
                id: item.id,
                version: item.version,
                is_suspended: item.is_suspended,
            })
            .collect(),
    })
}

/// Puts a fetched catalogue in place of the earlier one, wholly or not at all.
///
/// # Errors
/// `BadReply` when it is none; `Store`.
pub(super) fn swap(
    cache: &mut Cache,
    (etag, body): (String, Vec<u8>),
    now: Timestamp,
) -> Result<(), PlatformError> {
    let catalogue = read_catalogue(&etag, &body, now)?;
    tracing::info!(version = catalogue.version, "catalogue");
    cache
        .swap_catalogue(&catalogue)
        .map_err(PlatformError::Store)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"version":2,"items":[{"id":"a","version":1,"is_suspended":false}]}"#;

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_000_000).unwrap()
    }

    #[test]
    fn a_torn_or_malformed_catalogue_is_none() {
        for end in 0..GOOD.len() {
            assert!(
                read_catalogue("\"v1\"", &GOOD.as_bytes()[..end], now()).is_err(),
                "{end}"
            );
        }
        for (etag, body) in [
            ("", GOOD),
            ("\"v\n1\"", GOOD),
            ("\"v1\"", r#"{"version":-1,"items":[]}"#),
            (
                "\"v1\"",
                r#"{"version":1,"items":[{"id":"a b","version":1,"is_suspended":true}]}"#,
            ),
            (
                "\"v1\"",
                r#"{"version":1,"items":[{"id":"a","version":1,"is_suspended":true},{"id":"a","version":2,"is_suspended":true}]}"#,
            ),
        ] {
            assert!(
                read_catalogue(etag, body.as_bytes(), now()).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn what_comes_down_replaces_the_catalogue_whole_and_never_the_outbox() {
        let directory = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::open(directory.path(), now()).unwrap();
        let transaction = super::super::drain::sample(1);
        cache.enqueue(&transaction, now()).unwrap();
        let before = cache.list(10).unwrap();
        swap(&mut cache, ("\"v2\"".to_owned(), GOOD.into()), now()).unwrap();
        let kept = cache.catalogue().unwrap().unwrap();
        assert_eq!((kept.version, kept.items.len()), (2, 1));
        for body in ["", "{", &GOOD[..40], "null"] {
            assert!(swap(&mut cache, ("\"v3\"".to_owned(), body.into()), now()).is_err());
            assert_eq!(cache.catalogue().unwrap().unwrap(), kept);
        }
        assert_eq!(cache.list(10).unwrap(), before, "the outbox is not touched");
    }
}
