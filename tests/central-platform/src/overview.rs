//! The administrators' view of the terminals: metrics, one page of the fleet, one terminal, use
//! against the year, quality of items, the month's data pack. Whoever looks after some places sees
//! these only. Nothing in it is about a citizen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body::Frame;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::administrators::Caller;
use crate::clock;
use crate::limits::{Limit, bounded, within};
use crate::metrics;
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::region::{self, is_within};
use crate::router::{Shared, blocking, on_worker};
use crate::standing::{Place, Standing, action, code, forecast, local_day, silent_hours};
use crate::store::StoreError;
use crate::telemetry::{CAUSES, OUTCOMES};

/// Most terminals that are looked at for one answer; the next page goes on from there.
const SCANNED_MAX: usize = 2000;
/// Most terminals of one page.
const PAGE_MAX: usize = 500;
/// Most terminals of a platform: ten times the largest fleet of a province.
const TERMINALS_MAX: usize = 200_000;
/// Commands and tickets that are shown of one terminal.
const RECENT_MAX: usize = 50;
/// Size of a piece of the metrics in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for whoever reads.
const PIECES_WAITING: usize = 4;
/// Longest wait for whoever reads the metrics.
const READER_MAX: Duration = Duration::from_secs(20);
/// Visits of an item below which its quality says nothing.
const VISITS_TELLING: u64 = 20;
/// Part of visits in percent from which an item counts as failing, and as left.
const FAILED_PERCENT: u64 = 30;
const LEFT_PERCENT: u64 = 50;

/// Everything that administrators see and where terminals stand.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/admin/fleet", get(list))
        .route("/admin/fleet/{terminal}", get(show))
        .route("/admin/usage", get(usage))
        .route("/admin/quality", get(quality))
        .route("/admin/pack/cases", get(pack_cases))
        .route("/admin/pack/tickets", get(pack_tickets))
        .route("/admin/places", post(set_place))
        .route("/admin/log", get(log))
}

/// The caller, as the door let them in.
type By = Extension<Caller>;
/// A query that may be wrong.
type Asked<T> = Result<Query<T>, QueryRejection>;

fn query<T>(asked: Asked<T>) -> Result<T, Problem> {
    match asked {
        Ok(Query(asked)) => Ok(asked),
        Err(_) => Err(Problem::unprocessable(
            "request.field",
            "the query is not understood",
        )),
    }
}

/// Every terminal that the caller sees.
fn all(world: &World, caller: &Caller, now: Timestamp) -> Result<Vec<Standing>, StoreError> {
    gather(world, now, |region| caller.sees(region))
}

/// Every terminal at a place that is wanted.
pub(crate) fn gather(
    world: &World,
    now: Timestamp,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Standing>, StoreError> {
    let mut found = Vec::new();
    let mut after = String::new();
    while found.len() < TERMINALS_MAX {
        // The lock is let go between two pages, so that terminals do not wait for a report.
        let page = world.store().standings(&after, now)?;
        let Some(last) = page.last() else {
            break;
        };
        after.clone_from(&last.place.terminal);
        found.extend(
            page.into_iter()
                .filter(|each| is_wanted(&each.place.region)),
        );
    }
    Ok(found)
}

async fn scrape(State(world): Shared, Extension(caller): By) -> Response {
    let gathered = on_worker(move || {
        let standings = all(&world, &caller, clock::now())?;
        Ok((standings, world.store().releases()?))
    });
    let (standings, releases) = match gathered.await {
        Ok(gathered) => gathered,
        Err(problem) => return problem.into_response(),
    };
    let (pieces, text) = channel(PIECES_WAITING);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces {
            kept: String::with_capacity(PIECE_BYTES),
            out: pieces,
            handle,
        };
        if metrics::write(&standings, &releases, &mut out)
            .and_then(|()| out.send())
            .is_err()
        {
            tracing::warn!("whoever read the metrics went away");
        }
    });
    let media_type = [(header::CONTENT_TYPE, metrics::MEDIA_TYPE)];
    (media_type, Body::new(Text(text))).into_response()
}

/// Text on its way to whoever reads it, in pieces.
struct Pieces {
    kept: String,
    out: Sender<Bytes>,
    handle: Handle,
}

impl Pieces {
    fn send(&mut self) -> fmt::Result {
        let piece = std::mem::replace(&mut self.kept, String::with_capacity(PIECE_BYTES));
        let sent = self.out.send_timeout(piece.into(), READER_MAX);
        self.handle.block_on(sent).map_err(|_| fmt::Error)
    }
}

impl fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.kept.push_str(text);
        if self.kept.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(())
    }
}

/// The body of the metrics.
struct Text(Receiver<Bytes>);

impl HttpBody for Text {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Which terminals are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    region: String,
    /// Hours without a heartbeat; a terminal that was never heard of counts.
    silent_for: Option<u64>,
    #[serde(default)]
    version: String,
    /// 1: those with a fault.
    #[serde(default)]
    fault: u8,
    /// The last terminal of the page before.
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

impl Wanted {
    fn check(&self) -> Result<(), Problem> {
        region::check(&self.region)?;
        within(&[("version", &self.version, Limit::Upstream)])?;
        bounded("fault", self.fault <= 1)?;
        bounded("limit", (1..=PAGE_MAX).contains(&self.limit.unwrap_or(1)))?;
        if self.after.is_empty() {
            return Ok(());
        }
        within(&[("after", &self.after, Limit::Terminal)])
    }

    fn has(&self, standing: &Standing, now: Timestamp) -> bool {
        let silent = silent_hours(standing.heard_at, now);
        is_within(&standing.place.region, &self.region)
            && (self.version.is_empty() || standing.version() == Some(&self.version))
            && (self.fault == 0 || standing.is_faulty())
            && self
                .silent_for
                .is_none_or(|hours| silent.is_none_or(|silent| silent >= hours))
    }
}

/// A terminal as a list shows it.
#[derive(Serialize)]
struct Line {
    terminal: String,
    region: String,
    site: String,
    installed_on: String,
    version: Option<String>,
    heard_at: Option<Timestamp>,
    silent_h: Option<u64>,
    waiting: u64,
    dead: u64,
    oldest_enqueued_at: Option<Timestamp>,
    faults: Vec<FaultLine>,
    update: Option<UpdateLine>,
    tickets_open: u64,
    tickets_late: u64,
    cases: u64,
    target: u32,
    forecast: u64,
}

#[derive(Serialize)]
struct FaultLine {
    device: String,
    code: String,
    action: &'static str,
}

#[derive(Serialize)]
struct UpdateLine {
    state: String,
    version: String,
    offered: Option<String>,
    taken_back: Option<TakenBackLine>,
}

#[derive(Serialize)]
struct TakenBackLine {
    version: String,
    code: String,
    reason: String,
}

impl Line {
    fn of(standing: &Standing, now: Timestamp) -> Self {
        let beat = standing.heartbeat.as_ref();
        let (open, late) = standing.ticket_totals();
        let devices = beat.into_iter().flat_map(|beat| &beat.devices);
        let faults = devices.flat_map(|device| {
            device.faults.iter().map(|fault| FaultLine {
                device: device.id.clone(),
                code: code(fault).to_owned(),
                action: action(fault),
            })
        });
        let update = beat
            .and_then(|beat| beat.update.as_ref())
            .map(|update| UpdateLine {
                state: update.state.clone(),
                version: update.version.clone(),
                offered: update.offered.clone(),
                taken_back: update.rolled_back.as_ref().map(|back| TakenBackLine {
                    version: back.version.clone(),
                    code: back.code.clone(),
                    reason: back.reason.clone(),
                }),
            });
        let place = &standing.place;
        Self {
            terminal: place.terminal.clone(),
            region: place.region.clone(),
            site: place.site.clone(),
            installed_on: place.installed_on.clone(),
            version: standing.version().map(str::to_owned),
            heard_at: standing.heard_at,
            silent_h: silent_hours(standing.heard_at, now),
            waiting: beat.map_or(0, |beat| beat.queue.waiting),
            dead: beat.map_or(0, |beat| beat.queue.dead),
            oldest_enqueued_at: beat.and_then(|beat| beat.queue.oldest_enqueued_at),
            faults: faults.collect(),
            update,
            tickets_open: open,
            tickets_late: late,
            cases: standing.year_cases,
            target: place.target,
            forecast: standing.forecast(local_day(now)),
        }
    }
}

async fn list(State(world): Shared, Extension(caller): By, asked: Asked<Wanted>) -> Response {
    blocking(move || {
        let wanted = query(asked)?;
        wanted.check()?;
        let now = clock::now();
        let most = wanted.limit.unwrap_or(PAGE_MAX);
        let (mut lines, mut scanned) = (Vec::new(), 0);
        let mut after = wanted.after.clone();
        let next = 'pages: loop {
            let page = world.store().standings(&after, now)?;
            if page.is_empty() {
                break None;
            }
            for standing in &page {
                after.clone_from(&standing.place.terminal);
                scanned += 1;
                if caller.sees(&standing.place.region) && wanted.has(standing, now) {
                    lines.push(Line::of(standing, now));
                }
                if lines.len() == most || scanned == SCANNED_MAX {
                    break 'pages Some(after);
                }
            }
        };
        Ok(Json(json!({"terminals": lines, "next": next})))
    })
    .await
}

async fn show(
    State(world): Shared,
    Extension(caller): By,
    Path(terminal): Path<String>,
) -> Response {
    blocking(move || {
        within(&[("terminal", &terminal, Limit::Terminal)])?;
        let now = clock::now();
        let unknown = || Problem::not_found("terminal.unknown", "no such terminal");
        let standing = world
            .store()
            .standing(&terminal, now)?
            .ok_or_else(unknown)?;
        if !caller.sees(&standing.place.region) {
            // Whoever may not see it does not learn that it is there.
            return Err(unknown());
        }
        let mut store = world.store();
        let mut tickets = store.tickets(&terminal, false)?;
        tickets.truncate(RECENT_MAX);
        let mut commands = store.commands_of(&terminal)?;
        commands.truncate(RECENT_MAX);
        let year = local_day(now).year().to_string();
        let cases = store.cases_of(&terminal, &year)?;
        let alarms = store.alarms_of(&terminal)?;
        let mut answer = json!(Line::of(&standing, now));
        answer["heartbeat"] = json!(standing.heartbeat);
        answer["certificate_until"] = json!(standing.certificate_until);
        answer["wanted_version"] = json!(standing.wanted_version);
        answer["visits"] = visits(&standing);
        answer["tickets"] = json!(tickets.iter().map(ticket_line).collect::<Vec<_>>());
        answer["commands"] = json!(commands);
        answer["case_counts"] = json!(cases);
        answer["alarms"] = json!(alarms);
        Ok(Json(answer))
    })
    .await
}

/// A ticket without what people wrote.
fn ticket_line(kept: &crate::store::KeptTicket) -> Value {
    let ticket = &kept.ticket;
    json!({
        "number": ticket.number, "device": ticket.device, "class": ticket.class,
        "code": ticket.code, "state": ticket.state.word(), "level": ticket.level.word(),
        "opened_at": ticket.opened_at, "respond_by": ticket.respond_by,
        "repair_by": ticket.repair_by, "mended_at": ticket.mended_at,
        "closed_at": ticket.closed_at, "times_reopened": ticket.times_reopened,
    })
}

/// What a terminal counted of visits.
fn visits(standing: &Standing) -> Value {
    let telemetry = &standing.telemetry;
    let items: BTreeMap<&str, BTreeMap<&str, u64>> = telemetry
        .items
        .iter()
        .map(|(item, counts)| {
            let counts = OUTCOMES.iter().copied().zip(counts.iter().copied());
            (item.as_str(), counts.collect())
        })
        .collect();
    let causes: BTreeMap<&str, u64> = CAUSES.iter().copied().zip(telemetry.causes).collect();
    json!({
        "items": items, "abandoned": causes,
        "store_free_bytes": telemetry.store_free_bytes, "memory_bytes": telemetry.memory_bytes,
    })
}

/// A year and how its use is added up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageWanted {
    year: Option<i16>,
    by: Option<UsageBy>,
    #[serde(default)]
    region: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UsageBy {
    Village,
    Item,
    Terminal,
}

/// Use of a village, an item or a terminal.
#[derive(Default, Serialize)]
struct UsageLine {
    key: String,
    region: String,
    terminals: u64,
    cases: u64,
    /// What the year asks of all of them; 0 where nothing is asked.
    target: u64,
    /// Cases at the end of the year; those there are, for a year that is over.
    forecast: u64,
}

async fn usage(State(world): Shared, Extension(caller): By, asked: Asked<UsageWanted>) -> Response {
    blocking(move || {
        let wanted = query(asked)?;
        region::check(&wanted.region)?;
        let today = local_day(clock::now());
        let year = wanted.year.unwrap_or(today.year());
        bounded("year", (2000..=today.year()).contains(&year))?;
        let day = if year == today.year() {
            today
        } else {
            Date::constant(year, 12, 31)
        };
        let seen =
            |place: &Place| caller.sees(&place.region) && is_within(&place.region, &wanted.region);
        let lines = match wanted.by.unwrap_or(UsageBy::Village) {
            UsageBy::Item => usage_of_items(&world, seen, day)?,
            UsageBy::Village => usage_of_places(&world, seen, day, true)?,
            UsageBy::Terminal => usage_of_places(&world, seen, day, false)?,
        };
        Ok(Json(json!({"year": year, "until": day, "lines": lines})))
    })
    .await
}

fn usage_of_places(
    world: &World,
    seen: impl Fn(&Place) -> bool,
    day: Date,
    is_by_village: bool,
) -> Result<Vec<UsageLine>, StoreError> {
    let mut lines: BTreeMap<String, UsageLine> = BTreeMap::new();
    each_place(world, &day.year().to_string(), |place, cases| {
        if !seen(place) {
            return;
        }
        let key = if is_by_village {
            &place.region
        } else {
            &place.terminal
        };
        let line = lines.entry(key.clone()).or_default();
        line.key.clone_from(key);
        line.region.clone_from(&place.region);
        line.terminals += 1;
        line.cases += cases;
        line.target += u64::from(place.target);
        line.forecast += forecast(cases, place.installed_on.parse().ok(), day);
    })?;
    Ok(lines.into_values().collect())
}

fn usage_of_items(
    world: &World,
    seen: impl Fn(&Place) -> bool,
    day: Date,
) -> Result<Vec<UsageLine>, StoreError> {
    let mut lines: BTreeMap<String, UsageLine> = BTreeMap::new();
    let year = day.year().to_string();
    let mut terminals: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut theirs = BTreeSet::new();
    each_place(world, &year, |place, _| {
        if seen(place) {
            theirs.insert(place.terminal.clone());
        }
    })?;
    for month in 1..=12 {
        each_month_case(world, &format!("{year}-{month:02}"), |count| {
            if theirs.contains(&count.terminal) {
                let line = lines.entry(count.item.clone()).or_default();
                line.cases += count.cases;
                let of = terminals.entry(count.item.clone()).or_default();
                of.insert(count.terminal.clone());
            }
        })?;
    }
    for (item, line) in &mut lines {
        line.key.clone_from(item);
        line.terminals = terminals.get(item).map_or(0, |of| of.len() as u64);
        line.forecast = forecast(line.cases, None, day);
    }
    Ok(lines.into_values().collect())
}

/// Every terminal, where it stands, and its cases of a year.
fn each_place(
    world: &World,
    year: &str,
    mut act: impl FnMut(&Place, u64),
) -> Result<(), StoreError> {
    let mut after = String::new();
    for _ in 0..TERMINALS_MAX {
        let page = world.store().year_cases(year, &after)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after.clone_from(&last.terminal);
        for (place, cases) in &page {
            act(place, *cases);
        }
    }
    Ok(())
}

fn each_month_case(
    world: &World,
    month: &str,
    mut act: impl FnMut(&crate::store::CaseCount),
) -> Result<(), StoreError> {
    let mut after = (String::new(), String::new());
    for _ in 0..TERMINALS_MAX {
        let page = world.store().month_cases(month, (&after.0, &after.1))?;
        let Some(last) = page.last() else {
            break;
        };
        after = (last.item.clone(), last.terminal.clone());
        page.iter().for_each(&mut act);
    }
    Ok(())
}

/// How an item does, over all terminals that are seen.
#[derive(Default, Serialize)]
struct QualityLine {
    item: String,
    visits: u64,
    completed: u64,
    abandoned: u64,
    failed: u64,
    /// `failing`, `left`, `unused` or empty.
    verdict: &'static str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QualityWanted {
    #[serde(default)]
    region: String,
}

async fn quality(
    State(world): Shared,
    Extension(caller): By,
    asked: Asked<QualityWanted>,
) -> Response {
    blocking(move || {
        let wanted = query(asked)?;
        region::check(&wanted.region)?;
        let now = clock::now();
        let mut lines: BTreeMap<String, QualityLine> = BTreeMap::new();
        for item in world.store().catalogue()?.items {
            lines.entry(item.id).or_default();
        }
        let mut causes = [0_u64; CAUSES.len()];
        for standing in all(&world, &caller, now)? {
            if !is_within(&standing.place.region, &wanted.region) {
                continue;
            }
            for (item, [completed, abandoned, failed]) in &standing.telemetry.items {
                let line = lines.entry(item.clone()).or_default();
                line.completed = line.completed.saturating_add(*completed);
                line.abandoned = line.abandoned.saturating_add(*abandoned);
                line.failed = line.failed.saturating_add(*failed);
            }
            for (sum, count) in causes.iter_mut().zip(standing.telemetry.causes) {
                *sum = sum.saturating_add(count);
            }
        }
        for (item, line) in &mut lines {
            line.item.clone_from(item);
            line.visits = line
                .completed
                .saturating_add(line.abandoned)
                .saturating_add(line.failed);
            line.verdict = verdict(line);
        }
        let causes: BTreeMap<&str, u64> = CAUSES.iter().copied().zip(causes).collect();
        let lines: Vec<QualityLine> = lines.into_values().collect();
        Ok(Json(json!({"items": lines, "abandoned": causes})))
    })
    .await
}

/// What is to be said of an item.
fn verdict(line: &QualityLine) -> &'static str {
    let is_part = |part: u64, percent: u64| {
        u128::from(part) * 100 >= u128::from(line.visits) * u128::from(percent)
    };
    match line.visits {
        0 => "unused",
        visits if visits < VISITS_TELLING => "",
        _ if is_part(line.failed, FAILED_PERCENT) => "failing",
        _ if is_part(line.abandoned, LEFT_PERCENT) => "left",
        _ => "",
    }
}

/// A month, and where the page before ended.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackWanted {
    month: String,
    /// `ITEM,TERMINAL` of the last case count.
    #[serde(default)]
    after: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackTicketsWanted {
    month: String,
    /// Position of the last ticket.
    #[serde(default)]
    after: u64,
}

/// The first day of a month, `2026-10`.
fn month(text: &str) -> Result<Date, Problem> {
    let day: Option<Date> = (text.len() == 7)
        .then(|| format!("{text}-01").parse().ok())
        .flatten();
    let day = day.filter(|day| day.year() >= 2000);
    day.ok_or_else(|| {
        Problem::unprocessable("request.field", "`month` is no month such as 2026-10")
    })
}

/// The places of a page, so that what is not seen is left out.
fn is_seen(world: &World, caller: &Caller, terminal: &str) -> Result<bool, StoreError> {
    Ok(caller.sees(&world.store().region(terminal)?))
}

async fn pack_cases(
    State(world): Shared,
    Extension(caller): By,
    asked: Asked<PackWanted>,
) -> Response {
    blocking(move || {
        let wanted = query(asked)?;
        month(&wanted.month)?;
        let (item, terminal) = wanted.after.split_once(',').unwrap_or_default();
        within(&[
            ("after", item, Limit::Upstream),
            ("after", terminal, Limit::Upstream),
        ])?;
        let page = world.store().month_cases(&wanted.month, (item, terminal))?;
        let next = page
            .last()
            .map(|last| format!("{},{}", last.item, last.terminal));
        let mut cases = Vec::with_capacity(page.len());
        for count in page {
            if is_seen(&world, &caller, &count.terminal)? {
                cases.push(count);
            }
        }
        Ok(Json(json!({"cases": cases, "next": next})))
    })
    .await
}

async fn pack_tickets(
    State(world): Shared,
    Extension(caller): By,
    asked: Asked<PackTicketsWanted>,
) -> Response {
    blocking(move || {
        let wanted = query(asked)?;
        let first = month(&wanted.month)?;
        // Stored times are UTC: the month begins at the terminals, eight hours earlier.
        let begins = |day: Date| -> String {
            let zone = TimeZone::fixed(Offset::constant(8));
            let at = day.to_zoned(zone).map(|at| at.timestamp());
            let at = at.unwrap_or(Timestamp::UNIX_EPOCH).to_string();
            // Without the zone's letter it stands before every fraction of its second.
            at.trim_end_matches('Z').to_owned()
        };
        let last = first.last_of_month().tomorrow().unwrap_or(Date::MAX);
        let page = world
            .store()
            .month_tickets((&begins(first), &begins(last)), wanted.after)?;
        let next = page.last().map(|last| last.position);
        let mut tickets = Vec::with_capacity(page.len());
        for ticket in page {
            if is_seen(&world, &caller, &ticket.terminal)? {
                tickets.push(ticket);
            }
        }
        Ok(Json(json!({"tickets": tickets, "next": next})))
    })
    .await
}

async fn set_place(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let place: Place = parse(&body)?;
        place.check()?;
        world.store().set_place(&place)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogWanted {
    #[serde(default)]
    before: u64,
}

async fn log(State(world): Shared, asked: Asked<LogWanted>) -> Response {
    blocking(move || {
        let LogWanted { before } = query(asked)?;
        Ok(Json(json!({"acts": world.store().acts(before)?})))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_on_an_item_needs_visits() {
        let line = |completed, abandoned, failed| QualityLine {
            visits: completed + abandoned + failed,
            completed,
            abandoned,
            failed,
            ..QualityLine::default()
        };
        assert_eq!(verdict(&line(0, 0, 0)), "unused");
        assert_eq!(verdict(&line(0, 0, 19)), "");
        assert_eq!(verdict(&line(70, 0, 30)), "failing");
        assert_eq!(verdict(&line(50, 50, 0)), "left");
        assert_eq!(verdict(&line(90, 5, 5)), "");
    }

    #[test]
    fn a_month_is_written_one_way() {
        assert!(month("2026-10").is_ok());
        for text in ["", "2026-13", "2026-1", "26-10", "2026-10-01", "1999-10"] {
            assert!(month(text).is_err(), "{text}");
        }
    }
}
