//! Which backend a request is for, by the view that clients see.

use std::sync::Arc;

use bytes::Bytes;
use mcp::json::Span;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use serde_json::json;

use super::own::OwnTool;
use super::reference::Reference;
use super::{Hub, Member};
use crate::aggregate::{Route, View};

/// Who a request is for, and what of its text is different there.
pub(super) struct Passing {
    pub(super) member: Arc<Member>,
    pub(super) edit: Option<(Span, Bytes)>,
}

/// Who answers a request.
pub(super) enum Answers {
    Backend(Passing),
    Hub(OwnTool),
}

impl Hub {
    /// Who answers a request: the hub has its tools before any backend.
    pub(super) fn answers(&self, message: &Message) -> Result<Answers, ErrorReply> {
        match self.own_tool(message) {
            Some(tool) => Ok(Answers::Hub(tool)),
            None => self.whose(message).map(Answers::Backend),
        }
    }

    /// Which backend a request is for.
    fn whose(&self, message: &Message) -> Result<Passing, ErrorReply> {
        let view = self.view.load();
        match message.method() {
            Method::ToolsCall => {
                let name = message.target().ok_or_else(|| required("name"))?;
                self.passing("tool", &name, view.tool(&name), message.target_span())
            }
            Method::PromptsGet => {
                let name = message.target().ok_or_else(|| required("name"))?;
                self.passing("prompt", &name, view.prompt(&name), message.target_span())
            }
            Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                let uri = message.uri().ok_or_else(|| required("uri"))?;
                self.who_has(&view, &uri)
            }
            Method::CompletionComplete => match Reference::read(message) {
                None => Err(invalid("invalid completion/complete params: missing ref".to_owned())),
                Some(Reference::Resource { uri }) => self.who_has(&view, &uri),
                Some(Reference::Prompt { name, span }) => {
                    self.passing("prompt", &name, view.prompt(&name), Some(span))
                }
            },
            _ => {
                let method = message.method_name().unwrap_or_default();
                Err(ErrorReply::new(ErrorCode::MethodNotFound, format!("method {method} is not offered")))
            }
        }
    }

    fn passing(
        &self,
        what: &str,
        name: &str,
        route: Option<&Route>,
        span: Option<Span>,
    ) -> Result<Passing, ErrorReply> {
        let found = route.and_then(|route| Some((self.member(&route.backend)?, route.own_json())));
        let (member, own) = found.ok_or_else(|| invalid(format!("Unknown {what}: {name}")))?;
        Ok(Passing { member, edit: span.map(|span| (span, own)) })
    }

    fn who_has(&self, view: &View, uri: &str) -> Result<Passing, ErrorReply> {
        let member = view.resource(uri).and_then(|backend| self.member(backend));
        let member = member.ok_or_else(|| {
            ErrorReply::new(ErrorCode::ResourceNotFound, "Resource not found").with_data(json!({"uri": uri}))
        })?;
        Ok(Passing { member, edit: None })
    }
}

fn invalid(text: String) -> ErrorReply {
    ErrorReply::new(ErrorCode::InvalidParams, text)
}

fn required(what: &str) -> ErrorReply {
    invalid(format!("params.{what} is required"))
}
