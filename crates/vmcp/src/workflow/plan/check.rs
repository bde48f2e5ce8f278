//! What is wrong with steps that can be said without knowing what they wait for.

use std::collections::BTreeSet;

use super::{PlanProblem, PlanProblemKind, output_templates};
use crate::config::{Action, Arguments, Composite, Step, StepKind};
use crate::workflow::template::{Data, Template};

/// How many steps there may be.
const MAX_STEPS: usize = 100;
/// Bytes of a schema that a user is asked by.
const MAX_SCHEMA: usize = 100 * 1024;
/// Levels of one.
const MAX_SCHEMA_DEPTH: usize = 10;

pub(super) fn steps(steps: &[Step]) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    if steps.len() > MAX_STEPS {
        let kind = PlanProblemKind::TooManySteps { count: steps.len(), most: MAX_STEPS };
        problems.push(PlanProblem { place: None, kind });
    }
    let mut known = BTreeSet::new();
    for step in steps {
        let is_new = known.insert(&*step.id);
        let kinds = [
            (!is_new).then(|| PlanProblemKind::Repeated(step.id.clone())),
            defaults_that_are_no_map(step),
            schema(step),
        ];
        let place = Some(step.place);
        problems.extend(kinds.into_iter().flatten().map(|kind| PlanProblem { place, kind }));
    }
    problems
}

fn defaults_that_are_no_map(step: &Step) -> Option<PlanProblemKind> {
    let is_map = matches!(step.default_results, None | Some(Data::Map(_)));
    (!is_map).then(|| PlanProblemKind::DefaultsNotAMap(step.id.clone()))
}

fn schema(step: &Step) -> Option<PlanProblemKind> {
    let StepKind::Elicitation { schema: Some(schema), .. } = &step.kind else { return None };
    let step = step.id.clone();
    let bytes = serde_json::to_vec(schema).map_or(0, |json| json.len());
    if bytes > MAX_SCHEMA {
        return Some(PlanProblemKind::SchemaTooLarge { step, bytes, most: MAX_SCHEMA });
    }
    let is_too_deep = is_deeper_than(schema, MAX_SCHEMA_DEPTH);
    is_too_deep.then_some(PlanProblemKind::SchemaTooDeep { step, most: MAX_SCHEMA_DEPTH })
}

/// Whether lists and objects are nested in more levels than these.
pub(in crate::workflow) fn is_deeper_than(data: &Data, levels: usize) -> bool {
    match data {
        Data::List(values) => levels == 0 || values.iter().any(|value| is_deeper_than(value, levels - 1)),
        Data::Map(members) => levels == 0 || members.values().any(|value| is_deeper_than(value, levels - 1)),
        _ => false,
    }
}

/// A step that may be skipped says what it gives then, as far as others ask for it. As in the contract, this is asked of
/// conditions, messages, arguments that are texts themselves, and answers; and only of steps that can be named with dots,
/// since what `index` finds is not looked at there.
pub(super) fn defaults(composite: &Composite) -> Vec<PlanProblem> {
    let mut missing = BTreeSet::new();
    for step in &composite.steps {
        for template in checked_templates(step) {
            note_missing(composite, template, &format!("step {}", step.id), Some(step), &mut missing);
        }
    }
    for template in composite.output.iter().flat_map(|output| output_templates(&output.properties)) {
        note_missing(composite, template, "output", None, &mut missing);
    }
    let problem = |(step, field, by): (String, String, String)| {
        let place = composite.steps.iter().find(|known| known.id == step).map(|step| step.place);
        PlanProblem { place, kind: PlanProblemKind::NoDefault { step, field, by } }
    };
    missing.into_iter().map(problem).collect()
}

fn checked_templates(step: &Step) -> Vec<&Template> {
    let mut all: Vec<&Template> = step.condition.iter().collect();
    match &step.kind {
        StepKind::Tool(call) => {
            let Arguments::Map(members) = &call.arguments else { return all };
            all.extend(members.iter().filter_map(|(_, value)| match value {
                Arguments::Template(template) => Some(template),
                _ => None,
            }));
        }
        StepKind::Elicitation { message, .. } => all.extend(message),
        StepKind::ForEach(_) => {}
    }
    all
}

fn note_missing(
    composite: &Composite,
    template: &Template,
    by: &str,
    step: Option<&Step>,
    missing: &mut BTreeSet<(String, String, String)>,
) {
    for reference in template.references() {
        let names: Vec<&str> = reference.names().collect();
        let ["steps", id, "output", field, ..] = names[..] else { continue };
        let Some(referred) = composite.steps.iter().find(|known| known.id == id) else { continue };
        let is_itself = step.is_some_and(|step| step.id == id);
        let has_default = referred.default_results.as_ref().is_some_and(|all| all.get(field).is_some());
        if may_be_skipped(referred) && can_follow_a_dot(id) && !is_itself && !has_default {
            missing.insert((id.to_owned(), field.to_owned(), by.to_owned()));
        }
    }
}

fn may_be_skipped(step: &Step) -> bool {
    step.condition.is_some() || step.on_error.action == Action::Continue
}

fn can_follow_a_dot(id: &str) -> bool {
    id.chars().all(|character| character.is_alphanumeric() || character == '_')
}
