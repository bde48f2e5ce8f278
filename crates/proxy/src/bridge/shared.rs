//! One server for all legacy sessions: initialised once, by skep itself and without client capabilities, so that it has
//! nothing to ask any client.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use mcp::{Message, Revision, headers};
use model::PrincipalDigest;
use serde_json::json;

use super::answer::{Accepts, at_once};
use super::child::{Child, First, Submitted, Takes};
use super::keeper::Kept;
use super::mux::Sharing;
use super::streamable::{format_for, version_of};
use super::{Bridge, Served, Starting};
use crate::body::Body;
use crate::failure::Failure;
use crate::recovery::remembered::Agreed;

/// A shared server that is ready to serve.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) child: Arc<Child>,
    /// Its answer to our `initialize`.
    answer: Message,
    version: Revision,
}

impl Kept for Ready {
    fn is_gone(&self) -> bool {
        self.child.over().is_some()
    }
}

impl Ready {
    /// The revision a client gets that asks for this one. Revisions of the legacy era only add to each other, so a
    /// server that speaks a later one can serve clients of an earlier one.
    fn version_for(&self, asked: Option<Revision>) -> Revision {
        asked.filter(|asked| *asked <= self.version).unwrap_or(self.version)
    }

    /// The server's answer, as one to this client's `initialize`.
    pub(super) fn answer(&self, initialize: &Message) -> Bytes {
        let version = json!(self.version_for(version_of(initialize)).as_str()).to_string();
        self.answer.splice(&[
            (self.answer.id_span(), initialize.id().unwrap_or(b"null")),
            (self.answer.protocol_version_span(), version.as_bytes()),
        ])
    }
}

impl Bridge {
    pub(super) async fn join_shared(
        &self,
        initialize: &Message,
        accepts: Accepts,
        principal: PrincipalDigest,
    ) -> Result<Response<Body>, Failure> {
        let ready = self.shared_ready().await?;
        let child = Arc::clone(&ready.child);
        let client = child.add_client(format_for(Some(ready.version_for(version_of(initialize)))));
        let agreed = Agreed::read(&ready.answer).map(Arc::new);
        let served = Served::streamable(Arc::clone(&child), client, initialize, agreed);
        let begun = self
            .begin(served, principal)
            .await
            .inspect_err(|_| child.remove_client(client, "the session did not begin"))?;
        let mut response = at_once(accepts, ready.answer(initialize));
        response.headers_mut().insert(headers::SESSION_ID, begun.token);
        Ok(response)
    }

    /// The shared server, started if need be.
    pub(super) async fn shared_ready(&self) -> Result<Arc<Ready>, Failure> {
        self.shared.get(|| self.start_shared()).await
    }

    async fn start_shared(&self) -> Result<Ready, Failure> {
        let channel = self.common.take().await?;
        let child = self.start(Some(channel), Sharing::Shared);
        let mut starting = Starting { child: Arc::clone(&child), begun: false };
        let (text, code) = self.ask(&child, initialize()).await?;
        let refused = |reason: String| Failure::NotStarted { backend: self.config.name.clone(), reason };
        if code.is_some() {
            return Err(refused(format!("it refused initialize: {}", String::from_utf8_lossy(&text))));
        }
        let answer = Message::parse(text).map_err(|error| refused(error.to_string()))?;
        let version = version_of(&answer).ok_or_else(|| refused("it names no known revision".into()))?;
        child.say(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
        starting.begun = true;
        Ok(Ready { child, answer, version })
    }

    /// Asks a server for the bridge itself.
    pub(super) async fn ask(&self, child: &Child, request: Bytes) -> Result<(Bytes, Option<i64>), Failure> {
        let message = Message::parse(request).expect("our own requests are well-formed");
        let patience = self.config.patience.handshake.unwrap_or(OWN_PATIENCE);
        let asking = async {
            match child.submit(None, Takes::Post { events: false }, &message).await? {
                Submitted::UnderWay(under_way) => match under_way.first.await {
                    Ok(First::Answer { text, code }) => Ok((text, code)),
                    _ => Err(child.over().unwrap_or(Failure::UnknownSession)),
                },
                _ => Err(Failure::UnknownSession),
            }
        };
        tokio::time::timeout(patience, asking).await.unwrap_or_else(|_| Err(self.backend.timed_out(patience)))
    }
}

/// How long our own requests wait where no bound was configured.
const OWN_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The handshake of skep as a client.
pub(super) fn initialize() -> Bytes {
    let params = json!({
        "protocolVersion": Revision::LATEST_LEGACY.as_str(),
        "capabilities": {},
        "clientInfo": {"name": "skep", "version": env!("CARGO_PKG_VERSION")},
    });
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string().into()
}
