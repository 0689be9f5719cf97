//! What a day was, in numbers: visits by how they ended, paper, and what still waits. Counted out of
//! the audit log and the print ledger, which know of every visit and every sheet; nothing of a person
//! is looked at, so that nothing of one can be counted.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;
use jiff::civil::Date;
use kiosk_sealing::audit::Entry;
use offline_cache::{Cache, CacheError, LedgerEntry, PrintKind, PrintState};
use serde_json::Value;
use uuid::Uuid;

use crate::clock;

/// Entries of the audit log that are read at once, and pages of them. Chosen: a busy day has two
/// thousand entries.
const ENTRIES: u64 = 500;
const PAGES_MAX: u32 = 100;
/// Prints that are looked at. Chosen: ten times a busy day.
const PRINTS_MAX: u32 = 5_000;

/// The numbers of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DayCount {
    pub(super) visits: Visits,
    /// Slips of visitors that came out.
    pub(super) slips: u64,
    /// Pages of visitors that came out.
    pub(super) pages: u64,
    /// Prints of visitors that were spoiled.
    pub(super) spoiled: u64,
    /// Cases that wait for the line.
    pub(super) waiting: u64,
    /// Cases that wait for a person.
    pub(super) dead: u64,
}

/// Visits by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Visits {
    /// Somebody began an item.
    pub(super) begun: u64,
    /// A case was accepted.
    pub(super) accepted: u64,
    /// A document was printed, and no case made.
    pub(super) printed: u64,
    /// The visitor left before anything came of it.
    pub(super) left: u64,
    /// Nobody touched the glass any more.
    pub(super) timed_out: u64,
    /// The power or the program went.
    pub(super) cut_short: u64,
}

impl DayCount {
    /// Counts a day.
    pub(super) fn of(cache: &Cache, day: Date) -> Result<Self, CacheError> {
        let prints = cache.recent_prints(PRINTS_MAX)?;
        let prints: Vec<&LedgerEntry> = prints
            .iter()
            .filter(|entry| is_of(entry.prepared_at, day))
            .collect();
        let documents = prints
            .iter()
            .filter(|entry| is_visitors(entry) && entry.print.kind == PrintKind::Page)
            .map(|entry| entry.print.id)
            .collect();
        let depth = cache.depth()?;
        let mut count = Self {
            visits: Visits::of(marks_of(cache, day)?, &documents),
            waiting: depth.waiting,
            dead: depth.dead,
            ..Self::default()
        };
        for entry in prints.into_iter().filter(|entry| is_visitors(entry)) {
            count.add(entry);
        }
        Ok(count)
    }

    fn add(&mut self, entry: &LedgerEntry) {
        let print = &entry.print;
        match (entry.state, print.kind) {
            (PrintState::Presented | PrintState::Taken, PrintKind::Slip) => self.slips += 1,
            (PrintState::Presented | PrintState::Taken, PrintKind::Page) => {
                self.pages += u64::from(print.pages.saturating_sub(print.first_page) + 1);
            }
            (PrintState::Spoiled, _) => self.spoiled += 1,
            (PrintState::Prepared | PrintState::Printing, _) => {}
        }
    }
}

/// A print of the staff speaks of no case and of no document.
fn is_visitors(entry: &LedgerEntry) -> bool {
    entry.print.transaction_id.is_some() || entry.print.case_number.is_some()
}

fn is_of(at: Timestamp, day: Date) -> bool {
    at.to_zoned(clock::local_zone()).date() == day
}

/// What an entry of the audit log says of visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Started,
    Begun,
    Case,
    Printed(Uuid),
    Ended { is_timed_out: bool },
}

impl Mark {
    fn of(entry: &Entry) -> Option<Self> {
        let detail = || -> Value { serde_json::from_str(&entry.detail).unwrap_or_default() };
        Some(match entry.kind.as_str() {
            "program.started" => Self::Started,
            "visit.begun" => Self::Begun,
            // What a visitor thinks of the case is a transaction of its own, and no case.
            "transaction.enqueued" if detail()["kind"] != "rating" => Self::Case,
            "print.presented" => Self::Printed(detail()["print"].as_str()?.parse().ok()?),
            "visit.ended" => Self::Ended {
                is_timed_out: detail()["is_timed_out"] == true,
            },
            _ => return None,
        })
    }
}

/// The marks of a day in their order: from the end of the log backwards, until a page of it has
/// nothing of the day.
fn marks_of(cache: &Cache, day: Date) -> Result<VecDeque<Mark>, CacheError> {
    let mut marks = VecDeque::new();
    let mut last = cache.audit_head()?.map_or(0, |(sequence, _)| sequence);
    for _ in 0..PAGES_MAX {
        let after = last.saturating_sub(ENTRIES);
        let limit = u32::try_from(last - after).unwrap_or(u32::MAX);
        let of_day: Vec<Entry> = cache
            .audit_entries(after, limit)?
            .into_iter()
            .map(|(entry, _)| entry)
            // Where entries are missing, those behind the page would come in their place.
            .filter(|entry| entry.sequence <= last)
            .filter(|entry| Timestamp::from_millisecond(entry.at_ms).is_ok_and(|at| is_of(at, day)))
            .collect();
        for mark in of_day.iter().rev().filter_map(Mark::of) {
            marks.push_front(mark);
        }
        if after == 0 || of_day.is_empty() {
            break;
        }
        last = after;
    }
    Ok(marks)
}

/// A visit that is going on.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    has_case: bool,
    has_document: bool,
}

impl Visits {
    fn of(marks: impl IntoIterator<Item = Mark>, documents: &BTreeSet<Uuid>) -> Self {
        let mut visits = Self::default();
        let mut open: Option<Open> = None;
        for mark in marks {
            match mark {
                Mark::Started => visits.cut(open.take()),
                Mark::Begun => {
                    visits.cut(open.replace(Open::default()));
                    visits.begun += 1;
                }
                Mark::Case => {
                    if let Some(open) = &mut open {
                        open.has_case = true;
                    }
                }
                Mark::Printed(id) => {
                    if let Some(open) = &mut open {
                        open.has_document |= documents.contains(&id);
                    }
                }
                Mark::Ended { is_timed_out } => {
                    if let Some(open) = open.take() {
                        visits.end(open, is_timed_out);
                    }
                }
            }
        }
        visits.cut(open);
        visits
    }

    fn end(&mut self, visit: Open, is_timed_out: bool) {
        let outcome = if visit.has_case {
            &mut self.accepted
        } else if visit.has_document {
            &mut self.printed
        } else if is_timed_out {
            &mut self.timed_out
        } else {
            &mut self.left
        };
        *outcome += 1;
    }

    /// A visit without an end; what was accepted stays accepted.
    fn cut(&mut self, visit: Option<Open>) {
        match visit {
            None => {}
            Some(visit) if visit.has_case || visit.has_document => self.end(visit, false),
            Some(_) => self.cut_short += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use offline_cache::{NewAudit, NewPrint};
    use serde_json::json;

    use super::*;
    use crate::clock::Moment;

    fn at(second: i64) -> Moment {
        Moment {
            at: Timestamp::from_second(1_795_311_660 + second).unwrap(),
            uptime: Duration::ZERO,
        }
    }

    fn ended(is_timed_out: bool) -> Mark {
        Mark::Ended { is_timed_out }
    }

    #[test]
    fn every_visit_ends_one_way_and_no_way_is_counted_twice() {
        let (document, slip) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let marks = [
            // Accepted, with its slip; the visitor went without leaving.
            vec![Mark::Begun, Mark::Case, Mark::Printed(slip), ended(true)],
            vec![Mark::Begun, Mark::Printed(document), ended(false)],
            vec![Mark::Begun, Mark::Printed(slip), ended(false)],
            vec![Mark::Begun, ended(true)],
            vec![Mark::Begun, Mark::Started],
            // The power went behind the acceptance.
            vec![Mark::Begun, Mark::Case, Mark::Started],
            // A slip that an interruption had left out, and a case of nobody who is here.
            vec![Mark::Printed(document), Mark::Case, ended(false)],
            vec![Mark::Begun],
        ];
        let visits = Visits::of(marks.into_iter().flatten(), &BTreeSet::from([document]));
        let expected = Visits {
            begun: 7,
            accepted: 2,
            printed: 1,
            left: 1,
            timed_out: 1,
            cut_short: 2,
        };
        assert_eq!(visits, expected);
    }

    fn log(cache: &mut Cache, kind: &str, detail: &Value, now: Moment) {
        let entry = NewAudit {
            kind: kind.to_owned(),
            actor: "terminal".to_owned(),
            subject: None,
            transaction: None,
            detail: detail.to_string(),
        };
        cache.audit(&entry, now.at).unwrap();
    }

    fn print(cache: &mut Cache, id: u128, kind: PrintKind, number: Option<&str>, now: Moment) {
        let print = NewPrint {
            id: Uuid::from_u128(id),
            transaction_id: None,
            case_number: number.map(str::to_owned),
            kind,
            digest: [0; 32],
            pages: 3,
            first_page: 2,
            copy_no: 1,
            reprint_of: None,
        };
        cache.prepare_print(&print, now.at).unwrap();
        for state in [PrintState::Printing, PrintState::Presented] {
            cache.advance_print(print.id, state, None, now.at).unwrap();
        }
    }

    #[test]
    fn only_this_day_and_only_what_is_of_visitors_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::open(directory.path(), at(0).at).unwrap();
        let yesterday = at(-24 * 3600);
        for _ in 0..3 {
            log(
                &mut cache,
                "visit.begun",
                &json!({ "item": "a" }),
                yesterday,
            );
            log(
                &mut cache,
                "visit.ended",
                &json!({ "is_timed_out": true }),
                yesterday,
            );
        }
        print(&mut cache, 1, PrintKind::Slip, Some("T001-1"), yesterday);
        // More than a page of the log.
        for second in 0..600 {
            log(
                &mut cache,
                "visit.begun",
                &json!({ "item": "a" }),
                at(second),
            );
            log(
                &mut cache,
                "visit.ended",
                &json!({ "is_timed_out": second % 3 == 0 }),
                at(second),
            );
        }
        log(&mut cache, "visit.begun", &json!({ "item": "b" }), at(700));
        let document = json!({ "print": Uuid::from_u128(3) });
        log(&mut cache, "print.presented", &document, at(701));
        log(
            &mut cache,
            "visit.ended",
            &json!({ "is_timed_out": false }),
            at(702),
        );
        print(&mut cache, 2, PrintKind::Slip, Some("T001-2"), at(5));
        print(&mut cache, 3, PrintKind::Page, Some("ZM-1"), at(701));
        // The staff's own.
        print(&mut cache, 4, PrintKind::Slip, None, at(6));
        let count = DayCount::of(&cache, at(0).date()).unwrap();
        let expected = DayCount {
            visits: Visits {
                begun: 601,
                printed: 1,
                left: 400,
                timed_out: 200,
                ..Visits::default()
            },
            slips: 1,
            pages: 2,
            ..DayCount::default()
        };
        assert_eq!(count, expected);
    }

    #[test]
    fn a_rating_is_no_case_and_an_unreadable_entry_is_nothing() {
        let entry = |kind: &str, detail: &str| Entry {
            sequence: 1,
            at_ms: 0,
            kind: kind.to_owned(),
            actor: "visitor".to_owned(),
            subject: None,
            transaction: None,
            detail: detail.to_owned(),
        };
        for (kind, detail, expected) in [
            (
                "transaction.enqueued",
                r#"{"kind":"case"}"#,
                Some(Mark::Case),
            ),
            ("transaction.enqueued", r#"{"kind":"rating"}"#, None),
            ("print.presented", r#"{"print":"x"}"#, None),
            ("print.presented", "rubbish", None),
            ("visit.ended", "rubbish", Some(ended(false))),
            ("staff.unlock.asked", "{}", None),
        ] {
            assert_eq!(Mark::of(&entry(kind, detail)), expected, "{kind} {detail}");
        }
    }
}
