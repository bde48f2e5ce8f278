//! What is kept about a session beyond its token, and the trait of the places that keep it.
//!
//! Written when it changes; read where a session that began elsewhere has to be rebuilt: never on the path of an ordinary
//! request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use papaya::HashMap;
use uuid::Uuid;

use super::token::Claims;
use crate::recovery::remembered::Remembered;

/// All that a replica needs to serve, and later to rebuild, a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    pub claims: Claims,
    /// What another instance has to be told.
    pub(crate) remembered: Remembered,
}

/// A store could not be asked. Sessions that a replica already serves go on without it.
#[derive(Debug, thiserror::Error)]
#[error("session store is not available: {reason}")]
pub struct StoreUnavailable {
    pub reason: String,
}

/// The future of a store operation.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreUnavailable>> + Send + 'a>>;

/// Where session records are kept. Implementations are shared by all workers of a process.
pub trait SessionStore: Send + Sync + std::fmt::Debug {
    /// Adds or replaces the record of `record.claims.id`.
    fn put(&self, record: SessionRecord) -> StoreFuture<'_, ()>;
    /// The record of a session, `None` where it is not known (or ended).
    fn get(&self, id: Uuid) -> StoreFuture<'_, Option<Arc<SessionRecord>>>;
    /// Removes a record; removing one that is not there is no error.
    fn remove(&self, id: Uuid) -> StoreFuture<'_, ()>;
}

/// Records in this process's memory: gone with it, and never in the way.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: HashMap<Uuid, Arc<SessionRecord>>,
}

impl SessionStore for MemoryStore {
    fn put(&self, record: SessionRecord) -> StoreFuture<'_, ()> {
        self.records.pin().insert(record.claims.id, Arc::new(record));
        Box::pin(std::future::ready(Ok(())))
    }

    fn get(&self, id: Uuid) -> StoreFuture<'_, Option<Arc<SessionRecord>>> {
        let found = self.records.pin().get(&id).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn remove(&self, id: Uuid) -> StoreFuture<'_, ()> {
        self.records.pin().remove(&id);
        Box::pin(std::future::ready(Ok(())))
    }
}
