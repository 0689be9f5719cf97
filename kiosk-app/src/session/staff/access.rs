//! Who may do what: for each id one of these scopes. The menu shows what is allowed and each touch is
//! looked at again, so that an id that was guessed, or is left over from another person, does nothing.

use std::collections::BTreeSet;

use kiosk_sealing::unlock::Scope;

use super::ids::{Button, Id, Place};
use crate::workbench::Topic;

/// True when one of the scopes is enough for what the id wants.
pub(super) fn may(id: &Id, scopes: &BTreeSet<Scope>) -> bool {
    let enough = match id {
        Id::Open(topic) => topic_scopes(topic),
        Id::Go(place) => place_scopes(*place),
        Id::Test { .. } => &[Scope::Test],
        // Whoever was asked for a stick may choose one.
        Id::Stick(_) => STICKS,
        Id::Act(button) => return may_press(button, scopes),
    };
    has_any(scopes, enough)
}

/// True when the page may be seen.
pub(super) fn may_see(topic: &Topic, scopes: &BTreeSet<Scope>) -> bool {
    has_any(scopes, topic_scopes(topic))
}

fn has_any(scopes: &BTreeSet<Scope>, enough: &[Scope]) -> bool {
    enough.iter().any(|scope| scopes.contains(scope))
}

/// Those whose acts write onto sticks or read from them.
const STICKS: &[Scope] = &[Scope::Queue, Scope::Evidence, Scope::Mend, Scope::Test];
/// Those who answer for the terminal being ready.
const REPORT: &[Scope] = &[Scope::Test, Scope::Evidence];

fn topic_scopes(topic: &Topic) -> &'static [Scope] {
    match topic {
        Topic::Devices | Topic::Device(_) => &[Scope::Help],
        Topic::Tests => &[Scope::Test],
        Topic::Tickets | Topic::Ticket(_) | Topic::Log { .. } => &[Scope::Mend, Scope::Evidence],
        Topic::Consumables => &[Scope::Paper],
        Topic::Daily => &[Scope::Day],
        Topic::Queue | Topic::DeadLetter(_) => &[Scope::Queue],
        Topic::Network => &[Scope::Test, Scope::Mend],
        Topic::Configuration => &[Scope::Configure, Scope::Evidence, Scope::Mend],
        Topic::Evidence => &[Scope::Evidence],
        Topic::Machine => &[Scope::Test, Scope::Mend, Scope::Evidence],
        Topic::Calibration | Topic::Monitor(_) | Topic::Update => &[Scope::Mend],
        Topic::Sticks => STICKS,
        Topic::Readiness => REPORT,
    }
}

fn place_scopes(place: Place) -> &'static [Scope] {
    match place {
        // Whoever is in at all.
        Place::Menu | Place::Help => &Scope::ALL,
        Place::Day => &[Scope::Day],
        Place::Report => REPORT,
    }
}

fn may_press(button: &Button, scopes: &BTreeSet<Scope>) -> bool {
    let enough: &[Scope] = match button {
        // What a page's own button does was allowed when the page was opened.
        Button::UnlockFromStick | Button::Plain(_) => return true,
        Button::Acknowledge(_)
        | Button::Replace { .. }
        | Button::Part { .. }
        | Button::Close(_)
        | Button::Retry(_)
        | Button::Climb { .. }
        | Button::Levels(_)
        | Button::Level { .. }
        | Button::Keep(_)
        | Button::Recording { .. }
        | Button::Calibrate(_)
        | Button::UpdateFromStick
        | Button::TryNormally => &[Scope::Mend],
        Button::TestRest => &[Scope::Test],
        Button::Replenish { .. } => &[Scope::Paper],
        Button::RetryCase(_)
        | Button::CloseCase(_)
        | Button::ExportQueue
        | Button::ImportReceipts => &[Scope::Queue],
        Button::ExportLog { .. } => &[Scope::Mend, Scope::Evidence],
        Button::ExportEvidence => &[Scope::Evidence],
        Button::MakeReport | Button::SaveReport | Button::PrintReport => REPORT,
        Button::Daily { .. }
        | Button::OpenDay
        | Button::CloseDay
        | Button::PrintCheck
        | Button::PrintDay => &[Scope::Day],
    };
    has_any(scopes, enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(scopes: &[Scope]) -> BTreeSet<Scope> {
        scopes.iter().copied().collect()
    }

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    #[test]
    fn each_role_may_what_its_scopes_say_and_no_more() {
        let staff = scopes(&[Scope::Help, Scope::Day, Scope::Paper]);
        let vendor = scopes(&[Scope::Help, Scope::Test, Scope::Mend]);
        let inspector = scopes(&[Scope::Help, Scope::Evidence]);
        let nobody = scopes(&[]);
        let ticket = "00000000-0000-0000-0000-000000000001";
        let cases = [
            ("topic:devices", [true, true, true]),
            ("page:help", [true, true, true]),
            ("page:day", [true, false, false]),
            ("act:close-day", [true, false, false]),
            ("act:replenish:paper:printer", [true, false, false]),
            ("test:slip-printer.pattern:printer", [false, true, false]),
            ("act:retry:printer", [false, true, false]),
            ("act:climb:power-cycle:printer", [false, true, false]),
            ("act:try-normally", [false, true, false]),
            ("topic:update", [false, true, false]),
            ("act:update-from-stick", [false, true, false]),
            ("monitor:printer", [false, true, false]),
            ("topic:queue", [false, false, false]),
            ("act:export-queue", [false, false, false]),
            ("topic:evidence", [false, false, true]),
            ("act:export-evidence", [false, false, true]),
            ("topic:tickets", [false, true, true]),
            (&format!("act:close:{ticket}"), [false, true, false]),
            ("topic:configuration", [false, true, true]),
            ("topic:readiness", [false, true, true]),
        ];
        for (text, expected) in cases {
            let found = [&staff, &vendor, &inspector].map(|scopes| may(&id(text), scopes));
            assert_eq!(found, expected, "{text}");
            assert!(!may(&id(text), &nobody), "{text}");
        }
    }
}
