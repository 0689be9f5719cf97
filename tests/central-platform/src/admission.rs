//! Whether a terminal may speak at all, before anything else is looked at: over TLS it shows a
//! certificate of its own, and neither it nor the certificate was taken back. Who has nothing to
//! show yet may ask whether the platform serves, and enroll.

use std::sync::Arc;

use axum::http::StatusCode;

use crate::authority::Shown;
use crate::platform::World;
use crate::problem::Problem;
use crate::router::on_worker;

/// Where a machine becomes a terminal.
pub(crate) const ENROLMENTS: &str = "/v1/enrolments";
/// What may be asked without a certificate.
const OPEN: &[&str] = &["/v1/health", ENROLMENTS];

fn forbidden(code: &str, detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}

/// Refuses a request by who it says it is from, and by the certificate that was shown.
pub(crate) async fn check(
    world: &Arc<World>,
    path: &str,
    claimed: Option<String>,
    shown: Option<Shown>,
) -> Result<(), Problem> {
    let wants_certificate = world
        .config
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    if wants_certificate && shown.is_none() && !OPEN.contains(&path) {
        return Err(forbidden(
            "terminal.no-certificate",
            "the line was opened without a certificate",
        ));
    }
    if let (Some(claimed), Some(shown)) = (&claimed, &shown)
        && shown.terminal.as_ref() != Some(claimed)
    {
        return Err(forbidden(
            "terminal.foreign-certificate",
            "the certificate is of another terminal than the request",
        ));
    }
    // A code that was made since is how a terminal comes back.
    if path == ENROLMENTS {
        return Ok(());
    }
    let (named, serial) = match shown {
        Some(shown) => (claimed.or(shown.terminal), shown.serial),
        None => (claimed, String::new()),
    };
    if named.is_none() && serial.is_empty() {
        return Ok(());
    }
    let world = Arc::clone(world);
    let is_revoked = on_worker(move || {
        let terminal = named.unwrap_or_default();
        Ok(world.store().is_revoked(&terminal, &serial)?)
    });
    if is_revoked.await? {
        return Err(forbidden(
            "terminal.revoked",
            "the terminal was taken out of service",
        ));
    }
    Ok(())
}
