//! Rewrites the text of a tools list: members that are not named here keep their bytes.

use bytes::Bytes;
use mcp::json::{self, JsonError, Reader, Span};
use mcp::message::splice;
use mcp::{Malformed, Message};

use super::policy::ToolPolicy;

/// A list that the policy cannot be applied to, and that is therefore not passed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfilterable {
    #[error(transparent)]
    Message(#[from] Malformed),
    #[error("a tool has no name")]
    Nameless,
    #[error("result.tools is not a list of objects")]
    NotAList,
}

impl From<JsonError> for Unfilterable {
    fn from(error: JsonError) -> Self {
        Self::Message(Malformed::Json(error))
    }
}

/// The message with its tools list filtered; unchanged if it holds none.
pub(super) fn message(policy: &ToolPolicy, text: &Bytes) -> Result<Bytes, Unfilterable> {
    let message = Message::parse(text.clone())?;
    let Some(span) = message.tools_span() else { return Ok(text.clone()) };
    let list = tools(policy, &text[span.range()])?;
    Ok(message.splice(&[(span, &list)]))
}

/// One tool of a list, by spans of the list's text.
#[derive(Default)]
struct Tool {
    whole: Span,
    name: Span,
    description: Span,
}

fn tools(policy: &ToolPolicy, list: &[u8]) -> Result<Vec<u8>, Unfilterable> {
    let mut out = vec![b'['];
    for tool in read(list)? {
        let quoted = tool.name.of(list).ok_or(Unfilterable::Nameless)?;
        let name = json::decode_str(quoted).filter(|name| !name.is_empty()).ok_or(Unfilterable::Nameless)?;
        let Some(shown) = policy.show(&name) else { continue };
        if out.len() > 1 {
            out.push(b',');
        }
        let Some(shown) = shown else {
            out.extend_from_slice(&list[tool.whole.range()]);
            continue;
        };
        out.extend_from_slice(&shown_as(list, &tool, shown));
    }
    out.push(b']');
    Ok(out)
}

fn shown_as(list: &[u8], tool: &Tool, shown: &super::ToolOverride) -> Bytes {
    let start = tool.whole.range().start;
    let within = |span: Span| match span.is_present() {
        true => Span::new(span.range().start - start, span.range().end - start),
        false => Span::default(),
    };
    let quote = |text: &String| serde_json::Value::from(text.as_str()).to_string();
    let mut edits = Vec::new();
    let name = shown.name.as_ref().map(quote);
    // A tool without a description gets one in front of its name.
    let mut with_description = None;
    if let Some(description) = shown.description.as_ref().map(quote) {
        if tool.description.is_present() {
            edits.push((within(tool.description), description));
        } else {
            let kept = String::from_utf8_lossy(&list[tool.name.range()]).into_owned();
            with_description =
                Some(format!("{},\"description\":{description}", name.clone().unwrap_or(kept)));
        }
    }
    if let Some(name) = with_description.or(name) {
        edits.push((within(tool.name), name));
    }
    let edits: Vec<_> = edits.iter().map(|(span, text)| (*span, text.as_bytes())).collect();
    splice(&list[tool.whole.range()], &edits)
}

fn read(list: &[u8]) -> Result<Vec<Tool>, Unfilterable> {
    let mut reader = Reader::new(list)?;
    if reader.peek() != Some(b'[') {
        return Err(Unfilterable::NotAList);
    }
    let mut tools = Vec::new();
    reader.array::<Unfilterable>(|reader| {
        if reader.peek() != Some(b'{') {
            return Err(Unfilterable::NotAList);
        }
        let mut tool = Tool::default();
        tool.whole = reader.object::<Unfilterable>(|reader, member| {
            let value = reader.value()?;
            match member {
                b"name" => tool.name = value,
                b"description" => tool.description = value,
                _ => {}
            }
            Ok(())
        })?;
        tools.push(tool);
        Ok(())
    })?;
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::super::ToolOverride;
    use super::*;

    #[test]
    fn a_description_is_replaced_or_added_and_names_are_quoted_anew() {
        let shown = ToolOverride { name: Some("a \"b\"".into()), description: Some("new".into()) };
        let policy = ToolPolicy::new(&[], [("x".into(), shown)]).unwrap();
        let list = |text: &str| String::from_utf8(tools(&policy, text.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            list(r#"[{"name":"x","description":"old","z":1.50}]"#),
            r#"[{"name":"a \"b\"","description":"new","z":1.50}]"#
        );
        assert_eq!(
            list(r#"[ {"z":[1],"name":"x"} ]"#),
            r#"[{"z":[1],"name":"a \"b\"","description":"new"}]"#
        );
        assert_eq!(
            list(r#"[{"name":"\u0078","description":""}]"#),
            r#"[{"name":"a \"b\"","description":"new"}]"#
        );
        assert_eq!(list(r#"[{"name":"y"}]"#), r#"[{"name":"y"}]"#);
    }

    #[test]
    fn what_is_no_list_of_named_objects_is_refused() {
        let policy = ToolPolicy::new(&["a".into()], []).unwrap();
        for list in ["{}", "[1]", r#"[{"name":7}]"#, r#"[{"name":""}]"#, "[{}]", "null"] {
            assert!(tools(&policy, list.as_bytes()).is_err(), "{list}");
        }
    }
}
