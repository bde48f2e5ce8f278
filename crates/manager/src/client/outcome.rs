//! The result of a tool call.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::ClientError;

/// What a tool answered. Serialised, it is the server's `CallToolResult` as it came.
#[derive(Debug)]
pub struct CallOutcome {
    /// The tool says that it failed.
    pub is_error: bool,
    pub content: Vec<Content>,
    /// `structuredContent`.
    pub structured: Option<Box<RawValue>>,
    pub raw: Box<RawValue>,
}

/// One piece of content. Serialised, it is as it came.
#[derive(Debug)]
pub struct Content {
    /// `text`, `image`, `audio`, `resource`, `resource_link`, or what later revisions bring.
    pub kind: String,
    /// The text of a `text`.
    pub text: Option<String>,
    pub raw: Box<RawValue>,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default, rename = "isError")]
    is_error: bool,
    #[serde(default)]
    content: Vec<Box<RawValue>>,
    #[serde(default, rename = "structuredContent")]
    structured: Option<Box<RawValue>>,
    #[serde(default, rename = "resultType")]
    result_type: Option<String>,
}

#[derive(Deserialize)]
struct ContentMembers {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl CallOutcome {
    pub(super) fn read(raw: Box<RawValue>) -> Result<Self, ClientError> {
        let wrong = |error: serde_json::Error| ClientError::Protocol {
            method: "tools/call",
            reason: error.to_string(),
        };
        let members: Members = serde_json::from_str(raw.get()).map_err(wrong)?;
        match members.result_type.as_deref() {
            None | Some("complete") => {}
            Some("input_required") => return Err(ClientError::InputRequired),
            Some(other) => {
                let reason = format!("a result of type {other:?}");
                return Err(ClientError::Protocol { method: "tools/call", reason });
            }
        }
        let read = |raw: Box<RawValue>| {
            let ContentMembers { kind, text } = serde_json::from_str(raw.get())?;
            Ok(Content { kind, text, raw })
        };
        let content = members.content.into_iter().map(read).collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Self { is_error: members.is_error, content, structured: members.structured, raw })
    }
}

impl Serialize for CallOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CallOutcome, ClientError> {
        CallOutcome::read(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn an_outcome_is_kept_to_the_byte() {
        let text = r#"{"content":[{"type":"text","text":"a\nb","x":1.0},{"type":"later","y":12345678901234567890}],"isError":true,"structuredContent":null}"#;
        let outcome = read(text).unwrap();
        assert!(outcome.is_error);
        let seen: Vec<_> = outcome.content.iter().map(|c| (c.kind.as_str(), c.text.as_deref())).collect();
        assert_eq!(seen, [("text", Some("a\nb")), ("later", None)]);
        assert_eq!(serde_json::to_string(&outcome).unwrap(), text);
        assert_eq!(
            serde_json::to_string(&outcome.content[1]).unwrap(),
            r#"{"type":"later","y":12345678901234567890}"#
        );
    }

    #[test]
    fn what_is_no_outcome_is_told() {
        assert!(matches!(read(r#"{"resultType":"input_required"}"#), Err(ClientError::InputRequired)));
        assert!(matches!(read(r#"{"resultType":"task"}"#), Err(ClientError::Protocol { .. })));
        assert!(matches!(read(r#"{"content":7}"#), Err(ClientError::Protocol { .. })));
        assert!(read("{}").unwrap().content.is_empty());
    }
}
