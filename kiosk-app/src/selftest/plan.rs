//! Every guided test there is: one for each class of devices, and those of the machine itself.
//!
//! A plan's id is its name in the store, on the command line and in the texts: under the same key
//! stand the words of its title.

use std::time::Duration;

use kiosk_device::DeviceClass;

use super::{Part, Plan};

/// All of them, in the order in which a technician goes through a terminal: devices as they are
/// listed, then the glass, then what nobody sees. Limits are chosen: the machine's own part with a
/// margin, and two minutes where somebody has to fetch a card or paper.
const PLANS: &[Plan] = &[
    with_person("id-card.reading", DeviceClass::IdCard, 120),
    with_person("qr-scanner.reading", DeviceClass::QrScanner, 120),
    alone("slip-printer.pattern", DeviceClass::SlipPrinter, 180),
    alone("page-printer.pattern", DeviceClass::PagePrinter, 300),
    alone("camera.picture", DeviceClass::Camera, 150),
    with_person("smart-card.reading", DeviceClass::SmartCard, 120),
    alone("ups.battery", DeviceClass::Ups, 60),
    with_person("io-board.contacts", DeviceClass::IoBoard, 300),
    with_person("signature-pad.strokes", DeviceClass::SignaturePad, 120),
    with_person("speaker.tone", DeviceClass::Speaker, 90),
    of_glass("glass.screen", 90),
    of_glass("glass.touch", 120),
    of_machine("machine.network", 60),
    of_machine("machine.disk", 60),
    of_machine("machine.clock", 30),
    of_machine("machine.memory", 30),
    of_machine("machine.store", 120),
    of_machine("machine.sensors", 15),
];

const fn alone(id: &'static str, class: DeviceClass, limit_s: u64) -> Plan {
    Plan {
        id,
        class: Some(class),
        needs_person: false,
        limit: Duration::from_secs(limit_s),
    }
}

const fn with_person(id: &'static str, class: DeviceClass, limit_s: u64) -> Plan {
    Plan {
        needs_person: true,
        ..alone(id, class, limit_s)
    }
}

const fn of_glass(id: &'static str, limit_s: u64) -> Plan {
    Plan {
        id,
        class: None,
        needs_person: true,
        limit: Duration::from_secs(limit_s),
    }
}

const fn of_machine(id: &'static str, limit_s: u64) -> Plan {
    Plan {
        needs_person: false,
        ..of_glass(id, limit_s)
    }
}

/// Every plan.
pub fn plans() -> &'static [Plan] {
    PLANS
}

/// The plans for devices of a class; with `None` those of the glass and of the machine.
pub fn plans_for(class: Option<DeviceClass>) -> impl Iterator<Item = &'static Plan> {
    PLANS.iter().filter(move |plan| plan.class == class)
}

/// The plan of that id, if there is one.
pub fn plan(id: &str) -> Option<&'static Plan> {
    PLANS.iter().find(|plan| plan.id == id)
}

impl Plan {
    /// The part of the machine that it looks at; `None` for devices and the glass.
    pub fn part(&self) -> Option<Part> {
        Some(match self.id {
            "machine.network" => Part::Network,
            "machine.disk" => Part::Disk,
            "machine.clock" => Part::Clock,
            "machine.memory" => Part::Memory,
            "machine.store" => Part::Store,
            "machine.sensors" => Part::Sensors,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::words::{Lang, text};

    #[test]
    fn every_class_has_a_guided_test_with_a_title_and_no_id_stands_twice() {
        for class in DeviceClass::ALL {
            assert!(plans_for(Some(class)).count() > 0, "{}", class.name());
        }
        let ids: BTreeSet<&str> = plans().iter().map(|plan| plan.id).collect();
        assert_eq!(ids.len(), plans().len());
        for found in plans() {
            for lang in Lang::ALL {
                assert!(!text(lang, found.id).is_empty());
            }
            assert_eq!(plan(found.id), Some(found));
            let is_of_machine = found.id.starts_with("machine.");
            assert_eq!(found.part().is_some(), is_of_machine, "{}", found.id);
        }
        assert_eq!(plan("fridge.door"), None);
    }
}
