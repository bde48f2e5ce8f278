//! What is counted, and what is said, about decisions.
//!
//! A workload that is refused tries again and again, so the same refusal is said once in a while, with how often it
//! came since; what a workload tries is its choice, so what is remembered has a bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::policy::Denial;

/// How often the same refusal is said.
const QUIET: Duration = Duration::from_secs(60);
/// Destinations that are told apart within that time; the others share one line.
const DESTINATIONS: usize = 256;
/// The host in events for those.
const OTHERS: &str = "(others)";

/// How a workload's egress went so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressCounts {
    /// Connections that were allowed and came about.
    pub allowed: u64,
    /// Connections and names that were refused.
    pub denied: u64,
    /// Connections that were allowed and did not come about: the name has no address, or nobody answers there.
    pub failed: u64,
}

/// Shared by everything that decides for one workload.
#[derive(Debug)]
pub(super) struct Audit {
    workload: Arc<str>,
    allowed: AtomicU64,
    denied: AtomicU64,
    failed: AtomicU64,
    said: Mutex<Said>,
}

impl Audit {
    pub(super) fn new(workload: Arc<str>) -> Self {
        let zero = AtomicU64::default;
        Self { workload, allowed: zero(), denied: zero(), failed: zero(), said: Mutex::default() }
    }

    pub(super) fn allowed(&self) {
        self.allowed.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, host: &str, port: u16, why: &str) {
        self.failed.fetch_add(1, Relaxed);
        tracing::debug!(
            workload.name = %self.workload,
            destination.host = host,
            destination.port = port,
            reason = why,
            "egress failed"
        );
    }

    /// `port` is 53 for a name that was asked for and not answered.
    pub(super) fn denied(&self, host: &str, port: u16, denial: Denial) {
        self.denied.fetch_add(1, Relaxed);
        let say = self.said.lock().note(Instant::now(), host, port);
        let Some(Say { host, unsaid }) = say else { return };
        tracing::info!(
            target: "skep::audit",
            reason = denial.name(),
            workload.name = %self.workload,
            destination.host = host,
            destination.port = port,
            unsaid,
            "egress denied"
        );
    }

    pub(super) fn counts(&self) -> EgressCounts {
        EgressCounts {
            allowed: self.allowed.load(Relaxed),
            denied: self.denied.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}

/// What was said lately.
#[derive(Debug, Default)]
struct Said(HashMap<(String, u16), Line>);

#[derive(Debug)]
struct Line {
    at: Instant,
    unsaid: u64,
}

/// What is to be said now: of whom, and how many of the same were not said before.
#[derive(Debug, PartialEq, Eq)]
struct Say {
    host: String,
    unsaid: u64,
}

impl Said {
    fn note(&mut self, now: Instant, host: &str, port: u16) -> Option<Say> {
        let key = (host.to_owned(), port);
        if !self.0.contains_key(&key) && self.0.len() >= DESTINATIONS {
            self.0.retain(|_, line| now.duration_since(line.at) < QUIET);
            if self.0.len() >= DESTINATIONS {
                return self.say(now, (OTHERS.to_owned(), 0));
            }
        }
        self.say(now, key)
    }

    fn say(&mut self, now: Instant, key: (String, u16)) -> Option<Say> {
        let host = key.0.clone();
        let Some(line) = self.0.get_mut(&key) else {
            self.0.insert(key, Line { at: now, unsaid: 0 });
            return Some(Say { host, unsaid: 0 });
        };
        if now.duration_since(line.at) < QUIET {
            line.unsaid += 1;
            return None;
        }
        line.at = now;
        Some(Say { host, unsaid: std::mem::take(&mut line.unsaid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_once_in_a_while() {
        let mut said = Said::default();
        let now = Instant::now();
        let say = |host: &str, unsaid| Some(Say { host: host.to_owned(), unsaid });
        assert_eq!(said.note(now, "a", 1), say("a", 0));
        assert_eq!(said.note(now, "a", 2), say("a", 0));
        assert_eq!(said.note(now, "b", 1), say("b", 0));
        for _ in 0..3 {
            assert_eq!(said.note(now + QUIET / 2, "a", 1), None);
        }
        assert_eq!(said.note(now + QUIET, "a", 1), say("a", 3));
        assert_eq!(said.note(now + QUIET, "a", 1), None);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_an_event_for_the_audit() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().without_time().with_writer(move || writer.clone()).finish();
        let audit = Audit::new("files".into());
        tracing::subscriber::with_default(subscriber, || {
            audit.denied("bad.example", 443, Denial::Host);
            audit.denied("bad.example", 443, Denial::Host);
        });
        let said = String::from_utf8(lines.0.lock().clone()).unwrap();
        let expect = r#"{"level":"INFO","fields":{"message":"egress denied","reason":"host is not allowed","workload.name":"files","destination.host":"bad.example","destination.port":443,"unsaid":0},"target":"skep::audit"}"#;
        assert_eq!(said.trim_end(), expect);
        assert_eq!(audit.counts(), EgressCounts { denied: 2, ..EgressCounts::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn many_destinations_are_not_remembered_and_share_a_line() {
        let mut said = Said::default();
        let now = Instant::now();
        let lines = (0..10_000).filter(|n| said.note(now, &n.to_string(), 1).is_some()).count();
        assert_eq!((lines, said.0.len()), (DESTINATIONS + 1, DESTINATIONS + 1));
        assert!(said.note(now + QUIET, "late", 1).is_some());
        assert!(said.0.len() <= 2);
    }
}
