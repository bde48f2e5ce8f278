//! Workflows: composite tools whose steps call other tools.

pub mod template;
