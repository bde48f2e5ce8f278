//! Logs: texts under an id, one behind the other. A log only grows, and only by who knows how long it is.
//!
//! Besides, a log can be held: whoever works on what it is about says so again and again, and when that stops another one
//! takes over. The lease keeps two from working at once most of the time; that they never both write is what the length is
//! for.

mod memory;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Answer;

pub use memory::MemoryLogs;

/// What comes behind a text of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// More: the log is open.
    More,
    /// Nothing: it is over, and only read from now on.
    Nothing,
}

/// A place that keeps logs. Every operation is bounded in time by the place itself.
pub trait Logs: Send + Sync + fmt::Debug {
    /// Adds a text to a log that has exactly `position` of them; false where it has more or fewer. From now on it is kept
    /// for `keep`.
    fn append(
        &self,
        id: Uuid,
        position: u64,
        text: Bytes,
        behind: Behind,
        keep: Duration,
    ) -> Answer<'_, bool>;

    /// All texts of a log; none where nothing is known of it.
    fn read(&self, id: Uuid) -> Answer<'_, Vec<Bytes>>;

    /// The logs that are open.
    fn open(&self) -> Answer<'_, Vec<Uuid>>;

    /// All logs.
    fn all(&self) -> Answer<'_, Vec<Uuid>>;

    /// Holds a log for so long, or goes on holding it. Gives the letters that have come for whoever holds it; `None` while
    /// another holder does. A place that no other process has is always held.
    fn hold(&self, id: Uuid, holder: Uuid, hold: Duration) -> Answer<'_, Option<Vec<Bytes>>> {
        let _ = (id, holder, hold);
        Box::pin(std::future::ready(Ok(Some(Vec::new()))))
    }

    /// Lets go of a log.
    fn release(&self, id: Uuid, holder: Uuid) -> Answer<'_, ()> {
        let _ = (id, holder);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Leaves a letter for whoever holds a log. False where nobody but this process could.
    fn post(&self, id: Uuid, letter: Bytes) -> Answer<'_, bool> {
        let _ = (id, letter);
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// What every place of logs does, whichever it is.
#[cfg(test)]
pub(super) mod contract {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn add(logs: &dyn Logs, id: Uuid, position: u64, text: &'static str, behind: Behind) -> bool {
        logs.append(id, position, Bytes::from_static(text.as_bytes()), behind, HOUR).await.unwrap()
    }

    pub(in super::super) async fn a_log_grows_by_who_knows_its_length(logs: &dyn Logs) {
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        assert!(logs.read(one).await.unwrap().is_empty());
        assert!(!add(logs, one, 1, "x", Behind::More).await, "there is no such log");
        assert!(add(logs, one, 0, "a", Behind::More).await);
        assert!(!add(logs, one, 0, "x", Behind::More).await && !add(logs, one, 2, "x", Behind::More).await);
        assert!(add(logs, other, 0, "o", Behind::More).await);
        assert!(add(logs, one, 1, "b", Behind::More).await);
        assert_eq!(logs.read(one).await.unwrap(), ["a", "b"]);
        assert!(logs.open().await.unwrap().contains(&one));
        assert!(add(logs, one, 2, "c", Behind::Nothing).await);
        assert!(!logs.open().await.unwrap().contains(&one) && logs.open().await.unwrap().contains(&other));
        let all = logs.all().await.unwrap();
        assert!(all.contains(&one) && all.contains(&other));
        assert_eq!(logs.read(one).await.unwrap(), ["a", "b", "c"]);
    }

    pub(in super::super) async fn what_may_be_forgotten_is(logs: &dyn Logs) {
        let id = Uuid::new_v4();
        let text = Bytes::from_static(b"a");
        assert!(logs.append(id, 0, text.clone(), Behind::More, Duration::ZERO).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(logs.read(id).await.unwrap().is_empty() && !logs.all().await.unwrap().contains(&id));
        assert!(!logs.append(id, 1, text.clone(), Behind::More, HOUR).await.unwrap());
        assert!(logs.append(id, 0, text, Behind::More, HOUR).await.unwrap(), "as if it were new");
    }

    pub(in super::super) async fn one_of_many_writers_is_first(logs: &dyn Logs) {
        let id = Uuid::new_v4();
        let writers = (0..16).map(|_| add(logs, id, 0, "a", Behind::More));
        let written = futures_util::future::join_all(writers).await;
        assert_eq!(written.into_iter().filter(|written| *written).count(), 1);
    }
}
