//! Who may look after terminals. Everything under `/admin`, and `/metrics`, is asked with the token
//! of an administrator once there is one in the configuration; reading needs the role `view`, a
//! change the role that this file names for it, and a place that the terminal is in. Every change
//! is in the log before it begins.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kiosk_sealing::{hex, sha256};
use serde::Deserialize;

use crate::clock;
use crate::config::{Administrator, Role};
use crate::limits::{Limit, within};
use crate::network::Cut;
use crate::platform::World;
use crate::problem::Problem;
use crate::region::{is_region, is_within};
use crate::router::{SMALL_BODY_MAX, on_worker};
use crate::store::{NewAct, StoreError};

/// Who changes something while no administrator is configured.
const NOBODY: &str = "local";
/// Longest detail of an entry of the log in bytes.
const DETAIL_BYTES_MAX: usize = 256;

/// What is asked with a token: everything under the first, whoever added it, and the second.
const ADMIN: &str = "/admin";
const METRICS: &str = "/metrics";
/// What may be read by whoever looks after some places only: these answers leave out the rest.
const SCOPED_READS: &[&str] = &[
    METRICS,
    "/admin/fleet",
    "/admin/usage",
    "/admin/quality",
    "/admin/pack",
    "/admin/holds",
];

/// What a change is about, and so who may make it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The terminal that the request names, where it stands now.
    Terminal,
    /// Where it shall stand, too: one that stands nowhere yet may be placed.
    Place,
    /// A release: whoever operates may hold it, and letting it go is for those who see all.
    Release,
    /// All of the platform.
    Everything,
}

/// Changes that do not need the role `own`.
const OPERATED: &[(&str, About)] = &[
    ("/admin/commands", About::Terminal),
    ("/admin/desired-state", About::Terminal),
    ("/admin/places", About::Place),
    ("/admin/enrolments", About::Place),
    ("/admin/terminals/revoke", About::Terminal),
    ("/admin/terminals/restore", About::Terminal),
    ("/admin/holds", About::Release),
];

/// Who asks, and for which places.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    name: String,
    role: Role,
    regions: Vec<String>,
}

impl Caller {
    /// Whether a terminal at this place is one of theirs.
    pub(crate) fn sees(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.iter().any(|of| is_within(region, of))
    }

    fn sees_all(&self) -> bool {
        self.regions.is_empty()
    }
}

/// The members of a request that say what it is about. A member that comes twice is refused, so
/// that what is checked here is what is done later.
#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    terminal: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    arguments: Option<AskedArguments>,
    #[serde(default)]
    version: Option<serde_json::Value>,
    #[serde(default)]
    is_held: Option<bool>,
}

#[derive(Default, Deserialize)]
struct AskedArguments {
    #[serde(default)]
    item: Option<String>,
}

/// Finds out who asks, refuses what they may not, and notes what they change. What terminals ask goes
/// through as it is.
pub(crate) async fn admit(
    State(world): State<Arc<World>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    if path != METRICS && !is_within(&path, ADMIN) {
        return next.run(request).await;
    }
    let administrators = &world.config.administrators;
    let caller = match caller(administrators, request.headers(), cut.is_local()) {
        Ok(caller) => caller,
        Err(problem) => return challenged(problem),
    };
    if request.method() == Method::GET || request.method() == Method::HEAD {
        let is_scoped = SCOPED_READS.iter().any(|of| is_within(&path, of));
        if !is_scoped && !caller.sees_all() {
            return other_place().into_response();
        }
        return run(request, caller, next).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, SMALL_BODY_MAX).await else {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too-large",
            "the request is too large",
        )
        .into_response();
    };
    let (asked, by, what) = (body.clone(), caller.clone(), path.clone());
    let store = Arc::clone(&world);
    let begun = on_worker(move || begin(&store, &by, &what, &asked)).await;
    let position = match begun {
        Ok(position) => position,
        Err(problem) => return problem.into_response(),
    };
    let request = Request::from_parts(parts, Body::from(body));
    let response = run(request, caller, next).await;
    let status = response.status().as_u16();
    let ended = on_worker(move || Ok(world.store().end_act(position, status)?)).await;
    if let Err(problem) = ended {
        return problem.into_response();
    }
    response
}

async fn run(mut request: Request, caller: Caller, next: Next) -> Response {
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Who shows this token; while there is nobody to show one, whoever is on this machine. How long the
/// comparison takes tells nothing: digests of guesses are compared.
fn caller(
    administrators: &[Administrator],
    headers: &HeaderMap,
    is_local: bool,
) -> Result<Caller, Problem> {
    if administrators.is_empty() && is_local {
        return Ok(Caller {
            name: NOBODY.to_owned(),
            role: Role::Own,
            regions: Vec::new(),
        });
    }
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let refused =
        || Problem::unauthorized("token.invalid", "this needs the token of an administrator");
    let digest = hex(&sha256(shown.ok_or_else(refused)?.as_bytes()));
    let found = administrators
        .iter()
        .find(|each| each.token_sha256 == digest)
        .ok_or_else(refused)?;
    Ok(Caller {
        name: found.name.clone(),
        role: found.role,
        regions: found.regions.clone(),
    })
}

/// A refusal that says how to come in.
fn challenged(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn other_place() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "admin.region",
        "this is outside the places of the administrator",
    )
}

/// Refuses a change, or puts it into the log.
fn begin(world: &World, caller: &Caller, path: &str, body: &Bytes) -> Result<u64, Problem> {
    let about = OPERATED.iter().find(|(of, _)| *of == path);
    let (needed, about) = about.map_or((Role::Own, About::Everything), |(_, about)| {
        (Role::Operate, *about)
    });
    if caller.role < needed {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "admin.role",
            "the role of the administrator does not allow this",
        ));
    }
    let asked = serde_json::from_slice::<Asked>(body).ok();
    if !caller.sees_all() && !is_theirs(world, caller, about, asked.as_ref())? {
        return Err(other_place());
    }
    let asked = asked.unwrap_or_default();
    let terminal = if within(&[("terminal", &asked.terminal, Limit::Terminal)]).is_ok() {
        asked.terminal.as_str()
    } else {
        ""
    };
    let act = NewAct {
        who: &caller.name,
        act: path,
        terminal,
        detail: &detail(&asked),
    };
    Ok(world.store().begin_act(&act, clock::now())?)
}

/// Whether a change is about nothing but the places of somebody who does not see all.
fn is_theirs(
    world: &World,
    caller: &Caller,
    about: About,
    asked: Option<&Asked>,
) -> Result<bool, StoreError> {
    let Some(asked) = asked else {
        // What cannot be read here cannot be judged.
        return Ok(false);
    };
    Ok(match about {
        About::Everything => false,
        About::Release => asked.is_held == Some(true),
        About::Terminal => caller.sees(&world.store().region(&asked.terminal)?),
        About::Place => {
            let now = world.store().region(&asked.terminal)?;
            let wanted = asked.region.as_deref().unwrap_or_default();
            (now.is_empty() || caller.sees(&now)) && caller.sees(wanted)
        }
    })
}

/// What is changed, in words that are checked: never free text.
fn detail(asked: &Asked) -> String {
    let mut words = Vec::new();
    let item = asked.arguments.as_ref().and_then(|of| of.item.as_deref());
    let version = asked.version.as_ref().and_then(serde_json::Value::as_str);
    for word in [asked.kind.as_deref(), item, version].into_iter().flatten() {
        if within(&[("", word, Limit::Word)]).is_ok() {
            words.push(word);
        }
    }
    if let Some(region) = asked.region.as_deref().filter(|region| is_region(region)) {
        words.push(region);
    }
    match asked.is_held {
        Some(true) => words.push("hold"),
        Some(false) => words.push("release"),
        None => {}
    }
    let mut text = words.join(" ");
    text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn administrator(token: &str, role: Role, regions: &[&str]) -> Administrator {
        Administrator {
            name: token.to_owned(),
            token_sha256: hex(&sha256(token.as_bytes())),
            role,
            regions: regions.iter().map(|&region| region.to_owned()).collect(),
        }
    }

    fn with(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[test]
    fn the_token_says_who_asks() {
        let all = [
            administrator("one", Role::View, &[]),
            administrator("two", Role::Operate, &["揭阳市"]),
        ];
        let two = caller(&all, &with("two"), false).unwrap();
        assert_eq!((two.name.as_str(), two.role), ("two", Role::Operate));
        assert!(two.sees("揭阳市/普宁市") && !two.sees("汕头市") && !two.sees(""));
        for headers in [with("three"), with(""), HeaderMap::new()] {
            assert!(caller(&all, &headers, true).is_err());
        }
        // A digest that is none lets nobody in.
        let mut broken = administrator("x", Role::Own, &[]);
        broken.token_sha256 = String::new();
        assert!(caller(&[broken], &with("x"), true).is_err());
        let nobody = HeaderMap::new();
        assert_eq!(caller(&[], &nobody, true).unwrap().role, Role::Own);
        assert!(caller(&[], &nobody, false).is_err(), "another machine");
    }

    #[test]
    fn the_log_takes_no_free_text() {
        let asked: Asked = serde_json::from_str(
            r#"{"terminal": "T1", "kind": "suspend-item", "arguments": {"item": "a-b",
                "text": "测试一 440100197505050046"}, "region": "a\nb"}"#,
        )
        .unwrap();
        assert_eq!(detail(&asked), "suspend-item a-b");
        let asked: Asked =
            serde_json::from_str(r#"{"version": "1.4.2", "is_held": true}"#).unwrap();
        assert_eq!(detail(&asked), "1.4.2 hold");
        assert!(serde_json::from_str::<Asked>(r#"{"terminal": "T1", "terminal": "T2"}"#).is_err());
    }
}
