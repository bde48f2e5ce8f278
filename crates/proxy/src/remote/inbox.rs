//! The receiving end of a remote channel: what goes to its reader, what answers a request that waits, and how the
//! channel ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use mcp::message::Kind;
use mcp::{ErrorReply, Message};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answer::split_batch;
use super::pending::{IdKey, Pending, Waiting};
use crate::channel::{Guard, Held};

/// Nobody reads the channel any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Whether the channel is over, and why if that was not its owner's wish.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) token: CancellationToken,
    reason: Mutex<Option<String>>,
}

impl Over {
    /// The server's side is gone.
    pub(super) fn lose(&self, reason: impl Into<String>) {
        self.reason.lock().get_or_insert_with(|| reason.into());
        self.token.cancel();
    }

    /// Whether the server's side is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.reason.lock().is_some()
    }
}

/// What the owner of the channel holds.
pub(super) struct RemoteGuard {
    over: Arc<Over>,
    held: Option<Held>,
}

impl RemoteGuard {
    pub(super) fn new(over: Arc<Over>) -> Self {
        Self { over, held: None }
    }
}

impl Guard for RemoteGuard {
    fn why_closed(&mut self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        let reason = self.over.reason.lock().clone();
        Box::pin(std::future::ready(reason.unwrap_or_else(|| "the connection was closed".to_owned())))
    }

    fn hold(&mut self, until_gone: Held) {
        self.held = Some(until_gone);
    }
}

impl Drop for RemoteGuard {
    fn drop(&mut self) {
        self.over.token.cancel();
    }
}

/// The way to the channel's reader.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) pending: Pending,
    pub(super) over: Arc<Over>,
    incoming: mpsc::Sender<Bytes>,
}

impl Inbox {
    pub(super) fn new(incoming: mpsc::Sender<Bytes>, over: Arc<Over>) -> Self {
        Self { pending: Pending::default(), over, incoming }
    }

    /// Resolves when nobody reads any more.
    pub(super) async fn unread(&self) {
        self.incoming.closed().await;
    }

    /// Passes on what the server said: requests and notifications as they are, a response if a request waits for it.
    /// `edit` sees each such response and may replace its text. A text that is no message is passed over.
    pub(super) async fn deliver(
        &self,
        text: Bytes,
        edit: impl Fn(&Waiting, &Message) -> Option<Bytes>,
    ) -> Result<(), Gone> {
        for text in split_batch(text) {
            let message = match Message::parse(text) {
                Ok(message) => message,
                Err(error) => {
                    tracing::debug!(%error, "skipped a text that is no message");
                    continue;
                }
            };
            let text = match message.kind() {
                Kind::Request | Kind::Notification => message.text().clone(),
                Kind::Result | Kind::Error => {
                    let Some(waiting) = message.id().and_then(|id| self.pending.take(&IdKey::of(id))) else {
                        tracing::debug!("dropped a response that no request waits for");
                        continue;
                    };
                    edit(&waiting, &message).unwrap_or_else(|| message.text().clone())
                }
            };
            self.send(text).await?;
        }
        Ok(())
    }

    /// Passes on a message of our own.
    pub(super) async fn send(&self, text: Bytes) -> Result<(), Gone> {
        self.incoming.send(text).await.map_err(|_| Gone)
    }

    /// Answers a request, if it still waits, with this error message.
    pub(super) async fn fail(&self, key: &IdKey, text: Bytes) {
        if self.pending.take(key).is_some_and(|waiting| !waiting.cancelled) {
            // Without a reader there is nobody to be told.
            let _ = self.send(text).await;
        }
    }

    /// Answers every request that waits, those included that were handed over and not taken yet.
    pub(super) async fn fail_all(&self, mut outgoing: mpsc::Receiver<Bytes>, reply: &ErrorReply) {
        outgoing.close();
        while let Some(text) = outgoing.recv().await {
            if let Ok(message) = Message::parse(text) {
                self.pending.enter(&message);
            }
        }
        for waiting in self.pending.take_all() {
            if !waiting.cancelled && self.send(reply.to_json(Some(&waiting.id))).await.is_err() {
                return;
            }
        }
    }
}
