//! Use cases and composition: from checked settings to a chain, a proxy and a workload that run together.
//!
//! - [`serve`] — one server behind one endpoint, from start to drain.
//! - [`relay`] — the other way round: stdio in front of a remote server.
//! - [`client`] — an MCP client for people.
//! - [`vmcp`] — what a virtual MCP's file comes to.
//! - [`daemon`] — the process that owns many of them.
//! - [`migrate`] — what ToolHive has kept, taken over.
//! - [`plan`] — what a RunConfig comes to.
//! - [`packages`] — servers that are packages, installed where they are run from.
//! - [`control`] — what a running skep can be asked by whoever started it.
//!
//! Everything is handed in as values: no environment, no home directory, no terminal. Files are read where a setting
//! names one.

#![forbid(unsafe_code)]

pub mod client;
pub mod control;
pub mod daemon;
mod diagnostics;
pub mod export;
pub mod headers;
pub mod images;
mod inside;
pub mod keys;
pub mod migrate;
pub mod packages;
pub mod plan;
mod process;
pub mod relay;
pub mod runs;
pub mod secrets;
pub mod serve;
pub mod sessions;
pub mod socket;
pub mod target;
pub mod vmcp;

pub use serve::{ServeSettings, Serving, StartError};
pub use target::Target;
