//! The contract as a terminal sees it, over a real connection and on both engines: exactly once,
//! resumed uploads, sealed content, verifiable seals, and every misery that can be switched on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/wire.rs"]
mod wire;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_platform::{Config, FaceAnswer, Fault, Platform, verify_seal};
use cluster::Cluster;
use kiosk_sealing::{RecipientKey, attachment_context, payload_context, seal};
use serde_json::{Value, json};
use wire::{PATIENCE, Reply, send};

const ID: &str = "01930000-0000-7000-8000-000000000001";
const FILE_ID: &str = "01930000-0000-7000-8000-0000000000f1";

struct Terminal {
    platform: Platform,
    directory: tempfile::TempDir,
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// What the platform keeps everything on.
#[derive(Clone, Copy)]
enum On {
    Sqlite,
    Postgresql,
}

impl On {
    fn config(self) -> Config {
        Config {
            database: match self {
                Self::Sqlite => None,
                Self::Postgresql => Some(Cluster::shared().database()),
            },
            ..Config::default()
        }
    }
}

fn terminal(on: On) -> Terminal {
    with(on.config())
}

fn with(config: Config) -> Terminal {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::start(directory.path(), local(), config).unwrap();
    Terminal {
        platform,
        directory,
    }
}

impl Terminal {
    /// One request on a connection of its own; `None` when the connection ends without an answer.
    fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<Reply> {
        send(self.platform.address(), method, path, headers, body)
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, "", body.to_string().as_bytes())
            .unwrap()
    }

    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", b"").unwrap()
    }

    /// Sends one transaction and returns its result.
    fn submit(&self, transaction: &Value) -> Value {
        let batch = json!({"terminal": "T1", "transactions": [transaction]});
        let reply = self.post("/v1/batches", &batch);
        assert_eq!(reply.status, 200);
        reply.json()["results"][0].clone()
    }
}

fn transaction(item: &str) -> Value {
    json!({
        "id": ID, "kind": "case", "item": item, "item_version": 1,
        "case_number": "T1-20261122-0001", "enqueued_at": "2026-11-22T01:00:00Z",
        "payload": {"phone": "synthetic"}, "attachments": [],
    })
}

fn a_repeated_transaction_gets_the_same_receipt_and_takes_effect_once(on: On) {
    let terminal = terminal(on);
    let first = terminal.submit(&transaction("pension-qualification"));
    assert_eq!(first["result"], "accepted");
    assert_eq!(first["receipt"]["outcome"], "completed");
    assert!(first["receipt"]["valid_until"].is_string());
    let second = terminal.submit(&transaction("pension-qualification"));
    assert_eq!(second["result"], "duplicate");
    assert_eq!(second["receipt"], first["receipt"]);
    let other = terminal.submit(&transaction("old-age-allowance"));
    assert_eq!(other["result"], "rejected");
    assert_eq!(other["problem"]["code"], "transaction.content-differs");
    let accepted = terminal.platform.accepted().unwrap();
    assert_eq!((accepted.len(), accepted[0].times_received), (1, 2));
    let case = terminal.get("/v1/cases/T1-20261122-0001").json();
    assert_eq!(case["state"], "completed");
}

fn an_answer_lost_after_the_commit_comes_again_as_a_duplicate(on: On) {
    let terminal = terminal(on);
    terminal.platform.set_fault(Fault::DropAfterCommit);
    let batch = json!({"terminal": "T1", "transactions": [transaction("old-age-allowance")]});
    let lost = terminal.send("POST", "/v1/batches", "", batch.to_string().as_bytes());
    assert!(lost.is_none(), "an answer came through");
    terminal.platform.set_fault(Fault::None);
    let again = terminal.submit(&transaction("old-age-allowance"));
    assert_eq!(again["result"], "duplicate");
    assert_eq!(
        again["receipt"]["reference"],
        terminal.platform.accepted().unwrap()[0].reference
    );
}

fn faults_have_no_effect_and_end_when_switched_off(on: On) {
    let terminal = terminal(on);
    let batch = json!({"terminal": "T1", "transactions": [transaction("old-age-allowance")]});
    for status in [500, 503, 429, 401] {
        terminal.platform.set_fault(Fault::Status { status });
        let reply = terminal.post("/v1/batches", &batch);
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(reply.json()["status"], status);
        assert_eq!(
            reply.header("retry-after").is_some(),
            status == 503 || status == 429
        );
    }
    // The switches themselves stay reachable, over HTTP too.
    let reply = terminal.post("/admin/fault", &json!({"fault": "rubbish"}));
    assert_eq!(reply.status, 200);
    let rubbish = terminal.post("/v1/batches", &batch);
    assert_eq!(rubbish.status, 200);
    assert!(serde_json::from_slice::<Value>(&rubbish.body).is_err());
    assert!(terminal.platform.accepted().unwrap().is_empty());
    terminal.post("/admin/fault", &json!({"fault": "slow", "ms": 1}));
    assert_eq!(
        terminal.submit(&transaction("old-age-allowance"))["result"],
        "accepted"
    );
}

fn a_cut_network_refuses_and_comes_back_on_the_same_port(on: On) {
    let terminal = terminal(on);
    let address = terminal.platform.address();
    let mut open = TcpStream::connect(address).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    open.write_all(b"GET /v1/health HTTP/1.1\r\nHost: p\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    open.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    terminal.platform.set_network(false).unwrap();
    // What was sent already may still be read; after it the connection is over.
    drop(open.read_to_end(&mut Vec::new()));
    assert!(TcpStream::connect(address).is_err());
    terminal.platform.set_network(false).unwrap();
    terminal.platform.set_network(true).unwrap();
    assert_eq!(terminal.platform.address(), address);
    assert_eq!(terminal.get("/v1/health").json(), json!({"status": "ok"}));
}

fn a_restart_on_the_same_port_and_directory_goes_on(on: On) {
    let config = on.config();
    let terminal = with(config.clone());
    let address = terminal.platform.address();
    let first = terminal.submit(&transaction("old-age-allowance"));
    let keys = terminal.get("/v1/seal-keys").json();
    let Terminal {
        platform,
        directory,
    } = terminal;
    platform.stop();
    let platform = Platform::start(directory.path(), address, config).unwrap();
    let terminal = Terminal {
        platform,
        directory,
    };
    let second = terminal.submit(&transaction("old-age-allowance"));
    assert_eq!(second["result"], "duplicate");
    assert_eq!(second["receipt"], first["receipt"]);
    assert_eq!(terminal.get("/v1/seal-keys").json(), keys);
}

fn upload_headers(length: usize, digest: &str) -> String {
    let pairs: Vec<String> = [
        ("id", FILE_ID),
        ("name", "page-1.jpg"),
        ("media_type", "image/jpeg"),
        ("sha256", digest),
    ]
    .iter()
    .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)))
    .collect();
    format!(
        "Tus-Resumable: 1.0.0\r\nUpload-Length: {length}\r\nUpload-Metadata: {}\r\n",
        pairs.join(",")
    )
}

fn piece_headers(offset: usize) -> String {
    format!(
        "Tus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
         Content-Type: application/offset+octet-stream\r\n"
    )
}

/// SHA-256 of 600 bytes of "a", computed by `sha256sum`.
const DIGEST: &str = include_str!("digest-600-a.txt");

fn an_upload_resumes_where_it_stands_and_its_transaction_waits_for_it(on: On) {
    let terminal = terminal(on);
    let (digest, bytes) = (DIGEST.trim(), [b'a'; 600]);
    let mut with_file = transaction("old-age-allowance");
    with_file["attachments"] = json!([{"id": FILE_ID, "name": "page-1.jpg",
        "media_type": "image/jpeg", "size": 600, "sha256": digest}]);
    assert_eq!(terminal.submit(&with_file)["result"], "retry");

    let headers = upload_headers(600, digest);
    let made = terminal
        .send("POST", "/v1/attachments", &headers, b"")
        .unwrap();
    assert_eq!(made.status, 201);
    let place = made.header("location").unwrap().to_owned();
    let patch = |offset: usize, piece: &[u8]| {
        terminal
            .send("PATCH", &place, &piece_headers(offset), piece)
            .unwrap()
    };
    assert_eq!(patch(0, &bytes[..200]).status, 204);
    // Made again after a lost answer: the same place, the same offset.
    let again = terminal
        .send("POST", "/v1/attachments", &headers, b"")
        .unwrap();
    assert_eq!(
        (again.status, again.header("upload-offset")),
        (201, Some("200"))
    );
    let head = terminal
        .send("HEAD", &place, "Tus-Resumable: 1.0.0\r\n", b"")
        .unwrap();
    assert_eq!(head.header("upload-offset"), Some("200"));
    assert_eq!(patch(0, &bytes[..200]).status, 409);
    assert_eq!(patch(200, &[b'a'; 401]).status, 413);
    assert_eq!(terminal.submit(&with_file)["result"], "retry");
    let last = patch(200, &bytes[200..]);
    assert_eq!(
        (last.status, last.header("upload-offset")),
        (204, Some("600"))
    );
    assert_eq!(terminal.submit(&with_file)["result"], "accepted");
    assert_eq!(terminal.platform.accepted().unwrap()[0].attachments, 1);
}

fn bytes_that_do_not_match_their_digest_start_over(on: On) {
    let terminal = terminal(on);
    let headers = upload_headers(600, DIGEST.trim());
    terminal
        .send("POST", "/v1/attachments", &headers, b"")
        .unwrap();
    let place = format!("/v1/attachments/{FILE_ID}");
    let wrong = terminal
        .send("PATCH", &place, &piece_headers(0), &[b'b'; 600])
        .unwrap();
    assert_eq!(wrong.status, 460);
    let right = terminal
        .send("PATCH", &place, &piece_headers(0), &[b'a'; 600])
        .unwrap();
    assert_eq!(right.status, 204);
    let no_version = terminal.send("HEAD", &place, "", b"").unwrap();
    assert_eq!(no_version.status, 412);
}

fn a_certificate_is_a_pdf_whose_seal_verifies(on: On) {
    let terminal = terminal(on);
    let request = json!({"item": "insurance-certificate", "number": "440100199001011237",
        "name": "测试甲", "parameters": {"period": "24"}, "purpose": "子女入学"});
    let credential = terminal.post("/v1/credentials", &request).json();
    assert_eq!(credential["pages"], 1, "{credential}");
    let pdf = STANDARD
        .decode(credential["pdf"].as_str().unwrap())
        .unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    let key = &terminal.get("/v1/seal-keys").json()["keys"][0];
    assert_eq!(key["key_id"], credential["seal"]["key_id"]);
    let public_key = key["public_key"].as_str().unwrap();
    let signature = credential["seal"]["signature"].as_str().unwrap();
    assert!(verify_seal(public_key, &pdf, signature));
    let mut altered = pdf.clone();
    altered[100] ^= 1;
    assert!(!verify_seal(public_key, &altered, signature));
    if let Some(path) = std::env::var_os("KEEP_CERTIFICATE") {
        std::fs::write(path, pdf).unwrap();
    }
    let unknown = json!({"item": "x", "number": "1", "name": "n", "purpose": "p"});
    assert_eq!(terminal.post("/v1/credentials", &unknown).status, 404);
}

fn people_faces_and_witnesses_are_answered_as_configured(on: On) {
    let terminal = terminal(on);
    let elder = json!({"number": "440100195001010010", "name": "测试戊"});
    let answer = terminal.post("/v1/identity-checks", &elder).json();
    assert_eq!(answer["known"], true);
    assert_eq!(answer["eligible"]["old-age-allowance"]["eligible"], true);
    let young = json!({"number": "440100199001011237", "name": "测试甲"});
    let answer = terminal.post("/v1/identity-checks", &young).json();
    let allowance = &answer["eligible"]["old-age-allowance"];
    assert_eq!(allowance["reason"], "未满70周岁");
    assert_eq!(
        answer["eligible"]["insurance-certificate"]["eligible"],
        true
    );

    let picture = STANDARD.encode([0xFF, 0xD8, 0xFF, 0xE0]);
    let question = json!({"number": "1", "name": "测试甲", "image": picture});
    assert_eq!(
        terminal.post("/v1/face-comparisons", &question).json()["result"],
        "match"
    );
    terminal.platform.set_face(FaceAnswer::NoFace);
    assert_eq!(
        terminal.post("/v1/face-comparisons", &question).json()["result"],
        "no-face"
    );
    let no_picture = json!({"number": "1", "name": "测试甲", "image": "!"});
    assert_eq!(
        terminal.post("/v1/face-comparisons", &no_picture).status,
        422
    );

    let cadre = &Config::default().witnesses[0];
    for (number, expected) in [(cadre.as_str(), true), ("440100199001011237", false)] {
        let question = json!({"number": number, "name": "测试己", "item": "pension-qualification"});
        let answer = terminal.post("/v1/witnesses", &question).json();
        assert_eq!(answer["is_authorized"], expected);
    }
}

fn the_catalogue_is_sent_once_a_version(on: On) {
    let terminal = terminal(on);
    let first = terminal.get("/v1/catalogue");
    let etag = first.header("etag").unwrap().to_owned();
    let condition = format!("If-None-Match: {etag}\r\n");
    let same = terminal
        .send("GET", "/v1/catalogue", &condition, b"")
        .unwrap();
    assert_eq!((same.status, same.body.len()), (304, 0));
    let item = json!({"id": "old-age-allowance", "version": 2, "is_suspended": true});
    assert_eq!(terminal.post("/admin/catalogue", &item).status, 200);
    let next = terminal
        .send("GET", "/v1/catalogue", &condition, b"")
        .unwrap();
    assert_eq!(next.status, 200);
    let rejected = terminal.submit(&transaction("old-age-allowance"));
    assert_eq!(rejected["problem"]["code"], "item.suspended");
}

fn malformed_and_oversized_requests_get_a_problem_and_no_effect(on: On) {
    let terminal = terminal(on);
    let send = |body: &[u8]| terminal.send("POST", "/v1/batches", "", body).unwrap();
    assert_eq!(send(b"{").status, 400);
    assert_eq!(send(b"\xFF\xFF").json()["code"], "request.json");
    let too_large = send(&vec![b' '; 300 * 1024]);
    assert_eq!(too_large.status, 413);
    let many: Vec<Value> = (0..101).map(|_| transaction("a")).collect();
    let batch = json!({"terminal": "T1", "transactions": many});
    assert_eq!(terminal.post("/v1/batches", &batch).status, 413);
    assert_eq!(
        terminal.get("/v1/cases/none").json()["code"],
        "case.unknown"
    );
    assert_eq!(terminal.get("/nowhere").status, 404);
    assert!(terminal.platform.accepted().unwrap().is_empty());
}

fn the_page_shows_what_is_held_without_personal_data(on: On) {
    let terminal = terminal(on);
    let mut personal = transaction("old-age-allowance");
    personal["payload"] = json!({"name": "测试甲", "number": "440100199001011237"});
    terminal.submit(&personal);
    let page = String::from_utf8(terminal.get("/admin").body).unwrap();
    assert!(page.contains("T1-20261122-0001"));
    assert!(!page.contains("测试甲") && !page.contains("440100199001011237"));
    let moved = json!({"case_number": "T1-20261122-0001", "state": "processing", "text": "审核中"});
    assert_eq!(terminal.post("/admin/cases", &moved).status, 200);
    assert_eq!(
        terminal.get("/v1/cases/T1-20261122-0001").json()["state"],
        "processing"
    );
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "an envelope is made for one use"
)]
fn sealed(key: &str, id: &str, payload: Value, attachment: Option<&[u8]>) -> (Value, Vec<u8>) {
    let key: RecipientKey = key.parse().unwrap();
    let mut transaction = transaction("old-age-allowance");
    transaction["id"] = json!(id);
    let id = id.parse().unwrap();
    let context = payload_context("T1", id);
    let envelope = seal(&key, &context, payload.to_string().as_bytes()).unwrap();
    transaction["payload_suite"] = json!(key.suite().to_string());
    transaction["payload"] = json!(STANDARD.encode(envelope));
    let Some(picture) = attachment else {
        return (transaction, Vec::new());
    };
    let context = attachment_context("T1", id, FILE_ID.parse().unwrap());
    let envelope = seal(&key, &context, picture).unwrap();
    transaction["attachments"] = json!([{"id": FILE_ID, "name": "page-1.jpg",
        "media_type": "image/jpeg", "size": envelope.len(),
        "sha256": kiosk_sealing::bundle::sha256_text(&envelope)}]);
    (transaction, envelope)
}

fn what_is_sealed_is_opened_with_its_attachments_and_kept_once(on: On) {
    let terminal = terminal(on);
    let key = terminal.platform.sealing_key();
    let (transaction, envelope) = sealed(&key, ID, json!({"name": "测试一"}), Some(b"a picture"));
    assert_eq!(terminal.submit(&transaction)["result"], "retry");
    let digest = transaction["attachments"][0]["sha256"].as_str().unwrap();
    let headers = upload_headers(envelope.len(), digest);
    let made = terminal.send("POST", "/v1/attachments", &headers, b"");
    assert_eq!(made.unwrap().status, 201);
    let place = format!("/v1/attachments/{FILE_ID}");
    let half = envelope.len() / 2;
    for (offset, piece) in [(0, &envelope[..half]), (half, &envelope[half..])] {
        let patched = terminal.send("PATCH", &place, &piece_headers(offset), piece);
        assert_eq!(patched.unwrap().status, 204);
    }
    assert_eq!(terminal.submit(&transaction)["result"], "accepted");
    assert_eq!(terminal.submit(&transaction)["result"], "duplicate");
    let contract = terminal.platform.contract();
    let content = contract.content(ID.parse().unwrap()).unwrap().unwrap();
    assert_eq!(content.document["payload"]["name"], "测试一");
    assert_eq!(
        content.attachments,
        [(FILE_ID.parse().unwrap(), b"a picture".to_vec())]
    );
    assert!(!format!("{content:?}").contains("测试一"));
    let page = String::from_utf8(terminal.get("/admin").body).unwrap();
    assert!(!page.contains("测试一") && !contract.show().unwrap().contains("测试一"));
    // The upload itself still answers, so that a lost answer does no harm.
    let head = terminal.send("HEAD", &place, "Tus-Resumable: 1.0.0\r\n", b"");
    let length = envelope.len().to_string();
    assert_eq!(head.unwrap().header("upload-offset"), Some(length.as_str()));
}

fn a_rotated_sealing_key_opens_old_and_new(on: On) {
    let terminal = terminal(on);
    let old = terminal.platform.sealing_key();
    let new = terminal.post("/admin/sealing-key", &json!({})).json();
    assert_ne!(new["sealing_key"], old.as_str());
    for (id, key) in [
        (ID, old.as_str()),
        (FILE_ID, new["sealing_key"].as_str().unwrap()),
    ] {
        let (transaction, _) = sealed(key, id, json!({}), None);
        assert_eq!(terminal.submit(&transaction)["result"], "accepted");
    }
}

fn a_compressed_batch_is_a_batch_and_a_bomb_is_refused(on: On) {
    let terminal = terminal(on);
    let zstd = |body: &[u8]| {
        let body = zstd::bulk::compress(body, 3).unwrap();
        let headers = "Content-Encoding: zstd\r\n";
        terminal
            .send("POST", "/v1/batches", headers, &body)
            .unwrap()
    };
    let batch = json!({"terminal": "T1", "transactions": [transaction("old-age-allowance")]});
    let reply = zstd(batch.to_string().as_bytes());
    assert_eq!(reply.json()["results"][0]["result"], "accepted");
    let bomb = zstd(&vec![b' '; 32 * 1024 * 1024]);
    assert_eq!(
        (bomb.status, bomb.json()["code"].as_str()),
        (413, Some("batch.too-large"))
    );
    let other = terminal.send("POST", "/v1/batches", "Content-Encoding: br\r\n", b"x");
    assert_eq!(other.unwrap().status, 415);
}

fn one_upstream_down_leaves_the_others_alone(on: On) {
    let terminal = terminal(on);
    let down = json!({"name": "medical", "is_up": false});
    assert_eq!(terminal.post("/admin/upstreams", &down).status, 200);
    let mut medical = transaction("old-age-allowance");
    medical["upstream"] = json!("medical");
    let mut pension = transaction("old-age-allowance");
    pension["upstream"] = json!("pension");
    pension["id"] = json!(FILE_ID);
    let result = terminal.submit(&medical);
    assert_eq!(result["result"], "retry");
    assert_eq!(result["problem"]["code"], "upstream.unavailable");
    assert_eq!(result["problem"]["upstream"], "medical");
    assert!(result["retry_after_s"].as_u64().unwrap() > 0);
    assert_eq!(terminal.submit(&pension)["result"], "accepted");
    terminal.platform.set_upstream("medical", true).unwrap();
    assert_eq!(terminal.submit(&medical)["result"], "accepted");
}

fn results_can_be_spoiled_and_the_effects_are_not(on: On) {
    let terminal = terminal(on);
    let mut second = transaction("old-age-allowance");
    second["id"] = json!(FILE_ID);
    let batch =
        json!({"terminal": "T1", "transactions": [transaction("old-age-allowance"), second]});
    let ids = |fault: &str| -> Vec<String> {
        terminal.post("/admin/fault", &json!({"fault": fault}));
        let reply = terminal.post("/v1/batches", &batch).json();
        let results = reply["results"].as_array().unwrap();
        results
            .iter()
            .map(|result| result["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("none"), [ID, FILE_ID]);
    assert_eq!(ids("reordered-results"), [FILE_ID, ID]);
    assert_eq!(ids("doubled-results"), [ID, ID, FILE_ID, FILE_ID]);
    let unknown = ids("unknown-ids");
    assert!(unknown.len() == 2 && unknown.iter().all(|id| id != ID && id != FILE_ID));
    let many = ids("too-many-results");
    assert_eq!(
        (many.len(), &many[..2]),
        (1002, &[ID.to_owned(), FILE_ID.to_owned()][..])
    );
    terminal.post("/admin/fault", &json!({"fault": "accept-twice"}));
    let reply = terminal.post("/v1/batches", &batch).json();
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|result| result["result"] == "accepted"));
    let accepted = terminal.platform.accepted().unwrap();
    assert_eq!(accepted.len(), 2);
    assert!(accepted.iter().all(|each| each.times_received == 6));
}

fn a_burst_of_failures_ends_by_itself(on: On) {
    let terminal = terminal(on);
    let burst = json!({"fault": "burst", "requests": 3, "status": 502});
    terminal.post("/admin/fault", &burst);
    let statuses: Vec<u16> = (0..5).map(|_| terminal.get("/v1/health").status).collect();
    assert_eq!(statuses, [502, 502, 502, 200, 200]);
}

fn a_half_closed_answer_is_half_an_answer(on: On) {
    let terminal = terminal(on);
    terminal.platform.set_fault(Fault::HalfClosed);
    let mut stream = TcpStream::connect(terminal.platform.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = json!({"terminal": "T1", "transactions": [transaction("old-age-allowance")]});
    let body = body.to_string();
    let head = "POST /v1/batches HTTP/1.1\r\nHost: p\r\nContent-Length:";
    write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(!answer.ends_with(b"}]}"), "all of it came");
    // The other direction is still open.
    stream.write_all(b"GET").unwrap();
    terminal.platform.set_fault(Fault::None);
    assert_eq!(
        terminal.submit(&transaction("old-age-allowance"))["result"],
        "duplicate"
    );
}

fn an_endless_answer_goes_on_until_somebody_hangs_up(on: On) {
    let terminal = terminal(on);
    terminal.platform.set_fault(Fault::EndlessReply);
    let mut stream = TcpStream::connect(terminal.platform.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"POST /v1/batches HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let read = std::io::copy(&mut (&mut stream).take(20_000_000), &mut std::io::sink());
    assert_eq!(read.unwrap(), 20_000_000);
    drop(stream);
    terminal.platform.set_fault(Fault::None);
    assert_eq!(terminal.get("/v1/health").status, 200);
}

fn the_same_contract_without_a_socket(on: On) {
    let terminal = terminal(on);
    let contract = terminal.platform.contract();
    let now = "2026-11-22T01:00:00Z".parse().unwrap();
    let batch = json!({"terminal": "T1", "transactions": [transaction("old-age-allowance")]});
    let body = batch.to_string();
    let (status, answer) = contract.handle_batch("T1", body.as_bytes(), now);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (status, &answer["results"][0]["result"]),
        (200, &json!("accepted"))
    );
    assert_eq!(
        answer["results"][0]["receipt"]["accepted_at"],
        "2026-11-22T01:00:00Z"
    );
    assert_eq!(
        terminal.submit(&transaction("old-age-allowance"))["result"],
        "duplicate"
    );
    assert_eq!(contract.handle_batch("T2", body.as_bytes(), now).0, 403);
    contract.set_fault(Fault::Burst {
        requests: 1,
        status: 503,
    });
    assert_eq!(contract.handle_batch("T1", body.as_bytes(), now).0, 503);
    let placement = central_platform::Placement {
        id: FILE_ID.parse().unwrap(),
        name: "page-1.jpg",
        media_type: "image/jpeg",
        length: 600,
        sha256: DIGEST.trim(),
    };
    assert_eq!(contract.handle_place(&placement), (201, 0));
    assert_eq!(
        contract.handle_chunk(placement.id, 0, &[b'a'; 200]),
        (204, 200)
    );
    assert_eq!(contract.handle_chunk(placement.id, 0, &[b'a'; 200]).0, 409);
    assert_eq!(contract.handle_offset(placement.id), (200, 200));
    assert_eq!(
        contract.handle_chunk(placement.id, 200, &[b'a'; 400]),
        (204, 600)
    );
}

fn services_answer_by_id_and_once(on: On) {
    let terminal = terminal(on);
    let order = json!({"id": ID, "item": "a", "case_number": "T1-1", "amount_fen": 100,
        "subject": "s", "expires_in_s": 60});
    assert_eq!(terminal.post("/v1/payments", &order).status, 201);
    let again = terminal.post("/v1/payments", &order);
    assert_eq!(
        (again.status, again.json()["state"].as_str()),
        (200, Some("created"))
    );
    let mut other = order.clone();
    other["amount_fen"] = json!(1);
    assert_eq!(terminal.post("/v1/payments", &other).status, 409);
    let paid = terminal
        .post("/admin/payments", &json!({"id": ID, "act": "pay"}))
        .json();
    assert_eq!(
        (paid["state"].as_str(), paid["paid_at"].is_string()),
        (Some("paid"), true)
    );
    let path = format!("/v1/payments/{ID}");
    assert_eq!(terminal.get(&path).json()["state"], "paid");
    let cancelled = terminal.post(&format!("{path}/cancel"), &json!({})).json();
    assert_eq!(cancelled["state"], "refund-pending");

    terminal.submit(&transaction("old-age-allowance"));
    let place = "/v1/cases/T1-20261122-0001/logistics";
    assert_eq!(terminal.get(place).json()["state"], "none");
    let step = json!({"case_number": "T1-20261122-0001", "state": "in-transit",
        "carrier": "EMS", "tracking_number": "1", "text": "已发出"});
    assert_eq!(terminal.post("/admin/logistics", &step).status, 200);
    assert_eq!(terminal.get(place).json()["events"][0]["text"], "已发出");
    assert_eq!(terminal.get("/v1/cases/none/logistics").status, 404);

    let session = json!({"id": ID, "item": "a"});
    assert_eq!(
        terminal.post("/v1/video-sessions", &session).json()["position"],
        0
    );
    let path = format!("/v1/video-sessions/{ID}");
    for _ in 0..2 {
        assert_eq!(terminal.send("DELETE", &path, "", b"").unwrap().status, 204);
    }
    assert_eq!(terminal.get(&path).json()["state"], "ended");
}

fn ticket(revision: u32, state: &str) -> Value {
    json!({
        "id": ID, "number": "T1-0001", "device": "slip-printer", "class": "printer",
        "code": "printer.media-jam", "action": "clear-nearest", "state": state,
        "level": "village", "opened_at": "2026-11-22T01:00:00Z",
        "respond_by": "2026-11-22T05:00:00Z", "repair_by": "2026-11-23T01:00:00Z",
        "acknowledged_at": null, "mended_at": null, "closed_at": null, "by": "tech-3",
        "note": "纸屑", "parts": [{"what": "cutter", "old_serial": "A1", "new_serial": ""}],
        "before": {"id": FILE_ID, "test": "print", "device": "slip-printer",
            "verdict": "failed", "figures": {"darkness": "0.2"}, "problem": "printer.media-jam",
            "by": "tech-3", "at": "2026-11-22T01:00:00Z", "took_ms": 900},
        "after": null, "times_seen": 3, "times_reopened": 0, "revision": revision,
    })
}

impl Terminal {
    fn tell(&self, of: &str, tickets: &[Value]) -> Vec<String> {
        let body = json!({ "tickets": tickets }).to_string();
        let headers = format!("Kiosk-Terminal: {of}\r\n");
        let reply = self
            .send("POST", "/v1/tickets", &headers, body.as_bytes())
            .unwrap();
        assert_eq!(reply.status, 200, "{}", reply.json());
        let results = reply.json()["results"].as_array().unwrap().clone();
        assert_eq!(results.len(), tickets.len());
        results
            .iter()
            .map(|result| result["state"].as_str().unwrap().to_owned())
            .collect()
    }

    fn tickets(&self, query: &str) -> Vec<Value> {
        let reply = self.get(&format!("/admin/tickets{query}")).json();
        reply["tickets"].as_array().unwrap().clone()
    }
}

fn the_newest_revision_of_a_ticket_is_kept_in_whatever_order_they_come(on: On) {
    let terminal = terminal(on);
    let revisions = [
        (2, "acknowledged", "stored"),
        (2, "acknowledged", "known"),
        (1, "open", "known"),
        (4, "mended", "stored"),
        (3, "acknowledged", "known"),
    ];
    for (revision, state, expected) in revisions {
        assert_eq!(terminal.tell("T1", &[ticket(revision, state)]), [expected]);
    }
    let mut other = ticket(9, "open");
    other["id"] = json!(FILE_ID);
    assert_eq!(
        terminal.tell("T2", &[ticket(9, "closed"), other.clone(), other]),
        ["refused", "stored", "known"],
        "a ticket belongs to its terminal"
    );
    let kept = terminal.tickets("?terminal=T1");
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0]["times_received"].as_u64(), &kept[0]["terminal"]),
        (Some(5), &json!("T1"))
    );
    // All of it comes back, with the test inside.
    assert_eq!(kept[0]["ticket"], ticket(4, "mended"));
    let open = terminal.tickets("?open=1");
    assert_eq!(open.len(), 1);
    assert_eq!(open[0]["terminal"], "T2");
    assert_eq!(terminal.tickets("").len(), 2);
    assert!(terminal.tickets("?terminal=T1&open=1").is_empty());
    assert_eq!(terminal.get("/admin/tickets?open=2").status, 422);
    assert_eq!(terminal.get("/admin/tickets?x=1").status, 422);
    let page = String::from_utf8(terminal.get("/admin").body).unwrap();
    assert!(page.contains("T1-0001") && page.contains("mended"));
    assert!(!page.contains("纸屑"), "notes are not for the page");
}

fn a_ticket_outside_its_limits_refuses_the_request_and_stores_nothing(on: On) {
    let terminal = terminal(on);
    let refused = |body: &Value, headers: &str| {
        let body = body.to_string();
        terminal
            .send("POST", "/v1/tickets", headers, body.as_bytes())
            .unwrap()
            .status
    };
    let with = |name: &str, value: Value| {
        let mut bad = ticket(1, "open");
        bad[name] = value;
        json!({"tickets": [ticket(1, "open"), bad]})
    };
    let by = "Kiosk-Terminal: T1\r\n";
    for (body, status) in [
        (with("state", json!("gone")), 400),
        (with("after", json!({"id": ID})), 400),
        (with("number", json!("")), 422),
        (with("note", json!("长".repeat(2049))), 422),
        (with("revision", json!(0)), 422),
        (with("opened_at", json!("yesterday")), 400),
        (json!({"tickets": vec![ticket(1, "open"); 51]}), 422),
        (json!({"tickets": {}}), 400),
    ] {
        assert_eq!(refused(&body, by), status, "{body:.200}");
    }
    let large = json!({"tickets": [with("note", json!("x".repeat(300_000)))]});
    assert_eq!(refused(&large, by), 413);
    assert_eq!(refused(&json!({"tickets": [ticket(1, "open")]}), ""), 400);
    assert!(terminal.tickets("").is_empty());
}

fn tickets_outlive_a_restart_and_answers_without_a_socket_are_the_same(on: On) {
    let config = on.config();
    let terminal = with(config.clone());
    assert_eq!(terminal.tell("T1", &[ticket(1, "open")]), ["stored"]);
    let Terminal {
        platform,
        directory,
    } = terminal;
    platform.stop();
    let platform = Platform::start(directory.path(), local(), config).unwrap();
    let terminal = Terminal {
        platform,
        directory,
    };
    assert_eq!(terminal.tell("T1", &[ticket(1, "open")]), ["known"]);
    let now = "2026-11-22T01:00:00Z".parse().unwrap();
    let body = json!({"tickets": [ticket(2, "closed")]}).to_string();
    let contract = terminal.platform.contract();
    let (status, answer) = contract.handle_tickets("T1", body.as_bytes(), now);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (status, &answer["results"][0]["state"]),
        (200, &json!("stored"))
    );
    assert_eq!(
        terminal.tickets("")[0]["received_at"],
        "2026-11-22T01:00:00Z"
    );
    contract.set_fault(Fault::Status { status: 503 });
    assert_eq!(contract.handle_tickets("T1", body.as_bytes(), now).0, 503);
}

/// The step of a file is proved beside the steps themselves; this is the server's.
#[test]
fn a_server_of_version_2_takes_tickets_after_the_upgrade() {
    let url = Cluster::shared().database();
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    let version_2 = include_str!("../sql/postgresql/002_whole_contract.sql");
    client.batch_execute(version_2).unwrap();
    client
        .batch_execute("INSERT INTO catalogue_item VALUES ('of-version-2', 7, 0)")
        .unwrap();
    let config = Config {
        database: Some(url),
        ..Config::default()
    };
    for expected in ["stored", "known"] {
        let terminal = with(config.clone());
        assert_eq!(terminal.tell("T1", &[ticket(1, "open")]), [expected]);
        let items = terminal.get("/v1/catalogue").json()["items"].clone();
        assert_eq!(items.as_array().unwrap().len(), 1, "{items}");
    }
}

/// Makes one test of each promise and engine.
macro_rules! on_both_engines {
    ($($promise:ident)*) => {
        mod sqlite {
            $(#[test] fn $promise() { super::$promise(super::On::Sqlite); })*
        }
        mod postgresql {
            $(#[test] fn $promise() { super::$promise(super::On::Postgresql); })*
        }
    };
}

on_both_engines! {
    a_repeated_transaction_gets_the_same_receipt_and_takes_effect_once
    an_answer_lost_after_the_commit_comes_again_as_a_duplicate
    faults_have_no_effect_and_end_when_switched_off
    a_cut_network_refuses_and_comes_back_on_the_same_port
    a_restart_on_the_same_port_and_directory_goes_on
    an_upload_resumes_where_it_stands_and_its_transaction_waits_for_it
    bytes_that_do_not_match_their_digest_start_over
    a_certificate_is_a_pdf_whose_seal_verifies
    people_faces_and_witnesses_are_answered_as_configured
    the_catalogue_is_sent_once_a_version
    malformed_and_oversized_requests_get_a_problem_and_no_effect
    the_page_shows_what_is_held_without_personal_data
    what_is_sealed_is_opened_with_its_attachments_and_kept_once
    a_rotated_sealing_key_opens_old_and_new
    a_compressed_batch_is_a_batch_and_a_bomb_is_refused
    one_upstream_down_leaves_the_others_alone
    results_can_be_spoiled_and_the_effects_are_not
    a_burst_of_failures_ends_by_itself
    a_half_closed_answer_is_half_an_answer
    an_endless_answer_goes_on_until_somebody_hangs_up
    the_same_contract_without_a_socket
    services_answer_by_id_and_once
    the_newest_revision_of_a_ticket_is_kept_in_whatever_order_they_come
    a_ticket_outside_its_limits_refuses_the_request_and_stores_nothing
    tickets_outlive_a_restart_and_answers_without_a_socket_are_the_same
}
