//! What an evaluator and its owner say to each other, a line of JSON each: first the job; then calls and printed texts one
//! way, answers the other; at the end one outcome.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What is to be evaluated.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Job {
    /// The script.
    pub script: String,
    /// Its variables.
    pub data: Map<String, Value>,
    /// Tools that are functions, by their names.
    pub tools: Vec<String>,
    /// How far it may go.
    pub limits: Limits,
}

/// How far a script may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Limits {
    /// Statements.
    pub steps: u64,
    /// Calls in all.
    pub calls: u64,
    /// Calls at once.
    pub parallel: usize,
    /// Bytes of what it gives to a tool, or returns.
    pub output: usize,
    /// Bytes of its values.
    pub heap: usize,
}

/// What an evaluator says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// A tool is to be called.
    Call {
        /// What the answer names.
        id: u64,
        /// The tool.
        tool: String,
        /// Its arguments.
        arguments: Box<RawValue>,
    },
    /// The script has printed a text.
    Print(String),
    /// The script has returned a value. Nothing follows.
    Done(Box<RawValue>),
    /// The script has failed. Nothing follows.
    Failed(String),
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Answer {
    /// Which call.
    pub id: u64,
    /// Its value, or why there is none.
    pub outcome: Result<Value, String>,
}
