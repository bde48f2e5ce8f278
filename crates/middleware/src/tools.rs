//! Which tools a client sees and may call, and under which names: the filter and the override.
//!
//! A list that cannot be filtered is not passed; a call of a tool that the filter leaves out is answered as that of a
//! tool that does not exist. Where no policy is configured the layer does nothing.

mod policy;
mod rewrite;
mod stream;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method as HttpMethod, Response, StatusCode, header};
use http_body_util::BodyExt;
use mcp::request::Body;
use mcp::{ErrorCode, ErrorReply, Message, Method, headers};

use crate::answer::{Answer, AnswerBody};
use crate::service::{Instead, Parsed, Service};

pub use policy::{Call, ToolOverride, ToolPolicy, ToolPolicyError};
pub use rewrite::Unfilterable;

/// A tools list may be this long.
const MAX_LIST: usize = 16 * 1024 * 1024;

/// The layer.
#[derive(Debug)]
pub struct FilterTools<S> {
    inner: S,
    policy: Option<Arc<ToolPolicy>>,
}

impl<S> FilterTools<S> {
    /// With this policy, if any.
    pub fn new(policy: Option<Arc<ToolPolicy>>, inner: S) -> Self {
        Self { inner, policy }
    }
}

impl<S: Service<Parsed>> Service<Parsed> for FilterTools<S> {
    async fn call(&self, mut parsed: Parsed) -> Answer {
        let Some(policy) = &self.policy else { return self.inner.call(parsed).await };
        let method = parsed.request.message().map(Message::method);
        if method == Some(Method::ToolsCall) {
            rename_call(policy, &mut parsed);
            return self.inner.call(parsed).await;
        }
        // A list may come as the answer to its request or, resumed, on any GET stream.
        let may_list = method == Some(Method::ToolsList) || parsed.request.head.method == HttpMethod::GET;
        if !may_list {
            return self.inner.call(parsed).await;
        }
        // What is compressed could not be read.
        parsed.request.head.headers.remove(header::ACCEPT_ENCODING);
        let id = parsed.request.id().map(Bytes::copy_from_slice);
        let answer = self.inner.call(parsed).await;
        filter_answer(policy, answer, id.as_deref()).await
    }
}

/// Puts the name by which the backend knows the tool into body and header, or has the call refused.
fn rename_call(policy: &ToolPolicy, parsed: &mut Parsed) {
    let Body::Message { message, .. } = &mut parsed.request.body else { return };
    let not_found = |text: &str| {
        let reply = ErrorReply::new(ErrorCode::InvalidParams, text);
        Some(Box::new(Instead { class: "tool_not_found", reply }))
    };
    let (Some(name), Some(span)) = (message.target(), message.target_span()) else {
        parsed.instead = not_found("params.name is required");
        return;
    };
    let actual = match policy.call(&name) {
        Call::Unknown => {
            parsed.instead = not_found("tool not found");
            return;
        }
        Call::AsIs => return,
        Call::Renamed(actual) => actual.to_owned(),
    };
    let quoted = serde_json::Value::from(actual.as_str()).to_string();
    let text = message.splice(&[(span, quoted.as_bytes())]);
    **message = Message::parse(text).expect("another string in its place leaves the message well-formed");
    if parsed.request.head.headers.contains_key(&headers::NAME) {
        parsed.request.head.headers.insert(headers::NAME, headers::encode_value(&actual));
    }
}

async fn filter_answer(policy: &Arc<ToolPolicy>, answer: Answer, id: Option<&[u8]>) -> Answer {
    let kind =
        answer.response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let starts =
        |prefix: &[u8]| kind.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let encoded = answer.response.headers().contains_key(header::CONTENT_ENCODING);
    let empty = matches!(answer.response.body(), AnswerBody::Empty);
    if empty {
        return answer;
    }
    if starts(b"text/event-stream") && !encoded {
        let Answer { response, method, refusal } = answer;
        let (mut head, body) = response.into_parts();
        head.headers.remove(header::CONTENT_LENGTH);
        let body = AnswerBody::Stream(Box::pin(stream::FilteredEvents::new(body, Arc::clone(policy))));
        return Answer { response: Response::from_parts(head, body), method, refusal };
    }
    if starts(b"application/json") && !encoded {
        return filter_whole(policy, answer, id).await;
    }
    if answer.response.status().is_success() && id.is_some() {
        return withhold("the backend answered in a form that cannot be filtered", id);
    }
    answer
}

async fn filter_whole(policy: &ToolPolicy, answer: Answer, id: Option<&[u8]>) -> Answer {
    let Answer { response, method, refusal } = answer;
    let (mut head, body) = response.into_parts();
    let text = match collect(body).await {
        Ok(text) => text,
        Err(reason) => return withhold(&reason, id),
    };
    match rewrite::message(policy, &text) {
        Ok(text) => {
            head.headers.remove(header::CONTENT_LENGTH);
            Answer { response: Response::from_parts(head, AnswerBody::Full(text)), method, refusal }
        }
        // An error answer need not be a message of JSON-RPC; it lists nothing.
        Err(_) if !head.status.is_success() => {
            Answer { response: Response::from_parts(head, AnswerBody::Full(text)), method, refusal }
        }
        Err(unfilterable) => withhold(&unfilterable.to_string(), id),
    }
}

async fn collect(mut body: AnswerBody) -> Result<Bytes, String> {
    if let AnswerBody::Full(text) = body {
        return Ok(text);
    }
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        text.extend_from_slice(&frame.into_data().unwrap_or_default());
        if text.len() > MAX_LIST {
            return Err(format!("the list is longer than {MAX_LIST} bytes"));
        }
    }
    Ok(text.freeze())
}

fn withhold(reason: &str, id: Option<&[u8]>) -> Answer {
    tracing::warn!(reason, "a tools list was withheld");
    let reply = ErrorReply::new(ErrorCode::Internal, format!("the tools list was withheld: {reason}"));
    Answer::refuse(StatusCode::BAD_GATEWAY, "list_withheld", &reply, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Client, Incoming};
    use mcp::Era;

    /// Answers with what it was given: status 200, this content type, this body.
    struct Backend(&'static str, &'static str);

    impl Service<Parsed> for Backend {
        async fn call(&self, parsed: Parsed) -> Answer {
            if let Some(Instead { class, reply }) = parsed.instead.as_deref() {
                return Answer::refuse(StatusCode::OK, class, reply, parsed.request.id());
            }
            let text = match self.1 {
                "" => parsed.request.bytes(),
                body => Bytes::from_static(body.as_bytes()),
            };
            let mut response = Response::new(AnswerBody::Full(text));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.0));
            if let Some(name) = parsed.request.head.headers.get(&headers::NAME) {
                response.headers_mut().insert(headers::NAME, name.clone());
            }
            Answer::new(response)
        }
    }

    async fn call(backend: Backend, body: &'static str) -> (u16, Option<String>, String) {
        let policy = ToolPolicy::new(
            &["say".into(), "add".into()],
            [(
                "echo".to_owned(),
                ToolOverride { name: Some("say".into()), description: Some("Says it.".into()) },
            )],
        )
        .unwrap();
        let layer = FilterTools::new(Some(Arc::new(policy)), backend);
        let message = Box::new(Message::parse(Bytes::from_static(body.as_bytes())).unwrap());
        let (head, ()) = http::Request::post("/mcp").header("mcp-name", "say").body(()).unwrap().into_parts();
        let request =
            mcp::Request { head: Box::new(head), body: Body::Message { message, era: Era::Legacy } };
        let client = Client { address: "127.0.0.1:1".parse().unwrap(), tls: false };
        let answer = layer.call(Incoming::new(client, request)).await;
        let status = answer.response.status().as_u16();
        let name =
            answer.response.headers().get(&headers::NAME).map(|name| name.to_str().unwrap().to_owned());
        let text = collect(answer.response.into_body()).await.unwrap();
        (status, name, String::from_utf8(text.to_vec()).unwrap())
    }

    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    const TOOLS: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo","description":"x","inputSchema":{"a":1.0}},{"name":"add"},{"name":"rm"}],"nextCursor":"c"}}"#;
    const SEEN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"say","description":"Says it.","inputSchema":{"a":1.0}},{"name":"add"}],"nextCursor":"c"}}"#;

    #[tokio::test]
    async fn a_list_is_filtered_renamed_and_otherwise_untouched() {
        assert_eq!(call(Backend("application/json", TOOLS), LIST).await.2, SEEN);
        let events =
            "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[{\"name\":\"rm\"}]}}\n\n";
        let (_, _, text) = call(Backend("text/event-stream", events), LIST).await;
        assert_eq!(text, "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[]}}\n\n");
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_filtered_is_withheld() {
        for (kind, body) in [
            ("application/json", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"title":"no name"}]}}"#),
            (
                "application/json",
                r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"rm","name":"add"}]}}"#,
            ),
            ("application/json", "nonsense"),
            ("text/plain", TOOLS),
        ] {
            let (status, _, text) = call(Backend(kind, body), LIST).await;
            assert_eq!(status, 502, "{kind} {body}");
            assert!(text.contains("withheld") && !text.contains("\"rm\""), "{text}");
        }
    }

    #[tokio::test]
    async fn a_call_goes_by_the_backends_name_in_body_and_header() {
        let asked = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"say","arguments":{"name":"say"}}}"#;
        let (_, name, text) = call(Backend("application/json", ""), asked).await;
        assert_eq!(text, asked.replacen(r#""name":"say""#, r#""name":"echo""#, 1));
        assert_eq!(name.as_deref(), Some("echo"));
    }

    #[tokio::test]
    async fn a_tool_left_out_does_not_exist() {
        for name in ["rm", "echo", ""] {
            let asked =
                format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{name}"}}}}"#);
            let (status, _, text) = call(Backend("application/json", ""), asked.leak()).await;
            assert_eq!(
                (status, text.contains("-32602"), text.contains("\"id\":7")),
                (200, true, true),
                "{text}"
            );
        }
    }
}
