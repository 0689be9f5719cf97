//! How the line to the platform is, measured for a test: how long an answer takes, how far the clocks
//! are apart, how fast something comes. A client and a runtime of its own, so that it measures while
//! the tasks of the platform thread go on, and also where no terminal runs. Changes nothing at the
//! platform.

use std::time::Duration;

use super::client::{Client, Identity};
use super::error::PlatformError;
use super::time::PlatformClock;
use crate::clock;

/// Longest that one measurement takes, whatever the line does.
const LIMIT: Duration = Duration::from_secs(40);
/// Answers of which the fastest counts: the first one also shakes hands.
const ASKED: u32 = 3;

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Time of the fastest answer to the question whether it lives.
    pub health: Option<Duration>,
    /// Seconds the platform's clock is ahead; `None` where it did not say what time it is.
    pub ahead_s: Option<i64>,
    /// Bytes that came, and the time for them, where there is something to fetch.
    pub fetched: Option<(u64, Duration)>,
    /// Problem code of what did not work.
    pub problem: Option<&'static str>,
}

/// Measures one platform.
pub struct Gauge {
    client: Client,
    host: String,
    port: u16,
    runtime: tokio::runtime::Runtime,
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauge")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Gauge {
    /// A gauge for the platform as configured.
    ///
    /// # Errors
    /// [`PlatformError::Configuration`] names the key; [`PlatformError::Start`] when the machine has
    /// no room for a runtime.
    pub fn new(
        config: &crate::config::Platform,
        identity: Identity,
    ) -> Result<Self, PlatformError> {
        let client = Client::new(config, identity, PlatformClock::new(None))?;
        let (host, port) = host_and_port(&config.url);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PlatformError::Start)?;
        Ok(Self {
            client,
            host,
            port,
            runtime,
        })
    }

    /// Name of the platform's machine, and its port.
    pub fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Measures, for forty seconds at most. Blocks; not for a thread that others wait for.
    pub fn measure(&self) -> Measured {
        self.runtime.block_on(async {
            let mut measured = Measured::default();
            let ended = tokio::time::timeout(LIMIT, look(&self.client, &mut measured)).await;
            if ended.is_err() && measured.problem.is_none() {
                measured.problem = Some("platform.slow");
            }
            measured
        })
    }
}

async fn look(client: &Client, measured: &mut Measured) {
    for _ in 0..ASKED {
        let began = clock::now().uptime;
        if !client.is_reachable().await {
            measured.problem = Some("platform.unreachable");
            return;
        }
        let took = clock::now().uptime.saturating_sub(began);
        measured.health = Some(measured.health.map_or(took, |best| best.min(took)));
    }
    measured.ahead_s = client.clock_ahead_s(clock::now());
    let began = clock::now().uptime;
    match client.catalogue("").await {
        Ok(Some((_, body))) => {
            let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
            let took = clock::now().uptime.saturating_sub(began);
            measured.fetched = Some((bytes, took));
        }
        Ok(None) => {}
        // A platform that has no catalogue is no worse a platform; one that does not know this
        // terminal is.
        Err(error) => match error.code() {
            "platform.refused" => {}
            code => measured.problem = Some(code),
        },
    }
}

/// The machine and the port of an address; none of both where it is no address, which the
/// configuration does not let pass.
fn host_and_port(url: &str) -> (String, u16) {
    let parsed = reqwest::Url::parse(url).ok();
    let port = parsed
        .as_ref()
        .and_then(reqwest::Url::port_or_known_default);
    let host = parsed.as_ref().and_then(reqwest::Url::host_str);
    let host = host.unwrap_or_default().trim_matches(['[', ']']).to_owned();
    (host, port.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_stands_where_its_address_says() {
        let check = |url: &str, host: &str, port: u16| {
            assert_eq!(host_and_port(url), (host.to_owned(), port), "{url}");
        };
        check("https://platform.example", "platform.example", 443);
        check("http://platform.example/kiosk", "platform.example", 80);
        check("http://[::1]:8080", "::1", 8080);
        check("http://127.0.0.1:1", "127.0.0.1", 1);
        check("nonsense", "", 0);
    }
}
