//! What else a citizen is served with: payments, appointments, an official on the screen, where
//! papers are. Each id that a terminal makes takes effect once.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::clock;
use crate::limits::{self, Limit, within};
use crate::messages::{NewAppointment, NewPayment, NewVideoSession};
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::router::{From, Shared, blocking};
use crate::store::{Made, PaymentAct};

/// Payments, appointments, video sessions, shipments.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/v1/payments", post(make_payment))
        .route("/v1/payments/{id}", get(payment))
        .route("/v1/payments/{id}/cancel", post(cancel_payment))
        .route("/v1/appointment-slots", get(slots))
        .route("/v1/appointments", post(make_appointment))
        .route("/v1/appointments/{id}", delete(cancel_appointment))
        .route("/v1/video-sessions", post(open_video))
        .route("/v1/video-sessions/{id}", get(video).delete(close_video))
        .route("/v1/cases/{case_number}/logistics", get(logistics))
}

/// The words of one kind of order.
struct Words {
    unknown: &'static str,
    differs: &'static str,
}

const PAYMENT: Words = Words {
    unknown: "payment.unknown",
    differs: "payment.content-differs",
};
const APPOINTMENT: Words = Words {
    unknown: "appointment.unknown",
    differs: "appointment.content-differs",
};
const VIDEO: Words = Words {
    unknown: "video.unknown",
    differs: "video.content-differs",
};

impl Words {
    fn unknown(&self) -> Problem {
        Problem::not_found(self.unknown, "there is no such thing")
    }

    fn id(&self, text: &str) -> Result<Uuid, Problem> {
        limits::id(text).ok_or_else(|| self.unknown())
    }

    fn answer<T: Serialize>(&self, made: Made<T>) -> Result<Response, Problem> {
        match made {
            Made::New(order) => Ok((StatusCode::CREATED, Json(order)).into_response()),
            Made::Again(order) => Ok(Json(order).into_response()),
            Made::Differs => Err(Problem::conflict(
                self.differs,
                "the id was used before with other content",
            )),
            Made::NoSuchSlot => Err(Problem::unprocessable(
                "request.field",
                "there is no such `slot`",
            )),
            Made::Taken => Err(Problem::conflict("appointment.taken", "the time is taken")),
        }
    }
}

/// Who made an order; requests that nobody signed may not say.
fn maker(speaker: &crate::signature::Speaker) -> String {
    speaker.terminal().unwrap_or_default().to_owned()
}

async fn make_payment(State(world): Shared, Extension(speaker): From, body: Bytes) -> Response {
    blocking(move || {
        let order: NewPayment = parse(&body)?;
        order.check()?;
        let made = world
            .store()
            .make_payment(&maker(&speaker), &order, clock::now())?;
        PAYMENT.answer(made)
    })
    .await
}

async fn payment(State(world): Shared, Path(id): Path<String>) -> Response {
    blocking(move || act(&world, &id, PaymentAct::Look)).await
}

async fn cancel_payment(State(world): Shared, Path(id): Path<String>) -> Response {
    blocking(move || act(&world, &id, PaymentAct::Cancel)).await
}

/// Does something to a payment and says how it is then.
pub(crate) fn act(world: &World, id: &str, act: PaymentAct) -> Result<Response, Problem> {
    let id = PAYMENT.id(id)?;
    let payment = world.store().act_on_payment(id, act, clock::now())?;
    let payment = payment.ok_or_else(|| PAYMENT.unknown())?;
    Ok(Json(payment).into_response())
}

#[derive(Deserialize)]
struct Day {
    item: String,
    date: Date,
}

async fn slots(State(world): Shared, query: Result<Query<Day>, QueryRejection>) -> Response {
    blocking(move || {
        let Query(Day { item, date }) = query.map_err(|_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "request.query",
                "the query is not what the contract says",
            )
        })?;
        within(&[("item", &item, Limit::Word)])?;
        let slots = world.store().slots(&item, date, clock::now())?;
        Ok(Json(json!({"slots": slots})))
    })
    .await
}

async fn make_appointment(State(world): Shared, Extension(speaker): From, body: Bytes) -> Response {
    blocking(move || {
        let wanted: NewAppointment = parse(&body)?;
        wanted.check()?;
        let made = world
            .store()
            .make_appointment(&maker(&speaker), &wanted, clock::now())?;
        APPOINTMENT.answer(made)
    })
    .await
}

async fn cancel_appointment(State(world): Shared, Path(id): Path<String>) -> Response {
    blocking(move || {
        let id = APPOINTMENT.id(&id)?;
        if !world.store().cancel_appointment(id)? {
            return Err(APPOINTMENT.unknown());
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn open_video(State(world): Shared, Extension(speaker): From, body: Bytes) -> Response {
    blocking(move || {
        let wanted: NewVideoSession = parse(&body)?;
        within(&[("item", &wanted.item, Limit::Word)])?;
        let made = world.store().open_video(&maker(&speaker), &wanted)?;
        VIDEO.answer(made)
    })
    .await
}

async fn video(State(world): Shared, Path(id): Path<String>) -> Response {
    blocking(move || {
        let session = world.store().video(VIDEO.id(&id)?)?;
        session.map(Json).ok_or_else(|| VIDEO.unknown())
    })
    .await
}

async fn close_video(State(world): Shared, Path(id): Path<String>) -> Response {
    blocking(move || {
        if !world.store().move_video(VIDEO.id(&id)?, "ended")? {
            return Err(VIDEO.unknown());
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn logistics(State(world): Shared, Path(case_number): Path<String>) -> Response {
    blocking(move || {
        within(&[("case_number", &case_number, Limit::Word)])?;
        let logistics = world.store().logistics(&case_number)?;
        logistics
            .map(Json)
            .ok_or_else(|| Problem::not_found("case.unknown", "no such case number"))
    })
    .await
}
