//! What the platform orders, and how the terminal stands because of it. An order waits for no visitor
//! and harms none: a closed terminal lets the visit end first, and a restart waits for it.

use uuid::Uuid;

use super::{Page, Session};
use crate::catalogue::Item;
use crate::clock::Moment;
use crate::event::{Effect, Order};

/// Who orders, in the audit log.
const PLATFORM: &str = "platform";

impl Session {
    pub(super) fn ordered(&mut self, id: Uuid, order: Order, effects: &mut Vec<Effect>) {
        let before = self.standing.clone();
        let result = match &order {
            Order::SuspendItem(item) => self.suspend(item),
            Order::ResumeItem(item) => self.resume(item),
            Order::Lock => {
                self.standing.is_locked = true;
                Ok(())
            }
            Order::Unlock => {
                self.standing.is_locked = false;
                self.try_normally(PLATFORM, effects);
                Ok(())
            }
            Order::Restart => {
                // Answered when it happens; of two orders the first is as good as both.
                match self.restart {
                    None => {
                        self.restart = Some(id);
                        return;
                    }
                    Some(_) => Ok(()),
                }
            }
            Order::CollectLogs => {
                effects.push(Effect::CollectLogs(id));
                return;
            }
        };
        if self.standing != before {
            effects.push(Effect::Keep(self.standing.clone()));
        }
        effects.push(Effect::Performed(id, order, result));
    }

    fn suspend(&mut self, item: &str) -> Result<(), &'static str> {
        if self.catalogue.get(item).is_none() {
            return Err("command.unknown-item");
        }
        self.standing.suspended.insert(item.to_owned());
        Ok(())
    }

    fn resume(&mut self, item: &str) -> Result<(), &'static str> {
        self.standing.suspended.remove(item);
        if self.withdrawn.contains(item) || self.catalogue.is_suspended(item) {
            return Err("command.withdrawn");
        }
        Ok(())
    }

    /// True while the item is not offered, by an order, by the desired state or by the region. A visit that has
    /// begun it already ends as any other.
    pub(super) fn is_suspended(&self, item: &str) -> bool {
        self.standing.suspended.contains(item)
            || self.withdrawn.contains(item)
            || self.catalogue.is_suspended(item)
    }

    /// True while nobody new is served.
    pub(super) fn is_closed(&self) -> bool {
        let is_safe = self.safe_reason().is_some();
        is_safe || self.is_closed_by_order() || self.standing.is_day_closed
    }

    /// The code that says why nobody new is served.
    pub(super) fn closed_code(&self) -> &'static str {
        if self.standing.is_day_closed && !self.is_closed_by_order() {
            "session.day-closed"
        } else {
            "session.closed"
        }
    }

    fn is_closed_by_order(&self) -> bool {
        self.standing.is_locked || self.restart.is_some() || self.is_ending
    }

    /// A restart that was ordered happens between two visits, never in one.
    pub(super) fn restart_if_idle(&mut self, effects: &mut Vec<Effect>) {
        if self.is_idle()
            && let Some(id) = self.restart.take()
        {
            // Until the process has ended nobody must begin anything.
            self.is_ending = true;
            effects.push(Effect::Restart(id));
        }
    }

    pub(super) fn upstream(
        &mut self,
        name: String,
        is_up: bool,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if is_up {
            self.upstreams_down.remove(&name);
            return;
        }
        self.upstreams_down.insert(name);
        let is_in_vain = matches!(self.page, Page::AwaitingReceipt { .. })
            && self
                .visit
                .item
                .as_deref()
                .is_some_and(|item| self.is_upstream_down(item));
        if is_in_vain {
            // The receipt cannot come while the visitor waits for it.
            self.after_commit(now, effects);
        }
    }

    /// True while the office behind an item cannot be reached through the platform.
    pub(super) fn is_upstream_down(&self, item: &Item) -> bool {
        self.upstreams_down.contains(&item.upstream)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use kiosk_device::{DeviceClass, Status};
    use kiosk_ui::{Screen, Touch};

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::event::{Cause, Event, Note, Standing, VisitEnd};
    use crate::problem;
    use crate::session::Site;
    use crate::words::Lang;

    const ITEM: &str = "old-age-allowance";

    fn at(second: u64) -> Moment {
        Moment {
            at: Timestamp::constant(1_795_311_660, 0) + Duration::from_secs(second),
            uptime: Duration::from_secs(100 + second),
        }
    }

    fn session(standing: Standing) -> Session {
        let items = Path::new(env!("CARGO_MANIFEST_DIR")).join("items");
        let catalogue = Catalogue::load(&items);
        assert!(catalogue.mistakes.is_empty(), "{:?}", catalogue.mistakes);
        let mut session = Session::new(Arc::new(catalogue), Site::default()).standing(standing);
        for class in [
            DeviceClass::IdCard,
            DeviceClass::SlipPrinter,
            DeviceClass::Camera,
        ] {
            let status = Event::Status {
                class,
                device: class.name().to_owned(),
                status: Status::online(),
            };
            session.apply(status, at(0));
        }
        session
    }

    fn order(session: &mut Session, order: Order) -> Vec<Effect> {
        let id = Uuid::from_u128(7);
        session.apply(Event::Ordered { id, order }, at(1))
    }

    fn touch(session: &mut Session, touch: Touch) -> Vec<Effect> {
        session.apply(Event::Touch(touch), at(2))
    }

    fn choose(session: &mut Session, id: &str) -> Vec<Effect> {
        touch(session, Touch::Choose(id.to_owned()))
    }

    fn screen(session: &Session) -> Screen {
        session.view(at(2)).screen
    }

    /// The result with which an order was performed.
    fn result(effects: &[Effect]) -> Option<Result<(), &'static str>> {
        effects.iter().find_map(|effect| {
            if let Effect::Performed(_, _, result) = effect {
                Some(*result)
            } else {
                None
            }
        })
    }

    fn kept(effects: &[Effect]) -> Option<Standing> {
        effects.iter().find_map(|effect| {
            if let Effect::Keep(standing) = effect {
                Some(standing.clone())
            } else {
                None
            }
        })
    }

    /// Why the item cannot start; empty when it can.
    fn unavailable(session: &mut Session, code: &str) -> bool {
        touch(session, Touch::Start);
        let notice = problem::get(code).notice(Lang::ZhHans);
        let Screen::Home { groups, .. } = screen(session) else {
            panic!("not home");
        };
        let is_there = groups.iter().any(|group| {
            choose(session, &group.id);
            let Screen::Home { items, .. } = screen(session) else {
                panic!("not home");
            };
            items
                .iter()
                .any(|item| item.id == ITEM && item.unavailable == notice)
        });
        touch(session, Touch::Leave);
        session.apply(Event::Tick, at(60));
        is_there
    }

    #[test]
    fn a_locked_terminal_lets_the_visit_end_and_then_serves_nobody_over_a_restart_too() {
        let mut first = session(Standing::default());
        touch(&mut first, Touch::Start);
        choose(&mut first, ITEM);
        choose(&mut first, "self");
        let effects = order(&mut first, Order::Lock);
        assert_eq!(result(&effects), Some(Ok(())));
        let standing = kept(&effects).unwrap();
        assert_eq!(screen(&first).name(), "identify", "the visit goes on");
        touch(&mut first, Touch::Leave);
        first.apply(Event::Tick, at(60));
        let closed = problem::get("session.closed").title(Lang::ZhHans);
        assert!(matches!(screen(&first), Screen::Problem { title, .. } if title == closed));
        let mut second = session(standing);
        touch(&mut second, Touch::Start);
        assert!(matches!(screen(&second), Screen::Problem { title, .. } if title == closed));
        let effects = order(&mut second, Order::Unlock);
        assert_eq!(kept(&effects), Some(Standing::default()));
        touch(&mut second, Touch::Start);
        assert_eq!(screen(&second).name(), "home");
    }

    #[test]
    fn an_item_is_suspended_and_resumed_live_and_the_desired_state_has_the_last_word() {
        let mut session = session(Standing::default());
        let item = ITEM.to_owned();
        assert!(!unavailable(&mut session, "session.suspended"));
        let effects = order(&mut session, Order::SuspendItem(item.clone()));
        assert_eq!(result(&effects), Some(Ok(())));
        assert!(kept(&effects).unwrap().suspended.contains(ITEM));
        assert!(unavailable(&mut session, "session.suspended"));
        session.apply(Event::Suspended(vec![item.clone()]), at(1));
        let effects = order(&mut session, Order::ResumeItem(item));
        assert_eq!(result(&effects), Some(Err("command.withdrawn")));
        assert!(unavailable(&mut session, "session.suspended"));
        session.apply(Event::Suspended(Vec::new()), at(1));
        assert!(!unavailable(&mut session, "session.suspended"));
        let effects = order(&mut session, Order::SuspendItem("unheard-of".to_owned()));
        assert_eq!(result(&effects), Some(Err("command.unknown-item")));
        assert_eq!(kept(&effects), None);
    }

    #[test]
    fn a_restart_waits_for_the_end_of_the_visit_and_nobody_new_begins() {
        let mut session = session(Standing::default());
        touch(&mut session, Touch::Start);
        choose(&mut session, ITEM);
        choose(&mut session, "self");
        assert!(order(&mut session, Order::Restart).is_empty());
        let effects = touch(&mut session, Touch::Leave);
        let is_restart = |effect: &Effect| matches!(effect, Effect::Restart(_));
        assert!(
            !effects.iter().any(is_restart),
            "the farewell is still shown"
        );
        let effects = session.apply(Event::Tick, at(60));
        assert_eq!(
            effects.iter().filter(|effect| is_restart(effect)).count(),
            1
        );
        touch(&mut session, Touch::Start);
        assert_eq!(screen(&session).name(), "problem");
        assert!(!session.apply(Event::Tick, at(61)).iter().any(is_restart));
    }

    #[test]
    fn without_room_an_item_that_queues_cannot_start_and_says_so_before_anything_is_typed() {
        let mut session = session(Standing::default());
        session.apply(Event::Room(false), at(1));
        assert!(unavailable(&mut session, "queue.no-room"));
        session.apply(Event::Room(true), at(1));
        assert!(!unavailable(&mut session, "queue.no-room"));
    }

    #[test]
    fn the_page_of_an_item_names_the_system_that_is_down() {
        let mut session = session(Standing::default());
        let down = |is_up| Event::Upstream {
            name: "civil-affairs".to_owned(),
            is_up,
        };
        touch(&mut session, Touch::Start);
        choose(&mut session, ITEM);
        for is_up in [false, true] {
            session.apply(down(is_up), at(1));
            let Screen::Introduction {
                offline, starts, ..
            } = screen(&session)
            else {
                panic!("not at the item");
            };
            assert_eq!(offline.contains("民政系统暂时连不上"), !is_up, "{offline}");
            assert!(!starts.is_empty(), "it can be started all the same");
        }
    }

    #[test]
    fn a_visit_is_in_the_log_once_from_its_first_step_to_its_end() {
        let mut session = session(Standing::default());
        let mut effects = touch(&mut session, Touch::Start);
        effects.extend(choose(&mut session, ITEM));
        assert!(
            effects.is_empty(),
            "looking around is no visit: {effects:?}"
        );
        effects.extend(choose(&mut session, "self"));
        effects.extend(touch(&mut session, Touch::Back));
        effects.extend(choose(&mut session, "self"));
        effects.extend(touch(&mut session, Touch::Leave));
        let notes: Vec<Note> = effects
            .into_iter()
            .filter_map(|effect| {
                if let Effect::Note(note) = effect {
                    Some(note)
                } else {
                    None
                }
            })
            .collect();
        let item = ITEM.to_owned();
        let expected = [
            Note::VisitBegun { item: item.clone() },
            Note::VisitEnded {
                item,
                end: VisitEnd::Abandoned(Cause::Canceled),
                is_timed_out: false,
            },
        ];
        assert_eq!(notes, expected);
    }
}
