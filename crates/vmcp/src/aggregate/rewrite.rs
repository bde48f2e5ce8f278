//! Objects with a few members set, and everything else as it was written.

use bytes::Bytes;
use mcp::json::{JsonError, Reader, Span};
use mcp::message::splice;

/// Sets members, in place where they are there, else in front. What is no object becomes one.
pub(super) fn with_members(object: &[u8], changes: &[(&str, Vec<u8>)]) -> Bytes {
    let mut found = vec![Span::default(); changes.len()];
    let mut is_empty = true;
    let read = Reader::new(object).and_then(|mut reader| {
        reader.object::<JsonError>(|reader, name| {
            let value = reader.value()?;
            is_empty = false;
            if let Some(place) = changes.iter().position(|(changed, _)| changed.as_bytes() == name) {
                found[place] = value;
            }
            Ok(())
        })
    });
    let Ok(span) = read else { return with_members(b"{}", changes) };
    let mut front = b"{".to_vec();
    for ((name, value), _) in changes.iter().zip(&found).filter(|(_, span)| !span.is_present()) {
        if front.len() > 1 {
            front.push(b',');
        }
        front.extend_from_slice(&text(name));
        front.push(b':');
        front.extend_from_slice(value);
    }
    if front.len() > 1 && !is_empty {
        front.push(b',');
    }
    let start = span.range().start;
    let mut edits = vec![(Span::new(start, start + 1), &*front)];
    edits.extend(found.iter().zip(changes).map(|(span, (_, value))| (*span, &**value)));
    splice(object, &edits)
}

/// A text as JSON.
pub(super) fn text(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_set_and_others_stay() {
        for (object, changes, expect) in [
            (r#"{"name":"a", "x" : [1]}"#, &[("name", "\"b\"")][..], r#"{"name":"b", "x" : [1]}"#),
            (r#"{"n\u0061me":"a"}"#, &[("name", "\"b\"")], r#"{"n\u0061me":"b"}"#),
            (r#" {"x":{"name":1}}"#, &[("name", "2"), ("y", "3")], r#" {"name":2,"y":3,"x":{"name":1}}"#),
            ("{ }", &[("a", "1")], r#"{"a":1 }"#),
            ("{}", &[], "{}"),
            ("[1]", &[("a", "1")], r#"{"a":1}"#),
            (r#"{"b":1,"a":2}"#, &[("a", "3"), ("c", "4"), ("b", "5")], r#"{"c":4,"b":5,"a":3}"#),
        ] {
            let changes: Vec<_> =
                changes.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
            assert_eq!(with_members(object.as_bytes(), &changes), expect, "{object}");
        }
    }
}
