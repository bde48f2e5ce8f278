//! What stands behind an endpoint.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use model::WorkloadName;
use proxy::bridge::Mode;
use vmcp::hub::Shape;
use workload::CommandSpec;
use workload::egress::EgressPolicy;

use crate::vmcp::{Followed, Group};

/// The server that is served.
#[derive(Clone, Debug)]
pub enum Target {
    /// A command that speaks MCP over its stdin and stdout.
    Stdio {
        command: CommandSpec,
        /// What it may reach, where its sandbox has a network of its own.
        egress: Option<EgressPolicy>,
        mode: Mode,
        /// Between SIGTERM and SIGKILL.
        grace: Duration,
    },
    /// A command that serves HTTP itself, kept running.
    Server {
        command: CommandSpec,
        /// As for [`Self::Stdio`].
        egress: Option<EgressPolicy>,
        http: HttpTarget,
        grace: Duration,
    },
    /// One or more instances that somebody else runs.
    Remote(HttpTarget),
    /// Several servers as one.
    Virtual(Box<Virtual>),
}

/// Several servers behind one endpoint.
#[derive(Clone, Debug)]
pub struct Virtual {
    /// Those that are known from the start.
    pub members: Vec<Member>,
    /// Whose workloads are members, too, for as long as they run.
    pub group: Option<Group>,
    /// What clients are shown of what they have.
    pub shape: Shape,
    /// How often it is looked at whether what the log says of them still holds.
    pub report_every: Duration,
    /// Where this was read, to be read again when that changes.
    pub file: Option<Followed>,
}

/// A server among several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: WorkloadName,
    pub http: HttpTarget,
    /// For a call to be answered; `None`: as long as it takes.
    pub call_within: Option<Duration>,
}

/// A server reached over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// Each is an instance, or a name all of whose addresses are.
    pub urls: Vec<String>,
    pub transport: HttpTransport,
    /// Sent with every request to it.
    pub headers: HeaderMap,
    /// A PEM bundle to verify it with, instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Only POST, no sessions.
    pub stateless: bool,
}

/// How a server is spoken to over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpTransport {
    #[default]
    StreamableHttp,
    /// HTTP+SSE of 2024-11-05.
    Sse,
}

impl HttpTransport {
    /// As `--transport` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamableHttp => "streamable-http",
            Self::Sse => "sse",
        }
    }
}
