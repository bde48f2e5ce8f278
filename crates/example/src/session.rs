//! One legacy session: what was negotiated, what the client asked to be told, and the questions that await its answers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use mcp::{Kind, Message, Revision};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::event_log::{EventLog, Outbox};
use crate::in_flight::InFlight;
use crate::notices::{Change, Level};

/// Streams that can be resumed, per session; the oldest is forgotten.
const KEPT_STREAMS: usize = 32;
const MAX_SUBSCRIPTIONS: usize = 256;
/// Questions to the client at once.
const MAX_QUESTIONS: usize = 64;

/// An unguessable name; 32 hexadecimal digits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(pub(crate) u128);

impl SessionId {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4().as_u128())
    }

    pub(crate) fn from_wire(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Why a question to the client has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The client answered with an error; its message.
    Refused(String),
    SessionOver,
    TooMany,
}

/// What `initialize` said.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) revision: Revision,
    /// The client's capabilities as JSON text.
    pub(crate) capabilities: Bytes,
}

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) negotiated: Negotiated,
    /// What the `counter` tool counts.
    pub(crate) counter: AtomicI64,
    /// What belongs to no request.
    pub(crate) standalone: Arc<EventLog>,
    pub(crate) in_flight: InFlight,
    /// Fires at the end of the session; what runs for it ends.
    pub(crate) over: CancellationToken,
    level: AtomicU8,
    /// Milliseconds on the server's clock.
    last_used: AtomicU64,
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    subscriptions: HashSet<String>,
    questions: HashMap<u64, oneshot::Sender<Message>>,
    asked: u64,
    streams: VecDeque<Arc<EventLog>>,
    opened: u64,
}

impl Session {
    pub(crate) fn new(negotiated: Negotiated, over: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            id: SessionId::random(),
            negotiated,
            counter: AtomicI64::new(0),
            standalone: EventLog::new(0),
            in_flight: InFlight::default(),
            over,
            level: AtomicU8::new(Level::Debug as u8),
            last_used: AtomicU64::new(0),
            parts: Mutex::default(),
        })
    }

    /// The mildest message that the client wants; everything until it says so.
    pub(crate) fn level(&self) -> Level {
        Level::from_rank(self.level.load(Ordering::Relaxed))
    }

    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    pub(crate) fn use_at(&self, now: u64) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    /// Whether nobody used it since `earlier`, nobody listens, and nothing runs for it.
    pub(crate) fn is_idle_since(&self, earlier: u64) -> bool {
        self.last_used.load(Ordering::Relaxed) < earlier
            && !self.standalone.is_attached()
            && self.in_flight.is_empty()
    }

    /// False where there are too many.
    pub(crate) fn subscribe(&self, uri: String) -> bool {
        let mut parts = self.parts.lock();
        let fits = parts.subscriptions.len() < MAX_SUBSCRIPTIONS || parts.subscriptions.contains(&uri);
        if fits {
            parts.subscriptions.insert(uri);
        }
        fits
    }

    pub(crate) fn unsubscribe(&self, uri: &str) {
        self.parts.lock().subscriptions.remove(uri);
    }

    pub(crate) fn wants(&self, change: &Change) -> bool {
        match change {
            Change::Tools | Change::Prompts | Change::Resources => true,
            Change::Resource { uri } => self.parts.lock().subscriptions.contains(uri),
            Change::Task { .. } => false,
        }
    }

    /// A new stream that a client can come back to.
    pub(crate) fn open_stream(&self) -> Arc<EventLog> {
        let mut parts = self.parts.lock();
        parts.opened += 1;
        let log = EventLog::new(parts.opened);
        if parts.streams.len() == KEPT_STREAMS {
            parts.streams.pop_front();
        }
        parts.streams.push_back(Arc::clone(&log));
        log
    }

    /// The stream of this number, where it can still be resumed.
    pub(crate) fn stream(&self, number: u64) -> Option<Arc<EventLog>> {
        if number == self.standalone.number {
            return Some(Arc::clone(&self.standalone));
        }
        self.parts.lock().streams.iter().find(|log| log.number == number).cloned()
    }

    /// Takes back a stream that turned out not to be needed.
    pub(crate) fn forget_stream(&self, number: u64) {
        self.parts.lock().streams.retain(|log| log.number != number);
    }

    /// Asks the client, on the stream of the request that makes us ask, and waits for its answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn ask(
        &self,
        outbox: &Outbox,
        method: &str,
        params: &Value,
    ) -> Result<Value, Unanswered> {
        let (question, answer) = Question::register(self)?;
        let request = json!({"jsonrpc": "2.0", "id": question.id, "method": method, "params": params});
        outbox.send(request.to_string().into()).await.map_err(|_| Unanswered::SessionOver)?;
        tokio::select! {
            answer = answer => read_answer(&answer.map_err(|_| Unanswered::SessionOver)?),
            () = self.over.cancelled() => Err(Unanswered::SessionOver),
        }
    }

    /// Takes a response of the client. One that nobody waits for is nothing: its question may have been given up.
    pub(crate) fn resolve(&self, response: Message) {
        let id = response.id().and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse().ok());
        let waiting = id.and_then(|id: u64| self.parts.lock().questions.remove(&id));
        if let Some(waiting) = waiting {
            // The asker may have been cancelled in this moment.
            let _ = waiting.send(response);
        }
    }

    /// Ends it: requests are cancelled, streams end.
    pub(crate) fn end(&self) {
        self.over.cancel();
        self.standalone.finish(None);
        for stream in self.parts.lock().streams.drain(..) {
            stream.finish(None);
        }
    }
}

fn read_answer(response: &Message) -> Result<Value, Unanswered> {
    let text = response.result().or_else(|| response.error()).unwrap_or(b"null");
    let value: Value = serde_json::from_slice(text).unwrap_or_default();
    if response.kind() == Kind::Result {
        return Ok(value);
    }
    Err(Unanswered::Refused(value["message"].as_str().unwrap_or("no message").to_owned()))
}

/// A question that is open; forgotten when its asker is.
struct Question<'a> {
    session: &'a Session,
    id: u64,
}

impl<'a> Question<'a> {
    fn register(session: &'a Session) -> Result<(Self, oneshot::Receiver<Message>), Unanswered> {
        let (sender, receiver) = oneshot::channel();
        let mut parts = session.parts.lock();
        if parts.questions.len() >= MAX_QUESTIONS {
            return Err(Unanswered::TooMany);
        }
        parts.asked += 1;
        let id = parts.asked;
        parts.questions.insert(id, sender);
        Ok((Self { session, id }, receiver))
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.session.parts.lock().questions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    use crate::event_log::Frame;

    fn session() -> Arc<Session> {
        let negotiated =
            Negotiated { revision: Revision::V2025_11_25, capabilities: Bytes::from_static(b"{}") };
        Session::new(negotiated, CancellationToken::new())
    }

    #[test]
    fn ids_come_back_from_the_wire_and_nothing_else_does() {
        let id = SessionId(7);
        assert_eq!(SessionId::from_wire(&id.to_string()), Some(id));
        for bad in ["", "7", "+0000000000000000000000000000007", &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(SessionId::from_wire(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn an_answer_reaches_the_question_it_belongs_to() {
        let session = session();
        let (sender, mut receiver) = mpsc::channel(4);
        let outbox = Outbox::Queue(sender);
        let client = async {
            let Some(Frame::Message(question)) = receiver.recv().await else { panic!("no question") };
            let question: Value = serde_json::from_slice(&question).unwrap();
            for (id, answer) in [
                (json!(99), "none"),
                (json!(question["id"].to_string()), "text"),
                (question["id"].clone(), "right"),
            ] {
                let response = json!({"jsonrpc": "2.0", "id": id, "result": {"is": answer}});
                session.resolve(Message::parse(response.to_string().into()).unwrap());
            }
        };
        let params = json!({});
        let (answer, ()) = tokio::join!(session.ask(&outbox, "roots/list", &params), client);
        assert_eq!(answer, Ok(json!({"is": "right"})));
        assert!(session.parts.lock().questions.is_empty());
    }

    #[tokio::test]
    async fn the_end_of_a_session_ends_its_questions_and_streams() {
        let session = session();
        let (sender, _receiver) = mpsc::channel(4);
        let outbox = Outbox::Queue(sender);
        let stream = session.open_stream();
        let params = json!({});
        let (answer, ()) = tokio::join!(session.ask(&outbox, "roots/list", &params), async { session.end() });
        assert_eq!(answer, Err(Unanswered::SessionOver));
        assert!(stream.push(Bytes::new()).await.is_err());
    }

    #[test]
    fn only_the_newest_streams_are_kept() {
        let session = session();
        for _ in 0..=KEPT_STREAMS {
            session.open_stream();
        }
        assert!(session.stream(1).is_none() && session.stream(2).is_some() && session.stream(0).is_some());
        session.forget_stream(2);
        assert!(session.stream(2).is_none());
    }
}
