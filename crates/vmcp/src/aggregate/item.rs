//! What one backend lists, as it wrote it. What cannot be used, or is more than there is room for, is left out and noted
//! here, once, when it is read; not whenever a view is made.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use mcp::json::{self, JsonError, Reader, Span};
use mcp::param_headers::{AnnotationProblem, ParamHeaders};
use thiserror::Error;

use super::hints::Hints;

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Tools.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources.
    Resources,
    /// Templates of resources.
    Templates,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The member of a result that holds them.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member that tells them apart.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// How much of what a backend lists is taken.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Things of one kind.
    pub items: usize,
    /// Bytes of one thing.
    pub item_bytes: usize,
    /// Bytes of all.
    pub bytes: usize,
}

impl Bounds {
    /// Far more than anybody reads, and little enough to hold for many backends.
    pub const DEFAULT: Self = Self { items: 10_000, item_bytes: 256 * 1024, bytes: 32 * 1024 * 1024 };
}

/// Bytes of a backend's instructions.
const MAX_INSTRUCTIONS: usize = 16 * 1024;
/// Problems that are kept of one backend's list; more are counted.
const MAX_PROBLEMS: usize = 100;

/// Why something that is listed is left out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ItemProblem {
    /// It is no JSON object, or not one that all read alike.
    #[error("it cannot be read")]
    Unreadable(#[source] JsonError),
    /// It is something else than an object.
    #[error("it is no object")]
    NotAnObject,
    /// Nothing tells it from others.
    #[error("it has no {0:?}")]
    NoKey(&'static str),
    /// It is too long.
    #[error("it has {bytes} bytes, {most} are taken")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// There are too many before it, or they are too long.
    #[error("there is no room for it")]
    NoRoom,
    /// Another one before it is called the same.
    #[error("it is listed twice")]
    Repeated,
    /// A client that checks schemas would refuse the whole list for it.
    #[error("its {0} is no schema of an object")]
    Schema(&'static str),
    /// A parameter is to be repeated in a header that cannot be.
    #[error("its schema asks for a header that cannot be")]
    ParamHeader(#[source] AnnotationProblem),
}

/// One thing that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub(super) key: Arc<str>,
    pub(super) json: Bytes,
    pub(super) hints: Hints,
    key_span: Span,
    annotations: Span,
    input_schema: Span,
}

impl Item {
    fn read(kind: Kind, json: Bytes) -> Result<Self, ItemProblem> {
        let mut reader = Reader::new(&json).map_err(ItemProblem::Unreadable)?;
        if reader.peek() != Some(b'{') {
            return Err(ItemProblem::NotAnObject);
        }
        let [mut key, mut annotations, mut input, mut output] = [Span::default(); 4];
        let read = reader.object::<JsonError>(|reader, name| {
            let value = reader.value()?;
            match name {
                name if name == kind.key().as_bytes() => key = value,
                b"annotations" => annotations = value,
                b"inputSchema" => input = value,
                b"outputSchema" => output = value,
                _ => {}
            }
            Ok(())
        });
        read.and_then(|_| reader.finish()).map_err(ItemProblem::Unreadable)?;
        let name = key.of(&json).and_then(json::decode_str).filter(|key| !key.is_empty());
        let name: Arc<str> = name.ok_or_else(|| ItemProblem::NoKey(kind.key()))?.into();
        if kind == Kind::Tools {
            check_schemas(input.of(&json), output.of(&json))?;
        }
        let hints = Hints::read(annotations.of(&json));
        Ok(Self { key: name, hints, key_span: key, annotations, input_schema: input, json })
    }

    /// Its name or URI, as its backend says it.
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The key as it is written, a JSON string.
    pub(super) fn key_json(&self) -> Bytes {
        self.json.slice(self.key_span.range())
    }

    pub(super) fn annotations(&self) -> &[u8] {
        self.annotations.of(&self.json).unwrap_or(b"{}")
    }

    pub(super) fn input_schema(&self) -> Bytes {
        self.json.slice(self.input_schema.range())
    }
}

fn check_schemas(input: Option<&[u8]>, output: Option<&[u8]>) -> Result<(), ItemProblem> {
    let input = input.filter(|schema| is_of_objects(schema)).ok_or(ItemProblem::Schema("inputSchema"))?;
    if output.is_some_and(|schema| !schema.starts_with(b"{")) {
        return Err(ItemProblem::Schema("outputSchema"));
    }
    ParamHeaders::from_schema(input).map(drop).map_err(ItemProblem::ParamHeader)
}

/// Whether a schema says of itself that it is one of objects, as that of a tool's arguments must.
fn is_of_objects(schema: &[u8]) -> bool {
    let mut kind = Span::default();
    let read = Reader::new(schema).and_then(|mut reader| {
        if reader.peek() == Some(b'{') {
            reader.object::<JsonError>(|reader, name| {
                let value = reader.value()?;
                if name == b"type" {
                    kind = value;
                }
                Ok(())
            })?;
        }
        Ok(())
    });
    read.is_ok() && kind.of(schema) == Some(b"\"object\"")
}

/// All that a backend offers, in its own order.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    lists: [Vec<Item>; 4],
    keys: [HashSet<Arc<str>>; 4],
    bytes: usize,
    instructions: Option<String>,
    problems: Vec<(Kind, Option<Arc<str>>, ItemProblem)>,
    unnamed_problems: usize,
}

impl Listing {
    /// With what the backend says about itself, unless that is too long.
    #[must_use]
    pub fn new(instructions: Option<String>) -> Self {
        let instructions = instructions.filter(|text| !text.is_empty() && text.len() <= MAX_INSTRUCTIONS);
        Self { instructions, ..Self::default() }
    }

    /// Takes one thing more, or notes why not.
    pub fn add(&mut self, kind: Kind, json: Bytes, bounds: Bounds) {
        let bytes = json.len();
        if bytes > bounds.item_bytes {
            return self.note(kind, None, ItemProblem::TooLong { bytes, most: bounds.item_bytes });
        }
        if self.is_full(kind, bounds) || self.bytes + bytes > bounds.bytes {
            return self.note(kind, None, ItemProblem::NoRoom);
        }
        match Item::read(kind, json) {
            Err(problem) => self.note(kind, None, problem),
            Ok(item) if !self.keys[kind as usize].insert(Arc::clone(&item.key)) => {
                self.note(kind, Some(item.key), ItemProblem::Repeated);
            }
            Ok(item) => {
                self.bytes += bytes;
                self.lists[kind as usize].push(item);
            }
        }
    }

    /// Whether nothing of this kind is taken any more, so that it need not be asked for.
    #[must_use]
    pub fn is_full(&self, kind: Kind, bounds: Bounds) -> bool {
        self.lists[kind as usize].len() >= bounds.items || self.bytes >= bounds.bytes
    }

    /// What it offers of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &[Item] {
        &self.lists[kind as usize]
    }

    /// What the backend says about itself.
    #[must_use]
    pub fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    /// What was left out: its kind, its name where it has one, and why.
    #[must_use]
    pub fn problems(&self) -> &[(Kind, Option<Arc<str>>, ItemProblem)] {
        &self.problems
    }

    /// How much more was left out.
    #[must_use]
    pub fn unnamed_problems(&self) -> usize {
        self.unnamed_problems
    }

    fn note(&mut self, kind: Kind, key: Option<Arc<str>>, problem: ItemProblem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push((kind, key, problem));
        } else {
            self.unnamed_problems += 1;
        }
    }
}
