//! What a villager does at the glass: looks at the page, does the next thing, sometimes changes
//! their mind. Everything is decided from the view alone, as a person would.

use kiosk_app::person::Person;
use kiosk_ui::{Keypad, Screen, Touch, View};

use crate::people::Villager;
use kiosk_tests::random::Random;

/// Things one visitor does at most; a visit of somebody who does everything twice has some sixty.
const ACTS_MAX: u32 = 160;
/// Seconds one visitor waits at most before going home.
const WAITS_MAX: u32 = 120;

/// One thing a person does.
#[derive(Debug)]
pub(crate) enum Act {
    /// Touches the glass.
    Touch(Touch),
    /// Types on the keypad.
    Type(String),
    /// Lays a card on the reader.
    LayCard(Box<Person>),
    /// Stands or holds something before the camera.
    Show,
    /// Waits a moment.
    Wait,
    /// Is gone.
    GoHome,
}

/// A person before the terminal.
pub(crate) struct Visitor {
    item: &'static str,
    /// Cards in the order in which they are asked for.
    cards: Vec<Person>,
    answers: Vec<String>,
    laid: usize,
    typed: usize,
    acts: u32,
    waits: u32,
    has_started: bool,
    has_chosen: bool,
}

impl Visitor {
    /// Somebody who comes for an item, perhaps with a helper who acts for them.
    pub(crate) fn new(item: &'static str, who: &Villager, helper: Option<&Villager>) -> Self {
        let mut cards: Vec<Person> = helper.iter().map(|helper| helper.card()).collect();
        cards.push(who.card());
        Self {
            item,
            cards,
            answers: vec![who.phone.clone(), who.account.clone()],
            laid: 0,
            typed: 0,
            acts: 0,
            waits: 0,
            has_started: false,
            has_chosen: false,
        }
    }

    /// What this person does now.
    pub(crate) fn act(&mut self, view: &View, random: &mut Random) -> Act {
        self.acts += 1;
        if self.acts > ACTS_MAX || self.waits > WAITS_MAX {
            return Act::GoHome;
        }
        // Some change their mind; where the page does not allow it, nothing happens.
        if self.has_chosen && random.happens(6) {
            return Act::Touch(if random.happens(500) {
                Touch::Leave
            } else {
                Touch::Back
            });
        }
        let act = self.decide(&view.screen, random);
        if matches!(act, Act::Wait) {
            self.waits += 1;
        }
        act
    }

    fn decide(&mut self, screen: &Screen, random: &mut Random) -> Act {
        let next = Act::Touch(Touch::Next);
        let leave = Act::Touch(Touch::Leave);
        match screen {
            Screen::Starting | Screen::Working { .. } => Act::Wait,
            Screen::Attract { .. } if self.has_started => Act::GoHome,
            Screen::Attract { .. } => {
                self.has_started = true;
                Act::Touch(Touch::Start)
            }
            Screen::Home { .. } if self.has_chosen => leave,
            Screen::Home { .. } => {
                self.has_chosen = true;
                choose(self.item)
            }
            Screen::Introduction { unavailable, .. } if unavailable.is_empty() => {
                choose(if self.cards.len() > 1 {
                    "other"
                } else {
                    "self"
                })
            }
            Screen::Identify { .. } => self.lay_card(),
            Screen::Question {
                keypad: Keypad::None,
                options,
                ..
            } => options
                .get(random.index(options.len()))
                .map_or(leave, |option| choose(&option.id)),
            Screen::Question {
                value,
                can_continue,
                ..
            } => self.answer(value, *can_continue),
            Screen::Face { live, .. } if live.is_none() => Act::Show,
            Screen::Capture { live, taken, .. } if live.is_none() && taken.is_none() => Act::Show,
            Screen::Done { .. } if random.happens(500) => Act::Wait,
            Screen::Rating { levels, chosen } if chosen.is_empty() && random.happens(700) => levels
                .get(random.index(levels.len()))
                .map_or(next, |level| choose(&level.id)),
            Screen::Problem { ways, .. } if random.happens(300) => {
                ways.first().map_or(leave, |way| choose(&way.id))
            }
            Screen::ConfirmPerson { .. }
            | Screen::Consent { .. }
            | Screen::Review { .. }
            | Screen::Face { .. }
            | Screen::Capture { .. }
            | Screen::Done { .. }
            | Screen::Rating { .. }
            | Screen::Leave { .. }
            | Screen::Staff(_) => next,
            Screen::Introduction { .. }
            | Screen::Preview { .. }
            | Screen::Scan { .. }
            | Screen::Problem { .. } => leave,
        }
    }

    fn lay_card(&mut self) -> Act {
        let card = self.cards[self.laid % self.cards.len()].clone();
        self.laid += 1;
        Act::LayCard(Box::new(card))
    }

    fn answer(&mut self, value: &str, can_continue: bool) -> Act {
        if can_continue {
            return Act::Touch(Touch::Next);
        }
        // Half an answer from an earlier try, or another question than expected: leave it.
        let Some(answer) = self.answers.get(self.typed).filter(|_| value.is_empty()) else {
            return Act::Touch(Touch::Leave);
        };
        self.typed += 1;
        Act::Type(answer.clone())
    }
}

fn choose(id: &str) -> Act {
    Act::Touch(Touch::Choose(id.to_owned()))
}
