//! `skep vmcp`.

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
