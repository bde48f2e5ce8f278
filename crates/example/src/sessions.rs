//! All legacy sessions of the Streamable HTTP endpoint: bounded, and forgotten when idle.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::session::{Session, SessionId};

/// Ids are random, so any of their bits spread them.
const SHARDS: usize = 16;

/// There is no room for another session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
pub(crate) struct Sessions {
    shards: [RwLock<HashMap<SessionId, Arc<Session>>>; SHARDS],
    count: AtomicUsize,
    begun: AtomicUsize,
    limit: usize,
}

impl Sessions {
    pub(crate) fn new(limit: usize) -> Self {
        Self { shards: Default::default(), count: AtomicUsize::new(0), begun: AtomicUsize::new(0), limit }
    }

    fn shard(&self, id: SessionId) -> &RwLock<HashMap<SessionId, Arc<Session>>> {
        &self.shards[id.0 as usize % SHARDS]
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.shard(id).read().get(&id).cloned()
    }

    /// # Errors
    /// [`Full`].
    pub(crate) fn insert(&self, session: Arc<Session>) -> Result<(), Full> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.shard(session.id).write().insert(session.id, session);
        Ok(())
    }

    /// How many there have been, ended ones included.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Ends a session; false where there is none.
    pub(crate) fn end(&self, id: SessionId) -> bool {
        let Some(session) = self.shard(id).write().remove(&id) else { return false };
        self.count.fetch_sub(1, Ordering::Relaxed);
        session.end();
        true
    }

    /// Ends those that nobody used since `earlier`, see [`Session::is_idle_since`].
    pub(crate) fn end_idle(&self, earlier: u64) {
        self.end_those(|session| session.is_idle_since(earlier));
    }

    pub(crate) fn end_all(&self) {
        self.end_those(|_| true);
    }

    fn end_those(&self, is_over: impl Fn(&Session) -> bool) {
        for shard in &self.shards {
            let over: Vec<_> = shard.write().extract_if(|_, session| is_over(session)).collect();
            self.count.fetch_sub(over.len(), Ordering::Relaxed);
            for (_, session) in over {
                session.end();
            }
        }
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Session)) {
        for shard in &self.shards {
            shard.read().values().for_each(|session| visit(session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Negotiated;
    use bytes::Bytes;
    use mcp::Revision;
    use tokio_util::sync::CancellationToken;

    fn session() -> Arc<Session> {
        let negotiated = Negotiated { revision: Revision::V2025_11_25, capabilities: Bytes::new() };
        Session::new(negotiated, CancellationToken::new())
    }

    #[test]
    fn there_is_room_for_so_many_and_an_end_makes_room() {
        let sessions = Sessions::new(2);
        let (first, second) = (session(), session());
        for session in [&first, &second] {
            sessions.insert(Arc::clone(session)).unwrap();
        }
        assert_eq!(sessions.insert(session()), Err(Full));
        assert!(sessions.end(first.id) && first.over.is_cancelled());
        assert!(!sessions.end(first.id) && sessions.get(first.id).is_none());
        sessions.insert(session()).unwrap();
    }

    #[test]
    fn only_idle_sessions_are_forgotten() {
        let sessions = Sessions::new(9);
        let [idle, used, listening, busy] = [session(), session(), session(), session()];
        used.use_at(10);
        let _reader = listening.standalone.attach(None);
        let _running = busy.in_flight.begin(Bytes::from_static(b"1"), CancellationToken::new()).unwrap();
        for session in [&idle, &used, &listening, &busy] {
            sessions.insert(Arc::clone(session)).unwrap();
        }
        sessions.end_idle(10);
        let there = |session: &Session| sessions.get(session.id).is_some();
        assert_eq!([there(&idle), there(&used), there(&listening), there(&busy)], [false, true, true, true]);
    }
}
