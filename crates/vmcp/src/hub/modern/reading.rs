//! A backend's answer, message by message: one, or those of a stream.

use std::collections::VecDeque;

use bytes::BytesMut;
use http_body_util::BodyExt;
use mcp::Message;
use mcp::sse::{Decoder, Event};
use proxy::Body;

use super::super::ask::{NoAnswer, is_event_stream};
use super::Response;

/// No message that the hub reads for a client is longer.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// What is read.
#[derive(Debug)]
pub(in crate::hub) struct Reading {
    body: Body,
    is_stream: bool,
    held: BytesMut,
    decoder: Decoder,
    events: VecDeque<Event>,
    /// Where a stream that was cut is gone on with.
    pub(in crate::hub) last_id: Option<String>,
}

impl Reading {
    pub(in crate::hub) fn new(response: Response) -> Self {
        let is_stream = is_event_stream(&response);
        Self::of(response.into_body(), is_stream)
    }

    /// A stream.
    pub(in crate::hub) fn stream(body: Body) -> Self {
        Self::of(body, true)
    }

    fn of(body: Body, is_stream: bool) -> Self {
        let decoder = Decoder::new(MAX_MESSAGE);
        Self { body, is_stream, held: BytesMut::new(), decoder, events: VecDeque::new(), last_id: None }
    }

    /// The next message. Cancel-safe: what was read is kept.
    ///
    /// # Errors
    /// There is none any more.
    pub(in crate::hub) async fn next(&mut self) -> Result<Message, NoAnswer> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(id) = event.id.filter(|id| !id.is_empty()) {
                    self.last_id = Some(id);
                }
                if let Ok(message) = Message::parse(event.data) {
                    return Ok(message);
                }
            }
            let Some(frame) = self.body.frame().await else { return self.finish() };
            let Ok(bytes) = frame.map_err(|_| NoAnswer::CutOff)?.into_data() else { continue };
            if self.is_stream {
                let mut events = Vec::new();
                self.decoder.feed(&bytes, &mut events).map_err(|_| NoAnswer::TooLong)?;
                self.events.extend(events);
            } else if self.held.len() + bytes.len() > MAX_MESSAGE {
                return Err(NoAnswer::TooLong);
            } else {
                self.held.extend_from_slice(&bytes);
            }
        }
    }

    fn finish(&mut self) -> Result<Message, NoAnswer> {
        if self.is_stream || self.held.is_empty() {
            return Err(NoAnswer::CutOff);
        }
        Message::parse(self.held.split().freeze())
            .map_err(|problem| NoAnswer::Unreadable(problem.to_string()))
    }
}
