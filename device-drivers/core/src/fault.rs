//! What went wrong and who must act.

use serde::Serialize;

/// Who or what mends a fault (XFS4IoT `Common.ErrorEvent.action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The machine mends it itself.
    Reset,
    /// Village staff: paper, cover, jam.
    Clear,
    /// A technician.
    Maintenance,
    /// The configuration is wrong.
    Configuration,
    /// Tampering is suspected: stop and report.
    Suspend,
}

/// One coded condition of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Fault {
    /// Stable problem code `device.reason`, explained in `kiosk-app/problems.toml`.
    pub code: &'static str,
    /// Who acts.
    pub action: Action,
    /// One technical sentence for the log; never personal data.
    pub detail: String,
}

impl Fault {
    /// A fault with its action and a technical sentence.
    pub fn new(code: &'static str, action: Action, detail: impl Into<String>) -> Self {
        Self {
            code,
            action,
            detail: detail.into(),
        }
    }
}
