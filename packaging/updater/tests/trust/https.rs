//! Repositories over HTTPS: the server is believed by the authority of the configuration and by no
//! other, and whoever is not believed brings nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use kiosk_update::manifest::Version;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;

use super::program::{Machine, publish, repository};
use super::repository::Repository;
use super::server::Server;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of an authority and its key, in PEM.
fn issue(authority: &Authority, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
    let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.extended_key_usages = vec![purpose];
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    parameters.subject_alt_names = vec![SanType::IpAddress(address)];
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A server with a certificate of this authority, which wants one of the same where it says so.
fn serve(repository: &Repository, authority: &Authority, wants_certificate: bool) -> Server {
    let (certificate, key) = issue(authority, ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if wants_certificate {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
            .unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = builder.with_single_cert(chain, key).unwrap();
    Server::start_tls(repository.path(), Arc::new(config))
}

/// A terminal that takes program and items from this server, and believes `ca`.
fn machine(repository: &Repository, server: &Server, ca: &Authority) -> Machine {
    let url = server.url("").trim_end_matches('/').to_owned();
    let machine = Machine::new(repository, &url);
    machine.set("ca.pem", &ca.pem());
    let (ca, root) = (machine.path("ca.pem"), machine.path("root.json"));
    machine.configure(
        "[line]",
        &format!("ca = \"{ca}\"\n[items]\nurl = \"{url}\"\n[line]"),
    );
    machine.configure(
        "[programs]",
        &format!("items_root = \"{root}\"\n[programs]"),
    );
    machine
}

fn items_status(machine: &Machine) -> Value {
    let bytes = fs::read(machine.path("state/items/status.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn has_slots(machine: &Machine) -> bool {
    Path::new(&machine.path("state/slots/current")).exists()
}

#[test]
fn program_and_items_come_from_a_server_that_the_configured_authority_vouches_for() {
    let mut repository = repository();
    publish(&mut repository, Version::new(9, 0, 0), b"over https");
    let own = authority("operator");
    let server = serve(&repository, &own, false);
    let machine = machine(&repository, &server, &own);
    let taken = machine.ask(&["run"]);
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(machine.running(), b"over https");
    assert_eq!(items_status(&machine)["code"], Value::Null);
}

#[test]
fn a_server_of_another_authority_brings_nothing_and_the_status_says_why() {
    let mut repository = repository();
    publish(&mut repository, Version::new(9, 0, 0), b"over https");
    let server = serve(&repository, &authority("stranger"), false);
    let machine = machine(&repository, &server, &authority("operator"));
    let refused = machine.ask(&["run"]);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stdout).unwrap();
    assert!(
        said.contains("that the configured authority vouches for"),
        "{said}"
    );
    let status = machine.status();
    assert_eq!(status["code"], "update.server-not-believed");
    assert_eq!(status["words"], said.trim());
    assert_eq!(items_status(&machine)["code"], "update.server-not-believed");
    assert!(!has_slots(&machine), "something was installed");
    assert!(server.requests().is_empty(), "something was asked for");
}

#[test]
fn a_server_that_wants_to_know_the_terminal_is_shown_its_certificate() {
    let mut repository = repository();
    publish(&mut repository, Version::new(9, 0, 0), b"over https");
    let own = authority("operator");
    let server = serve(&repository, &own, true);
    let machine = machine(&repository, &server, &own);
    assert!(!machine.ask(&["run"]).status.success());
    assert_eq!(machine.status()["code"], "update.unreachable");
    assert!(!has_slots(&machine));
    let (certificate, key) = issue(&own, ExtendedKeyUsagePurpose::ClientAuth);
    machine.set("own.pem", &certificate);
    machine.set("own-key.pem", &key);
    let (certificate, key) = (machine.path("own.pem"), machine.path("own-key.pem"));
    machine.configure(
        "[items]",
        &format!("certificate = \"{certificate}\"\ncertificate_key = \"{key}\"\n[items]"),
    );
    let taken = machine.ask(&["run"]);
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(machine.running(), b"over https");
}
