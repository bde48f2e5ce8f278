//! The notifications this server sends, as JSON text.

use bytes::Bytes;
use serde_json::{Value, json};

/// Severity of a log message, mildest first (RFC 5424, as MCP "Logging" names them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    const NAMES: [&str; 8] =
        ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
    const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    pub(crate) fn from_wire(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|place| Self::ALL[place])
    }

    /// The inverse of `as u8`; the mildest for what is none.
    pub(crate) fn from_rank(rank: u8) -> Self {
        Self::ALL.get(usize::from(rank)).copied().unwrap_or(Self::Debug)
    }

    fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// A notification with these params.
pub(crate) fn notification(method: &str, params: &Value) -> Bytes {
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string().into()
}

/// `notifications/progress`. `token` is JSON text.
pub(crate) fn progress(token: &[u8], progress: u64, total: u64, message: &str) -> Bytes {
    let mut text = Vec::with_capacity(160);
    text.extend_from_slice(
        br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#,
    );
    text.extend_from_slice(token);
    text.extend_from_slice(format!(r#","progress":{progress},"total":{total},"message":"#).as_bytes());
    text.extend_from_slice(crate::reply::quoted(message).as_bytes());
    text.extend_from_slice(b"}}");
    text.into()
}

/// Asks a bridge to end the connection of a request's stream (`docs/design/bridge.md`); everyone else passes over it.
pub(crate) fn release_stream(id: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(96);
    text.extend_from_slice(
        br#"{"jsonrpc":"2.0","method":"notifications/skep/release_stream","params":{"requestId":"#,
    );
    text.extend_from_slice(id);
    text.extend_from_slice(b"}}");
    text.into()
}

/// `notifications/message`.
pub(crate) fn log(level: Level, text: &str) -> Bytes {
    notification(
        "notifications/message",
        &json!({"level": level.as_str(), "logger": "example", "data": text}),
    )
}

/// Something that clients may have asked to be told of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Tools,
    Prompts,
    Resources,
    Resource {
        uri: String,
    },
    /// 2026-07-28, tasks extension; `detail` is what `tasks/get` would say.
    Task {
        id: String,
        detail: Value,
    },
}

impl Change {
    /// The notification, tagged with a listen request's id (JSON text) where it goes to one.
    pub(crate) fn notice(&self, subscription: Option<&Value>) -> Bytes {
        let (method, mut params) = match self {
            Self::Tools => ("notifications/tools/list_changed", json!({})),
            Self::Prompts => ("notifications/prompts/list_changed", json!({})),
            Self::Resources => ("notifications/resources/list_changed", json!({})),
            Self::Resource { uri } => ("notifications/resources/updated", json!({"uri": uri})),
            Self::Task { detail, .. } => ("notifications/tasks", detail.clone()),
        };
        if let Some(id) = subscription {
            params["_meta"] = json!({mcp::message::meta_key::SUBSCRIPTION_ID: id});
        }
        notification(method, &params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_keep_their_names() {
        for (rank, name) in Level::NAMES.iter().enumerate() {
            let level = Level::from_wire(name).unwrap();
            assert_eq!((level as usize, level.as_str()), (rank, *name));
            assert_eq!(Level::from_rank(rank as u8), level);
        }
        assert_eq!(Level::from_wire("loud"), None);
        assert!(Level::Debug < Level::Emergency);
    }

    #[test]
    fn a_change_is_tagged_where_it_goes_to_a_listen() {
        let change = Change::Resource { uri: "a:b".to_owned() };
        let plain = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#;
        assert_eq!(change.notice(None), plain);
        let tagged: Value = serde_json::from_slice(&change.notice(Some(&json!(7)))).unwrap();
        assert_eq!(tagged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
    }
}
