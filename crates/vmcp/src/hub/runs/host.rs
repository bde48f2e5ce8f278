//! What a run does to the world, in its client's session: calls backends' tools, asks the client, says how far it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use mcp::Message;
use mcp::message::Kind;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::super::Hub;
use super::super::calling::{CallFailure, Caller};
use super::super::foreign::Foreign;
use super::super::requests::KNOWS_WITHIN;
use super::{Pending, Run};
use crate::aggregate::Route;
use crate::workflow::exec::{CallError, Doing, Host, Question, Reply, ToolAnswer};
use crate::workflow::log::{Event, Task, TaskEvent};
use crate::workflow::template::Data;

/// The host of one run.
pub(super) struct HubHost {
    hub: Arc<Hub>,
    run: Arc<Run>,
    /// What the client wants progress reported under, as it wrote it.
    progress: Option<Box<[u8]>>,
    steps: usize,
    over: AtomicUsize,
}

impl fmt::Debug for HubHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HubHost").field(&self.run.id).finish()
    }
}

/// A question that the client was asked; it hears when nobody wants to know any more.
struct Asked<'h> {
    host: &'h HubHost,
    step: String,
    id: String,
    is_over: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.host.run.questions.lock().remove(&self.step);
        if !self.is_over {
            let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": self.id}});
            self.host.run.voice.mention(cancelled.to_string().as_bytes());
        }
    }
}

impl HubHost {
    /// `over` of `steps` are over already.
    pub(super) fn new(
        hub: &Arc<Hub>,
        run: &Arc<Run>,
        steps: usize,
        progress: Option<&[u8]>,
        over: usize,
    ) -> Self {
        Self {
            hub: Arc::clone(hub),
            run: Arc::clone(run),
            progress: progress.map(Into::into),
            steps,
            over: AtomicUsize::new(over),
        }
    }

    fn route(&self, tool: &str) -> Option<Route> {
        self.hub.view.load().reference(tool).cloned()
    }

    async fn call_tool(&self, tool: &str, arguments: &Data) -> Result<ToolAnswer, CallError> {
        let route = match self.route(tool) {
            Some(route) => route,
            None => {
                self.hub.settled(KNOWS_WITHIN).await;
                self.route(tool).ok_or(CallError::NoTool)?
            }
        };
        let on_behalf = &self.run.on_behalf;
        let caller =
            Caller { session: &on_behalf.session, voice: &self.run.voice, carried: &on_behalf.carried };
        let arguments =
            serde_json::to_vec(arguments).map_err(|error| CallError::NotSent(error.to_string()))?;
        let answer =
            self.hub.call_tool(caller, &route, &arguments).await.map_err(|failure| match failure {
                CallFailure::NotSent(why) => CallError::NotSent(why),
                CallFailure::Refused { message, .. } => CallError::Refused(message),
                CallFailure::Unknown(why) => CallError::Unknown(why),
            })?;
        read(&answer)
    }

    async fn ask_client(&self, question: Question) -> Result<Reply, String> {
        let run = &self.run;
        if !can_be_asked(&run.on_behalf.session.backend.remembered.lock().initialize) {
            return Err("the client did not say that it can be asked (capability elicitation)".to_owned());
        }
        if let Some(reply) = run.early.lock().remove(&question.step) {
            return reply;
        }
        let own = format!("{}.{}.{:08x}", run.id, question.step, fastrand::u32(..));
        let id = Foreign { backend: "", own: &own }.text();
        let params = json!({"message": question.message, "requestedSchema": question.schema});
        let text = json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params});
        let (tell, told) = oneshot::channel();
        let text = Bytes::from(text.to_string());
        let pending = Pending { tell, text: text.clone(), was_told: false };
        run.questions.lock().insert(question.step.clone(), pending);
        let mut asked = Asked { host: self, step: question.step, id, is_over: false };
        if run.voice.say(&text).await
            && let Some(pending) = run.questions.lock().get_mut(&asked.step)
        {
            pending.was_told = true;
        }
        let reply = told.await;
        asked.is_over = true;
        reply.unwrap_or_else(|_| Err("the question was asked again".to_owned()))
    }
}

impl Host for HubHost {
    fn schema(&self, tool: &str) -> Option<Data> {
        self.route(tool)?.input_schema()
    }

    fn may_resend(&self, tool: &str) -> bool {
        self.route(tool).is_some_and(|route| self.hub.may_resend(tool, &route))
    }

    fn call<'a>(&'a self, tool: &'a str, arguments: Data) -> Doing<'a, Result<ToolAnswer, CallError>> {
        Box::pin(async move { self.call_tool(tool, &arguments).await })
    }

    fn ask(&self, question: Question) -> Doing<'_, Result<Reply, String>> {
        Box::pin(self.ask_client(question))
    }

    fn recorded(&self, event: &Event) {
        if let Event::Began(_) = event {
            // From now on it is known everywhere.
            self.run.voice.prime();
        }
        let Event::Task { task: Task { step, iteration: None }, event } = event else { return };
        let state = match event {
            TaskEvent::Done(_) => "completed",
            TaskEvent::Failed(_) => "failed",
            TaskEvent::Skipped => "skipped",
            TaskEvent::Sent | TaskEvent::AttemptFailed(_) | TaskEvent::Lost => return,
        };
        let over = self.over.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(token) = &self.progress else { return };
        let message = json!(format!("step {step}: {state}"));
        let rest = format!(r#","progress":{over},"total":{},"message":{message}}}}}"#, self.steps);
        let begin = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#;
        self.run.voice.mention(&[&begin[..], token, rest.as_bytes()].concat());
    }
}

/// What a tool answered.
fn read(answer: &Message) -> Result<ToolAnswer, CallError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answered {
        #[serde(default)]
        content: Data,
        structured_content: Option<Data>,
        #[serde(default)]
        is_error: bool,
    }
    let answered: Answered = serde_json::from_slice(answer.result().unwrap_or_default())
        .map_err(|problem| CallError::Unknown(format!("its result cannot be read: {problem}")))?;
    let Answered { content, structured_content: structured, is_error } = answered;
    Ok(ToolAnswer { structured, content, is_error })
}

/// Whether the client of this handshake shows forms to its user.
fn can_be_asked(initialize: &Bytes) -> bool {
    #[derive(Deserialize)]
    struct Capabilities {
        elicitation: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let Ok(message) = Message::parse(initialize.clone()) else { return false };
    let capabilities =
        message.capabilities().and_then(|text| serde_json::from_slice::<Capabilities>(text).ok());
    let elicitation = capabilities.and_then(|capabilities| capabilities.elicitation);
    // Nothing said of modes means forms.
    elicitation.is_some_and(|modes| modes.is_empty() || modes.contains_key("form"))
}

/// What a client's answer to a question says.
pub(super) fn reply(answer: &Message) -> Result<Reply, String> {
    #[derive(Deserialize)]
    struct Said {
        action: String,
        #[serde(default)]
        content: Data,
    }
    if answer.kind() == Kind::Error {
        return Err(format!("the client answered with error {}", answer.error_code().unwrap_or_default()));
    }
    let said: Said = serde_json::from_slice(answer.result().unwrap_or_default())
        .map_err(|problem| format!("the answer cannot be read: {problem}"))?;
    match &*said.action {
        "accept" => Ok(Reply::Accept(said.content)),
        "decline" => Ok(Reply::Decline),
        "cancel" => Ok(Reply::Cancel),
        other => Err(format!("the answer is {other:?}, which is none")),
    }
}
