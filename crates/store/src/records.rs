//! Small texts under an id, each with an epoch that only grows, in a place that may be slow or away: a file of this
//! process ([`DiskRecords`]) or a Redis or Valkey that replicas share ([`RedisRecords`]).
//!
//! What is in the texts is the owner's business; they come here sealed.

mod disk;
pub mod logs;
mod redis;

use std::cmp::Ordering;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

pub use disk::DiskRecords;
pub use redis::RedisRecords;

/// A place could not be asked, or did not answer in time. What is in it is as it was, or as the caller wanted it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Why a place cannot be used at all. Said once, at start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{url:?} is no store: write redis://HOST:PORT, redis-sentinel://HOST:PORT,…/MASTER, redis-cluster://HOST:PORT,… (rediss… with TLS), file:PATH or memory"
    )]
    NotAStore { url: String },
    #[error("{path}: {reason}")]
    File { path: String, reason: String },
}

/// The future of an operation.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// A text and its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub epoch: u32,
    pub text: Bytes,
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Record(Stored),
    /// It was ended, and stays so. An id that nothing is known of may have been forgotten instead: places lose things.
    Ended,
}

/// The epoch of what has ended: nothing comes after it.
const ENDED: u32 = u32::MAX;

impl Found {
    fn new(epoch: u32, text: Bytes) -> Self {
        if epoch == ENDED { Self::Ended } else { Self::Record(Stored { epoch, text }) }
    }
}

/// Something that a process did to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its epoch is this now.
    Moved(Uuid, u32),
    Ended(Uuid),
    /// It is there with an earlier epoch: the place has lost the later one, and a process that had not heard of that wrote
    /// its own again.
    Behind(Uuid),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(id, epoch) => write!(f, "moved {id} {epoch}"),
            Self::Ended(id) => write!(f, "ended {id}"),
            Self::Behind(id) => write!(f, "behind {id}"),
        }
    }
}

impl Change {
    /// What has become of a record that was known under one epoch and has another.
    fn between(id: Uuid, known: u32, epoch: u32) -> Option<Self> {
        match epoch {
            ENDED => Some(Self::Ended(id)),
            epoch => match epoch.cmp(&known) {
                Ordering::Greater => Some(Self::Moved(id, epoch)),
                Ordering::Less => Some(Self::Behind(id)),
                Ordering::Equal => None,
            },
        }
    }

    /// Reads what [`fmt::Display`] wrote, here or in a later skep that says more.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        match (words.next()?, words.next()?.parse().ok()?, words.next()) {
            ("moved", id, Some(epoch)) => Some(Self::Moved(id, epoch.parse().ok()?)),
            ("ended", id, _) => Some(Self::Ended(id)),
            ("behind", id, _) => Some(Self::Behind(id)),
            _ => None,
        }
    }
}

/// When a text may be written over another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Over nothing newer.
    Keep,
    /// Over an earlier epoch only.
    Advance,
}

impl Write {
    /// Whether it may take the place of what is there.
    fn may_replace(self, there: Option<u32>, epoch: u32) -> bool {
        match (self, there) {
            (_, None) => true,
            (Self::Keep, Some(there)) => there <= epoch,
            (Self::Advance, Some(there)) => there < epoch,
        }
    }
}

/// A place that keeps records. Every operation is bounded in time by the place itself.
pub trait Records: Send + Sync + fmt::Debug {
    /// The record of an id.
    fn get(&self, id: Uuid) -> Answer<'_, Option<Found>>;

    /// Writes a record that may be forgotten after `keep`. False where `write` does not allow it.
    fn put(&self, id: Uuid, record: Stored, write: Write, keep: Duration) -> Answer<'_, bool>;

    /// Ends a record: for `keep` nothing is written under its id any more.
    fn end(&self, id: Uuid, keep: Duration) -> Answer<'_, ()>;

    /// The right to advance a record, for `hold` at most: false while another holder has it.
    fn claim(&self, id: Uuid, holder: Uuid, hold: Duration) -> Answer<'_, bool>;

    /// What other processes change from now on, as far as it is heard: some may be missed. `None` where there are no
    /// others. To be called in a runtime.
    fn changes(&self) -> Option<mpsc::Receiver<Change>> {
        None
    }

    /// What other processes have done to records that this one knows under these epochs.
    fn changed(&self, known: Vec<(Uuid, u32)>) -> Answer<'_, Vec<Change>> {
        drop(known);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Keeps these for `keep` from now on. Gives those that nothing is known of.
    fn touch(&self, ids: Vec<Uuid>, keep: Duration) -> Answer<'_, Vec<Uuid>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_as_they_are_written() {
        let id = Uuid::from_u128(7);
        for change in [Change::Moved(id, 3), Change::Ended(id), Change::Behind(id)] {
            assert_eq!(Change::read(&change.to_string()), Some(change));
        }
        for text in [
            "",
            "moved",
            "moved x 1",
            "renamed 00000000-0000-0000-0000-000000000007",
            "moved 00000000-0000-0000-0000-000000000007",
        ] {
            assert_eq!(Change::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_has_become_of_a_record_is_seen_from_its_epoch() {
        let id = Uuid::from_u128(7);
        for (known, epoch, expect) in [
            (2, 2, None),
            (2, 3, Some(Change::Moved(id, 3))),
            (2, 1, Some(Change::Behind(id))),
            (2, ENDED, Some(Change::Ended(id))),
        ] {
            assert_eq!(Change::between(id, known, epoch), expect, "{known} {epoch}");
        }
    }

    #[test]
    fn epochs_only_grow_and_what_has_ended_stays_so() {
        for (write, there, epoch, allowed) in [
            (Write::Keep, None, 0, true),
            (Write::Keep, Some(2), 2, true),
            (Write::Keep, Some(3), 2, false),
            (Write::Keep, Some(ENDED), 2, false),
            (Write::Advance, None, 1, true),
            (Write::Advance, Some(0), 1, true),
            (Write::Advance, Some(1), 1, false),
            (Write::Advance, Some(ENDED), 1, false),
        ] {
            assert_eq!(write.may_replace(there, epoch), allowed, "{write:?} {epoch} over {there:?}");
        }
    }
}
