//! What is kept of a session so that another instance can be brought to the same point: the client's handshake, what was
//! agreed on, and what the client has asked for since.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mcp::message::Kind;
use mcp::{Message, Method, Revision};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Subscriptions that are remembered per session; further ones pass and are not restored.
const MAX_SUBSCRIPTIONS: usize = 256;

/// What client and server agreed on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Agreed {
    version: String,
    server: String,
    capabilities: Map<String, Value>,
}

/// All that is to be said again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Remembered {
    /// The client's `initialize`, byte for byte.
    #[serde(with = "text")]
    pub initialize: Bytes,
    /// `None` where the answer could not be read: then only the handshake is compared with itself.
    pub agreed: Option<Arc<Agreed>>,
    level: Option<String>,
    subscriptions: BTreeSet<String>,
}

/// A message, which is UTF-8, written as the text it is.
mod text {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&String::from_utf8_lossy(text))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        Ok(Bytes::from(String::deserialize(from)?))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult {
    protocol_version: String,
    #[serde(default)]
    capabilities: Map<String, Value>,
    #[serde(default)]
    server_info: ServerInfo,
}

#[derive(Default, Deserialize)]
struct ServerInfo {
    #[serde(default)]
    name: String,
}

impl Agreed {
    /// Reads a server's answer to `initialize`. `None` for anything else, an error included.
    pub fn read(answer: &Message) -> Option<Self> {
        let result: InitializeResult = serde_json::from_slice(answer.result()?).ok()?;
        let InitializeResult { protocol_version: version, capabilities, server_info } = result;
        Some(Self { version, server: server_info.name, capabilities })
    }

    /// Whether a client that was told `self` can go on with a server that says `now` (`mcp-protocol.md` §22, rows 3
    /// and 4): the same server, the same version, and nothing gone that it may use.
    ///
    /// # Errors
    /// What is different, in words.
    pub fn goes_on_as(&self, now: &Self) -> Result<(), String> {
        if self.version != now.version {
            return Err(format!("protocol version {} became {}", self.version, now.version));
        }
        if self.server != now.server {
            return Err(format!("server {:?} became {:?}", self.server, now.server));
        }
        for (name, was) in &self.capabilities {
            let Some(is) = now.capabilities.get(name) else {
                return Err(format!("capability {name} is gone"));
            };
            let Some(was) = was.as_object() else { continue };
            let gone = was
                .iter()
                .find(|(key, on)| **on == Value::Bool(true) && is.get(key) != Some(&Value::Bool(true)));
            if let Some((key, _)) = gone {
                return Err(format!("capability {name}.{key} is gone"));
            }
        }
        Ok(())
    }

    /// What the server called itself.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The change notices that the client was told to expect: the new instance may list other things.
    pub fn change_notices(&self) -> impl Iterator<Item = &'static str> {
        let told =
            |capability: &str| self.capabilities.get(capability).is_some_and(|c| c["listChanged"] == true);
        [
            ("tools", r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
            ("resources", r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#),
            ("prompts", r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#),
        ]
        .into_iter()
        .filter(move |(capability, _)| told(capability))
        .map(|(_, text)| text)
    }
}

impl Remembered {
    /// From a handshake.
    pub fn new(initialize: Bytes, agreed: Option<Arc<Agreed>>) -> Self {
        Self { initialize, agreed, ..Self::default() }
    }

    /// The revision and the server's name, as they were agreed on.
    pub fn agreed_on(&self) -> Option<(String, String)> {
        let agreed = self.agreed.as_ref()?;
        Some((agreed.version.clone(), agreed.server.clone()))
    }

    pub fn level(&self) -> Option<&str> {
        self.level.as_deref()
    }

    pub fn subscriptions(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.iter().map(String::as_str)
    }

    /// The revision that was agreed on.
    pub fn version(&self) -> Option<Revision> {
        Revision::from_wire(&self.agreed.as_ref()?.version)
    }

    /// Whether a message changes what is to be said again.
    pub fn concerns(method: Method) -> bool {
        matches!(method, Method::LoggingSetLevel | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe)
    }

    /// Takes note of a message that the backend has accepted. True where that changed something.
    pub fn note(&mut self, message: &Message) -> bool {
        if message.kind() != Kind::Request {
            return false;
        }
        match message.method() {
            Method::LoggingSetLevel => {
                let level = message.level().map(std::borrow::Cow::into_owned);
                std::mem::replace(&mut self.level, level.clone()) != level
            }
            Method::ResourcesSubscribe if self.subscriptions.len() < MAX_SUBSCRIPTIONS => {
                message.uri().is_some_and(|uri| self.subscriptions.insert(uri.into_owned()))
            }
            Method::ResourcesUnsubscribe => message.uri().is_some_and(|uri| self.subscriptions.remove(&*uri)),
            _ => false,
        }
    }

    /// What is asked of a new instance behind the handshake, in order. Ids are skep's own.
    pub fn requests(&self) -> impl Iterator<Item = Bytes> {
        let level = self.level.iter().map(|level| ("logging/setLevel", json!({"level": level})));
        let subscriptions = self.subscriptions.iter().map(|uri| ("resources/subscribe", json!({"uri": uri})));
        level.chain(subscriptions).enumerate().map(|(number, (method, params))| {
            let id = format!("skep-{number}");
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string().into()
        })
    }

    /// What a client that listens is told once its session is elsewhere: what it knows may have changed meanwhile.
    pub fn notices(&self) -> Vec<String> {
        let lists = self.agreed.iter().flat_map(|agreed| agreed.change_notices()).map(str::to_owned);
        let updated = self.subscriptions.iter().map(|uri| {
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
                .to_string()
        });
        lists.chain(updated).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: &Value) -> Message {
        Message::parse(value.to_string().into()).unwrap()
    }

    fn agreed(version: &str, name: &str, capabilities: &Value) -> Agreed {
        let result = json!({"protocolVersion": version, "serverInfo": {"name": name, "version": "1"}, "capabilities": capabilities});
        Agreed::read(&message(&json!({"jsonrpc": "2.0", "id": 1, "result": result}))).unwrap()
    }

    #[test]
    fn a_client_goes_on_where_nothing_is_missing() {
        let was = || agreed("2025-11-25", "a", &json!({"tools": {"listChanged": true}, "logging": {}}));
        for (now, expect) in [
            (was(), Ok(())),
            (
                agreed(
                    "2025-11-25",
                    "a",
                    &json!({"tools": {"listChanged": true}, "logging": {}, "prompts": {}}),
                ),
                Ok(()),
            ),
            (
                agreed("2025-06-18", "a", &json!({"tools": {"listChanged": true}, "logging": {}})),
                Err("version"),
            ),
            (
                agreed("2025-11-25", "b", &json!({"tools": {"listChanged": true}, "logging": {}})),
                Err("server"),
            ),
            (agreed("2025-11-25", "a", &json!({"tools": {"listChanged": true}})), Err("logging")),
            (
                agreed("2025-11-25", "a", &json!({"tools": {"listChanged": false}, "logging": {}})),
                Err("tools.listChanged"),
            ),
        ] {
            match (was().goes_on_as(&now), expect) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                other => panic!("{other:?} for {now:?}"),
            }
        }
        let refused = message(&json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}}));
        assert_eq!(Agreed::read(&refused), None);
    }

    #[test]
    fn what_was_asked_for_is_asked_for_again() {
        let mut remembered = Remembered::new(Bytes::from_static(b"{}"), None);
        let ask = |method: &str, params: Value| {
            message(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        };
        assert!(remembered.note(&ask("resources/subscribe", json!({"uri": "b"}))));
        assert!(remembered.note(&ask("resources/subscribe", json!({"uri": "a"}))));
        assert!(!remembered.note(&ask("resources/subscribe", json!({"uri": "a"}))));
        assert!(remembered.note(&ask("resources/unsubscribe", json!({"uri": "b"}))));
        assert!(remembered.note(&ask("logging/setLevel", json!({"level": "debug"}))));
        assert!(!remembered.note(&ask("tools/call", json!({"name": "a"}))));
        let requests: Vec<Value> =
            remembered.requests().map(|text| serde_json::from_slice(&text).unwrap()).collect();
        assert_eq!(requests.len(), 2);
        assert_eq!(
            (&requests[0]["method"], &requests[0]["params"]),
            (&json!("logging/setLevel"), &json!({"level": "debug"}))
        );
        assert_eq!(
            (&requests[1]["method"], &requests[1]["params"]),
            (&json!("resources/subscribe"), &json!({"uri": "a"}))
        );
        assert_ne!(requests[0]["id"], requests[1]["id"]);
        let notices = remembered.notices();
        assert!(notices.len() == 1 && notices[0].contains("resources/updated"), "{notices:?}");
    }

    #[test]
    fn subscriptions_are_bounded() {
        let mut remembered = Remembered::default();
        for number in 0..MAX_SUBSCRIPTIONS + 10 {
            let params = json!({"uri": number.to_string()});
            remembered.note(&message(
                &json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params}),
            ));
        }
        assert_eq!(remembered.requests().count(), MAX_SUBSCRIPTIONS);
    }
}
