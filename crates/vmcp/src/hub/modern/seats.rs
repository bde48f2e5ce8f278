//! Sessions that the hub keeps with backends for clients that have none.
//!
//! They are of one principal, one backend and what a client says about itself, so that a backend asks for nothing that its
//! client cannot do. Where a client can be asked something, a call has its session for itself: a backend need not say which
//! of two calls a question belongs to. They are sessions as those of clients are: counted, ended when idle, told of when
//! they end; but no token leads to them, and no store knows them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use model::PrincipalDigest;
use parking_lot::Mutex;
use proxy::Failure;
use proxy::session::table::InUse;
use proxy::session::{Remembered, Session};
use uuid::Uuid;

use super::super::kept::nowhere;
use super::super::session::Held;
use super::super::{Hub, Member};
use super::asked::Asked;
use super::envelope::Introduction;
use super::questions::can_be_asked;

/// Who may be in a session together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    principal: PrincipalDigest,
    backend: Arc<str>,
    handshake: Bytes,
}

/// Those that are to be had.
#[derive(Debug, Default)]
pub(in crate::hub) struct Seats {
    free: Mutex<HashMap<Key, Free>>,
}

/// In the order in which they began.
type Free = BTreeMap<u64, Arc<Session<Held>>>;

impl Seats {
    /// A session has ended.
    pub(in crate::hub) fn forget(&self, id: Uuid) {
        self.free.lock().retain(|_, sessions| {
            sessions.retain(|_, session| session.id != id);
            !sessions.is_empty()
        });
    }
}

/// A place in a session.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    pub(super) session: Arc<Session<Held>>,
    after: After,
    _in_use: InUse<Held>,
}

impl Seat {
    /// Whether what a backend says in the session is for who has this place, as nobody else has one.
    pub(super) fn is_alone(&self) -> bool {
        match self.after {
            After::Returns(..) | After::Ends => true,
            After::Stays => false,
        }
    }
}

/// What becomes of it when it is left.
#[derive(Debug)]
enum After {
    /// Others are in it.
    Stays,
    /// The next one may have it.
    Returns(Key, u64),
    Ends,
}

impl Drop for Seat {
    fn drop(&mut self) {
        match &self.after {
            After::Stays => {}
            After::Returns(key, place) => {
                if self.hub.table.is_open(self.session.id) {
                    let mut free = self.hub.seats.free.lock();
                    free.entry(key.clone()).or_default().insert(*place, Arc::clone(&self.session));
                }
            }
            After::Ends => {
                let (hub, id) = (Arc::clone(&self.hub), self.session.id);
                self.hub.tasks.spawn("end a session", async move {
                    hub.end(id).await;
                });
            }
        }
    }
}

impl Hub {
    /// A place in a session with a backend, which begins when it is needed.
    ///
    /// # Errors
    /// There are too many sessions.
    pub(super) async fn seat(self: &Arc<Self>, asked: &Asked, member: &Member) -> Result<Seat, Failure> {
        let (principal, backend) = (asked.principal, Arc::clone(&member.name));
        let key = Key { principal, backend, handshake: Introduction::handshake(&asked.message) };
        let alone = can_be_asked(asked.message.meta_capabilities().unwrap_or_default());
        let known = {
            let mut free = self.seats.free.lock();
            let sessions = free.entry(key.clone()).or_default();
            sessions.retain(|_, session| self.table.is_open(session.id));
            // The oldest: whoever asks one thing after the other is always in the same.
            match alone {
                true => sessions.pop_first(),
                false => sessions.first_key_value().map(|(place, session)| (*place, Arc::clone(session))),
            }
        };
        let (place, session) = match known {
            Some(known) => known,
            None => {
                let place = self.next_number();
                let session = self.own_session(principal, &key.handshake).await?;
                if !alone {
                    let mut free = self.seats.free.lock();
                    free.entry(key.clone()).or_default().insert(place, Arc::clone(&session));
                }
                (place, session)
            }
        };
        let after = if alone { After::Returns(key, place) } else { After::Stays };
        Ok(self.seated(session, after))
    }

    /// A session that ends when it is left.
    ///
    /// # Errors
    /// There are too many sessions.
    pub(super) async fn seat_alone(self: &Arc<Self>, asked: &Asked) -> Result<Seat, Failure> {
        let session = self.own_session(asked.principal, &Introduction::handshake(&asked.message)).await?;
        Ok(self.seated(session, After::Ends))
    }

    fn seated(self: &Arc<Self>, session: Arc<Session<Held>>, after: After) -> Seat {
        let in_use = self.table.enter(&session);
        Seat { hub: Arc::clone(self), session, after, _in_use: in_use }
    }

    async fn own_session(
        &self,
        principal: PrincipalDigest,
        handshake: &Bytes,
    ) -> Result<Arc<Session<Held>>, Failure> {
        let held = Held::of_hub(Remembered::new(handshake.clone(), None));
        let begun = self.table.begin(principal, nowhere(), b"", held)?;
        for evicted in &begun.evicted {
            self.forget(evicted).await;
        }
        Ok(begun.session)
    }
}
