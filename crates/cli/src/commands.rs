//! The commands: each a function of its arguments and the printer.

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod completion;
mod configure;
pub(crate) mod daemon;
pub(crate) mod events;
pub(crate) mod example;
pub(crate) mod export;
mod foreground;
pub(crate) mod group;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod mcp;
pub(crate) mod migrate;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod runtime;
pub(crate) mod secret;
mod serve;
pub(crate) mod sessions;
pub(crate) mod version;
pub(crate) mod vmcp;
