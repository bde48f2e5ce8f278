//! `skep daemon`, and how the other commands reach it.

use anyhow::Context;
use manager::daemon::client::{AskError, DaemonClient, Launch};
use manager::daemon::{self, Ended};
use tokio_util::sync::CancellationToken;

use crate::args::{DaemonArgs, DaemonCommand, OutputFormat, UnitKind};
use crate::dirs;
use crate::exit::Outcome;
use crate::face::Face;
use crate::printer::Printer;
use crate::signals::StopSignals;
use crate::surroundings;

/// What makes skep the daemon.
const BE_IT: &[&str] = &["daemon", "run"];

pub(crate) fn run(args: &DaemonArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    match args.command {
        DaemonCommand::Run => be_it(),
        DaemonCommand::Status { format } => status(format, printer),
        DaemonCommand::Stop => stop(printer),
        DaemonCommand::Unit { kind } => {
            let skep = std::env::current_exe().context("skep cannot find its own program file")?;
            printer.data(&unit(kind, &skep.display().to_string(), Face::of_this_process().command))?;
            Ok(Outcome::Done)
        }
    }
}

/// Asks the daemon, which is started if it does not run.
///
/// # Errors
/// It cannot be started, or those of the question.
pub(super) fn ask<T>(question: impl AsyncFnOnce(DaemonClient) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let folders = dirs::folders()?;
    let program = std::env::current_exe().context("skep cannot find its own program file")?;
    let launch = Launch { program, name: Face::of_this_process().command, args: BE_IT };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { question(DaemonClient::started(folders, launch).await?).await })
}

fn be_it() -> anyhow::Result<Outcome> {
    leave_the_terminal();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let ended = runtime.block_on(async {
        let mut signals = StopSignals::listen()?;
        let asked = stop.clone();
        tokio::spawn(async move {
            signals.next().await;
            asked.cancel();
        });
        Ok::<_, anyhow::Error>(daemon::run(surroundings::here()?, env!("CARGO_PKG_VERSION"), stop).await?)
    })?;
    match ended {
        Ended::Stopped => tracing::info!("the daemon has stopped"),
        Ended::Redundant => tracing::info!("another daemon runs"),
    }
    Ok(Outcome::Done)
}

/// A session of its own: what ends the terminal's does not end the daemon. Whoever leads a group already (it was started
/// by a shell, or a service manager) stays where it is.
fn leave_the_terminal() {
    let _ = rustix::process::setsid();
}

fn status(format: OutputFormat, printer: &Printer) -> anyhow::Result<Outcome> {
    let client = DaemonClient::running(dirs::folders()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(client.view()) {
        Err(AskError::NotRunning) => {
            printer.say("the daemon does not run; the next command that needs it starts it");
            Ok(Outcome::Failed)
        }
        Err(error) => Err(error.into()),
        Ok(view) => {
            match format {
                OutputFormat::Json => printer.json(&view)?,
                OutputFormat::Text => printer.data(&format!(
                    "the daemon runs: version {}, pid {}, since {}, {} workloads\n",
                    view.version, view.pid, view.since, view.workloads
                ))?,
            }
            Ok(Outcome::Done)
        }
    }
}

fn stop(printer: &Printer) -> anyhow::Result<Outcome> {
    let client = DaemonClient::running(dirs::folders()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(client.stop()) {
        Err(AskError::NotRunning) => printer.say("the daemon does not run"),
        Err(error) => return Err(error.into()),
        Ok(()) => {
            printer.say("the daemon has stopped, and all servers with it; the next command brings them back")
        }
    }
    Ok(Outcome::Done)
}

/// A file for a service manager. The program is started by its name here, which says whose folders are used.
fn unit(kind: UnitKind, program: &str, name: &str) -> String {
    match kind {
        UnitKind::Systemd => format!(
            "# Save as ~/.config/systemd/user/{name}.service, then: systemctl --user enable --now {name}\n\
             [Unit]\nDescription={name}: MCP servers\nAfter=network.target\n\n\
             [Service]\nExecStart={} {name} daemon run\nRestart=on-failure\nKillMode=mixed\nTimeoutStopSec=90\n\n\
             [Install]\nWantedBy=default.target\n",
            // What the `@` says: the next word is the name.
            systemd_word(&format!("@{program}"))
        ),
        UnitKind::Launchd => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <!-- Save as ~/Library/LaunchAgents/dev.skep.{name}.plist, then: launchctl load -w FILE -->\n\
             <plist version=\"1.0\">\n<dict>\n  <key>Label</key><string>dev.skep.{name}</string>\n  \
             <key>Program</key><string>{}</string>\n  <key>ProgramArguments</key>\n  \
             <array><string>{name}</string><string>daemon</string><string>run</string></array>\n  \
             <key>RunAtLoad</key><true/>\n  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>\n\
             </dict>\n</plist>\n",
            xml_text(program)
        ),
    }
}

/// A word of a command line of systemd's (systemd.service(5)).
fn systemd_word(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_for_whoever_reads_it() {
        let unit_of = |kind| unit(kind, "/o p/a&b$c%\"d", "thv");
        assert!(unit_of(UnitKind::Systemd).contains("\nExecStart=\"@/o p/a&b$$c%%\\\"d\" thv daemon run\n"));
        assert!(unit_of(UnitKind::Launchd).contains("<string>/o p/a&amp;b$c%\"d</string>"));
    }
}
