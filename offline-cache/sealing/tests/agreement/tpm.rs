//! The device key in a TPM: a software TPM behind the same interface as a real one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiosk_sealing::{Algorithm, DeviceKey, KeyError, KeySource};

use crate::support::{Desk, openssl_verifies};

/// How often a start is looked for, at an interval of [`LOOK`]: ten seconds in all.
const LOOKS_MAX: u32 = 200;
const LOOK: Duration = Duration::from_millis(50);

/// A software TPM (Debian: `swtpm`), stopped when dropped.
struct SoftwareTpm {
    process: Child,
    port: u16,
}

impl SoftwareTpm {
    fn start(state: &Path) -> Self {
        Self::start_on(state, free_ports())
    }

    fn start_on(state: &Path, port: u16) -> Self {
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2"])
            .args(["--flags", "not-need-init,startup-clear"])
            .arg("--server")
            .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"))
            .arg("--ctrl")
            .arg(format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1))
            .arg("--tpmstate")
            .arg(format!("dir={}", state.to_str().unwrap()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port }
    }

    fn source(&self) -> KeySource {
        KeySource::Tpm {
            tcti: format!("swtpm:host=127.0.0.1,port={}", self.port),
        }
    }

    /// Opens the key as soon as the TPM listens.
    fn open(&mut self) -> DeviceKey {
        for _ in 0..LOOKS_MAX {
            assert!(self.process.try_wait().unwrap().is_none(), "swtpm ended");
            match DeviceKey::open(&self.source()) {
                Ok(key) => return key,
                Err(error) => assert_eq!(error.code(), "key.tpm-failed"),
            }
            std::thread::park_timeout(LOOK);
        }
        panic!("swtpm does not listen");
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A free port whose successor is free too: the second is for control.
fn free_ports() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if let Some(next) = port.checked_add(1)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, next)).is_ok()
        {
            return port;
        }
    }
    panic!("no two free ports beside each other");
}

#[test]
fn the_same_tpm_gives_the_same_key_and_another_one_another() {
    let (first, second) = (Desk::new(), Desk::new());
    let public = {
        let mut tpm = SoftwareTpm::start(first.directory());
        let key = tpm.open();
        let public = key.public();
        assert_eq!(public.algorithm(), Algorithm::EcdsaP256);
        for message in [&b""[..], b"message", &[7; 5000]] {
            let signature = key.sign(message).unwrap();
            assert!(public.verify(message, &signature));
            assert!(openssl_verifies(&public, message, &signature));
        }
        assert!(!public.verify(b"massage", &key.sign(b"message").unwrap()));
        public
    };
    assert_eq!(
        SoftwareTpm::start(first.directory()).open().public(),
        public
    );
    assert_ne!(
        SoftwareTpm::start(second.directory()).open().public(),
        public
    );
}

#[test]
fn a_tpm_that_was_restarted_goes_on_and_one_that_was_cleared_is_refused() {
    let (first, second) = (Desk::new(), Desk::new());
    let mut tpm = SoftwareTpm::start(first.directory());
    let port = tpm.port;
    let key = tpm.open();
    key.sign(b"before").unwrap();
    drop(tpm);
    let error = key.sign(b"without").unwrap_err();
    assert_eq!(error.code(), "key.tpm-failed");

    let tpm = SoftwareTpm::start_on(first.directory(), port);
    let signature = sign_when_up(&key, b"after").unwrap();
    assert!(key.public().verify(b"after", &signature));
    drop(tpm);

    let _other = SoftwareTpm::start_on(second.directory(), port);
    let error = sign_when_up(&key, b"never").unwrap_err();
    assert_eq!(error.code(), "key.tpm-cleared");
}

#[test]
fn many_threads_share_one_tpm() {
    let desk = Desk::new();
    let mut tpm = SoftwareTpm::start(desk.directory());
    let key = tpm.open();
    std::thread::scope(|scope| {
        for number in 0_u8..4 {
            let key = &key;
            scope.spawn(move || {
                for _ in 0..5 {
                    let signature = key.sign(&[number]).unwrap();
                    assert!(key.public().verify(&[number], &signature));
                }
            });
        }
    });
}

#[test]
fn a_tpm_that_is_not_there_is_named() {
    for tcti in ["device:/nowhere/tpm0", "nonsense", ""] {
        let source = KeySource::Tpm {
            tcti: tcti.to_owned(),
        };
        let error = DeviceKey::open(&source).unwrap_err();
        assert_eq!(error.code(), "key.tpm-failed");
        assert!(error.to_string().contains(tcti), "{error}");
    }
}

/// Signs as soon as the TPM listens again.
fn sign_when_up(key: &DeviceKey, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    for _ in 0..LOOKS_MAX {
        match key.sign(message) {
            Err(KeyError::Tpm { .. }) => std::thread::park_timeout(LOOK),
            answer => return answer,
        }
    }
    panic!("swtpm does not listen");
}
