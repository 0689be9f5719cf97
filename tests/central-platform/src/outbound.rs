//! What the platform sends of its own accord: by a thread of its own, to the addresses of the
//! configuration and nowhere else. No redirection, no proxy, and only named authorities are believed.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A thread that does its rounds until it is dropped.
pub(crate) struct Worker {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a round waits with. The database blocks, so that only what is sent, and the wait between two
/// rounds, runs in the runtime.
pub(crate) struct Turn {
    runtime: Runtime,
    /// An error means that the worker was dropped, which is a stop too.
    stopped: oneshot::Receiver<()>,
}

impl Turn {
    /// Waits for this; `None` when the worker is to stop first.
    pub(crate) fn wait<T>(&mut self, this: impl Future<Output = T>) -> Option<T> {
        let stopped = &mut self.stopped;
        self.runtime.block_on(async {
            tokio::select! {
                _ = stopped => None,
                outcome = this => Some(outcome),
            }
        })
    }

    /// Waits so long.
    pub(crate) fn pause(&mut self, length: Duration) -> ControlFlow<()> {
        // A sleep belongs to the runtime that it begins in.
        match self.wait(async { tokio::time::sleep(length).await }) {
            Some(()) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        }
    }
}

impl Worker {
    /// Starts one; a round that breaks is the last.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start(
        name: &str,
        mut round: impl FnMut(&mut Turn) -> ControlFlow<()> + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut turn = Turn { runtime, stopped };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || while round(&mut turn).is_continue() {})?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread panicked");
            }
        }
    }
}

/// An address that may be spoken to.
pub(crate) struct Address {
    pub(crate) url: Url,
    /// Plain HTTP, on this machine.
    is_plain: bool,
}

impl Address {
    /// `https`, or `http` on this machine.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let url: Url = url.parse().ok()?;
        let is_plain = url.scheme() == "http" && url.host_str().is_some_and(is_this_machine);
        (is_plain || url.scheme() == "https").then_some(Self { url, is_plain })
    }

    /// A client that goes there and nowhere else, and gives a request so long. `ca` vouches for the
    /// address, in PEM; `None` when it is needed and no good.
    pub(crate) fn client(&self, ca: Option<&Path>, longest: Duration) -> Option<Client> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca {
            for certificate in CertificateDer::pem_file_iter(path).ok()? {
                roots.add(certificate.ok()?).ok()?;
            }
        }
        if roots.is_empty() && !self.is_plain {
            return None;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client::builder()
            .timeout(longest)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .build()
            .ok()
    }
}

fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}
