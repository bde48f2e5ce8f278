//! What becomes of sessions beyond their servers and this process: kept in the store, taken up from it, their servers let
//! go while nobody uses them.

use std::sync::Arc;
use std::time::Duration;

use mcp::Message;
use parking_lot::Mutex;
use uuid::Uuid;

use super::child::{Child, Takes};
use super::mux::{ClientKey, Sharing};
use super::pool::Pool;
use super::streamable::format_for;
use super::{Bridge, Front, Mode, SWEEP_EVERY, Served, nowhere};
use crate::failure::Failure;
use crate::forward::OnLoss;
use crate::recovery::remembered::{Agreed, Remembered};
use crate::session::store::tell_of_use;
use crate::session::view::{SessionDetail, SessionView};
use crate::session::{Claims, Kept, PartTokens, Session, SessionRecord, SessionStore, Table, Write};

/// A server of a session used more recently than this is not let go to make room.
const UNUSED_AFTER: Duration = Duration::from_secs(60);

impl Served {
    /// The session of a Streamable HTTP client that began with this message.
    pub(super) fn streamable(
        child: Arc<Child>,
        client: ClientKey,
        initialize: &Message,
        agreed: Option<Arc<Agreed>>,
    ) -> Self {
        // On its own, not with the connection's whole read buffer.
        let initialize = bytes::Bytes::copy_from_slice(initialize.text());
        let remembered = Mutex::new(Some(Remembered::new(initialize, agreed)));
        Self { child, client, front: Front::Streamable, remembered, epoch: 0 }
    }

    /// The session of an HTTP+SSE client: its stream.
    pub(super) fn sse(child: Arc<Child>, client: ClientKey) -> Self {
        Self { child, client, front: Front::Sse, remembered: Mutex::default(), epoch: 0 }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.remembered.lock().is_some()
    }
}

/// Ends a session for all who share the store.
pub(super) async fn end(store: &dyn SessionStore, id: Uuid) {
    if let Err(error) = store.end(id).await {
        tracing::warn!(%error, session.id = %id, "the store does not know that the session has ended");
    }
}

impl Bridge {
    /// Keeps a session where another process finds it.
    pub(super) async fn keep(&self, session: &Session<Served>) {
        let Some(remembered) = session.backend.remembered.lock().clone() else { return };
        let claims = Claims {
            id: session.id,
            route: self.table.route(),
            principal: session.principal,
            pin: nowhere(),
            epoch: session.backend.epoch,
            issued: session.issued,
            backend_session: Vec::new(),
        };
        if let Err(error) = self
            .config
            .store
            .put(SessionRecord { claims, remembered, parts: PartTokens::new() }, Write::Keep)
            .await
        {
            tracing::warn!(%error, session.id = %session.id, "session is known to this process only");
            self.unsaved.lock().insert(session.id);
        }
    }

    /// Takes note of what the client has asked for.
    pub(super) async fn note(&self, session: &Session<Served>, message: &Message) {
        let changed = session.backend.remembered.lock().as_mut().is_some_and(|kept| kept.note(message));
        if changed {
            self.keep(session).await;
        }
    }

    /// Goes on with a session that another process began, or this one before it was started again.
    ///
    /// # Errors
    /// [`Failure::UnknownSession`] where nothing is known of it; [`Failure::Unreachable`] where the store is away.
    pub(super) async fn take_up(&self, claims: &Claims) -> Result<Arc<Session<Served>>, Failure> {
        if self.config.on_loss == OnLoss::Strict {
            return Err(Failure::UnknownSession);
        }
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
        self.make_room(claims.principal).await?;
        let epoch = record.claims.epoch + 1;
        let remembered = record.remembered.clone();
        let child = match self.config.mode {
            Mode::PerSession { .. } => {
                let child = self.start(None, Sharing::Own);
                child.take_up(remembered.clone(), epoch);
                child
            }
            Mode::Shared => Arc::clone(&self.shared_ready().await?.child),
        };
        let client = child.add_client(format_for(remembered.version()));
        let served = Served {
            child: Arc::clone(&child),
            client,
            front: Front::Streamable,
            remembered: Mutex::new(Some(remembered.clone())),
            epoch,
        };
        let session = self.table.adopt(&record.claims, served);
        if session.backend.client != client {
            // Another request was faster.
            child.remove_client(client, "the session was taken up twice");
            return Ok(session);
        }
        if !child.name_session(client, session.id) {
            self.table.end(session.id);
            return Err(Failure::UnknownSession);
        }
        child.timeline().add("taken_up", "from the store");
        self.keep(&session).await;
        if self.config.mode == Mode::Shared {
            self.ask_again(&child, client, &remembered).await;
        }
        Ok(session)
    }

    /// Tells a shared server what one of its clients had asked for.
    async fn ask_again(&self, child: &Child, client: ClientKey, remembered: &Remembered) {
        for request in remembered.requests().filter_map(|text| Message::parse(text).ok()) {
            let takes = Takes::Post { events: false };
            // What is refused now is the server's to refuse.
            let _ = self.submit_in_time(child, Some(client), takes, &request).await;
        }
    }

    /// What is served now.
    #[must_use]
    pub fn list(&self) -> Vec<SessionView> {
        self.table.all().iter().map(|session| self.view(session)).collect()
    }

    fn view(&self, session: &Session<Served>) -> SessionView {
        let Served { child, epoch, .. } = &session.backend;
        let place = match (child.is_awake(), child.process()) {
            (true, Some(process)) => format!("process {process}"),
            (true, None) => self.config.target.clone(),
            (false, _) => "asleep".to_owned(),
        };
        self.table.view(session, place, child.generation().max(*epoch))
    }

    /// All that is known of a session that is served here.
    #[must_use]
    pub fn show(&self, id: Uuid) -> Option<SessionDetail> {
        let session = self.table.get(id)?;
        let remembered =
            session.backend.remembered.lock().clone().or_else(|| session.backend.child.remembered());
        let timeline = session.backend.child.timeline().entries();
        Some(SessionDetail::new(self.view(&session), remembered.as_ref(), timeline))
    }

    /// Ends a session; false where it is not served here.
    pub async fn end(&self, id: Uuid) -> bool {
        let Some(session) = self.table.end(id) else { return false };
        self.forget(&session, "it was ended by hand").await;
        true
    }

    /// Tells the store which sessions are in use, and what it could not be told before.
    pub(super) async fn tell_store_of_use(&self) {
        let mut unsaved = std::mem::take(&mut *self.unsaved.lock());
        let used = self.table.used_within(SWEEP_EVERY * 2);
        // Lost by the store, not by us.
        unsaved.extend(tell_of_use(&*self.config.store, &used).await);
        for session in unsaved.into_iter().filter_map(|id| self.table.get(id)) {
            self.keep(&session).await;
        }
    }

    /// Lets servers go that nobody has used for long, or for a while where memory is short.
    pub(super) fn let_go_of_unused(&self) {
        if self.config.on_loss == OnLoss::Strict || self.config.mode == Mode::Shared {
            return;
        }
        if let Some(after) = self.config.sleep_after {
            for session in self.table.idle(after) {
                session.backend.child.sleep();
            }
        }
        let Some(budget) = self.config.memory else { return };
        let each = (budget.measure)();
        let of = |session: &Session<Served>| {
            session.backend.child.process().and_then(|process| each.get(&process)).copied().unwrap_or(0)
        };
        let mut used: u64 = self.table.all().iter().map(|session| of(session)).sum();
        if used <= budget.bytes {
            return;
        }
        for session in self.table.idle(UNUSED_AFTER) {
            let its_own = of(&session);
            if used > budget.bytes && session.backend.child.sleep() {
                used = used.saturating_sub(its_own);
            }
        }
    }
}

/// Where as many servers run as may, the one that was not used for longest is let go.
pub(super) fn let_go_for_another(pool: &Pool, table: &Table<Served>) {
    if pool.is_full() {
        let unused = table.idle(UNUSED_AFTER);
        unused.iter().find(|session| session.backend.child.sleep());
    }
}
