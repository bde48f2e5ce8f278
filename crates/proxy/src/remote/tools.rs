//! Which tools want arguments repeated in headers, learnt from the lists that pass by (2026-07-28).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use mcp::param_headers::{self, ParamHeaders};
use mcp::{Message, Method};
use parking_lot::Mutex;

/// Beyond this many tools with marked parameters no more are learnt.
const MOST: usize = 10_000;

/// The tools with marked parameters, by name.
#[derive(Debug, Default)]
pub(super) struct LearntTools {
    marked: Mutex<HashMap<String, Arc<ParamHeaders>>>,
}

impl LearntTools {
    /// Learns from a `tools/list` result. Gives the message without the tools whose annotations are not allowed, if
    /// there are any: a client must not show those.
    pub(super) fn learn(&self, result: &Message) -> Option<Bytes> {
        let span = result.tools_span()?;
        let tools = &result.text()[span.range()];
        let listed = param_headers::read_tools(tools).ok()?;
        let kept = param_headers::without_rejected(tools, &listed);
        let mut marked = self.marked.lock();
        for tool in listed {
            match tool.headers {
                Ok(headers) if headers.is_empty() => {
                    marked.remove(&tool.name);
                }
                Ok(headers) if marked.len() < MOST => {
                    marked.insert(tool.name, Arc::new(headers));
                }
                Ok(_) => tracing::warn!(tool.name, "too many tools with x-mcp-header, not learnt"),
                Err(problem) => {
                    tracing::warn!(tool.name, error = %problem, "tool left out of the list");
                    marked.remove(&tool.name);
                }
            }
        }
        Some(result.splice(&[(span, &kept?)]))
    }

    /// Adds the headers that a call wants.
    pub(super) fn add_headers(&self, call: &Message, headers: &mut HeaderMap) {
        if call.method() != Method::ToolsCall {
            return;
        }
        let Some(marked) = call.target().and_then(|name| self.marked.lock().get(&*name).cloned()) else {
            return;
        };
        // Arguments that cannot be read are refused by the server, in its own words.
        for (name, value) in marked.expected(call.arguments()).unwrap_or_default() {
            headers.insert(name, value);
        }
    }
}
