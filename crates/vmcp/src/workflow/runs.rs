//! Where runs are kept so that they outlive whoever began them: their logs, who goes on with them, and what is left for that
//! one by others.
//!
//! INVARIANT: a lease says who works on a run, the log says who may write. Two that both think they hold a run write nothing
//! twice ([`RunLog::append`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::log::{Event, Logging, RunLog};

/// An event, and when it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Dated {
    /// Unix milliseconds.
    pub at: u64,
    /// What happened.
    pub event: Event,
}

/// What another replica has heard of the client of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Letter {
    /// What it answers to the question of a step: a whole message.
    Reply {
        /// The step.
        step: String,
        /// The message.
        answer: String,
    },
    /// It does not want the run any more.
    Cancelled,
    /// It reads the run's stream there.
    Listens,
}

/// Where runs are kept.
pub trait RunStore: RunLog {
    /// Whether another process, or this one after it was started again, can go on with what is here.
    fn is_lasting(&self) -> bool;

    /// The runs that are not over.
    fn open(&self) -> Logging<'_, Vec<Uuid>>;

    /// All runs that are not forgotten.
    fn all(&self) -> Logging<'_, Vec<Uuid>>;

    /// What has happened in a run, and when.
    fn timeline(&self, run: Uuid) -> Logging<'_, Vec<Dated>>;

    /// Works on a run for so long, or goes on with that. Gives what others have left; `None` while another one works on it.
    fn hold(&self, run: Uuid, hold: Duration) -> Logging<'_, Option<Vec<Letter>>>;

    /// Works on a run no longer.
    fn release(&self, run: Uuid) -> Logging<'_, ()>;

    /// Leaves something for whoever works on a run. False where that can only be this process.
    fn post(&self, run: Uuid, letter: Letter) -> Logging<'_, bool>;
}
