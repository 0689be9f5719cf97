//! The commitment and the paper that follows it. The order is the promise: durable first, paper after.

use kiosk_device::DeviceClass;
use kiosk_ui::Paper;
use serde_json::json;

use super::device::named;
use super::ending::Leaving;
use super::{Page, Session};
use crate::catalogue::{Item, Step};
use crate::clock::Moment;
use crate::event::{Commitment, Effect, PrintNews, Rating, Receipt, Slip, Submission, Ticket};
use crate::person::Person;
use crate::words::{Lang, text};

/// A printer that fails this often is left to the visitor's own touch.
const SLIP_RETRIES_MAX: u32 = 3;

impl Session {
    /// The committing touch: from here there is no way back, only forward to a durable record.
    pub(super) fn commit(&mut self, effects: &mut Vec<Effect>) {
        let (Some(item), Some(principal)) = (self.visit.item.clone(), self.visit.principal.clone())
        else {
            return;
        };
        if let Some(step) = item.steps.iter().position(|step| step.name() == "submit") {
            self.visit.step = step;
        }
        let answers = self.answers();
        let verification = self.visit.verification.clone();
        let submission = Submission {
            item: item.id.clone(),
            item_version: item.version,
            principal,
            helper: self
                .visit
                .helper
                .clone()
                .or_else(|| self.visit.witness.clone()),
            consent_time: self.visit.consent_time.clone(),
            answers,
            verified_by: verification
                .as_ref()
                .map_or("none", |verified| verified.kind),
            verification: verification
                .map(|verified| verified.reference)
                .unwrap_or_default(),
            pictures: self.visit.pictures.clone(),
            is_offline: !self.is_online,
        };
        let ticket = self.ticket();
        self.turn_to(Page::Committing { ticket }, effects);
        effects.push(Effect::Commit(ticket, Box::new(submission)));
    }

    pub(super) fn committed(
        &mut self,
        ticket: Ticket,
        commitment: Commitment,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.page, Page::Committing { ticket: waited } if waited == ticket) {
            return;
        }
        self.active_at = now.uptime;
        self.visit.commitment = Some(commitment);
        let wait = self.receipt_wait();
        let is_up = self
            .visit
            .item
            .as_deref()
            .is_none_or(|item| !self.is_upstream_down(item));
        if self.is_online && is_up && !wait.is_zero() {
            self.turn_to(
                Page::AwaitingReceipt {
                    until: now.uptime + wait,
                },
                effects,
            );
        } else {
            self.after_commit(now, effects);
        }
    }

    pub(super) fn commit_failed(&mut self, ticket: Ticket, code: &'static str) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(self.page, Page::Committing { ticket: waited } if waited == ticket) {
            self.refuse(code, &mut effects);
        }
        effects
    }

    /// The case is durable, with or without a receipt: on to its paper.
    pub(super) fn after_commit(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.active_at = now.uptime;
        let next = self.visit.step + 1;
        let has_slip = self
            .visit
            .item
            .as_ref()
            .is_some_and(|item| matches!(item.steps.get(next), Some(Step::Slip { .. })));
        if has_slip {
            self.enter(next, now, effects);
        } else {
            self.done_without_paper(effects);
        }
    }

    pub(super) fn print_slip(&mut self, is_copy: bool, effects: &mut Vec<Effect>) {
        let (Some(item), Some(commitment)) =
            (self.visit.item.clone(), self.visit.commitment.clone())
        else {
            return;
        };
        if let Some(code) = self.device_obstacle(DeviceClass::SlipPrinter) {
            self.turn_to(
                Page::Done {
                    print: None,
                    paper: Paper::Failed,
                    code,
                },
                effects,
            );
            return;
        }
        let Some(template) = super::flow::slip_template(&item) else {
            return;
        };
        let content = slip_content(
            self,
            &item,
            &commitment,
            self.visit.principal.as_ref(),
            is_copy,
        );
        let ticket = self.ticket();
        self.turn_to(
            Page::Done {
                print: Some(ticket),
                paper: Paper::Printing,
                code: "",
            },
            effects,
        );
        effects.push(Effect::PrintSlip(
            ticket,
            Box::new(Slip {
                commitment,
                template,
                content,
                is_copy,
            }),
        ));
    }

    /// The printer works again: the slip that failed is tried once more by itself, a few times at
    /// most, as long as nobody has taken one.
    pub(super) fn retry_slip(&mut self, effects: &mut Vec<Effect>) {
        let has_failed = matches!(
            self.page,
            Page::Done {
                paper: Paper::Failed,
                ..
            }
        );
        let may_retry = has_failed
            && self.visit.slips_out == 0
            && self.visit.commitment.is_some()
            && self.visit.slip_retries < SLIP_RETRIES_MAX
            && self.device_obstacle(DeviceClass::SlipPrinter).is_none();
        if may_retry {
            self.visit.slip_retries += 1;
            self.print_slip(false, effects);
        }
    }

    pub(super) fn print_again(&mut self, effects: &mut Vec<Effect>) {
        let can_print = matches!(
            self.page,
            Page::Done {
                paper: Paper::Failed | Paper::Ready,
                ..
            }
        );
        if can_print {
            let was_printed = self.visit.slips_out > 0;
            self.print_slip(was_printed, effects);
        }
    }

    pub(super) fn print_pages(&mut self, effects: &mut Vec<Effect>) {
        let (Some(item), Some(credential), Some(pages)) = (
            self.visit.item.clone(),
            self.visit.credential.clone(),
            &self.visit.pages,
        ) else {
            return;
        };
        if self.device_obstacle(DeviceClass::PagePrinter).is_some() {
            return;
        }
        let pages = u32::try_from(pages.pages.len()).unwrap_or(u32::MAX);
        let ticket = self.ticket();
        self.turn_to(
            Page::PrintingPages {
                ticket,
                pages_out: 0,
                code: "",
            },
            effects,
        );
        effects.push(Effect::PrintPages {
            ticket,
            item: item.id.clone(),
            credential: Box::new(credential),
            pages,
        });
    }

    pub(super) fn print_news(&mut self, ticket: Ticket, news: PrintNews, now: Moment) {
        if self.missed == Some(ticket) {
            if matches!(news, PrintNews::Presented | PrintNews::Failed(_)) {
                self.missed = None;
            }
            return;
        }
        if let Page::Done {
            print: Some(waited),
            paper,
            code,
        } = &mut self.page
            && *waited == ticket
        {
            self.active_at = now.uptime;
            match news {
                PrintNews::Progress(_) | PrintNews::Resumed => *code = "",
                PrintNews::Stopped(problem) => *code = problem,
                PrintNews::Presented => {
                    *paper = Paper::Ready;
                    *code = "";
                    self.visit.has_paper = true;
                    self.visit.slips_out += 1;
                }
                PrintNews::Taken => self.visit.has_paper = false,
                PrintNews::Failed(problem) => {
                    *paper = Paper::Failed;
                    *code = named(DeviceClass::SlipPrinter, problem);
                    if problem == "printer.slip-retracted" {
                        // It was out, and is in nobody's hand.
                        self.visit.has_paper = false;
                        self.visit.slips_out = self.visit.slips_out.saturating_sub(1);
                    }
                }
            }
        } else {
            self.pages_news(ticket, news, now);
        }
    }

    fn pages_news(&mut self, ticket: Ticket, news: PrintNews, now: Moment) {
        let Page::PrintingPages {
            ticket: waited,
            pages_out,
            code,
        } = &mut self.page
        else {
            return;
        };
        if *waited != ticket {
            return;
        }
        self.active_at = now.uptime;
        match news {
            PrintNews::Progress(count) => {
                *pages_out = count;
                *code = "";
            }
            PrintNews::Resumed => *code = "",
            PrintNews::Taken => {}
            PrintNews::Stopped(problem) => *code = problem,
            PrintNews::Presented => {
                self.visit.has_paper = true;
                self.visit.is_served = true;
                self.page = Page::Done {
                    print: None,
                    paper: Paper::Ready,
                    code: "",
                };
            }
            PrintNews::Failed(problem) => {
                self.page = Page::Trouble {
                    code: named(DeviceClass::PagePrinter, problem),
                    words: String::new(),
                    ways: super::ONLINE_WAYS,
                };
            }
        }
    }

    /// The result page is read: on to the rating, or the end.
    pub(super) fn finish(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(item) = self.visit.item.clone() else {
            self.end_visit(now, Leaving::OfOwnAccord, effects);
            return;
        };
        match item.steps.iter().position(|step| step.name() == "rating") {
            Some(rating) => self.enter(rating, now, effects),
            None => self.end_visit(now, Leaving::OfOwnAccord, effects),
        }
    }

    pub(super) fn rate(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Ok(level @ 1..=5) = id.parse::<u8>() else {
            return;
        };
        let Page::Rating { chosen } = &mut self.page else {
            return;
        };
        if !chosen.is_empty() {
            // One rating a case: the first touch counts.
            return;
        }
        id.clone_into(chosen);
        let Some(item) = &self.visit.item else {
            return;
        };
        let case_number = match (&self.visit.commitment, &self.visit.credential) {
            (Some(commitment), _) => commitment.number.clone(),
            (None, Some(credential)) => credential.number.clone(),
            (None, None) => return,
        };
        effects.push(Effect::Rate(Rating {
            case_number,
            item: item.id.clone(),
            level,
        }));
    }
}

/// How a case stands by its receipt: the outcome's word and the key of its sentence.
pub(super) fn outcome(receipt: Option<&Receipt>) -> (&'static str, &'static str) {
    match receipt.map(|receipt| receipt.outcome.as_str()) {
        Some("completed") => ("completed", "done.completed"),
        Some("rejected") => ("rejected", "done.rejected"),
        Some(_) => ("accepted", "done.accepted"),
        None => ("accepted-pending", "done.pending"),
    }
}

/// Everything a slip shows. Slips are Chinese first: the paper is also read by others at home.
pub(super) fn slip_content(
    session: &Session,
    item: &Item,
    commitment: &Commitment,
    applicant: Option<&Person>,
    is_copy: bool,
) -> serde_json::Value {
    let lang = slip_lang(session);
    let receipt = session
        .visit
        .receipt
        .as_ref()
        .filter(|_| applicant.is_some());
    let (outcome, _) = outcome(receipt);
    let mut lines = Vec::new();
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            lines.push(json!({ "label": text(lang, label), "value": value }));
        }
    };
    if let Some(receipt) = receipt {
        line("slip.reference", receipt.reference.clone());
        line("slip.valid-until", receipt.valid_until.clone());
    }
    if item.promised_days > 0 {
        let days = item.promised_days.to_string();
        line(
            "slip.promised",
            crate::words::fill(lang, "slip.promised-days", &[("days", &days)]),
        );
    }
    let masked = applicant.map(|person| {
        if person.name.expose().is_empty() {
            person.masked_number()
        } else {
            person.masked_name()
        }
    });
    let label = |key: &str| text(lang, key);
    json!({
        "lang": match lang {
            Lang::ZhHant => "zh-Hant-HK",
            Lang::ZhHans | Lang::En => "zh-Hans",
        },
        "title": label("slip.title"),
        "outcome": outcome,
        "outcome_text": label(match outcome {
            "completed" => "slip.outcome-completed",
            "rejected" => "slip.outcome-rejected",
            "accepted" => "slip.outcome-accepted",
            _ => "slip.outcome-pending",
        }),
        "item": item.text(lang, "name"),
        "number": commitment.number,
        "site": session.site.name,
        "terminal": session.site.terminal,
        "time": commitment.time,
        "applicant_masked": masked.unwrap_or_default(),
        "lines": lines,
        "advice": item.texts(lang, "advice"),
        "qr": true,
        "digest_short": commitment.digest,
        "help_phone": session.site.help_phone,
        "copy_note": if is_copy { label("slip.copy") } else { "" },
        "rehearsal": false,
        "labels": slip_labels(lang),
    })
}

/// English is for the glass; the slip is read by offices and by the family.
fn slip_lang(session: &Session) -> Lang {
    if session.lang() == Lang::ZhHant {
        Lang::ZhHant
    } else {
        Lang::ZhHans
    }
}

fn slip_labels(lang: Lang) -> serde_json::Value {
    let label = |key: &str| text(lang, key);
    json!({
        "number": label("slip.number"),
        "time": label("slip.time"),
        "site": label("slip.site"),
        "terminal": label("slip.terminal"),
        "item": label("slip.item"),
        "applicant": label("slip.applicant"),
        "digest": label("slip.digest"),
        "scan_hint": label("slip.scan-hint"),
        "help": label("slip.help"),
        "advice": label("slip.advice"),
        "rehearsal": label("slip.rehearsal"),
    })
}
