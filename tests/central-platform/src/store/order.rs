//! Payments, appointments, video sessions, shipments and counters. Each id takes effect once and
//! its content cannot change; each change of state is one commit that says from where it came, so
//! that a power cut leaves a state that was reached, and never one between two.

use jiff::civil::{Date, time};
use jiff::tz::{TimeZone, offset};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::database::{Database, Row, Value, stored};
use crate::messages::{
    Appointment, Logistics, LogisticsEvent, NewAppointment, NewPayment, NewVideoSession, Payment,
    Slot, VideoSession,
};
use kiosk_sealing::{hex, sha256};

/// People who are served at the same time of a day; of the sample authority.
const PLACES: u64 = 2;
/// First and last time of a day, in half hours from midnight: 9:00 and 16:30.
const HALF_HOURS: std::ops::RangeInclusive<i8> = 18..=33;
/// Minutes of an appointment.
const SLOT_MINUTES: i64 = 30;
/// Furthest day that can be taken.
const DAYS_AHEAD_MAX: i64 = 60;
/// Most events of a shipment that are kept.
const EVENTS_MAX: usize = 100;

/// What came of a request under an id that a terminal made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Made<T> {
    /// It took effect now.
    New(T),
    /// It had taken effect before.
    Again(T),
    /// The id was used for something else.
    Differs,
    /// There is no such time.
    NoSuchSlot,
    /// The time is taken.
    Taken,
}

/// Something that happens to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaymentAct {
    /// The citizen's money arrived.
    Pay,
    /// The terminal ended the order.
    Cancel,
    /// The bank paid back.
    Refund,
    /// Time passed.
    Look,
}

/// The state after an act; `None` when it changes nothing.
fn after(state: &str, act: PaymentAct, is_late: bool) -> Option<&'static str> {
    match (state, act) {
        ("created", PaymentAct::Pay) if !is_late => Some("paid"),
        // Money that comes too late goes back, and so does that of an order that is ended.
        ("created" | "expired" | "cancelled", PaymentAct::Pay) | ("paid", PaymentAct::Cancel) => {
            Some("refund-pending")
        }
        ("created", _) if is_late => Some("expired"),
        ("created", PaymentAct::Cancel) => Some("cancelled"),
        ("refund-pending", PaymentAct::Refund) => Some("refunded"),
        _ => None,
    }
}

impl Store {
    /// Makes an order of payment.
    pub(crate) fn make_payment(
        &mut self,
        terminal: &str,
        order: &NewPayment,
        now: Timestamp,
    ) -> Result<Made<Payment>, StoreError> {
        let digest = digest_of(order)?;
        let id = order.id.to_string();
        let expires = now + jiff::SignedDuration::from_secs(order.expires_in_s.into());
        self.database.transaction(|database| {
            let known = database.query_one(
                "SELECT content_digest FROM payment WHERE id = ?1",
                &[Value::Text(&id)],
            )?;
            if let Some(known) = known {
                if known.blob(0)? != digest {
                    return Ok(Made::Differs);
                }
                let payment = act_on(database, order.id, PaymentAct::Look, now)?;
                return payment.map(Made::Again).ok_or(StoreError::Key);
            }
            database.execute(
                "INSERT INTO payment (id, terminal, content_digest, item, case_number, amount_fen,
                    expires_at, expires_s, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'created')",
                &[
                    Value::Text(&id),
                    Value::Text(terminal),
                    Value::Blob(&digest),
                    Value::Text(&order.item),
                    Value::Text(&order.case_number),
                    stored(order.amount_fen),
                    Value::Text(&expires.to_string()),
                    Value::Integer(expires.as_second()),
                ],
            )?;
            note(database, &id, "created", now)?;
            let payment = read_payment(database, &id)?;
            payment.map(Made::New).ok_or(StoreError::Key)
        })
    }

    /// Does something to a payment, or only looks; none when there is no such order.
    pub(crate) fn act_on_payment(
        &mut self,
        id: Uuid,
        act: PaymentAct,
        now: Timestamp,
    ) -> Result<Option<Payment>, StoreError> {
        self.database
            .transaction(|database| act_on(database, id, act, now))
    }

    /// The states that an order was in, in order.
    #[cfg(test)]
    pub(crate) fn payment_history(&mut self, id: Uuid) -> Result<Vec<String>, StoreError> {
        let rows = self.database.query(
            "SELECT state FROM payment_event WHERE payment = ?1 ORDER BY position LIMIT ?2",
            &[
                Value::Text(&id.to_string()),
                Value::Integer(super::ROWS_MAX),
            ],
        )?;
        rows.iter().map(|row| Ok(row.text(0)?)).collect()
    }

    /// The times of a day for an item; none on days that cannot be taken.
    pub(crate) fn slots(
        &mut self,
        item: &str,
        date: Date,
        now: Timestamp,
    ) -> Result<Vec<Slot>, StoreError> {
        let mut slots = Vec::new();
        for (slot, from) in times_of(date, now) {
            let free = PLACES.saturating_sub(booked(&mut self.database, item, &slot)?);
            slots.push(Slot {
                id: slot,
                from,
                until: from + SLOT_MINUTES.minutes(),
                free,
            });
        }
        Ok(slots)
    }

    /// Takes a free time.
    pub(crate) fn make_appointment(
        &mut self,
        terminal: &str,
        wanted: &NewAppointment,
        now: Timestamp,
    ) -> Result<Made<Appointment>, StoreError> {
        let digest = digest_of(wanted)?;
        let document = serde_json::to_string(wanted)?;
        let id = wanted.id.to_string();
        let reference = format!("A{}", hex(&sha256(id.as_bytes()))[..8].to_uppercase());
        let is_slot = slot_date(&wanted.slot)
            .is_some_and(|date| times_of(date, now).any(|(slot, _)| slot == wanted.slot));
        self.database.transaction(|database| {
            let known = database.query_one(
                "SELECT content_digest FROM appointment WHERE id = ?1",
                &[Value::Text(&id)],
            )?;
            if let Some(known) = known {
                if known.blob(0)? != digest {
                    return Ok(Made::Differs);
                }
                let appointment = read_appointment(database, &id)?;
                return appointment.map(Made::Again).ok_or(StoreError::Key);
            }
            if !is_slot {
                return Ok(Made::NoSuchSlot);
            }
            if booked(database, &wanted.item, &wanted.slot)? >= PLACES {
                return Ok(Made::Taken);
            }
            database.execute(
                "INSERT INTO appointment (id, terminal, content_digest, document, item, slot, state,
                    reference)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'booked', ?7)",
                &[
                    Value::Text(&id),
                    Value::Text(terminal),
                    Value::Blob(&digest),
                    Value::Text(&document),
                    Value::Text(&wanted.item),
                    Value::Text(&wanted.slot),
                    Value::Text(&reference),
                ],
            )?;
            let appointment = read_appointment(database, &id)?;
            appointment.map(Made::New).ok_or(StoreError::Key)
        })
    }

    /// Gives a time back; whether there is such an appointment.
    pub(crate) fn cancel_appointment(&mut self, id: Uuid) -> Result<bool, StoreError> {
        let changed = self.database.execute(
            "UPDATE appointment SET state = 'cancelled' WHERE id = ?1",
            &[Value::Text(&id.to_string())],
        )?;
        Ok(changed == 1)
    }

    /// Puts a wish for an official into the queue.
    pub(crate) fn open_video(
        &mut self,
        terminal: &str,
        wanted: &NewVideoSession,
    ) -> Result<Made<VideoSession>, StoreError> {
        let digest = digest_of(wanted)?;
        let id = wanted.id.to_string();
        self.database.transaction(|database| {
            let known = database.query_one(
                "SELECT content_digest FROM video_session WHERE id = ?1",
                &[Value::Text(&id)],
            )?;
            let is_new = known.is_none();
            if let Some(known) = known
                && known.blob(0)? != digest
            {
                return Ok(Made::Differs);
            }
            if is_new {
                database.execute(
                    "INSERT INTO video_session (id, terminal, content_digest, item, state)
                     VALUES (?1, ?2, ?3, ?4, 'waiting')",
                    &[
                        Value::Text(&id),
                        Value::Text(terminal),
                        Value::Blob(&digest),
                        Value::Text(&wanted.item),
                    ],
                )?;
            }
            let session = read_video(database, &id)?.ok_or(StoreError::Key)?;
            Ok(if is_new {
                Made::New(session)
            } else {
                Made::Again(session)
            })
        })
    }

    /// How far a video session has come.
    pub(crate) fn video(&mut self, id: Uuid) -> Result<Option<VideoSession>, StoreError> {
        self.database
            .transaction(|database| read_video(database, &id.to_string()))
    }

    /// Moves a video session on; one that ended stays ended. Whether there is such a session.
    pub(crate) fn move_video(&mut self, id: Uuid, state: &str) -> Result<bool, StoreError> {
        let id = id.to_string();
        self.database.transaction(|database| {
            database.execute(
                "UPDATE video_session SET state = ?2 WHERE id = ?1 AND state <> 'ended'",
                &[Value::Text(&id), Value::Text(state)],
            )?;
            Ok(read_video(database, &id)?.is_some())
        })
    }

    /// Where the papers of a case are; none when there is no such case.
    pub(crate) fn logistics(&mut self, case_number: &str) -> Result<Option<Logistics>, StoreError> {
        if self.case(case_number)?.is_none() {
            return Ok(None);
        }
        read_shipment(&mut self.database, case_number).map(Some)
    }

    /// Notes a step of a shipment; false when there is no such case.
    pub(crate) fn move_shipment(
        &mut self,
        step: &ShipmentStep,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.case(&step.case_number)?.is_none() {
            return Ok(false);
        }
        let event = |text: &str| LogisticsEvent {
            at: now.to_string(),
            text: text.to_owned(),
        };
        self.database.transaction(|database| {
            let mut shipment = read_shipment(database, &step.case_number)?;
            shipment.events.truncate(EVENTS_MAX - 1);
            shipment.events.push(event(&step.text));
            let events = serde_json::to_string(&shipment.events)?;
            database.execute(
                "INSERT INTO shipment (case_number, state, carrier, tracking_number, events)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (case_number) DO UPDATE
                 SET state = excluded.state, carrier = excluded.carrier,
                     tracking_number = excluded.tracking_number, events = excluded.events",
                &[
                    Value::Text(&step.case_number),
                    Value::Text(&step.state),
                    Value::Text(&step.carrier),
                    Value::Text(&step.tracking_number),
                    Value::Text(&events),
                ],
            )?;
            Ok(true)
        })
    }

    /// Keeps the newest counters of a terminal.
    pub(crate) fn note_telemetry(
        &mut self,
        terminal: &str,
        metrics: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database.execute(
            "INSERT INTO telemetry (terminal, received_at, metrics) VALUES (?1, ?2, ?3)
             ON CONFLICT (terminal) DO UPDATE
             SET received_at = excluded.received_at, metrics = excluded.metrics",
            &[
                Value::Text(terminal),
                Value::Text(&now.to_string()),
                Value::Text(metrics),
            ],
        )?;
        Ok(())
    }

    /// How many orders, booked times and open video sessions there are.
    pub(crate) fn service_counts(&mut self) -> Result<[u64; 3], StoreError> {
        let mut count = |sql| -> Result<u64, StoreError> {
            let row = self.database.query_one(sql, &[])?;
            Ok(row.map_or(Ok(0), |row| row.count(0))?)
        };
        Ok([
            count("SELECT COUNT(*) FROM payment")?,
            count("SELECT COUNT(*) FROM appointment WHERE state = 'booked'")?,
            count("SELECT COUNT(*) FROM video_session WHERE state <> 'ended'")?,
        ])
    }
}

/// A step of a shipment, as an official notes it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShipmentStep {
    pub(crate) case_number: String,
    pub(crate) state: String,
    pub(crate) carrier: String,
    pub(crate) tracking_number: String,
    pub(crate) text: String,
}

fn digest_of(content: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    Ok(sha256(&serde_json::to_vec(content)?).to_vec())
}

/// Applies an act and what time did meanwhile.
fn act_on(
    database: &mut Database,
    id: Uuid,
    act: PaymentAct,
    now: Timestamp,
) -> Result<Option<Payment>, StoreError> {
    let id = id.to_string();
    let row = database.query_one(
        "SELECT state, expires_s FROM payment WHERE id = ?1",
        &[Value::Text(&id)],
    )?;
    let Some(row) = row else {
        return Ok(None);
    };
    let state = row.text(0)?;
    let is_late = now.as_second() >= row.integer(1)?;
    let Some(next) = after(&state, act, is_late) else {
        return read_payment(database, &id);
    };
    let at = now.to_string();
    // Only from the state that was read: a change that came between makes this one nothing.
    let changed = database.execute(
        "UPDATE payment SET state = ?2 WHERE id = ?1 AND state = ?3",
        &[Value::Text(&id), Value::Text(next), Value::Text(&state)],
    )?;
    if changed == 1 {
        note(database, &id, next, now)?;
        if act == PaymentAct::Pay {
            database.execute(
                "UPDATE payment SET paid_at = ?2 WHERE id = ?1",
                &[Value::Text(&id), Value::Text(&at)],
            )?;
        }
        if next == "refunded" {
            database.execute(
                "UPDATE payment SET refunded_at = ?2 WHERE id = ?1",
                &[Value::Text(&id), Value::Text(&at)],
            )?;
        }
    }
    read_payment(database, &id)
}

fn note(database: &mut Database, id: &str, state: &str, now: Timestamp) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO payment_event (payment, state, entered_at) VALUES (?1, ?2, ?3)",
        &[
            Value::Text(id),
            Value::Text(state),
            Value::Text(&now.to_string()),
        ],
    )?;
    Ok(())
}

fn read_payment(database: &mut Database, id: &str) -> Result<Option<Payment>, StoreError> {
    let row = database.query_one(
        "SELECT state, amount_fen, expires_at, paid_at, refunded_at FROM payment WHERE id = ?1",
        &[Value::Text(id)],
    )?;
    row.map(|row| {
        let state = row.text(0)?;
        let code_url = match state.as_str() {
            "created" => format!("https://pay.example/{id}"),
            _ => String::new(),
        };
        Ok(Payment {
            id: id.parse().unwrap_or_default(),
            state,
            amount_fen: row.count(1)?,
            code_url,
            expires_at: row.text(2)?,
            paid_at: row.maybe_text(3)?,
            refunded_at: row.maybe_text(4)?,
        })
    })
    .transpose()
}

/// The times of a day that can still be taken: working days ahead, by the clock of the authority.
fn times_of(date: Date, now: Timestamp) -> impl Iterator<Item = (String, Timestamp)> {
    let zone = TimeZone::fixed(offset(8));
    let today = now.to_zoned(zone.clone()).date();
    let is_open = date >= today
        && date <= today.saturating_add(DAYS_AHEAD_MAX.days())
        && !matches!(
            date.weekday(),
            jiff::civil::Weekday::Saturday | jiff::civil::Weekday::Sunday
        );
    HALF_HOURS
        .filter(move |_| is_open)
        .filter_map(move |half_hours| {
            let (hour, minute) = (half_hours / 2, half_hours % 2 * 30);
            let from = date
                .to_datetime(time(hour, minute, 0, 0))
                .to_zoned(zone.clone())
                .ok()?
                .timestamp();
            Some((format!("{date}:{hour:02}{minute:02}"), from))
        })
        .filter(move |(_, from)| *from > now)
}

fn slot_date(slot: &str) -> Option<Date> {
    slot.split_once(':')?.0.parse().ok()
}

fn booked(database: &mut Database, item: &str, slot: &str) -> Result<u64, StoreError> {
    let row = database.query_one(
        "SELECT COUNT(*) FROM appointment WHERE item = ?1 AND slot = ?2 AND state = 'booked'",
        &[Value::Text(item), Value::Text(slot)],
    )?;
    Ok(row.map_or(Ok(0), |row| row.count(0))?)
}

fn read_appointment(database: &mut Database, id: &str) -> Result<Option<Appointment>, StoreError> {
    let row = database.query_one(
        "SELECT state, slot, reference FROM appointment WHERE id = ?1",
        &[Value::Text(id)],
    )?;
    row.map(|row| {
        Ok(Appointment {
            id: id.parse().unwrap_or_default(),
            state: row.text(0)?,
            slot: row.text(1)?,
            reference: row.text(2)?,
        })
    })
    .transpose()
}

fn read_video(database: &mut Database, id: &str) -> Result<Option<VideoSession>, StoreError> {
    let row = database.query_one(
        "SELECT state, position FROM video_session WHERE id = ?1",
        &[Value::Text(id)],
    )?;
    let Some(row) = row else {
        return Ok(None);
    };
    let state = row.text(0)?;
    let position = match state.as_str() {
        "waiting" => Some(waiting_before(database, &row)?),
        _ => None,
    };
    let join_url = match state.as_str() {
        "ringing" | "active" => format!("https://video.example/{id}"),
        _ => String::new(),
    };
    Ok(Some(VideoSession {
        id: id.parse().unwrap_or_default(),
        state,
        join_url,
        position,
    }))
}

/// How many are served before the one of this row.
fn waiting_before(database: &mut Database, row: &Row) -> Result<u64, StoreError> {
    let before = database.query_one(
        "SELECT COUNT(*) FROM video_session WHERE state = 'waiting' AND position < ?1",
        &[Value::Integer(row.integer(1)?)],
    )?;
    Ok(before.map_or(Ok(0), |row| row.count(0))?)
}

fn read_shipment(database: &mut Database, case_number: &str) -> Result<Logistics, StoreError> {
    let row = database.query_one(
        "SELECT state, carrier, tracking_number, events FROM shipment WHERE case_number = ?1",
        &[Value::Text(case_number)],
    )?;
    let Some(row) = row else {
        return Ok(Logistics {
            case_number: case_number.to_owned(),
            state: "none".to_owned(),
            carrier: None,
            tracking_number: None,
            events: Vec::new(),
        });
    };
    Ok(Logistics {
        case_number: case_number.to_owned(),
        state: row.text(0)?,
        carrier: Some(row.text(1)?),
        tracking_number: Some(row.text(2)?),
        events: serde_json::from_str(&row.text(3)?)?,
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;
    use serde_json::json;

    use super::*;
    use crate::Config;

    /// A Monday, 8:00 in the zone of the authority.
    fn monday() -> Timestamp {
        "2026-11-23T00:00:00Z".parse().unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Config::default(), monday()).unwrap();
        (directory, store)
    }

    fn order(amount_fen: u64) -> NewPayment {
        serde_json::from_value(json!({
            "id": Uuid::from_u128(1), "item": "a", "case_number": "T1-1",
            "amount_fen": amount_fen, "subject": "s", "expires_in_s": 60,
        }))
        .unwrap()
    }

    #[test]
    fn an_order_is_made_once_and_its_content_stands() {
        let (_directory, mut store) = store();
        let Made::New(first) = store.make_payment("T1", &order(100), monday()).unwrap() else {
            panic!("not made")
        };
        assert_eq!(
            (first.state.as_str(), first.code_url.is_empty()),
            ("created", false)
        );
        let again = store.make_payment("T1", &order(100), monday()).unwrap();
        assert_eq!(again, Made::Again(first));
        let other = store.make_payment("T1", &order(101), monday()).unwrap();
        assert_eq!(other, Made::Differs);
    }

    #[test]
    fn a_payment_goes_only_the_ways_that_exist() {
        use PaymentAct::{Cancel, Look, Pay, Refund};
        let late = monday() + SignedDuration::from_secs(61);
        let check = |acts: &[(PaymentAct, Timestamp)], expected: &str| {
            let (_directory, mut store) = store();
            store.make_payment("T1", &order(100), monday()).unwrap();
            for (act, at) in acts {
                store.act_on_payment(Uuid::from_u128(1), *act, *at).unwrap();
            }
            let history = store.payment_history(Uuid::from_u128(1)).unwrap().join(" ");
            assert_eq!(history, format!("created{expected}"), "{acts:?}");
        };
        let now = monday();
        check(&[(Pay, now), (Pay, now)], " paid");
        check(&[(Cancel, now), (Cancel, now)], " cancelled");
        check(&[(Look, late), (Cancel, late)], " expired");
        check(&[(Pay, late)], " refund-pending");
        check(
            &[(Look, late), (Pay, late), (Refund, late)],
            " expired refund-pending refunded",
        );
        check(&[(Cancel, now), (Pay, now)], " cancelled refund-pending");
        check(
            &[
                (Pay, now),
                (Cancel, now),
                (Pay, now),
                (Refund, late),
                (Refund, late),
            ],
            " paid refund-pending refunded",
        );
        check(&[(Refund, now), (Look, now)], "");
    }

    #[test]
    fn a_time_is_taken_by_as_many_as_there_are_places_and_can_be_given_back() {
        let (_directory, mut store) = store();
        let day = date(2026, 11, 23);
        let slot = store.slots("a", day, monday()).unwrap().remove(0);
        assert_eq!((slot.id.as_str(), slot.free), ("2026-11-23:0900", 2));
        let wanted = |id: u128, slot: &str| NewAppointment {
            id: Uuid::from_u128(id),
            item: "a".to_owned(),
            slot: slot.to_owned(),
            number: "1".to_owned(),
            name: "测试一".to_owned(),
        };
        let mut make = |id, slot: &str| store.make_appointment("T1", &wanted(id, slot), monday());
        for id in [1, 2] {
            assert!(matches!(make(id, &slot.id).unwrap(), Made::New(_)));
            assert!(matches!(make(id, &slot.id).unwrap(), Made::Again(_)));
        }
        assert_eq!(make(3, &slot.id).unwrap(), Made::Taken);
        assert_eq!(make(1, "2026-11-23:0930").unwrap(), Made::Differs);
        for none in [
            "2026-11-22:0900",
            "2026-11-20:0900",
            "2026-11-23:0001",
            "soon",
        ] {
            assert_eq!(make(4, none).unwrap(), Made::NoSuchSlot, "{none}");
        }
        assert!(store.cancel_appointment(Uuid::from_u128(1)).unwrap());
        assert!(store.cancel_appointment(Uuid::from_u128(1)).unwrap());
        assert!(!store.cancel_appointment(Uuid::from_u128(9)).unwrap());
        let third = store.make_appointment("T1", &wanted(3, &slot.id), monday());
        assert!(matches!(third.unwrap(), Made::New(_)));
    }

    #[test]
    fn a_video_session_waits_its_turn_and_stays_ended() {
        let (_directory, mut store) = store();
        let wanted = |id: u128| NewVideoSession {
            id: Uuid::from_u128(id),
            item: "a".to_owned(),
            language: None,
        };
        for (id, position) in [(1, 0), (2, 1)] {
            let Made::New(session) = store.open_video("T1", &wanted(id)).unwrap() else {
                panic!("not opened")
            };
            assert_eq!(session.position, Some(position));
        }
        let first = Uuid::from_u128(1);
        assert!(store.move_video(first, "ringing").unwrap());
        assert!(!store.video(first).unwrap().unwrap().join_url.is_empty());
        let second = store.video(Uuid::from_u128(2)).unwrap().unwrap();
        assert_eq!(second.position, Some(0));
        assert!(store.move_video(first, "ended").unwrap());
        assert!(store.move_video(first, "active").unwrap());
        assert_eq!(store.video(first).unwrap().unwrap().state, "ended");
        assert!(!store.move_video(Uuid::from_u128(9), "ended").unwrap());
    }
}
