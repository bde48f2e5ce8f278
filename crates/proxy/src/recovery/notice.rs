//! What a client is told once its session lives elsewhere: a word in `_meta` of the next result, for those who look, and
//! that nobody waits any more for its answer to a question.

use std::collections::BTreeMap;

use bytes::Bytes;
use mcp::Message;
use serde_json::value::RawValue;

/// The key in `_meta`. Its value says how often the session has moved.
const KEY: &str = "skep/recovered";

/// The same answer with the word in it. `None` where it is no result, or has no room for it: a result is an object.
pub(crate) fn in_result(answer: &Message, epoch: u32) -> Option<Bytes> {
    let (text, result) = (answer.text(), answer.result()?);
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(result).ok()?;
    let word = format!(r#""{KEY}":{{"epoch":{epoch}}}"#);
    // Both are parts of `text`: where they are in it is a difference of addresses.
    let place = |part: &[u8]| (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
    let (inside, more, word) = match fields.get("_meta") {
        Some(meta) => {
            let has_more = !serde_json::from_str::<BTreeMap<&str, &RawValue>>(meta.get()).ok()?.is_empty();
            (meta.get().as_bytes(), has_more, word)
        }
        None => (result, !fields.is_empty(), format!(r#""_meta":{{{word}}}"#)),
    };
    let open = inside.iter().position(|byte| *byte == b'{')?;
    let at = place(inside)? + open + 1;
    let comma = if more { "," } else { "" };
    Some([&text[..at], word.as_bytes(), comma.as_bytes(), &text[at..]].concat().into())
}

/// `notifications/cancelled` for the request with this raw id.
pub(crate) fn cancelled(id: &[u8], reason: &str) -> Bytes {
    let reason = serde_json::Value::from(reason);
    let id = String::from_utf8_lossy(id);
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":{reason}}}}}"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_word_is_added_and_nothing_else_is_changed() {
        for result in [
            json!({}),
            json!({"content": [{"type": "text", "text": "{\"_meta\":1}"}]}),
            json!({"_meta": {}}),
            json!({"a": {"_meta": {"b": 1}}, "_meta": {"mine": [1, 2]}}),
        ] {
            let answer = json!({"jsonrpc": "2.0", "id": 1, "result": result});
            let message = Message::parse(answer.to_string().into()).unwrap();
            let mut told: Value = serde_json::from_slice(&in_result(&message, 3).unwrap()).unwrap();
            let meta = told["result"]["_meta"].as_object_mut().unwrap();
            assert_eq!(meta.remove(KEY), Some(json!({"epoch": 3})));
            if meta.is_empty() && result["_meta"].is_null() {
                told["result"].as_object_mut().unwrap().remove("_meta");
            }
            assert_eq!(told, answer);
        }
    }

    #[test]
    fn what_is_no_result_stays_as_it_is() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":7}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#,
        ] {
            let message = Message::parse(Bytes::from(text)).unwrap();
            assert_eq!(in_result(&message, 1), None, "{text}");
        }
    }
}
