//! Where runs of workflows are kept, and letters of replicas: beside session records, sealed, since what tools are given and
//! say is private.
//!
//! A text of a log is bound to its run and its place in it, and has the time at which it was written.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proxy::session::KeyRing;
use serde::{Deserialize, Serialize};
use store::records::logs::{Behind, Logs, MemoryLogs};
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use vmcp::hub::{MailUnavailable, Mailboxes, Mailing};
use vmcp::workflow::log::{Event, LogError, Logging, RunLog};
use vmcp::workflow::runs::{Dated, Letter, RunStore};

/// A run that goes on nowhere is forgotten after this.
const KEEP_OPEN: Duration = Duration::from_secs(24 * 60 * 60);
/// One that is over, whether its answer was collected or not.
const KEEP_OVER: Duration = Duration::from_secs(60 * 60);
/// A place that is away is waited for, in the middle of a run.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

const LOG: &[u8] = b"run-log-v1";
const LETTER: &[u8] = b"letter-v1";
const MAIL: &[u8] = b"mail-v1";

/// Runs, sealed, in a place for logs.
pub(crate) struct SealedRuns {
    logs: Arc<dyn Logs>,
    keys: Arc<KeyRing>,
    /// This replica.
    holder: Uuid,
    is_lasting: bool,
}

impl fmt::Debug for SealedRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedRuns").field("logs", &self.logs).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Writing<'a> {
    at: u64,
    event: &'a Event,
}

#[derive(Deserialize)]
struct Written {
    at: u64,
    event: Event,
}

fn unavailable(error: store::Unavailable) -> LogError {
    LogError::Unavailable(error.0)
}

fn unreadable(error: impl fmt::Display) -> LogError {
    LogError::Unavailable(error.to_string())
}

fn id_of(run: &str) -> Result<Uuid, LogError> {
    run.parse().map_err(|_| LogError::Unavailable(format!("{run:?} is no id of a run")))
}

fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl SealedRuns {
    pub(crate) fn new(logs: Arc<dyn Logs>, keys: &Arc<KeyRing>) -> Self {
        Self { logs, keys: Arc::clone(keys), holder: Uuid::new_v4(), is_lasting: true }
    }

    /// Runs that are gone with the process.
    pub(crate) fn in_memory(logs: MemoryLogs, keys: &Arc<KeyRing>) -> Self {
        Self { is_lasting: false, ..Self::new(Arc::new(logs), keys) }
    }

    fn seal(&self, id: Uuid, position: u64, event: &Event) -> Result<Bytes, LogError> {
        let mut plain = bound(id, position);
        serde_json::to_writer(&mut plain, &Writing { at: unix_milliseconds(), event }).map_err(unreadable)?;
        Ok(self.keys.seal(LOG, &plain).into())
    }

    fn open(&self, id: Uuid, position: u64, sealed: &Bytes) -> Result<Dated, LogError> {
        let mut sealed = sealed.to_vec();
        let plain = self.keys.open(LOG, &mut sealed);
        let text = plain.and_then(|plain| plain.strip_prefix(&*bound(id, position)));
        let text = text.ok_or_else(|| unreadable("it was written with another key"))?;
        let Written { at, event } = serde_json::from_slice(text).map_err(unreadable)?;
        Ok(Dated { at, event })
    }

    /// Adds a text, and waits for a place that is away. Whether one was added before an answer got lost is seen from what
    /// is there: no two sealed texts are the same.
    async fn add(&self, id: Uuid, position: u64, event: &Event) -> Result<(), LogError> {
        let text = self.seal(id, position, event)?;
        let (behind, keep) = match event {
            Event::Ended(_) => (Behind::Nothing, KEEP_OVER),
            _ => (Behind::More, KEEP_OPEN),
        };
        // A run that has not begun need not begin here.
        let until = Instant::now() + if position == 0 { Duration::ZERO } else { PATIENCE };
        let mut was_tried = false;
        loop {
            match self.logs.append(id, position, text.clone(), behind, keep).await {
                Ok(true) => return Ok(()),
                Ok(false) if !was_tried => return Err(LogError::Moved),
                Ok(false) => {
                    let texts = self.logs.read(id).await.map_err(unavailable)?;
                    let there = usize::try_from(position).ok().and_then(|position| texts.get(position));
                    return if there == Some(&text) { Ok(()) } else { Err(LogError::Moved) };
                }
                Err(error) if Instant::now() >= until => return Err(unavailable(error)),
                Err(_) => was_tried = true,
            }
            sleep(PAUSE).await;
        }
    }

    /// Holds what has this id, and takes its letters out. What does not open was left by or for somebody else.
    async fn take_letters(
        &self,
        context: &'static [u8],
        id: Uuid,
        hold: Duration,
    ) -> Result<Option<Vec<Bytes>>, store::Unavailable> {
        let letters = self.logs.hold(id, self.holder, hold).await?;
        let read = |sealed: Bytes| {
            let mut sealed = sealed.to_vec();
            let plain = self.keys.open(context, &mut sealed)?;
            plain.strip_prefix(id.as_bytes()).map(Bytes::copy_from_slice)
        };
        Ok(letters.map(|letters| letters.into_iter().filter_map(read).collect()))
    }

    /// Leaves a letter that is good for this id only.
    async fn leave_letter(
        &self,
        context: &'static [u8],
        id: Uuid,
        letter: &[u8],
    ) -> Result<bool, store::Unavailable> {
        let sealed = self.keys.seal(context, &[&id.as_bytes()[..], letter].concat());
        self.logs.post(id, sealed.into()).await
    }

    async fn dated(&self, id: Uuid) -> Result<Vec<Dated>, LogError> {
        let texts = self.logs.read(id).await.map_err(unavailable)?;
        (0..).zip(&texts).map(|(position, text)| self.open(id, position, text)).collect()
    }
}

/// What a text begins with, so that it is good for nothing else.
fn bound(id: Uuid, position: u64) -> Vec<u8> {
    [&id.as_bytes()[..], &position.to_le_bytes()].concat()
}

impl RunLog for SealedRuns {
    fn append<'a>(&'a self, run: &'a str, position: u64, event: &'a Event) -> Logging<'a, ()> {
        Box::pin(async move { self.add(id_of(run)?, position, event).await })
    }

    fn read<'a>(&'a self, run: &'a str) -> Logging<'a, Vec<Event>> {
        Box::pin(async move {
            let dated = self.dated(id_of(run)?).await?;
            Ok(dated.into_iter().map(|dated| dated.event).collect())
        })
    }
}

impl RunStore for SealedRuns {
    fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    fn open(&self) -> Logging<'_, Vec<Uuid>> {
        Box::pin(async move { self.logs.open().await.map_err(unavailable) })
    }

    fn all(&self) -> Logging<'_, Vec<Uuid>> {
        Box::pin(async move { self.logs.all().await.map_err(unavailable) })
    }

    fn timeline(&self, run: Uuid) -> Logging<'_, Vec<Dated>> {
        Box::pin(self.dated(run))
    }

    fn hold(&self, run: Uuid, hold: Duration) -> Logging<'_, Option<Vec<Letter>>> {
        Box::pin(async move {
            let letters = self.take_letters(LETTER, run, hold).await.map_err(unavailable)?;
            let read = |plain: Bytes| serde_json::from_slice(&plain).ok();
            Ok(letters.map(|letters| letters.into_iter().filter_map(read).collect()))
        })
    }

    fn release(&self, run: Uuid) -> Logging<'_, ()> {
        Box::pin(async move { self.logs.release(run, self.holder).await.map_err(unavailable) })
    }

    fn post(&self, run: Uuid, letter: Letter) -> Logging<'_, bool> {
        Box::pin(async move {
            let plain = serde_json::to_vec(&letter).map_err(unreadable)?;
            self.leave_letter(LETTER, run, &plain).await.map_err(unavailable)
        })
    }
}

fn away(error: store::Unavailable) -> MailUnavailable {
    MailUnavailable(error.0)
}

impl Mailboxes for SealedRuns {
    fn hold(&self, mailbox: Uuid, hold: Duration) -> Mailing<'_, Option<Vec<Bytes>>> {
        Box::pin(async move { self.take_letters(MAIL, mailbox, hold).await.map_err(away) })
    }

    fn release(&self, mailbox: Uuid) -> Mailing<'_, ()> {
        Box::pin(async move { self.logs.release(mailbox, self.holder).await.map_err(away) })
    }

    fn post(&self, mailbox: Uuid, letter: Bytes) -> Mailing<'_, bool> {
        Box::pin(async move { self.leave_letter(MAIL, mailbox, &letter).await.map_err(away) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use store::records::Answer;
    use vmcp::workflow::log::End;

    fn keys() -> Arc<KeyRing> {
        Arc::new(KeyRing::parse(&KeyRing::generate_line()).unwrap())
    }

    /// Answers are lost, though what was asked is done.
    #[derive(Debug)]
    struct Lossy {
        logs: MemoryLogs,
        lost: AtomicUsize,
    }

    impl Logs for Lossy {
        fn append(
            &self,
            id: Uuid,
            position: u64,
            text: Bytes,
            behind: Behind,
            keep: Duration,
        ) -> Answer<'_, bool> {
            Box::pin(async move {
                let done = self.logs.append(id, position, text, behind, keep).await;
                match self.lost.fetch_sub(1, Ordering::Relaxed) {
                    1 => Err(store::Unavailable("lost".to_owned())),
                    _ => done,
                }
            })
        }

        fn read(&self, id: Uuid) -> Answer<'_, Vec<Bytes>> {
            self.logs.read(id)
        }

        fn open(&self) -> Answer<'_, Vec<Uuid>> {
            self.logs.open()
        }

        fn all(&self) -> Answer<'_, Vec<Uuid>> {
            self.logs.all()
        }
    }

    /// Where letters are left.
    #[derive(Debug)]
    struct Post {
        logs: MemoryLogs,
        letters: parking_lot::Mutex<Vec<(Uuid, Bytes)>>,
    }

    impl Logs for Post {
        fn append(&self, _: Uuid, _: u64, _: Bytes, _: Behind, _: Duration) -> Answer<'_, bool> {
            Box::pin(std::future::ready(Ok(false)))
        }

        fn read(&self, id: Uuid) -> Answer<'_, Vec<Bytes>> {
            self.logs.read(id)
        }

        fn open(&self) -> Answer<'_, Vec<Uuid>> {
            self.logs.open()
        }

        fn all(&self) -> Answer<'_, Vec<Uuid>> {
            self.logs.all()
        }

        fn hold(&self, id: Uuid, _: Uuid, _: Duration) -> Answer<'_, Option<Vec<Bytes>>> {
            let mut letters = self.letters.lock();
            let taken = letters.extract_if(.., |(to, _)| *to == id).map(|(_, letter)| letter).collect();
            Box::pin(std::future::ready(Ok(Some(taken))))
        }

        fn post(&self, id: Uuid, letter: Bytes) -> Answer<'_, bool> {
            self.letters.lock().push((id, letter));
            Box::pin(std::future::ready(Ok(true)))
        }
    }

    #[tokio::test]
    async fn a_letter_is_read_by_who_has_the_key_and_in_its_own_mailbox_only() {
        let post = Arc::new(Post { logs: MemoryLogs::new(1), letters: parking_lot::Mutex::default() });
        let keys = keys();
        let [one, other] = [(); 2].map(|()| SealedRuns::new(Arc::clone(&post) as Arc<dyn Logs>, &keys));
        let (mailbox, strange) = (Uuid::new_v4(), Uuid::new_v4());
        let read = async |at: &SealedRuns, id| Mailboxes::hold(at, id, KEEP_OVER).await.unwrap().unwrap();
        assert!(Mailboxes::post(&one, mailbox, Bytes::from_static(b"secret")).await.unwrap());
        let (_, sealed) = post.letters.lock()[0].clone();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(read(&other, mailbox).await, ["secret"]);
        assert!(read(&other, mailbox).await.is_empty(), "once");
        Logs::post(&*post, strange, sealed.clone()).await.unwrap();
        assert!(read(&other, strange).await.is_empty(), "of another mailbox");
        Logs::post(&*post, mailbox, sealed).await.unwrap();
        assert!(RunStore::hold(&one, mailbox, KEEP_OVER).await.unwrap().unwrap().is_empty(), "of no run");
    }

    fn ended(text: &str) -> Event {
        Event::Ended(End::Failed(text.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_read_back_by_who_has_the_key_and_from_its_own_place_only() {
        let logs = Arc::new(MemoryLogs::new(10));
        let runs = SealedRuns::new(Arc::clone(&logs) as Arc<dyn Logs>, &keys());
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        runs.append(&one.to_string(), 0, &ended("secret")).await.unwrap();
        assert_eq!(runs.read(&one.to_string()).await.unwrap(), [ended("secret")]);
        let sealed = logs.read(one).await.unwrap().remove(0);
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        logs.append(other, 0, sealed, Behind::More, KEEP_OPEN).await.unwrap();
        assert!(runs.read(&other.to_string()).await.is_err(), "of another run");
        let stranger = SealedRuns::new(logs, &keys());
        assert!(stranger.read(&one.to_string()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_whose_answer_was_lost_is_no_other_writers() {
        let logs = Lossy { logs: MemoryLogs::new(10), lost: AtomicUsize::new(2) };
        let runs = SealedRuns::new(Arc::new(logs), &keys());
        let run = Uuid::new_v4().to_string();
        runs.append(&run, 0, &ended("a")).await.unwrap();
        runs.append(&run, 1, &ended("b")).await.unwrap();
        assert_eq!(runs.append(&run, 1, &ended("c")).await, Err(LogError::Moved));
        assert_eq!(runs.read(&run).await.unwrap(), [ended("a"), ended("b")]);
    }
}
