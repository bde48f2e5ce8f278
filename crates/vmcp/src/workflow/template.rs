//! The language that workflows say things in: Go's `text/template` as ToolHive uses it, with `json`, `fromJson` and `quote`.
//!
//! A [`Template`] is compiled once and rendered over [`Data`] as often as wanted. Rendering has no effects and no clock, and
//! it ends: output, steps and depth are bounded ([`Limits`]).
//!
//! What is as in Go was compared with Go 1.27. What is not:
//! - What can be known before there is data is refused at once: variables and templates that do not exist, functions with a
//!   wrong number of values, values for what is no function, `call`. Imaginary numbers and texts that are not UTF-8 are
//!   refused, too.
//! - Whole numbers of JSON texts keep all their digits in `json` and in [`Template::evaluate`]. Where Go prints or compares
//!   them, they are floats as there, unless [`Numbers::Exact`] says otherwise.
//! - A template of one action can give its value as it is, rather than its text.
//!
//! Deliberately absent: functions with effects, other delimiters, methods, and whatever else JSON has no values for.

mod call;
mod compare;
mod compile;
mod data;
mod escape;
mod float;
mod format;
mod function;
mod limits;
mod literal;
mod path;
mod program;
mod quote;
mod run;
mod token;
mod value;

use std::fmt;

pub use call::CallError;
pub use compile::{CompileError, Problem};
pub use data::{Data, Map, Number};
pub use limits::{BYTES_PER_STEP, Exceeded, Limits, Numbers, OnMissing, Options};
pub use run::{Fault, RenderError};

use program::Program;
use value::Value;

/// A compiled template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    program: Program,
    references: Vec<Reference>,
}

/// Members that a template asks for, by their names from where it stands: `.steps.fetch.output`, or only `.output` where the
/// dot is something else. What `index` finds by constant names is there too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    names: Vec<Box<str>>,
}

/// What a template came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluated {
    /// A text.
    Text(String),
    /// The value of its only action.
    Value(Data),
    /// Its only action found nothing.
    Missing,
}

/// What the machine made.
enum Rendered<'d> {
    Text(String),
    Value(Value<'d>),
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// What is wrong with it first, and where.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        let (program, references) = compile::compile(source)?;
        Ok(Self { program, references })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.program.source
    }

    /// What it asks for, each once, in the order of its text.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Its text over some data.
    ///
    /// # Errors
    /// What went wrong first, where in the template, and over which value. Nothing is rendered by half.
    pub fn render(&self, data: &Data, options: Options) -> Result<String, RenderError> {
        match run::run(&self.program, data, options, false)? {
            Rendered::Text(text) => Ok(text),
            Rendered::Value(_) => Ok(String::new()),
        }
    }

    /// Its value, where it is one action and nothing else; its text, where it is more.
    ///
    /// # Errors
    /// Those of [`Self::render`].
    pub fn evaluate(&self, data: &Data, options: Options) -> Result<Evaluated, RenderError> {
        Ok(match run::run(&self.program, data, options, true)? {
            Rendered::Text(text) => Evaluated::Text(text),
            Rendered::Value(Value::Missing) => Evaluated::Missing,
            Rendered::Value(Value::Byte(byte)) => Evaluated::Value(Data::Int(i64::from(byte))),
            Rendered::Value(Value::Lent(data)) => Evaluated::Value(data.clone()),
            Rendered::Value(Value::Own(data)) => Evaluated::Value(data),
        })
    }
}

impl Reference {
    /// The names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

#[cfg(test)]
mod tests;
