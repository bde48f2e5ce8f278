//! The functions at work, and what a render may still spend.

use std::cmp::Ordering;
use std::sync::Arc;

use thiserror::Error;

use super::data::Data;
use super::function::Function;
use super::limits::{BYTES_PER_STEP, Bounded, Exceeded, Numbers, Options};
use super::run::Fault;
use super::value::{Kind, Value};
use super::{compare, escape, format, quote};

/// What a function says of its values.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CallError {
    /// It takes texts only.
    #[error("takes a text, not {noun}")]
    NotText {
        /// What it was given.
        noun: &'static str,
    },
    /// Kinds that do not compare.
    #[error("{left} and {right} do not compare")]
    Incompatible {
        /// The first.
        left: &'static str,
        /// The second.
        right: &'static str,
    },
    /// Collections.
    #[error("{noun} does not compare")]
    NotComparable {
        /// What it was given.
        noun: &'static str,
    },
    /// What is neither more nor less.
    #[error("{noun} is neither less nor more than anything")]
    NotOrdered {
        /// What it was given.
        noun: &'static str,
    },
    /// What has no length.
    #[error("{noun} has no length")]
    NoLength {
        /// What it was given.
        noun: &'static str,
    },
    /// What holds nothing.
    #[error("there is nothing in {noun} to find")]
    NotIndexable {
        /// What it was given.
        noun: &'static str,
    },
    /// What is no index, or no name.
    #[error("{noun} is no index here")]
    NotAnIndex {
        /// What it was given.
        noun: &'static str,
    },
    /// An index that is not in range.
    #[error("index {index} is out of range: the length is {length}")]
    OutOfRange {
        /// The index.
        index: i64,
        /// How long it is.
        length: usize,
    },
    /// A slice that ends before it begins.
    #[error("a slice from {from} to {to} is none")]
    BackwardSlice {
        /// Its begin.
        from: usize,
        /// Its end.
        to: usize,
    },
    /// A slice that would cut a character.
    #[error("a slice may not cut a character in two")]
    CutCharacter,
    /// What cannot be sliced, or not with so many numbers.
    #[error("{noun} cannot be sliced like that")]
    NotSliceable {
        /// What it was given.
        noun: &'static str,
    },
    /// A text that is no JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// A limit was reached.
    #[error("{0}")]
    Exceeded(Exceeded),
}

impl From<Exceeded> for CallError {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

impl CallError {
    pub(super) fn into_fault(self, function: Function) -> Fault {
        match self {
            Self::Exceeded(exceeded) => Fault::Exceeded(exceeded),
            error => Fault::Call { name: function.name(), error },
        }
    }
}

/// How many bytes of JSON cost a step: values take more room than their text.
const JSON_BYTES_PER_STEP: usize = 8;

/// What functions need: the options, and the steps that are left.
pub(super) struct Context {
    options: Options,
    left: u64,
}

impl Context {
    pub(super) fn new(options: Options) -> Self {
        Self { options, left: options.limits.steps }
    }

    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Exceeded> {
        self.left = self.left.checked_sub(steps).ok_or(Exceeded::Steps(self.options.limits.steps))?;
        Ok(())
    }

    /// Pays for bytes that were handled.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.spend((bytes / BYTES_PER_STEP) as u64)
    }

    fn numbers(&self) -> Numbers {
        self.options.numbers
    }

    /// Calls a function. There are as many values as it takes.
    pub(super) fn call<'d>(
        &mut self,
        function: Function,
        values: &[Value<'d>],
    ) -> Result<Value<'d>, CallError> {
        self.spend(values.len() as u64)?;
        match function {
            Function::Not => Ok(boolean(!values.iter().any(|value| value.kind(self.numbers()).is_true()))),
            Function::Eq => self.equal(values).map(boolean),
            Function::Ne => self.equal(values).map(|equal| boolean(!equal)),
            Function::Lt => self.order(values, |order| order == Some(Ordering::Less)),
            Function::Le => {
                self.order(values, |order| matches!(order, Some(Ordering::Less | Ordering::Equal)))
            }
            // As Go has them: what is not less or equal, whatever it is.
            Function::Gt => {
                self.order(values, |order| !matches!(order, Some(Ordering::Less | Ordering::Equal)))
            }
            Function::Ge => self.order(values, |order| order != Some(Ordering::Less)),
            Function::Len => self.length(first(values)),
            Function::Index => self.index(values),
            Function::Slice => self.slice(values),
            Function::FromJson => self.parse_json(first(values)),
            _ => self.text(function, values),
        }
    }

    fn equal(&mut self, values: &[Value<'_>]) -> Result<bool, CallError> {
        self.pay_for_texts(values)?;
        compare::equals_any(values, self.numbers())
    }

    fn order<'d>(
        &mut self,
        values: &[Value<'_>],
        holds: fn(Option<Ordering>) -> bool,
    ) -> Result<Value<'d>, CallError> {
        self.pay_for_texts(values)?;
        compare::order(values, self.numbers()).map(|order| boolean(holds(order)))
    }

    fn pay_for_texts(&mut self, values: &[Value<'_>]) -> Result<(), CallError> {
        let bytes = values.iter().map(|value| match value.data() {
            Some(Data::Text(text)) => text.len(),
            _ => 0,
        });
        Ok(self.spend_bytes(bytes.sum())?)
    }

    fn length<'d>(&self, value: &Value<'d>) -> Result<Value<'d>, CallError> {
        let length = match value.kind(self.numbers()) {
            Kind::Text(text) => text.len(),
            Kind::List(values) => values.len(),
            Kind::Map(members) => members.len(),
            kind => return Err(CallError::NoLength { noun: kind.noun() }),
        };
        Ok(Value::Own(Data::Int(i64::try_from(length).unwrap_or(i64::MAX))))
    }

    fn integer(&self, value: &Value<'_>) -> Result<i64, CallError> {
        match value.kind(self.numbers()) {
            Kind::Int(value) => Ok(value),
            Kind::Byte(value) => Ok(i64::from(value)),
            Kind::Uint(_) => Ok(i64::MAX),
            kind => Err(CallError::NotAnIndex { noun: kind.noun() }),
        }
    }

    fn position(&self, value: &Value<'_>, length: usize, most: usize) -> Result<usize, CallError> {
        let index = self.integer(value)?;
        let position = usize::try_from(index).ok().filter(|position| *position <= most);
        position.ok_or(CallError::OutOfRange { index, length })
    }

    fn index<'d>(&self, values: &[Value<'d>]) -> Result<Value<'d>, CallError> {
        let mut found = first(values).clone();
        if matches!(found.kind(self.numbers()), Kind::Nil) {
            return Err(CallError::NotIndexable { noun: "null" });
        }
        for index in &values[1..] {
            found = self.find(found, index)?;
        }
        Ok(found)
    }

    fn find<'d>(&self, within: Value<'d>, index: &Value<'d>) -> Result<Value<'d>, CallError> {
        match within.kind(self.numbers()) {
            Kind::List(values) => {
                let length = values.len();
                let most = length.checked_sub(1);
                let at = match most {
                    Some(most) => self.position(index, length, most)?,
                    None => return Err(CallError::OutOfRange { index: self.integer(index)?, length }),
                };
                Ok(within.within(|data| match data {
                    Data::List(values) => values.get(at),
                    _ => None,
                }))
            }
            Kind::Text(text) => {
                let at = self.position(index, text.len(), text.len())?;
                let byte = text.as_bytes().get(at).copied();
                let index = i64::try_from(at).unwrap_or(i64::MAX);
                byte.map(Value::Byte).ok_or(CallError::OutOfRange { index, length: text.len() })
            }
            Kind::Map(_) => {
                let Kind::Text(name) = index.kind(self.numbers()) else {
                    return Err(CallError::NotAnIndex { noun: index.kind(self.numbers()).noun() });
                };
                let found = within.within(|data| data.get(name));
                // What is not there is null here, in which nothing can be found.
                Ok(if matches!(found, Value::Missing) { Value::Own(Data::Null) } else { found })
            }
            kind => Err(CallError::NotIndexable { noun: kind.noun() }),
        }
    }

    fn slice<'d>(&mut self, values: &[Value<'d>]) -> Result<Value<'d>, CallError> {
        let kind = first(values).kind(self.numbers());
        let length = match kind {
            Kind::Text(text) if values.len() <= 3 => text.len(),
            Kind::List(list) => list.len(),
            kind => return Err(CallError::NotSliceable { noun: kind.noun() }),
        };
        let mut bounds = [0, length, length];
        for (bound, value) in bounds.iter_mut().zip(&values[1..]) {
            *bound = self.position(value, length, length)?;
        }
        let [from, to, room] = bounds;
        if from > to || to > room {
            return Err(CallError::BackwardSlice { from, to: to.min(room) });
        }
        match kind {
            Kind::Text(text) => {
                self.spend_bytes(to - from)?;
                text.get(from..to).map(Value::text).ok_or(CallError::CutCharacter)
            }
            Kind::List(list) => {
                self.spend((to - from) as u64)?;
                Ok(Value::Own(Data::List(list[from..to].into())))
            }
            kind => Err(CallError::NotSliceable { noun: kind.noun() }),
        }
    }

    fn parse_json<'d>(&mut self, value: &Value<'d>) -> Result<Value<'d>, CallError> {
        let text = text_of(value, self.numbers())?;
        self.spend((text.len() / JSON_BYTES_PER_STEP) as u64)?;
        serde_json::from_str(text).map(Value::Own).map_err(|error| CallError::Json(error.to_string()))
    }

    /// The functions that make texts.
    fn text<'d>(&mut self, function: Function, values: &[Value<'d>]) -> Result<Value<'d>, CallError> {
        let numbers = self.numbers();
        let mut out = Bounded::new(self.options.limits);
        match function {
            Function::Printf => {
                let format = text_of(first(values), numbers)?;
                self.spend_bytes(format.len())?;
                format::printf(&mut out, format, &values[1..], numbers)?;
            }
            Function::Println => format::println(&mut out, values, numbers)?,
            Function::Json => escape::json_of(&mut out, first(values))?,
            Function::Quote => {
                let text = text_of(first(values), numbers)?;
                // A character becomes ten at most.
                out.check_room(text.len())?;
                out.push_str(&quote::quote_text(text, false))?;
            }
            Function::Html => escape::html(&mut out, &self.printed(values)?)?,
            Function::Js => escape::js(&mut out, &self.printed(values)?)?,
            Function::UrlQuery => escape::url_query(&mut out, &self.printed(values)?)?,
            _ => format::print(&mut out, values, numbers)?,
        }
        self.spend_bytes(out.len())?;
        Ok(Value::Own(Data::Text(Arc::from(out.into_string()))))
    }

    /// Values as `print` has them, what is not there as an action has it.
    fn printed(&mut self, values: &[Value<'_>]) -> Result<String, CallError> {
        let nothing = |value: &Value<'_>| matches!(value.kind(self.options.numbers), Kind::Nil);
        let shown: Vec<Value<'_>> = values
            .iter()
            .map(|value| if nothing(value) { Value::text("<no value>") } else { value.clone() })
            .collect();
        let mut out = Bounded::new(self.options.limits);
        format::print(&mut out, &shown, self.numbers())?;
        self.spend_bytes(out.len())?;
        Ok(out.into_string())
    }
}

fn boolean<'d>(value: bool) -> Value<'d> {
    Value::Own(Data::Bool(value))
}

/// Each function that has a first value was compiled with one.
fn first<'v, 'd>(values: &'v [Value<'d>]) -> &'v Value<'d> {
    values.first().unwrap_or(&Value::Missing)
}

fn text_of<'v>(value: &'v Value<'_>, numbers: Numbers) -> Result<&'v str, CallError> {
    match value.kind(numbers) {
        Kind::Text(text) => Ok(text),
        kind => Err(CallError::NotText { noun: kind.noun() }),
    }
}
