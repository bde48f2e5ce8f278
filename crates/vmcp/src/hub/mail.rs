//! Mailboxes: what replicas of a hub leave for each other, where they share a place. One has a mailbox by holding it, and
//! says so again and again; a mailbox that nobody holds has lost its owner.
//!
//! Deliberately absent: what letters say, and how they are kept from others' eyes, which is the place's affair.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::Hub;

/// For so long a mailbox is held without another word.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// How often a mailbox is looked into.
pub(super) const READ_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked whether the other side is there.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Whoever is not found so often in a row is gone: in between one that lives has said so again.
const MISSED: usize = 2;

/// The place cannot be reached now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the place for letters is away: {0}")]
pub struct MailUnavailable(pub String);

/// The future of an operation.
pub type Mailing<'a, T> = Pin<Box<dyn Future<Output = Result<T, MailUnavailable>> + Send + 'a>>;

/// Where mailboxes are. Every operation is bounded in time.
pub trait Mailboxes: Send + Sync + fmt::Debug {
    /// Holds a mailbox for so long, or goes on holding it, and takes out what is in it. `None` while another replica holds it.
    fn hold(&self, mailbox: Uuid, hold: Duration) -> Mailing<'_, Option<Vec<Bytes>>>;

    /// Holds it no longer.
    fn release(&self, mailbox: Uuid) -> Mailing<'_, ()>;

    /// Leaves a letter. False where nobody but this process could find it.
    fn post(&self, mailbox: Uuid, letter: Bytes) -> Mailing<'_, bool>;
}

/// Somebody elsewhere who holds a mailbox, as far as can be told.
#[derive(Debug)]
pub(super) struct Other {
    mailbox: Uuid,
    missed: usize,
}

impl Other {
    pub(super) fn new(mailbox: Uuid) -> Self {
        Self { mailbox, missed: 0 }
    }
}

impl Hub {
    /// Whether another replica holds a mailbox. A place that is away says nothing of that.
    pub(super) async fn is_held(&self, mailbox: Uuid) -> Option<bool> {
        let mail = &self.config.mail;
        let Some(letters) = mail.hold(mailbox, HOLD).await.ok()? else { return Some(true) };
        for letter in letters {
            // Of an owner who was late. If it is lost, that one is told so in time.
            let _ = mail.post(mailbox, letter).await;
        }
        let _ = mail.release(mailbox).await;
        Some(false)
    }

    /// Whether somebody was missed so often that it is gone.
    pub(super) async fn is_gone(&self, other: &mut Other) -> bool {
        other.missed = match self.is_held(other.mailbox).await {
            Some(false) => other.missed + 1,
            Some(true) | None => 0,
        };
        other.missed >= MISSED
    }

    /// Leaves a letter; whether it is there.
    pub(super) async fn leave_letter(&self, mailbox: Uuid, letter: &impl Serialize) -> bool {
        let Ok(text) = serde_json::to_vec(letter) else { return false };
        self.config.mail.post(mailbox, text.into()).await == Ok(true)
    }
}
