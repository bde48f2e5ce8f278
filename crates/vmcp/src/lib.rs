//! Virtual MCP: many servers behind one endpoint, and workflows over them. So far what needs no backend: the language that
//! workflows are written in.
//!
//! Deliberately absent: files, the environment, clocks and connections. What is read, when it is, is said by the caller.

#![forbid(unsafe_code)]

pub mod hub;
pub mod workflow;
