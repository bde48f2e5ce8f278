//! Workflows: composite tools whose steps call other tools. So far what is said in them and what it comes to; nothing runs
//! them yet.

pub mod arguments;
pub mod condition;
pub mod output;
pub mod template;

mod coerce;
