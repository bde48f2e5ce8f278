//! Where session records, and runs of workflows beside them, are kept: which place a setting names, and how records get
//! there sealed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::WorkloadName;
use proxy::session::store::StoreFuture;
use proxy::session::{
    Change, Kept, KeyRing, MemoryStore, SessionRecord, SessionStore, StoreUnavailable, Write,
};
use store::records::logs::{Logs, MemoryLogs};
use store::records::{DiskRecords, OpenError, RedisRecords};
use store::{Found, Records, Stored};
use tokio::sync::mpsc;
use uuid::Uuid;
use vmcp::hub::Mailboxes;
use vmcp::workflow::runs::RunStore;

use crate::runs::SealedRuns;

/// Runs that are kept where nothing outlives the process.
const RUNS_IN_MEMORY: usize = 10_000;

/// What keys in a Redis begin with where nothing else is said.
const KEYS: &str = "skep";

/// A place for session records.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreSource {
    /// This process: gone with it.
    Memory,
    /// A file that was named; one process at a time has it.
    File(PathBuf),
    /// A file of our own in this folder, one per name; memory where another process has it.
    Own(PathBuf),
    /// A Redis or Valkey that replicas share.
    Redis {
        url: String,
        /// What its keys begin with.
        prefix: String,
    },
}

/// The URL of a Redis may hold a password.
impl fmt::Debug for StoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Own(folder) => f.debug_tuple("Own").field(folder).finish(),
            Self::Redis { prefix, .. } => write!(f, "Redis(…, {prefix:?})"),
        }
    }
}

impl StoreSource {
    /// Reads what a person writes: `memory`, `file:PATH`, or the URL of a Redis.
    ///
    /// # Errors
    /// [`OpenError::NotAStore`], without a password.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::File(PathBuf::from(path)));
        }
        if text.starts_with("redis") {
            // Whether it can be used at all is known now, whether it is there is not.
            RedisRecords::open(text, KEYS)?;
            return Ok(Self::Redis { url: text.to_owned(), prefix: KEYS.to_owned() });
        }
        let scheme = text.split_once("://").map_or(text, |(scheme, _)| scheme);
        Err(OpenError::NotAStore { url: scheme.to_owned() })
    }

    /// Opens the place for a route's sessions, whose records may be forgotten when unused for `keep`.
    ///
    /// # Errors
    /// [`OpenError`], for a place that was named.
    pub(crate) fn open(
        &self,
        name: &WorkloadName,
        keys: &Arc<KeyRing>,
        keep: Duration,
    ) -> Result<Places, OpenError> {
        let in_memory = || {
            let runs = SealedRuns::in_memory(MemoryLogs::new(RUNS_IN_MEMORY), keys);
            Places::new(Arc::new(MemoryStore::default()), runs)
        };
        let shared = matches!(self, Self::Redis { .. });
        let (records, logs): (Arc<dyn Records>, Arc<dyn Logs>) = match self {
            Self::Memory => return Ok(in_memory()),
            Self::File(path) => both(DiskRecords::open(path)?),
            Self::Own(folder) => match DiskRecords::open(&folder.join(format!("{name}.redb"))) {
                Ok(records) => both(records),
                Err(error) => {
                    // Most often another skep of this name runs.
                    tracing::warn!(%error, "sessions are kept in memory: they do not outlive this process");
                    return Ok(in_memory());
                }
            },
            Self::Redis { url, prefix } => both(RedisRecords::open(url, &format!("{prefix}:{name}"))?),
        };
        let holder = Uuid::new_v4();
        let sessions = SealedStore { records, keys: Arc::clone(keys), keep, holder, shared };
        Ok(Places::new(Arc::new(sessions), SealedRuns::new(logs, keys)))
    }
}

/// What an open place keeps.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) runs: Arc<dyn RunStore>,
    pub(crate) mail: Arc<dyn Mailboxes>,
}

impl Places {
    fn new(sessions: Arc<dyn SessionStore>, runs: SealedRuns) -> Self {
        let runs = Arc::new(runs);
        Self { sessions, runs: Arc::clone(&runs) as Arc<dyn RunStore>, mail: runs }
    }
}

/// One place as both.
fn both<P: Records + Logs + 'static>(place: P) -> (Arc<dyn Records>, Arc<dyn Logs>) {
    let place = Arc::new(place);
    (Arc::clone(&place) as Arc<dyn Records>, place)
}

/// Session records, sealed, in a place for records.
#[derive(Debug)]
struct SealedStore {
    records: Arc<dyn Records>,
    keys: Arc<KeyRing>,
    keep: Duration,
    /// This replica.
    holder: Uuid,
    shared: bool,
}

fn unavailable(error: store::Unavailable) -> StoreUnavailable {
    StoreUnavailable { reason: error.0 }
}

fn of_session(change: store::Change) -> Change {
    match change {
        store::Change::Moved(id, epoch) => Change::Moved(id, epoch),
        store::Change::Ended(id) => Change::Ended(id),
        store::Change::Behind(id) => Change::Behind(id),
    }
}

impl SessionStore for SealedStore {
    fn put(&self, record: SessionRecord, write: Write) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let write = match write {
                Write::Keep => store::Write::Keep,
                Write::Move => store::Write::Advance,
            };
            let stored = Stored { epoch: record.claims.epoch, text: record.seal(&self.keys) };
            self.records.put(record.claims.id, stored, write, self.keep).await.map_err(unavailable)
        })
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    fn get(&self, id: Uuid) -> StoreFuture<'_, Option<Kept>> {
        Box::pin(async move {
            let stored = match self.records.get(id).await.map_err(unavailable)? {
                None => return Ok(None),
                Some(Found::Ended) => return Ok(Some(Kept::Ended)),
                Some(Found::Record(stored)) => stored,
            };
            let record = SessionRecord::open(&self.keys, id, &stored.text);
            if record.is_none() {
                tracing::warn!(session.id = %id, "a session record does not open: another key, or a later skep");
            }
            Ok(record.map(Arc::new).map(Kept::Lives))
        })
    }

    fn end(&self, id: Uuid) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.records.end(id, self.keep).await.map_err(unavailable) })
    }

    fn claim(&self, id: Uuid, hold: Duration) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.records.claim(id, self.holder, hold).await.map_err(unavailable) })
    }

    fn changed(&self, known: Vec<(Uuid, u32)>) -> StoreFuture<'_, Vec<Change>> {
        Box::pin(async move {
            let changes = self.records.changed(known).await.map_err(unavailable)?;
            Ok(changes.into_iter().map(of_session).collect())
        })
    }

    fn changes(&self) -> Option<mpsc::Receiver<Change>> {
        let mut changes = self.records.changes()?;
        let (to, told) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(change) = changes.recv().await {
                if to.send(of_session(change)).await.is_err() {
                    return;
                }
            }
        });
        Some(told)
    }

    fn touch(&self, ids: Vec<Uuid>) -> StoreFuture<'_, Vec<Uuid>> {
        Box::pin(async move { self.records.touch(ids, self.keep).await.map_err(unavailable) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_print() {
        let source = StoreSource::parse("redis://me:hunter2@127.0.0.1:6379/1").unwrap();
        assert_eq!(format!("{source:?}"), r#"Redis(…, "skep")"#);
    }

    #[test]
    fn places_are_named_as_people_would() {
        assert_eq!(StoreSource::parse("memory").unwrap(), StoreSource::Memory);
        assert_eq!(StoreSource::parse("file:/a/b").unwrap(), StoreSource::File("/a/b".into()));
        assert!(matches!(StoreSource::parse("redis://127.0.0.1:6379/1"), Ok(StoreSource::Redis { .. })));
        for wrong in ["", "disk", "file:", "http://user:secret@host", "redis:/host", "redis-sentinel://h:1"] {
            let error = StoreSource::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("redis://HOST:PORT") && !error.contains("secret"), "{error}");
        }
    }
}
