//! Servers that are started before they are asked for, so that a session need not wait for one to start. Their number
//! together with those in use is bounded.
//!
//! A channel's tasks run on the runtime that opened it, so one is preferred that this thread opened: its messages then
//! stay on one thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::channel::{Channel, Connect};
use crate::failure::Failure;
use crate::session::TableFull;

/// How long a new session waits for one that was ended to make room.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

struct Warm {
    channel: Channel,
    home: ThreadId,
}

/// The pool.
pub(super) struct Pool {
    name: Arc<str>,
    connect: Arc<dyn Connect>,
    wanted: usize,
    most: usize,
    slots: Arc<Semaphore>,
    warm: Mutex<WarmOnes>,
}

#[derive(Default)]
struct WarmOnes {
    ready: VecDeque<Warm>,
    /// Being opened.
    coming: usize,
}

impl Pool {
    /// Keeps up to `wanted` servers ready, and lets there be `most` at once.
    pub(super) fn new(name: Arc<str>, connect: Arc<dyn Connect>, wanted: usize, most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(most));
        Self { name, connect, wanted, most, slots, warm: Mutex::default() }
    }

    /// Servers running, whoever uses them.
    pub(super) fn running(&self) -> usize {
        self.most - self.slots.available_permits()
    }

    /// Whether another one has to wait until one of those is gone.
    pub(super) fn is_full(&self) -> bool {
        self.slots.available_permits() == 0 && self.warm.lock().ready.is_empty()
    }

    /// A server nobody has spoken to yet.
    ///
    /// # Errors
    /// [`Failure::TableFull`], [`Failure::NotStarted`].
    pub(super) async fn take(&self) -> Result<Channel, Failure> {
        if let Some(warm) = self.take_warm() {
            return Ok(warm.channel);
        }
        let slot = timeout(ROOM_PATIENCE, Arc::clone(&self.slots).acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(TableFull { limit: self.most }.into()) };
        self.open(slot).await
    }

    fn take_warm(&self) -> Option<Warm> {
        let here = thread::current().id();
        let mut warm = self.warm.lock();
        warm.ready.retain(|warm| !is_gone(&warm.channel));
        let place = warm.ready.iter().position(|warm| warm.home == here).unwrap_or(0);
        warm.ready.remove(place)
    }

    /// A new server. `slot` is the right to run it, given back when it is gone.
    async fn open(&self, slot: OwnedSemaphorePermit) -> Result<Channel, Failure> {
        let opened = self.connect.open().await;
        let mut channel = opened
            .map_err(|error| Failure::NotStarted { backend: self.name.to_string(), reason: error.reason })?;
        channel.guard.hold(Box::new(slot));
        Ok(channel)
    }

    /// Starts one more if fewer are ready than wanted. False where there is nothing to do, or it failed.
    pub(super) async fn refill(&self) -> bool {
        let slot = {
            let mut warm = self.warm.lock();
            warm.ready.retain(|warm| !is_gone(&warm.channel));
            if warm.ready.len() + warm.coming >= self.wanted {
                return false;
            }
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return false };
            warm.coming += 1;
            slot
        };
        let coming = Coming(&self.warm);
        let opened = self.open(slot).await;
        drop(coming);
        match opened {
            Ok(channel) => {
                let home = thread::current().id();
                self.warm.lock().ready.push_back(Warm { channel, home });
                true
            }
            Err(failure) => {
                tracing::warn!(backend = %self.name, error = %failure, "no server could be made ready");
                false
            }
        }
    }

    /// Ends the ones that are ready.
    pub(super) fn clear(&self) {
        let ready = std::mem::take(&mut self.warm.lock().ready);
        drop(ready);
    }
}

/// Counts down however the opening ends.
struct Coming<'a>(&'a Mutex<WarmOnes>);

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.lock().coming -= 1;
    }
}

/// It ended while nobody looked.
fn is_gone(channel: &Channel) -> bool {
    channel.incoming.is_closed() || channel.outgoing.is_closed()
}
