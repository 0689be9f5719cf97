//! USB descriptors as bytes (USB 2.0 §9.6): which interfaces a device has and through which
//! endpoints they speak. Pure functions, bounded, tolerant of descriptors they do not know.

/// Interfaces and alternate settings that are looked at. Chosen: composite devices have a handful.
const INTERFACES_MAX: usize = 64;
/// Endpoints of one interface that are looked at (USB 2.0 allows 30).
const ENDPOINTS_MAX: usize = 30;

/// How an endpoint transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Bulk.
    Bulk,
    /// Interrupt.
    Interrupt,
    /// Control or isochronous, which no driver here uses.
    Other,
}

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address with the direction in bit 7.
    pub address: u8,
    /// How it transfers.
    pub transfer: Transfer,
    /// Largest packet in bytes.
    pub packet_bytes: u16,
}

impl Endpoint {
    /// True when it carries bytes to the host.
    pub fn is_in(&self) -> bool {
        self.address & 0x80 != 0
    }
}

/// One alternate setting of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Number of the interface.
    pub number: u8,
    /// Alternate setting.
    pub alternate: u8,
    /// Class code (`FF` vendor, `07` printer, `03` HID, `0A` CDC data).
    pub class: u8,
    /// Subclass code.
    pub subclass: u8,
    /// Protocol code.
    pub protocol: u8,
    /// Endpoints in the order of the descriptor.
    pub endpoints: Vec<Endpoint>,
}

/// What the device descriptor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceDescriptor {
    /// Vendor id.
    pub vendor: u16,
    /// Product id.
    pub product: u16,
    /// String indices of maker, model and serial number; zero where there is none.
    pub strings: [u8; 3],
}

/// The device descriptor in `bytes`; `None` when it is none.
pub fn device(bytes: &[u8]) -> Option<DeviceDescriptor> {
    let descriptor = bytes.get(..18)?;
    let word = |at: usize| {
        Some(u16::from_le_bytes([
            *descriptor.get(at)?,
            *descriptor.get(at + 1)?,
        ]))
    };
    (descriptor.get(1) == Some(&0x01)).then_some(())?;
    Some(DeviceDescriptor {
        vendor: word(8)?,
        product: word(10)?,
        strings: [
            *descriptor.get(14)?,
            *descriptor.get(15)?,
            *descriptor.get(16)?,
        ],
    })
}

/// The configuration value and the interfaces of a configuration descriptor with all that follows
/// it; `None` when it is none. What is cut off or unknown is left out.
pub fn configuration(bytes: &[u8]) -> Option<(u8, Vec<Interface>)> {
    let head = bytes.get(..9)?;
    (head.get(1) == Some(&0x02)).then_some(())?;
    let value = *head.get(5)?;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut rest = bytes;
    while let Some(length) = rest.first().map(|length| usize::from(*length)) {
        // A length below two would never end.
        if length < 2 {
            break;
        }
        let Some(descriptor) = rest.get(..length) else {
            break;
        };
        match descriptor {
            [_, 0x04, number, alternate, _, class, subclass, protocol, ..]
                if interfaces.len() < INTERFACES_MAX =>
            {
                interfaces.push(Interface {
                    number: *number,
                    alternate: *alternate,
                    class: *class,
                    subclass: *subclass,
                    protocol: *protocol,
                    endpoints: Vec::new(),
                });
            }
            [_, 0x05, address, attributes, low, high, ..] => {
                if let Some(interface) = interfaces.last_mut()
                    && interface.endpoints.len() < ENDPOINTS_MAX
                {
                    interface.endpoints.push(Endpoint {
                        address: *address,
                        transfer: match attributes & 0x03 {
                            2 => Transfer::Bulk,
                            3 => Transfer::Interrupt,
                            _ => Transfer::Other,
                        },
                        // Bits above 10 count packets of high-speed interrupt endpoints.
                        packet_bytes: u16::from_le_bytes([*low, *high]) & 0x07FF,
                    });
                }
            }
            _ => {}
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Some((value, interfaces))
}

/// The text of a string descriptor, without control characters.
pub fn string(bytes: &[u8]) -> Option<String> {
    let length = usize::from(*bytes.first()?);
    (bytes.get(1) == Some(&0x03)).then_some(())?;
    let text = bytes.get(2..length.min(bytes.len()))?;
    let units: Vec<u16> = text
        .chunks_exact(2)
        .map(|pair| {
            pair.iter()
                .rev()
                .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
        })
        .collect();
    let text = String::from_utf16_lossy(&units);
    Some(
        text.chars()
            .filter(|character| !character.is_control())
            .collect::<String>()
            .trim()
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slip printer of the fact sheet (`device-protocols.md` §5.5).
    const CONFIGURATION: [u8; 32] = [
        0x09, 0x02, 0x20, 0x00, 0x01, 0x01, 0x00, 0xC0, 0x10, 0x09, 0x04, 0x00, 0x00, 0x02, 0x07,
        0x01, 0x02, 0x00, 0x07, 0x05, 0x02, 0x02, 0x40, 0x00, 0x00, 0x07, 0x05, 0x81, 0x02, 0x40,
        0x00, 0x00,
    ];
    const DEVICE: [u8; 18] = [
        0x12, 0x01, 0x00, 0x02, 0x00, 0x00, 0x00, 0x40, 0x83, 0x04, 0x43, 0x57, 0x00, 0x02, 0x01,
        0x02, 0x03, 0x01,
    ];

    #[test]
    fn a_printer_shows_its_interface_and_its_two_pipes() {
        let (value, interfaces) = configuration(&CONFIGURATION).unwrap();
        assert_eq!((value, interfaces.len()), (1, 1));
        let printer = &interfaces[0];
        assert_eq!(
            (printer.class, printer.subclass, printer.protocol),
            (7, 1, 2)
        );
        let pipes: Vec<(u8, bool)> = printer
            .endpoints
            .iter()
            .map(|pipe| (pipe.address, pipe.is_in()))
            .collect();
        assert_eq!(pipes, [(0x02, false), (0x81, true)]);
        let device = device(&DEVICE).unwrap();
        assert_eq!((device.vendor, device.product), (0x0483, 0x5743));
        assert_eq!(device.strings, [1, 2, 3]);
    }

    #[test]
    fn cut_and_senseless_descriptors_end_the_reading_and_nothing_else() {
        for end in 0..CONFIGURATION.len() {
            let found = configuration(&CONFIGURATION[..end]);
            assert_eq!(found.is_some(), end >= 9, "{end}");
        }
        let mut endless = CONFIGURATION;
        endless[9] = 0;
        assert_eq!(configuration(&endless), Some((1, Vec::new())));
        assert_eq!(device(&DEVICE[..17]), None);
    }

    #[test]
    fn a_string_is_read_without_control_characters() {
        assert_eq!(
            string(&[0x08, 0x03, 0x41, 0x00, 0x0A, 0x00, 0x42, 0x00]),
            Some("AB".to_owned())
        );
        assert_eq!(string(&[0xFF, 0x03, 0x41, 0x00]), Some("A".to_owned()));
        assert_eq!(string(&[0x02]), None);
        assert_eq!(string(&[]), None);
    }
}
