//! Coming in: a code on the glass, a signed answer by the scanner, the document camera or a stick, a
//! second factor. What is typed is never shown and never kept; each challenge is used once, so that
//! after a refusal there is another one; while attempts are locked out none is taken.

use std::time::Duration;

use kiosk_device::Sensitive;
use kiosk_sealing::unlock::Role;
use kiosk_ui::{Choice, Key, Keypad, StaffPage};

use super::ids::{Button, Id, Plain};
use super::menu::{self, action};
use super::{Hand, Leaf, Mode, Pass, Reader, SHOW_LIMIT, Sight};
use crate::event::{Effect, Ending, Event, Frame, Lens, Ticket};
use crate::problem;
use crate::words::{fill, text};
use crate::workbench::{Found, Permission, Work};

/// Shortest and longest second factor. Specified with the accounts.
const PIN_LENGTH: std::ops::RangeInclusive<usize> = 6..=12;
/// What every signed answer begins with. Anything else that is held before the scanner, a slip for
/// instance, is no attempt.
const TOKEN: &str = "KU1:";
/// Between two looks of the document camera for a code. Chosen: as fast as a hand moves.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Where somebody is who wants to come in.
#[derive(Debug, Default)]
pub(super) struct Unlock {
    step: Step,
    /// The wait for a code, while the page is open.
    reading: Option<Ticket>,
    /// When the camera's picture was last looked through.
    looked_at: Option<Duration>,
    /// What the last refusal said; empty when nothing was refused.
    code: &'static str,
}

#[derive(Debug, Default)]
enum Step {
    /// Before anything was asked.
    #[default]
    Begun,
    /// A challenge is being made.
    Asking { ticket: Ticket, since: Duration },
    /// The challenge is on the glass.
    Shown { challenge: String },
    /// A signed answer is being looked at.
    Checking {
        challenge: String,
        ticket: Ticket,
        since: Duration,
    },
    /// Nobody may try until then.
    Locked { until: Duration },
    /// There is no challenge; asked again then.
    Paused { until: Duration },
    /// The second factor is being typed or compared.
    Pin {
        person: String,
        role: Role,
        typed: Sensitive<String>,
        checking: Option<(Ticket, Duration)>,
    },
}

impl Unlock {
    /// Ends the wait for a code.
    pub(super) fn stop(&mut self, hand: &mut Hand<'_>) {
        if let Some(ticket) = self.reading.take() {
            hand.effects.push(Effect::Cancel(ticket));
        }
    }

    /// Waits for a code by whatever reads codes now.
    fn read(&mut self, hand: &mut Hand<'_>) {
        if self.reading.is_some() {
            return;
        }
        let ticket = match hand.sight.reader {
            Reader::Scanner => {
                let ticket = hand.ticket();
                hand.effects.push(Effect::Scan(ticket));
                ticket
            }
            Reader::Camera => {
                let ticket = hand.ticket();
                hand.effects.push(Effect::Stream(ticket, Lens::Document));
                ticket
            }
            // Looked at again with each tick.
            Reader::None => return,
        };
        self.reading = Some(ticket);
    }

    /// Asks for a challenge; the one before is worth nothing any more.
    fn ask(&mut self, hand: &mut Hand<'_>) {
        self.stop(hand);
        let ticket = hand.ask(Work::Challenge);
        self.step = Step::Asking {
            ticket,
            since: hand.uptime(),
        };
    }

    pub(super) fn key(&mut self, key: Key) {
        let Step::Pin {
            typed,
            checking: None,
            ..
        } = &mut self.step
        else {
            return;
        };
        self.code = "";
        // Room for the longest from the start: nothing is copied about in memory.
        let mut text = String::with_capacity(*PIN_LENGTH.end());
        text.push_str(typed.expose());
        match key {
            Key::Char(digit) if digit.is_ascii_digit() && text.len() < *PIN_LENGTH.end() => {
                text.push(digit);
            }
            Key::Char(_) => {}
            Key::Delete => {
                text.pop();
            }
            Key::Clear => text.clear(),
        }
        *typed = Sensitive::new(text);
    }

    fn tick(&mut self, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        let is_late = |since: Duration| now >= since + SHOW_LIMIT;
        match &mut self.step {
            Step::Begun => self.ask(hand),
            Step::Asking { since, .. } if is_late(*since) => {
                self.code = "staff.no-answer";
                self.ask(hand);
            }
            Step::Checking { since, .. } if is_late(*since) => {
                self.code = "staff.no-answer";
                self.ask(hand);
            }
            Step::Locked { until } | Step::Paused { until } if now >= *until => self.ask(hand),
            Step::Pin { checking, .. } if checking.is_some_and(|(_, since)| is_late(since)) => {
                self.code = "staff.no-answer";
                self.ask(hand);
            }
            Step::Shown { .. } => self.read(hand),
            Step::Asking { .. }
            | Step::Checking { .. }
            | Step::Locked { .. }
            | Step::Paused { .. }
            | Step::Pin { .. } => {}
        }
    }

    /// A code was read.
    fn code(&mut self, code: &Sensitive<String>, hand: &mut Hand<'_>) {
        let Step::Shown { challenge } = &self.step else {
            return;
        };
        if !code.expose().starts_with(TOKEN) {
            self.code = MALFORMED;
            self.stop(hand);
            self.read(hand);
            return;
        }
        let challenge = challenge.clone();
        self.check(challenge, Work::Unlock { text: code.clone() }, hand);
    }

    /// Lets the workbench look at an answer.
    fn check(&mut self, challenge: String, work: Work, hand: &mut Hand<'_>) {
        self.stop(hand);
        self.code = "";
        hand.is_active = true;
        let ticket = hand.ask(work);
        self.step = Step::Checking {
            challenge,
            ticket,
            since: hand.uptime(),
        };
    }

    /// The ticket whose answer is waited for.
    fn waited(&self) -> Option<Ticket> {
        match &self.step {
            Step::Asking { ticket, .. } | Step::Checking { ticket, .. } => Some(*ticket),
            Step::Pin { checking, .. } => checking.map(|(ticket, _)| ticket),
            Step::Begun | Step::Shown { .. } | Step::Locked { .. } | Step::Paused { .. } => None,
        }
    }

    /// What was found, when it is neither a permission nor for somebody else.
    fn found(&mut self, found: &Found, hand: &mut Hand<'_>) {
        match found {
            Found::Challenge { text, wait_s } => {
                if *wait_s > 0 {
                    self.lock(*wait_s, hand);
                } else {
                    self.step = Step::Shown {
                        challenge: text.clone(),
                    };
                    self.read(hand);
                }
            }
            Found::NeedsPin { person, role } => {
                self.code = "";
                self.step = Step::Pin {
                    person: person.clone(),
                    role: *role,
                    typed: Sensitive::default(),
                    checking: None,
                };
            }
            Found::Refused { code, wait_s } => self.refused(code, *wait_s, hand),
            Found::Unlocked(_)
            | Found::PutOut { .. }
            | Found::Facts(_)
            | Found::Said { .. }
            | Found::Recorded { .. }
            | Found::Report { .. } => {}
        }
    }

    fn refused(&mut self, code: &'static str, wait_s: u32, hand: &mut Hand<'_>) {
        self.code = code;
        if wait_s > 0 {
            self.lock(wait_s, hand);
            return;
        }
        match &mut self.step {
            // A slip of the finger does not cost the whole way again; the workbench counts it.
            Step::Pin {
                typed, checking, ..
            } if code == WRONG_PIN => {
                *typed = Sensitive::default();
                *checking = None;
            }
            // Nothing was tried where there was nothing to look at.
            Step::Checking { challenge, .. } if is_no_attempt(code) => {
                let challenge = std::mem::take(challenge);
                self.step = Step::Shown { challenge };
                self.read(hand);
            }
            // Without a challenge nobody comes in; asking at once again would ask for ever.
            Step::Asking { .. } => {
                self.step = Step::Paused {
                    until: hand.uptime() + SHOW_LIMIT,
                };
            }
            Step::Begun
            | Step::Shown { .. }
            | Step::Checking { .. }
            | Step::Locked { .. }
            | Step::Paused { .. }
            | Step::Pin { .. } => self.ask(hand),
        }
    }

    fn lock(&mut self, wait_s: u32, hand: &mut Hand<'_>) {
        self.stop(hand);
        self.step = Step::Locked {
            until: hand.uptime() + Duration::from_secs(u64::from(wait_s)),
        };
    }

    pub(super) fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let mut page = StaffPage {
            name: "unlock".to_owned(),
            title: text(lang, "staff.unlock").to_owned(),
            ..StaffPage::default()
        };
        if !self.code.is_empty() {
            let problem = problem::get(self.code);
            page.warning = format!("{} {}", problem.title(lang), problem.advice(lang));
        }
        match &self.step {
            Step::Begun | Step::Asking { .. } => {
                text(lang, "staff.unlock-wait").clone_into(&mut page.intro);
                page.is_busy = true;
            }
            Step::Shown { challenge } => {
                let how = match sight.reader {
                    Reader::Scanner => "staff.unlock-scanner",
                    Reader::Camera => "staff.unlock-camera",
                    Reader::None => "staff.unlock-no-reader",
                };
                page.intro = format!("{} {}", text(lang, "staff.unlock-how"), text(lang, how));
                page.code = Some(challenge.clone());
                let from_stick = Id::Act(Button::UnlockFromStick);
                page.actions.push(Choice {
                    is_quiet: true,
                    ..action(&from_stick, text(lang, "staff.unlock-from-stick"))
                });
            }
            Step::Checking { .. } => {
                text(lang, "staff.unlock-checking").clone_into(&mut page.intro);
                page.is_busy = true;
            }
            Step::Paused { .. } => text(lang, "staff.unlock-paused").clone_into(&mut page.intro),
            Step::Locked { until } => {
                let left = until.saturating_sub(sight.now.uptime);
                let wait = menu::minutes_and_seconds(left);
                page.intro = fill(lang, "staff.unlock-locked", &[("time", &wait)]);
                "locked".clone_into(&mut page.name);
            }
            Step::Pin {
                person,
                role,
                typed,
                checking,
            } => {
                "pin".clone_into(&mut page.name);
                let role = text(lang, menu::role_key(*role));
                let values = [("person", person.as_str()), ("role", role)];
                page.intro = fill(lang, "staff.pin", &values);
                page.value = "●".repeat(typed.expose().chars().count());
                page.keypad = Keypad::Digits;
                page.is_busy = checking.is_some();
                let go = Id::Act(Button::Plain(Plain::Next));
                let mut go = action(&go, text(lang, "staff.pin-go"));
                if !PIN_LENGTH.contains(&typed.expose().len()) {
                    text(lang, "staff.pin-length").clone_into(&mut go.unavailable);
                }
                if checking.is_none() {
                    page.actions.push(go);
                }
            }
        }
        page
    }
}

/// It is no signed answer at all.
const MALFORMED: &str = "unlock.malformed";
/// The second factor was wrong; it may be typed again.
const WRONG_PIN: &str = "unlock.wrong-pin";

/// True when there was no answer to look at, so that the challenge on the glass is still good: a stick
/// without one, a stick that cannot be read, a text that is none.
fn is_no_attempt(code: &str) -> bool {
    let is_none = ["unlock.not-on-stick", MALFORMED, "unlock.too-long"].contains(&code);
    is_none || code.starts_with("stick.")
}

impl Mode {
    /// Begins to let somebody in.
    pub(super) fn challenge(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Unlock(unlock)) = self.leaves.last_mut() {
            unlock.ask(hand);
        }
    }

    pub(super) fn unlock_tick(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Unlock(unlock)) = self.leaves.last_mut() {
            unlock.tick(hand);
        }
    }

    pub(super) fn unlock_from_stick(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Unlock(unlock)) = self.leaves.last_mut()
            && let Step::Shown { challenge } = &unlock.step
        {
            let challenge = challenge.clone();
            unlock.check(challenge, Work::UnlockFromStick, hand);
        }
    }

    /// The second factor has been typed.
    pub(super) fn enter_pin(&mut self, hand: &mut Hand<'_>) {
        let Some(Leaf::Unlock(unlock)) = self.leaves.last_mut() else {
            return;
        };
        if let Step::Pin {
            typed, checking, ..
        } = &mut unlock.step
            && checking.is_none()
            && PIN_LENGTH.contains(&typed.expose().len())
        {
            let pin = std::mem::take(typed);
            let ticket = hand.ask(Work::Pin { pin });
            *checking = Some((ticket, hand.uptime()));
        }
    }

    /// Codes and pictures, while the challenge is on the glass.
    pub(super) fn unlock_event(&mut self, event: &Event, hand: &mut Hand<'_>) {
        let Some(Leaf::Unlock(unlock)) = self.leaves.last_mut() else {
            return;
        };
        let is_ours = |ticket: &Ticket| unlock.reading == Some(*ticket);
        if let Event::Code(ticket, code) = event {
            if is_ours(ticket) {
                unlock.code(code, hand);
            }
        } else if let Event::CodeEnded(ticket, ending) | Event::CameraEnded(ticket, ending) = event
        {
            if is_ours(ticket) {
                unlock.reading = None;
                // A reader that has failed is tried again with the next tick.
                if *ending == Ending::TimeOut {
                    unlock.read(hand);
                }
            }
        } else if let Event::Frame(ticket, frame) = event
            && is_ours(ticket)
        {
            unlock.look(*ticket, frame, hand);
        }
    }

    /// An answer of the workbench before the unlocking.
    pub(super) fn unlock_found(&mut self, ticket: Ticket, found: &Found, hand: &mut Hand<'_>) {
        let Some(Leaf::Unlock(unlock)) = self.leaves.last_mut() else {
            return;
        };
        if unlock.waited() != Some(ticket) {
            return;
        }
        hand.is_active = true;
        if let Found::Unlocked(permission) = found {
            unlock.stop(hand);
            self.come_in(permission, hand);
        } else {
            unlock.found(found, hand);
        }
    }

    fn come_in(&mut self, permission: &Permission, hand: &Hand<'_>) {
        let minutes = u64::from(permission.minutes);
        self.pass = Some(Pass {
            permission: permission.clone(),
            until: hand.uptime() + Duration::from_mins(minutes),
        });
        self.leaves = vec![Leaf::Menu];
    }
}

impl Unlock {
    fn look(&mut self, ticket: Ticket, frame: &Frame, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        if self.looked_at.is_none_or(|at| now >= at + LOOK_INTERVAL) {
            self.looked_at = Some(now);
            hand.effects
                .push(Effect::Decode(ticket, frame.jpeg.clone()));
        }
    }
}
