//! HTTP+SSE of 2024-11-05: the stream is the session, and messages to the server are posted beside it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode, Uri};
use mcp::{ErrorCode, ErrorReply, sse};
use parking_lot::Mutex;

use super::body::{Body, empty, events, refuse};
use super::events::{EventStream, FromPipe};
use super::pipe::Pipe;
use crate::server::Server;
use crate::session::SessionId;

/// The open streams, by the name in their endpoint.
#[derive(Default)]
pub(super) struct Pipes(Mutex<HashMap<SessionId, Arc<Pipe>>>);

/// Ends a session when its stream is dropped.
struct OpenPipe {
    pipes: Arc<Pipes>,
    id: SessionId,
}

impl Drop for OpenPipe {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipes.0.lock().remove(&self.id) {
            pipe.over.cancel();
        }
    }
}

pub(super) fn open(server: &Arc<Server>, pipes: &Arc<Pipes>) -> Response<Body> {
    let id = SessionId::random();
    let (pipe, frames) = Pipe::new(server);
    {
        let mut open = pipes.0.lock();
        if open.len() >= server.config.max_sessions {
            let why = ErrorReply::new(ErrorCode::Internal, "too many sessions: try again later");
            pipe.over.cancel();
            return refuse(StatusCode::SERVICE_UNAVAILABLE, &why, None);
        }
        open.insert(id, pipe);
    }
    let mut endpoint = BytesMut::new();
    sse::encode(&mut endpoint, Some("endpoint"), None, None, format!("/messages?sessionId={id}").as_bytes());
    let guard = OpenPipe { pipes: Arc::clone(pipes), id };
    events(EventStream::new(FromPipe::new(endpoint.freeze(), frames, guard)))
}

pub(super) async fn post(pipes: &Pipes, uri: &Uri, text: Bytes) -> Response<Body> {
    let named = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("sessionId="));
    let pipe = named.and_then(SessionId::from_wire).and_then(|id| pipes.0.lock().get(&id).cloned());
    let Some(pipe) = pipe else {
        let why = ErrorReply::new(ErrorCode::SessionNotFound, "Session not found");
        return refuse(StatusCode::NOT_FOUND, &why, None);
    };
    pipe.take(text).await;
    empty(StatusCode::ACCEPTED)
}
