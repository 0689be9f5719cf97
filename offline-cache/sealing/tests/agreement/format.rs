//! Formats do not change: what an earlier program sealed, signed or carried out is still read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiosk_sealing::{PublicKey, RecipientSecret, bundle, open, payload_context, signed};
use uuid::Uuid;

/// One of each, as the first version of this program wrote it.
const WRITTEN: &str = include_str!("written-v1.txt");

fn written(name: &str) -> &'static str {
    WRITTEN
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap()
}

#[test]
fn envelopes_of_the_first_version_open() {
    let context = payload_context("T001", Uuid::from_u128(7));
    for suite in ["intl", "gm"] {
        let secret: RecipientSecret = written(&format!("{suite}-secret")).parse().unwrap();
        let envelope = STANDARD
            .decode(written(&format!("{suite}-envelope")))
            .unwrap();
        let plain = open(&[secret], &context, &envelope).unwrap();
        assert_eq!(plain.as_slice(), "测试一".as_bytes());
    }
}

#[test]
fn texts_and_bundles_of_the_first_version_are_believed() {
    for algorithm in ["ed25519", "ecdsa-p256-sha256", "sm2-sm3"] {
        let key: PublicKey = written(&format!("{algorithm}-key")).parse().unwrap();
        let text = written(&format!("{algorithm}-command"));
        let body = signed::verify(std::slice::from_ref(&key), signed::COMMAND, text, 100).unwrap();
        assert_eq!(body, b"{\"kind\":\"lock\"}");
        let bytes = STANDARD
            .decode(written(&format!("{algorithm}-bundle")))
            .unwrap();
        let verified = bundle::verify(bytes.as_slice(), |_, _| Some(key)).unwrap();
        assert_eq!(verified.manifest.terminal, "T001");
        assert_eq!(verified.manifest.transactions, 1);
    }
}
