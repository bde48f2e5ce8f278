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
use tokio::time::Instant;

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

/// Where meanings of texts come from, now that these tools are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    AsBefore,
    Elsewhere,
}

/// What clients see of tools, beside what they saw before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListOfTools {
    Same,
    Another,
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

    /// The tools of this view are shown from now on; `before` was told of those of the last one, and they may differ.
    pub(super) fn show(&self, view: &View, before: Option<&Arc<Optimizer>>, differ: bool) -> ListOfTools {
        if let Some(optimizer) = &self.optimizer
            && (differ || !before.is_some_and(|before| Arc::ptr_eq(before, optimizer)))
        {
            optimizer.show(view.lines(Listed::Tools));
        }
        match (before.is_some(), self.optimizer.is_some()) {
            (true, true) => ListOfTools::Same,
            (false, false) if !differ => ListOfTools::Same,
            (false, false) | (true, false) | (false, true) => ListOfTools::Another,
        }
    }

    /// What is known and under way of these goes on in the ones before, with the numbers that hold now. Whether what
    /// knows meanings is still the same, they cannot tell.
    pub fn takes_over(&mut self, before: &Self, knows: Meaning) {
        if let (Some(optimizer), Some(known)) = (&mut self.optimizer, &before.optimizer)
            && knows == Meaning::AsBefore
        {
            known.set_policy(optimizer.policy());
            *optimizer = Arc::clone(known);
        }
        if let (Some(scripts), Some(known)) = (&mut self.scripts, &before.scripts) {
            known.set_settings(scripts.settings());
            *scripts = Arc::clone(known);
        }
    }

    /// Whether tools are found by the same one.
    #[must_use]
    pub fn finds_as(&self, other: &Self) -> bool {
        match (&self.optimizer, &other.optimizer) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
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
        let is_it = self.shape.load().meta.optimizer.is_some()
            && message.method() == mcp::Method::ToolsCall
            && message.target().is_some_and(|name| name == CALL_TOOL);
        if !is_it {
            return Ok(None);
        }
        let called = self.called_by(message).await;
        self.finding.call(called.as_ref().map(drop));
        called.map(Some).map_err(|misused| optimizer::error_of(&misused.to_string()))
    }

    /// The call that a call of `call_tool` asks for.
    async fn called_by(&self, message: &Message) -> Result<Message, Misused> {
        let call = optimizer::Call::read(message.arguments().unwrap_or(b"{}"))?;
        if !self.is_callable(&call.name) {
            self.settled(KNOWS_WITHIN).await;
        }
        if !self.is_callable(&call.name) {
            return Err(Misused::NotFound(call.name));
        }
        let name = serde_json::Value::from(call.name).to_string();
        let name_span = message.target_span().unwrap_or_default();
        let text =
            message.splice(&[(name_span, name.as_bytes()), (message.arguments_span(), &call.parameters)]);
        Message::parse(text).map_err(|problem| Misused::Call(problem.to_string()))
    }

    /// Whether clients may call a tool of this name.
    fn is_callable(&self, name: &str) -> bool {
        let view = self.view.load();
        self.shape.load().meta.named(name).is_some()
            || view.tool(name).is_some()
            || view.composite(name).is_some()
    }

    pub(super) async fn call_meta(self: &Arc<Self>, tool: MetaTool, call: OwnCall) -> Response<Body> {
        match tool {
            MetaTool::Find => self.find_tool(&call).await,
            MetaTool::Script => self.run_script(call).await,
        }
    }

    async fn find_tool(&self, call: &OwnCall) -> Response<Body> {
        self.settled(LISTS_WITHIN).await;
        let (arguments, begun) = (call.message.arguments().unwrap_or(b"{}"), Instant::now());
        let optimizer = self.shape.load().meta.optimizer.clone();
        let found = match &optimizer {
            Some(optimizer) => optimizer.find(arguments).await,
            None => Err(Misused::NotFound(FIND_TOOL.to_owned())),
        };
        self.finding.find(found.as_ref(), begun);
        let text = match found {
            Ok(found) => found.result,
            Err(misused) => optimizer::error_of(&misused.to_string()),
        };
        at_once(call.accepts, result(&call.on_behalf.id, &text))
    }

    async fn run_script(self: &Arc<Self>, call: OwnCall) -> Response<Body> {
        let OwnCall { on_behalf, message, accepts } = call;
        let voice = Voice::new(&on_behalf.session, Numbering::None);
        let (hub, speaks) = (Arc::clone(self), Arc::clone(&voice));
        let work = async move {
            let Some(scripts) = hub.shape.load().meta.scripts.clone() else { return Came::Unwanted };
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
