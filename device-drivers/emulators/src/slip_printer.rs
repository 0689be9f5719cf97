//! A slip printer that speaks ESC/POS over TCP, a pseudo terminal or USB (`device-protocols`,
//! section 5).
//!
//! Rows come out over time; paper, cover, cutter and head stop them where they would. What leaves
//! the mouth becomes a picture file, complete or torn. Commands outside the fact sheet are kept as
//! errors, because a driver that sends them is wrong or untested.

mod command;
mod strip;
mod usb_class;

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::mischief::{ENDLESS_BYTES, Misbehavior, TRICKLE};
use crate::serial::SerialLine;
use crate::steering::{Rubbish, Running, Steered, TICK, now};
use crate::tcp::{TcpPort, is_patience, write_all};
use crate::usb::{UsbBus, UsbConfig, UsbPort};
use command::{Command, RealTime, Token, take_token};
use strip::{DOTS_PER_MM, Head, Row};

const PORT_NAME: &str = "slip-printer";
/// Bytes the printer takes in ahead of the head. Chosen: a few slips of raster.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Errors kept for the report. Chosen.
const ERRORS_MAX: usize = 100;
/// Longest strip without a cut, dots. Chosen: 10 m.
const STRIP_DOTS_MAX: usize = 80_000;
/// How often the head is looked after while rows come out.
const PRINTING_TICK: Duration = Duration::from_millis(4);

/// How a driver reaches the printer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlipTransport {
    /// A free TCP port of 127.0.0.1.
    #[default]
    Tcp,
    /// A pseudo terminal, `<dir>/slip-printer`.
    Serial,
    /// The printer class of USB.
    Usb,
    /// A serial line over USB (CDC-ACM).
    UsbSerial,
}

/// How the printer is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent property of a model"
)]
pub struct SlipPrinterConfig {
    /// How a driver reaches it.
    pub transport: SlipTransport,
    /// Speed of the serial line's replies, bits per second; 0 sends without pacing.
    pub baud: u32,
    /// Paper speed.
    pub speed_mm_per_s: u32,
    /// A full roll.
    pub roll_mm: u32,
    /// Paper left at which the near-end sensor reports.
    pub near_end_mm: u32,
    /// After the paper ran out in the middle of a slip: print the rest on the new roll (true, as
    /// some Epson models do), or forget it until the next initialise (false).
    pub resumes_after_paper_end: bool,
    /// Answers `GS ( H`; many boards step over it in silence.
    pub echoes: bool,
    /// Has a presenter (`GS e`) that holds a slip after it was cut, as kiosk printers of Custom do.
    pub has_presenter: bool,
    /// USB: text of `GET_DEVICE_ID`.
    pub device_id: String,
    /// USB: has no way back, class protocol 01.
    pub is_uni_directional: bool,
    /// USB: `GET_PORT_STATUS` answers 18 whatever the printer does, as cheap boards do.
    pub port_status_is_fixed: bool,
}

impl Default for SlipPrinterConfig {
    fn default() -> Self {
        Self {
            transport: SlipTransport::Tcp,
            baud: 115_200,
            speed_mm_per_s: 150,
            roll_mm: 80_000,
            near_end_mm: 3000,
            resumes_after_paper_end: false,
            echoes: true,
            has_presenter: false,
            device_id: "MFG:TEST;MDL:EMU80;CMD:ESC/POS;CLS:PRINTER;".to_owned(),
            is_uni_directional: false,
            port_status_is_fixed: false,
        }
    }
}

/// How a slip left the printer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlipOutcome {
    /// Cut as asked.
    Complete,
    /// The paper ended in the middle.
    Torn,
    /// The cutter jammed; a person tore it off.
    Uncut,
    /// Cut as asked, and drawn back by the presenter before anybody took it.
    Retracted,
}

/// One slip that left the printer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlipPrint {
    /// Picture: grayscale PNG, 8 dots per millimetre, with the paper's white margins.
    pub file: PathBuf,
    /// Paper used, millimetres.
    pub height_mm: u32,
    /// How it left.
    pub outcome: SlipOutcome,
    /// A person has taken it.
    pub taken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cutter {
    Fine,
    JamsNext,
    Jammed,
}

/// Where the last slip is, in a printer with a presenter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presenter {
    Empty,
    /// Cut, and inside.
    Held,
    /// Sticks out of the mouth.
    Presented,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one switch or sensor of the machine, all independent"
)]
struct State {
    paper_dots: u32,
    is_cover_open: bool,
    cutter: Cutter,
    is_head_hot: bool,
    is_on_line: bool,
    presenter: Presenter,
    misbehavior: Option<Misbehavior>,
    wants_cable: bool,
    has_cable: bool,
    /// `SOFT_RESET` came.
    wants_reset: bool,
    is_busy: bool,
    prints: Vec<SlipPrint>,
    errors: Vec<String>,
}

impl State {
    fn is_ready(&self) -> bool {
        self.paper_dots > 0
            && !self.is_cover_open
            && self.cutter != Cutter::Jammed
            && !self.is_head_hot
            && self.is_on_line
    }

    fn complain(&mut self, error: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    /// What the presenter does with the slip it has (`GS e`).
    fn move_slip(&mut self, action: u8) {
        match (action, self.presenter) {
            (_, Presenter::Empty) => {}
            (1 | 2, _) => {
                if let Some(print) = self.prints.last_mut() {
                    print.outcome = SlipOutcome::Retracted;
                }
                self.presenter = Presenter::Empty;
            }
            (3, _) => self.presenter = Presenter::Presented,
            // Ejected: it lies outside, where no sensor sees it.
            (_, _) => self.presenter = Presenter::Empty,
        }
    }
}

/// The running printer; dropping it closes its port.
#[derive(Debug)]
pub struct SlipPrinter {
    running: Running<State>,
    port: String,
    usb: Option<UsbPort>,
    roll_dots: u32,
}

impl SlipPrinter {
    /// Starts a printer whose slips become `<dir>/slip-001.png` and so on; with a transport over USB it
    /// has a bus of its own.
    ///
    /// # Errors
    /// No port or pseudo terminal is left, or the directory cannot be written.
    pub fn start(dir: &Path, config: SlipPrinterConfig) -> io::Result<Self> {
        Self::start_at(None, dir, config)
    }

    /// Starts a printer that is plugged into `bus`, if its transport is USB.
    ///
    /// # Errors
    /// As [`SlipPrinter::start`].
    pub fn start_on(bus: &UsbBus, dir: &Path, config: SlipPrinterConfig) -> io::Result<Self> {
        Self::start_at(Some(bus), dir, config)
    }

    pub(crate) fn start_at(
        bus: Option<&UsbBus>,
        dir: &Path,
        config: SlipPrinterConfig,
    ) -> io::Result<Self> {
        let roll_dots = config.roll_mm.saturating_mul(DOTS_PER_MM);
        let mut running = Running::new(Steered::new(State {
            paper_dots: roll_dots,
            is_cover_open: false,
            cutter: Cutter::Fine,
            is_head_hot: false,
            is_on_line: true,
            presenter: Presenter::Empty,
            misbehavior: None,
            wants_cable: true,
            has_cable: true,
            wants_reset: false,
            is_busy: false,
            prints: Vec::new(),
            errors: Vec::new(),
        }));
        let link = match config.transport {
            SlipTransport::Tcp => Link::Tcp {
                port: TcpPort::open()?,
                stream: None,
            },
            SlipTransport::Serial => {
                Link::Serial(SerialLine::open(&dir.join(PORT_NAME), config.baud)?)
            }
            SlipTransport::Usb | SlipTransport::UsbSerial => {
                let bus = match bus {
                    Some(bus) => bus.clone(),
                    None => UsbBus::start(&UsbConfig::default())?,
                };
                if config.transport == SlipTransport::Usb {
                    let port = usb_class::plug(&bus, &config, Arc::clone(&running.steered));
                    Link::Usb { port, host: None }
                } else {
                    Link::Serial(SerialLine::open_usb(&bus, "Slip printer"))
                }
            }
        };
        let port = link.name();
        let usb = link.usb();
        let mut printer = Printer::new(link, config, dir.to_owned());
        running.spawn("emulated-slip-printer", move |steered| printer.run(steered))?;
        Ok(Self {
            running,
            port,
            usb,
            roll_dots,
        })
    }

    /// Where a driver reaches the printer: `tcp:127.0.0.1:N`, `serial:PATH` or
    /// `usbip:HOST:PORT/BUSID`.
    pub fn port(&self) -> String {
        self.port.clone()
    }

    /// Leaves so much paper on the roll.
    pub fn set_paper_mm(&self, mm: u32) {
        self.change(|state| state.paper_dots = mm.saturating_mul(DOTS_PER_MM));
    }

    /// Puts in a full roll.
    pub fn refill(&self) {
        self.change(|state| state.paper_dots = self.roll_dots);
    }

    /// Opens or closes the cover.
    pub fn set_cover(&self, is_open: bool) {
        self.change(|state| state.is_cover_open = is_open);
    }

    /// The cutter jams at the next cut.
    pub fn jam_cutter(&self) {
        self.change(|state| state.cutter = Cutter::JamsNext);
    }

    /// A person frees the cutter and tears off what hangs in it.
    pub fn clear_jam(&self) {
        self.change(|state| state.cutter = Cutter::Fine);
    }

    /// Heats or cools the head.
    pub fn set_head_hot(&self, is_hot: bool) {
        self.change(|state| state.is_head_hot = is_hot);
    }

    /// Takes the printer on or off line.
    pub fn set_on_line(&self, is_on: bool) {
        self.change(|state| state.is_on_line = is_on);
    }

    /// A person takes every slip from the mouth; what the presenter holds stays.
    pub fn take_paper(&self) {
        self.change(|state| {
            let held = usize::from(state.presenter == Presenter::Held);
            let reachable = state.prints.len() - held;
            for print in &mut state.prints[..reachable] {
                print.taken |= print.outcome != SlipOutcome::Retracted;
            }
            if state.presenter == Presenter::Presented {
                state.presenter = Presenter::Empty;
            }
        });
    }

    /// From now on misbehaves; slow means that it prints at a tenth of the speed.
    pub fn misbehave(&self, how: Misbehavior) {
        self.change(|state| state.misbehavior = Some(how));
    }

    /// From now on answers rubbish.
    pub fn garble(&self) {
        self.misbehave(Misbehavior::Garbage);
    }

    /// From now on prints at a tenth of the speed.
    pub fn slow(&self) {
        self.misbehave(Misbehavior::Slow);
    }

    /// Ends all injected misbehavior.
    pub fn mend(&self) {
        self.change(|state| state.misbehavior = None);
    }

    /// Cuts the cable; connections are refused when this returns true.
    pub fn cut_cable(&self) -> bool {
        self.set_cable(false)
    }

    /// Plugs the cable; the port answers when this returns true.
    pub fn plug_cable(&self) -> bool {
        self.set_cable(true)
    }

    fn set_cable(&self, is_plugged: bool) -> bool {
        self.change(|state| state.wants_cable = is_plugged);
        self.running
            .steered
            .follow(|state| state.has_cable == is_plugged)
    }

    fn change(&self, act: impl FnOnce(&mut State)) {
        self.running.steered.change(act);
    }

    /// Slips that left the printer so far, oldest first.
    pub fn prints(&self) -> Vec<SlipPrint> {
        self.running.steered.look(|state| state.prints.clone())
    }

    /// Commands that are not in the fact sheet, or could not be done as asked.
    pub fn errors(&self) -> Vec<String> {
        self.running.steered.look(|state| state.errors.clone())
    }

    /// The state, for people.
    pub fn report(&self) -> Value {
        self.running.steered.look(|state| {
            json!({
                "port": self.port,
                "ready": state.is_ready(),
                "busy": state.is_busy,
                "paper-mm": state.paper_dots / DOTS_PER_MM,
                "cover-open": state.is_cover_open,
                "cutter-jammed": state.cutter == Cutter::Jammed,
                "head-hot": state.is_head_hot,
                "on-line": state.is_on_line,
                "cable": state.has_cable,
                "ticket-in-presenter": state.presenter == Presenter::Held,
                "slips": state.prints,
                "errors": state.errors,
                "usb-errors": self.usb.as_ref().map(UsbPort::errors),
            })
        })
    }
}

/// The transport below the protocol.
enum Link {
    Tcp {
        port: TcpPort,
        stream: Option<TcpStream>,
    },
    Serial(SerialLine),
    Usb {
        port: UsbPort,
        host: Option<u64>,
    },
}

/// What came over the link.
enum Arrival {
    /// They were added to those received before.
    Bytes,
    /// A new host: what the last one left half-said is forgotten.
    NewHost,
    Nothing,
}

impl Link {
    /// Where a driver reaches the printer.
    fn name(&self) -> String {
        match self {
            Self::Tcp { port, .. } => format!("tcp:{}", port.address()),
            Self::Serial(line) => {
                let path = line.path().display();
                if line.is_usb() {
                    path.to_string()
                } else {
                    format!("serial:{path}")
                }
            }
            Self::Usb { port, .. } => port.name(),
        }
    }

    fn usb(&self) -> Option<UsbPort> {
        match self {
            Self::Tcp { .. } | Self::Serial(_) => None,
            Self::Usb { port, .. } => Some(port.clone()),
        }
    }

    fn is_plugged(&self) -> bool {
        match self {
            Self::Tcp { port, .. } => port.is_plugged(),
            Self::Serial(line) => line.is_plugged(),
            Self::Usb { port, .. } => port.is_plugged(),
        }
    }

    fn plug(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp { port, .. } => port.plug(),
            Self::Serial(line) => line.plug(),
            Self::Usb { port, .. } => {
                port.plug();
                Ok(())
            }
        }
    }

    fn cut(&mut self) {
        match self {
            Self::Tcp { port, stream } => {
                *stream = None;
                port.cut();
            }
            Self::Serial(line) => line.cut(),
            Self::Usb { port, .. } => port.cut(),
        }
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        received: &mut Vec<u8>,
        wait: Duration,
        steered: &Steered<State>,
    ) -> io::Result<Arrival> {
        match self {
            Self::Tcp { port, stream } => {
                let Some(open) = stream else {
                    *stream = port.accept()?;
                    if stream.is_some() {
                        return Ok(Arrival::NewHost);
                    }
                    steered.pause(wait);
                    return Ok(Arrival::Nothing);
                };
                open.set_read_timeout(Some(wait))?;
                match open.read(buffer) {
                    Ok(0) => *stream = None,
                    Ok(count) => {
                        received.extend(&buffer[..count]);
                        return Ok(Arrival::Bytes);
                    }
                    Err(error) if is_patience(&error) => {}
                    Err(_) => *stream = None,
                }
                Ok(Arrival::Nothing)
            }
            Self::Serial(line) => Ok(match line.receive(buffer, wait)? {
                0 => Arrival::Nothing,
                count => {
                    received.extend(&buffer[..count]);
                    Arrival::Bytes
                }
            }),
            Self::Usb { port, host } => {
                let present = port.host();
                if present != *host {
                    *host = present;
                    return Ok(Arrival::NewHost);
                }
                Ok(match port.receive(wait) {
                    Some((_, bytes)) => {
                        received.extend(bytes);
                        Arrival::Bytes
                    }
                    None => Arrival::Nothing,
                })
            }
        }
    }

    fn send(&mut self, bytes: &[u8], steered: &Steered<State>) -> io::Result<()> {
        match self {
            Self::Tcp { stream, .. } => {
                if let Some(open) = stream {
                    let within = Duration::from_secs(1);
                    if write_all(open, bytes, within, || !steered.is_stopping()).is_err() {
                        *stream = None;
                    }
                }
                Ok(())
            }
            Self::Serial(line) => line
                .send(bytes, steered, |state| state.wants_cable)
                .map(drop),
            Self::Usb { port, .. } => {
                // A printer does not wait for its host; without a way back nothing is kept.
                port.send(usb_class::IN, bytes);
                Ok(())
            }
        }
    }
}

/// What happens when the rows of a command are out.
#[derive(Debug, Clone, Copy)]
enum Then {
    Cut,
    Echo([u8; 4]),
}

/// The thread's own side of the printer.
struct Printer {
    link: Link,
    config: SlipPrinterConfig,
    dir: PathBuf,
    received: Vec<u8>,
    queue: VecDeque<Command>,
    queued_bytes: usize,
    head: Head,
    /// Rows made and not yet printed.
    rows: VecDeque<Row>,
    /// What follows when those rows are out.
    then: Option<Then>,
    /// Rows that hang out of the printer.
    strip: Vec<Row>,
    next_row: Option<Instant>,
    /// The strip hangs in a jammed cutter.
    is_held_by_cutter: bool,
    /// The rest of a slip whose paper ended is forgotten.
    is_spoiled: bool,
    status_back: u8,
    last_status: [u8; 4],
    full_status_back: bool,
    last_full_status: Vec<u8>,
    rubbish: Rubbish,
}

impl Printer {
    fn new(link: Link, config: SlipPrinterConfig, dir: PathBuf) -> Self {
        Self {
            link,
            config,
            dir,
            received: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            head: Head::default(),
            rows: VecDeque::new(),
            then: None,
            strip: Vec::new(),
            next_row: None,
            is_held_by_cutter: false,
            is_spoiled: false,
            status_back: 0,
            last_status: [0; 4],
            full_status_back: false,
            last_full_status: Vec::new(),
            rubbish: Rubbish::new(0xE5C),
        }
    }

    fn run(&mut self, steered: &Steered<State>) {
        let mut buffer = vec![0; 64 * 1024];
        while !steered.is_stopping() {
            if let Err(error) = self.step(&mut buffer, steered) {
                tracing::warn!(%error, "emulated slip printer lost its line");
                self.link.cut();
                steered.change(|state| {
                    state.wants_cable = false;
                    state.has_cable = false;
                });
            }
        }
    }

    fn step(&mut self, buffer: &mut [u8], steered: &Steered<State>) -> io::Result<()> {
        let wanted = steered.look(|state| state.wants_cable);
        if wanted && !self.link.is_plugged() {
            self.link.plug()?;
        } else if !wanted && self.link.is_plugged() {
            self.link.cut();
            self.received.clear();
        }
        let is_busy = !self.rows.is_empty() || !self.queue.is_empty();
        steered.change(|state| {
            state.has_cable = wanted;
            state.is_busy = is_busy;
        });
        if steered.change(|state| std::mem::take(&mut state.wants_reset)) {
            self.received.clear();
            self.forget();
            self.is_spoiled = false;
            self.head = Head::default();
        }
        if steered.look(|state| state.misbehavior == Some(Misbehavior::EndlessGarbage)) {
            let rubbish = self.rubbish.bytes(ENDLESS_BYTES);
            self.link.send(&rubbish, steered)?;
        }
        let wait = if is_busy { PRINTING_TICK } else { TICK };
        if !wanted || self.queued_bytes + self.received.len() > BUFFER_BYTES {
            steered.pause(wait);
        } else {
            let received = &mut self.received;
            match self.link.receive(buffer, received, wait, steered)? {
                Arrival::Bytes => self.take_tokens(steered)?,
                Arrival::NewHost => self.received.clear(),
                Arrival::Nothing => {}
            }
        }
        self.print(steered)?;
        self.report_change(steered)
    }

    fn take_tokens(&mut self, steered: &Steered<State>) -> io::Result<()> {
        while let Some(token) = take_token(&mut self.received) {
            match token {
                Token::RealTime(RealTime::Status(number)) => {
                    let reply = steered.look(|state| self.status_reply(state, number));
                    self.send(&reply, steered)?;
                }
                Token::RealTime(RealTime::Recover(kind)) => {
                    if kind == 2 {
                        self.forget();
                        self.is_spoiled = false;
                    }
                }
                Token::Command(command) => {
                    self.queued_bytes += cost(&command);
                    self.queue.push_back(command);
                }
                Token::Unknown(bytes) => {
                    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
                    let error = format!("not a command of the fact sheet: {}", hex.join(" "));
                    steered.change(|state| state.complain(error));
                }
            }
        }
        Ok(())
    }

    /// Drops everything that waits to be printed.
    fn forget(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.rows.clear();
        self.then = None;
        self.is_held_by_cutter = false;
        self.next_row = None;
    }

    /// Lets rows out and obeys commands, as far as time and the machine allow.
    fn print(&mut self, steered: &Steered<State>) -> io::Result<()> {
        // A piece that a person tore out of a jammed cutter.
        if self.is_held_by_cutter && steered.look(|state| state.cutter == Cutter::Fine) {
            self.is_held_by_cutter = false;
            self.then = None;
            self.finish(SlipOutcome::Uncut, steered)?;
        }
        self.end_of_paper(steered)?;
        // Bounded by the queue: each turn takes a command or returns.
        for _ in 0..=self.queue.len() {
            if !self.let_rows_out(steered)? {
                return Ok(());
            }
            if let Some(then) = self.then.take() {
                if !self.conclude(then, steered)? {
                    return Ok(());
                }
                continue;
            }
            let is_ready = steered.look(State::is_ready);
            let is_printing = self.queue.front().is_some_and(Command::is_printing);
            if is_printing && self.is_spoiled {
                self.take_command();
                continue;
            }
            if is_printing && !is_ready {
                return Ok(());
            }
            let Some(command) = self.take_command() else {
                return Ok(());
            };
            self.begin(command, steered)?;
        }
        Ok(())
    }

    fn take_command(&mut self) -> Option<Command> {
        let command = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(cost(&command));
        Some(command)
    }

    /// Starts a command: its rows wait to be printed, what follows them is kept in `then`.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other commands only change what the head does"
    )]
    fn begin(&mut self, command: Command, steered: &Steered<State>) -> io::Result<()> {
        match &command {
            Command::Initialize => {
                self.is_spoiled = false;
                self.status_back = 0;
                self.full_status_back = false;
            }
            Command::StatusBack(mask) => {
                self.status_back = *mask;
                if *mask != 0 {
                    let status = steered.look(|state| self.automatic_status(state));
                    self.last_status = status;
                    self.send(&status, steered)?;
                }
            }
            Command::Transmit(kind) => {
                let reply = steered.look(|state| match kind {
                    1 | b'1' => vec![self.paper_sensors(state)],
                    2 | b'2' => vec![0],
                    _ => Vec::new(),
                });
                self.send(&reply, steered)?;
            }
            Command::Identify(kind) => self.send(identity(*kind), steered)?,
            Command::QrQuery => {
                if let Some(dots) = self.head.code_dots() {
                    let mut reply = vec![0x37, 0x36];
                    let size = dots.to_string();
                    for part in [&size, &size] {
                        reply.extend(part.as_bytes());
                        reply.push(0x1F);
                    }
                    reply.extend([0x31, 0x1F, 0x30, 0x00]);
                    self.send(&reply, steered)?;
                }
            }
            Command::Cut { .. } => self.then = Some(Then::Cut),
            Command::Echo(id) if self.config.echoes => self.then = Some(Then::Echo(*id)),
            Command::Presenter(_) | Command::FullStatusBack(_) if !self.config.has_presenter => {
                steered.change(|state| state.complain("there is no presenter".to_owned()));
            }
            Command::Presenter(6) => {
                let status = steered.look(|state| self.presenter_status(state));
                self.send(&[status], steered)?;
            }
            Command::Presenter(action) => steered.change(|state| state.move_slip(*action)),
            Command::FullStatusBack(mask) => {
                self.full_status_back = *mask != 0;
                self.last_full_status.clear();
            }
            _ => {}
        }
        let mut rows = Vec::new();
        if let Err(error) = self.head.obey(command, &mut rows) {
            steered.change(|state| state.complain(error));
        }
        self.rows.extend(rows);
        Ok(())
    }

    /// Lets out the rows that are due; true when none waits any more.
    fn let_rows_out(&mut self, steered: &Steered<State>) -> io::Result<bool> {
        // Bounded: each turn takes one row.
        while !self.rows.is_empty() {
            let (is_ready, is_slow) = steered.look(|state| {
                let is_slow = state.misbehavior == Some(Misbehavior::Slow);
                (state.is_ready(), is_slow)
            });
            if !is_ready {
                self.next_row = None;
                self.end_of_paper(steered)?;
                return Ok(false);
            }
            let speed = self.config.speed_mm_per_s.max(1) * DOTS_PER_MM;
            let row_time = Duration::from_secs(1) / speed * if is_slow { 10 } else { 1 };
            let due = *self.next_row.get_or_insert_with(now);
            if now() < due {
                return Ok(false);
            }
            self.next_row = Some(due + row_time);
            if let Some(row) = self.rows.pop_front() {
                if self.strip.len() < STRIP_DOTS_MAX {
                    self.strip.push(row);
                }
                steered.change(|state| state.paper_dots = state.paper_dots.saturating_sub(1));
            }
        }
        self.next_row = None;
        // The very last dot of the roll: what still has to follow cannot.
        if steered.look(|state| state.paper_dots == 0) && self.then.is_some() {
            self.end_of_paper(steered)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// When the roll has ended in the middle of a slip: the piece falls out.
    fn end_of_paper(&mut self, steered: &Steered<State>) -> io::Result<()> {
        if steered.look(|state| state.paper_dots > 0) {
            return Ok(());
        }
        let has_ink = self.strip.iter().any(|row| *row != strip::BLANK);
        if !self.config.resumes_after_paper_end && (has_ink || !self.rows.is_empty()) {
            self.forget();
            self.is_spoiled = true;
        }
        if has_ink {
            self.is_held_by_cutter = false;
            self.finish(SlipOutcome::Torn, steered)?;
        }
        self.strip.clear();
        Ok(())
    }

    /// Does what follows the rows; false when the machine stopped at it.
    fn conclude(&mut self, then: Then, steered: &Steered<State>) -> io::Result<bool> {
        match then {
            // Only a person frees it, and then `print` sees it first.
            Then::Cut if self.is_held_by_cutter => {
                self.then = Some(Then::Cut);
                return Ok(false);
            }
            Then::Cut => {
                let is_cut = steered.change(|state| {
                    if state.cutter == Cutter::JamsNext {
                        state.cutter = Cutter::Jammed;
                    }
                    state.cutter == Cutter::Fine
                });
                if !is_cut {
                    self.is_held_by_cutter = true;
                    self.then = Some(Then::Cut);
                    return Ok(false);
                }
                // A second cut without paper between cuts nothing.
                if !self.strip.is_empty() {
                    self.finish(SlipOutcome::Complete, steered)?;
                }
            }
            Then::Echo(id) => {
                let reply = [0x37, 0x22, id[0], id[1], id[2], id[3], 0x00];
                self.send(&reply, steered)?;
            }
        }
        Ok(true)
    }

    /// Saves the strip as a slip.
    fn finish(&mut self, outcome: SlipOutcome, steered: &Steered<State>) -> io::Result<()> {
        let rows = std::mem::take(&mut self.strip);
        let number = steered.look(|state| state.prints.len()) + 1;
        let file = self.dir.join(format!("slip-{number:03}.png"));
        strip::picture(&rows)
            .save_with_format(&file, image::ImageFormat::Png)
            .map_err(io::Error::other)?;
        let dots = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let print = SlipPrint {
            file,
            height_mm: dots.div_ceil(DOTS_PER_MM),
            outcome,
            taken: false,
        };
        let is_held = self.config.has_presenter && outcome == SlipOutcome::Complete;
        steered.change(|state| {
            state.prints.push(print);
            if is_held {
                // A slip still in the presenter is pushed out by the next one.
                state.presenter = Presenter::Held;
            }
        });
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], steered: &Steered<State>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match steered.look(|state| state.misbehavior) {
            None | Some(Misbehavior::Slow) => self.link.send(bytes, steered),
            Some(Misbehavior::Garbage | Misbehavior::EndlessGarbage) => {
                let rubbish = self.rubbish.bytes(bytes.len());
                self.link.send(&rubbish, steered)
            }
            Some(Misbehavior::Silence) => Ok(()),
            Some(Misbehavior::Trickle) => {
                for byte in bytes {
                    self.link.send(&[*byte], steered)?;
                    let is_so = |state: &State| state.misbehavior == Some(Misbehavior::Trickle);
                    if !steered.pause_while(TRICKLE, is_so) {
                        break;
                    }
                }
                Ok(())
            }
            Some(Misbehavior::Vanish) => {
                steered.change(|state| {
                    state.misbehavior = None;
                    state.wants_cable = false;
                    // At once: whoever sees the line gone and plugs it must wait for the new one.
                    state.has_cable = false;
                });
                Ok(())
            }
            Some(Misbehavior::Stall) => {
                steered.change(|state| state.misbehavior = None);
                if let Link::Usb { port, .. } = &self.link {
                    port.stall(usb_class::IN);
                    return Ok(());
                }
                self.link.send(bytes, steered)
            }
        }
    }

    /// Automatic status back: sent on each change the host asked for.
    fn report_change(&mut self, steered: &Steered<State>) -> io::Result<()> {
        if self.full_status_back {
            let status = steered.look(|state| self.full_status(state));
            if status != self.last_full_status {
                self.last_full_status.clone_from(&status);
                self.send(&status, steered)?;
            }
        }
        if self.status_back == 0 {
            return Ok(());
        }
        let status = steered.look(|state| self.automatic_status(state));
        let masks = [
            (0x01, [0x04, 0, 0, 0]),
            (0x02, [0x28, 0, 0, 0]),
            (0x04, [0, 0xFF, 0, 0]),
            (0x08, [0, 0, 0xFF, 0]),
        ];
        let is_news = masks.iter().any(|(bit, mask)| {
            self.status_back & bit != 0
                && (0..4).any(|at| (status[at] ^ self.last_status[at]) & mask[at] != 0)
        });
        if is_news {
            self.last_status = status;
            self.send(&status, steered)?;
        }
        Ok(())
    }

    fn is_near_end(&self, state: &State) -> bool {
        state.paper_dots <= self.config.near_end_mm.saturating_mul(DOTS_PER_MM)
    }

    /// `GS r 1`: 03 near end, 0C out.
    fn paper_sensors(&self, state: &State) -> u8 {
        let near = if self.is_near_end(state) { 0x03 } else { 0 };
        let out = if state.paper_dots == 0 { 0x0C } else { 0 };
        near | out
    }

    fn status_reply(&self, state: &State, number: u8) -> Vec<u8> {
        let is_out = state.paper_dots == 0;
        let is_jammed = state.cutter == Cutter::Jammed;
        match number {
            1 => vec![0x12 | bits(&[(!state.is_ready(), 0x08)])],
            2 => vec![
                0x12 | bits(&[
                    (state.is_cover_open, 0x04),
                    (is_out, 0x20),
                    (is_jammed || state.is_head_hot, 0x40),
                ]),
            ],
            3 => vec![0x12 | bits(&[(is_jammed, 0x08), (state.is_head_hot, 0x40)])],
            4 => vec![0x12 | bits(&[(self.is_near_end(state), 0x0C), (is_out, 0x60)])],
            _ => self.full_status(state),
        }
    }

    /// Custom's full status (section 5.4).
    fn full_status(&self, state: &State) -> Vec<u8> {
        let has_ticket = if self.config.has_presenter {
            state.presenter == Presenter::Presented
        } else {
            state.prints.iter().any(|print| !print.taken)
        };
        let is_jammed = state.cutter == Cutter::Jammed;
        vec![
            0x10,
            0x0F,
            bits(&[
                (state.paper_dots == 0, 0x01),
                (self.is_near_end(state), 0x04),
                (has_ticket, 0x20),
            ]),
            bits(&[
                (state.is_cover_open, 0x03),
                (!self.queue.is_empty(), 0x04),
                (!self.rows.is_empty(), 0x08),
            ]),
            bits(&[(state.is_head_hot, 0x01)]),
            bits(&[(is_jammed, 0x01)]),
        ]
    }

    /// `GS e 6`.
    fn presenter_status(&self, state: &State) -> u8 {
        bits(&[
            (self.is_near_end(state), 0x01),
            (state.paper_dots > 0, 0x04),
            (state.presenter == Presenter::Presented, 0x08),
            (!state.is_ready(), 0x40),
            (state.cutter == Cutter::Jammed, 0x80),
        ])
    }

    fn automatic_status(&self, state: &State) -> [u8; 4] {
        let mut status = [0x10, 0x00, 0x00, 0x00];
        if !state.is_ready() {
            status[0] |= 0x08;
        }
        if state.is_cover_open {
            status[0] |= 0x20;
        }
        if state.cutter == Cutter::Jammed {
            status[1] |= 0x08;
        }
        if state.is_head_hot {
            status[1] |= 0x40;
        }
        status[2] = self.paper_sensors(state);
        status
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only commands with a payload cost more than their turn"
)]
fn cost(command: &Command) -> usize {
    1 + match command {
        Command::Text(bytes) | Command::QrStore(bytes) => bytes.len(),
        Command::Raster(picture) | Command::StoreGraphics(picture) => picture.rows.len(),
        _ => 0,
    }
}

/// The bits that are set, as one byte.
fn bits(pairs: &[(bool, u8)]) -> u8 {
    pairs
        .iter()
        .filter(|(is_set, _)| *is_set)
        .fold(0, |sum, (_, bit)| sum | bit)
}

/// Answers to `GS I`: numbers as one byte, texts between `5F` and `00`.
fn identity(kind: u8) -> &'static [u8] {
    match kind {
        1 | b'1' => &[0x20],
        // Multi-byte characters and an auto-cutter.
        2 | b'2' => &[0x03],
        3 | b'3' => &[0x01],
        0x41 => b"\x5F1.00\0",
        0x42 => b"\x5FTEST\0",
        0x43 => b"\x5FEMU80\0",
        0x44 => b"\x5FEMU0000001\0",
        0x45 => b"\x5FCHINA GB18030\0",
        _ => &[],
    }
}
