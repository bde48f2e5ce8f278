//! Answers that the hub numbers itself, since the backend that gives them knows no event ids: a client whose connection broke
//! takes the stream up again where it has read it to, as long as this process lives.
//!
//! Such a stream is spoken by a [`Voice`], which is known here from its first event until some minutes after its last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proxy::Body;
use proxy::body::event_stream;
use proxy::session::Session;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use super::Hub;
use super::modern::said::Said;
use super::session::Held;
use super::voice::{Numbering, Voice};

/// How long a stream is kept that was spoken to its end.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);
/// Streams that are kept so, of one session and of all. Each has at most what a log of events holds.
const MOST: usize = 16;
const MOST_OF_ALL: usize = 256;
/// How often it is looked whether a client is still there, once the hub stops.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the own part of an event id begins with.
const PREFIX: &str = "answer-";

/// Those of a session, by number.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    voices: Mutex<HashMap<u64, Arc<Voice>>>,
}

/// The room for those that are over.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_OF_ALL)))
    }
}

impl Spoken {
    fn begin(&self, session: &Arc<Session<Held>>) -> (u64, Arc<Voice>) {
        // Drawn: no other process gives the same number.
        let number = fastrand::u64(..);
        let voice = Voice::new(session, Numbering::Under(format!("{PREFIX}{number}")));
        self.voices.lock().insert(number, Arc::clone(&voice));
        (number, voice)
    }

    /// What comes behind an event.
    fn after(&self, own: &str) -> Option<mpsc::Receiver<bytes::Bytes>> {
        let (number, event) = read(own)?;
        let voice = self.voices.lock().get(&number).cloned()?;
        Some(voice.listen(event))
    }

    /// Whether one that is over may stay.
    fn has_room(&self) -> bool {
        self.voices.lock().values().filter(|voice| voice.is_over()).count() <= MOST
    }

    fn forget(&self, number: u64) {
        self.voices.lock().remove(&number);
    }
}

/// The number of a stream and of its event.
fn read(own: &str) -> Option<(u64, u64)> {
    let (number, event) = own.strip_prefix(PREFIX)?.split_once('-')?;
    Some((number.parse().ok()?, event.parse().ok()?))
}

impl Hub {
    /// What a call says, as a stream that its client can come back to.
    pub(super) fn spoken(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        first: Option<Said>,
        line: mpsc::Receiver<Said>,
    ) -> http::Response<Body> {
        let (number, voice) = session.backend.spoken.begin(session);
        let events = voice.listen(0);
        if first.is_none() {
            voice.prime();
        }
        let (hub, session) = (Arc::clone(self), Arc::clone(session));
        self.tasks.spawn("an answer with numbers", async move {
            speak(&hub, &voice, first, line).await;
            // Whether its client has read the end is not known.
            if let Ok(_room) = Arc::clone(&hub.spoken.0).try_acquire_owned()
                && session.backend.spoken.has_room()
            {
                hub.draining.run_until_cancelled(sleep(KEPT_FOR)).await;
            }
            session.backend.spoken.forget(number);
        });
        event_stream(Body::events(events, None))
    }

    /// The rest of such a stream; `None` where it is none of this session's, or forgotten.
    pub(super) fn resume_spoken(&self, session: &Arc<Session<Held>>, own: &str) -> Option<Body> {
        let events = session.backend.spoken.after(own)?;
        Some(Body::events(events, None))
    }
}

/// Says it all. When the hub stops, whoever has gone does not come back.
async fn speak(hub: &Hub, voice: &Voice, first: Option<Said>, mut line: mpsc::Receiver<Said>) {
    let mut next = first;
    loop {
        match next {
            Some(Said::Notice(text)) => drop(voice.say(&text).await),
            Some(Said::Last { text, .. }) => return voice.end(Some(&text)).await,
            Some(Said::OtherEra) => return voice.end(None).await,
            None => {}
        }
        next = tokio::select! {
            said = line.recv() => match said {
                Some(said) => Some(said),
                None => return voice.end(None).await,
            },
            () = left(hub, voice) => return voice.end(None).await,
        };
    }
}

async fn left(hub: &Hub, voice: &Voice) {
    hub.draining.cancelled().await;
    while voice.is_heard() {
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_voices_write_them() {
        assert_eq!(read("answer-7-3"), Some((7, 3)));
        for foreign in ["", "answer-", "answer-7", "answer-7-", "answer-x-1", "7-3", "answer-7-3-1"] {
            assert_eq!(read(foreign), None, "{foreign}");
        }
    }
}
