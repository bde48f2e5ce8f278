//! The hub's tools over tools: those of the optimizer, and scripts.
//!
//! With the optimizer, a list of tools shows its two and nothing else; `call_tool` becomes a call of the tool it names, so
//! that nothing is different for whoever carries it out. A script is a tool among the others: with an optimizer it is found
//! and called as they are.
//!
//! INVARIANT: what clients may not call is neither found, nor called by `call_tool` or a script.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use mcp::Message;
use proxy::Body;
use proxy::streamable::at_once;
use serde_json::value::RawValue;

use super::Hub;
use super::ask::result;
use super::calling::{CallFailure, Caller};
use super::own::{Came, OnBehalf, OwnCall};
use super::requests::{KNOWS_WITHIN, LISTS_WITHIN};
use super::voice::{Numbering, Voice};
use crate::aggregate::{Kind as Listed, View};
use crate::optimizer::{self, CALL_TOOL, FIND_TOOL, Misused, Optimizer};
use crate::script::{self, Calling, EXECUTE_TOOL_SCRIPT, Scripts, Tools};

/// What the hub has beside what its backends and workflows offer.
#[derive(Clone, Debug, Default)]
pub struct MetaTools {
    /// Finds tools, in place of a list of them.
    pub optimizer: Option<Arc<Optimizer>>,
    /// Runs scripts over tools.
    pub scripts: Option<Arc<Scripts>>,
}

/// One of these tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaTool {
    Find,
    Script,
}

impl MetaTools {
    /// Which of these a name is.
    pub(super) fn named(&self, name: &str) -> Option<MetaTool> {
        match name {
            FIND_TOOL if self.optimizer.is_some() => Some(MetaTool::Find),
            EXECUTE_TOOL_SCRIPT if self.scripts.is_some() => Some(MetaTool::Script),
            _ => None,
        }
    }

    /// Adds to a view what clients see beside it.
    pub(super) fn add_to(&self, view: &mut View) {
        if self.scripts.is_some() {
            view.add_own(EXECUTE_TOOL_SCRIPT, script::definition());
        }
    }

    /// The tools of this view are shown from now on. Gives whether lists of tools are different for that.
    pub(super) fn show(&self, view: &View) -> bool {
        if let Some(optimizer) = &self.optimizer {
            optimizer.show(view.lines(Listed::Tools));
        }
        self.optimizer.is_none()
    }

    /// The result of a list of tools, if it is not that of the view.
    pub(super) fn list(&self) -> Option<Vec<u8>> {
        self.optimizer.as_ref()?;
        let [find, call] = optimizer::definitions();
        Some([br#"{"tools":["#, &*find, b",", &*call, b"]}"].concat())
    }
}

impl Hub {
    /// What a call of `call_tool` comes to: a call of the tool it names.
    ///
    /// # Errors
    /// The result of a call that names none.
    pub(super) async fn through_call_tool(&self, message: &Message) -> Result<Option<Message>, Vec<u8>> {
        let is_it = self.config.meta.optimizer.is_some()
            && message.method() == mcp::Method::ToolsCall
            && message.target().is_some_and(|name| name == CALL_TOOL);
        if !is_it {
            return Ok(None);
        }
        let refused = |misused: Misused| optimizer::error_of(&misused.to_string());
        let call = optimizer::Call::read(message.arguments().unwrap_or(b"{}")).map_err(refused)?;
        if !self.is_callable(&call.name) {
            self.settled(KNOWS_WITHIN).await;
        }
        if !self.is_callable(&call.name) {
            return Err(refused(Misused::NotFound(call.name)));
        }
        let name = serde_json::Value::from(call.name).to_string();
        let name_span = message.target_span().unwrap_or_default();
        let text =
            message.splice(&[(name_span, name.as_bytes()), (message.arguments_span(), &call.parameters)]);
        Message::parse(text).map(Some).map_err(|problem| refused(Misused::Call(problem.to_string())))
    }

    /// Whether clients may call a tool of this name.
    fn is_callable(&self, name: &str) -> bool {
        let view = self.view.load();
        self.config.meta.named(name).is_some() || view.tool(name).is_some() || view.composite(name).is_some()
    }

    pub(super) async fn call_meta(self: &Arc<Self>, tool: MetaTool, call: OwnCall) -> Response<Body> {
        match tool {
            MetaTool::Find => self.find_tool(&call).await,
            MetaTool::Script => self.run_script(call).await,
        }
    }

    async fn find_tool(&self, call: &OwnCall) -> Response<Body> {
        self.settled(LISTS_WITHIN).await;
        let arguments = call.message.arguments().unwrap_or(b"{}");
        let found = match &self.config.meta.optimizer {
            Some(optimizer) => optimizer.find(arguments).await,
            None => Err(Misused::NotFound(FIND_TOOL.to_owned())),
        };
        let text = found.unwrap_or_else(|misused| optimizer::error_of(&misused.to_string()));
        at_once(call.accepts, result(&call.on_behalf.id, &text))
    }

    async fn run_script(self: &Arc<Self>, call: OwnCall) -> Response<Body> {
        let OwnCall { on_behalf, message, accepts } = call;
        let voice = Voice::new(&on_behalf.session, Numbering::None);
        let (hub, speaks) = (Arc::clone(self), Arc::clone(&voice));
        let work = async move {
            let Some(scripts) = hub.config.meta.scripts.clone() else { return Came::Unwanted };
            let cancel = on_behalf.cancel.clone();
            let tools = ScriptTools { hub, on_behalf, voice };
            let ran = scripts.run(message.arguments().unwrap_or(b"{}"), &tools);
            match cancel.run_until_cancelled(ran).await {
                Some(text) => Came::Answer(result(&tools.on_behalf.id, &text)),
                None => Came::Unwanted,
            }
        };
        self.perform(accepts, speaks, work).await
    }
}

/// The tools that a script may call, in the session of its client.
struct ScriptTools {
    hub: Arc<Hub>,
    on_behalf: OnBehalf,
    voice: Arc<Voice>,
}

impl Tools for ScriptTools {
    fn names(&self) -> Vec<String> {
        let view = self.hub.view.load();
        let tools = view.tools().into_iter().filter(|(_, route)| route.is_for_clients).map(|(name, _)| name);
        tools.chain(view.composites()).map(str::to_owned).collect()
    }

    fn call<'a>(&'a self, tool: &'a str, arguments: &'a RawValue) -> Calling<'a> {
        let (hub, arguments) = (&self.hub, arguments.get().as_bytes());
        Box::pin(async move {
            let (route, composite) = {
                let view = hub.view.load();
                (view.tool(tool).cloned(), view.composite(tool).map(str::to_owned))
            };
            if let Some(composite) = composite {
                return hub.run_composite(&composite, arguments, &self.on_behalf).await;
            }
            let route = route.ok_or_else(|| "there is no such tool".to_owned())?;
            let caller = Caller {
                session: &self.on_behalf.session,
                voice: &self.voice,
                carried: &self.on_behalf.carried,
            };
            let answer = hub.call_tool(caller, &route, arguments).await;
            let answer = answer.map_err(|failure| match failure {
                CallFailure::Unknown(why) => format!("its outcome is not known: {why}"),
                failure => failure.to_string(),
            })?;
            Ok(Bytes::copy_from_slice(answer.result().unwrap_or_default()))
        })
    }
}
