//! Messages that skep sends to an instance itself, in the name of the client whose request is being served.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode, header};
use mcp::message::Kind;
use mcp::sse::Decoder;
use mcp::{Message, headers};

use super::{Forward, health, hop};
use crate::instance::Instance;
use crate::upstream::body::UpstreamBody;
use crate::upstream::{Fields, Manner, OutgoingRequest, Pool};

/// An answer that is larger is not read.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Headers of the client that say what is in the body and what may come back: for our own messages we say that. (rmcp
/// sends and compares `Mcp-Method` and `Mcp-Name` in the legacy era too.)
const OF_THE_BODY: [&[u8]; 5] = [b"accept", b"content-type", b"last-event-id", b"mcp-method", b"mcp-name"];

pub(super) fn is_of_the_body(name: &[u8]) -> bool {
    OF_THE_BODY.contains(&name) || name.starts_with(b"mcp-param-")
}

/// In whose name: the headers that came with a client's request, its credentials among them, and the path it asked for.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    fields: Fields,
    path: Option<PathAndQuery>,
}

/// What an instance answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) session: Option<HeaderValue>,
    /// The answer to the request; `None` where there is none, or it cannot be read.
    pub(super) message: Option<Message>,
}

impl Voice {
    /// That of a request, whose fields are without a session id.
    pub(super) fn of(request: &OutgoingRequest) -> Self {
        let mut fields = request.fields.without(is_of_the_body);
        fields.push(&header::ACCEPT, &HeaderValue::from_static("application/json, text/event-stream"));
        fields.push(&header::CONTENT_TYPE, &HeaderValue::from_static("application/json"));
        Self { fields, path: request.path.clone() }
    }
}

impl Forward {
    /// Posts a message and reads the answer to it, whatever else comes before.
    ///
    /// # Errors
    /// In words: not reached, lost, or not answered within `patience`.
    pub(super) async fn post_own(
        &self,
        pool: &Arc<Pool>,
        instance: &Arc<Instance>,
        voice: &Voice,
        session: Option<&HeaderValue>,
        text: Bytes,
        patience: Duration,
    ) -> Result<Answered, String> {
        let fields = match session {
            Some(session) => {
                let mut fields = voice.fields.clone();
                fields.push(&headers::SESSION_ID, session);
                fields
            }
            // The revision is what a handshake is about to agree on.
            None => voice.fields.without(|name| name == headers::PROTOCOL_VERSION.as_str().as_bytes()),
        };
        let request =
            OutgoingRequest { method: HttpMethod::POST, path: voice.path.clone(), fields, body: text };
        let manner = Manner { patience: Some(patience), repeatable: false };
        let posted = async {
            let answer = pool.exchange(instance, &request, manner).await;
            if let Err(error) = &answer {
                health::learn_error(instance, error);
            }
            let answer = answer.map_err(|error| error.to_string())?;
            let (head, mut body) = answer.into_parts();
            let message = read_answer(&head.headers, &mut body).await;
            Ok(Answered {
                status: head.status,
                session: head.headers.get(&headers::SESSION_ID).cloned(),
                message,
            })
        };
        let timed = tokio::time::timeout(patience, posted).await;
        timed.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")))
    }
}

/// Reads the response that is in an answer: all of a JSON text, an event stream as far as it takes. What was read is
/// still to be passed on.
pub(super) async fn read_answer(headers: &HeaderMap, body: &mut UpstreamBody) -> Option<Message> {
    if !hop::is_event_stream(headers) {
        body.read_until(MAX_ANSWER, |_| false).await.ok()?;
        return Message::parse(Bytes::copy_from_slice(body.read())).ok();
    }
    let (mut decoder, mut events, mut answer) = (Decoder::new(MAX_ANSWER), Vec::new(), None);
    let read = body.read_until(MAX_ANSWER, |piece| {
        let readable = decoder.feed(piece, &mut events).is_ok();
        let messages = events.drain(..).filter_map(|event| Message::parse(event.data).ok());
        answer = messages.into_iter().find(|message| matches!(message.kind(), Kind::Result | Kind::Error));
        answer.is_some() || !readable
    });
    read.await.ok()?;
    answer
}
