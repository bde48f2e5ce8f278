//! The data plane: a listener, sessions pinned to their backend instance, an upstream pool, and the bridge that puts
//! HTTP in front of servers that speak in messages.
//!
//! Knows no containers, no files and no policies: it is handed addresses, key rings and channels, and requests that
//! were judged before they got here.

#![forbid(unsafe_code)]

pub mod body;
pub mod bridge;
pub mod call;
pub mod channel;
pub mod endpoint;
pub mod events;
pub mod failure;
pub mod forward;
pub mod instance;
pub mod listener;
mod recovery;
pub mod relay;
pub mod remote;
pub mod resolve;
pub mod session;
pub mod stdio;
pub mod streamable;
pub mod upstream;

pub use body::Body;
pub use call::Call;
pub use channel::{Channel, Connect, ConnectError};
pub use failure::Failure;
pub use recovery::history;
pub use recovery::resend::ResendPolicy;
