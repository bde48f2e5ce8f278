//! HTTP+SSE (2024-11-05): one stream carries all that the server says, and is the session; what the client says is
//! posted to the address that the stream's first event names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method as HttpMethod, StatusCode, header};
use mcp::message::Kind;
use mcp::method::Resend;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use serde_json::json;
use telemetry::Tasks;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::answer::{self, Cursor, Events, refusal};
use super::inbox::Inbox;
use super::origin::{Origin, Outgoing, is_event_stream, same_origin_path};
use super::pending::IdKey;
use super::streamable::MAX_CALLS;
use super::{Remote, RemoteConfig, ends};
use crate::channel::{Channel, Connect, ConnectError};
use crate::failure::Failure;
use crate::instance::Instances;
use crate::upstream::Pool;

/// The stream and its first event must be there within this time.
const OPENING: Duration = Duration::from_secs(30);
/// Some servers never answer a POST that they cannot place.
const POST_PATIENCE: Duration = Duration::from_secs(60);

/// A server of the old HTTP+SSE transport. Each channel is a stream and so a session of its own.
#[derive(Clone, Debug)]
pub struct RemoteSse {
    remote: Remote,
}

impl RemoteSse {
    /// As [`super::RemoteHttp::new`]; the instances' URL is that of the stream.
    #[must_use]
    pub fn new(config: RemoteConfig, instances: Arc<Instances>, pool: Arc<Pool>, tasks: Tasks) -> Self {
        Self { remote: Remote { config: Arc::new(config), instances, pool, tasks } }
    }

    async fn connect(&self) -> Result<Channel, ConnectError> {
        let config = &self.remote.config;
        let failed = |reason: String| ConnectError { reason: format!("{}: {reason}", config.name) };
        let origin = self.remote.origin()?;
        let opened = timeout(OPENING, open_stream(config, &origin)).await;
        let (events, path) = opened
            .map_err(|_| failed(format!("no event stream within {} s", OPENING.as_secs())))?
            .map_err(failed)?;
        let (channel, inbox, outgoing) = ends();
        let link = Arc::new(SseLink {
            config: Arc::clone(config),
            origin,
            path,
            inbox,
            closing: AtomicBool::new(false),
            lost: watch::Sender::new(None),
        });
        self.remote.tasks.spawn("remote SSE server", drive(link, events, outgoing));
        Ok(channel)
    }
}

impl Connect for RemoteSse {
    /// Opens the stream and waits until the server has named the address for messages.
    fn open(&self) -> Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send + '_>> {
        Box::pin(self.connect())
    }
}

/// One channel's shared part.
struct SseLink {
    config: Arc<RemoteConfig>,
    origin: Origin,
    /// Where messages are posted to.
    path: PathAndQuery,
    inbox: Inbox,
    /// The owner sends no more; when nothing waits, the channel is over.
    closing: AtomicBool,
    /// A message could not be delivered; why. The stream is about to end too.
    lost: watch::Sender<Option<String>>,
}

async fn open_stream(config: &RemoteConfig, origin: &Origin) -> Result<(Events, PathAndQuery), String> {
    let mut headers = config.headers.clone();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    let get = Outgoing {
        method: HttpMethod::GET,
        headers,
        path: None,
        body: Bytes::new(),
        patience: None,
        repeatable: true,
    };
    let response = origin.send(&get).await.map_err(|failure| failure.to_string())?;
    if !response.status().is_success() || !is_event_stream(response.headers()) {
        return Err(format!(
            "no event stream is offered at this URL (the server answered {})",
            response.status()
        ));
    }
    let mut events = Events::new(response.into_body(), config.max_message);
    loop {
        let event = events.next().await.ok_or("the stream ended before it named an address for messages")?;
        let event = event.map_err(|error| error.to_string())?;
        if event.name == "endpoint" {
            let address = String::from_utf8_lossy(&event.data);
            let path = same_origin_path(&origin.endpoint(), &address);
            return Ok((events, path.ok_or("the stream names an address for messages on another origin")?));
        }
    }
}

async fn drive(link: Arc<SseLink>, mut events: Events, mut outgoing: mpsc::Receiver<Bytes>) {
    let mut posts = JoinSet::new();
    let ended = tokio::select! {
        () = link.inbox.over.token.cancelled() => None,
        () = link.inbox.unread() => None,
        ended = read(&link, &mut events) => ended,
        reason = link.lost() => Some(reason),
        () = pump(&link, &mut outgoing, &mut posts) => None,
    };
    posts.shutdown().await;
    let Some(reason) = ended else { return };
    link.inbox.over.lose(reason.clone());
    if !link.config.answers_lost {
        return;
    }
    let data = json!({"origin": "skep", "class": "ended", "executed": "unknown"});
    link.inbox.fail_all(outgoing, &ErrorReply::new(ErrorCode::Internal, reason).with_data(data)).await;
}

/// Passes on what the server says. Gives why it says no more, `None` where that is of no interest.
async fn read(link: &SseLink, events: &mut Events) -> Option<String> {
    let mut cursor = Cursor::default();
    while let Some(message) = events.next_message(&mut cursor).await {
        let message = match message {
            Ok(message) => message,
            Err(error) => return Some(format!("the event stream broke: {error}")),
        };
        link.inbox.deliver(message, |_, _| None).await.ok()?;
        if link.closing.load(Ordering::Acquire) && link.inbox.pending.is_empty() {
            return None;
        }
    }
    Some("the server ended the event stream".to_owned())
}

/// Sends what comes, requests side by side, the rest in order; then waits for the answers that are still due.
async fn pump(link: &Arc<SseLink>, outgoing: &mut mpsc::Receiver<Bytes>, posts: &mut JoinSet<()>) {
    while let Some(text) = outgoing.recv().await {
        while posts.try_join_next().is_some() {}
        let message = match Message::parse(text) {
            Ok(message) => message,
            Err(malformed) => {
                // A reader that is gone is noticed by the caller.
                drop(link.inbox.send(malformed.reply().to_json(None)).await);
                continue;
            }
        };
        if message.kind() != Kind::Request {
            link.tell(&message).await;
            continue;
        }
        let entered = (posts.len() < MAX_CALLS).then(|| link.inbox.pending.enter(&message)).flatten();
        if let Some((key, _)) = entered {
            posts.spawn(Arc::clone(link).request(message, key).in_current_span());
        } else {
            let refusal =
                ErrorReply::new(ErrorCode::InvalidRequest, "too many requests at once, or an id in use");
            drop(link.inbox.send(refusal.to_json(message.id())).await);
        }
    }
    while posts.join_next().await.is_some() {}
    link.closing.store(true, Ordering::Release);
    if !link.inbox.pending.is_empty() {
        // The reader of the stream sees the last answer.
        std::future::pending().await
    }
}

impl SseLink {
    /// Delivers a request; its answer comes on the stream.
    async fn request(self: Arc<Self>, request: Message, key: IdKey) {
        let id = request.id().unwrap_or_default();
        let refused = match self.post(&request).await {
            Ok((status, body)) if !status.is_success() => refusal(status, &body, id),
            Ok(_) => return,
            Err(failure @ (Failure::Unreachable { .. } | Failure::Lost { .. }))
                if !self.config.answers_lost =>
            {
                self.lost.send_replace(Some(failure.to_string()));
                return;
            }
            Err(failure) => failure.reply().to_json(Some(id)),
        };
        self.inbox.fail(&key, refused).await;
    }

    async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        match lost.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone()) {
            Some(reason) => reason,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// Delivers a notification or a response; nobody waits for what becomes of it.
    async fn tell(&self, message: &Message) {
        if let Some(id) = message.cancelled_id().filter(|_| message.method() == Method::Cancelled) {
            self.inbox.pending.cancel(&IdKey::of(id));
        }
        let refused = match self.post(message).await {
            Ok((status, _)) if status.is_success() => return,
            Ok((status, _)) => status.to_string(),
            Err(failure) => failure.to_string(),
        };
        tracing::debug!(error = refused, rpc.method = message.method().label(), "message not delivered");
    }

    async fn post(&self, message: &Message) -> Result<(StatusCode, Bytes), Failure> {
        let mut headers = self.config.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let post = Outgoing {
            method: HttpMethod::POST,
            headers,
            path: Some(self.path.clone()),
            body: message.text().clone(),
            patience: Some(POST_PATIENCE),
            repeatable: message.method().resend() == Resend::Safe,
        };
        let response = self.origin.send(&post).await?;
        let status = response.status();
        if status.is_success() {
            // "Accepted", or nothing: said on the stream if it matters.
            answer::drain(response.into_body()).await;
            return Ok((status, Bytes::new()));
        }
        Ok((status, answer::whole(response.into_body(), self.config.max_message).await.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::super::fake::{Fake, Seen, events, hear, open_events, request, say, soon, status};
    use super::*;
    use crate::body::Body;

    /// A server of one stream, and the sender of its events.
    async fn serve(
        post: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> (Fake, mpsc::Sender<Bytes>) {
        let (stream, response) = open_events();
        let response = Mutex::new(Some(response));
        let fake = Fake::start(move |seen| match seen.method {
            HttpMethod::GET => response.lock().take().unwrap(),
            _ => post(seen),
        });
        let fake = fake.await;
        stream.send(": hello\n\nevent: endpoint\ndata: /messages?sessionId=7\n\n".into()).await.unwrap();
        (fake, stream)
    }

    fn event(id: u32) -> Bytes {
        format!("event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n\n").into()
    }

    #[tokio::test]
    async fn messages_go_where_the_stream_says_and_answers_come_by_the_stream() {
        let (fake, stream) = serve(|_| status(202)).await;
        let mut channel = fake.sse().open().await.unwrap();
        say(&channel, request(1, "initialize")).await;
        say(&channel, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        let seen = fake.until(|seen| seen.len() == 3).await;
        assert!(seen[1..].iter().all(|seen| seen.path == "/messages?sessionId=7"), "{seen:?}");
        stream.send(event(1)).await.unwrap();
        assert_eq!(hear(&mut channel).await["id"], 1);
        drop(channel);
        soon(stream.closed()).await;
    }

    #[tokio::test]
    async fn a_stream_that_ends_is_the_end_of_the_channel_and_of_what_waits() {
        let (fake, stream) = serve(|_| status(202)).await;
        let mut channel = fake.sse().open().await.unwrap();
        say(&channel, request(5, "tools/call")).await;
        fake.request("tools/call", 0).await;
        drop(stream);
        let error = hear(&mut channel).await;
        assert_eq!((&error["id"], &error["error"]["data"]["executed"]), (&json!(5), &json!("unknown")));
        assert_eq!(soon(channel.incoming.recv()).await, None);
        assert_eq!(channel.guard.why_closed().await, "the server ended the event stream");
    }

    #[tokio::test]
    async fn a_refused_post_is_an_error_of_its_request() {
        let (fake, _stream) = serve(|seen| status(if seen.what() == "bad" { 400 } else { 202 })).await;
        let mut channel = fake.sse().open().await.unwrap();
        say(&channel, request(1, "good")).await;
        say(&channel, request(2, "bad")).await;
        let error = hear(&mut channel).await;
        assert_eq!((&error["id"], &error["error"]["data"]["status"]), (&json!(2), &json!(400)));
    }

    #[tokio::test]
    async fn when_no_more_can_be_asked_what_was_asked_is_answered_first() {
        let (fake, stream) = serve(|_| status(202)).await;
        let Channel { outgoing, mut incoming, guard, .. } = fake.sse().open().await.unwrap();
        outgoing.send(request(1, "tools/call").into()).await.unwrap();
        drop(outgoing);
        fake.request("tools/call", 0).await;
        stream.send(event(1)).await.unwrap();
        assert!(soon(incoming.recv()).await.is_some());
        assert_eq!(soon(incoming.recv()).await, None);
        drop(guard);
    }

    #[tokio::test]
    async fn what_is_no_such_server_is_told_at_once() {
        for (answer, part) in [
            (status as fn(u16) -> Response<Body>, "404"),
            (|_| events("event: endpoint\ndata: http://elsewhere.example/messages\n\n"), "another origin"),
            (|_| events("data: x\n\n"), "ended before"),
        ] {
            let fake = Fake::start(move |_| answer(404)).await;
            let error = fake.sse().open().await.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
