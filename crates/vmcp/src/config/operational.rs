//! Times, health, and what happens when a backend fails.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration;
use super::node::Value;
use super::section::{Reader, Section};

/// `operational`.
#[derive(Clone, Debug, PartialEq)]
pub struct Operational {
    /// Whether to log more.
    pub is_debug: bool,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// How failures are noticed and answered.
    pub failures: FailureHandling,
}

/// How long calls of backends may take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeouts {
    /// Of those that nothing is said of. Where it is not written a call may take as long as it takes: ToolHive has never
    /// held anybody to the half minute that it takes for said.
    pub default: Option<Duration>,
    /// Of the others.
    pub per_workload: BTreeMap<String, Duration>,
}

/// How failures are noticed and answered.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureHandling {
    /// How often a backend is asked.
    pub check_interval: Duration,
    /// How long it may take to answer.
    pub check_timeout: Duration,
    /// After how many failures in a row it is down.
    pub unhealthy_threshold: usize,
    /// How often the state is reported.
    pub report_interval: Duration,
    /// What a request gets when some backends are down, where that is said.
    pub partial: Option<PartialFailure>,
    /// When a backend is left alone for a while.
    pub breaker: CircuitBreaker,
}

/// What a request gets when some backends are down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialFailure {
    /// An error.
    Fail,
    /// What the others have.
    BestEffort,
}

/// When a backend is left alone for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// Whether ever.
    pub is_enabled: bool,
    /// After how many failures.
    pub failure_threshold: usize,
    /// For how long.
    pub timeout: Duration,
}

const HALF_A_MINUTE: Duration = Duration::from_secs(30);
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for Operational {
    fn default() -> Self {
        Self {
            is_debug: false,
            timeouts: Timeouts::default(),
            failures: FailureHandling {
                check_interval: HALF_A_MINUTE,
                check_timeout: CHECK_TIMEOUT,
                unhealthy_threshold: 3,
                report_interval: HALF_A_MINUTE,
                partial: None,
                breaker: CircuitBreaker {
                    is_enabled: false,
                    failure_threshold: 5,
                    timeout: Duration::from_secs(60),
                },
            },
        }
    }
}

pub(super) fn read(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Operational {
    let mut operational = Operational::default();
    let Some(mut section) = root.section(reader, "operational") else { return operational };
    operational.is_debug = section.word(reader, "logLevel", &[("debug", ())]).is_some();
    if let Some(timeouts) = section.section(reader, "timeouts") {
        operational.timeouts = read_timeouts(timeouts, reader);
    }
    if let Some(failures) = section.section(reader, "failureHandling") {
        operational.failures = read_failures(failures, reader);
    }
    section.finish(reader);
    operational
}

fn read_timeouts(mut section: Section<'_>, reader: &mut Reader<'_>) -> Timeouts {
    let default = section.duration(reader, "default").filter(|time| !time.is_zero());
    let mut per_workload = BTreeMap::new();
    for (workload, path, node) in section.map(reader, "perWorkload") {
        let parsed = match &node.value {
            Value::Text(text) => duration::parse(text).map_err(|wrong| wrong.to_string()),
            _ => Err(format!("must be a text, not {}", node.noun())),
        };
        match parsed {
            Ok(duration) if duration.is_zero() => reader.say(path, node.place, "must be positive"),
            Ok(duration) => drop(per_workload.insert(workload.to_owned(), duration)),
            Err(wrong) => reader.say(path, node.place, format!("is an invalid duration: {wrong}")),
        }
    }
    section.finish(reader);
    Timeouts { default, per_workload }
}

fn read_failures(mut section: Section<'_>, reader: &mut Reader<'_>) -> FailureHandling {
    let defaults = Operational::default().failures;
    let partials = [("fail", PartialFailure::Fail), ("best_effort", PartialFailure::BestEffort)];
    let check_timeout = section.duration_or(reader, "healthCheckTimeout", CHECK_TIMEOUT);
    let is_said = section.has("healthCheckTimeout");
    let failures = FailureHandling {
        check_interval: section.duration_or(reader, "healthCheckInterval", defaults.check_interval),
        check_timeout,
        unhealthy_threshold: section.count(
            reader,
            "unhealthyThreshold",
            (1, i64::MAX),
            defaults.unhealthy_threshold,
        ),
        report_interval: section.duration_or(reader, "statusReportingInterval", defaults.report_interval),
        partial: section.word(reader, "partialFailureMode", &partials),
        breaker: match section.section(reader, "circuitBreaker") {
            Some(breaker) => read_breaker(breaker, reader),
            None => defaults.breaker,
        },
    };
    if is_said && check_timeout >= failures.check_interval {
        let check_interval = failures.check_interval;
        let message = format!(
            "({check_timeout:?}) must be less than healthCheckInterval ({check_interval:?}) to prevent checks from queuing up"
        );
        section.say(reader, "healthCheckTimeout", message);
    }
    section.finish(reader);
    failures
}

fn read_breaker(mut section: Section<'_>, reader: &mut Reader<'_>) -> CircuitBreaker {
    let defaults = Operational::default().failures.breaker;
    let is_enabled = section.flag(reader, "enabled").unwrap_or_default();
    let breaker = CircuitBreaker {
        is_enabled,
        failure_threshold: section.count(
            reader,
            "failureThreshold",
            (1, i64::MAX),
            defaults.failure_threshold,
        ),
        timeout: section.duration_or(reader, "timeout", defaults.timeout),
    };
    if is_enabled && breaker.timeout < Duration::from_secs(1) {
        let message = format!("must be >= 1s to prevent thrashing, got {:?}", breaker.timeout);
        section.say(reader, "timeout", message);
    }
    section.finish(reader);
    breaker
}
