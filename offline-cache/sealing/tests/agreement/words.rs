//! Words of staff and of terminals as the first version wrote them are still believed.

use std::collections::BTreeSet;

use kiosk_sealing::unlock::{self, Challenge, Delegation, Expected, Grant, Role, Scope};
use kiosk_sealing::{PublicKey, certificate};
use uuid::Uuid;

/// One of each, as the first version of this program wrote it.
const WRITTEN: &str = include_str!("words-v1.txt");
const NOW_S: i64 = 1_795_311_660;

fn written(name: &str) -> &'static str {
    WRITTEN
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap()
}

fn grant(text: &str, operator: &PublicKey) -> Grant {
    let challenge = Challenge::parse(written("challenge")).unwrap();
    assert_eq!((challenge.boot, challenge.counter), (3, 14));
    let expected = Expected {
        challenge: &challenge,
        operators: std::slice::from_ref(operator),
        now_s: NOW_S,
    };
    unlock::verify(text, &expected).unwrap()
}

#[test]
fn permissions_of_the_first_version_are_believed() {
    for algorithm in ["ed25519", "ecdsa-p256-sha256", "sm2-sm3"] {
        let operator: PublicKey = written(&format!("{algorithm} key")).parse().unwrap();
        for kind in ["permission", "delegated"] {
            let grant = grant(written(&format!("{algorithm} {kind}")), &operator);
            assert_eq!(grant.id, Uuid::from_u128(7));
            assert_eq!(grant.terminal, "T001");
            assert_eq!(grant.person, "technician-1");
            assert_eq!(grant.role, Role::Technician);
            assert_eq!(grant.scopes, BTreeSet::from([Scope::Help, Scope::Test]));
            assert_eq!((grant.minutes, grant.issued_at_s), (60, NOW_S - 30));
            assert!(grant.pin.matches("402917"));
        }
        let text = written(&format!("{algorithm} delegation"));
        let delegation = Delegation::verify(text, &[operator]).unwrap();
        assert_eq!(delegation.terminals, ["T00*"]);
        assert_eq!(delegation.minutes_max, 120);
    }
}

#[test]
fn certificates_of_the_first_version_are_believed() {
    for algorithm in ["ed25519", "ecdsa-p256-sha256", "sm2-sm3"] {
        let key: PublicKey = written(&format!("{algorithm} key")).parse().unwrap();
        let text = written(&format!("{algorithm} certificate"));
        let readiness = certificate::verify(text, |_, _| Some(key), NOW_S).unwrap();
        assert_eq!(readiness.terminal, "T001");
        assert_eq!(readiness.site, "测试村");
        assert_eq!(readiness.program_digest, [1; 32]);
        assert_eq!(readiness.report_digest, [4; 32]);
        assert_eq!((readiness.passed, readiness.failed), (21, 1));
        assert_eq!(readiness.open_faults, ["printer.media-empty"]);
        assert!(!readiness.is_ready);
    }
}
