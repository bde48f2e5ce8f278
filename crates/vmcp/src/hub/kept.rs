//! What becomes of clients' sessions beyond this process: kept in the store, taken up from it, ended in it.
//!
//! The record's epoch counts how often it was written: who writes says which one it has read, so that of two replicas
//! that each begin a backend's session neither forgets the other's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proxy::Failure;
use proxy::session::store::tell_of_use;
use proxy::session::{
    Change, Claims, Kept, PartTokens, Pin, Remembered, Session, SessionRecord, StoreUnavailable, Write,
};

use super::ask::Speaker;
use super::session::{Held, Opened};
use super::{Hub, SWEEP_EVERY};

/// A replica that writes at the same time is waited for so often.
const MOST_TRIES: usize = 16;
/// For a backend to hear that a session is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Yes,
    /// Another replica had written it; what that said is known now.
    NotOverNewer,
    /// The store is away, or the session has ended.
    NotNow,
}

/// Where a session is pinned to that has no instance.
pub(super) fn nowhere() -> Pin {
    Pin { address: ([0, 0, 0, 0], 0).into(), identity: 0 }
}

impl Hub {
    /// Writes a session that has just begun.
    pub(super) async fn keep_first(&self, claims: Claims, remembered: Remembered) {
        let id = claims.id;
        let record = SessionRecord { claims, remembered, parts: PartTokens::new() };
        if let Err(error) = self.config.store.put(record, Write::Keep).await {
            self.unsaved(id, &error);
        }
    }

    /// Writes a session that has changed, together with what others have written meanwhile.
    pub(super) async fn keep(&self, session: &Session<Held>) {
        let _keeping = session.backend.keeping.lock().await;
        for _ in 0..MOST_TRIES {
            if self.write(session, session.backend.parts()).await != Written::NotOverNewer {
                return;
            }
        }
        tracing::warn!(session.id = %session.id, "others keep writing the session's record");
    }

    /// Writes that a backend's session has begun. Where another replica was faster, its one is what counts.
    pub(super) async fn keep_opened(&self, session: &Session<Held>, name: &str, opened: Opened) -> Opened {
        let _keeping = session.backend.keeping.lock().await;
        for _ in 0..MOST_TRIES {
            let mut parts = session.backend.parts();
            parts.insert(name.to_owned(), opened.text());
            if self.write(session, parts).await != Written::NotOverNewer {
                return opened;
            }
            if let Some(winner) = session.backend.opened(name) {
                self.farewell(session, name, opened);
                return (*winner).clone();
            }
        }
        tracing::warn!(session.id = %session.id, "others keep writing the session's record");
        opened
    }

    async fn write(&self, session: &Session<Held>, parts: PartTokens) -> Written {
        let epoch = session.backend.epoch.load(Ordering::Relaxed) + 1;
        match self.config.store.put(self.record(session, epoch, parts), Write::Move).await {
            Ok(true) => {
                session.backend.epoch.store(epoch, Ordering::Relaxed);
                return Written::Yes;
            }
            Ok(false) => {}
            Err(error) => {
                self.unsaved(session.id, &error);
                return Written::NotNow;
            }
        }
        match self.config.store.get(session.id).await {
            Ok(Some(Kept::Lives(record))) => {
                self.learn(session, &record);
                Written::NotOverNewer
            }
            Ok(Some(Kept::Ended)) => {
                self.table.end(session.id);
                Written::NotNow
            }
            // It was forgotten between the two.
            Ok(None) => Written::NotOverNewer,
            Err(error) => {
                self.unsaved(session.id, &error);
                Written::NotNow
            }
        }
    }

    fn unsaved(&self, id: uuid::Uuid, error: &StoreUnavailable) {
        tracing::warn!(%error, session.id = %id, "session is known to this process only");
        self.unsaved.lock().insert(id);
    }

    fn record(&self, session: &Session<Held>, epoch: u32, parts: PartTokens) -> SessionRecord {
        let claims = Claims {
            id: session.id,
            route: self.table.route(),
            principal: session.principal,
            pin: nowhere(),
            epoch,
            issued: session.issued,
            backend_session: Vec::new(),
        };
        let remembered = session.backend.remembered.lock().clone();
        SessionRecord { claims, remembered, parts }
    }

    /// A backend's session that another replica has begun for the same client.
    pub(super) async fn opened_elsewhere(&self, session: &Session<Held>, name: &str) -> Option<Opened> {
        if !self.config.store.is_shared() {
            return None;
        }
        let Ok(Some(Kept::Lives(record))) = self.config.store.get(session.id).await else { return None };
        let text = record.parts.get(name).filter(|text| !session.backend.has_lost(name, text))?;
        Opened::read(text)
    }

    /// Goes on with a session that another process began, or this one before it was started again.
    ///
    /// # Errors
    /// [`Failure::UnknownSession`] where nothing is known of it; [`Failure::Unreachable`] where the store is away.
    pub(super) async fn take_up(&self, claims: &Claims) -> Result<Arc<Session<Held>>, Failure> {
        let record = match self.config.store.get(claims.id).await {
            Ok(Some(Kept::Lives(record))) => record,
            Ok(Some(Kept::Ended) | None) => return Err(Failure::UnknownSession),
            Err(error) => {
                return Err(Failure::Unreachable {
                    backend: self.config.name.clone(),
                    instance: "the session store".to_owned(),
                    reason: error.reason,
                });
            }
        };
        // The record is sealed for this session; who may use it is said by the token that was opened.
        if record.claims.principal != claims.principal || record.claims.route != claims.route {
            return Err(Failure::UnknownSession);
        }
        for evicted in self.table.make_room(claims.principal)? {
            self.forget(&evicted).await;
        }
        let held = Held::new(record.remembered.clone(), &record.parts, record.claims.epoch);
        Ok(self.table.adopt(claims, held))
    }

    /// A session that the table has ended: the store and the backends hear of it.
    pub(super) async fn forget(&self, session: &Session<Held>) {
        session.backend.close_stream();
        session.backend.give_up_all();
        if let Err(error) = self.config.store.end(session.id).await {
            tracing::warn!(%error, session.id = %session.id, "the store does not know that the session has ended");
        }
        for (name, opened) in session.backend.all_opened() {
            self.farewell(session, &name, (*opened).clone());
        }
    }

    /// Tells a backend that its session is over.
    fn farewell(&self, session: &Session<Held>, name: &str, opened: Opened) {
        let Some(member) = self.member(name).filter(|_| opened.token.is_some()) else { return };
        let (path, principal) = (self.config.path.clone(), session.principal);
        self.tasks.spawn("farewell", async move {
            let (session, version) = (opened.token.as_ref(), Some(&opened.version));
            Speaker { member: &member, path: &path, principal, session, version }.end(FAREWELL).await;
        });
    }

    /// Another replica has written or ended a session that may be served here too.
    pub(super) async fn changed_elsewhere(&self, change: Change) {
        match change {
            Change::Ended(id) => {
                if let Some(session) = self.table.end(id) {
                    session.backend.close_stream();
                    session.backend.give_up_all();
                }
            }
            Change::Behind(id) => {
                self.unsaved.lock().insert(id);
            }
            Change::Moved(id, epoch) => {
                let Some(session) = self.table.get(id) else { return };
                if epoch <= session.backend.epoch.load(Ordering::Relaxed) {
                    return;
                }
                let _keeping = session.backend.keeping.lock().await;
                if let Ok(Some(Kept::Lives(record))) = self.config.store.get(id).await {
                    session.backend.remembered.lock().clone_from(&record.remembered);
                    self.learn(&session, &record);
                }
            }
        }
    }

    /// What another replica has written.
    fn learn(&self, session: &Session<Held>, record: &SessionRecord) {
        session.backend.epoch.store(record.claims.epoch, Ordering::Relaxed);
        for (name, replaced) in session.backend.join(&record.parts) {
            self.farewell(session, &name, (*replaced).clone());
        }
    }

    /// What was missed of that.
    pub(super) async fn hear_what_was_missed(&self) {
        if !self.config.store.is_shared() {
            return;
        }
        let known =
            |session: &Arc<Session<Held>>| (session.id, session.backend.epoch.load(Ordering::Relaxed));
        for known in self.table.all().iter().map(known).collect::<Vec<_>>().chunks(1000) {
            let Ok(changes) = self.config.store.changed(known.to_vec()).await else { return };
            for change in changes {
                self.changed_elsewhere(change).await;
            }
        }
    }

    /// Tells the store which sessions are in use, and what it could not be told before.
    pub(super) async fn tell_store_of_use(&self) {
        let mut unsaved = std::mem::take(&mut *self.unsaved.lock());
        // Lost by the store, not by us.
        let used = self.table.used_within(SWEEP_EVERY * 2);
        unsaved.extend(tell_of_use(&*self.config.store, &used).await);
        for session in unsaved.into_iter().filter_map(|id| self.table.get(id)) {
            self.keep(&session).await;
        }
    }
}
