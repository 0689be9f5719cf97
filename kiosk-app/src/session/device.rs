//! What devices report, and what that means for the page that waits for it.

use kiosk_device::{Action, DeviceClass, DeviceState, Fault, Media, Sensitive, Status};
use kiosk_ui::Reading;

use super::{NO_RETRY, Page, Session, TRACK_WAYS};
use crate::clock::Moment;
use crate::event::{Effect, Ending, Question, Ticket};
use crate::person::Person;

impl Session {
    pub(super) fn status(
        &mut self,
        class: DeviceClass,
        device: String,
        status: Status,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let was_present = self.is_card_present();
        self.devices.insert(device, (class, status));
        if was_present != self.is_card_present() {
            // Lifting or laying a card is an act of the visitor.
            self.active_at = now.uptime;
        }
        if class == DeviceClass::SlipPrinter {
            self.retry_slip(effects);
        }
    }

    pub(super) fn card_found(&mut self, ticket: Ticket, now: Moment) {
        if let Page::Identify {
            ticket: waited,
            reading,
            code,
            ..
        } = &mut self.page
            && *waited == ticket
        {
            *reading = Reading::Busy;
            *code = "";
            self.active_at = now.uptime;
        }
    }

    pub(super) fn card(
        &mut self,
        ticket: Ticket,
        person: Person,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Page::Identify {
            role,
            ticket: waited,
            ..
        } = self.page
        else {
            return;
        };
        if waited != ticket {
            return;
        }
        self.active_at = now.uptime;
        self.visit.set_person(role, Some(person));
        self.turn_to(Page::Confirm { role }, effects);
    }

    pub(super) fn card_again(&mut self, ticket: Ticket, problem: &'static str, now: Moment) {
        if let Page::Identify {
            ticket: waited,
            reading,
            code,
            ..
        } = &mut self.page
            && *waited == ticket
        {
            *reading = Reading::Failed;
            *code = problem;
            self.active_at = now.uptime;
        }
    }

    pub(super) fn card_ended(&mut self, ticket: Ticket, ending: Ending, effects: &mut Vec<Effect>) {
        let Page::Identify {
            ticket: waited,
            role,
            ..
        } = self.page
        else {
            return;
        };
        if waited != ticket {
            return;
        }
        match ending {
            Ending::Canceled => {}
            // The visit's own time-out decides when waiting ends; the reader just goes on.
            Ending::TimeOut => self.identify(role, effects),
            Ending::Failed(code) => {
                let code = named(DeviceClass::IdCard, code);
                let can_type = self
                    .visit
                    .item
                    .as_ref()
                    .is_some_and(|item| super::flow::may_type(item));
                let ways: &[super::Way] = if can_type && role == super::Role::Principal {
                    &[super::Way::Retry, super::Way::TypeNumber, super::Way::Leave]
                } else {
                    &[super::Way::Retry, super::Way::Home, super::Way::Leave]
                };
                self.trouble(code, String::new(), ways, effects);
            }
        }
    }

    pub(super) fn code(
        &mut self,
        ticket: Ticket,
        code: &Sensitive<String>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Page::TrackScan {
            ticket: waited,
            code: problem,
        } = &mut self.page
        else {
            return;
        };
        if *waited != ticket {
            return;
        }
        self.active_at = now.uptime;
        let Some(number) = crate::slip_code::case_number(code.expose()) else {
            *problem = "session.unknown-code";
            // A scanner has ended with the code; a camera would go on.
            effects.push(Effect::Cancel(ticket));
            let ticket = self.ticket();
            if let Page::TrackScan { ticket: waited, .. } = &mut self.page {
                *waited = ticket;
            }
            effects.push(self.look_for_code(ticket));
            return;
        };
        let ticket = self.ticket();
        let until = now.uptime + super::ANSWER_LIMIT;
        self.turn_to(
            Page::TrackAsking {
                ticket,
                number: number.clone(),
                until,
            },
            effects,
        );
        effects.push(Effect::Ask(ticket, Question::Case { number }));
    }

    pub(super) fn code_ended(&mut self, ticket: Ticket, ending: Ending, effects: &mut Vec<Effect>) {
        let Page::TrackScan { ticket: waited, .. } = &self.page else {
            return;
        };
        if *waited != ticket {
            return;
        }
        match ending {
            Ending::Canceled => {}
            Ending::TimeOut => self.track(effects),
            Ending::Failed(code) => {
                let code = named(DeviceClass::QrScanner, code);
                self.trouble(code, String::new(), TRACK_WAYS, effects);
            }
        }
    }

    pub(super) fn camera_ended(
        &mut self,
        ticket: Ticket,
        ending: Ending,
        effects: &mut Vec<Effect>,
    ) {
        if let Page::TrackScan { ticket: waited, .. } = &self.page
            && *waited == ticket
        {
            match ending {
                Ending::Canceled => {}
                Ending::TimeOut => self.track(effects),
                Ending::Failed(code) => {
                    let code = named(DeviceClass::Camera, code);
                    self.trouble(code, String::new(), TRACK_WAYS, effects);
                }
            }
            return;
        }
        let (Page::Face { stream, .. } | Page::Capture { stream, .. }) = &self.page else {
            return;
        };
        if *stream != ticket {
            return;
        }
        match ending {
            Ending::Canceled => {}
            Ending::TimeOut => {
                let again = self.ticket();
                let lens = if let Page::Capture { .. } = self.page {
                    crate::event::Lens::Document
                } else {
                    crate::event::Lens::Face
                };
                if let Page::Face { stream, .. } | Page::Capture { stream, .. } = &mut self.page {
                    *stream = again;
                }
                effects.push(Effect::Stream(again, lens));
            }
            Ending::Failed(code) => {
                let code = named(DeviceClass::Camera, code);
                self.trouble(code, String::new(), super::ONLINE_WAYS, effects);
            }
        }
    }

    /// Codes of what is wrong with the devices, the most serious first, each said once.
    pub(super) fn device_notices(&self) -> Vec<&'static str> {
        let mut faults: Vec<(u8, &'static str)> = self
            .devices
            .values()
            .filter(|(class, status)| {
                let is_replaced =
                    *class == DeviceClass::QrScanner && self.scan_obstacle().is_none();
                concerns_visitors(*class)
                    && !is_replaced
                    && !matches!(status.state, DeviceState::Starting)
            })
            .flat_map(|(class, status)| {
                let named = |fault: &Fault| (seriousness(fault.action), named(*class, fault.code));
                status.faults.iter().map(named)
            })
            .collect();
        faults.sort_unstable();
        let mut codes: Vec<&'static str> = faults.into_iter().map(|(_, code)| code).collect();
        codes.dedup();
        codes.truncate(3);
        codes
    }

    /// True when a device of the class is there and works.
    pub(super) fn is_ready(&self, class: DeviceClass) -> bool {
        self.devices
            .values()
            .any(|(other, status)| *other == class && status.is_ready())
    }

    /// True when a device that reports presence says something lies there.
    pub(super) fn has_media(&self, class: DeviceClass) -> bool {
        self.devices
            .values()
            .any(|(other, status)| *other == class && status.media == Media::Present)
    }

    /// A page could not be painted or a commit could not be made: nothing was accepted.
    pub(super) fn refuse(&mut self, code: &'static str, effects: &mut Vec<Effect>) {
        self.trouble(code, String::new(), NO_RETRY, effects);
    }
}

/// False for devices that a visitor neither sees nor can miss.
fn concerns_visitors(class: DeviceClass) -> bool {
    match class {
        DeviceClass::IdCard
        | DeviceClass::QrScanner
        | DeviceClass::SlipPrinter
        | DeviceClass::PagePrinter
        | DeviceClass::Camera
        | DeviceClass::Ups => true,
        // A chip card is one way among several; its reader's fault takes nothing away.
        DeviceClass::SmartCard
        | DeviceClass::IoBoard
        | DeviceClass::SignaturePad
        | DeviceClass::Speaker => false,
    }
}

/// What stops most for longest comes first; what village staff mend in a minute comes before what
/// mends itself.
fn seriousness(action: Action) -> u8 {
    match action {
        Action::Suspend => 0,
        Action::Maintenance => 1,
        Action::Configuration => 2,
        Action::Clear => 3,
        Action::Reset => 4,
    }
}

/// The general codes (`device.not-there`) do not say which device; the visitor is told which.
pub(super) fn named(class: DeviceClass, code: &'static str) -> &'static str {
    if !code.starts_with("device.") || code == "device.starting" {
        return code;
    }
    match class {
        DeviceClass::IdCard => "id-card.no-device",
        DeviceClass::QrScanner => "qr-scanner.no-device",
        DeviceClass::SlipPrinter | DeviceClass::PagePrinter => "printer.no-device",
        DeviceClass::Camera => "camera.no-device",
        // No visit waits for these; their own code is as good as any.
        DeviceClass::SmartCard
        | DeviceClass::Ups
        | DeviceClass::IoBoard
        | DeviceClass::SignaturePad
        | DeviceClass::Speaker => code,
    }
}
