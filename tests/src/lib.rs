//! A visit without glass, metal or line: the real session and the real item packages, driven by
//! events, with a clock that only moves when told. Replays and random days are made of it.

pub mod fuzz;
pub mod random;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiosk_app::catalogue::Catalogue;
use kiosk_app::clock::Moment;
use kiosk_app::event::{Commitment, Effect, Event, Frame, Ticket};
use kiosk_app::person::{Person, Source};
use kiosk_app::session::{Session, Site};
use kiosk_device::{DeviceClass, Media, Sensitive, Status};
use kiosk_ui::{Key, Picture, Touch, View};
use uuid::Uuid;

/// A terminal reduced to its visit.
#[derive(Debug)]
pub struct Stage {
    /// The session under test.
    pub session: Session,
    /// Effects that nobody has answered yet, oldest first.
    pub effects: VecDeque<Effect>,
    now: Moment,
}

/// 2026-11-22 09:41 at the terminal.
const START: i64 = 1_795_311_660;

impl Stage {
    /// A terminal with every device ready and the line up, at its attract screen.
    ///
    /// # Panics
    /// When the built-in items are wrong.
    pub fn new() -> Self {
        let items = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiosk-app/items");
        let catalogue = Catalogue::load(&items);
        assert!(catalogue.mistakes.is_empty(), "{:?}", catalogue.mistakes);
        let site = Site {
            name: "测试村".to_owned(),
            terminal: "T001".to_owned(),
            help_phone: "12345".to_owned(),
            board: Vec::new(),
        };
        let mut stage = Self {
            session: Session::new(Arc::new(catalogue), site),
            effects: VecDeque::new(),
            now: Moment {
                at: Timestamp::constant(START, 0),
                uptime: Duration::from_secs(100),
            },
        };
        for class in [
            DeviceClass::IdCard,
            DeviceClass::QrScanner,
            DeviceClass::SlipPrinter,
            DeviceClass::PagePrinter,
            DeviceClass::Camera,
        ] {
            stage.status(class, Status::online());
        }
        stage.send(Event::Link(true));
        stage
    }

    /// One event.
    pub fn send(&mut self, event: Event) {
        let effects = self.session.apply(event, self.now);
        self.effects.extend(effects);
    }

    /// One touch.
    pub fn touch(&mut self, touch: Touch) {
        self.send(Event::Touch(touch));
    }

    /// A choice by its id.
    pub fn choose(&mut self, id: &str) {
        self.touch(Touch::Choose(id.to_owned()));
    }

    /// Keys, one after the other.
    pub fn type_keys(&mut self, keys: &str) {
        for key in keys.chars() {
            self.touch(Touch::Key(Key::Char(key)));
        }
    }

    /// A new status of the only device of a class.
    pub fn status(&mut self, class: DeviceClass, status: Status) {
        self.send(Event::Status {
            class,
            device: class.name().to_owned(),
            status,
        });
    }

    /// A card lies on the reader, or none does.
    pub fn card_lies(&mut self, media: Media) {
        let status = Status {
            media,
            ..Status::online()
        };
        self.status(DeviceClass::IdCard, status);
    }

    /// Lets time pass, a tick a second.
    pub fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.uptime += Duration::from_secs(1);
            self.now.at = self
                .now
                .at
                .saturating_add(Duration::from_secs(1))
                .unwrap_or(self.now.at);
            self.send(Event::Tick);
        }
    }

    /// What the glass shows.
    pub fn view(&self) -> View {
        self.session.view(self.now)
    }

    /// The name of the page.
    pub fn screen(&self) -> &'static str {
        self.view().screen.name()
    }

    /// The ticket of the oldest open request for a card.
    pub fn card_ticket(&mut self) -> Option<Ticket> {
        self.ticket(|effect| {
            if let Effect::ReadCard(ticket) = effect {
                Some(*ticket)
            } else {
                None
            }
        })
    }

    /// Takes the newest effect that `pick` knows.
    pub fn ticket<T>(&mut self, pick: impl Fn(&Effect) -> Option<T>) -> Option<T> {
        let at = self
            .effects
            .iter()
            .rposition(|effect| pick(effect).is_some())?;
        let effect = self.effects.remove(at)?;
        pick(&effect)
    }

    /// A card is read.
    ///
    /// # Panics
    /// When nobody waits for one.
    pub fn read_card(&mut self, person: Person) {
        let ticket = self.card_ticket().expect("somebody waits for a card");
        self.send(Event::CardFound(ticket));
        self.send(Event::Card(ticket, Box::new(person)));
    }

    /// A camera sends a picture to whoever streams.
    ///
    /// # Panics
    /// When nobody streams.
    pub fn picture(&mut self) {
        let stream = |effect: &Effect| {
            if let Effect::Stream(ticket, _) = effect {
                Some(*ticket)
            } else {
                None
            }
        };
        let ticket = self.ticket(stream).expect("somebody streams");
        self.send(Event::Frame(ticket, frame()));
    }

    /// Answers the commitment that the visit asked for.
    ///
    /// # Panics
    /// When nothing was to be committed.
    pub fn commit(&mut self) -> Commitment {
        let commit = |effect: &Effect| {
            if let Effect::Commit(ticket, submission) = effect {
                Some((*ticket, submission.item.clone()))
            } else {
                None
            }
        };
        let (ticket, item) = self.ticket(commit).expect("a commitment");
        let commitment = commitment(&item);
        self.send(Event::Committed(ticket, commitment.clone()));
        commitment
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// A durable transaction as the queue would report it.
pub fn commitment(item: &str) -> Commitment {
    Commitment {
        id: Uuid::from_u128(1),
        number: "T001-20261122-00001".to_owned(),
        item: item.to_owned(),
        time: "2026-11-22 09:41".to_owned(),
        digest: "0123456789ab".to_owned(),
        code: "KC1.T001-20261122-00001.202611220941.0123456789ab.x".to_owned(),
    }
}

/// A grey picture of two pixels.
pub fn frame() -> Frame {
    Frame {
        preview: Picture {
            width: 2,
            height: 1,
            rgb: Arc::new(vec![128; 6]),
        },
        jpeg: Arc::new(Sensitive::new(vec![0xFF, 0xD8])),
    }
}

/// A synthetic adult, born 1990.
pub fn adult() -> Person {
    from_card("测试甲", "440100199001011237")
}

/// A synthetic elder, born 1950.
pub fn elder() -> Person {
    from_card("测试㛃", "440100195003030021")
}

fn from_card(name: &str, number: &str) -> Person {
    Person {
        name: Sensitive::new(name.to_owned()),
        source: Source::Card,
        ..Person::from_number(number)
    }
}
