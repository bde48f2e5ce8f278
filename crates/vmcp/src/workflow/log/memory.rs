//! Logs that are gone with the process: for runs that need not outlive it, and for tests.

use std::collections::HashMap;

use parking_lot::Mutex;

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
    events: Vec<Event>,
}

impl MemoryLog {
    /// Room for so many runs.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, runs: Mutex::default() }
    }

    fn add(&self, run: &str, position: u64, event: &Event) -> Result<(), LogError> {
        let mut runs = self.runs.lock();
        if let Some(kept) = runs.by_id.get_mut(run) {
            if kept.events.len() as u64 != position {
                return Err(LogError::Moved);
            }
            kept.events.push(event.clone());
            return Ok(());
        }
        if position != 0 {
            return Err(LogError::Moved);
        }
        if runs.by_id.len() >= self.capacity {
            runs.forget_one()?;
        }
        runs.born += 1;
        let kept = Kept { born: runs.born, events: vec![event.clone()] };
        runs.by_id.insert(run.to_owned(), kept);
        Ok(())
    }
}

impl Runs {
    fn forget_one(&mut self) -> Result<(), LogError> {
        let is_over = |kept: &Kept| matches!(kept.events.last(), Some(Event::Ended(_)));
        let over = self.by_id.iter().filter(|(_, kept)| is_over(kept));
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
        Box::pin(async move {
            Ok(self.runs.lock().by_id.get(run).map(|kept| kept.events.clone()).unwrap_or_default())
        })
    }
}
