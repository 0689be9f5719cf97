//! How a machine becomes a terminal over a real line, and who is turned away on it: wrong codes,
//! foreign certificates, terminals that were taken out of service.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "here every connection begins with TLS")]
#[path = "support/wire.rs"]
mod wire;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use central_platform::tls::{TestCertificates, test_certificates};
use central_platform::{Authority, Config, Enroll, Platform, Signatures};
use jiff::Timestamp;
use kiosk_sealing::request::{self, Request};
use kiosk_sealing::{Algorithm, DeviceKey};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use wire::{PATIENCE, Reply, exchange};

/// A platform that signs terminals, and wants certificates and signatures of them.
struct Bench {
    platform: Platform,
    set: TestCertificates,
    _directory: tempfile::TempDir,
}

/// A machine, and the certificate that it shows.
struct Machine {
    number: &'static str,
    tls: KeyPair,
    device: Arc<DeviceKey>,
    certificate: Option<String>,
}

fn machine(number: &'static str) -> Machine {
    Machine {
        number,
        tls: KeyPair::generate().unwrap(),
        device: Arc::new(DeviceKey::generate(Algorithm::Ed25519).unwrap()),
        certificate: None,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "signatures are fresh by the platform's clock, which is the system's"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let set = test_certificates(directory.path()).unwrap();
    let config = Config {
        tls: Some(set.mutual(&set.server)),
        signatures: Signatures::Required,
        enroll: Enroll::Registered,
        authority: Some(Authority {
            certificate: set.authority.certificate.clone(),
            key: set.authority.key.clone(),
            days: 30,
        }),
        ..Config::default()
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let platform = Platform::start(&directory.path().join("platform"), local, config).unwrap();
    Bench {
        platform,
        set,
        _directory: directory,
    }
}

fn code_of(reply: &Reply) -> (u16, String) {
    let code = reply.json()["code"].as_str().unwrap_or_default().to_owned();
    (reply.status, code)
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

impl Bench {
    /// One request on a line that shows the machine's certificate, if it has one.
    fn send(&self, of: &Machine, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&self.set.ca).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &of.certificate {
            None => builder.with_no_client_auth(),
            Some(chain) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(of.tls.serialize_pem().as_bytes());
                builder
                    .with_client_auth_cert(chain.map(Result::unwrap).collect(), key.unwrap())
                    .unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(self.platform.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let stream = StreamOwned::new(connection, stream);
        exchange(stream, method, path, headers, body).unwrap()
    }

    /// The same, signed by the machine's key.
    fn signed(&self, of: &Machine, method: &str, path: &str, body: &[u8]) -> Reply {
        let request = Request {
            method,
            path,
            query: "",
            terminal: of.number,
            body,
        };
        let nonce = format!("n{}", uuid::Uuid::now_v7().simple());
        let at = now().as_second();
        let headers = request::sign(&of.device, &request, at, &nonce).unwrap();
        let lines = format!(
            "Kiosk-Terminal: {}\r\nContent-Digest: {}\r\nSignature-Input: {}\r\nSignature: {}\r\n",
            of.number, headers.content_digest, headers.signature_input, headers.signature
        );
        self.send(of, method, path, &lines, body)
    }

    fn admin(&self, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        self.send(&machine("T1"), "POST", path, "", body.as_bytes())
    }

    fn code_for(&self, terminal: &str) -> String {
        let made = self.admin("/admin/enrolments", &expected(terminal));
        assert_eq!(made.status, 200, "{}", made.json());
        made.json()["code"].as_str().unwrap().to_owned()
    }

    fn enroll(&self, of: &Machine, code: &str) -> Reply {
        let csr = CertificateParams::default();
        let csr = csr.serialize_request(&of.tls).unwrap().pem().unwrap();
        let body = json!({"terminal": of.number, "code": code, "csr": csr,
            "device_key": of.device.public().to_string()});
        let body = body.to_string();
        self.send(of, "POST", "/v1/enrolments", "", body.as_bytes())
    }

    /// Makes a machine a terminal.
    fn take_in(&self, of: &mut Machine) {
        let reply = self.enroll(of, &self.code_for(of.number));
        assert_eq!(reply.status, 201, "{}", reply.json());
        of.certificate = Some(reply.json()["certificate"].as_str().unwrap().to_owned());
    }

    fn state(&self, terminal: &str) -> String {
        let reply = self.send(&machine("T1"), "GET", "/admin/enrolments", "", b"");
        let rows = reply.json()["enrolments"].as_array().unwrap().clone();
        let row = rows.iter().find(|row| row["terminal"] == terminal).unwrap();
        row["state"].as_str().unwrap().to_owned()
    }
}

fn expected(terminal: &str) -> Value {
    json!({"terminal": terminal, "region": "测试市/测试县/测试镇/测试村",
        "site": "测试村党群服务中心", "installed_on": "2026-11-22", "target": 500})
}

#[test]
fn a_machine_with_a_code_becomes_a_terminal_and_is_heard_from_then_on() {
    let bench = bench();
    let mut one = machine("T1");
    let before = bench.signed(&one, "GET", "/v1/catalogue", b"");
    assert_eq!(code_of(&before), is(403, "terminal.no-certificate"));
    let code = bench.code_for("T1");
    let reply = bench.enroll(&one, &code);
    assert_eq!(reply.status, 201, "{}", reply.json());
    let told = reply.json();
    assert_eq!(told["site"], "测试村党群服务中心");
    assert_eq!(told["sealing_key"], bench.platform.sealing_key());
    assert_eq!(told["command_key"], bench.platform.command_key());
    assert_eq!(bench.state("T1"), "used");
    // The answer was lost: it comes again, also as people type.
    let again = bench.enroll(&one, &code.to_lowercase().replace('-', " "));
    assert_eq!(again.json(), told);
    one.certificate = Some(told["certificate"].as_str().unwrap().to_owned());
    assert_eq!(bench.signed(&one, "GET", "/v1/catalogue", b"").status, 200);
    // Another machine cannot use it up again.
    let thief = machine("T1");
    assert_eq!(
        code_of(&bench.enroll(&thief, &code)),
        is(409, "enrolment.code-used")
    );
}

#[test]
fn wrong_codes_are_refused_and_lock_and_a_code_of_another_terminal_is_a_wrong_one() {
    let bench = bench();
    let (one, other) = (machine("T1"), bench.code_for("T2"));
    assert_eq!(
        code_of(&bench.enroll(&one, &other)),
        is(403, "enrolment.code-wrong")
    );
    let code = bench.code_for("T1");
    for _ in 0..5 {
        assert_eq!(
            code_of(&bench.enroll(&one, &other)),
            is(403, "enrolment.code-wrong")
        );
    }
    let locked = bench.enroll(&one, &code);
    assert_eq!(code_of(&locked), is(429, "enrolment.locked"));
    assert!(locked.header("retry-after").is_some());
    assert_eq!(bench.state("T1"), "locked");
    let fresh = bench.code_for("T1");
    assert_eq!(bench.enroll(&one, &fresh).status, 201);
}

#[test]
fn requests_that_are_none_are_refused_before_a_code_is_used_up() {
    let bench = bench();
    let (one, code) = (machine("T1"), bench.code_for("T1"));
    let key = one.device.public().to_string();
    let csr = CertificateParams::default();
    let csr = csr.serialize_request(&one.tls).unwrap().pem().unwrap();
    let large = format!("{csr}{}", "A".repeat(12_000));
    for (csr, code, key, expected) in [
        (
            "rubbish",
            code.as_str(),
            key.as_str(),
            "enrolment.request-unusable",
        ),
        (&large, &code, &key, "enrolment.request-unusable"),
        (&csr, "short", &key, "request.field"),
        (&csr, &code, "ed25519:AAAA", "request.field"),
    ] {
        let body = json!({"terminal": "T1", "code": code, "csr": csr, "device_key": key});
        let body = body.to_string();
        let reply = bench.send(&one, "POST", "/v1/enrolments", "", body.as_bytes());
        assert_eq!(code_of(&reply), is(422, expected));
    }
    let vast = json!({"terminal": "T1", "code": code, "csr": "A".repeat(100_000)}).to_string();
    let reply = bench.send(&one, "POST", "/v1/enrolments", "", vast.as_bytes());
    assert_eq!(reply.status, 413);
    assert_eq!(bench.enroll(&one, &code).status, 201);
}

#[test]
fn nobody_speaks_with_the_certificate_of_another() {
    let bench = bench();
    let (mut one, mut other) = (machine("T1"), machine("T2"));
    bench.take_in(&mut one);
    bench.take_in(&mut other);
    // The keys of the one with the certificate of the other.
    let mixed = Machine {
        tls: KeyPair::from_pem(&other.tls.serialize_pem()).unwrap(),
        certificate: other.certificate.clone(),
        ..one
    };
    let reply = bench.signed(&mixed, "GET", "/v1/catalogue", b"");
    assert_eq!(code_of(&reply), is(403, "terminal.foreign-certificate"));
    assert_eq!(
        bench.signed(&other, "GET", "/v1/catalogue", b"").status,
        200
    );
}

#[test]
fn a_certificate_follows_another_for_who_signs_and_both_are_good() {
    let bench = bench();
    let mut one = machine("T1");
    bench.take_in(&mut one);
    let next = KeyPair::generate().unwrap();
    let csr = CertificateParams::default();
    let csr = csr.serialize_request(&next).unwrap().pem().unwrap();
    let body = json!({"csr": csr}).to_string();
    let unsigned = bench.send(&one, "POST", "/v1/certificates", "", body.as_bytes());
    assert_eq!(code_of(&unsigned), is(401, "signature.missing"));
    let reply = bench.signed(&one, "POST", "/v1/certificates", body.as_bytes());
    assert_eq!(reply.status, 201, "{}", reply.json());
    let renewed = Machine {
        tls: next,
        certificate: Some(reply.json()["certificate"].as_str().unwrap().to_owned()),
        device: Arc::clone(&one.device),
        ..machine("T1")
    };
    for with in [&one, &renewed] {
        assert_eq!(bench.signed(with, "GET", "/v1/catalogue", b"").status, 200);
    }
}

#[test]
fn a_revoked_terminal_is_refused_everywhere_and_served_again_when_it_is_restored() {
    let bench = bench();
    let mut one = machine("T1");
    bench.take_in(&mut one);
    let removal = json!({"terminal": "T1", "reason": "被盗"});
    assert_eq!(bench.admin("/admin/terminals/revoke", &removal).status, 200);
    assert_eq!(bench.state("T1"), "revoked");
    for path in ["/v1/catalogue", "/v1/health"] {
        let reply = bench.signed(&one, "GET", path, b"");
        assert_eq!(code_of(&reply), is(403, "terminal.revoked"), "{path}");
    }
    // Without its name too: the certificate says whose it is.
    let nameless = bench.send(&one, "GET", "/v1/health", "", b"");
    assert_eq!(code_of(&nameless), is(403, "terminal.revoked"));
    let back = json!({"terminal": "T1"});
    assert_eq!(bench.admin("/admin/terminals/restore", &back).status, 200);
    assert_eq!(bench.signed(&one, "GET", "/v1/catalogue", b"").status, 200);
}

#[test]
fn a_machine_in_the_place_of_a_stolen_one_is_served_and_the_stolen_one_never_is() {
    let bench = bench();
    let (mut stolen, mut new) = (machine("T1"), machine("T1"));
    bench.take_in(&mut stolen);
    let removal = json!({"terminal": "T1", "reason": "被盗"});
    assert_eq!(bench.admin("/admin/terminals/revoke", &removal).status, 200);
    let code = bench.code_for("T1");
    let status = |of: &Machine| bench.signed(of, "GET", "/v1/catalogue", b"").status;
    assert_eq!(status(&stolen), 403, "nobody has used the code yet");
    let reply = bench.enroll(&new, &code);
    assert_eq!(reply.status, 201);
    new.certificate = Some(reply.json()["certificate"].as_str().unwrap().to_owned());
    assert_eq!((status(&new), status(&stolen)), (200, 403));
}

#[test]
fn a_second_machine_under_a_number_takes_the_place_of_the_first() {
    let bench = bench();
    let (mut first, mut second) = (machine("T1"), machine("T1"));
    bench.take_in(&mut first);
    bench.take_in(&mut second);
    let reply = bench.signed(&first, "GET", "/v1/catalogue", b"");
    assert_eq!(code_of(&reply), is(403, "terminal.revoked"));
    assert_eq!(
        bench.signed(&second, "GET", "/v1/catalogue", b"").status,
        200
    );
    // Its old key does not help with the new certificate either.
    second.device = first.device;
    let reply = bench.signed(&second, "GET", "/v1/catalogue", b"");
    assert_eq!(code_of(&reply), is(401, "signature.unknown-key"));
}

#[test]
fn an_installation_outside_its_limits_gets_no_code() {
    let bench = bench();
    for (name, value) in [
        ("terminal", json!("T 1")),
        ("region", json!("")),
        ("region", json!("市//镇")),
        ("site", json!("x".repeat(201))),
        ("installed_on", json!("22.11.2026")),
        ("target", json!(371)),
    ] {
        let mut body = expected("T1");
        body[name] = value;
        let reply = bench.admin("/admin/enrolments", &body);
        assert_eq!(code_of(&reply), is(422, "request.field"), "{name}");
    }
}
