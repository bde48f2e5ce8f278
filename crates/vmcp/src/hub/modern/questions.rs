//! What a server may ask its client in the middle of a call, in the words of either era.

use bytes::Bytes;
use mcp::revision::has_capability;
use mcp::{ErrorCode, ErrorReply, Method};
use serde_json::{Map, Value, json};

use super::super::object::{Object, quoted};

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// What its answer is found under.
    pub(super) key: String,
    pub(super) method: String,
    /// JSON text.
    pub(super) params: Option<Bytes>,
}

impl Question {
    /// Those of an `inputRequests` member. What is none is a question that nobody can answer.
    pub(super) fn read_all(requests: &[u8]) -> Vec<Self> {
        let requests = Object::read(requests).unwrap_or_default();
        let question = |(key, value): (&str, &[u8])| {
            let question = Object::read(value).unwrap_or_default();
            Self {
                key: key.to_owned(),
                method: question.text("method").unwrap_or_default(),
                params: question.get("params").map(Bytes::copy_from_slice),
            }
        };
        requests.iter().map(question).collect()
    }

    /// As an `inputRequests` member has them.
    pub(super) fn write_all<'a>(questions: impl Iterator<Item = &'a Self>) -> Bytes {
        let mut requests = Object::default();
        for question in questions {
            let mut request = Object::default();
            request.set("method", quoted(&question.method));
            if let Some(params) = &question.params {
                request.set("params", params.to_vec());
            }
            requests.set(&question.key, request.write().to_vec());
        }
        requests.write()
    }

    /// The capability that a client has who can be asked this; `None`: nobody can.
    pub(super) fn capability(&self) -> Option<&'static str> {
        match Method::from_wire(self.method.as_bytes()) {
            Method::ElicitationCreate => Some("elicitation"),
            Method::SamplingCreateMessage => Some("sampling"),
            Method::RootsList => Some("roots"),
            _ => None,
        }
    }
}

/// The capabilities that these questions need and a client has not declared.
pub(super) fn lacking(questions: &[Question], declared: &[u8]) -> Vec<String> {
    let needed = questions.iter().map(|question| question.capability().unwrap_or(&question.method));
    let mut lacking: Vec<_> =
        needed.filter(|needed| !has_capability(declared, needed)).map(str::to_owned).collect();
    lacking.sort_unstable();
    lacking.dedup();
    lacking
}

/// Whether a client can be asked anything.
pub(super) fn can_be_asked(declared: &[u8]) -> bool {
    ["elicitation", "sampling", "roots"].iter().any(|capability| has_capability(declared, capability))
}

/// The answer to a request that needs what its client has not declared.
pub(super) fn missing(lacking: &[String]) -> ErrorReply {
    let required: Map<_, _> = lacking.iter().map(|name| (name.clone(), json!({}))).collect();
    let text = format!("this request needs a client that can: {}", lacking.join(", "));
    ErrorReply::new(ErrorCode::MissingClientCapability, text)
        .with_data(json!({"requiredCapabilities": Value::Object(required)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_back_as_they_were() {
        let text = br#"{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{"n":1.0}}}"#;
        let questions = Question::read_all(text);
        assert_eq!(Question::write_all(questions.iter()), &text[..]);
        assert_eq!(lacking(&questions, br#"{"roots":{}}"#), ["elicitation"]);
        assert!(lacking(&questions, br#"{"roots":{},"elicitation":{}}"#).is_empty());
        assert_eq!(lacking(&Question::read_all(br#"{"a":7}"#), br#"{"roots":{}}"#), [""]);
        assert!(can_be_asked(br#"{"x":{},"sampling":{}}"#) && !can_be_asked(br#"{"x":{}}"#));
    }
}
