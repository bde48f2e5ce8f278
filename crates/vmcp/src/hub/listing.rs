//! What one backend offers, read page by page as it says it, and no more of it than there is room for.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use mcp::json::Reader;
use mcp::{Message, Revision, json};
use model::PrincipalDigest;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::Member;
use super::ask::{NoAnswer, Reply, Speaker};
use crate::aggregate::{Bounds, Kind, Listing};

/// Pages of one kind.
const MAX_PAGES: usize = 1_000;

/// How a kind is asked for.
fn method(kind: Kind) -> &'static str {
    match kind {
        Kind::Tools => "tools/list",
        Kind::Prompts => "prompts/list",
        Kind::Resources => "resources/list",
        Kind::Templates => "resources/templates/list",
    }
}

/// What a server says it can.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Capabilities {
    pub(super) tools: Option<Box<RawValue>>,
    pub(super) prompts: Option<Box<RawValue>>,
    pub(super) resources: Option<Resources>,
    pub(super) logging: Option<Box<RawValue>>,
}

impl Capabilities {
    fn offers(&self, kind: Kind) -> bool {
        match kind {
            Kind::Tools => self.tools.is_some(),
            Kind::Prompts => self.prompts.is_some(),
            Kind::Resources | Kind::Templates => self.resources.is_some(),
        }
    }
}

/// The part about resources.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Resources {
    #[serde(default)]
    pub(super) subscribe: bool,
}

/// What a server answers to `initialize`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Greeting {
    pub(super) protocol_version: String,
    #[serde(default)]
    pub(super) capabilities: Capabilities,
    #[serde(default)]
    pub(super) instructions: Option<String>,
}

impl Greeting {
    pub(super) fn read(answer: &Message) -> Result<Self, NoAnswer> {
        let greeting: Self = serde_json::from_slice(answer.result().unwrap_or_default())
            .map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        if Revision::from_wire(&greeting.protocol_version).is_none() {
            return Err(NoAnswer::Unreadable(format!("protocol version {:?}", greeting.protocol_version)));
        }
        Ok(greeting)
    }
}

/// A session of the hub itself with a backend: to see what it offers.
#[derive(Debug)]
pub(super) struct OwnSession {
    pub(super) session: Option<HeaderValue>,
    pub(super) version: HeaderValue,
    pub(super) greeting: Greeting,
}

impl OwnSession {
    pub(super) async fn begin(member: &Member, path: &str, within: Duration) -> Result<Self, NoAnswer> {
        let speaker =
            Speaker { member, path, principal: PrincipalDigest::ANONYMOUS, session: None, version: None };
        let Reply { session, message } = speaker.ask(initialize(), within).await?;
        let greeting = Greeting::read(&message)?;
        let version = HeaderValue::from_str(&greeting.protocol_version)
            .map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        let own = Self { session, version, greeting };
        let initialized = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        own.speaker(member, path).tell(initialized, within).await?;
        Ok(own)
    }

    pub(super) fn speaker<'a>(&'a self, member: &'a Member, path: &'a str) -> Speaker<'a> {
        let principal = PrincipalDigest::ANONYMOUS;
        Speaker { member, path, principal, session: self.session.as_ref(), version: Some(&self.version) }
    }

    /// Lists everything, within this time in all.
    pub(super) async fn list(
        &self,
        member: &Member,
        path: &str,
        within: Duration,
    ) -> Result<Listing, NoAnswer> {
        let speaker = self.speaker(member, path);
        let deadline = Instant::now() + within;
        let mut listing = Listing::new(self.greeting.instructions.clone());
        for kind in Kind::ALL {
            if self.greeting.capabilities.offers(kind) {
                let listed = timeout_at(deadline, list(speaker, kind, deadline, &mut listing)).await;
                listed.unwrap_or(Err(NoAnswer::TimedOut(within)))?;
            }
        }
        Ok(listing)
    }
}

/// Lists all of one kind.
async fn list(
    speaker: Speaker<'_>,
    kind: Kind,
    deadline: Instant,
    listing: &mut Listing,
) -> Result<(), NoAnswer> {
    let (mut cursors, mut cursor) = (HashSet::new(), None::<String>);
    let mut pages = 0;
    let ends = loop {
        pages += 1;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = match speaker.ask(request(kind, cursor.as_deref()), left).await {
            Ok(reply) => reply.message,
            // Whoever has resources need not have templates; some who say they have something do not.
            Err(NoAnswer::Error { code: -32601, .. }) => return Ok(()),
            Err(problem) => return Err(problem),
        };
        match page(kind, answer.result().unwrap_or_default(), listing)? {
            None => return Ok(()),
            Some(_) if listing.is_full(kind, Bounds::DEFAULT) => {
                break "lists more than is taken";
            }
            Some(next) if !cursors.insert(next.clone()) => {
                break "comes back to a page it has given before";
            }
            Some(_) if pages == MAX_PAGES => break "has more pages than are asked for",
            Some(next) => cursor = Some(next),
        }
    };
    let (backend, method) = (&*speaker.member.name, method(kind));
    tracing::warn!(backend.id = backend, rpc.method = method, problem = ends, "not all is taken");
    Ok(())
}

/// Reads a page, and gives the cursor of the next one.
fn page(kind: Kind, result: &[u8], listing: &mut Listing) -> Result<Option<String>, NoAnswer> {
    let unreadable = |problem: json::JsonError| NoAnswer::Unreadable(problem.to_string());
    let mut next = None;
    let mut reader = Reader::new(result).map_err(unreadable)?;
    reader
        .object::<json::JsonError>(|reader, name| {
            if name == kind.member().as_bytes() && reader.peek() == Some(b'[') {
                reader.array::<json::JsonError>(|reader| {
                    let item = reader.value()?.of(result).unwrap_or_default();
                    listing.add(kind, Bytes::copy_from_slice(item), Bounds::DEFAULT);
                    Ok(())
                })?;
            } else {
                let value = reader.value()?;
                if name == b"nextCursor" {
                    next = value.of(result).and_then(json::decode_str).map(std::borrow::Cow::into_owned);
                }
            }
            Ok(())
        })
        .map_err(unreadable)?;
    Ok(next)
}

fn request(kind: Kind, cursor: Option<&str>) -> Bytes {
    let params = cursor.map_or(serde_json::json!({}), |cursor| serde_json::json!({"cursor": cursor}));
    serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method(kind), "params": params})
        .to_string()
        .into()
}

fn initialize() -> Bytes {
    let params = serde_json::json!({
        "protocolVersion": Revision::LATEST_LEGACY.as_str(),
        "capabilities": {},
        "clientInfo": {"name": "skep", "version": env!("CARGO_PKG_VERSION")},
    });
    serde_json::json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        .to_string()
        .into()
}
