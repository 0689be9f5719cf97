//! The page printer driver against a printer that follows a script of IPP operations over HTTP on
//! loopback. An operation that is not in the script, and a script that is not used up, fail the test.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver, Sensitive, Supply};
use kiosk_printer::ipp::{Command, Event, PageDocument, PagePrinter};

const LONG: Duration = Duration::from_secs(30);
const PRINT: u8 = 0x02;
const CANCEL: u8 = 0x08;
const JOB: u8 = 0x09;
const PRINTER: u8 = 0x0B;

/// One exchange: the operation that must come and the body that is answered.
type Step = (u8, Vec<u8>);

struct Peer(JoinHandle<Vec<Vec<u8>>>);

impl Peer {
    /// The bodies of all requests.
    fn requests(self) -> Vec<Vec<u8>> {
        self.0.join().unwrap()
    }
}

fn start(script: Vec<Step>) -> (PagePrinter, Peer) {
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
        "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"ipp://127.0.0.1:{port}/ipp/print\""
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
        vec![printer(3, "none"), no_id],
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
            job(9, 0),
        ],
        LONG,
        &["presented"],
        "success",
    );
    check(
        vec![printer(3, "none"), (PRINT, answer(0x040A, &[]))],
        LONG,
        &[],
        "printer.refused",
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
