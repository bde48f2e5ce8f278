//! Who writes the log: one, in order, whatever becomes of those who had something to write.
//!
//! A task that is cancelled while its event waits here leaves the event; it was true when it was said, and what comes after
//! it fits.

use std::future::pending;

use tokio::sync::{mpsc, oneshot};

use super::super::log::{Event, Ledger, LogError, RunLog};
use super::{Host, WorkflowError};

type Entry = (Event, oneshot::Sender<()>);

/// Hands events to the writer.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    sender: mpsc::Sender<Entry>,
}

impl Recorder {
    pub(super) fn new(sender: mpsc::Sender<Entry>) -> Self {
        Self { sender }
    }

    /// Comes back when the event is in the log. When it cannot be, whoever runs the writer ends everything, and this never
    /// comes back.
    pub(super) async fn record(&self, event: Event) {
        let (written, is_written) = oneshot::channel();
        let is_sent = self.sender.send((event, written)).await.is_ok();
        if !is_sent || is_written.await.is_err() {
            pending::<()>().await;
        }
    }
}

/// Writes events of one run.
pub(super) struct Writer<'a> {
    pub(super) run: &'a str,
    pub(super) log: &'a dyn RunLog,
    pub(super) host: &'a dyn Host,
    pub(super) ledger: Ledger,
    pub(super) receiver: mpsc::Receiver<Entry>,
}

impl Writer<'_> {
    /// Writes until something cannot be written.
    pub(super) async fn write(mut self) -> WorkflowError {
        while let Some((event, written)) = self.receiver.recv().await {
            let position = self.ledger.length();
            if let Err(error) = self.ledger.apply(&event) {
                return WorkflowError::Illegal(error);
            }
            match (self.log.append(self.run, position, &event).await, &event) {
                (Ok(()), _) => {}
                // What it came to is told, though nobody else will know.
                (Err(LogError::Unavailable(_)), Event::Ended(_)) => {}
                (Err(error), _) => return WorkflowError::Log(error),
            }
            self.host.recorded(&event);
            // Whoever said it may have been cancelled since.
            let _ = written.send(());
        }
        pending().await
    }
}
