//! Results: of a tool as a script sees it, of a script as its client does.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Bytes of an error that a script, or a client, sees.
const MAX_MESSAGE: usize = 4 * 1024;

/// What a tool's result is worth to a script: its structured content (what is in it, where it only wraps a `result`), else its first text as
/// JSON, else that text.
pub(super) fn value_of(tool: &str, result: &[u8]) -> Result<Value, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ToolResult {
        #[serde(default)]
        content: Vec<Map<String, Value>>,
        structured_content: Option<Value>,
        #[serde(default)]
        is_error: bool,
    }
    let read: ToolResult = serde_json::from_slice(result)
        .map_err(|error| format!("{tool}: its answer is no result: {error}"))?;
    let is_text = |item: &&Map<String, Value>| item.get("type").and_then(Value::as_str) == Some("text");
    let text = read.content.iter().find(is_text).and_then(|item| item.get("text")).and_then(Value::as_str);
    if read.is_error {
        return Err(format!("{tool}: {}", cut(text.unwrap_or("tool execution error"))));
    }
    match read.structured_content {
        Some(Value::Object(mut members)) if members.len() == 1 => {
            Ok(members.remove("result").unwrap_or(Value::Object(members)))
        }
        Some(structured) if !structured.is_null() => Ok(structured),
        _ => Ok(text.map_or(Value::Null, |text| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
        })),
    }
}

/// A script's value and what it has printed, as the result of its tool.
pub(super) fn returned(value: &RawValue, logs: &str) -> Vec<u8> {
    let text = serde_json::to_vec(value.get()).expect("texts are JSON");
    let logs = match logs {
        "" => Vec::new(),
        logs => format!(",{}", logs_item(logs)).into_bytes(),
    };
    let is_object = value.get().starts_with('{');
    let (before, after): (&[u8], &[u8]) = if is_object { (b"", b"") } else { (br#"{"result":"#, b"}") };
    let structured = [before, value.get().as_bytes(), after].concat();
    [
        br#"{"content":[{"type":"text","text":"#,
        &*text,
        b"}",
        &logs,
        br#"],"structuredContent":"#,
        &structured,
        b"}",
    ]
    .concat()
}

/// Why there is no value, as the result of its tool.
pub(super) fn failed(message: &str, logs: &str) -> Vec<u8> {
    let mut content = vec![json!({"type": "text", "text": cut(message)})];
    if !logs.is_empty() {
        content.push(logs_item(logs));
    }
    json!({"content": content, "isError": true}).to_string().into_bytes()
}

fn logs_item(logs: &str) -> Value {
    json!({"type": "text", "text": format!("Script logs:\n{logs}")})
}

fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_worth_what_is_in_them() {
        for (result, expect) in [
            (r#"{"content":[],"structuredContent":{"result":[1]}}"#, Ok(json!([1]))),
            (r#"{"content":[],"structuredContent":{"a":1}}"#, Ok(json!({"a": 1}))),
            (r#"{"content":[],"structuredContent":{"result":1,"a":2}}"#, Ok(json!({"result": 1, "a": 2}))),
            (r#"{"content":[{"type":"text","text":"{\"a\":1}"}]}"#, Ok(json!({"a": 1}))),
            (r#"{"content":[{"type":"text","text":"plain"}],"structuredContent":null}"#, Ok(json!("plain"))),
            (r#"{"content":[{"type":"image","data":""},{"type":"text","text":"3"}]}"#, Ok(json!(3))),
            (r#"{"content":[]}"#, Ok(Value::Null)),
            ("{}", Ok(Value::Null)),
            (r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#, Err("t: no".to_owned())),
            (r#"{"isError":true}"#, Err("t: tool execution error".to_owned())),
        ] {
            assert_eq!(value_of("t", result.as_bytes()), expect, "{result}");
        }
        assert!(value_of("t", b"[]").is_err());
    }

    #[test]
    fn what_a_script_returns_is_said_in_both_ways() {
        for (value, logs, expect) in [
            (
                "1.50",
                "",
                r#"{"content":[{"type":"text","text":"1.50"}],"structuredContent":{"result":1.50}}"#,
            ),
            (
                r#"{"a":1}"#,
                "x",
                r#"{"content":[{"type":"text","text":"{\"a\":1}"},{"text":"Script logs:\nx","type":"text"}],"structuredContent":{"a":1}}"#,
            ),
        ] {
            let value = RawValue::from_string(value.to_owned()).unwrap();
            let found: Value = serde_json::from_slice(&returned(&value, logs)).unwrap();
            assert_eq!(found, serde_json::from_str::<Value>(expect).unwrap());
        }
        let text = String::from_utf8(failed(&"ü".repeat(9_000), "")).unwrap();
        assert!(text.len() < MAX_MESSAGE + 100 && text.contains(r#""isError":true"#), "{text}");
    }
}
