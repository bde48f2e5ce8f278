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
    /// Write a file to begin with, for the servers of a group
    Init(VmcpInitArgs),
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
