//! The USB bus, and the devices on it that are spoken to in transfers.
use crate::common::{bytes, until};
use crate::usbip::{Host, import, list, split};
use kiosk_emulators::{
    CardFault, CardSpec, IdCardConfig, IdCardReader, IdCardTransport, QrScanner, QrScannerConfig,
    ScanMode, ScannerDialect, ScannerTransport, SlipPrinter, SlipPrinterConfig, SlipTransport,
    UsbBus, UsbConfig,
};

const STATUS: &str = "AA AA AA 96 69 00 03 11 FF ED";
const OK: &str = "AA AA AA 96 69 00 04 00 00 90 94";
const FIND: &str = "AA AA AA 96 69 00 03 20 01 22";
const SELECT: &str = "AA AA AA 96 69 00 03 20 02 21";
const READ: &str = "AA AA AA 96 69 00 03 30 01 32";

struct Rig {
    reader: IdCardReader,
    port: String,
    host: Host,
    _dir: tempfile::TempDir,
}

fn reader(transport: IdCardTransport) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let config = IdCardConfig {
        transport,
        baud: 0,
        find_ms: 0,
        read_ms: 0,
        ..IdCardConfig::default()
    };
    let reader = IdCardReader::start(dir.path(), config).unwrap();
    let port = reader.port().display().to_string();
    let host = import(&port).unwrap();
    Rig {
        reader,
        port,
        host,
        _dir: dir,
    }
}

fn descriptor(value: u16, index: u16, length: u16) -> [u8; 8] {
    let [value, kind] = value.to_le_bytes();
    let [index, _] = index.to_le_bytes();
    let [low, high] = length.to_le_bytes();
    [0x80, 6, value, kind, index, 0, low, high]
}

#[test]
fn a_device_says_who_it_is_as_the_kernel_asks() {
    let mut rig = reader(IdCardTransport::UsbFourPipes);
    let host = &mut rig.host;
    assert_eq!(host.record[300..304], bytes("04 00 C3 5A"));
    // The first eight bytes first, then all.
    assert_eq!(
        host.control(descriptor(0x0100, 0, 8), &[]).unwrap().len(),
        8
    );
    let device = host.control(descriptor(0x0100, 0, 64), &[]).unwrap();
    assert_eq!(device[8..12], bytes("00 04 5A C3"));
    let head = host.control(descriptor(0x0200, 0, 9), &[]).unwrap();
    assert_eq!((head.len(), head[2], head[4]), (9, 9 + 9 + 4 * 7, 1));
    let whole = host.control(descriptor(0x0200, 0, 255), &[]).unwrap();
    assert_eq!(whole.len(), usize::from(head[2]));
    assert_eq!(whole[9..18], bytes("09 04 00 00 04 FF 00 00 00"));
    assert_eq!(
        host.control(descriptor(0x0300, 0, 255), &[]).unwrap(),
        bytes("04 03 09 04")
    );
    assert!(host.control(descriptor(0x0302, 9, 255), &[]).unwrap().len() > 4);
    assert_eq!(host.control(descriptor(0x0309, 9, 255), &[]), Err(-32));
    // A full-speed device has no device qualifier.
    assert_eq!(host.control(descriptor(0x0600, 0, 10), &[]), Err(-32));
    assert_eq!(host.control([0, 9, 1, 0, 0, 0, 0, 0], &[]), Ok(vec![]));
    assert_eq!(host.control([0x80, 8, 0, 0, 0, 0, 1, 0], &[]), Ok(vec![1]));
    assert_eq!(host.control([1, 11, 0, 0, 0, 0, 0, 0], &[]), Ok(vec![]));
    assert_eq!(
        rig.reader.report()["usb"]["errors"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn what_nobody_knows_is_refused_and_kept() {
    let mut rig = reader(IdCardTransport::UsbPair);
    assert_eq!(
        rig.host.control([0xC0, 0x55, 0, 0, 0, 0, 4, 0], &[]),
        Err(-32)
    );
    assert_eq!(
        rig.host.control([0x00, 0x77, 0, 0, 0, 0, 0, 0], &[]),
        Err(-32)
    );
    assert_eq!(rig.host.read(0x83, 64), Err(-32));
    assert_eq!(
        rig.reader.report()["usb"]["errors"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    // The device lives on.
    rig.host.write(0x02, &bytes(STATUS));
    assert_eq!(rig.host.read(0x81, 2048), Ok(bytes(OK)));
}

#[test]
fn a_device_has_one_host_and_can_be_unplugged() {
    let mut rig = reader(IdCardTransport::UsbPair);
    let (address, bus_id) = split(&rig.port);
    assert_eq!(list(address), [bus_id]);
    assert_eq!(import(&rig.port).err(), Some(2));
    assert_eq!(import(&rig.port.replace("/1-1", "/9-9")).err(), Some(4));
    // A read waits while the cable is pulled.
    rig.host.submit(0x81, [0; 8], 64, &[]);
    assert!(rig.host.is_silent());
    assert!(rig.reader.cut_cable());
    assert!(rig.host.is_over());
    assert_eq!(list(address), Vec::<String>::new());
    assert_eq!(import(&rig.port).err(), Some(4));
    assert!(rig.reader.plug_cable());
    assert_eq!(list(address), [bus_id]);
    rig.host = import(&rig.port).unwrap();
    rig.host.write(0x02, &bytes(STATUS));
    assert_eq!(rig.host.read(0x81, 64), Ok(bytes(OK)));
}

#[test]
fn a_host_that_leaves_makes_room_for_the_next() {
    let mut rig = reader(IdCardTransport::UsbPair);
    // Half a request is forgotten with its host.
    rig.host.write(0x02, &bytes("AA AA AA 96 69 00"));
    let port = rig.port.clone();
    drop(rig.host);
    let mut next = None;
    until("the device is free", || {
        next = import(&port).ok();
        next.is_some()
    });
    let mut host = next.unwrap();
    host.write(0x02, &bytes(STATUS));
    assert_eq!(host.read(0x81, 64), Ok(bytes(OK)));
}

#[test]
fn a_read_waits_until_it_is_taken_back() {
    let mut rig = reader(IdCardTransport::UsbPair);
    let pending = rig.host.submit(0x81, [0; 8], 64, &[]);
    assert!(rig.host.is_silent());
    let unlink = rig.host.unlink(pending);
    let reply = rig.host.reply(true);
    assert_eq!(
        (reply.command, reply.sequence, reply.status),
        (4, unlink, -104)
    );
    // Nothing was lost: the next read gets the whole reply.
    rig.host.write(0x02, &bytes(STATUS));
    assert_eq!(rig.host.read(0x81, 64), Ok(bytes(OK)));
    let unlink = rig.host.unlink(pending);
    let reply = rig.host.reply(true);
    assert_eq!((reply.sequence, reply.status), (unlink, 0));
}

#[test]
fn a_halted_endpoint_must_be_cleared() {
    let mut rig = reader(IdCardTransport::UsbPair);
    rig.reader.fault(CardFault::Stall);
    rig.host.write(0x02, &bytes(STATUS));
    assert_eq!(rig.host.read(0x81, 64), Err(-32));
    assert_eq!(rig.host.read(0x81, 64), Err(-32));
    assert_eq!(
        rig.host.control([0x82, 0, 0, 0, 0x81, 0, 2, 0], &[]),
        Ok(vec![1, 0])
    );
    assert_eq!(
        rig.host.control([2, 1, 0, 0, 0x81, 0, 0, 0], &[]),
        Ok(vec![])
    );
    rig.host.write(0x02, &bytes(STATUS));
    assert_eq!(rig.host.read(0x81, 64), Ok(bytes(OK)));
}

#[test]
fn a_card_is_read_through_four_pipes() {
    let mut rig = reader(IdCardTransport::UsbFourPipes);
    rig.reader
        .insert(&CardSpec::named("adult").unwrap())
        .unwrap();
    let host = &mut rig.host;
    let mut ask = |request: &str| {
        let request = bytes(request);
        host.write(0x02, &request[..7]);
        host.write(0x06, &request[7..]);
        let head = host.read(0x81, 7).unwrap();
        let length = u32::from(u16::from_be_bytes([head[5], head[6]]));
        let body = host.read(0x85, length.next_multiple_of(64)).unwrap();
        [head, body].concat()
    };
    assert_eq!(ask(STATUS), bytes(OK));
    ask(FIND);
    ask(SELECT);
    let reply = ask(READ);
    assert_eq!((reply.len(), reply[1294]), (1295, 0x54));
    assert_eq!(
        rig.reader.report()["usb"]["errors"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    // A whole frame in the pipe for heads is a fault of the driver.
    rig.host.write(0x02, &bytes(STATUS));
    until("the error is kept", || {
        rig.reader.report()["usb"]["errors"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
}

#[test]
fn a_card_is_read_through_one_pair_in_packets_of_64() {
    let mut rig = reader(IdCardTransport::UsbPair);
    rig.reader
        .insert(&CardSpec::named("adult").unwrap())
        .unwrap();
    for request in [FIND, SELECT] {
        rig.host.write(0x02, &bytes(request));
        rig.host.read(0x81, 4096).unwrap();
    }
    rig.host.write(0x02, &bytes(READ));
    let mut reply = rig.host.read(0x81, 640).unwrap();
    assert_eq!(reply.len(), 640);
    reply.extend(rig.host.read(0x81, 4096).unwrap());
    assert_eq!((reply.len(), reply[1294]), (1295, 0x54));
}

/// A packet of the HID framing around `data`.
fn packet(flag: u8, command: u8, data: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(data.len() + 1)
        .unwrap()
        .to_le_bytes()
        .to_vec();
    body.push(command);
    body.extend(data);
    let sum = body.iter().fold(0_u16, |sum, b| sum + u16::from(*b));
    let mut packet = vec![flag, 0, 0];
    packet.extend(&body);
    packet.extend(sum.to_le_bytes());
    packet
}

#[test]
fn a_card_is_read_through_hid_reports() {
    let mut rig = reader(IdCardTransport::Hid);
    rig.reader
        .insert(&CardSpec::named("adult").unwrap())
        .unwrap();
    let host = &mut rig.host;
    let mut ask = |request: &str, total: usize| {
        let mut report = packet(0x88, 0xB1, &bytes(request));
        report.resize(64, 0);
        host.write(0x01, &report);
        let mut reply = Vec::new();
        while reply.len() < total + 8 {
            reply.extend(host.read(0x81, 64).unwrap());
        }
        assert_eq!(reply.len() % 64, 0);
        reply.truncate(total + 8);
        assert_eq!(reply, packet(0xAA, 0, &reply[6..6 + total]));
        reply[6..6 + total].to_vec()
    };
    assert_eq!(ask(STATUS, 11), bytes(OK));
    ask(FIND, 15);
    ask(SELECT, 19);
    let reply = ask(READ, 1295);
    assert_eq!(reply[1294], 0x54);
    // A report by the control endpoint is as good as one by its own.
    let mut report = packet(0x88, 0x0D, &[]);
    report.resize(64, 0);
    rig.host
        .control([0x21, 9, 0, 2, 0, 0, 64, 0], &report)
        .unwrap();
    let version = rig.host.read(0x81, 64).unwrap();
    assert_eq!((version[0], version[5]), (0xAA, 0));
    // A wrong sum is told.
    report[6] ^= 1;
    rig.host.write(0x01, &report);
    assert_eq!(rig.host.read(0x81, 64).unwrap()[5], 1);
}

#[test]
fn a_reader_that_vanishes_is_gone_before_it_answers() {
    let mut rig = reader(IdCardTransport::UsbPair);
    rig.reader.fault(CardFault::Vanish);
    rig.host.write(0x02, &bytes(STATUS));
    assert!(rig.host.is_over());
    assert_eq!(import(&rig.port).err(), Some(4));
}

#[test]
fn a_serial_device_over_usb_tells_how_its_line_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let config = QrScannerConfig {
        transport: ScannerTransport::UsbSerial,
        decode_ms: 0,
        mode: ScanMode::Presentation,
        ..QrScannerConfig::default()
    };
    let scanner = QrScanner::start(dir.path(), config).unwrap();
    let mut host = import(&scanner.port().display().to_string()).unwrap();
    assert_eq!(host.record[306..309], bytes("02 00 00"));
    let coding = bytes("80 25 00 00 00 00 08");
    host.control([0x21, 0x20, 0, 0, 0, 0, 7, 0], &coding)
        .unwrap();
    host.control([0x21, 0x22, 3, 0, 0, 0, 0, 0], &[]).unwrap();
    assert_eq!(
        host.control([0xA1, 0x21, 0, 0, 0, 0, 7, 0], &[]),
        Ok(coding)
    );
    let line = &scanner.report()["usb"]["line"];
    assert_eq!((&line["baud"], &line["dtr"]), (&9600.into(), &true.into()));
    host.write(0x01, b"\x7E\x010000#SCNTRG1;\x03");
    assert_eq!(
        host.read(0x81, 128).unwrap(),
        b"\x02\x010000#SCNTRG1\x06;\x03"
    );
    scanner.present(&[b'A'; 126]).unwrap();
    // 128 bytes with the suffix: two full packets, and the transfer is full.
    assert_eq!(host.read(0x81, 128).unwrap().len(), 128);
}

#[test]
fn codes_come_as_point_of_sale_reports() {
    let dir = tempfile::tempdir().unwrap();
    let config = QrScannerConfig {
        dialect: ScannerDialect::HidPos,
        decode_ms: 0,
        ..QrScannerConfig::default()
    };
    let scanner = QrScanner::start(dir.path(), config).unwrap();
    let mut host = import(&scanner.port().display().to_string()).unwrap();
    // The report descriptor: 64 bytes in the common layout.
    let hid = host.control([0x81, 6, 0, 0x21, 0, 0, 9, 0], &[]).unwrap();
    let report = host.control([0x81, 6, 0, 0x22, 0, 0, 255, 0], &[]).unwrap();
    assert_eq!(usize::from(hid[7]), report.len());
    assert_eq!(report[..8], bytes("05 8C 09 02 A1 01 85 02"));
    assert_eq!(
        host.control([0x21, 0x0A, 0, 0, 0, 0, 0, 0], &[]),
        Ok(vec![])
    );
    // Nothing is read before the trigger.
    scanner.present(&[b'A'; 120]).unwrap();
    let pending = host.submit(0x81, [0; 8], 64, &[]);
    assert!(host.is_silent());
    let trigger = bytes("FD 03 16 54 0D");
    host.submit(0, [0x21, 9, 0xFD, 2, 0, 0, 5, 0], 0, &trigger);
    let first = host.data_of(pending);
    assert_eq!((first[1], first[63]), (56, 1));
    let second = host.read(0x81, 64).unwrap();
    let third = host.read(0x81, 64).unwrap();
    assert_eq!((second[1], second[63]), (56, 1));
    assert_eq!((third[1], third[63], third.len()), (8, 0, 64));
    assert_eq!(third[2..5], *b"]Q1");
}

#[test]
fn a_keyboard_types_the_code_and_enter() {
    let dir = tempfile::tempdir().unwrap();
    let config = QrScannerConfig {
        dialect: ScannerDialect::HidKeyboard,
        decode_ms: 0,
        ..QrScannerConfig::default()
    };
    let scanner = QrScanner::start(dir.path(), config).unwrap();
    let mut host = import(&scanner.port().display().to_string()).unwrap();
    scanner.present(b"aB").unwrap();
    let keys: Vec<_> = (0..6)
        .map(|_| host.read(0x81, 8).unwrap())
        .map(|report| (report[0], report[2]))
        .collect();
    assert_eq!(keys, [(0, 4), (0, 0), (2, 5), (0, 0), (0, 0x28), (0, 0)]);
}

fn printer(config: SlipPrinterConfig) -> (SlipPrinter, Host, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = SlipPrinterConfig {
        transport: SlipTransport::Usb,
        speed_mm_per_s: 5000,
        ..config
    };
    let printer = SlipPrinter::start(dir.path(), config).unwrap();
    let host = import(&printer.port()).unwrap();
    (printer, host, dir)
}

#[test]
fn a_printer_of_the_usb_class_answers_its_three_requests() {
    let (printer, mut host, _dir) = printer(SlipPrinterConfig::default());
    let id = host.control([0xA1, 0, 0, 0, 0, 0, 0xFF, 0], &[]).unwrap();
    assert_eq!(id[..2], bytes("00 2D"));
    assert_eq!(id[2..], *b"MFG:TEST;MDL:EMU80;CMD:ESC/POS;CLS:PRINTER;");
    let mut status = || host.control([0xA1, 1, 0, 0, 0, 0, 1, 0], &[]).unwrap();
    assert_eq!(status(), [0x18]);
    printer.set_paper_mm(0);
    assert_eq!(status(), [0x30]);
    printer.refill();
    printer.set_on_line(false);
    assert_eq!(status(), [0x08]);
    printer.set_on_line(true);
    assert_eq!(host.control([0x21, 2, 0, 0, 0, 0, 0, 0], &[]), Ok(vec![]));
    host.write(0x02, &bytes("10 04 01 10 04 04"));
    let mut got = host.read(0x81, 64).unwrap();
    if got.len() < 2 {
        got.extend(host.read(0x81, 64).unwrap());
    }
    assert_eq!(got, bytes("12 12"));
    host.write(
        0x02,
        &bytes("1B 40 54 45 53 54 0A 1D 56 42 00 1D 28 48 06 00 30 30 41 42 43 44"),
    );
    assert_eq!(host.read(0x81, 64), Ok(bytes("37 22 41 42 43 44 00")));
    assert_eq!(printer.prints().len(), 1);
    assert_eq!(printer.report()["usb-errors"].as_array().unwrap().len(), 0);
}

#[test]
fn a_soft_reset_forgets_what_waits() {
    let (printer, mut host, _dir) = printer(SlipPrinterConfig::default());
    printer.set_cover(true);
    host.write(0x02, &bytes("1B 40 54 45 53 54 0A 1D 56 42 00"));
    until("the slip waits", || printer.report()["busy"] == true);
    host.control([0x21, 2, 0, 0, 0, 0, 0, 0], &[]).unwrap();
    until("the slip is forgotten", || {
        printer.report()["busy"] == false
    });
    printer.set_cover(false);
    host.write(0x02, &bytes("1D 28 48 06 00 30 30 41 42 43 44"));
    assert_eq!(host.read(0x81, 64), Ok(bytes("37 22 41 42 43 44 00")));
    assert_eq!(printer.prints(), []);
}

#[test]
fn a_cheap_board_is_always_well_and_has_no_way_back() {
    let (printer, mut host, _dir) = printer(SlipPrinterConfig {
        is_uni_directional: true,
        port_status_is_fixed: true,
        ..SlipPrinterConfig::default()
    });
    printer.set_paper_mm(0);
    assert_eq!(
        host.control([0xA1, 1, 0, 0, 0, 0, 1, 0], &[]),
        Ok(vec![0x18])
    );
    let configuration = host.control(descriptor(0x0200, 0, 255), &[]).unwrap();
    assert_eq!((configuration.len(), configuration[16]), (25, 1));
    assert_eq!(host.read(0x81, 64), Err(-32));
    printer.refill();
    host.write(0x02, &bytes("10 04 01 1B 40 54 45 53 54 0A 1D 56 42 00"));
    until("the slip is printed", || printer.prints().len() == 1);
}

#[test]
fn several_devices_share_one_bus() {
    let dir = tempfile::tempdir().unwrap();
    let bus = UsbBus::start(&UsbConfig::default()).unwrap();
    let reader = IdCardConfig {
        transport: IdCardTransport::UsbPair,
        ..IdCardConfig::default()
    };
    let reader = IdCardReader::start_on(&bus, dir.path(), reader).unwrap();
    let printer = SlipPrinterConfig {
        transport: SlipTransport::Usb,
        ..SlipPrinterConfig::default()
    };
    let printer = SlipPrinter::start_on(&bus, dir.path(), printer).unwrap();
    assert_eq!(list(&bus.address().to_string()), ["1-1", "1-2"]);
    let mut first = import(&reader.port().display().to_string()).unwrap();
    let mut second = import(&printer.port()).unwrap();
    first.write(0x02, &bytes(STATUS));
    second.write(0x02, &bytes("10 04 01"));
    assert_eq!(first.read(0x81, 64), Ok(bytes(OK)));
    assert_eq!(second.read(0x81, 64), Ok(bytes("12")));
    assert!(bus.errors().values().all(Vec::is_empty));
}
