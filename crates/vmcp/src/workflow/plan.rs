//! Which steps of a composite tool wait for which: a graph without cycles, checked before anything runs.
//!
//! A step waits for what it says (`dependsOn`), and for what its templates ask for, said or not: in the contract a step that
//! forgets to say so reads what may not be there yet. A step starts when those it waits for are over; there are no levels.
//!
//! Deliberately absent: which tools there are (a view knows), and time.

mod check;
#[cfg(test)]
pub(in crate::workflow) mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub(in crate::workflow) use check::is_deeper_than;

use super::template::{Data, Reference, Template};
use crate::config::{Composite, Output, OutputProperty, OutputValue, Place, Step, StepKind};

/// A composite tool that can be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// What it takes, as a JSON Schema.
    pub parameters: Data,
    /// How long all of it may take.
    pub timeout: Duration,
    /// What is done, as it is written.
    pub steps: Vec<PlannedStep>,
    /// The steps' places, each after those it waits for; else as they are written.
    pub order: Vec<usize>,
    /// What it answers; nothing: what the last step in order gave.
    pub output: Option<Output>,
}

/// A step and what it waits for.
#[derive(Clone, Debug)]
pub struct PlannedStep {
    /// What is done.
    pub step: Step,
    /// The places of those that must be over before it starts.
    pub needs: BTreeSet<usize>,
    /// Those, and what they wait for, and so on. The step sees what these gave, and nothing else, so that it sees the same
    /// whatever else was faster.
    pub sees: BTreeSet<usize>,
}

/// Something that is wrong with a composite tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblem {
    /// Where the step is written; nothing for what is not of a step.
    pub place: Option<Place>,
    /// What is wrong.
    pub kind: PlanProblemKind,
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "{} (line {}, column {})", self.kind, place.line, place.column),
            None => self.kind.fmt(f),
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanProblemKind {
    /// There are too many steps.
    #[error("too many steps: {count} (max {most})")]
    TooManySteps {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Two steps are called the same.
    #[error("step {0:?} is there twice")]
    Repeated(String),
    /// A step waits for one that is not there.
    #[error("step {step:?} depends on unknown step {unknown:?}")]
    Unknown {
        /// The step.
        step: String,
        /// What it waits for.
        unknown: String,
    },
    /// A template asks for a step that is not there.
    #[error("{by} refers to unknown step {unknown:?} ({reference})")]
    UnknownReference {
        /// Whose template.
        by: String,
        /// The step.
        unknown: String,
        /// What it asks for.
        reference: String,
    },
    /// Steps wait for one another.
    #[error("dependency cycle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// What a step gives when it is skipped lacks what others ask for.
    #[error(
        "steps[{step}].defaultResults[{field}] is required: step {step:?} may be skipped and field {field:?} is referenced by {by}"
    )]
    NoDefault {
        /// The step that may be skipped.
        step: String,
        /// What is asked for.
        field: String,
        /// By whom.
        by: String,
    },
    /// What a step gives when it is skipped is no object.
    #[error("defaultResults of step {0:?} must be a map")]
    DefaultsNotAMap(String),
    /// A schema that a user would be asked by is too large.
    #[error("schema of step {step:?} is too large: {bytes} bytes (max {most})")]
    SchemaTooLarge {
        /// The step.
        step: String,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// A schema that a user would be asked by is nested too deep.
    #[error("schema of step {step:?} is nested too deep (max {most})")]
    SchemaTooDeep {
        /// The step.
        step: String,
        /// How deep it may be.
        most: usize,
    },
}

impl Plan {
    /// Plans a composite tool.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn of(composite: &Composite) -> Result<Self, Vec<PlanProblem>> {
        let mut problems = check::steps(&composite.steps);
        let needs = needs(composite, &mut problems);
        problems.extend(check::defaults(composite));
        let order = match order(&composite.steps, &needs) {
            Ok(order) => order,
            Err(problem) => {
                problems.push(problem);
                Vec::new()
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let sees = sees(&needs, &order);
        let steps = composite.steps.iter().zip(needs).zip(sees);
        Ok(Self {
            name: composite.name.as_str().into(),
            parameters: composite.parameters.clone(),
            timeout: composite.timeout,
            steps: steps
                .map(|((step, needs), sees)| PlannedStep { step: step.clone(), needs, sees })
                .collect(),
            order,
            output: composite.output.clone(),
        })
    }

    /// The place of a step.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.steps.iter().position(|planned| planned.step.id == id)
    }
}

/// The step that a template asks for, if it does.
fn step_of(reference: &Reference) -> Option<&str> {
    let mut names = reference.names();
    (names.next() == Some("steps")).then(|| names.next()).flatten()
}

/// The templates of a step, those of what it does for each of many included.
fn templates(step: &Step) -> Vec<&Template> {
    let mut all: Vec<&Template> = step.condition.iter().collect();
    match &step.kind {
        StepKind::Tool(call) => all.extend(call.arguments.templates()),
        StepKind::Elicitation { message, .. } => all.extend(message),
        StepKind::ForEach(each) => {
            all.extend(&each.collection);
            all.extend(each.step.iter().flat_map(templates));
        }
    }
    all
}

/// The templates of an answer.
fn output_templates(properties: &[(String, OutputProperty)]) -> Vec<&Template> {
    let mut all = Vec::new();
    for (_, property) in properties {
        match &property.value {
            OutputValue::Template(template) => all.push(template),
            OutputValue::Properties(inner) => all.extend(output_templates(inner)),
            OutputValue::Nothing => {}
        }
    }
    all
}

/// What each step waits for. What is not there is noted.
fn needs(composite: &Composite, problems: &mut Vec<PlanProblem>) -> Vec<BTreeSet<usize>> {
    let steps = &composite.steps;
    let position = |id: &str| steps.iter().position(|step| step.id == id);
    let unknown = |by: String, reference: &Reference, unknown: &str| {
        let (unknown, reference) = (unknown.to_owned(), reference.to_string());
        PlanProblemKind::UnknownReference { by, unknown, reference }
    };
    let mut all = Vec::new();
    for step in steps {
        let mut needs = BTreeSet::new();
        for id in &step.depends_on {
            match position(id) {
                Some(position) => drop(needs.insert(position)),
                None => {
                    let kind = PlanProblemKind::Unknown { step: step.id.clone(), unknown: id.clone() };
                    problems.push(PlanProblem { place: Some(step.place), kind });
                }
            }
        }
        for reference in templates(step).into_iter().flat_map(Template::references) {
            let Some(id) = step_of(reference) else { continue };
            match position(id) {
                Some(position) => drop(needs.insert(position)),
                None => {
                    let kind = unknown(format!("step {:?}", step.id), reference, id);
                    problems.push(PlanProblem { place: Some(step.place), kind });
                }
            }
        }
        all.push(needs);
    }
    let output = composite.output.as_ref().map(|output| output_templates(&output.properties));
    for reference in output.into_iter().flatten().flat_map(Template::references) {
        if let Some(id) = step_of(reference).filter(|id| position(id).is_none()) {
            problems.push(PlanProblem { place: None, kind: unknown("output".to_owned(), reference, id) });
        }
    }
    all
}

/// Places in an order in which each comes after what it waits for, the first that is written first.
fn order(steps: &[Step], needs: &[BTreeSet<usize>]) -> Result<Vec<usize>, PlanProblem> {
    let (mut order, mut left): (Vec<usize>, BTreeSet<usize>) = (Vec::new(), (0..steps.len()).collect());
    while let Some(next) = left.iter().copied().find(|place| needs[*place].is_disjoint(&left)) {
        left.remove(&next);
        order.push(next);
    }
    match left.first() {
        None => Ok(order),
        Some(first) => Err(cycle(steps, needs, &left, *first)),
    }
}

/// Follows what is left from one to the next until one comes back.
fn cycle(steps: &[Step], needs: &[BTreeSet<usize>], left: &BTreeSet<usize>, first: usize) -> PlanProblem {
    let mut path = vec![first];
    let mut at = first;
    let start = loop {
        // Whatever is left waits for something that is left.
        let Some(next) = needs[at].intersection(left).next() else { break 0 };
        if let Some(start) = path.iter().position(|known| known == next) {
            break start;
        }
        path.push(*next);
        at = *next;
    };
    let mut ids: Vec<String> = path[start..].iter().map(|place| steps[*place].id.clone()).collect();
    ids.extend(ids.first().cloned());
    PlanProblem { place: Some(steps[path[start]].place), kind: PlanProblemKind::Cycle(ids) }
}

fn sees(needs: &[BTreeSet<usize>], order: &[usize]) -> Vec<BTreeSet<usize>> {
    let mut sees = vec![BTreeSet::new(); needs.len()];
    for place in order {
        let mut all = needs[*place].clone();
        for need in &needs[*place] {
            all.extend(&sees[*need]);
        }
        sees[*place] = all;
    }
    sees
}
