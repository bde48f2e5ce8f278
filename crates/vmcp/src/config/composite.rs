//! Composite tools as they are written: each step checked by itself, its templates compiled. How steps hang together is
//! checked by what plans them.

mod arguments;
mod output;
mod step;

use std::time::Duration;

pub use arguments::Arguments;
pub use output::{Output, OutputProperty, OutputType, OutputValue};
pub use step::{Action, Choice, ForEach, OnError, Step, StepKind, ToolCall};

use super::aggregation::{Annotations, annotations};
use super::problem::Place;
use super::section::{Reader, Section};
use crate::workflow::plan::{Plan, PlanProblemKind};
use crate::workflow::template::Data;

/// How many steps a composite tool may have.
pub(super) const MAX_STEPS: usize = 100;

/// A tool that is made of others.
#[derive(Clone, Debug)]
pub struct Composite {
    /// Its name.
    pub name: String,
    /// What it does, for whoever is to call it.
    pub description: String,
    /// What it takes, as a JSON Schema; an object.
    pub parameters: Data,
    /// How long all of it may take.
    pub timeout: Duration,
    /// What is done.
    pub steps: Vec<Step>,
    /// What it answers; nothing: what the last step did.
    pub output: Option<Output>,
    /// What is said of it besides.
    pub annotations: Annotations,
}

const TIMEOUT: Duration = Duration::from_secs(30 * 60);

pub(super) fn read(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<Composite> {
    let mut composites: Vec<Composite> = Vec::new();
    for mut section in root.sections(reader, "compositeTools") {
        let composite = read_one(&mut section, reader);
        if !composite.name.is_empty() && composites.iter().any(|known| known.name == composite.name) {
            section.say(reader, "name", format!("is a duplicate composite tool name: {}", composite.name));
        }
        composites.push(composite);
        section.finish(reader);
    }
    composites
}

fn read_one(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Composite {
    let steps: Vec<Step> =
        section.sections(reader, "steps").into_iter().map(|step| step::read(step, reader)).collect();
    match steps.len() {
        0 => section.say(reader, "steps", "must have at least one step"),
        count if count > MAX_STEPS => {
            section.say(reader, "steps", format!("are too many: {count} (max {MAX_STEPS})"));
        }
        _ => {}
    }
    check_references(section, reader, &steps);
    let composite = Composite {
        name: section.required(reader, "name"),
        description: section.required(reader, "description"),
        parameters: parameters(section, reader),
        timeout: section.duration_or(reader, "timeout", TIMEOUT),
        output: section.section(reader, "output").map(|output| output::read(output, reader)),
        annotations: annotations(section, reader),
        steps,
    };
    check_plan(section, reader, &composite);
    composite
}

/// How steps hang together: what [`check_references`] has not said already, and it stands where the step does.
fn check_plan(section: &Section<'_>, reader: &mut Reader<'_>, composite: &Composite) {
    for problem in Plan::of(composite).err().into_iter().flatten() {
        match problem.kind {
            PlanProblemKind::TooManySteps { .. }
            | PlanProblemKind::Repeated(_)
            | PlanProblemKind::Unknown { .. } => {}
            kind => {
                let place = problem.place.unwrap_or_else(|| section.place_of("output"));
                reader.say(section.path_of("steps"), place, format!(": {kind}"));
            }
        }
    }
}

/// Steps are called once each, and wait for steps that there are.
fn check_references(section: &Section<'_>, reader: &mut Reader<'_>, steps: &[Step]) {
    for (index, step) in steps.iter().enumerate() {
        let path = |name: &str| format!("{}[{index}].{name}", section.path_of("steps"));
        if !step.id.is_empty() && steps[..index].iter().any(|known| known.id == step.id) {
            reader.say(path("id"), step.place, format!("{:?} is duplicated", step.id));
        }
        for needed in step.depends_on.iter().filter(|id| !steps.iter().any(|known| known.id == **id)) {
            reader.say(path("dependsOn"), step.place, format!("references unknown step {needed:?}"));
        }
    }
}

/// A schema of an object.
fn parameters(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Data {
    let empty = || Data::map([("type", "object")]);
    let Some(schema) = section.data("parameters") else { return empty() };
    let mut say = |message: &str| section.say(reader, "parameters", format!(": {message}"));
    match schema.get("type") {
        Some(Data::Text(kind)) if &**kind == "object" => {}
        Some(Data::Text(kind)) => say(&format!("'type' must be 'object' (got '{kind}')")),
        _ => say("must have 'type' field (should be 'object' for JSON Schema)"),
    }
    if !matches!(schema.get("properties"), None | Some(Data::Map(_))) {
        say("'properties' must be an object");
    }
    if !matches!(schema.get("required"), None | Some(Data::List(_))) {
        say("'required' must be an array");
    }
    schema
}

/// Compiles a template, and notes what is wrong with it.
fn template(
    reader: &mut Reader<'_>,
    path: &str,
    place: Place,
    source: &str,
) -> Option<crate::workflow::template::Template> {
    match crate::workflow::template::Template::compile(source) {
        Ok(template) => Some(template),
        Err(error) => {
            reader.say(path, place, format!(": invalid template: {error}"));
            None
        }
    }
}
