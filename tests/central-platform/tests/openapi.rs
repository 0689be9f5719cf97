//! The reference platform agrees with the `OpenAPI` document: the document is well-formed, every
//! operation answers requests made from it as it says, and refuses broken ones as it says, with
//! problem documents and never with a failure. Requests follow from a seed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/document.rs"]
mod document;
#[path = "support/wire.rs"]
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_platform::tls::test_certificates;
use central_platform::{Authority, Config, Enroll, Platform, Signatures};
use document::{Dice, Document};
use jiff::Timestamp;
use kiosk_sealing::bundle::{Manifest, Writer};
use kiosk_sealing::request::{self, Request};
use kiosk_sealing::{Algorithm, DeviceKey};
use serde_json::{Value, json};
use wire::{Reply, send};

/// Requests of each operation.
const ROUNDS: u64 = 24;
const METHODS: &[&str] = &[
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];
const TOKEN: &str = "a-secret-of-the-test";
const TERMINAL: &str = "T001";

/// One operation of the document.
#[derive(Clone, Copy)]
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    /// What the document says of it, and of its path.
    told: &'a Value,
    shared: &'a Value,
}

impl<'a> Operation<'a> {
    fn name(&self) -> &'a str {
        self.told["operationId"].as_str().expect("an operationId")
    }

    fn parameters(&self, document: &'a Document) -> Vec<&'a Value> {
        [self.shared, self.told]
            .iter()
            .flat_map(|level| level["parameters"].as_array().into_iter().flatten())
            .map(|parameter| document.resolve(parameter))
            .collect()
    }

    /// Media type and schema of its body, if it has one.
    fn body(&self) -> Option<(&'a str, &'a Value)> {
        let content = self.told["requestBody"]["content"].as_object()?;
        let (media_type, content) = content.iter().next()?;
        Some((media_type, &content["schema"]))
    }

    fn is_signed(&self) -> bool {
        self.told["security"].is_null()
    }
}

fn operations(document: &Document) -> Vec<Operation<'_>> {
    let mut operations = Vec::new();
    for (path, shared) in document.root["paths"].as_object().unwrap() {
        for (method, told) in shared.as_object().unwrap() {
            if METHODS.contains(&method.as_str()) {
                operations.push(Operation {
                    path,
                    method,
                    told,
                    shared,
                });
            }
        }
    }
    operations
}

#[test]
fn the_document_is_well_formed() {
    let document = Document::read();
    let root = &document.root;
    assert!(root["openapi"].as_str().unwrap().starts_with("3.1."));
    for member in ["title", "version"] {
        assert!(root["info"][member].is_string(), "info.{member}");
    }
    let mut names = BTreeSet::new();
    for operation in operations(&document) {
        let name = operation.name();
        assert!(names.insert(name), "{name} is there twice");
        check_parameters(&document, &operation);
        let responses = operation.told["responses"].as_object().unwrap();
        assert!(!responses.is_empty(), "{name} has no responses");
        for (status, response) in responses {
            let is_status =
                status == "default" || status.parse::<u16>().is_ok_and(|s| (100..600).contains(&s));
            assert!(is_status, "{name}: {status} is no status");
            let response = document.resolve(response);
            assert!(
                response["description"].is_string(),
                "{name}: {status} says nothing"
            );
        }
        if let Some((media_type, _)) = operation.body() {
            assert!(media_type.contains('/'), "{name}: {media_type}");
        }
    }
    assert!(names.len() > 25, "only {} operations", names.len());
    check_tree(&document, root, "");
}

fn check_parameters(document: &Document, operation: &Operation<'_>) {
    let name = operation.name();
    assert!(operation.path.starts_with("/v1/"), "{name}");
    let mut in_path: BTreeSet<&str> = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect();
    for parameter in operation.parameters(document) {
        let place = parameter["in"].as_str().unwrap();
        assert!(
            ["path", "query", "header", "cookie"].contains(&place),
            "{name}: {place}"
        );
        assert!(
            !parameter["schema"].is_null(),
            "{name}: a parameter without a schema"
        );
        if place == "path" {
            assert_eq!(parameter["required"], true, "{name}");
            let told = parameter["name"].as_str().unwrap();
            assert!(in_path.remove(told), "{name}: {told} is not in the path");
        }
    }
    assert!(in_path.is_empty(), "{name}: {in_path:?} is not described");
}

/// References lead somewhere, patterns are patterns, and what is required is described.
fn check_tree(document: &Document, value: &Value, place: &str) {
    match value {
        Value::Object(members) => {
            if value["$ref"].is_string() {
                document.resolve(value);
            }
            if let Some(pattern) = value["pattern"].as_str() {
                regex::Regex::new(pattern).unwrap_or_else(|_| panic!("{place}: {pattern}"));
            }
            if let (Some(required), Some(properties)) = (
                value["required"].as_array(),
                value["properties"].as_object(),
            ) {
                for name in required {
                    let name = name.as_str().unwrap();
                    assert!(
                        properties.contains_key(name),
                        "{place}: {name} is not described"
                    );
                }
            }
            for (name, member) in members {
                check_tree(document, member, &format!("{place}/{name}"));
            }
        }
        Value::Array(items) => {
            for item in items {
                check_tree(document, item, place);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A request before it is signed.
#[derive(Clone)]
struct Made {
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A platform that wants signatures, and what is known of it.
struct Bench {
    document: Document,
    platform: Platform,
    key: DeviceKey,
    nonces: Cell<u32>,
    /// A code for the terminal, and a request for its certificate.
    code: String,
    csr: String,
    /// Ids that exist, by the first part of their path.
    ids: RefCell<BTreeMap<String, Vec<String>>>,
    _directory: tempfile::TempDir,
}

#[expect(
    clippy::disallowed_methods,
    reason = "signatures are fresh by the platform's clock, which is the system's"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The part of a path under which its ids live.
fn family(path: &str) -> String {
    path.split('/').take(3).collect::<Vec<_>>().join("/")
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let set = test_certificates(directory.path()).unwrap();
        let config = Config {
            authority: Some(Authority {
                certificate: set.authority.certificate,
                key: set.authority.key,
                days: 30,
            }),
            signatures: Signatures::Required,
            enroll: Enroll::Registered,
            import_token: Some(TOKEN.to_owned()),
            ..Config::default()
        };
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let platform = Platform::start(directory.path(), local, config).unwrap();
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let public = key.public().to_string();
        platform.register_terminal(TERMINAL, &public).unwrap();
        let expected = json!({"terminal": TERMINAL, "region": "测试市/测试县/测试镇/测试村",
            "site": "测试村", "installed_on": "2026-11-22", "target": 370});
        let expected = expected.to_string();
        let made = send(
            platform.address(),
            "POST",
            "/admin/enrolments",
            "",
            expected.as_bytes(),
        );
        let tls_key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default();
        let csr = csr.serialize_request(&tls_key).unwrap().pem().unwrap();
        Self {
            code: made.unwrap().json()["code"].as_str().unwrap().to_owned(),
            csr,
            document: Document::read(),
            platform,
            key,
            nonces: Cell::new(0),
            ids: RefCell::default(),
            _directory: directory,
        }
    }

    /// A request that follows the document.
    fn make(&self, operation: &Operation<'_>, dice: &mut Dice) -> (Made, Option<Value>) {
        let mut target = operation.path.to_owned();
        let mut query = Vec::new();
        let mut headers = Vec::new();
        let body = self.make_body(operation, dice);
        for parameter in operation.parameters(&self.document) {
            let name = parameter["name"].as_str().unwrap();
            let place = parameter["in"].as_str().unwrap();
            let is_wanted = parameter["required"] == true || (place == "query" && dice.coin());
            // Signatures are made last; compression has its own test.
            if !is_wanted || name == "Kiosk-Terminal" {
                continue;
            }
            let value = self
                .known_parameter(operation, name, dice)
                .unwrap_or_else(|| {
                    let made = self.document.make(&parameter["schema"], dice, &|_, _| None);
                    made.as_str()
                        .map_or_else(|| made.to_string(), str::to_owned)
                });
            match place {
                "path" => target = target.replace(&format!("{{{name}}}"), &value),
                "query" => query.push(format!("{name}={value}")),
                _ => headers.push((name.to_owned(), value)),
            }
        }
        if !query.is_empty() {
            target = format!("{target}?{}", query.join("&"));
        }
        if let Some((media_type, _)) = operation.body() {
            headers.push(("Content-Type".to_owned(), media_type.to_owned()));
        }
        let bytes = match &body {
            Some(Value::String(text))
                if operation
                    .body()
                    .is_some_and(|(media, _)| media != "application/json") =>
            {
                text.clone().into_bytes()
            }
            Some(json) => json.to_string().into_bytes(),
            None => Vec::new(),
        };
        let bytes = if operation.name() == "importBundle" {
            headers.push(("Authorization".to_owned(), format!("Bearer {TOKEN}")));
            self.bundle(dice)
        } else {
            bytes
        };
        let made = Made {
            target,
            headers,
            body: bytes,
        };
        (made, body)
    }

    fn make_body(&self, operation: &Operation<'_>, dice: &mut Dice) -> Option<Value> {
        let (_, schema) = operation.body()?;
        let known = |name: &str, dice: &mut Dice| -> Option<Value> {
            match name {
                "terminal" => Some(json!(TERMINAL)),
                "csr" => Some(json!(self.csr)),
                "code" if operation.name() == "enroll" => Some(json!(self.code)),
                "device_key" => Some(json!(self.key.public().to_string())),
                "item" if dice.coin() => Some(json!("insurance-certificate")),
                "slot" if dice.coin() => {
                    self.any_id("/v1/appointment-slots", dice).map(Value::from)
                }
                "kind" if dice.coin() => Some(json!("case")),
                "payload_suite" => Some(json!("plain")),
                "attachments" if dice.coin() => Some(json!([])),
                _ => None,
            }
        };
        Some(self.document.make(schema, dice, &known))
    }

    /// Values of parameters where a random one would only ever be unknown.
    fn known_parameter(
        &self,
        operation: &Operation<'_>,
        name: &str,
        dice: &mut Dice,
    ) -> Option<String> {
        match name {
            "id" | "case_number" if dice.below(3) > 0 => self.any_id(&family(operation.path), dice),
            // Nobody gives commands while this waits.
            "wait" => Some("0".to_owned()),
            "Upload-Offset" if dice.coin() => Some("0".to_owned()),
            "Upload-Metadata" => {
                let id = self.document.make(
                    &json!({"type": "string", "format": "uuid"}),
                    dice,
                    &|_, _| None,
                );
                let pairs = [
                    ("id", id.as_str().unwrap()),
                    ("name", "page-1.jpg"),
                    ("media_type", "image/jpeg"),
                    ("sha256", "cd".repeat(32).as_str()),
                ]
                .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)));
                Some(pairs.join(","))
            }
            "date" if dice.coin() => {
                let ahead = i64::try_from(1 + dice.below(10)).unwrap();
                let day = now() + jiff::SignedDuration::from_hours(24 * ahead);
                Some(day.strftime("%Y-%m-%d").to_string())
            }
            _ => None,
        }
    }

    fn any_id(&self, family: &str, dice: &mut Dice) -> Option<String> {
        let ids = self.ids.borrow();
        let ids = ids.get(family)?;
        Some(ids[usize::try_from(dice.below(ids.len() as u64)).unwrap()].clone())
    }

    fn learn(&self, family: &str, id: &Value) {
        if let Some(id) = id.as_str() {
            let mut ids = self.ids.borrow_mut();
            ids.entry(family.to_owned())
                .or_default()
                .push(id.to_owned());
        }
    }

    /// Remembers what exists now.
    fn learn_from(&self, operation: &Operation<'_>, sent: Option<&Value>, reply: &Reply) {
        if reply.status >= 300 {
            return;
        }
        match operation.name() {
            "submitBatch" => {
                let transactions = sent.unwrap()["transactions"].as_array().unwrap().clone();
                for (transaction, result) in transactions
                    .iter()
                    .zip(reply.json()["results"].as_array().unwrap())
                {
                    if result["result"] == "accepted" && transaction["kind"] == "case" {
                        self.learn("/v1/cases", &transaction["case_number"]);
                    }
                }
            }
            "makeUpload" => {
                let place = reply.header("location").unwrap();
                self.learn("/v1/attachments", &json!(place.rsplit('/').next().unwrap()));
            }
            "getAppointmentSlots" => {
                for slot in reply.json()["slots"].as_array().unwrap() {
                    self.learn("/v1/appointment-slots", &slot["slot"]);
                }
            }
            "createPayment" | "makeAppointment" | "openVideoSession" => {
                self.learn(&family(operation.path), &reply.json()["id"]);
            }
            _ => {}
        }
    }

    fn bundle(&self, dice: &mut Dice) -> Vec<u8> {
        let id = u128::from(dice.below(u64::MAX));
        let manifest = Manifest {
            format: 1,
            terminal: TERMINAL.to_owned(),
            bundle: uuid::Uuid::from_u128(id),
            part: 1,
            made_at: Timestamp::UNIX_EPOCH,
            transactions: 0,
        };
        let writer = Writer::begin(Vec::new(), &manifest).unwrap();
        writer.finish(&self.key).unwrap()
    }

    /// Sends a request, signed unless the document says that it is not.
    fn send(&self, operation: &Operation<'_>, made: &Made) -> Reply {
        let mut headers = made.headers.clone();
        if operation.is_signed() {
            headers.extend(self.signature(operation, made));
        }
        self.send_as_it_is(operation, made, &headers)
    }

    fn signature(&self, operation: &Operation<'_>, made: &Made) -> Vec<(String, String)> {
        let method = operation.method.to_uppercase();
        let (path, query) = made.target.split_once('?').unwrap_or((&made.target, ""));
        let request = Request {
            method: &method,
            path,
            query,
            terminal: TERMINAL,
            body: &made.body,
        };
        self.nonces.set(self.nonces.get() + 1);
        let nonce = format!("n{}", self.nonces.get());
        let signed = request::sign(&self.key, &request, now().as_second(), &nonce).unwrap();
        [
            ("Kiosk-Terminal", TERMINAL),
            ("Content-Digest", &signed.content_digest),
            ("Signature-Input", &signed.signature_input),
            ("Signature", &signed.signature),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    fn send_as_it_is(
        &self,
        operation: &Operation<'_>,
        made: &Made,
        headers: &[(String, String)],
    ) -> Reply {
        let mut lines = String::new();
        for (name, value) in headers {
            lines.extend([name, ": ", value, "\r\n"]);
        }
        let method = operation.method.to_uppercase();
        let address = self.platform.address();
        let reply = send(address, &method, &made.target, &lines, &made.body);
        let reply = reply.unwrap_or_else(|| panic!("{}: no answer", operation.name()));
        self.check_reply(operation, made, &reply);
        reply
    }

    /// The answer is one that the document describes, and fits its description.
    fn check_reply(&self, operation: &Operation<'_>, made: &Made, reply: &Reply) {
        let name = operation.name();
        let what = || {
            let sent = String::from_utf8_lossy(&made.body);
            let came = String::from_utf8_lossy(&reply.body);
            format!(
                "{name} {} {} {sent:.2000}\n{} {came:.2000}",
                operation.method, made.target, reply.status
            )
        };
        let responses = &operation.told["responses"];
        let response = &responses[reply.status.to_string()];
        assert!(!response.is_null(), "undocumented: {}", what());
        assert!(reply.status < 500, "{}", what());
        assert!(reply.header("date").is_some(), "no date: {}", what());
        let response = self.document.resolve(response);
        for (header, told) in response["headers"].as_object().into_iter().flatten() {
            let told = self.document.resolve(told);
            let value = reply.header(header);
            assert!(
                value.is_some() || told["required"] != true,
                "no {header}: {}",
                what()
            );
            if let Some(value) = value {
                let schema = self.document.resolve(&told["schema"]);
                let value = match (schema["type"].as_str(), value.parse::<u64>()) {
                    (Some("integer"), Ok(number)) => json!(number),
                    _ => json!(value),
                };
                assert_eq!(self.document.misfit(&value, schema), None, "{}", what());
            }
        }
        let Some(content) = response["content"].as_object() else {
            assert!(reply.body.is_empty(), "a body: {}", what());
            return;
        };
        let media_type = reply.header("content-type").unwrap_or_default();
        let told = content
            .get(media_type)
            .unwrap_or_else(|| panic!("{media_type}: {}", what()));
        let misfit = self.document.misfit(&reply.json(), &told["schema"]);
        assert_eq!(misfit, None, "{}", what());
    }
}

#[test]
fn what_follows_the_document_is_answered_as_it_says() {
    let bench = Bench::new();
    let order = json!({"terminal": TERMINAL, "kind": "sync-now", "expires_in_s": 3600});
    for _ in 0..ROUNDS {
        let address = bench.platform.address();
        let reply = send(
            address,
            "POST",
            "/admin/commands",
            "",
            order.to_string().as_bytes(),
        );
        bench.learn("/v1/commands", &reply.unwrap().json()["id"]);
    }
    let mut good: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for seed in 0..ROUNDS {
        for operation in operations(&bench.document) {
            let mut dice = Dice::new(seed * 1000 + good.len() as u64);
            let (made, body) = bench.make(&operation, &mut dice);
            let reply = bench.send(&operation, &made);
            bench.learn_from(&operation, body.as_ref(), &reply);
            let statuses = good.entry(operation.name()).or_default();
            statuses.insert(reply.status);
            // The same again, as after an answer that was lost: never worse than before, but
            // where an upload has moved on.
            let again = bench.send(&operation, &made);
            let is_moved = operation.name() == "appendUpload";
            assert!(
                reply.status >= 300 || again.status < 300 || is_moved,
                "{}",
                operation.name()
            );
        }
    }
    let never: Vec<_> = good
        .iter()
        .filter(|(_, statuses)| statuses.iter().all(|status| *status >= 300))
        .collect();
    assert!(never.is_empty(), "never answered well: {never:?}");
}

#[test]
fn what_breaks_the_document_is_refused_with_a_problem() {
    let bench = Bench::new();
    let mut refused = 0;
    for seed in 0..3 {
        for operation in operations(&bench.document) {
            let mut dice = Dice::new(seed);
            let (made, body) = bench.make(&operation, &mut dice);
            for (what, broken) in broken_requests(&bench, &operation, &made, body.as_ref()) {
                let reply = bench.send(&operation, &broken);
                let name = operation.name();
                let is_refused = (400..500).contains(&reply.status)
                    // One bad transaction does not refuse the batch, only itself.
                    || (name == "submitBatch" && what.contains("transactions.0")
                        && reply.json()["results"][0]["result"] == "rejected");
                assert!(
                    is_refused,
                    "{name}, {what}: {}\n{}",
                    reply.status,
                    String::from_utf8_lossy(&broken.body)
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 500, "only {refused} broken requests were tried");
}

/// A request broken in every way that can be thought of, each with a word for it.
fn broken_requests(
    bench: &Bench,
    operation: &Operation<'_>,
    made: &Made,
    body: Option<&Value>,
) -> Vec<(String, Made)> {
    let mut broken = broken_bodies(bench, operation, made, body);
    for parameter in operation.parameters(&bench.document) {
        let name = parameter["name"].as_str().unwrap();
        if parameter["required"] == true && name != "Kiosk-Terminal" {
            let place = parameter["in"].as_str().unwrap();
            broken.extend(broken_parameter(operation, made, place, name));
        }
    }
    broken
}

/// The same with broken bodies.
fn broken_bodies(
    bench: &Bench,
    operation: &Operation<'_>,
    made: &Made,
    body: Option<&Value>,
) -> Vec<(String, Made)> {
    let mut broken = Vec::new();
    let with_body = |body: &[u8]| Made {
        body: body.to_vec(),
        ..made.clone()
    };
    match operation.body() {
        Some(("application/json", schema)) => {
            for (what, bad) in bench.document.broken(body.unwrap(), schema) {
                broken.push((what, with_body(bad.to_string().as_bytes())));
            }
            for (what, bytes) in [
                ("empty", &b""[..]),
                ("cut", b"{\"number\": \"1"),
                ("no UTF-8", b"{\"number\": \"\xFF\"}"),
                ("deep", "[".repeat(4000).as_bytes()),
                ("large", " ".repeat(4 * 1024 * 1024).as_bytes()),
            ] {
                broken.push((what.to_owned(), with_body(bytes)));
            }
        }
        Some((_, schema)) => {
            let most = usize::try_from(schema["maxLength"].as_u64().unwrap()).unwrap();
            if most < 16 * 1024 * 1024 {
                broken.push(("too long".to_owned(), with_body(&vec![b'#'; most + 1])));
            }
            let mut other_media = made.clone();
            other_media
                .headers
                .retain(|(name, _)| name != "Content-Type");
            broken.push(("no media type".to_owned(), other_media));
            if operation.name() != "appendUpload" {
                broken.push(("nonsense".to_owned(), with_body(b"no such thing")));
            }
        }
        None => {}
    }
    broken
}

/// The same with one parameter missing or broken.
fn broken_parameter(
    operation: &Operation<'_>,
    made: &Made,
    place: &str,
    name: &str,
) -> Vec<(String, Made)> {
    let mut broken = Vec::new();
    match place {
        "header" => {
            let mut without = made.clone();
            without.headers.retain(|(header, _)| header != name);
            broken.push((format!("no {name}"), without.clone()));
            without.headers.push((name.to_owned(), "-1".to_owned()));
            broken.push((format!("bad {name}"), without));
        }
        "query" => {
            let (path, query) = made.target.split_once('?').unwrap();
            let others: Vec<&str> = query
                .split('&')
                .filter(|pair| !pair.starts_with(&format!("{name}=")))
                .collect();
            for target in [
                format!("{path}?{}", others.join("&")),
                format!("{path}?{}&{name}=%20-1", others.join("&")),
            ] {
                let mut bad = made.clone();
                bad.target = target;
                broken.push((format!("query {name}"), bad));
            }
        }
        _ => {
            let mut bad = made.clone();
            bad.target = operation
                .path
                .replace(&format!("{{{name}}}"), "%F0%9F%92%A3");
            broken.push((format!("path {name}"), bad));
        }
    }
    broken
}

#[test]
fn what_nobody_signed_is_refused_by_every_operation() {
    let bench = Bench::new();
    for operation in operations(&bench.document) {
        let (made, _) = bench.make(&operation, &mut Dice::new(7));
        if !operation.is_signed() {
            continue;
        }
        let unsigned = bench.send_as_it_is(&operation, &made, &made.headers);
        assert_eq!(unsigned.status, 401, "{}", operation.name());
        let mut headers = made.headers.clone();
        headers.extend(bench.signature(&operation, &made));
        let mut altered = made.clone();
        altered.body.push(b' ');
        let altered = bench.send_as_it_is(&operation, &altered, &headers);
        assert_eq!(altered.status, 401, "{}", operation.name());
    }
}
