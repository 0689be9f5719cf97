//! The switches over HTTP and a page that shows what the platform holds, without names, identity
//! numbers or payloads. Faults never touch it, so that they can always be switched off.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{Html, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use crate::clock;
use crate::contract::{CASE_STATES, CatalogueItem, bounded};
use crate::platform::World;
use crate::problem::Problem;
use crate::router::{Shared, blocking, parse};
use crate::switches::{FaceAnswer, Fault};

#[derive(Deserialize)]
struct FaceSwitch {
    answer: FaceAnswer,
}

#[derive(Deserialize)]
struct CaseMove {
    case_number: String,
    state: String,
    text: String,
}

/// Everything under `/admin`.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/admin", get(page))
        .route("/admin/accepted", get(accepted))
        .route("/admin/fault", post(set_fault))
        .route("/admin/face", post(set_face))
        .route("/admin/catalogue", post(set_item))
        .route("/admin/cases", post(move_case))
}

async fn accepted(State(world): Shared) -> Response {
    blocking(move || Ok(axum::Json(json!({"accepted": world.store().accepted()?})))).await
}

async fn set_fault(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let fault: Fault = parse(&body)?;
        world.change_switches(|switches| switches.fault = fault);
        Ok(axum::Json(fault))
    })
    .await
}

async fn set_face(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let FaceSwitch { answer } = parse(&body)?;
        world.change_switches(|switches| switches.face = answer);
        Ok(axum::Json(json!({"answer": answer})))
    })
    .await
}

async fn set_item(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let item: CatalogueItem = parse(&body)?;
        bounded(&[("id", &item.id)])?;
        let mut store = world.store();
        store.set_item(&item)?;
        Ok(axum::Json(store.catalogue()?))
    })
    .await
}

async fn move_case(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let CaseMove {
            case_number,
            state,
            text,
        } = parse(&body)?;
        bounded(&[("case_number", &case_number), ("text", &text)])?;
        if !CASE_STATES.contains(&state.as_str()) {
            return Err(Problem::unprocessable("request.field", "no such `state`"));
        }
        let mut store = world.store();
        if !store.move_case(&case_number, &state, &text, clock::now())? {
            return Err(Problem::not_found("case.unknown", "no such case number"));
        }
        Ok(axum::Json(store.case(&case_number)?))
    })
    .await
}

async fn page(State(world): Shared) -> Response {
    blocking(move || {
        let switches = world.switches();
        let (accepted, catalogue) = {
            let store = world.store();
            (store.accepted()?, store.catalogue()?)
        };
        let mut rows = String::new();
        for each in &accepted {
            append_row(
                &mut rows,
                &[
                    &each.id.to_string(),
                    &each.kind,
                    &each.item,
                    &each.case_number,
                    &each.attachments.to_string(),
                    &each.times_received.to_string(),
                    &each.reference,
                ],
            );
        }
        let mut items = String::new();
        for item in &catalogue.items {
            let offered = if item.is_suspended {
                "suspended"
            } else {
                "offered"
            };
            append_row(&mut items, &[&item.id, &item.version.to_string(), offered]);
        }
        Ok(Html(format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <title>Reference platform</title>\
             <style>body{{font:16px/1.5 sans-serif;margin:2em;max-width:80em}}\
             table{{border-collapse:collapse;margin:1em 0}}\
             td,th{{border:1px solid #999;padding:.3em .6em;text-align:left}}</style>\
             <h1>Reference platform</h1>\
             <p>Fault: <code>{:?}</code> · face comparison: <code>{:?}</code></p>\
             <h2>Accepted: {}</h2><table><tr><th>id<th>kind<th>item<th>case number\
             <th>attachments<th>times received<th>reference</tr>{rows}</table>\
             <h2>Catalogue, version {}</h2>\
             <table><tr><th>item<th>version<th>state</tr>{items}</table></html>",
            switches.fault,
            switches.face,
            accepted.len(),
            catalogue.version,
        )))
    })
    .await
}

/// One table row; what a terminal sent is text here, never markup.
fn append_row(html: &mut String, cells: &[&str]) {
    html.push_str("<tr>");
    for cell in cells {
        let escaped = cell
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        write!(html, "<td>{escaped}").expect("a string takes every text");
    }
    html.push_str("</tr>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_sent_is_never_markup() {
        let mut html = String::new();
        append_row(&mut html, &["<script>&"]);
        assert_eq!(html, "<tr><td>&lt;script&gt;&amp;</tr>");
    }
}
