//! Virtual MCP: many servers behind one endpoint, and workflows over them. So far what needs no backend: the
//! configuration, what many servers look like as one, and workflows.
//!
//! Deliberately absent: files, the environment, clocks and connections. What is read, when it is, is said by the caller.

#![forbid(unsafe_code)]

pub mod aggregate;
pub mod config;
pub mod workflow;
