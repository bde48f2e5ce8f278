//! What was found to be wrong while a view was made. Nothing of it keeps the rest from being served.

use std::fmt;
use std::mem::{self, Discriminant};
use std::sync::Arc;

use super::{ItemProblem, Kind};

/// Something of a backend, by the name that the backend has for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claimant {
    /// The backend.
    pub backend: Arc<str>,
    /// What it calls it.
    pub own: Arc<str>,
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.backend, self.own)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A backend's list has something that is left out.
    Item {
        /// The backend.
        backend: Arc<str>,
        /// Of what kind it is.
        kind: Kind,
        /// What it is called, where it has a name.
        key: Option<Arc<str>>,
        /// Why.
        problem: ItemProblem,
    },
    /// A backend's list has more of those than are told one by one.
    MoreItems {
        /// The backend.
        backend: Arc<str>,
        /// How many.
        count: usize,
    },
    /// Two backends have the same identity; the second one is left out.
    SameBackend(Arc<str>),
    /// A name that not every client would take is another one here.
    Respelled {
        /// Of what kind it is.
        kind: Kind,
        /// Whose it is.
        of: Claimant,
        /// What it is called now.
        name: Arc<str>,
    },
    /// Several would have the same name or URI, and one of them has it. The others are left out.
    Conflict {
        /// Of what kind they are.
        kind: Kind,
        /// The name.
        name: Arc<str>,
        /// Who has it.
        winner: Claimant,
        /// Who is left out.
        losers: Vec<Claimant>,
    },
    /// Several would have the same name, and nothing says who. All of them are left out.
    Unresolved {
        /// Of what kind they are.
        kind: Kind,
        /// The name.
        name: Arc<str>,
        /// All of them.
        claimants: Vec<Claimant>,
    },
    /// The configuration changes a tool that its backend does not have.
    UnusedOverride(Claimant),
    /// The configuration shows a tool that its backend does not have under this name.
    UnusedFilter {
        /// The backend.
        backend: Arc<str>,
        /// The name.
        name: String,
    },
    /// A template of URIs is not one; only its own text is routed.
    Template(Claimant),
    /// A composite tool is called like a tool that is shown; the composite one is left out.
    CompositeConflict {
        /// The composite tool.
        composite: String,
        /// The tool.
        with: Claimant,
    },
    /// A tool is called like one of skep's own; it is left out.
    Taken(Arc<str>),
    /// A composite tool calls what is not there; it is left out.
    CompositeReference {
        /// The composite tool.
        composite: String,
        /// What it calls.
        tool: String,
    },
    /// A composite tool says that it is safer than the tools it calls; it is left out.
    CompositeHint {
        /// The composite tool.
        composite: String,
        /// What it says.
        hint: &'static str,
    },
}

impl Problem {
    /// What it is about: problems of the same topic are of one kind and one backend.
    pub(crate) fn topic(&self) -> (Discriminant<Self>, Option<Kind>, &str) {
        let (kind, backend): (Option<Kind>, &str) = match self {
            Self::Item { backend, kind, .. } => (Some(*kind), backend),
            Self::MoreItems { backend, .. } | Self::UnusedFilter { backend, .. } => (None, backend),
            Self::SameBackend(backend) => (None, backend),
            Self::Respelled { kind, of, .. } => (Some(*kind), &of.backend),
            Self::Conflict { kind, losers, .. } => (Some(*kind), first(losers)),
            Self::Unresolved { kind, claimants, .. } => (Some(*kind), first(claimants)),
            Self::UnusedOverride(of) | Self::Template(of) => (None, &of.backend),
            Self::CompositeConflict { composite, .. }
            | Self::CompositeReference { composite, .. }
            | Self::CompositeHint { composite, .. } => (None, composite),
            Self::Taken(name) => (None, name),
        };
        (mem::discriminant(self), kind, backend)
    }
}

fn first(claimants: &[Claimant]) -> &str {
    claimants.first().map_or("", |claimant| &claimant.backend)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item { backend, kind, key, problem } => {
                let key = key.as_deref().unwrap_or_default();
                write!(f, "{backend}: {} {key:?} left out: {problem}", kind.member())?;
                std::error::Error::source(problem).map_or(Ok(()), |source| write!(f, ": {source}"))
            }
            Self::MoreItems { backend, count } => write!(f, "{backend}: {count} more things left out"),
            Self::SameBackend(backend) => write!(f, "{backend}: there are two backends of this name"),
            Self::Respelled { kind, of, name } => {
                write!(f, "{of}: called {name:?} in {}, as not every client takes its name", kind.member())
            }
            Self::Conflict { kind, name, winner, losers } => {
                write!(f, "{} {name:?} is of {winner}; left out: {}", kind.member(), list(losers))
            }
            Self::Unresolved { kind, name, claimants } => {
                write!(f, "unresolved conflict of {} {name:?}; left out: {}", kind.member(), list(claimants))
            }
            Self::UnusedOverride(tool) => write!(f, "{tool} is overridden, and not there"),
            Self::UnusedFilter { backend, name } => {
                write!(f, "{backend}: its filter shows {name:?}, which is not there")
            }
            Self::Template(template) => write!(f, "{template} is no template of URIs"),
            Self::CompositeConflict { composite, with } => {
                write!(f, "composite tool {composite:?} left out: its name is that of {with}")
            }
            Self::Taken(name) => {
                write!(f, "tool {name:?} left out: its name is that of a tool of skep's own")
            }
            Self::CompositeReference { composite, tool } => {
                write!(f, "composite tool {composite:?} left out: it calls {tool:?}, which is not there")
            }
            Self::CompositeHint { composite, hint } => {
                write!(f, "composite tool {composite:?} left out: its {hint} is safer than its tools")
            }
        }
    }
}

fn list(claimants: &[Claimant]) -> String {
    let all: Vec<String> = claimants.iter().map(ToString::to_string).collect();
    all.join(", ")
}
