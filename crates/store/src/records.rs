//! Small texts under an id, each with an epoch that only grows, in a place that may be slow or away: a file of this
//! process ([`DiskRecords`]) or a Redis or Valkey that replicas share ([`RedisRecords`]).
//!
//! What is in the texts is the owner's business; they come here sealed.

mod disk;
mod redis;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
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
    #[error("{url:?} is no store: write redis://HOST:PORT, rediss://HOST:PORT, file:PATH or memory")]
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

/// When a text may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Where nothing newer is.
    Begin,
    /// Where the record still is, and nothing newer.
    Update,
    /// Where the record still is, and of an earlier epoch.
    Advance,
}

impl Write {
    /// Whether it may take the place of what is there.
    fn may_replace(self, there: Option<u32>, epoch: u32) -> bool {
        match (self, there) {
            (Self::Begin, None) => true,
            (Self::Update | Self::Advance, None) => false,
            (Self::Begin | Self::Update, Some(there)) => there <= epoch,
            (Self::Advance, Some(there)) => there < epoch,
        }
    }
}

/// A place that keeps records. Every operation is bounded in time by the place itself.
pub trait Records: Send + Sync + fmt::Debug {
    /// The record of an id.
    fn get(&self, id: Uuid) -> Answer<'_, Option<Stored>>;

    /// Writes a record that may be forgotten after `keep`. False where `write` does not allow it.
    fn put(&self, id: Uuid, record: Stored, write: Write, keep: Duration) -> Answer<'_, bool>;

    /// Takes a record away, if it is there.
    fn remove(&self, id: Uuid) -> Answer<'_, ()>;

    /// The right to advance a record, for `hold` at most: false while another holder has it.
    fn claim(&self, id: Uuid, holder: Uuid, hold: Duration) -> Answer<'_, bool>;

    /// Keeps these for `keep` from now on.
    fn touch(&self, ids: Vec<Uuid>, keep: Duration) -> Answer<'_, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_only_grow_and_what_was_removed_stays_removed() {
        for (write, there, epoch, allowed) in [
            (Write::Begin, None, 0, true),
            (Write::Begin, Some(0), 0, true),
            (Write::Begin, Some(1), 0, false),
            (Write::Update, None, 0, false),
            (Write::Update, Some(2), 2, true),
            (Write::Update, Some(3), 2, false),
            (Write::Advance, None, 1, false),
            (Write::Advance, Some(0), 1, true),
            (Write::Advance, Some(1), 1, false),
        ] {
            assert_eq!(write.may_replace(there, epoch), allowed, "{write:?} {epoch} over {there:?}");
        }
    }
}
