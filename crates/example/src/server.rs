//! Everything that is shared by all clients of one server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::ExampleConfig;
use crate::notes::Notes;
use crate::notices::Change;
use crate::seal::Seal;
use crate::sessions::Sessions;
use crate::tasks::Tasks;
use crate::tools::Catalog;

/// Changes that a slow listener may be behind; beyond, it is told that everything changed.
const CHANGES: usize = 256;
/// Counters that clients may name.
const MAX_COUNTERS: usize = 4096;

#[derive(Debug)]
pub(crate) struct Server {
    /// See [`ExampleConfig::instance`].
    pub(crate) instance: String,
    pub(crate) config: ExampleConfig,
    pub(crate) sessions: Sessions,
    pub(crate) catalog: Catalog,
    pub(crate) notes: Notes,
    pub(crate) tasks: Tasks,
    pub(crate) seal: Seal,
    /// Fires when the server is to stop.
    pub(crate) stopping: CancellationToken,
    /// Whether the tool that comes and goes is there, and likewise the prompt.
    pub(crate) extra_tool: AtomicBool,
    pub(crate) extra_prompt: AtomicBool,
    changes: broadcast::Sender<Change>,
    counters: Mutex<HashMap<String, i64>>,
    started: Instant,
}

impl Server {
    pub(crate) fn new(config: ExampleConfig, stopping: CancellationToken) -> Arc<Self> {
        let instance =
            config.instance.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string()[..8].to_owned());
        Arc::new(Self {
            instance,
            sessions: Sessions::new(config.max_sessions),
            catalog: Catalog::new(config.more_tools),
            notes: Notes::default(),
            tasks: Tasks::default(),
            seal: Seal::new(config.state_key.as_ref()),
            stopping,
            extra_tool: AtomicBool::new(false),
            extra_prompt: AtomicBool::new(false),
            changes: broadcast::Sender::new(CHANGES),
            counters: Mutex::default(),
            started: Instant::now(),
            config,
        })
    }

    /// Milliseconds since the server began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Tells everybody who asked for it. A session that has no stream open is told of the resources that it subscribed
    /// to when it comes back, of lists it is not.
    pub(crate) fn announce(&self, change: &Change) {
        // Nobody listening is no error.
        let _ = self.changes.send(change.clone());
        if matches!(change, Change::Task { .. }) {
            return;
        }
        let notice = change.notice(None);
        let is_update = matches!(change, Change::Resource { .. });
        self.sessions.for_each(|session| {
            if (is_update || session.standalone.is_attached()) && session.wants(change) {
                session.standalone.offer(notice.clone());
            }
        });
    }

    /// Flips one of the switches and tells who wants to know.
    pub(crate) fn toggle(&self, switch: &AtomicBool, change: &Change) -> bool {
        let now_there = !switch.fetch_xor(true, Ordering::Relaxed);
        self.announce(change);
        now_there
    }

    /// Adds to a counter that is known by name; `None` where there are too many.
    pub(crate) fn count(&self, name: &str, by: i64) -> Option<i64> {
        let mut counters = self.counters.lock();
        if let Some(counter) = counters.get_mut(name) {
            *counter = counter.wrapping_add(by);
            return Some(*counter);
        }
        (counters.len() < MAX_COUNTERS).then(|| {
            counters.insert(name.to_owned(), by);
            by
        })
    }
}
