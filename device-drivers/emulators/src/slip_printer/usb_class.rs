//! The printer class of USB (`device-protocols`, section 5.5): descriptors of an XP-T58H and the three
//! class requests.

use std::sync::Arc;

use super::{Cutter, SlipPrinterConfig, State};
use crate::steering::Steered;
use crate::usb::description::{Description, Endpoint, Interface, Setup};
use crate::usb::{Answer, UsbBus, UsbPort};

/// Data to the printer.
const OUT: u8 = 0x02;
/// Statuses from the printer.
pub(crate) const IN: u8 = 0x81;

/// Plugs the printer into the bus.
pub(crate) fn plug(
    bus: &UsbBus,
    config: &SlipPrinterConfig,
    steered: Arc<Steered<State>>,
) -> UsbPort {
    let id = device_id(&config.device_id);
    let is_fixed = config.port_status_is_fixed;
    bus.export(
        description(config.is_uni_directional),
        Box::new(move |setup, _| match (setup.request_type, setup.request) {
            // GET_DEVICE_ID: interface and alternate in the index; the configuration in the value is its
            // place for some hosts and its number for others.
            (0xA1, 0x00) if setup.value <= 1 && setup.index == 0 => Answer::Data(id.clone()),
            // GET_PORT_STATUS.
            (0xA1, 0x01) => Answer::Data(vec![if is_fixed {
                0x18
            } else {
                steered.look(port_status)
            }]),
            (0x21 | 0x23, 0x02) => soft_reset(setup, &steered),
            _ => Answer::Refuse,
        }),
    )
}

fn soft_reset(setup: Setup, steered: &Steered<State>) -> Answer {
    if setup.index != 0 {
        return Answer::Refuse;
    }
    steered.change(|state| state.wants_reset = true);
    Answer::Data(Vec::new())
}

/// The text behind its length, which counts itself.
fn device_id(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len() + 2).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Bit 5 paper empty, bit 4 selected, bit 3 no error.
fn port_status(state: &State) -> u8 {
    let is_out = state.paper_dots == 0;
    let is_faulty =
        is_out || state.is_cover_open || state.is_head_hot || state.cutter == Cutter::Jammed;
    super::bits(&[(is_out, 0x20), (state.is_on_line, 0x10), (!is_faulty, 0x08)])
}

fn description(is_uni_directional: bool) -> Description {
    let (protocol, endpoints) = if is_uni_directional {
        (1, vec![Endpoint::bulk(OUT)])
    } else {
        (2, vec![Endpoint::bulk(OUT), Endpoint::bulk(IN)])
    };
    Description {
        vendor: 0x0483,
        product: 0x5743,
        release: 0x0200,
        class: [0; 3],
        maker: "Xprinter ".to_owned(),
        model: "USB Printer P".to_owned(),
        serial: "EMU0000001".to_owned(),
        attributes: 0xC0,
        power: 0x10,
        interfaces: vec![Interface {
            class: [7, 1, protocol],
            endpoints,
            ..Interface::default()
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_id_counts_its_own_length() {
        // Section 10.5.
        let id = device_id("MFG:TEST;MDL:EMU80;CMD:ESC/POS;CLS:PRINTER;");
        assert_eq!((id[..2].to_vec(), id.len()), (vec![0x00, 0x2D], 45));
    }
}
