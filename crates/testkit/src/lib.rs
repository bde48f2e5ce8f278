//! What tests and benchmarks from outside need: a plain HTTP client that hides nothing, and programs that are started
//! and never left behind.
//!
//! Deliberately not the project's own client or parser: what is tested must not test itself.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "real programs take real time")]

pub mod mcp;
pub mod program;
pub mod wire;

pub use program::Program;
pub use wire::{Connection, Response};
