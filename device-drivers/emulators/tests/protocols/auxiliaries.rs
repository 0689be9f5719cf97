//! Power supply, input-output board and card slot, against the vectors of the fact sheet.
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::common::{Serial, bytes, receive, until};
use kiosk_emulators::{
    CardSpec, ChipCard, ChipFault, ChipVersion, InputChoice, IoBoard, IoBoardConfig, IoDialect,
    IoFault, Misbehavior, SelectBy, SmartCardConfig, SmartCardSlot, Ups, UpsConfig,
};

const QUIET: Duration = Duration::from_millis(80);

fn ups() -> (Ups, Serial, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = UpsConfig {
        baud: 0,
        ..UpsConfig::default()
    };
    let ups = Ups::start(dir.path(), &config).unwrap();
    let line = Serial::open(ups.port());
    (ups, line, dir)
}

#[test]
fn the_ups_tells_mains_battery_and_failure() {
    let (ups, mut line, _dir) = ups();
    let mut flags = || {
        let reply = String::from_utf8(line.ask(&bytes("51 31 0D"), 47)).unwrap();
        assert!(reply.starts_with("(209.7 209.7 219.7 0"), "{reply}");
        reply[38..46].to_owned()
    };
    assert_eq!(flags(), "00000001");
    ups.set_mains(false);
    assert_eq!(flags(), "10000000");
    ups.set_battery_low(true);
    assert_eq!(flags(), "11000000");
    ups.set_mains(true);
    assert_eq!(flags(), "00000001");
    ups.set_failed(true);
    assert_eq!(flags(), "00010000");
    ups.mend();
    ups.set_load(95);
    let reply = line.ask(b"Q1\r", 47);
    assert_eq!(reply[19..22], *b"095");
    assert_eq!(line.ask(b"F\r", 22)[0], b'#');
    assert_eq!(line.ask(b"XX\r", 3), b"XX\r");
    assert_eq!(ups.errors().len(), 1);
}

#[test]
fn a_misbehaving_ups_trickles_and_vanishes() {
    let (ups, mut line, _dir) = ups();
    ups.misbehave(Misbehavior::Trickle);
    line.send(b"Q1\r");
    assert_eq!(line.receive(1), b"(");
    assert!(line.is_silent(Duration::from_millis(300)));
    ups.mend();
    assert!(line.is_silent(QUIET));
    assert_eq!(line.ask(b"Q1\r", 47).len(), 47);
    ups.misbehave(Misbehavior::Vanish);
    line.send(b"Q1\r");
    until("the UPS is gone", || !ups.port().exists());
    assert!(ups.plug_cable());
    line = Serial::open(ups.port());
    assert_eq!(line.ask(b"Q1\r", 47)[0], b'(');
}

fn board(dialect: IoDialect) -> (IoBoard, Serial, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = IoBoardConfig {
        dialect,
        baud: 0,
        ..IoBoardConfig::default()
    };
    let board = IoBoard::start(dir.path(), config).unwrap();
    let line = Serial::open(board.port());
    (board, line, dir)
}

#[test]
fn a_modbus_board_switches_and_reports() {
    let (board, mut line, _dir) = board(IoDialect::ModbusRtu);
    let on = bytes("01 05 00 00 FF 00 8C 3A");
    assert_eq!(line.ask(&on, 8), on);
    assert!(board.outputs()[0]);
    let inputs = bytes("01 02 00 00 00 08 79 CC");
    assert_eq!(line.ask(&inputs, 6)[..4], bytes("01 02 01 00"));
    let door = InputChoice::Name("cabinet-door".to_owned());
    assert!(board.set_input(&door, true));
    assert!(board.set_input(&InputChoice::Number(7), true));
    assert!(!board.set_input(&InputChoice::Number(8), true));
    assert_eq!(line.ask(&inputs, 6)[..4], bytes("01 02 01 81"));
    let off = bytes("01 05 00 00 00 00 CD CA");
    assert_eq!(line.ask(&off, 8), off);
    assert_eq!(board.history(), [(0, true), (0, false)]);
    assert_eq!(board.errors(), Vec::<String>::new());
    // Power goes with the cable: outputs fall off.
    line.ask(&on, 8);
    assert!(board.cut_cable() && board.plug_cable());
    assert!(!board.outputs()[0]);
}

#[test]
fn a_modbus_board_is_silent_to_wrong_frames_and_spoils_replies_as_asked() {
    let (board, mut line, _dir) = board(IoDialect::ModbusRtu);
    let coils = bytes("01 01 00 00 00 08 3D CC");
    line.send(&bytes("01 01 00 00 00 08 3D CD"));
    assert!(line.is_silent(QUIET));
    // Half a frame is forgotten after a silence.
    line.send(&coils[..5]);
    assert!(line.is_silent(QUIET));
    assert_eq!(line.ask(&coils, 6)[..3], bytes("01 01 01"));
    board.fault(IoFault::Exception { code: 6 });
    assert_eq!(line.ask(&coils, 5)[..3], bytes("01 81 06"));
    let right = line.ask(&coils, 6);
    board.fault(IoFault::BadCrc);
    let wrong = line.ask(&coils, 6);
    assert_eq!(wrong[..5], right[..5]);
    assert_ne!(wrong[5], right[5]);
    board.fault(IoFault::WrongAddress);
    assert_eq!(line.ask(&coils, 6)[0], 2);
    board.fault(IoFault::Truncated { bytes: 3 });
    line.ask(&coils, 3);
    assert!(line.is_silent(QUIET));
}

#[test]
fn a_relay_board_switches_without_a_word() {
    let (board, mut line, _dir) = board(IoDialect::Lcus1);
    line.send(&bytes("A0 01 01 A2"));
    until("the relay is on", || board.outputs()[0]);
    line.send(&bytes("A0 01 00 A1"));
    until("the relay is off", || !board.outputs()[0]);
    assert!(line.is_silent(QUIET));
    assert_eq!(board.errors(), Vec::<String>::new());
}

/// The virtual reader's side of the slot.
struct Reader {
    slot: SmartCardSlot,
    listener: TcpListener,
}

impl Reader {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let vpcd = listener.local_addr().unwrap();
        let slot = SmartCardSlot::start(&SmartCardConfig { vpcd }).unwrap();
        Self { slot, listener }
    }

    fn insert(&self, version: ChipVersion, is_foreign: bool) -> TcpStream {
        self.slot
            .insert(&ChipCard {
                card: CardSpec::named("adult").unwrap(),
                version,
                is_foreign,
                select_by: SelectBy::Both,
            })
            .unwrap();
        let (stream, _) = self.listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    }
}

fn say(stream: &mut TcpStream, message: &[u8]) {
    use std::io::Write as _;
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).unwrap();
}

fn ask(stream: &mut TcpStream, apdu: &str) -> Vec<u8> {
    say(stream, &bytes(apdu));
    let head = receive(stream, 2);
    receive(stream, usize::from(u16::from_be_bytes([head[0], head[1]])))
}

fn is_over(stream: &mut TcpStream) -> bool {
    use std::io::Read as _;
    stream.read(&mut [0]).unwrap() == 0
}

const ENVIRONMENT: &str = "00 A4 04 00 0F 73 78 31 2E 73 68 2E C9 E7 BB E1 B1 A3 D5 CF";

#[test]
fn a_social_security_card_is_read_as_the_fact_sheet_says() {
    let reader = Reader::new();
    let mut stream = reader.insert(ChipVersion::V3, false);
    say(&mut stream, &[1]);
    assert_eq!(ask(&mut stream, "04")[0], 0x3B);
    assert_eq!(ask(&mut stream, ENVIRONMENT), bytes("61 1E"));
    assert_eq!(ask(&mut stream, "00 C0 00 00 1E").len(), 32);
    assert_eq!(ask(&mut stream, "00 A4 02 00 02 EF 05"), bytes("90 00"));
    assert_eq!(
        ask(&mut stream, "00 B2 03 00 06"),
        bytes("03 04 33 2E 30 30 90 00")
    );
    assert_eq!(
        ask(&mut stream, "00 B2 07 04 0B"),
        bytes("07 09 41 30 30 30 30 30 30 30 31 90 00")
    );
    assert_eq!(ask(&mut stream, "00 A4 02 00 02 EF 06"), bytes("90 00"));
    assert_eq!(ask(&mut stream, "00 B2 08 00 00"), bytes("6C 14"));
    let number = ask(&mut stream, "00 B2 08 00 14");
    assert_eq!(number[2..20], *b"440100199001011237");
    // Reset: what was selected is forgotten.
    say(&mut stream, &[2]);
    assert_eq!(ask(&mut stream, "00 B2 08 00 14"), bytes("69 86"));
    let report = reader.slot.report().to_string();
    assert!(!report.contains("4401"), "{report}");
}

#[test]
fn another_card_does_not_have_the_environment() {
    let reader = Reader::new();
    let mut stream = reader.insert(ChipVersion::V3, true);
    assert_eq!(ask(&mut stream, ENVIRONMENT), bytes("6A 82"));
}

#[test]
fn a_card_drawn_between_two_records_leaves_the_reader() {
    let reader = Reader::new();
    let mut stream = reader.insert(ChipVersion::V1, false);
    ask(&mut stream, ENVIRONMENT);
    reader.slot.fault(ChipFault::PullAfter { records: 2 });
    assert_eq!(ask(&mut stream, "00 B2 03 2C 06")[2], 0x31);
    assert_eq!(ask(&mut stream, "00 B2 01 34 14").len(), 22);
    assert!(is_over(&mut stream));
    assert_eq!(reader.slot.report()["card"], false);
}

#[test]
fn a_card_can_be_put_in_again_and_again() {
    let reader = Reader::new();
    for version in [ChipVersion::V1, ChipVersion::V2, ChipVersion::V3] {
        let mut stream = reader.insert(version, false);
        assert_eq!(ask(&mut stream, ENVIRONMENT), bytes("61 1E"));
        reader.slot.fault(ChipFault::Status {
            instruction: 0xB2,
            word: 0x6982,
        });
        assert_eq!(ask(&mut stream, "00 B2 01 34 14"), bytes("69 82"));
        assert_eq!(ask(&mut stream, "00 B2 01 34 14").len(), 22);
        reader.slot.remove();
        assert!(is_over(&mut stream));
    }
}
