//! `subscriptions/listen` (2026-07-28): a request that ends when somebody ends it, and says what changed meanwhile.

use std::collections::HashSet;

use mcp::ErrorCode;
use mcp::ErrorReply;
use mcp::message::meta_key;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::call::Call;
use crate::event_log::Outbox;
use crate::notices::{Change, notification};
use crate::reply::{Members, Outcome, Work};
use crate::tasks;

/// URIs and tasks that one listen request may name.
const MAX_NAMES: usize = 1024;

/// What the client wants to be told.
#[derive(Debug, Default)]
struct Filter {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: HashSet<String>,
    tasks: HashSet<String>,
    /// The honoured part of the request, for the acknowledgement.
    honoured: Map<String, Value>,
}

impl Filter {
    fn read(wanted: &Map<String, Value>, with_tasks: bool) -> Self {
        let mut filter = Self::default();
        for (name, value) in wanted {
            let honoured = match name.as_str() {
                "toolsListChanged" => set(&mut filter.tools, value),
                "promptsListChanged" => set(&mut filter.prompts, value),
                "resourcesListChanged" => set(&mut filter.resources, value),
                "resourceSubscriptions" => fill(&mut filter.uris, value),
                "taskIds" if with_tasks => fill(&mut filter.tasks, value),
                _ => false,
            };
            if honoured {
                filter.honoured.insert(name.clone(), value.clone());
            }
        }
        filter
    }

    fn wants(&self, change: &Change) -> bool {
        match change {
            Change::Tools => self.tools,
            Change::Prompts => self.prompts,
            Change::Resources => self.resources,
            Change::Resource { uri } => self.uris.contains(uri),
            Change::Task { id, .. } => self.tasks.contains(id),
        }
    }

    /// What to say when changes were missed: everything may have changed.
    fn everything(&self) -> Vec<Change> {
        let mut changes = vec![Change::Tools, Change::Prompts, Change::Resources];
        changes.extend(self.uris.iter().map(|uri| Change::Resource { uri: uri.clone() }));
        changes.retain(|change| self.wants(change));
        changes
    }
}

fn set(wanted: &mut bool, value: &Value) -> bool {
    *wanted = value.as_bool().unwrap_or(false);
    *wanted
}

fn fill(wanted: &mut HashSet<String>, value: &Value) -> bool {
    let names = value.as_array().map_or(&[][..], Vec::as_slice);
    wanted.extend(names.iter().filter_map(Value::as_str).take(MAX_NAMES).map(str::to_owned));
    value.is_array()
}

/// Answers `subscriptions/listen`.
///
/// # Errors
/// The answer to a request without a filter.
pub(crate) fn listen(call: &Call) -> Result<Work, Outcome> {
    let params = call.params();
    let wanted = params["notifications"].as_object();
    let wanted = wanted.ok_or_else(|| Outcome::invalid_params("params.notifications is required"))?;
    let filter = Filter::read(wanted, call.has_extension(tasks::EXTENSION));
    let call = call.clone();
    Ok(Work::later(|outbox| run(call, filter, outbox)))
}

async fn run(call: Call, filter: Filter, outbox: Outbox) -> Outcome {
    let Some(id) = call.message.id().and_then(|id| serde_json::from_slice::<Value>(id).ok()) else {
        return Outcome::Error(ErrorReply::new(ErrorCode::InvalidRequest, "the id is not JSON"));
    };
    // Before the acknowledgement, so that nothing falls between the two.
    let mut changes = call.server.changes();
    let tag = json!({meta_key::SUBSCRIPTION_ID: id});
    let acknowledged = json!({"notifications": filter.honoured, "_meta": tag});
    let mut sent = outbox.send(notification("notifications/subscriptions/acknowledged", &acknowledged)).await;
    while sent.is_ok() {
        let news = tokio::select! {
            change = changes.recv() => match change {
                Ok(change) if filter.wants(&change) => vec![change],
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => filter.everything(),
                Err(RecvError::Closed) => break,
            },
            () = call.server.stopping.cancelled() => break,
        };
        for change in news {
            sent = sent.and(outbox.send(change.notice(Some(&id))).await);
        }
    }
    Outcome::Complete(Members::of(&json!({"_meta": tag})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_and_known_is_honoured() {
        let wanted = json!({"toolsListChanged": true, "promptsListChanged": false, "moonPhase": true,
            "resourceSubscriptions": ["a:1", 7], "taskIds": ["t"]});
        let filter = Filter::read(wanted.as_object().unwrap(), false);
        assert_eq!(
            Value::Object(filter.honoured.clone()),
            json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1", 7]})
        );
        for (change, expect) in [
            (Change::Tools, true),
            (Change::Prompts, false),
            (Change::Resource { uri: "a:1".to_owned() }, true),
            (Change::Resource { uri: "a:2".to_owned() }, false),
            (Change::Task { id: "t".to_owned(), detail: json!({}) }, false),
        ] {
            assert_eq!(filter.wants(&change), expect, "{change:?}");
        }
        assert_eq!(filter.everything(), [Change::Tools, Change::Resource { uri: "a:1".to_owned() }]);
    }
}
