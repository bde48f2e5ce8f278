//! `skep export`.

use anyhow::Context;
use manager::daemon::client::DaemonClient;

use super::daemon;
use crate::args::{ExportArgs, ExportFormat};
use crate::exit::Outcome;
use crate::printer::Printer;

pub(crate) fn run(args: &ExportArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let text = daemon::ask(async |daemon: DaemonClient| Ok(daemon.config(&args.name).await?))?;
    let ExportFormat::Json = args.format;
    manager::export::write(&args.path, &text).with_context(|| format!("{} is not exported", args.name))?;
    printer.say(&format!("{} is in {}", args.name, args.path.display()));
    Ok(Outcome::Done)
}
