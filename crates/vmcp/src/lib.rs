//! Virtual MCP: many servers behind one endpoint, and workflows over them.
//!
//! [`config`], [`aggregate`] and [`workflow`] need no backend; [`hub`] is the endpoint.
//!
//! Deliberately absent: files, the environment and connections. What is read, when it is, is said by the caller, and
//! backends are handed in.

#![forbid(unsafe_code)]

pub mod aggregate;
pub mod config;
pub mod hub;
pub mod optimizer;
pub mod script;
pub mod workflow;
