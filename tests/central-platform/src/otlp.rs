//! Metrics and traces for a standard OpenTelemetry collector, by OTLP over HTTP in its binary form.
//!
//! What is sent is what `/metrics` says, from the same text, so that each metric is defined once; and
//! how each transaction came: its trace has the number of the transaction, by which terminal, platform
//! and collector speak of the same thing, and says nothing of whom it is about.
//! It is sent once: what a collector misses is in the next metrics, and spans that nobody takes are
//! dropped when there are too many.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};

use crate::config::Otlp;
use crate::outbound::{Address, Turn, Worker};
use crate::platform::World;
use crate::{clock, metrics, overview};

pub(crate) mod points;
pub(crate) mod spans;

pub(crate) use spans::Traces;

/// Longest time for one request, connecting included.
const SEND_MAX: Duration = Duration::from_secs(30);
/// Seconds between two reports.
const INTERVAL_S: std::ops::RangeInclusive<u64> = 1..=3600;
/// Who says it.
const SERVICE: &str = "kiosk-platform";
const TERMINAL_SERVICE: &str = "kiosk-terminal";

/// Why nothing can be told to a collector.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// It is no address, or plain HTTP to another machine.
    #[error("otlp.url is no https address (http only to this machine)")]
    Address,
    /// The certificates of whoever vouches for the collector cannot be used.
    #[error("otlp.ca is no usable authority in PEM")]
    Authority,
    /// What it wants to be told first cannot be sent.
    #[error("otlp.authorization is no value of a header")]
    Authorization,
    /// Too often or too seldom.
    #[error("otlp.interval_s is not {} to {}", INTERVAL_S.start(), INTERVAL_S.end())]
    Interval,
    /// What sends cannot be started.
    #[error("nothing can be sent to the collector")]
    Start(#[from] std::io::Error),
}

/// Starts to send; nothing is started where there is no collector.
pub(crate) fn start(world: &Arc<World>) -> Result<Option<Worker>, OtlpError> {
    let Some(config) = &world.config.otlp else {
        return Ok(None);
    };
    let collector = Collector::new(config)?;
    let (world, config) = (Arc::clone(world), config.clone());
    let pause = Duration::from_secs(config.interval_s);
    let worker = Worker::start("otlp", move |turn| {
        if config.metrics {
            report(&world, &collector, turn)?;
        }
        if config.traces {
            world.traces.send(&collector, turn)?;
        }
        turn.pause(pause)
    })?;
    Ok(Some(worker))
}

/// Sends what `/metrics` says now.
fn report(world: &World, collector: &Collector, turn: &mut Turn) -> ControlFlow<()> {
    let now = clock::now();
    let gathered = overview::gather(world, now, |_| true)
        .and_then(|standings| Ok((standings, world.store().releases()?)));
    let (standings, releases) = match gathered {
        Ok(gathered) => gathered,
        Err(error) => {
            tracing::error!(%error, "what terminals reported cannot be read");
            return ControlFlow::Continue(());
        }
    };
    let mut outcome = Sent::Taken;
    let mut batches = points::Batches::new(now, |request| {
        outcome = collector.send(Part::Metrics, &request, turn);
        outcome == Sent::Taken
    });
    // What is not taken ends the writing: the rest would not be taken either.
    let written = metrics::write(&standings, &releases, &mut batches);
    if written.is_ok() {
        batches.end();
    }
    outcome.flow()
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Taken,
    NotTaken,
    /// The platform stops.
    Stopped,
}

impl Sent {
    fn flow(self) -> ControlFlow<()> {
        match self {
            Self::Taken | Self::NotTaken => ControlFlow::Continue(()),
            Self::Stopped => ControlFlow::Break(()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Metrics,
    Traces,
}

/// A collector that is ready to be told something.
pub(crate) struct Collector {
    metrics: Url,
    traces: Url,
    http: Client,
    authorization: Option<HeaderValue>,
}

impl Collector {
    fn new(config: &Otlp) -> Result<Self, OtlpError> {
        let address = Address::parse(&config.url).ok_or(OtlpError::Address)?;
        if !INTERVAL_S.contains(&config.interval_s) {
            return Err(OtlpError::Interval);
        }
        let http = address.client(config.ca.as_deref().map(Path::new), SEND_MAX);
        let authorization = config.authorization.as_deref().map(|text| {
            let mut value = HeaderValue::from_str(text).map_err(|_| OtlpError::Authorization)?;
            value.set_sensitive(true);
            Ok::<_, OtlpError>(value)
        });
        let part = |name: &str| {
            let mut url = address.url.clone();
            url.path_segments_mut()
                .map_err(|()| OtlpError::Address)?
                .pop_if_empty()
                .extend(["v1", name]);
            Ok::<_, OtlpError>(url)
        };
        Ok(Self {
            metrics: part("metrics")?,
            traces: part("traces")?,
            http: http.ok_or(OtlpError::Authority)?,
            authorization: authorization.transpose()?,
        })
    }

    fn send(&self, part: Part, request: &impl Message, turn: &mut Turn) -> Sent {
        let url = match part {
            Part::Metrics => &self.metrics,
            Part::Traces => &self.traces,
        };
        let mut post = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(request.encode_to_vec());
        if let Some(authorization) = &self.authorization {
            post = post.header(AUTHORIZATION, authorization);
        }
        match turn.wait(async { post.send().await }) {
            None => Sent::Stopped,
            Some(Ok(reply)) if reply.status().is_success() => Sent::Taken,
            Some(outcome) => {
                let status = outcome.map_or(0, |reply| reply.status().as_u16());
                // The address may hold a token of its own: it stays out of the log.
                tracing::warn!(?part, status, "the collector did not take what it was told");
                Sent::NotTaken
            }
        }
    }
}

/// Nanoseconds since 1970, as OTLP counts time.
fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

/// An attribute that is a text.
fn attribute(key: &str, value: impl Into<String>) -> KeyValue {
    let value = Value::StringValue(value.into());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Who speaks: a service, and which of its instances.
fn resource(service: &str, instance: Option<&str>) -> Resource {
    let mut attributes = vec![
        attribute("service.namespace", "kiosk"),
        attribute("service.name", service),
    ];
    attributes.extend(instance.map(|instance| attribute("service.instance.id", instance)));
    Resource {
        attributes,
        ..Resource::default()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SERVICE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Otlp {
        Otlp {
            url: url.to_owned(),
            ca: None,
            authorization: Some("Bearer secret-of-the-test".to_owned()),
            interval_s: 60,
            metrics: true,
            traces: true,
        }
    }

    #[test]
    fn only_a_proper_collector_is_told_anything() {
        let good = config("http://127.0.0.1:4318/tenant/7/");
        let collector = Collector::new(&good).unwrap();
        assert_eq!(
            collector.traces.as_str(),
            "http://127.0.0.1:4318/tenant/7/v1/traces"
        );
        assert!(!format!("{good:?}").contains("secret"));
        for url in [
            "http://collector.example:4318",
            "ftp://127.0.0.1/",
            "",
            "data:x",
        ] {
            let refused = Collector::new(&config(url));
            assert!(matches!(refused, Err(OtlpError::Address)), "{url}");
        }
        let refused = Collector::new(&config("https://collector.example"));
        assert!(matches!(refused, Err(OtlpError::Authority)));
        for interval_s in [0, 3601] {
            let often = Otlp {
                interval_s,
                ..good.clone()
            };
            assert!(matches!(Collector::new(&often), Err(OtlpError::Interval)));
        }
        let broken = Otlp {
            authorization: Some("two\nlines".to_owned()),
            ..good
        };
        assert!(matches!(
            Collector::new(&broken),
            Err(OtlpError::Authorization)
        ));
    }
}
