//! Requests of 2026-07-28: no session, each stands alone, one server for all of them. A client that goes away has
//! cancelled.
//!
//! A server's era is its own (and in some SDKs sticks to the process), so it is found out with `server/discover` on a
//! fresh one, which is kept if the answer is yes.

mod catalog;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method as HttpMethod, Response, StatusCode};
use mcp::message::{Kind, meta_key};
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, Revision, revision};
use serde_json::{Value, json};

use super::Bridge;
use super::answer::{self, Accepts, Asked, at_once, not_acceptable};
use super::child::{Child, Submitted, Takes};
use super::keeper::Kept;
use super::mux::Sharing;
use super::shared::initialize;
use super::streamable::version_of;
use super::{Starting, answer::wait};
use crate::body::Body;
use crate::call::Call;
use crate::failure::{Failure, refused};
use catalog::Catalog;

/// What is known of the server.
#[derive(Debug)]
pub(super) enum Probed {
    Modern {
        child: Arc<Child>,
        catalog: Catalog,
    },
    /// It only has these.
    Legacy(Vec<Revision>),
}

impl Probed {
    pub(super) fn child(&self) -> Option<Arc<Child>> {
        match self {
            Self::Modern { child, .. } => Some(Arc::clone(child)),
            Self::Legacy(_) => None,
        }
    }
}

impl Kept for Probed {
    fn is_gone(&self) -> bool {
        matches!(self, Self::Modern { child, .. } if child.over().is_some())
    }
}

impl Bridge {
    pub(super) async fn modern(&self, call: Call) -> Result<Response<Body>, Failure> {
        let head = &call.request.head;
        let Some(message) = call.request.message() else {
            return Err(Failure::MethodNotAllowed { method: head.method.clone(), allow: "POST" });
        };
        debug_assert_eq!(head.method, HttpMethod::POST);
        match message.kind() {
            Kind::Request => self.modern_request(message, &head.headers).await,
            Kind::Notification => self.modern_notification(message).await,
            Kind::Result | Kind::Error => {
                Err(Failure::BadRequest { what: "a response answers no request here".into() })
            }
        }
    }

    async fn modern_request(
        &self,
        message: &Message,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Failure> {
        let accepts = Accepts::read(headers);
        if !accepts.json && !accepts.events {
            return Ok(not_acceptable("application/json or text/event-stream", message.id()));
        }
        if !message.method().is_in(Revision::V2026_07_28) {
            // Some servers would answer: they serve both eras and do not ask which one a request is of.
            let reply = ErrorReply::new(
                ErrorCode::MethodNotFound,
                format!("{} is not part of this protocol version", message.method().label()),
            );
            return Ok(refused(StatusCode::NOT_FOUND, "method_not_found", &reply, message.id()));
        }
        match self.asked_modern(message, headers, accepts).await {
            // Whatever the server was asked for, another one may be too: no session is lost with it.
            Err(Failure::Ended { .. }) if self.config.resend.allows(message) => {
                self.recoveries.count_resent(1);
                self.asked_modern(message, headers, accepts).await
            }
            answered => answered,
        }
    }

    async fn asked_modern(
        &self,
        message: &Message,
        headers: &HeaderMap,
        accepts: Accepts,
    ) -> Result<Response<Body>, Failure> {
        let probed = self.probed().await?;
        let (child, catalog) = match &*probed {
            Probed::Modern { child, catalog } => (child, catalog),
            Probed::Legacy(revisions) => {
                let requested = message.meta_version().unwrap_or_default();
                let reply = revision::unsupported(&requested, revisions);
                return Ok(refused(StatusCode::BAD_REQUEST, "unsupported_version", &reply, message.id()));
            }
        };
        if message.method() == Method::ToolsCall
            && let Err(problem) = catalog.check(self, child, message, headers).await
        {
            let reply = ErrorReply::new(ErrorCode::HeaderMismatch, problem.to_string());
            return Ok(refused(StatusCode::BAD_REQUEST, "header_mismatch", &reply, message.id()));
        }
        let takes = Takes::Post { events: accepts.events };
        match self.submit_in_time(child, None, takes, message).await? {
            Submitted::UnderWay(under_way) => {
                let patience = self.config.patience.for_pace(message.method().pace());
                let asked = Asked { under_way, accepts, era: Era::Modern, patience, hold: None };
                wait(child, &self.backend, asked).await
            }
            Submitted::Answered(text) => Ok(at_once(accepts, text)),
            Submitted::Accepted => Ok(answer::empty(StatusCode::ACCEPTED)),
            Submitted::Refused(why) => Err(Failure::BadRequest { what: why.into() }),
        }
    }

    /// The core has none over HTTP; an extension may. Cancelling is done by closing the stream.
    async fn modern_notification(&self, message: &Message) -> Result<Response<Body>, Failure> {
        if message.method() != Method::Cancelled
            && let Some(child) = self.probed().await?.child()
        {
            self.submit_in_time(&child, None, Takes::Post { events: false }, message).await?;
        }
        Ok(answer::empty(StatusCode::ACCEPTED))
    }

    async fn probed(&self) -> Result<Arc<Probed>, Failure> {
        self.modern.get(|| self.probe()).await
    }

    async fn probe(&self) -> Result<Probed, Failure> {
        let channel = self.common.take().await?;
        let child = self.start(Some(channel), Sharing::Modern);
        let mut starting = Starting { child: Arc::clone(&child), begun: false };
        match self.ask(&child, own_request("server/discover", json!({}))).await {
            // Modern, whether it serves the revision that was asked for or not (§ 2: then others are in its error).
            Ok((_, code)) if code.is_none_or(|code| code == ErrorCode::UnsupportedVersion.number()) => {
                starting.begun = true;
                return Ok(Probed::Modern { child, catalog: Catalog::default() });
            }
            // Refused, or silence: legacy, whatever the code.
            Ok(_) | Err(Failure::TimedOut { .. }) => {}
            Err(failure) => return Err(failure),
        }
        // Which revision it has is known to itself alone. It is not used after this.
        let (text, _) = self.ask(&child, initialize()).await?;
        let agreed = Message::parse(text).ok().and_then(|result| version_of(&result));
        Ok(Probed::Legacy(agreed.into_iter().collect()))
    }
}

/// A modern request of skep itself.
fn own_request(method: &str, mut params: Value) -> Bytes {
    params["_meta"] = json!({
        meta_key::PROTOCOL_VERSION: Revision::V2026_07_28.as_str(),
        meta_key::CLIENT_INFO: {"name": "skep", "version": env!("CARGO_PKG_VERSION")},
        meta_key::CLIENT_CAPABILITIES: {},
    });
    json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}).to_string().into()
}
