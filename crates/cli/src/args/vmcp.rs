//! `skep vmcp`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::{OutputFormat, duration};

/// Arguments of `skep vmcp`.
#[derive(Debug, clap::Args)]
pub(crate) struct VmcpArgs {
    #[command(subcommand)]
    pub(crate) command: VmcpCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmcpCommand {
    /// Serve what a file says, or the servers of a group
    Serve(VmcpServeArgs),
    /// Say what is wrong with a file
    Validate(VmcpValidateArgs),
    /// Runs of composite tools: those under way, and those of the last hour
    Workflow(VmcpWorkflowArgs),
    /// Write a file to begin with, for the servers of a group
    Init(VmcpInitArgs),
}

/// Arguments of `skep vmcp workflow`.
#[derive(Debug, clap::Args)]
pub(crate) struct VmcpWorkflowArgs {
    /// Ask only the endpoint of this name
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(subcommand)]
    pub(crate) command: VmcpWorkflowCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmcpWorkflowCommand {
    /// List them
    List {
        /// How they are printed
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
    /// Show what has happened in one
    Show {
        /// Its id, or the beginning of it
        id: String,
        /// Also what it and its tools were given, and what they said, which may be private
        #[arg(long)]
        values: bool,
        /// How it is printed
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
}

/// Arguments of `skep vmcp serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct VmcpServeArgs {
    /// The file, in YAML
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Without a file: the servers of this group, as they come and go
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// Show two tools, `find_tool` and `call_tool`, in place of all (with a file: as `optimizer` in it)
    #[arg(long)]
    pub(crate) optimizer: bool,
    /// ToolHive's: start a container that knows what words mean. Name one that runs, in the file
    #[arg(long, hide = true)]
    pub(crate) optimizer_embedding: bool,
    /// Listen on this address
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Listen on this port (0: a free one)
    #[arg(long, default_value_t = 4483)]
    pub(crate) port: u16,
    /// Serve /metrics on this address (port 0: a free one)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Keys that seal session ids, one per line in base64, the newest first; the same file on every replica.
    /// Default: a file of skep's own
    #[arg(long, env = "SKEP_SESSION_KEY_FILE", value_name = "FILE")]
    pub(crate) session_key_file: Option<PathBuf>,
    /// A tool that may be called again where nobody knows whether the call was carried out (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "TOOL")]
    pub(crate) resend_tool: Vec<String>,
    /// Call those tools again too that their server itself calls read-only or idempotent; servers have been wrong about it
    #[arg(long)]
    pub(crate) trust_annotations: bool,
    /// A session unused for this long ends; 0, the default, is 30m
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) session_ttl: Option<Duration>,
    /// How the endpoint is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// Arguments of `skep vmcp validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct VmcpValidateArgs {
    /// The file, in YAML
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// Arguments of `skep vmcp init`.
#[derive(Debug, clap::Args)]
pub(crate) struct VmcpInitArgs {
    /// The group whose servers are to be behind it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) group: String,
    /// Where the file goes; what is there is replaced (default: printed)
    #[arg(short, long, value_name = "FILE", visible_short_alias = 'c', visible_alias = "config")]
    pub(crate) output: Option<PathBuf>,
}
