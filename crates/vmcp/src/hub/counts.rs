//! What is counted of backends, workflows and the tools over tools. A cell is found once, with what it counts; adding to it
//! takes no lock. Names of backends and workflows are those of the configuration, so there are only so many.
//!
//! Deliberately absent: what the numbers are called; that is for who shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Response;
use mcp::Method;
use mcp::message::Kind;
use mcp::method::METHODS;
use proxy::failure::FailureClass;
use proxy::{Body, Call};
use telemetry::metrics::Durations;
use tokio::time::Instant;

use super::requests::is_down;
use crate::optimizer::{Found, Misused};

/// Adds one.
fn count(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}

/// What came of a request to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was answered, whatever the answer says.
    Answered,
    /// It was refused with an HTTP status.
    Refused,
    /// There was no answer.
    Failed,
    /// Nobody waits for the answer any more.
    GivenUp,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::Failed, Self::GivenUp];

    fn of(response: &Response<Body>) -> Self {
        let class = response.extensions().get::<FailureClass>().map(|class| class.0);
        match response.status() {
            status if is_down(class, status) => Self::Failed,
            status if status.is_success() => Self::Answered,
            _ => Self::Refused,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// Requests to one backend.
#[derive(Debug)]
pub struct BackendCounts {
    /// One line per method of the table, and one for all others.
    requests: Box<[[AtomicU64; Outcome::ALL.len()]]>,
    /// From a request to the head of its answer.
    took: Durations,
}

impl Default for BackendCounts {
    fn default() -> Self {
        let requests = (0..=METHODS.len()).map(|_| Default::default()).collect();
        Self { requests, took: Durations::default() }
    }
}

impl BackendCounts {
    /// By method and outcome, those that there were.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let methods = METHODS.iter().map(|info| info.method).chain([Method::Other]);
        let cells = methods.flat_map(|method| Outcome::ALL.map(|outcome| (method, outcome)));
        let counted = cells.map(|(method, outcome)| {
            let cell = &self.requests[method as usize][outcome as usize];
            (method.label(), outcome.name(), cell.load(Ordering::Relaxed))
        });
        counted.filter(|(_, _, count)| *count > 0)
    }

    /// How long answers took.
    #[must_use]
    pub fn took(&self) -> &Durations {
        &self.took
    }

    /// A request is sent. Answers and notices are none.
    pub(super) fn begin(&self, call: &Call) -> Option<Counting<'_>> {
        let message = call.request.message().filter(|message| message.kind() == Kind::Request)?;
        let outcome = Outcome::GivenUp;
        Some(Counting { counts: self, method: message.method(), begun: Instant::now(), outcome })
    }
}

/// A request that is under way; counted when dropped.
#[derive(Debug)]
pub(super) struct Counting<'c> {
    counts: &'c BackendCounts,
    method: Method,
    begun: Instant,
    outcome: Outcome,
}

impl Counting<'_> {
    pub(super) fn answered(&mut self, response: &Response<Body>) {
        self.outcome = Outcome::of(response);
        self.counts.took.observe(self.begun.elapsed());
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        count(&self.counts.requests[self.method as usize][self.outcome as usize]);
    }
}

/// How many runs of one workflow came to what, here.
#[derive(Debug, Default)]
pub struct RunCounts {
    pub(super) began: AtomicU64,
    pub(super) taken_over: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) took: Durations,
}

impl RunCounts {
    /// By what happened.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 5] {
        [
            ("began", &self.began),
            ("taken_over", &self.taken_over),
            ("completed", &self.completed),
            ("failed", &self.failed),
            ("cancelled", &self.cancelled),
        ]
        .map(|(what, cell)| (what, cell.load(Ordering::Relaxed)))
    }

    /// How long those took that have ended, from their beginning wherever that was.
    #[must_use]
    pub fn took(&self) -> &Durations {
        &self.took
    }
}

/// What the optimizer's tools were called for.
#[derive(Debug, Default)]
pub struct FindCounts {
    found: AtomicU64,
    found_nothing: AtomicU64,
    misused: AtomicU64,
    tools: AtomicU64,
    tokens_of_all: AtomicU64,
    tokens_given: AtomicU64,
    took: Durations,
    called: AtomicU64,
    not_found: AtomicU64,
    call_misused: AtomicU64,
}

impl FindCounts {
    /// Calls of `find_tool`, by what came of them.
    #[must_use]
    pub fn finds(&self) -> [(&'static str, u64); 3] {
        [("found", &self.found), ("nothing", &self.found_nothing), ("misused", &self.misused)]
            .map(|(what, cell)| (what, cell.load(Ordering::Relaxed)))
    }

    /// Calls of `call_tool`, by what came of them. What the tool that was called does is counted as any call of it.
    #[must_use]
    pub fn calls(&self) -> [(&'static str, u64); 3] {
        [("called", &self.called), ("not_found", &self.not_found), ("misused", &self.call_misused)]
            .map(|(what, cell)| (what, cell.load(Ordering::Relaxed)))
    }

    /// Tools that were given.
    #[must_use]
    pub fn tools(&self) -> u64 {
        self.tools.load(Ordering::Relaxed)
    }

    /// Tokens that lists of all tools would have had, and those that the answers have.
    #[must_use]
    pub fn tokens(&self) -> [(&'static str, u64); 2] {
        [("all", &self.tokens_of_all), ("given", &self.tokens_given)]
            .map(|(what, cell)| (what, cell.load(Ordering::Relaxed)))
    }

    /// How long looking took.
    #[must_use]
    pub fn took(&self) -> &Durations {
        &self.took
    }

    pub(super) fn find(&self, found: Result<&Found, &Misused>, begun: Instant) {
        self.took.observe(begun.elapsed());
        let Ok(found) = found else { return count(&self.misused) };
        count(if found.tools == 0 { &self.found_nothing } else { &self.found });
        self.tools.fetch_add(found.tools as u64, Ordering::Relaxed);
        self.tokens_of_all.fetch_add(found.tokens.baseline_tokens as u64, Ordering::Relaxed);
        self.tokens_given.fetch_add(found.tokens.returned_tokens as u64, Ordering::Relaxed);
    }

    pub(super) fn call(&self, called: Result<(), &Misused>) {
        count(match called {
            Ok(()) => &self.called,
            Err(Misused::NotFound(_)) => &self.not_found,
            Err(_) => &self.call_misused,
        });
    }
}

/// A name and its cells.
pub(super) type Named<T> = Vec<(Arc<str>, Arc<T>)>;
