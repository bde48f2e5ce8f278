//! Composite tools: a client's call begins a run of a workflow, and what that comes to is the answer.

mod host;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, StatusCode};
use mcp::{ErrorCode, ErrorReply, Message};
use parking_lot::Mutex;
use proxy::Body;
use proxy::failure::refused;
use proxy::session::Session;
use proxy::streamable::at_once;
use serde_json::json;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Hub;
use super::ask::result;
use super::own::{OnBehalf, OwnCall};
use super::session::Held;
use super::voice::{Numbering, Voice};
use crate::aggregate::{Hints, Route};
use crate::workflow::exec::{Engine, Reply, Settings, WorkflowError, told};
use crate::workflow::log::{MemoryLog, RunLog};
use crate::workflow::parameters;
use crate::workflow::plan::Plan;
use crate::workflow::template::Data;
use host::HubHost;

/// Runs of one process.
#[derive(Debug)]
pub(super) struct Runs {
    log: Arc<dyn RunLog>,
    here: Mutex<HashMap<Uuid, Arc<Run>>>,
}

/// A run that goes on here.
#[derive(Debug)]
pub(super) struct Run {
    id: Uuid,
    on_behalf: OnBehalf,
    voice: Arc<Voice>,
    /// What the client was asked and has not answered, by step.
    questions: Mutex<HashMap<String, oneshot::Sender<Result<Reply, String>>>>,
}

impl Runs {
    pub(super) fn new() -> Self {
        Self { log: Arc::new(MemoryLog::new(1000)), here: Mutex::default() }
    }
}

impl Hub {
    pub(super) async fn call_composite(self: &Arc<Self>, name: &str, call: OwnCall) -> Response<Body> {
        let OwnCall { on_behalf, message, accepts } = call;
        let Some(plan) = self.config.workflows.plan(name) else {
            let reply = ErrorReply::new(ErrorCode::InvalidParams, format!("Unknown tool: {name}"));
            return refused(StatusCode::OK, "not_found", &reply, message.id());
        };
        let params = match arguments(&message, &plan) {
            Ok(params) => params,
            Err(problem) => {
                let text = failed(&problem);
                return at_once(accepts, result(message.id().unwrap_or_default(), &text));
            }
        };
        let id = Uuid::new_v4();
        let voice = Voice::new(&on_behalf.session, Numbering::Under(id.to_string()));
        let run = Arc::new(Run { id, on_behalf, voice: Arc::clone(&voice), questions: Mutex::default() });
        self.runs.here.lock().insert(id, Arc::clone(&run));
        let hub = Arc::clone(self);
        self.perform(accepts, voice, async move { hub.run(&run, &plan, &params, &message).await }).await
    }

    /// Runs a composite tool for a tool of the hub's own, and gives its result. Dropping this cancels the run.
    pub(super) async fn run_composite(
        self: &Arc<Self>,
        name: &str,
        arguments: &[u8],
        session: &Arc<Session<Held>>,
        voice: &Arc<Voice>,
    ) -> Result<Bytes, String> {
        let plan = self.config.workflows.plan(name).ok_or("there is no such tool")?;
        let id = Uuid::new_v4();
        let on_behalf = self.on_behalf(session, format!("\"skep-{id}\"").as_bytes());
        let _cancels = on_behalf.cancel.clone().drop_guard();
        let given = String::from_utf8_lossy(arguments);
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"skep-{id}","method":"tools/call","params":{{"name":"","arguments":{given}}}}}"#
        );
        let message = Message::parse(text.into()).map_err(|problem| problem.to_string())?;
        let params = self::arguments(&message, &plan)?;
        let run = Arc::new(Run { id, on_behalf, voice: Arc::clone(voice), questions: Mutex::default() });
        self.runs.here.lock().insert(id, Arc::clone(&run));
        let (tell, told) = oneshot::channel();
        let hub = Arc::clone(self);
        self.tasks.spawn("a composite tool of a script", async move {
            // A script that has ended does not want to know.
            let _ = tell.send(hub.run(&run, &plan, &params, &message).await);
        });
        let answer = told.await.ok().flatten().ok_or("it was cancelled")?;
        let answer = Message::parse(answer).map_err(|problem| problem.to_string())?;
        Ok(Bytes::copy_from_slice(answer.result().unwrap_or_default()))
    }

    async fn run(
        self: &Arc<Self>,
        run: &Arc<Run>,
        plan: &Plan,
        params: &Data,
        message: &Message,
    ) -> Option<Bytes> {
        let host = HubHost::new(self, run, plan, message.progress_token());
        let engine = Engine {
            plan,
            host: &host,
            log: &*self.runs.log,
            cancel: run.on_behalf.cancel.clone(),
            settings: Settings::new(fastrand::u64(..)),
        };
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let ended = engine.run(&run.id.to_string(), params, &started).await;
        self.runs.here.lock().remove(&run.id);
        answer(&ended).map(|text| result(&run.on_behalf.id, &text))
    }

    /// Whether a tool may be called again although it may have done what it does: where the operator names it, or has said
    /// of it that it does no harm, or trusts what backends say.
    fn may_resend(&self, tool: &str, route: &Route) -> bool {
        let is_harmless = |hints: Hints| hints.read_only == Some(true) || hints.idempotent == Some(true);
        let policy = &self.config.resend;
        is_harmless(route.said)
            || [tool, route.own()].iter().any(|name| policy.allows_hinted(name, is_harmless(route.hints)))
    }

    /// What a client answers to a question of a run.
    pub(super) fn answer_to_run(&self, session: &Session<Held>, own: &[u8], answer: &Message) -> Option<()> {
        let own = std::str::from_utf8(own).ok()?;
        let (run, step) = own.split_once('.')?;
        let step = step.rsplit_once('.')?.0;
        let run = self.runs.here.lock().get(&run.parse().ok()?).cloned()?;
        if run.on_behalf.session.id != session.id {
            return None;
        }
        let asked = run.questions.lock().remove(step)?;
        // Nobody waits for it any more: then it came too late.
        let _ = asked.send(host::reply(answer));
        Some(())
    }
}

/// What the call is given, as far as it fits what is written.
fn arguments(message: &Message, plan: &Plan) -> Result<Data, String> {
    let given = message.arguments().unwrap_or(b"{}");
    let given = serde_json::from_slice(given).map_err(|_| "the arguments cannot be read".to_owned())?;
    let problems = parameters::check(&plan.parameters, &given);
    if problems.is_empty() { Ok(given) } else { Err(format!("invalid arguments: {}", problems.join("; "))) }
}

/// The result of the call; nothing, where nobody wants it.
fn answer(ended: &Result<Data, WorkflowError>) -> Option<Vec<u8>> {
    match ended {
        Ok(output) => Some(succeeded(output)),
        Err(WorkflowError::Cancelled) => None,
        Err(error) => Some(failed(&format!("Workflow execution failed: {}", told(error)))),
    }
}

fn succeeded(output: &Data) -> Vec<u8> {
    let text = serde_json::to_string(output).unwrap_or_default();
    let content = json!([{"type": "text", "text": text}]).to_string();
    match output {
        Data::Map(_) => format!(r#"{{"content":{content},"structuredContent":{text}}}"#),
        _ => format!(r#"{{"content":{content}}}"#),
    }
    .into_bytes()
}

fn failed(text: &str) -> Vec<u8> {
    json!({"content": [{"type": "text", "text": text}], "isError": true}).to_string().into_bytes()
}
