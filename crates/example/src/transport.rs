//! How messages get in and out. All transports parse with [`mcp::Message`] and ask [`crate::dispatch`].

mod body;
mod events;
mod front;
mod guard;
mod listener;
mod pipe;
mod sse;
mod stdio;
mod streamable;

pub use listener::serve_http;
pub use stdio::serve_stdio;
