//! What happened to sessions, for whoever runs them: counters of all, and a timeline of each. Events of it have the target
//! `skep::audit`; they name a session by its own id, never by the token that its client holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

/// Why a session had to be looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its instance could not be reached, or is not there any more.
    InstanceGone,
    /// Its instance answers and does not know it.
    MemoryLost,
    /// A connection broke behind a request.
    ConnectionLost,
    /// The process, or the connection that was the session, ended.
    Ended,
    /// The process did not answer, not even a ping.
    Hung,
    /// The process was stopped while nobody used it.
    Slept,
    /// skep was started again, or another replica had it.
    TakenUp,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It lives elsewhere, and its client goes on.
    Rebuilt,
    /// It had not been lost: a connection had.
    Alive,
    /// Another replica rebuilt it.
    Overtaken,
    /// Its client has to begin again: another server, another version, or it was ended elsewhere.
    Incompatible,
    /// Its client has to begin again: nothing is known of how it began.
    Forgotten,
    /// No instance could be brought to the same point in time.
    Unreachable,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::InstanceGone,
        Self::MemoryLost,
        Self::ConnectionLost,
        Self::Ended,
        Self::Hung,
        Self::Slept,
        Self::TakenUp,
    ];

    /// Its name in metrics and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InstanceGone => "instance_gone",
            Self::MemoryLost => "memory_lost",
            Self::ConnectionLost => "connection_lost",
            Self::Ended => "ended",
            Self::Hung => "hung",
            Self::Slept => "slept",
            Self::TakenUp => "taken_up",
        }
    }
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Rebuilt, Self::Alive, Self::Overtaken, Self::Incompatible, Self::Forgotten, Self::Unreachable];

    /// Its name in metrics and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rebuilt => "rebuilt",
            Self::Alive => "alive",
            Self::Overtaken => "overtaken",
            Self::Incompatible => "incompatible",
            Self::Forgotten => "forgotten",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How often sessions were lost, and what came of it.
#[derive(Debug, Default)]
pub struct RecoveryCounts {
    cells: [[AtomicU64; Outcome::ALL.len()]; Cause::ALL.len()],
    resent: AtomicU64,
    interrupted: AtomicU64,
}

impl RecoveryCounts {
    /// Counts one.
    pub(crate) fn count(&self, cause: Cause, outcome: Outcome) {
        self.cells[cause as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were sent again.
    pub(crate) fn count_resent(&self, requests: usize) {
        self.resent.fetch_add(requests as u64, Ordering::Relaxed);
    }

    /// Requests of which nobody knows whether they were carried out.
    pub(crate) fn count_interrupted(&self, requests: usize) {
        self.interrupted.fetch_add(requests as u64, Ordering::Relaxed);
    }

    /// How often so far.
    #[must_use]
    pub fn get(&self, cause: Cause, outcome: Outcome) -> u64 {
        self.cells[cause as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// Requests sent again, and requests whose outcome nobody knows, so far.
    #[must_use]
    pub fn requests(&self) -> (u64, u64) {
        (self.resent.load(Ordering::Relaxed), self.interrupted.load(Ordering::Relaxed))
    }
}

/// Entries kept of one session; the oldest go first.
const MAX_ENTRIES: usize = 64;

/// Something that happened to a session.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at: SystemTime,
    /// One of a closed set.
    pub what: &'static str,
    /// In words; nothing that the client keeps secret.
    pub detail: String,
}

/// What happened to one session while this process served it. Nothing is kept of a session to which nothing happens.
#[derive(Debug, Default)]
pub(crate) struct Timeline(Mutex<Vec<Entry>>);

impl Timeline {
    pub(crate) fn add(&self, what: &'static str, detail: impl Into<String>) {
        let mut entries = self.0.lock();
        if entries.len() == MAX_ENTRIES {
            entries.remove(0);
        }
        entries.push(Entry { at: SystemTime::now(), what, detail: detail.into() });
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_and_outcome_has_a_cell_of_its_own() {
        let counts = RecoveryCounts::default();
        for (number, (cause, outcome)) in
            Cause::ALL.into_iter().flat_map(|cause| Outcome::ALL.map(|outcome| (cause, outcome))).enumerate()
        {
            (0..=number).for_each(|_| counts.count(cause, outcome));
        }
        let read: Vec<u64> = Cause::ALL
            .into_iter()
            .flat_map(|cause| Outcome::ALL.map(|outcome| counts.get(cause, outcome)))
            .collect();
        assert_eq!(read, (1..=42).collect::<Vec<u64>>());
    }

    #[test]
    fn a_timeline_is_bounded_and_keeps_what_was_last() {
        let timeline = Timeline::default();
        (0..MAX_ENTRIES + 5).for_each(|number| timeline.add("moved", number.to_string()));
        let entries = timeline.entries();
        assert_eq!((entries.len(), &*entries[0].detail), (MAX_ENTRIES, "5"));
    }
}
