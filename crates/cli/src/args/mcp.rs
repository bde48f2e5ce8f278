//! `skep mcp`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::{OutputFormat, duration};

/// Arguments of `skep mcp`.
#[derive(Debug, clap::Args)]
pub(crate) struct McpArgs {
    #[command(subcommand)]
    pub(crate) command: McpCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    /// List what a server offers
    List(McpListArgs),
    /// Call a tool
    Call(McpCallArgs),
}

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct McpServerArgs {
    /// The server's URL, or the name of one that the daemon runs
    #[arg(long, value_name = "URL|NAME")]
    pub(crate) server: String,
    /// How to speak to it
    #[arg(long, default_value = "auto", value_name = "auto|sse|streamable-http")]
    pub(crate) transport: String,
    /// A header to send with every request (repeatable)
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub(crate) headers: Vec<String>,
    /// For everything together
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "DURATION")]
    pub(crate) timeout: Duration,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum McpCategory {
    Tools,
    Resources,
    Prompts,
}

/// Arguments of `skep mcp list`.
#[derive(Debug, clap::Args)]
pub(crate) struct McpListArgs {
    /// Only these
    pub(crate) category: Option<McpCategory>,
    #[command(flatten)]
    pub(crate) server: McpServerArgs,
}

/// Arguments of `skep mcp call`.
#[derive(Debug, clap::Args)]
pub(crate) struct McpCallArgs {
    pub(crate) tool: String,
    /// The tool's arguments, a JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "args_file")]
    pub(crate) args: Option<String>,
    /// A file with them; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) args_file: Option<PathBuf>,
    /// End with 0 even where the tool says that it failed
    #[arg(long)]
    pub(crate) ignore_tool_error: bool,
    #[command(flatten)]
    pub(crate) server: McpServerArgs,
}
