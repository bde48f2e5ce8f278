//! Runs of workflows as a running skep tells of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use vmcp::hub::{RunView, TaskLine};

/// The runs that one process knows of: with a store that replicas share, those of all of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunList {
    /// What is served.
    pub name: String,
    pub runs: Vec<RunReport>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    pub id: Uuid,
    pub workflow: String,
    pub session: Option<Uuid>,
    /// Unix milliseconds.
    pub began: u64,
    /// When the last thing happened.
    pub last: u64,
    pub state: String,
    /// It goes on in the process that was asked.
    pub is_here: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// Nothing in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<RunEntry>,
}

/// Something that happened in a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunEntry {
    /// Unix milliseconds.
    pub at: u64,
    /// The step; nothing for the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

impl RunReport {
    /// As it stands in a list.
    pub(super) fn without_timeline(self) -> Self {
        Self { timeline: Vec::new(), ..self }
    }
}

impl From<RunView> for RunReport {
    fn from(view: RunView) -> Self {
        let RunView { id, workflow, session, began, state, is_here, arguments, timeline } = view;
        let last = timeline.last().map_or(began, |line| line.at);
        let entry =
            |TaskLine { at, task, what, detail }| RunEntry { at, task, what: what.to_owned(), detail };
        let timeline = timeline.into_iter().map(entry).collect();
        Self { id, workflow, session, began, last, state: state.to_owned(), is_here, arguments, timeline }
    }
}
