//! The command line, and which environment variables stand in for parts of it.
//!
//! | variable | stands for |
//! |---|---|
//! | `SKEP_DEBUG` | `--debug` |
//! | `SKEP_LOG` | a filter in `tracing` syntax that replaces the default one |
//! | `SKEP_SESSION_KEY_FILE` | `--session-key-file` |
//! | `SKEP_SESSION_STORE` | `--store` |
//!
//! `SKEP_SECRETS_PROVIDER`, `SKEP_SECRET_NAME` and `SKEP_DISABLE_ENV_FALLBACK` stand for no argument (`surroundings`). Under
//! another name of the program (`face`) all of them have another beginning.

mod dress;
mod mcp;
mod not_yet;
mod serve;
mod vmcp;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use telemetry::log::{Format, LogConfig};

use crate::face::{Face, LogLines};

pub(crate) use mcp::{McpArgs, McpCallArgs, McpCategory, McpCommand, McpListArgs, McpServerArgs};
pub(crate) use serve::{
    IsolationArgs, IsolationLevel, ListenArgs, LossPolicy, Proxied, ProxyArgs, ProxyCommand, ProxyMode,
    RelayArgs, RemoteArgs, RunArgs, RunTransport, SessionArgs, ToolArgs,
};
pub(crate) use vmcp::{VmcpArgs, VmcpCommand, VmcpServeArgs, VmcpWorkflowArgs, VmcpWorkflowCommand};
pub(crate) use workloads::{
    BuildArgs, CacheArgs, CacheCommand, DaemonArgs, DaemonCommand, EventsArgs, ExportArgs, ExportFormat,
    GroupArgs, GroupCommand, ListArgs, ListFormat, LogsArgs, MigrateArgs, RestartArgs, RmArgs, RuntimeArgs,
    RuntimeCommand, SecretArgs, SecretCommand, StartArgs, StatusArgs, StopArgs, UnitKind, Which,
};

/// Run any MCP server, keep its sessions, and reach it at one endpoint.
#[derive(Debug, Parser)]
#[command(name = "skep", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Reads the command line of this process. Where there is nothing to run, what there is to say is said.
    ///
    /// # Errors
    /// How it ends then.
    pub(crate) fn of_this_process() -> Result<Self, ExitCode> {
        let face = Face::of_this_process();
        let matches = Self::command_of(face).try_get_matches();
        matches.and_then(|matches| Self::of(&matches)).map_err(|error| {
            // There is nowhere to complain that the terminal is gone.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(face.misuse) } else { ExitCode::SUCCESS }
        })
    }

    /// All there is to say, under this name of the program.
    pub(crate) fn command_of(face: &'static Face) -> clap::Command {
        let command = Self::command().mut_subcommand("run", not_yet::added);
        dress::dressed(command, face)
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::from_arg_matches(matches)?;
        if let (Command::Run(run), Some(matches)) = (&mut args.command, matches.subcommand_matches("run")) {
            run.given = given(matches);
            run.not_yet = not_yet::asked(matches);
        }
        Ok(args)
    }

    /// Reads a command line.
    #[cfg(test)]
    pub(crate) fn parse_all(words: &[&str]) -> Result<Self, clap::Error> {
        Self::parse_as(&crate::face::SKEP, words)
    }

    /// Reads a command line under this name.
    #[cfg(test)]
    pub(crate) fn parse_as(face: &'static Face, words: &[&str]) -> Result<Self, clap::Error> {
        Self::of(&Self::command_of(face).try_get_matches_from(words)?)
    }
}

/// The arguments of `run` that stand on the command line, by their fields. Those of the log, which all commands have, are
/// not among them.
fn given(matches: &ArgMatches) -> Vec<String> {
    let command = Args::command();
    let run = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
    let ids = run.map(|arg| arg.get_id().as_str());
    ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine)).map(str::to_owned).collect()
}

/// What is logged to stderr.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Log debug lines too
    #[arg(long, global = true, env = "SKEP_DEBUG", value_parser = clap::builder::FalseyValueParser::new())]
    debug: bool,
    /// Log one line per request
    #[arg(long, global = true)]
    access_log: bool,
    /// How log lines look
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// A filter in `tracing` syntax that replaces the default one
    #[arg(long, global = true, env = "SKEP_LOG", hide = true)]
    log_filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogArgs {
    pub(crate) fn config(&self, file: Option<PathBuf>) -> LogConfig {
        LogConfig {
            format: match (self.log_format, Face::of_this_process().log_lines) {
                (Some(LogFormat::Json), _) => Format::Json,
                // What is in a file is read by `logs --proxy`.
                (None, LogLines::Json) if file.is_none() => Format::Json,
                _ => Format::Text,
            },
            debug: self.debug,
            access: self.access_log,
            filter: self.log_filter.clone(),
            file,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an MCP server, and keep it running
    Run(Box<RunArgs>),
    /// List the servers that run
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Tell what is known of one
    Status(StatusArgs),
    /// Stop servers; they stay listed, and `start` brings them back
    Stop(StopArgs),
    /// Start servers that are stopped
    Start(StartArgs),
    /// Stop servers and start them again
    Restart(RestartArgs),
    /// Stop servers and forget them
    Rm(RmArgs),
    /// Show what a server wrote to its stderr
    Logs(LogsArgs),
    /// Show what becomes of the servers, as it happens
    Events(EventsArgs),
    /// Write what a server is run as into a file, for `run --from-config`
    Export(ExportArgs),
    /// Keep secrets that servers need
    Secret(SecretArgs),
    /// Servers that belong together
    Group(GroupArgs),
    /// Take over what ToolHive has kept
    Migrate(MigrateArgs),
    /// What this machine can hold a server to
    Runtime(RuntimeArgs),
    /// Write the Dockerfile of an image that a package is run in
    Build(BuildArgs),
    /// The packages that are installed
    Cache(CacheArgs),
    /// The process that owns the servers: see it, stop it, be it
    Daemon(DaemonArgs),
    /// Serve MCP servers that run elsewhere, one or several instances of one
    Proxy(Box<ProxyArgs>),
    /// Serve several MCP servers as one
    Vmcp(VmcpArgs),
    /// Ask a server what it offers, or call one of its tools
    Mcp(McpArgs),
    /// See which sessions are open, what happened to one, or end it
    Sessions(SessionsArgs),
    /// Be the built-in example server
    Example(ExampleArgs),
    /// Write a completion script for a shell
    Completion(CompletionArgs),
    /// Say which version this is
    Version(VersionArgs),
}

/// How data is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    #[default]
    Text,
    Json,
}

/// Arguments of `skep example`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExampleArgs {
    /// Serve HTTP on this address (port 0: a free one) instead of stdin and stdout
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) http: Option<String>,
    /// What the `whoami` tool says, to tell instances apart
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// What it calls itself in the handshake, to be another server
    #[arg(long, default_value = "skep-example", value_name = "NAME")]
    pub(crate) server_name: String,
    /// A host name accepted in `Host` besides those of this machine (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,
    /// Threads that serve HTTP
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// How long a session may be idle
    #[arg(long, value_parser = duration, default_value = "30m", value_name = "DURATION")]
    pub(crate) session_idle: Duration,
    /// A file for the lines that the tool `record` adds: what was carried out, whatever becomes of the server
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
}

/// Arguments of `skep sessions`.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionsArgs {
    /// Only those of this server
    #[arg(long, global = true)]
    pub(crate) name: Option<String>,
    #[command(subcommand)]
    pub(crate) command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List the sessions that are open
    List {
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
    /// Tell what is known of a session, and what happened to it
    Show {
        /// Its id, or how that begins
        id: String,
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
    /// End a session
    End {
        /// Its id, or how that begins
        id: String,
    },
}

/// Arguments of `skep completion`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `skep version`.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
    /// The same as `--format json`
    #[arg(long, hide = true, conflicts_with = "format")]
    pub(crate) json: bool,
}

pub(crate) use manager::plan::duration;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn proxy_is_given_targets_or_is_stdio_itself() {
        let parse = |line: &str| Args::try_parse_from(line.split(' ')).map(|args| args.command);
        match parse("skep proxy a --target-uri http://x/mcp --target-uri http://y/mcp --port 1").unwrap() {
            Command::Proxy(args) => assert_eq!(args.proxied.target_uri.len(), 2),
            other => panic!("{other:?}"),
        }
        match parse("skep proxy stdio http://x/mcp").unwrap() {
            Command::Proxy(args) => assert!(args.command.is_some()),
            other => panic!("{other:?}"),
        }
        assert!(parse("skep proxy a").is_err());
    }

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, seconds) in [("0", 0), ("90s", 90), ("1h30m", 5400), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(duration("5").unwrap_err().contains("90s"));
    }
}
