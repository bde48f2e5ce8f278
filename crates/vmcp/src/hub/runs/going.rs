//! How a run goes on here: an engine does what is to be done, and beside it this process says again and again that the run is
//! its own, and reads what others have left for it.
//!
//! A run ends here without an end when another process has it, or is to have it: its log says how far it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mcp::Message;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::Hub;
use super::super::ask::result;
use super::super::counts::RunCounts;
use super::super::own::Came;
use super::host::HubHost;
use super::{HOLD, Place, Run, answer, host};
use crate::workflow::exec::{Engine, Settings, WorkflowError};
use crate::workflow::log::{Caller, LogError};
use crate::workflow::plan::Plan;
use crate::workflow::runs::Letter;
use crate::workflow::template::Data;

/// How often a run is said to be this process's.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// From where a run goes on.
pub(super) enum How {
    Begins { params: Data, progress: Option<Box<[u8]>> },
    GoesOn { elapsed: Duration, over: usize, progress: Option<Box<[u8]>> },
}

impl How {
    fn progress(&self) -> (Option<&[u8]>, usize) {
        match self {
            Self::Begins { progress, .. } => (progress.as_deref(), 0),
            Self::GoesOn { progress, over, .. } => (progress.as_deref(), *over),
        }
    }
}

impl Hub {
    /// Sees a run to its end, or as far as it goes here.
    pub(super) async fn go(self: &Arc<Self>, run: Arc<Run>, plan: &Plan, how: How) -> Came {
        let (progress, over) = how.progress();
        let host = HubHost::new(self, &run, plan.steps.len(), progress, over);
        let elapsed = match how {
            How::Begins { .. } => Duration::ZERO,
            How::GoesOn { elapsed, .. } => elapsed,
        };
        let (counts, begun) = (self.runs.counts_of(&plan.name), Instant::now());
        counts.begins(&how);
        let engine = Engine {
            plan,
            host: &host,
            log: self.runs.log(run.place),
            caller: Some(run.caller(progress)),
            cancel: run.on_behalf.cancel.clone(),
            pause: run.pause.clone(),
            settings: Settings { elapsed, ..Settings::new(fastrand::u64(..)) },
        };
        let (id, started) =
            (run.id.to_string(), humantime::format_rfc3339_millis(SystemTime::now()).to_string());
        let going = async {
            match &how {
                How::Begins { params, .. } => engine.run(&id, params, &started).await,
                How::GoesOn { .. } => engine.resume(&id).await,
            }
        };
        let ended = tokio::select! {
            biased;
            ended = Box::pin(going) => ended,
            () = self.keep_hold(&run) => Err(WorkflowError::Log(LogError::Moved)),
        };
        counts.ended(&ended, elapsed + begun.elapsed());
        self.leave(&run, &ended).await;
        match came(&run, &ended) {
            Came::Elsewhere if self.is_lost(&run).await => {
                let text = answer::failed("Workflow execution failed: what was written down of it is lost");
                Came::Answer(result(&run.on_behalf.id, &text))
            }
            came => came,
        }
    }

    /// Whether nobody can go on with a run: its place has forgotten it.
    async fn is_lost(&self, run: &Run) -> bool {
        let events = self.runs.log(run.place).read(&run.id.to_string()).await;
        events.is_ok_and(|events| events.is_empty())
    }

    /// Says again and again that a run is this process's. Ends when it is another one's.
    async fn keep_hold(&self, run: &Run) {
        if run.place == Place::Local {
            return std::future::pending().await;
        }
        let mut rounds = interval(RENEW_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            match self.runs.kept.hold(run.id, HOLD).await {
                Ok(Some(letters)) => letters.into_iter().for_each(|letter| run.read(letter)),
                Ok(None) => return,
                // The log tells whether another one works on it.
                Err(_) => {}
            }
            if run.is_better_off_elsewhere() {
                run.pause.cancel();
            }
        }
    }

    /// A run does not go on here any more.
    async fn leave(&self, run: &Run, ended: &Result<Data, WorkflowError>) {
        self.runs.here.lock().remove(&run.id);
        self.runs.count.send_modify(|count| *count -= 1);
        if goes_on_elsewhere(ended) {
            self.runs.left.lock().insert(run.id, Instant::now());
        }
        if run.place == Place::Kept {
            // If it is away, the lease runs out.
            let _ = self.runs.kept.release(run.id).await;
        }
    }
}

/// Whether a run has not ended, but only here.
fn goes_on_elsewhere(ended: &Result<Data, WorkflowError>) -> bool {
    matches!(ended, Err(WorkflowError::Paused | WorkflowError::Log(LogError::Moved)))
}

impl RunCounts {
    fn begins(&self, how: &How) {
        let cell = match how {
            How::Begins { .. } => &self.began,
            How::GoesOn { .. } => &self.taken_over,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, ended: &Result<Data, WorkflowError>, took: Duration) {
        let cell = match ended {
            Ok(_) => &self.completed,
            Err(WorkflowError::Cancelled) => &self.cancelled,
            Err(_) if goes_on_elsewhere(ended) => return,
            Err(_) => &self.failed,
        };
        cell.fetch_add(1, Ordering::Relaxed);
        self.took.observe(took);
    }
}

/// What the client hears.
fn came(run: &Run, ended: &Result<Data, WorkflowError>) -> Came {
    if goes_on_elsewhere(ended) {
        return Came::Elsewhere;
    }
    answer::of(ended).map_or(Came::Unwanted, |text| Came::Answer(result(&run.on_behalf.id, &text)))
}

impl Run {
    fn caller(&self, progress: Option<&[u8]>) -> Caller {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let session = &self.on_behalf.session;
        Caller {
            session: session.id,
            principal: *session.principal.as_bytes(),
            request: text(&self.on_behalf.id),
            progress: progress.map(text),
        }
    }

    pub(super) fn read(&self, letter: Letter) {
        match letter {
            Letter::Cancelled => self.on_behalf.cancel.cancel(),
            Letter::Listens => self.is_wanted_elsewhere.store(true, Ordering::Relaxed),
            Letter::Reply { step, answer } => {
                // What is no message was sealed by nobody here.
                let Ok(answer) = Message::parse(Bytes::from(answer)) else { return };
                if self.answered(&step, &answer).is_none() {
                    self.early.lock().insert(step, host::reply(&answer));
                }
            }
        }
    }

    /// Its client reads its stream at another replica, and is to be asked something.
    fn is_better_off_elsewhere(&self) -> bool {
        let is_wanted = self.is_wanted_elsewhere.load(Ordering::Relaxed);
        is_wanted && !self.voice.is_heard() && !self.questions.lock().is_empty()
    }
}
