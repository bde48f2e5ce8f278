//! A client's GET stream: what all backends of its session say unasked, and that what the hub shows has changed.
//!
//! Its events are numbered and kept here, and it is known how far each backend was read: a client that comes back with a
//! cursor misses nothing while this process lives. The stream of one answer is another matter: its cursor is the backend's
//! own ([`super::foreign`]), and is taken there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use mcp::sse::{Decoder, Event, message_event};
use mcp::{Method, headers};
use proxy::Body;
use proxy::body::{OnClose, event_stream};
use proxy::events::{Cursor, Entry, EventLog, StreamNumber};
use proxy::session::Session;
use proxy::session::table::InUse;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::foreign::Foreign;
use super::modern::envelope::own_request;
use super::modern::reading::Reading;
use super::relay::{Passed, Relay, pass};
use super::session::{Held, Opened};
use super::streamable::Answered;
use super::{Changes, Hub, Member};

/// Events on their way to a client, and from backends.
const QUEUE: usize = 32;
/// Changes that come together are told together.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(20);
/// Between two tries to hear a backend.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest event of a backend that is taken.
const MAX_EVENT: usize = 16 * 1024 * 1024;

const TOOLS: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
const PROMPTS: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#;
const RESOURCES: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#;

/// The stream of one session, whether a client reads it now or not.
#[derive(Debug)]
pub(super) struct Stream {
    number: StreamNumber,
    last: u64,
    log: EventLog,
    /// How far each backend was read, in which session with it.
    read: HashMap<Arc<str>, (Option<HeaderValue>, HeaderValue)>,
    /// What the client knows of; `None`: not what.
    told: Option<Changes>,
    /// Cancelled when another client, or the end, comes.
    attached: Option<CancellationToken>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            // Drawn: no other process gives the same number.
            number: fastrand::u64(..),
            last: 0,
            log: EventLog::default(),
            read: HashMap::new(),
            told: None,
            attached: None,
        }
    }
}

impl Stream {
    pub(super) fn close(&mut self) {
        if let Some(attached) = self.attached.take() {
            attached.cancel();
        }
    }

    /// Whether a client reads it now.
    pub(super) fn is_attached(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| !attached.is_cancelled())
    }

    /// The client has just seen, or is about to see, what there is.
    pub(super) fn knows(&mut self, changes: Changes) {
        self.told = Some(changes);
    }

    /// A client comes; whoever was there before goes. Gives what it has missed.
    fn attach(&mut self, cursor: Option<Cursor>, token: CancellationToken) -> Vec<Bytes> {
        self.close();
        self.attached = Some(token);
        let cursor = cursor.filter(|cursor| cursor.stream == self.number);
        cursor.map(|cursor| self.log.after(cursor).events).unwrap_or_default()
    }

    /// Numbers an event, and keeps it.
    fn push(&mut self, data: &[u8]) -> Bytes {
        self.last += 1;
        let at = Cursor { stream: self.number, event: self.last };
        let event = message_event(Some(&at.to_id()), data);
        self.log.push(Entry { at, event: event.clone(), last: false }, false);
        event
    }

    /// What is to be told of these changes.
    fn tell(&mut self, now: Changes) -> Vec<Bytes> {
        let before = self.told.replace(now);
        let differs = |of: fn(&Changes) -> u64| before.as_ref().is_none_or(|before| of(before) != of(&now));
        let notices = [
            (differs(|changes| changes.tools), TOOLS),
            (differs(|changes| changes.prompts), PROMPTS),
            (differs(|changes| changes.resources), RESOURCES),
        ];
        notices.into_iter().filter(|(differs, _)| *differs).map(|(_, text)| self.push(text)).collect()
    }
}

/// Ends the stream when its client goes.
#[derive(Debug)]
struct Attendance {
    _until: DropGuard,
    _in_use: InUse<Held>,
}

impl OnClose for Attendance {}

/// What a backend has said unasked.
#[derive(Debug)]
struct Unasked {
    backend: Arc<str>,
    /// Of the session with the backend.
    token: Option<HeaderValue>,
    event: Event,
}

impl Hub {
    pub(super) async fn listen(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        headers: &HeaderMap,
    ) -> Answered {
        let last = headers::single(headers, &headers::LAST_EVENT_ID).ok().flatten();
        if let Some(foreign) = last.and_then(Foreign::read)
            && let Some(body) = self.resume(session, foreign).await
        {
            return Ok(event_stream(body));
        }
        let (queue, events) = mpsc::channel(QUEUE);
        let token = CancellationToken::new();
        let missed = session.backend.stream.lock().attach(last.and_then(Cursor::parse), token.clone());
        self.ask_again(session);
        let (hub, merged) = (Arc::clone(self), Arc::clone(session));
        let until = token.clone();
        self.tasks.spawn("a client's stream", async move {
            let merging = Merging { hub, session: merged, queue, reading: HashSet::new() };
            until.run_until_cancelled(merging.run(missed)).await;
        });
        let attendance = Attendance { _until: token.drop_guard(), _in_use: self.table.enter(session) };
        Ok(event_stream(Body::events(events, Some(Box::new(attendance)))))
    }

    /// The rest of an answer that somebody has begun to give.
    async fn resume(self: &Arc<Self>, session: &Arc<Session<Held>>, last: Foreign<'_>) -> Option<Body> {
        match last.backend {
            "" => match self.resume_spoken(session, last.own) {
                Some(body) => Some(body),
                None => self.resume_run(session, last.own).await,
            },
            _ => self.resume_answer(session, last).await,
        }
    }

    /// The rest of an answer that a backend has begun to give.
    async fn resume_answer(&self, session: &Arc<Session<Held>>, last: Foreign<'_>) -> Option<Body> {
        let member = self.member(last.backend)?;
        let opened = session.backend.opened(last.backend)?;
        let own = HeaderValue::from_str(last.own).ok()?;
        let body = self.speaker(session, &member, &opened).listen(Some(&own)).await?;
        Some(body.changed(Box::new(Relay::new(&member, None, None))))
    }
}

/// The task of one stream.
struct Merging {
    hub: Arc<Hub>,
    session: Arc<Session<Held>>,
    queue: mpsc::Sender<Bytes>,
    /// Whose words are read.
    reading: HashSet<Arc<str>>,
}

impl Merging {
    async fn run(mut self, missed: Vec<Bytes>) {
        let (inbox, mut unasked) = mpsc::channel(QUEUE);
        let readers = CancellationToken::new();
        let _until = readers.clone().drop_guard();
        let mut began = self.session.backend.began.subscribe();
        let mut changes = self.hub.changes.subscribe();
        // What has changed before counts too.
        changes.mark_changed();
        let mut due: Option<Instant> = None;
        let mut out = missed;
        loop {
            out.extend(self.asides());
            for event in out.drain(..) {
                if self.queue.send(event).await.is_err() {
                    return;
                }
            }
            self.read_all(&inbox, &readers);
            tokio::select! {
                () = self.queue.closed() => return,
                () = self.hub.draining.cancelled() => return,
                // The sender is in the session, which is held here.
                _ = began.changed() => {}
                () = self.session.backend.asides.come.notified() => {}
                changed = changes.changed(), if due.is_none() => match changed {
                    Ok(()) => due = Some(Instant::now() + DEBOUNCE),
                    Err(_) => return,
                },
                () = until(due) => {
                    due = None;
                    let now = *changes.borrow_and_update();
                    out = self.session.backend.stream.lock().tell(now);
                }
                Some(unasked) = unasked.recv() => out.extend(self.take(unasked)),
            }
        }
    }

    /// Reads those whose session has begun since.
    fn read_all(&mut self, inbox: &mpsc::Sender<Unasked>, readers: &CancellationToken) {
        for (name, _) in self.session.backend.all_opened() {
            if !self.reading.insert(Arc::clone(&name)) {
                continue;
            }
            let (hub, session) = (Arc::clone(&self.hub), Arc::clone(&self.session));
            let (inbox, readers) = (inbox.clone(), readers.clone());
            self.hub.tasks.spawn("a backend's stream", async move {
                readers.run_until_cancelled(read(&hub, &session, &name, &inbox)).await;
            });
        }
    }

    /// What the hub itself has to say.
    fn asides(&self) -> Vec<Bytes> {
        let said = self.session.backend.asides.take();
        let mut stream = self.session.backend.stream.lock();
        said.iter().map(|text| stream.push(text)).collect()
    }

    fn take(&self, unasked: Unasked) -> Option<Bytes> {
        let Unasked { backend, token, event } = unasked;
        let member = self.hub.member(&backend)?;
        let mut stream = self.session.backend.stream.lock();
        if let Some(id) = event.id.and_then(|id| HeaderValue::from_str(&id).ok()) {
            stream.read.insert(backend, (token, id));
        }
        if event.data.is_empty() {
            return None;
        }
        match pass(&member, &event.data) {
            Passed::AsItIs => Some(stream.push(&event.data)),
            Passed::As(data) => Some(stream.push(&data)),
            Passed::Kept => None,
        }
    }
}

pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Reads what a backend says unasked, for as long as somebody listens: its session may be another one by then.
async fn read(hub: &Hub, session: &Session<Held>, name: &Arc<str>, inbox: &mpsc::Sender<Unasked>) {
    let mut began = session.backend.began.subscribe();
    let mut pause = FIRST_PAUSE;
    loop {
        if read_once(hub, session, name, inbox).await.is_some() {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            // A new session may have been begun, and what that one says is not to wait.
            _ = began.changed() => pause = FIRST_PAUSE,
        }
    }
}

/// Until the stream ends; `None` where there was none.
async fn read_once(
    hub: &Hub,
    session: &Session<Held>,
    name: &Arc<str>,
    inbox: &mpsc::Sender<Unasked>,
) -> Option<()> {
    let (member, opened) = (hub.member(name)?, session.backend.opened(name)?);
    if opened.is_modern() {
        return read_subscribed(hub, session, &member, &opened, inbox).await;
    }
    let read = session.backend.stream.lock().read.get(name).cloned();
    let last = read.filter(|(token, _)| *token == opened.token).map(|(_, last)| last);
    let mut body = hub.speaker(session, &member, &opened).listen(last.as_ref()).await?;
    let (mut decoder, mut events) = (Decoder::new(MAX_EVENT), Vec::new());
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(bytes) = frame.into_data() else { continue };
        if decoder.feed(&bytes, &mut events).is_err() {
            break;
        }
        for event in events.drain(..) {
            let unasked = Unasked { backend: Arc::clone(name), token: opened.token.clone(), event };
            inbox.send(unasked).await.ok()?;
        }
    }
    Some(())
}

/// What a backend without sessions says of the resources that the client has subscribed to.
async fn read_subscribed(
    hub: &Hub,
    session: &Session<Held>,
    member: &Member,
    opened: &Opened,
    inbox: &mpsc::Sender<Unasked>,
) -> Option<()> {
    let mut changes = session.backend.subscribed.subscribe();
    loop {
        let uris = {
            let (view, remembered) = (hub.view.load(), session.backend.remembered.lock());
            let of_it = |uri: &&str| view.resource(uri) == Some(&member.name);
            remembered.subscriptions().filter(of_it).map(str::to_owned).collect::<Vec<_>>()
        };
        if !uris.is_empty() {
            let wanted = serde_json::json!({"notifications": {"resourceSubscriptions": uris}});
            let text = own_request(b"1", Method::SubscriptionsListen, &wanted);
            let body = hub.speaker(session, member, opened).subscribe(text).await?;
            tokio::select! {
                () = pass_updates(Reading::stream(body), member, inbox) => return Some(()),
                changed = changes.changed() => changed.ok()?,
            }
        } else {
            changes.changed().await.ok()?;
        }
    }
}

/// Until the stream ends.
async fn pass_updates(mut reading: Reading, member: &Member, inbox: &mpsc::Sender<Unasked>) {
    while let Ok(message) = reading.next().await {
        let Some(uri) = message.uri().filter(|_| message.method() == Method::ResourceUpdated) else {
            continue;
        };
        let params = serde_json::json!({"uri": uri});
        let notice = serde_json::json!({"jsonrpc": "2.0", "method": Method::ResourceUpdated.label(), "params": params});
        let event = Event { data: notice.to_string().into(), ..Event::default() };
        let unasked = Unasked { backend: Arc::clone(&member.name), token: None, event };
        if inbox.send(unasked).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_back_gets_what_it_has_missed() {
        let mut stream = Stream::default();
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        assert!(stream.attach(None, first.clone()).is_empty());
        let (one, two) = (stream.push(b"{}"), stream.push(b"[]"));
        assert_ne!(one, two);
        let cursor = Cursor { stream: stream.number, event: 1 };
        assert_eq!(stream.attach(Some(cursor), second.clone()), [two]);
        assert!(first.is_cancelled() && !second.is_cancelled());
        let foreign = Cursor { stream: stream.number.wrapping_add(1), event: 0 };
        assert!(stream.attach(Some(foreign), CancellationToken::new()).is_empty());
    }

    #[test]
    fn changes_are_told_once_by_kind() {
        let mut stream = Stream::default();
        assert_eq!(stream.tell(Changes::default()).len(), 3, "what it knows is not known");
        let changes = Changes { tools: 2, ..Changes::default() };
        let told = stream.tell(changes);
        assert!(told.len() == 1 && std::str::from_utf8(&told[0]).unwrap().contains("tools/list_changed"));
        assert!(stream.tell(changes).is_empty());
    }
}
