//! Composite tools in a view: shown where all they call is there, under names that are free, and as no safer than what they
//! call. What is wrong with one leaves out that one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::problem::{Claimant, Problem};
use super::view::{Shown, View};
use super::{Hints, Kind, hints, names, rewrite};
use crate::config::{Composite, Output, OutputProperty, OutputType, OutputValue, StepKind};
use crate::workflow::template::Data;

/// Composite tools' names in the configuration, by the names that clients call them by.
pub(super) type Composites = HashMap<Arc<str>, String>;

#[derive(Default)]
pub(super) struct Added {
    pub(super) composites: Composites,
    pub(super) shown: Vec<Shown>,
    pub(super) problems: Vec<Problem>,
}

/// `view` has its tools already.
pub(super) fn aggregate(composites: &[Composite], view: &View) -> Added {
    let mut added = Added::default();
    for composite in composites {
        if let Err(problem) = added.add(composite, view) {
            added.problems.push(problem);
        }
    }
    added
}

impl Added {
    fn add(&mut self, composite: &Composite, view: &View) -> Result<(), Problem> {
        let respelled = names::respelled(&composite.name, Kind::Tools);
        let name: Arc<str> = respelled.as_deref().unwrap_or(&composite.name).into();
        let named = || composite.name.clone();
        if let Some(route) = view.tool(&name) {
            return Err(Problem::CompositeConflict { composite: named(), with: route.claimant() });
        }
        let mut called = Vec::new();
        for tool in tools_of(composite) {
            let route = view.reference(tool);
            called.push(
                route.ok_or_else(|| Problem::CompositeReference {
                    composite: named(),
                    tool: tool.to_owned(),
                })?,
            );
        }
        let floor = Hints::floor(called.iter().map(|route| route.hints));
        if let Some(hint) = floor.and_then(|floor| floor.is_undercut_by(&composite.annotations)) {
            return Err(Problem::CompositeHint { composite: named(), hint });
        }
        if respelled.is_some() {
            let of = Claimant { backend: "".into(), own: named().into() };
            self.problems.push(Problem::Respelled { kind: Kind::Tools, of, name: Arc::clone(&name) });
        }
        self.shown.push(Shown::composite(&name, definition(composite, &name, floor)));
        self.composites.insert(name, named());
        Ok(())
    }
}

/// What a composite tool calls, each once.
fn tools_of(composite: &Composite) -> BTreeSet<&str> {
    let kinds = composite.steps.iter().map(|step| match &step.kind {
        StepKind::ForEach(each) => each.step.as_ref().map(|inner| &inner.kind),
        kind => Some(kind),
    });
    kinds
        .flatten()
        .filter_map(|kind| match kind {
            StepKind::Tool(call) => Some(&*call.tool),
            _ => None,
        })
        .collect()
}

/// The tool as clients see it.
fn definition(composite: &Composite, name: &str, floor: Option<Hints>) -> Bytes {
    let mut members = vec![
        ("name", rewrite::text(name)),
        ("description", rewrite::text(&composite.description)),
        ("inputSchema", json(&composite.parameters)),
    ];
    members.extend(composite.output.as_ref().map(|output| ("outputSchema", json(&schema(output)))));
    let hints = floor.unwrap_or_default().changed_by(&composite.annotations);
    let annotations = hints::members(composite.annotations.title.as_deref(), hints);
    if !annotations.is_empty() {
        members.push(("annotations", rewrite::with_members(b"{}", &annotations).to_vec()));
    }
    rewrite::with_members(b"{}", &members)
}

fn json(data: &Data) -> Vec<u8> {
    serde_json::to_vec(data).expect("data is JSON")
}

/// The schema of what a composite tool answers.
fn schema(output: &Output) -> Data {
    let mut members = vec![("type", Data::from("object")), ("properties", properties(&output.properties))];
    if !output.required.is_empty() {
        members.push(("required", Data::list(output.required.iter().map(String::as_str))));
    }
    Data::map(members)
}

fn properties(all: &[(String, OutputProperty)]) -> Data {
    Data::map(all.iter().map(|(name, property)| {
        let kind = match property.kind {
            OutputType::String => "string",
            OutputType::Integer => "integer",
            OutputType::Number => "number",
            OutputType::Boolean => "boolean",
            OutputType::Object => "object",
            OutputType::Array => "array",
        };
        let mut members =
            vec![("type", Data::from(kind)), ("description", Data::from(property.description.as_str()))];
        if let OutputValue::Properties(inner) = &property.value {
            members.push(("properties", properties(inner)));
        }
        (name.as_str(), Data::map(members))
    }))
}
