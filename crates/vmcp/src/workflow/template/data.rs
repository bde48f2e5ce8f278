//! What a template is rendered over: JSON, with the integers that are ours kept apart from numbers of JSON texts.
//!
//! Cloning is cheap: texts, lists and maps are shared. Maps are sorted by name, which is the order they are walked and
//! printed in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that a template sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Data {
    /// JSON's null.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of ours, such as an index or a count. In Go it is an `int`.
    Int(i64),
    /// A number of a JSON text. In Go it is a `float64`, whatever it looks like.
    Number(Number),
    /// A text.
    Text(Arc<str>),
    /// A list.
    List(Arc<[Self]>),
    /// An object.
    Map(Arc<Map>),
}

/// The members of an object.
pub type Map = BTreeMap<Arc<str>, Data>;

/// A number of a JSON text, as exact as it was written as long as it fits 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A whole number that only fits without a sign.
    Uint(u64),
    /// Any other.
    Float(f64),
}

impl Number {
    /// What Go makes of it.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Uint(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

impl Data {
    /// An object of these members. Of members with the same name, the last is taken.
    pub fn map<N: Into<Arc<str>>, V: Into<Self>>(members: impl IntoIterator<Item = (N, V)>) -> Self {
        Self::Map(Arc::new(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// A list of these values.
    pub fn list<V: Into<Self>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// A member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.get(name),
            _ => None,
        }
    }
}

impl From<bool> for Data {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Data {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Data {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Data {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) | Self::Number(Number::Int(value)) => serializer.serialize_i64(*value),
            Self::Number(Number::Uint(value)) => serializer.serialize_u64(*value),
            Self::Number(Number::Float(value)) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => serializer.collect_seq(values.iter()),
            Self::Map(members) => serializer.collect_map(members.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        Data::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
        Ok(Data::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
        Ok(Data::Number(Number::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
        Ok(Data::Number(i64::try_from(value).map_or(Number::Uint(value), Number::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Data, E> {
        Ok(Data::Number(Number::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Data, E> {
        Ok(Data::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Data, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Data::List(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Data, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = members.next_entry::<String, Data>()? {
            map.insert(name.into(), value);
        }
        Ok(Data::Map(Arc::new(map)))
    }
}
