//! Runs that nobody works on: their process was killed, or left them. Whoever holds one first goes on with it, in the session
//! of its client, which is taken up from the store as a request of that client would.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use model::PrincipalDigest;
use proxy::session::{Kept, Session};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::Hub;
use super::super::own::Came;
use super::super::requests::KNOWS_WITHIN;
use super::super::session::Held;
use super::going::How;
use super::{HOLD, Place, Run};
use crate::config::StepKind;
use crate::workflow::log::{Caller, End, Event, Ledger, Task, TaskState};
use crate::workflow::plan::Plan;
use crate::workflow::runs::Letter;

/// How often it is looked for runs that nobody works on.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Runs that are taken over at a time.
const AT_ONCE: usize = 32;
/// Others are given so long to go on with what was left to them.
const LEAVES_FOR: Duration = Duration::from_secs(5);

/// Why a run is not gone on with.
enum Unfit {
    /// Perhaps later.
    Later(String),
    /// It is over.
    Over,
    /// It cannot go on, and ends like this.
    Ends(End),
}

struct Fit {
    plan: Arc<Plan>,
    session: Arc<Session<Held>>,
    caller: Caller,
    elapsed: Duration,
    ledger: Ledger,
}

impl Hub {
    /// Looks for runs that nobody works on until the hub is shut down.
    pub(in super::super) async fn look_after_runs(self: &Arc<Self>) {
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                () = self.draining.cancelled() => return,
                // Not all replicas look at once.
                () = sleep(LOOK_EVERY.mul_f64(fastrand::f64().mul_add(0.5, 0.75))) => {}
            }
            self.runs.left.lock().retain(|_, since| since.elapsed() < LEAVES_FOR);
            if !self.has_workflows() {
                continue;
            }
            let Ok(open) = self.runs.kept.open().await else {
                // When the place is back, whoever works on a run says so first.
                not_before = Instant::now() + HOLD;
                continue;
            };
            if Instant::now() < not_before {
                continue;
            }
            let is_free =
                |id: &Uuid| self.runs.here(*id).is_none() && !self.runs.left.lock().contains_key(id);
            for id in open.into_iter().filter(is_free).take(AT_ONCE) {
                self.take_over(id).await;
            }
        }
    }

    /// Goes on with a run, if nobody works on it.
    pub(super) async fn take_over(self: &Arc<Self>, id: Uuid) {
        // Which tools there are is known by then.
        self.settled(KNOWS_WITHIN).await;
        if let Some(_coming) = self.runs.comes(id) {
            self.take_over_alone(id).await;
        }
    }

    async fn take_over_alone(self: &Arc<Self>, id: Uuid) {
        let Ok(Some(letters)) = self.runs.kept.hold(id, HOLD).await else { return };
        match self.fit(id).await {
            Ok(fit) => self.go_on(id, fit, letters),
            Err(Unfit::Later(why)) => {
                tracing::debug!(run.id = %id, why, "a run is not gone on with yet");
                self.runs.left.lock().insert(id, Instant::now());
                for letter in letters {
                    // If it is away, the client is asked again.
                    let _ = self.runs.kept.post(id, letter).await;
                }
                let _ = self.runs.kept.release(id).await;
            }
            Err(Unfit::Over) => drop(self.runs.kept.release(id).await),
            Err(Unfit::Ends(end)) => self.end_run(id, end).await,
        }
    }

    fn go_on(self: &Arc<Self>, id: Uuid, fit: Fit, letters: Vec<Letter>) {
        let Fit { plan, session, caller, elapsed, ledger } = fit;
        let on_behalf = self.on_behalf(&session, caller.request.as_bytes(), HeaderMap::new());
        let run: Arc<Run> = self.run_here(id, Place::Kept, on_behalf, ledger.taken_over() + 1);
        tracing::info!(run.id = %id, workflow.name = &*plan.name, session.id = %session.id, "goes on with a run");
        let is_over =
            |task: &&Task| task.iteration.is_none() && matches!(ledger.state(task), TaskState::Over(_));
        let over = ledger.tasks().filter(is_over).count();
        let how =
            How::GoesOn { elapsed, over, progress: caller.progress.map(|token| token.into_bytes().into()) };
        let hub = Arc::clone(self);
        self.tasks.spawn("a run", async move {
            letters.into_iter().for_each(|letter| run.read(letter));
            let voice = Arc::clone(&run.voice);
            match hub.go(run, &plan, how).await {
                Came::Answer(answer) => voice.end(Some(&answer)).await,
                Came::Unwanted | Came::Elsewhere => voice.end(None).await,
            }
        });
    }

    async fn fit(self: &Arc<Self>, id: Uuid) -> Result<Fit, Unfit> {
        let later = |error: &dyn ToString| Unfit::Later(error.to_string());
        let events = self.runs.kept.read(&id.to_string()).await.map_err(|error| later(&error))?;
        let failed = |why: &str| Unfit::Ends(End::Failed(why.to_owned()));
        let ledger = Ledger::replay(&events).map_err(|error| failed(&error.to_string()))?;
        // Nothing may be known of it, or an index may be behind.
        let (Some(began), None) = (ledger.began(), ledger.end()) else { return Err(Unfit::Over) };
        let plan = self.shape.load().workflows.plan(&began.workflow);
        let plan = plan.ok_or_else(|| failed("the workflow is not there any more"))?;
        if let Some(gone) = ledger.tasks().find(|task| plan.position(&task.step).is_none()) {
            return Err(failed(&format!("the workflow has no step {:?} any more", &*gone.step)));
        }
        let caller = began.caller.clone().ok_or_else(|| failed("nobody waits for it"))?;
        let started = humantime::parse_rfc3339(&began.started).map_err(|error| failed(&error.to_string()))?;
        let elapsed = SystemTime::now().duration_since(started).unwrap_or_default();
        if elapsed < plan.timeout
            && let Some(tool) = self.missing_tool(&plan)
        {
            return Err(Unfit::Later(format!("its tool {tool} is not there")));
        }
        let session = self.session_of(&caller).await?;
        Ok(Fit { plan, session, caller, elapsed, ledger })
    }

    /// A tool of these steps that no backend has listed yet: what is not known of it is not to be guessed.
    fn missing_tool(&self, plan: &Plan) -> Option<String> {
        let view = self.view.load();
        let kinds = plan.steps.iter().map(|planned| match &planned.step.kind {
            StepKind::ForEach(each) => each.step.as_ref().map(|inner| &inner.kind),
            kind => Some(kind),
        });
        kinds.flatten().find_map(|kind| match kind {
            StepKind::Tool(call) if view.reference(&call.tool).is_none() => Some(call.tool.clone()),
            _ => None,
        })
    }

    /// The session of a run's client, taken up as if that had asked something.
    async fn session_of(&self, caller: &Caller) -> Result<Arc<Session<Held>>, Unfit> {
        if let Some(session) = self.table.get(caller.session) {
            return Ok(session);
        }
        let record = match self.config.store.get(caller.session).await {
            Ok(Some(Kept::Lives(record))) => record,
            Ok(Some(Kept::Ended)) => return Err(Unfit::Ends(End::Cancelled)),
            Ok(None) => return Err(Unfit::Ends(End::Failed("the session of its client is gone".to_owned()))),
            Err(error) => return Err(Unfit::Later(error.to_string())),
        };
        if record.claims.principal != PrincipalDigest::new(caller.principal) {
            return Err(Unfit::Ends(End::Failed("it is of another client".to_owned())));
        }
        self.take_up(&record.claims).await.map_err(|failure| Unfit::Later(failure.to_string()))
    }

    /// Writes how a run ends that cannot go on.
    async fn end_run(&self, id: Uuid, end: End) {
        tracing::warn!(run.id = %id, ?end, "a run cannot go on");
        let run = id.to_string();
        if let Ok(events) = self.runs.kept.read(&run).await {
            // Whoever has written something meanwhile knows better.
            let _ = self.runs.kept.append(&run, events.len() as u64, &Event::Ended(end)).await;
        }
        let _ = self.runs.kept.release(id).await;
    }
}
