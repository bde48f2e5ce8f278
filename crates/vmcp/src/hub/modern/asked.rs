//! A request of a client, with what belongs to its connection: what a backend is asked in its stead.

use std::net::{Ipv4Addr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, header};
use mcp::request::Body as RequestBody;
use mcp::{Era, Message};
use model::PrincipalDigest;
use proxy::Call;
use proxy::streamable::Accepts;

use super::super::Hub;
use super::super::ask::mirror;
use super::super::head::{head_of, repeated};

/// The request.
#[derive(Clone, Debug)]
pub(in crate::hub) struct Asked {
    /// As a backend gets it.
    pub(in crate::hub) head: Box<Parts>,
    /// Headers that repeat arguments.
    pub(in crate::hub) repeated: HeaderMap,
    pub(in crate::hub) message: Message,
    pub(in crate::hub) accepts: Accepts,
    pub(in crate::hub) principal: PrincipalDigest,
    pub(in crate::hub) client: SocketAddr,
    pub(in crate::hub) tls: bool,
}

impl Asked {
    pub(in crate::hub) fn new(hub: &Hub, call: &Call, message: Message, accepts: Accepts) -> Self {
        let client = &call.request.head;
        let head = Box::new(head_of(client, &hub.shape.load().passed_headers));
        let repeated = repeated(&client.headers);
        Self {
            head,
            repeated,
            message,
            accepts,
            principal: call.principal,
            client: call.client,
            tls: call.tls,
        }
    }

    /// What the hub takes itself.
    pub(super) fn takes_all() -> Accepts {
        let mut head = HeaderMap::new();
        let accept = HeaderValue::from_static("text/event-stream, application/json");
        head.insert(header::ACCEPT, accept);
        Accepts::read(&head)
    }

    /// What the hub itself asks for a client; questions are heard.
    pub(super) fn of_hub(hub: &Hub, message: Message, principal: PrincipalDigest) -> Self {
        let mut head = Request::post(&*hub.config.path).body(()).unwrap_or_default().into_parts().0;
        let accept = "application/json, text/event-stream";
        for (name, value) in [(header::ACCEPT, accept), (header::CONTENT_TYPE, "application/json")] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        let accepts = Accepts::read(&head.headers);
        let client = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (head, repeated) = (Box::new(head), HeaderMap::new());
        Self { head, repeated, message, accepts, principal, client, tls: false }
    }

    /// What a backend is asked in this client's stead.
    pub(super) fn call(&self, theirs: Message, era: Era) -> Call {
        let mut head = self.head.clone();
        if era == Era::Modern {
            head.headers.extend(self.repeated.clone());
            mirror(&mut head.headers, &theirs);
        }
        let body = RequestBody::Message { message: Box::new(theirs), era };
        let request = mcp::Request { head, body };
        Call { request, principal: self.principal, client: self.client, tls: self.tls }
    }
}
