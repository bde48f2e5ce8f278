//! `skep migrate`: what ToolHive has kept.

use anyhow::Context;
use manager::daemon::client::{AskError, DaemonClient};
use manager::migrate::{self, Extent, Item, Verdict};

use super::secret;
use crate::args::{MigrateArgs, OutputFormat};
use crate::dirs;
use crate::exit::Outcome;
use crate::face::TOOLHIVE;
use crate::printer::Printer;

pub(crate) fn run(args: &MigrateArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let from = match &args.from {
        Some(home) => dirs::folders_in(home, &TOOLHIVE),
        None => dirs::folders_of(&TOOLHIVE)?,
    };
    let to = dirs::folders()?;
    let password =
        args.password_file.as_deref().map(|path| secret::read_password(path, printer)).transpose()?;
    let extent = if args.apply { Extent::Done } else { Extent::Told };
    let items = migrate::migrate(&from, &to, password.as_ref(), extent)?;
    match args.format {
        OutputFormat::Json => printer.json(&items)?,
        OutputFormat::Text => table(&items, printer)?,
    }
    if extent == Extent::Told {
        printer.say("Nothing was done: `skep migrate --apply` does it.");
        return Ok(Outcome::Done);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(DaemonClient::running(to).take_up_found()) {
        Ok(_) | Err(AskError::NotRunning) => {}
        Err(error) => return Err(error).context("the daemon has not taken it up"),
    }
    let all_there = items.iter().all(|item| item.verdict != Verdict::Refused);
    Ok(if all_there { Outcome::Done } else { Outcome::Failed })
}

fn table(items: &[Item], printer: &Printer) -> anyhow::Result<()> {
    let row =
        |item: &Item| [item.kind.to_string(), item.name.clone(), item.verdict.to_string(), item.why.clone()];
    printer.table(["WHAT", "NAME", "BECOMES", "WHY"], &items.iter().map(row).collect::<Vec<_>>())
}
