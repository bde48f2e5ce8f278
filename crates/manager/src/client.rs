//! An MCP client for people: `skep mcp list` and `skep mcp call`, as data. How it is shown is the caller's.
//!
//! Each use is one connection: handshake (or modern discovery), one or a few requests, goodbye, all within one
//! deadline. What a server says is kept as its exact JSON beside the few members that tables show, so nothing is lost
//! on the way to `--format json`.
//!
//! Deliberately absent: sampling, elicitation and roots. They are not declared, and declined if asked for anyway.

mod connection;
mod listing;
mod outcome;

use std::str::FromStr;
use std::time::Duration;

use http::HeaderMap;
use proxy::ConnectError;
use proxy::endpoint::EndpointError;
use proxy::resolve::ResolveError;
use proxy::upstream::TlsError;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use connection::{Connection, Params};
pub use listing::{Category, Listing, Prompt, PromptArgument, Resource, Tool};
pub use outcome::{CallOutcome, Content};

/// How to speak to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP, and HTTP+SSE where the server has no such thing.
    #[default]
    Auto,
    /// HTTP+SSE (2024-11-05).
    Sse,
    StreamableHttp,
}

/// A transport that there is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no transport: write auto, sse or streamable-http")]
pub struct UnknownTransport(pub String);

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, UnknownTransport> {
        match text {
            "auto" => Ok(Self::Auto),
            "sse" => Ok(Self::Sse),
            "streamable-http" => Ok(Self::StreamableHttp),
            other => Err(UnknownTransport(other.to_owned())),
        }
    }
}

/// Which server, and how.
#[derive(Clone)]
pub struct ClientSettings {
    pub url: String,
    /// Sent with every request; credentials for instance.
    pub headers: HeaderMap,
    pub transport: Transport,
    /// For everything, from resolving the name to the last answer.
    pub timeout: Duration,
}

impl ClientSettings {
    /// The defaults for a URL: any transport, 30 s.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: HeaderMap::new(),
            transport: Transport::Auto,
            timeout: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Header values and the URL's query are credentials.
        f.debug_struct("ClientSettings")
            .field("transport", &self.transport)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Url(#[from] EndpointError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Resolver(String),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server, or the way to it, answered with a JSON-RPC error.
    #[error("{method}: {message} (error {code})")]
    Refused { method: String, code: i64, message: String, data: Option<Box<RawValue>> },
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the connection ended before the answer: {0}")]
    Closed(String),
    #[error("the server's answer to {method} is not what the protocol says: {reason}")]
    Protocol { method: &'static str, reason: String },
    #[error("the arguments must be a JSON object: {0}")]
    Arguments(String),
    #[error("the tool asks for input in the middle of its work, which needs an interactive client")]
    InputRequired,
}

/// Says hello and goodbye: whether there is a server that answers.
///
/// # Errors
/// [`ClientError`].
pub async fn greet(settings: &ClientSettings) -> Result<(), ClientError> {
    within(settings, async |_| Ok(())).await
}

/// Lists what the server offers in these categories; one that it does not have is empty.
///
/// # Errors
/// [`ClientError`].
pub async fn list(settings: &ClientSettings, categories: &[Category]) -> Result<Listing, ClientError> {
    within(settings, async |connection| listing::read(connection, categories).await).await
}

/// Calls a tool. `arguments` is the text of a JSON object; without it, there are none.
///
/// # Errors
/// [`ClientError`]. That the tool itself failed is an outcome: [`CallOutcome::is_error`].
pub async fn call(
    settings: &ClientSettings,
    tool: &str,
    arguments: Option<&str>,
) -> Result<CallOutcome, ClientError> {
    let arguments = read_arguments(arguments.unwrap_or("{}"))?;
    within(settings, async |connection| {
        let params = Params { name: Some(tool), arguments: Some(&arguments), ..Params::default() };
        let result = connection.request("tools/call", params).await?;
        CallOutcome::read(result)
    })
    .await
}

fn read_arguments(text: &str) -> Result<Box<RawValue>, ClientError> {
    let value: Box<RawValue> =
        serde_json::from_str(text.trim()).map_err(|error| ClientError::Arguments(error.to_string()))?;
    if !value.get().starts_with('{') {
        return Err(ClientError::Arguments(format!(
            "{} is none",
            value.get().chars().take(40).collect::<String>()
        )));
    }
    Ok(value)
}

/// Connects, works and says goodbye, all but the last within the settings' time.
async fn within<T>(
    settings: &ClientSettings,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + settings.timeout;
    let late = |_| ClientError::TimedOut(settings.timeout);
    let mut connection = timeout_at(deadline, Connection::open(settings)).await.map_err(late)??;
    let done = timeout_at(deadline, work(&mut connection)).await.map_err(late);
    connection.close().await;
    done?
}

#[cfg(test)]
mod tests;
