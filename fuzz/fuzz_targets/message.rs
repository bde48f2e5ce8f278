//! One JSON-RPC message: no panic, nothing accepted that serde_json refuses, and what was read is what serde_json reads.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use mcp::Message;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(text)) else { return };
    let Ok(value) = serde_json::from_slice::<Value>(text) else {
        // Numbers that no f64 holds are text to us.
        let huge = text.iter().any(|byte| matches!(byte, b'e' | b'E'));
        assert!(huge, "accepted what is not JSON");
        return;
    };
    let json = |part: Option<&[u8]>| part.map(|part| serde_json::from_slice::<Value>(part).expect("a part of JSON"));
    // An id of null stands for one that could not be read: none.
    assert_eq!(json(message.id()).as_ref(), value.get("id").filter(|id| !id.is_null()));
    assert_eq!(json(message.params()).as_ref(), value.get("params"));
    assert_eq!(message.method_name().as_deref(), value.get("method").and_then(Value::as_str));
    if let Some(target) = message.target() {
        let named = |member: &str| value.pointer(member).and_then(Value::as_str) == Some(&target);
        assert!(["/params/name", "/params/uri", "/params/taskId", "/params/ref/name", "/params/ref/uri"].into_iter().any(named));
    }
    let _ = mcp::revision::classify(&HeaderMap::new(), &message);
    let same = message.splice(&[(message.id_span(), message.id().unwrap_or_default())]);
    if message.id().is_some() {
        assert_eq!(same, text, "an id put in its own place changes nothing");
    }
});
