//! What an OpenTelemetry collector is told, over a real line and read as a collector reads it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/listener.rs"]
mod listener;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "only what was sent counts here")]
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use central_platform::{Config, Otlp, Platform};
use listener::{Listener, Told};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::{PATIENCE, send};

const CASE: Uuid = Uuid::from_u128(0x0193_5b2e_7d10_7abc_8def_0123_4567_89ab);
const SECRET: &str = "Bearer secret-of-the-test";

fn start(directory: &Path, collector: SocketAddr) -> Platform {
    let config = Config {
        otlp: Some(Otlp {
            url: format!("http://{collector}"),
            ca: None,
            authorization: Some(SECRET.to_owned()),
            interval_s: 1,
            metrics: true,
            traces: true,
        }),
        ..Config::default()
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    Platform::start(directory, local, config).unwrap()
}

fn post(platform: &Platform, path: &str, body: &Value) {
    let headers = "Kiosk-Terminal: T001\r\nContent-Type: application/json\r\n";
    let body = body.to_string();
    let reply = send(platform.address(), "POST", path, headers, body.as_bytes()).unwrap();
    assert!(reply.status < 300, "{}", reply.status);
}

fn beat(platform: &Platform) {
    let body = json!({
        "terminal": "T001", "sent_at": "2026-11-22T01:00:00Z", "program_version": "1.4.1",
        "boot": Uuid::from_u128(1), "uptime_s": 60, "clock_offset_s": 0,
        "queue": {"waiting": 2, "dead": 1, "oldest_enqueued_at": "2026-11-22T00:00:00Z",
            "upstreams": [{"upstream": "", "waiting": 2, "dead": 1}], "key_ids": []},
        "devices": [{"id": "slips", "class": "slip-printer", "state": "online", "faults": []}],
        "audit": null, "usage": {"visits": 9, "transactions": 3, "prints": 4},
        "desired_version": 0, "catalogue_etag": "",
    });
    post(platform, "/v1/heartbeats", &body);
}

fn confirm(platform: &Platform) {
    let transaction = json!({
        "id": CASE, "kind": "case", "item": "old-age-allowance", "item_version": 1,
        "case_number": "T001-0007", "enqueued_at": "2026-11-22T01:00:00Z",
        "payload": {"name": "张三丰", "number": "440524188001010014"},
    });
    let body = json!({"terminal": "T001", "transactions": [transaction]});
    post(platform, "/v1/batches", &body);
}

/// The next request to this path; what goes elsewhere is passed over.
fn next(collector: &Listener, path: &str) -> Told {
    loop {
        let told = collector.heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told.headers["content-type"], "application/x-protobuf");
        assert_eq!(told.headers["authorization"], SECRET);
        if told.path == path {
            return told;
        }
    }
}

fn metrics(told: &Told) -> Vec<Metric> {
    let request = ExportMetricsServiceRequest::decode(&told.body[..]).unwrap();
    let mut resources = request.resource_metrics.into_iter();
    let resource = resources.next().unwrap();
    let said = labels(&resource.resource.unwrap().attributes);
    assert_eq!(said["service.name"], "kiosk-platform");
    let mut scopes = resource.scope_metrics.into_iter();
    scopes.next().unwrap().metrics
}

/// Spans by their names, each with the service that speaks.
fn spans(told: &Told) -> BTreeMap<String, (String, Span)> {
    let request = ExportTraceServiceRequest::decode(&told.body[..]).unwrap();
    let mut found = BTreeMap::new();
    for resource in request.resource_spans {
        let said = labels(&resource.resource.unwrap().attributes);
        for span in resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            let service = said["service.name"].clone();
            found.insert(span.name.clone(), (service, span));
        }
    }
    found
}

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.clone().and_then(|value| value.value);
        let Some(Any::StringValue(text)) = value else {
            panic!("an attribute is a text");
        };
        text
    };
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)))
        .collect()
}

fn value(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        _ => f64::NAN,
    }
}

#[test]
fn a_collector_is_told_what_prometheus_would_have_asked() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Listener::new(&[]);
    let platform = start(directory.path(), collector.address);
    beat(&platform);
    loop {
        let found = metrics(&next(&collector, "/v1/metrics"));
        let named = |name: &str| found.iter().find(|metric| metric.name == name);
        // What was told before the heartbeat came is passed over.
        let Some(visits) = named("kiosk_visits") else {
            continue;
        };
        let Some(Data::Sum(sum)) = &visits.data else {
            panic!("a counter is a sum");
        };
        assert!(sum.is_monotonic && (value(&sum.data_points[0]) - 9.0).abs() < 0.1);
        let of = labels(&sum.data_points[0].attributes);
        assert_eq!(of["terminal"], "T001");
        let waiting = named("kiosk_queue_waiting").unwrap();
        assert!(matches!(&waiting.data, Some(Data::Gauge(gauge)) if gauge.data_points.len() == 1));
        assert!(named("kiosk_terminal_info").is_some());
        break;
    }
}

#[test]
fn a_transaction_is_one_trace_from_the_confirmation_to_the_receipt_and_says_nothing_of_anybody() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Listener::new(&[]);
    let platform = start(directory.path(), collector.address);
    confirm(&platform);
    let told = next(&collector, "/v1/traces");
    let text = String::from_utf8_lossy(&told.body).into_owned();
    for secret in ["张三丰", "440524188001010014", "T001-0007"] {
        assert!(!text.contains(secret));
    }
    let found = spans(&told);
    let (service, whole) = &found["case old-age-allowance"];
    assert_eq!(
        (&**service, &whole.trace_id[..]),
        ("kiosk-terminal", &CASE.as_bytes()[..])
    );
    assert!(whole.parent_span_id.is_empty());
    assert_eq!(whole.start_time_unix_nano, 1_795_309_200_000_000_000);
    for (name, of) in [
        ("wait at the terminal", "kiosk-terminal"),
        ("take", "kiosk-platform"),
    ] {
        let (service, span) = &found[name];
        assert_eq!((&**service, &span.parent_span_id), (of, &whole.span_id));
        assert_eq!(span.trace_id, whole.trace_id);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(span.end_time_unix_nano <= whole.end_time_unix_nano);
    }
    assert_eq!(
        labels(&found["take"].1.attributes)["kiosk.result"],
        "accepted"
    );
    // Sent again, it is the same trace, and nobody confirmed anything twice.
    confirm(&platform);
    let again = spans(&next(&collector, "/v1/traces"));
    assert_eq!(again.len(), 1);
    let (_, take) = &again["take"];
    assert_eq!(take.trace_id, whole.trace_id);
    assert_ne!(take.span_id, found["take"].1.span_id);
    assert_eq!(labels(&take.attributes)["kiosk.result"], "duplicate");
}

#[test]
fn a_collector_that_refused_gets_the_traces_later_and_nobody_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Listener::new(&["503 busy", "503 busy", "503 busy", "503 busy"]);
    let platform = start(directory.path(), collector.address);
    confirm(&platform);
    for _ in 0..2 {
        let found = spans(&next(&collector, "/v1/traces"));
        assert_eq!(found["take"].1.trace_id, CASE.as_bytes());
    }
    platform.stop();
}
