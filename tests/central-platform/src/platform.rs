//! One running platform: its directory, its port, its switches. Starting it again on the same
//! directory and port finds everything it had accepted.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiosk_documents::{DocumentError, Typesetter};

use crate::Config;
use crate::network::{Port, Serving};
use crate::router;
use crate::seal::SealKey;
use crate::store::{Accepted, Store, StoreError};
use crate::switches::{FaceAnswer, Fault, Switches};
use crate::uploads::Uploads;

/// Why a platform could not start or answer.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The directory cannot be used, or the port is taken.
    #[error("cannot use the directory or the address")]
    Io(#[from] io::Error),
    /// The database cannot be used.
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    /// Certificates cannot be typeset, most often for want of a font.
    #[error("cannot typeset certificates")]
    Document(#[from] DocumentError),
}

/// A running platform. Dropping it stops it; what it accepted stays in its directory.
pub struct Platform {
    world: Arc<World>,
}

/// What the handlers share.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) seal_key: SealKey,
    pub(crate) uploads: Uploads,
    pub(crate) typesetter: Typesetter,
    port: Port,
    store: Mutex<Store>,
    switches: Mutex<Switches>,
    serving: Mutex<Option<Serving>>,
}

impl Platform {
    /// Opens the directory and serves on an address; port 0 takes a free one.
    ///
    /// # Errors
    /// `Io` when the directory or the address cannot be used, `Store` when the database cannot,
    /// `Document` when there is no font for certificates.
    pub fn start(
        directory: &Path,
        listen: SocketAddr,
        config: Config,
    ) -> Result<Self, PlatformError> {
        std::fs::create_dir_all(directory)?;
        let typesetter = if config.font_dirs.is_empty() {
            Typesetter::with_system_fonts()?
        } else {
            Typesetter::new(&config.font_dirs)?
        };
        let world = Arc::new(World {
            seal_key: SealKey::load_or_make(directory)?,
            uploads: Uploads::new(directory.join("uploads"))?,
            typesetter,
            port: Port::reserve(listen)?,
            store: Mutex::new(Store::open(directory, &config)?),
            switches: Mutex::new(Switches::default()),
            serving: Mutex::new(None),
            config,
        });
        let platform = Self { world };
        platform.set_network(true)?;
        Ok(platform)
    }

    /// Where it is reached, such as `http://127.0.0.1:4711`.
    pub fn url(&self) -> String {
        format!("http://{}", self.world.port.address)
    }

    /// The address it is reached at; stays the same while the network is down.
    pub fn address(&self) -> SocketAddr {
        self.world.port.address
    }

    /// Cuts or restores the network: while it is down every connection is dropped and new ones
    /// are refused. Setting it as it is does nothing.
    ///
    /// # Errors
    /// `Io` when the port cannot be listened on again.
    pub fn set_network(&self, up: bool) -> Result<(), PlatformError> {
        let mut serving = unpoisoned(&self.world.serving);
        if up && serving.is_none() {
            let router = router::router(Arc::clone(&self.world));
            *serving = Some(Serving::start(&self.world.port, router)?);
        }
        if !up {
            // Dropping it joins its thread; no handler takes this lock.
            *serving = None;
        }
        Ok(())
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        unpoisoned(&self.world.switches).fault = fault;
    }

    /// Sets what face comparisons answer from now on.
    pub fn set_face(&self, face: FaceAnswer) {
        unpoisoned(&self.world.switches).face = face;
    }

    /// Everything that took effect, in order.
    ///
    /// # Errors
    /// `Store` when the database cannot be read.
    pub fn accepted(&self) -> Result<Vec<Accepted>, PlatformError> {
        Ok(self.world.store().accepted()?)
    }

    /// Stops serving and frees the port.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // The router inside holds the world too, so that dropping the handle alone stops nothing.
        drop(unpoisoned(&self.world.serving).take());
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Platform")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        unpoisoned(&self.store)
    }

    pub(crate) fn switches(&self) -> Switches {
        *unpoisoned(&self.switches)
    }

    pub(crate) fn change_switches(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut unpoisoned(&self.switches));
    }
}

/// Takes a lock even if a holder panicked: what is behind it is whole after every step, because
/// the database rolls back and a switch is one value.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
