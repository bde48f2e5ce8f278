//! `skep`: arguments become settings, settings a command, its outcome output and an exit code.
//!
//! The only place that reads the environment, the home directory and the terminal.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod dirs;
mod exit;
mod face;
mod names;
mod printer;
mod signals;
mod surroundings;

use std::io::IsTerminal;

use args::{Args, Command, DaemonArgs, DaemonCommand};
use exit::Outcome;
use printer::Printer;
use telemetry::log::LogConfig;

fn main() -> std::process::ExitCode {
    // Before anything else: a helper has one thread and reads no arguments but its own.
    workload::container::dispatch();
    workload::sandbox::dispatch(Some(workload::process::netns::prepare));
    #[cfg(feature = "starlark")]
    if let Some(ended) = manager::vmcp::dispatch() {
        return ended;
    }
    let args = match Args::of_this_process() {
        Ok(args) => args,
        Err(ended) => return ended,
    };
    let printer = Printer::stdio();
    let outcome = run(args, &printer).unwrap_or_else(|error| {
        printer.error(&error);
        Outcome::Failed
    });
    outcome.into()
}

fn run(args: Args, printer: &Printer) -> anyhow::Result<Outcome> {
    let file = match &args.command {
        Command::Daemon(DaemonArgs { command: DaemonCommand::Run }) if !std::io::stderr().is_terminal() => {
            Some(dirs::folders()?.daemon_log())
        }
        _ => None,
    };
    // What is logged may stand there, so it is read first.
    let vmcp_file = commands::vmcp::file_to_serve(&args.command)?;
    let log = args.log.config(file);
    let is_debug = log.debug || vmcp_file.as_deref().is_some_and(commands::vmcp::is_debug);
    telemetry::log::init(&LogConfig { debug: is_debug, ..log })?;
    match args.command {
        Command::Run(args) => commands::run::run(&args, printer),
        Command::List(args) => commands::list::list(&args, printer),
        Command::Status(args) => commands::list::status(&args, printer),
        Command::Stop(args) => commands::lifecycle::stop(&args, printer),
        Command::Start(args) => commands::lifecycle::start(&args, printer),
        Command::Restart(args) => commands::lifecycle::restart(&args, printer),
        Command::Rm(args) => commands::lifecycle::remove(&args, printer),
        Command::Logs(args) => commands::logs::run(&args, printer),
        Command::Events(args) => commands::events::run(&args, printer),
        Command::Export(args) => commands::export::run(&args, printer),
        Command::Secret(args) => commands::secret::run(&args, printer),
        Command::Group(args) => commands::group::run(&args, printer),
        Command::Migrate(args) => commands::migrate::run(&args, printer),
        Command::Runtime(args) => commands::runtime::run(&args, printer),
        Command::Build(args) => commands::build::run(&args, printer),
        Command::Cache(args) => commands::cache::run(&args, printer),
        Command::Daemon(args) => commands::daemon::run(&args, printer),
        Command::Proxy(args) => commands::proxy::run(args, printer),
        Command::Vmcp(args) => commands::vmcp::run(&args, vmcp_file, printer),
        Command::Mcp(args) => commands::mcp::run(&args, printer),
        Command::Sessions(args) => commands::sessions::run(&args, printer),
        Command::Example(args) => commands::example::run(&args, printer),
        Command::Completion(args) => commands::completion::run(&args, printer),
        Command::Version(args) => commands::version::run(&args, printer),
    }
}
