//! What happens to a request before it is forwarded: one layer a file, their order in [`chain`].
//!
//! A layer is generic over the one inside it and knows only its kind of request: bytes, then a parsed message, then a
//! permitted one. No layer opens a connection to a backend.

#![forbid(unsafe_code)]

pub mod answer;
pub mod chain;
pub mod contain;
pub mod envelope;
pub mod limits;
pub mod observe;
pub mod origin;
pub mod permit;
pub mod request_id;
pub mod service;
pub mod tools;

pub use answer::{Answer, AnswerBody};
pub use chain::{Chain, ChainConfig};
pub use service::{Client, Forwarding, Service};
