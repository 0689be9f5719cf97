//! The client against peers that are scripted byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};

use kiosk_sealing::{Algorithm, RecipientSecret, Suite};

use super::*;
use crate::platform::drain::sample;

/// Requests that a peer may keep for the test to look at.
const KEPT: usize = 64;
/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a peer does with one connection.
enum Doing {
    /// Answers one request with these bytes and closes.
    Say(Vec<u8>),
    /// Says this, then the same rubbish until the other end has had enough; the largest number of
    /// bytes is a limit for the test.
    Pour(&'static str, Vec<u8>, usize),
    /// Says this and closes its half for writing, but keeps the connection.
    Half(&'static str),
}

/// A request as it came.
#[derive(Debug)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut seen = Seen {
                head,
                body: bytes[end + 4..].to_vec(),
            };
            let length = seen
                .header("content-length")
                .map_or(0, |text| text.parse().unwrap());
            while seen.body.len() < length {
                let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
                seen.body.extend_from_slice(&buffer[..count]);
            }
            return Some(seen);
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// Listens and does one thing after the other, a connection each.
fn peer(listen: &str, doings: Vec<Doing>) -> (SocketAddr, Receiver<Seen>) {
    let listener = TcpListener::bind(listen).unwrap();
    let address = listener.local_addr().unwrap();
    let (keep, kept) = sync_channel(KEPT);
    std::thread::spawn(move || {
        for doing in doings {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let Some(seen) = read_request(&mut stream) else {
                continue;
            };
            drop(keep.send(seen));
            match doing {
                Doing::Say(bytes) => drop(stream.write_all(&bytes)),
                Doing::Pour(head, rubbish, limit) => {
                    drop(stream.write_all(head.as_bytes()));
                    let mut poured = 0;
                    while poured < limit && stream.write_all(&rubbish).is_ok() {
                        poured += rubbish.len();
                    }
                    assert!(poured < limit, "the client swallowed everything");
                }
                Doing::Half(head) => {
                    drop(stream.write_all(head.as_bytes()));
                    drop(stream.shutdown(std::net::Shutdown::Write));
                    // Until the other end closes too.
                    drop(stream.read(&mut [0; 1]));
                }
            }
        }
    });
    (address, kept)
}

fn say(status: &str, headers: &str, body: &str) -> Doing {
    Doing::Say(
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

struct Bench {
    client: Client,
    key: Arc<DeviceKey>,
}

fn client(url: &str) -> Bench {
    let sealing = RecipientSecret::generate(Suite::Intl).unwrap().public();
    let config = toml::from_str(&format!("url = \"{url}\"\nsealing_key = \"{sealing}\"")).unwrap();
    let key = Arc::new(DeviceKey::generate(Algorithm::Ed25519).unwrap());
    let identity = Identity {
        terminal: "T001".to_owned(),
        key: Arc::clone(&key),
    };
    let client = Client::new(&config, identity, PlatformClock::new(None)).unwrap();
    Bench { client, key }
}

fn at(address: SocketAddr) -> Bench {
    client(&format!("http://{address}"))
}

/// Runs a request to its end; the peers are on threads of their own.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

fn transactions(count: u16) -> Vec<QueuedTransaction> {
    let directory = tempfile::tempdir().unwrap();
    let now = clock::now().at;
    let (mut cache, _) = offline_cache::Cache::open(directory.path(), now).unwrap();
    for number in 0..count {
        cache.enqueue(&sample(number), now).unwrap();
    }
    cache.due(now, 100, &offline_cache::Ready::ALL).unwrap()
}

fn verified(seen: &Seen, key: &DeviceKey) -> Result<request::Verified, request::RequestError> {
    let mut line = seen.head.lines().next().unwrap().split(' ');
    let method = line.next().unwrap();
    let target = line.next().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name| seen.header(name).unwrap_or_default().to_owned();
    let request = request::Request {
        method,
        path,
        query,
        terminal: seen.header("kiosk-terminal").unwrap(),
        body: &seen.body,
    };
    let headers = request::Headers {
        content_digest: header("content-digest"),
        signature_input: header("signature-input"),
        signature: header("signature"),
    };
    request::verify(|_| Some(key.public()), &request, &headers)
}

#[test]
fn every_request_is_signed_but_the_look_at_the_line() {
    let empty = "{\"results\":[]}";
    let (address, seen) = peer(
        "127.0.0.1:0",
        vec![
            say("200 OK", "", "{\"status\":\"ok\"}"),
            say("200 OK", "", empty),
            say("200 OK", "", "{\"commands\":[]}"),
            say("304 Not Modified", "", ""),
        ],
    );
    let bench = at(address);
    assert!(run(bench.client.is_reachable()));
    assert!(seen.recv().unwrap().header("signature").is_none());
    run(bench.client.batch(&transactions(1))).unwrap();
    run(bench.client.commands()).unwrap();
    run(bench.client.desired_state(7)).unwrap();
    let mut nonces = Vec::new();
    for _ in 0..3 {
        let seen = seen.recv().unwrap();
        let verified = verified(&seen, &bench.key).unwrap();
        assert_eq!(verified.key_id, bench.key.public().key_id());
        nonces.push(verified.nonce);
    }
    nonces.dedup();
    assert_eq!(nonces.len(), 3, "a nonce is used once");
}

#[test]
fn a_large_batch_is_compressed_and_the_signature_covers_what_is_sent() {
    let empty = "{\"results\":[]}";
    let (address, seen) = peer(
        "127.0.0.1:0",
        vec![say("200 OK", "", empty), say("200 OK", "", empty)],
    );
    let bench = at(address);
    let many = transactions(100);
    run(bench.client.batch(&many)).unwrap();
    let request = seen.recv().unwrap();
    assert_eq!(request.header("content-encoding"), Some("zstd"));
    assert!(request.header("accept-encoding").is_none());
    verified(&request, &bench.key).unwrap();
    let plain = zstd::bulk::decompress(&request.body, messages::BATCH_BYTES_MAX).unwrap();
    assert_eq!(plain, batch_body("T001", &many));
    assert!(request.body.len() * 3 < plain.len());
    run(bench.client.batch(&many[..1])).unwrap();
    assert!(
        seen.recv().unwrap().header("content-encoding").is_none(),
        "not worth it"
    );
}

#[test]
fn a_platform_that_does_not_inflate_gets_batches_as_they_are() {
    let empty = "{\"results\":[]}";
    let (address, seen) = peer(
        "127.0.0.1:0",
        vec![
            say("415 Unsupported Media Type", "", ""),
            say("200 OK", "", empty),
            say("200 OK", "", empty),
        ],
    );
    let bench = at(address);
    let many = transactions(100);
    run(bench.client.batch(&many)).unwrap();
    run(bench.client.batch(&many)).unwrap();
    assert_eq!(
        seen.recv().unwrap().header("content-encoding"),
        Some("zstd")
    );
    for _ in 0..2 {
        let request = seen.recv().unwrap();
        assert!(request.header("content-encoding").is_none());
        verified(&request, &bench.key).unwrap();
    }
}

#[test]
fn a_stale_signature_is_made_again_once_by_the_platforms_time() {
    let stale = || {
        say(
            "401 Unauthorized",
            "Date: Tue, 01 Dec 2026 00:00:00 GMT\r\n",
            "{\"code\":\"signature.stale\"}",
        )
    };
    let (address, seen) = peer(
        "127.0.0.1:0",
        vec![
            stale(),
            say("200 OK", "", "{\"commands\":[]}"),
            stale(),
            stale(),
        ],
    );
    let bench = at(address);
    run(bench.client.commands()).unwrap();
    seen.recv().unwrap();
    let second = verified(&seen.recv().unwrap(), &bench.key).unwrap();
    let wanted: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    assert!((0..60).contains(&(second.created_s - wanted.as_second())));
    assert!(bench.client.clock_offset_s(clock::now()) != 0);
    // Twice stale is a refusal like any other; the peer is asked no third time.
    let error = run(bench.client.commands()).unwrap_err();
    assert!(
        matches!(error, PlatformError::NotNow { status: 401, .. }),
        "{error:?}"
    );
    assert_eq!(seen.try_iter().count(), 2);
}

#[test]
fn a_reply_of_a_gigabyte_is_refused_before_it_is_read() {
    let rubbish = vec![b' '; 64 * 1024];
    let (address, _seen) = peer(
        "127.0.0.1:0",
        vec![
            Doing::Pour(
                "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n",
                rubbish.clone(),
                512 * 1024 * 1024,
            ),
            Doing::Pour(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                [b"10000\r\n".as_slice(), &rubbish, b"\r\n"].concat(),
                512 * 1024 * 1024,
            ),
            Doing::Pour(
                "HTTP/1.1 422 Unprocessable\r\nTransfer-Encoding: chunked\r\n\r\n",
                [b"10000\r\n".as_slice(), &rubbish, b"\r\n"].concat(),
                512 * 1024 * 1024,
            ),
        ],
    );
    let bench = at(address);
    for _ in 0..2 {
        let error = run(bench.client.batch(&transactions(1))).unwrap_err();
        assert_eq!(error.code(), "platform.bad-reply");
    }
    let error = run(bench.client.batch(&transactions(1))).unwrap_err();
    assert!(
        matches!(error, PlatformError::Refused { status: 422, .. }),
        "{error:?}"
    );
}

#[test]
fn endless_headers_are_cut_off() {
    let (address, _seen) = peer(
        "127.0.0.1:0",
        vec![
            Doing::Pour(
                "HTTP/1.1 200 OK\r\n",
                b"X-More: 1\r\n".repeat(500),
                64 * 1024 * 1024,
            ),
            Doing::Pour(
                "HTTP/1.1 200 OK\r\nX-Long: ",
                vec![b'x'; 65_536],
                64 * 1024 * 1024,
            ),
        ],
    );
    let bench = at(address);
    for _ in 0..2 {
        assert!(run(bench.client.batch(&transactions(1))).is_err());
    }
}

#[test]
fn a_connection_that_breaks_half_way_is_not_taken_for_a_line_that_is_down() {
    let (address, _seen) = peer(
        "127.0.0.1:0",
        vec![
            Doing::Half(""),
            Doing::Half("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"results\""),
            Doing::Say(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
            Doing::Say(b"SSH-2.0-what\r\n".to_vec()),
        ],
    );
    let bench = at(address);
    for _ in 0..4 {
        let error = run(bench.client.batch(&transactions(1))).unwrap_err();
        assert_eq!(error.code(), "platform.cut");
    }
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = run(at(nobody).client.batch(&transactions(1))).unwrap_err();
    assert_eq!(error.code(), "platform.unreachable");
}

#[test]
fn a_network_without_ipv4_is_enough() {
    let (address, seen) = peer("[::1]:0", vec![say("200 OK", "", "{\"commands\":[]}")]);
    let bench = client(&format!("http://[::1]:{}", address.port()));
    run(bench.client.commands()).unwrap();
    verified(&seen.recv().unwrap(), &bench.key).unwrap();
}

#[test]
fn a_redirect_is_not_followed_and_an_upload_stays_at_home() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = stranger.local_addr().unwrap();
    let (address, _seen) = peer(
        "127.0.0.1:0",
        vec![say(
            "307 Temporary Redirect",
            &format!("Location: http://{elsewhere}/\r\n"),
            "",
        )],
    );
    let bench = at(address);
    let error = run(bench.client.batch(&transactions(1))).unwrap_err();
    assert_eq!(error.code(), "platform.bad-reply");

    let bench = client("http://platform.example:80/county");
    let at_home = |location| bench.client.at_home(location);
    let path = "/v1/attachments/a".to_owned();
    assert_eq!(at_home("/v1/attachments/a").unwrap(), path);
    assert_eq!(at_home("/county/v1/attachments/a").unwrap(), path);
    assert_eq!(
        at_home("http://platform.example/county/v1/attachments/a").unwrap(),
        path
    );
    for location in [
        "http://platform.example:8080/v1/a",
        "http://platform.example.evil/v1/a",
        "https://platform.example/v1/a",
        "//evil.example/v1/a",
        "/v1/../../etc",
        "/admin",
        "/v1/a?b=c",
        "",
    ] {
        assert!(at_home(location).is_err(), "{location}");
    }
}

#[test]
fn what_stands_before_the_contract_is_sent_and_not_signed() {
    let (address, seen) = peer("127.0.0.1:0", vec![say("200 OK", "", "{\"commands\":[]}")]);
    let bench = client(&format!("http://{address}/county/"));
    run(bench.client.commands()).unwrap();
    let mut request = seen.recv().unwrap();
    assert!(
        request.head.starts_with("GET /county/v1/commands?wait=50 "),
        "{}",
        request.head
    );
    request.head = request.head.replacen("/county", "", 1);
    verified(&request, &bench.key).unwrap();
}

#[test]
fn an_unchanged_a_torn_and_a_malformed_catalogue_change_nothing() {
    let (address, seen) = peer(
        "127.0.0.1:0",
        vec![
            say("304 Not Modified", "ETag: \"v1\"\r\n", ""),
            Doing::Say(
                b"HTTP/1.1 200 OK\r\nETag: \"v2\"\r\nContent-Length: 99\r\n\r\n{\"ver".to_vec(),
            ),
            say("200 OK", "", "{\"version\":1,\"items\":[]}"),
        ],
    );
    let bench = at(address);
    assert!(run(bench.client.catalogue("\"v1\"")).unwrap().is_none());
    assert_eq!(seen.recv().unwrap().header("if-none-match"), Some("\"v1\""));
    assert!(run(bench.client.catalogue("\"v1\"")).is_err(), "torn");
    assert!(
        run(bench.client.catalogue("\"v1\"")).is_err(),
        "without an ETag"
    );
}

#[test]
fn an_address_that_is_none_and_https_without_certificates_are_mistakes_of_the_operator() {
    let sealing = RecipientSecret::generate(Suite::Gm).unwrap().public();
    let key = Arc::new(DeviceKey::generate(Algorithm::Ed25519).unwrap());
    for (url, wrong) in [
        ("http://", "url"),
        ("http://x?y", "url"),
        ("https://platform.example", "tls"),
    ] {
        let config =
            toml::from_str(&format!("url = \"{url}\"\nsealing_key = \"{sealing}\"")).unwrap();
        let identity = Identity {
            terminal: "T001".to_owned(),
            key: Arc::clone(&key),
        };
        match Client::new(&config, identity, PlatformClock::new(None)) {
            Err(PlatformError::Configuration { key, .. }) => assert_eq!(key, wrong),
            other => panic!("{url}: {other:?}"),
        }
    }
}
