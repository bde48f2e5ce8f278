//! What a tool answered, as steps after it see it: an output, and its content by names.

use super::super::log::{Answer, Failure, FailureKind};
use super::super::template::Data;

/// The result of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolAnswer {
    /// `structuredContent`.
    pub structured: Option<Data>,
    /// `content`, a list.
    pub content: Data,
    /// `isError`.
    pub is_error: bool,
}

impl ToolAnswer {
    /// What it comes to: an output, which is the structured content where there is any, or why the tool failed.
    pub(super) fn read(self, tool: &str) -> Result<Answer, Failure> {
        let content = by_name(&self.content);
        if self.is_error {
            let message = format!("tool {tool}: tool execution failed: {}", self.complaint());
            return Err(Failure { kind: FailureKind::Tool, message });
        }
        let output = self.structured.unwrap_or_else(|| content.clone());
        Ok(Answer { output, content, skips_rest: false })
    }

    fn complaint(&self) -> String {
        let texts = items(&self.content).iter().filter(|item| is_of(item, "text"));
        let text = texts.filter_map(|item| text_of(item, "text")).find(|text| !text.is_empty());
        let structured = || {
            let structured = self.structured.as_ref()?;
            ["error", "message", "text"].into_iter().find_map(|name| text_of(structured, name))
        };
        text.or_else(structured).unwrap_or("tool execution error").to_owned()
    }
}

fn items(content: &Data) -> &[Data] {
    match content {
        Data::List(items) => items,
        _ => &[],
    }
}

fn is_of(item: &Data, kind: &str) -> bool {
    text_of(item, "type") == Some(kind)
}

fn text_of<'d>(item: &'d Data, name: &str) -> Option<&'d str> {
    match item.get(name) {
        Some(Data::Text(text)) => Some(text),
        _ => None,
    }
}

/// Texts are `text`, `text_1`, …; images `image_0`, …; embedded resources `resource`, `resource_1`, …; nothing else is
/// there.
fn by_name(content: &Data) -> Data {
    let (mut texts, mut images, mut resources) = (0, 0, 0);
    let mut members = Vec::new();
    for item in items(content) {
        let numbered = |name: &str, count: &mut usize| {
            *count += 1;
            if *count == 1 { name.to_owned() } else { format!("{name}_{}", *count - 1) }
        };
        if is_of(item, "text") {
            members.push((numbered("text", &mut texts), text_of(item, "text").unwrap_or_default()));
        } else if is_of(item, "image") {
            members.push((format!("image_{images}"), text_of(item, "data").unwrap_or_default()));
            images += 1;
        } else if let Some(resource) = item.get("resource").filter(|_| is_of(item, "resource")) {
            let text = text_of(resource, "text").filter(|text| !text.is_empty());
            let text = text.or_else(|| text_of(resource, "blob")).unwrap_or_default();
            members.push((numbered("resource", &mut resources), text));
        }
    }
    Data::map(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_outputs_or_failures() {
        let image = r#"{"type":"image","data":"aW1n"}"#;
        let resource = |member: &str| format!(r#"{{"type":"resource","resource":{{{member}}}}}"#);
        for (content, structured, is_error, expect) in [
            ("[]".to_owned(), None, false, Ok(("{}", "{}"))),
            (
                r#"[{"type":"text","text":"a"}]"#.to_owned(),
                None,
                false,
                Ok((r#"{"text":"a"}"#, r#"{"text":"a"}"#)),
            ),
            (
                r#"[{"type":"text","text":"a"},{"type":"audio","data":"x"},{"type":"text","text":"b"}]"#
                    .to_owned(),
                Some("{\"n\":1}"),
                false,
                Ok((r#"{"n":1}"#, r#"{"text":"a","text_1":"b"}"#)),
            ),
            (
                format!("[{image},{image}]"),
                Some("{}"),
                false,
                Ok(("{}", r#"{"image_0":"aW1n","image_1":"aW1n"}"#)),
            ),
            (
                format!("[{},{}]", resource(r#""text":"t""#), resource(r#""text":"","blob":"b""#)),
                Some("{}"),
                false,
                Ok(("{}", r#"{"resource":"t","resource_1":"b"}"#)),
            ),
            (r#"[{"type":"text","text":""},{"type":"text","text":"no"}]"#.to_owned(), None, true, Err("no")),
            ("[]".to_owned(), Some(r#"{"message":"m"}"#), true, Err("m")),
            ("[]".to_owned(), None, true, Err("tool execution error")),
        ] {
            let data = |json: &str| serde_json::from_str(json).expect("JSON");
            let answer = ToolAnswer { structured: structured.map(data), content: data(&content), is_error };
            let found = answer.read("t").map(|answer| (answer.output, answer.content));
            let expect =
                expect.map(|(output, by_name)| (data(output), data(by_name))).map_err(|message| Failure {
                    kind: FailureKind::Tool,
                    message: format!("tool t: tool execution failed: {message}"),
                });
            assert_eq!(found, expect, "{content}");
        }
    }
}
