//! Logs that are gone with the process: for runs that need not outlive it, and for tests.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use uuid::Uuid;

use super::super::runs::{Dated, Letter, RunStore};
use super::{Event, LogError, Logging, RunLog};

/// Logs in memory, of so many runs. For a new one, one that is over is forgotten, the oldest first.
#[derive(Debug)]
pub struct MemoryLog {
    capacity: usize,
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    born: u64,
    by_id: HashMap<String, Kept>,
}

#[derive(Debug)]
struct Kept {
    born: u64,
    events: Vec<Dated>,
}

impl Kept {
    fn is_over(&self) -> bool {
        matches!(self.events.last(), Some(Dated { event: Event::Ended(_), .. }))
    }
}

impl MemoryLog {
    /// Room for so many runs.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, runs: Mutex::default() }
    }

    fn add(&self, run: &str, position: u64, event: &Event) -> Result<(), LogError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let dated = Dated { at, event: event.clone() };
        let mut runs = self.runs.lock();
        if let Some(kept) = runs.by_id.get_mut(run) {
            if kept.events.len() as u64 != position {
                return Err(LogError::Moved);
            }
            kept.events.push(dated);
            return Ok(());
        }
        if position != 0 {
            return Err(LogError::Moved);
        }
        if runs.by_id.len() >= self.capacity {
            runs.forget_one()?;
        }
        runs.born += 1;
        let kept = Kept { born: runs.born, events: vec![dated] };
        runs.by_id.insert(run.to_owned(), kept);
        Ok(())
    }

    fn which(&self, is: impl Fn(&Kept) -> bool) -> Vec<Uuid> {
        let runs = self.runs.lock();
        runs.by_id.iter().filter(|(_, kept)| is(kept)).filter_map(|(id, _)| id.parse().ok()).collect()
    }

    fn dated(&self, run: &str) -> Vec<Dated> {
        self.runs.lock().by_id.get(run).map(|kept| kept.events.clone()).unwrap_or_default()
    }
}

impl Runs {
    fn forget_one(&mut self) -> Result<(), LogError> {
        let over = self.by_id.iter().filter(|(_, kept)| kept.is_over());
        let Some(oldest) = over.min_by_key(|(_, kept)| kept.born).map(|(id, _)| id.clone()) else {
            return Err(LogError::Unavailable(format!("{} runs are under way", self.by_id.len())));
        };
        self.by_id.remove(&oldest);
        Ok(())
    }
}

impl RunLog for MemoryLog {
    fn append<'a>(&'a self, run: &'a str, position: u64, event: &'a Event) -> Logging<'a, ()> {
        Box::pin(async move { self.add(run, position, event) })
    }

    fn read<'a>(&'a self, run: &'a str) -> Logging<'a, Vec<Event>> {
        Box::pin(async move { Ok(self.dated(run).into_iter().map(|dated| dated.event).collect()) })
    }
}

impl RunStore for MemoryLog {
    fn is_lasting(&self) -> bool {
        false
    }

    fn open(&self) -> Logging<'_, Vec<Uuid>> {
        Box::pin(async move { Ok(self.which(|kept| !kept.is_over())) })
    }

    fn all(&self) -> Logging<'_, Vec<Uuid>> {
        Box::pin(async move { Ok(self.which(|_| true)) })
    }

    fn timeline(&self, run: Uuid) -> Logging<'_, Vec<Dated>> {
        Box::pin(async move { Ok(self.dated(&run.to_string())) })
    }

    fn hold(&self, _: Uuid, _: Duration) -> Logging<'_, Option<Vec<Letter>>> {
        // There is nobody else.
        Box::pin(std::future::ready(Ok(Some(Vec::new()))))
    }

    fn release(&self, _: Uuid) -> Logging<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn post(&self, _: Uuid, _: Letter) -> Logging<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }
}
