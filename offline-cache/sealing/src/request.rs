//! Signatures of requests: one fixed profile of HTTP Message Signatures (RFC 9421) with a digest
//! of the body (RFC 9530).
//!
//! Always the same five components in the same order, always the parameters `created`, `nonce`,
//! `keyid`, `alg`; so the header is written and read by one function each and there is nothing
//! to negotiate. The algorithm follows from the key; what the header says must agree. Whether a
//! signature is fresh, and whether its nonce was seen before, is the platform's to say.

use std::fmt::Write as _;

use crate::encoding::{base64, from_base64};
use crate::suite::sha256_of;
use crate::{Algorithm, DeviceKey, KeyError, PublicKey};

/// Components that are signed, in this order.
const COMPONENTS: &str = r#"("@method" "@path" "@query" "content-digest" "kiosk-terminal")"#;
/// Label of the signature in both headers.
const LABEL: &str = "sig1=";
/// Longest header that is looked at: a signature input has about 190 letters.
const HEADER_BYTES_MAX: usize = 512;
/// Longest nonce: 32 bytes in base64url have 43 letters.
const NONCE_LETTERS_MAX: usize = 64;

/// What of a request is signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Method in upper case.
    pub method: &'a str,
    /// Path of the target, as sent.
    pub path: &'a str,
    /// Query without its question mark; empty when there is none.
    pub query: &'a str,
    /// Value of the header `Kiosk-Terminal`.
    pub terminal: &'a str,
    /// Body as sent, after compression; empty when there is none.
    pub body: &'a [u8],
}

/// The three headers of a signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// `Content-Digest`.
    pub content_digest: String,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

/// What a valid signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The key that signed.
    pub key_id: String,
    /// When, in seconds since 1970 by the signer's clock.
    pub created_s: i64,
    /// A value that the signer uses once.
    pub nonce: String,
}

/// Why a request's signature was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The headers are not of this profile.
    #[error("the signature headers do not follow the profile")]
    Malformed,
    /// No such key.
    #[error("the request is signed by key {key_id}, which is not known")]
    UnknownKey {
        /// Id the header names.
        key_id: String,
    },
    /// The body is not the one that was signed.
    #[error("the digest does not fit the body")]
    OtherBody,
    /// The signature does not cover this request.
    #[error("the signature does not fit the request")]
    Forged,
}

impl RequestError {
    /// Stable problem code of the wire contract.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownKey { .. } => "signature.unknown-key",
            Self::Malformed | Self::OtherBody | Self::Forged => "signature.invalid",
        }
    }
}

/// Signs a request. The nonce is letters of base64url, used once.
///
/// # Errors
/// `Unsignable` when a part holds characters that no header may; what [`DeviceKey::sign`] says.
pub fn sign(
    key: &DeviceKey,
    request: &Request<'_>,
    created_s: i64,
    nonce: &str,
) -> Result<Headers, KeyError> {
    if let Some(part) = unsignable(request) {
        return Err(KeyError::Unsignable { part });
    }
    if created_s < 0 || !is_nonce(nonce) {
        return Err(KeyError::Unsignable { part: "nonce" });
    }
    let public = key.public();
    let parameters = parameters(created_s, nonce, &public.key_id(), public.algorithm());
    let content_digest = content_digest(request.body);
    let signature = key.sign(base_of(request, &content_digest, &parameters).as_bytes())?;
    Ok(Headers {
        content_digest,
        signature_input: format!("{LABEL}{parameters}"),
        signature: format!("{LABEL}:{}:", base64(&signature)),
    })
}

/// Checks a request's signature with the key that `find_key` has for the id in its header.
///
/// # Errors
/// [`RequestError`]; the request is not to be acted on.
pub fn verify(
    find_key: impl FnOnce(&str) -> Option<PublicKey>,
    request: &Request<'_>,
    headers: &Headers,
) -> Result<Verified, RequestError> {
    if unsignable(request).is_some() {
        return Err(RequestError::Malformed);
    }
    let input = parse_signature_input(&headers.signature_input)?;
    let signature = parse_signature(&headers.signature)?;
    if headers.content_digest != content_digest(request.body) {
        return Err(RequestError::OtherBody);
    }
    let key = find_key(&input.key_id).ok_or_else(|| RequestError::UnknownKey {
        key_id: input.key_id.clone(),
    })?;
    // Both follow from the key: a header that names another algorithm or key was tampered with.
    if key.algorithm() != input.algorithm || key.key_id() != input.key_id {
        return Err(RequestError::Forged);
    }
    let parameters = parameters(
        input.created_s,
        &input.nonce,
        &input.key_id,
        input.algorithm,
    );
    let base = base_of(request, &headers.content_digest, &parameters);
    if !key.verify(base.as_bytes(), &signature) {
        return Err(RequestError::Forged);
    }
    Ok(Verified {
        key_id: input.key_id,
        created_s: input.created_s,
        nonce: input.nonce,
    })
}

/// The parameters of a signature, as its header states them.
#[derive(Debug, PartialEq, Eq)]
struct SignatureInput {
    created_s: i64,
    nonce: String,
    key_id: String,
    algorithm: Algorithm,
}

/// Reads the one form of `Signature-Input` that [`sign`] writes.
fn parse_signature_input(header: &str) -> Result<SignatureInput, RequestError> {
    fn parse(header: &str) -> Option<SignatureInput> {
        let rest = header.strip_prefix(LABEL)?.strip_prefix(COMPONENTS)?;
        let (created, rest) = rest.strip_prefix(";created=")?.split_once(";nonce=\"")?;
        let (nonce, rest) = rest.split_once("\";keyid=\"")?;
        let (key_id, rest) = rest.split_once("\";alg=\"")?;
        let algorithm = rest.strip_suffix('"')?;
        let is_created = !created.is_empty() && created.bytes().all(|byte| byte.is_ascii_digit());
        let is_key_id = key_id.len() == 16
            && key_id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let created_s = created.parse().ok().filter(|_| is_created)?;
        (is_nonce(nonce) && is_key_id).then_some(SignatureInput {
            created_s,
            nonce: nonce.to_owned(),
            key_id: key_id.to_owned(),
            algorithm: algorithm.parse().ok()?,
        })
    }
    Some(header)
        .filter(|header| header.len() <= HEADER_BYTES_MAX)
        .and_then(parse)
        .ok_or(RequestError::Malformed)
}

fn parse_signature(header: &str) -> Result<Vec<u8>, RequestError> {
    Some(header)
        .filter(|header| header.len() <= HEADER_BYTES_MAX)
        .and_then(|header| header.strip_prefix(LABEL))
        .and_then(|header| header.strip_prefix(':')?.strip_suffix(':'))
        .and_then(from_base64)
        .ok_or(RequestError::Malformed)
}

/// `Content-Digest` of a body (RFC 9530 §2).
fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", base64(&sha256_of(&[body])))
}

fn parameters(created_s: i64, nonce: &str, key_id: &str, algorithm: Algorithm) -> String {
    format!(
        "{COMPONENTS};created={created_s};nonce=\"{nonce}\";keyid=\"{key_id}\";alg=\"{algorithm}\""
    )
}

fn base_of(request: &Request<'_>, content_digest: &str, parameters: &str) -> String {
    // RFC 9421 §2.2.7: the query always has its question mark, even when it is absent.
    let query = format!("?{}", request.query);
    signature_base(
        &[
            ("@method", request.method),
            ("@path", request.path),
            ("@query", &query),
            ("content-digest", content_digest),
            ("kiosk-terminal", request.terminal),
        ],
        parameters,
    )
}

/// The signature base of RFC 9421 §2.5.
fn signature_base(components: &[(&str, &str)], parameters: &str) -> String {
    let mut base = String::new();
    for (name, value) in components {
        writeln!(base, "\"{name}\": {value}").expect("a string takes any text");
    }
    base + "\"@signature-params\": " + parameters
}

/// The part whose characters could make two requests share one signature base.
fn unsignable(request: &Request<'_>) -> Option<&'static str> {
    let parts = [
        ("method", request.method),
        ("path", request.path),
        ("query", request.query),
        ("terminal", request.terminal),
    ];
    parts
        .into_iter()
        .find(|(_, value)| !value.bytes().all(|byte| matches!(byte, b' '..=b'~')))
        .map(|(part, _)| part)
}

fn is_nonce(nonce: &str) -> bool {
    (1..=NONCE_LETTERS_MAX).contains(&nonce.len())
        && nonce
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::from_base64url;

    const REQUEST: Request<'_> = Request {
        method: "POST",
        path: "/v1/batches",
        query: "",
        terminal: "T001",
        body: b"{}",
    };

    fn signed(key: &DeviceKey) -> Headers {
        sign(key, &REQUEST, 1_700_000_000, "bm9uY2U").unwrap()
    }

    fn check(
        key: &DeviceKey,
        request: &Request<'_>,
        headers: &Headers,
    ) -> Result<Verified, RequestError> {
        verify(
            |id| (id == key.public().key_id()).then(|| key.public()),
            request,
            headers,
        )
    }

    #[test]
    fn the_base_agrees_with_rfc_9421() {
        // RFC 9421, B.2.6, with the key of B.1.4.
        let public = from_base64url("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs").unwrap();
        let public = PublicKey::new(Algorithm::Ed25519, &public).unwrap();
        let base = signature_base(
            &[
                ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
                ("@method", "POST"),
                ("@path", "/foo"),
                ("@authority", "example.com"),
                ("content-type", "application/json"),
                ("content-length", "18"),
            ],
            r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
        );
        let signature = from_base64(
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
        )
        .unwrap();
        assert!(public.verify(base.as_bytes(), &signature));
    }

    #[test]
    fn the_digest_agrees_with_rfc_9530() {
        // RFC 9530, B.1.
        assert_eq!(
            content_digest(b"{\"hello\": \"world\"}\n"),
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        );
    }

    #[test]
    fn the_base_is_what_the_profile_says() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let id = key.public().key_id();
        let request = Request {
            query: "wait=50",
            ..REQUEST
        };
        let headers = sign(&key, &request, 1_700_000_000, "bm9uY2U").unwrap();
        let parameters = format!(
            "(\"@method\" \"@path\" \"@query\" \"content-digest\" \"kiosk-terminal\");created=1700000000;nonce=\"bm9uY2U\";keyid=\"{id}\";alg=\"ed25519\""
        );
        assert_eq!(headers.signature_input, format!("sig1={parameters}"));
        assert_eq!(
            headers.content_digest,
            "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"
        );
        let base = format!(
            "\"@method\": POST\n\"@path\": /v1/batches\n\"@query\": ?wait=50\n\"content-digest\": {}\n\"kiosk-terminal\": T001\n\"@signature-params\": {parameters}",
            headers.content_digest
        );
        let signature = parse_signature(&headers.signature).unwrap();
        assert!(key.public().verify(base.as_bytes(), &signature));
    }

    #[test]
    fn a_signature_says_who_and_when() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
            let key = DeviceKey::generate(algorithm).unwrap();
            assert_eq!(
                check(&key, &REQUEST, &signed(&key)).unwrap(),
                Verified {
                    key_id: key.public().key_id(),
                    created_s: 1_700_000_000,
                    nonce: "bm9uY2U".to_owned()
                }
            );
        }
    }

    #[test]
    fn another_request_does_not_pass_under_the_same_signature() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let headers = signed(&key);
        for request in [
            Request {
                method: "PUT",
                ..REQUEST
            },
            Request {
                path: "/v1/batches/",
                ..REQUEST
            },
            Request {
                query: "x",
                ..REQUEST
            },
            Request {
                terminal: "T002",
                ..REQUEST
            },
            Request {
                terminal: "T001\n",
                ..REQUEST
            },
        ] {
            assert!(check(&key, &request, &headers).is_err(), "{request:?}");
        }
        let other_body = Request {
            body: b"[]",
            ..REQUEST
        };
        assert_eq!(
            check(&key, &other_body, &headers),
            Err(RequestError::OtherBody)
        );
        // Nor when the attacker brings the digest of the other body along.
        let headers = Headers {
            content_digest: content_digest(b"[]"),
            ..headers
        };
        assert_eq!(
            check(&key, &other_body, &headers),
            Err(RequestError::Forged)
        );
    }

    #[test]
    fn every_altered_byte_of_a_header_is_refused() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let headers = signed(&key);
        let alter = |text: &str, index: usize| {
            let mut bytes = text.to_owned().into_bytes();
            bytes[index] ^= 1;
            String::from_utf8(bytes).unwrap()
        };
        for index in 0..headers.signature_input.len() {
            let mut altered = headers.clone();
            altered.signature_input = alter(&headers.signature_input, index);
            assert!(check(&key, &REQUEST, &altered).is_err(), "{index}");
            altered.signature_input = headers.signature_input[..index].to_owned();
            assert!(check(&key, &REQUEST, &altered).is_err(), "{index}");
        }
        for index in 0..headers.signature.len() {
            let mut altered = headers.clone();
            altered.signature = alter(&headers.signature, index);
            assert!(check(&key, &REQUEST, &altered).is_err(), "{index}");
            altered.signature = headers.signature[..index].to_owned();
            assert!(check(&key, &REQUEST, &altered).is_err(), "{index}");
        }
        for index in 0..headers.content_digest.len() {
            let mut altered = headers.clone();
            altered.content_digest = alter(&headers.content_digest, index);
            assert!(check(&key, &REQUEST, &altered).is_err(), "{index}");
        }
    }

    #[test]
    fn strangers_and_strange_headers_are_refused() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let headers = signed(&key);
        let error = verify(|_| None, &REQUEST, &headers).unwrap_err();
        assert_eq!(error.code(), "signature.unknown-key");
        // A key store that answers with another key than was asked for.
        let other = DeviceKey::generate(Algorithm::Ed25519).unwrap().public();
        assert_eq!(
            verify(|_| Some(other), &REQUEST, &headers),
            Err(RequestError::Forged)
        );
        for input in [
            String::new(),
            "sig1=()".to_owned(),
            headers.signature_input.replace("created=1", "created=+1"),
            headers.signature_input.replace("created=1", "created=-1"),
            headers
                .signature_input
                .replace("created=1", "created=99999999999999999999"),
            headers.signature_input.replace("ed25519", "hmac-sha256"),
            headers.signature_input.clone() + ";tag=\"x\"",
            headers.signature_input.clone() + &" ".repeat(1_000_000),
        ] {
            let altered = Headers {
                signature_input: input,
                ..headers.clone()
            };
            assert_eq!(
                check(&key, &REQUEST, &altered),
                Err(RequestError::Malformed)
            );
        }
    }

    #[test]
    fn what_would_be_ambiguous_is_not_signed() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let request = Request {
            terminal: "T001\n\"@path\": /other",
            ..REQUEST
        };
        let error = sign(&key, &request, 0, "bm9uY2U").unwrap_err();
        assert_eq!(error.code(), "key.unsignable");
        assert!(sign(&key, &REQUEST, 0, "\"").is_err());
        assert!(sign(&key, &REQUEST, -1, "bm9uY2U").is_err());
        assert!(sign(&key, &REQUEST, 0, "").is_err());
    }
}
