//! The daily check: a few questions that are answered by looking, then a test slip that the machine
//! judges. Two minutes; what was answered is kept, and printed where somebody wants it; the day is
//! opened or closed by it, and the numbers of a day that is closed come out on paper.

use kiosk_device::{DeviceClass, Supply};
use kiosk_ui::{Mark, StaffPage, StaffRow, StaffSection};

use super::ids::{Button, Id, Place, Plain};
use super::menu::{action, fact};
use super::testing::After;
use super::{Hand, Leaf, Mode, Sight};
use crate::selftest::{self, Verdict};
use crate::words::{fill, text};
use crate::workbench::Act;

/// What is looked at before the day, with the question and the short word for the list.
const OPENING: &[Question] = &[
    ("paper", "staff.ask-paper", "staff.check-paper"),
    ("glass", "staff.ask-glass", "staff.check-glass"),
    ("reader", "staff.ask-reader", "staff.check-reader"),
    ("camera", "staff.ask-camera", "staff.check-camera"),
    ("clock", "staff.ask-clock", "staff.check-clock"),
    ("place", "staff.ask-place", "staff.check-place"),
];
/// And after it: nothing of a visitor stays in the machine over night.
const CLOSING: &[Question] = &[
    ("left", "staff.ask-left", "staff.check-left"),
    ("paper", "staff.ask-paper", "staff.check-paper"),
    ("glass", "staff.ask-glass", "staff.check-glass"),
    ("place", "staff.ask-place", "staff.check-place"),
];
/// The name of the machine's own answer, and its short word.
const SLIP: &str = "slip";
const SLIP_WORD: &str = "staff.check-slip";

type Question = (&'static str, &'static str, &'static str);

/// What a check asks, in its order: the name under which the answer is kept, and the key of its short
/// word. The machine's own answer comes last.
pub(crate) fn checks_of(is_opening: bool) -> Vec<(&'static str, &'static str)> {
    let questions = if is_opening { OPENING } else { CLOSING };
    let asked = questions.iter().map(|(name, _, word)| (*name, *word));
    asked.chain([(SLIP, SLIP_WORD)]).collect()
}

/// A check on its way.
#[derive(Debug)]
pub(super) struct Daily {
    is_opening: bool,
    answers: Vec<bool>,
    stage: Stage,
    /// How the test slip was; nothing where there was none.
    slip: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asking,
    Testing,
    Done,
}

impl Daily {
    fn questions(&self) -> &'static [Question] {
        if self.is_opening { OPENING } else { CLOSING }
    }

    /// The test slip is on the glass in front of it.
    pub(super) fn is_testing(&self) -> bool {
        self.stage == Stage::Testing
    }

    /// Every answer by its name, as it is kept.
    fn record(&self) -> Vec<(String, bool)> {
        let names = self.questions().iter().map(|(name, _, _)| *name);
        let mut record: Vec<(String, bool)> = names
            .zip(&self.answers)
            .map(|(name, is_well)| (name.to_owned(), *is_well))
            .collect();
        if let Some(verdict @ (Verdict::Passed | Verdict::Failed)) = self.slip {
            record.push((SLIP.to_owned(), verdict == Verdict::Passed));
        }
        record
    }

    pub(super) fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let title = if self.is_opening {
            "staff.daily-open"
        } else {
            "staff.daily-close"
        };
        let mut page = StaffPage {
            name: "daily-check".to_owned(),
            title: text(lang, title).to_owned(),
            ..StaffPage::default()
        };
        let questions = self.questions();
        match (self.stage, questions.get(self.answers.len())) {
            (Stage::Asking, Some((name, ask, _))) => {
                let step = (self.answers.len() + 1).to_string();
                let of = questions.len().to_string();
                let step = fill(lang, "staff.step", &[("step", &step), ("of", &of)]);
                let time = sight.now.minute();
                let ask = fill(lang, ask, &[("time", &time)]);
                page.intro = format!("{step} {ask}");
                drawing(name).clone_into(&mut page.drawing);
                if *name == "paper"
                    && let Some(said) = paper_words(sight)
                {
                    text(lang, said).clone_into(&mut page.warning);
                }
                let own = |plain| Id::Act(Button::Plain(plain));
                page.actions = vec![
                    action(&own(Plain::Yes), text(lang, "staff.well")),
                    action(&own(Plain::No), text(lang, "staff.not-well")),
                ];
            }
            (Stage::Asking | Stage::Testing, _) => page.is_busy = true,
            (Stage::Done, _) => self.done_page(&mut page, sight),
        }
        page
    }

    /// The checklist as it was answered.
    fn done_page(&self, page: &mut StaffPage, sight: &Sight<'_>) {
        let lang = sight.lang;
        let mut rows: Vec<StaffRow> = self
            .questions()
            .iter()
            .zip(&self.answers)
            .map(|((_, _, word), is_well)| {
                let (key, mark) = if *is_well {
                    ("staff.well", Mark::Good)
                } else {
                    ("staff.not-well", Mark::Bad)
                };
                fact(text(lang, word), text(lang, key), mark)
            })
            .collect();
        if let Some(verdict) = self.slip {
            let word = text(lang, super::testing::verdict_word(verdict));
            let mark = super::facts::mark(verdict);
            rows.push(fact(text(lang, SLIP_WORD), word, mark));
        }
        let is_well = rows.iter().all(|row| row.mark == Mark::Good);
        if is_well {
            text(lang, "staff.daily-well").clone_into(&mut page.intro);
        } else {
            text(lang, "staff.daily-not-well").clone_into(&mut page.warning);
        }
        "daily-done".clone_into(&mut page.name);
        page.sections.push(StaffSection {
            title: sight.now.minute(),
            rows,
        });
        let menu = Id::Go(Place::Menu);
        page.actions
            .push(action(&menu, text(lang, "staff.to-menu")));
        if slip_printer(sight).is_some() {
            let print = Id::Act(Button::PrintCheck);
            page.actions
                .push(action(&print, text(lang, "staff.print-check")));
        }
    }
}

/// The printer of test slips and of the staff's own.
fn slip_printer(sight: &Sight<'_>) -> Option<String> {
    let mut devices = sight.devices.iter();
    devices
        .find(|(_, (class, _))| *class == DeviceClass::SlipPrinter)
        .map(|(device, _)| device.clone())
}

/// What shows where to look.
fn drawing(question: &str) -> &'static str {
    match question {
        "paper" => "paper-roll",
        "reader" => "reader",
        "camera" => "lens",
        _ => "",
    }
}

/// What the printers say about their paper themselves, when they say that it ends.
fn paper_words(sight: &Sight<'_>) -> Option<&'static str> {
    let is_paper =
        |class: DeviceClass| matches!(class, DeviceClass::SlipPrinter | DeviceClass::PagePrinter);
    let mut papers = sight
        .devices
        .values()
        .filter(|(class, _)| is_paper(*class))
        .map(|(_, status)| status.paper);
    if papers.clone().any(|paper| paper == Supply::Out) {
        Some("staff.paper-out")
    } else if papers.any(|paper| paper == Supply::Low) {
        Some("staff.paper-low")
    } else {
        None
    }
}

impl Mode {
    pub(super) fn begin_daily(&mut self, is_opening: bool, hand: &mut Hand<'_>) {
        let daily = Daily {
            is_opening,
            answers: Vec::new(),
            stage: Stage::Asking,
            slip: None,
        };
        self.open(Leaf::Daily(daily), hand);
    }

    /// An answer to the question on the glass; after the last one the test slip starts by itself.
    pub(super) fn daily_answer(&mut self, is_well: bool, hand: &mut Hand<'_>) {
        let Some(Leaf::Daily(daily)) = self.leaves.last_mut() else {
            return;
        };
        if daily.stage != Stage::Asking {
            return;
        }
        daily.answers.push(is_well);
        if daily.answers.len() < daily.questions().len() {
            return;
        }
        let printer = slip_printer(&hand.sight);
        let plan = selftest::plans_for(Some(DeviceClass::SlipPrinter)).next();
        if let (true, Some(plan), Some(printer)) = (daily.is_opening, plan, printer) {
            daily.stage = Stage::Testing;
            self.start_test(plan, &printer, After::DailyCheck, hand);
        } else {
            self.finish_daily(hand);
        }
    }

    /// The test slip has been judged.
    pub(super) fn daily_tested(&mut self, verdict: Verdict, hand: &mut Hand<'_>) {
        if let Some(Leaf::Daily(daily)) = self.leaves.last_mut() {
            daily.slip = Some(verdict);
        }
        self.finish_daily(hand);
    }

    fn finish_daily(&mut self, hand: &mut Hand<'_>) {
        let Some(Leaf::Daily(daily)) = self.leaves.last_mut() else {
            return;
        };
        daily.stage = Stage::Done;
        let (answers, is_opening) = (daily.record(), daily.is_opening);
        let kind = if is_opening { "open" } else { "close" };
        self.act(Act::Daily { kind, answers }, hand);
        if !is_opening && slip_printer(&hand.sight).is_some() {
            // The workbench does one thing after the other: the check is kept before its day is counted.
            self.print(Act::PrintDay, hand);
        }
        self.set_day_closed(!is_opening, hand);
    }
}
