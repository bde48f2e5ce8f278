//! What a call that runs in a task of its own says to the client that waits for it: notices and questions, and in the end
//! an answer. It goes out as one message where nothing was said before, else as events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mcp::sse::message_event;
use proxy::Body;
use proxy::body::event_stream;
use proxy::failure::json_answer;
use proxy::session::Session;
use proxy::streamable::{Accepts, at_once};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::Hub;
use super::super::session::Held;
use super::Response;

/// Messages on their way to a client.
pub(super) const QUEUE: usize = 32;
/// After so long without a word a client that takes events is shown that somebody is there.
const SILENCE: Duration = Duration::from_secs(2);

/// One message.
#[derive(Debug)]
pub(in crate::hub) enum Said {
    /// There will be more.
    Notice(Bytes),
    /// There will not.
    Last { status: StatusCode, text: Bytes },
    /// The backend does not know the era that it was spoken to in: nothing was done.
    OtherEra,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    Answer(Response),
    OtherEra,
    /// The call has ended without a word.
    Nothing,
}

impl Hub {
    /// Waits for what a call says. Whoever stops waiting closes the line.
    pub(super) async fn hear(&self, accepts: Accepts, line: mpsc::Receiver<Said>) -> Heard {
        self.hear_as(accepts, line, |first, line| self.streamed(first, line)).await
    }

    /// The same for a client with a session, which may come back to a stream that has begun.
    pub(super) async fn hear_in(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        accepts: Accepts,
        line: mpsc::Receiver<Said>,
    ) -> Heard {
        self.hear_as(accepts, line, |first, line| self.spoken(session, first, line)).await
    }

    async fn hear_as(
        &self,
        accepts: Accepts,
        mut line: mpsc::Receiver<Said>,
        streamed: impl FnOnce(Option<Said>, mpsc::Receiver<Said>) -> Response,
    ) -> Heard {
        let first = loop {
            let next = match accepts.events {
                true => timeout(SILENCE, line.recv()).await.ok(),
                false => Some(line.recv().await),
            };
            match next {
                Some(Some(Said::Notice(_))) if !accepts.events => {}
                next => break next,
            }
        };
        match first {
            Some(None) => Heard::Nothing,
            Some(Some(Said::OtherEra)) => Heard::OtherEra,
            Some(Some(Said::Last { status, text })) => Heard::Answer(match status {
                StatusCode::OK => at_once(accepts, text),
                status => json_answer(status, text),
            }),
            Some(first @ Some(Said::Notice(_))) => Heard::Answer(streamed(first, line)),
            None => Heard::Answer(streamed(None, line)),
        }
    }

    fn streamed(&self, first: Option<Said>, mut line: mpsc::Receiver<Said>) -> Response {
        let (queue, events) = mpsc::channel(QUEUE);
        self.tasks.spawn("a call's answer", async move {
            let mut next = first;
            loop {
                let is_last = match next {
                    None | Some(Said::Notice(_)) => false,
                    Some(Said::Last { .. } | Said::OtherEra) => true,
                };
                if let Some(Said::Notice(text) | Said::Last { text, .. }) = &next
                    && queue.send(message_event(None, text)).await.is_err()
                {
                    return;
                }
                if is_last {
                    return;
                }
                next = tokio::select! {
                    () = queue.closed() => return,
                    said = line.recv() => match said {
                        Some(said) => Some(said),
                        None => return,
                    },
                };
            }
        });
        event_stream(Body::events(events, None))
    }
}
