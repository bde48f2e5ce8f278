//! Servers at the other end of HTTP, as channels: skep in the role of an MCP client.
//!
//! [`RemoteHttp`] speaks Streamable HTTP in both eras, [`RemoteSse`] the HTTP+SSE transport of 2024-11-05. Messages
//! pass as they are; what HTTP adds (session id, version and routing headers, streams that are taken up again, errors
//! by status) stays on this side of the channel.
//!
//! INVARIANT: every request that was taken is answered once, by the server or with an error made here, before
//! `incoming` ends; unless the owner dropped the channel, who then wants no answer.
//!
//! Deliberately absent: choosing a protocol revision and answering the server's requests. Those are the owner's.

mod answer;
mod call;
#[cfg(test)]
pub(crate) mod fake;
mod inbox;
mod link;
mod listen;
mod origin;
mod pending;
mod relearn;
mod sse;
mod streamable;
mod tools;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use telemetry::Tasks;
use tokio::sync::mpsc;

use crate::channel::{CHANNEL_DEPTH, Channel, Connect, ConnectError, Undelivered};
use crate::forward::Patience;
use crate::instance::Instances;
use crate::upstream::Pool;
use inbox::{Inbox, Over, RemoteGuard};
use link::Link;
use origin::Origin;
pub use sse::RemoteSse;

/// Messages and events from a server may be this long.
pub const DEFAULT_MAX_MESSAGE: usize = 128 * 1024 * 1024;

/// How to speak to a remote server.
#[derive(Clone)]
pub struct RemoteConfig {
    /// What errors call it: the workload's name or the URL.
    pub name: String,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// How long the head of an answer may take.
    pub patience: Patience,
    /// Longer messages from the server are errors. In bytes.
    pub max_message: usize,
    /// Whether requests under way are answered with an error when the server is lost; false where the owner of the
    /// channel knows of them and does better.
    pub answers_lost: bool,
}

impl RemoteConfig {
    /// The defaults for a server of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("skep"));
        Self {
            name: name.into(),
            headers,
            patience: Patience::default(),
            max_message: DEFAULT_MAX_MESSAGE,
            answers_lost: true,
        }
    }
}

impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: values are credentials.
        let headers: Vec<_> = self.headers.keys().map(HeaderName::as_str).collect();
        f.debug_struct("RemoteConfig")
            .field("name", &self.name)
            .field("headers", &headers)
            .field("patience", &self.patience)
            .field("max_message", &self.max_message)
            .field("answers_lost", &self.answers_lost)
            .finish()
    }
}

/// Where a remote server's channels come from: shared by both transports.
#[derive(Clone, Debug)]
struct Remote {
    config: Arc<RemoteConfig>,
    instances: Arc<Instances>,
    pool: Arc<Pool>,
    tasks: Tasks,
}

impl Remote {
    fn origin(&self) -> Result<Origin, ConnectError> {
        let name = &self.config.name;
        Origin::choose(name, &self.instances, &self.pool)
            .ok_or_else(|| ConnectError { reason: format!("{name} has no address") })
    }
}

/// The ends of a new channel: the owner's, and those of the task behind it.
fn ends() -> (Channel, Inbox, mpsc::Receiver<bytes::Bytes>) {
    let over = Arc::new(Over::default());
    let (outgoing, taken) = mpsc::channel(CHANNEL_DEPTH);
    let (passed, incoming) = mpsc::channel(CHANNEL_DEPTH);
    let guard = Box::new(RemoteGuard::new(Arc::clone(&over)));
    (
        Channel { outgoing, incoming, guard, process: None, undelivered: Undelivered::default() },
        Inbox::new(passed, over),
        taken,
    )
}

/// A Streamable HTTP server. Each channel is a client of its own: its session, its streams.
///
/// Closing `outgoing` alone lets the requests under way end, and only then `incoming`.
#[derive(Clone, Debug)]
pub struct RemoteHttp {
    remote: Remote,
}

impl RemoteHttp {
    /// The server at these instances. `instances` is kept current by whoever resolves its name; channels use
    /// connections of `pool` and run as tasks of `tasks`, which therefore also waits for goodbyes.
    #[must_use]
    pub fn new(config: RemoteConfig, instances: Arc<Instances>, pool: Arc<Pool>, tasks: Tasks) -> Self {
        Self { remote: Remote { config: Arc::new(config), instances, pool, tasks } }
    }

    fn connect(&self) -> Result<Channel, ConnectError> {
        let (channel, inbox, outgoing) = ends();
        let link = Link::new(Arc::clone(&self.remote.config), self.remote.origin()?, inbox);
        self.remote.tasks.spawn("remote server", streamable::drive(Arc::new(link), outgoing));
        Ok(channel)
    }
}

impl Connect for RemoteHttp {
    /// Opens a channel. Nothing is sent before the first message is, so a server that is away shows in the answer to it.
    fn open(&self) -> Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send + '_>> {
        Box::pin(std::future::ready(self.connect()))
    }
}
