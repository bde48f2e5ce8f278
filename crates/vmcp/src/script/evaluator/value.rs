//! JSON to values of a script and back, within bounds: a value may share its parts so often that its JSON has no end.

use serde_json::Value as Json;
use starlark::values::dict::{AllocDict, DictRef};
use starlark::values::float::StarlarkFloat;
use starlark::values::list::{AllocList, ListRef};
use starlark::values::structs::StructRef;
use starlark::values::tuple::TupleRef;
use starlark::values::{Heap, Value, ValueLike};

/// Values within values.
const MAX_DEPTH: usize = 64;
/// Whole numbers up to here are exact, however they are written.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a value is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoJson {
    #[error("it has more than {0} bytes")]
    TooLong(usize),
    #[error("it has more than {MAX_DEPTH} values within values")]
    TooDeep,
    #[error("a {0} cannot be given out")]
    Kind(&'static str),
    #[error("a number is infinite, or none")]
    Number,
    #[error("a key is a {0}, not a string")]
    Key(&'static str),
}

/// A value of this JSON.
pub(super) fn from_json<'v>(json: &Json, heap: &'v Heap) -> Value<'v> {
    match json {
        Json::Null => Value::new_none(),
        Json::Bool(value) => Value::new_bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => heap.alloc(whole),
            (_, Some(whole), _) => heap.alloc(whole),
            (.., Some(float)) if float.fract() == 0.0 && float.abs() < EXACT => heap.alloc(float as i64),
            (.., float) => heap.alloc(float.unwrap_or_default()),
        },
        Json::String(text) => heap.alloc(text.as_str()),
        Json::Array(items) => heap.alloc(AllocList(items.iter().map(|item| from_json(item, heap)))),
        Json::Object(members) => {
            heap.alloc(AllocDict(members.iter().map(|(name, value)| (name.as_str(), from_json(value, heap)))))
        }
    }
}

/// The JSON of a value, of so many bytes at most.
pub(super) fn to_json(value: Value<'_>, most: usize) -> Result<String, NoJson> {
    let mut writer = Writer { out: String::new(), most, depth: 0 };
    writer.write(value)?;
    Ok(writer.out)
}

pub(super) struct Writer {
    pub(super) out: String,
    pub(super) most: usize,
    pub(super) depth: usize,
}

impl Writer {
    pub(super) fn write(&mut self, value: Value<'_>) -> Result<(), NoJson> {
        if value.is_none() {
            self.push("null")
        } else if let Some(truth) = value.unpack_bool() {
            self.push(if truth { "true" } else { "false" })
        } else if let Some(text) = value.unpack_str() {
            self.text(text)
        } else if let Some(StarlarkFloat(number)) = value.downcast_ref::<StarlarkFloat>() {
            let number = serde_json::Number::from_f64(*number).ok_or(NoJson::Number)?;
            self.push(&number.to_string())
        } else if value.get_type() == "int" {
            self.push(&value.to_str())
        } else {
            self.deeper(|writer| writer.write_many(value))
        }
    }

    fn write_many(&mut self, value: Value<'_>) -> Result<(), NoJson> {
        if let Some(list) = ListRef::from_value(value) {
            self.list(list.iter())
        } else if let Some(tuple) = TupleRef::from_value(value) {
            self.list(tuple.iter())
        } else if let Some(dict) = DictRef::from_value(value) {
            let key =
                |key: Value<'_>| Ok(key.unpack_str().ok_or_else(|| NoJson::Key(key.get_type()))?.to_owned());
            self.members(dict.iter().map(|(name, value)| Ok((key(name)?, value))))
        } else if let Some(fields) = StructRef::from_value(value) {
            self.members(fields.iter().map(|(name, value)| Ok((name.as_str().to_owned(), value))))
        } else {
            Err(NoJson::Kind(value.get_type()))
        }
    }

    fn list<'v>(&mut self, items: impl Iterator<Item = Value<'v>>) -> Result<(), NoJson> {
        self.push("[")?;
        for (place, item) in items.enumerate() {
            if place > 0 {
                self.push(",")?;
            }
            self.write(item)?;
        }
        self.push("]")
    }

    pub(super) fn members<'v>(
        &mut self,
        members: impl Iterator<Item = Result<(String, Value<'v>), NoJson>>,
    ) -> Result<(), NoJson> {
        self.push("{")?;
        for (place, member) in members.enumerate() {
            let (name, value) = member?;
            if place > 0 {
                self.push(",")?;
            }
            self.text(&name)?;
            self.push(":")?;
            self.write(value)?;
        }
        self.push("}")
    }

    fn text(&mut self, text: &str) -> Result<(), NoJson> {
        if self.out.len() + text.len() > self.most {
            return Err(NoJson::TooLong(self.most));
        }
        let quoted = serde_json::to_string(text).unwrap_or_default();
        self.push(&quoted)
    }

    fn push(&mut self, text: &str) -> Result<(), NoJson> {
        if self.out.len() + text.len() > self.most {
            return Err(NoJson::TooLong(self.most));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn deeper(&mut self, write: impl FnOnce(&mut Self) -> Result<(), NoJson>) -> Result<(), NoJson> {
        if self.depth == MAX_DEPTH {
            return Err(NoJson::TooDeep);
        }
        self.depth += 1;
        let written = write(self);
        self.depth -= 1;
        written
    }
}
