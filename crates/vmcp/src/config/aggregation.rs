//! How the tools, prompts and resources of many backends become one server's.

use std::collections::{BTreeMap, BTreeSet};

use super::section::{Reader, Section};

/// `aggregation`.
#[derive(Clone, Debug)]
pub struct Aggregation {
    /// What happens to names that several backends have.
    pub conflicts: Conflicts,
    /// What stands in front of a name where something has to, `{workload}` standing for the workload's name.
    pub prefix: String,
    /// What is said of single workloads.
    pub tools: Vec<WorkloadTools>,
    /// Whether backends' tools are hidden, all of them.
    pub excludes_all: bool,
    /// What becomes of the tools of workloads that nothing is said of.
    pub visibility: Visibility,
}

impl Default for Aggregation {
    /// Every name is prefixed, and everything is shown.
    fn default() -> Self {
        Self {
            conflicts: Conflicts::Prefix { format: PREFIX.to_owned() },
            prefix: PREFIX.to_owned(),
            tools: Vec::new(),
            excludes_all: false,
            visibility: Visibility::Allow,
        }
    }
}

/// What happens to names that several backends have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflicts {
    /// Every name is prefixed, `{workload}` standing for the workload's name.
    Prefix {
        /// What is put in front.
        format: String,
    },
    /// The first of these has the name.
    Priority {
        /// Workloads, the first first.
        order: Vec<String>,
    },
    /// Overrides have resolved them all, or it is an error.
    Manual,
}

/// Whether tools are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Unless something hides them.
    Allow,
    /// Only where something shows them.
    Deny,
}

/// What is said of one workload's tools.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadTools {
    /// The workload.
    pub workload: String,
    /// A resource with filters and overrides, for Kubernetes.
    pub config_reference: Option<String>,
    /// The tools that are shown, by their names after overrides; none: all.
    pub filter: Vec<String>,
    /// What is changed, by the backend's name of the tool.
    pub overrides: BTreeMap<String, Override>,
    /// Whether all are hidden.
    pub excludes_all: bool,
}

/// What is changed of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its annotations.
    pub annotations: Annotations,
}

/// Annotations of a tool. What is absent is not said, which is not the same as false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// A name for people.
    pub title: Option<String>,
    /// It changes nothing.
    pub read_only: Option<bool>,
    /// It may destroy something.
    pub destructive: Option<bool>,
    /// Doing it twice is doing it once.
    pub idempotent: Option<bool>,
    /// It reaches beyond what is known.
    pub open_world: Option<bool>,
}

/// What stands in front where nothing is said.
const PREFIX: &str = "{workload}_";

#[derive(Clone, Copy)]
enum Kind {
    Prefix,
    Priority,
    Manual,
}

pub(super) fn read(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Aggregation {
    let mut aggregation = Aggregation::default();
    let Some(mut section) = root.required_section(reader, "aggregation") else { return aggregation };
    aggregation.tools = tools(&mut section, reader);
    let (conflicts, prefix) = conflicts(&mut section, reader);
    aggregation.conflicts = conflicts.unwrap_or(Conflicts::Manual);
    aggregation.prefix = prefix.unwrap_or_else(|| PREFIX.to_owned());
    aggregation.excludes_all = section.flag(reader, "excludeAllTools").unwrap_or_default();
    let visibilities = [("allow", Visibility::Allow), ("deny", Visibility::Deny)];
    if let Some(visibility) = section.word(reader, "defaultToolVisibility", &visibilities) {
        aggregation.visibility = visibility;
    }
    check(&section, reader, &aggregation);
    section.finish(reader);
    aggregation
}

/// How conflicts are resolved, and what is put in front of names, whichever way that is.
fn conflicts(section: &mut Section<'_>, reader: &mut Reader<'_>) -> (Option<Conflicts>, Option<String>) {
    let kinds = [("prefix", Kind::Prefix), ("priority", Kind::Priority), ("manual", Kind::Manual)];
    let kind = section.required_word(reader, "conflictResolution", &kinds);
    let Some(mut settings) = section.required_section(reader, "conflictResolutionConfig") else {
        return (None, None);
    };
    let format = settings.text(reader, "prefixFormat");
    let order = settings.texts(reader, "priorityOrder");
    let conflicts = match kind {
        Some(Kind::Prefix) => {
            if format.is_none() {
                settings.say(reader, "prefixFormat", "is required for prefix strategy");
            }
            Some(Conflicts::Prefix { format: format.clone().unwrap_or_default() })
        }
        Some(Kind::Priority) => {
            if order.is_empty() {
                settings.say(reader, "priorityOrder", "is required for priority strategy");
            }
            Some(Conflicts::Priority { order })
        }
        Some(Kind::Manual) => Some(Conflicts::Manual),
        None => None,
    };
    settings.finish(reader);
    (conflicts, format)
}

/// What only makes sense together.
fn check(section: &Section<'_>, reader: &mut Reader<'_>, aggregation: &Aggregation) {
    match &aggregation.conflicts {
        Conflicts::Manual if aggregation.tools.is_empty() && section.has("conflictResolution") => {
            section.say(reader, "tools", ": tool overrides are required for manual strategy");
        }
        Conflicts::Priority { order } if aggregation.visibility == Visibility::Deny => {
            let known: BTreeSet<&str> = aggregation.tools.iter().map(|tools| &*tools.workload).collect();
            for name in order.iter().filter(|name| !known.contains(name.as_str())) {
                let message = format!(
                    "deny with priority strategy: priorityOrder entry {name:?} has no tools entry; it could win a name \
                     conflict and then be withheld, hiding the tool entirely. Add a tools entry for {name:?} or remove it \
                     from priorityOrder"
                );
                section.say(reader, "defaultToolVisibility", message);
            }
        }
        _ => {}
    }
}

fn tools(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<WorkloadTools> {
    let mut all: Vec<WorkloadTools> = Vec::new();
    for mut section in section.sections(reader, "tools") {
        let workload = section.required(reader, "workload");
        if !workload.is_empty() && all.iter().any(|known| known.workload == workload) {
            section.say(reader, "workload", format!("is a duplicate workload configuration: {workload}"));
        }
        let mut overrides = BTreeMap::new();
        for (tool, path, node) in section.map(reader, "overrides") {
            let read = Section::of(path, node, reader).map(|section| read_override(section, reader));
            overrides.extend(read.map(|change| (tool.to_owned(), change)));
        }
        let reference = section.section(reader, "toolConfigRef").map(|mut reference| {
            let name = reference.required(reader, "name");
            reference.finish(reader);
            name
        });
        all.push(WorkloadTools {
            workload,
            config_reference: reference,
            filter: section.texts(reader, "filter"),
            overrides,
            excludes_all: section.flag(reader, "excludeAll").unwrap_or_default(),
        });
        section.finish(reader);
    }
    all
}

/// An override changes something; ToolHive wants a name or a description, we take annotations, too.
fn read_override(mut section: Section<'_>, reader: &mut Reader<'_>) -> Override {
    let change = Override {
        name: section.text(reader, "name"),
        description: section.text(reader, "description"),
        annotations: annotations(&mut section, reader),
    };
    if change == Override::default() {
        reader.say(
            section.path.clone(),
            section.place,
            ": at least one of name, description or annotations must be specified",
        );
    }
    section.finish(reader);
    change
}

pub(super) fn annotations(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Annotations {
    let Some(mut section) = section.section(reader, "annotations") else { return Annotations::default() };
    let annotations = Annotations {
        title: section.text(reader, "title"),
        read_only: section.flag(reader, "readOnlyHint"),
        destructive: section.flag(reader, "destructiveHint"),
        idempotent: section.flag(reader, "idempotentHint"),
        open_world: section.flag(reader, "openWorldHint"),
    };
    section.finish(reader);
    annotations
}
