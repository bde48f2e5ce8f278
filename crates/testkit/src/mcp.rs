//! A client of Streamable HTTP (legacy era) on one connection, for tests and load: its session, and requests as text.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::wire::{Connection, Response};

/// What the handshake asks for.
pub const VERSION: &str = "2025-11-25";

/// `host:port` and path of a URL.
///
/// # Errors
/// It is no plain HTTP URL.
pub fn split_url(url: &str) -> anyhow::Result<(String, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not http"))?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((address.to_owned(), format!("/{path}")))
}

/// The bytes of a POST. `headers` are whole lines, each with its end.
#[must_use]
pub fn post(address: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A session without a connection.
#[derive(Clone, Debug)]
pub struct Seat {
    id: String,
    server: Value,
    headers: String,
    last_id: u64,
}

impl Seat {
    /// Goes on with the session on a connection to this address.
    #[must_use]
    pub fn take(&self, connection: Connection, address: String, path: String) -> Session {
        let Self { id, server, headers, last_id } = self.clone();
        Session { connection, address, path, id, server, headers, last_id }
    }
}

/// A session on a connection.
#[derive(Debug)]
pub struct Session {
    pub connection: Connection,
    pub address: String,
    pub path: String,
    /// `Mcp-Session-Id`, empty where the server gives none.
    pub id: String,
    /// The result of `initialize`.
    pub server: Value,
    headers: String,
    last_id: u64,
}

impl Session {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// The server does not take part.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        Self::open_as(url, json!({})).await
    }

    /// As [`Self::open`], as a client that can do this.
    ///
    /// # Errors
    /// The server does not take part.
    pub async fn open_as(url: &str, capabilities: Value) -> anyhow::Result<Self> {
        let (address, path) = split_url(url)?;
        let connection = Connection::open(&address).await?;
        Self::begin(connection, address, path, capabilities).await
    }

    /// Shakes hands on a connection that is open: a new session beside those that it carries already.
    ///
    /// # Errors
    /// The server does not take part.
    pub async fn on(connection: Connection, address: String, path: String) -> anyhow::Result<Self> {
        Self::begin(connection, address, path, json!({})).await
    }

    async fn begin(
        mut connection: Connection,
        address: String,
        path: String,
        capabilities: Value,
    ) -> anyhow::Result<Self> {
        let params = json!({
            "protocolVersion": VERSION, "capabilities": capabilities, "clientInfo": {"name": "testkit", "version": "0"}
        });
        let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = connection.ask(&post(&address, &path, "", &initialize.to_string())).await?;
        ensure!(response.status == 200, "initialize: {} {}", response.status, response.text());
        let id = response.header("mcp-session-id").unwrap_or_default().to_owned();
        let server = response.json()?["result"].clone();
        let session = if id.is_empty() { String::new() } else { format!("Mcp-Session-Id: {id}\r\n") };
        let headers = format!("{session}MCP-Protocol-Version: {VERSION}\r\n");
        let mut session = Self { connection, address, path, id, server, headers, last_id: 0 };
        let told = session.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await?;
        ensure!(told.status == 202, "notifications/initialized: {} {}", told.status, told.text());
        Ok(session)
    }

    /// The same session on another connection.
    #[must_use]
    pub fn beside(&self, connection: Connection) -> Self {
        self.seat().take(connection, self.address.clone(), self.path.clone())
    }

    /// What it takes to go on with the session elsewhere.
    #[must_use]
    pub fn seat(&self) -> Seat {
        Seat {
            id: self.id.clone(),
            server: self.server.clone(),
            headers: self.headers.clone(),
            last_id: self.last_id,
        }
    }

    /// The bytes of a POST of this session.
    #[must_use]
    pub fn request(&self, body: &str) -> Vec<u8> {
        post(&self.address, &self.path, &self.headers, body)
    }

    /// The bytes of a request of this session without a body.
    #[must_use]
    pub fn bare(&self, method: &str, more: &str) -> Vec<u8> {
        format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{}{more}\r\n",
            self.path, self.address, self.headers
        )
        .into_bytes()
    }

    /// Posts a text and reads the whole answer.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, body: &str) -> anyhow::Result<Response> {
        let request = self.request(body);
        self.connection.ask(&request).await
    }

    /// Asks, and gives the answer, result or error.
    ///
    /// # Errors
    /// There is none, or it belongs to another request.
    pub async fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let body = json!({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params});
        let answer = self.send(&body.to_string()).await?.json()?;
        ensure!(answer["id"] == self.last_id, "an answer to something else: {answer}");
        Ok(answer)
    }

    /// Calls a tool and gives the text it answers with.
    ///
    /// # Errors
    /// As [`Self::ask`]; the tool failed.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> anyhow::Result<String> {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await?;
        let text = answer["result"]["content"][0]["text"].as_str();
        ensure!(answer["result"]["isError"] != true, "{tool} failed: {answer}");
        Ok(text.with_context(|| format!("{tool}: {answer}"))?.to_owned())
    }
}
