//! Printers: slips over ESC/POS ([`escpos`]) and pages over IPP ([`ipp`]), with one status model.
//!
//! A print succeeds only when the paper is out; the device is asked, not a spooler. Fault codes carry
//! the IPP keyword (`printer.media-empty`), whatever the protocol behind them.

pub mod escpos;
pub mod ipp;
pub mod snmp;

use kiosk_device::{DeviceState, Fault, supervisor};

/// The state that a list of faults, the most serious first, puts a printer into.
fn state_of(faults: &[Fault]) -> DeviceState {
    match faults.first() {
        None => DeviceState::Online,
        Some(fault) if ["printer.offline", "printer.paused"].contains(&fault.code) => {
            DeviceState::Offline
        }
        Some(fault) => supervisor::state_for(fault),
    }
}
