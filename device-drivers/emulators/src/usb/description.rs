//! What a device says about itself: descriptors, and the answers to standard requests that follow
//! from them (USB 2.0, chapter 9).

/// Language of all strings: English (United States).
const LANGUAGE: u16 = 0x0409;

/// One endpoint besides the control endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Number with the direction in bit 7.
    pub(crate) address: u8,
    pub(crate) kind: EndpointKind,
    pub(crate) packet_bytes: u16,
}

/// How an endpoint transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointKind {
    Bulk,
    /// Asked once a millisecond.
    Interrupt,
}

impl Endpoint {
    pub(crate) fn bulk(address: u8) -> Self {
        Self {
            address,
            kind: EndpointKind::Bulk,
            packet_bytes: 64,
        }
    }

    pub(crate) fn interrupt(address: u8, packet_bytes: u16) -> Self {
        Self {
            address,
            kind: EndpointKind::Interrupt,
            packet_bytes,
        }
    }

    fn descriptor(self) -> [u8; 7] {
        let [low, high] = self.packet_bytes.to_le_bytes();
        let (attributes, interval) = match self.kind {
            EndpointKind::Bulk => (2, 0),
            EndpointKind::Interrupt => (3, 1),
        };
        [7, 5, self.address, attributes, low, high, interval]
    }
}

/// One interface, without alternate settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Class, subclass, protocol.
    pub(crate) class: [u8; 3],
    /// Class descriptors between the interface and its endpoints.
    pub(crate) extra: Vec<u8>,
    /// Report descriptor of a HID interface.
    pub(crate) report: Vec<u8>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One device with one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) vendor: u16,
    pub(crate) product: u16,
    /// Release of the device, binary coded decimal.
    pub(crate) release: u16,
    /// Class, subclass, protocol of the device; zeros where the interfaces say it.
    pub(crate) class: [u8; 3],
    pub(crate) maker: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    /// `80` for a device fed by the bus, `C0` for one with a supply of its own.
    pub(crate) attributes: u8,
    /// Current it may draw, in 2 mA.
    pub(crate) power: u8,
    pub(crate) interfaces: Vec<Interface>,
}

/// The eight bytes that begin every control transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) request_type: u8,
    pub(crate) request: u8,
    pub(crate) value: u16,
    pub(crate) index: u16,
    pub(crate) length: u16,
}

impl Setup {
    pub(crate) fn parse(bytes: [u8; 8]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            request_type: bytes[0],
            request: bytes[1],
            value: word(2),
            index: word(4),
            length: word(6),
        }
    }

    pub(crate) fn is_in(self) -> bool {
        self.request_type & 0x80 != 0
    }

    pub(crate) fn is_standard(self) -> bool {
        self.request_type & 0x60 == 0
    }
}

impl Description {
    pub(crate) fn device(&self) -> [u8; 18] {
        let [vendor_low, vendor_high] = self.vendor.to_le_bytes();
        let [product_low, product_high] = self.product.to_le_bytes();
        let [release_low, release_high] = self.release.to_le_bytes();
        let [class, subclass, protocol] = self.class;
        [
            18,
            1,
            0x00,
            0x02,
            class,
            subclass,
            protocol,
            64,
            vendor_low,
            vendor_high,
            product_low,
            product_high,
            release_low,
            release_high,
            1,
            2,
            3,
            1,
        ]
    }

    pub(crate) fn configuration(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (number, interface) in (0_u8..).zip(&self.interfaces) {
            let endpoints = u8::try_from(interface.endpoints.len()).unwrap_or(u8::MAX);
            let [class, subclass, protocol] = interface.class;
            body.extend([9, 4, number, 0, endpoints, class, subclass, protocol, 0]);
            body.extend(&interface.extra);
            for endpoint in &interface.endpoints {
                body.extend(endpoint.descriptor());
            }
        }
        let total = u16::try_from(body.len() + 9)
            .unwrap_or(u16::MAX)
            .to_le_bytes();
        let interfaces = u8::try_from(self.interfaces.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![
            9,
            2,
            total[0],
            total[1],
            interfaces,
            1,
            0,
            self.attributes,
            self.power,
        ];
        bytes.extend(body);
        bytes
    }

    fn string(&self, index: u8) -> Option<Vec<u8>> {
        let body: Vec<u8> = match index {
            0 => LANGUAGE.to_le_bytes().to_vec(),
            1 => utf16(&self.maker),
            2 => utf16(&self.model),
            3 => utf16(&self.serial),
            _ => return None,
        };
        let mut bytes = vec![u8::try_from(body.len() + 2).ok()?, 3];
        bytes.extend(body);
        Some(bytes)
    }

    /// Answers a request for a descriptor; `None` for one the device does not have.
    pub(crate) fn descriptor(&self, setup: Setup) -> Option<Vec<u8>> {
        let [index, kind] = setup.value.to_le_bytes();
        match (setup.request_type & 0x1F, kind, index) {
            (0, 1, 0) => Some(self.device().to_vec()),
            (0, 2, 0) => Some(self.configuration()),
            (0, 3, _) => self.string(index),
            (1, 0x21, 0) => {
                let extra = &self.interface(setup.index)?.extra;
                (extra.get(1) == Some(&0x21)).then(|| extra.clone())
            }
            (1, 0x22, 0) => {
                let report = &self.interface(setup.index)?.report;
                (!report.is_empty()).then(|| report.clone())
            }
            _ => None,
        }
    }

    pub(crate) fn interface(&self, number: u16) -> Option<&Interface> {
        self.interfaces.get(usize::from(number & 0xFF))
    }

    pub(crate) fn endpoint(&self, address: u8) -> Option<Endpoint> {
        self.interfaces
            .iter()
            .flat_map(|interface| &interface.endpoints)
            .find(|endpoint| endpoint.address == address)
            .copied()
    }
}

fn utf16(text: &str) -> Vec<u8> {
    // A string descriptor holds 126 units; a longer text ends there.
    text.encode_utf16()
        .take(126)
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// The class descriptor of a HID interface whose report descriptor has so many bytes.
pub(crate) fn hid_descriptor(report_bytes: usize) -> Vec<u8> {
    let [low, high] = u16::try_from(report_bytes)
        .unwrap_or(u16::MAX)
        .to_le_bytes();
    vec![9, 0x21, 0x11, 0x01, 0, 1, 0x22, low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer() -> Description {
        Description {
            vendor: 0x0483,
            product: 0x5743,
            release: 0x0200,
            class: [0; 3],
            maker: "Xprinter ".to_owned(),
            model: "USB Printer P".to_owned(),
            serial: "1".to_owned(),
            attributes: 0xC0,
            power: 0x10,
            interfaces: vec![Interface {
                class: [7, 1, 2],
                endpoints: vec![Endpoint::bulk(0x02), Endpoint::bulk(0x81)],
                ..Interface::default()
            }],
        }
    }

    #[test]
    fn descriptors_equal_the_worked_example_of_the_fact_sheet() {
        // Section 5.5, XP-T58H.
        assert_eq!(
            printer().device(),
            [
                0x12, 0x01, 0x00, 0x02, 0x00, 0x00, 0x00, 0x40, 0x83, 0x04, 0x43, 0x57, 0x00, 0x02,
                0x01, 0x02, 0x03, 0x01
            ]
        );
        assert_eq!(
            printer().configuration(),
            [
                0x09, 0x02, 0x20, 0x00, 0x01, 0x01, 0x00, 0xC0, 0x10, 0x09, 0x04, 0x00, 0x00, 0x02,
                0x07, 0x01, 0x02, 0x00, 0x07, 0x05, 0x02, 0x02, 0x40, 0x00, 0x00, 0x07, 0x05, 0x81,
                0x02, 0x40, 0x00, 0x00
            ]
        );
    }

    #[test]
    fn strings_come_in_utf_16_and_absent_ones_are_refused() {
        let ask = |value: u16| {
            printer().descriptor(Setup {
                request_type: 0x80,
                request: 6,
                value,
                index: 0,
                length: 255,
            })
        };
        assert_eq!(ask(0x0300).unwrap(), [4, 3, 9, 4]);
        assert_eq!(ask(0x0303).unwrap(), [4, 3, 0x31, 0]);
        assert_eq!(ask(0x0304), None);
        assert_eq!(ask(0x0600), None);
    }
}
