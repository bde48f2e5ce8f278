//! skep's built-in example MCP server: something to run when nothing else is installed, the backend of the tests and
//! the benchmarks, and what the official conformance suite is pointed at.
//!
//! One core ([`server`], [`dispatch`]) knows no transport: a request goes in, and an answer comes out that is either
//! complete, or still to be run with an outbox for what it says on the way. Transports are thin: Streamable HTTP with
//! both eras on one endpoint, HTTP+SSE of 2024-11-05, and stdio with both eras on one pipe.
//!
//! The request path, file by file: `transport` → `dispatch` → `tools` (or `resources`, `prompts`, …) → `reply`.
//!
//! Deliberately absent: batches (2025-03-26), the experimental tasks of 2025-11-25 (those of 2026-07-28 are here),
//! authorization, TLS, and any state that outlives the process.

#![forbid(unsafe_code)]

mod call;
mod completion;
mod config;
mod dispatch;
mod event_log;
mod handshake;
mod in_flight;
mod journal;
mod large;
mod listen;
mod notes;
mod notices;
mod prompts;
mod question;
mod reply;
mod resources;
mod seal;
mod server;
mod session;
mod sessions;
mod tasks;
mod timestamp;
mod tools;
mod transport;

pub use config::ExampleConfig;
pub use journal::Journal;
pub use mcp::Era;
pub use transport::{serve_http, serve_stdio};
