//! The text of `/metrics` as points of OTLP, in requests of bounded size. Reads what this platform
//! writes; a line that it does not understand is left out.

use std::fmt;

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};

use super::{SERVICE, attribute, nanoseconds, resource, scope};

/// Most points of one request. Chosen: about a megabyte, a quarter of what collectors take.
const POINTS_MAX: usize = 8192;

/// Takes the text as it is written, and hands on a request whenever it is full.
pub(super) struct Batches<F> {
    at: u64,
    line: String,
    metrics: Vec<Metric>,
    /// What the next points belong to, without points.
    family: Metric,
    is_counter: bool,
    /// The family stands in `metrics` already, as the last one.
    is_begun: bool,
    points: usize,
    hand_on: F,
}

impl<F: FnMut(ExportMetricsServiceRequest) -> bool> Batches<F> {
    /// `hand_on` says whether it will take more.
    pub(super) fn new(now: Timestamp, hand_on: F) -> Self {
        Self {
            at: nanoseconds(now),
            line: String::new(),
            metrics: Vec::new(),
            family: Metric::default(),
            is_counter: false,
            is_begun: false,
            points: 0,
            hand_on,
        }
    }

    /// Hands on what is left.
    pub(super) fn end(mut self) {
        if self.points > 0 {
            self.flush();
        }
    }

    fn flush(&mut self) -> bool {
        let metrics = std::mem::take(&mut self.metrics);
        (self.points, self.is_begun) = (0, false);
        (self.hand_on)(ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource(SERVICE, None)),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        })
    }

    fn take_line(&mut self) -> fmt::Result {
        let line = std::mem::take(&mut self.line);
        if let Some(head) = line.strip_prefix("# ") {
            self.head(head);
        } else if let Some((name, attributes, value)) = sample(&line) {
            self.point(name, attributes, value);
        }
        if self.points >= POINTS_MAX && !self.flush() {
            return Err(fmt::Error);
        }
        Ok(())
    }

    fn head(&mut self, head: &str) {
        let mut words = head.splitn(3, ' ');
        let (kind, _name, rest) = (words.next(), words.next(), words.next());
        let rest = rest.unwrap_or_default().to_owned();
        match kind {
            Some("TYPE") => {
                self.family = Metric::default();
                self.is_counter = rest == "counter";
                self.is_begun = false;
            }
            // As the Unified Code for Units of Measure writes them.
            Some("UNIT") => {
                self.family.unit = match rest.as_str() {
                    "seconds" => "s".to_owned(),
                    "bytes" => "By".to_owned(),
                    _ => rest,
                }
            }
            Some("HELP") => self.family.description = rest,
            _ => {}
        }
    }

    fn point(&mut self, name: &str, attributes: Vec<KeyValue>, value: f64) {
        if !self.is_begun {
            let mut metric = self.family.clone();
            // A collector that writes the text again puts the suffix of counters there itself.
            let name = if self.is_counter {
                name.strip_suffix("_total").unwrap_or(name)
            } else {
                name
            };
            name.clone_into(&mut metric.name);
            metric.data = Some(if self.is_counter {
                Data::Sum(Sum {
                    data_points: Vec::new(),
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                    is_monotonic: true,
                })
            } else {
                Data::Gauge(Gauge::default())
            });
            self.metrics.push(metric);
            self.is_begun = true;
        }
        let data = self.metrics.last_mut().and_then(|last| last.data.as_mut());
        let data_points = match data {
            Some(Data::Sum(sum)) => &mut sum.data_points,
            Some(Data::Gauge(gauge)) => &mut gauge.data_points,
            _ => return,
        };
        data_points.push(NumberDataPoint {
            attributes,
            time_unix_nano: self.at,
            value: Some(Value::AsDouble(value)),
            ..NumberDataPoint::default()
        });
        self.points += 1;
    }
}

impl<F: FnMut(ExportMetricsServiceRequest) -> bool> fmt::Write for Batches<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                None => self.line.push_str(piece),
                Some(end) => {
                    self.line.push_str(end);
                    self.take_line()?;
                }
            }
        }
        Ok(())
    }
}

/// Name, labels and value of a line such as `name{label="value"} 1`.
fn sample(line: &str) -> Option<(&str, Vec<KeyValue>, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut attributes = Vec::new();
    if let Some(labels) = rest.strip_prefix('{') {
        rest = labels;
        while !rest.starts_with('}') {
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = unescaped(after)?;
            attributes.push(attribute(label, value));
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.strip_prefix(' ')?.split(' ').next()?.parse().ok()?;
    Some((name, attributes, value))
}

/// A value up to its closing quotation mark, and what follows that.
fn unescaped(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;

    fn batches(text: &str) -> Vec<ExportMetricsServiceRequest> {
        let mut handed = Vec::new();
        let mut batches = Batches::new(Timestamp::from_second(7).unwrap(), |request| {
            handed.push(request);
            true
        });
        // In pieces, as a writer writes.
        for piece in text.as_bytes().chunks(7) {
            batches.write_str(str::from_utf8(piece).unwrap()).unwrap();
        }
        batches.end();
        handed
    }

    fn metrics(request: &ExportMetricsServiceRequest) -> &[Metric] {
        &request.resource_metrics[0].scope_metrics[0].metrics
    }

    fn text(attribute: &KeyValue) -> (&str, &str) {
        let Some(any_value::Value::StringValue(value)) = attribute
            .value
            .as_ref()
            .and_then(|value| value.value.as_ref())
        else {
            panic!("an attribute is a text");
        };
        (&attribute.key, value)
    }

    #[test]
    fn a_counter_becomes_a_sum_and_everything_else_a_gauge() {
        let handed = batches(
            "# TYPE kiosk_visits counter\n# HELP kiosk_visits Visits begun\n\
             kiosk_visits_total{terminal=\"T1\"} 12\nkiosk_visits_total{terminal=\"T2\"} 0\n\
             # TYPE kiosk_store_free_bytes gauge\n# UNIT kiosk_store_free_bytes bytes\n\
             kiosk_store_free_bytes{terminal=\"a \\\"b\\\\\\n\",class=\"}\"} 1.5e3\n\
             nonsense\n# EOF\n",
        );
        let [visits, free] = metrics(&handed[0]) else {
            panic!("two families");
        };
        assert_eq!(
            (&*visits.name, &*visits.description),
            ("kiosk_visits", "Visits begun")
        );
        let Some(Data::Sum(sum)) = &visits.data else {
            panic!("a sum");
        };
        assert!(sum.is_monotonic && sum.data_points.len() == 2);
        assert_eq!(sum.data_points[0].value, Some(Value::AsDouble(12.0)));
        assert_eq!(sum.data_points[0].time_unix_nano, 7_000_000_000);
        assert_eq!((&*free.name, &*free.unit), ("kiosk_store_free_bytes", "By"));
        let Some(Data::Gauge(gauge)) = &free.data else {
            panic!("a gauge");
        };
        let labels: Vec<_> = gauge.data_points[0].attributes.iter().map(text).collect();
        assert_eq!(labels, [("terminal", "a \"b\\\n"), ("class", "}")]);
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(1500.0)));
    }

    #[test]
    fn a_large_fleet_is_told_in_requests_of_bounded_size_and_nothing_is_left_out() {
        let mut words = "# TYPE up gauge\n".to_owned();
        for number in 0..20_000 {
            writeln!(words, "up{{terminal=\"T{number}\"}} 1").unwrap();
        }
        words.push_str("# TYPE last gauge\nlast 1\n");
        let handed = batches(&words);
        let counts: Vec<usize> = handed
            .iter()
            .flat_map(metrics)
            .map(|metric| match &metric.data {
                Some(Data::Gauge(gauge)) => gauge.data_points.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(counts, [POINTS_MAX, POINTS_MAX, 20_000 - 2 * POINTS_MAX, 1]);
        assert!(
            handed
                .iter()
                .flat_map(metrics)
                .all(|metric| !metric.name.is_empty())
        );
    }

    #[test]
    fn who_takes_no_more_is_told_no_more() {
        let mut calls = 0;
        let mut batches = Batches::new(Timestamp::UNIX_EPOCH, |_| {
            calls += 1;
            false
        });
        let outcome = (0..30_000).try_for_each(|_| batches.write_str("up 1\n"));
        assert!(outcome.is_err());
        drop(batches);
        assert_eq!(calls, 1);
    }
}
