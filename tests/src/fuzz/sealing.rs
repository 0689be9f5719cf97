//! Parsers of what reaches the queue's rooms from outside: envelopes, signed texts, bundles on a
//! stick, signatures of requests, keys; and the words by which staff come in. Imports the sealing room alone, so that the fuzzer builds it
//! in a minute.

use std::sync::OnceLock;

use kiosk_sealing::audit::{self, Checkpoint};
use kiosk_sealing::certificate;
use kiosk_sealing::request::{self, Headers, Request};
use kiosk_sealing::unlock::{
    self, Challenge, Delegation, Expected, PinVerifier, Revocations, RevokedId, Role, Scope,
};
use kiosk_sealing::{DeviceKey, PublicKey, RecipientKey, RecipientSecret, bundle, signed};

use super::devices::Target;

/// The limit of a signed text here; that of a command.
const BODY_MAX: usize = 64 * 1024;
/// What the seeds were sealed and signed with; synthetic, and used nowhere else.
const SECRETS: [&str; 2] = [
    "intl-secret:MAq-dnGUXA_yrfwdn626xa5Y2tt16dL3-jC_Wk1Qr2E",
    "gm-secret:2SQ97XZG8J3OjFL9HElMO4QB24rR0-kREsBTraVVP08",
];
const KEY: &str = "ed25519:vWD2EvMuNI40me2BrxrN8JO3N2Qvgsg5szunnpVHhdQ";

/// Every parser of sealed or signed bytes.
pub const TARGETS: &[Target] = &[
    Target {
        name: "envelope",
        run: envelope,
        seeds: &[
            include_bytes!("seeds/intl.envelope"),
            include_bytes!("seeds/gm.envelope"),
        ],
    },
    Target {
        name: "signed-text",
        run: signed_text,
        seeds: &[b"c0e2c4890c9b601c.eyJraW5kIjoibG9jayJ9.xDbtAfeFUY9ExqDNHL4GCMvdxprxw1Du6ssOJgjgrjVis4B5a6YJAfuvnetdtL6d_UAqS9uzRQRm7k4VFKVsCA"],
    },
    Target {
        name: "bundle",
        run: carried_bundle,
        seeds: &[include_bytes!("seeds/one.bundle")],
    },
    Target {
        name: "request-signature",
        run: request_signature,
        seeds: &[b"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\nsig1=(\"@method\" \"@path\" \"@query\" \"content-digest\" \"kiosk-terminal\");created=1;nonce=\"AAAA\";keyid=\"0123456789abcdef\";alg=\"ed25519\"\nsig1=:AAAA:"],
    },
    Target {
        name: "unlock-words",
        run: unlock_words,
        seeds: &[
            include_bytes!("seeds/challenge.txt"),
            include_bytes!("seeds/permission.txt"),
            include_bytes!("seeds/delegation.txt"),
            include_bytes!("seeds/delegated.txt"),
            b"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
        ],
    },
    Target {
        name: "revocation-list",
        run: revocation_list,
        seeds: &[include_bytes!("seeds/revocations.txt")],
    },
    Target {
        name: "key-file",
        run: key_file,
        seeds: &[include_bytes!("seeds/protected-key.txt")],
    },
    Target {
        name: "readiness-certificate",
        run: readiness_certificate,
        seeds: &[include_bytes!("seeds/readiness.txt")],
    },
    Target {
        name: "key-text",
        run: key_text,
        seeds: &[
            KEY.as_bytes(),
            SECRETS[0].as_bytes(),
            SECRETS[1].as_bytes(),
        ],
    },
];

fn secrets() -> &'static [RecipientSecret] {
    static OPENED: OnceLock<Vec<RecipientSecret>> = OnceLock::new();
    OPENED.get_or_init(|| {
        SECRETS
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    })
}

fn keys() -> &'static [PublicKey] {
    static OPENED: OnceLock<Vec<PublicKey>> = OnceLock::new();
    OPENED.get_or_init(|| KEY.parse().into_iter().collect())
}

fn envelope(bytes: &[u8]) {
    if kiosk_sealing::header(bytes).is_ok() {
        // The seeds were sealed for another context: whatever opens here is forged.
        let opened = kiosk_sealing::open(secrets(), b"fuzz", bytes);
        assert!(opened.is_err(), "an envelope of another context opens");
    }
}

fn signed_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(body) = signed::verify(keys(), signed::COMMAND, &text, BODY_MAX) {
        assert_eq!(body, br#"{"kind":"lock"}"#, "a forged command is believed");
    }
    drop(std::hint::black_box(Checkpoint::verify(&text, keys())));
    std::hint::black_box(audit::parse_hash(&text));
}

fn carried_bundle(bytes: &[u8]) {
    let verified = bundle::verify(bytes, |_, _| keys().first().cloned());
    let mut seen = 0_usize;
    let read = bundle::read(bytes, |_, payload, attachments| {
        seen += payload.len() + attachments.iter().map(Vec::len).sum::<usize>();
        Ok::<(), std::convert::Infallible>(())
    });
    assert!(seen <= bytes.len(), "more came out than went in");
    assert!(
        verified.is_err() || read.is_ok(),
        "verified and yet unreadable"
    );
}

fn request_signature(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n').map(str::to_owned);
    let headers = Headers {
        content_digest: lines.next().unwrap_or_default(),
        signature_input: lines.next().unwrap_or_default(),
        signature: lines.next().unwrap_or_default(),
    };
    let request = Request {
        method: "GET",
        path: "/v1/commands",
        query: "wait=50",
        terminal: "T001",
        body: b"",
    };
    let verified = request::verify(|_| keys().first().cloned(), &request, &headers);
    assert!(verified.is_err(), "a made-up signature is believed");
}

/// Nothing that a stranger makes up lets anybody in: the only key known here has signed none of it.
fn unlock_words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(challenge) = Challenge::parse(&text) {
        assert_eq!(
            Challenge::parse(&challenge.to_text()).ok(),
            Some(challenge),
            "a challenge has one text"
        );
    }
    let challenge = Challenge {
        terminal: "T001".to_owned(),
        nonce: [7; 16],
        boot: 1,
        counter: 1,
    };
    let expected = Expected {
        challenge: &challenge,
        operators: keys(),
        now_s: 1_795_311_660,
    };
    assert!(
        unlock::verify(&text, &expected).is_err(),
        "a made-up permission lets in"
    );
    assert!(
        Delegation::verify(&text, keys()).is_err(),
        "a made-up certificate is believed"
    );
    drop(std::hint::black_box(Delegation::parse(&text)));
    drop(std::hint::black_box(Challenge::parse_with_list(&text)));
    drop(std::hint::black_box(text.parse::<PinVerifier>()));
    std::hint::black_box(text.parse::<Role>().is_ok());
    std::hint::black_box(text.parse::<Scope>().is_ok());
}

/// Nothing that a stranger makes up revokes anything.
fn revocation_list(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(
        Revocations::verify(&text, keys(), &Revocations::default()).is_err(),
        "a made-up list is believed"
    );
    if let Ok(list) = Revocations::parse(&text) {
        assert!(
            list.len() <= bytes.len(),
            "more is revoked than was written"
        );
    }
    std::hint::black_box(text.parse::<RevokedId>().is_ok());
}

/// An operator's key file, before its passphrase is asked for: deriving a key from one takes 64 MiB,
/// and what it opens is sealed.
fn key_file(bytes: &[u8]) {
    let opened = DeviceKey::from_file(bytes, None);
    assert!(
        !kiosk_sealing::is_protected(bytes) || opened.is_err(),
        "a sealed key opens without its passphrase"
    );
}

fn readiness_certificate(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let find = |_: &str, _: &str| keys().first().cloned();
    assert!(
        certificate::verify(&text, find, 1_795_311_660).is_err(),
        "a made-up certificate is believed"
    );
}

fn key_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(
            key.to_string().parse::<PublicKey>().ok().as_ref(),
            Some(&key)
        );
    }
    if let Ok(key) = text.parse::<RecipientKey>() {
        assert_eq!(
            key.to_string().parse::<RecipientKey>().ok().as_ref(),
            Some(&key)
        );
    }
    drop(std::hint::black_box(text.parse::<RecipientSecret>()));
    drop(std::hint::black_box(kiosk_sealing::pkcs8_document(bytes)));
}
