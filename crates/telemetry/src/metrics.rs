//! The numbers at `/metrics` (OpenMetrics text).
//!
//! What is counted per request is held in plain handles, found by index, so that counting costs nanoseconds; what can
//! be read off when somebody asks (sessions, connections) has a function behind it.

mod durations;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use durations::Durations;

/// Upper bounds of the duration buckets in seconds: from what a proxy adds to what a person waits for.
const BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// All metrics of a process.
pub struct Metrics {
    registry: RwLock<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<MethodLabel, Histogram, fn() -> Histogram>,
    refusals: Family<ClassLabel, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// The counters of one method, looked up once.
#[derive(Debug, Default)]
pub struct MethodMetrics {
    by_outcome: [OnceLock<Counter>; OUTCOMES.len()],
    duration: OnceLock<Histogram>,
}

/// How a request ended, by the class of its status.
const OUTCOMES: [&str; 5] = ["informational", "success", "redirection", "client_error", "server_error"];

impl Metrics {
    /// An empty set.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("skep");
        let requests = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let refusals = Family::default();
        registry.register("http_requests", "Requests answered, by MCP method and outcome", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from a request's head to its answer's head, by MCP method",
            durations.clone(),
        );
        registry.register(
            "http_refusals",
            "Answers that skep gave instead of a backend, by class",
            refusals.clone(),
        );
        Arc::new(Self { registry: RwLock::new(registry), requests, durations, refusals })
    }

    /// Counts a request. `cells` belongs to `method`, whose set of values must be closed.
    pub fn request(&self, method: &'static str, cells: &MethodMetrics, status: u16, took: Duration) {
        let outcome = usize::from(status / 100).clamp(1, OUTCOMES.len()) - 1;
        cells.by_outcome[outcome]
            .get_or_init(|| {
                self.requests.get_or_create_owned(&RequestLabels { method, outcome: OUTCOMES[outcome] })
            })
            .inc();
        cells
            .duration
            .get_or_init(|| self.durations.get_or_create_owned(&MethodLabel { method }))
            .observe(took.as_secs_f64());
    }

    /// Counts an answer that skep gave itself. The set of classes must be closed.
    pub fn refusal(&self, class: &'static str) {
        self.refusals.get_or_create(&ClassLabel { class }).inc();
    }

    /// Adds a gauge that is read when somebody asks.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let gauge = ReadGauge { name, help, read: Box::new(read) };
        self.registry.write().register_collector(Box::new(gauge));
    }

    /// Adds counters that are read when somebody asks: each with its labels, whose set of values must be closed.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<(Labels, u64)> + Send + Sync + 'static,
    ) {
        let counters = ReadCounters { name, help, read: Box::new(read) };
        self.registry.write().register_collector(Box::new(counters));
    }

    /// Adds histograms in seconds that are read when somebody asks, with labels as those of [`Self::counters`].
    pub fn durations(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn(&mut dyn FnMut(Labels, &Durations)) + Send + Sync + 'static,
    ) {
        let durations = ReadDurations { name, help, read: Box::new(read) };
        self.registry.write().register_collector(Box::new(durations));
    }

    /// The whole set as OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry.read())?;
        Ok(out)
    }
}

/// Names and values. What is not known when skep is built is from its configuration.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

struct ReadCounters {
    name: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> Vec<(Labels, u64)> + Send + Sync>,
}

impl fmt::Debug for ReadCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadCounters").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for ReadCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
        for (labels, value) in (self.read)() {
            match labels.is_empty() {
                true => family.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                false => ConstCounter::new(value).encode(family.encode_family(&labels)?)?,
            }
        }
        Ok(())
    }
}

/// Gives each histogram, with its labels, to whom it is handed.
type EachDurations = dyn Fn(&mut dyn FnMut(Labels, &Durations)) + Send + Sync;

struct ReadDurations {
    name: &'static str,
    help: &'static str,
    read: Box<EachDurations>,
}

impl fmt::Debug for ReadDurations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDurations").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for ReadDurations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Histogram)?;
        let mut written = Ok(());
        (self.read)(&mut |labels, durations| {
            let (sum, count, buckets) = durations.read();
            let encoded = match labels.is_empty() {
                true => family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None),
                false => family
                    .encode_family(&labels)
                    .and_then(|mut one| one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)),
            };
            written = written.and(encoded);
        });
        written
    }
}

struct ReadGauge {
    name: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for ReadGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGauge").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for ReadGauge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let value = ConstGauge::new(i64::try_from((self.read)()).unwrap_or(i64::MAX));
        let metric = encoder.encode_descriptor(self.name, self.help, None, value.metric_type())?;
        value.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_is_told_and_reads_gauges_when_asked() {
        let metrics = Metrics::new();
        let cells = MethodMetrics::default();
        metrics.request("tools/call", &cells, 200, Duration::from_millis(3));
        metrics.request("tools/call", &cells, 200, Duration::from_millis(3));
        metrics.request("tools/call", &cells, 502, Duration::from_millis(3));
        metrics.refusal("unreachable");
        metrics.gauge("sessions", "Sessions open", || 7);
        metrics.counters("recoveries", "Sessions lost", || vec![(vec![("cause", "ended".into())], 3)]);
        metrics.counters("indexes", "Indexes made", || vec![(Vec::new(), 2)]);
        metrics.durations("find_seconds", "Looking", |each| each(Vec::new(), &Durations::default()));
        let durations = Durations::default();
        durations.observe(Duration::from_millis(30));
        metrics.durations("run_duration_seconds", "Runs", move |each| {
            each(vec![("workflow", "a".to_owned().into())], &durations);
        });
        let text = metrics.encode().unwrap();
        for line in [
            r#"skep_http_requests_total{method="tools/call",outcome="success"} 2"#,
            r#"skep_http_requests_total{method="tools/call",outcome="server_error"} 1"#,
            r#"skep_http_request_duration_seconds_count{method="tools/call"} 3"#,
            r#"skep_http_refusals_total{class="unreachable"} 1"#,
            "skep_sessions 7",
            r#"skep_recoveries_total{cause="ended"} 3"#,
            "skep_indexes_total 2",
            "skep_find_seconds_count 0",
            r#"skep_run_duration_seconds_sum{workflow="a"} 0.03"#,
            r#"skep_run_duration_seconds_count{workflow="a"} 1"#,
            r#"skep_run_duration_seconds_bucket{le="0.025",workflow="a"} 0"#,
            r#"skep_run_duration_seconds_bucket{le="0.05",workflow="a"} 1"#,
            r#"skep_run_duration_seconds_bucket{le="+Inf",workflow="a"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
