//! What is kept about a session beyond its token, and the trait of the places that keep it.
//!
//! Written when it changes; read where a session that began elsewhere has to be rebuilt: never on the path of an ordinary
//! request.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::PrincipalDigest;

use papaya::HashMap;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::keys::KeyRing;
use super::token::{self, Claims, RouteId};
use crate::recovery::remembered::Remembered;

/// All that a replica needs to serve, and later to rebuild, a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    pub claims: Claims,
    /// What another instance has to be told.
    pub remembered: Remembered,
    /// The tokens of the sessions it consists of, by the names of their backends, where there are several behind it.
    pub parts: PartTokens,
}

/// See [`SessionRecord::parts`].
pub type PartTokens = BTreeMap<String, String>;

/// What a sealed record says, as it is written.
#[derive(Deserialize, Serialize)]
struct Sealed {
    route: u64,
    principal: [u8; 16],
    address: SocketAddr,
    identity: u64,
    epoch: u32,
    issued: u64,
    backend_session: Vec<u8>,
    remembered: Remembered,
    #[serde(default, skip_serializing_if = "PartTokens::is_empty")]
    parts: PartTokens,
}

/// The first byte of a sealed record: another one was written by a later skep.
const FORMAT: u8 = 1;
const CONTEXT: &[u8] = b"record-v1";

impl SessionRecord {
    /// The record as only these keys open it.
    ///
    /// # Panics
    /// Never: a record is plain data.
    #[must_use]
    pub fn seal(&self, keys: &KeyRing) -> Bytes {
        let Claims { id: _, route, principal, pin, epoch, issued, backend_session } = &self.claims;
        let sealed = Sealed {
            route: route.number(),
            principal: *principal.as_bytes(),
            address: pin.address,
            identity: pin.identity,
            epoch: *epoch,
            issued: *issued,
            backend_session: backend_session.clone(),
            remembered: self.remembered.clone(),
            parts: self.parts.clone(),
        };
        let mut plain = self.claims.id.as_bytes().to_vec();
        serde_json::to_writer(&mut plain, &sealed).expect("a record is plain data");
        let mut out = vec![FORMAT];
        out.extend_from_slice(&keys.seal(CONTEXT, &plain));
        out.into()
    }

    /// Opens the record of a session; `None` for whatever these keys did not seal for it, or a later skep did.
    #[must_use]
    pub fn open(keys: &KeyRing, id: Uuid, sealed: &[u8]) -> Option<Self> {
        let mut sealed = sealed.strip_prefix(&[FORMAT])?.to_vec();
        let plain = keys.open(CONTEXT, &mut sealed)?;
        let sealed: Sealed = serde_json::from_slice(plain.strip_prefix(id.as_bytes())?).ok()?;
        let claims = Claims {
            id,
            route: RouteId::from_number(sealed.route),
            principal: PrincipalDigest::new(sealed.principal),
            pin: token::Pin { address: sealed.address, identity: sealed.identity },
            epoch: sealed.epoch,
            issued: sealed.issued,
            backend_session: sealed.backend_session,
        };
        Some(Self { claims, remembered: sealed.remembered, parts: sealed.parts })
    }
}

/// A store could not be asked. Sessions that a replica already serves go on without it.
#[derive(Debug, thiserror::Error)]
#[error("session store is not available: {reason}")]
pub struct StoreUnavailable {
    pub reason: String,
}

/// Sessions that a store is told of at once.
pub(crate) const AT_ONCE: usize = 1000;

/// The future of a store operation.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreUnavailable>> + Send + 'a>>;

/// Where session records are kept. Implementations are shared by all workers of a process.
pub trait SessionStore: Send + Sync + std::fmt::Debug {
    /// Writes the record of `record.claims.id`; false where `write` does not allow it.
    fn put(&self, record: SessionRecord, write: Write) -> StoreFuture<'_, bool>;
    /// Whether other processes write to it too.
    fn is_shared(&self) -> bool;
    /// What is known of a session; `None`: nothing, or not any more.
    fn get(&self, id: Uuid) -> StoreFuture<'_, Option<Kept>>;
    /// The session has ended, and is not to be revived by anyone.
    fn end(&self, id: Uuid) -> StoreFuture<'_, ()>;
    /// The right to rebuild a session, for `hold` at most; false while another replica has it.
    fn claim(&self, id: Uuid, hold: Duration) -> StoreFuture<'_, bool>;
    /// What other processes do to sessions from now on, as far as it is heard: [`SessionStore::changed`] tells what was
    /// missed. To be called in a runtime; `None` where there are no others.
    fn changes(&self) -> Option<mpsc::Receiver<Change>> {
        None
    }
    /// What other processes have done to sessions that this one knows under these epochs.
    fn changed(&self, known: Vec<(Uuid, u32)>) -> StoreFuture<'_, Vec<Change>> {
        drop(known);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// These sessions are in use: they are not to be forgotten yet.
    /// Gives those that nothing is known of.
    fn touch(&self, ids: Vec<Uuid>) -> StoreFuture<'_, Vec<Uuid>>;
}

/// Tells a store which sessions are in use, so many at a time, until it is away. Gives those that it has lost.
pub async fn tell_of_use(store: &dyn SessionStore, used: &[Uuid]) -> Vec<Uuid> {
    let mut lost = Vec::new();
    for ids in used.chunks(AT_ONCE) {
        match store.touch(ids.to_vec()).await {
            Ok(missing) => lost.extend(missing),
            Err(error) => {
                tracing::debug!(%error, "not told which sessions are in use");
                break;
            }
        }
    }
    lost
}

/// What another process did to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It lives elsewhere, under this epoch.
    Moved(Uuid, u32),
    Ended(Uuid),
    /// The store knows an earlier place: it has lost the later one, and a process that had not heard of that wrote its own
    /// again.
    Behind(Uuid),
}

/// What a store knows of a session.
#[derive(Clone, Debug)]
pub enum Kept {
    Lives(Arc<SessionRecord>),
    Ended,
}

/// When a record may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The session lives where it did, or has just begun: over nothing newer.
    Keep,
    /// The session has moved: over an earlier epoch only.
    Move,
}

/// Records in this process's memory: gone with it, and never in the way.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: HashMap<Uuid, Arc<SessionRecord>>,
}

impl SessionStore for MemoryStore {
    fn put(&self, record: SessionRecord, _: Write) -> StoreFuture<'_, bool> {
        // No other process: what is written is as new as it gets.
        self.records.pin().insert(record.claims.id, Arc::new(record));
        Box::pin(std::future::ready(Ok(true)))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn get(&self, id: Uuid) -> StoreFuture<'_, Option<Kept>> {
        let found = self.records.pin().get(&id).cloned().map(Kept::Lives);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn end(&self, id: Uuid) -> StoreFuture<'_, ()> {
        // The table knows which have ended.
        self.records.pin().remove(&id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn claim(&self, _: Uuid, _: Duration) -> StoreFuture<'_, bool> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn touch(&self, _: Vec<Uuid>) -> StoreFuture<'_, Vec<Uuid>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
