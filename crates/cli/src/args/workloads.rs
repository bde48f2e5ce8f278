//! Commands about servers that the daemon runs.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Subcommand, ValueEnum};

use super::OutputFormat;

/// Arguments of `skep list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Those too that do not run
    #[arg(short, long)]
    pub(crate) all: bool,
    /// How they are listed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
    /// Only those with this label, KEY or KEY=VALUE (repeatable)
    #[arg(short, long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
    /// Only those of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    #[default]
    Text,
    Json,
    /// What clients have in their configuration
    Mcpservers,
}

/// Arguments of `skep status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    pub(crate) name: String,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// Which servers.
#[derive(Debug, clap::Args)]
#[group(required = true)]
pub(crate) struct Which {
    /// Their names
    #[arg(value_name = "NAME", conflicts_with_all = ["all", "group"])]
    pub(crate) names: Vec<String>,
    /// All of them
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Those of this group
    #[arg(short, long, value_name = "GROUP", conflicts_with = "all")]
    pub(crate) group: Option<String>,
}

/// Arguments of `skep stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Seconds that requests under way may take; default: what the server was run with
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

/// Arguments of `skep restart`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Of a package, look up anew which version is meant, install it, and start that
    #[arg(long, conflicts_with = "foreground")]
    pub(crate) refresh: bool,
    /// Serve one from here, not by the daemon, until it is told to stop; it is stopped then
    #[arg(short, long, conflicts_with_all = ["all", "group"])]
    pub(crate) foreground: bool,
}

/// Arguments of `skep build`.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// npx://NAME@VERSION, uvx://NAME@VERSION, go://MODULE@VERSION or go://./FOLDER
    #[arg(value_name = "PACKAGE")]
    pub(crate) package: String,
    /// What the server is always given
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
    /// What the image is called; default: after what is in it
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["output", "dry_run"])]
    pub(crate) tag: Option<String>,
    /// Write the Dockerfile here, and build nothing
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print the Dockerfile, and build nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Which program of the package is the server; default: the one of its name
    #[arg(long, value_name = "NAME")]
    pub(crate) program: Option<String>,
    /// Install this requirement with a uvx:// package (repeatable)
    #[arg(long, value_name = "REQUIREMENT")]
    pub(crate) build_with: Vec<String>,
    /// The image that it is built on, and for npx and uvx run on
    #[arg(long, value_name = "IMAGE")]
    pub(crate) runtime_image: Option<String>,
    /// A package of the system that building needs (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime_add_package: Vec<String>,
}

/// Arguments of `skep cache`.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the packages that are installed, and which servers are run from them
    List {
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
    /// Remove those that no server needs
    Prune,
}

/// Arguments of `skep start`.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Serve one from here, not by the daemon, until it is told to stop; it is stopped then
    #[arg(short, long, conflicts_with_all = ["all", "group"])]
    pub(crate) foreground: bool,
}

/// Arguments of `skep rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Arguments of `skep logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The server's name; `prune` removes the logs of servers that are gone
    pub(crate) name: String,
    /// Go on with what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// What the daemon says of the server, not what the server says
    #[arg(short, long)]
    pub(crate) proxy: bool,
    /// Only lines since then: 10m, or 2026-01-31T12:00:00Z
    #[arg(long, value_parser = since, value_name = "TIME")]
    pub(crate) since: Option<SystemTime>,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// Show when each line came
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

/// Arguments of `skep events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// How each change is shown
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// Arguments of `skep export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    pub(crate) name: String,
    /// The file; what is there is replaced
    pub(crate) path: PathBuf,
    /// What is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ExportFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A RunConfig
    #[default]
    Json,
}

/// Arguments of `skep daemon`.
#[derive(Debug, clap::Args)]
pub(crate) struct DaemonArgs {
    #[command(subcommand)]
    pub(crate) command: DaemonCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Tell whether it runs
    Status {
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
    /// Stop it and all servers; the next command that needs it brings them back
    Stop,
    /// Be the daemon, until told to stop
    Run,
    /// Print a file that starts it with the login
    Unit {
        /// For which system
        #[arg(value_enum, default_value_t)]
        kind: UnitKind,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnitKind {
    /// ~/.config/systemd/user/skep.service
    #[default]
    Systemd,
    /// ~/Library/LaunchAgents/dev.skep.daemon.plist
    Launchd,
}

/// Arguments of `skep secret`.
#[derive(Debug, clap::Args)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    pub(crate) command: SecretCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Keep a secret, read from stdin
    Set { name: String },
    /// Print a secret
    Get { name: String },
    /// Forget a secret
    Delete { name: String },
    /// List the names of the secrets
    List,
    /// Say who keeps secrets, and how they are opened
    Setup {
        /// encrypted, environment, 1password or systemd; without it you are asked
        #[arg(long, value_name = "KEEPER")]
        provider: Option<String>,
        /// A file with the password of encrypted secrets that are there already; `-` is stdin
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Say who keeps secrets: encrypted, environment, 1password or systemd
    Provider {
        #[arg(value_name = "KEEPER")]
        name: String,
    },
}

/// Arguments of `skep group`.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: GroupCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Make a group, for `run --group`
    Create { name: String },
    /// List the groups
    #[command(visible_alias = "ls")]
    List,
    /// Remove a group; its servers go on in the group `default`
    Rm {
        name: String,
        /// Remove its servers too
        #[arg(long)]
        with_workloads: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Arguments of `skep migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// The home directory of whoever ran ToolHive; default: yours
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Do it; without this it is only told what would be done
    #[arg(long)]
    pub(crate) apply: bool,
    /// A file with the password of ToolHive's encrypted secrets; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// Arguments of `skep runtime`.
#[derive(Debug, clap::Args)]
pub(crate) struct RuntimeArgs {
    #[command(subcommand)]
    pub(crate) command: RuntimeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuntimeCommand {
    /// Tell what this machine can hold a server to
    Check {
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
}

/// A moment, or how long ago it was.
fn since(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write how long ago (10m, 2h) or when (2026-01-31T12:00:00Z)".to_owned())
}
