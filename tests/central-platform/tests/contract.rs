//! The contract as a terminal sees it, over a real connection: exactly once, resumed uploads,
//! verifiable seals, and every misery that can be switched on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_platform::{Config, FaceAnswer, Fault, Platform, verify_seal};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const ID: &str = "01930000-0000-7000-8000-000000000001";
const FILE_ID: &str = "01930000-0000-7000-8000-0000000000f1";

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

struct Terminal {
    platform: Platform,
    directory: tempfile::TempDir,
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn terminal() -> Terminal {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::start(directory.path(), local(), Config::default()).unwrap();
    Terminal {
        platform,
        directory,
    }
}

impl Terminal {
    /// One request on a connection of its own; `None` when the connection ends without an answer.
    fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<Reply> {
        let mut stream = TcpStream::connect(self.platform.address()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: platform\r\nConnection: close\r\n\
             Content-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        // A refused body may be answered before it is read; then writing fails.
        drop(stream.write_all(body));
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes));
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Some(Reply {
            status: head.get(9..12)?.parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        })
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

#[test]
fn a_repeated_transaction_gets_the_same_receipt_and_takes_effect_once() {
    let terminal = terminal();
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

#[test]
fn an_answer_lost_after_the_commit_comes_again_as_a_duplicate() {
    let terminal = terminal();
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

#[test]
fn faults_have_no_effect_and_end_when_switched_off() {
    let terminal = terminal();
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

#[test]
fn a_cut_network_refuses_and_comes_back_on_the_same_port() {
    let terminal = terminal();
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

#[test]
fn a_restart_on_the_same_port_and_directory_goes_on() {
    let Terminal {
        platform,
        directory,
    } = terminal();
    let address = platform.address();
    let terminal = Terminal {
        platform,
        directory,
    };
    let first = terminal.submit(&transaction("old-age-allowance"));
    let keys = terminal.get("/v1/seal-keys").json();
    let Terminal {
        platform,
        directory,
    } = terminal;
    platform.stop();
    let platform = Platform::start(directory.path(), address, Config::default()).unwrap();
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

#[test]
fn an_upload_resumes_where_it_stands_and_its_transaction_waits_for_it() {
    let terminal = terminal();
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

#[test]
fn bytes_that_do_not_match_their_digest_start_over() {
    let terminal = terminal();
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

#[test]
fn a_certificate_is_a_pdf_whose_seal_verifies() {
    let terminal = terminal();
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

#[test]
fn people_faces_and_witnesses_are_answered_as_configured() {
    let terminal = terminal();
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

#[test]
fn the_catalogue_is_sent_once_a_version() {
    let terminal = terminal();
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

#[test]
fn malformed_and_oversized_requests_get_a_problem_and_no_effect() {
    let terminal = terminal();
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

#[test]
fn the_page_shows_what_is_held_without_personal_data() {
    let terminal = terminal();
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
