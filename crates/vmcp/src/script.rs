//! Code mode: a client's script calls many tools, and what it returns is the answer of one call.
//!
//! Scripts are Starlark: no imports, no files, no clock, no `while`. They come from clients, so an evaluator is nothing that
//! skep trusts: it runs where it can be killed ([`Evaluators`], in `manager` a process of its own with little memory), and
//! says what it wants done in lines ([`protocol`]). [`Scripts`] starts one for each script, calls the tools ([`Tools`])
//! and keeps the time. What a script does is in [`evaluator`].
//!
//! INVARIANT: dropping what is run drops its calls and its evaluator; that is how both are cancelled.
//!
//! Deliberately absent: processes, and who may call what.

#[cfg(feature = "starlark")]
pub mod evaluator;
#[cfg(test)]
pub(crate) mod fake;
pub mod protocol;
mod request;
mod result;
mod run;

use bytes::Bytes;

pub use request::{BadRequest, Request};
pub use run::{Calling, Evaluator, Evaluators, NotStarted, Scripts, Settings, Starting, Tools};

/// The tool that runs scripts.
pub const EXECUTE_TOOL_SCRIPT: &str = "execute_tool_script";

/// It as a list shows it.
#[must_use]
pub fn definition() -> Bytes {
    Bytes::from_static(include_str!("script/execute_tool_script.json").trim_ascii().as_bytes())
}
