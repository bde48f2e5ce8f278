//! The bridge with fake servers: each rule of `docs/design/bridge.md`, seen from a client.

mod harness;
mod modern;
mod per_session;
mod revival;
mod shared;
mod sse;
