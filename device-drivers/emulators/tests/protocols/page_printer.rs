//! The A4 printer over HTTP, with hand-made IPP messages.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kiosk_emulators::{PageFault, PagePrinter, PagePrinterConfig, PrintOutcome};

use crate::common::{bytes, connect, receive, until};

struct Rig {
    printer: PagePrinter,
    address: String,
    dir: tempfile::TempDir,
}

fn rig(page_ms: u64) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let config = PagePrinterConfig {
        page_ms,
        ..PagePrinterConfig::default()
    };
    let printer = PagePrinter::start(dir.path(), config).unwrap();
    let address = printer.port()["ipp://".len()..].replace("/ipp/print", "");
    Rig {
        printer,
        address,
        dir,
    }
}

/// An IPP request: operation attributes as (tag, name, value), then a job group, then data.
fn message(
    code: u16,
    operation: &[(u8, &str, &[u8])],
    job: &[(u8, &str, &[u8])],
    document: &[u8],
) -> Vec<u8> {
    let mut message = vec![2, 0];
    message.extend(code.to_be_bytes());
    message.extend([0, 0, 0, 9, 1]);
    let mut put = |attributes: &[(u8, &str, &[u8])]| {
        for (tag, name, value) in attributes {
            message.push(*tag);
            for part in [name.as_bytes(), value] {
                message.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                message.extend(part);
            }
        }
    };
    put(&[
        (0x47, "attributes-charset", b"utf-8"),
        (0x48, "attributes-natural-language", b"en"),
        (0x45, "printer-uri", b"ipp://localhost/ipp/print"),
    ]);
    put(operation);
    if !job.is_empty() {
        message.push(2);
    }
    let mut put = |attributes: &[(u8, &str, &[u8])]| {
        for (tag, name, value) in attributes {
            message.push(*tag);
            for part in [name.as_bytes(), value] {
                message.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                message.extend(part);
            }
        }
    };
    put(job);
    message.push(3);
    message.extend(document);
    message
}

fn pdf(pages: usize) -> Vec<u8> {
    let mut document = b"%PDF-1.7\n<</Type/Pages>>\n".to_vec();
    for _ in 0..pages {
        document.extend(b"<</Type/Page>>\n");
    }
    document
}

/// The values of an attribute in a reply, in order.
fn values(reply: &[u8], name: &str) -> Vec<Vec<u8>> {
    let mut rest = &reply[8..];
    let mut found = Vec::new();
    let mut is_inside = false;
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        if *tag == 3 {
            break;
        }
        if *tag < 0x10 {
            continue;
        }
        let mut part = || {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let part = rest[2..2 + length].to_vec();
            rest = &rest[2 + length..];
            part
        };
        let (this, value) = (part(), part());
        is_inside = if this.is_empty() {
            is_inside
        } else {
            this == name.as_bytes()
        };
        if is_inside {
            found.push(value);
        }
    }
    found
}

fn text(reply: &[u8], name: &str) -> String {
    let texts: Vec<String> = values(reply, name)
        .into_iter()
        .map(|value| String::from_utf8(value).unwrap())
        .collect();
    texts.join(",")
}

fn number(reply: &[u8], name: &str) -> i32 {
    i32::from_be_bytes(values(reply, name)[0].as_slice().try_into().unwrap())
}

fn status(reply: &[u8]) -> u16 {
    u16::from_be_bytes([reply[2], reply[3]])
}

/// Reads one HTTP reply: its status and its body.
fn http_reply(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(receive(stream, 1));
    }
    let head = String::from_utf8(head).unwrap();
    let status = head[9..12].parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().unwrap());
    (status, receive(stream, length))
}

impl Rig {
    fn post(&self, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = connect(&self.address);
        let head = format!(
            "POST /ipp/print HTTP/1.1\r\nHost: x\r\nContent-Type: application/ipp\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        http_reply(&mut stream)
    }

    #[track_caller]
    fn ask(&self, body: &[u8]) -> Vec<u8> {
        let (status, reply) = self.post(body);
        assert_eq!(status, 200);
        assert_eq!(reply[4..8], [0, 0, 0, 9]);
        reply
    }

    fn print(&self, pages: usize) -> i32 {
        let reply = self.ask(&message(
            2,
            &[(0x49, "document-format", b"application/pdf")],
            &[],
            &pdf(pages),
        ));
        assert_eq!(status(&reply), 0);
        number(&reply, "job-id")
    }

    fn job(&self, id: i32) -> Vec<u8> {
        self.ask(&message(
            9,
            &[(0x21, "job-id", &id.to_be_bytes())],
            &[],
            b"",
        ))
    }

    fn printer_state(&self) -> (i32, String) {
        let reply = self.ask(&message(0x0B, &[], &[], b""));
        (
            number(&reply, "printer-state"),
            text(&reply, "printer-state-reasons"),
        )
    }
}

#[test]
fn the_request_of_the_fact_sheet_is_answered_with_what_it_asks_for() {
    let rig = rig(10);
    let request = bytes(
        "02 00 00 0B 00 00 00 01 01 47 00 12 61 74 74 72 69 62 75 74 65 73 2D 63
        68 61 72 73 65 74 00 05 75 74 66 2D 38 48 00 1B 61 74 74 72 69 62 75 74
        65 73 2D 6E 61 74 75 72 61 6C 2D 6C 61 6E 67 75 61 67 65 00 02 65 6E 45
        00 0B 70 72 69 6E 74 65 72 2D 75 72 69 00 1F 69 70 70 3A 2F 2F 6C 6F 63
        61 6C 68 6F 73 74 3A 36 30 30 30 30 2F 69 70 70 2F 70 72 69 6E 74 44 00
        14 72 65 71 75 65 73 74 65 64 2D 61 74 74 72 69 62 75 74 65 73 00 0D 70
        72 69 6E 74 65 72 2D 73 74 61 74 65 44 00 00 00 15 70 72 69 6E 74 65 72
        2D 73 74 61 74 65 2D 72 65 61 73 6F 6E 73 03",
    );
    let (http, reply) = rig.post(&request);
    assert_eq!((http, status(&reply)), (200, 0));
    assert_eq!(number(&reply, "printer-state"), 3);
    assert_eq!(text(&reply, "printer-state-reasons"), "none");
    assert!(values(&reply, "marker-levels").is_empty());
}

#[test]
fn a_document_is_printed_page_by_page_and_kept() {
    let rig = rig(30);
    let id = rig.print(3);
    let mut seen = vec![0];
    until("the job completes", || {
        let reply = rig.job(id);
        let done = number(&reply, "job-impressions-completed");
        if *seen.last().unwrap() != done {
            seen.push(done);
        }
        number(&reply, "job-state") == 9
    });
    assert!(seen.is_sorted() && seen.last() == Some(&3), "{seen:?}");
    assert_eq!(
        text(&rig.job(id), "job-state-reasons"),
        "job-completed-successfully"
    );
    let print = rig.printer.prints().remove(0);
    assert_eq!(
        (print.pages, print.pages_printed, print.outcome),
        (3, 3, PrintOutcome::Complete)
    );
    assert_eq!(
        std::fs::read(rig.dir.path().join("document-001.pdf")).unwrap(),
        pdf(3)
    );
    let described = || std::fs::read_to_string(rig.dir.path().join("document-001.json"));
    until("the print is described", || {
        described().is_ok_and(|text| text.contains("complete"))
    });
}

#[test]
fn a_jam_stops_at_its_page_and_goes_on_when_cleared() {
    let rig = rig(10);
    rig.printer.jam_at(2);
    let id = rig.print(3);
    until("the job stops", || number(&rig.job(id), "job-state") == 6);
    assert_eq!(number(&rig.job(id), "job-impressions-completed"), 1);
    assert_eq!(rig.printer_state(), (5, "media-jam-error".to_owned()));
    rig.printer.clear_jam();
    until("the job completes", || {
        number(&rig.job(id), "job-state") == 9
    });
    assert_eq!(rig.printer.prints()[0].sheets_spoiled, 1);
}

#[test]
fn each_cause_stops_the_printer_with_its_reason() {
    let rig = rig(10);
    rig.printer.set_sheets(1);
    let id = rig.print(2);
    until("the paper is out", || {
        rig.printer_state() == (5, "media-empty-error".to_owned())
    });
    assert_eq!(number(&rig.job(id), "job-impressions-completed"), 1);
    rig.printer.set_cover(true);
    assert_eq!(rig.printer_state().1, "media-empty-error,cover-open-error");
    rig.printer.refill();
    assert_eq!(rig.printer_state().1, "cover-open-error");
    rig.printer.set_cover(false);
    until("the job completes", || {
        number(&rig.job(id), "job-state") == 9
    });
    rig.printer.set_toner(7);
    assert_eq!(rig.printer_state(), (3, "toner-low-warning".to_owned()));
    rig.printer.set_toner(0);
    assert_eq!(rig.printer_state(), (5, "toner-empty-error".to_owned()));
    rig.printer.set_toner(50);
    rig.printer.set_paused(true);
    assert_eq!(rig.printer_state(), (5, "paused".to_owned()));
}

#[test]
fn a_stopped_printer_may_claim_to_be_processing() {
    let rig = rig(10);
    rig.printer.fault(PageFault::StoppedButProcessing);
    rig.printer.set_sheets(0);
    let id = rig.print(1);
    until("the machine has stopped", || {
        rig.printer.prints()[0].outcome == PrintOutcome::Stopped
    });
    assert_eq!(number(&rig.job(id), "job-state"), 5);
    assert_eq!(rig.printer_state(), (4, "media-empty-error".to_owned()));
}

#[test]
fn jobs_can_be_made_in_steps_and_canceled() {
    let rig = rig(10);
    let id = number(
        &rig.ask(&message(5, &[], &[(0x21, "copies", &[0, 0, 0, 2])], b"")),
        "job-id",
    );
    let id_bytes = id.to_be_bytes();
    let send = |is_last: &[u8], document: &[u8]| {
        rig.ask(&message(
            6,
            &[
                (0x21, "job-id", &id_bytes),
                (0x22, "last-document", is_last),
            ],
            &[],
            document,
        ))
    };
    assert_eq!(status(&send(&[0], &pdf(2))), 0);
    assert_eq!(status(&send(&[0], &pdf(2))), 0x0509);
    assert_eq!(number(&rig.job(id), "job-state"), 3);
    assert_eq!(
        status(&rig.ask(&message(0x3B, &[(0x21, "job-id", &id_bytes)], &[], b""))),
        0
    );
    until("the job completes", || {
        number(&rig.job(id), "job-state") == 9
    });
    assert_eq!(number(&rig.job(id), "job-impressions-completed"), 4);

    rig.printer.set_paused(true);
    let second = rig.print(1);
    let cancel = message(8, &[(0x21, "job-id", &second.to_be_bytes())], &[], b"");
    assert_eq!(status(&rig.ask(&cancel)), 0);
    assert_eq!(number(&rig.job(second), "job-state"), 7);
    assert_eq!(status(&rig.ask(&cancel)), 0x0404);
    let open = rig.ask(&message(0x0A, &[], &[], b""));
    assert!(values(&open, "job-id").is_empty());
    let ended = rig.ask(&message(
        0x0A,
        &[(0x44, "which-jobs", b"completed")],
        &[],
        b"",
    ));
    assert_eq!(values(&ended, "job-id").len(), 2);
}

#[test]
fn page_ranges_and_two_sides_are_counted() {
    let rig = rig(5);
    let reply = rig.ask(&message(
        2,
        &[],
        &[
            (0x33, "page-ranges", &[0, 0, 0, 2, 0, 0, 0, 4]),
            (0x44, "sides", b"two-sided-long-edge"),
        ],
        &pdf(9),
    ));
    let id = number(&reply, "job-id");
    until("the job completes", || {
        number(&rig.job(id), "job-state") == 9
    });
    assert_eq!(number(&rig.job(id), "job-impressions-completed"), 3);
    assert_eq!(number(&rig.job(id), "job-media-sheets-completed"), 2);
}

#[test]
fn wrong_requests_get_their_status() {
    let rig = rig(10);
    let check = |request: &[u8], expect: u16| {
        assert_eq!(status(&rig.post(request).1), expect);
    };
    check(b"", 0x0400);
    check(&[2, 0, 0, 0x0B, 0, 0, 0, 1, 1, 0x47, 0xFF, 0xFF], 0x0400);
    check(&message(0x77, &[], &[], b""), 0x0501);
    check(
        &[&[9, 0], &message(0x0B, &[], &[], b"")[2..]].concat(),
        0x0503,
    );
    check(
        &message(9, &[(0x21, "job-id", &[0, 0, 0, 77])], &[], b""),
        0x0406,
    );
    check(
        &message(2, &[(0x49, "document-format", b"image/gif")], &[], b"GIF"),
        0x040A,
    );
    check(&message(2, &[], &[], b""), 0x0400);
    check(
        &message(4, &[], &[(0x44, "media", b"na_letter_8.5x11in")], b""),
        0x0001,
    );
    check(&message(4, &[], &[], b""), 0);
    let id = number(&rig.ask(&message(2, &[], &[], b"no pdf at all")), "job-id");
    assert_eq!(number(&rig.job(id), "job-state"), 8);
    assert_eq!(
        text(&rig.job(id), "job-state-reasons"),
        "document-format-error"
    );
}

#[test]
fn http_is_checked_and_chunks_and_expectations_work() {
    let rig = rig(10);
    let check = |head: &str, expect: u16| {
        let mut stream = connect(&rig.address);
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(http_reply(&mut stream).0, expect, "{head}");
    };
    check("GET /ipp/print HTTP/1.1\r\n\r\n", 405);
    check("POST /elsewhere HTTP/1.1\r\n\r\n", 404);
    check(
        "POST /ipp/print HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n",
        415,
    );
    check("nonsense\r\n\r\n", 400);

    let request = message(0x0B, &[], &[], b"");
    let mut stream = connect(&rig.address);
    stream
        .write_all(b"POST /ipp/print HTTP/1.1\r\nContent-Type: application/ipp\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(receive(&mut stream, 25), b"HTTP/1.1 100 Continue\r\n\r\n");
    for chunk in request.chunks(50) {
        stream
            .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
            .unwrap();
        stream.write_all(&[chunk, b"\r\n"].concat()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let (http, reply) = http_reply(&mut stream);
    assert_eq!((http, status(&reply)), (200, 0));
}

#[test]
fn malformed_replies_are_malformed_as_asked() {
    let rig = rig(10);
    let request = message(0x0B, &[], &[], b"");
    let healthy = rig.ask(&request);
    assert_eq!(values(&healthy, "marker-levels").len(), 2);
    rig.printer.fault(PageFault::SingleMarkerLevels);
    let single = rig.ask(&request);
    assert_eq!(values(&single, "marker-levels").len(), 1);
    assert_eq!(values(&single, "marker-names").len(), 2);
    rig.printer.fault(PageFault::TruncatedReply);
    assert!(rig.post(&request).1.len() < healthy.len());
    rig.printer.fault(PageFault::AbsurdLengths);
    assert!(
        rig.post(&request)
            .1
            .ends_with(&[0x44, 0x7F, 0xFF, b'x', 0xFF, 0xFF, 0x03])
    );
    rig.printer.fault(PageFault::Garbage);
    assert_ne!(rig.post(&request).1[..2], [2, 0]);
    rig.printer.fault(PageFault::Unavailable);
    assert_eq!(rig.post(&request).0, 503);
    rig.printer.mend();
    assert_eq!(status(&rig.ask(&request)), 0);
}

#[test]
fn a_refusing_printer_comes_back_at_its_port() {
    let rig = rig(10);
    assert!(rig.printer.fault(PageFault::Refused));
    assert!(TcpStream::connect(&rig.address).is_err());
    assert!(rig.printer.mend());
    assert_eq!(rig.printer_state().0, 3);
    // A cut cable ends the connections that were open.
    let mut open = connect(&rig.address);
    assert!(rig.printer.cut_cable());
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0);
    assert!(rig.printer.plug_cable());
    assert_eq!(rig.printer_state().0, 3);
}

#[test]
fn a_slow_printer_keeps_the_client_waiting() {
    let rig = rig(10);
    rig.printer.slow();
    let mut stream = connect(&rig.address);
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let request = message(0x0B, &[], &[], b"");
    let head = format!(
        "POST /ipp/print HTTP/1.1\r\nContent-Type: application/ipp\r\nContent-Length: {}\r\n\r\n",
        request.len()
    );
    stream
        .write_all(&[head.as_bytes(), &request].concat())
        .unwrap();
    assert!(stream.read(&mut [0]).is_err());
}
