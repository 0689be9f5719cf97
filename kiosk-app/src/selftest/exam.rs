//! Several guided tests one after another without the glass: what `kiosk selftest` runs, in the running
//! terminal or beside it. Pure as the tests themselves. Its tickets are never those of a visit, so that
//! neither takes the other's answers.

use kiosk_device::DeviceClass;

use super::{Outcome, Plan, Run, Setting, plans};
use crate::clock::Moment;
use crate::event::{Effect, Event, Ticket};

/// Tickets from here on are those of exams; a visit counts from one and never gets here.
const FIRST_TICKET: u64 = 1 << 62;

/// Which tests are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those of this device.
    pub device: Option<String>,
    /// Only this one, by its id.
    pub test: Option<String>,
}

impl Wanted {
    /// The tests that are meant, in the order of the plans; `devices` is the terminal's list.
    ///
    /// # Errors
    /// In words: no such device or test, or they do not fit.
    pub fn choose(
        &self,
        devices: &[(String, DeviceClass)],
    ) -> Result<Vec<(&'static Plan, String)>, String> {
        if let Some(wanted) = &self.device
            && !devices.iter().any(|(id, _)| id == wanted)
        {
            let known: Vec<&str> = devices.iter().map(|(id, _)| id.as_str()).collect();
            return Err(format!(
                "no device {wanted:?}; there are: {}",
                known.join(", ")
            ));
        }
        if let Some(test) = &self.test
            && super::plan(test).is_none()
        {
            let known: Vec<&str> = plans().iter().map(|plan| plan.id).collect();
            return Err(format!("no test {test:?}; there are: {}", known.join(", ")));
        }
        let is_wanted =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let mut chosen = Vec::new();
        for plan in plans().iter().filter(|plan| is_wanted(&self.test, plan.id)) {
            match plan.class {
                Some(class) => {
                    let fitting = devices.iter().filter(|(_, of)| *of == class);
                    let fitting = fitting.filter(|(id, _)| is_wanted(&self.device, id));
                    chosen.extend(fitting.map(|(id, _)| (plan, id.clone())));
                }
                None if self.device.is_none() => chosen.push((plan, String::new())),
                None => {}
            }
        }
        if chosen.is_empty() {
            return Err("there is no such test for such a device".to_owned());
        }
        Ok(chosen)
    }
}

/// Several tests one after another.
#[derive(Debug)]
pub struct Exam {
    /// What is still to be done, the next one last.
    left: Vec<(&'static Plan, String)>,
    setting: Setting,
    run: Option<Run>,
    tickets: u64,
}

impl Exam {
    /// An exam that has not begun.
    pub fn new(mut tests: Vec<(&'static Plan, String)>, setting: Setting) -> Self {
        tests.reverse();
        Self {
            left: tests,
            setting,
            run: None,
            tickets: FIRST_TICKET,
        }
    }

    /// The test that runs.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// True when nothing runs and nothing is left.
    pub fn is_over(&self) -> bool {
        self.run.is_none() && self.left.is_empty()
    }

    /// Advances by one event; the first one begins the first test. Gives what is to be done and the
    /// tests that have ended.
    pub fn apply(&mut self, event: &Event, now: Moment) -> (Vec<Effect>, Vec<Outcome>) {
        self.setting.note(event);
        let (mut effects, mut outcomes) = (Vec::new(), Vec::new());
        let tickets = &mut self.tickets;
        let mut mint = || {
            *tickets += 1;
            Ticket(*tickets)
        };
        if let Some(run) = &mut self.run {
            effects.extend(run.apply(event, &mut mint, now));
        }
        // Each turn ends a test or leaves one running, and there is a last one.
        loop {
            if let Some(run) = &self.run {
                let Some(outcome) = run.outcome() else { break };
                outcomes.push(outcome.clone());
                self.run = None;
            }
            let Some((plan, device)) = self.left.pop() else {
                break;
            };
            let mut setting = self.setting.clone();
            // Whoever answers is not before the glass.
            setting.has_person &= plan.class.is_some();
            let (run, begun) = Run::begin(plan, &device, &setting, &mut mint, now);
            effects.extend(begun);
            self.run = Some(run);
        }
        (effects, outcomes)
    }

    /// Ends it: somebody is at the glass, or nobody listens any more.
    pub fn cancel(&mut self) -> (Vec<Effect>, Vec<Outcome>) {
        self.left.clear();
        let Some(mut run) = self.run.take() else {
            return (Vec::new(), Vec::new());
        };
        let effects = run.cancel();
        (effects, run.outcome().cloned().into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use kiosk_device::{DeviceState, Status};

    use super::*;
    use crate::selftest::Verdict;

    fn moment(seconds: u64) -> Moment {
        Moment {
            at: Timestamp::UNIX_EPOCH,
            uptime: Duration::from_secs(seconds),
        }
    }

    fn devices() -> Vec<(String, DeviceClass)> {
        vec![
            ("ups".to_owned(), DeviceClass::Ups),
            ("face".to_owned(), DeviceClass::Camera),
            ("table".to_owned(), DeviceClass::Camera),
        ]
    }

    #[test]
    fn tests_are_chosen_by_device_by_name_and_together() {
        let check = |device: Option<&str>, test: Option<&str>, expect: Result<usize, &str>| {
            let wanted = Wanted {
                device: device.map(str::to_owned),
                test: test.map(str::to_owned),
            };
            match (wanted.choose(&devices()), expect) {
                (Ok(chosen), Ok(count)) => assert_eq!(chosen.len(), count, "{wanted:?}"),
                (Err(words), Err(part)) => assert!(words.contains(part), "{words}"),
                (found, _) => panic!("{wanted:?} gives {found:?}"),
            }
        };
        // Three devices, two for the glass, six for the machine.
        check(None, None, Ok(11));
        check(Some("ups"), None, Ok(1));
        check(None, Some("camera.picture"), Ok(2));
        check(Some("table"), Some("camera.picture"), Ok(1));
        check(None, Some("machine.disk"), Ok(1));
        check(Some("ups"), Some("camera.picture"), Err("no such test"));
        check(Some("fridge"), None, Err("there are: ups, face, table"));
        check(None, Some("fridge.door"), Err("id-card.reading"));
    }

    #[test]
    fn every_test_ends_with_an_outcome_and_broken_devices_do_not_hold_the_others() {
        let tests = Wanted::default().choose(&devices()).unwrap();
        let count = tests.len();
        let mut setting = Setting::default();
        for (id, class) in devices() {
            let gone = Status {
                state: DeviceState::NoDevice,
                ..Status::default()
            };
            setting.devices.insert(id, (class, gone));
        }
        let mut exam = Exam::new(tests, setting);
        let mut outcomes = Vec::new();
        for second in 0..2000 {
            let (effects, ended) = exam.apply(&Event::Tick, moment(second));
            for effect in effects {
                if let Effect::Probe(ticket, _) = effect {
                    assert!(ticket.0 > FIRST_TICKET);
                }
            }
            outcomes.extend(ended);
        }
        assert!(exam.is_over());
        assert_eq!(outcomes.len(), count);
        for outcome in &outcomes {
            let expect = match outcome.test.split('.').next().unwrap() {
                "ups" | "camera" => (Verdict::Failed, "device.not-there"),
                "glass" => (Verdict::Skipped, "test.needs-person"),
                _ => (Verdict::Failed, "test.time-out"),
            };
            let machine = (Verdict::Failed, "test.machine-silent");
            let found = (outcome.verdict, outcome.problem.as_str());
            assert!(found == expect || found == machine, "{outcome:?}");
        }
    }

    #[test]
    fn a_canceled_exam_says_so_of_the_test_that_ran_and_begins_no_other() {
        let tests = Wanted {
            test: Some("machine.disk".to_owned()),
            ..Wanted::default()
        };
        let tests = tests.choose(&devices()).unwrap();
        let mut exam = Exam::new(tests, Setting::default());
        let (effects, _) = exam.apply(&Event::Tick, moment(1));
        assert_eq!(effects.len(), 1);
        let (effects, outcomes) = exam.cancel();
        assert!(matches!(effects.as_slice(), [Effect::Cancel(_)]));
        assert_eq!(outcomes[0].verdict, Verdict::Canceled);
        assert!(exam.is_over());
        assert!(exam.apply(&Event::Tick, moment(2)).0.is_empty());
    }
}
