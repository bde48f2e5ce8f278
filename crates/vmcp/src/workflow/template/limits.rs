//! What a render may cost, and the two questions that Go answers in a way that people stumble over.

use std::fmt;

/// How a template is rendered.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What it may cost.
    pub limits: Limits,
    /// What numbers of JSON texts are.
    pub numbers: Numbers,
    /// What is printed of what is not there.
    pub missing: OnMissing,
}

/// What a render may cost before it is ended with an error. Whatever the template and the data, a render ends within them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the result, and of each text that is made on the way.
    pub output: usize,
    /// Steps: one for each instruction, and one for every [`BYTES_PER_STEP`] that are copied, compared or parsed.
    pub steps: u64,
    /// Templates that call one another, and levels of lists and objects that are printed.
    pub depth: usize,
}

/// How many bytes cost as much as an instruction.
pub const BYTES_PER_STEP: usize = 64;

impl Limits {
    /// What the contract allows: 10 MiB of output, a depth of 100; and steps that do that output many times over.
    pub const DEFAULT: Self = Self { output: 10 << 20, steps: 4_000_000, depth: 100 };
}

/// What numbers of JSON texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Floating point, as Go decodes them: a million prints as `1e+06`, and does not compare with the literal `1000000`.
    LikeGo,
    /// What they look like: whole numbers print as they were written, and compare with literals of either kind.
    Exact,
}

/// What is printed of what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// `<no value>`, as Go does.
    NoValue,
    /// Nothing: the render fails.
    Refuse,
}

impl Options {
    /// As Go and the contract have it.
    pub const LIKE_GO: Self =
        Self { limits: Limits::DEFAULT, numbers: Numbers::LikeGo, missing: OnMissing::NoValue };
}

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// [`Limits::output`].
    Output(usize),
    /// [`Limits::steps`].
    Steps(u64),
    /// [`Limits::depth`].
    Depth(usize),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(limit) => write!(f, "template output too large: more than {limit} bytes"),
            Self::Steps(limit) => write!(f, "the template took more than {limit} steps"),
            Self::Depth(limit) => write!(f, "depth limit exceeded: {limit}"),
        }
    }
}

/// A text that does not grow beyond its bound.
#[derive(Debug)]
pub(super) struct Bounded {
    text: String,
    limits: Limits,
}

impl Bounded {
    pub(super) fn new(limits: Limits) -> Self {
        Self { text: String::new(), limits }
    }

    /// With room for about so many bytes, which spares growing.
    pub(super) fn with_room(limits: Limits, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes.min(limits.output)), limits }
    }

    /// Refuses what would not fit, before it is made.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), Exceeded> {
        let fits = self.text.len().saturating_add(bytes) <= self.limits.output;
        if fits { Ok(()) } else { Err(Exceeded::Output(self.limits.output)) }
    }

    pub(super) fn push_str(&mut self, text: &str) -> Result<(), Exceeded> {
        self.check_room(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push(&mut self, character: char) -> Result<(), Exceeded> {
        self.push_str(character.encode_utf8(&mut [0; 4]))
    }

    pub(super) fn push_times(&mut self, character: char, times: usize) -> Result<(), Exceeded> {
        self.check_room(times.saturating_mul(character.len_utf8()))?;
        self.text.extend(std::iter::repeat_n(character, times));
        Ok(())
    }

    /// Refuses what is nested deeper than what may be printed.
    pub(super) fn check_depth(&self, depth: usize) -> Result<(), Exceeded> {
        if depth <= self.limits.depth { Ok(()) } else { Err(Exceeded::Depth(self.limits.depth)) }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}
