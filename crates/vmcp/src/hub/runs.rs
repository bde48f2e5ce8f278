//! Composite tools: a client's call begins a run of a workflow, and what that comes to is the answer.
//!
//! A run belongs to its client's session, not to this process: everything that matters is in its log, and whoever finds it
//! with nobody working on it goes on ([`taking_over`]). A client that comes back with a cursor of its stream gets the answer
//! wherever it comes ([`following`]).

mod answer;
mod following;
mod going;
mod host;
mod taking_over;
mod view;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Response, StatusCode};
use mcp::{ErrorCode, ErrorReply, Message};
use parking_lot::Mutex;
use proxy::Body;
use proxy::failure::refused;
use proxy::session::Session;
use proxy::streamable::at_once;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Hub;
use super::ask::result;
use super::counts::{Named, RunCounts};
use super::own::{Came, OnBehalf, OwnCall};
use super::session::Held;
use super::voice::{Numbering, Voice};
use crate::aggregate::{Hints, Route};
use crate::workflow::Workflows;
use crate::workflow::exec::Reply;
use crate::workflow::log::{MemoryLog, RunLog};
use crate::workflow::parameters;
use crate::workflow::plan::Plan;
use crate::workflow::runs::{Letter, RunStore};
use crate::workflow::template::Data;
use going::How;

pub use view::{RunView, TaskLine};

/// Runs that go on at once.
const MAX_RUNS: usize = 1000;
/// For so long a run is this process's without another word.
const HOLD: Duration = Duration::from_secs(5);

/// Runs, and how many came to what.
#[derive(Debug)]
pub(super) struct Runs {
    kept: Arc<dyn RunStore>,
    /// Those that began while the place for runs was away: they end with the process.
    local: MemoryLog,
    here: Mutex<HashMap<Uuid, Arc<Run>>>,
    /// How many that are.
    count: watch::Sender<usize>,
    /// Those that are about to be among them.
    coming: Mutex<HashSet<Uuid>>,
    /// Those that others are to go on with, since when.
    left: Mutex<HashMap<Uuid, Instant>>,
    /// Of each workflow, by name.
    counts: ArcSwap<HashMap<Arc<str>, Arc<RunCounts>>>,
}

/// Where the log of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Kept,
    Local,
}

/// A run that goes on here.
#[derive(Debug)]
struct Run {
    id: Uuid,
    /// How often it was taken over.
    epoch: u64,
    place: Place,
    on_behalf: OnBehalf,
    voice: Arc<Voice>,
    /// What the client was asked and has not answered, by step.
    questions: Mutex<HashMap<String, Pending>>,
    /// What it has answered elsewhere before it was asked here.
    early: Mutex<HashMap<String, Result<Reply, String>>>,
    /// Others are to go on with it.
    pause: CancellationToken,
    /// Its client reads its stream at another replica.
    is_wanted_elsewhere: AtomicBool,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Pending {
    tell: oneshot::Sender<Result<Reply, String>>,
    text: Bytes,
    /// The client was told on a stream that it read.
    was_told: bool,
}

/// The id of the run that answers a request: the same at every replica.
fn run_of(session: Uuid, request: &[u8]) -> Uuid {
    let text = [session.as_bytes(), request].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    let bytes = digest.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes");
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Runs {
    pub(super) fn new(kept: Arc<dyn RunStore>) -> Self {
        Self {
            kept,
            local: MemoryLog::new(MAX_RUNS),
            here: Mutex::default(),
            count: watch::channel(0).0,
            coming: Mutex::default(),
            left: Mutex::default(),
            counts: ArcSwap::default(),
        }
    }

    /// From now on runs of these are counted; what was counted of them before stays.
    pub(super) fn count_those_of(&self, workflows: &Workflows) {
        let known = self.counts.load();
        let names = workflows.composites().iter().map(|composite| &*composite.name);
        let counts = names.map(|name| (name.into(), known.get(name).cloned().unwrap_or_default()));
        self.counts.store(Arc::new(counts.collect()));
    }

    /// The cells of a workflow. Those of one that is gone nobody reads.
    fn counts_of(&self, workflow: &str) -> Arc<RunCounts> {
        self.counts.load().get(workflow).cloned().unwrap_or_default()
    }

    pub(super) fn all_counts(&self) -> Named<RunCounts> {
        let counts = self.counts.load();
        let mut all: Vec<_> =
            counts.iter().map(|(name, counts)| (Arc::clone(name), Arc::clone(counts))).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    fn log(&self, place: Place) -> &dyn RunLog {
        match place {
            Place::Kept => &*self.kept,
            Place::Local => &self.local,
        }
    }

    fn here(&self, id: Uuid) -> Option<Arc<Run>> {
        self.here.lock().get(&id).cloned()
    }

    /// Where a new run for a request is. Its id may be another one's, where a client uses ids of requests twice. That of a
    /// client without a session ends with who asked for it.
    async fn place(&self, session: &Session<Held>, request: &[u8]) -> (Coming<'_>, Place) {
        if session.backend.is_own {
            return (self.coming(Uuid::new_v4()), Place::Local);
        }
        if let Some(coming) = self.comes(run_of(session.id, request))
            && let Ok(Some(_)) = self.kept.hold(coming.id, HOLD).await
            && self.kept.read(&coming.id.to_string()).await.is_ok_and(|events| events.is_empty())
        {
            return (coming, Place::Kept);
        }
        let coming = self.coming(Uuid::new_v4());
        match self.kept.hold(coming.id, HOLD).await {
            Ok(_) => (coming, Place::Kept),
            Err(error) => {
                tracing::warn!(%error, "a run is known to this process only");
                (coming, Place::Local)
            }
        }
    }

    /// A run is about to be here. `None`: it is, or somebody else is about that.
    fn comes(&self, id: Uuid) -> Option<Coming<'_>> {
        let is_new = self.here(id).is_none() && self.coming.lock().insert(id);
        is_new.then_some(Coming { runs: self, id })
    }

    /// The same for an id that was just drawn.
    fn coming(&self, id: Uuid) -> Coming<'_> {
        self.coming.lock().insert(id);
        Coming { runs: self, id }
    }
}

/// A run that is about to be here, until this is dropped.
struct Coming<'r> {
    runs: &'r Runs,
    id: Uuid,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.runs.coming.lock().remove(&self.id);
    }
}

impl Hub {
    pub(super) async fn call_composite(self: &Arc<Self>, name: &str, call: OwnCall) -> Response<Body> {
        let OwnCall { on_behalf, message, accepts } = call;
        let Some(plan) = self.shape.load().workflows.plan(name) else {
            let reply = ErrorReply::new(ErrorCode::InvalidParams, format!("Unknown tool: {name}"));
            return refused(StatusCode::OK, "not_found", &reply, message.id());
        };
        let params = match self.arguments(&message, &plan) {
            Ok(params) => params,
            Err(problem) => {
                let text = answer::failed(&problem);
                return at_once(accepts, result(message.id().unwrap_or_default(), &text));
            }
        };
        let (coming, place) = self.runs.place(&on_behalf.session, &on_behalf.id).await;
        let run = self.run_here(coming.id, place, on_behalf, 0);
        drop(coming);
        let (hub, voice) = (Arc::clone(self), Arc::clone(&run.voice));
        let how = How::Begins { params, progress: message.progress_token().map(Into::into) };
        self.perform(accepts, voice, async move { hub.go(run, &plan, how).await }).await
    }

    /// Runs a composite tool for a script, and gives its result. Dropping this cancels the run; it ends with the process, as
    /// the script does.
    pub(super) async fn run_composite(
        self: &Arc<Self>,
        name: &str,
        arguments: &[u8],
        script: &OnBehalf,
    ) -> Result<Bytes, String> {
        let plan = self.shape.load().workflows.plan(name).ok_or("there is no such tool")?;
        let id = Uuid::new_v4();
        let given = String::from_utf8_lossy(arguments);
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"skep-{id}","method":"tools/call","params":{{"name":"","arguments":{given}}}}}"#
        );
        let message = Message::parse(text.into()).map_err(|problem| problem.to_string())?;
        let params = self.arguments(&message, &plan)?;
        let on_behalf =
            self.on_behalf(&script.session, message.id().unwrap_or_default(), script.carried.clone());
        let _cancels = on_behalf.cancel.clone().drop_guard();
        let run = self.run_here(id, Place::Local, on_behalf, 0);
        let (tell, told) = oneshot::channel();
        let hub = Arc::clone(self);
        self.tasks.spawn("a composite tool of a script", async move {
            let how = How::Begins { params, progress: None };
            // A script that has ended does not want to know.
            let _ = tell.send(hub.go(run, &plan, how).await);
        });
        let Ok(Came::Answer(answer)) = told.await else { return Err("it was cancelled".to_owned()) };
        let answer = Message::parse(answer).map_err(|problem| problem.to_string())?;
        Ok(Bytes::copy_from_slice(answer.result().unwrap_or_default()))
    }

    /// What the call is given, as far as it fits what is written.
    fn arguments(&self, message: &Message, plan: &Plan) -> Result<Data, String> {
        if self.runs.here.lock().len() >= MAX_RUNS {
            return Err(format!("{MAX_RUNS} workflows are under way: try again later"));
        }
        let given = message.arguments().unwrap_or(b"{}");
        let given = serde_json::from_slice(given).map_err(|_| "the arguments cannot be read".to_owned())?;
        let problems = parameters::check(&plan.parameters, &given);
        if problems.is_empty() {
            Ok(given)
        } else {
            Err(format!("invalid arguments: {}", problems.join("; ")))
        }
    }

    /// Takes note of a run that goes on here, for the so-manieth time.
    fn run_here(&self, id: Uuid, place: Place, on_behalf: OnBehalf, epoch: u64) -> Arc<Run> {
        let voice = Voice::new(&on_behalf.session, Numbering::Under(format!("{id}-{epoch}")));
        let run = Arc::new(Run {
            id,
            epoch,
            place,
            on_behalf,
            voice,
            questions: Mutex::default(),
            early: Mutex::default(),
            // What nobody else could go on with is better seen to its end, as far as there is time.
            pause: match place {
                Place::Kept if self.runs.kept.is_lasting() => self.draining.child_token(),
                Place::Kept | Place::Local => CancellationToken::new(),
            },
            is_wanted_elsewhere: AtomicBool::new(false),
        });
        self.runs.here.lock().insert(id, Arc::clone(&run));
        self.runs.count.send_modify(|count| *count += 1);
        run
    }

    /// Whether a tool may be called again although it may have done what it does: where the operator names it, or has said
    /// of it that it does no harm, or trusts what backends say.
    pub(super) fn may_resend(&self, tool: &str, route: &Route) -> bool {
        let is_harmless = |hints: Hints| hints.read_only == Some(true) || hints.idempotent == Some(true);
        let policy = &self.config.resend;
        is_harmless(route.said)
            || [tool, route.own()].iter().any(|name| policy.allows_hinted(name, is_harmless(route.hints)))
    }

    /// What a client answers to a question of a run. `None` where nobody has asked it.
    pub(super) async fn answer_to_run(
        self: &Arc<Self>,
        session: &Session<Held>,
        own: &[u8],
        answer: &Message,
    ) -> Option<()> {
        let (run, rest) = std::str::from_utf8(own).ok()?.split_once('.')?;
        let (id, step) = (run.parse().ok()?, rest.rsplit_once('.')?.0);
        if let Some(run) = self.runs.here(id) {
            return run.on_behalf.is_of(session).then(|| run.answered(step, answer))?;
        }
        if self.caller_of(id).await?.session != session.id {
            return None;
        }
        let text = String::from_utf8_lossy(answer.text()).into_owned();
        let letter = Letter::Reply { step: step.to_owned(), answer: text };
        // If nobody works on it, it is this one's now.
        self.take_over(id).await;
        match self.runs.here(id) {
            Some(run) => run.read(letter),
            None => return self.runs.kept.post(id, letter).await.ok()?.then_some(()),
        }
        Some(())
    }

    /// A client does not want a request any more that is none of those here.
    pub(super) async fn cancelled_elsewhere(&self, session: &Session<Held>, request: &[u8]) {
        let has_runs = self.has_workflows() && !session.backend.is_own;
        if has_runs && self.config.store.is_shared() {
            // Whoever works on the run, if there is one, hears of it.
            let _ = self.runs.kept.post(run_of(session.id, request), Letter::Cancelled).await;
        }
    }

    /// Asks again what was asked while the client read no stream, now that it reads this one.
    pub(super) fn ask_again(&self, session: &Session<Held>) {
        let runs: Vec<Arc<Run>> = self.runs.here.lock().values().cloned().collect();
        for run in runs.iter().filter(|run| run.on_behalf.is_of(session) && !run.voice.is_heard()) {
            for question in run.questions.lock().values_mut().filter(|question| !question.was_told) {
                question.was_told = true;
                session.backend.asides.push(question.text.clone());
            }
        }
    }

    /// Waits until no run goes on here, but not beyond this time. To be called when the hub was told to drain.
    pub async fn runs_left(&self, deadline: Instant) {
        let mut count = self.runs.count.subscribe();
        // The hub has the sender. What is under way at the end is cut.
        let _ = timeout_at(deadline, count.wait_for(|count| *count == 0)).await;
    }

    fn has_workflows(&self) -> bool {
        !self.shape.load().workflows.composites().is_empty()
    }
}

impl Run {
    /// The client has answered.
    fn answered(&self, step: &str, answer: &Message) -> Option<()> {
        let pending = self.questions.lock().remove(step)?;
        // Nobody waits for it any more: then it came too late.
        let _ = pending.tell.send(host::reply(answer));
        Some(())
    }
}
