//! The readiness report on the glass: its pages and the code of its certificate.

use kiosk_ui::{Picture, StaffPage};

use super::ids::{Button, Id, Plain};
use super::menu::action;
use super::{Hand, Leaf, Mode, Said, Sight};
use crate::event::{PrintNews, Ticket};
use crate::words::{fill, text};

/// What of the report is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    page: usize,
    shows_certificate: bool,
}

impl Mode {
    /// The report as it was made last.
    pub(super) fn open_report(&mut self, hand: &mut Hand<'_>) {
        if self.report.is_some() {
            self.open(Leaf::Report(Report::default()), hand);
        }
    }

    /// The report was made: it is shown, unless somebody has begun something that must not be covered.
    pub(super) fn report_made(
        &mut self,
        ticket: Ticket,
        pages: &[Picture],
        certificate: &str,
        hand: &mut Hand<'_>,
    ) {
        if self.act_ended(ticket, hand).is_none() {
            return;
        }
        self.report = Some((pages.to_vec(), certificate.to_owned()));
        match self.leaves.last_mut() {
            Some(Leaf::Report(report)) => *report = Report::default(),
            Some(Leaf::Menu | Leaf::Help | Leaf::Facts(_)) => self.open_report(hand),
            Some(
                Leaf::Unlock(_)
                | Leaf::List(_)
                | Leaf::Testing(_)
                | Leaf::Outcome(_)
                | Leaf::Daily(_)
                | Leaf::Calibration(_),
            )
            | None => {}
        }
    }

    /// How the print of the report, or of a slip, goes.
    pub(super) fn print_news(&mut self, ticket: Ticket, news: PrintNews, hand: &mut Hand<'_>) {
        if self.printing != Some(ticket) {
            return;
        }
        hand.is_active = true;
        match news {
            PrintNews::Presented => {
                self.printing = None;
                self.said = Some((Said::Text("staff.printed"), true));
            }
            PrintNews::Failed(code) => {
                self.printing = None;
                self.said = Some((Said::Problem(code), false));
            }
            PrintNews::Stopped(code) => self.said = Some((Said::Problem(code), false)),
            PrintNews::Resumed => self.said = None,
            PrintNews::Progress(_) | PrintNews::Taken => {}
        }
    }

    pub(super) fn turn_report(&mut self, is_forward: bool) {
        let plain = if is_forward {
            Plain::Next
        } else {
            Plain::Before
        };
        self.report_pressed(plain);
    }

    pub(super) fn report_pressed(&mut self, plain: Plain) {
        let count = self.report.as_ref().map_or(0, |(pages, _)| pages.len());
        let Some(Leaf::Report(report)) = self.leaves.last_mut() else {
            return;
        };
        if plain == Plain::Certificate {
            report.shows_certificate = !report.shows_certificate;
        } else if plain == Plain::Next {
            report.page = (report.page + 1).min(count.saturating_sub(1));
        } else if plain == Plain::Before {
            report.page = report.page.saturating_sub(1);
        }
    }

    pub(super) fn report_page(&self, shown: Report, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let mut page = StaffPage {
            name: "report".to_owned(),
            title: text(lang, "staff.report").to_owned(),
            ..StaffPage::default()
        };
        let Some((pages, certificate)) = &self.report else {
            return page;
        };
        let own = |plain| Id::Act(Button::Plain(plain));
        let mut button = |id: Id, key: &str| page.actions.push(action(&id, text(lang, key)));
        if shown.shows_certificate {
            button(own(Plain::Certificate), "staff.report-pages");
        } else {
            button(own(Plain::Certificate), "staff.certificate");
        }
        button(Id::Act(Button::SaveReport), "staff.save-report");
        button(Id::Act(Button::PrintReport), "staff.print-report");
        if !shown.shows_certificate {
            if shown.page > 0 {
                button(own(Plain::Before), "staff.page-before");
            }
            if shown.page + 1 < pages.len() {
                button(own(Plain::Next), "staff.page-next");
            }
        }
        if shown.shows_certificate {
            "certificate".clone_into(&mut page.name);
            text(lang, "staff.certificate-intro").clone_into(&mut page.intro);
            page.code = Some(certificate.clone());
        } else {
            page.picture = pages.get(shown.page).cloned();
            let (at, of) = ((shown.page + 1).to_string(), pages.len().to_string());
            page.intro = fill(lang, "staff.page-of", &[("page", &at), ("of", &of)]);
        }
        page
    }
}
