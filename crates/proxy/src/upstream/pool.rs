//! The idle connections of one worker, by instance.
//!
//! INVARIANT: a connection is in the pool only when its last answer was read to the end; whoever drops an answer half
//! way drops the connection with it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::uri::PathAndQuery;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::connection::{Connection, SendError};
use super::dial::Dial;
use super::h1::{AnswerHead, OutgoingRequest};
use super::tls::ClientTls;
use crate::failure::Failure;
use crate::instance::Instance;

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// Idle connections older than this are not used: below the 5 s after which Node closes its end.
    pub idle_timeout: Duration,
    /// Idle connections kept per instance and worker.
    pub idle_per_instance: usize,
    /// Connections to one instance at once, from all workers.
    pub connections_per_instance: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            idle_per_instance: 512,
            connections_per_instance: 16_384,
        }
    }
}

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// Nothing was sent.
    #[error("all {0} connections are in use")]
    Busy(usize),
    /// It may have been received and acted upon.
    #[error("{reason}")]
    Lost { reason: String, reused: bool },
    /// Likewise.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl UpstreamError {
    /// The same as a failure of this backend's instance.
    pub(crate) fn into_failure(self, backend: &str, instance: &Instance) -> Failure {
        let (backend, instance) = (backend.to_owned(), instance.address.to_string());
        match self {
            Self::Unreachable(reason) => Failure::Unreachable { backend, instance, reason },
            Self::Busy(_) => Failure::Busy { backend, instance },
            Self::Lost { reason, .. } => Failure::Lost { backend, instance, reason },
            Self::TimedOut(after) => Failure::TimedOut { backend, instance, seconds: after.as_secs() },
        }
    }
}

/// The idle connections of one worker.
pub struct Pool {
    idle: Mutex<HashMap<u64, VecDeque<Connection>>>,
    config: PoolConfig,
    /// `None` where no backend is encrypted.
    tls: Option<ClientTls>,
    /// `None`: by skep's own network.
    dial: Option<Arc<dyn Dial>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool. Without `tls`, `https` instances cannot be reached.
    #[must_use]
    pub fn new(config: PoolConfig, tls: Option<ClientTls>) -> Arc<Self> {
        Self::dialled(config, tls, None)
    }

    /// The same, where instances are connected to in another way than by skep's own network.
    #[must_use]
    pub fn dialled(config: PoolConfig, tls: Option<ClientTls>, dial: Option<Arc<dyn Dial>>) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::new(HashMap::new()), config, tls, dial })
    }

    /// Sends a request to exactly this instance and waits for the head of the answer, at most `patience` where given.
    ///
    /// A connection that turns out closed before anything was written is replaced by the next, without the caller
    /// noticing; nothing else is sent twice.
    ///
    /// # Errors
    /// [`UpstreamError`], whose variants say whether anything was sent.
    pub(super) async fn send(
        &self,
        instance: &Arc<Instance>,
        request: &OutgoingRequest,
        path: Option<&PathAndQuery>,
        patience: Option<Duration>,
    ) -> Result<(AnswerHead, Connection), UpstreamError> {
        loop {
            let mut connection = match self.take_idle(instance).await {
                Some(connection) => connection,
                // Rare, and large: not part of every request's future.
                None => Box::pin(self.connect(instance)).await?,
            };
            let sent = match patience {
                None => connection.send(request, path).await,
                Some(patience) => timeout(patience, connection.send(request, path))
                    .await
                    .map_err(|_| UpstreamError::TimedOut(patience))?,
            };
            match sent {
                Ok(head) => return Ok((head, connection)),
                Err(SendError::NotSent(_)) if connection.reused => {}
                Err(SendError::NotSent(error)) => return Err(UpstreamError::Unreachable(error.to_string())),
                Err(SendError::Lost(broken)) => {
                    return Err(UpstreamError::Lost {
                        reason: broken.to_string(),
                        reused: connection.reused,
                    });
                }
            }
        }
    }

    /// Puts a connection back whose answer was read to the end.
    pub(crate) fn put_back(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        connection.reused = true;
        let mut idle = self.idle.lock();
        let queue = idle.entry(connection.instance.id).or_default();
        let surplus = (queue.len() >= self.config.idle_per_instance).then(|| queue.pop_front());
        queue.push_back(connection);
        drop(idle);
        // Closing a socket is a system call: not under the lock.
        drop(surplus);
    }

    /// Closes what has been idle for too long. To be called by the worker's timer.
    pub fn sweep(&self) {
        let mut old = Vec::new();
        let mut idle = self.idle.lock();
        for queue in idle.values_mut() {
            while queue.front().is_some_and(|connection| self.is_stale(connection)) {
                old.extend(queue.pop_front());
            }
        }
        idle.retain(|_, queue| !queue.is_empty());
        drop(idle);
        drop(old);
    }

    fn is_stale(&self, connection: &Connection) -> bool {
        connection.idle_since.elapsed() >= self.config.idle_timeout
    }

    /// The connection used last: the rest may grow old and go.
    async fn take_idle(&self, instance: &Instance) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().get_mut(&instance.id)?.pop_back()?;
            if !self.is_stale(&connection) && connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self, instance: &Arc<Instance>) -> Result<Connection, UpstreamError> {
        let limit = self.config.connections_per_instance;
        if instance.connections.load(Ordering::Relaxed) >= limit {
            return Err(UpstreamError::Busy(limit));
        }
        let within = self.config.connect_timeout;
        match timeout(within, Connection::open(instance, self.tls.as_ref(), self.dial.as_deref())).await {
            Ok(connected) => connected.map_err(UpstreamError::Unreachable),
            Err(_) => Err(UpstreamError::Unreachable(format!("not connected within {within:?}"))),
        }
    }
}
