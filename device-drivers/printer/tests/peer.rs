//! The page printer driver against a printer somebody else wrote: Debian's `ippeveprinter`.
//!
//! It decodes our requests with its own IPP library, so a mistake that driver and emulator share
//! shows here. What it received lies in a folder: the document, and the attributes of the job as
//! `IPP_*` lines. Its print command is a shell script of each test, which plays paper and motor.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver, Sensitive, Supply};
use kiosk_printer::ipp::{Command, Event, PageDocument, PagePrinter};
use tempfile::TempDir;

/// Limit of one print. Chosen: far above the second or two that it takes.
const LONG: Duration = Duration::from_mins(1);
/// Limit for the peer to answer after its start. Chosen for a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_millis(20);
/// Ports tried: somebody may take a free port before the peer does.
const PORTS_MAX: u32 = 5;

/// `ippeveprinter` refuses to work without a DNS-SD daemon and without IPv6. The test needs neither:
/// announcements go nowhere, and its second listener is a socket on which nobody ever calls.
const STUB: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>
static int object;
int avahi_client_errno(void *c) { return 0; }
const char *avahi_client_get_host_name_fqdn(void *c) { return "localhost"; }
void *avahi_client_new(void *p, int f, void *b, void *u, int *e) { return &object; }
int avahi_entry_group_add_service_strlst(void *g, ...) { return 0; }
int avahi_entry_group_add_service_subtype(void *g, ...) { return 0; }
int avahi_entry_group_commit(void *g) { return 0; }
int avahi_entry_group_free(void *g) { return 0; }
void *avahi_entry_group_new(void *c, void *b, void *u) { return &object; }
void *avahi_string_list_add_printf(void *l, const char *f, ...) { return &object; }
void avahi_string_list_free(void *l) {}
const void *avahi_threaded_poll_get(void *p) { return &object; }
void avahi_threaded_poll_lock(void *p) {}
void *avahi_threaded_poll_new(void) { return &object; }
int avahi_threaded_poll_start(void *p) { return 0; }
void avahi_threaded_poll_unlock(void *p) {}
int httpAddrListen(struct sockaddr *address, int port) {
    int (*listen_for_real)(struct sockaddr *, int) = dlsym(RTLD_NEXT, "httpAddrListen");
    int pair[2];
    if (address->sa_family != AF_INET6) return listen_for_real(address, port);
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ? -1 : pair[0];
}
"#;

/// Ahead of each test's own lines: keep what came, and `wait_for FILE`, which also ends when the
/// folder of the test is gone.
const SCRIPT: &str = r#"#!/bin/sh
unset LD_PRELOAD
cd "$(dirname "$0")" || exit 9
wait_for() {
    tries=0
    while [ -e command ] && [ ! -e "$1" ] && [ $tries -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}
say() { echo "$1" >&2; }
env | grep '^IPP_' > attributes
cp "$1" received || exit 9
"#;

struct Peer {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Peer {
    /// A printer for `format` whose print command ends with `lines`.
    fn start(format: &str, lines: &str) -> Self {
        for _ in 0..PORTS_MAX {
            let folder = prepare(lines);
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let mut peer = Self {
                child: launch(folder.path(), format, port),
                folder,
                port,
            };
            if peer.answers() {
                return peer;
            }
        }
        panic!("{PORTS_MAX} free ports were taken before ippeveprinter could listen");
    }

    /// Waits until it listens; false when its port was taken.
    fn answers(&mut self) -> bool {
        let cancel = Cancel::default();
        let emit = |()| {};
        let context = Context::new(START_LIMIT, &cancel, &emit);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = self.read("log");
                assert!(
                    log.contains("Address already in use"),
                    "ippeveprinter ended with {status}: {log}"
                );
                return false;
            }
            if TcpStream::connect_timeout(&address, START_LIMIT).is_ok() {
                return true;
            }
            assert!(
                context.pause(START_INTERVAL).is_ok(),
                "ippeveprinter does not listen: {}",
                self.read("log")
            );
        }
    }

    fn driver(&self) -> PagePrinter {
        let config = format!(
            "id = \"page-1\"\nclass = \"page-printer\"\ndriver = \"ipp\"\nport = \"ipp://127.0.0.1:{}/ipp/print\"",
            self.port
        );
        PagePrinter::new(&toml::from_str(&config).unwrap()).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Lets the print command go past `wait_for NAME`.
    fn allow(&self, name: &str) {
        drop(File::create(self.folder.path().join(name)).unwrap());
    }

    /// The document that came last, if any came.
    fn received(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join("received")).ok()
    }

    /// Fails unless the peer decoded each of these attributes from the job.
    fn assert_attributes(&self, expect: &[&str]) {
        let attributes = self.read("attributes");
        for line in expect {
            assert!(
                attributes.lines().any(|known| known == *line),
                "{line} is not among:\n{attributes}"
            );
        }
    }
}

/// A folder with the stub, compiled, and the print command.
fn prepare(lines: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("stub.c"), STUB).unwrap();
    let output = Program::new("cc")
        .current_dir(path)
        .args(["-w", "-shared", "-fPIC", "-o", "stub.so", "stub.c", "-ldl"])
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("cannot run cc ({error}): install it with packaging/install-packages.sh")
    });
    assert!(
        output.status.success(),
        "the stub does not compile: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let command = path.join("command");
    fs::write(&command, format!("{SCRIPT}{lines}\n")).unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(path.join("spool")).unwrap();
    folder
}

fn launch(folder: &Path, format: &str, port: u16) -> Child {
    // Debian installs it where the PATH of an ordinary user does not lead.
    for program in ["ippeveprinter", "/usr/sbin/ippeveprinter"] {
        let child = Program::new(program)
            .args(["-vv", "-n", "localhost", "-r", "off"])
            .args(["-M", "Example", "-m", "Page 100", "-f", format])
            .arg("-p")
            .arg(port.to_string())
            .arg("-K")
            .arg(folder.join("keys"))
            .arg("-d")
            .arg(folder.join("spool"))
            .arg("-c")
            .arg(folder.join("command"))
            .arg("Peer")
            .env("LD_PRELOAD", folder.join("stub.so"))
            .env("HOME", folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("log")).unwrap())
            .spawn();
        match child {
            Ok(child) => return child,
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{program}: {error}"),
        }
    }
    panic!("ippeveprinter is not installed: install it with packaging/install-packages.sh");
}

/// A valid document of two empty A4 pages, with bytes that do not survive a change of text.
fn pdf() -> Vec<u8> {
    const OBJECTS: [&str; 4] = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 /MediaBox [0 0 595 842] >>",
        "<< /Type /Page /Parent 2 0 R >>",
        "<< /Type /Page /Parent 2 0 R >>",
    ];
    let mut bytes = b"%PDF-1.4\n%\xE2\xE3\x00\xFF\r\n".to_vec();
    let mut table = vec!["0000000000 65535 f \n".to_owned()];
    for (index, object) in OBJECTS.iter().enumerate() {
        table.push(format!("{:010} 00000 n \n", bytes.len()));
        bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", index + 1).bytes());
    }
    let start = bytes.len();
    let table = table.concat();
    let trailer = format!(
        "xref\n0 5\n{table}trailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    );
    bytes.extend(trailer.bytes());
    bytes
}

/// Prints the two pages from `first_page`; `on_event` may act on what the driver tells.
fn print(
    peer: &Peer,
    first_page: u32,
    on_event: impl Fn(&Event, &Cancel),
) -> (Vec<String>, Completion) {
    let words = RefCell::new(Vec::new());
    let cancel = Cancel::default();
    let emit = |event: Event| {
        on_event(&event, &cancel);
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
        pdf: Arc::new(Sensitive::new(pdf())),
        pages: 2,
        first_page,
    };
    let context = Context::new(LONG, &cancel, &emit);
    let completion = peer.driver().execute(Command::Print(document), &context);
    (words.into_inner(), completion)
}

fn ignore(_: &Event, _: &Cancel) {}

fn code(completion: &Completion) -> &str {
    match completion {
        Completion::NotReady(fault) | Completion::Failed(fault) => fault.code,
        Completion::Success => "success",
        Completion::Canceled => "canceled",
        Completion::TimeOut => "time-out",
    }
}

#[test]
fn a_foreign_printer_tells_its_model_and_is_online() {
    let peer = Peer::start("application/pdf", "");
    let mut driver = peer.driver();
    let capabilities = driver.open().unwrap();
    assert_eq!(capabilities.model, "Example Page 100");
    assert_eq!(capabilities.abilities, ["a4", "pdf", "page-ranges"]);
    let status = driver.status().unwrap();
    assert_eq!(status.state, DeviceState::Online);
    assert_eq!(status.faults, []);
    // Its toner is at 75 %; the waste container, at 25 %, says nothing about toner.
    assert_eq!(status.toner, Supply::Full);
}

#[test]
fn a_foreign_printer_receives_exactly_the_document_and_how_to_print_it() {
    let peer = Peer::start(
        "application/pdf",
        "say 'ATTR: job-impressions=2 job-impressions-completed=2'",
    );
    let (words, completion) = print(&peer, 1, ignore);
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["page 2", "presented"]);
    assert_eq!(peer.received().unwrap(), pdf());
    peer.assert_attributes(&[
        "IPP_MEDIA=iso_a4_210x297mm",
        "IPP_SIDES=one-sided",
        "IPP_PRINT_COLOR_MODE=monochrome",
        "IPP_COPIES=1",
        "IPP_JOB_ORIGINATING_USER_NAME=kiosk",
        "IPP_DOCUMENT_FORMAT_SUPPLIED=application/pdf",
    ]);
    let attributes = peer.read("attributes");
    // The ticket names no person: printers keep job lists.
    assert!(
        attributes.contains("\nIPP_JOB_NAME=kiosk-")
            || attributes.starts_with("IPP_JOB_NAME=kiosk-")
    );
    assert!(!attributes.contains("IPP_PAGE_RANGES="));
}

#[test]
fn a_foreign_printer_understands_where_to_resume() {
    let peer = Peer::start("application/pdf", "");
    let (words, completion) = print(&peer, 2, ignore);
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["presented"]);
    peer.assert_attributes(&["IPP_PAGE_RANGES=2-2"]);
}

#[test]
fn paper_that_runs_out_and_is_refilled_is_told_while_the_job_goes_on() {
    let peer = Peer::start(
        "application/pdf",
        "say 'STATE: +media-empty-error'\nwait_for refilled\nsay 'STATE: -media-empty-error'\nwait_for seen",
    );
    let (words, completion) = print(&peer, 1, |event, _| match event {
        Event::Stopped(_) => peer.allow("refilled"),
        Event::Resumed => peer.allow("seen"),
        Event::Progress { .. } | Event::Presented => {}
    });
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["printer.media-empty", "resumed", "presented"]);
}

#[test]
fn a_foreign_printer_without_paper_gets_no_second_document() {
    let peer = Peer::start(
        "application/pdf",
        "say 'STATE: +media-empty-error'\nwait_for asked",
    );
    let (words, completion) = print(&peer, 1, |event, _| {
        if !matches!(event, Event::Stopped(_)) {
            return;
        }
        fs::remove_file(peer.folder.path().join("received")).unwrap();
        let status = peer.driver().status().unwrap();
        let codes: Vec<&str> = status.faults.iter().map(|fault| fault.code).collect();
        assert_eq!(codes, ["printer.media-empty"]);
        assert_eq!(
            (status.state, status.paper),
            (DeviceState::UserError, Supply::Out)
        );
        let (words, completion) = print(&peer, 1, ignore);
        assert!(matches!(completion, Completion::NotReady(_)));
        assert_eq!(code(&completion), "printer.media-empty");
        assert!(words.is_empty());
        peer.allow("asked");
    });
    assert_eq!(completion, Completion::Success);
    assert_eq!(words.first().unwrap(), "printer.media-empty");
    assert_eq!(words.last().unwrap(), "presented");
    assert_eq!(peer.received(), None);
    // Idle, it calls the same lack a mere report, and a report does not stop work.
    assert_eq!(peer.driver().status().unwrap().state, DeviceState::Online);
}

#[test]
fn a_job_the_foreign_printer_gives_up_has_failed() {
    let peer = Peer::start("application/pdf", "exit 1");
    let (words, completion) = print(&peer, 1, ignore);
    assert!(matches!(completion, Completion::Failed(_)));
    assert_eq!(code(&completion), "printer.job-aborted");
    assert!(words.is_empty());
}

#[test]
fn a_canceled_job_is_canceled_in_the_foreign_printer() {
    let peer = Peer::start(
        "application/pdf",
        "say 'STATE: +media-empty-error'\nwait_for never",
    );
    let (words, completion) = print(&peer, 1, |_, cancel| cancel.cancel());
    assert_eq!(completion, Completion::Canceled);
    assert_eq!(words, ["printer.media-empty"]);
    let log = peer.read("log");
    assert!(log.contains("Cancel-Job successful-ok"), "{log}");
}

#[test]
fn a_foreign_printer_without_pdf_gets_no_document() {
    let peer = Peer::start("image/pwg-raster", "");
    let capabilities = peer.driver().open().unwrap();
    assert!(!capabilities.abilities.contains(&"pdf".to_owned()));
    let (words, completion) = print(&peer, 1, ignore);
    assert!(matches!(completion, Completion::NotReady(_)));
    assert_eq!(code(&completion), "printer.no-pdf");
    assert!(words.is_empty());
    assert_eq!(peer.received(), None);
}
