//! The transfers of one exported device: what the host has asked for and waits, what the device has
//! to say, and what was refused.
//!
//! No sockets and no threads. An IN transfer stays open until it is full, a short packet ends it, or
//! the host takes it back; an OUT transfer stays open while the device has no room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::description::{Description, EndpointKind, Setup};
use super::message::{Outcome, Submit, submit_reply, unlink_reply};

/// Open transfers of one host. Chosen: the kernel's drivers keep at most 32.
pub(crate) const OPEN_MAX: usize = 256;
/// Bytes a device takes in before it makes the host wait. Chosen: the memory of a small board.
const TAKEN_BYTES_MAX: usize = 64 * 1024;
/// Bytes a device keeps for a host that does not ask. Chosen: more than any reply.
const READY_BYTES_MAX: usize = 256 * 1024;
/// Errors kept for the report. Chosen.
const ERRORS_MAX: usize = 100;

/// An OUT transfer that waits for room.
#[derive(Debug)]
struct WaitingOut {
    sequence: u32,
    endpoint: u8,
    bytes: Vec<u8>,
}

/// An IN transfer that waits for packets.
#[derive(Debug, Clone, Copy)]
struct WaitingIn {
    sequence: u32,
    /// With the direction bit.
    endpoint: u8,
    room: usize,
}

/// Transfers and endpoints of one device.
#[derive(Debug)]
pub(crate) struct UsbState {
    description: Description,
    pub(crate) is_plugged: bool,
    /// The connection that has the device.
    host: Option<u64>,
    hosts: u64,
    configuration: u8,
    halted: BTreeSet<u8>,
    taken: VecDeque<(u8, Vec<u8>)>,
    taken_bytes: usize,
    waiting_out: VecDeque<WaitingOut>,
    ready: BTreeMap<u8, VecDeque<Vec<u8>>>,
    waiting_in: VecDeque<WaitingIn>,
    outgoing: VecDeque<Vec<u8>>,
    errors: Vec<String>,
}

impl UsbState {
    pub(crate) fn new(description: Description) -> Self {
        Self {
            description,
            is_plugged: true,
            host: None,
            hosts: 0,
            configuration: 1,
            halted: BTreeSet::new(),
            taken: VecDeque::new(),
            taken_bytes: 0,
            waiting_out: VecDeque::new(),
            ready: BTreeMap::new(),
            waiting_in: VecDeque::new(),
            outgoing: VecDeque::new(),
            errors: Vec::new(),
        }
    }

    /// Everything a power cut forgets.
    fn reset(&mut self) {
        let fresh = Self::new(self.description.clone());
        *self = Self {
            is_plugged: self.is_plugged,
            host: self.host,
            hosts: self.hosts,
            errors: std::mem::take(&mut self.errors),
            ..fresh
        };
    }

    /// Hands the device to a host; the number of the connection.
    pub(crate) fn claim(&mut self) -> Option<u64> {
        if self.host.is_some() {
            return None;
        }
        self.hosts += 1;
        self.host = Some(self.hosts);
        self.reset();
        self.host
    }

    pub(crate) fn has(&self, host: u64) -> bool {
        self.host == Some(host)
    }

    /// The connection that has the device, if any.
    pub(crate) fn host(&self) -> Option<u64> {
        self.host
    }

    /// The host lets go, or its cable is pulled.
    pub(crate) fn release(&mut self) {
        self.host = None;
        self.reset();
    }

    pub(crate) fn complain(&mut self, error: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Replies to be sent, in order.
    pub(crate) fn take_outgoing(&mut self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.outgoing)
    }

    pub(crate) fn reply(&mut self, sequence: u32, outcome: Outcome, taken: usize, data: &[u8]) {
        self.outgoing
            .push_back(submit_reply(sequence, outcome, taken, data));
    }

    /// True when the host has too many transfers open to be a sane one.
    pub(crate) fn is_flooded(&self) -> bool {
        self.waiting_in.len() + self.waiting_out.len() + self.outgoing.len() > OPEN_MAX
    }

    /// Takes a transfer of an endpoint other than the control endpoint.
    pub(crate) fn submit(&mut self, submit: &Submit, bytes: Vec<u8>) {
        let address = submit.endpoint | if submit.is_in { 0x80 } else { 0 };
        let is_known = self.description.endpoint(address).is_some();
        if !is_known || submit.packets != 0 || self.configuration == 0 {
            self.complain(format!(
                "a transfer for endpoint {address:02X}, configuration {}, {} isochronous packets",
                self.configuration, submit.packets
            ));
            self.reply(submit.sequence, Outcome::Stalled, 0, &[]);
        } else if self.halted.contains(&address) {
            self.reply(submit.sequence, Outcome::Stalled, 0, &[]);
        } else if submit.is_in {
            self.waiting_in.push_back(WaitingIn {
                sequence: submit.sequence,
                endpoint: address,
                room: submit.bytes,
            });
            self.settle_in();
        } else {
            self.waiting_out.push_back(WaitingOut {
                sequence: submit.sequence,
                endpoint: address,
                bytes,
            });
            self.settle_out();
        }
    }

    /// Takes a transfer back.
    pub(crate) fn unlink(&mut self, sequence: u32, target: u32) {
        let before = self.waiting_in.len() + self.waiting_out.len();
        self.waiting_in.retain(|waiting| waiting.sequence != target);
        self.waiting_out
            .retain(|waiting| waiting.sequence != target);
        let is_taken_back = self.waiting_in.len() + self.waiting_out.len() < before;
        self.outgoing
            .push_back(unlink_reply(sequence, is_taken_back));
    }

    /// Gives waiting OUT transfers to the device while it has room.
    fn settle_out(&mut self) {
        while let Some(waiting) = self.waiting_out.front() {
            let has_room = self.taken_bytes + waiting.bytes.len() <= TAKEN_BYTES_MAX;
            if !has_room && !self.taken.is_empty() {
                return;
            }
            let Some(waiting) = self.waiting_out.pop_front() else {
                return;
            };
            self.reply(waiting.sequence, Outcome::Done, waiting.bytes.len(), &[]);
            self.deliver(waiting.endpoint, waiting.bytes);
        }
    }

    /// Hands bytes to the device; endpoint 0 for the data of a control request.
    pub(crate) fn deliver(&mut self, endpoint: u8, bytes: Vec<u8>) {
        self.taken_bytes += bytes.len();
        self.taken.push_back((endpoint, bytes));
    }

    pub(crate) fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// The oldest OUT transfer that has arrived.
    pub(crate) fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let (endpoint, bytes) = self.taken.pop_front()?;
        self.taken_bytes = self.taken_bytes.saturating_sub(bytes.len());
        self.settle_out();
        Some((endpoint, bytes))
    }

    /// The device has something to say; false when no host listens or too much waits already.
    ///
    /// The bytes go out as packets of the endpoint's size. With `is_ended`, a last packet that is
    /// full is followed by an empty one, so that a waiting transfer ends there.
    pub(crate) fn push(&mut self, endpoint: u8, bytes: &[u8], is_ended: bool) -> bool {
        let Some(known) = self.description.endpoint(endpoint) else {
            return false;
        };
        let queue = self.ready.entry(endpoint).or_default();
        let waiting: usize = queue.iter().map(Vec::len).sum();
        if self.host.is_none() || waiting + bytes.len() > READY_BYTES_MAX {
            return false;
        }
        let packet_bytes = usize::from(known.packet_bytes).max(1);
        queue.extend(bytes.chunks(packet_bytes).map(<[u8]>::to_vec));
        let is_full = bytes.len().is_multiple_of(packet_bytes);
        if is_ended && is_full && known.kind == EndpointKind::Bulk {
            queue.push_back(Vec::new());
        }
        self.settle_in();
        true
    }

    /// True when nothing waits for the host on this endpoint.
    pub(crate) fn is_drained(&self, endpoint: u8) -> bool {
        self.ready.get(&endpoint).is_none_or(VecDeque::is_empty)
    }

    /// Ends the IN transfers that packets can end.
    fn settle_in(&mut self) {
        let mut left = VecDeque::new();
        let mut closed = BTreeSet::new();
        for waiting in std::mem::take(&mut self.waiting_in) {
            // Transfers of one endpoint are filled in their order.
            let filled = if closed.contains(&waiting.endpoint) {
                None
            } else {
                self.fill(waiting)
            };
            if let Some((outcome, data)) = filled {
                self.reply(waiting.sequence, outcome, 0, &data);
            } else {
                closed.insert(waiting.endpoint);
                left.push_back(waiting);
            }
        }
        self.waiting_in = left;
    }

    fn fill(&mut self, waiting: WaitingIn) -> Option<(Outcome, Vec<u8>)> {
        let packet_bytes = self.description.endpoint(waiting.endpoint)?.packet_bytes;
        let queue = self.ready.get_mut(&waiting.endpoint)?;
        let mut total = 0;
        let mut end = None;
        for (index, packet) in queue.iter().enumerate() {
            if total + packet.len() > waiting.room {
                end = Some((index + 1, Outcome::Overflow));
                break;
            }
            total += packet.len();
            if packet.len() < usize::from(packet_bytes) || total == waiting.room {
                end = Some((index + 1, Outcome::Done));
                break;
            }
        }
        let (count, outcome) = end?;
        let mut data: Vec<u8> = queue.drain(..count).flatten().collect();
        data.truncate(if outcome == Outcome::Overflow {
            0
        } else {
            total
        });
        Some((outcome, data))
    }

    /// Halts an endpoint: whatever waits on it is refused until the host clears it.
    pub(crate) fn stall(&mut self, endpoint: u8) {
        self.halted.insert(endpoint);
        self.ready.remove(&endpoint);
        let (stalled, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting_in)
            .into_iter()
            .partition(|waiting| waiting.endpoint == endpoint);
        self.waiting_in = left;
        for waiting in stalled {
            self.reply(waiting.sequence, Outcome::Stalled, 0, &[]);
        }
    }

    /// Answers a standard request; `None` refuses it.
    pub(crate) fn standard(&mut self, setup: Setup) -> Option<Vec<u8>> {
        let address = setup.index.to_le_bytes()[0];
        match (setup.request_type, setup.request) {
            (0x80 | 0x81, 6) => return self.description.descriptor(setup),
            (0x80, 0) => {
                let is_self_powered = self.description.attributes & 0x40 != 0;
                return Some(vec![u8::from(is_self_powered), 0]);
            }
            (0x81, 0) => return self.description.interface(setup.index).map(|_| vec![0, 0]),
            (0x82, 0) => return Some(vec![u8::from(self.halted.contains(&address)), 0]),
            (0x80, 8) => return Some(vec![self.configuration]),
            (0x81, 10) => return self.description.interface(setup.index).map(|_| vec![0]),
            (0x00, 9) if setup.value <= 1 => {
                self.configuration = setup.value.to_le_bytes()[0];
                self.halted.clear();
                return Some(Vec::new());
            }
            // Only the setting without an alternate exists.
            (0x01, 11) if setup.value == 0 && self.description.interface(setup.index).is_some() => {
                return Some(Vec::new());
            }
            (0x02, 1) if setup.value == 0 && self.is_endpoint(address) => {
                self.halted.remove(&address);
                return Some(Vec::new());
            }
            (0x02, 3) if setup.value == 0 && self.is_endpoint(address) => {
                self.stall(address);
                return Some(Vec::new());
            }
            // The address belongs to the bus: a host controller may set it all the same.
            (0x00, 5) => return Some(Vec::new()),
            _ => {}
        }
        self.complain(format!(
            "standard request {:02X} {:02X} value {:04X} index {:04X}",
            setup.request_type, setup.request, setup.value, setup.index
        ));
        None
    }

    fn is_endpoint(&self, address: u8) -> bool {
        matches!(address, 0x00 | 0x80) || self.description.endpoint(address).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::description::{Endpoint, Interface};
    use super::*;

    fn state() -> UsbState {
        let mut state = UsbState::new(Description {
            vendor: 0x0400,
            product: 0xC35A,
            release: 0x0100,
            class: [0; 3],
            maker: "TEST".to_owned(),
            model: "EMU".to_owned(),
            serial: "1".to_owned(),
            attributes: 0x80,
            power: 50,
            interfaces: vec![Interface {
                class: [0xFF, 0, 0],
                endpoints: vec![
                    Endpoint::bulk(0x01),
                    Endpoint::bulk(0x81),
                    Endpoint::interrupt(0x82, 8),
                ],
                ..Interface::default()
            }],
        });
        state.claim().unwrap();
        state
    }

    fn ask(state: &mut UsbState, sequence: u32, room: usize) {
        let submit = Submit {
            sequence,
            device: 0,
            is_in: true,
            endpoint: 1,
            bytes: room,
            packets: 0,
            setup: [0; 8],
        };
        state.submit(&submit, Vec::new());
    }

    /// Sequence, status and data of each reply so far.
    fn replies(state: &mut UsbState) -> Vec<(u8, i8, Vec<u8>)> {
        state
            .take_outgoing()
            .into_iter()
            .map(|reply| (reply[7], reply[23].cast_signed(), reply[48..].to_vec()))
            .collect()
    }

    #[test]
    fn an_in_transfer_waits_until_there_is_something_to_say() {
        let mut state = state();
        ask(&mut state, 1, 128);
        ask(&mut state, 2, 128);
        assert_eq!(replies(&mut state), []);
        assert!(state.push(0x81, &[7; 70], true));
        assert_eq!(replies(&mut state), [(1, 0, vec![7; 70])]);
        state.unlink(9, 2);
        assert_eq!(replies(&mut state), [(9, -104, vec![])]);
        state.unlink(10, 1);
        assert_eq!(replies(&mut state), [(10, 0, vec![])]);
    }

    #[test]
    fn a_full_packet_ends_a_transfer_only_when_the_device_says_so() {
        let mut state = state();
        ask(&mut state, 1, 128);
        assert!(state.push(0x81, &[1; 64], false));
        assert_eq!(replies(&mut state), []);
        assert!(state.push(0x81, &[2; 3], true));
        assert_eq!(replies(&mut state)[0].2.len(), 67);
        ask(&mut state, 2, 128);
        assert!(state.push(0x81, &[3; 64], true));
        assert_eq!(replies(&mut state)[0].2.len(), 64);
    }

    #[test]
    fn a_packet_too_long_for_the_transfer_is_an_overflow() {
        let mut state = state();
        ask(&mut state, 1, 7);
        assert!(state.push(0x81, &[1; 8], true));
        assert_eq!(replies(&mut state), [(1, -75, vec![])]);
    }

    #[test]
    fn a_halted_endpoint_refuses_until_it_is_cleared() {
        let mut state = state();
        ask(&mut state, 1, 64);
        state.stall(0x81);
        ask(&mut state, 2, 64);
        assert_eq!(replies(&mut state), [(1, -32, vec![]), (2, -32, vec![])]);
        let clear = Setup {
            request_type: 0x02,
            request: 1,
            value: 0,
            index: 0x81,
            length: 0,
        };
        assert_eq!(state.standard(clear), Some(Vec::new()));
        ask(&mut state, 3, 64);
        assert_eq!(replies(&mut state), []);
        assert_eq!(state.errors(), Vec::<String>::new());
    }

    #[test]
    fn a_device_without_room_makes_the_host_wait() {
        let mut state = state();
        for sequence in 1..=3 {
            let submit = Submit {
                sequence,
                device: 0,
                is_in: false,
                endpoint: 1,
                bytes: 40_000,
                packets: 0,
                setup: [0; 8],
            };
            state.submit(&submit, vec![0; 40_000]);
        }
        assert_eq!(replies(&mut state).len(), 1);
        assert_eq!(state.take().unwrap().1.len(), 40_000);
        assert_eq!(replies(&mut state).len(), 1);
    }

    #[test]
    fn nobody_listening_means_nothing_is_kept() {
        let mut state = state();
        state.release();
        assert!(!state.push(0x81, b"x", true));
        state.claim().unwrap();
        assert!(!state.push(0x81, &vec![0; READY_BYTES_MAX + 1], true));
    }
}
