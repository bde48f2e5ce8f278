//! Tools that the hub answers itself: which names those are, and how a client gets their answers.
//!
//! Such a tool works in a task of its own. A client that goes away has not cancelled it; one that says so has.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use mcp::{ErrorCode, ErrorReply, Message, Method};
use proxy::Body;
use proxy::body::event_stream;
use proxy::failure::{json_answer, refused};
use proxy::session::Session;
use proxy::session::table::InUse;
use proxy::streamable::{Accepts, empty};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::head::carried;
use super::meta::MetaTool;
use super::session::Held;
use super::voice::Voice;

/// A tool of the hub's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnTool {
    /// A composite tool, by its name in the configuration.
    Composite(String),
    /// One over all tools.
    Meta(MetaTool),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The answer, a whole message.
    Answer(Bytes),
    /// Nobody wants it any more.
    Unwanted,
    /// It goes on at another replica.
    Elsewhere,
}

impl Came {
    fn answer(&self) -> Option<&[u8]> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Unwanted | Self::Elsewhere => None,
        }
    }
}

/// A request of a client that the hub itself works on; known by its id until it is dropped.
#[derive(Debug)]
pub(super) struct OnBehalf {
    pub(super) session: Arc<Session<Held>>,
    /// The request's, as the client wrote it.
    pub(super) id: Box<[u8]>,
    /// The client does not want it any more.
    pub(super) cancel: CancellationToken,
    /// What of its headers goes on with the calls that are made for it. A run that was taken over has none.
    pub(super) carried: HeaderMap,
    _in_use: InUse<Held>,
}

impl OnBehalf {
    /// Whether it is a request of this session.
    pub(super) fn is_of(&self, session: &Session<Held>) -> bool {
        self.session.id == session.id
    }
}

impl Drop for OnBehalf {
    fn drop(&mut self) {
        self.session.backend.own.lock().remove(&self.id);
    }
}

/// A request that calls such a tool, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnRequest<'r> {
    pub(super) session: &'r Arc<Session<Held>>,
    pub(super) message: &'r Message,
    pub(super) accepts: Accepts,
    pub(super) headers: &'r HeaderMap,
}

/// A call of such a tool.
#[derive(Debug)]
pub(super) struct OwnCall {
    pub(super) on_behalf: OnBehalf,
    pub(super) message: Message,
    pub(super) accepts: Accepts,
}

impl Hub {
    /// Which tool of the hub's own a request calls, if it does.
    pub(super) fn own_tool(&self, message: &Message) -> Option<OwnTool> {
        if message.method() != Method::ToolsCall {
            return None;
        }
        let name = message.target()?;
        if let Some(tool) = self.shape.load().meta.named(&name) {
            return Some(OwnTool::Meta(tool));
        }
        let view = self.view.load();
        view.composite(&name).map(|name| OwnTool::Composite(name.to_owned()))
    }

    pub(super) async fn answer_own(
        self: &Arc<Self>,
        tool: OwnTool,
        request: OwnRequest<'_>,
    ) -> Response<Body> {
        let OwnRequest { session, message, accepts, headers } = request;
        let carried = carried(headers, &self.shape.load().passed_headers);
        let on_behalf = self.on_behalf(session, message.id().unwrap_or_default(), carried);
        let call = OwnCall { on_behalf, message: message.clone(), accepts };
        match tool {
            OwnTool::Composite(name) => self.call_composite(&name, call).await,
            OwnTool::Meta(tool) => self.call_meta(tool, call).await,
        }
    }

    /// Takes note of a request that the hub works on.
    pub(super) fn on_behalf(&self, session: &Arc<Session<Held>>, id: &[u8], carried: HeaderMap) -> OnBehalf {
        let (id, cancel) = (Box::<[u8]>::from(id), CancellationToken::new());
        session.backend.own.lock().insert(id.clone(), cancel.clone());
        OnBehalf { session: Arc::clone(session), id, cancel, carried, _in_use: self.table.enter(session) }
    }

    /// Has `work` make the answer. The client hears `voice` until then, if it takes events. Where it can come back for
    /// the rest, whoever works primes the voice as soon as that is so.
    pub(super) async fn perform(
        self: &Arc<Self>,
        accepts: Accepts,
        voice: Arc<Voice>,
        work: impl Future<Output = Came> + Send + 'static,
    ) -> Response<Body> {
        let events = accepts.events.then(|| voice.listen(0));
        let (tell, told) = oneshot::channel();
        self.tasks.spawn("a tool of the hub's own", async move {
            let came = work.await;
            voice.end(came.answer()).await;
            // Whoever reads events has it.
            let _ = tell.send(came);
        });
        match events {
            Some(events) => event_stream(Body::events(events, None)),
            None => match told.await.unwrap_or(Came::Elsewhere) {
                Came::Answer(answer) => json_answer(StatusCode::OK, answer),
                Came::Unwanted => empty(StatusCode::ACCEPTED),
                Came::Elsewhere => interrupted(),
            },
        }
    }
}

/// To a client that takes no events, and so cannot come back for the answer.
fn interrupted() -> Response<Body> {
    let data = json!({"origin": "skep", "class": "interrupted", "executed": "unknown"});
    let text = "it goes on at another replica, and its answer is for clients that accept text/event-stream";
    let reply = ErrorReply::new(ErrorCode::OutcomeUnknown, text).with_data(data);
    refused(StatusCode::OK, "interrupted", &reply, None)
}
