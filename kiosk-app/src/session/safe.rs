//! The session of a terminal in safe mode: it serves nobody, says so, and lets staff in. Whoever may
//! mend it, or the platform, lets it try everything again.

use kiosk_ui::{Mark, StaffPage, StaffRow, StaffSection};

use super::Session;
use crate::boot::{Cause, Mode, Reason};
use crate::config::Mistake;
use crate::event::Effect;
use crate::problem;
use crate::words::{Lang, fill, text};

/// Name of the page, as journeys write it.
const PAGE: &str = "safe";

impl Session {
    /// The same session, in the mode in which the terminal was started.
    #[must_use]
    pub fn safe(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// What is wrong with the configuration; the page of safe mode says it to everybody who looks, for
    /// whoever could mend it may not come in: without a configuration nobody is known.
    pub(crate) fn tell_mistake(&mut self, mistake: Mistake) {
        self.staff.mistake = Some(mistake);
    }

    /// Why nobody is served; `None` in a terminal that runs as it should.
    pub(super) fn safe_reason(&self) -> Option<&Reason> {
        self.mode.reason()
    }

    /// The one page of safe mode that everybody sees.
    pub(super) fn safe_page(&self, reason: &Reason) -> StaffPage {
        let lang = self.lang();
        let phone = self.site.help_phone.as_str();
        let intro = if phone.is_empty() {
            text(lang, "safe.intro").to_owned()
        } else {
            fill(lang, "safe.intro-phone", &[("phone", phone)])
        };
        StaffPage {
            name: PAGE.to_owned(),
            title: text(lang, "safe.title").to_owned(),
            intro,
            sections: vec![StaffSection {
                title: text(lang, "safe.reason").to_owned(),
                rows: vec![row(lang, reason, self.staff.mistake.as_ref())],
            }],
            ..StaffPage::default()
        }
    }

    /// Somebody who may wants everything to be tried again; nothing where everything runs.
    pub(super) fn try_normally(&mut self, by: &str, effects: &mut Vec<Effect>) {
        if self.safe_reason().is_some() && !self.is_ending {
            self.is_ending = true;
            effects.push(Effect::TryNormally(by.to_owned()));
        }
    }
}

/// What staff want to know, in one row: the code, how often, and since when, or which line of which
/// file is wrong.
fn row(lang: Lang, reason: &Reason, mistake: Option<&Mistake>) -> StaffRow {
    let problem = problem::get(reason.cause.code());
    let since = reason.since.to_zoned(crate::clock::local_zone());
    let since = since.strftime("%m-%d %H:%M").to_string();
    let count = reason.count.to_string();
    let mistake = mistake.filter(|_| reason.cause == Cause::Configuration);
    let detail = if let Some(mistake) = mistake {
        mistake.words(lang)
    } else if reason.count == 0 {
        fill(lang, "safe.since", &[("since", &since)])
    } else {
        let values = [("count", count.as_str()), ("since", since.as_str())];
        fill(lang, "safe.count", &values)
    };
    StaffRow {
        label: problem.notice(lang).to_owned(),
        value: reason.cause.code().to_owned(),
        detail,
        mark: Mark::Bad,
        ..StaffRow::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use kiosk_device::{DeviceClass, Status};
    use kiosk_ui::{Language, Screen, Touch};
    use uuid::Uuid;

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::clock::Moment;
    use crate::config::mistake::MistakeKind;
    use crate::event::{Event, Order};
    use crate::session::Site;

    fn at(second: u64) -> Moment {
        Moment {
            at: Timestamp::constant(1_795_311_660, 0) + Duration::from_secs(second),
            uptime: Duration::from_secs(second),
        }
    }

    fn reason() -> Reason {
        Reason {
            cause: Cause::Panic,
            words: "session at session/flow.rs:88".to_owned(),
            count: 4,
            since: at(0).at,
        }
    }

    fn session(mode: Mode) -> Session {
        let site = Site {
            help_phone: "12345".to_owned(),
            ..Site::default()
        };
        Session::new(Arc::new(Catalogue::default()), site).safe(mode)
    }

    fn page(session: &Session) -> StaffPage {
        let Screen::Staff(page) = session.view(at(1)).screen else {
            panic!("not the page of safe mode");
        };
        *page
    }

    #[test]
    fn safe_mode_serves_nobody_and_says_so_in_three_languages() {
        let mut session = session(Mode::Safe(reason()));
        let touches = [
            Touch::Start,
            Touch::Next,
            Touch::Choose("old-age-allowance".to_owned()),
            Touch::Search,
            Touch::Leave,
        ];
        for touch in touches {
            let effects = session.apply(Event::Touch(touch.clone()), at(1));
            assert!(effects.is_empty(), "{touch:?}: {effects:?}");
            assert_eq!(page(&session).name, PAGE);
        }
        let ready = Event::Status {
            class: DeviceClass::IdCard,
            device: "id-card".to_owned(),
            status: Status::online(),
        };
        assert!(session.apply(ready, at(2)).is_empty());
        let mut titles = Vec::new();
        for language in [Language::ZhHans, Language::ZhHant, Language::En] {
            session.apply(Event::Touch(Touch::Language(language)), at(3));
            let page = page(&session);
            assert!(page.intro.contains("12345"), "{}", page.intro);
            let row = &page.sections[0].rows[0];
            assert_eq!(row.value, "boot.panic");
            assert!(row.detail.contains('4'), "{}", row.detail);
            assert!(
                !format!("{:?}", page.sections).contains("flow.rs"),
                "what only helps staff waits for staff"
            );
            titles.push(page.title);
        }
        titles.dedup();
        assert_eq!(titles.len(), 3, "{titles:?}");
    }

    #[test]
    fn the_bare_mode_says_the_same_and_a_terminal_that_runs_says_nothing_of_it() {
        assert_eq!(page(&session(Mode::Bare(reason()))).name, PAGE);
        let normal = session(Mode::Normal);
        assert_eq!(normal.view(at(1)).screen.name(), "attract");
    }

    #[test]
    fn a_wrong_configuration_is_told_by_its_line_in_three_languages_and_lets_nobody_in() {
        let wrong = Reason {
            cause: Cause::Configuration,
            words: String::new(),
            count: 0,
            ..reason()
        };
        let mut session = session(Mode::Bare(wrong));
        session.tell_mistake(Mistake {
            file: "/etc/kiosk/kiosk.toml".into(),
            line: 12,
            kind: MistakeKind::Wrong,
        });
        let mut told = Vec::new();
        for language in [Language::ZhHans, Language::ZhHant, Language::En] {
            session.apply(Event::Touch(Touch::Language(language)), at(3));
            let page = page(&session);
            let row = page.sections[0].rows[0].clone();
            assert_eq!(row.value, "boot.configuration");
            assert!(
                row.detail.contains("/etc/kiosk/kiosk.toml"),
                "{}",
                row.detail
            );
            assert!(row.detail.contains("12"), "{}", row.detail);
            told.push(row.detail);
        }
        told.dedup();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(session.apply(Event::Touch(Touch::Staff), at(4)).is_empty());
        assert_eq!(page(&session).name, PAGE);
    }

    #[test]
    fn who_wanted_safe_mode_finds_no_count_of_bad_ends() {
        let wanted = Reason {
            cause: Cause::ByHand,
            count: 0,
            ..reason()
        };
        let page = page(&session(Mode::Safe(wanted)));
        let row = &page.sections[0].rows[0];
        assert_eq!(row.value, "boot.by-hand");
        assert!(!row.detail.contains("次"), "{}", row.detail);
    }

    #[test]
    fn an_order_of_the_platform_lets_everything_be_tried_again_once() {
        let unlock = || Event::Ordered {
            id: Uuid::from_u128(7),
            order: Order::Unlock,
        };
        let tries = |effects: Vec<Effect>| {
            let is_try =
                |effect: &Effect| matches!(effect, Effect::TryNormally(by) if by == "platform");
            effects.iter().filter(|effect| is_try(effect)).count()
        };
        let mut safe = session(Mode::Safe(reason()));
        assert_eq!(tries(safe.apply(unlock(), at(1))), 1);
        assert_eq!(tries(safe.apply(unlock(), at(2))), 0, "once is enough");
        let mut normal = session(Mode::Normal);
        assert_eq!(tries(normal.apply(unlock(), at(1))), 0);
    }
}
