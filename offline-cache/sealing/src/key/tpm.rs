//! The device key inside a TPM 2.0: an ECDSA P-256 primary key of the owner hierarchy.
//!
//! Its template is fixed, so the same TPM makes the same key each time and nothing needs to be
//! stored. One thread owns the connection, because the TPM stack waits without a limit and we do
//! not. The connection is made anew after an error; a TPM that then gives another key is
//! reported, never used.

use std::fmt;
use std::str::FromStr as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Digest, EccParameter, EccScheme, HashScheme, HashcheckTicket, Public, Signature,
    SignatureScheme,
};
use tss_esapi::tss2_esys::{TPM2B_DIGEST, TPMT_TK_HASHCHECK};
use tss_esapi::utils::create_unrestricted_signing_ecc_public;
use tss_esapi::{Context, TctiNameConf};

use super::{Algorithm, PublicKey};
use crate::{KeyError, Suite};

/// How long the making of the key may take; a slow TPM needs a few seconds.
const OPEN_WITHIN: Duration = Duration::from_mins(1);
/// How long a signature may take, those before it included; a slow TPM needs half a second.
const SIGN_WITHIN: Duration = Duration::from_secs(20);
/// Signatures that may wait for the TPM at once; more callers than the program has threads.
const REQUESTS_MAX: usize = 32;

/// A TPM that holds the device key.
pub(super) struct Tpm {
    tcti: String,
    requests: SyncSender<Request>,
}

/// A digest to sign, and where the answer goes.
struct Request {
    digest: [u8; 32],
    answer: SyncSender<Result<Vec<u8>, KeyError>>,
}

/// A connection on which the key stands ready.
struct Loaded {
    context: Context,
    handle: KeyHandle,
    public: PublicKey,
}

impl Tpm {
    /// Connects and makes the key from its template.
    pub(super) fn open(tcti: &str) -> Result<(Self, PublicKey), KeyError> {
        Self::open_within(tcti, OPEN_WITHIN)
    }

    fn open_within(tcti: &str, limit: Duration) -> Result<(Self, PublicKey), KeyError> {
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let (opened, answer) = sync_channel(1);
        let name = tcti.to_owned();
        thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || serve(&name, &opened, &inbox))
            .map_err(|error| failed(tcti, "get a thread", &error))?;
        let public = answer
            .recv_timeout(limit)
            .map_err(|error| failed(tcti, "make the key in time", &error))??;
        let tpm = Self {
            tcti: tcti.to_owned(),
            requests,
        };
        Ok((tpm, public))
    }

    /// Signs a message.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (answer, signature) = sync_channel(1);
        let request = Request {
            digest: Suite::Intl.digest(message),
            answer,
        };
        self.requests
            .try_send(request)
            .map_err(|error| failed(&self.tcti, "take one more request", &error))?;
        signature
            .recv_timeout(SIGN_WITHIN)
            .map_err(|error| failed(&self.tcti, "sign in time", &error))?
    }
}

/// Owns the connection until nobody can ask any more.
fn serve(
    tcti: &str,
    opened: &SyncSender<Result<PublicKey, KeyError>>,
    requests: &Receiver<Request>,
) {
    // Whoever asked may have given up by the time of an answer.
    let loaded = match load(tcti) {
        Ok(loaded) => loaded,
        Err(error) => {
            drop(opened.try_send(Err(error)));
            return;
        }
    };
    let public = loaded.public.clone();
    let mut loaded = Some(loaded);
    drop(opened.try_send(Ok(public.clone())));
    for request in requests {
        let signature = sign(tcti, &mut loaded, &public, &request.digest);
        drop(request.answer.try_send(signature));
    }
}

/// Signs with the key, which must still be `public`. One new connection is tried when the old
/// one fails.
fn sign(
    tcti: &str,
    slot: &mut Option<Loaded>,
    public: &PublicKey,
    digest: &[u8; 32],
) -> Result<Vec<u8>, KeyError> {
    if let Some(loaded) = slot.as_mut() {
        if let Ok(signature) = sign_digest(tcti, loaded, digest) {
            return Ok(signature);
        }
        // The TPM was reset, or whoever stood between us was restarted.
        *slot = None;
    }
    let mut loaded = load(tcti)?;
    if loaded.public != *public {
        return Err(KeyError::TpmCleared {
            tcti: tcti.to_owned(),
        });
    }
    let signature = sign_digest(tcti, &mut loaded, digest)?;
    *slot = Some(loaded);
    Ok(signature)
}

fn load(tcti: &str) -> Result<Loaded, KeyError> {
    let name = TctiNameConf::from_str(tcti).map_err(|error| failed(tcti, "be named", &error))?;
    let mut context = Context::new(name).map_err(|error| failed(tcti, "answer", &error))?;
    let template = create_unrestricted_signing_ecc_public(
        EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)),
        EccCurve::NistP256,
    )
    .map_err(|error| failed(tcti, "take the template", &error))?;
    let primary = context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })
        .map_err(|error| failed(tcti, "make the key", &error))?;
    let public = public_key(&primary.out_public)
        .ok_or_else(|| failed(tcti, "make the key", &"it is not a point of P-256"))?;
    Ok(Loaded {
        context,
        handle: primary.key_handle,
        public,
    })
}

fn sign_digest(tcti: &str, loaded: &mut Loaded, digest: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
    let failed = |error: tss_esapi::Error| failed(tcti, "sign", &error);
    let digest = Digest::try_from(digest.as_slice()).map_err(failed)?;
    // The key is not restricted, so the digest may come from outside the TPM: a null ticket.
    let ticket = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: TPM2_ST_HASHCHECK,
        hierarchy: TPM2_RH_NULL,
        digest: TPM2B_DIGEST::default(),
    })
    .map_err(failed)?;
    let handle = loaded.handle;
    let signature = loaded
        .context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.sign(handle, digest, SignatureScheme::Null, ticket)
        })
        .map_err(failed)?;
    if let Signature::EcDsa(signature) = &signature
        && let Some(r) = padded(signature.signature_r())
        && let Some(s) = padded(signature.signature_s())
    {
        return Ok([r, s].concat());
    }
    Err(self::failed(tcti, "sign", &"it is not an ECDSA signature"))
}

fn public_key(public: &Public) -> Option<PublicKey> {
    let Public::Ecc { unique, .. } = public else {
        return None;
    };
    let point = [
        vec![4],
        padded(unique.x())?.to_vec(),
        padded(unique.y())?.to_vec(),
    ]
    .concat();
    PublicKey::new(Algorithm::EcdsaP256, &point)
}

/// A number as 32 bytes; a TPM may leave out leading zeros.
fn padded(number: &EccParameter) -> Option<[u8; 32]> {
    let bytes: &[u8] = number;
    let mut padded = [0; 32];
    let from = padded.len().checked_sub(bytes.len())?;
    padded[from..].copy_from_slice(bytes);
    Some(padded)
}

fn failed(tcti: &str, action: &'static str, reason: &impl fmt::Display) -> KeyError {
    KeyError::Tpm {
        tcti: tcti.to_owned(),
        action,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// Two listeners beside each other that nobody serves: commands and control.
    fn silent_tpm() -> (TcpListener, TcpListener) {
        for _ in 0..100 {
            let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            if let Some(next) = port.checked_add(1)
                && let Ok(second) = TcpListener::bind((Ipv4Addr::LOCALHOST, next))
            {
                return (first, second);
            }
        }
        panic!("no two free ports beside each other");
    }

    #[test]
    fn a_tpm_that_says_nothing_is_given_up() {
        let (commands, _control) = silent_tpm();
        let port = commands.local_addr().unwrap().port();
        let tcti = format!("swtpm:host=127.0.0.1,port={port}");
        let Err(error) = Tpm::open_within(&tcti, Duration::from_millis(50)) else {
            panic!("nobody answered");
        };
        assert_eq!(error.code(), "key.tpm-failed");
        assert!(error.to_string().contains("in time"), "{error}");
    }

    #[test]
    fn numbers_are_padded_and_never_cut() {
        let short = EccParameter::try_from(vec![1, 2]).unwrap();
        let padded_short = padded(&short).unwrap();
        assert_eq!(padded_short[..30], [0; 30]);
        assert_eq!(padded_short[30..], [1, 2]);
        let long = EccParameter::try_from(vec![1; 33]).unwrap();
        assert_eq!(padded(&long), None);
    }
}
