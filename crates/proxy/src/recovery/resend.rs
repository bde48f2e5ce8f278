//! Which requests may be sent a second time although the first may have been carried out.

use std::collections::HashSet;

use arc_swap::ArcSwap;
use mcp::method::Resend;
use mcp::{Message, Method};
use serde::Deserialize;

/// Tools whose annotations are remembered.
const MAX_LEARNT: usize = 4096;

/// What an operator says about the tools of one server.
///
/// Without a word from them no tool is called twice: what a server says of its own tools is not to be relied on
/// (MCP 2025-11-25, Tool annotations), and servers in the field call idempotent what adds to a list.
#[derive(Debug, Default)]
pub struct ResendPolicy {
    tools: HashSet<String>,
    trusts_annotations: bool,
    /// Tools that the server has called read-only or idempotent.
    learnt: ArcSwap<HashSet<Box<str>>>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    tools: Vec<Tool<'a>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Annotations {
    read_only_hint: bool,
    idempotent_hint: bool,
}

impl ResendPolicy {
    /// `tools` may be called twice; with `trusts_annotations` those too that the server says it of.
    #[must_use]
    pub fn new(tools: impl IntoIterator<Item = String>, trusts_annotations: bool) -> Self {
        Self { tools: tools.into_iter().collect(), trusts_annotations, learnt: ArcSwap::default() }
    }

    /// The same for another server: what an operator has said holds for that one too, what a server says of itself does not.
    #[must_use]
    pub fn of_another(&self) -> Self {
        Self::new(self.tools.iter().cloned(), self.trusts_annotations)
    }

    /// Whether this may be sent again.
    pub(crate) fn allows(&self, message: &Message) -> bool {
        match message.method() {
            Method::ToolsCall => message.target().is_some_and(|tool| self.allows_tool(&tool)),
            method => method.resend() == Resend::Safe,
        }
    }

    fn allows_tool(&self, tool: &str) -> bool {
        self.tools.contains(tool) || (self.trusts_annotations && self.learnt.load().contains(tool))
    }

    /// Whether a tool may be called again that its server says this of.
    #[must_use]
    pub fn allows_hinted(&self, tool: &str, is_said_to_be_harmless: bool) -> bool {
        self.tools.contains(tool) || (self.trusts_annotations && is_said_to_be_harmless)
    }

    /// Whether answers to `tools/list` are of interest.
    pub(crate) fn learns(&self) -> bool {
        self.trusts_annotations
    }

    /// Reads an answer to `tools/list`. A tool that is called otherwise now is no longer relied on.
    pub(crate) fn learn(&self, answer: &Message) {
        let Some(listed) =
            answer.result().and_then(|result| serde_json::from_slice::<Listed<'_>>(result).ok())
        else {
            return;
        };
        let mut learnt = HashSet::clone(&self.learnt.load());
        for Tool { name, annotations } in listed.tools {
            if !(annotations.read_only_hint || annotations.idempotent_hint) {
                learnt.remove(&*name);
            } else if learnt.len() < MAX_LEARNT {
                learnt.insert(name.into());
            }
        }
        self.learnt.store(std::sync::Arc::new(learnt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn message(value: &Value) -> Message {
        Message::parse(value.to_string().into()).unwrap()
    }

    fn call(tool: &str) -> Message {
        message(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}))
    }

    fn list(tools: &Value) -> Message {
        message(&json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}))
    }

    #[test]
    fn a_tool_is_called_twice_only_where_an_operator_says_so() {
        let listed = list(&json!([
            {"name": "reads", "annotations": {"readOnlyHint": true}},
            {"name": "sets", "annotations": {"idempotentHint": true, "readOnlyHint": false}},
            {"name": "adds", "annotations": {"destructiveHint": false}},
            {"name": "bare"},
        ]));
        let (none, named, trusting) = (
            ResendPolicy::default(),
            ResendPolicy::new(["adds".to_owned()], false),
            ResendPolicy::new([], true),
        );
        for policy in [&none, &named, &trusting] {
            policy.learn(&listed);
        }
        for (policy, expect) in [
            (&none, [false, false, false, false]),
            (&named, [false, false, true, false]),
            (&trusting, [true, true, false, false]),
        ] {
            let allowed = ["reads", "sets", "adds", "bare"].map(|tool| policy.allows(&call(tool)));
            assert_eq!(allowed, expect, "{policy:?}");
            assert!(policy.allows(&message(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))));
            assert!(!policy.allows(&message(&json!({"jsonrpc": "2.0", "id": 1, "method": "x/y"}))));
        }
        for (policy, expect) in [(&none, false), (&named, false), (&trusting, true)] {
            assert_eq!(
                (policy.allows_hinted("reads", true), policy.allows_hinted("reads", false)),
                (expect, false)
            );
        }
        assert!(named.allows_hinted("adds", false));
        trusting.learn(&list(&json!([{"name": "reads"}])));
        assert!(!trusting.allows(&call("reads")), "it is called otherwise now");
        trusting.learn(&list(&json!("none")));
        assert!(trusting.allows(&call("sets")));
    }

    #[test]
    fn what_one_server_says_of_a_tool_holds_for_no_other() {
        let one = ResendPolicy::new(["named".to_owned()], true);
        one.learn(&list(&json!([{"name": "same", "annotations": {"idempotentHint": true}}])));
        let other = one.of_another();
        assert!(one.allows(&call("same")) && !other.allows(&call("same")));
        assert!(other.allows(&call("named")) && other.learns());
    }
}
