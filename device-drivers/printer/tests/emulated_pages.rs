//! The page printer driver against the emulated printer, which was written from the fact sheet alone:
//! whole prints, and the faults that users of comparable systems complained about.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver, Sensitive, Supply};
use kiosk_emulators::{PageFault, PagePrinter as Emulator, PagePrinterConfig, PrintOutcome};
use kiosk_printer::ipp::{Command, Event, PageDocument, PagePrinter};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(40);

struct Bench {
    emulator: Arc<Emulator>,
    driver: PagePrinter,
    _folder: TempDir,
}

fn bench(options: &str) -> Bench {
    let folder = TempDir::new().unwrap();
    let config = PagePrinterConfig {
        page_ms: 300,
        ..PagePrinterConfig::default()
    };
    let emulator = Arc::new(Emulator::start(folder.path(), config).unwrap());
    let driver = driver(&emulator.port(), options);
    Bench {
        emulator,
        driver,
        _folder: folder,
    }
}

fn driver(port: &str, options: &str) -> PagePrinter {
    let config = format!(
        "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"{port}\"\n[options]\n{options}"
    );
    PagePrinter::new(&toml::from_str(&config).unwrap()).unwrap()
}

/// A valid document of so many empty A4 pages.
fn pdf(pages: u32) -> Vec<u8> {
    let kids: Vec<String> = (0..pages).map(|page| format!("{} 0 R", page + 3)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!(
            "<< /Type /Pages /Kids [{}] /Count {pages} /MediaBox [0 0 595 842] >>",
            kids.join(" ")
        ),
    ];
    objects.extend((0..pages).map(|_| "<< /Type /Page /Parent 2 0 R >>".to_owned()));
    let mut bytes = b"%PDF-1.4\n".to_vec();
    let mut table = vec!["0000000000 65535 f \n".to_owned()];
    for (index, object) in objects.iter().enumerate() {
        table.push(format!("{:010} 00000 n \n", bytes.len()));
        bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", index + 1).bytes());
    }
    let start = bytes.len();
    let (table, size) = (table.concat(), objects.len() + 1);
    let trailer = format!(
        "xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    );
    bytes.extend(trailer.bytes());
    bytes
}

fn code(completion: &Completion) -> &str {
    match completion {
        Completion::NotReady(fault) | Completion::Failed(fault) => fault.code,
        Completion::Success => "success",
        Completion::Canceled => "canceled",
        Completion::TimeOut => "time-out",
    }
}

impl Bench {
    /// Prints; `on_event` may act on what the driver tells. The words come without progress.
    fn print(
        &mut self,
        pages: u32,
        limit: Duration,
        on_event: impl Fn(&Emulator, &Event, &Cancel),
    ) -> (Vec<&'static str>, Completion) {
        let words = RefCell::new(Vec::new());
        let cancel = Cancel::default();
        let emulator = &self.emulator;
        let emit = |event: Event| {
            on_event(emulator, &event, &cancel);
            match event {
                Event::Progress { .. } => {}
                Event::Stopped(fault) => words.borrow_mut().push(fault.code),
                Event::Resumed => words.borrow_mut().push("resumed"),
                Event::Presented => words.borrow_mut().push("presented"),
            }
        };
        let document = PageDocument {
            pdf: Arc::new(Sensitive::new(pdf(pages))),
            pages,
            first_page: 1,
        };
        let context = Context::new(limit, &cancel, &emit);
        let completion = self.driver.execute(Command::Print(document), &context);
        (words.into_inner(), completion)
    }

    fn outcomes(&self) -> Vec<(PrintOutcome, u32)> {
        let prints = self.emulator.prints();
        prints
            .iter()
            .map(|print| (print.outcome, print.pages_printed))
            .collect()
    }

    /// The code of the first fault, or how the question failed.
    fn fault(&mut self) -> Option<&'static str> {
        match self.driver.status() {
            Ok(status) => status.faults.first().map(|fault| fault.code),
            Err(fault) => Some(fault.code),
        }
    }
}

fn ignore(_: &Emulator, _: &Event, _: &Cancel) {}

#[test]
fn a_document_is_on_paper_when_it_is_presented() {
    let mut bench = bench("");
    bench.driver.open().unwrap();
    let (words, completion) = bench.print(2, LONG, ignore);
    assert_eq!(
        (words, completion),
        (vec!["presented"], Completion::Success)
    );
    assert_eq!(bench.outcomes(), [(PrintOutcome::Complete, 2)]);
}

#[test]
fn e10_a_printer_that_says_processing_without_paper_is_stopped() {
    let mut bench = bench("");
    bench.emulator.set_sheets(1);
    assert!(bench.emulator.fault(PageFault::StoppedButProcessing));
    let (words, completion) = bench.print(3, LONG, |emulator, event, _| {
        if matches!(event, Event::Stopped(_)) {
            emulator.refill();
        }
    });
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["printer.media-empty", "resumed", "presented"]);
    assert_eq!(bench.outcomes(), [(PrintOutcome::Complete, 3)]);
}

#[test]
fn e8_a_job_that_paper_never_reached_is_no_success_and_is_canceled() {
    let mut bench = bench("");
    bench.emulator.set_sheets(1);
    let (words, completion) = bench.print(3, Duration::from_secs(5), ignore);
    assert_eq!(words, ["printer.media-empty"]);
    assert_eq!(code(&completion), "printer.media-empty");
    assert!(matches!(completion, Completion::Failed(_)));
    assert_eq!(bench.outcomes(), [(PrintOutcome::Canceled, 1)]);
}

#[test]
fn e14_a_jam_is_cleared_and_printing_goes_on_where_it_was() {
    let mut bench = bench("");
    bench.emulator.jam_at(2);
    let (words, completion) = bench.print(3, LONG, |emulator, event, _| {
        if matches!(event, Event::Stopped(_)) {
            emulator.clear_jam();
        }
    });
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["printer.media-jam", "resumed", "presented"]);
    assert_eq!(bench.outcomes(), [(PrintOutcome::Complete, 3)]);
}

#[test]
fn e9_paper_and_toner_are_seen_while_nothing_is_printed() {
    let mut bench = bench("");
    assert_eq!(bench.fault(), None);
    bench.emulator.set_sheets(5);
    bench.emulator.set_toner(7);
    let status = bench.driver.status().unwrap();
    assert_eq!((status.paper, status.toner), (Supply::Low, Supply::Low));
    assert_eq!(status.readings["toner-percent"], "7");
    assert_eq!(status.readings["waste-toner-percent"], "20");
    bench.emulator.set_sheets(0);
    assert_eq!(bench.fault(), Some("printer.media-empty"));
    bench.emulator.refill();
    bench.emulator.set_cover(true);
    assert_eq!(bench.fault(), Some("printer.cover-open"));
    bench.emulator.set_cover(false);
    bench.emulator.set_toner(0);
    assert_eq!(bench.fault(), Some("printer.toner-empty"));
}

#[test]
fn e6_each_cause_has_its_own_code() {
    let mut bench = bench("");
    bench.emulator.set_paused(true);
    assert_eq!(bench.fault(), Some("printer.paused"));
    bench.emulator.set_paused(false);
    assert!(bench.emulator.fault(PageFault::Unavailable));
    assert_eq!(bench.fault(), Some("printer.busy"));
    assert!(bench.emulator.fault(PageFault::Garbage));
    assert_eq!(bench.fault(), Some("printer.bad-reply"));
    assert!(bench.emulator.fault(PageFault::Refused));
    assert_eq!(bench.fault(), Some("device.not-there"));
    assert!(bench.emulator.mend());
    assert_eq!(bench.fault(), None);
    let wrong = bench.emulator.port().replace("/ipp/print", "/ipp/other");
    assert_eq!(
        driver(&wrong, "").status().unwrap_err().code,
        "printer.no-queue"
    );
}

#[test]
fn malformed_replies_are_read_as_far_as_they_make_sense() {
    let mut bench = bench("");
    for fault in [PageFault::SingleMarkerLevels, PageFault::AbsurdLengths] {
        assert!(bench.emulator.fault(fault));
        assert_eq!(bench.fault(), None, "{fault:?}");
        let (_, completion) = bench.print(1, LONG, ignore);
        assert_eq!(completion, Completion::Success, "{fault:?}");
    }
    assert!(bench.emulator.fault(PageFault::TruncatedReply));
    bench.emulator.set_sheets(0);
    assert_eq!(bench.fault(), Some("printer.media-empty"));
}

#[test]
fn e5_a_connection_that_drops_for_a_moment_neither_fails_nor_doubles_a_print() {
    let mut bench = bench("");
    let (dropped, is_dropped) = sync_channel(1);
    let was_dropped = Cell::new(false);
    let emulator = Arc::clone(&bench.emulator);
    let network = thread::spawn(move || {
        is_dropped.recv_timeout(LONG).unwrap();
        let cancel = Cancel::default();
        let emit = |()| {};
        // Longer than the time between two questions, shorter than three of them.
        let moment = Duration::from_millis(1500);
        assert!(Context::new(LONG, &cancel, &emit).pause(moment).is_ok());
        assert!(emulator.mend());
    });
    let (words, completion) = bench.print(9, LONG, |emulator, event, _| {
        if matches!(event, Event::Progress { .. }) && !was_dropped.replace(true) {
            assert!(emulator.fault(PageFault::Unavailable));
            dropped.send(()).unwrap();
        }
    });
    network.join().unwrap();
    assert_eq!(
        (words, completion),
        (vec!["presented"], Completion::Success)
    );
    assert_eq!(bench.outcomes(), [(PrintOutcome::Complete, 9)]);
}

#[test]
fn a_canceled_document_does_not_come_out_in_front_of_the_next_person() {
    let mut bench = bench("");
    let (_, completion) = bench.print(9, LONG, |_, event, cancel| {
        if matches!(event, Event::Progress { .. }) {
            cancel.cancel();
        }
    });
    assert_eq!(completion, Completion::Canceled);
    let outcomes = bench.outcomes();
    assert!(
        matches!(outcomes.as_slice(), [(PrintOutcome::Canceled, pages)] if *pages < 9),
        "{outcomes:?}"
    );
}

#[test]
fn a_device_behind_a_queue_stops_a_print_that_the_queue_knows_nothing_of() {
    let device = bench("");
    let mut queue = bench(&format!("device = \"{}\"", device.emulator.port()));
    device.emulator.set_sheets(0);
    assert_eq!(queue.fault(), Some("printer.media-empty"));
    let status = queue.driver.status().unwrap();
    assert_eq!(
        (status.state, status.paper),
        (DeviceState::UserError, Supply::Out)
    );
    let (_, completion) = queue.print(1, LONG, ignore);
    assert!(matches!(completion, Completion::NotReady(_)));
    assert_eq!(queue.outcomes(), []);
    device.emulator.refill();
    let (words, completion) = queue.print(1, LONG, ignore);
    assert_eq!(
        (words, completion),
        (vec!["presented"], Completion::Success)
    );
}
