//! What the terminal has promised, kept outside of it, and what it owes at every moment: nothing
//! acknowledged is lost, nothing is conjured, nothing is doubled, and a transaction leaves the
//! outbox only by the platform's receipt or by a named person's act.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use central_platform::Accepted;
use offline_cache::{Cache, QueueRow, State};
use uuid::Uuid;

/// Most rows that may wait in a month; more is a world gone wrong.
const ROWS_MAX: u32 = 100_000;

/// What became of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is in the outbox.
    Open,
    /// The platform answered, with this reference.
    Settled(String),
    /// A person closed it.
    Closed(String),
    /// The file that held it was damaged from outside; the damage was reported and the file kept.
    Damaged,
}

/// One acknowledged transaction.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) id: Uuid,
    /// The number on the slip.
    pub(crate) number: String,
    /// `case` or `rating`.
    pub(crate) kind: String,
    /// Whose it is: the place of a person in the village, or the case of a rating.
    pub(crate) subject: String,
    pub(crate) fate: Fate,
}

/// The memory of all promises, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    promises: Vec<Promise>,
    places: BTreeMap<Uuid, usize>,
}

impl Oracle {
    /// The terminal says that something is durable.
    ///
    /// # Errors
    /// When its id or its number was given to something else before.
    pub(crate) fn acknowledge(&mut self, promise: Promise) -> Result<()> {
        ensure!(
            !self.places.contains_key(&promise.id),
            "the id of {} was used before",
            promise.number
        );
        let is_taken = promise.kind == "case"
            && self
                .promises
                .iter()
                .any(|earlier| earlier.kind == "case" && earlier.number == promise.number);
        ensure!(!is_taken, "the number {} was given twice", promise.number);
        self.places.insert(promise.id, self.promises.len());
        self.promises.push(promise);
        Ok(())
    }

    /// How a transaction is called in the story.
    pub(crate) fn name(&self, id: Uuid) -> String {
        self.places
            .get(&id)
            .map_or_else(|| "tx?".to_owned(), |place| format!("tx{place}"))
    }

    pub(crate) fn promise(&self, id: Uuid) -> Option<&Promise> {
        self.places
            .get(&id)
            .and_then(|place| self.promises.get(*place))
    }

    pub(crate) fn promises(&self) -> &[Promise] {
        &self.promises
    }

    /// The terminal says that a transaction is settled.
    ///
    /// # Errors
    /// When it never promised it, or already settled it with another reference.
    pub(crate) fn settle(&mut self, id: Uuid, reference: &str) -> Result<()> {
        let place = *self
            .places
            .get(&id)
            .context("something unknown was settled")?;
        let promise = &mut self.promises[place];
        match &promise.fate {
            Fate::Open | Fate::Damaged => promise.fate = Fate::Settled(reference.to_owned()),
            Fate::Settled(earlier) => ensure!(
                earlier == reference,
                "tx{place} was settled with {earlier} and again with {reference}"
            ),
            // The platform had it before the person gave it up; both are on record.
            Fate::Closed(_) => {}
        }
        Ok(())
    }

    /// A person closed a dead transaction.
    ///
    /// # Errors
    /// When there is no such open promise.
    pub(crate) fn close(&mut self, id: Uuid, by: &str) -> Result<()> {
        let place = *self
            .places
            .get(&id)
            .context("something unknown was closed")?;
        ensure!(
            self.promises[place].fate == Fate::Open,
            "tx{place} was closed but not open"
        );
        self.promises[place].fate = Fate::Closed(by.to_owned());
        Ok(())
    }

    /// Compares the outbox with the promises: exactly the open ones are in it, in the order in
    /// which they were made, and what is dead says who decided and why.
    ///
    /// # Errors
    /// What is wrong, by the names of the story.
    pub(crate) fn check_outbox(&self, cache: &Cache) -> Result<()> {
        let rows = cache.list(ROWS_MAX)?;
        let mut expected = self
            .promises
            .iter()
            .enumerate()
            .filter(|(_, promise)| promise.fate == Fate::Open);
        for row in &rows {
            let found = self.name(row.id);
            match expected.next() {
                Some((_, promise)) if promise.id == row.id => check_row(row, promise, &found)?,
                Some((place, _)) if self.is_open(row.id) => {
                    bail!("the outbox has {found} where tx{place} should be: lost or out of order")
                }
                Some(_) | None => bail!("the outbox holds {found}, which is not open"),
            }
        }
        if let Some((place, _)) = expected.next() {
            bail!("tx{place} was acknowledged and is not in the outbox");
        }
        let depth = cache.depth()?;
        let dead = rows.iter().filter(|row| row.state == State::Dead).count();
        ensure!(
            depth.dead == as_count(dead) && depth.waiting == as_count(rows.len() - dead),
            "the depth says {} waiting and {} dead, the outbox {} and {dead}",
            depth.waiting,
            depth.dead,
            rows.len() - dead
        );
        Ok(())
    }

    /// Whether these may be handed to the platform together: nobody overtakes an earlier
    /// transaction of the same subject.
    ///
    /// # Errors
    /// Who overtakes whom, and what is sent though it is not open.
    pub(crate) fn check_order(&self, batch: &[Uuid]) -> Result<()> {
        let mut sent = BTreeSet::new();
        for id in batch {
            let place = *self.places.get(id).context("something unknown is sent")?;
            let promise = &self.promises[place];
            ensure!(
                promise.fate == Fate::Open,
                "tx{place} is sent but is not open"
            );
            ensure!(sent.insert(place), "tx{place} is twice in one batch");
            let overtaken = self.promises[..place]
                .iter()
                .enumerate()
                .find(|(_, earlier)| {
                    earlier.fate == Fate::Open && earlier.subject == promise.subject
                });
            if let Some((earlier, _)) = overtaken {
                ensure!(
                    sent.contains(&earlier),
                    "tx{place} overtakes tx{earlier} of the same subject"
                );
            }
        }
        Ok(())
    }

    /// Compares the platform with the promises: nothing unknown, nothing twice, and every receipt
    /// the terminal believes in was really given.
    ///
    /// # Errors
    /// What is wrong, by the names of the story.
    pub(crate) fn check_platform(&self, accepted: &[Accepted]) -> Result<()> {
        let mut references = BTreeMap::new();
        let mut numbers = BTreeSet::new();
        for effect in accepted {
            let name = self.name(effect.id);
            let promise = self.promise(effect.id).with_context(|| {
                format!("the platform holds {}, never promised", effect.case_number)
            })?;
            ensure!(
                references
                    .insert(effect.id, effect.reference.as_str())
                    .is_none(),
                "{name} took effect twice"
            );
            ensure!(
                effect.kind != "case" || numbers.insert(effect.case_number.as_str()),
                "two cases have the number of {name}"
            );
            ensure!(
                promise.number == effect.case_number && promise.kind == effect.kind,
                "{name} arrived as something else"
            );
        }
        for (place, promise) in self.promises.iter().enumerate() {
            if let Fate::Settled(reference) = &promise.fate {
                ensure!(
                    references.get(&promise.id) == Some(&reference.as_str()),
                    "tx{place} is settled here and the platform does not have it"
                );
            }
        }
        Ok(())
    }

    /// At the very end every promise was kept, by the platform or by a named person.
    ///
    /// # Errors
    /// The first that was not.
    pub(crate) fn check_end(&self) -> Result<()> {
        for (place, promise) in self.promises.iter().enumerate() {
            match &promise.fate {
                Fate::Settled(_) | Fate::Damaged => {}
                Fate::Closed(by) => ensure!(!by.is_empty(), "tx{place} was closed by nobody"),
                Fate::Open => bail!("tx{place} is still open at the end"),
            }
        }
        Ok(())
    }

    /// After outside damage to the file: what the terminal could not save is marked as such.
    /// Returns how many were not saved.
    ///
    /// # Errors
    /// When something that was settled has come back to life.
    pub(crate) fn mark_damaged(&mut self, cache: &Cache) -> Result<u64> {
        let saved: BTreeSet<Uuid> = cache.list(ROWS_MAX)?.iter().map(|row| row.id).collect();
        for id in &saved {
            let name = self.name(*id);
            let promise = self
                .promise(*id)
                .context("salvage conjured a transaction")?;
            ensure!(
                matches!(promise.fate, Fate::Open | Fate::Damaged),
                "{name} was finished and came back to life in the salvage"
            );
        }
        let mut lost = 0;
        for promise in &mut self.promises {
            if promise.fate == Fate::Open && !saved.contains(&promise.id) {
                promise.fate = Fate::Damaged;
                lost += 1;
            }
        }
        Ok(lost)
    }

    /// Whether the terminal still owes this one.
    pub(crate) fn is_open(&self, id: Uuid) -> bool {
        self.promise(id)
            .is_some_and(|promise| promise.fate == Fate::Open)
    }

    /// How many are open, settled, closed by a person, and damaged.
    pub(crate) fn count(&self) -> [u64; 4] {
        let mut count = [0; 4];
        for promise in &self.promises {
            let place = match &promise.fate {
                Fate::Open => 0,
                Fate::Settled(_) => 1,
                Fate::Closed(_) => 2,
                Fate::Damaged => 3,
            };
            count[place] += 1;
        }
        count
    }
}

fn check_row(row: &QueueRow, promise: &Promise, name: &str) -> Result<()> {
    ensure!(
        row.case_number == promise.number && row.kind == promise.kind,
        "{name} has become something else"
    );
    match row.state {
        State::WaitingAttachments | State::Pending | State::InFlight => {}
        State::Acked => bail!("{name} is open and has a receipt"),
        State::Dead => {
            let is_named =
                |word: &Option<String>| word.as_ref().is_some_and(|word| !word.is_empty());
            ensure!(
                is_named(&row.ended_by) && is_named(&row.ended_reason),
                "{name} is dead and nobody says why"
            );
        }
    }
    Ok(())
}

fn as_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(number: u128, subject: &str) -> Promise {
        Promise {
            id: Uuid::from_u128(number),
            number: format!("T001-20261122-{number:05}"),
            kind: "case".to_owned(),
            subject: subject.to_owned(),
            fate: Fate::Open,
        }
    }

    fn accepted(promise: &Promise) -> Accepted {
        Accepted {
            id: promise.id,
            terminal: "T001".to_owned(),
            kind: promise.kind.clone(),
            item: "old-age-allowance".to_owned(),
            case_number: promise.number.clone(),
            upstream: String::new(),
            payload_suite: "intl".to_owned(),
            road: "network".to_owned(),
            attachments: 0,
            times_received: 1,
            reference: "R1".to_owned(),
        }
    }

    #[test]
    fn an_id_or_a_number_given_twice_is_seen() {
        let mut oracle = Oracle::default();
        oracle.acknowledge(promise(1, "a")).unwrap();
        assert!(oracle.acknowledge(promise(1, "a")).is_err());
        let mut same_number = promise(2, "a");
        same_number.number = promise(1, "a").number;
        assert!(oracle.acknowledge(same_number).is_err());
    }

    #[test]
    fn overtaking_and_sending_what_is_finished_are_seen() {
        let mut oracle = Oracle::default();
        for (number, subject) in [(1, "a"), (2, "b"), (3, "a")] {
            oracle.acknowledge(promise(number, subject)).unwrap();
        }
        let [first, second, third] = [1, 2, 3].map(Uuid::from_u128);
        oracle.check_order(&[first, second]).unwrap();
        oracle.check_order(&[second]).unwrap();
        assert!(oracle.check_order(&[second, third]).is_err());
        assert!(oracle.check_order(&[second, second]).is_err());
        oracle.settle(first, "R1").unwrap();
        oracle.check_order(&[third]).unwrap();
        assert!(oracle.check_order(&[first]).is_err());
        assert!(oracle.check_order(&[Uuid::from_u128(9)]).is_err());
    }

    #[test]
    fn a_receipt_the_platform_never_gave_is_seen() {
        let mut oracle = Oracle::default();
        oracle.acknowledge(promise(1, "a")).unwrap();
        oracle.settle(Uuid::from_u128(1), "R1").unwrap();
        oracle
            .check_platform(&[accepted(&promise(1, "a"))])
            .unwrap();
        let error = oracle.check_platform(&[]).unwrap_err();
        assert!(error.to_string().contains("does not have it"), "{error}");
        assert!(oracle.settle(Uuid::from_u128(1), "R2").is_err());
    }

    #[test]
    fn what_arrives_twice_under_one_or_two_ids_is_seen() {
        let mut oracle = Oracle::default();
        oracle.acknowledge(promise(1, "a")).unwrap();
        oracle.acknowledge(promise(2, "a")).unwrap();
        let first = accepted(&promise(1, "a"));
        let doubled = [first.clone(), first.clone()];
        assert!(oracle.check_platform(&doubled).is_err());
        let mut other_id = accepted(&promise(2, "a"));
        other_id.case_number.clone_from(&first.case_number);
        assert!(oracle.check_platform(&[first, other_id]).is_err());
    }

    #[test]
    fn the_end_wants_every_promise_kept() {
        let mut oracle = Oracle::default();
        oracle.acknowledge(promise(1, "a")).unwrap();
        assert!(oracle.check_end().is_err());
        oracle.close(Uuid::from_u128(1), "staff-1").unwrap();
        oracle.check_end().unwrap();
        assert_eq!(oracle.count(), [0, 0, 1, 0]);
    }
}
