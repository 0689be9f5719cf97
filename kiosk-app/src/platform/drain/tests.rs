//! Every branch of the drain against a scripted platform, in time that the test makes itself.

use jiff::SignedDuration;
use offline_cache::{NewAttachment, NewTransaction, QueueRow, State};
use serde_json::json;
use tempfile::TempDir;

use super::*;

mod beside;

const S: Duration = Duration::from_secs(1);
/// Noon at the kiosk.
const START_S: i64 = 1_795_320_000;

/// A transaction whose id, subject and content follow from a number.
pub(in crate::platform) fn sample(number: u16) -> NewTransaction {
    let [high, low] = number.to_be_bytes();
    let mut subject = [low; 32];
    subject[0] = high;
    NewTransaction {
        id: Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)),
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 3,
        case_number: format!("T001-20261122-{number:05}"),
        subject,
        payload: format!("{{\"n\":{number}}}").into_bytes(),
        payload_suite: "plain".to_owned(),
        key_id: String::new(),
        upstream: String::new(),
        can_wait: false,
        attachments: Vec::new(),
    }
}

fn picture(number: u16, bytes: usize) -> NewAttachment {
    NewAttachment {
        id: Uuid::from_u128(0xA000 + u128::from(number)),
        name: "page.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        bytes: (0..bytes).map(|at| at.to_le_bytes()[0] ^ 0x5a).collect(),
    }
}

struct World {
    cache: Cache,
    drain: Drain,
    now: Moment,
    directory: TempDir,
    news: Vec<News>,
}

fn policy() -> Policy {
    Policy {
        spread: Duration::ZERO,
        ..Policy::default()
    }
}

impl World {
    fn new(policy: Policy) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = Moment {
            at: Timestamp::from_second(START_S).unwrap(),
            uptime: S,
        };
        let (cache, _) = Cache::open(directory.path(), now.at).unwrap();
        Self {
            cache,
            drain: Drain::new(policy, 7),
            now,
            directory,
            news: Vec::new(),
        }
    }

    /// A world whose line is up and whose window is wide open.
    fn flowing() -> Self {
        let mut world = Self::new(policy());
        world.up();
        let id = world.enqueue(999);
        assert_eq!(world.batch(), [id]);
        world.answer(&[accepted(id)]);
        let ids: Vec<Uuid> = (900..910).map(|number| world.enqueue(number)).collect();
        assert_eq!(world.batch(), ids);
        world.answer(&ids.iter().copied().map(accepted).collect::<Vec<_>>());
        world.news.clear();
        world
    }

    fn enqueue(&mut self, number: u16) -> Uuid {
        self.add(&sample(number))
    }

    fn add(&mut self, transaction: &NewTransaction) -> Uuid {
        self.cache.enqueue(transaction, self.now.at).unwrap();
        transaction.id
    }

    fn pass(&mut self, by: Duration) {
        self.now.uptime += by;
        self.now.at += SignedDuration::try_from(by).unwrap();
    }

    fn step(&mut self) -> Step {
        self.drain.step(&mut self.cache, self.now).unwrap()
    }

    fn outcome(&mut self, outcome: Outcome) -> Vec<News> {
        let news = self
            .drain
            .outcome(&mut self.cache, outcome, self.now)
            .unwrap();
        self.news.extend(news.iter().cloned());
        news
    }

    fn up(&mut self) {
        assert!(matches!(self.step(), Step::Probe));
        assert_eq!(self.outcome(Outcome::Reachable(true)), [News::Line(true)]);
    }

    /// The program starts anew: what was in flight is pending again, as opening the store has it.
    fn restart(&mut self, seed: u64) {
        self.drain = Drain::new(self.drain.policy().clone(), seed);
        for row in self.cache.list(1000).unwrap() {
            if row.state == State::InFlight {
                self.cache.release(row.id).unwrap();
            }
        }
    }

    /// The next step with something to do, within so long; probes are answered, time passes.
    fn next_within(&mut self, limit: Duration) -> Option<Step> {
        let until = self.now.uptime + limit;
        for _ in 0..100_000 {
            match self.step() {
                Step::Wait(pause) => {
                    assert!(pause >= WAIT_MIN && pause <= WAIT_MAX, "{pause:?}");
                    self.pass(pause);
                }
                Step::Probe => drop(self.outcome(Outcome::Reachable(true))),
                Step::Scrub => drop(self.outcome(Outcome::Scrubbed(true))),
                step @ (Step::Place(_) | Step::Chunk { .. } | Step::Submit(_)) => {
                    return Some(step);
                }
            }
            if self.now.uptime > until {
                return None;
            }
        }
        panic!("the drain turns on the spot");
    }

    fn next(&mut self) -> Step {
        self.next_within(Duration::from_hours(48))
            .expect("something to do")
    }

    fn batch(&mut self) -> Vec<Uuid> {
        let Step::Submit(batch) = self.next() else {
            panic!("no batch")
        };
        batch.iter().map(|each| each.id).collect()
    }

    fn place(&mut self) -> QueuedAttachment {
        let Step::Place(attachment) = self.next() else {
            panic!("no place")
        };
        attachment
    }

    fn chunk(&mut self) -> (Uuid, u64, usize) {
        let Step::Chunk {
            attachment,
            offset,
            bytes,
            ..
        } = self.next()
        else {
            panic!("no piece")
        };
        (attachment, offset, bytes.len())
    }

    /// Answers the batch that is awaited.
    fn answer(&mut self, results: &[serde_json::Value]) -> Vec<News> {
        let body = json!({ "results": results }).to_string();
        let reply = batch_reply(200, None, body.as_bytes());
        self.reply(reply)
    }

    fn refuse(&mut self, status: u16, code: &str) -> Vec<News> {
        let body = json!({ "code": code, "detail": "words" }).to_string();
        self.reply(batch_reply(status, None, body.as_bytes()))
    }

    fn reply(&mut self, reply: Result<BatchReply, PlatformError>) -> Vec<News> {
        let ids = self.drain.sent.iter().map(|each| each.id).collect();
        self.outcome(Outcome::Batch(ids, reply))
    }

    fn placed(&mut self, id: Uuid, offset: u64) -> Vec<News> {
        let url = format!("/v1/attachments/{id}");
        self.outcome(Outcome::Placed(id, Ok(Place { url, offset })))
    }

    fn row(&self, id: Uuid) -> QueueRow {
        let rows = self.cache.recent(1000).unwrap();
        rows.into_iter().find(|row| row.id == id).unwrap()
    }

    fn state(&self, id: Uuid) -> State {
        self.row(id).state
    }

    fn code(&self, id: Uuid) -> String {
        self.row(id).last_code.unwrap_or_default()
    }

    fn since(&self, before: Duration) -> Duration {
        self.now.uptime.saturating_sub(before)
    }

    /// The time until the next batch.
    fn until_batch(&mut self) -> Duration {
        let before = self.now.uptime;
        self.batch();
        self.since(before)
    }
}

fn accepted(id: Uuid) -> serde_json::Value {
    json!({ "id": id, "result": "accepted", "receipt": {
        "reference": "R1", "accepted_at": "2026-11-22T00:00:00Z", "outcome": "accepted",
        "message": "", "valid_until": "2027-11-22" } })
}

fn later_result(id: Uuid, code: &str) -> serde_json::Value {
    json!({ "id": id, "result": "retry", "problem": { "code": code, "upstream": "insurance" } })
}

#[test]
fn without_a_line_nothing_is_claimed_and_the_line_is_looked_for_in_bounded_time() {
    let mut world = World::new(policy());
    let id = world.enqueue(1);
    for _ in 0..50 {
        assert!(matches!(world.step(), Step::Probe));
        assert!(world.outcome(Outcome::Reachable(false)).is_empty());
        let Step::Wait(pause) = world.step() else {
            panic!("no rest")
        };
        assert!(pause <= Duration::from_secs(18), "{pause:?}");
        assert_eq!(world.state(id), State::Pending);
        world.pass(pause);
    }
}

#[test]
fn after_an_outage_one_goes_first_then_ten_then_the_rest() {
    let mut world = World::new(policy());
    let ids: Vec<Uuid> = (1..=200).map(|number| world.enqueue(number)).collect();
    world.up();
    for range in [0..1, 1..11, 11..111, 111..200] {
        assert_eq!(world.batch(), ids[range.clone()]);
        let results: Vec<_> = ids[range].iter().copied().map(accepted).collect();
        world.answer(&results);
    }
    assert!(ids.iter().all(|id| world.state(*id) == State::Acked));
    assert_eq!(world.drain.counts().settled, 200);
}

#[test]
fn the_backlog_waits_for_its_turn_after_an_outage_and_a_visitor_does_not() {
    let mut world = World::new(Policy::default());
    world.enqueue(1);
    world.up();
    let before = world.now.uptime;
    world.batch();
    assert!(world.since(before) <= Duration::from_secs(30));

    let mut world = World::new(Policy::default());
    world.enqueue(1);
    world.drain.wake(world.now);
    world.up();
    assert!(
        world.until_batch() <= 2 * S,
        "confirmed just before the line came back"
    );

    let mut world = World::new(Policy::default());
    world.enqueue(1);
    world.up();
    world.enqueue(2);
    world.drain.wake(world.now);
    assert!(world.until_batch() <= WAIT_MIN, "confirmed after it");
}

#[test]
fn a_batch_never_exceeds_the_contract_however_the_payload_is_written() {
    let mut world = World::flowing();
    for number in 1..=20 {
        let mut transaction = sample(number);
        transaction.payload = vec![0xA5; 30_000];
        transaction.payload_suite = "intl".to_owned();
        transaction.key_id = "0123456789abcdef".to_owned();
        world.add(&transaction);
    }
    let mut sent = 0;
    while sent < 20 {
        let Step::Submit(batch) = world.next() else {
            panic!("no batch")
        };
        let body = batch_body("T001", &batch);
        assert!(
            body.len() <= super::super::messages::BATCH_BYTES_MAX,
            "{}",
            body.len()
        );
        let results: Vec<_> = batch.iter().map(|each| accepted(each.id)).collect();
        sent += batch.len();
        world.answer(&results);
    }
    assert_eq!(world.cache.depth().unwrap().waiting, 0);
}

#[test]
fn a_refused_batch_is_halved_until_the_refusal_has_a_name() {
    for (status, code) in [
        (400, "request.json"),
        (409, "batch.conflict"),
        (422, "request.field"),
    ] {
        let mut world = World::flowing();
        let ids: Vec<Uuid> = (1..=8).map(|number| world.enqueue(number)).collect();
        let bad = ids[5];
        let mut rounds = 0;
        while world.cache.depth().unwrap().waiting > 0 {
            let batch = world.batch();
            if batch.contains(&bad) {
                world.refuse(status, code);
            } else {
                world.answer(&batch.iter().copied().map(accepted).collect::<Vec<_>>());
            }
            rounds += 1;
            assert!(rounds < 20);
        }
        assert_eq!(world.state(bad), State::Dead);
        assert_eq!(
            world.row(bad).ended_reason.as_deref(),
            Some("platform.refused")
        );
        assert_eq!(world.drain.counts().settled, 11 + 7);
        assert!(world.news.iter().any(|news| matches!(
            news,
            News::Rejected { id, code: named, .. } if *id == bad && named == code
        )));
    }
}

#[test]
fn a_batch_that_is_too_large_is_halved_and_nobody_is_parked_for_it() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=2).map(|number| world.enqueue(number)).collect();
    assert_eq!(world.batch(), ids);
    world.refuse(413, "");
    assert_eq!(world.batch(), ids[..1]);
    assert_eq!(
        world.refuse(413, "batch.too-large"),
        [News::Alarm("platform.too-large")]
    );
    assert_eq!(world.batch(), ids[1..]);
    world.answer(&[accepted(ids[1])]);
    assert_eq!(world.state(ids[0]), State::Pending);
    assert_eq!(world.code(ids[0]), "platform.too-large");
    assert_eq!(world.batch(), ids[..1], "it is tried again");
}

#[test]
fn what_no_contract_says_is_nobodys_fault() {
    for status in [400, 404, 405, 422, 451] {
        let mut world = World::flowing();
        let ids: Vec<Uuid> = (1..=4).map(|number| world.enqueue(number)).collect();
        assert_eq!(world.batch(), ids);
        // A proxy, a captive portal: a refusal without a code.
        let code = if matches!(status, 400 | 422) {
            ""
        } else {
            "proxy.says-no"
        };
        world.refuse(status, code);
        for id in &ids {
            assert_eq!(world.state(*id), State::Pending, "{status}");
            assert_eq!(world.code(*id), "platform.refused");
        }
        assert_eq!(world.drain.counts().failures, 1);
    }
}

#[test]
fn a_platform_that_refuses_everything_parks_three_and_no_more() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=8).map(|number| world.enqueue(number)).collect();
    for _ in 0..200 {
        world.batch();
        world.refuse(422, "request.field");
    }
    let dead = ids
        .iter()
        .filter(|id| world.state(**id) == State::Dead)
        .count();
    assert_eq!(dead, 3);
    assert!(
        world
            .news
            .contains(&News::Alarm("platform.refuses-everything"))
    );
    // It comes to its senses: the rest is settled.
    while world.cache.depth().unwrap().waiting > 0 {
        let batch = world.batch();
        world.answer(&batch.iter().copied().map(accepted).collect::<Vec<_>>());
    }
    assert_eq!(world.drain.counts().settled, 11 + 5);
}

#[test]
fn a_failure_of_the_platform_is_nobodys_fault_and_everything_waits() {
    let server = |status| PlatformError::Server {
        status,
        retry_after_s: None,
    };
    let not_now = |status| PlatformError::NotNow {
        status,
        code: String::new(),
        retry_after_s: None,
    };
    for error in [
        server(500),
        server(503),
        not_now(401),
        not_now(403),
        not_now(408),
        not_now(429),
        PlatformError::Slow,
        PlatformError::Cut,
        PlatformError::BadReply("x"),
    ] {
        let mut world = World::flowing();
        let ids: Vec<Uuid> = (1..=3).map(|number| world.enqueue(number)).collect();
        assert_eq!(world.batch(), ids);
        let code = error.code();
        let is_locked_out = matches!(
            &error,
            PlatformError::NotNow {
                status: 401 | 403,
                ..
            }
        );
        world.reply(Err(error));
        for id in &ids {
            assert_eq!(world.state(*id), State::Pending);
            assert_eq!(world.code(*id), code);
        }
        assert_eq!(
            world.news.contains(&News::Alarm("platform.not-admitted")),
            is_locked_out
        );
        assert!(world.drain.is_online());
        let mut again = Vec::new();
        while again.len() < 3 {
            let batch = world.batch();
            world.answer(&batch.iter().copied().map(accepted).collect::<Vec<_>>());
            again.extend(batch);
        }
        assert_eq!(again, ids, "in their order");
    }
}

#[test]
fn the_platforms_wish_to_wait_is_kept_even_when_a_visitor_comes() {
    let mut world = World::flowing();
    world.enqueue(1);
    world.batch();
    world.reply(Err(PlatformError::Server {
        status: 503,
        retry_after_s: Some(120),
    }));
    world.enqueue(2);
    world.drain.wake(world.now);
    let waited = world.until_batch();
    assert!(waited >= 120 * S && waited <= 130 * S, "{waited:?}");

    let mut world = World::flowing();
    world.enqueue(1);
    world.batch();
    world.reply(Err(PlatformError::NotNow {
        status: 429,
        code: String::new(),
        retry_after_s: Some(1_000_000),
    }));
    assert!(
        world.until_batch() <= 16 * 60 * S,
        "a quarter of an hour at most"
    );
}

#[test]
fn a_result_may_ask_for_its_own_pause() {
    let mut world = World::flowing();
    let ids = [world.enqueue(1), world.enqueue(2)];
    world.batch();
    let mut retry = later_result(ids[0], "platform.busy");
    retry["retry_after_s"] = json!(90);
    world.answer(&[retry, accepted(ids[1])]);
    assert_eq!(world.state(ids[1]), State::Acked);
    let waited = world.until_batch();
    assert!(waited >= 90 * S && waited <= 100 * S, "{waited:?}");
}

#[test]
fn the_breaker_opens_after_five_failures_and_one_goes_first_when_it_closes() {
    let mut world = World::flowing();
    for number in 1..=50 {
        world.enqueue(number);
    }
    for failure in 1..=5_u32 {
        assert_eq!(world.drain.breaker(world.now), Breaker::Closed);
        world.batch();
        world.reply(Err(PlatformError::Server {
            status: 500,
            retry_after_s: (failure == 5).then_some(60),
        }));
    }
    assert_eq!(world.drain.breaker(world.now), Breaker::Open);
    world.drain.wake(world.now);
    let before = world.now.uptime;
    let probe = world.batch();
    assert!(world.since(before) >= 60 * S);
    assert_eq!(world.drain.breaker(world.now), Breaker::HalfOpen);
    assert_eq!(probe.len(), 1);
    world.answer(&[accepted(probe[0])]);
    assert_eq!(world.drain.breaker(world.now), Breaker::Closed);
    assert_eq!(world.batch().len(), 10);
}

#[test]
fn one_transaction_that_makes_the_platform_fail_stops_nobody_else() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=40).map(|number| world.enqueue(number)).collect();
    let poison = ids[0];
    let mut rounds = 0;
    while world.cache.depth().unwrap().waiting > 1 {
        let batch = world.batch();
        if batch.contains(&poison) {
            world.reply(Err(PlatformError::Server {
                status: 500,
                retry_after_s: None,
            }));
        } else {
            world.answer(&batch.iter().copied().map(accepted).collect::<Vec<_>>());
        }
        rounds += 1;
        assert!(rounds < 200, "the poison blocks the line");
    }
    assert_eq!(world.state(poison), State::Pending, "and it is not blamed");
}

#[test]
fn a_line_that_breaks_is_said_once_and_found_again() {
    let mut world = World::flowing();
    let id = world.enqueue(1);
    world.batch();
    assert_eq!(
        world.reply(Err(PlatformError::Unreachable)),
        [News::Line(false)]
    );
    assert!(!world.drain.is_online());
    assert_eq!(world.code(id), "platform.unreachable");
    assert_eq!(world.batch(), [id], "the probe found it");
    assert_eq!(world.news, [News::Line(false), News::Line(true)]);
    assert!(world.outcome(Outcome::Reachable(false)) == [News::Line(false)]);
}

#[test]
fn results_for_others_doubled_missing_and_too_many_are_counted_and_harmless() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=3).map(|number| world.enqueue(number)).collect();
    let other = world.enqueue(4);
    world.batch();
    // The fourth is in flight too; a result for it twice, one for a stranger three hundred times.
    let mut results = vec![
        accepted(ids[0]),
        accepted(ids[0]),
        accepted(other),
        accepted(other),
    ];
    results.extend((0..300).map(|_| accepted(Uuid::from_u128(77))));
    world.answer(&results);
    assert_eq!(world.state(ids[0]), State::Acked);
    assert_eq!(world.state(other), State::Acked);
    for id in &ids[1..] {
        assert_eq!(world.state(*id), State::Pending, "no answer is no answer");
    }
    let counts = world.drain.counts();
    assert_eq!(counts.unknown_results, 300);
    assert_eq!(counts.doubled_results, 2);
    assert_eq!(counts.missing_results, 2);
    assert!(
        world
            .cache
            .recent(1000)
            .unwrap()
            .iter()
            .all(|row| row.id != Uuid::from_u128(77))
    );
}

#[test]
fn two_results_that_contradict_each_other_are_no_answer() {
    let mut world = World::flowing();
    let id = world.enqueue(1);
    world.batch();
    world.answer(&[
        accepted(id),
        json!({ "id": id, "result": "rejected", "problem": { "code": "x.y" } }),
    ]);
    assert_eq!(world.state(id), State::Pending);
    assert_eq!(world.code(id), "platform.bad-reply");
    // Twice taken is taken.
    world.batch();
    let mut duplicate = accepted(id);
    duplicate["result"] = json!("duplicate");
    world.answer(&[accepted(id), duplicate]);
    assert_eq!(world.state(id), State::Acked);
}

#[test]
fn a_second_receipt_for_what_was_settled_changes_nothing() {
    let mut world = World::flowing();
    let id = world.enqueue(1);
    world.batch();
    let receipt = receipt(&accepted(id)["receipt"]).unwrap();
    world.cache.settle(id, &receipt, world.now.at).unwrap();
    assert!(world.answer(&[accepted(id)]).is_empty(), "no news");
    assert_eq!(world.state(id), State::Acked);
}

#[test]
fn words_nobody_knows_and_receipts_that_are_none_leave_the_transaction_in_place() {
    for result in [
        json!({ "result": "done" }),
        json!({ "result": "" }),
        json!({ "result": "accepted" }),
        json!({ "result": "accepted", "receipt": null }),
        json!({ "result": "accepted", "receipt": {} }),
        json!({ "result": "accepted", "receipt": { "reference": "", "outcome": "accepted" } }),
        json!({ "result": "duplicate", "receipt": { "reference": "R", "outcome": "x".repeat(99) } }),
        json!({ "result": "accepted", "receipt":
            { "reference": "R", "outcome": "accepted", "more": "x".repeat(20_000) } }),
    ] {
        let mut world = World::flowing();
        let id = world.enqueue(1);
        world.batch();
        let mut result = result;
        result["id"] = json!(id);
        world.answer(&[result]);
        assert_eq!(world.state(id), State::Pending);
        assert_eq!(world.code(id), "platform.bad-reply");
    }
}

#[test]
fn a_rejected_transaction_waits_for_a_person_and_blocks_only_its_subject() {
    let mut world = World::flowing();
    let id = world.enqueue(1);
    let mut same = sample(2);
    same.subject = sample(1).subject;
    let same = world.add(&same);
    let other = world.enqueue(3);
    assert_eq!(world.batch(), [id, other]);
    world.answer(&[
        json!({ "id": id, "result": "rejected",
            "problem": { "code": "item.suspended", "detail": "words" } }),
        accepted(other),
    ]);
    assert_eq!(world.state(id), State::Dead);
    assert!(
        world.next_within(Duration::from_hours(2)).is_none(),
        "its subject waits"
    );
    world
        .cache
        .reinstate(id, "technician", world.now.at)
        .unwrap();
    assert_eq!(world.batch(), [id]);
    world.answer(&[accepted(id)]);
    assert_eq!(world.batch(), [same]);
}

#[test]
fn what_was_sealed_to_a_lost_key_is_never_parked() {
    for result in ["retry", "rejected"] {
        let mut world = World::flowing();
        let id = world.enqueue(1);
        world.batch();
        let news = world.answer(&[
            json!({ "id": id, "result": result, "problem": { "code": "envelope.unknown-key" } }),
        ]);
        assert_eq!(news, [News::Alarm("platform.sealing-key-unknown")]);
        assert_eq!(world.state(id), State::Pending);
    }
    let mut world = World::flowing();
    let id = world.enqueue(1);
    world.batch();
    world.answer(&[
        json!({ "id": id, "result": "rejected", "problem": { "code": "envelope.forged" } }),
    ]);
    assert_eq!(world.state(id), State::Dead);
}

#[test]
fn one_upstream_down_does_not_stop_the_others_and_the_screen_hears_which() {
    let mut world = World::flowing();
    let mut down = Vec::new();
    let mut up = Vec::new();
    for number in 1..=20 {
        let mut transaction = sample(number);
        transaction.upstream = if number % 2 == 0 {
            "insurance"
        } else {
            "civil"
        }
        .to_owned();
        let list = if number % 2 == 0 { &mut down } else { &mut up };
        list.push(transaction.id);
        world.add(&transaction);
    }
    let answer = |world: &mut World, is_down: bool| {
        let batch = world.batch();
        let results: Vec<_> = batch
            .iter()
            .map(|id| {
                if is_down && down.contains(id) {
                    let mut result = later_result(*id, "upstream.unavailable");
                    result["retry_after_s"] = json!(600);
                    result
                } else {
                    accepted(*id)
                }
            })
            .collect();
        world.answer(&results);
        batch
    };
    while up.iter().any(|id| world.state(*id) != State::Acked) {
        answer(&mut world, true);
    }
    let name = || "insurance".to_owned();
    let said: Vec<_> = world
        .news
        .iter()
        .filter(|news| matches!(news, News::Upstream { .. }))
        .collect();
    assert_eq!(
        said,
        [&News::Upstream {
            name: name(),
            is_up: false
        }],
        "said once"
    );
    // New work of the others goes on at once; nothing of the one that is down is even tried.
    let mut more = sample(50);
    more.upstream = "civil".to_owned();
    let more = world.add(&more);
    assert_eq!(answer(&mut world, true), [more]);
    assert!(world.next_within(Duration::from_secs(500)).is_none());
    while world.cache.depth().unwrap().waiting > 0 {
        answer(&mut world, false);
    }
    assert!(world.news.contains(&News::Upstream {
        name: name(),
        is_up: true
    }));
}

#[test]
fn an_upstream_that_stays_down_is_asked_less_and_less_even_if_it_names_five_seconds() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.upstream = "insurance".to_owned();
    let id = world.add(&transaction);
    let end = world.now.uptime + Duration::from_hours(12);
    let mut asked = 0;
    while world.now.uptime < end {
        assert_eq!(world.batch(), [id]);
        let mut result = later_result(id, "upstream.unavailable");
        result["retry_after_s"] = json!(5);
        world.answer(&[result]);
        asked += 1;
    }
    // Every five seconds would be 8,640 times; every seven and a half minutes, the mean of the
    // longest pause, is 96.
    assert!(asked < 300, "asked {asked} times");
}

#[test]
fn what_can_wait_goes_at_night_and_the_rest_at_once() {
    let mut world = World::new(Policy {
        off_hours: off_hours("22:00-06:00"),
        ..policy()
    });
    world.up();
    let mut rating = sample(1);
    rating.can_wait = true;
    let rating = world.add(&rating);
    let case = world.enqueue(2);
    assert_eq!(world.batch(), [case]);
    world.answer(&[accepted(case)]);
    let local = world.now.local().time();
    assert_eq!(world.batch(), [rating]);
    let then = world.now.local().time();
    assert!(!pace::is_inside(off_hours("22:00-06:00").unwrap(), local));
    assert!(
        pace::is_inside(off_hours("22:00-06:00").unwrap(), then),
        "{then}"
    );
}

#[test]
fn a_window_that_never_comes_holds_nothing_for_longer_than_a_day() {
    let mut world = World::new(Policy {
        off_hours: off_hours("22:00-06:00"),
        ..policy()
    });
    let mut rating = sample(1);
    rating.can_wait = true;
    let rating = world.add(&rating);
    // Switched off every evening: the program sees nothing but noon.
    for day in 0..3 {
        world.restart(day);
        world.now.uptime = S;
        world.up();
        if let Some(Step::Submit(batch)) = world.next_within(Duration::from_hours(4)) {
            assert_eq!(batch[0].id, rating);
            assert!(day > 0, "not before its time");
            return;
        }
        world.now.at += SignedDuration::from_hours(20);
    }
    panic!("held for days");
}

#[test]
fn uploads_and_what_can_wait_keep_to_the_cap_and_the_rest_does_not_wait_for_it() {
    let mut world = World::new(Policy {
        bytes_per_s: Some(50_000),
        ..policy()
    });
    world.up();
    let mut large = sample(1);
    large.attachments.push(picture(1, 2_000_000));
    world.add(&large);
    let id = world.place().id;
    world.placed(id, 0);
    let (_, offset, bytes) = world.chunk();
    assert_eq!((offset, bytes), (0, 262_144));
    world.outcome(Outcome::ChunkDone(id, Ok(262_144)));
    let before = world.now.uptime;
    let case = world.enqueue(2);
    assert_eq!(world.batch(), [case]);
    assert!(
        world.since(before) <= WAIT_MIN,
        "a case does not wait for the cap"
    );
    world.answer(&[accepted(case)]);
    let mut at = 262_144;
    while at < 2_000_000 {
        let (_, offset, bytes) = world.chunk();
        assert_eq!(offset, at);
        at += bytes as u64;
        world.outcome(Outcome::ChunkDone(id, Ok(at)));
    }
    let seconds = (world.since(before)).as_secs();
    assert!(
        (30..=45).contains(&seconds),
        "{seconds} s for 2 MB at 50 kB/s"
    );
}

#[test]
fn an_attachment_goes_in_pieces_and_its_transaction_follows() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 1_300_000));
    transaction.attachments.push(picture(2, 10));
    let id = world.add(&transaction);
    let first = world.place();
    assert_eq!((first.transaction_id, first.upload_url.clone()), (id, None));
    world.placed(first.id, 0);
    for (offset, bytes) in [(0, 524_288), (524_288, 524_288), (1_048_576, 251_424)] {
        assert_eq!(world.chunk(), (first.id, offset, bytes));
        world.outcome(Outcome::ChunkDone(first.id, Ok(offset + bytes as u64)));
    }
    assert_eq!(world.state(id), State::WaitingAttachments);
    let second = world.place();
    // The platform has it already, from before a restart.
    world.placed(second.id, 10);
    assert_eq!(world.batch(), [id]);
}

#[test]
fn an_upload_goes_on_after_a_restart_where_the_platform_has_it() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 600_000));
    world.add(&transaction);
    let id = world.place().id;
    world.placed(id, 0);
    world.chunk();
    world.outcome(Outcome::ChunkDone(id, Ok(524_288)));
    world.restart(8);
    world.up();
    let asked = world.place();
    assert_eq!(asked.upload_url, Some(format!("/v1/attachments/{id}")));
    assert_eq!(asked.uploaded, 524_288);
    world.placed(id, 300_000);
    assert_eq!(
        world.chunk(),
        (id, 300_000, 300_000),
        "the platform's word counts"
    );
}

#[test]
fn an_upload_that_the_platform_lost_starts_over() {
    for status in [404, 410, 460] {
        let mut world = World::flowing();
        let mut transaction = sample(1);
        transaction.attachments.push(picture(1, 600_000));
        let id = world.add(&transaction);
        let file = world.place().id;
        world.placed(file, 0);
        world.chunk();
        world.outcome(Outcome::ChunkDone(file, Ok(524_288)));
        world.chunk();
        let lost = || PlatformError::from_reply(status, None, b"");
        world.outcome(Outcome::ChunkDone(file, Err(lost())));
        assert_eq!(world.place().upload_url, None, "made anew");
        world.placed(file, 0);
        assert_eq!(world.chunk().1, 0);
        world.outcome(Outcome::ChunkDone(file, Ok(524_288)));
        world.chunk();
        world.outcome(Outcome::ChunkDone(file, Ok(600_000)));
        assert_eq!(world.batch(), [id]);
    }
    // Lost while the terminal was away.
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 600_000));
    world.add(&transaction);
    let file = world.place().id;
    world.placed(file, 0);
    world.restart(8);
    world.up();
    assert!(world.place().upload_url.is_some());
    let gone = PlatformError::from_reply(404, None, b"{\"code\":\"attachment.unknown\"}");
    world.outcome(Outcome::Placed(file, Err(gone)));
    assert_eq!(world.place().upload_url, None);
}

#[test]
fn a_platform_that_loses_every_upload_is_not_flooded() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 1000));
    let id = world.add(&transaction);
    for _ in 0..4 {
        let file = world.place().id;
        world.placed(file, 0);
        world.chunk();
        let lost = PlatformError::from_reply(460, None, b"");
        world.outcome(Outcome::ChunkDone(file, Err(lost)));
    }
    assert_eq!(world.code(id), "platform.upload-lost");
    assert!(world.news.contains(&News::Alarm("platform.upload-lost")));
    let before = world.now.uptime;
    world.place();
    assert!(
        world.now.uptime > before,
        "after a pause, it is tried again"
    );
}

#[test]
fn an_upload_that_stands_elsewhere_or_does_not_move_is_asked_for() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 600_000));
    world.add(&transaction);
    let file = world.place().id;
    world.placed(file, 0);
    world.chunk();
    let elsewhere = PlatformError::from_reply(409, None, b"{\"code\":\"attachment.offset\"}");
    world.outcome(Outcome::ChunkDone(file, Err(elsewhere)));
    assert!(world.place().upload_url.is_some(), "asked, not made");
    world.placed(file, 100);
    assert_eq!(world.chunk().1, 100);
    for strange in [100, 0, 600_001, u64::MAX] {
        world.outcome(Outcome::ChunkDone(file, Ok(strange)));
        assert_eq!(world.place().id, file, "{strange}");
        world.placed(file, 100);
        world.chunk();
    }
}

#[test]
fn a_damaged_attachment_parks_its_own_transaction_alone() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 1000));
    let id = world.add(&transaction);
    let mut healthy = sample(2);
    healthy.attachments.push(picture(2, 1000));
    let healthy = world.add(&healthy);
    let file = world.place().id;
    let path = world
        .directory
        .path()
        .join("attachments")
        .join(file.to_string());
    std::fs::write(path, b"altered").unwrap();
    let news = world.placed(file, 0);
    assert_eq!(
        news,
        [News::Parked {
            id,
            code: "queue.attachment-damaged"
        }]
    );
    assert_eq!(world.state(id), State::Dead);
    let file = world.place().id;
    world.placed(file, 0);
    world.chunk();
    world.outcome(Outcome::ChunkDone(file, Ok(1000)));
    assert_eq!(world.batch(), [healthy]);
}

#[test]
fn a_failed_upload_lets_the_next_one_go_first() {
    let mut world = World::flowing();
    for number in 1..=2 {
        let mut transaction = sample(number);
        transaction.attachments.push(picture(number, 1000));
        world.add(&transaction);
    }
    let first = world.place().id;
    let failed = PlatformError::Server {
        status: 500,
        retry_after_s: None,
    };
    world.outcome(Outcome::Placed(first, Err(failed)));
    let mut seen = Vec::new();
    for _ in 0..40 {
        let file = world.place().id;
        seen.push(file);
        let failed = PlatformError::Server {
            status: 500,
            retry_after_s: None,
        };
        world.outcome(Outcome::Placed(file, Err(failed)));
    }
    assert!(
        seen.iter().any(|file| *file != first),
        "the second gets its turn"
    );
    assert!(seen.contains(&first), "and the first is not forgotten");
}

#[test]
fn an_upload_that_is_refused_for_good_parks_and_one_too_large_does_not() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 1000));
    let id = world.add(&transaction);
    let file = world.place().id;
    let too_large = PlatformError::from_reply(413, None, b"{\"code\":\"attachment.too-large\"}");
    world.outcome(Outcome::Placed(file, Err(too_large)));
    assert_eq!(world.state(id), State::WaitingAttachments);
    assert_eq!(world.code(id), "platform.too-large");
    let file = world.place().id;
    let differs = PlatformError::from_reply(409, None, b"{\"code\":\"attachment.differs\"}");
    world.outcome(Outcome::Placed(file, Err(differs)));
    assert_eq!(world.state(id), State::Dead);
}

#[test]
fn pictures_that_the_platform_misses_are_sent_again() {
    let mut world = World::flowing();
    let mut transaction = sample(1);
    transaction.attachments.push(picture(1, 1000));
    let id = world.add(&transaction);
    let file = world.place().id;
    world.placed(file, 1000);
    assert_eq!(world.batch(), [id]);
    world.answer(&[later_result(id, "attachment.incomplete")]);
    assert_eq!(world.state(id), State::WaitingAttachments);
    assert_eq!(world.place().upload_url, None);
}

#[test]
fn an_outcome_that_never_comes_is_made_up_for() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=3).map(|number| world.enqueue(number)).collect();
    assert_eq!(world.batch(), ids);
    assert_eq!(world.batch(), ids, "the same again, under the same ids");
    // The answer to the first comes late: it is as good as the second's, and then nothing is left.
    let results: Vec<_> = ids.iter().copied().map(accepted).collect();
    world.answer(&results);
    let reply = batch_reply(
        200,
        None,
        json!({ "results": results }).to_string().as_bytes(),
    );
    assert!(world.outcome(Outcome::Batch(ids, reply)).is_empty());
}

#[test]
fn erased_content_leaves_the_log_when_there_is_a_moment() {
    let mut world = World::flowing();
    let id = world.enqueue(1);
    world.batch();
    world.answer(&[accepted(id)]);
    let mut scrubs = 0;
    for _ in 0..100 {
        match world.step() {
            Step::Scrub => {
                scrubs += 1;
                world.outcome(Outcome::Scrubbed(scrubs > 1));
            }
            Step::Wait(pause) => world.pass(pause),
            Step::Probe => drop(world.outcome(Outcome::Reachable(true))),
            Step::Place(_) | Step::Chunk { .. } | Step::Submit(_) => panic!("nothing is left"),
        }
    }
    assert_eq!(scrubs, 2, "again until it is done, then no more");
}

#[test]
fn a_named_person_can_have_everything_sent_now() {
    let mut world = World::flowing();
    let id = world.enqueue(1);
    world.batch();
    world.reply(Err(PlatformError::Server {
        status: 503,
        retry_after_s: Some(900),
    }));
    world.drain.hurry(world.now);
    assert!(world.until_batch() <= WAIT_MIN);
    world.answer(&[later_result(id, "platform.busy")]);
    assert!(
        world.next_within(Duration::from_hours(1)).is_some(),
        "and afterwards as ever"
    );
}

#[test]
fn a_clock_that_jumps_neither_stalls_nor_reorders() {
    for jump in [
        SignedDuration::from_hours(70 * 365 * 24),
        SignedDuration::from_hours(-24),
        SignedDuration::from_hours(-56 * 365 * 24),
        SignedDuration::from_mins(-14),
    ] {
        let mut world = World::flowing();
        let ids: Vec<Uuid> = (1..=5).map(|number| world.enqueue(number)).collect();
        world.batch();
        world.reply(Err(PlatformError::Server {
            status: 503,
            retry_after_s: Some(300),
        }));
        world.now.at = world.now.at.checked_add(jump).unwrap();
        let before = world.now.uptime;
        let mut again = Vec::new();
        while again.len() < 5 {
            let batch = world.batch();
            world.answer(&batch.iter().copied().map(accepted).collect::<Vec<_>>());
            again.extend(batch);
        }
        let waited = world.since(before);
        assert!(
            waited >= 300 * S && waited < 400 * S,
            "{jump:?}: {waited:?}"
        );
        assert_eq!(again, ids, "{jump:?}");
    }
}

/// A platform that does whatever the dice say until it comes to its senses.
struct Chaos {
    dice: Random,
    taken: std::collections::HashMap<Uuid, u32>,
    uploads: std::collections::HashMap<Uuid, u64>,
    is_sane: bool,
}

impl Chaos {
    fn roll(&mut self, sides: u64) -> u64 {
        let us = self
            .dice
            .up_to(Duration::from_micros(sides - 1))
            .as_micros();
        u64::try_from(us).unwrap()
    }

    fn error(&mut self) -> PlatformError {
        let retry_after_s =
            [None, Some(0), Some(30), Some(1 << 40)][usize::try_from(self.roll(4)).unwrap()];
        match self.roll(8) {
            0 => PlatformError::Unreachable,
            1 => PlatformError::Slow,
            2 => PlatformError::Cut,
            3 => PlatformError::BadReply("dice"),
            4 => PlatformError::from_reply(429, retry_after_s, b""),
            5 => PlatformError::from_reply(401, None, b"{\"code\":\"signature.stale\"}"),
            6 => PlatformError::from_reply(404, None, b""),
            _ => PlatformError::from_reply(503, retry_after_s, b""),
        }
    }

    fn take(&mut self, id: Uuid) -> serde_json::Value {
        let times = self.taken.entry(id).or_default();
        *times += 1;
        let mut result = accepted(id);
        if *times > 1 {
            result["result"] = json!("duplicate");
        }
        result
    }

    fn result(&mut self, id: Uuid) -> Vec<serde_json::Value> {
        match self.roll(12) {
            0 => Vec::new(),
            1 => vec![later_result(id, "upstream.unavailable")],
            2 => vec![later_result(id, "attachment.incomplete")],
            3 => vec![
                later_result(id, "platform.busy"),
                accepted(Uuid::from_u128(1)),
            ],
            4 => vec![json!({ "id": id, "result": "accepted" })],
            5 => vec![json!({ "id": id, "result": "perhaps" })],
            6 => vec![json!({ "id": id, "result": "rejected", "problem": { "code": "x.y" } })],
            _ => {
                let result = self.take(id);
                vec![result.clone(), result]
            }
        }
    }

    fn answer(&mut self, step: Step) -> Option<Outcome> {
        let is_mad = !self.is_sane && self.roll(2) == 0;
        Some(match step {
            Step::Wait(_) => return None,
            Step::Probe => Outcome::Reachable(self.is_sane || self.roll(3) > 0),
            Step::Scrub => Outcome::Scrubbed(self.is_sane || self.roll(2) > 0),
            Step::Place(attachment) if is_mad => Outcome::Placed(attachment.id, Err(self.error())),
            Step::Place(attachment) => {
                let is_lost = !self.is_sane && self.roll(4) == 0;
                if is_lost {
                    self.uploads.remove(&attachment.id);
                }
                if attachment.upload_url.is_some() && !self.uploads.contains_key(&attachment.id) {
                    let gone = PlatformError::from_reply(404, None, b"");
                    return Some(Outcome::Placed(attachment.id, Err(gone)));
                }
                let offset = *self.uploads.entry(attachment.id).or_default();
                let url = format!("/v1/attachments/{}", attachment.id);
                Outcome::Placed(attachment.id, Ok(Place { url, offset }))
            }
            Step::Chunk {
                attachment,
                offset,
                bytes,
                ..
            } => {
                let Some(have) = self.uploads.get_mut(&attachment) else {
                    let gone = PlatformError::from_reply(404, None, b"");
                    return Some(Outcome::ChunkDone(attachment, Err(gone)));
                };
                if *have != offset {
                    let elsewhere = PlatformError::from_reply(409, None, b"");
                    return Some(Outcome::ChunkDone(attachment, Err(elsewhere)));
                }
                *have += bytes.len() as u64;
                let have = *have;
                if is_mad {
                    // Taken, and the answer is lost.
                    return Some(Outcome::ChunkDone(attachment, Err(self.error())));
                }
                Outcome::ChunkDone(attachment, Ok(have))
            }
            Step::Submit(batch) => {
                let ids: Vec<Uuid> = batch.iter().map(|each| each.id).collect();
                if is_mad {
                    let is_committed = self.roll(2) == 0;
                    for id in ids.iter().filter(|_| is_committed) {
                        self.take(*id);
                    }
                    let error = match self.roll(3) {
                        0 => PlatformError::from_reply(422, None, b"{\"code\":\"request.field\"}"),
                        _ => self.error(),
                    };
                    return Some(Outcome::Batch(ids, Err(error)));
                }
                let mut results = Vec::new();
                for id in &ids {
                    if self.is_sane {
                        results.push(self.take(*id));
                    } else {
                        results.extend(self.result(*id));
                    }
                }
                if self.roll(2) == 0 {
                    results.reverse();
                }
                let body = json!({ "results": results }).to_string();
                Outcome::Batch(ids, batch_reply(200, None, body.as_bytes()))
            }
        })
    }
}

fn crowd(world: &mut World) -> Vec<Uuid> {
    (1..=24)
        .map(|number| {
            let mut transaction = sample(number);
            // Three of each person, two upstreams, some that can wait, some with pictures.
            transaction.subject = [u8::try_from(number % 8).unwrap(); 32];
            transaction.upstream = ["", "insurance"][usize::from(number % 2)].to_owned();
            transaction.can_wait = number % 5 == 0;
            if number % 6 == 0 {
                transaction.attachments.push(picture(number, 700_000));
            }
            world.add(&transaction)
        })
        .collect()
}

#[test]
fn whatever_a_platform_does_everything_is_settled_once_it_behaves() {
    for seed in 1..=12_u64 {
        let mut world = World::new(Policy {
            off_hours: (seed % 3 == 0).then(|| off_hours("22:00-06:00").unwrap()),
            bytes_per_s: (seed % 4 == 0).then_some(200_000),
            // Hours pass in fewer steps.
            probe: Duration::from_secs(if seed % 3 == 0 { 300 } else { 15 }),
            ..Policy::default()
        });
        world.drain = Drain::new(world.drain.policy().clone(), seed);
        let ids = crowd(&mut world);
        let mut chaos = Chaos {
            dice: Random::new(seed),
            taken: std::collections::HashMap::new(),
            uploads: std::collections::HashMap::new(),
            is_sane: false,
        };
        let mut steps = 0_u32;
        loop {
            steps += 1;
            assert!(steps < 20_000, "seed {seed}: the drain stalls");
            if steps == 400 {
                chaos.is_sane = true;
                // A person puts back what was refused.
                for row in world.cache.list(1000).unwrap() {
                    if row.state == State::Dead {
                        world
                            .cache
                            .reinstate(row.id, "technician", world.now.at)
                            .unwrap();
                    }
                }
            }
            if !chaos.is_sane && chaos.roll(40) == 0 {
                let hours = [-24, 24, 613_200, -490_560][usize::try_from(chaos.roll(4)).unwrap()];
                let jumped = world.now.at.checked_add(SignedDuration::from_hours(hours));
                let start = Timestamp::from_second(START_S).unwrap();
                world.now.at = jumped.unwrap_or(start);
            }
            if !chaos.is_sane && chaos.roll(60) == 0 {
                world.restart(seed + 100);
            }
            let step = world.step();
            if let Step::Wait(pause) = &step {
                let pause = *pause;
                let is_empty = world.cache.depth().unwrap().waiting == 0;
                if is_empty && chaos.is_sane {
                    break;
                }
                world.pass(pause);
            } else if let Some(outcome) = chaos.answer(step)
                && (chaos.is_sane || chaos.roll(50) > 0)
            {
                world.outcome(outcome);
            }
        }
        for id in &ids {
            assert_eq!(world.state(*id), State::Acked, "seed {seed}");
            assert!(
                chaos.taken.contains_key(id),
                "seed {seed}: settled without the platform"
            );
        }
    }
}
