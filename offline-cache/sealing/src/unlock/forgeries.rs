//! Permissions, certificates of keys and lists of revocations that somebody made up, altered, kept or
//! mixed: each kind by its name, refused by its own code. The other half, what is let in, stands at the top.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::*;
use crate::certificate::{self, Readiness};
use crate::{Algorithm, DeviceKey};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2];
const NOW_S: i64 = 1_795_311_660;
const DAY_S: i64 = 24 * 3600;
const PERMISSION: &str = "kiosk.unlock.v1";
const CERTIFICATE: &str = "kiosk.delegation.v1";
const REVOCATIONS: &str = "kiosk.revocations.v1";

/// A terminal that shows a challenge, an operator it knows, and a technician with an own key.
struct World {
    challenge: Challenge,
    operator: DeviceKey,
    own: DeviceKey,
    pin: PinVerifier,
}

impl World {
    fn new() -> Self {
        Self::with(Algorithm::Ed25519, Algorithm::Ed25519)
    }

    fn with(operator: Algorithm, own: Algorithm) -> Self {
        // What is kept of the PIN plays no part here; making it takes its time.
        let pin = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA";
        Self {
            challenge: Challenge {
                terminal: "T001".to_owned(),
                nonce: [7; 16],
                boot: 3,
                counter: 14,
            },
            operator: DeviceKey::generate(operator).unwrap(),
            own: DeviceKey::generate(own).unwrap(),
            pin: pin.parse().unwrap(),
        }
    }

    fn grant(&self) -> Grant {
        Grant {
            id: Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001),
            terminal: "T001".to_owned(),
            nonce: [7; 16],
            person: "technician-1".to_owned(),
            role: Role::Technician,
            scopes: BTreeSet::from([Scope::Help, Scope::Test]),
            minutes: 60,
            issued_at_s: NOW_S - 30,
            pin: self.pin.clone(),
        }
    }

    fn delegation(&self) -> Delegation {
        Delegation {
            person: "technician-1".to_owned(),
            role: Role::Technician,
            scopes: BTreeSet::from([Scope::Help, Scope::Test, Scope::Mend]),
            key: self.own.public(),
            terminals: vec!["T00*".to_owned()],
            minutes_max: 120,
            not_before_s: NOW_S - DAY_S,
            not_after_s: NOW_S + 13 * DAY_S,
            pin: self.pin.clone(),
        }
    }

    fn certificate(&self) -> String {
        self.delegation().sign(&self.operator).unwrap()
    }

    fn at(&self, text: &str, now_s: i64) -> Result<Grant, UnlockError> {
        let expected = Expected {
            challenge: &self.challenge,
            operators: &[self.operator.public()],
            now_s,
        };
        verify(text, &expected)
    }

    fn code(&self, text: &str) -> &'static str {
        self.at(text, NOW_S).unwrap_err().code()
    }

    /// The code for a delegated permission whose grant and certificate are as the caller says, both
    /// signed by keys that sign anything.
    fn delegated(
        &self,
        grant: impl FnOnce(&mut Grant),
        delegation: impl FnOnce(&mut Delegation),
    ) -> &'static str {
        let (mut claimed, mut given) = (self.grant(), self.delegation());
        grant(&mut claimed);
        delegation(&mut given);
        let certificate = given.sign(&self.operator).unwrap();
        let bytes = Delegation::bytes(&certificate).unwrap();
        let text = self.permission(&self.own, &claimed, Some(&bytes));
        self.at(&text, NOW_S)
            .map_or_else(|error| error.code(), |_| "let in")
    }

    /// A permission of whoever signs without looking.
    fn permission(&self, key: &DeviceKey, grant: &Grant, delegation: Option<&[u8]>) -> String {
        let pin = delegation.is_none().then_some(&self.pin);
        let payload = grant.payload(pin);
        cose::to_text(
            "KU1:",
            &cose::sign(key, PERMISSION, &payload, delegation).unwrap(),
        )
    }
}

/// The text with something done to its bytes.
fn altered(text: &str, alter: impl FnOnce(&mut Vec<u8>)) -> String {
    let (prefix, _) = text.split_at(4);
    let prefix = ["KU1:", "KD1:", "KV1:"]
        .into_iter()
        .find(|known| *known == prefix)
        .unwrap();
    let mut bytes = cose::from_text(prefix, text).unwrap();
    alter(&mut bytes);
    cose::to_text(prefix, &bytes)
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn a_permission_of_an_operator_lets_in() {
    for algorithm in ALGORITHMS {
        let world = World::with(algorithm, Algorithm::Ed25519);
        let text = world.grant().sign(&world.operator).unwrap();
        assert!(text.starts_with("KU1:") && text.len() < 360, "{text}");
        assert_eq!(world.at(&text, NOW_S).unwrap(), world.grant());
        let scanned = format!("{text}\r\n");
        assert_eq!(world.at(&scanned, NOW_S).unwrap(), world.grant());
    }
}

#[test]
fn a_permission_of_a_delegated_key_lets_in_with_the_pin_of_its_certificate() {
    for operator in ALGORITHMS {
        for own in ALGORITHMS {
            let world = World::with(operator, own);
            let mut grant = world.grant();
            grant.pin =
                "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$BBBBBBBBBBBBBBBBBBBBBA"
                    .parse()
                    .unwrap();
            let text = grant
                .sign_delegated(&world.own, &world.certificate())
                .unwrap();
            assert!(text.len() < 800, "{}", text.len());
            assert_eq!(world.at(&text, NOW_S).unwrap(), world.grant());
        }
    }
}

#[test]
fn the_largest_permission_is_a_text_that_is_looked_at() {
    let world = World::with(Algorithm::Sm2, Algorithm::Sm2);
    let mut delegation = world.delegation();
    delegation.person = "p".repeat(PERSON_BYTES_MAX);
    delegation.scopes = Role::Technician.scopes();
    delegation.terminals = (0..TERMINALS_MAX)
        .map(|number| format!("{number}{}", "T".repeat(31)))
        .collect();
    delegation.minutes_max = MINUTES_MAX;
    delegation.not_before_s = i64::MAX - DAY_S;
    delegation.not_after_s = i64::MAX;
    let mut grant = world.grant();
    grant.person = delegation.person.clone();
    grant.terminal = delegation.terminals[0].clone();
    grant.scopes = delegation.scopes.clone();
    grant.minutes = MINUTES_MAX;
    grant.issued_at_s = i64::MAX;
    let certificate = delegation.sign(&world.operator).unwrap();
    let text = grant.sign_delegated(&world.own, &certificate).unwrap();
    assert!(text.len() <= TEXT_BYTES_MAX - 100, "{}", text.len());
    let challenge = Challenge {
        terminal: grant.terminal.clone(),
        ..world.challenge
    };
    let expected = Expected {
        challenge: &challenge,
        operators: &[world.operator.public()],
        now_s: i64::MAX,
    };
    assert_eq!(verify(&text, &expected).unwrap(), grant);
}

#[test]
fn replayed_at_a_later_challenge() {
    let mut world = World::new();
    let text = world.grant().sign(&world.operator).unwrap();
    world.challenge.nonce = [8; 16];
    world.challenge.counter += 1;
    assert_eq!(world.code(&text), "unlock.not-this-challenge");
}

#[test]
fn another_terminal() {
    let mut world = World::new();
    let text = world.grant().sign(&world.operator).unwrap();
    world.challenge.terminal = "T002".to_owned();
    assert_eq!(world.code(&text), "unlock.other-terminal");
}

#[test]
fn foreign_operator() {
    let world = World::new();
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let text = world.grant().sign(&stranger).unwrap();
    assert_eq!(world.code(&text), "unlock.unknown-signer");
    let certificate = world.delegation().sign(&stranger).unwrap();
    let text = world
        .grant()
        .sign_delegated(&world.own, &certificate)
        .unwrap();
    assert_eq!(world.code(&text), "unlock.unknown-signer");
    // A technician's key without its certificate is a foreign one too.
    let text = world.grant().sign(&world.own).unwrap();
    assert_eq!(world.code(&text), "unlock.unknown-signer");
}

#[test]
fn key_id_swapped() {
    let world = World::new();
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let text = world.grant().sign(&stranger).unwrap();
    let text = altered(&text, |bytes| {
        replace(
            bytes,
            &stranger.public().key_id_bytes(),
            &world.operator.public().key_id_bytes(),
        );
    });
    assert_eq!(world.code(&text), "unlock.forged");
}

#[test]
fn algorithm_swapped_in_the_header() {
    for (algorithm, from, to) in [
        (Algorithm::Ed25519, 0x27, 0x26),
        (Algorithm::EcdsaP256, 0x26, 0x27),
    ] {
        let world = World::with(algorithm, Algorithm::Ed25519);
        let text = world.grant().sign(&world.operator).unwrap();
        let text = altered(&text, |bytes| replace(bytes, &[1, from, 4], &[1, to, 4]));
        let error = world.at(&text, NOW_S).unwrap_err();
        assert!(matches!(error, UnlockError::OtherAlgorithm), "{error}");
        assert_eq!(error.code(), "unlock.forged");
    }
}

#[test]
fn altered_scope_minutes_person_and_role() {
    let world = World::new();
    let text = world.grant().sign(&world.operator).unwrap();
    let alterations: [(&[u8], &[u8]); 4] = [
        (&[6, 0x82, 1, 4], &[6, 0x82, 1, 5]),
        (&[7, 0x18, 60], &[7, 0x18, 240]),
        (b"technician-1", b"technician-2"),
        (&[5, 2, 6], &[5, 4, 6]),
    ];
    for (from, to) in alterations {
        let text = altered(&text, |bytes| replace(bytes, from, to));
        assert_eq!(world.code(&text), "unlock.forged", "{to:?}");
    }
}

#[test]
fn every_altered_bit_of_both_signed_words() {
    let world = World::new();
    let text = world
        .grant()
        .sign_delegated(&world.own, &world.certificate())
        .unwrap();
    let bytes = cose::from_text("KU1:", &text).unwrap();
    for index in 0..bytes.len() {
        for bit in [1, 0x10, 0x80] {
            let text = altered(&text, |bytes| bytes[index] ^= bit);
            assert!(world.at(&text, NOW_S).is_err(), "{index} {bit}");
        }
    }
}

#[test]
fn truncated() {
    let world = World::new();
    for text in [
        world.grant().sign(&world.operator).unwrap(),
        world
            .grant()
            .sign_delegated(&world.own, &world.certificate())
            .unwrap(),
    ] {
        for index in 0..text.len() {
            assert_eq!(world.code(&text[..index]), "unlock.malformed", "{index}");
        }
    }
}

#[test]
fn oversized() {
    let world = World::new();
    for text in [
        "KU1:".repeat(100_000),
        format!("KU1:{}", "0".repeat(TEXT_BYTES_MAX)),
        " ".repeat(TEXT_BYTES_MAX + 1),
    ] {
        assert_eq!(world.code(&text), "unlock.too-long");
        assert!(Delegation::verify(&text, &[]).is_err());
    }
}

#[test]
fn trailing_bytes() {
    let world = World::new();
    let text = world.grant().sign(&world.operator).unwrap();
    for tail in [&[0][..], &[0xa0], &[0; 64]] {
        let text = altered(&text, |bytes| bytes.extend(tail));
        let error = world.at(&text, NOW_S).unwrap_err();
        assert!(
            matches!(error, UnlockError::Malformed(FormatError::TrailingBytes)),
            "{error}"
        );
    }
    // Inside of the signature, where only the signer can put them.
    let payload = [world.grant().payload(Some(&world.pin)), vec![0]].concat();
    let bytes = cose::sign(&world.operator, PERMISSION, &payload, None).unwrap();
    assert_eq!(
        world.code(&cose::to_text("KU1:", &bytes)),
        "unlock.malformed"
    );
}

#[test]
fn duplicate_keys_and_other_forms_of_the_same_value() {
    let world = World::new();
    let payload = world.grant().payload(Some(&world.pin));
    assert_eq!(payload[0], 0xa9);
    let minutes = payload
        .windows(3)
        .position(|window| window == [7, 0x18, 60])
        .unwrap();
    let (before, after) = (&payload[1..minutes], &payload[minutes + 3..]);
    let without_pin = &payload[1..payload.len() - 37];
    assert_eq!(payload[payload.len() - 37], 9);
    for (payload, expected) in [
        // The second one counts for whoever takes the last, the first for whoever takes the first.
        (
            [&[0xaa][..], before, &[7, 1, 7, 0x18, 60], after].concat(),
            FormatError::UnknownField,
        ),
        (
            [&[0xa9][..], before, &[7, 1, 7, 0x18, 60], after].concat(),
            FormatError::DuplicateKey,
        ),
        (
            [&[0xa9][..], before, &[7, 0x19, 0, 60], after].concat(),
            FormatError::NotShortest,
        ),
        (
            [&[0xbf][..], &payload[1..], &[0xff]].concat(),
            FormatError::IndefiniteLength,
        ),
        (
            [&[0xa8][..], before, after].concat(),
            FormatError::MissingField { field: "minutes" },
        ),
        (
            [&[0xa8][..], without_pin].concat(),
            FormatError::MissingField { field: "PIN" },
        ),
        (
            [&[0xa9][..], before, &[7, 0], after].concat(),
            FormatError::OutOfRange { field: "minutes" },
        ),
    ] {
        let bytes = cose::sign(&world.operator, PERMISSION, &payload, None).unwrap();
        let error = world.at(&cose::to_text("KU1:", &bytes), NOW_S).unwrap_err();
        assert!(
            matches!(&error, UnlockError::Malformed(found) if *found == expected),
            "{error}"
        );
    }
}

#[test]
fn expired_permission() {
    let world = World::new();
    let text = world.grant().sign(&world.operator).unwrap();
    let until_s = world.grant().issued_at_s + PRESENT_S_MAX;
    assert!(world.at(&text, until_s).is_ok());
    let error = world.at(&text, until_s + 1).unwrap_err();
    assert_eq!(error.code(), "unlock.expired");
}

#[test]
fn a_clock_that_is_wrong_by_years_does_not_lock_the_technician_out() {
    let world = World::new();
    let year_s = 365 * DAY_S;
    // Behind: the nonce proves that the permission is new.
    let text = world.grant().sign(&world.operator).unwrap();
    assert!(world.at(&text, NOW_S - 20 * year_s).is_ok());
    // Ahead: only the operator can say that the clock does not count.
    let error = world.at(&text, NOW_S + 20 * year_s).unwrap_err();
    assert_eq!(error.code(), "unlock.expired");
    let mut grant = world.grant();
    grant.issued_at_s = AT_ANY_TIME;
    let text = grant.sign(&world.operator).unwrap();
    assert!(world.at(&text, NOW_S + 20 * year_s).is_ok());
    assert!(
        grant
            .sign_delegated(&world.own, &world.certificate())
            .is_err()
    );
    assert_eq!(
        world.delegated(|grant| grant.issued_at_s = AT_ANY_TIME, |_| ()),
        "unlock.too-much"
    );
}

#[test]
fn expired_and_not_yet_valid_certificate() {
    let world = World::new();
    let text = world
        .grant()
        .sign_delegated(&world.own, &world.certificate())
        .unwrap();
    let Delegation {
        not_before_s,
        not_after_s,
        ..
    } = world.delegation();
    let code = |now_s| world.at(&text, now_s).map_err(|error| error.code());
    assert_eq!(code(not_before_s - 1), Err("unlock.not-yet-valid"));
    assert!(code(not_before_s).is_ok());
    assert_eq!(code(not_after_s + 1), Err("unlock.expired"));
    // A laptop whose clock was set back so that the certificate still holds.
    assert_eq!(
        world.delegated(
            |_| (),
            |delegation| {
                delegation.not_before_s -= 30 * DAY_S;
                delegation.not_after_s = NOW_S - 1;
            }
        ),
        "unlock.expired"
    );
}

#[test]
fn a_certificate_for_longer_than_a_month() {
    let world = World::new();
    let mut delegation = world.delegation();
    delegation.not_after_s = delegation.not_before_s + 31 * DAY_S;
    delegation.sign(&world.operator).unwrap();
    delegation.not_after_s += 1;
    let error = delegation.sign(&world.operator).unwrap_err();
    assert_eq!(error.code(), "unlock.malformed");
}

#[test]
fn more_than_the_certificate_allows() {
    let world = World::new();
    assert_eq!(world.delegated(|_| (), |_| ()), "let in");
    let wider = |scope| BTreeSet::from([Scope::Help, scope]);
    for code in [
        world.delegated(|grant| grant.scopes = wider(Scope::Queue), |_| ()),
        world.delegated(|grant| grant.scopes = wider(Scope::Configure), |_| ()),
        world.delegated(|grant| grant.minutes = 121, |_| ()),
        world.delegated(|grant| grant.person = "technician-2".to_owned(), |_| ()),
        world.delegated(|grant| grant.role = Role::Vendor, |_| ()),
        world.delegated(|grant| grant.issued_at_s = NOW_S - 2 * DAY_S, |_| ()),
        world.delegated(
            |_| (),
            |delegation| delegation.terminals = vec!["T002".to_owned(), "T1*".to_owned()],
        ),
    ] {
        assert_eq!(code, "unlock.too-much");
    }
    // Whoever signs in good faith is told at once.
    let mut grant = world.grant();
    grant.minutes = 121;
    let error = grant
        .sign_delegated(&world.own, &world.certificate())
        .unwrap_err();
    assert!(matches!(
        error,
        UnlockError::TooMuch {
            what: Excess::Minutes
        }
    ));
}

#[test]
fn a_permission_wider_than_its_role() {
    let world = World::new();
    let mut grant = world.grant();
    grant.role = Role::Inspector;
    grant.scopes = BTreeSet::from([Scope::Evidence, Scope::Queue, Scope::Configure]);
    let error = grant.sign(&world.operator).unwrap_err();
    assert_eq!(error.code(), "unlock.too-much");
    // Signed all the same, it is narrowed.
    let text = world.permission(&world.operator, &grant, None);
    let scopes = world.at(&text, NOW_S).unwrap().scopes;
    assert_eq!(scopes, BTreeSet::from([Scope::Evidence]));
    grant.scopes = BTreeSet::from([Scope::Queue]);
    let text = world.permission(&world.operator, &grant, None);
    assert_eq!(world.code(&text), "unlock.too-much");
}

#[test]
fn a_scope_of_a_newer_program_is_left_out() {
    let world = World::new();
    let payload = world.grant().payload(Some(&world.pin));
    let at = payload
        .windows(4)
        .position(|window| window == [6, 0x82, 1, 4])
        .unwrap();
    let mut newer = payload.clone();
    newer[at + 3] = 23;
    let bytes = cose::sign(&world.operator, PERMISSION, &newer, None).unwrap();
    let grant = world.at(&cose::to_text("KU1:", &bytes), NOW_S).unwrap();
    assert_eq!(grant.scopes, BTreeSet::from([Scope::Help]));
}

#[test]
fn a_certificate_of_another_key_than_the_one_that_signs() {
    let world = World::new();
    let thief = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let error = world
        .grant()
        .sign_delegated(&thief, &world.certificate())
        .unwrap_err();
    assert_eq!(error.code(), "unlock.unknown-signer");
    let certificate = Delegation::bytes(&world.certificate()).unwrap();
    let text = world.permission(&thief, &world.grant(), Some(&certificate));
    assert_eq!(world.code(&text), "unlock.unknown-signer");
}

#[test]
fn a_wider_certificate_put_in_the_place_of_the_one_that_was_signed_with() {
    let world = World::new();
    let text = world
        .grant()
        .sign_delegated(&world.own, &world.certificate())
        .unwrap();
    let mut wider = world.delegation();
    wider.minutes_max = 121;
    let wider = Delegation::bytes(&wider.sign(&world.operator).unwrap()).unwrap();
    let narrow = Delegation::bytes(&world.certificate()).unwrap();
    assert_eq!(wider.len(), narrow.len());
    let text = altered(&text, |bytes| replace(bytes, &narrow, &wider));
    assert_eq!(world.code(&text), "unlock.forged");
}

#[test]
fn delegation_of_a_delegation() {
    let world = World::new();
    let friend = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let mut second = world.delegation();
    second.key = friend.public();
    // Signed by the technician's key, which certifies nobody.
    let text = second.sign(&world.own).unwrap();
    let bytes = Delegation::bytes(&text).unwrap();
    let permission = world.permission(&friend, &world.grant(), Some(&bytes));
    assert_eq!(world.code(&permission), "unlock.unknown-signer");
    // With the first certificate carried inside of the second.
    let first = Delegation::bytes(&world.certificate()).unwrap();
    let payload = {
        let bytes = Delegation::bytes(&text).unwrap();
        Message::parse(&bytes).unwrap().payload.to_vec()
    };
    let nested = cose::sign(&world.own, CERTIFICATE, &payload, Some(&first)).unwrap();
    let permission = world.permission(&friend, &world.grant(), Some(&nested));
    assert_eq!(world.code(&permission), "unlock.malformed");
    assert!(Delegation::parse(&cose::to_text("KD1:", &nested)).is_err());
}

#[test]
fn a_delegated_permission_that_brings_its_own_pin() {
    let world = World::new();
    let certificate = Delegation::bytes(&world.certificate()).unwrap();
    let payload = world.grant().payload(Some(&world.pin));
    let bytes = cose::sign(&world.own, PERMISSION, &payload, Some(&certificate)).unwrap();
    assert_eq!(
        world.code(&cose::to_text("KU1:", &bytes)),
        "unlock.malformed"
    );
}

#[test]
fn a_word_of_another_kind() {
    let world = World::new();
    let readiness = Readiness {
        terminal: "T001".to_owned(),
        site: String::new(),
        issued_at_s: NOW_S,
        valid_until_s: NOW_S + DAY_S,
        program: "0.1.0".to_owned(),
        program_digest: [0; 32],
        configuration_digest: [0; 32],
        items_digest: [0; 32],
        report_digest: [0; 32],
        passed: 0,
        failed: 0,
        not_run: 0,
        open_faults: Vec::new(),
        audit_sequence: 0,
        audit_head: [0; 32],
        is_ready: true,
    };
    let permission = world.grant().sign(&world.operator).unwrap();
    let words = [
        permission.clone(),
        world.certificate(),
        readiness.sign(&world.operator).unwrap(),
        world.challenge.to_text(),
    ];
    for word in &words[1..] {
        assert_eq!(world.code(word), "unlock.malformed");
        let renamed = format!("KU1:{}", &word[4..]);
        assert_eq!(world.code(&renamed), "unlock.malformed");
    }
    for (index, word) in words.iter().enumerate() {
        let operators = [world.operator.public()];
        let renamed = format!("KD1:{}", &word[4..]);
        assert_eq!(Delegation::verify(&renamed, &operators).is_ok(), index == 1);
        let renamed = format!("KR1:{}", &word[4..]);
        let find = |_: &str, _: &str| Some(world.operator.public());
        assert_eq!(
            certificate::verify(&renamed, find, NOW_S).is_ok(),
            index == 2
        );
    }
    // The same fields, signed for another purpose.
    for domain in [CERTIFICATE, "kiosk.readiness.v1", "kiosk.command.v1", ""] {
        let payload = world.grant().payload(Some(&world.pin));
        let bytes = cose::sign(&world.operator, domain, &payload, None).unwrap();
        assert_eq!(world.code(&cose::to_text("KU1:", &bytes)), "unlock.forged");
    }
    let payload = Message::parse(&Delegation::bytes(&world.certificate()).unwrap())
        .unwrap()
        .payload
        .to_vec();
    let bytes = cose::sign(&world.operator, PERMISSION, &payload, None).unwrap();
    let error =
        Delegation::verify(&cose::to_text("KD1:", &bytes), &[world.operator.public()]).unwrap_err();
    assert_eq!(error.code(), "unlock.forged");
}

#[test]
fn fields_out_of_their_bounds_are_neither_signed_nor_read() {
    let world = World::new();
    let changes: [fn(&mut Grant); 8] = [
        |grant| grant.terminal = String::new(),
        |grant| grant.terminal = "T".repeat(33),
        |grant| grant.terminal = "T 1".to_owned(),
        |grant| grant.person = String::new(),
        |grant| grant.person = "p".repeat(65),
        |grant| grant.person = "a\nb".to_owned(),
        |grant| grant.minutes = 0,
        |grant| grant.minutes = 481,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut grant = world.grant();
        change(&mut grant);
        let error = grant.sign(&world.operator).unwrap_err();
        assert_eq!(error.code(), "unlock.malformed", "{index}");
        let text = world.permission(&world.operator, &grant, None);
        assert_eq!(world.code(&text), "unlock.malformed", "{index}");
    }
    let changes: [fn(&mut Delegation); 5] = [
        |delegation| delegation.terminals.clear(),
        |delegation| delegation.terminals = vec!["T*".to_owned(); 9],
        |delegation| delegation.terminals = vec!["T*1".to_owned()],
        |delegation| delegation.minutes_max = 0,
        |delegation| delegation.not_after_s = delegation.not_before_s,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut delegation = world.delegation();
        change(&mut delegation);
        let error = delegation.sign(&world.operator).unwrap_err();
        assert_eq!(error.code(), "unlock.malformed", "{index}");
    }
}

#[test]
fn no_error_and_no_debug_shows_what_is_kept_of_a_pin() {
    let world = World::new();
    let shown = format!("{:?}{:?}", world.grant(), world.delegation());
    assert!(shown.contains("<redacted>") && !shown.contains("c2Fsd"));
    assert!(!shown.contains("115, 97, 108, 116"));
}

/// A list with one entry of each kind, none of which concerns the world.
fn list() -> Revocations {
    Revocations {
        number: 7,
        issued_at_s: NOW_S,
        delegations: BTreeSet::from(["00112233445566aa".parse().unwrap()]),
        people: BTreeSet::from([RevokedId::of_person("technician-9")]),
        keys: BTreeSet::from(["ffeeddccbbaa9988".parse().unwrap()]),
    }
}

impl World {
    /// What a terminal says of a list when it holds the other one.
    fn list(&self, text: &str, held: &Revocations) -> Result<Revocations, UnlockError> {
        Revocations::verify(text, &[self.operator.public()], held)
    }

    fn list_code(&self, text: &str) -> &'static str {
        self.list(text, &Revocations::default()).unwrap_err().code()
    }

    /// What a terminal that holds the list says of a permission.
    fn against(&self, text: &str, list: &Revocations) -> Result<Grant, UnlockError> {
        let expected = Expected {
            challenge: &self.challenge,
            operators: &[self.operator.public()],
            now_s: NOW_S,
        };
        verify_unrevoked(text, &expected, list)
    }

    /// A text of a list that is signed, whatever it holds.
    fn signed_list(&self, domain: &str, payload: &[u8]) -> String {
        let bytes = cose::sign(&self.operator, domain, payload, None).unwrap();
        cose::to_text("KV1:", &bytes)
    }
}

#[test]
fn a_list_of_an_operator_is_believed_and_lets_in_whom_it_does_not_name() {
    for algorithm in ALGORITHMS {
        let world = World::with(algorithm, Algorithm::Ed25519);
        let text = list().sign(&world.operator).unwrap();
        assert!(text.starts_with("KV1:") && text.len() < 240, "{text}");
        let none = Revocations::default();
        assert_eq!(world.list(&text, &none).unwrap(), list());
        assert_eq!(world.list(&format!(" {text}\r\n"), &none).unwrap(), list());
        assert_eq!(Revocations::parse(&text).unwrap(), list());
        for permission in [
            world.grant().sign(&world.operator).unwrap(),
            world
                .grant()
                .sign_delegated(&world.own, &world.certificate())
                .unwrap(),
        ] {
            assert_eq!(world.against(&permission, &list()).unwrap(), world.grant());
        }
    }
}

#[test]
fn what_is_revoked_opens_nothing_before_its_date() {
    let world = World::new();
    let direct = world.grant().sign(&world.operator).unwrap();
    let certificate = world.certificate();
    let delegated = world
        .grant()
        .sign_delegated(&world.own, &certificate)
        .unwrap();
    let mut person = list();
    person.people.insert(RevokedId::of_person("technician-1"));
    let mut delegation = list();
    delegation
        .delegations
        .insert(Delegation::id(&certificate).unwrap());
    let mut own_key = list();
    own_key.keys.insert(RevokedId::of_key(&world.own.public()));
    let mut operator = list();
    operator
        .keys
        .insert(RevokedId::of_key(&world.operator.public()));
    for (list, what, direct_too) in [
        (person, Revoked::Person, true),
        (delegation, Revoked::Delegation, false),
        (own_key, Revoked::Key, false),
        (operator, Revoked::Key, true),
    ] {
        let error = world.against(&delegated, &list).unwrap_err();
        assert_eq!(error.code(), "unlock.revoked");
        assert!(matches!(error, UnlockError::Revoked { what: found } if found == what));
        let direct = world.against(&direct, &list).map_err(|error| error.code());
        assert_eq!(direct.is_err(), direct_too, "{what}");
        if direct_too {
            assert_eq!(direct, Err("unlock.revoked"));
        }
    }
    // An altered permission is forged, whoever it names: a list is no way to ask who is on it.
    let mut person = list();
    person.people.insert(RevokedId::of_person("technician-2"));
    let altered = altered(&direct, |bytes| {
        replace(bytes, b"technician-1", b"technician-2");
    });
    let error = world.against(&altered, &person).unwrap_err();
    assert_eq!(error.code(), "unlock.forged");
}

#[test]
fn a_certificate_that_is_signed_again_stays_revoked_and_a_changed_one_is_another() {
    let world = World::new();
    let again = World::with(Algorithm::EcdsaP256, Algorithm::Ed25519);
    let text = world.certificate();
    let signed_again = world.delegation().sign(&again.operator).unwrap();
    assert_ne!(text, signed_again);
    let id = Delegation::id(&text).unwrap();
    assert_eq!(Delegation::id(&signed_again).unwrap(), id);
    let mut other = world.delegation();
    other.minutes_max += 1;
    let other = other.sign(&world.operator).unwrap();
    assert_ne!(Delegation::id(&other).unwrap(), id);
    assert!(Delegation::id(&world.challenge.to_text()).is_err());
}

#[test]
fn list_of_a_stranger_of_a_technician_and_under_a_swapped_key_id() {
    let world = World::new();
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let text = list().sign(&stranger).unwrap();
    assert_eq!(world.list_code(&text), "unlock.unknown-signer");
    let text = altered(&text, |bytes| {
        replace(
            bytes,
            &stranger.public().key_id_bytes(),
            &world.operator.public().key_id_bytes(),
        );
    });
    assert_eq!(world.list_code(&text), "unlock.forged");
    // An own key may permit; with its certificate along it may revoke nobody all the same.
    let text = list().sign(&world.own).unwrap();
    assert_eq!(world.list_code(&text), "unlock.unknown-signer");
    let certificate = Delegation::bytes(&world.certificate()).unwrap();
    let payload = list().payload();
    let bytes = cose::sign(&world.own, REVOCATIONS, &payload, Some(&certificate)).unwrap();
    assert_eq!(
        world.list_code(&cose::to_text("KV1:", &bytes)),
        "unlock.malformed"
    );
}

#[test]
fn list_older_than_the_one_that_is_held_or_the_same_again() {
    let world = World::new();
    let text = list().sign(&world.operator).unwrap();
    for (held, is_taken) in [
        (0, true),
        (6, true),
        (7, false),
        (8, false),
        (u32::MAX, false),
    ] {
        let held = Revocations {
            number: held,
            ..Revocations::default()
        };
        let found = world.list(&text, &held).map_err(|error| error.code());
        if is_taken {
            assert_eq!(found, Ok(list()));
        } else {
            assert_eq!(found, Err("unlock.list-not-newer"));
        }
    }
    // Other entries under a number that is taken already.
    let mut other = list();
    other.people.clear();
    let other = other.sign(&world.operator).unwrap();
    let error = world.list(&other, &list()).unwrap_err();
    assert!(matches!(
        error,
        UnlockError::NotNewer { number: 7, held: 7 }
    ));
}

#[test]
fn list_of_a_key_that_was_revoked() {
    let world = World::new();
    let mut held = list();
    held.keys
        .insert(RevokedId::of_key(&world.operator.public()));
    let mut newer = list();
    newer.number = u32::MAX;
    let text = newer.sign(&world.operator).unwrap();
    assert_eq!(
        world.list(&text, &held).unwrap_err().code(),
        "unlock.revoked"
    );
    // A list by which a key would revoke itself speaks against itself.
    let text = world.signed_list(REVOCATIONS, &held.payload());
    assert_eq!(world.list_code(&text), "unlock.revoked");
}

#[test]
fn list_with_every_altered_bit_and_every_cut() {
    let world = World::new();
    let text = list().sign(&world.operator).unwrap();
    let bytes = cose::from_text("KV1:", &text).unwrap();
    let none = Revocations::default();
    for index in 0..bytes.len() {
        for bit in [1, 0x10, 0x80] {
            let text = altered(&text, |bytes| bytes[index] ^= bit);
            assert!(world.list(&text, &none).is_err(), "{index} {bit}");
        }
    }
    for index in 0..text.len() {
        assert_eq!(world.list_code(&text[..index]), "unlock.malformed");
    }
    for tail in [&[0][..], &[0xa0], &[0; 64]] {
        let text = altered(&text, |bytes| bytes.extend(tail));
        assert_eq!(world.list_code(&text), "unlock.malformed");
    }
    // An entry left out, a number raised.
    let fewer = altered(&text, |bytes| {
        replace(bytes, &[4, 0x81, 0x48], &[4, 0x80, 0x48]);
    });
    assert!(world.list(&fewer, &none).is_err());
    let raised = altered(&text, |bytes| replace(bytes, &[0xa5, 1, 7], &[0xa5, 1, 9]));
    assert_eq!(world.list_code(&raised), "unlock.forged");
}

#[test]
fn list_that_is_oversized_or_has_too_many_entries() {
    let world = World::new();
    for text in [
        "KV1:".repeat(100_000),
        format!("KV1:{}", "0".repeat(TEXT_BYTES_MAX)),
    ] {
        assert_eq!(world.list_code(&text), "unlock.too-long");
    }
    let ids = |count: u64| -> BTreeSet<RevokedId> {
        (0..count)
            .map(|number| format!("{number:016x}").parse().unwrap())
            .collect()
    };
    let largest = u64::try_from(REVOKED_MAX).unwrap();
    for (people, keys) in [(largest + 1, 0), (largest, 1), (largest / 2, largest)] {
        let mut list = list();
        (list.delegations, list.people, list.keys) = (ids(0), ids(people), ids(keys));
        assert_eq!(
            list.sign(&world.operator).unwrap_err().code(),
            "unlock.malformed"
        );
        let bytes = cose::sign(&world.operator, REVOCATIONS, &list.payload(), None).unwrap();
        assert!(Revocations::parse(&cose::to_text("KV1:", &bytes)).is_err());
    }
}

#[test]
fn list_whose_payload_has_another_form_of_the_same_value() {
    let world = World::new();
    let payload = list().payload();
    assert_eq!(payload[..3], [0xa5, 1, 7]);
    let people = payload
        .windows(3)
        .position(|window| window == [4, 0x81, 0x48])
        .unwrap();
    let (before, from_people) = (&payload[..people], &payload[people..]);
    let one = &from_people[2..11];
    let (lower, higher) = (
        [0x48, 1, 1, 1, 1, 1, 1, 1, 1],
        [0x48, 2, 2, 2, 2, 2, 2, 2, 2],
    );
    let keys = &from_people[11..];
    for (payload, expected) in [
        // Zero stands for no list.
        (
            [&[0xa5, 1, 0][..], &payload[3..]].concat(),
            FormatError::OutOfRange { field: "number" },
        ),
        (
            [&[0xa5, 1, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0][..], &payload[3..]].concat(),
            FormatError::OutOfRange { field: "number" },
        ),
        (
            [&[0xa5, 1, 0x18, 7][..], &payload[3..]].concat(),
            FormatError::NotShortest,
        ),
        (
            [&[0xa6, 1, 7, 1, 7][..], &payload[3..]].concat(),
            FormatError::UnknownField,
        ),
        (
            [&[0xa5, 1, 7, 1, 7][..], &payload[3..]].concat(),
            FormatError::DuplicateKey,
        ),
        (
            [&[0xbf][..], &payload[1..], &[0xff]].concat(),
            FormatError::IndefiniteLength,
        ),
        ([&payload[..], &[0]].concat(), FormatError::TrailingBytes),
        // Entries twice, in the wrong order, too short.
        (
            [before, &[4, 0x82], one, one, keys].concat(),
            FormatError::KeyOrder,
        ),
        (
            [before, &[4, 0x82], &higher, &lower, keys].concat(),
            FormatError::KeyOrder,
        ),
        (
            [before, &[4, 0x81, 0x47], &one[2..], keys].concat(),
            FormatError::OutOfRange { field: "id" },
        ),
        // A list without its people.
        (
            [&[0xa4], &before[1..], keys].concat(),
            FormatError::MissingField { field: "people" },
        ),
    ] {
        let text = world.signed_list(REVOCATIONS, &payload);
        let error = world.list(&text, &Revocations::default()).unwrap_err();
        assert!(
            matches!(&error, UnlockError::Malformed(found) if *found == expected),
            "{error}"
        );
    }
    let text = world.signed_list(
        REVOCATIONS,
        &[before, &[4, 0x82], &lower, &higher, keys].concat(),
    );
    let read = world.list(&text, &Revocations::default()).unwrap();
    assert_eq!(read.people.len(), 2);
}

#[test]
fn list_that_is_a_word_of_another_kind_or_signed_for_another_purpose() {
    let world = World::new();
    for domain in [PERMISSION, CERTIFICATE, "kiosk.readiness.v1", ""] {
        let text = world.signed_list(domain, &list().payload());
        assert_eq!(world.list_code(&text), "unlock.forged", "{domain}");
    }
    for word in [
        world.grant().sign(&world.operator).unwrap(),
        world.certificate(),
        world.challenge.to_text(),
    ] {
        assert_eq!(world.list_code(&word), "unlock.malformed");
        let renamed = format!("KV1:{}", &word[4..]);
        assert_eq!(world.list_code(&renamed), "unlock.malformed");
    }
    let text = list().sign(&world.operator).unwrap();
    assert_eq!(world.code(&text), "unlock.malformed");
    assert_eq!(
        world.code(&format!("KU1:{}", &text[4..])),
        "unlock.malformed"
    );
    let renamed = format!("KD1:{}", &text[4..]);
    assert!(Delegation::verify(&renamed, &[world.operator.public()]).is_err());
}

#[test]
fn list_whose_header_names_another_algorithm() {
    for (algorithm, from, to) in [
        (Algorithm::Ed25519, 0x27, 0x26),
        (Algorithm::EcdsaP256, 0x26, 0x27),
    ] {
        let world = World::with(algorithm, Algorithm::Ed25519);
        let text = list().sign(&world.operator).unwrap();
        let text = altered(&text, |bytes| replace(bytes, &[1, from, 4], &[1, to, 4]));
        assert_eq!(world.list_code(&text), "unlock.forged");
    }
}
