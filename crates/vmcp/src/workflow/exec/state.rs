//! What templates see of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::log::{Began, Outcome};
use super::super::template::Data;
use crate::config::Step;

/// What is said of the run itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) status: &'static str,
    pub(super) duration: Duration,
    pub(super) steps: usize,
}

impl Progress {
    /// While steps run. The contract counts nothing before the end.
    pub(super) const PENDING: Self = Self { status: "pending", duration: Duration::ZERO, steps: 0 };
}

/// A run over which templates of a step, or of its answer, are rendered.
pub(super) fn of_run(
    id: &str,
    began: &Began,
    progress: Progress,
    steps: impl Iterator<Item = (Arc<str>, Data)>,
) -> Data {
    let whole = |number: u128| Data::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let workflow = [
        ("id", Data::from(id)),
        ("status", Data::from(progress.status)),
        ("duration_ms", whole(progress.duration.as_millis())),
        ("step_count", whole(progress.steps as u128)),
        ("start_time", Data::Text(Arc::clone(&began.started))),
    ];
    Data::map([
        ("params", began.params.clone()),
        ("steps", Data::map(steps)),
        ("vars", Data::Map(Arc::new(BTreeMap::new()))),
        ("workflow", Data::map(workflow)),
    ])
}

/// A run as one of many calls sees it.
pub(super) fn with_item(state: &Data, variable: &str, item: &Data, index: usize) -> Data {
    let Data::Map(members) = state else { return state.clone() };
    let mut members = (**members).clone();
    let index = Data::Int(i64::try_from(index).unwrap_or(i64::MAX));
    members.insert("forEach".into(), Data::map([(variable, item.clone()), ("index", index)]));
    Data::Map(Arc::new(members))
}

/// A step that is over. Its output is what it gave, or else its default.
pub(super) fn of_step(step: &Step, outcome: &Outcome, made: Option<Data>) -> Data {
    let default = || step.default_results.clone().unwrap_or_default();
    let nothing = || Data::Map(Arc::new(BTreeMap::new()));
    let (status, output, content, error) = match outcome {
        Outcome::Done(answer) => {
            let content = if answer.content == Data::Null { nothing() } else { answer.content.clone() };
            ("completed", made.unwrap_or_else(|| answer.output.clone()), content, None)
        }
        Outcome::Skipped => ("skipped", default(), nothing(), None),
        Outcome::Failed(failure) => ("failed", default(), nothing(), Some(failure.message.as_str())),
    };
    let mut members = vec![("status", Data::from(status)), ("output", output), ("content", content)];
    members.extend(error.map(|error| ("error", Data::from(error))));
    Data::map(members)
}
