//! `result.json`: what a journey did, what was made durable, what was printed, and what it cost.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// Everything that is known after a journey.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The journey file.
    pub journey: PathBuf,
    /// Its title.
    pub title: String,
    /// True when nothing went wrong.
    pub ok: bool,
    /// What went wrong: the step, what was wanted, what was on the glass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Every step that was done.
    pub steps: Vec<StepReport>,
    /// Pictures of the screens, in order.
    pub screens: Vec<PathBuf>,
    /// Every transaction the platform has.
    pub transactions: Vec<TransactionReport>,
    /// Every print the printers made.
    pub prints: Vec<PrintReport>,
    /// Milliseconds from the start of the terminal process to its first frame.
    pub first_frame_ms: Option<u64>,
    /// Memory of the terminal process, idle on the attract screen, in KiB.
    pub pss_kib: Option<u64>,
    /// The log of the terminal process.
    pub terminal_log: PathBuf,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Its number in the file, from 1.
    pub index: usize,
    /// What was done.
    #[serde(rename = "do")]
    pub act: String,
    /// The page on the glass afterwards.
    pub screen: String,
    /// How long it took.
    pub ms: u64,
}

/// One transaction that the platform has.
#[derive(Clone, Debug, Serialize)]
pub struct TransactionReport {
    /// Its id.
    pub id: String,
    /// `case` or `rating`.
    pub kind: String,
    /// Its item.
    pub item: String,
    /// Its case number.
    pub case_number: String,
    /// What became of it.
    pub state: String,
    /// How often it arrived; only the first time took effect.
    pub times_received: u64,
}

/// One print.
#[derive(Clone, Debug, Serialize)]
pub struct PrintReport {
    /// `slip-printer` or `page-printer`.
    pub device: String,
    /// The picture or the document.
    pub file: PathBuf,
    /// What became of it, in the words of the printer.
    pub outcome: String,
    /// Pages that came out well, for documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Length in millimetres, for slips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_mm: Option<u32>,
}

impl Report {
    /// Writes `result.json` into `directory`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let file = directory.join("result.json");
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}
