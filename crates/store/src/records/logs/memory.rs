//! Logs that are gone with the process.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Behind, Logs};
use crate::records::{Answer, Unavailable};

/// Logs in memory, so many. For a new one, the one that is over goes that would be forgotten first.
#[derive(Debug)]
pub struct MemoryLogs {
    capacity: usize,
    logs: Mutex<HashMap<Uuid, Log>>,
}

#[derive(Debug)]
struct Log {
    texts: Vec<Bytes>,
    is_open: bool,
    until: Instant,
}

impl MemoryLogs {
    /// Room for so many logs.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, logs: Mutex::default() }
    }

    fn add(
        &self,
        id: Uuid,
        position: u64,
        text: Bytes,
        behind: Behind,
        until: Instant,
    ) -> Result<bool, Unavailable> {
        let mut logs = self.logs.lock();
        forget(&mut logs);
        if logs.get(&id).map_or(0, |log| log.texts.len() as u64) != position {
            return Ok(false);
        }
        if position == 0 && logs.len() >= self.capacity {
            let over = logs.iter().filter(|(_, log)| !log.is_open);
            let oldest = over.min_by_key(|(_, log)| log.until).map(|(id, _)| *id);
            let oldest = oldest.ok_or_else(|| Unavailable(format!("{} logs are open", logs.len())))?;
            logs.remove(&oldest);
        }
        let log = logs.entry(id).or_insert(Log { texts: Vec::new(), is_open: true, until });
        log.texts.push(text);
        log.is_open = behind == Behind::More;
        log.until = until;
        Ok(true)
    }

    fn which(&self, is: impl Fn(&Log) -> bool) -> Vec<Uuid> {
        let mut logs = self.logs.lock();
        forget(&mut logs);
        logs.iter().filter(|(_, log)| is(log)).map(|(id, _)| *id).collect()
    }
}

fn forget(logs: &mut HashMap<Uuid, Log>) {
    let now = Instant::now();
    logs.retain(|_, log| log.until > now);
}

fn answer<'a, T: Send + 'a>(answer: Result<T, Unavailable>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Logs for MemoryLogs {
    fn append(
        &self,
        id: Uuid,
        position: u64,
        text: Bytes,
        behind: Behind,
        keep: Duration,
    ) -> Answer<'_, bool> {
        answer(self.add(id, position, text, behind, Instant::now() + keep))
    }

    fn read(&self, id: Uuid) -> Answer<'_, Vec<Bytes>> {
        let mut logs = self.logs.lock();
        forget(&mut logs);
        answer(Ok(logs.get(&id).map(|log| log.texts.clone()).unwrap_or_default()))
    }

    fn open(&self) -> Answer<'_, Vec<Uuid>> {
        answer(Ok(self.which(|log| log.is_open)))
    }

    fn all(&self) -> Answer<'_, Vec<Uuid>> {
        answer(Ok(self.which(|_| true)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keeps_the_contract() {
        let logs = MemoryLogs::new(100);
        contract::a_log_grows_by_who_knows_its_length(&logs).await;
        contract::what_may_be_forgotten_is(&logs).await;
        contract::one_of_many_writers_is_first(&logs).await;
    }

    #[tokio::test(start_paused = true)]
    async fn when_full_what_is_over_makes_room() {
        let logs = MemoryLogs::new(2);
        let hour = Duration::from_secs(3600);
        let [over, open, next, last] = [1, 2, 3, 4].map(Uuid::from_u128);
        for (id, behind, fits) in [
            (over, Behind::Nothing, true),
            (open, Behind::More, true),
            (next, Behind::More, true),
            (last, Behind::More, false),
        ] {
            assert_eq!(logs.append(id, 0, Bytes::new(), behind, hour).await.is_ok(), fits, "{id}");
        }
        assert!(logs.read(over).await.unwrap().is_empty() && logs.read(open).await.unwrap().len() == 1);
    }
}
