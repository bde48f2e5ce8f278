//! YAML as a tree that knows where each of its values stands.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::problem::{Place, Problem};
use crate::workflow::template::{Data, Number};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// How deep a file may be nested. Arguments may be a hundred levels deep, and they are not at the top.
const MAX_DEPTH: usize = 200;

/// The parser recurses, by up to 32 KiB a level where it is not optimised.
const STACK: usize = 16 << 20;

impl Node {
    /// Reads a file's text, on a stack that is large enough for any that is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let parsed = std::thread::scope(|scope| {
            let parser = std::thread::Builder::new().name("yaml".to_owned()).stack_size(STACK);
            parser.spawn_scoped(scope, || Self::parse_here(text)).map(std::thread::ScopedJoinHandle::join)
        });
        let failed = |message: String| Problem { path: String::new(), place: Place::default(), message };
        match parsed {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(failed("failed to parse YAML: the parser panicked".to_owned())),
            Err(error) => Err(failed(format!("failed to parse YAML: no thread could be started: {error}"))),
        }
    }

    fn parse_here(text: &str) -> Result<Self, Problem> {
        let parsed: Result<Spanned<Parsed>, _> = serde_saphyr::from_str_with_options(text, options());
        parsed.map(Self::from).map_err(|error| {
            let place = error.location().map_or_else(Place::default, |location| Place {
                line: location.line() as usize,
                column: location.column() as usize,
            });
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default().to_owned();
            Problem { path: String::new(), place, message: format!("failed to parse YAML: {reason}") }
        })
    }

    /// What a person calls it.
    pub(super) fn noun(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value without its places.
    pub(super) fn to_data(&self) -> Data {
        match &self.value {
            Value::Null => Data::Null,
            Value::Bool(value) => Data::Bool(*value),
            Value::Integer(value) => Data::Number(Number::Int(*value)),
            Value::Float(value) => Data::Number(Number::Float(*value)),
            Value::Text(text) => Data::from(text.as_str()),
            Value::List(values) => Data::list(values.iter().map(Self::to_data)),
            Value::Map(members) => {
                Data::map(members.iter().map(|(name, node)| (name.as_str(), node.to_data())))
            }
        }
    }
}

/// `n` is a name here, not a no: words are flags only where a flag is asked for.
fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    options.with_snippet = false;
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = MAX_DEPTH;
    options.budget = Some(budget);
    options
}

/// What the parser is asked for.
enum Parsed {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(String, Spanned<Self>)>),
}

impl From<Spanned<Parsed>> for Node {
    fn from(parsed: Spanned<Parsed>) -> Self {
        let location = parsed.referenced;
        let place = Place { line: location.line() as usize, column: location.column() as usize };
        let value = match parsed.value {
            Parsed::Null => Value::Null,
            Parsed::Bool(value) => Value::Bool(value),
            Parsed::Integer(value) => Value::Integer(value),
            Parsed::Float(value) => Value::Float(value),
            Parsed::Text(text) => Value::Text(text),
            Parsed::List(values) => Value::List(values.into_iter().map(Self::from).collect()),
            Parsed::Map(members) => {
                Value::Map(members.into_iter().map(|(name, node)| (name, Self::from(node))).collect())
            }
        };
        Self { place, value }
    }
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        Parsed::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(i64::try_from(value).map_or(Parsed::Float(value as f64), Parsed::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parsed, A::Error> {
        let mut map = Vec::new();
        while let Some(member) = members.next_entry()? {
            map.push(member);
        }
        Ok(Parsed::Map(map))
    }
}
