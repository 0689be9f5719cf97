//! All emulators of one terminal, started together and steered by [`Act`]s.
//!
//! Ports stay the same for the whole life of the bench, through cut and plugged cables.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::act::{Act, CardChoice, Device};
use crate::camera::{Camera, CameraConfig};
use crate::card::CardError;
use crate::id_card::{CardFault, IdCardConfig, IdCardReader, IdCardTransport};
use crate::io_board::{InputChoice, IoBoard, IoBoardConfig};
use crate::line_device::LineTransport;
use crate::mischief::Misbehavior;
use crate::page_printer::{PagePrint, PagePrinter, PagePrinterConfig};
use crate::qr_scanner::{CodeTooLong, QrScanner, QrScannerConfig};
use crate::scenes;
use crate::slip_printer::{SlipPrint, SlipPrinter, SlipPrinterConfig, SlipTransport};
use crate::smart_card::{ChipCard, SmartCardConfig, SmartCardSlot};
use crate::ups::{Ups, UpsConfig};
use crate::usb::{UsbBus, UsbConfig};

/// Toner level at which the printer warns. Chosen: the fact sheet's sample reply.
const TONER_LOW_PERCENT: u8 = 7;

/// Why an act or the start of a bench failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A transport or an output directory could not be opened.
    #[error("cannot open a transport or file of the bench")]
    Io(#[from] io::Error),
    /// The card is unknown or does not fit.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The code does not fit into a symbol.
    #[error(transparent)]
    Code(#[from] CodeTooLong),
    /// The act makes no sense for that device.
    #[error("{device:?} cannot {act}")]
    NotForDevice {
        /// The device named.
        device: Device,
        /// What was asked.
        act: &'static str,
    },
    /// The configuration of the bench does not have the device.
    #[error("{0:?} is not on this bench")]
    Absent(Device),
    /// The board has no such input.
    #[error("the board has no input {0:?}")]
    UnknownInput(InputChoice),
    /// The act lacks a value.
    #[error("the act needs {0}")]
    Missing(&'static str),
    /// No such scene.
    #[error("no scene is named {0:?}; there are face, empty, document and document-N")]
    UnknownScene(String),
    /// A picture cannot be used.
    #[error("cannot use the picture")]
    Picture(#[from] image::ImageError),
    /// The emulator did not follow in time: a bug of the bench.
    #[error("the emulator did not follow in time")]
    NotFollowed,
}

/// How the whole bench is built; the default is a healthy terminal at real speed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BenchConfig {
    /// The identity card reader.
    pub id_card: IdCardConfig,
    /// The code scanner.
    pub qr_scanner: QrScannerConfig,
    /// The slip printer.
    pub slip_printer: SlipPrinterConfig,
    /// The A4 printer.
    pub page_printer: PagePrinterConfig,
    /// Both cameras.
    pub camera: CameraConfig,
    /// The bus of those devices that are on USB.
    pub usb: UsbConfig,
    /// The power supply, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ups: Option<UpsConfig>,
    /// The board of inputs and outputs, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_board: Option<IoBoardConfig>,
    /// The slot for cards with a chip, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smart_card: Option<SmartCardConfig>,
}

impl BenchConfig {
    /// A bench without pacing, for tests that do not look at time.
    pub fn hurried() -> Self {
        let mut config = Self::default();
        config.id_card.baud = 0;
        config.id_card.find_ms = 0;
        config.id_card.read_ms = 0;
        config.qr_scanner.baud = 0;
        config.qr_scanner.decode_ms = 0;
        config.slip_printer.speed_mm_per_s = 5000;
        config.page_printer.page_ms = 20;
        config
    }

    /// True when a device is on USB.
    fn has_usb(&self) -> bool {
        let is_line = |transport| transport == LineTransport::UsbSerial;
        self.id_card.transport != IdCardTransport::Serial
            || self.qr_scanner.is_usb()
            || matches!(
                self.slip_printer.transport,
                SlipTransport::Usb | SlipTransport::UsbSerial
            )
            || self.ups.as_ref().is_some_and(|ups| is_line(ups.transport))
            || (self.io_board.as_ref()).is_some_and(|board| is_line(board.transport))
    }
}

/// Where drivers reach the devices. A device on USB is at `usbip:HOST:PORT/BUSID`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Path of a serial line, or a device on USB.
    pub id_card: PathBuf,
    /// Path of a serial line, or a device on USB.
    pub qr_scanner: PathBuf,
    /// `tcp:127.0.0.1:N`, `serial:PATH`, or a device on USB.
    pub slip_printer: String,
    /// `ipp://127.0.0.1:N/ipp/print`.
    pub page_printer: String,
    /// `tcp:127.0.0.1:N/stream`: the camera that looks at the person.
    pub camera: String,
    /// `tcp:127.0.0.1:N/stream`: the camera that looks at documents.
    pub document_camera: String,
    /// Path of a serial line, or a device on USB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ups: Option<PathBuf>,
    /// Path of a serial line, or a device on USB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_board: Option<PathBuf>,
    /// Where the slot looks for the virtual reader of `pcscd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smart_card: Option<String>,
    /// `HOST:PORT` of the USB/IP server, where a device is on USB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usb: Option<String>,
}

/// The running bench; dropping it stops every emulator.
#[derive(Debug)]
pub struct Bench {
    id_card: IdCardReader,
    qr_scanner: QrScanner,
    slip_printer: SlipPrinter,
    page_printer: PagePrinter,
    camera: Camera,
    document_camera: Camera,
    ups: Option<Ups>,
    io_board: Option<IoBoard>,
    smart_card: Option<SmartCardSlot>,
    usb: Option<UsbBus>,
}

impl Bench {
    /// Starts every emulator. Serial ports and prints go below `dir`, which is made if absent.
    ///
    /// # Errors
    /// [`BenchError::Io`]: the directory cannot be written, or no pseudo terminal or port is left.
    pub fn start(dir: &Path, config: BenchConfig) -> Result<Self, BenchError> {
        std::fs::create_dir_all(dir)?;
        let camera = Camera::start("camera", &config.camera)?;
        camera.show(scenes::empty()?);
        let document_camera = Camera::start("document-camera", &config.camera)?;
        document_camera.show(scenes::empty()?);
        let usb = if config.has_usb() {
            Some(UsbBus::start(&config.usb)?)
        } else {
            None
        };
        let usb = usb.as_ref();
        Ok(Self {
            id_card: IdCardReader::start_at(usb, dir, config.id_card)?,
            qr_scanner: QrScanner::start_at(usb, dir, config.qr_scanner)?,
            slip_printer: SlipPrinter::start_at(usb, dir, config.slip_printer)?,
            page_printer: PagePrinter::start(dir, config.page_printer)?,
            camera,
            document_camera,
            ups: match &config.ups {
                Some(config) => Some(Ups::start_at(usb, dir, config)?),
                None => None,
            },
            io_board: match config.io_board {
                Some(config) => Some(IoBoard::start_at(usb, dir, config)?),
                None => None,
            },
            smart_card: match &config.smart_card {
                Some(config) => Some(SmartCardSlot::start(config)?),
                None => None,
            },
            usb: usb.cloned(),
        })
    }

    /// Where drivers reach the devices; the same for the whole life of the bench.
    pub fn ports(&self) -> Ports {
        Ports {
            id_card: self.id_card.port().to_owned(),
            qr_scanner: self.qr_scanner.port().to_owned(),
            slip_printer: self.slip_printer.port(),
            page_printer: self.page_printer.port(),
            camera: self.camera.port(),
            document_camera: self.document_camera.port(),
            ups: self.ups.as_ref().map(|ups| ups.port().to_owned()),
            io_board: self.io_board.as_ref().map(|board| board.port().to_owned()),
            smart_card: self.smart_card.as_ref().map(|slot| slot.vpcd().to_string()),
            usb: self.usb.as_ref().map(|bus| bus.address().to_string()),
        }
    }

    /// Slips that left the slip printer so far, oldest first.
    pub fn slips(&self) -> Vec<SlipPrint> {
        self.slip_printer.prints()
    }

    /// Documents the A4 printer has received so far, oldest first.
    pub fn documents(&self) -> Vec<PagePrint> {
        self.page_printer.prints()
    }

    /// Does one thing and answers with the state of the device it was done to, or of every device
    /// for [`Act::State`].
    ///
    /// # Errors
    /// The act does not fit the device, or names a card, scene or file that does not exist; the
    /// world is unchanged then.
    pub fn apply(&self, act: Act) -> Result<Value, BenchError> {
        let device = match act {
            Act::InsertCard { card } => self.insert_card(card)?,
            Act::RemoveCard => self.at_id_card(IdCardReader::remove),
            Act::CardFault { fault } => self.at_id_card(|reader| reader.fault(fault)),
            Act::ShowCode { text, encoding } => {
                self.qr_scanner.present(&encoding.bytes(&text))?;
                Device::QrScanner
            }
            Act::HideCode => self.at_qr_scanner(QrScanner::hide),
            Act::CodeFault { fault } => self.at_qr_scanner(|scanner| scanner.fault(fault)),
            Act::PaperOut { device } => self.set_paper(device, Some(0), Some(0))?,
            Act::PaperIn { device } => self.refill(device)?,
            Act::PaperLeft { device, mm, pages } => self.set_paper(device, mm, pages)?,
            Act::CoverOpen { device } => self.set_cover(device, true)?,
            Act::CoverClose { device } => self.set_cover(device, false)?,
            Act::Jam { device, page } => self.jam(device, page)?,
            Act::ClearJam { device } => self.clear_jam(device)?,
            Act::CutterJam => self.jam(Device::SlipPrinter, None)?,
            Act::HeadHot => self.set_head(true),
            Act::HeadCool => self.set_head(false),
            Act::OffLine { device } => self.set_line(device, false)?,
            Act::OnLine { device } => self.set_line(device, true)?,
            Act::TonerLow => self.set_toner(TONER_LOW_PERCENT),
            Act::Toner { percent } => self.set_toner(percent),
            Act::PageFault { fault } => {
                followed(self.page_printer.fault(fault), Device::PagePrinter)?
            }
            Act::CableCut { device } => self.set_cable(device, false)?,
            Act::CablePlug { device } => self.set_cable(device, true)?,
            Act::Garble { device } => self.misbehave(device, Misbehavior::Garbage)?,
            Act::Slow { device } => self.misbehave(device, Misbehavior::Slow)?,
            Act::Misbehave { device, how } => self.misbehave(device, how)?,
            Act::Mend { device } => self.mend(device)?,
            Act::ShowScene {
                camera,
                scene,
                file,
            } => self.show_scene(camera, scene, file)?,
            Act::CameraFault { camera, fault } => {
                let known = self.camera_of(camera, "misbehave like a camera")?;
                known.fault(fault);
                camera
            }
            Act::TakePaper { device } => self.take_paper(device)?,
            Act::MainsLost => self.at_ups(|ups| ups.set_mains(false))?,
            Act::MainsBack => self.at_ups(|ups| ups.set_mains(true))?,
            Act::BatteryLow => self.at_ups(|ups| ups.set_battery_low(true))?,
            Act::UpsFailed => self.at_ups(|ups| ups.set_failed(true))?,
            Act::UpsLoad { percent } => self.at_ups(|ups| ups.set_load(percent))?,
            Act::Input { input, on } => self.set_input(input, on)?,
            Act::IoFault { fault } => self.at_io_board(|board| board.fault(fault))?,
            Act::InsertChipCard {
                card,
                version,
                foreign: is_foreign,
                select_by,
            } => self.insert_chip_card(&ChipCard {
                card: card.spec()?,
                version,
                is_foreign,
                select_by,
            })?,
            Act::RemoveChipCard => self.at_smart_card(SmartCardSlot::remove)?,
            Act::ChipCardFault { fault } => self.at_smart_card(|slot| slot.fault(fault))?,
            Act::State => return Ok(self.state()),
        };
        self.report(device)
    }

    /// The state of every device, by its name, with the prints made so far.
    pub fn state(&self) -> Value {
        let mut state = json!({
            "id-card": self.id_card.report(),
            "qr-scanner": self.qr_scanner.report(),
            "slip-printer": self.slip_printer.report(),
            "page-printer": self.page_printer.report(),
            "camera": self.camera.report(),
            "document-camera": self.document_camera.report(),
        });
        if let Some(ups) = &self.ups {
            state["ups"] = ups.report();
        }
        if let Some(board) = &self.io_board {
            state["io-board"] = board.report();
        }
        if let Some(slot) = &self.smart_card {
            state["smart-card"] = slot.report();
        }
        state
    }

    fn report(&self, device: Device) -> Result<Value, BenchError> {
        Ok(match device {
            Device::IdCard => self.id_card.report(),
            Device::QrScanner => self.qr_scanner.report(),
            Device::SlipPrinter => self.slip_printer.report(),
            Device::PagePrinter => self.page_printer.report(),
            Device::Camera => self.camera.report(),
            Device::DocumentCamera => self.document_camera.report(),
            Device::Ups => self.ups()?.report(),
            Device::IoBoard => self.io_board()?.report(),
            Device::SmartCard => self.smart_card()?.report(),
        })
    }

    fn ups(&self) -> Result<&Ups, BenchError> {
        self.ups.as_ref().ok_or(BenchError::Absent(Device::Ups))
    }

    fn io_board(&self) -> Result<&IoBoard, BenchError> {
        let board = self.io_board.as_ref();
        board.ok_or(BenchError::Absent(Device::IoBoard))
    }

    fn smart_card(&self) -> Result<&SmartCardSlot, BenchError> {
        let slot = self.smart_card.as_ref();
        slot.ok_or(BenchError::Absent(Device::SmartCard))
    }

    fn at_id_card(&self, act: impl FnOnce(&IdCardReader)) -> Device {
        act(&self.id_card);
        Device::IdCard
    }

    fn at_qr_scanner(&self, act: impl FnOnce(&QrScanner)) -> Device {
        act(&self.qr_scanner);
        Device::QrScanner
    }

    fn at_ups(&self, act: impl FnOnce(&Ups)) -> Result<Device, BenchError> {
        act(self.ups()?);
        Ok(Device::Ups)
    }

    fn at_io_board(&self, act: impl FnOnce(&IoBoard)) -> Result<Device, BenchError> {
        act(self.io_board()?);
        Ok(Device::IoBoard)
    }

    fn at_smart_card(&self, act: impl FnOnce(&SmartCardSlot)) -> Result<Device, BenchError> {
        act(self.smart_card()?);
        Ok(Device::SmartCard)
    }

    fn insert_card(&self, card: CardChoice) -> Result<Device, BenchError> {
        self.id_card.insert(&card.spec()?)?;
        Ok(Device::IdCard)
    }

    fn insert_chip_card(&self, card: &ChipCard) -> Result<Device, BenchError> {
        self.smart_card()?.insert(card)?;
        Ok(Device::SmartCard)
    }

    fn set_input(&self, input: InputChoice, is_on: bool) -> Result<Device, BenchError> {
        if self.io_board()?.set_input(&input, is_on) {
            Ok(Device::IoBoard)
        } else {
            Err(BenchError::UnknownInput(input))
        }
    }

    fn show_scene(
        &self,
        camera: Device,
        scene: Option<String>,
        file: Option<PathBuf>,
    ) -> Result<Device, BenchError> {
        let picture = picture(scene, file)?;
        self.camera_of(camera, "show a scene")?.show(picture);
        Ok(camera)
    }

    fn set_paper(
        &self,
        device: Device,
        mm: Option<u32>,
        pages: Option<u32>,
    ) -> Result<Device, BenchError> {
        match printer(device, "hold paper")? {
            Printer::Slip => self
                .slip_printer
                .set_paper_mm(mm.ok_or(BenchError::Missing("mm"))?),
            Printer::Page => self
                .page_printer
                .set_sheets(pages.ok_or(BenchError::Missing("pages"))?),
        }
        Ok(device)
    }

    fn refill(&self, device: Device) -> Result<Device, BenchError> {
        match printer(device, "hold paper")? {
            Printer::Slip => self.slip_printer.refill(),
            Printer::Page => self.page_printer.refill(),
        }
        Ok(device)
    }

    fn set_cover(&self, device: Device, is_open: bool) -> Result<Device, BenchError> {
        match printer(device, "open a cover")? {
            Printer::Slip => self.slip_printer.set_cover(is_open),
            Printer::Page => self.page_printer.set_cover(is_open),
        }
        Ok(device)
    }

    fn jam(&self, device: Device, page: Option<u32>) -> Result<Device, BenchError> {
        match printer(device, "jam")? {
            Printer::Slip => self.slip_printer.jam_cutter(),
            Printer::Page => self.page_printer.jam_at(page.unwrap_or(1)),
        }
        Ok(device)
    }

    fn clear_jam(&self, device: Device) -> Result<Device, BenchError> {
        match printer(device, "jam")? {
            Printer::Slip => self.slip_printer.clear_jam(),
            Printer::Page => self.page_printer.clear_jam(),
        }
        Ok(device)
    }

    fn set_line(&self, device: Device, is_on: bool) -> Result<Device, BenchError> {
        match printer(device, "go off line")? {
            Printer::Slip => self.slip_printer.set_on_line(is_on),
            Printer::Page => self.page_printer.set_paused(!is_on),
        }
        Ok(device)
    }

    fn take_paper(&self, device: Device) -> Result<Device, BenchError> {
        match printer(device, "give paper")? {
            Printer::Slip => self.slip_printer.take_paper(),
            Printer::Page => self.page_printer.take_paper(),
        }
        Ok(device)
    }

    fn set_head(&self, is_hot: bool) -> Device {
        self.slip_printer.set_head_hot(is_hot);
        Device::SlipPrinter
    }

    fn set_toner(&self, percent: u8) -> Device {
        self.page_printer.set_toner(percent);
        Device::PagePrinter
    }

    fn set_cable(&self, device: Device, is_plugged: bool) -> Result<Device, BenchError> {
        let is_done = match (device, is_plugged) {
            (Device::IdCard, false) => self.id_card.cut_cable(),
            (Device::IdCard, true) => self.id_card.plug_cable(),
            (Device::QrScanner, false) => self.qr_scanner.cut_cable(),
            (Device::QrScanner, true) => self.qr_scanner.plug_cable(),
            (Device::SlipPrinter, false) => self.slip_printer.cut_cable(),
            (Device::SlipPrinter, true) => self.slip_printer.plug_cable(),
            (Device::PagePrinter, false) => self.page_printer.cut_cable(),
            (Device::PagePrinter, true) => self.page_printer.plug_cable(),
            (Device::Camera, false) => self.camera.cut_cable(),
            (Device::Camera, true) => self.camera.plug_cable(),
            (Device::DocumentCamera, false) => self.document_camera.cut_cable(),
            (Device::DocumentCamera, true) => self.document_camera.plug_cable(),
            (Device::Ups, false) => self.ups()?.cut_cable(),
            (Device::Ups, true) => self.ups()?.plug_cable(),
            (Device::IoBoard, false) => self.io_board()?.cut_cable(),
            (Device::IoBoard, true) => self.io_board()?.plug_cable(),
            (Device::SmartCard, false) => self.smart_card()?.cut_cable(),
            (Device::SmartCard, true) => self.smart_card()?.plug_cable(),
        };
        followed(is_done, device)
    }

    fn misbehave(&self, device: Device, how: Misbehavior) -> Result<Device, BenchError> {
        let not_so = Err(BenchError::NotForDevice {
            device,
            act: "misbehave in that way",
        });
        match (device, how) {
            (Device::IdCard, _) => self.id_card.fault(card_fault(how)),
            (Device::QrScanner, _) => self.qr_scanner.misbehave(how),
            (Device::SlipPrinter, _) => self.slip_printer.misbehave(how),
            (Device::Ups, _) => self.ups()?.misbehave(how),
            (Device::IoBoard, _) => self.io_board()?.misbehave(how),
            (Device::PagePrinter, Misbehavior::Garbage) => self.page_printer.garble(),
            (Device::PagePrinter, Misbehavior::Slow) => self.page_printer.slow(),
            (Device::Camera | Device::DocumentCamera, _) => {
                let fault = match how {
                    Misbehavior::Garbage | Misbehavior::EndlessGarbage => {
                        crate::CameraFault::Garbage
                    }
                    Misbehavior::Silence => crate::CameraFault::Stall,
                    Misbehavior::Slow => crate::CameraFault::Slow,
                    Misbehavior::Trickle | Misbehavior::Vanish | Misbehavior::Stall => {
                        return not_so;
                    }
                };
                self.camera_of(device, "misbehave")?.fault(fault);
            }
            (Device::SmartCard, Misbehavior::Silence) => {
                self.smart_card()?.fault(crate::ChipFault::Mute);
            }
            (Device::PagePrinter | Device::SmartCard, _) => return not_so,
        }
        Ok(device)
    }

    fn mend(&self, device: Device) -> Result<Device, BenchError> {
        match device {
            Device::IdCard => self.id_card.mend(),
            Device::QrScanner => self.qr_scanner.mend(),
            Device::SlipPrinter => self.slip_printer.mend(),
            Device::PagePrinter => return followed(self.page_printer.mend(), device),
            Device::Camera => self.camera.mend(),
            Device::DocumentCamera => self.document_camera.mend(),
            Device::Ups => self.ups()?.mend(),
            Device::IoBoard => self.io_board()?.mend(),
            Device::SmartCard => self.smart_card()?.mend(),
        }
        Ok(device)
    }

    fn camera_of(&self, device: Device, act: &'static str) -> Result<&Camera, BenchError> {
        match device {
            Device::Camera => Ok(&self.camera),
            Device::DocumentCamera => Ok(&self.document_camera),
            Device::IdCard
            | Device::QrScanner
            | Device::SlipPrinter
            | Device::PagePrinter
            | Device::Ups
            | Device::IoBoard
            | Device::SmartCard => Err(BenchError::NotForDevice { device, act }),
        }
    }
}

/// The device, when its emulator has followed.
fn followed(is_done: bool, device: Device) -> Result<Device, BenchError> {
    if is_done {
        Ok(device)
    } else {
        Err(BenchError::NotFollowed)
    }
}

fn card_fault(how: Misbehavior) -> CardFault {
    match how {
        Misbehavior::Garbage => CardFault::Garbage,
        Misbehavior::EndlessGarbage => CardFault::EndlessGarbage,
        Misbehavior::Silence => CardFault::Silence,
        Misbehavior::Slow => CardFault::Slow,
        Misbehavior::Trickle => CardFault::Trickle,
        Misbehavior::Vanish => CardFault::Vanish,
        Misbehavior::Stall => CardFault::Stall,
    }
}

enum Printer {
    Slip,
    Page,
}

fn printer(device: Device, act: &'static str) -> Result<Printer, BenchError> {
    match device {
        Device::SlipPrinter => Ok(Printer::Slip),
        Device::PagePrinter => Ok(Printer::Page),
        Device::IdCard
        | Device::QrScanner
        | Device::Camera
        | Device::DocumentCamera
        | Device::Ups
        | Device::IoBoard
        | Device::SmartCard => Err(BenchError::NotForDevice { device, act }),
    }
}

/// The JPEG that an act asks for.
fn picture(scene: Option<String>, file: Option<PathBuf>) -> Result<Vec<u8>, BenchError> {
    if let Some(file) = file {
        let bytes = std::fs::read(file)?;
        // Decoding proves that a camera could have sent it.
        image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg)?;
        return Ok(bytes);
    }
    let scene = scene.ok_or(BenchError::Missing("scene or file"))?;
    match scene.as_str() {
        "face" => Ok(scenes::face()?),
        "empty" => Ok(scenes::empty()?),
        "document" => Ok(scenes::document(1)?),
        other => match other.strip_prefix("document-").map(str::parse) {
            Some(Ok(number)) => Ok(scenes::document(number)?),
            Some(Err(_)) | None => Err(BenchError::UnknownScene(scene)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_in_the_readme_is_the_default() {
        let readme = include_str!("../README.md");
        let text = readme.split("```toml").nth(1).unwrap();
        let text = text.split("```").next().unwrap();
        let config: BenchConfig = toml::from_str(text).unwrap();
        assert_eq!(config, BenchConfig::default());
    }

    #[test]
    fn a_misspelled_key_of_the_configuration_is_refused() {
        assert!(toml::from_str::<BenchConfig>("[id-card]\nbuad = 1").is_err());
        assert!(toml::from_str::<BenchConfig>("[fridge]").is_err());
    }
}
