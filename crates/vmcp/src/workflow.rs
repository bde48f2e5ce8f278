//! Workflows: composite tools whose steps call other tools. What is said in them ([`template`] and what stands beside it), in
//! which order it is done ([`plan`]), what is written down of it ([`log`]), and how it is done ([`exec`]).

pub mod arguments;
pub mod catalog;
pub mod condition;
pub mod exec;
pub mod log;
pub mod output;
pub mod parameters;
pub mod plan;
pub mod runs;
pub mod template;

mod coerce;

pub use catalog::Workflows;
