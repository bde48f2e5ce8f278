//! The Model Context Protocol without IO: what a message, a method, a revision, a header and an event are.
//!
//! Everything here is a function of bytes. Messages are read in one borrowed pass and keep their exact text, because
//! what is not changed must be forwarded untouched ([`message`]). Nothing here opens a socket, reads a clock, logs,
//! or knows what a session is for; those live in `proxy`.

#![forbid(unsafe_code)]

pub mod error;
pub mod framing;
pub mod headers;
pub mod json;
pub mod message;
pub mod method;
pub mod param_headers;
pub mod request;
pub mod revision;
pub mod sse;

pub use error::{ErrorCode, ErrorReply};
pub use json::Span;
pub use message::{Kind, Malformed, Message};
pub use method::Method;
pub use request::Request;
pub use revision::{Era, Revision};
