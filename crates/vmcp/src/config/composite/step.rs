//! One step: a call, a question, or a call for each of many.

use std::time::Duration;

use super::super::problem::Place;
use super::super::section::{Reader, Section};
use super::arguments::{self, Arguments};
use super::template;
use crate::workflow::template::{Data, Template};

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it is written.
    pub place: Place,
    /// What it is called.
    pub id: String,
    /// What is done.
    pub kind: StepKind,
    /// Whether it is done at all.
    pub condition: Option<Template>,
    /// What must be over before.
    pub depends_on: Vec<String>,
    /// What happens when it fails.
    pub on_error: OnError,
    /// How long it may take, retries included.
    pub timeout: Duration,
    /// What it gave, if it is not done.
    pub default_results: Option<Data>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// Calls a tool.
    Tool(ToolCall),
    /// Asks the user.
    Elicitation {
        /// What is asked.
        message: Option<Template>,
        /// What may be answered, as a JSON Schema.
        schema: Option<Data>,
        /// When the user declines.
        on_decline: Option<Choice>,
        /// When the user cancels, or does not answer.
        on_cancel: Option<Choice>,
    },
    /// Calls a tool for each of many.
    ForEach(Box<ForEach>),
}

/// A call.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The tool, by its name here or as `workload.tool`.
    pub tool: String,
    /// What it is given.
    pub arguments: Arguments,
}

/// A call for each of many.
#[derive(Clone, Debug)]
pub struct ForEach {
    /// What to walk: a JSON list, once rendered.
    pub collection: Option<Template>,
    /// What an element is called.
    pub variable: String,
    /// How many are under way at once.
    pub max_parallel: usize,
    /// How many there may be.
    pub max_iterations: usize,
    /// What is done with each.
    pub step: Option<Step>,
}

/// What happens when a step fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnError {
    /// What.
    pub action: Action,
    /// How often it is tried again.
    pub retries: usize,
    /// How long to wait first.
    pub delay: Duration,
}

/// What happens when a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The workflow ends.
    Abort,
    /// The workflow goes on.
    Continue,
    /// It is tried again.
    Retry,
}

/// What happens when the user does not want to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The workflow ends.
    Abort,
    /// The workflow goes on.
    Continue,
    /// The workflow is over, with what there is.
    SkipRemaining,
}

const TIMEOUT: Duration = Duration::from_secs(5 * 60);
const MAX_RETRIES: usize = 10;

/// What steps of one kind or another have. ToolHive's files may have any of them in any step.
const ALL: [&str; 11] = [
    "tool",
    "arguments",
    "message",
    "schema",
    "onDecline",
    "onCancel",
    "collection",
    "itemVar",
    "maxParallel",
    "maxIterations",
    "step",
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tool,
    Elicitation,
    ForEach,
}

pub(super) fn read(mut section: Section<'_>, reader: &mut Reader<'_>) -> Step {
    let kinds = [("tool", Kind::Tool), ("elicitation", Kind::Elicitation), ("forEach", Kind::ForEach)];
    let is_typed = section.has("type");
    let kind = section.word(reader, "type", &kinds).unwrap_or(Kind::Tool);
    if !is_typed && section.has("tool") && section.has("message") {
        let message = "cannot have both tool and message fields - use explicit type to clarify intent";
        reader.say(section.path.clone(), section.place, message);
    }
    let id = section.required(reader, "id");
    let step = Step { id, ..rest(&mut section, reader, kind) };
    section.finish(reader);
    step
}

/// All but the id, which an inner step has none of.
fn rest(section: &mut Section<'_>, reader: &mut Reader<'_>, kind: Kind) -> Step {
    section.know(&ALL);
    let kind = match kind {
        Kind::Tool => StepKind::Tool(tool_call(section, reader)),
        Kind::Elicitation => elicitation(section, reader),
        Kind::ForEach => for_each(section, reader),
    };
    Step {
        place: section.place,
        id: String::new(),
        condition: text_template(section, reader, "condition"),
        depends_on: section.texts(reader, "dependsOn"),
        on_error: on_error(section, reader),
        timeout: section.duration_or(reader, "timeout", TIMEOUT),
        default_results: section.data("defaultResults"),
        kind,
    }
}

fn text_template(section: &mut Section<'_>, reader: &mut Reader<'_>, name: &'static str) -> Option<Template> {
    let source = section.text(reader, name)?;
    template(reader, &section.path_of(name), section.place_of(name), &source)
}

fn tool_call(section: &mut Section<'_>, reader: &mut Reader<'_>) -> ToolCall {
    let tool = section.text(reader, "tool").unwrap_or_default();
    let is_name = |tool: &str| {
        tool.starts_with(|first: char| first.is_ascii_alphanumeric())
            && tool.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if !section.has("tool") {
        section.say(reader, "tool", "is required when type is tool");
    } else if !tool.is_empty() && !is_name(&tool) {
        section.say(reader, "tool", "must be a valid tool name");
    }
    let path = section.path_of("arguments");
    let members = section.map(reader, "arguments");
    let arguments = members.into_iter().map(|(name, _, node)| {
        (name.to_owned(), arguments::read(reader, &format!("{path}[{name}]"), node, 1))
    });
    ToolCall { tool, arguments: Arguments::Map(arguments.collect()) }
}

fn elicitation(section: &mut Section<'_>, reader: &mut Reader<'_>) -> StepKind {
    if !section.has("message") {
        section.say(reader, "message", "is required when type is elicitation");
    }
    let schema = section.data("schema");
    match &schema {
        None => section.say(reader, "schema", "is required when type is elicitation"),
        Some(Data::Map(_)) => {}
        Some(_) => section.say(reader, "schema", ": invalid JSON Schema: must be a map"),
    }
    StepKind::Elicitation {
        message: text_template(section, reader, "message"),
        schema,
        on_decline: choice(section, reader, "onDecline"),
        on_cancel: choice(section, reader, "onCancel"),
    }
}

fn choice(section: &mut Section<'_>, reader: &mut Reader<'_>, name: &'static str) -> Option<Choice> {
    let mut section = section.section(reader, name)?;
    let choices =
        [("abort", Choice::Abort), ("continue", Choice::Continue), ("skip_remaining", Choice::SkipRemaining)];
    let choice = section.required_word(reader, "action", &choices);
    section.finish(reader);
    choice
}

fn for_each(section: &mut Section<'_>, reader: &mut Reader<'_>) -> StepKind {
    if !section.has("collection") {
        section.say(reader, "collection", "is required for forEach steps");
    }
    for name in ["tool", "message"] {
        if section.node(name).is_some() {
            section.say(reader, name, format!(": forEach step must not have '{name}' field"));
        }
    }
    let variable = section.text(reader, "itemVar").unwrap_or_else(|| "item".to_owned());
    let is_identifier = variable.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && variable.chars().all(|character| character.is_alphanumeric() || character == '_');
    if !is_identifier {
        section.say(reader, "itemVar", format!("must be a valid Go identifier (got {variable:?})"));
    } else if variable == "index" {
        section.say(reader, "itemVar", "cannot be 'index' (reserved)");
    }
    StepKind::ForEach(Box::new(ForEach {
        collection: text_template(section, reader, "collection"),
        variable,
        max_parallel: section.count(reader, "maxParallel", (0, 50), 10),
        max_iterations: section.count(reader, "maxIterations", (0, 1000), 100),
        step: inner_step(section, reader),
    }))
}

fn inner_step(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Step> {
    if !section.has("step") {
        section.say(reader, "step", "is required for forEach steps");
    }
    let mut inner = section.section(reader, "step")?;
    if let Some(kind) = inner.text(reader, "type").filter(|kind| kind != "tool") {
        let message = format!("must be 'tool' (got {kind:?}); only tool inner steps are supported");
        inner.say(reader, "type", message);
        return None;
    }
    let id = inner.text(reader, "id").unwrap_or_default();
    let step = Step { id, ..rest(&mut inner, reader, Kind::Tool) };
    inner.finish(reader);
    Some(step)
}

fn on_error(section: &mut Section<'_>, reader: &mut Reader<'_>) -> OnError {
    let delay = Duration::from_secs(1);
    let none = OnError { action: Action::Abort, retries: 0, delay };
    let Some(mut section) = section.section(reader, "onError") else { return none };
    let actions = [("abort", Action::Abort), ("continue", Action::Continue), ("retry", Action::Retry)];
    let action = section.required_word(reader, "action", &actions).unwrap_or(Action::Abort);
    let retries = section.count(reader, "retryCount", (0, i64::MAX), 0);
    if action == Action::Retry && retries == 0 {
        section.say(reader, "retryCount", "must be at least 1 when action is retry");
    }
    let delay = section.duration_or(reader, "retryDelay", delay);
    section.finish(reader);
    OnError { action, retries: retries.min(MAX_RETRIES), delay }
}
