//! What one backend offers, read page by page as it says it, and no more of it than there is room for.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use mcp::json::{Reader, Span};
use mcp::{Era, Message, Method, Revision, json};
use model::PrincipalDigest;
use proxy::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::ask::{NoAnswer, Reply, Speaker};
use super::era::{Discovered, Found, doubts_legacy};
use super::modern::envelope::own_request;
use super::modern::freshness::Freshness;
use super::{Hub, Member};
use crate::aggregate::{Bounds, Kind, Listing};

/// Pages of one kind.
const MAX_PAGES: usize = 1_000;

/// How a kind is asked for.
fn method(kind: Kind) -> Method {
    match kind {
        Kind::Tools => Method::ToolsList,
        Kind::Prompts => Method::PromptsList,
        Kind::Resources => Method::ResourcesList,
        Kind::Templates => Method::ResourceTemplatesList,
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
    /// Of a server that does not say.
    pub(super) fn all() -> Self {
        let some = || RawValue::from_string("{}".to_owned()).ok();
        Self { tools: some(), prompts: some(), resources: Some(Resources::default()), logging: some() }
    }

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

/// How the hub itself stands with a backend: in a session, or, with 2026-07-28, without one; to see what it offers.
#[derive(Debug)]
pub(super) struct OwnSession {
    session: Option<HeaderValue>,
    version: HeaderValue,
    capabilities: Capabilities,
    instructions: Option<String>,
}

impl OwnSession {
    pub(super) async fn begin(hub: &Hub, member: &Member) -> Result<Self, NoAnswer> {
        // What knows no session says so when it is asked for one.
        if member.eras.serves(Era::Modern) != Some(false)
            && let Found::Modern(found) = hub.look(member, hub.watching().probe_within).await
        {
            let Discovered { capabilities, instructions, .. } = *found;
            return Ok(Self {
                session: None,
                version: Speaker::modern_version(),
                capabilities,
                instructions,
            });
        }
        let begun = Self::shake_hands(member, &hub.config.path, hub.config.begin_within).await;
        match &begun {
            Ok(_) => member.eras.learn(Era::Legacy, true),
            Err(problem) if doubts_legacy(problem) => member.eras.doubt(),
            Err(_) => {}
        }
        begun
    }

    async fn shake_hands(member: &Member, path: &str, within: Duration) -> Result<Self, NoAnswer> {
        let speaker =
            Speaker { member, path, principal: PrincipalDigest::ANONYMOUS, session: None, version: None };
        let Reply { session, message } = speaker.ask(initialize(), within).await?;
        let Greeting { protocol_version, capabilities, instructions } = Greeting::read(&message)?;
        let version = HeaderValue::from_str(&protocol_version)
            .map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        let own = Self { session, version, capabilities, instructions };
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
        let mut listed = Listed {
            listing: Listing::new(self.instructions.clone()),
            freshness: speaker.is_modern().then(|| Freshness::of_now(Instant::now())),
        };
        for kind in Kind::ALL {
            if self.capabilities.offers(kind) {
                let all = timeout_at(deadline, list(speaker, kind, deadline, &mut listed)).await;
                all.unwrap_or(Err(NoAnswer::TimedOut(within)))?;
            }
        }
        *member.freshness.lock() = listed.freshness;
        Ok(listed.listing)
    }

    /// Opens what the backend says when its lists change; `None` where it does not.
    pub(super) async fn listen(&self, member: &Member, path: &str) -> Option<Body> {
        let speaker = self.speaker(member, path);
        if !speaker.is_modern() {
            return speaker.listen(None).await;
        }
        let wanted = serde_json::json!({"notifications": {
            "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        }});
        speaker.subscribe(own_request(b"3", Method::SubscriptionsListen, &wanted)).await
    }

    /// Asks for a sign of life.
    pub(super) async fn probe(&self, member: &Member, path: &str, within: Duration) -> Result<(), NoAnswer> {
        let speaker = self.speaker(member, path);
        let asked = match speaker.is_modern() {
            true => own_request(b"2", Method::ServerDiscover, &serde_json::json!({})),
            false => Bytes::from_static(br#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#),
        };
        speaker.ask(asked, within).await.map(drop)
    }

    pub(super) async fn end(&self, member: &Member, path: &str, within: Duration) {
        if self.session.is_some() {
            self.speaker(member, path).end(within).await;
        }
    }
}

/// What was listed so far, and how long that is good for.
struct Listed {
    listing: Listing,
    /// `None`: it does not say.
    freshness: Option<Freshness>,
}

/// Lists all of one kind.
async fn list(
    speaker: Speaker<'_>,
    kind: Kind,
    deadline: Instant,
    listed: &mut Listed,
) -> Result<(), NoAnswer> {
    let (mut cursors, mut cursor) = (HashSet::new(), None::<String>);
    let mut pages = 0;
    let ends = loop {
        pages += 1;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = match speaker.ask(request(speaker, kind, cursor.as_deref()), left).await {
            Ok(reply) => reply.message,
            // Whoever has resources need not have templates; some who say they have something do not.
            Err(NoAnswer::Error { code: -32601, .. }) => return Ok(()),
            Err(problem) => return Err(problem),
        };
        match page(kind, answer.result().unwrap_or_default(), listed)? {
            None => return Ok(()),
            Some(_) if listed.listing.is_full(kind, Bounds::DEFAULT) => {
                break "lists more than is taken";
            }
            Some(next) if !cursors.insert(next.clone()) => {
                break "comes back to a page it has given before";
            }
            Some(_) if pages == MAX_PAGES => break "has more pages than are asked for",
            Some(next) => cursor = Some(next),
        }
    };
    let (backend, method) = (&*speaker.member.name, method(kind).label());
    tracing::warn!(backend.id = backend, rpc.method = method, problem = ends, "not all is taken");
    Ok(())
}

/// Reads a page, and gives the cursor of the next one.
fn page(kind: Kind, result: &[u8], listed: &mut Listed) -> Result<Option<String>, NoAnswer> {
    let unreadable = |problem: json::JsonError| NoAnswer::Unreadable(problem.to_string());
    let (mut next, mut ttl, mut scope) = (Span::default(), Span::default(), Span::default());
    let mut reader = Reader::new(result).map_err(unreadable)?;
    reader
        .object::<json::JsonError>(|reader, name| {
            if name == kind.member().as_bytes() && reader.peek() == Some(b'[') {
                reader.array::<json::JsonError>(|reader| {
                    let item = reader.value()?.of(result).unwrap_or_default();
                    listed.listing.add(kind, Bytes::copy_from_slice(item), Bounds::DEFAULT);
                    Ok(())
                })?;
                return Ok(());
            }
            let value = reader.value()?;
            match name {
                b"nextCursor" => next = value,
                b"ttlMs" => ttl = value,
                b"cacheScope" => scope = value,
                _ => {}
            }
            Ok(())
        })
        .map_err(unreadable)?;
    if let Some(freshness) = &mut listed.freshness {
        freshness.take(ttl.of(result), scope.of(result));
    }
    Ok(next.of(result).and_then(json::decode_str).map(std::borrow::Cow::into_owned))
}

fn request(speaker: Speaker<'_>, kind: Kind, cursor: Option<&str>) -> Bytes {
    let params = cursor.map_or(serde_json::json!({}), |cursor| serde_json::json!({"cursor": cursor}));
    if speaker.is_modern() {
        return own_request(b"1", method(kind), &params);
    }
    serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method(kind).label(), "params": params})
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
