//! The operator's repository, as a pass needs it: the release that is in force, its list of chunks,
//! and the chunks. Everything that is read here was signed, or is checked against what was.

use jiff::Timestamp;

use super::Source;
use crate::fetch::INDEX_BYTES_MAX;
use crate::manifest::{RELEASE_BYTES_MAX, RELEASE_TARGET, Release, ReleaseError};
use crate::trust::{Transport, TransportError, TrustError, Trusted};

/// A file that every repository has, asked for to see whether there is a line.
const SIGN_OF_LIFE: &str = "timestamp.json";
/// Most bytes that are taken of it.
const SIGN_BYTES_MAX: u64 = 64 * 1024;

/// A repository whose metadata was checked.
pub struct Repository<'a> {
    /// What is believed.
    pub trusted: &'a Trusted,
    /// Brings metadata.
    pub metadata: &'a dyn Transport,
    /// Brings signed files.
    pub targets: &'a dyn Transport,
    /// Brings chunks.
    pub chunks: &'a dyn Transport,
}

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// It is not believed, or did not come.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It was signed and breaks a rule.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl RepositoryError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trust(error) => error.code(),
            Self::Release(error) => error.code(),
        }
    }
}

impl std::fmt::Debug for Repository<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Repository")
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

impl Repository<'_> {
    /// The release in force, with its bytes as they were signed; `None` when none was published.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn release(&self) -> Result<Option<(Release, Vec<u8>)>, RepositoryError> {
        let target = match self.trusted.target(RELEASE_TARGET) {
            Err(TrustError::NoTarget) => return Ok(None),
            found => found?,
        };
        let bytes = target.read_whole(self.targets, RELEASE_BYTES_MAX as u64)?;
        Ok(Some((Release::parse(&bytes)?, bytes)))
    }
}

impl Source for Repository<'_> {
    fn may_install(&self, now: Timestamp) -> Result<(), TrustError> {
        self.trusted.may_install(now)
    }

    fn index(&mut self, name: &str) -> Result<Vec<u8>, TrustError> {
        let target = self.trusted.target(name)?;
        target.read_whole(self.targets, INDEX_BYTES_MAX as u64)
    }

    fn patches(&mut self, name: &str) -> Result<Option<Vec<u8>>, TrustError> {
        let target = match self.trusted.target(name) {
            Err(TrustError::NoTarget) => return Ok(None),
            found => found?,
        };
        let list = target.read_whole(self.targets, INDEX_BYTES_MAX as u64)?;
        Ok(Some(list))
    }

    fn transport(&self) -> &dyn Transport {
        self.chunks
    }

    fn is_reachable(&mut self) -> bool {
        let asked = self
            .metadata
            .fetch(SIGN_OF_LIFE, 0, SIGN_BYTES_MAX, &mut |_| Ok(()));
        match asked {
            Ok(_) | Err(TransportError::NotFound | TransportError::TooLong { .. }) => true,
            Err(_) => false,
        }
    }
}
