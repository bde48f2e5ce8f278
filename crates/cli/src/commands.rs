//! The commands: each a function of its arguments and the printer.

pub(crate) mod completion;
pub(crate) mod example;
pub(crate) mod mcp;
pub(crate) mod proxy;
pub(crate) mod run;
mod serve;
pub(crate) mod sessions;
pub(crate) mod version;
