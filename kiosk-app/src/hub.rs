//! The terminal's devices: one supervised thread each, commands in, reports out.
//!
//! The only file that knows which driver belongs to which word in `kiosk.toml`, and the only one that
//! turns the types of the device crates into [`Event`]s. Nothing here knows whether the other end of
//! a port is hardware.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use kiosk_auxiliaries::{io_board, signature_pad, speaker, ups};
use kiosk_camera as camera;
use kiosk_device::{
    Busy, CommandId, Completion, ConfigError, DeviceClass, DeviceConfig, DeviceEvent, DeviceHandle,
    Driver, Rung, Sensitive, Status, Support, Tap, spawn_supported,
};
use kiosk_id_card as id_card;
use kiosk_printer::{escpos, ipp};
use kiosk_qr_scanner as qr_scanner;
use kiosk_smart_card as smart_card;
use kiosk_ui::Picture;

use crate::calibration::Calibrations;
use crate::devices::{self, Fitted, Roster};
use crate::event::{Ending, Event, Frame, Lens, PrintNews, Ticket};
use crate::person::{Person, Sex, Source};
use crate::runtime::Input;
use crate::selftest::machine::{Machine, Player, Typeset};
use crate::selftest::step::Sheet;
use crate::selftest::{Finding, Probe};

/// A card is waited for as long as a visit may last; the visit cancels earlier.
const CARD_LIMIT: Duration = Duration::from_mins(2);
/// A code likewise.
const CODE_LIMIT: Duration = Duration::from_mins(2);
/// A stream of pictures likewise.
const STREAM_LIMIT: Duration = Duration::from_mins(3);
/// A slip takes seconds; paper may have to be put in meanwhile.
const SLIP_LIMIT: Duration = Duration::from_mins(2);
/// A document may have to wait for somebody to clear a jam.
const PAGES_LIMIT: Duration = Duration::from_mins(5);
/// What a test asks of a UPS, a board or a mixer takes seconds.
const TRY_LIMIT: Duration = Duration::from_secs(15);
/// Time for a relay beyond the pause that it is asked for.
const POWER_LIMIT: Duration = Duration::from_secs(10);
/// Preview width, and pictures a second: enough to aim a document, cheap for a weak processor.
pub(crate) const PREVIEW_WIDTH: u32 = 720;
const PREVIEW_RATE: u32 = 8;

/// What a device thread reports, still in the words of its crate.
#[derive(Debug)]
pub enum DeviceReport {
    /// The card reader.
    IdCard(DeviceEvent<id_card::Event>),
    /// The scanner.
    Scanner(DeviceEvent<qr_scanner::Event>),
    /// The slip printer.
    Slip(DeviceEvent<escpos::Event>),
    /// The page printer.
    Page(DeviceEvent<ipp::Event>),
    /// A camera.
    Camera(DeviceEvent<camera::Event>),
    /// The chip card reader.
    SmartCard(DeviceEvent<smart_card::Event>),
    /// The power supply.
    Ups(DeviceEvent<<ups::Ups as Driver>::Event>),
    /// The board with doors, lights and relays.
    IoBoard(DeviceEvent<<io_board::IoBoard as Driver>::Event>),
    /// The signature pad.
    SignaturePad(DeviceEvent<signature_pad::Event>),
    /// The loudspeaker.
    Speaker(DeviceEvent<<speaker::Speaker as Driver>::Event>),
}

/// All devices of the terminal.
#[derive(Debug, Default)]
pub struct Hub {
    id_card: Option<DeviceHandle<id_card::Command>>,
    scanner: Option<DeviceHandle<qr_scanner::Command>>,
    slip: Option<DeviceHandle<escpos::Command>>,
    page: Option<DeviceHandle<ipp::Command>>,
    cameras: HashMap<Lens, DeviceHandle<camera::Command>>,
    smart_card: Option<DeviceHandle<smart_card::Command>>,
    boards: HashMap<String, Arc<DeviceHandle<io_board::Command>>>,
    upses: HashMap<String, DeviceHandle<ups::Command>>,
    pads: HashMap<String, DeviceHandle<signature_pad::Command>>,
    speakers: HashMap<String, (DeviceHandle<speaker::Command>, Player)>,
    roster: Roster,
    running: HashMap<CommandId, Running>,
    /// Plays tones; without it loudspeakers cannot be tested.
    machine: Option<Machine>,
    /// Test prints that are being typeset.
    typesetting: HashSet<Ticket>,
    /// The stroke that is being drawn on a pad.
    stroke: Stroke,
    /// What is calibrated at this place.
    calibrations: Calibrations,
    /// Width of the slip printer's head.
    head_dots: u32,
}

/// What is known of one stroke: how many points, never where.
#[derive(Clone, Copy, Debug, Default)]
struct Stroke {
    points: u32,
    is_outside: bool,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    ticket: Ticket,
    kind: Kind,
    /// Pages of the document, where one is printed.
    pages: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Card,
    SocialCard,
    Code,
    Stream(Lens),
    Slip,
    /// A slip of the staff, which is no visitor's.
    StaffSlip,
    Pages,
    /// A card that is read for a test: what it says stays here.
    TestCard,
    TestSlip,
    TestPages,
    /// A command of a test that has no news but its end.
    Try,
    Tone,
    Sign,
}

impl Hub {
    /// Starts every configured device.
    ///
    /// # Errors
    /// [`ConfigError`] names the device and what its configuration should say. A device that is not
    /// there is no error: it is reported and waited for.
    pub fn start(devices: &[DeviceConfig], inbox: &SyncSender<Input>) -> Result<Self, ConfigError> {
        let mut hub = Self::default();
        // Boards first: other devices get their power through them.
        let is_board = |config: &&DeviceConfig| config.class == DeviceClass::IoBoard;
        for config in devices.iter().filter(is_board) {
            hub.start_one(config, inbox)?;
        }
        for config in devices.iter().filter(|config| !is_board(config)) {
            hub.start_one(config, inbox)?;
        }
        hub.roster.order(devices);
        Ok(hub)
    }

    fn start_one(
        &mut self,
        config: &DeviceConfig,
        inbox: &SyncSender<Input>,
    ) -> Result<(), ConfigError> {
        match config.class {
            DeviceClass::IdCard => {
                let new = id_card::IdCardReader::new;
                self.id_card = Some(self.fit(config, new, inbox, DeviceReport::IdCard)?);
            }
            DeviceClass::QrScanner => {
                let new = qr_scanner::Scanner::new;
                self.scanner = Some(self.fit(config, new, inbox, DeviceReport::Scanner)?);
            }
            DeviceClass::SlipPrinter => {
                let new = escpos::SlipPrinter::new;
                self.head_dots = new(config)?.profile().width_dots;
                self.slip = Some(self.fit(config, new, inbox, DeviceReport::Slip)?);
            }
            DeviceClass::PagePrinter => {
                let new = ipp::PagePrinter::new;
                self.page = Some(self.fit(config, new, inbox, DeviceReport::Page)?);
            }
            DeviceClass::Camera => {
                let lens = match camera::Camera::new(config)?.role() {
                    camera::Role::Document => Lens::Document,
                    camera::Role::Face => Lens::Face,
                };
                let handle = self.fit(config, camera::Camera::new, inbox, DeviceReport::Camera)?;
                self.cameras.insert(lens, handle);
            }
            DeviceClass::SmartCard => {
                let new = smart_card::SmartCardReader::new;
                self.smart_card = Some(self.fit(config, new, inbox, DeviceReport::SmartCard)?);
            }
            DeviceClass::Ups | DeviceClass::SignaturePad | DeviceClass::Speaker => {
                self.start_auxiliary(config, inbox)?;
            }
            DeviceClass::IoBoard => {
                let new = io_board::IoBoard::new;
                let board = self.fit(config, new, inbox, DeviceReport::IoBoard)?;
                self.boards.insert(config.id.clone(), Arc::new(board));
            }
        }
        Ok(())
    }

    /// Devices that only tests ask something of: they are kept well, watched and reported.
    fn start_auxiliary(
        &mut self,
        config: &DeviceConfig,
        inbox: &SyncSender<Input>,
    ) -> Result<(), ConfigError> {
        let id = config.id.clone();
        match config.class {
            DeviceClass::Ups => {
                let ups = self.fit(config, ups::Ups::new, inbox, DeviceReport::Ups)?;
                self.upses.insert(id, ups);
            }
            DeviceClass::SignaturePad => {
                let new = signature_pad::SignaturePad::new;
                let pad = self.fit(config, new, inbox, DeviceReport::SignaturePad)?;
                self.pads.insert(id, pad);
            }
            DeviceClass::Speaker => {
                let new = speaker::Speaker::new;
                let speaker = self.fit(config, new, inbox, DeviceReport::Speaker)?;
                self.speakers.insert(id, (speaker, player(config)));
            }
            DeviceClass::IdCard
            | DeviceClass::QrScanner
            | DeviceClass::SlipPrinter
            | DeviceClass::PagePrinter
            | DeviceClass::Camera
            | DeviceClass::SmartCard
            | DeviceClass::IoBoard => {
                unreachable!("these classes have places of their own")
            }
        }
        Ok(())
    }

    /// How a device is brought back when reopening does not help, the mildest way first.
    fn rungs(&self, config: &DeviceConfig) -> Result<Vec<Rung>, ConfigError> {
        let mut rungs: Vec<Rung> = Rung::usb_rebind(&config.port).into_iter().collect();
        if let Some(power) = &config.power {
            let board = self.boards.get(&power.board).cloned().ok_or_else(|| {
                config.not_accepted("power.board", &power.board, "the id of an io-board")
            })?;
            let output = power.output.clone();
            let off = Duration::from_secs(power.off_s.into());
            rungs.push(Rung {
                name: Rung::POWER_CYCLE,
                climb: Box::new(move || {
                    let command = io_board::Command::PowerCycle {
                        output: output.clone(),
                        off,
                    };
                    // The board does it on its own thread; this device is tried again meanwhile.
                    let asked = board.command(command, off + POWER_LIMIT);
                    asked.map(drop).map_err(|busy| busy.to_string())
                }),
            });
        }
        Ok(rungs)
    }

    /// Starts the thread of one device, with its recorder and the ways to bring it back.
    fn fit<D: Driver>(
        &self,
        config: &DeviceConfig,
        new: fn(&DeviceConfig) -> Result<D, ConfigError>,
        inbox: &SyncSender<Input>,
        wrap: fn(DeviceEvent<D::Event>) -> DeviceReport,
    ) -> Result<DeviceHandle<D::Command>, ConfigError> {
        let make = checked(config, new)?;
        let id = config.id.clone();
        let support = Support {
            tap: Tap::default(),
            rungs: self.rungs(config)?,
        };
        let tap = support.tap.clone();
        let rungs = support.rungs.iter().map(|rung| rung.name).collect();
        let handle = spawn_supported(id.clone(), make, sender(inbox, &id, wrap), support);
        self.roster.add(Fitted {
            config: config.clone(),
            observer: handle.observer(),
            tap,
            waker: handle.waker(),
            rungs,
        });
        Ok(handle)
    }

    /// Every configured device, for whoever looks at them.
    pub fn roster(&self) -> Roster {
        self.roster.clone()
    }

    /// Waits for a card. `Err` with a problem code when it cannot even be tried.
    pub(crate) fn read_card(&mut self, ticket: Ticket) -> Result<(), &'static str> {
        let reader = self.id_card.as_ref().ok_or("id-card.no-device")?;
        let id = reader
            .command(id_card::Command::Read, CARD_LIMIT)
            .map_err(|busy| busy.code())?;
        self.running.insert(
            id,
            Running {
                ticket,
                kind: Kind::Card,
                pages: 0,
            },
        );
        Ok(())
    }

    /// Waits for a social security card beside the identity card, where there is such a reader. Its
    /// absence is no trouble of the visit.
    pub(crate) fn read_social_card(&mut self, ticket: Ticket) {
        let Some(reader) = self.smart_card.as_ref() else {
            return;
        };
        match reader.command(smart_card::Command::Read, CARD_LIMIT) {
            Ok(id) => {
                let kind = Kind::SocialCard;
                let pages = 0;
                self.running.insert(
                    id,
                    Running {
                        ticket,
                        kind,
                        pages,
                    },
                );
            }
            Err(busy) => tracing::debug!(code = busy.code(), "chip card reader not asked"),
        }
    }

    /// Waits for a code.
    pub(crate) fn scan(&mut self, ticket: Ticket) -> Result<(), &'static str> {
        let scanner = self.scanner.as_ref().ok_or("qr-scanner.no-device")?;
        let id = scanner
            .command(qr_scanner::Command::Scan, CODE_LIMIT)
            .map_err(|busy| busy.code())?;
        self.running.insert(
            id,
            Running {
                ticket,
                kind: Kind::Code,
                pages: 0,
            },
        );
        Ok(())
    }

    /// Streams pictures. A terminal with one camera uses it for both purposes.
    pub(crate) fn stream(&mut self, ticket: Ticket, lens: Lens) -> Result<(), &'static str> {
        let place = match lens {
            Lens::Face => Lens::Face,
            Lens::Document | Lens::WholeTray => Lens::Document,
        };
        let camera = self
            .cameras
            .get(&place)
            .or_else(|| self.cameras.values().next())
            .ok_or("camera.no-device")?;
        let command = match self.calibrations.crop.filter(|_| lens == Lens::Document) {
            Some(crop) => camera::Command::StreamPart {
                crop,
                preview_width: PREVIEW_WIDTH,
                frames_per_second: PREVIEW_RATE,
            },
            None => camera::Command::Stream {
                preview_width: PREVIEW_WIDTH,
                frames_per_second: PREVIEW_RATE,
            },
        };
        let id = camera
            .command(command, STREAM_LIMIT)
            .map_err(|busy| busy.code())?;
        self.running.insert(
            id,
            Running {
                ticket,
                kind: Kind::Stream(lens),
                pages: 0,
            },
        );
        Ok(())
    }

    /// Prints a slip.
    pub(crate) fn print_slip(
        &mut self,
        ticket: Ticket,
        raster: escpos::SlipRaster,
    ) -> Result<(), &'static str> {
        self.put_slip(ticket, raster, Kind::Slip)
    }

    /// Prints a slip of the staff.
    pub(crate) fn print_staff_slip(
        &mut self,
        ticket: Ticket,
        raster: escpos::SlipRaster,
    ) -> Result<(), &'static str> {
        self.put_slip(ticket, raster, Kind::StaffSlip)
    }

    fn put_slip(
        &mut self,
        ticket: Ticket,
        raster: escpos::SlipRaster,
        kind: Kind,
    ) -> Result<(), &'static str> {
        let raster = self.moved(raster, escpos::Edge::Keep);
        let printer = self.slip.as_ref().ok_or("printer.no-device")?;
        let id = printer
            .command(escpos::Command::Print(raster), SLIP_LIMIT)
            .map_err(|busy| busy.code())?;
        self.running.insert(
            id,
            Running {
                ticket,
                kind,
                pages: 0,
            },
        );
        Ok(())
    }

    /// Prints the pages of a document as they are.
    pub(crate) fn print_report(
        &mut self,
        ticket: Ticket,
        pdf: Arc<Sensitive<Vec<u8>>>,
        pages: u32,
    ) -> Result<(), &'static str> {
        let printer = self.page.as_ref().ok_or("printer.no-device")?;
        let document = ipp::PageDocument {
            pdf,
            pages,
            first_page: 1,
        };
        let id = printer
            .command(ipp::Command::Print(document), PAGES_LIMIT)
            .map_err(|busy| busy.code())?;
        self.running.insert(
            id,
            Running {
                ticket,
                kind: Kind::Pages,
                pages,
            },
        );
        Ok(())
    }

    /// From now on prints and pictures are put right by these calibrations.
    pub(crate) fn calibrate(&mut self, calibrations: &Calibrations) {
        self.calibrations = calibrations.clone();
    }

    /// A slip as it has to be sent, so that it stands where it should.
    fn moved(&self, raster: escpos::SlipRaster, edge: escpos::Edge) -> escpos::SlipRaster {
        let dots = self.calibrations.slip_dots;
        if dots == 0 {
            return raster;
        }
        let (moved, by) = raster.shifted(dots, self.head_dots, edge);
        if by != dots {
            tracing::debug!(dots, by, "a slip found no room to be moved further");
        }
        moved
    }

    /// Pages are being moved on their paper; their print may be canceled meanwhile.
    pub(crate) fn await_pages(&mut self, ticket: Ticket) {
        self.typesetting.insert(ticket);
    }

    /// The pages are moved: print them, unless nobody waits for them any more.
    pub(crate) fn print_moved(
        &mut self,
        ticket: Ticket,
        pdf: Arc<Sensitive<Vec<u8>>>,
        pages: u32,
    ) -> Result<(), &'static str> {
        if !self.typesetting.remove(&ticket) {
            return Ok(());
        }
        self.print_report(ticket, pdf, pages)
    }

    /// Tones of tests are played by this thread.
    pub(crate) fn play_by(&mut self, machine: Machine) {
        self.machine = Some(machine);
    }

    /// Asks a device for a test. What it does is told by `Event::Probed`, the two prints by
    /// `Event::Print`; how a device is, is answered at once.
    ///
    /// # Errors
    /// Problem code when it cannot even be tried.
    pub(crate) fn probe(
        &mut self,
        ticket: Ticket,
        probe: &Probe,
    ) -> Result<Option<Finding>, &'static str> {
        const GONE: &str = "device.not-there";
        let (asked, kind) = match probe {
            Probe::Status { device } => return self.finding(device).map(Some),
            Probe::TestSlip { code } => return self.typeset(ticket, Sheet::Slip, code),
            Probe::TestPage { code } => return self.typeset(ticket, Sheet::Page, code),
            Probe::Machine(part) => {
                let machine = self.machine.as_ref().ok_or("test.machine-silent")?;
                return machine.look(ticket, *part).map(|()| None);
            }
            Probe::Card { device } => (self.ask_card(device), Kind::TestCard),
            Probe::Output {
                device,
                output,
                is_on,
            } => {
                let board = self.boards.get(device).ok_or(GONE)?;
                let pattern = if *is_on {
                    io_board::Pattern::On
                } else {
                    io_board::Pattern::Off
                };
                let output = output.clone();
                let command = io_board::Command::Set { output, pattern };
                (board.command(command, TRY_LIMIT), Kind::Try)
            }
            Probe::Battery { device } => {
                let ups = self.upses.get(device).ok_or(GONE)?;
                (ups.command(ups::Command::Test, TRY_LIMIT), Kind::Try)
            }
            Probe::Volume { device, percent } => (self.set_volume(device, *percent)?, Kind::Try),
            Probe::Tone { device, volume } => (self.set_volume(device, *volume)?, Kind::Tone),
            Probe::Sign { device } => {
                let pad = self.pads.get(device).ok_or(GONE)?;
                self.stroke = Stroke::default();
                let command = signature_pad::Command::Sign;
                (pad.command(command, CARD_LIMIT), Kind::Sign)
            }
        };
        let id = asked.map_err(|busy| busy.code())?;
        let pages = 0;
        self.running.insert(
            id,
            Running {
                ticket,
                kind,
                pages,
            },
        );
        Ok(None)
    }

    fn ask_card(&self, device: &str) -> Result<CommandId, Busy> {
        let is_it = |id: &str| id == device;
        if let Some(reader) = self.id_card.as_ref().filter(|reader| is_it(reader.id())) {
            return reader.command(id_card::Command::Read, CARD_LIMIT);
        }
        let reader = self.smart_card.as_ref().filter(|reader| is_it(reader.id()));
        let reader = reader.ok_or(Busy::Stopped)?;
        reader.command(smart_card::Command::Read, CARD_LIMIT)
    }

    fn set_volume(
        &self,
        device: &str,
        percent: u8,
    ) -> Result<Result<CommandId, Busy>, &'static str> {
        let (speaker, _) = self.speakers.get(device).ok_or("device.not-there")?;
        Ok(speaker.command(speaker::Command::SetVolume { percent }, TRY_LIMIT))
    }

    /// Test prints are typeset beside the visits' documents and are in no ledger.
    fn typeset(
        &mut self,
        ticket: Ticket,
        sheet: Sheet,
        code: &str,
    ) -> Result<Option<Finding>, &'static str> {
        let is_there = match sheet {
            Sheet::Slip => self.slip.is_some(),
            Sheet::Page => self.page.is_some(),
        };
        if !is_there {
            return Err("printer.no-device");
        }
        let machine = self.machine.as_ref().ok_or("test.machine-silent")?;
        machine.typeset(ticket, sheet, code, self.calibrations.page)?;
        self.typesetting.insert(ticket);
        Ok(None)
    }

    /// A test print is typeset: print it, unless its test is over. `Err` with a problem code when it
    /// cannot even be tried.
    pub(crate) fn print_test(
        &mut self,
        ticket: Ticket,
        typeset: Result<Typeset, &'static str>,
    ) -> Result<(), &'static str> {
        if !self.typesetting.remove(&ticket) {
            return Ok(());
        }
        let (id, kind) = match typeset? {
            Typeset::Slip(bits) => {
                let raster = escpos::SlipRaster {
                    width_dots: bits.width_dots,
                    rows: bits.rows,
                };
                let raster = self.moved(raster, escpos::Edge::Cut);
                let printer = self.slip.as_ref().ok_or("printer.no-device")?;
                let asked = printer.command(escpos::Command::Print(raster), SLIP_LIMIT);
                (asked, Kind::TestSlip)
            }
            Typeset::Page(pdf) => {
                let document = ipp::PageDocument {
                    pdf: Arc::new(Sensitive::new(pdf)),
                    pages: 1,
                    first_page: 1,
                };
                let printer = self.page.as_ref().ok_or("printer.no-device")?;
                let asked = printer.command(ipp::Command::Print(document), PAGES_LIMIT);
                (asked, Kind::TestPages)
            }
        };
        let id = id.map_err(|busy| busy.code())?;
        let pages = 1;
        self.running.insert(
            id,
            Running {
                ticket,
                kind,
                pages,
            },
        );
        Ok(())
    }

    /// How a device is, for a test: status, identity, and what the test must know of its place.
    fn finding(&self, device: &str) -> Result<Finding, &'static str> {
        let fitted = self.roster.get(device).map_err(|_| "device.not-there")?;
        let snapshot = fitted.observer.snapshot();
        let mut figures: BTreeMap<String, String> = snapshot.status.readings;
        let mut add = |name: &str, value: String| {
            if !value.is_empty() && value != "unknown" {
                figures.insert(name.to_owned(), value);
            }
        };
        let capabilities = snapshot.capabilities.unwrap_or_default();
        add("model", capabilities.model);
        add("serial", capabilities.serial);
        add("firmware", capabilities.firmware);
        add("paper", devices::word(&snapshot.status.paper));
        add("toner", devices::word(&snapshot.status.toner));
        if fitted.config.class == DeviceClass::Camera {
            let is_document = self
                .cameras
                .get(&Lens::Document)
                .is_some_and(|camera| camera.id() == device);
            let role = if is_document { "document" } else { "face" };
            add("role", role.to_owned());
        }
        if fitted.config.class == DeviceClass::IoBoard {
            add("outputs", self.lights(&fitted).join(","));
        }
        Ok(Finding {
            figures,
            ..Finding::default()
        })
    }

    /// The outputs of a board that feed no device: those may be switched for a test.
    fn lights(&self, board: &Fitted) -> Vec<String> {
        let feeds: BTreeSet<String> = self.roster.fed_by(&board.config.id);
        let outputs = board.config.options.get("outputs");
        let names = outputs.and_then(toml::Value::as_table);
        names
            .into_iter()
            .flat_map(toml::Table::keys)
            .filter(|name| !feeds.contains(*name))
            .cloned()
            .collect()
    }

    /// Ends the command of a ticket, if it still runs.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.typesetting.remove(&ticket);
        for (id, running) in &self.running {
            if running.ticket == ticket {
                match running.kind {
                    Kind::Card => self.id_card.iter().for_each(|device| device.cancel(*id)),
                    Kind::SocialCard => {
                        self.smart_card.iter().for_each(|device| device.cancel(*id));
                    }
                    Kind::Code => self.scanner.iter().for_each(|device| device.cancel(*id)),
                    Kind::Stream(_) => self.cameras.values().for_each(|device| device.cancel(*id)),
                    Kind::Slip | Kind::StaffSlip | Kind::TestSlip => {
                        self.slip.iter().for_each(|device| device.cancel(*id));
                    }
                    Kind::Pages | Kind::TestPages => {
                        self.page.iter().for_each(|device| device.cancel(*id));
                    }
                    // An id belongs to one device; the other reader does not know it.
                    Kind::TestCard => {
                        self.id_card.iter().for_each(|device| device.cancel(*id));
                        self.smart_card.iter().for_each(|device| device.cancel(*id));
                    }
                    Kind::Sign => self.pads.values().for_each(|device| device.cancel(*id)),
                    // Done before anybody could cancel it.
                    Kind::Try | Kind::Tone => {}
                }
            }
        }
    }

    /// A report in the words of the visit; `None` where it means nothing to a visit.
    pub(crate) fn translate(&mut self, device: String, report: DeviceReport) -> Option<Event> {
        match report {
            DeviceReport::IdCard(event) => {
                let event = self.turn(DeviceClass::IdCard, device, event, card_news);
                self.first_card(event)
            }
            DeviceReport::SmartCard(event) => {
                let event = self.turn(DeviceClass::SmartCard, device, event, chip_news);
                self.first_card(event)
            }
            DeviceReport::Scanner(event) => {
                self.turn(DeviceClass::QrScanner, device, event, |running, event| {
                    let qr_scanner::Event::Code(code) = event;
                    Some(Event::Code(running.ticket, code.text))
                })
            }
            DeviceReport::Slip(event) => {
                self.turn(DeviceClass::SlipPrinter, device, event, slip_news)
            }
            DeviceReport::Page(event) => {
                self.turn(DeviceClass::PagePrinter, device, event, page_news)
            }
            DeviceReport::Camera(event) => {
                self.turn(DeviceClass::Camera, device, event, |running, event| {
                    let camera::Event::Frame(frame) = event;
                    Some(Event::Frame(running.ticket, shown(frame)))
                })
            }
            DeviceReport::Ups(event) => self.turn(DeviceClass::Ups, device, event, nothing),
            DeviceReport::IoBoard(event) => self.turn(DeviceClass::IoBoard, device, event, nothing),
            DeviceReport::SignaturePad(event) => {
                let mut stroke = self.stroke;
                let event = self.turn(
                    DeviceClass::SignaturePad,
                    device,
                    event,
                    |running, event| drawn(running.ticket, &event, &mut stroke),
                );
                self.stroke = stroke;
                event
            }
            DeviceReport::Speaker(event) => self.turn(DeviceClass::Speaker, device, event, nothing),
        }
    }

    /// Whichever card comes first counts: the other reader stops waiting.
    fn first_card(&mut self, event: Option<Event>) -> Option<Event> {
        if let Some(Event::Card(ticket, _)) = &event {
            self.cancel(*ticket);
        }
        event
    }

    /// Keeps the diary of what devices made.
    fn count(&self, device: &str, running: Running, event: Option<&Event>) {
        let made = match event {
            Some(Event::Card(..)) => ("cards", 1),
            Some(Event::Code(..)) => ("codes", 1),
            Some(Event::Print(_, PrintNews::Presented)) if running.kind == Kind::Pages => {
                ("pages", u64::from(running.pages))
            }
            // Paper of tests is used up as well, and is nobody's slip.
            Some(Event::Print(_, PrintNews::Presented)) if running.kind == Kind::TestPages => {
                ("test-pages", 1)
            }
            Some(Event::Print(_, PrintNews::Presented)) if running.kind == Kind::TestSlip => {
                ("test-slips", 1)
            }
            Some(Event::Print(_, PrintNews::Presented)) if running.kind == Kind::StaffSlip => {
                ("staff-slips", 1)
            }
            Some(Event::Print(_, PrintNews::Presented)) => ("slips", 1),
            Some(_) | None => return,
        };
        self.roster.made(device, made.0, made.1);
    }

    fn turn<E>(
        &mut self,
        class: DeviceClass,
        device: String,
        event: DeviceEvent<E>,
        of_command: impl FnOnce(Running, E) -> Option<Event>,
    ) -> Option<Event> {
        match event {
            DeviceEvent::Opened { capabilities } => {
                tracing::info!(
                    device,
                    model = capabilities.model,
                    serial = capabilities.serial,
                    "device opened"
                );
                None
            }
            DeviceEvent::Status(status) => {
                note(&device, &status);
                Some(Event::Status {
                    class,
                    device,
                    status,
                })
            }
            DeviceEvent::Command { id, event } => {
                let running = *self.running.get(&id)?;
                let event = of_command(running, event);
                self.count(&device, running, event.as_ref());
                event
            }
            DeviceEvent::Completed { id, completion } => {
                let running = self.running.remove(&id)?;
                if let Completion::Failed(fault) | Completion::NotReady(fault) = &completion {
                    tracing::warn!(
                        device,
                        code = fault.code,
                        detail = fault.detail,
                        "command failed"
                    );
                }
                if running.kind == Kind::Tone && completion == Completion::Success {
                    return self.play(running.ticket, &device);
                }
                ended(running, completion)
            }
        }
    }

    /// The volume is set: now the tone. It is answered when it has been played.
    fn play(&self, ticket: Ticket, device: &str) -> Option<Event> {
        let player = self.speakers.get(device).map(|(_, player)| player.clone());
        let machine = self.machine.as_ref();
        let asked = match player.zip(machine) {
            Some((player, machine)) => machine.play(ticket, player),
            None => Err("test.machine-silent"),
        };
        asked.err().map(|code| tried(ticket, Some(code), false))
    }
}

/// What stands beside the mixer program and plays sound: `aplay`, from the same directory.
fn player(config: &DeviceConfig) -> Player {
    let mixer = config.options.get("program").and_then(toml::Value::as_str);
    let directory = mixer.map(Path::new).and_then(Path::parent);
    Player {
        program: directory.unwrap_or(Path::new("")).join("aplay"),
        card: config.port.clone(),
    }
}

/// What a test hears of a command: only that it was followed, or by which code it was not.
fn tried(ticket: Ticket, problem: Option<&'static str>, is_partial: bool) -> Event {
    let finding = Finding {
        problem,
        is_partial,
        ..Finding::default()
    };
    Event::Probed(ticket, finding)
}

/// What a test hears of a stroke when it ends: how many points it had. A point beyond the pad's own
/// bounds makes it a failure.
fn drawn(ticket: Ticket, event: &signature_pad::Event, stroke: &mut Stroke) -> Option<Event> {
    let point = match event {
        signature_pad::Event::Down(point) => {
            *stroke = Stroke::default();
            point
        }
        signature_pad::Event::Moved(point) => point,
        signature_pad::Event::Up => {
            let Stroke { points, is_outside } = std::mem::take(stroke);
            let figures = BTreeMap::from([("points".to_owned(), points.to_string())]);
            let finding = Finding {
                figures,
                problem: is_outside.then_some("test.outside-pad"),
                // More strokes come, unless this one has decided.
                is_partial: !is_outside,
            };
            return Some(Event::Probed(ticket, finding));
        }
    };
    stroke.points = stroke.points.saturating_add(1);
    stroke.is_outside |= point.is_outside();
    None
}

/// A maker of drivers from a configuration that was checked once, here and now.
fn checked<D>(
    config: &DeviceConfig,
    new: fn(&DeviceConfig) -> Result<D, ConfigError>,
) -> Result<impl Fn() -> D + Send + use<D>, ConfigError> {
    new(config)?;
    let config = config.clone();
    Ok(move || new(&config).expect("the configuration was checked at start"))
}

/// Reports go into the loop's bounded inbox. A picture that finds it full is dropped, for the next
/// one is newer anyway; everything else waits, since a lost completion would strand the visit.
fn sender<E: Send + 'static>(
    inbox: &SyncSender<Input>,
    device: &str,
    wrap: fn(DeviceEvent<E>) -> DeviceReport,
) -> impl Fn(DeviceEvent<E>) + Send + 'static {
    let inbox = inbox.clone();
    let device = device.to_owned();
    move |event| {
        let report = wrap(event);
        let is_picture = matches!(&report, DeviceReport::Camera(DeviceEvent::Command { .. }));
        let input = Input::Device(device.clone(), report);
        let is_sent = if is_picture {
            inbox.try_send(input).is_ok()
        } else {
            inbox.send(input).is_ok()
        };
        if !is_sent && !is_picture {
            tracing::debug!(device, "the loop has ended");
        }
    }
}

fn note(device: &str, status: &Status) {
    let state = status.state;
    if let Some(fault) = status.faults.first() {
        tracing::warn!(
            device,
            ?state,
            code = fault.code,
            detail = fault.detail,
            "device status"
        );
    } else {
        tracing::info!(device, ?state, "device status");
    }
}

/// What a test hears of a card is that it was found, read or not read; a visit gets its content.
fn card_news(running: Running, event: id_card::Event) -> Option<Event> {
    let ticket = running.ticket;
    let is_test = running.kind == Kind::TestCard;
    Some(match event {
        id_card::Event::CardRemoved => return None,
        id_card::Event::CardFound if is_test => tried(ticket, None, true),
        id_card::Event::Card(_) if is_test => tried(ticket, None, false),
        id_card::Event::ReadAgain(fault) if is_test => tried(ticket, Some(fault.code), true),
        id_card::Event::CardFound => Event::CardFound(ticket),
        id_card::Event::Card(record) => Event::Card(ticket, Box::new(person(&record))),
        id_card::Event::ReadAgain(fault) => Event::CardAgain(ticket, fault.code),
    })
}

/// As [`card_news`].
fn chip_news(running: Running, event: smart_card::Event) -> Option<Event> {
    let ticket = running.ticket;
    let is_test = running.kind == Kind::TestCard;
    Some(match event {
        smart_card::Event::CardRemoved => return None,
        smart_card::Event::CardFound if is_test => tried(ticket, None, true),
        smart_card::Event::Card(_) if is_test => tried(ticket, None, false),
        smart_card::Event::ReadAgain(fault) if is_test => tried(ticket, Some(fault.code), true),
        smart_card::Event::CardFound => Event::CardFound(ticket),
        smart_card::Event::Card(card) => Event::Card(ticket, Box::new(insured(&card))),
        smart_card::Event::ReadAgain(fault) => Event::CardAgain(ticket, fault.code),
    })
}

fn slip_news(running: Running, event: escpos::Event) -> Option<Event> {
    let news = match event {
        // A slip has no pages; its rows matter to the driver alone.
        escpos::Event::Progress { .. } => return None,
        escpos::Event::Stopped(fault) => PrintNews::Stopped(fault.code),
        escpos::Event::Resumed => PrintNews::Resumed,
        escpos::Event::Presented => PrintNews::Presented,
        escpos::Event::Taken => PrintNews::Taken,
        escpos::Event::Retracted => PrintNews::Failed("printer.slip-retracted"),
    };
    Some(Event::Print(running.ticket, news))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands where other classes leave some events out"
)]
fn page_news(running: Running, event: ipp::Event) -> Option<Event> {
    let news = match event {
        ipp::Event::Progress {
            impressions_completed,
        } => PrintNews::Progress(impressions_completed),
        ipp::Event::Stopped(fault) => PrintNews::Stopped(fault.code),
        ipp::Event::Resumed => PrintNews::Resumed,
        ipp::Event::Presented => PrintNews::Presented,
    };
    Some(Event::Print(running.ticket, news))
}

/// Events of devices that report nothing while a command runs.
fn nothing<E>(_: Running, _: E) -> Option<Event> {
    None
}

/// The end of a command, as the visit needs to know it.
fn ended(running: Running, completion: Completion) -> Option<Event> {
    let ending = match completion {
        Completion::Success if running.kind == Kind::Try => {
            return Some(tried(running.ticket, None, false));
        }
        // The result has been reported before.
        Completion::Success => return None,
        Completion::Canceled => Ending::Canceled,
        Completion::TimeOut => Ending::TimeOut,
        Completion::NotReady(fault) | Completion::Failed(fault) => Ending::Failed(fault.code),
    };
    let ticket = running.ticket;
    Some(match running.kind {
        Kind::Card => Event::CardEnded(ticket, ending),
        // The identity card reader decides when waiting ends; this one only offers another way.
        Kind::SocialCard => return None,
        Kind::Code => Event::CodeEnded(ticket, ending),
        Kind::Stream(_) => Event::CameraEnded(ticket, ending),
        Kind::TestCard | Kind::Try | Kind::Tone | Kind::Sign => {
            let code = match ending {
                Ending::Failed(code) => code,
                Ending::TimeOut if running.kind == Kind::TestCard => "test.no-card",
                Ending::TimeOut if running.kind == Kind::Sign => "test.no-stroke",
                Ending::TimeOut => "device.silent",
                Ending::Canceled => return None,
            };
            tried(ticket, Some(code), false)
        }
        Kind::Slip | Kind::StaffSlip | Kind::Pages | Kind::TestSlip | Kind::TestPages => {
            let code = match ending {
                Ending::Failed(code) => code,
                Ending::TimeOut => "printer.time-out",
                Ending::Canceled => "printer.canceled",
            };
            Event::Print(ticket, PrintNews::Failed(code))
        }
    })
}

/// A picture of a camera as the visit knows it.
pub(crate) fn shown(frame: camera::Frame) -> Frame {
    Frame {
        preview: Picture {
            width: frame.width,
            height: frame.height,
            rgb: frame.rgb,
        },
        jpeg: Arc::new(Sensitive::new(frame.jpeg.to_vec())),
    }
}

/// A card as a person.
fn person(record: &id_card::CardRecord) -> Person {
    let birth = *record.birth.expose();
    Person {
        name: record.name.clone(),
        number: record.number.clone(),
        birth: civil(birth),
        sex: match record.sex {
            id_card::Sex::Male => Some(Sex::Male),
            id_card::Sex::Female => Some(Sex::Female),
            id_card::Sex::Unknown => None,
        },
        nation: Sensitive::new(match record.nation {
            Some(nation) => nation.name.to_owned(),
            None => record.nationality.expose().clone(),
        }),
        address: record.address.clone(),
        valid_until: record.valid_until.and_then(civil),
        source: Source::Card,
    }
}

/// A social security card as a person.
fn insured(card: &smart_card::SocialCard) -> Person {
    let date = |date: smart_card::Date| {
        let (month, day) = (i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?);
        jiff::civil::Date::new(i16::try_from(date.year).ok()?, month, day).ok()
    };
    Person {
        name: card.name.clone(),
        birth: card.birth.as_ref().and_then(|birth| date(*birth.expose())),
        sex: match card.sex {
            smart_card::Sex::Male => Some(Sex::Male),
            smart_card::Sex::Female => Some(Sex::Female),
            smart_card::Sex::Unknown => None,
        },
        nation: Sensitive::new(card.nation_code.map_or_else(String::new, |code| {
            id_card::Nation::from_digits(&format!("{code:02}"))
                .name
                .to_owned()
        })),
        valid_until: card.expires.and_then(date),
        source: Source::SocialCard,
        ..Person::from_number(card.number.expose())
    }
}

/// A date of the card as a calendar date; `None` where the card holds an impossible one.
fn civil(date: id_card::Date) -> Option<jiff::civil::Date> {
    jiff::civil::Date::new(
        i16::try_from(date.year).ok()?,
        i8::try_from(date.month).ok()?,
        i8::try_from(date.day).ok()?,
    )
    .ok()
}
