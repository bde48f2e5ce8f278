//! Calls that take longer than their backend may take: they end with an error, and the backend hears that nobody waits.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use mcp::{ErrorCode, ErrorReply, Message};
use proxy::Body;
use proxy::failure::refused;
use proxy::session::Session;
use serde_json::json;
use tokio::time::Instant;

use super::health::Seen;
use super::session::Held;
use super::{Hub, Member};

/// The error of a backend that has taken too long.
pub(super) fn late(member: &Member) -> ErrorReply {
    let within = member.backend.call_within().unwrap_or_default();
    let text = format!("backend {} has not answered within {within:?}", member.name);
    ErrorReply::new(ErrorCode::Internal, text).with_data(
        json!({"origin": "skep", "class": "timed_out", "backend": &*member.name, "executed": "unknown"}),
    )
}

/// A call that has its time.
pub(super) struct Timed {
    hub: Arc<Hub>,
    session: Arc<Session<Held>>,
    member: Arc<Member>,
    /// As the client wrote it.
    id: Bytes,
    pub(super) deadline: Instant,
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Timed {
    /// From now on; `None` where a call may take as long as it takes.
    pub(super) fn begin(
        hub: &Arc<Hub>,
        session: &Arc<Session<Held>>,
        member: &Arc<Member>,
        message: &Message,
    ) -> Option<Self> {
        let deadline = Instant::now() + member.backend.call_within()?;
        let id = Bytes::copy_from_slice(message.id().unwrap_or_default());
        let (hub, session, member) = (Arc::clone(hub), Arc::clone(session), Arc::clone(member));
        Some(Self { hub, session, member, id, deadline })
    }

    /// The time is over: tells the backend, and gives what the client is answered.
    fn end(&self) -> ErrorReply {
        self.hub.saw(&self.member, Seen::Failure);
        let (hub, session) = (Arc::clone(&self.hub), Arc::clone(&self.session));
        let name = Arc::clone(&self.member.name);
        let cancelled = [
            br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"it took too long","requestId":"#,
            &self.id[..],
            b"}}",
        ]
        .concat();
        self.hub.tasks.spawn("a call that takes too long", async move {
            hub.tell_one(&session, &name, cancelled.into()).await;
        });
        late(&self.member)
    }

    /// The answer in place of the backend's.
    pub(super) fn answer(&self) -> Response<Body> {
        refused(StatusCode::OK, "timed_out", &self.end(), Some(&self.id))
    }

    /// The last event of a stream that has begun.
    pub(super) fn event(&self) -> Bytes {
        let mut out = BytesMut::new();
        mcp::sse::encode(&mut out, Some("message"), None, None, &self.end().to_json(Some(&self.id)));
        out.freeze()
    }
}
