//! All emulators of one terminal, started together and steered by [`Act`]s.
//!
//! Ports stay the same for the whole life of the bench, through cut and plugged cables.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::act::{Act, CardChoice, Device};
use crate::camera::{Camera, CameraConfig};
use crate::card::{CardError, CardSpec};
use crate::id_card::{IdCardConfig, IdCardReader};
use crate::page_printer::{PagePrint, PagePrinter, PagePrinterConfig};
use crate::qr_scanner::{CodeTooLong, QrScanner, QrScannerConfig};
use crate::scenes;
use crate::slip_printer::{SlipPrint, SlipPrinter, SlipPrinterConfig};

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
}

/// Where drivers reach the devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Path of a serial line.
    pub id_card: PathBuf,
    /// Path of a serial line.
    pub qr_scanner: PathBuf,
    /// `tcp:127.0.0.1:N` or `serial:PATH`.
    pub slip_printer: String,
    /// `ipp://127.0.0.1:N/ipp/print`.
    pub page_printer: String,
    /// `tcp:127.0.0.1:N/stream`: the camera that looks at the person.
    pub camera: String,
    /// `tcp:127.0.0.1:N/stream`: the camera that looks at documents.
    pub document_camera: String,
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
        Ok(Self {
            id_card: IdCardReader::start(dir, config.id_card)?,
            qr_scanner: QrScanner::start(dir, config.qr_scanner)?,
            slip_printer: SlipPrinter::start(dir, config.slip_printer)?,
            page_printer: PagePrinter::start(dir, config.page_printer)?,
            camera,
            document_camera,
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
            Act::InsertCard { card } => {
                let card = match card {
                    CardChoice::Name(name) => CardSpec::named(&name)?,
                    CardChoice::Spec(card) => *card,
                };
                self.id_card.insert(&card)?;
                Device::IdCard
            }
            Act::RemoveCard => {
                self.id_card.remove();
                Device::IdCard
            }
            Act::CardFault { fault } => {
                self.id_card.fault(fault);
                Device::IdCard
            }
            Act::ShowCode { text, encoding } => {
                self.qr_scanner.present(&encoding.bytes(&text))?;
                Device::QrScanner
            }
            Act::HideCode => {
                self.qr_scanner.hide();
                Device::QrScanner
            }
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
                if !self.page_printer.fault(fault) {
                    return Err(BenchError::NotFollowed);
                }
                Device::PagePrinter
            }
            Act::CableCut { device } => self.set_cable(device, false)?,
            Act::CablePlug { device } => self.set_cable(device, true)?,
            Act::Garble { device } => self.garble(device),
            Act::Slow { device } => self.slow(device),
            Act::Mend { device } => self.mend(device)?,
            Act::ShowScene {
                camera,
                scene,
                file,
            } => {
                let picture = picture(scene, file)?;
                self.camera_of(camera, "show a scene")?.show(picture);
                camera
            }
            Act::CameraFault { camera, fault } => {
                self.camera_of(camera, "misbehave like a camera")?
                    .fault(fault);
                camera
            }
            Act::TakePaper { device } => self.take_paper(device)?,
            Act::State => return Ok(self.state()),
        };
        Ok(self.report(device))
    }

    /// The state of every device, by its name, with the prints made so far.
    pub fn state(&self) -> Value {
        json!({
            "id-card": self.id_card.report(),
            "qr-scanner": self.qr_scanner.report(),
            "slip-printer": self.slip_printer.report(),
            "page-printer": self.page_printer.report(),
            "camera": self.camera.report(),
            "document-camera": self.document_camera.report(),
        })
    }

    fn report(&self, device: Device) -> Value {
        match device {
            Device::IdCard => self.id_card.report(),
            Device::QrScanner => self.qr_scanner.report(),
            Device::SlipPrinter => self.slip_printer.report(),
            Device::PagePrinter => self.page_printer.report(),
            Device::Camera => self.camera.report(),
            Device::DocumentCamera => self.document_camera.report(),
        }
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
        };
        if is_done {
            Ok(device)
        } else {
            Err(BenchError::NotFollowed)
        }
    }

    fn garble(&self, device: Device) -> Device {
        match device {
            Device::IdCard => self.id_card.fault(crate::CardFault::Garbage),
            Device::QrScanner => self.qr_scanner.garble(),
            Device::SlipPrinter => self.slip_printer.garble(),
            Device::PagePrinter => {
                self.page_printer.garble();
            }
            Device::Camera => self.camera.fault(crate::CameraFault::Garbage),
            Device::DocumentCamera => self.document_camera.fault(crate::CameraFault::Garbage),
        }
        device
    }

    fn slow(&self, device: Device) -> Device {
        match device {
            Device::IdCard => self.id_card.fault(crate::CardFault::Slow),
            Device::QrScanner => self.qr_scanner.slow(),
            Device::SlipPrinter => self.slip_printer.slow(),
            Device::PagePrinter => {
                self.page_printer.slow();
            }
            Device::Camera => self.camera.fault(crate::CameraFault::Slow),
            Device::DocumentCamera => self.document_camera.fault(crate::CameraFault::Slow),
        }
        device
    }

    fn mend(&self, device: Device) -> Result<Device, BenchError> {
        match device {
            Device::IdCard => self.id_card.mend(),
            Device::QrScanner => self.qr_scanner.mend(),
            Device::SlipPrinter => self.slip_printer.mend(),
            Device::PagePrinter => {
                if !self.page_printer.mend() {
                    return Err(BenchError::NotFollowed);
                }
            }
            Device::Camera => self.camera.mend(),
            Device::DocumentCamera => self.document_camera.mend(),
        }
        Ok(device)
    }

    fn camera_of(&self, device: Device, act: &'static str) -> Result<&Camera, BenchError> {
        match device {
            Device::Camera => Ok(&self.camera),
            Device::DocumentCamera => Ok(&self.document_camera),
            Device::IdCard | Device::QrScanner | Device::SlipPrinter | Device::PagePrinter => {
                Err(BenchError::NotForDevice { device, act })
            }
        }
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
        Device::IdCard | Device::QrScanner | Device::Camera | Device::DocumentCamera => {
            Err(BenchError::NotForDevice { device, act })
        }
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
