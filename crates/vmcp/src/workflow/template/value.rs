//! Values while a template runs: what the data holds, borrowed; what was computed, owned; and nothing at all.

use super::data::{Data, Map, Number};
use super::limits::Numbers;

/// A value on the stack or in a variable.
#[derive(Clone, Debug)]
pub(super) enum Value<'d> {
    /// No value: of a member that is not there, or null once a pipeline has ended. Its members are missing, too.
    Missing,
    /// One byte of a text.
    Byte(u8),
    /// What the data holds.
    Lent(&'d Data),
    /// What was computed.
    Own(Data),
}

/// What a value is, to everything that looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Byte(u8),
    Uint(u64),
    Float(f64),
    Text(&'a str),
    List(&'a [Data]),
    Map(&'a Map),
}

impl<'d> Value<'d> {
    /// The data, if it is any.
    pub(super) fn data(&self) -> Option<&Data> {
        match self {
            Self::Missing | Self::Byte(_) => None,
            Self::Lent(data) => Some(data),
            Self::Own(data) => Some(data),
        }
    }

    pub(super) fn kind(&self, numbers: Numbers) -> Kind<'_> {
        match self {
            Self::Missing => Kind::Nil,
            Self::Byte(byte) => Kind::Byte(*byte),
            Self::Lent(data) => data.kind(numbers),
            Self::Own(data) => data.kind(numbers),
        }
    }

    /// What is found in the value, borrowed for as long as the value itself is.
    pub(super) fn within(self, find: impl FnOnce(&Data) -> Option<&Data>) -> Self {
        match self {
            Self::Missing | Self::Byte(_) => Self::Missing,
            Self::Lent(data) => find(data).map_or(Self::Missing, Self::Lent),
            Self::Own(data) => find(&data).map_or(Self::Missing, |found| Self::Own(found.clone())),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.data(), Some(Data::Null))
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Own(Data::from(text))
    }
}

impl Data {
    pub(super) fn kind(&self, numbers: Numbers) -> Kind<'_> {
        match self {
            Self::Null => Kind::Nil,
            Self::Bool(value) => Kind::Bool(*value),
            Self::Int(value) => Kind::Int(*value),
            Self::Number(number) => match (numbers, number) {
                (Numbers::Exact, Number::Int(value)) => Kind::Int(*value),
                (Numbers::Exact, Number::Uint(value)) => Kind::Uint(*value),
                (_, number) => Kind::Float(number.as_f64()),
            },
            Self::Text(text) => Kind::Text(text),
            Self::List(values) => Kind::List(values),
            Self::Map(members) => Kind::Map(members),
        }
    }
}

impl Kind<'_> {
    /// Whether `if` takes it for true: what is not zero and not empty.
    pub(super) fn is_true(self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => value,
            Self::Int(value) => value != 0,
            Self::Byte(value) => value != 0,
            Self::Uint(value) => value != 0,
            Self::Float(value) => value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Map(members) => !members.is_empty(),
        }
    }

    /// Go's name of its type.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Byte(_) => "uint8",
            Self::Uint(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// What a person calls it.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Nil => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Byte(_) | Self::Uint(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}
