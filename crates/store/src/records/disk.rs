//! Records in one file, for one process. Writes of the moment share a commit, and each is on the disk when it is
//! answered: a killed process loses nothing that it was told is kept.

mod logs;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Answer, ENDED, Found, OpenError, Records, Stored, Unavailable, Write};

/// Id to epoch, the second after which it may be forgotten, and text.
const RECORDS: TableDefinition<'_, u128, (u32, u64, &[u8])> = TableDefinition::new("records");
/// Bytes of pages in memory: records are read when a session is lost, not before.
const CACHE: usize = 4 * 1024 * 1024;
/// Writes that may wait for the writing thread.
const WAITING: usize = 1024;
/// Writes of one commit.
const TOGETHER: usize = 256;
/// What is too old is looked for this often, in commits.
const SWEEP_EVERY: u32 = 1024;

enum Task {
    Put { id: Uuid, record: Stored, write: Write, until: u64 },
    Touch { ids: Vec<Uuid>, until: u64 },
    Append(logs::Addition),
}

/// What came of a task.
#[derive(Debug)]
enum Outcome {
    Written(bool),
    /// Nothing is known of these.
    Missing(Vec<Uuid>),
}

struct Change {
    task: Task,
    done: oneshot::Sender<Result<Outcome, Unavailable>>,
}

/// Records in a file.
pub struct DiskRecords {
    database: Arc<Database>,
    changes: mpsc::Sender<Change>,
}

impl std::fmt::Debug for DiskRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskRecords")
    }
}

impl DiskRecords {
    /// Opens a file, or makes it. One process at a time has it.
    ///
    /// # Errors
    /// [`OpenError::File`]: it is in use, is no such file, or cannot be made.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |reason: String| OpenError::File { path: path.display().to_string(), reason };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        }
        let database =
            Builder::new().set_cache_size(CACHE).create(path).map_err(|error| failed(error.to_string()))?;
        owner_only(path).map_err(|error| failed(error.to_string()))?;
        // So that reading finds a table from the beginning.
        let prepared = database.begin_write().map_err(redb::Error::from).and_then(|transaction| {
            transaction.open_table(RECORDS)?;
            logs::prepare(&transaction)?;
            Ok(transaction.commit()?)
        });
        prepared.map_err(|error| failed(error.to_string()))?;
        let database = Arc::new(database);
        let (changes, mut queue) = mpsc::channel(WAITING);
        let writing = Arc::clone(&database);
        let thread = thread::Builder::new().name("skep-records".to_owned());
        thread.spawn(move || write(&writing, &mut queue)).map_err(|error| failed(error.to_string()))?;
        Ok(Self { database, changes })
    }

    /// Has the writing thread carry out a task.
    async fn change(&self, task: Task) -> Result<Outcome, Unavailable> {
        let (done, answer) = oneshot::channel();
        let gone = || Unavailable("the writing thread has ended".to_owned());
        self.changes.send(Change { task, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(unix)]
fn owner_only(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn owner_only(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn write(database: &Database, queue: &mut mpsc::Receiver<Change>) {
    let mut commits: u32 = 0;
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < TOGETHER
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        commits = commits.wrapping_add(1);
        let outcome = commit(database, &batch, commits % SWEEP_EVERY == 1);
        match outcome {
            Ok(outcomes) => {
                for (Change { done, .. }, outcome) in batch.into_iter().zip(outcomes) {
                    // Whoever asked may have gone.
                    let _ = done.send(Ok(outcome));
                }
            }
            Err(error) => {
                for Change { done, .. } in batch {
                    let _ = done.send(Err(Unavailable(error.to_string())));
                }
            }
        }
    }
}

/// All of a batch or nothing; what came of each.
fn commit(database: &Database, batch: &[Change], sweep: bool) -> Result<Vec<Outcome>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(batch.len());
    {
        let mut table = transaction.open_table(RECORDS)?;
        let now = unix_seconds();
        if sweep {
            table.retain(|_, (_, until, _)| until > now)?;
            logs::sweep(&transaction)?;
        }
        for Change { task, .. } in batch {
            outcomes.push(match task {
                Task::Put { id, record, write, until } => {
                    let there = table.get(id.as_u128())?.map(|found| {
                        let (epoch, until, _) = found.value();
                        (epoch, until)
                    });
                    let there = there.filter(|(_, until)| *until > now).map(|(epoch, _)| epoch);
                    let may = write.may_replace(there, record.epoch);
                    if may {
                        table.insert(id.as_u128(), (record.epoch, *until, &record.text[..]))?;
                    }
                    Outcome::Written(may)
                }
                Task::Touch { ids, until } => {
                    let mut missing = Vec::new();
                    for id in ids {
                        let found = table.get(id.as_u128())?.map(|found| {
                            let (epoch, _, text) = found.value();
                            (epoch, text.to_vec())
                        });
                        match found {
                            Some((epoch, text)) => {
                                table.insert(id.as_u128(), (epoch, *until, &text[..]))?;
                            }
                            None => missing.push(*id),
                        }
                    }
                    Outcome::Missing(missing)
                }
                Task::Append(addition) => Outcome::Written(logs::add(&transaction, addition)?),
            });
        }
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn read(database: &Database, id: Uuid) -> Result<Option<Found>, redb::Error> {
    let table = database.begin_read()?.open_table(RECORDS)?;
    let Some(found) = table.get(id.as_u128())? else { return Ok(None) };
    let (epoch, until, text) = found.value();
    Ok((until > unix_seconds()).then(|| Found::new(epoch, Bytes::copy_from_slice(text))))
}

impl Records for DiskRecords {
    fn get(&self, id: Uuid) -> Answer<'_, Option<Found>> {
        // A microsecond or two, from the page cache.
        let read = read(&self.database, id).map_err(|error| Unavailable(error.to_string()));
        Box::pin(std::future::ready(read))
    }

    fn put(&self, id: Uuid, record: Stored, write: Write, keep: Duration) -> Answer<'_, bool> {
        let until = unix_seconds().saturating_add(keep.as_secs());
        Box::pin(async move {
            let outcome = self.change(Task::Put { id, record, write, until }).await?;
            Ok(matches!(outcome, Outcome::Written(true)))
        })
    }

    fn end(&self, id: Uuid, keep: Duration) -> Answer<'_, ()> {
        let ended = Stored { epoch: ENDED, text: Bytes::new() };
        Box::pin(async move { self.put(id, ended, Write::Keep, keep).await.map(drop) })
    }

    fn claim(&self, _: Uuid, _: Uuid, _: Duration) -> Answer<'_, bool> {
        // No other process has the file.
        Box::pin(std::future::ready(Ok(true)))
    }

    fn touch(&self, ids: Vec<Uuid>, keep: Duration) -> Answer<'_, Vec<Uuid>> {
        let until = unix_seconds().saturating_add(keep.as_secs());
        Box::pin(async move {
            match self.change(Task::Touch { ids, until }).await? {
                Outcome::Missing(missing) => Ok(missing),
                Outcome::Written(_) => Ok(Vec::new()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(epoch: u32, text: &'static str) -> Stored {
        Stored { epoch, text: Bytes::from_static(text.as_bytes()) }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn what_was_kept_is_there_for_the_next_process_and_for_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/sessions.redb");
        let (kept, gone) = (Uuid::new_v4(), Uuid::new_v4());
        let records = DiskRecords::open(&path).unwrap();
        assert!(records.put(kept, stored(0, "a"), Write::Keep, HOUR).await.unwrap());
        assert!(records.put(kept, stored(1, "b"), Write::Advance, HOUR).await.unwrap());
        assert!(!records.put(kept, stored(1, "c"), Write::Advance, HOUR).await.unwrap());
        assert!(records.put(gone, stored(0, "x"), Write::Keep, HOUR).await.unwrap());
        records.end(gone, HOUR).await.unwrap();
        assert!(!records.put(gone, stored(7, "y"), Write::Advance, HOUR).await.unwrap());
        let second = DiskRecords::open(&path).unwrap_err().to_string();
        assert!(second.contains("sessions.redb"), "{second}");
        drop(records);
        // The writing thread lets go of the file when it has seen that.
        let records = loop {
            match DiskRecords::open(&path) {
                Ok(records) => break records,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(records.get(kept).await.unwrap(), Some(Found::Record(stored(1, "b"))));
        assert_eq!(records.get(gone).await.unwrap(), Some(Found::Ended));
        let unknown = Uuid::new_v4();
        assert_eq!(records.touch(vec![kept, unknown], HOUR).await.unwrap(), [unknown]);
    }

    #[tokio::test]
    async fn what_may_be_forgotten_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let records = DiskRecords::open(&folder.path().join("r")).unwrap();
        let id = Uuid::new_v4();
        records.put(id, stored(3, "a"), Write::Keep, Duration::ZERO).await.unwrap();
        assert_eq!(records.get(id).await.unwrap(), None);
        assert!(records.put(id, stored(0, "b"), Write::Keep, HOUR).await.unwrap(), "as if it were new");
        records.touch(vec![id], Duration::ZERO).await.unwrap();
        assert_eq!(records.get(id).await.unwrap(), None);
    }
}
