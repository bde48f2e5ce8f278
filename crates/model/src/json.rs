//! JSON documents that others write too: what is known of them is typed, what is not is kept where it stood, and values
//! that nobody changed are written back to the letter, numbers of any size included.
//!
//! Deliberately absent: trees of values. A member that is not looked into is its text.

mod members;
mod merge;
mod pretty;

use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub(crate) use members::{Members, members};

/// A JSON value that is kept as its text. What is in it may be private, so it does not print.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Checks that a text is one JSON value, and not nested deeper than any that means something.
    ///
    /// # Errors
    /// What serde_json says of it.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        if is_too_deep(text) {
            return Err(de::Error::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        serde_json::from_str(text)
    }

    /// The JSON of a value.
    ///
    /// # Errors
    /// What serde_json says of it; of maps with text keys and of structs, nothing.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The value that this is the JSON of.
    ///
    /// # Errors
    /// What serde_json says of it.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    pub(crate) fn is_null(&self) -> bool {
        self.text() == "null"
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.text().len())
    }
}

/// A JSON object, its members in their order and each as its text. No name is there twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Json)>);

impl Object {
    /// The members, in order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A member's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A member as a value of a type; its default where there is none, or null.
    pub(crate) fn member<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, Unfit> {
        let Some(json) = self.get(name).filter(|json| !json.is_null()) else { return Ok(T::default()) };
        json.to().map_err(|error| Unfit { member: name.to_owned(), reason: reason(&error) })
    }

    /// Puts a value in a member's place, or at the end.
    pub(crate) fn put(&mut self, name: &str, value: Json) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, there)) => *there = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// [`Self::put`] of what a struct's member or a map of texts is.
    pub(crate) fn put_value(&mut self, name: &str, value: &impl Serialize) {
        self.put(name, Json::of(value).expect("members are made of texts, numbers, lists and maps of texts"));
    }

    /// Gives a member another name, unless one has it already: then the member that had the old one is dropped.
    pub(crate) fn rename(&mut self, old: &str, new: &str) {
        if self.get(new).is_some() {
            self.0.retain(|(name, _)| name != old);
        } else if let Some((name, _)) = self.0.iter_mut().find(|(name, _)| name == old) {
            new.clone_into(name);
        }
    }
}

/// What serde_json says, without the place: it speaks of a text that the reader has never seen.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(&*text, |(reason, _)| reason).to_owned()
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((name, value)) = map.next_entry::<String, Json>()? {
                    if object.get(&name).is_some() {
                        return Err(de::Error::custom(format_args!("{name:?} is there twice")));
                    }
                    object.0.push((name, value));
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A member that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {reason}")]
pub struct Unfit {
    pub member: String,
    pub reason: String,
}

/// Why a text is not the document it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADocument {
    /// Nobody can read it.
    #[error("not a JSON object: {0}")]
    Broken(String),
    /// It is JSON, but says something else, or something that a later version understands.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// A file's content: typed members, and whatever else was in the text it was read from.
pub trait Document: Sized {
    /// Reads a text.
    ///
    /// # Errors
    /// [`NotADocument`].
    fn parse(text: &str) -> Result<Self, NotADocument>;

    /// The text, indented by two spaces and ended by a newline: the members of the text it was read from in their order,
    /// with what has changed, then what is new.
    fn to_text(&self) -> String;
}

/// Nesting beyond this is refused: indenting it would take more room than there is.
const MAX_DEPTH: usize = 128;

/// Whether brackets are open deeper than [`MAX_DEPTH`], in a text that need not be JSON.
fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// The object that a text is.
fn read_object(text: &str) -> Result<Object, NotADocument> {
    Json::parse(text).and_then(|json| json.to()).map_err(|error| NotADocument::Broken(error.to_string()))
}

/// The value read from a text, after `modernise` brought the text's members up to date, and those members.
pub(crate) fn read_document<T: Members>(
    text: &str,
    modernise: impl FnOnce(&mut Object),
) -> Result<(T, Object), NotADocument> {
    let mut original = read_object(text)?;
    modernise(&mut original);
    Ok((T::read(&original)?, original))
}

/// The text of a value that was read from `original`.
pub(crate) fn write_document<T: Members>(value: &T, original: &Object) -> String {
    let before = T::read(original).expect("it was read from these members").write();
    let merged = merge::members(original, &before, &value.write(), 0);
    pretty::indented(&serde_json::to_string(&merged).expect("an object of JSON values"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_order_and_letters_and_refuses_names_that_are_there_twice() {
        let text = r#"{"z":12345678901234567890123,"a":{"b":1.50,"b":2},"m":null}"#;
        let object: Object = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), text);
        for broken in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", "", "{", r#"{"a":1} x"#] {
            assert!(matches!(read_object(broken), Err(NotADocument::Broken(_))), "{broken}");
        }
    }

    #[test]
    fn what_is_nested_without_end_is_refused() {
        let nested = |depth: usize| format!("{{\"a\\\"[\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read_object(&nested(MAX_DEPTH - 1)).is_ok());
        let error = read_object(&nested(MAX_DEPTH)).unwrap_err().to_string();
        assert!(error.contains("nested deeper than 128 levels"), "{error}");
        assert!(read_object(&nested(1_000_000)).is_err());
    }

    #[test]
    fn a_member_gets_its_new_name_in_place() {
        let mut object: Object = serde_json::from_str(r#"{"A":1,"B":2,"b":3}"#).unwrap();
        object.rename("A", "a");
        object.rename("B", "b");
        object.rename("C", "c");
        assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"a":1,"b":3}"#);
    }

    #[test]
    fn what_is_kept_as_text_does_not_print() {
        let json = Json::parse(r#"{"password":"hunter2"}"#).unwrap();
        assert!(!format!("{json:?}").contains("hunter2"));
    }
}
