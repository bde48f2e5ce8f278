//! A JSON object taken apart: its members in their order, each as it was written, so that one can be changed and the rest
//! stays what it was, to the last digit.

use std::borrow::Cow;

use bytes::Bytes;
use mcp::json::{JsonError, Reader};

/// The members of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object<'a>(Vec<Member<'a>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member<'a> {
    name: String,
    /// JSON text.
    value: Cow<'a, [u8]>,
}

impl<'a> Object<'a> {
    /// `None` for anything but an object.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let mut members = Vec::new();
        let mut reader = Reader::new(text).ok()?;
        reader
            .object::<JsonError>(|reader, name| {
                let value = Cow::Borrowed(reader.value()?.of(text).unwrap_or_default());
                members.push(Member { name: String::from_utf8_lossy(name).into_owned(), value });
                Ok(())
            })
            .ok()?;
        Some(Self(members))
    }

    /// A member's value as JSON text.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|member| member.name == name).map(|member| &*member.value)
    }

    /// A member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        mcp::json::decode_str(self.get(name)?).map(Cow::into_owned)
    }

    /// Leaves a member out.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|member| member.name != name);
    }

    /// Puts a value, which is JSON text, in a member's place; a new one comes last.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Cow<'a, [u8]>>) {
        let value = value.into();
        match self.0.iter_mut().find(|member| member.name == name) {
            Some(member) => member.value = value,
            None => self.0.push(Member { name: name.to_owned(), value }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members, name and JSON text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|member| (&*member.name, &*member.value))
    }

    /// As JSON text.
    pub(super) fn write(&self) -> Bytes {
        let length: usize = self.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut out = Vec::with_capacity(length + 2);
        out.push(b'{');
        for (place, (name, value)) in self.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&quoted(name));
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
        out.into()
    }
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays_as_it_was_written() {
        let text = br#"{ "b" : 1.0 ,"a":{"x": [ 1e400 ]}, "q\u0041\"":"\u00e9" }"#;
        let mut object = Object::read(text).unwrap();
        assert_eq!(object.write(), &br#"{"b":1.0,"a":{"x": [ 1e400 ]},"qA\"":"\u00e9"}"#[..]);
        object.set("b", &b"2"[..]);
        object.set("new", quoted("é"));
        object.remove("a");
        assert_eq!(object.write(), "{\"b\":2,\"qA\\\"\":\"\\u00e9\",\"new\":\"é\"}".as_bytes());
        assert_eq!((object.get("b"), object.text("qA\"").as_deref()), (Some(&b"2"[..]), Some("é")));
        for other in [&b"[]"[..], b"1", b"", b"{\"a\":1,\"a\":2}"] {
            assert_eq!(Object::read(other), None);
        }
        assert_eq!(Object::read(b"{}").unwrap().write(), "{}");
    }
}
