//! How frames reach the module and its answers come back: one stream of bytes (serial, TCP), or one
//! of the three layouts of USB readers (`device-protocols.md` §1.8).
//!
//! The layout is decided by the descriptors of the device, never by its ids. Every call has a limit;
//! stale input is thrown away in a bounded number of reads, and only where some can be.

use std::time::Duration;

use kiosk_device::usb::{Endpoint, Interface, Transfer, UsbDevice, is_usb};
use kiosk_device::wire::Port;
use kiosk_device::{Fault, Wire, WireError, wire};
use zeroize::{Zeroize, Zeroizing};

use crate::hid;
use crate::sdt::HEAD_BYTES;

/// Room for one read: the largest frame, in whole packets of every usual size up to 512 bytes.
const BUFFER_BYTES: usize = 4608;
/// Wait for one stale packet. Chosen: a packet that was sent arrives with the next frame (1 ms).
const STALE_LIMIT: Duration = Duration::from_millis(5);
/// Reads of stale input from one pipe at most. Chosen: each may be as long as the buffer.
const STALE_READS_MAX: usize = 32;
/// Answers to a question about the firmware that are passed over. Chosen.
const VERSION_READS_MAX: usize = 4;
const CLASS_VENDOR: u8 = 0xFF;
const CLASS_HID: u8 = 0x03;
/// `SET_REPORT` to an interface, output report 0 (HID 1.11 §7.2).
const SET_REPORT: (u8, u8, u16) = (0x21, 0x09, 0x0200);

/// Why no bytes could be had.
#[derive(Debug)]
pub(crate) enum LineError {
    Wire(WireError),
    /// The reader itself, not its module, refuses with this result.
    Refused(u8),
    /// A message around an answer did not check.
    Garbled,
}

impl From<WireError> for LineError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<hid::Garbled> for LineError {
    fn from(_: hid::Garbled) -> Self {
        Self::Garbled
    }
}

/// One endpoint as this driver needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pipe {
    address: u8,
    packet_bytes: usize,
}

/// Which pipes carry what.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    /// Layout 1: preamble and length on the first pair, the rest on the second.
    FourPipes { out: [Pipe; 2], inward: [Pipe; 2] },
    /// Layout 2: whole frames on one pair.
    Pair { out: Pipe, inward: Pipe },
    /// Layout 3: messages in reports; without an OUT endpoint they leave by the control pipe.
    Hid {
        out: Option<Pipe>,
        inward: Pipe,
        interface: u8,
    },
}

impl Layout {
    /// The layout of an interface; `None` when it is no card reader's.
    fn of(interface: &Interface) -> Option<Self> {
        let usable = |is_in: bool| {
            let endpoints = interface.endpoints.iter().copied();
            let mut usable: Vec<Endpoint> = endpoints
                .filter(|endpoint| endpoint.is_in() == is_in && endpoint.packet_bytes > 0)
                .filter(|endpoint| endpoint.transfer != Transfer::Other)
                .collect();
            usable.sort_by_key(|endpoint| endpoint.address);
            usable
        };
        let (mut out, mut inward) = (usable(false), usable(true));
        if out.len() < 2 || inward.len() < 2 {
            // An interrupt endpoint beside a bulk one only announces things.
            for endpoints in [&mut out, &mut inward] {
                endpoints.sort_by_key(|endpoint| endpoint.transfer == Transfer::Interrupt);
            }
        }
        let pipes = |endpoints: Vec<Endpoint>| -> Vec<Pipe> {
            let pipes = endpoints.into_iter().map(|endpoint| Pipe {
                address: endpoint.address,
                packet_bytes: usize::from(endpoint.packet_bytes),
            });
            pipes.collect()
        };
        let (out, inward) = (pipes(out), pipes(inward));
        match (interface.class, out.as_slice(), inward.as_slice()) {
            (CLASS_VENDOR, &[head_out, body_out, ..], &[head_in, body_in, ..]) => {
                Some(Self::FourPipes {
                    out: [head_out, body_out],
                    inward: [head_in, body_in],
                })
            }
            (CLASS_VENDOR, &[out, ..], &[inward, ..]) => Some(Self::Pair { out, inward }),
            // A protocol other than zero is a keyboard or a mouse (HID 1.11 §4.3).
            (CLASS_HID, out, &[inward, ..]) if interface.protocol == 0 => Some(Self::Hid {
                out: out.first().copied(),
                inward,
                interface: interface.number,
            }),
            _ => None,
        }
    }

    fn inward(&self) -> Vec<Pipe> {
        match self {
            Self::FourPipes { inward, .. } => inward.to_vec(),
            Self::Pair { inward, .. } | Self::Hid { inward, .. } => vec![*inward],
        }
    }
}

/// The pipes of a USB device, which unit tests replace.
trait Pipes: Send {
    fn write(&mut self, address: u8, bytes: &[u8], limit: Duration) -> Result<(), WireError>;
    fn read(&mut self, address: u8, buffer: &mut [u8], limit: Duration)
    -> Result<usize, WireError>;
    /// Sends one report through the control pipe.
    fn set_report(
        &mut self,
        interface: u8,
        report: &[u8],
        limit: Duration,
    ) -> Result<(), WireError>;
}

impl Pipes for UsbDevice {
    fn write(&mut self, address: u8, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        Self::write(self, address, bytes, limit)
    }

    fn read(
        &mut self,
        address: u8,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, WireError> {
        Self::read(self, address, buffer, limit)
    }

    fn set_report(
        &mut self,
        interface: u8,
        report: &[u8],
        limit: Duration,
    ) -> Result<(), WireError> {
        let (request_type, request, value) = SET_REPORT;
        self.control_write(
            request_type,
            request,
            value,
            u16::from(interface),
            report,
            limit,
        )
    }
}

enum Transport {
    Stream {
        wire: Box<dyn Wire>,
        ability: &'static str,
    },
    Usb(UsbLine),
}

/// The open line to one reader.
pub(crate) struct Line {
    transport: Transport,
    buffer: Zeroizing<Vec<u8>>,
    model: String,
    /// The last exchange failed, so that its answer may still come.
    is_stale: bool,
}

impl Line {
    /// Opens the port called `name`; `baud` matters to serial ports only.
    pub(crate) fn open(name: &str, baud: u32) -> Result<Self, Fault> {
        let (transport, model) = if is_usb(name) {
            let device = UsbDevice::open(name, |interface| Layout::of(interface).is_some())?;
            let identity = device.identity();
            let model = format!("{} {}", identity.maker, identity.model);
            let layout = Layout::of(device.interface()).ok_or(WireError::BadDescriptor)?;
            let pipes: Box<dyn Pipes> = Box::new(device);
            (Transport::Usb(UsbLine::new(pipes, layout)), model)
        } else {
            let ability = match Port::parse(name)? {
                Port::Serial { .. } => "serial",
                Port::Tcp { .. } => "tcp",
            };
            let wire = wire::open(name, baud)?;
            (Transport::Stream { wire, ability }, String::new())
        };
        Ok(Self {
            transport,
            buffer: Zeroizing::new(vec![0; BUFFER_BYTES]),
            model: model.trim().to_owned(),
            // A process before this one may have left an answer in the device.
            is_stale: true,
        })
    }

    /// Maker and model as the device tells them; empty when it does not.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The way of transport in one word.
    pub(crate) fn ability(&self) -> &'static str {
        match &self.transport {
            Transport::Stream { ability, .. } => ability,
            Transport::Usb(usb) => match usb.layout {
                Layout::FourPipes { .. } => "usb-four-pipes",
                Layout::Pair { .. } => "usb-pair",
                Layout::Hid { .. } => "hid",
            },
        }
    }

    /// Remembers how an exchange ended, and forgets what was read.
    pub(crate) fn settle(&mut self, is_complete: bool) {
        self.is_stale = !is_complete;
        self.buffer.as_mut_slice().zeroize();
    }

    /// Throws away what came for an earlier request.
    pub(crate) fn discard_input(&mut self) {
        match &mut self.transport {
            // Costs one system call, so it is always done.
            Transport::Stream { wire, .. } => wire.discard_input(),
            Transport::Usb(usb) if self.is_stale => usb.discard_input(&mut self.buffer),
            Transport::Usb(_) => {}
        }
    }

    /// Sends a request frame.
    pub(crate) fn send(&mut self, frame: &[u8], limit: Duration) -> Result<(), WireError> {
        match &mut self.transport {
            Transport::Stream { wire, .. } => wire.write_all(frame, limit),
            Transport::Usb(usb) => usb.send(frame, limit),
        }
    }

    /// Some bytes of an answer that still lacks `missing` bytes (`None`: its length is unknown);
    /// nothing when none came within `limit`.
    pub(crate) fn receive(
        &mut self,
        missing: Option<usize>,
        limit: Duration,
    ) -> Result<&[u8], LineError> {
        let count = match &mut self.transport {
            Transport::Stream { wire, .. } => wire.read(&mut self.buffer, limit)?,
            Transport::Usb(usb) => usb.receive(&mut self.buffer, missing, limit)?,
        };
        Ok(self.buffer.get(..count).unwrap_or_default())
    }

    /// True when bytes came that are not handed out yet.
    pub(crate) fn is_partial(&self) -> bool {
        match &self.transport {
            Transport::Stream { .. } => false,
            Transport::Usb(usb) => usb.assembler.is_partial(),
        }
    }

    /// The firmware of the reader around the module, where there is a way to ask for it; empty when
    /// it does not tell.
    pub(crate) fn firmware(&mut self, limit: Duration) -> String {
        match &mut self.transport {
            Transport::Stream { .. } => String::new(),
            Transport::Usb(usb) => {
                let version = usb.firmware(&mut self.buffer, limit);
                self.is_stale |= version.is_none();
                version.unwrap_or_default()
            }
        }
    }
}

/// The pipes of a USB reader and what has come through them.
struct UsbLine {
    pipes: Box<dyn Pipes>,
    layout: Layout,
    assembler: hid::Assembler,
}

impl UsbLine {
    fn new(pipes: Box<dyn Pipes>, layout: Layout) -> Self {
        Self {
            pipes,
            layout,
            assembler: hid::Assembler::default(),
        }
    }

    fn discard_input(&mut self, buffer: &mut [u8]) {
        self.assembler.clear();
        for pipe in self.layout.inward() {
            for _ in 0..STALE_READS_MAX {
                match self.read(pipe, buffer, BUFFER_BYTES, STALE_LIMIT) {
                    Ok(count) if count > 0 => {}
                    // A broken line shows at the next call.
                    Ok(_) | Err(_) => break,
                }
            }
        }
    }

    fn send(&mut self, frame: &[u8], limit: Duration) -> Result<(), WireError> {
        match self.layout {
            Layout::FourPipes { out, .. } => {
                let (head, body) = frame.split_at(HEAD_BYTES.min(frame.len()));
                for (pipe, bytes) in out.into_iter().zip([head, body]) {
                    self.pipes.write(pipe.address, bytes, limit)?;
                }
                Ok(())
            }
            Layout::Pair { out, .. } => self.pipes.write(out.address, frame, limit),
            Layout::Hid { .. } => self.send_message(hid::PASS_THROUGH, frame, limit),
        }
    }

    fn send_message(&mut self, command: u8, data: &[u8], limit: Duration) -> Result<(), WireError> {
        let Layout::Hid { out, interface, .. } = self.layout else {
            return Ok(());
        };
        for report in hid::request(command, data) {
            match out {
                Some(pipe) => self.pipes.write(pipe.address, &report, limit)?,
                None => self.pipes.set_report(interface, &report, limit)?,
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        missing: Option<usize>,
        limit: Duration,
    ) -> Result<usize, LineError> {
        let (pipe, want) = match (&self.layout, missing) {
            (Layout::FourPipes { inward, .. }, None) => (inward[0], HEAD_BYTES),
            (Layout::FourPipes { inward, .. }, Some(missing)) => (inward[1], missing),
            // Exactly the packets that are due: a longer read would wait for a packet that does not
            // come when the answer ends with a full one.
            (Layout::Pair { inward, .. }, missing) => (*inward, missing.unwrap_or(1)),
            (Layout::Hid { inward, .. }, _) => (*inward, hid::REPORT_BYTES),
        };
        let count = self.read(pipe, buffer, want, limit)?;
        if !matches!(self.layout, Layout::Hid { .. }) || count == 0 {
            return Ok(count);
        }
        let report = buffer.get(..count).unwrap_or_default();
        let Some(answer) = self.assembler.push(report)? else {
            return Ok(0);
        };
        // A frame of the module counts, whatever the reader thinks of it.
        if answer.data.is_empty() {
            return Err(LineError::Refused(answer.result));
        }
        for (to, from) in buffer.iter_mut().zip(answer.data.iter()) {
            *to = *from;
        }
        Ok(answer.data.len().min(buffer.len()))
    }

    /// Reads the packets that `want` bytes take.
    fn read(
        &mut self,
        pipe: Pipe,
        buffer: &mut [u8],
        want: usize,
        limit: Duration,
    ) -> Result<usize, WireError> {
        let packets = want.max(1).div_ceil(pipe.packet_bytes);
        let room = buffer.len() / pipe.packet_bytes;
        let length = packets.min(room) * pipe.packet_bytes;
        let window = buffer.get_mut(..length).unwrap_or_default();
        self.pipes.read(pipe.address, window, limit)
    }

    /// `None`: the reader did not answer, and may still.
    fn firmware(&mut self, buffer: &mut [u8], limit: Duration) -> Option<String> {
        let Layout::Hid { inward, .. } = self.layout else {
            return Some(String::new());
        };
        self.discard_input(buffer);
        self.send_message(hid::VERSION, &[], limit).ok()?;
        for _ in 0..VERSION_READS_MAX {
            let count = self.read(inward, buffer, hid::REPORT_BYTES, limit).ok()?;
            if count == 0 {
                return None;
            }
            let report = buffer.get(..count).unwrap_or_default();
            if let Some(answer) = self.assembler.push(report).ok()? {
                // A reader that refuses to tell has told that.
                return Some(match answer.result {
                    0 => hid::version(&answer),
                    _ => String::new(),
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);
    const FIND: [u8; 10] = [0xAA, 0xAA, 0xAA, 0x96, 0x69, 0, 3, 0x20, 1, 0x22];

    fn endpoint(address: u8, transfer: Transfer) -> Endpoint {
        Endpoint {
            address,
            transfer,
            packet_bytes: 64,
        }
    }

    fn interface(class: u8, protocol: u8, endpoints: &[Endpoint]) -> Interface {
        Interface {
            number: 2,
            alternate: 0,
            class,
            subclass: 0,
            protocol,
            endpoints: endpoints.to_vec(),
        }
    }

    fn pipe(address: u8) -> Pipe {
        Pipe {
            address,
            packet_bytes: 64,
        }
    }

    #[test]
    fn the_layout_is_decided_by_the_descriptors() {
        use Transfer::{Bulk, Interrupt, Other};
        let check = |class: u8, endpoints: &[(u8, Transfer)], expect: Option<Layout>| {
            let endpoints: Vec<Endpoint> = endpoints
                .iter()
                .map(|(address, transfer)| endpoint(*address, *transfer))
                .collect();
            assert_eq!(Layout::of(&interface(class, 0, &endpoints)), expect);
        };
        let four = Some(Layout::FourPipes {
            out: [pipe(0x02), pipe(0x06)],
            inward: [pipe(0x81), pipe(0x85)],
        });
        let any_order = [(0x85, Bulk), (0x06, Bulk), (0x81, Bulk), (0x02, Bulk)];
        check(0xFF, &any_order, four.clone());
        check(0xFF, &any_order.map(|(at, _)| (at, Interrupt)), four);
        let pair = Some(Layout::Pair {
            out: pipe(0x03),
            inward: pipe(0x82),
        });
        check(0xFF, &[(0x82, Bulk), (0x03, Bulk)], pair.clone());
        check(0xFF, &[(0x82, Interrupt), (0x03, Interrupt)], pair.clone());
        let announcing = [(0x81, Interrupt), (0x82, Bulk), (0x03, Bulk)];
        check(0xFF, &announcing, pair);
        let hid = |out| {
            Some(Layout::Hid {
                out,
                inward: pipe(0x81),
                interface: 2,
            })
        };
        check(
            0x03,
            &[(0x81, Interrupt), (0x01, Interrupt)],
            hid(Some(pipe(0x01))),
        );
        check(0x03, &[(0x81, Interrupt)], hid(None));
        check(0xFF, &[(0x81, Bulk)], None);
        check(0xFF, &[(0x81, Other), (0x01, Bulk)], None);
        check(0x07, &any_order, None);
    }

    #[test]
    fn a_keyboard_and_an_endpoint_without_packets_are_no_reader() {
        let keys = [endpoint(0x81, Transfer::Interrupt)];
        assert_eq!(Layout::of(&interface(CLASS_HID, 1, &keys)), None);
        let mut empty = [endpoint(0x81, Transfer::Bulk), endpoint(1, Transfer::Bulk)];
        empty[0].packet_bytes = 0;
        assert_eq!(Layout::of(&interface(CLASS_VENDOR, 0, &empty)), None);
    }

    type Packets = VecDeque<(u8, Vec<u8>)>;

    /// Packets that come in this order, each from its pipe; writes are kept.
    #[derive(Clone, Default)]
    struct Script {
        packets: Arc<Mutex<Packets>>,
        written: Arc<Mutex<Packets>>,
    }

    impl Pipes for Script {
        fn write(&mut self, address: u8, bytes: &[u8], _: Duration) -> Result<(), WireError> {
            let mut written = self.written.lock().unwrap();
            written.push_back((address, bytes.to_vec()));
            Ok(())
        }

        /// Ends as a bulk transfer does: with a short packet, or when the buffer is full.
        fn read(
            &mut self,
            address: u8,
            buffer: &mut [u8],
            _: Duration,
        ) -> Result<usize, WireError> {
            assert!(buffer.len().is_multiple_of(64) && !buffer.is_empty());
            let mut packets = self.packets.lock().unwrap();
            let mut count = 0;
            while count < buffer.len()
                && packets.front().is_some_and(|(from, _)| *from == address)
                && let Some((_, packet)) = packets.pop_front()
            {
                buffer[count..count + packet.len()].copy_from_slice(&packet);
                count += packet.len();
                if packet.len() < 64 {
                    break;
                }
            }
            Ok(count)
        }

        fn set_report(
            &mut self,
            interface: u8,
            report: &[u8],
            limit: Duration,
        ) -> Result<(), WireError> {
            self.write(interface, report, limit)
        }
    }

    fn line(class: u8, addresses: &[u8], packets: &[(u8, Vec<u8>)]) -> (Line, Script) {
        let endpoints: Vec<Endpoint> = addresses
            .iter()
            .map(|address| endpoint(*address, Transfer::Bulk))
            .collect();
        let script = Script::default();
        script.packets.lock().unwrap().extend(packets.to_vec());
        let layout = Layout::of(&interface(class, 0, &endpoints)).unwrap();
        let line = Line {
            transport: Transport::Usb(UsbLine::new(Box::new(script.clone()), layout)),
            buffer: Zeroizing::new(vec![0; BUFFER_BYTES]),
            model: String::new(),
            is_stale: false,
        };
        (line, script)
    }

    fn packets_of(address: u8, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let packets = bytes.chunks(64).map(|packet| (address, packet.to_vec()));
        packets.collect()
    }

    #[test]
    fn four_pipes_carry_head_and_body_apart() {
        let answer = [0xAA, 0xAA, 0xAA, 0x96, 0x69, 0, 4, 0, 0, 0x90, 0x94];
        let packets = [
            packets_of(0x81, &answer[..7]),
            packets_of(0x85, &answer[7..]),
        ];
        let (mut line, script) = line(0xFF, &[2, 6, 0x81, 0x85], &packets.concat());
        line.send(&FIND, LIMIT).unwrap();
        let written: Vec<_> = script.written.lock().unwrap().drain(..).collect();
        assert_eq!(written, [(2, FIND[..7].to_vec()), (6, FIND[7..].to_vec())]);
        assert_eq!(line.receive(None, LIMIT).unwrap(), &answer[..7]);
        assert_eq!(line.receive(Some(4), LIMIT).unwrap(), &answer[7..]);
    }

    #[test]
    fn a_pair_is_read_in_exactly_the_packets_that_are_due() {
        // Two full packets and no short one: a read for more would wait for nothing.
        let answer: Vec<u8> = (0..128).collect();
        let packets = packets_of(0x81, &answer);
        let (mut line, script) = line(0xFF, &[1, 0x81], &packets);
        line.send(&FIND, LIMIT).unwrap();
        assert_eq!(*script.written.lock().unwrap(), [(1, FIND.to_vec())]);
        assert_eq!(line.receive(None, LIMIT).unwrap(), &answer[..64]);
        assert_eq!(line.receive(Some(64), LIMIT).unwrap(), &answer[64..]);
        assert!(line.receive(Some(1), LIMIT).unwrap().is_empty());
    }

    fn message(result: u8, data: &[u8]) -> Vec<u8> {
        let mut message = vec![0xAA, 0, 0];
        message.extend(u16::try_from(data.len() + 1).unwrap().to_le_bytes());
        message.push(result);
        message.extend(data);
        let sum: u16 = message[3..].iter().map(|byte| u16::from(*byte)).sum();
        message.extend(sum.to_le_bytes());
        message.resize(message.len().next_multiple_of(64), 0);
        message
    }

    #[test]
    fn reports_are_unwrapped_and_a_refusal_is_told() {
        let frame: Vec<u8> = (0..100).collect();
        let packets = [
            packets_of(0x81, &message(0, &frame)),
            packets_of(0x81, &message(5, &[])),
        ];
        let (mut line, script) = line(0x03, &[1, 0x81], &packets.concat());
        line.send(&FIND, LIMIT).unwrap();
        let (address, report) = script.written.lock().unwrap().pop_front().unwrap();
        assert_eq!((address, report.len(), report[5]), (1, 64, 0xB1));
        assert_eq!(report[6..16], FIND);
        assert!(line.receive(None, LIMIT).unwrap().is_empty());
        assert!(line.is_partial());
        assert_eq!(line.receive(None, LIMIT).unwrap(), frame);
        assert!(!line.is_partial());
        let refused = line.receive(None, LIMIT).map(<[u8]>::len);
        assert!(matches!(refused, Err(LineError::Refused(5))), "{refused:?}");
    }

    #[test]
    fn a_reader_without_an_out_endpoint_is_asked_by_the_control_pipe() {
        let version = message(0, b"MR-300 V2.1");
        let (mut line, script) = line(0x03, &[0x81], &[]);
        line.send(&FIND, LIMIT).unwrap();
        let (interface, report) = script.written.lock().unwrap().pop_front().unwrap();
        assert_eq!((interface, report.len()), (2, 64));
        // The answer must not be there before the question, or it is stale.
        assert_eq!(line.firmware(LIMIT), "");
        assert!(line.is_stale);
        line.settle(true);
        script
            .packets
            .lock()
            .unwrap()
            .extend([(0x81, Vec::new()), (0x81, version)]);
        assert_eq!(line.firmware(LIMIT), "MR-300 V2.1");
    }

    #[test]
    fn stale_packets_are_thrown_away_once_and_never_for_ever() {
        let stale = vec![(0x81, vec![0xAA; 63]); STALE_READS_MAX + 5];
        let (mut line, script) = line(0xFF, &[1, 0x81], &stale);
        line.discard_input();
        let left = script.packets.lock().unwrap().len();
        assert_eq!(left, STALE_READS_MAX + 5, "nothing can be stale yet");
        line.settle(false);
        line.discard_input();
        assert_eq!(script.packets.lock().unwrap().len(), 5);
    }

    #[test]
    fn what_was_read_is_overwritten_after_the_exchange() {
        let (mut line, _) = line(0xFF, &[1, 0x81], &packets_of(0x81, &[7; 40]));
        assert_eq!(line.receive(None, LIMIT).unwrap(), [7; 40]);
        line.settle(true);
        assert_eq!(line.buffer.len(), BUFFER_BYTES);
        assert!(line.buffer.iter().all(|byte| *byte == 0));
    }
}
