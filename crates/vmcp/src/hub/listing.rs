//! What one backend offers, read page by page as it says it, and no more of it than there is room for.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use mcp::json::{Reader, Span};
use mcp::{Message, Revision, json};
use model::PrincipalDigest;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::Member;
use super::ask::{NoAnswer, Reply, Speaker};

/// Things of one kind that a backend may list.
const MAX_ITEMS: usize = 10_000;
/// Pages of one kind.
const MAX_PAGES: usize = 1_000;
/// Bytes of all that a backend lists.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of one thing.
const MAX_ITEM: usize = 256 * 1024;
/// Bytes of a backend's instructions.
const MAX_INSTRUCTIONS: usize = 16 * 1024;

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl ListKind {
    pub(super) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of a result that holds them.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member that tells them apart.
    fn key(self) -> &'static [u8] {
        match self {
            Self::Tools | Self::Prompts => b"name",
            Self::Resources => b"uri",
            Self::Templates => b"uriTemplate",
        }
    }

    fn is_offered(self, capabilities: &Capabilities) -> bool {
        match self {
            Self::Tools => capabilities.tools.is_some(),
            Self::Prompts => capabilities.prompts.is_some(),
            Self::Resources | Self::Templates => capabilities.resources.is_some(),
        }
    }
}

/// One thing that is listed, as its backend wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Its name or URI.
    pub(super) key: String,
    pub(super) json: Bytes,
    /// Where the key stands.
    pub(super) key_span: Span,
}

/// What a server says it can.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Capabilities {
    pub(super) tools: Option<Box<RawValue>>,
    pub(super) prompts: Option<Box<RawValue>>,
    pub(super) resources: Option<Resources>,
    pub(super) logging: Option<Box<RawValue>>,
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
        let mut greeting: Self = serde_json::from_slice(answer.result().unwrap_or_default())
            .map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        if Revision::from_wire(&greeting.protocol_version).is_none() {
            return Err(NoAnswer::Unreadable(format!("protocol version {:?}", greeting.protocol_version)));
        }
        greeting.instructions = greeting.instructions.filter(|text| text.len() <= MAX_INSTRUCTIONS);
        Ok(greeting)
    }
}

/// All that a backend offers.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) instructions: Option<String>,
    lists: [Vec<Item>; 4],
}

impl Listing {
    pub(super) fn of(&self, kind: ListKind) -> &[Item] {
        &self.lists[kind as usize]
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
        let mut reading = Reading { backend: &member.name, bytes: 0 };
        let mut lists: [Vec<Item>; 4] = Default::default();
        for kind in ListKind::ALL {
            if kind.is_offered(&self.greeting.capabilities) {
                let listed = timeout_at(deadline, reading.all(speaker, kind, deadline)).await;
                lists[kind as usize] = listed.unwrap_or(Err(NoAnswer::TimedOut(within)))?;
            }
        }
        Ok(Listing { instructions: self.greeting.instructions.clone(), lists })
    }
}

struct Reading<'a> {
    backend: &'a str,
    bytes: usize,
}

impl Reading<'_> {
    async fn all(
        &mut self,
        speaker: Speaker<'_>,
        kind: ListKind,
        deadline: Instant,
    ) -> Result<Vec<Item>, NoAnswer> {
        let (mut items, mut keys, mut cursors) = (Vec::new(), HashSet::new(), HashSet::new());
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = match speaker.ask(request(kind, cursor.as_deref()), left).await {
                Ok(reply) => reply.message,
                // Whoever has resources need not have templates; some who say they have something do not.
                Err(NoAnswer::Error { code: -32601, .. }) => return Ok(items),
                Err(problem) => return Err(problem),
            };
            let page = answer.result().unwrap_or_default();
            let next = self.page(kind, page, &mut items, &mut keys)?;
            if items.len() >= MAX_ITEMS || self.bytes > MAX_BYTES {
                items.truncate(MAX_ITEMS);
                self.warn(kind, "lists more than is taken");
                return Ok(items);
            }
            match next {
                None => return Ok(items),
                Some(next) if !cursors.insert(next.clone()) => {
                    self.warn(kind, "comes back to a page it has given before");
                    return Ok(items);
                }
                Some(next) => cursor = Some(next),
            }
        }
        self.warn(kind, "has more pages than are asked for");
        Ok(items)
    }

    /// Reads a page, and gives the cursor of the next one.
    fn page(
        &mut self,
        kind: ListKind,
        result: &[u8],
        items: &mut Vec<Item>,
        keys: &mut HashSet<String>,
    ) -> Result<Option<String>, NoAnswer> {
        let unreadable = |problem: json::JsonError| NoAnswer::Unreadable(problem.to_string());
        let mut next = None;
        let mut reader = Reader::new(result).map_err(unreadable)?;
        reader
            .object::<json::JsonError>(|reader, name| {
                if name == kind.member().as_bytes() && reader.peek() == Some(b'[') {
                    reader.array::<json::JsonError>(|reader| {
                        let read = read_item(reader, result, kind)?;
                        self.take(kind, read, items, keys);
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

    fn take(
        &mut self,
        kind: ListKind,
        read: Option<Item>,
        items: &mut Vec<Item>,
        keys: &mut HashSet<String>,
    ) {
        let Some(item) = read else {
            return self.warn(kind, "lists something that has no name or is too long");
        };
        if !keys.insert(item.key.clone()) {
            return self.warn(kind, "lists a name twice");
        }
        self.bytes += item.json.len();
        items.push(item);
    }

    fn warn(&self, kind: ListKind, what: &'static str) {
        tracing::warn!(
            backend.id = self.backend,
            rpc.method = kind.method(),
            problem = what,
            "not all is taken"
        );
    }
}

/// `None` for what is no object, has no key, or is too long.
fn read_item(reader: &mut Reader<'_>, text: &[u8], kind: ListKind) -> Result<Option<Item>, json::JsonError> {
    if reader.peek() != Some(b'{') {
        reader.value()?;
        return Ok(None);
    }
    let mut key_span = Span::default();
    let span = reader.object::<json::JsonError>(|reader, name| {
        let value = reader.value()?;
        if name == kind.key() {
            key_span = value;
        }
        Ok(())
    })?;
    let key = key_span.of(text).and_then(json::decode_str).filter(|key| !key.is_empty());
    let range = span.range();
    let Some(key) = key.filter(|_| range.len() <= MAX_ITEM) else { return Ok(None) };
    let in_item = Span::new(key_span.range().start - range.start, key_span.range().end - range.start);
    let json = Bytes::copy_from_slice(&text[range]);
    Ok(Some(Item { key: key.into_owned(), json, key_span: in_item }))
}

fn request(kind: ListKind, cursor: Option<&str>) -> Bytes {
    let params = cursor.map_or(serde_json::json!({}), |cursor| serde_json::json!({"cursor": cursor}));
    serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": kind.method(), "params": params})
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
