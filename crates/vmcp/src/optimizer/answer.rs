//! What clients say to the two tools, and what `find_tool` answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::index::Tool;

/// The tool that finds tools.
pub const FIND_TOOL: &str = "find_tool";
/// The tool that calls them.
pub const CALL_TOOL: &str = "call_tool";

/// Bytes of a question that are read.
const MAX_QUESTION: usize = 4 * 1024;
/// Keywords that are read.
const MAX_KEYWORDS: usize = 50;

/// Both tools as a list shows them.
#[must_use]
pub fn definitions() -> [Bytes; 2] {
    [
        Bytes::from_static(include_str!("find_tool.json").trim_ascii().as_bytes()),
        Bytes::from_static(include_str!("call_tool.json").trim_ascii().as_bytes()),
    ]
}

/// Why one of the tools does not do what it was called for. Its text is for the model that called it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misused {
    /// `find_tool` does not know what to look for.
    #[error("find_tool failed: tool_description is required")]
    NoDescription,
    /// The arguments of `find_tool` are not what its schema says.
    #[error("find_tool failed: invalid arguments: {0}")]
    Question(String),
    /// `call_tool` does not know what to call.
    #[error("call_tool failed: tool_name is required")]
    NoName,
    /// The arguments of `call_tool` are not what its schema says.
    #[error("call_tool failed: invalid arguments: {0}")]
    Call(String),
    /// There is no such tool, or it is not for clients.
    #[error("tool not found: {0}")]
    NotFound(String),
}

/// A question to `find_tool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is looked for, in a sentence.
    pub description: String,
    /// The same in words.
    pub keywords: Vec<String>,
}

impl Question {
    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// [`Misused`].
    pub fn read(arguments: &[u8]) -> Result<Self, Misused> {
        #[derive(Deserialize)]
        struct Arguments {
            tool_description: Option<String>,
            tool_keywords: Option<Keywords>,
        }
        /// Some models write one text where a list is asked for.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Keywords {
            List(Vec<String>),
            Text(String),
        }
        let read: Arguments =
            serde_json::from_slice(arguments).map_err(|error| Misused::Question(error.to_string()))?;
        let mut description = read.tool_description.unwrap_or_default();
        if description.trim().is_empty() {
            return Err(Misused::NoDescription);
        }
        description.truncate(description.floor_char_boundary(MAX_QUESTION));
        let mut keywords = match read.tool_keywords {
            None => Vec::new(),
            Some(Keywords::List(list)) => list,
            Some(Keywords::Text(text)) => text.split([',', ' ']).map(str::to_owned).collect(),
        };
        keywords.truncate(MAX_KEYWORDS);
        for keyword in &mut keywords {
            keyword.truncate(keyword.floor_char_boundary(MAX_QUESTION));
        }
        Ok(Self { description, keywords })
    }
}

/// What `call_tool` is to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The tool, as clients call it.
    pub name: String,
    /// Its arguments, as they were written.
    pub parameters: Bytes,
}

impl Call {
    /// Reads the arguments of a call. A name that is among the parameters, and nowhere else, is taken from there.
    ///
    /// # Errors
    /// [`Misused`].
    pub fn read(arguments: &[u8]) -> Result<Self, Misused> {
        #[derive(Deserialize)]
        struct Arguments<'a> {
            tool_name: Option<String>,
            #[serde(borrow)]
            parameters: Option<&'a RawValue>,
        }
        let wrong = |error: serde_json::Error| Misused::Call(error.to_string());
        let read: Arguments<'_> = serde_json::from_slice(arguments).map_err(wrong)?;
        let written = read.parameters.map_or("{}", RawValue::get);
        if !written.starts_with('{') {
            return Err(Misused::Call("parameters is not an object".to_owned()));
        }
        if let Some(name) = read.tool_name.filter(|name| !name.is_empty()) {
            return Ok(Self { name, parameters: Bytes::copy_from_slice(written.as_bytes()) });
        }
        let mut parameters: BTreeMap<String, &RawValue> = serde_json::from_str(written).map_err(wrong)?;
        let name = parameters.remove("tool_name").and_then(|name| serde_json::from_str(name.get()).ok());
        let name: String = name.filter(|name: &String| !name.is_empty()).ok_or(Misused::NoName)?;
        let parameters = serde_json::to_vec(&parameters).map_err(wrong)?.into();
        Ok(Self { name, parameters })
    }
}

/// What a list of all tools would have cost, and what the answer does: a token is taken for four bytes of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenMetrics {
    /// Of all tools.
    pub baseline_tokens: usize,
    /// Of those in the answer.
    pub returned_tokens: usize,
    /// What is saved.
    pub savings_percent: f64,
}

impl TokenMetrics {
    fn of(all: usize, returned: usize) -> Self {
        let (baseline_tokens, returned_tokens) = (all / 4, returned / 4);
        let part = returned_tokens as f64 / baseline_tokens.max(1) as f64;
        let savings_percent = if baseline_tokens == 0 { 0.0 } else { (1.0 - part) * 100.0 };
        Self { baseline_tokens, returned_tokens, savings_percent }
    }
}

/// The answer of `find_tool`.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The result: the tools as they are, and what that saves.
    pub result: Vec<u8>,
    /// How many these are.
    pub tools: usize,
    /// What that saves.
    pub tokens: TokenMetrics,
}

impl Found {
    /// Of these tools, where all of them have so many bytes.
    pub(super) fn of(tools: &[&Tool], bytes_of_all: usize) -> Self {
        #[derive(Serialize)]
        struct Object<'a> {
            tools: Vec<&'a RawValue>,
            token_metrics: TokenMetrics,
        }
        let tokens = TokenMetrics::of(bytes_of_all, tools.iter().map(|tool| tool.json.len()).sum());
        let read = tools.iter().filter_map(|tool| serde_json::from_slice(&tool.json).ok()).collect();
        let object = serde_json::to_vec(&Object { tools: read, token_metrics: tokens })
            .expect("what was read as JSON is JSON");
        Self { result: result_of(&object), tools: tools.len(), tokens }
    }
}

/// A result that says an object in both ways.
fn result_of(object: &[u8]) -> Vec<u8> {
    let text = serde_json::to_vec(&String::from_utf8_lossy(object)).expect("texts are JSON");
    [br#"{"content":[{"type":"text","text":"#, &*text, br#"}],"structuredContent":"#, object, b"}"].concat()
}

/// A result that says what went wrong.
#[must_use]
pub fn error_of(message: &str) -> Vec<u8> {
    let text = serde_json::to_vec(message).expect("texts are JSON");
    [br#"{"content":[{"type":"text","text":"#, &*text, br#"}],"isError":true}"#].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        let question = |description: &str, keywords: &[&str]| {
            Ok(Question {
                description: description.to_owned(),
                keywords: keywords.iter().map(|word| (*word).to_owned()).collect(),
            })
        };
        for (arguments, expect) in [
            (r#"{"tool_description":"read a file"}"#, question("read a file", &[])),
            (r#"{"tool_description":"a","tool_keywords":["b","c"]}"#, question("a", &["b", "c"])),
            (r#"{"tool_description":"a","tool_keywords":"b c"}"#, question("a", &["b", "c"])),
            (r#"{"tool_description":"a","tool_keywords":null}"#, question("a", &[])),
            (r#"{"tool_description":" "}"#, Err(Misused::NoDescription)),
            ("{}", Err(Misused::NoDescription)),
        ] {
            assert_eq!(Question::read(arguments.as_bytes()), expect, "{arguments}");
        }
        assert!(matches!(Question::read(br#"{"tool_description":1}"#), Err(Misused::Question(_))));
        let long = format!(r#"{{"tool_description":"{}"}}"#, "ü".repeat(9_000));
        assert!(Question::read(long.as_bytes()).is_ok_and(|read| read.description.len() <= MAX_QUESTION));
    }

    #[test]
    fn calls_are_read_and_a_misplaced_name_is_found() {
        let call = |name: &str, parameters: &str| {
            Ok(Call { name: name.to_owned(), parameters: parameters.to_owned().into() })
        };
        for (arguments, expect) in [
            (r#"{"tool_name":"a","parameters":{"b": 1e400}}"#, call("a", r#"{"b": 1e400}"#)),
            (r#"{"tool_name":"a"}"#, call("a", "{}")),
            (r#"{"parameters":{"tool_name":"a","b":[1, 2]}}"#, call("a", r#"{"b":[1, 2]}"#)),
            (r#"{"tool_name":"a","parameters":{"tool_name":"b"}}"#, call("a", r#"{"tool_name":"b"}"#)),
            (r#"{"tool_name":"","parameters":{}}"#, Err(Misused::NoName)),
            (r#"{"parameters":{"tool_name":1}}"#, Err(Misused::NoName)),
            ("{}", Err(Misused::NoName)),
            (
                r#"{"tool_name":"a","parameters":"b"}"#,
                Err(Misused::Call("parameters is not an object".to_owned())),
            ),
        ] {
            assert_eq!(Call::read(arguments.as_bytes()), expect, "{arguments}");
        }
    }

    #[test]
    fn answers_say_what_they_save() {
        for (all, returned, percent) in [(400, 40, 90.0), (0, 0, 0.0), (40, 40, 0.0), (4, 3, 100.0)] {
            let metrics = TokenMetrics::of(all, returned);
            assert!((metrics.savings_percent - percent).abs() < 1e-9, "{all} {returned}: {metrics:?}");
        }
        let answer = String::from_utf8(Found::of(&[], 8).result).unwrap();
        let object = r#"{"tools":[],"token_metrics":{"baseline_tokens":2,"returned_tokens":0,"savings_percent":100.0}}"#;
        assert!(answer.ends_with(&format!(r#""structuredContent":{object}}}"#)), "{answer}");
        assert!(answer.starts_with(r#"{"content":[{"type":"text","text":"{\"tools\":"#), "{answer}");
    }

    #[test]
    fn definitions_are_tools() {
        for (definition, name) in definitions().iter().zip([FIND_TOOL, CALL_TOOL]) {
            let tool: serde_json::Value = serde_json::from_slice(definition).unwrap();
            assert_eq!((&tool["name"], &tool["inputSchema"]["type"]), (&name.into(), &"object".into()));
        }
    }
}
