//! Devices of the human interface class (HID 1.11): reports in and out, and the class requests that
//! every host sends.

use super::description::{Description, Endpoint, Interface, hid_descriptor};
use super::{Answer, Control};

/// Reports to the host.
pub(crate) const IN: u8 = 0x81;
/// Reports from the host.
pub(crate) const OUT: u8 = 0x01;

/// How a HID device introduces itself.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) vendor: u16,
    pub(crate) product: u16,
    pub(crate) maker: &'static str,
    pub(crate) model: &'static str,
    /// Subclass and protocol: `[1, 1]` for a boot keyboard.
    pub(crate) boot: [u8; 2],
    pub(crate) report: Vec<u8>,
    /// Bytes of the longest report.
    pub(crate) report_bytes: u16,
    /// It takes reports by an endpoint too, not by `SET_REPORT` alone.
    pub(crate) has_out: bool,
}

/// The descriptors of such a device.
pub(crate) fn description(introduction: Introduction) -> Description {
    let mut endpoints = vec![Endpoint::interrupt(IN, introduction.report_bytes)];
    if introduction.has_out {
        endpoints.push(Endpoint::interrupt(OUT, introduction.report_bytes));
    }
    let [subclass, protocol] = introduction.boot;
    Description {
        vendor: introduction.vendor,
        product: introduction.product,
        release: 0x0100,
        class: [0; 3],
        maker: introduction.maker.to_owned(),
        model: introduction.model.to_owned(),
        serial: "EMU0000001".to_owned(),
        attributes: 0x80,
        power: 50,
        interfaces: vec![Interface {
            class: [3, subclass, protocol],
            extra: hid_descriptor(introduction.report.len()),
            report: introduction.report,
            endpoints,
        }],
    }
}

/// The class requests: idle rate, protocol and reports.
pub(crate) fn control() -> Control {
    let mut protocol = 1;
    let mut idle = 0;
    Box::new(move |setup, _| match (setup.request_type, setup.request) {
        // GET_REPORT: nothing has been pressed or read since.
        (0xA1, 0x01) => Answer::Data(vec![0; usize::from(setup.length)]),
        (0xA1, 0x02) => Answer::Data(vec![idle]),
        (0xA1, 0x03) => Answer::Data(vec![protocol]),
        // SET_REPORT.
        (0x21, 0x09) => Answer::Deliver,
        // SET_IDLE.
        (0x21, 0x0A) => {
            idle = setup.value.to_le_bytes()[1];
            Answer::Data(Vec::new())
        }
        // SET_PROTOCOL.
        (0x21, 0x0B) if setup.value <= 1 => {
            protocol = setup.value.to_le_bytes()[0];
            Answer::Data(Vec::new())
        }
        _ => Answer::Refuse,
    })
}

/// Bytes as whole reports of one size, the last one filled with zeros.
pub(crate) fn reports(bytes: &[u8], report_bytes: usize) -> Vec<Vec<u8>> {
    bytes
        .chunks(report_bytes.max(1))
        .map(|chunk| {
            let mut report = chunk.to_vec();
            report.resize(report_bytes, 0);
            report
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_is_filled_up() {
        assert_eq!(reports(&[1; 5], 4), [vec![1; 4], vec![1, 0, 0, 0]]);
        assert!(reports(&[], 4).is_empty());
    }
}
