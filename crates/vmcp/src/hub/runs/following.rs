//! A client that takes up the stream of a call again: it gets what it has missed where the run goes on here, and the answer
//! in any case, as soon as there is one, wherever the run went on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp::sse;
use proxy::Body;
use proxy::session::Session;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::Hub;
use super::super::ask::result;
use super::super::foreign::Foreign;
use super::super::session::Held;
use super::answer;
use crate::workflow::log::{Caller, Event, RunLog};
use crate::workflow::runs::Letter;

/// How often it is looked how a run is that goes on elsewhere.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often whoever works on it is told that its client is here.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Events that may wait for a client to read them.
const QUEUE: usize = 32;

/// The time of a run in which all is said.
const ANSWERED: u64 = u64::MAX;

/// Where a client stands in the stream of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    run: Uuid,
    epoch: u64,
    event: u64,
}

impl Cursor {
    fn read(own: &str) -> Option<Self> {
        let mut parts = own.rsplitn(3, '-');
        let (event, epoch, run) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { run: run.parse().ok()?, epoch: epoch.parse().ok()?, event: event.parse().ok()? })
    }

    /// The number of events that the stream of this time of the run has behind it.
    fn in_epoch(self, epoch: u64) -> u64 {
        if self.epoch == epoch { self.event } else { 0 }
    }
}

impl Hub {
    /// The rest of the stream of a run; `None` where it is none of this session's.
    pub(in super::super) async fn resume_run(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        own: &str,
    ) -> Option<Body> {
        let cursor = Cursor::read(own)?;
        let is_own = match self.runs.here(cursor.run) {
            Some(run) => run.on_behalf.is_of(session),
            None => self.caller_of(cursor.run).await?.session == session.id,
        };
        if !is_own {
            return None;
        }
        let (queue, events) = mpsc::channel(QUEUE);
        let in_use = self.table.enter(session);
        let hub = Arc::clone(self);
        self.tasks.spawn("a run's stream", async move {
            let _in_use = in_use;
            let stop = hub.draining.clone();
            stop.run_until_cancelled(hub.follow(cursor, &queue)).await;
        });
        Some(Body::events(events, None))
    }

    /// Whose call a run answers.
    pub(super) async fn caller_of(&self, run: Uuid) -> Option<Caller> {
        match self.events_of(run).await?.into_iter().next()? {
            Event::Began(began) => began.caller,
            Event::Task { .. } | Event::TakenOver | Event::Ended(_) => None,
        }
    }

    /// All that is known of a run; `None` where its log cannot be had now.
    async fn events_of(&self, run: Uuid) -> Option<Vec<Event>> {
        let id = run.to_string();
        match self.runs.local.read(&id).await {
            Ok(events) if !events.is_empty() => Some(events),
            _ => self.runs.kept.read(&id).await.ok(),
        }
    }

    /// Passes on what is said, until the answer or until nobody reads it.
    async fn follow(self: &Arc<Self>, mut cursor: Cursor, queue: &mpsc::Sender<Bytes>) {
        let mut told: Option<Instant> = None;
        while !queue.is_closed() && cursor.epoch != ANSWERED {
            if let Some(run) = self.runs.here(cursor.run) {
                let (voice, epoch) = (Arc::clone(&run.voice), run.epoch);
                drop(run);
                let mut events = voice.listen(cursor.in_epoch(epoch));
                while let Some(event) = events.recv().await {
                    if queue.send(event).await.is_err() {
                        return;
                    }
                }
                if voice.has_answered() {
                    return;
                }
                // All of it was read.
                cursor = Cursor { epoch, event: u64::MAX, ..cursor };
            }
            match self.events_of(cursor.run).await.as_deref() {
                Some([Event::Began(began), .., Event::Ended(end)]) => {
                    if let (Some(text), Some(caller)) = (answer::of_end(end), &began.caller) {
                        let text = result(caller.request.as_bytes(), &text);
                        // Whoever has gone may come back for it.
                        let _ = queue.send(last_event(cursor.run, &text)).await;
                    }
                    return;
                }
                Some([]) => return,
                _ => {}
            }
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                // If it is not heard now, it is said again.
                let _ = self.runs.kept.post(cursor.run, Letter::Listens).await;
            }
            self.take_over(cursor.run).await;
            tokio::select! {
                () = queue.closed() => return,
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// The answer, under an id behind which nothing comes.
fn last_event(run: Uuid, text: &[u8]) -> Bytes {
    let own = format!("{run}-{ANSWERED}-0");
    sse::message_event(Some(&Foreign { backend: "", own: &own }.text()), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_voices_write_them() {
        let run = Uuid::from_u128(7);
        let cursor = Cursor { run, epoch: 2, event: 30 };
        assert_eq!(Cursor::read(&format!("{run}-2-30")), Some(cursor));
        assert_eq!((cursor.in_epoch(2), cursor.in_epoch(3)), (30, 0));
        for foreign in ["", "1-2-3", "x", &format!("{run}-2"), &format!("{run}-x-1"), &format!("{run}-1-")] {
            assert_eq!(Cursor::read(foreign), None, "{foreign}");
        }
    }
}
