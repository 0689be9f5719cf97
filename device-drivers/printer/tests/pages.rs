//! The page printer driver against a printer that follows a script of IPP operations over HTTP on
//! loopback. An operation that is not in the script, and a script that is not used up, fail the test.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver, Sensitive, Supply};
use kiosk_printer::ipp::{Command, Event, PageDocument, PagePrinter};

const LONG: Duration = Duration::from_secs(30);
const PRINT: u8 = 0x02;
const CANCEL: u8 = 0x08;
const JOB: u8 = 0x09;
const JOBS: u8 = 0x0A;
const RESUME: u8 = 0x11;
const PRINTER: u8 = 0x0B;

/// One exchange: the operation that must come and the body that is answered. Nothing: the printer
/// hangs up instead. A body that begins with `HTTP/` or like TLS is sent as it is.
type Step = (u8, Vec<u8>);

struct Peer(JoinHandle<Vec<Vec<u8>>>);

impl Peer {
    /// The bodies of all requests.
    fn requests(self) -> Vec<Vec<u8>> {
        self.0.join().unwrap()
    }
}

fn start(script: Vec<Step>) -> (PagePrinter, Peer) {
    start_with(script, "")
}

fn start_with(script: Vec<Step>, options: &str) -> (PagePrinter, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let requests = script
            .into_iter()
            .enumerate()
            .map(|(number, (operation, answer))| {
                let (connection, _) = listener.accept().unwrap();
                let body = serve(connection, &answer);
                assert_eq!(body[2..4], [0, operation], "step {number}");
                body
            })
            .collect();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "requests beyond the script");
        requests
    });
    let config = format!(
        "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"ipp://127.0.0.1:{port}/ipp/print\"\n[options]\n{options}"
    );
    let printer = PagePrinter::new(&toml::from_str(&config).unwrap()).unwrap();
    (printer, Peer(thread))
}

fn serve(mut connection: TcpStream, answer: &[u8]) -> Vec<u8> {
    connection.set_read_timeout(Some(LONG)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0_u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("POST /ipp/print HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: application/ipp\r\n"),
        "{head}"
    );
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    let mut body = vec![0_u8; length.parse().unwrap()];
    connection.read_exact(&mut body).unwrap();
    if answer.is_empty() {
        return body;
    }
    if answer.starts_with(b"HTTP/") || answer.starts_with(&[0x15, 0x03]) {
        connection.write_all(answer).unwrap();
        return body;
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/ipp\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    // A driver that has read enough hangs up early: that is its right.
    drop(connection.write_all(answer));
    body
}

/// An answer with one group of attributes: tag, name, value.
fn answer(status: u16, attributes: &[(u8, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![2, 0];
    bytes.extend(status.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 4]);
    for (tag, name, value) in attributes {
        bytes.push(*tag);
        for part in [name.as_bytes(), value] {
            bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(part);
        }
    }
    bytes.push(3);
    bytes
}

fn printer(state: u8, reason: &str) -> Step {
    let attributes: &[(u8, &str, &[u8])] = &[
        (0x23, "printer-state", &[0, 0, 0, state]),
        (0x44, "printer-state-reasons", reason.as_bytes()),
        (0x22, "printer-is-accepting-jobs", &[1]),
        (0x41, "printer-make-and-model", b"TEST Emulated"),
        (
            0x49,
            "document-format-supported",
            b"application/octet-stream",
        ),
        (0x49, "", b"application/pdf"),
        (0x22, "page-ranges-supported", &[1]),
    ];
    (PRINTER, answer(0, attributes))
}

fn accepted() -> Step {
    (PRINT, answer(0, &[(0x21, "job-id", &[0, 0, 0, 7])]))
}

fn job(state: u8, impressions: u8) -> Step {
    let attributes: &[(u8, &str, &[u8])] = &[
        (0x23, "job-state", &[0, 0, 0, state]),
        (0x44, "job-state-reasons", b"none"),
        (0x21, "job-impressions-completed", &[0, 0, 0, impressions]),
    ];
    (JOB, answer(0, attributes))
}

/// The printer's list: job numbers and their names, or none.
fn list(jobs: &[(u8, Option<&str>)]) -> Step {
    let mut bytes = answer(0, &[]);
    bytes.truncate(8);
    for (id, name) in jobs {
        bytes.push(2);
        let id = [0, 0, 0, *id];
        let mut put = |tag: u8, key: &str, value: &[u8]| {
            bytes.push(tag);
            for part in [key.as_bytes(), value] {
                bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                bytes.extend(part);
            }
        };
        put(0x21, "job-id", &id);
        if let Some(name) = name {
            put(0x42, "job-name", name.as_bytes());
        }
    }
    bytes.push(3);
    (JOBS, bytes)
}

const PDF: &[u8] = b"%PDF-1.7 synthetic";

fn print(printer: &mut PagePrinter, first_page: u32, limit: Duration) -> (Vec<String>, Completion) {
    let words = RefCell::new(Vec::new());
    let emit = |event| {
        words.borrow_mut().push(match event {
            Event::Progress {
                impressions_completed,
            } => format!("page {impressions_completed}"),
            Event::Stopped(fault) => fault.code.to_owned(),
            Event::Resumed => "resumed".to_owned(),
            Event::Presented => "presented".to_owned(),
        });
    };
    let document = PageDocument {
        pdf: Arc::new(Sensitive::new(PDF.to_vec())),
        pages: 2,
        first_page,
    };
    let cancel = Cancel::default();
    let context = Context::new(limit, &cancel, &emit);
    let completion = printer.execute(Command::Print(document), &context);
    (words.into_inner(), completion)
}

fn code(completion: &Completion) -> &str {
    match completion {
        Completion::NotReady(fault) | Completion::Failed(fault) => fault.code,
        Completion::Success => "success",
        Completion::Canceled => "canceled",
        Completion::TimeOut => "time-out",
    }
}

fn check(
    script: Vec<Step>,
    limit: Duration,
    expect_words: &[&str],
    expect_code: &str,
) -> Vec<Vec<u8>> {
    let (mut printer, peer) = start(script);
    let (words, completion) = print(&mut printer, 1, limit);
    assert_eq!(words, expect_words);
    assert_eq!(code(&completion), expect_code);
    peer.requests()
}

fn contains(body: &[u8], needle: &[u8]) -> bool {
    body.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_document_is_followed_until_its_last_page_is_out() {
    let requests = check(
        vec![
            printer(3, "none"),
            accepted(),
            job(5, 1),
            printer(4, "none"),
            job(9, 2),
        ],
        LONG,
        &["page 1", "page 2", "presented"],
        "success",
    );
    assert!(requests[1].ends_with(PDF));
    assert!(contains(
        &requests[1],
        b"\x49\x00\x0Fdocument-format\x00\x0Fapplication/pdf"
    ));
    assert!(contains(
        &requests[1],
        b"\x44\x00\x05media\x00\x10iso_a4_210x297mm"
    ));
    assert!(contains(
        &requests[1],
        b"\x44\x00\x05sides\x00\x09one-sided"
    ));
    assert!(contains(
        &requests[1],
        b"\x44\x00\x10print-color-mode\x00\x0Amonochrome"
    ));
    assert!(!contains(&requests[1], b"page-ranges"));
}

#[test]
fn a_later_first_page_asks_for_the_rest_only() {
    let (mut page_printer, peer) = start(vec![printer(3, "none"), accepted(), job(9, 1)]);
    let (words, completion) = print(&mut page_printer, 2, LONG);
    assert_eq!((words.len(), completion), (2, Completion::Success));
    let requests = peer.requests();
    assert!(contains(
        &requests[1],
        b"\x33\x00\x0Bpage-ranges\x00\x08\0\0\0\x02\0\0\0\x02"
    ));
    assert!(contains(
        &requests[1],
        b"\x22\x00\x16ipp-attribute-fidelity\x00\x01\x01"
    ));
}

#[test]
fn an_empty_printer_gets_no_document() {
    check(
        vec![printer(5, "media-empty-error")],
        LONG,
        &[],
        "printer.media-empty",
    );
    check(
        vec![printer(3, "cover-open")],
        LONG,
        &[],
        "printer.cover-open",
    );
}

#[test]
fn a_jam_is_told_and_printing_goes_on_when_it_is_cleared() {
    check(
        vec![
            printer(3, "none"),
            accepted(),
            job(6, 1),
            printer(5, "media-jam-error"),
            job(6, 1),
            printer(5, "media-jam"),
            job(5, 1),
            printer(4, "none"),
            job(9, 2),
        ],
        LONG,
        &[
            "page 1",
            "printer.media-jam",
            "resumed",
            "page 2",
            "presented",
        ],
        "success",
    );
}

#[test]
fn a_job_that_stays_stopped_is_canceled_in_the_printer_at_the_deadline() {
    let requests = check(
        vec![
            printer(3, "none"),
            accepted(),
            job(6, 0),
            printer(5, "media-empty-error"),
            (CANCEL, answer(0, &[])),
        ],
        Duration::from_millis(1700),
        &["printer.media-empty"],
        "printer.media-empty",
    );
    assert!(contains(
        &requests[4],
        b"\x21\x00\x06job-id\x00\x04\0\0\0\x07"
    ));
}

#[test]
fn jobs_that_end_early_name_the_printers_reason() {
    check(
        vec![
            printer(3, "none"),
            accepted(),
            job(8, 0),
            printer(5, "fuser-over-temp-error"),
        ],
        LONG,
        &[],
        "printer.fuser",
    );
    check(
        vec![
            printer(3, "none"),
            accepted(),
            job(7, 0),
            printer(3, "none"),
        ],
        LONG,
        &[],
        "printer.job-canceled",
    );
    check(
        vec![
            printer(3, "none"),
            accepted(),
            // It may count late, so it is given two more looks.
            job(9, 1),
            job(9, 1),
            job(9, 1),
            printer(3, "none"),
        ],
        LONG,
        &["page 1"],
        "printer.pages-missing",
    );
}

#[test]
fn malformed_and_endless_answers_are_bad_replies() {
    check(
        vec![(PRINTER, b"\x02\x00\x00".to_vec())],
        LONG,
        &[],
        "printer.bad-reply",
    );
    check(
        vec![(PRINTER, b"<html>".to_vec())],
        LONG,
        &[],
        "printer.bad-reply",
    );
    check(
        vec![(PRINTER, answer(0, &[]))],
        LONG,
        &[],
        "printer.bad-reply",
    );
    check(
        vec![(PRINTER, vec![2; 2 << 20])],
        LONG,
        &[],
        "printer.bad-reply",
    );
    let no_id = (PRINT, answer(0, &[]));
    check(
        vec![printer(3, "none"), no_id, list(&[]), list(&[])],
        LONG,
        &[],
        "printer.bad-reply",
    );
}

#[test]
fn a_printer_that_refuses_version_2_is_asked_in_version_1() {
    let refusal = (PRINTER, answer(0x0503, &[]));
    let (mut page_printer, peer) = start(vec![refusal, printer(3, "toner-low-warning")]);
    let status = page_printer.status().unwrap();
    assert_eq!(
        (status.state, status.toner),
        (DeviceState::Online, Supply::Low)
    );
    let versions: Vec<Vec<u8>> = peer
        .requests()
        .iter()
        .map(|body| body[..2].to_vec())
        .collect();
    assert_eq!(versions, [[2, 0], [1, 1]]);
}

#[test]
fn a_busy_printer_is_asked_again_and_a_refusal_is_final() {
    check(
        vec![
            printer(3, "none"),
            (PRINT, answer(0x0507, &[])),
            accepted(),
            // Nobody counted the pages: the printer is asked.
            job(9, 0),
            printer(3, "none"),
        ],
        LONG,
        &["presented"],
        "success",
    );
    check(
        vec![printer(3, "none"), (PRINT, answer(0x040A, &[]))],
        LONG,
        &[],
        "printer.no-pdf",
    );
}

#[test]
fn opening_tells_the_model_and_a_closed_port_is_not_there() {
    let (mut page_printer, peer) = start(vec![printer(3, "none")]);
    let capabilities = page_printer.open().unwrap();
    assert_eq!(capabilities.model, "TEST Emulated");
    assert_eq!(capabilities.abilities, ["a4", "pdf", "page-ranges"]);
    drop(peer.requests());
    assert_eq!(page_printer.status().unwrap_err().code, "device.not-there");
}

/// The name under which a document was sent.
fn ticket(body: &[u8]) -> String {
    let key = b"job-name";
    let at = body
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    let rest = &body[at + key.len()..];
    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    String::from_utf8(rest[2..2 + length].to_vec()).unwrap()
}

/// A printer that hangs up on the first document, and whose list then shows `name` for the ticket.
fn check_lost_answer(
    show: impl Fn(&str) -> Vec<Step> + Send + 'static,
    expect_documents: usize,
    expect_code: &str,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let mut script = vec![printer(3, "none"), (PRINT, Vec::new())];
        let mut documents = Vec::new();
        let mut step = 0;
        while step < script.len() {
            let (connection, _) = listener.accept().unwrap();
            let body = serve(connection, &script[step].1);
            assert_eq!(body[2..4], [0, script[step].0], "step {step}");
            if body[3] == PRINT {
                documents.push(ticket(&body));
                if documents.len() == 1 {
                    script.extend(show(&documents[0]));
                }
            }
            step += 1;
        }
        documents
    });
    let config = format!(
        "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"ipp://127.0.0.1:{port}/ipp/print\""
    );
    let mut page_printer = PagePrinter::new(&toml::from_str(&config).unwrap()).unwrap();
    let (_, completion) = print(&mut page_printer, 1, LONG);
    assert_eq!(code(&completion), expect_code);
    let documents = thread.join().unwrap();
    assert_eq!(documents.len(), expect_documents);
    assert!(documents.iter().all(|name| *name == documents[0]));
}

#[test]
fn e5_a_document_whose_answer_was_lost_is_never_sent_twice() {
    let arrived = |name: &str| vec![list(&[(6, Some("other")), (7, Some(name))]), job(9, 2)];
    check_lost_answer(arrived, 1, "success");
    let finished = |name: &str| vec![list(&[]), list(&[(7, Some(name))]), job(9, 2)];
    check_lost_answer(finished, 1, "success");
    // Only a printer whose list does not have it gets it again, under the same name.
    let missing = |_: &str| vec![list(&[]), list(&[(6, Some("x"))]), accepted(), job(9, 2)];
    check_lost_answer(missing, 2, "success");
}

#[test]
fn e5_a_document_of_unknown_fate_is_left_to_people() {
    let nameless = |_: &str| vec![list(&[(7, None)]), list(&[])];
    check_lost_answer(nameless, 1, "printer.job-unknown");
    let no_list = |_: &str| vec![(JOBS, answer(0x0501, &[]))];
    check_lost_answer(no_list, 1, "printer.job-unknown");
}

#[test]
fn e8_a_completed_job_is_believed_when_the_device_is_well() {
    check(
        vec![
            printer(3, "none"),
            accepted(),
            job(9, 0),
            printer(4, "media-empty-error"),
            job(9, 0),
            printer(5, "media-empty-error"),
            job(9, 0),
            printer(3, "none"),
        ],
        LONG,
        &["printer.media-empty", "resumed", "presented"],
        "success",
    );
    check(
        vec![
            printer(3, "none"),
            accepted(),
            job(9, 0),
            printer(5, "media-jam-error"),
        ],
        Duration::from_millis(1700),
        &["printer.media-jam"],
        "printer.media-jam",
    );
}

#[test]
fn e10_processing_without_paper_is_a_stop() {
    check(
        vec![
            printer(3, "none"),
            accepted(),
            job(5, 0),
            printer(4, "media-empty-error"),
            job(5, 0),
            printer(4, "door-open-error"),
            job(5, 1),
            printer(4, "none"),
            job(9, 2),
        ],
        LONG,
        &[
            "printer.media-empty",
            "printer.cover-open",
            "page 1",
            "resumed",
            "page 2",
            "presented",
        ],
        "success",
    );
}

#[test]
fn e11_a_paused_queue_goes_on_when_nothing_else_is_wrong() {
    let script = vec![
        // Without paper it stays paused.
        printer_with(5, &["paused", "media-empty-error"]),
        printer(5, "paused"),
        (RESUME, answer(0, &[])),
        printer(3, "none"),
    ];
    let (mut page_printer, peer) = start_with(script, "resume_queue = true");
    let mut code = || {
        let status = page_printer.status().unwrap();
        status.faults.first().map(|fault| fault.code)
    };
    assert_eq!(code(), Some("printer.media-empty"));
    assert_eq!(code(), None);
    drop(peer.requests());
}

#[test]
fn e11_a_queue_that_is_not_ours_or_refuses_stays_paused() {
    let (mut page_printer, peer) = start(vec![printer(5, "paused")]);
    assert_eq!(
        page_printer.status().unwrap().faults[0].code,
        "printer.paused"
    );
    drop(peer.requests());
    let script = vec![
        printer(5, "paused"),
        (RESUME, answer(0x0403, &[])),
        printer(5, "paused"),
    ];
    let (mut page_printer, peer) = start_with(script, "resume_queue = true");
    for _ in 0..2 {
        let status = page_printer.status().unwrap();
        assert_eq!(status.state, DeviceState::Offline);
    }
    drop(peer.requests());
}

#[test]
fn e6_each_cause_has_its_own_code() {
    let check = |answer: &[u8], expect: &str| {
        let (mut page_printer, peer) = start(vec![(PRINTER, answer.to_vec())]);
        assert_eq!(page_printer.status().unwrap_err().code, expect);
        drop(peer.requests());
    };
    check(&[0x15, 0x03, 0x03, 0, 2, 2, 40], "printer.tls-required");
    check(
        b"HTTP/1.1 426 Upgrade Required\r\n\r\n",
        "printer.tls-required",
    );
    check(
        b"HTTP/1.1 301 Moved\r\nLocation: https://h/\r\n\r\n",
        "printer.tls-required",
    );
    check(
        b"HTTP/1.1 401 Unauthorized\r\n\r\n",
        "printer.access-denied",
    );
    check(b"HTTP/1.1 404 Not Found\r\n\r\n", "printer.no-queue");
    check(b"HTTP/1.1 503 Unavailable\r\n\r\n", "printer.busy");
    check(b"HTTP/1.1 500 Error\r\n\r\n", "printer.bad-reply");
    check(&answer(0x0403, &[]), "printer.access-denied");
    check(&answer(0x0406, &[]), "printer.no-queue");
    check(&answer(0x0400, &[]), "printer.refused");
    check(&[], "device.gone");
    let config =
        "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"ipp://a..b/ipp\"";
    let mut page_printer = PagePrinter::new(&toml::from_str(config).unwrap()).unwrap();
    assert_eq!(
        page_printer.status().unwrap_err().code,
        "printer.unknown-host"
    );
}

#[test]
fn a_print_that_is_canceled_during_the_upload_leaves_no_job_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (begun, is_begun) = std::sync::mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        drop(serve(connection, &printer(3, "none").1));
        // Takes the beginning of the document and reads no further.
        let (mut connection, _) = listener.accept().unwrap();
        let mut beginning = vec![0; 600];
        connection.read_exact(&mut beginning).unwrap();
        let body = beginning
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap();
        let name = ticket(&beginning[body + 4..]);
        begun.send(()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        let body = serve(connection, &list(&[(9, Some(&name))]).1);
        assert_eq!(body[3], JOBS);
        let (connection, _) = listener.accept().unwrap();
        let body = serve(connection, &answer(0, &[]));
        assert_eq!(body[3], CANCEL);
        assert!(contains(&body, b"\x21\x00\x06job-id\x00\x04\0\0\0\x09"));
    });
    let config = format!(
        "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"ipp://127.0.0.1:{port}/ipp/print\""
    );
    let mut page_printer = PagePrinter::new(&toml::from_str(&config).unwrap()).unwrap();
    let cancel = Cancel::default();
    let canceler = cancel.clone();
    let waiter = thread::spawn(move || {
        is_begun.recv_timeout(LONG).unwrap();
        canceler.cancel();
    });
    let document = PageDocument {
        pdf: Arc::new(Sensitive::new([PDF, &vec![0; 64 * 1024]].concat())),
        pages: 2,
        first_page: 1,
    };
    let emit = |_| {};
    let context = Context::new(LONG, &cancel, &emit);
    let completion = page_printer.execute(Command::Print(document), &context);
    assert_eq!(completion, Completion::Canceled);
    waiter.join().unwrap();
    thread.join().unwrap();
}

fn printer_with(state: u8, reasons: &[&str]) -> Step {
    let state = [0, 0, 0, state];
    let mut attributes: Vec<(u8, &str, &[u8])> = vec![(0x23, "printer-state", &state)];
    for (index, reason) in reasons.iter().enumerate() {
        let name = if index == 0 {
            "printer-state-reasons"
        } else {
            ""
        };
        attributes.push((0x44, name, reason.as_bytes()));
    }
    (PRINTER, answer(0, &attributes))
}

#[test]
fn behind_a_queue_the_device_has_the_last_word() {
    // The device: asked once before the print, then while the queue says completed.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let device = thread::spawn(move || {
        for (state, reason) in [
            (3, "none"),
            (4, "none"),
            (5, "media-jam-error"),
            (4, "none"),
            (3, "none"),
            (3, "none"),
        ] {
            let (connection, _) = listener.accept().unwrap();
            drop(serve(connection, &printer(state, reason).1));
        }
    });
    let well = || printer(3, "none");
    let mut script = vec![well(), accepted()];
    for _ in 0..5 {
        script.extend([job(9, 2), well()]);
    }
    let options = format!("device = \"ipp://127.0.0.1:{port}/ipp/print\"");
    let (mut page_printer, peer) = start_with(script, &options);
    let (words, completion) = print(&mut page_printer, 1, LONG);
    assert_eq!(completion, Completion::Success);
    assert_eq!(
        words,
        ["page 2", "printer.media-jam", "resumed", "presented"]
    );
    drop(peer.requests());
    device.join().unwrap();
}

/// An SNMP agent that answers each question with the next error state.
fn agent(states: Vec<u8>) -> (String, JoinHandle<()>) {
    const NAMES: [&[u8]; 2] = [
        &[0x2B, 6, 1, 2, 1, 25, 3, 5, 1, 1, 1],
        &[0x2B, 6, 1, 2, 1, 25, 3, 5, 1, 2, 1],
    ];
    let element = |tag: u8, content: &[u8]| {
        let mut bytes = vec![tag, u8::try_from(content.len()).unwrap()];
        bytes.extend(content);
        bytes
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let address = format!("snmp:{}", socket.local_addr().unwrap());
    let thread = thread::spawn(move || {
        for state in states {
            let mut buffer = [0; 1500];
            let (count, from) = socket.recv_from(&mut buffer).unwrap();
            let request = &buffer[..count];
            assert!(request.windows(6).any(|window| window == b"secret"));
            let at = request
                .windows(2)
                .position(|window| window == [0x02, 0x04])
                .unwrap();
            let pairs = [
                element(0x30, &[element(6, NAMES[0]), element(2, &[3])].concat()),
                element(0x30, &[element(6, NAMES[1]), element(4, &[state])].concat()),
            ];
            let body = [
                element(2, &request[at + 2..at + 6]),
                element(2, &[0]),
                element(2, &[0]),
                element(0x30, &pairs.concat()),
            ];
            let message = [
                element(2, &[1]),
                element(4, b"secret"),
                element(0xA2, &body.concat()),
            ];
            // A stranger's answer in front of it is passed over.
            socket.send_to(b"nonsense", from).unwrap();
            socket
                .send_to(&element(0x30, &message.concat()), from)
                .unwrap();
        }
    });
    (address, thread)
}

#[test]
fn a_device_is_asked_by_snmp_past_the_spooler() {
    let (address, thread) = agent(vec![0x00, 0x40, 0x08]);
    let options = format!("status = \"{address}\"\nsnmp_community = \"secret\"");
    let well = || printer(3, "none");
    let (mut page_printer, peer) = start_with(vec![well(), well(), well()], &options);
    let mut code = || {
        let status = page_printer.status().unwrap();
        status.faults.first().map(|fault| fault.code)
    };
    assert_eq!(code(), None);
    assert_eq!(code(), Some("printer.media-empty"));
    assert_eq!(code(), Some("printer.cover-open"));
    drop(peer.requests());
    thread.join().unwrap();
}

#[test]
fn e5_a_device_that_misses_two_questions_is_not_gone() {
    let (address, thread) = agent(vec![0x00]);
    let options = format!("status = \"{address}\"\nsnmp_community = \"secret\"");
    let well = || printer(3, "none");
    let script = vec![well(), well(), well(), well()];
    let (mut page_printer, peer) = start_with(script, &options);
    let mut state = || page_printer.status().unwrap().state;
    assert_eq!(state(), DeviceState::Online);
    thread.join().unwrap();
    assert_eq!(state(), DeviceState::Online);
    assert_eq!(state(), DeviceState::Online);
    assert_eq!(state(), DeviceState::NoDevice);
    drop(peer.requests());
}

#[test]
fn wrong_options_are_named() {
    let check = |options: &str, expect: &str| {
        let config = format!(
            "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"ipp://127.0.0.1/ipp\"\n[options]\n{options}"
        );
        let error = PagePrinter::new(&toml::from_str(&config).unwrap()).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("device = \"lpt1\"", "options.device");
    check("status = \"http://h\"", "snmp:HOST or snmp:HOST:PORT");
    check("snmp_community = \"\"", "1 to 64 bytes");
    check("resume_queue = 1", "true or false");
}
