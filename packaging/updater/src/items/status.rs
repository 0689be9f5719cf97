//! What the updater tells of items: a small file beside the one of the program, for the technician's
//! page and for whoever looks at a terminal from afar. Nothing in it is secret or personal.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ItemsOutcome, SetsState};
use crate::slots::disk::{self, Disk};

/// Largest file of status in bytes.
pub const ITEMS_STATUS_BYTES_MAX: usize = 16 * 1024;
/// Layout of the file.
const FORMAT: u32 = 1;

/// What the updater tells of items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemsStatus {
    format: u32,
    /// When.
    pub at: Timestamp,
    /// Version of the set in force; `None` for the items of the program alone.
    pub version: Option<String>,
    /// Problem code of what fails or is refused.
    pub code: Option<String>,
    /// How the last look ended, in words.
    pub words: String,
    /// When the operator's metadata ends.
    pub metadata_expires: Option<Timestamp>,
}

impl ItemsStatus {
    /// What is to be told after a pass.
    pub fn new(
        outcome: &ItemsOutcome,
        state: &SetsState,
        metadata_expires: Option<Timestamp>,
        at: Timestamp,
    ) -> Self {
        Self {
            format: FORMAT,
            at,
            version: state.current.as_ref().map(|held| held.version.clone()),
            code: outcome.code().map(str::to_owned),
            words: outcome.to_string(),
            metadata_expires,
        }
    }

    /// Reads a status; `None` when the bytes are none of this layout.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let status: Self = disk::parse_json(bytes, ITEMS_STATUS_BYTES_MAX)?;
        (status.format == FORMAT).then_some(status)
    }

    /// Writes the status; a reader sees the old one or the new one, whole.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        disk::replace_json(disk, path, self)
    }
}
