//! A guided test on the glass: its pages, its end, and what its outcome changes. A failed device
//! serves no visitors until a test of it passes; how it was before stands beside how it is now.

use std::collections::VecDeque;

use kiosk_ui::{Choice, Mark, Pattern, StaffPage, StaffRow, StaffSection, Touch};
use uuid::Uuid;

use super::facts::mark;
use super::ids::{Button, Id, Plain};
use super::menu::{action, fact, row};
use super::{Hand, Leaf, Mode, Said, Sight, access};
use crate::event::{Event, Standing, Ticket};
use crate::problem;
use crate::selftest::{self, Outcome, Plan, Run, Setting, Verdict, figure_name, figure_value};
use crate::words::{Lang, fill, text};
use crate::workbench::{Act, Topic, remedy};

/// A test that runs.
#[derive(Debug)]
pub(super) struct Testing {
    run: Run,
    after: After,
}

/// What a test is followed by.
#[derive(Debug)]
pub(super) enum After {
    /// It is the end of the daily check.
    DailyCheck,
    /// It was chosen alone.
    Nothing,
    /// It is one of a row: further tests, by plan and device, as long as they pass.
    Others(VecDeque<(String, String)>),
}

/// A test that is over.
#[derive(Debug)]
pub(super) struct Ended {
    outcome: Outcome,
    /// The outcome before this one.
    before: Option<Outcome>,
    /// The act that keeps it, on its way.
    kept_by: Option<Ticket>,
    /// The ticket that it opened or proved to be mended.
    ticket: Option<Uuid>,
    after: After,
}

impl Testing {
    /// Lets go of every device; nothing when it is over already.
    pub(super) fn cancel(&mut self, hand: &mut Hand<'_>) {
        let effects = self.run.cancel();
        hand.effects.extend(effects);
    }

    pub(super) fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let test = self.run.page(lang, sight.now);
        let (step, of) = test.step;
        let values = [("step", step.to_string()), ("of", of.to_string())];
        let values = values
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let figures: Vec<StaffRow> = test
            .figures
            .iter()
            .map(|(name, value)| fact(name, value, Mark::None))
            .collect();
        let mut sections = Vec::new();
        if !figures.is_empty() {
            sections.push(StaffSection {
                title: text(lang, "staff.measured").to_owned(),
                rows: figures,
            });
        }
        StaffPage {
            name: "test".to_owned(),
            title: test.title,
            intro: format!("{} {}", fill(lang, "staff.step", &values), test.words),
            is_busy: test.answers.is_empty() && test.pattern == Pattern::None,
            code: test.code,
            picture: test.picture,
            drawing: test.drawing,
            sections,
            actions: test.answers,
            pattern: test.pattern,
            ..StaffPage::default()
        }
    }
}

impl Ended {
    pub(super) fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let outcome = &self.outcome;
        let mut page = StaffPage {
            name: "outcome".to_owned(),
            title: text(lang, plan_key(&outcome.test)).to_owned(),
            ..StaffPage::default()
        };
        let words = text(lang, verdict_key(outcome.verdict));
        if outcome.verdict == Verdict::Failed {
            words.clone_into(&mut page.warning);
        } else {
            words.clone_into(&mut page.intro);
        }
        if !outcome.problem.is_empty() {
            let problem = problem::get(&outcome.problem);
            problem.picture.clone_into(&mut page.drawing);
            let rows = vec![
                StaffRow {
                    detail: outcome.problem.clone(),
                    ..fact(problem.title(lang), "", mark(outcome.verdict))
                },
                StaffRow {
                    label: text(lang, action_key(&problem.action)).to_owned(),
                    detail: remedy(&outcome.problem, lang),
                    ..StaffRow::default()
                },
            ];
            page.sections.push(StaffSection {
                title: text(lang, "staff.what-to-do").to_owned(),
                rows,
            });
        }
        if let Some(before) = &self.before {
            page.sections.push(compared(lang, before, outcome));
        }
        let seconds = outcome.took_ms.div_ceil(1000).to_string();
        let took = fill(lang, "staff.seconds", &[("seconds", &seconds)]);
        let mut rows: Vec<StaffRow> = outcome
            .figures
            .iter()
            .map(|(name, value)| figure(lang, name, value))
            .collect();
        rows.push(fact(text(lang, "staff.took"), took, Mark::None));
        page.sections.push(StaffSection {
            title: text(lang, "staff.measured").to_owned(),
            rows,
        });
        if !outcome.device.is_empty() {
            let device = Id::Open(Topic::Device(outcome.device.clone()));
            page.sections.push(StaffSection {
                rows: vec![row(&device, text(lang, "staff.to-device"))],
                ..StaffSection::default()
            });
        }
        page.actions = self.ways(lang);
        page
    }

    /// What comes next, the likeliest first.
    fn ways(&self, lang: Lang) -> Vec<Choice> {
        let own = |plain, key| action(&Id::Act(Button::Plain(plain)), text(lang, key));
        let again = own(Plain::Again, "staff.test-again");
        let ticket = self.ticket.map(|id| Id::Open(Topic::Ticket(id)));
        let to_ticket = |key| ticket.as_ref().map(|id| action(id, text(lang, key)));
        let next = if let After::Others(rest) = &self.after {
            let left = rest.len().to_string();
            (!rest.is_empty()).then(|| Choice {
                detail: fill(lang, "staff.tests-left", &[("count", &left)]),
                ..own(Plain::Next, "staff.test-next")
            })
        } else {
            None
        };
        let ways = match self.outcome.verdict {
            Verdict::Passed => {
                let done = || own(Plain::Next, "staff.test-done");
                let first = to_ticket("staff.to-mended").or_else(|| next.is_none().then(done));
                [first, next, Some(again)]
            }
            Verdict::Failed => [Some(again), to_ticket("staff.to-ticket"), next],
            Verdict::Skipped | Verdict::Canceled => [next, Some(again), None],
        };
        ways.into_iter().flatten().collect()
    }
}

/// A figure in words.
fn figure(lang: Lang, name: &str, value: &str) -> StaffRow {
    let words = figure_value(lang, name, value);
    fact(&figure_name(lang, name), words, Mark::None)
}

/// Before and after, side by side: the verdict, and each figure that was measured both times and moved.
fn compared(lang: Lang, before: &Outcome, after: &Outcome) -> StaffSection {
    let mut rows = vec![fact(
        text(lang, "staff.verdict"),
        format!(
            "{} → {}",
            text(lang, verdict_word(before.verdict)),
            text(lang, verdict_word(after.verdict))
        ),
        mark(after.verdict),
    )];
    for (name, new) in &after.figures {
        let Some(old) = before.figures.get(name).filter(|old| *old != new) else {
            continue;
        };
        let words = |value| figure_value(lang, name, value);
        let changed = format!("{} → {}", words(old), words(new));
        rows.push(fact(&figure_name(lang, name), changed, Mark::None));
    }
    StaffSection {
        title: text(lang, "staff.before-after").to_owned(),
        rows,
    }
}

/// The texts have a title under the id of each test.
fn plan_key(test: &str) -> &'static str {
    selftest::plan(test).map_or("staff.tests", |plan| plan.id)
}

pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "staff.passed",
        Verdict::Failed => "staff.failed",
        Verdict::Skipped => "staff.skipped",
        Verdict::Canceled => "staff.canceled",
    }
}

fn verdict_key(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "staff.has-passed",
        Verdict::Failed => "staff.has-failed",
        Verdict::Skipped => "staff.was-skipped",
        Verdict::Canceled => "staff.was-canceled",
    }
}

/// Who acts, by the word of XFS4IoT.
pub(super) fn action_key(action: &str) -> &'static str {
    match action {
        "reset" => "staff.acts-machine",
        "clear" => "staff.acts-village",
        "configuration" => "staff.acts-city",
        "suspend" => "staff.acts-vendor",
        _ => "staff.acts-technician",
    }
}

/// Remembers whether the device may serve visitors: as long as one of its tests has failed it may not.
pub(super) fn keep(standing: &mut Standing, test: &str, device: &str, has_passed: bool) {
    if device.is_empty() {
        return;
    }
    if has_passed {
        if let Some(tests) = standing.failed_tests.get_mut(device) {
            tests.remove(test);
        }
        standing.failed_tests.retain(|_, tests| !tests.is_empty());
    } else {
        let tests = standing.failed_tests.entry(device.to_owned()).or_default();
        tests.insert(test.to_owned());
    }
}

impl Mode {
    /// Begins a test that was chosen; one of a device that is not here does not exist.
    pub(super) fn begin_test(&mut self, test: &str, device: &str, hand: &mut Hand<'_>) {
        if let Some(plan) = known(test, device, hand) {
            self.start_test(plan, device, After::Nothing, hand);
        }
    }

    /// The tests of the page that have not passed, one after another for as long as they pass.
    pub(super) fn test_rest(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Facts(page)) = self.leaves.last() {
            let rest = page.tests_to_pass();
            self.test_first_of(rest, hand);
        }
    }

    /// On from an outcome: to the next test, else back.
    pub(super) fn test_next(&mut self, hand: &mut Hand<'_>) {
        let Some(Leaf::Outcome(ended)) = self.leaves.last_mut() else {
            return;
        };
        let after = std::mem::replace(&mut ended.after, After::Nothing);
        match after {
            After::Others(rest) if !rest.is_empty() => {
                self.leaves.pop();
                self.test_first_of(rest, hand);
            }
            After::Others(_) | After::Nothing | After::DailyCheck => self.back(hand),
        }
    }

    /// Begins the first that there is, for a device may have gone meanwhile; without one the page below
    /// shows what has passed.
    fn test_first_of(&mut self, mut rest: VecDeque<(String, String)>, hand: &mut Hand<'_>) {
        while let Some((test, device)) = rest.pop_front() {
            if let Some(plan) = known(&test, &device, hand) {
                self.start_test(plan, &device, After::Others(rest), hand);
                return;
            }
        }
        self.said = Some((Said::Text("staff.tests-over"), true));
        self.renew(hand);
    }

    /// The outcome on the glass; ways to what this person may not see are not on it.
    pub(super) fn outcome_page(&self, ended: &Ended, sight: &Sight<'_>) -> StaffPage {
        let mut page = ended.page(sight);
        let may =
            |way: &Choice| Id::parse(&way.id).is_some_and(|id| access::may(&id, self.scopes()));
        page.actions.retain(may);
        page
    }

    /// The outcome is kept; its ticket is one touch away.
    pub(super) fn outcome_kept(&mut self, act: Ticket, of_outcome: Option<Uuid>) {
        if let Some(Leaf::Outcome(ended)) = self.leaves.last_mut()
            && ended.kept_by == Some(act)
        {
            ended.ticket = of_outcome;
        }
    }

    /// The same test once more.
    pub(super) fn test_again(&mut self, hand: &mut Hand<'_>) {
        let Some(Leaf::Outcome(ended)) = self.leaves.last_mut() else {
            return;
        };
        let (test, device) = (ended.outcome.test.clone(), ended.outcome.device.clone());
        let after = std::mem::replace(&mut ended.after, After::Nothing);
        self.leaves.pop();
        if let Some(plan) = known(&test, &device, hand) {
            self.start_test(plan, &device, after, hand);
        }
    }

    pub(super) fn start_test(
        &mut self,
        plan: &'static Plan,
        device: &str,
        after: After,
        hand: &mut Hand<'_>,
    ) {
        self.leave_leaf(hand);
        let setting = Setting {
            devices: hand.sight.devices.clone(),
            is_online: hand.sight.is_online,
            upstreams: hand.sight.upstreams.clone(),
            has_person: true,
        };
        let now = hand.sight.now;
        let (run, effects) = Run::begin(plan, device, &setting, &mut || hand.ticket(), now);
        hand.effects.extend(effects);
        let testing = Box::new(Testing { run, after });
        self.open(Leaf::Testing(testing), hand);
        self.settle_test(hand);
    }

    /// Everything that happens while a test runs is the test's to know.
    pub(super) fn test_event(&mut self, event: &Event, hand: &mut Hand<'_>) {
        let Some(Leaf::Testing(testing)) = self.leaves.last_mut() else {
            return;
        };
        // The ways out are the mode's.
        if matches!(event, Event::Touch(Touch::Back | Touch::Leave)) {
            return;
        }
        let now = hand.sight.now;
        let effects = testing.run.apply(event, &mut || hand.ticket(), now);
        hand.effects.extend(effects);
        self.settle_test(hand);
    }

    /// Stops the test that is on the glass; that it was stopped is recorded too.
    pub(super) fn cancel_test(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Testing(testing)) = self.leaves.last_mut() {
            testing.cancel(hand);
            let outcome = testing.run.outcome().cloned();
            self.leaves.pop();
            if let Some(outcome) = outcome {
                self.act(Act::Record(Box::new(outcome)), hand);
            }
        }
    }

    /// A test that is over is recorded, and counts for the visitors.
    fn settle_test(&mut self, hand: &mut Hand<'_>) {
        let Some(Leaf::Testing(testing)) = self.leaves.last() else {
            return;
        };
        let Some(outcome) = testing.run.outcome().cloned() else {
            return;
        };
        let Some(Leaf::Testing(testing)) = self.leaves.pop() else {
            return;
        };
        hand.is_active = true;
        let verdict = outcome.verdict;
        let has_passed = verdict == Verdict::Passed;
        let is_nothing = outcome.problem == selftest::NO_SENSOR;
        if has_passed || verdict == Verdict::Failed {
            keep(
                &mut hand.standing,
                &outcome.test,
                &outcome.device,
                has_passed,
            );
        }
        let kept_by = self.act(Act::Record(Box::new(outcome.clone())), hand);
        let key = (outcome.test.clone(), outcome.device.clone());
        let before = self.outcomes.insert(key, outcome.clone());
        match testing.after {
            After::DailyCheck => self.daily_tested(verdict, hand),
            After::Others(rest) if (has_passed || is_nothing) && kept_by.is_some() => {
                self.test_first_of(rest, hand);
            }
            after @ (After::Others(_) | After::Nothing) => {
                let ended = Ended {
                    outcome,
                    before,
                    kept_by,
                    ticket: None,
                    after,
                };
                self.open(Leaf::Outcome(Box::new(ended)), hand);
            }
        }
    }
}

/// The plan of a test, where there is that device for it.
fn known(test: &str, device: &str, hand: &Hand<'_>) -> Option<&'static Plan> {
    let class = hand.sight.devices.get(device).map(|(class, _)| *class);
    let plan = selftest::plan(test)?;
    let is_here = plan.class == class && (class.is_some() || device.is_empty());
    is_here.then_some(plan)
}
