//! What tests and benchmarks from outside need: a plain HTTP client that hides nothing, programs that are started
//! and never left behind, container runtimes and images, a way that hears what passes, and a name server that can be told
//! other answers.
//!
//! Deliberately not the project's own client or parser: what is tested must not test itself.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "real programs take real time")]

pub mod containers;
pub mod dns;
pub mod mcp;
pub mod program;
pub mod tap;
pub mod wire;

pub use dns::NameServer;
pub use program::Program;
pub use tap::Tap;
pub use wire::{Connection, Response};
