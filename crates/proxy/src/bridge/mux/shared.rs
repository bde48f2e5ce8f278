//! What several clients of one server hold together: subscriptions, counted per URI, and the log level, of which the
//! server gets the most verbose.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use mcp::{ErrorCode, ErrorReply, Message, Method};

use super::{ClientKey, Effect, InFlight, Mux, Ours, Sharing, empty_result};

/// Subscriptions one client may hold; beyond, further ones are passed on but not remembered.
const MAX_URIS: usize = 4096;

/// RFC 5424 severities as MCP names them, most verbose first.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

fn rank(level: &str) -> Option<usize> {
    LEVELS.iter().position(|name| *name == level)
}

/// Who wants to hear of which resource.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_uri: HashMap<Box<str>, HashSet<ClientKey>>,
    counts: HashMap<ClientKey, usize>,
}

impl Subscriptions {
    fn add(&mut self, client: ClientKey, uri: &str) {
        let count = self.counts.entry(client).or_default();
        if *count < MAX_URIS && self.by_uri.entry(uri.into()).or_default().insert(client) {
            *count += 1;
        }
    }

    /// True if nobody holds it any more.
    pub(super) fn remove(&mut self, client: ClientKey, uri: &str) -> bool {
        let Some(holders) = self.by_uri.get_mut(uri) else { return true };
        if holders.remove(&client) {
            self.counts.entry(client).and_modify(|count| *count -= 1);
        }
        let last = holders.is_empty();
        if last {
            self.by_uri.remove(uri);
        }
        last
    }

    pub(super) fn of(&self, uri: &str) -> Vec<ClientKey> {
        self.by_uri.get(uri).into_iter().flatten().copied().collect()
    }

    /// The URIs that nobody holds once this client is gone.
    fn remove_client(&mut self, client: ClientKey) -> Vec<Box<str>> {
        self.counts.remove(&client);
        let mut orphaned = Vec::new();
        self.by_uri.retain(|uri, holders| {
            let left = holders.remove(&client) && holders.is_empty();
            if left {
                orphaned.push(uri.clone());
            }
            !left
        });
        orphaned
    }
}

/// The log level each client asked for.
#[derive(Debug, Default)]
pub(super) struct Levels {
    by_client: HashMap<ClientKey, usize>,
}

impl Levels {
    /// Whether a message of this level is for the client. One that never asked gets what the server sends.
    pub(super) fn wants(&self, client: ClientKey, level: Option<&str>) -> bool {
        match (self.by_client.get(&client), level.and_then(rank)) {
            (Some(asked), Some(level)) => level >= *asked,
            _ => true,
        }
    }

    fn most_verbose(&self) -> Option<usize> {
        self.by_client.values().min().copied()
    }
}

impl Mux {
    /// Some requests of one client must not change what another one has: they are answered here where the server's
    /// state stays as it is.
    pub(super) fn answered_for_all(
        &mut self,
        client: ClientKey,
        message: &Message,
        id: &[u8],
    ) -> Option<Bytes> {
        match message.method() {
            Method::ResourcesSubscribe => {
                self.subscriptions.add(client, &message.uri()?);
                None
            }
            Method::ResourcesUnsubscribe => {
                let last = self.subscriptions.remove(client, &message.uri()?);
                (!last).then(|| empty_result(id))
            }
            Method::TasksList | Method::TasksGet | Method::TasksResult | Method::TasksCancel => {
                // Whose task it is, only the server knows, and it knows one client.
                let reply =
                    ErrorReply::new(ErrorCode::MethodNotFound, "tasks are not served by a shared server");
                Some(reply.to_json(Some(id)))
            }
            Method::LoggingSetLevel => {
                let level = rank(&message.level()?)?;
                let before = self.levels.most_verbose();
                self.levels.by_client.insert(client, level);
                (self.levels.most_verbose() == before).then(|| empty_result(id))
            }
            _ => None,
        }
    }

    /// The level that goes to a shared server in place of the one a client asked for, where they differ.
    pub(super) fn level_for_all(&self, ours: Ours, client: ClientKey, message: &Message) -> Option<Bytes> {
        if self.sharing != Sharing::Shared || message.method() != Method::LoggingSetLevel {
            return None;
        }
        let asked = *self.levels.by_client.get(&client)?;
        let level = self.levels.most_verbose().filter(|level| *level != asked)?;
        Some(set_level(ours, level))
    }

    /// Takes back what a client that is gone held.
    pub(super) fn withdraw(&mut self, client: ClientKey, effects: &mut Vec<Effect>) {
        if self.sharing != Sharing::Shared {
            return;
        }
        for uri in self.subscriptions.remove_client(client) {
            let (ours, uri) = (self.own(Method::ResourcesUnsubscribe), serde_json::Value::from(&*uri));
            effects.push(Effect::ToServer(Bytes::from(format!(
                r#"{{"jsonrpc":"2.0","id":{ours},"method":"resources/unsubscribe","params":{{"uri":{uri}}}}}"#
            ))));
        }
        let before = self.levels.most_verbose();
        self.levels.by_client.remove(&client);
        if let Some(level) = self.levels.most_verbose().filter(|level| Some(*level) != before) {
            let ours = self.own(Method::LoggingSetLevel);
            effects.push(Effect::ToServer(set_level(ours, level)));
        }
    }

    /// A request that no client made; its answer is for nobody.
    fn own(&mut self, method: Method) -> Ours {
        let ours = self.next;
        self.next += 1;
        let request = InFlight {
            client: None,
            id: b"0"[..].into(),
            token: None,
            method,
            streams: false,
            wants_log: false,
            uri: None,
            again: None,
            resent: false,
            unsent: None,
            losses: 0,
        };
        self.in_flight.insert(ours, request);
        ours
    }
}

fn set_level(ours: Ours, level: usize) -> Bytes {
    let level = LEVELS[level];
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{ours},"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
    ))
}
