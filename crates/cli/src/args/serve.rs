//! `skep run` and `skep proxy`: what they share, and what each has of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::{OutputFormat, duration};

/// Where the endpoint is and who may reach it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Endpoint")]
pub(crate) struct ListenArgs {
    /// Listen on this address
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// A host name accepted in `Host` besides those of this machine (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,
    /// An origin whose pages may call (repeatable); replaces the default, pages of this machine
    #[arg(long, value_delimiter = ',', value_name = "ORIGIN")]
    pub(crate) allowed_origins: Vec<String>,
    /// Serve HTTPS with this PEM certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The PEM private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve /metrics on this address (port 0: a free one)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Threads that serve; default: one per core. Only in the foreground
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Largest request body, in bytes; default: 8 MiB
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_body: Option<u64>,
    /// How long a client may take to send the head of a request, and then its body; default: 30s
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) read_timeout: Option<Duration>,
    /// How long requests under way may go on when the server is stopped; default: 30s
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) drain: Option<Duration>,
    /// How the endpoint is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// Sessions.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sessions")]
pub(crate) struct SessionArgs {
    /// A session unused for this long ends; 0, the default, is 2h
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) session_ttl: Option<Duration>,
    /// A session this old ends however busy it is; default: 7days
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) session_max_age: Option<Duration>,
    /// Sessions at once; default: 100000
    #[arg(long, value_name = "N")]
    pub(crate) max_sessions: Option<u32>,
    /// Keys that seal session ids, one per line in base64, the newest first; the same file on every replica.
    /// Default: a file of skep's own
    #[arg(long, env = "SKEP_SESSION_KEY_FILE", value_name = "FILE")]
    pub(crate) session_key_file: Option<PathBuf>,
    /// What becomes of a session whose server was lost
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = LossPolicy::Rebuild)]
    pub(crate) on_session_loss: LossPolicy,
    /// A tool that may be called again where nobody knows whether the call was carried out (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "TOOL")]
    pub(crate) resend_tool: Vec<String>,
    /// Call those tools again too that the server itself calls read-only or idempotent; servers have been wrong about it
    #[arg(long)]
    pub(crate) trust_annotations: bool,
    /// Where sessions are kept: redis://… or rediss://…, which replicas share, file:PATH, or memory.
    /// Default: a file of skep's own
    #[arg(long, env = "SKEP_SESSION_STORE", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
}

/// Tools.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tools")]
pub(crate) struct ToolArgs {
    /// Show and allow these tools only (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "TOOL")]
    pub(crate) tools: Vec<String>,
    /// A JSON file that renames and describes tools: {"toolsOverride": {TOOL: {"name", "description"}}}
    #[arg(long, value_name = "FILE")]
    pub(crate) tools_override: Option<PathBuf>,
}

/// What a command sees and reaches.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Isolation")]
pub(crate) struct IsolationArgs {
    /// What keeps a command from the rest of the machine; default: process; for packages container, if Docker or Podman
    /// runs here
    #[arg(long, value_enum)]
    pub(crate) isolation: Option<IsolationLevel>,
    /// What it may read, write and reach: none, network, or a JSON file; default: network, which is the internet and no
    /// files
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) permission_profile: Option<String>,
    /// Show it a file or folder of this machine (repeatable)
    #[arg(short, long, value_name = "HOST:INSIDE[:ro]")]
    pub(crate) volume: Vec<String>,
    /// Whether it reaches only what its profile allows; false: whatever this machine reaches
    #[arg(long, action = clap::ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) isolate_network: bool,
    /// A secret as an environment variable (repeatable); `skep secret set NAME` keeps one
    #[arg(long, value_name = "NAME,target=VARIABLE")]
    pub(crate) secret: Vec<String>,
    /// Whether the global thvignore file hides paths of volumes too
    #[arg(long, action = clap::ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) ignore_globally: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationLevel {
    /// A sandbox of this machine's kernel: it sees and reaches what its profile says
    Process,
    /// A container, which an image runs in
    Container,
    /// None: it has your own rights
    None,
}

/// A server that somebody else runs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Remote server")]
pub(crate) struct RemoteArgs {
    /// A header to send with every request to the server (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) remote_forward_headers: Vec<String>,
    /// A header whose value is a secret (repeatable); `skep secret set SECRET` keeps one
    #[arg(long, value_name = "NAME=SECRET")]
    pub(crate) remote_forward_headers_secret: Vec<String>,
    /// Verify the server with the certificates of this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) remote_ca_file: Option<PathBuf>,
    /// The server keeps no sessions: serve POST only
    #[arg(long)]
    pub(crate) stateless: bool,
}

/// What becomes of a session that the server has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LossPolicy {
    /// It is rebuilt on an instance, and its client goes on
    Rebuild,
    /// Its client is told (404), and begins again: for servers that keep more than MCP shows
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunTransport {
    /// The command speaks MCP over stdin and stdout
    Stdio,
    /// It serves Streamable HTTP
    StreamableHttp,
    /// It serves HTTP+SSE of 2024-11-05
    Sse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyMode {
    StreamableHttp,
    /// Deprecated since 2025-03-26
    Sse,
}

/// Arguments of `skep run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  skep run example\n  skep run npx://@modelcontextprotocol/server-everything -- stdio\n  skep run -- ./my-server --stdio\n  skep run --name docs https://mcp.example.com/mcp\n  skep run --transport streamable-http --target-port 3001 -- node server.js\n  skep run --foreground example"
)]
pub(crate) struct RunArgs {
    /// The arguments that were given, by their fields.
    #[arg(skip)]
    pub(crate) given: Vec<String>,
    /// Flags that were given and are not there.
    #[arg(skip)]
    pub(crate) not_yet: Vec<String>,
    /// `example`, a package (npx://NAME[@VERSION], uvx://NAME[@VERSION], go://MODULE[@VERSION], go://./FOLDER), or the URL
    /// of a server that runs elsewhere
    #[arg(value_name = "NAME|URL", required_unless_present_any = ["command", "from_config"])]
    pub(crate) server: Option<String>,
    /// A command that is an MCP server, with its arguments; for `example` and packages, the server's arguments
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
    /// Which program of a package is the server; default: its only one, or the one of its name
    #[arg(long, value_name = "NAME")]
    pub(crate) program: Option<String>,
    /// Install this requirement with a uvx:// package (repeatable)
    #[arg(long, value_name = "REQUIREMENT")]
    pub(crate) build_with: Vec<String>,
    /// Of a package run in a container: the image that its image is built on
    #[arg(long, value_name = "IMAGE")]
    pub(crate) runtime_image: Option<String>,
    /// Of a package run in a container: a package of the system that building needs (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime_add_package: Vec<String>,
    /// What the server is called; default: made of the command, package or URL
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How the server is spoken to; default: stdio for a command, streamable-http for a URL
    #[arg(long, value_enum)]
    pub(crate) transport: Option<RunTransport>,
    /// Which endpoint is printed for a stdio server; both are served
    #[arg(long, value_enum, default_value = "streamable-http")]
    pub(crate) proxy_mode: ProxyMode,
    /// Listen on this port; 0: a free one
    #[arg(long, visible_alias = "port", default_value_t = 0, value_name = "PORT")]
    pub(crate) proxy_port: u16,
    /// Where a command that serves HTTP listens
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) target_host: std::net::IpAddr,
    /// The port that a command that serves HTTP listens on; it is told in MCP_PORT and FASTMCP_PORT
    #[arg(long, value_name = "PORT")]
    pub(crate) target_port: Option<u16>,
    /// The path at which a command that serves HTTP has its endpoint; default: /mcp, or /sse
    #[arg(long, value_name = "PATH")]
    pub(crate) target_path: Option<String>,
    /// Set an environment variable of the command; without a value, pass on skep's own (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// A file of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// A directory of such files; hidden ones are passed over
    #[arg(long, value_name = "DIR")]
    pub(crate) env_file_dir: Option<PathBuf>,
    /// Pass on skep's whole environment, not only the variables that hold no secrets
    #[arg(long)]
    pub(crate) inherit_env: bool,
    /// Run the command in this directory, which it can read
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// One process for all sessions: for stdio servers that keep nothing per session
    #[arg(long)]
    pub(crate) shared: bool,
    /// Processes of a stdio server kept ready for the next session; default: 1
    #[arg(long, value_name = "N")]
    pub(crate) warm: Option<u32>,
    /// Processes of a stdio server at once, the ready ones included; default: 100
    #[arg(long, value_name = "N")]
    pub(crate) max_processes: Option<u32>,
    /// A process of a stdio server is let go when its session was not used for this long, and started again when it is;
    /// 0: never; default: 30min. The session stays
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) sleep_after: Option<Duration>,
    /// Memory in MiB that the processes of a stdio server may use together before those of unused sessions are let go
    #[arg(long, value_name = "MIB")]
    pub(crate) max_memory: Option<u64>,
    /// How long a process may take to leave before it is killed; default: 10s
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) grace: Option<Duration>,
    /// Put before the paths that HTTP+SSE clients are told, for a reverse proxy in front that takes it away
    #[arg(long, default_value = "", value_name = "PATH")]
    pub(crate) endpoint_prefix: String,
    /// Stay in the foreground, without the daemon; nothing is kept when it ends
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Run what a RunConfig file says
    #[arg(long, value_name = "FILE")]
    pub(crate) from_config: Option<PathBuf>,
    /// The group it belongs to; default: `default`
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// A label KEY=VALUE (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    #[command(flatten)]
    pub(crate) isolation: IsolationArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) sessions: SessionArgs,
    #[command(flatten)]
    pub(crate) tools: ToolArgs,
}

/// Arguments of `skep proxy`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ProxyArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ProxyCommand>,
    #[command(flatten)]
    pub(crate) proxied: Proxied,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyCommand {
    /// Be a stdio server that passes everything on to a remote one
    Stdio(RelayArgs),
}

/// Arguments of `skep proxy NAME`.
#[derive(Debug, clap::Args)]
pub(crate) struct Proxied {
    /// What the server is called; sessions belong to it, so replicas use the same
    // `None` only beside a subcommand, which does without what is required here.
    #[arg(required = true)]
    pub(crate) name: Option<String>,
    /// Where it is: an instance, or a name all of whose addresses are instances (repeatable)
    #[arg(long, required = true, value_name = "URL")]
    pub(crate) target_uri: Vec<String>,
    /// How the server is spoken to
    #[arg(long, value_enum, default_value = "streamable-http")]
    pub(crate) transport: ProxyMode,
    /// Listen on this port; 0: a free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) sessions: SessionArgs,
    #[command(flatten)]
    pub(crate) tools: ToolArgs,
}

/// Arguments of `skep proxy stdio`.
#[derive(Debug, clap::Args)]
pub(crate) struct RelayArgs {
    /// The server's URL
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// How to speak to it
    #[arg(long, value_enum, default_value = "streamable-http")]
    pub(crate) transport: ProxyMode,
    /// A header to send with every request (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) remote_forward_headers: Vec<String>,
    /// Verify the server with the certificates of this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) remote_ca_file: Option<PathBuf>,
}
