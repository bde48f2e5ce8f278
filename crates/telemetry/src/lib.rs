//! What an operator sees, and how the process stops: logs, metrics, the tasks that run and their end.
//!
//! Components are handed what they need from here; nothing is global but the log subscriber.

#![forbid(unsafe_code)]

pub mod bounded_file;
pub mod log;
pub mod metrics;
pub mod tasks;

pub use metrics::Metrics;
pub use tasks::Tasks;
