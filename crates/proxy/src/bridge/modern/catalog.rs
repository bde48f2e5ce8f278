//! Which tools want which arguments repeated in `Mcp-Param-*` headers. A server on stdio sees no headers, so the check
//! is the bridge's.
//!
//! The list is fetched when the first tool is called, again when the server says that its tools have changed, and
//! before any call is refused or a tool is taken for unknown; a list that is behind lets a call pass, it never refuses
//! one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use mcp::Message;
use mcp::json::{self, JsonError, Reader, Span};
use mcp::param_headers::{self, ParamHeaders, ParamProblem};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::own_request;
use crate::bridge::Bridge;
use crate::bridge::child::Child;
use crate::failure::Failure;

/// Pages of the list that are read.
const MAX_PAGES: usize = 64;
/// Tools that are remembered.
const MAX_TOOLS: usize = 10_000;
/// A list this fresh is not fetched again, whatever it lacks.
const FRESH: Duration = Duration::from_secs(1);
/// A list this old is fetched again: not every server says that it has changed.
const OLD: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Listed {
    tools: HashMap<String, ParamHeaders>,
    /// The server's count of changes when it was fetched.
    changes: u64,
    at: Instant,
}

/// The catalog of one server.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Catalog {
    listed: ArcSwapOption<Listed>,
    fetching: Mutex<()>,
}

impl Catalog {
    /// Checks the headers of a `tools/call`.
    ///
    /// # Errors
    /// [`ParamProblem`]: the call is to be refused.
    pub(super) async fn check(
        &self,
        bridge: &Bridge,
        child: &Child,
        call: &Message,
        headers: &HeaderMap,
    ) -> Result<(), ParamProblem> {
        let Some(name) = call.target() else { return Ok(()) };
        let usable = |listed: &Listed| listed.changes == child.tool_changes() && listed.at.elapsed() < OLD;
        let verdict =
            |listed: &Listed| listed.tools.get(&*name).map(|tool| tool.check(headers, call.arguments()));
        if let Some(listed) = self.listed.load_full().filter(|listed| usable(listed)) {
            match verdict(&listed) {
                Some(Ok(())) => return Ok(()),
                Some(Err(problem)) if listed.at.elapsed() < FRESH => return Err(problem),
                None if listed.at.elapsed() < FRESH => return Ok(()),
                Some(Err(_)) | None => {}
            }
        }
        match self.fetch(bridge, child).await {
            Ok(listed) => verdict(&listed).unwrap_or(Ok(())),
            Err(failure) => {
                tracing::debug!(error = %failure, "the tools could not be listed");
                Ok(())
            }
        }
    }

    async fn fetch(&self, bridge: &Bridge, child: &Child) -> Result<Arc<Listed>, Failure> {
        let asked = Instant::now();
        let _fetching = self.fetching.lock().await;
        if let Some(listed) = self.listed.load_full().filter(|listed| listed.at > asked) {
            return Ok(listed);
        }
        let mut listed = Listed { tools: HashMap::new(), changes: child.tool_changes(), at: Instant::now() };
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let (text, code) = bridge.ask(child, own_request("tools/list", params)).await?;
            if code.is_some() {
                break;
            }
            let Some(cursor) = read_page(text, &mut listed.tools) else { break };
            params = json!({"cursor": cursor});
        }
        let listed = Arc::new(listed);
        self.listed.store(Some(Arc::clone(&listed)));
        Ok(listed)
    }
}

/// Takes in one page, and gives the cursor of the next one.
fn read_page(text: bytes::Bytes, tools: &mut HashMap<String, ParamHeaders>) -> Option<String> {
    let message = Message::parse(text).ok()?;
    let span = message.tools_span()?;
    for tool in param_headers::read_tools(&message.text()[span.range()]).ok()? {
        // A tool whose annotations are not allowed has no headers that could be asked for.
        let headers = tool.headers.unwrap_or_default();
        if tools.len() < MAX_TOOLS {
            tools.insert(tool.name, headers);
        }
    }
    next_cursor(message.result()?)
}

fn next_cursor(result: &[u8]) -> Option<String> {
    let mut cursor = Span::default();
    let mut reader = Reader::new(result).ok()?;
    reader
        .object::<JsonError>(|reader, name| {
            let value = reader.value()?;
            if name == b"nextCursor" {
                cursor = value;
            }
            Ok(())
        })
        .ok()?;
    Some(json::decode_str(cursor.of(result)?)?.into_owned())
}
