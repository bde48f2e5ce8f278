//! Workflows: composite tools whose steps call other tools. So far what is said in them, in which order it is done, and what
//! is written down of it; nothing runs them yet.

pub mod arguments;
pub mod condition;
pub mod log;
pub mod output;
pub mod plan;
pub mod template;

mod coerce;
