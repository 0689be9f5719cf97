//! A USB bus on a TCP port: devices exported by USB/IP 1.1.1, for the kernel's `vhci-hcd`
//! (`usbip attach`) and for hosts without a kernel alike (`device-protocols`, sections 1.8, 4.6, 5.5).
//!
//! Transfers wait as on a real bus, endpoints stall, and a device can be unplugged at any moment: then
//! its host loses the connection, and it is missing from the list until it is plugged again. Standard
//! requests are answered from descriptors, class requests by the device; what neither knows is
//! refused and kept as an error.

pub(crate) mod acm;
pub(crate) mod description;
mod device;
pub(crate) mod hid;
mod message;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::steering::{Running, Steered, TICK};
use crate::tcp::{TcpPort, read_all, write_all};
use description::{Description, Setup};
use device::UsbState;
use message::{
    BUS_ID_BYTES, HEADER_BYTES, OPERATION_BYTES, Operation, Order, Outcome, Refusal, Submit,
};

/// Hosts served at once. Chosen: one for each device of a terminal, and a curious person.
const HOSTS_MAX: usize = 32;
/// Longest wait for a host that does not read. Chosen.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for acknowledgements to leave before a cable is pulled. Chosen.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
/// Longest wait of the sending side before it looks again whether it is still wanted.
const IDLE: Duration = Duration::from_secs(1);

/// How the bus is built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UsbConfig {
    /// TCP port on 127.0.0.1; 0 takes a free one. `usbip attach` expects 3240 unless told.
    pub port: u16,
}

/// What a device does with a class or vendor request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Obeys; these bytes are the data of an IN request.
    Data(Vec<u8>),
    /// Obeys; the data of the OUT request goes where other OUT transfers go, as endpoint 0.
    Deliver,
    /// Does not know the request.
    Refuse,
}

/// A device's side of class and vendor requests.
pub(crate) type Control = Box<dyn FnMut(Setup, &[u8]) -> Answer + Send>;

/// One device on the bus.
struct Exported {
    bus_id: String,
    number: u16,
    description: Description,
    control: Mutex<Control>,
    steered: Arc<Steered<UsbState>>,
}

impl fmt::Debug for Exported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Exported")
            .field("bus_id", &self.bus_id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct BusState {
    devices: Vec<Arc<Exported>>,
}

#[derive(Debug)]
struct Bus {
    running: Running<BusState>,
    address: SocketAddr,
}

/// A running bus; it stops when the last handle to it and to its devices is dropped.
#[derive(Debug, Clone)]
pub struct UsbBus(Arc<Bus>);

impl UsbBus {
    /// Starts a bus without devices.
    ///
    /// # Errors
    /// The port is taken, or none is left.
    pub fn start(config: &UsbConfig) -> io::Result<Self> {
        let port = TcpPort::open_at(config.port)?;
        let address = port.address();
        let mut running = Running::new(Steered::new(BusState::default()));
        running.spawn("emulated-usb-bus", move |steered| accept(&port, steered))?;
        Ok(Self(Arc::new(Bus { running, address })))
    }

    /// Where hosts connect to.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Requests and transfers that a device did not know, by bus id.
    pub fn errors(&self) -> BTreeMap<String, Vec<String>> {
        self.0.running.steered.look(|state| {
            state
                .devices
                .iter()
                .map(|device| (device.bus_id.clone(), device.steered.look(UsbState::errors)))
                .collect()
        })
    }

    /// Plugs a new device into the next free socket: `1-1`, `1-2`, ...
    pub(crate) fn export(&self, description: Description, control: Control) -> UsbPort {
        let device = self.0.running.steered.change(|state| {
            let place = u16::try_from(state.devices.len() + 1).unwrap_or(u16::MAX);
            let device = Arc::new(Exported {
                bus_id: format!("1-{place}"),
                number: place + 1,
                control: Mutex::new(control),
                steered: Steered::new(UsbState::new(description.clone())),
                description,
            });
            state.devices.push(Arc::clone(&device));
            device
        });
        UsbPort {
            bus: self.clone(),
            device,
        }
    }
}

/// The device's own end of its cable.
#[derive(Debug, Clone)]
pub(crate) struct UsbPort {
    bus: UsbBus,
    device: Arc<Exported>,
}

impl UsbPort {
    /// Where a driver reaches the device: `usbip:127.0.0.1:PORT/1-1`.
    pub(crate) fn name(&self) -> String {
        format!("usbip:{}/{}", self.bus.address(), self.device.bus_id)
    }

    pub(crate) fn is_plugged(&self) -> bool {
        self.device.steered.look(|state| state.is_plugged)
    }

    pub(crate) fn plug(&self) {
        self.device.steered.change(|state| state.is_plugged = true);
    }

    /// Unplugs the device: its host loses it in the middle of whatever it does. What the device has
    /// already acknowledged is on its way before.
    pub(crate) fn cut(&self) {
        let steered = &self.device.steered;
        steered.pause_while(ON_ITS_WAY, UsbState::has_outgoing);
        steered.change(|state| {
            state.is_plugged = false;
            state.release();
        });
    }

    /// The connection that has the device: another number is another host, or the same anew.
    pub(crate) fn host(&self) -> Option<u64> {
        self.device.steered.look(UsbState::host)
    }

    /// Waits up to `wait` for an OUT transfer: its endpoint and bytes. Endpoint 0 is a control
    /// request that was delivered.
    pub(crate) fn receive(&self, wait: Duration) -> Option<(u8, Vec<u8>)> {
        let steered = &self.device.steered;
        steered.pause_while(wait, |state| !state.has_taken());
        if !steered.look(UsbState::has_taken) {
            return None;
        }
        steered.change(UsbState::take)
    }

    /// Says something that ends there: a last packet that is full is followed by an empty one.
    pub(crate) fn send(&self, endpoint: u8, bytes: &[u8]) -> bool {
        self.device
            .steered
            .change(|state| state.push(endpoint, bytes, true))
    }

    /// Waits up to `wait` until the host has everything said on an endpoint.
    pub(crate) fn drain(&self, endpoint: u8, wait: Duration) -> bool {
        let steered = &self.device.steered;
        let is_waiting = |state: &UsbState| !state.is_drained(endpoint) && state.host().is_some();
        !steered.pause_while(wait, is_waiting) && steered.look(|state| !is_waiting(state))
    }

    /// Halts an endpoint.
    pub(crate) fn stall(&self, endpoint: u8) {
        self.device.steered.change(|state| state.stall(endpoint));
    }

    /// Adds to the errors of the device.
    pub(crate) fn complain(&self, error: String) {
        self.device.steered.change(|state| state.complain(error));
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.device.steered.look(UsbState::errors)
    }
}

fn accept(port: &TcpPort, bus: &Arc<Steered<BusState>>) {
    let mut hosts: Vec<JoinHandle<()>> = Vec::new();
    while !bus.is_stopping() {
        hosts.retain(|host| !host.is_finished());
        match port.accept() {
            Ok(Some(stream)) if hosts.len() < HOSTS_MAX => {
                let shared = Arc::clone(bus);
                let spawned = std::thread::Builder::new()
                    .name("emulated-usb-host".to_owned())
                    .spawn(move || serve(stream, &shared));
                match spawned {
                    Ok(thread) => hosts.push(thread),
                    Err(error) => tracing::warn!(%error, "no thread for a USB host"),
                }
            }
            // One host too many: closed at once.
            Ok(Some(_)) => {}
            Ok(None) => {
                bus.pause(TICK);
            }
            Err(error) => {
                tracing::warn!(%error, "the emulated USB bus cannot accept");
                bus.pause(TICK);
            }
        }
    }
    for host in hosts {
        if host.join().is_err() {
            tracing::error!("a thread of the emulated USB bus ended with a panic");
        }
    }
}

/// Serves one connection until it ends.
fn serve(mut stream: TcpStream, bus: &Steered<BusState>) {
    // Bounded by the host: each turn answers one operation, and the connection ends with it.
    loop {
        let mut head = [0; OPERATION_BYTES];
        if !read_all(&mut stream, &mut head, || !bus.is_stopping()) {
            return;
        }
        let reply = match message::operation(head) {
            Some(Operation::List) => list(bus),
            Some(Operation::Import) => match import(&mut stream, bus) {
                Ok((device, host)) => {
                    attend(&stream, &device, host, bus);
                    return;
                }
                Err(refusal) => message::import_refusal(refusal),
            },
            None => return,
        };
        if !put(&mut stream, &reply, bus) {
            return;
        }
    }
}

/// The devices that are plugged, as a reply.
fn list(bus: &Steered<BusState>) -> Vec<u8> {
    let devices = bus.look(|state| state.devices.clone());
    let plugged: Vec<_> = devices
        .iter()
        .filter(|device| device.steered.look(|state| state.is_plugged))
        .map(|device| (device.bus_id.as_str(), device.number, &device.description))
        .collect();
    message::list_reply(plugged.into_iter())
}

/// Hands over the device whose bus id follows: it, and the number of the connection.
fn import(
    stream: &mut TcpStream,
    bus: &Steered<BusState>,
) -> Result<(Arc<Exported>, u64), Refusal> {
    let mut bus_id = [0; BUS_ID_BYTES];
    if !read_all(stream, &mut bus_id, || !bus.is_stopping()) {
        return Err(Refusal::Absent);
    }
    let length = bus_id.iter().position(|byte| *byte == 0);
    let wanted = &bus_id[..length.unwrap_or(BUS_ID_BYTES)];
    let found = bus.look(|state| {
        let mut devices = state.devices.iter();
        devices
            .find(|device| device.bus_id.as_bytes() == wanted)
            .cloned()
    });
    let device = found.ok_or(Refusal::Absent)?;
    let host = device.steered.change(|state| {
        if state.is_plugged {
            state.claim().ok_or(Refusal::Busy)
        } else {
            Err(Refusal::Absent)
        }
    })?;
    Ok((device, host))
}

/// Carries the transfers of one host until it leaves, the device is unplugged, or the bus stops.
fn attend(stream: &TcpStream, device: &Exported, host: u64, bus: &Steered<BusState>) {
    if let (Ok(mut reader), Ok(mut writer)) = (stream.try_clone(), stream.try_clone()) {
        let reply = message::import_reply(&device.bus_id, device.number, &device.description);
        let is_wanted = || !bus.is_stopping() && device.steered.look(|state| state.has(host));
        if put(&mut writer, &reply, bus) {
            std::thread::scope(|scope| {
                scope.spawn(|| send_replies(&mut writer, device, host, &is_wanted));
                while take_order(&mut reader, device, &is_wanted) {}
                // Whoever ends first ends the other: the sending side looks at this.
                release(device, host);
            });
        }
    } else {
        tracing::warn!("the connection of a USB host cannot be shared");
    }
    release(device, host);
    if let Err(error) = stream.shutdown(std::net::Shutdown::Both) {
        tracing::debug!(%error, "a USB host was gone before it was told");
    }
}

/// Lets go of the device, unless another host has it by now.
fn release(device: &Exported, host: u64) {
    device.steered.change(|state| {
        if state.has(host) {
            state.release();
        }
    });
}

fn send_replies(
    writer: &mut TcpStream,
    device: &Exported,
    host: u64,
    is_wanted: &impl Fn() -> bool,
) {
    while is_wanted() {
        let is_idle = |state: &UsbState| state.has(host) && !state.has_outgoing();
        device.steered.pause_while(IDLE, is_idle);
        if device.steered.look(is_idle) || !is_wanted() {
            continue;
        }
        for reply in device.steered.change(UsbState::take_outgoing) {
            if write_all(writer, &reply, WRITE_WITHIN, || true).is_err() {
                release(device, host);
                return;
            }
        }
    }
}

/// Takes one order; false when the connection is over.
fn take_order(reader: &mut TcpStream, device: &Exported, is_wanted: &impl Fn() -> bool) -> bool {
    let mut header = [0; HEADER_BYTES];
    if !read_all(reader, &mut header, is_wanted) {
        return false;
    }
    match message::order(&header) {
        Some(Order::Submit(submit)) => {
            let mut bytes = vec![0; if submit.is_in { 0 } else { submit.bytes }];
            if !read_all(reader, &mut bytes, is_wanted) {
                return false;
            }
            // Descriptions of isochronous packets follow the data: nobody here has such endpoints.
            let mut packets = [0; 16];
            for _ in 0..submit.packets {
                if !read_all(reader, &mut packets, is_wanted) {
                    return false;
                }
            }
            transfer(&submit, bytes, device);
            !device.steered.look(UsbState::is_flooded)
        }
        Some(Order::Unlink { sequence, target }) => {
            device
                .steered
                .change(|state| state.unlink(sequence, target));
            true
        }
        None => {
            device
                .steered
                .change(|state| state.complain("a transfer nobody can read".to_owned()));
            false
        }
    }
}

fn transfer(submit: &Submit, bytes: Vec<u8>, device: &Exported) {
    if submit.device != message::device_number(device.number) {
        device.steered.change(|state| {
            state.complain(format!("a transfer for device {:08X}", submit.device));
            state.reply(submit.sequence, Outcome::NoDevice, 0, &[]);
        });
    } else if submit.endpoint == 0 {
        control(submit, bytes, device);
    } else {
        device.steered.change(|state| state.submit(submit, bytes));
    }
}

fn control(submit: &Submit, bytes: Vec<u8>, device: &Exported) {
    let setup = Setup::parse(submit.setup);
    let answer = if setup.is_standard() {
        let data = device.steered.change(|state| state.standard(setup));
        data.map_or(Answer::Refuse, Answer::Data)
    } else {
        // The device's own lock, never held together with the lock of the transfers.
        let mut control = device
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let answer = control(setup, &bytes);
        if matches!(answer, Answer::Refuse) {
            device.steered.change(|state| {
                state.complain(format!(
                    "request {:02X} {:02X} value {:04X} index {:04X}",
                    setup.request_type, setup.request, setup.value, setup.index
                ));
            });
        }
        answer
    };
    let taken = bytes.len();
    device.steered.change(|state| match answer {
        Answer::Data(mut data) => {
            data.truncate(usize::from(setup.length).min(submit.bytes));
            if !setup.is_in() {
                data.clear();
            }
            state.reply(submit.sequence, Outcome::Done, taken, &data);
        }
        Answer::Deliver => {
            state.deliver(0, bytes);
            state.reply(submit.sequence, Outcome::Done, taken, &[]);
        }
        Answer::Refuse => state.reply(submit.sequence, Outcome::Stalled, 0, &[]),
    });
}

fn put(stream: &mut TcpStream, bytes: &[u8], bus: &Steered<BusState>) -> bool {
    write_all(stream, bytes, WRITE_WITHIN, || !bus.is_stopping()).is_ok()
}
