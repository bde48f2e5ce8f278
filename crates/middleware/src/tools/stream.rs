//! Filters tools lists out of a passing event stream: events are read whole, changed where they carry a list, and
//! written again with their id and name.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use mcp::sse::{self, Decoder, Event, KEEP_ALIVE};
use mcp::{ErrorCode, ErrorReply, Message};

use super::policy::ToolPolicy;
use super::{MAX_LIST, rewrite};
use crate::answer::{AnswerBody, BoxError};

pub(super) struct FilteredEvents {
    inner: AnswerBody,
    decoder: Decoder,
    policy: Arc<ToolPolicy>,
}

impl FilteredEvents {
    pub(super) fn new(inner: AnswerBody, policy: Arc<ToolPolicy>) -> Self {
        Self { inner, decoder: Decoder::new(MAX_LIST), policy }
    }

    fn filter(&mut self, bytes: &[u8]) -> Result<Bytes, BoxError> {
        let mut events = Vec::new();
        self.decoder.feed(bytes, &mut events)?;
        if events.is_empty() && bytes == KEEP_ALIVE {
            return Ok(Bytes::from_static(KEEP_ALIVE));
        }
        let mut out = BytesMut::new();
        for event in events {
            let data = self.filter_data(&event);
            let name = (!event.name.is_empty()).then_some(event.name.as_str());
            sse::encode(&mut out, name, event.id.as_deref(), event.retry, &data);
        }
        Ok(out.freeze())
    }

    fn filter_data(&self, event: &Event) -> Bytes {
        // Cheap and certain: JSON may spell the member with escapes, but not without a backslash.
        let may_list =
            event.data.windows(7).any(|window| window == b"\"tools\"") || event.data.contains(&b'\\');
        if !may_list {
            return event.data.clone();
        }
        match rewrite::message(&self.policy, &event.data) {
            Ok(text) => text,
            Err(unfilterable) => {
                tracing::warn!(reason = %unfilterable, "a tools list was withheld from an event stream");
                let id =
                    Message::parse(event.data.clone()).ok().and_then(|m| m.id().map(Bytes::copy_from_slice));
                ErrorReply::new(ErrorCode::Internal, format!("the tools list was withheld: {unfilterable}"))
                    .to_json(id.as_deref())
            }
        }
    }
}

impl Body for FilteredEvents {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match this.filter(&data) {
                        Ok(out) if out.is_empty() => {}
                        filtered => return Poll::Ready(Some(filtered.map(Frame::data))),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;

    #[tokio::test]
    async fn events_in_pieces_are_filtered_and_comments_kept() {
        let policy = Arc::new(ToolPolicy::new(&["a".into()], []).unwrap());
        let (mut send, body) = Channel::<Bytes, BoxError>::new(16);
        let list = r#"{"jsonrpc":"2.0","id":1,"result":{"t\u006fols":[{"name":"rm"},{"name":"a"}]}}"#;
        let (start, end) = list.split_at(40);
        for piece in [
            ":\n\n".to_owned(),
            format!("event: message\nid: 3\ndata: {start}"),
            format!("{end}\n\ndata: {{\n\n"),
        ] {
            send.send(Frame::data(Bytes::from(piece))).await.unwrap();
        }
        drop(send);
        let filtered = FilteredEvents::new(AnswerBody::Stream(Box::pin(body)), policy);
        let text = filtered.collect().await.unwrap().to_bytes();
        let expect = list.replace(r#"{"name":"rm"},"#, "");
        assert_eq!(text, format!(":\n\nevent: message\nid: 3\ndata: {expect}\n\ndata: {{\n\n"));
    }
}
