//! The JSON-RPC envelope of one MCP message, read in one pass over the bytes that will be forwarded.
//!
//! A [`Message`] keeps the text and remembers where the members stand that an intermediary decides by: id, method,
//! name or uri, progress token, `_meta`. Nothing else is looked into, and nothing is rebuilt: to change an id or a
//! token, [`Message::splice`] replaces just that span.
//!
//! Refused, because two readers could understand them differently: batches, members named twice (at any depth), ids
//! that are neither string nor integer, a message that is request and response at once.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::{ErrorCode, ErrorReply};
use crate::json::{self, JsonError, Reader, Span};
use crate::method::{Method, Target};

/// What a message is, by JSON-RPC 2.0 §4–5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Notification,
    /// A response with `result`.
    Result,
    /// A response with `error`; its id may be null or absent.
    Error,
}

/// Why a text is not one acceptable JSON-RPC message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("batches are not accepted: send each message on its own")]
    Batch,
    #[error("a JSON-RPC message is an object")]
    NotAnObject,
    #[error("member \"jsonrpc\" must be \"2.0\"")]
    Version,
    #[error("member \"id\" must be a string or an integer")]
    Id,
    #[error("member \"method\" must be a string")]
    Method,
    #[error("member \"params\" must be an object")]
    Params,
    #[error("member {0:?} has the wrong type")]
    Member(&'static str),
    #[error("a message has one of \"method\", \"result\", \"error\"")]
    Shape,
}

impl Malformed {
    /// -32700 for what is not JSON at all, -32600 for JSON that is not an acceptable message.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Json(JsonError::NotUtf8 | JsonError::Syntax { .. }) => ErrorCode::Parse,
            _ => ErrorCode::InvalidRequest,
        }
    }

    /// The reply for the sender. There is no id: what could not be read as a message has none to trust.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        ErrorReply::new(self.code(), format!("invalid message: {self}"))
    }
}

/// Where the members stand. Absent members are empty spans.
#[derive(Clone, Copy, Debug, Default)]
struct Spans {
    id: Span,
    method: Span,
    params: Span,
    result: Span,
    error: Span,
    error_code: Span,
    name: Span,
    uri: Span,
    task_id: Span,
    arguments: Span,
    level: Span,
    cancelled_id: Span,
    reported_token: Span,
    protocol_version: Span,
    capabilities: Span,
    client_info: Span,
    result_type: Span,
    tools: Span,
    meta: Span,
    progress_token: Span,
    meta_version: Span,
    meta_capabilities: Span,
    meta_client_info: Span,
    meta_log_level: Span,
    subscription_id: Span,
}

/// One JSON-RPC message: its exact text and where its parts stand.
#[derive(Clone, Debug)]
pub struct Message {
    text: Bytes,
    kind: Kind,
    method: Method,
    spans: Spans,
}

/// The `_meta` keys the protocol reserves (2026-07-28).
pub mod meta_key {
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
    pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// [`Malformed`], which knows its JSON-RPC code.
    pub fn parse(text: Bytes) -> Result<Self, Malformed> {
        let mut spans = Spans::default();
        let mut jsonrpc = Span::default();
        let mut reader = Reader::new(&text)?;
        match reader.peek() {
            Some(b'{') => {}
            Some(b'[') => {
                // Valid JSON first: a broken text is a parse error whatever it begins with.
                reader.value()?;
                reader.finish()?;
                return Err(Malformed::Batch);
            }
            _ => {
                reader.value()?;
                reader.finish()?;
                return Err(Malformed::NotAnObject);
            }
        }
        reader.object::<Malformed>(|reader, name| {
            match name {
                b"jsonrpc" => jsonrpc = reader.value()?,
                b"id" => spans.id = reader.value()?,
                b"method" => spans.method = reader.value()?,
                b"params" if reader.peek() == Some(b'{') => spans.params = read_params(reader, &mut spans)?,
                b"params" => spans.params = reader.value()?,
                b"result" if reader.peek() == Some(b'{') => spans.result = read_result(reader, &mut spans)?,
                b"result" => spans.result = reader.value()?,
                b"error" if reader.peek() == Some(b'{') => spans.error = read_error(reader, &mut spans)?,
                b"error" => spans.error = reader.value()?,
                _ => {
                    reader.value()?;
                }
            }
            Ok(())
        })?;
        reader.finish()?;
        if jsonrpc.of(&text) != Some(b"\"2.0\"") {
            return Err(Malformed::Version);
        }
        let kind = kind_of(&text, &mut spans)?;
        let method = match spans.method.of(&text) {
            None => Method::Other,
            Some(quoted) => Method::from_wire(&json::decode(quoted).ok_or(Malformed::Method)?),
        };
        check_types(&text, &spans)?;
        Ok(Self { text, kind, method, spans })
    }

    /// The text as it was read.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The method; [`Method::Other`] on responses too.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method's name on the wire, `None` on responses.
    #[must_use]
    pub fn method_name(&self) -> Option<Cow<'_, str>> {
        self.string(self.spans.method)
    }

    /// The id as JSON text, quotes included; `None` where there is none (or it is null, on an error response).
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.spans.id.of(&self.text)
    }

    /// `params.name`, `params.uri` or `params.taskId`: what the method is about.
    #[must_use]
    pub fn target(&self) -> Option<Cow<'_, str>> {
        self.string(self.target_span()?)
    }

    /// Where the target's string literal stands, for replacing it.
    #[must_use]
    pub fn target_span(&self) -> Option<Span> {
        let span = match self.method.target() {
            Target::None => return None,
            Target::Name => self.spans.name,
            Target::Uri => self.spans.uri,
            Target::TaskId => self.spans.task_id,
        };
        span.is_present().then_some(span)
    }

    /// `params.uri`, also of methods that are not addressed by it (subscribe, updated).
    #[must_use]
    pub fn uri(&self) -> Option<Cow<'_, str>> {
        self.string(self.spans.uri)
    }

    /// `params.arguments` as JSON text.
    #[must_use]
    pub fn arguments(&self) -> Option<&[u8]> {
        self.spans.arguments.of(&self.text)
    }

    /// Where [`Message::arguments`] stand.
    #[must_use]
    pub fn arguments_span(&self) -> Span {
        self.spans.arguments
    }

    /// `params` as JSON text.
    #[must_use]
    pub fn params(&self) -> Option<&[u8]> {
        self.spans.params.of(&self.text)
    }

    /// `params._meta`, or `result._meta` on a response, as JSON text.
    #[must_use]
    pub fn meta(&self) -> Option<&[u8]> {
        self.spans.meta.of(&self.text)
    }

    /// `params.level` of `logging/setLevel` and of `notifications/message`.
    #[must_use]
    pub fn level(&self) -> Option<Cow<'_, str>> {
        self.string(self.spans.level)
    }

    /// `params._meta.progressToken` as JSON text: what the sender wants progress reported under.
    #[must_use]
    pub fn progress_token(&self) -> Option<&[u8]> {
        self.spans.progress_token.of(&self.text)
    }

    /// `params.progressToken` of `notifications/progress` as JSON text.
    #[must_use]
    pub fn reported_token(&self) -> Option<&[u8]> {
        self.spans.reported_token.of(&self.text)
    }

    /// `params.requestId` of `notifications/cancelled` as JSON text.
    #[must_use]
    pub fn cancelled_id(&self) -> Option<&[u8]> {
        self.spans.cancelled_id.of(&self.text)
    }

    /// `protocolVersion` of an `initialize` request or its result.
    #[must_use]
    pub fn protocol_version(&self) -> Option<Cow<'_, str>> {
        self.string(self.spans.protocol_version)
    }

    /// `capabilities` of an `initialize` request or its result, as JSON text.
    #[must_use]
    pub fn capabilities(&self) -> Option<&[u8]> {
        self.spans.capabilities.of(&self.text)
    }

    /// `clientInfo` of an `initialize` request, as JSON text.
    #[must_use]
    pub fn client_info(&self) -> Option<&[u8]> {
        self.spans.client_info.of(&self.text)
    }

    /// The protocol version in `_meta` (2026-07-28).
    #[must_use]
    pub fn meta_version(&self) -> Option<Cow<'_, str>> {
        self.string(self.spans.meta_version)
    }

    /// The client's capabilities in `_meta` (2026-07-28), as JSON text.
    #[must_use]
    pub fn meta_capabilities(&self) -> Option<&[u8]> {
        self.spans.meta_capabilities.of(&self.text)
    }

    /// The client's name in `_meta` (2026-07-28), as JSON text.
    #[must_use]
    pub fn meta_client_info(&self) -> Option<&[u8]> {
        self.spans.meta_client_info.of(&self.text)
    }

    /// The log level this request asks for (2026-07-28).
    #[must_use]
    pub fn meta_log_level(&self) -> Option<Cow<'_, str>> {
        self.string(self.spans.meta_log_level)
    }

    /// The tag of a `subscriptions/listen` stream, as JSON text.
    #[must_use]
    pub fn subscription_id(&self) -> Option<&[u8]> {
        self.spans.subscription_id.of(&self.text)
    }

    /// `result` as JSON text.
    #[must_use]
    pub fn result(&self) -> Option<&[u8]> {
        self.spans.result.of(&self.text)
    }

    /// `result.resultType` (2026-07-28).
    #[must_use]
    pub fn result_type(&self) -> Option<Cow<'_, str>> {
        self.string(self.spans.result_type)
    }

    /// Where `result.tools` stands, if it is there.
    #[must_use]
    pub fn tools_span(&self) -> Option<Span> {
        self.spans.tools.is_present().then_some(self.spans.tools)
    }

    /// `error` as JSON text.
    #[must_use]
    pub fn error(&self) -> Option<&[u8]> {
        self.spans.error.of(&self.text)
    }

    /// `error.code`.
    #[must_use]
    pub fn error_code(&self) -> Option<i64> {
        std::str::from_utf8(self.spans.error_code.of(&self.text)?).ok()?.parse().ok()
    }

    /// Where the id stands.
    #[must_use]
    pub fn id_span(&self) -> Span {
        self.spans.id
    }

    /// Where [`Message::progress_token`] stands.
    #[must_use]
    pub fn progress_token_span(&self) -> Span {
        self.spans.progress_token
    }

    /// Where [`Message::reported_token`] stands.
    #[must_use]
    pub fn reported_token_span(&self) -> Span {
        self.spans.reported_token
    }

    /// Where [`Message::cancelled_id`] stands.
    #[must_use]
    pub fn cancelled_id_span(&self) -> Span {
        self.spans.cancelled_id
    }

    /// Where [`Message::subscription_id`] stands.
    #[must_use]
    pub fn subscription_id_span(&self) -> Span {
        self.spans.subscription_id
    }

    /// Where [`Message::protocol_version`] stands.
    #[must_use]
    pub fn protocol_version_span(&self) -> Span {
        self.spans.protocol_version
    }

    /// The text with some spans replaced. Absent spans are passed over, so callers need not ask first.
    #[must_use]
    pub fn splice(&self, edits: &[(Span, &[u8])]) -> Bytes {
        splice(&self.text, edits)
    }

    fn string(&self, span: Span) -> Option<Cow<'_, str>> {
        json::decode_str(span.of(&self.text)?)
    }
}

/// `text` with the given spans replaced; absent spans are passed over. Spans must not overlap.
#[must_use]
pub fn splice(text: &[u8], edits: &[(Span, &[u8])]) -> Bytes {
    let mut edits: Vec<_> = edits.iter().filter(|(span, _)| span.is_present()).collect();
    edits.sort_by_key(|(span, _)| span.range().start);
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(text.len() + grown);
    let mut at = 0;
    for (span, new) in edits {
        out.extend_from_slice(&text[at..span.range().start]);
        out.extend_from_slice(new);
        at = span.range().end;
    }
    out.extend_from_slice(&text[at..]);
    Bytes::from(out)
}

fn read_params(reader: &mut Reader<'_>, spans: &mut Spans) -> Result<Span, Malformed> {
    reader.object(|reader, name| {
        match name {
            b"_meta" => spans.meta = read_meta(reader, spans)?,
            b"name" => spans.name = reader.value()?,
            b"uri" => spans.uri = reader.value()?,
            b"taskId" => spans.task_id = reader.value()?,
            b"arguments" => spans.arguments = reader.value()?,
            b"level" => spans.level = reader.value()?,
            b"requestId" => spans.cancelled_id = reader.value()?,
            b"progressToken" => spans.reported_token = reader.value()?,
            b"protocolVersion" => spans.protocol_version = reader.value()?,
            b"capabilities" => spans.capabilities = reader.value()?,
            b"clientInfo" => spans.client_info = reader.value()?,
            _ => {
                reader.value()?;
            }
        }
        Ok(())
    })
}

fn read_result(reader: &mut Reader<'_>, spans: &mut Spans) -> Result<Span, Malformed> {
    reader.object(|reader, name| {
        match name {
            b"_meta" => spans.meta = read_meta(reader, spans)?,
            b"protocolVersion" => spans.protocol_version = reader.value()?,
            b"capabilities" => spans.capabilities = reader.value()?,
            b"resultType" => spans.result_type = reader.value()?,
            b"tools" => spans.tools = reader.value()?,
            _ => {
                reader.value()?;
            }
        }
        Ok(())
    })
}

fn read_error(reader: &mut Reader<'_>, spans: &mut Spans) -> Result<Span, Malformed> {
    reader.object(|reader, name| {
        let value = reader.value()?;
        if name == b"code" {
            spans.error_code = value;
        }
        Ok(())
    })
}

fn read_meta(reader: &mut Reader<'_>, spans: &mut Spans) -> Result<Span, Malformed> {
    if reader.peek() != Some(b'{') {
        return Ok(reader.value()?);
    }
    reader.object(|reader, name| {
        let value = reader.value()?;
        match std::str::from_utf8(name) {
            Ok("progressToken") => spans.progress_token = value,
            Ok(meta_key::PROTOCOL_VERSION) => spans.meta_version = value,
            Ok(meta_key::CLIENT_CAPABILITIES) => spans.meta_capabilities = value,
            Ok(meta_key::CLIENT_INFO) => spans.meta_client_info = value,
            Ok(meta_key::LOG_LEVEL) => spans.meta_log_level = value,
            Ok(meta_key::SUBSCRIPTION_ID) => spans.subscription_id = value,
            _ => {}
        }
        Ok(())
    })
}

fn kind_of(text: &[u8], spans: &mut Spans) -> Result<Kind, Malformed> {
    let kind = match (spans.method.is_present(), spans.result.is_present(), spans.error.is_present()) {
        (true, false, false) if spans.id.is_present() => Kind::Request,
        (true, false, false) => Kind::Notification,
        (false, true, false) => Kind::Result,
        (false, false, true) => Kind::Error,
        _ => return Err(Malformed::Shape),
    };
    match spans.id.of(text) {
        None if kind == Kind::Result => return Err(Malformed::Id),
        None => {}
        Some(b"null") if kind == Kind::Error => spans.id = Span::default(),
        Some(id) if !is_id(id) => return Err(Malformed::Id),
        Some(_) => {}
    }
    Ok(kind)
}

/// A string, or a number without fraction and exponent (MCP basic protocol: "string or integer", never null).
fn is_id(text: &[u8]) -> bool {
    match text.first() {
        Some(b'"') => true,
        Some(b'-' | b'0'..=b'9') => !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')),
        _ => false,
    }
}

/// What decisions are made by must be of the type that every reader expects.
fn check_types(text: &[u8], spans: &Spans) -> Result<(), Malformed> {
    let starts = |span: Span, set: &[u8]| span.of(text).is_none_or(|value| set.contains(&value[0]));
    if !starts(spans.params, b"{") {
        return Err(Malformed::Params);
    }
    let strings = [
        ("name", spans.name),
        ("uri", spans.uri),
        ("taskId", spans.task_id),
        ("protocolVersion", spans.protocol_version),
        (meta_key::PROTOCOL_VERSION, spans.meta_version),
    ];
    for (member, span) in strings {
        if spans.method.is_present() && span.of(text).is_some_and(|value| json::decode(value).is_none()) {
            return Err(Malformed::Member(member));
        }
    }
    if spans.method.is_present() && !starts(spans.meta, b"{") {
        return Err(Malformed::Member("_meta"));
    }
    for (member, span) in [
        ("requestId", spans.cancelled_id),
        ("progressToken", spans.reported_token),
        ("progressToken", spans.progress_token),
    ] {
        // Progress tokens may be numbers of any kind; ids and tokens are never structures.
        if span.of(text).is_some_and(|value| !matches!(value[0], b'"' | b'-' | b'0'..=b'9')) {
            return Err(Malformed::Member(member));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn reads_what_decisions_are_made_by() {
        let text = r#"{"jsonrpc":"2.0","id":"a\u0031","method":"tools/call","params":{"name":"e\u0063ho",
            "arguments":{"name":"not this"},"_meta":{"progressToken":7,"x":1}}}"#;
        let message = parse(text).unwrap();
        assert_eq!(message.kind(), Kind::Request);
        assert_eq!(message.method(), Method::ToolsCall);
        assert_eq!(message.id(), Some(&br#""a\u0031""#[..]), "the id keeps its spelling");
        assert_eq!(message.target().as_deref(), Some("echo"));
        assert_eq!(message.arguments(), Some(&br#"{"name":"not this"}"#[..]));
        assert_eq!(message.progress_token(), Some(&b"7"[..]));
        assert_eq!(&message.text()[..], text.as_bytes());
    }

    #[test]
    fn tells_the_four_kinds_apart() {
        let kind = |text: &str| parse(text).map(|message| message.kind());
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), Ok(Kind::Request));
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"ping"}"#), Ok(Kind::Notification));
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(Kind::Result));
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":""}}"#),
            Ok(Kind::Error)
        );
        assert_eq!(kind(r#"{"jsonrpc":"2.0","error":{"code":1}}"#), Ok(Kind::Error));
    }

    #[test]
    fn refuses_with_the_right_code() {
        use ErrorCode::{InvalidRequest, Parse};
        for (text, code) in [
            ("", Parse),
            ("{", Parse),
            ("[1,", Parse),
            ("[]", InvalidRequest),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, InvalidRequest),
            ("1", InvalidRequest),
            ("{}", InvalidRequest),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","result":1}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","result":1}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[1]}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#, InvalidRequest),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
                InvalidRequest,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}"#, InvalidRequest),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":[]}}"#, InvalidRequest),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}"#,
                InvalidRequest,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\ud800"}}"#, InvalidRequest),
        ] {
            assert_eq!(parse(text).map(|_| ()).map_err(|e| e.code()), Err(code), "{text}");
        }
        let bad = Message::parse(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"));
        assert_eq!(bad.map(|_| ()).map_err(|e| e.code()), Err(Parse));
    }

    #[test]
    fn splices_only_what_it_is_told() {
        let message =
            parse(r#"{"id" : 12 ,"jsonrpc":"2.0","method":"x","params":{"_meta":{"progressToken":"t"}}}"#)
                .unwrap();
        let out = message.splice(&[
            (message.progress_token_span(), b"99"),
            (message.id_span(), b"\"new\""),
            (message.cancelled_id_span(), b"absent"),
        ]);
        assert_eq!(
            out,
            r#"{"id" : "new" ,"jsonrpc":"2.0","method":"x","params":{"_meta":{"progressToken":99}}}"#
        );
    }

    #[test]
    fn reads_results_and_errors() {
        let message = parse(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"_meta":{"io.modelcontextprotocol/subscriptionId":3},"resultType":"complete"}}"#).unwrap();
        assert_eq!(message.tools_span().map(|s| &message.text()[s.range()]), Some(&b"[]"[..]));
        assert_eq!(message.subscription_id(), Some(&b"3"[..]));
        assert_eq!(message.result_type().as_deref(), Some("complete"));
        let message = parse(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#).unwrap();
        assert_eq!(message.error_code(), Some(-32601));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Message::parse(Bytes::from(bytes)));
        }

        #[test]
        fn agrees_with_serde_json_about_id_method_and_name(id in any::<i64>(), method in "\\PC{0,12}", name in "\\PC{0,12}") {
            let value = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"name": name}});
            let message = parse(&value.to_string()).unwrap();
            prop_assert_eq!(message.method_name().unwrap(), method);
            let id = id.to_string();
            prop_assert_eq!(message.id().unwrap(), id.as_bytes());
            prop_assert_eq!(message.string(message.spans.name).unwrap(), name);
        }
    }
}
