//! A client's HTTP request once its body has been read as a message: what the inner layers and the proxy work with.

use bytes::Bytes;
use http::request::Parts;

use crate::{Era, Message};

/// A parsed request. Made by the envelope layer alone; later layers may narrow or rewrite it, never re-read it.
#[derive(Debug)]
pub struct Request {
    /// Method, path, headers and typed extensions, as received.
    pub head: Box<Parts>,
    /// What the body says, and by which life cycle.
    pub body: Body,
}

/// The body of a parsed request.
#[derive(Debug)]
pub enum Body {
    /// GET and DELETE.
    None,
    /// A POST with one JSON-RPC message.
    Message { message: Box<Message>, era: Era },
}

impl Request {
    /// The message of a POST.
    #[must_use]
    pub fn message(&self) -> Option<&Message> {
        match &self.body {
            Body::None => None,
            Body::Message { message, .. } => Some(message),
        }
    }

    /// The raw id to echo in an error, where the request has one.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.message().and_then(Message::id)
    }

    /// The bytes to forward.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.message().map(|message| message.text().clone()).unwrap_or_default()
    }

    /// The era of a POST; a GET or DELETE is legacy unless its version header says otherwise.
    #[must_use]
    pub fn era(&self) -> Era {
        match &self.body {
            Body::Message { era, .. } => *era,
            Body::None => {
                let version = self.head.headers.get(&crate::headers::PROTOCOL_VERSION);
                match version.and_then(|value| value.to_str().ok()).and_then(crate::Revision::from_wire) {
                    Some(revision) => revision.era(),
                    None => Era::Legacy,
                }
            }
        }
    }
}
