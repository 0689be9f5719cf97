//! One running platform: its directory, its ports, its switches. Starting it again on the same
//! directory and port finds everything it had accepted.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use kiosk_documents::{DocumentError, Typesetter};
use kiosk_sealing::{Algorithm, DeviceKey, KeySource};
use rustls::ServerConfig;
use tokio::sync::Notify;

use crate::authority::Authority;
use crate::contract::Contract;
use crate::network::{Port, Serving};
use crate::otlp::{self, OtlpError, Traces};
use crate::outbound::Worker;
use crate::router;
use crate::seal::SealKey;
use crate::store::{Accepted, Store, StoreError};
use crate::switches::{FaceAnswer, Fault, Switches};
use crate::tls::{self, TlsError};
use crate::webhooks::{self, WebhookError};
use crate::{Config, clock};

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
    /// The certificates to serve with cannot be used.
    #[error("cannot use the TLS certificates")]
    Tls(#[from] TlsError),
    /// An address that notices go to cannot be used.
    #[error("cannot use a webhook")]
    Webhook(#[from] WebhookError),
    /// The collector cannot be told anything.
    #[error("cannot use the collector")]
    Otlp(#[from] OtlpError),
}

/// A running platform. Dropping it stops it; what it accepted stays in its directory.
pub struct Platform {
    contract: Contract,
    ports: Vec<Port>,
    tls: Option<Arc<ServerConfig>>,
    serving: Mutex<Option<Serving>>,
    /// Sends notices until it is dropped.
    _messenger: Option<Worker>,
    /// Tells the collector until it is dropped.
    _exporter: Option<Worker>,
}

/// What the handlers share.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) seal_key: SealKey,
    /// Signs commands, desired states and receipts.
    pub(crate) command_key: DeviceKey,
    /// Told when there may be a new command.
    pub(crate) changed: Notify,
    /// Signs the certificates of terminals.
    pub(crate) authority: Option<Authority>,
    /// How transactions came, for the collector.
    pub(crate) traces: Traces,
    typesetter: OnceLock<Typesetter>,
    store: Mutex<Store>,
    switches: Mutex<Switches>,
}

impl Platform {
    /// Opens the directory and serves on an address; port 0 takes a free one. At the first start
    /// it makes its keys.
    ///
    /// # Errors
    /// `Io` when the directory or the address cannot be used, `Store` when the database cannot,
    /// `Document` when there is no font for certificates, `Tls` when the certificates are no good,
    /// `Webhook` when notices cannot go where they shall, `Otlp` when the collector cannot be told
    /// anything.
    pub fn start(
        directory: &Path,
        listen: SocketAddr,
        config: Config,
    ) -> Result<Self, PlatformError> {
        let tls = config.tls.as_ref().map(tls::server_config).transpose()?;
        let contract = Contract::open(directory, config)?;
        contract.world.typesetter()?;
        let also = contract.world.config.also_listen.iter();
        let ports: io::Result<_> = std::iter::once(&listen)
            .chain(also)
            .map(|address| Port::reserve(*address))
            .collect();
        let platform = Self {
            ports: ports?,
            _messenger: webhooks::start(&contract.world)?,
            _exporter: otlp::start(&contract.world)?,
            contract,
            tls,
            serving: Mutex::new(None),
        };
        platform.set_network(true)?;
        Ok(platform)
    }

    /// Where it is reached, such as `http://127.0.0.1:4711`; `https` with certificates.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The address it is reached at; stays the same while the network is down.
    pub fn address(&self) -> SocketAddr {
        self.ports[0].address
    }

    /// Every address it is reached at: the first one, then those of `also_listen`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().map(|port| port.address).collect()
    }

    /// Cuts or restores the network: while it is down every connection is dropped and new ones
    /// are refused. Setting it as it is does nothing.
    ///
    /// # Errors
    /// `Io` when a port cannot be listened on again.
    pub fn set_network(&self, up: bool) -> Result<(), PlatformError> {
        let mut serving = unpoisoned(&self.serving);
        if up && serving.is_none() {
            let router = router::router(&self.contract.world);
            *serving = Some(Serving::start(&self.ports, self.tls.as_ref(), &router)?);
        }
        if !up {
            // Dropping it joins its thread; no handler takes this lock.
            *serving = None;
        }
        Ok(())
    }

    /// The same platform without its network: what a simulation calls.
    pub fn contract(&self) -> Contract {
        self.contract.clone()
    }

    /// `POST /v1/batches` without a socket, now; see [`Contract::handle_batch`].
    pub fn handle_batch(&self, terminal: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.contract.handle_batch(terminal, body, clock::now())
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.contract.set_fault(fault);
    }

    /// Sets what face comparisons answer from now on.
    pub fn set_face(&self, face: FaceAnswer) {
        self.contract
            .world
            .change_switches(|switches| switches.face = face);
    }

    /// Takes an upstream system down or up again.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn set_upstream(&self, name: &str, is_up: bool) -> Result<(), PlatformError> {
        self.contract.set_upstream(name, is_up)
    }

    /// Everything that took effect, in order.
    ///
    /// # Errors
    /// `Store` when the database cannot be read.
    pub fn accepted(&self) -> Result<Vec<Accepted>, PlatformError> {
        self.contract.accepted()
    }

    /// The public key that terminals seal to now.
    ///
    /// # Panics
    /// When the database cannot be read; see [`Contract::sealing_key`] for an error instead.
    pub fn sealing_key(&self) -> String {
        self.contract
            .sealing_key()
            .expect("a platform that started has a sealing key")
    }

    /// The public key that signs commands, desired state and receipts.
    pub fn command_key(&self) -> String {
        self.contract.command_key()
    }

    /// Id and public key, in base64, of what it seals documents with, as `GET /v1/seal-keys` tells.
    pub fn seal_key(&self) -> (String, String) {
        let published = self.contract.world.seal_key.public_key();
        (published.key_id, published.public_key)
    }

    /// Makes a new key to seal to, which every desired state tells; what was sealed to the old
    /// ones still opens. Returns the new one.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn rotate_sealing_key(&self) -> Result<String, PlatformError> {
        self.contract.rotate_sealing_key(clock::now())
    }

    /// Notes the public key of a terminal, as `POST /admin/terminals` does.
    ///
    /// # Errors
    /// `Store` when the text is no key or the database fails.
    pub fn register_terminal(&self, terminal: &str, key: &str) -> Result<(), PlatformError> {
        let key = key.parse().map_err(|_| StoreError::Key)?;
        let mut store = self.contract.world.store();
        Ok(store.register(terminal, &key, clock::now())?)
    }

    /// Stops serving and frees the ports.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // Before anything else of it: the handlers hold the world too.
        drop(unpoisoned(&self.serving).take());
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
    /// Opens what a directory holds, or makes it.
    pub(crate) fn open(directory: &Path, config: Config) -> Result<Self, PlatformError> {
        std::fs::create_dir_all(directory)?;
        let authority = config.authority.as_ref().map(Authority::open).transpose()?;
        let now = clock::now();
        let mut store = Store::open(directory, &config, now)?;
        let seal_key = store.shared_key("seal", &SealKey::path(directory), now, || {
            Ok(SealKey::load_or_make(directory)?)
        })?;
        let path = directory.join("command-key");
        let source = KeySource::File {
            path: path.clone(),
            algorithm: Algorithm::Ed25519,
        };
        let command_key = store.shared_key("command", &path, now, || {
            DeviceKey::open(&source).map_err(|_| StoreError::Key)
        })?;
        Ok(Self {
            seal_key,
            command_key,
            changed: Notify::new(),
            authority,
            traces: Traces::new(config.otlp.as_ref().is_some_and(|otlp| otlp.traces)),
            typesetter: OnceLock::new(),
            store: Mutex::new(store),
            switches: Mutex::new(Switches::default()),
            config,
        })
    }

    /// The typesetter of certificates, made when it is first needed.
    pub(crate) fn typesetter(&self) -> Result<&Typesetter, DocumentError> {
        if let Some(typesetter) = self.typesetter.get() {
            return Ok(typesetter);
        }
        let made = if self.config.font_dirs.is_empty() {
            Typesetter::with_system_fonts()?
        } else {
            Typesetter::new(&self.config.font_dirs)?
        };
        Ok(self.typesetter.get_or_init(|| made))
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        unpoisoned(&self.store)
    }

    pub(crate) fn switches(&self) -> Switches {
        *unpoisoned(&self.switches)
    }

    /// The fault of the next request.
    pub(crate) fn next_fault(&self) -> Fault {
        unpoisoned(&self.switches).next_fault()
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
