//! Connections to backends: opened to an exact address, kept per instance, driven from the request's own task.
//!
//! A pool belongs to one worker thread and is never contended. It has no background task: an idle connection is looked
//! at when it is taken, and a connection in use is polled by whoever waits for its answer, which saves two wake-ups per
//! request and lets head and first bytes of an answer leave in one write.

pub mod body;
pub mod connection;
pub mod dial;
mod exchange;
pub(crate) mod h1;
pub mod pool;
#[cfg(test)]
pub(crate) mod simulated;
pub mod tls;

pub use dial::{Dial, Dialling};
pub(crate) use exchange::{Manner, same_origin_path};
#[cfg(test)]
pub(crate) use h1::head_text;
pub(crate) use h1::{Fields, OutgoingRequest};
pub use pool::{Pool, PoolConfig, UpstreamError};
pub use tls::{ClientTls, TlsError};
