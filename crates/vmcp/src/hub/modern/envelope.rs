//! What a message of one era is in the other: pure functions from text to text. Whatever is not the eras' own stays as its
//! sender wrote it.

use bytes::Bytes;
use mcp::message::{Kind, meta_key};
use mcp::{ErrorCode, Message, Method, Revision};

use super::super::object::{Object, quoted};

/// Members of `_meta` that belong to one hop.
const OF_REQUESTS: [&str; 4] =
    [meta_key::PROTOCOL_VERSION, meta_key::CLIENT_INFO, meta_key::CLIENT_CAPABILITIES, meta_key::LOG_LEVEL];
/// Members of results that only 2026-07-28 has.
const OF_RESULTS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// What a client says about itself with every request of 2026-07-28.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hub) struct Introduction {
    /// JSON text.
    pub(in crate::hub) capabilities: Bytes,
    /// JSON text.
    pub(in crate::hub) info: Option<Bytes>,
    pub(in crate::hub) level: Option<String>,
}

impl Introduction {
    /// The hub itself.
    pub(in crate::hub) fn own() -> Self {
        let info = serde_json::json!({"name": "skep", "version": env!("CARGO_PKG_VERSION")});
        Self { capabilities: Bytes::from_static(b"{}"), info: Some(info.to_string().into()), level: None }
    }

    /// A client that has shaken hands, with the log level that it has asked for.
    pub(in crate::hub) fn of_handshake(initialize: &Message, level: Option<&str>) -> Self {
        let declared = initialize.capabilities().and_then(Object::read);
        let mut capabilities = declared.unwrap_or_default();
        // Those of 2025-11-25 are something else than the extension of the same name.
        capabilities.remove("tasks");
        Self {
            capabilities: capabilities.write(),
            info: initialize.client_info().map(Bytes::copy_from_slice),
            level: level.map(str::to_owned),
        }
    }

    /// The client of a request of 2026-07-28.
    pub(in crate::hub) fn of(request: &Message) -> Self {
        Self {
            capabilities: Bytes::copy_from_slice(request.meta_capabilities().unwrap_or(b"{}")),
            info: request.meta_client_info().map(Bytes::copy_from_slice),
            level: None,
        }
    }

    /// The handshake that says the same of the client of a request of 2026-07-28.
    pub(in crate::hub) fn handshake(request: &Message) -> Bytes {
        let mut params = Object::default();
        params.set("protocolVersion", quoted(Revision::LATEST_LEGACY.as_str()));
        let declared = request.meta_capabilities().and_then(Object::read);
        let mut capabilities = declared.unwrap_or_default();
        capabilities.remove("extensions");
        params.set("capabilities", capabilities.write().to_vec());
        let unnamed = br#"{"name":"unnamed","version":"0"}"#;
        params.set("clientInfo", request.meta_client_info().unwrap_or(unnamed));
        request_text(b"0", "initialize", Some(&params.write()))
    }
}

/// The text of a request.
pub(in crate::hub) fn request_text(id: &[u8], method: &str, params: Option<&[u8]>) -> Bytes {
    let mut message = Object::default();
    message.set("jsonrpc", &b"\"2.0\""[..]);
    message.set("id", id);
    message.set("method", quoted(method));
    if let Some(params) = params {
        message.set("params", params);
    }
    message.write()
}

/// A request of 2026-07-28 for a backend that knows sessions. `number` is its id there, and its progress token if it has
/// one.
pub(in crate::hub) fn for_legacy(request: &Message, number: u64) -> Option<Bytes> {
    let number = number.to_string();
    let mut params = request.params().and_then(Object::read)?;
    for ours in ["inputResponses", "requestState"] {
        params.remove(ours);
    }
    let meta = request.meta().map(<[u8]>::to_vec).unwrap_or_default();
    let mut meta = Object::read(&meta).unwrap_or_default();
    OF_REQUESTS.iter().for_each(|name| meta.remove(name));
    if request.progress_token().is_some() {
        meta.set("progressToken", number.as_bytes());
    }
    match meta.is_empty() {
        true => params.remove("_meta"),
        false => params.set("_meta", meta.write().to_vec()),
    }
    Some(request_text(number.as_bytes(), &request.method_name()?, Some(&params.write())))
}

/// What a client answers in another round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::hub) struct Answers {
    /// By the keys that the backend gave its questions: JSON text.
    pub(in crate::hub) responses: Option<Bytes>,
    /// As the backend wrote it, JSON text.
    pub(in crate::hub) state: Option<Bytes>,
}

/// A request with a handshake behind it for a backend of 2026-07-28.
pub(in crate::hub) fn for_modern(
    request: &Message,
    id: &[u8],
    client: &Introduction,
    answers: &Answers,
) -> Option<Bytes> {
    let mut params = request.params().map_or_else(|| Some(Object::default()), Object::read)?;
    let meta = request.meta().map(<[u8]>::to_vec).unwrap_or_default();
    let mut meta = Object::read(&meta).unwrap_or_default();
    introduce(&mut meta, client);
    params.set("_meta", meta.write().to_vec());
    let given = [("inputResponses", &answers.responses), ("requestState", &answers.state)];
    for (name, value) in given {
        match value {
            Some(value) => params.set(name, value.to_vec()),
            None => params.remove(name),
        }
    }
    Some(request_text(id, &request.method_name()?, Some(&params.write())))
}

/// A request of the hub itself.
pub(in crate::hub) fn own_request(id: &[u8], method: Method, params: &serde_json::Value) -> Bytes {
    request_of(id, method, params, &Introduction::own())
}

/// A request that the hub makes for a client.
pub(in crate::hub) fn request_of(
    id: &[u8],
    method: Method,
    params: &serde_json::Value,
    client: &Introduction,
) -> Bytes {
    let text = params.to_string();
    let mut params = Object::read(text.as_bytes()).unwrap_or_default();
    let mut meta = Object::default();
    introduce(&mut meta, client);
    params.set("_meta", meta.write().to_vec());
    request_text(id, method.label(), Some(&params.write()))
}

fn introduce(meta: &mut Object<'_>, client: &Introduction) {
    OF_REQUESTS.iter().for_each(|name| meta.remove(name));
    meta.set(meta_key::PROTOCOL_VERSION, quoted(Revision::V2026_07_28.as_str()));
    meta.set(meta_key::CLIENT_CAPABILITIES, client.capabilities.to_vec());
    if let Some(info) = &client.info {
        meta.set(meta_key::CLIENT_INFO, info.to_vec());
    }
    if let Some(level) = &client.level {
        meta.set(meta_key::LOG_LEVEL, quoted(level));
    }
}

/// The answer of a backend that knows sessions, for a client of 2026-07-28 that asked under this id.
pub(in crate::hub) fn answer_for_modern(answer: &Message, asked: &Message, server: &[u8]) -> Option<Bytes> {
    let id = asked.id()?;
    if answer.kind() == Kind::Error {
        let mut error = Object::read(answer.error()?)?;
        if answer.error_code() == Some(ErrorCode::ResourceNotFound.number()) {
            error.set("code", ErrorCode::InvalidParams.number().to_string().into_bytes());
        }
        return Some(answer_text(id, "error", &error.write()));
    }
    let mut result = Object::read(answer.result()?)?;
    result.set("resultType", &br#""complete""#[..]);
    if asked.method() == Method::ResourcesRead {
        result.set("ttlMs", &b"0"[..]);
        result.set("cacheScope", &br#""private""#[..]);
    }
    let result = with_server(result, server);
    Some(answer_text(id, "result", &result))
}

/// A result that names the hub as the server it comes from.
pub(in crate::hub) fn with_server(mut result: Object<'_>, server: &[u8]) -> Bytes {
    let meta = result.get("_meta").map(<[u8]>::to_vec).unwrap_or_default();
    let mut meta = Object::read(&meta).unwrap_or_default();
    meta.set(meta_key::SERVER_INFO, server);
    result.set("_meta", meta.write().to_vec());
    result.write()
}

/// The answer of a backend of 2026-07-28, for a client that has shaken hands and asked under this id.
pub(in crate::hub) fn answer_for_legacy(answer: &Message, asked: &Message) -> Option<Bytes> {
    let id = asked.id()?;
    if answer.kind() == Kind::Error {
        return Some(answer_text(id, "error", answer.error()?));
    }
    let mut result = Object::read(answer.result()?)?;
    OF_RESULTS.iter().for_each(|name| result.remove(name));
    let meta = result.get("_meta").map(<[u8]>::to_vec).unwrap_or_default();
    if let Some(mut meta) = Object::read(&meta) {
        meta.remove(meta_key::SERVER_INFO);
        match meta.is_empty() {
            true => result.remove("_meta"),
            false => result.set("_meta", meta.write().to_vec()),
        }
    }
    Some(answer_text(id, "result", &result.write()))
}

/// The text of an answer.
pub(in crate::hub) fn answer_text(id: &[u8], what: &str, value: &[u8]) -> Bytes {
    let mut message = Object::default();
    message.set("jsonrpc", &b"\"2.0\""[..]);
    message.set("id", id);
    message.set(what, value);
    message.write()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn message(value: &Value) -> Message {
        Message::parse(value.to_string().into()).unwrap()
    }

    fn read(text: &Bytes) -> Value {
        serde_json::from_slice(text).unwrap()
    }

    fn modern() -> Message {
        message(&json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {
            "name": "t", "arguments": {"a": 1}, "inputResponses": {}, "requestState": "s",
            "_meta": {"progressToken": "p", "traceparent": "00",
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {"roots": {}, "extensions": {"e": {}}}},
        }}))
    }

    #[test]
    fn a_request_is_of_the_era_it_goes_to() {
        let legacy = for_legacy(&modern(), 7).unwrap();
        let expect = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "t", "arguments": {"a": 1}, "_meta": {"progressToken": 7, "traceparent": "00"}}});
        assert_eq!(read(&legacy), expect);
        let initialize = message(&read(&Introduction::handshake(&modern())));
        assert_eq!(initialize.capabilities(), Some(&br#"{"roots":{}}"#[..]));
        let again = Introduction::of_handshake(&initialize, Some("debug"));
        let answers = Answers { responses: Some("{\"k\":{}}".into()), state: Some("\"s\"".into()) };
        let back = for_modern(&message(&expect), b"9", &again, &answers).unwrap();
        let meta = &read(&back)["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"roots": {}}));
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "c");
        assert_eq!(meta["io.modelcontextprotocol/logLevel"], "debug");
        assert_eq!(meta["progressToken"], 7);
        assert_eq!(read(&back)["params"]["requestState"], "s");
        let bare = for_modern(&message(&expect), b"9", &again, &Answers::default()).unwrap();
        assert!(read(&bare)["params"].get("requestState").is_none(), "absent stays absent");
    }

    #[test]
    fn an_answer_is_of_the_era_it_goes_to() {
        let answer =
            message(&json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [], "_meta": {"a": 1}}}));
        let modern = read(&answer_for_modern(&answer, &modern(), b"{\"name\":\"hub\"}").unwrap());
        assert_eq!(modern["id"], "x");
        assert_eq!(modern["result"]["resultType"], "complete");
        assert_eq!(
            modern["result"]["_meta"],
            json!({"a": 1, "io.modelcontextprotocol/serverInfo": {"name": "hub"}})
        );
        let asked =
            message(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "t"}}));
        let legacy = read(&answer_for_legacy(&message(&modern), &asked).unwrap());
        assert_eq!(legacy, read(answer.text()));
    }

    #[test]
    fn a_missing_resource_has_the_code_of_its_era() {
        let answer = message(
            &json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -32002, "message": "no", "data": 1.0}}),
        );
        let modern = read(&answer_for_modern(&answer, &modern(), b"{}").unwrap());
        assert_eq!(modern["error"], json!({"code": -32602, "message": "no", "data": 1.0}));
    }
}
