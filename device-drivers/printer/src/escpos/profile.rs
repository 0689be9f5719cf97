//! What kind of ESC/POS printer a driver speaks to: the parts of the language that makers do
//! differently, chosen by configuration and never guessed from a name.

use kiosk_device::{ConfigError, DeviceConfig};

/// 80 mm head at 203 dpi (`device-protocols.md` §5.1).
const WIDTH_DOTS_DEFAULT: u32 = 576;
/// Lines fed before the cut. Chosen: the text clears the cutter of common mechanisms.
const FEED_LINES_DEFAULT: u32 = 3;

/// The options that [`Profile::from_config`] reads.
pub(crate) const OPTIONS: &[&str] = &[
    "profile",
    "charset",
    "qr",
    "cut",
    "width_dots",
    "feed_lines",
];

/// Whose extensions the printer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Automatic status and process ids as Epson has them.
    #[default]
    Epson,
    /// Full status and presenter of Custom's kiosk printers (§5.4).
    Custom,
    /// Neither: real-time status at most, as cheap boards have it.
    Plain,
}

/// Which characters the printer's own font has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// The 6763 characters of GB 2312.
    Gb2312,
    /// Two-byte characters of GBK.
    #[default]
    Gbk,
    /// GB 18030 with its four-byte characters.
    Gb18030,
}

/// Who draws QR codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QrPrinting {
    /// The printer, by `GS ( k`.
    #[default]
    Printer,
    /// The caller: the picture in the document is printed.
    Raster,
}

/// How a slip is severed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// All but a point.
    #[default]
    Partial,
    /// Wholly.
    Full,
    /// Not at all: the printer has a tear bar.
    None,
}

/// How to speak to one printer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whose extensions it has.
    pub dialect: Dialect,
    /// What its font has.
    pub charset: Charset,
    /// Who draws QR codes.
    pub qr: QrPrinting,
    /// How it cuts.
    pub cut: Cut,
    /// Width of its head in dots.
    pub width_dots: u32,
    /// Lines fed before a cut that the driver adds.
    pub feed_lines: u8,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            charset: Charset::default(),
            qr: QrPrinting::default(),
            cut: Cut::default(),
            width_dots: WIDTH_DOTS_DEFAULT,
            feed_lines: 3,
        }
    }
}

impl Profile {
    /// Reads `profile`, `charset`, `qr`, `cut`, `width_dots` and `feed_lines`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the option that cannot be used.
    pub(crate) fn from_config(config: &DeviceConfig) -> Result<Self, ConfigError> {
        let dialect = match config.option_word("profile", &["epson", "custom", "plain"], "epson")? {
            "custom" => Dialect::Custom,
            "plain" => Dialect::Plain,
            _ => Dialect::Epson,
        };
        let charset = match config.option_word("charset", &["gb2312", "gbk", "gb18030"], "gbk")? {
            "gb2312" => Charset::Gb2312,
            "gb18030" => Charset::Gb18030,
            _ => Charset::Gbk,
        };
        let qr = match config.option_word("qr", &["printer", "raster"], "printer")? {
            "raster" => QrPrinting::Raster,
            _ => QrPrinting::Printer,
        };
        let cut = match config.option_word("cut", &["partial", "full", "none"], "partial")? {
            "full" => Cut::Full,
            "none" => Cut::None,
            _ => Cut::Partial,
        };
        let feed_lines = config.option_number("feed_lines", 0..=20, FEED_LINES_DEFAULT)?;
        Ok(Self {
            dialect,
            charset,
            qr,
            cut,
            width_dots: config.option_number("width_dots", 8..=4096, WIDTH_DOTS_DEFAULT)?,
            feed_lines: u8::try_from(feed_lines).unwrap_or(u8::MAX),
        })
    }
}
