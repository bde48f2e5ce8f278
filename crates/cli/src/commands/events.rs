//! `skep events`: what becomes of the servers, as it happens.

use manager::daemon::client::DaemonClient;
use manager::daemon::wire::WorkloadView;

use super::daemon;
use crate::args::{EventsArgs, OutputFormat};
use crate::exit::Outcome;
use crate::printer::{self, Printer};

pub(crate) fn run(args: &EventsArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let mut failed = None;
    let show = |view: &WorkloadView| match show(view, args.format, printer) {
        Ok(()) => printer::is_read(),
        Err(error) => {
            failed = Some(error);
            false
        }
    };
    daemon::ask(async |daemon: DaemonClient| Ok(daemon.events(show).await?))?;
    failed.map_or(Ok(Outcome::Done), Err)
}

fn show(view: &WorkloadView, format: OutputFormat, printer: &Printer) -> anyhow::Result<()> {
    match format {
        // A line each: whoever reads it waits for its end.
        OutputFormat::Json => printer.data(&(serde_json::to_string(view)? + "\n")),
        OutputFormat::Text if view.status_context.is_empty() => {
            printer.data(&format!("{} {}\n", view.name, view.status))
        }
        OutputFormat::Text => {
            printer.data(&format!("{} {}: {}\n", view.name, view.status, view.status_context))
        }
    }
}
