//! The terminal's devices: one supervised thread each, commands in, reports out.
//!
//! The only file that knows which driver belongs to which word in `kiosk.toml`, and the only one that
//! turns the types of the device crates into [`Event`]s. Nothing here knows whether the other end of
//! a port is hardware.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use kiosk_auxiliaries::{io_board, signature_pad, speaker, ups};
use kiosk_camera as camera;
use kiosk_device::{
    CommandId, Completion, ConfigError, DeviceClass, DeviceConfig, DeviceEvent, DeviceHandle,
    Driver, Rung, Sensitive, Status, Support, Tap, spawn_supported,
};
use kiosk_id_card as id_card;
use kiosk_printer::{escpos, ipp};
use kiosk_qr_scanner as qr_scanner;
use kiosk_smart_card as smart_card;
use kiosk_ui::Picture;

use crate::devices::{Fitted, Roster};
use crate::event::{Credential, Ending, Event, Frame, Lens, PrintNews, Ticket};
use crate::person::{Person, Sex, Source};
use crate::runtime::Input;

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
    auxiliaries: Vec<Auxiliary>,
    roster: Roster,
    running: HashMap<CommandId, Running>,
}

/// Devices that are kept for their status; their commands belong to the technician.
#[derive(Debug)]
enum Auxiliary {
    Ups(
        #[expect(dead_code, reason = "held: dropping it stops the device")]
        DeviceHandle<ups::Command>,
    ),
    SignaturePad(
        #[expect(dead_code, reason = "held: dropping it stops the device")]
        DeviceHandle<signature_pad::Command>,
    ),
    Speaker(
        #[expect(dead_code, reason = "held: dropping it stops the device")]
        DeviceHandle<speaker::Command>,
    ),
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
    Pages,
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

    /// Devices that no visit asks anything of yet: they are kept well, watched and reported.
    fn start_auxiliary(
        &mut self,
        config: &DeviceConfig,
        inbox: &SyncSender<Input>,
    ) -> Result<(), ConfigError> {
        let device = match config.class {
            DeviceClass::Ups => {
                Auxiliary::Ups(self.fit(config, ups::Ups::new, inbox, DeviceReport::Ups)?)
            }
            DeviceClass::SignaturePad => Auxiliary::SignaturePad(self.fit(
                config,
                signature_pad::SignaturePad::new,
                inbox,
                DeviceReport::SignaturePad,
            )?),
            DeviceClass::Speaker => Auxiliary::Speaker(self.fit(
                config,
                speaker::Speaker::new,
                inbox,
                DeviceReport::Speaker,
            )?),
            DeviceClass::IdCard
            | DeviceClass::QrScanner
            | DeviceClass::SlipPrinter
            | DeviceClass::PagePrinter
            | DeviceClass::Camera
            | DeviceClass::SmartCard
            | DeviceClass::IoBoard => {
                unreachable!("these classes have places of their own")
            }
        };
        self.auxiliaries.push(device);
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
                name: "power-cycle",
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
        let handle = spawn_supported(id.clone(), make, sender(inbox, &id, wrap), support);
        self.roster.add(Fitted {
            config: config.clone(),
            observer: handle.observer(),
            tap,
            waker: handle.waker(),
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
        let camera = self
            .cameras
            .get(&lens)
            .or_else(|| self.cameras.values().next())
            .ok_or("camera.no-device")?;
        let command = camera::Command::Stream {
            preview_width: PREVIEW_WIDTH,
            frames_per_second: PREVIEW_RATE,
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
        let printer = self.slip.as_ref().ok_or("printer.no-device")?;
        let id = printer
            .command(escpos::Command::Print(raster), SLIP_LIMIT)
            .map_err(|busy| busy.code())?;
        self.running.insert(
            id,
            Running {
                ticket,
                kind: Kind::Slip,
                pages: 0,
            },
        );
        Ok(())
    }

    /// Prints the pages of a document.
    pub(crate) fn print_pages(
        &mut self,
        ticket: Ticket,
        credential: &Credential,
        pages: u32,
    ) -> Result<(), &'static str> {
        let printer = self.page.as_ref().ok_or("printer.no-device")?;
        let document = ipp::PageDocument {
            pdf: Arc::clone(&credential.pdf),
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

    /// Ends the command of a ticket, if it still runs.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        for (id, running) in &self.running {
            if running.ticket == ticket {
                match running.kind {
                    Kind::Card => self.id_card.iter().for_each(|device| device.cancel(*id)),
                    Kind::SocialCard => {
                        self.smart_card.iter().for_each(|device| device.cancel(*id));
                    }
                    Kind::Code => self.scanner.iter().for_each(|device| device.cancel(*id)),
                    Kind::Stream(_) => self.cameras.values().for_each(|device| device.cancel(*id)),
                    Kind::Slip => self.slip.iter().for_each(|device| device.cancel(*id)),
                    Kind::Pages => self.page.iter().for_each(|device| device.cancel(*id)),
                }
            }
        }
    }

    /// A report in the words of the visit; `None` where it means nothing to a visit.
    pub(crate) fn translate(&mut self, device: String, report: DeviceReport) -> Option<Event> {
        match report {
            DeviceReport::IdCard(event) => {
                let event = self.turn(DeviceClass::IdCard, device, event, |ticket, event| {
                    Some(match event {
                        id_card::Event::CardFound => Event::CardFound(ticket),
                        id_card::Event::Card(record) => {
                            Event::Card(ticket, Box::new(person(&record)))
                        }
                        id_card::Event::ReadAgain(fault) => Event::CardAgain(ticket, fault.code),
                        id_card::Event::CardRemoved => return None,
                    })
                });
                self.first_card(event)
            }
            DeviceReport::SmartCard(event) => {
                let event = self.turn(DeviceClass::SmartCard, device, event, |ticket, event| {
                    Some(match event {
                        smart_card::Event::CardFound => Event::CardFound(ticket),
                        smart_card::Event::Card(card) => {
                            Event::Card(ticket, Box::new(insured(&card)))
                        }
                        smart_card::Event::ReadAgain(fault) => Event::CardAgain(ticket, fault.code),
                        smart_card::Event::CardRemoved => return None,
                    })
                });
                self.first_card(event)
            }
            DeviceReport::Scanner(event) => {
                self.turn(DeviceClass::QrScanner, device, event, |ticket, event| {
                    let qr_scanner::Event::Code(code) = event;
                    Some(Event::Code(ticket, code.text))
                })
            }
            DeviceReport::Slip(event) => {
                self.turn(DeviceClass::SlipPrinter, device, event, slip_news)
            }
            DeviceReport::Page(event) => {
                self.turn(DeviceClass::PagePrinter, device, event, page_news)
            }
            DeviceReport::Camera(event) => {
                self.turn(DeviceClass::Camera, device, event, |ticket, event| {
                    let camera::Event::Frame(frame) = event;
                    Some(Event::Frame(ticket, shown(frame)))
                })
            }
            DeviceReport::Ups(event) => self.turn(DeviceClass::Ups, device, event, nothing),
            DeviceReport::IoBoard(event) => self.turn(DeviceClass::IoBoard, device, event, nothing),
            DeviceReport::SignaturePad(event) => {
                self.turn(DeviceClass::SignaturePad, device, event, nothing)
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
        of_command: impl FnOnce(Ticket, E) -> Option<Event>,
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
                let event = of_command(running.ticket, event);
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
                ended(running, completion)
            }
        }
    }
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

fn slip_news(ticket: Ticket, event: escpos::Event) -> Option<Event> {
    let news = match event {
        // A slip has no pages; its rows matter to the driver alone.
        escpos::Event::Progress { .. } => return None,
        escpos::Event::Stopped(fault) => PrintNews::Stopped(fault.code),
        escpos::Event::Resumed => PrintNews::Resumed,
        escpos::Event::Presented => PrintNews::Presented,
        escpos::Event::Taken => PrintNews::Taken,
        escpos::Event::Retracted => PrintNews::Failed("printer.slip-retracted"),
    };
    Some(Event::Print(ticket, news))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands where other classes leave some events out"
)]
fn page_news(ticket: Ticket, event: ipp::Event) -> Option<Event> {
    let news = match event {
        ipp::Event::Progress {
            impressions_completed,
        } => PrintNews::Progress(impressions_completed),
        ipp::Event::Stopped(fault) => PrintNews::Stopped(fault.code),
        ipp::Event::Resumed => PrintNews::Resumed,
        ipp::Event::Presented => PrintNews::Presented,
    };
    Some(Event::Print(ticket, news))
}

/// Events of commands that no visit gives.
fn nothing<E>(_: Ticket, _: E) -> Option<Event> {
    None
}

/// The end of a command, as the visit needs to know it.
fn ended(running: Running, completion: Completion) -> Option<Event> {
    let ending = match completion {
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
        Kind::Slip | Kind::Pages => {
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
