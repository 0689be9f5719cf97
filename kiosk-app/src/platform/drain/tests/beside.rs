//! Several things on their way at once: never twice the same, never two of one person, and one cut
//! of the line is one failure.

use std::collections::HashMap;

use super::*;

fn ids_of(step: &Step) -> Vec<Uuid> {
    let Step::Submit(batch) = step else {
        panic!("no batch: {step:?}")
    };
    batch.iter().map(|each| each.id).collect()
}

fn beside(world: &mut World) -> Option<Step> {
    world.drain.beside(&mut world.cache, world.now).unwrap()
}

fn answer(world: &mut World, ids: &[Uuid]) -> Vec<News> {
    let results: Vec<_> = ids.iter().copied().map(accepted).collect();
    let body = json!({ "results": results }).to_string();
    let reply = batch_reply(200, None, body.as_bytes());
    world.outcome(Outcome::Batch(ids.to_vec(), reply))
}

/// All batches that leave at once.
fn leave(world: &mut World) -> Vec<Vec<Uuid>> {
    let mut batches = vec![ids_of(&world.next())];
    while let Some(step) = beside(world) {
        batches.push(ids_of(&step));
    }
    batches
}

#[test]
fn the_next_batches_leave_while_the_first_is_on_its_way_and_are_answered_in_any_order() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=500).map(|number| world.enqueue(number)).collect();
    let batches = leave(&mut world);
    assert_eq!(batches.len(), BATCHES_MAX);
    assert_eq!(batches.concat(), ids[..300]);
    for batch in batches.iter().rev() {
        assert_eq!(answer(&mut world, batch).len(), 100);
    }
    assert!(ids[..300].iter().all(|id| world.state(*id) == State::Acked));
    assert_eq!(leave(&mut world).concat(), ids[300..]);
}

#[test]
fn of_one_person_one_is_on_its_way_at_a_time() {
    let mut world = World::flowing();
    let mut ids = Vec::new();
    for number in 1..=300 {
        let mut transaction = sample(number);
        if number % 100 == 0 {
            transaction.subject = [0xEE; 32];
        }
        ids.push(world.add(&transaction));
    }
    let batches = leave(&mut world);
    let sent: Vec<Uuid> = batches.concat();
    assert!(sent.contains(&ids[99]));
    assert!(!sent.contains(&ids[199]) && !sent.contains(&ids[299]));
    for batch in batches {
        answer(&mut world, &batch);
    }
    assert_eq!(leave(&mut world), [vec![ids[199]]]);
}

#[test]
fn nothing_goes_beside_before_the_platform_has_taken_something() {
    let mut world = World::new(policy());
    let ids: Vec<Uuid> = (1..=50).map(|number| world.enqueue(number)).collect();
    world.up();
    assert_eq!(leave(&mut world), [ids[..1].to_vec()]);
    answer(&mut world, &ids[..1]);
    let batches = leave(&mut world);
    assert_eq!(batches.len(), BATCHES_MAX);
    assert_eq!(batches.concat(), ids[1..31]);
}

#[test]
fn a_line_that_one_request_fills_gets_one_at_a_time() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=400).map(|number| world.enqueue(number)).collect();
    let first = leave(&mut world);
    world.pass(3 * S);
    for batch in &first {
        answer(&mut world, batch);
    }
    let next = leave(&mut world);
    assert_eq!(next, [ids[300..].to_vec()]);
}

#[test]
fn under_a_cap_everything_goes_one_at_a_time() {
    let mut world = World::flowing();
    world.drain.set_policy(Policy {
        bytes_per_s: Some(100_000),
        ..policy()
    });
    for number in 1..=300 {
        world.enqueue(number);
    }
    assert_eq!(leave(&mut world).len(), 1);
}

#[test]
fn one_cut_of_the_line_is_one_failure() {
    let mut world = World::flowing();
    world.drain.set_policy(Policy {
        failures_max: 2,
        ..policy()
    });
    let ids: Vec<Uuid> = (1..=300).map(|number| world.enqueue(number)).collect();
    for batch in leave(&mut world) {
        world.outcome(Outcome::Batch(batch, Err(PlatformError::Cut)));
        assert!(beside(&mut world).is_none());
    }
    assert_eq!(world.drain.counts().failures, 3);
    assert_eq!(world.drain.breaker(world.now), Breaker::Closed);
    assert!(ids.iter().all(|id| world.state(*id) == State::Pending));
    assert!(ids.iter().all(|id| world.row(*id).attempts == 1));
    // The next failure is another one.
    let batch = ids_of(&world.next());
    world.outcome(Outcome::Batch(batch, Err(PlatformError::Cut)));
    assert_eq!(world.drain.breaker(world.now), Breaker::Open);
}

#[test]
fn an_answer_from_before_a_failure_closes_no_breaker() {
    let mut world = World::flowing();
    world.drain.set_policy(Policy {
        failures_max: 1,
        ..policy()
    });
    for number in 1..=300 {
        world.enqueue(number);
    }
    let batches = leave(&mut world);
    world.outcome(Outcome::Batch(batches[1].clone(), Err(PlatformError::Cut)));
    assert_eq!(world.drain.breaker(world.now), Breaker::Open);
    assert_eq!(answer(&mut world, &batches[0]).len(), 100);
    assert_eq!(world.drain.breaker(world.now), Breaker::Open);
}

#[test]
fn what_is_never_answered_is_sent_again_when_nothing_is_on_its_way() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=300).map(|number| world.enqueue(number)).collect();
    let batches = leave(&mut world);
    answer(&mut world, &batches[1]);
    // The two others are lost; the caller has nothing left to wait for.
    let again = leave(&mut world).concat();
    let expected: Vec<Uuid> = [&ids[..100], &ids[200..]].concat();
    assert_eq!(again, expected);
    // A late answer to what was sent again settles nothing twice and stops nothing.
    assert!(answer(&mut world, &batches[0]).len() <= 100);
    assert!(answer(&mut world, &batches[0]).is_empty());
}

/// It would stay in flight until the next start.
#[test]
fn one_without_attachments_of_which_some_are_said_to_be_missing_is_sent_again() {
    let mut world = World::flowing();
    let id = world.enqueue(1);
    assert_eq!(world.batch(), [id]);
    world.answer(&[later_result(id, "attachment.incomplete")]);
    assert_eq!(world.state(id), State::Pending);
    assert_eq!(world.code(id), "platform.bad-reply");
    assert_eq!(world.batch(), [id]);
}

#[test]
fn a_refused_batch_is_halved_while_the_others_are_on_their_way() {
    let mut world = World::flowing();
    let ids: Vec<Uuid> = (1..=300).map(|number| world.enqueue(number)).collect();
    let batches = leave(&mut world);
    let refusal = json!({ "code": "request.field" }).to_string();
    let refused = batch_reply(422, None, refusal.as_bytes());
    world.outcome(Outcome::Batch(batches[1].clone(), refused));
    let half = beside(&mut world).unwrap();
    assert_eq!(ids_of(&half), ids[100..150]);
    for batch in [&batches[0], &batches[2], &ids_of(&half)] {
        answer(&mut world, batch);
    }
    assert_eq!(ids_of(&world.next()), ids[150..200]);
}

#[test]
fn several_attachments_are_uploaded_at_once_and_each_in_its_order() {
    let mut world = World::flowing();
    let mut pictures = Vec::new();
    for number in 1..=5 {
        let mut transaction = sample(number);
        transaction.attachments.push(picture(number, 600_000));
        pictures.push(transaction.attachments[0].id);
        world.add(&transaction);
    }
    let place_of = |step: Step| {
        let Step::Place(attachment) = step else {
            panic!("{step:?}")
        };
        attachment.id
    };
    let first = place_of(world.next());
    let mut asked = vec![first];
    while let Some(step) = beside(&mut world) {
        asked.push(place_of(step));
    }
    assert_eq!(asked, pictures[..3]);
    // The third answers first; it alone goes on.
    world.placed(asked[2], 0);
    let Some(Step::Chunk {
        attachment, offset, ..
    }) = beside(&mut world)
    else {
        panic!("no piece")
    };
    assert_eq!((attachment, offset), (asked[2], 0));
    assert!(beside(&mut world).is_none());
    world.outcome(Outcome::ChunkDone(asked[2], Ok(524_288)));
    let Some(Step::Chunk {
        attachment, offset, ..
    }) = beside(&mut world)
    else {
        panic!("no second piece")
    };
    assert_eq!((attachment, offset), (asked[2], 524_288));
    world.outcome(Outcome::ChunkDone(asked[2], Ok(600_000)));
    // It is whole: its transaction can leave, and the fourth begins.
    let mut rest = Vec::new();
    while let Some(step) = beside(&mut world) {
        rest.push(step);
    }
    assert!(
        matches!(&rest[..], [Step::Submit(batch), Step::Place(next)]
        if batch[0].id == sample(3).id && next.id == pictures[3])
            || matches!(&rest[..], [Step::Place(next), Step::Submit(batch)]
        if batch[0].id == sample(3).id && next.id == pictures[3])
    );
}

/// What is on its way in the race below.
#[derive(Default)]
struct Air {
    outcomes: Vec<(Vec<Uuid>, Option<Outcome>)>,
}

impl Air {
    fn take_off(&mut self, step: Step, chaos: &mut Chaos, world: &World) {
        let ids: Vec<Uuid> = match &step {
            Step::Submit(batch) => batch.iter().map(|each| each.id).collect(),
            Step::Place(attachment) => vec![attachment.id],
            Step::Chunk { attachment, .. } => vec![*attachment],
            Step::Probe | Step::Scrub | Step::Wait(_) => Vec::new(),
        };
        let flying: Vec<Uuid> = self
            .outcomes
            .iter()
            .flat_map(|each| each.0.clone())
            .collect();
        assert!(
            ids.iter().all(|id| !flying.contains(id)),
            "twice in the air"
        );
        if let Step::Submit(batch) = &step {
            let mut subjects: HashMap<[u8; 32], u32> = HashMap::new();
            let rows = world.cache.recent(1000).unwrap();
            for row in rows.iter().filter(|row| row.state == State::InFlight) {
                let number = u16::try_from(row.id.as_u128() & 0xFFFF).unwrap();
                *subjects
                    .entry([u8::try_from(number % 8).unwrap(); 32])
                    .or_default() += 1;
            }
            assert!(subjects.values().all(|count| *count == 1), "overtaking");
            assert!(!batch.is_empty());
        }
        let outcome = chaos.answer(step);
        // Some answers never come.
        let is_lost = !chaos.is_sane && chaos.roll(30) == 0;
        self.outcomes.push((ids, outcome.filter(|_| !is_lost)));
    }

    fn land(&mut self, chaos: &mut Chaos, world: &mut World) {
        let sides = u64::try_from(self.outcomes.len()).unwrap();
        let index = usize::try_from(chaos.roll(sides)).unwrap();
        if let (_, Some(outcome)) = self.outcomes.remove(index) {
            world.outcome(outcome);
        }
    }
}

#[test]
fn whatever_a_platform_does_to_many_at_once_everything_is_settled_once_it_behaves() {
    for seed in 1..=20_u64 {
        let mut world = World::new(Policy::default());
        world.drain = Drain::new(Policy::default(), seed);
        let ids = crowd(&mut world);
        let mut chaos = Chaos {
            dice: Random::new(seed),
            taken: HashMap::new(),
            uploads: HashMap::new(),
            is_sane: false,
        };
        let mut air = Air::default();
        let mut steps = 0_u32;
        loop {
            steps += 1;
            assert!(steps < 20_000, "seed {seed}: the drain stalls");
            chaos.is_sane = steps > 400;
            // What was refused before may land after; then a person puts it back.
            if chaos.is_sane && air.outcomes.is_empty() {
                for row in world.cache.list(1000).unwrap() {
                    if row.state == State::Dead {
                        let now = world.now.at;
                        world.cache.reinstate(row.id, "technician", now).unwrap();
                    }
                }
            }
            if air.outcomes.is_empty() {
                let step = world.step();
                if let Step::Wait(pause) = &step {
                    if chaos.is_sane && world.cache.depth().unwrap().waiting == 0 {
                        break;
                    }
                    let pause = *pause;
                    world.pass(pause);
                } else {
                    air.take_off(step, &mut chaos, &world);
                }
            } else if chaos.roll(2) == 0
                && let Some(step) = beside(&mut world)
            {
                air.take_off(step, &mut chaos, &world);
            } else {
                world.pass(Duration::from_millis(30));
                air.land(&mut chaos, &mut world);
            }
        }
        for id in &ids {
            assert_eq!(world.state(*id), State::Acked, "seed {seed}");
            assert!(chaos.taken.contains_key(id), "seed {seed}");
        }
    }
}
