//! A session of a route: where it lives now, and what it takes to let it live elsewhere.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use mcp::{Message, Revision};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::instance::{Instance, Load};
use crate::recovery::history::Timeline;
use crate::recovery::remembered::Remembered;

/// Requests of one session that may wait until it is rebuilt.
const MAX_WAITING: usize = 1024;
/// Questions of the server that are remembered per session.
const MAX_QUESTIONS: usize = 1024;

/// What a session is backed by.
#[derive(Debug)]
pub struct Pinned {
    place: ArcSwap<Place>,
    kept: Mutex<Kept>,
    /// Held by whoever rebuilds the session; the others wait in line.
    pub(super) gate: Arc<tokio::sync::Mutex<()>>,
    waiting: AtomicUsize,
    moved: Arc<Notify>,
    pub(super) timeline: Timeline,
    /// It has moved, and its client was not told yet.
    untold: AtomicBool,
}

/// Where a session lives.
#[derive(Debug)]
pub(super) struct Place {
    /// `None`: on an instance that is not known here any more.
    pub(super) instance: Option<Arc<Instance>>,
    /// The id it has there.
    pub(super) backend_session: HeaderValue,
    /// How often it has moved.
    pub(super) epoch: u32,
    pub(super) _load: Option<Load>,
}

#[derive(Debug, Default)]
struct Kept {
    /// `None`: it began elsewhere, and its record was not needed yet.
    remembered: Option<Remembered>,
    /// Raw ids of what the server asks its client, in this epoch.
    questions: HashSet<Box<[u8]>>,
    /// Those of the epochs before that its client has seen and may still be thinking about.
    withdrawn: Vec<Box<[u8]>>,
    /// When and why the last rebuilding came to nothing.
    failed: Option<(Instant, String)>,
}

impl Place {
    pub(super) fn on(instance: &Arc<Instance>, backend_session: HeaderValue, epoch: u32) -> Self {
        Self {
            instance: Some(Arc::clone(instance)),
            backend_session,
            epoch,
            _load: Some(instance.hold_session()),
        }
    }
}

impl Pinned {
    pub(super) fn new(place: Place, remembered: Option<Remembered>) -> Self {
        Self {
            place: ArcSwap::from_pointee(place),
            kept: Mutex::new(Kept { remembered, ..Kept::default() }),
            gate: Arc::default(),
            waiting: AtomicUsize::new(0),
            moved: Arc::default(),
            timeline: Timeline::default(),
            untold: AtomicBool::new(false),
        }
    }

    /// Where it lives now.
    pub(super) fn place(&self) -> Arc<Place> {
        self.place.load_full()
    }

    /// The instance that its requests may go to. `None` where it is not known here any more, or another server has its
    /// address.
    pub(super) fn reachable<'a>(&self, place: &'a Place) -> Option<&'a Arc<Instance>> {
        place
            .instance
            .as_ref()
            .filter(|instance| !instance.health.is_another() || !self.is_strange_to(instance))
    }

    /// Whether the server that was met at the address of an instance is not this session's.
    fn is_strange_to(&self, instance: &Instance) -> bool {
        let kept = self.kept.lock();
        let agreed = kept.remembered.as_ref().and_then(|remembered| remembered.agreed.as_ref());
        agreed.is_some_and(|agreed| instance.health.is_another_than(agreed.server()))
    }

    /// Ends when the session has moved after this call.
    pub(super) fn moved(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.moved).notified_owned()
    }

    /// It lives elsewhere from now on.
    pub(super) fn move_to(&self, place: Place) {
        {
            let mut kept = self.kept.lock();
            let open = std::mem::take(&mut kept.questions);
            kept.withdrawn.extend(open);
            kept.withdrawn.truncate(MAX_QUESTIONS);
            kept.failed = None;
        }
        self.place.store(Arc::new(place));
        self.untold.store(true, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Whether the client is to be told that its session lives at this place, where it did not before.
    pub(super) fn is_untold(&self, place: &Place) -> bool {
        place.epoch > 0 && self.untold.load(Ordering::Relaxed)
    }

    /// It was told.
    pub(super) fn tell(&self) {
        self.untold.store(false, Ordering::Relaxed);
    }

    pub(super) fn remembered(&self) -> Option<Remembered> {
        self.kept.lock().remembered.clone()
    }

    pub(super) fn remember(&self, remembered: Remembered) {
        self.kept.lock().remembered = Some(remembered);
    }

    /// Whether its client knows that an event without data is only a cursor; earlier ones would read it as a message.
    pub(super) fn knows_priming(&self) -> bool {
        let kept = self.kept.lock();
        let agreed = kept.remembered.as_ref().and_then(Remembered::version);
        agreed >= Some(Revision::V2025_11_25)
    }

    /// Takes note of what the backend has accepted; what is to be kept elsewhere too, where that changed something.
    pub(super) fn note(&self, message: &Message) -> Option<Remembered> {
        let mut kept = self.kept.lock();
        let remembered = kept.remembered.as_mut()?;
        remembered.note(message).then(|| remembered.clone())
    }

    /// The server asks its client something.
    pub(super) fn asked(&self, id: &[u8]) {
        let mut kept = self.kept.lock();
        if kept.questions.len() < MAX_QUESTIONS {
            kept.questions.insert(id.into());
        }
    }

    /// Whether the client's answer to this question may go to the backend as it is now: after a move, ids of the old
    /// instance may mean something else to the new one.
    pub(super) fn may_answer(&self, place: &Place, id: &[u8]) -> bool {
        let mut kept = self.kept.lock();
        kept.withdrawn.retain(|withdrawn| **withdrawn != *id);
        kept.questions.remove(id) || place.epoch == 0
    }

    /// The questions that nobody wants an answer to any more, for their client to be told so, once.
    pub(super) fn take_withdrawn(&self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.kept.lock().withdrawn)
    }

    pub(super) fn failed(&self, why: &str) {
        self.kept.lock().failed = Some((Instant::now(), why.to_owned()));
    }

    /// Why it could not be rebuilt, if that was tried after `since`.
    pub(super) fn failed_since(&self, since: Instant) -> Option<String> {
        let kept = self.kept.lock();
        kept.failed.as_ref().filter(|(at, _)| *at >= since).map(|(_, why)| why.clone())
    }

    /// A place among those who wait, given back when dropped.
    pub(super) fn wait_in_line(&self, backend: &str) -> Result<Waiting<'_>, Failure> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::Crowded { backend: backend.to_owned() });
        }
        Ok(Waiting(&self.waiting))
    }
}

/// See [`Pinned::wait_in_line`].
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere(epoch: u32) -> Place {
        Place { instance: None, backend_session: HeaderValue::from_static("s"), epoch, _load: None }
    }

    #[test]
    fn questions_of_a_place_that_was_left_are_withdrawn_and_answered_to_nobody() {
        let pinned = Pinned::new(nowhere(0), None);
        [b"1", b"2", b"3"].into_iter().for_each(|id| pinned.asked(id));
        assert!(pinned.may_answer(&pinned.place(), b"1"));
        pinned.move_to(nowhere(1));
        pinned.asked(b"4");
        assert!(!pinned.may_answer(&pinned.place(), b"2"), "it may mean something else there");
        assert!(pinned.may_answer(&pinned.place(), b"4"));
        assert_eq!(pinned.take_withdrawn(), [b"3".as_slice().into()]);
        assert!(pinned.take_withdrawn().is_empty());
    }
}
