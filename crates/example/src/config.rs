//! How the example server is configured: plain values, read by nobody but [`crate::server::Server`] and the transports.

use std::sync::Arc;
use std::time::Duration;

use mcp::Era;

use crate::journal::Journal;

/// Settings of one server. The default serves on the caller's runtime, for clients of this machine.
#[derive(Clone, Debug)]
pub struct ExampleConfig {
    /// The name that `whoami` gives; random where there is none. Tells instances of one server apart.
    pub instance: Option<String>,
    /// What it calls itself in the handshake. A client takes servers of different names for different servers.
    pub server_name: String,
    /// Threads that serve HTTP, each with its own runtime. 0 or 1: the caller's runtime serves.
    pub workers: usize,
    /// A session that nobody uses for this long is forgotten.
    pub session_idle: Duration,
    /// Sessions at once; beyond, `initialize` is refused (503).
    pub max_sessions: usize,
    /// Bytes of one message from a client; beyond, it is refused (413).
    pub max_message: usize,
    /// Names accepted in `Host` and `Origin` besides those of the loopback, without port.
    pub allowed_hosts: Vec<String>,
    /// Seals `requestState` (2026-07-28). Give all instances of one server the same, and any of them can go on where
    /// another asked; random where there is none.
    pub state_key: Option<[u8; 32]>,
    /// Lists so many tools more, `more_1` and so on, that take anything: to see how many tools are borne.
    pub more_tools: usize,
    /// Serves this era alone, over HTTP; without it, both.
    pub only: Option<Era>,
    /// What the tool `record` writes to; without it, it does not.
    pub journal: Option<Arc<Journal>>,
}

impl ExampleConfig {
    pub(crate) fn serves(&self, era: Era) -> bool {
        self.only.is_none_or(|only| only == era)
    }
}

impl Default for ExampleConfig {
    fn default() -> Self {
        Self {
            instance: None,
            server_name: "skep-example".to_owned(),
            workers: 1,
            session_idle: Duration::from_secs(30 * 60),
            max_sessions: 100_000,
            max_message: 4 << 20,
            allowed_hosts: Vec::new(),
            state_key: None,
            more_tools: 0,
            only: None,
            journal: None,
        }
    }
}
