//! One request on its way through a handler: who asks, with what, and how to reach them meanwhile.

use std::sync::Arc;

use mcp::{Message, revision};
use serde::Deserialize;
use serde_json::Value;

use crate::event_log::Outbox;
use crate::notices::{self, Level};
use crate::reply::Outcome;
use crate::server::Server;
use crate::session::Session;
use crate::tasks::Task;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Legacy era.
    Session(Arc<Session>),
    /// 2026-07-28: all that is known is in the request.
    Stateless,
    /// 2026-07-28, and the request goes on as a task.
    Task(Arc<Task>),
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) server: Arc<Server>,
    pub(crate) message: Message,
    pub(crate) peer: Peer,
}

impl Call {
    pub(crate) fn is_modern(&self) -> bool {
        !matches!(self.peer, Peer::Session(_))
    }

    /// The arguments of a tool or prompt. What does not fit is the caller's mistake, and told as a tool's failure, so
    /// that a model can correct itself (2025-11-25 "Error Handling").
    ///
    /// # Errors
    /// The outcome to answer with.
    pub(crate) fn arguments<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Outcome> {
        let text = self.message.arguments().unwrap_or(b"{}");
        serde_json::from_slice(text).map_err(|error| Outcome::failure(&format!("invalid arguments: {error}")))
    }

    /// `params` as a tree; an empty object where there are none.
    pub(crate) fn params(&self) -> Value {
        let params = self.message.params().and_then(|text| serde_json::from_slice(text).ok());
        params.unwrap_or_else(|| Value::Object(serde_json::Map::new()))
    }

    /// Whether the client said that it has this capability (its first level, for instance `elicitation`).
    pub(crate) fn has_capability(&self, name: &str) -> bool {
        revision::has_capability(self.capabilities(), name)
    }

    /// Whether the client declared this extension.
    pub(crate) fn has_extension(&self, name: &str) -> bool {
        let capabilities: Option<Value> = serde_json::from_slice(self.capabilities()).ok();
        capabilities.is_some_and(|capabilities| capabilities["extensions"][name].is_object())
    }

    fn capabilities(&self) -> &[u8] {
        match &self.peer {
            Peer::Session(session) => &session.negotiated.capabilities,
            Peer::Stateless | Peer::Task(_) => self.message.meta_capabilities().unwrap_or(b"{}"),
        }
    }

    /// Reports progress, where the client asked for it and still is there.
    pub(crate) async fn progress(&self, outbox: &Outbox, done: u64, total: u64, message: &str) {
        if let Some(token) = self.message.progress_token() {
            // A client that is gone is noticed by the transport.
            let _ = outbox.send(notices::progress(token, done, total, message)).await;
        }
    }

    /// Logs to the client, where it wants messages of this level; tells whether it does.
    pub(crate) async fn log(&self, outbox: &Outbox, level: Level, text: &str) -> bool {
        let wanted = match &self.peer {
            Peer::Session(session) => level >= session.level(),
            // Without a level in the request there is no logging at all.
            Peer::Stateless => self
                .message
                .meta_log_level()
                .and_then(|wanted| Level::from_wire(&wanted))
                .is_some_and(|wanted| level >= wanted),
            Peer::Task(_) => false,
        };
        wanted && outbox.send(notices::log(level, text)).await.is_ok()
    }
}
