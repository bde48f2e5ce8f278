//! `skep group`: servers that belong together.

use std::io::Write;

use manager::daemon::client::DaemonClient;
use manager::daemon::wire::GroupView;

use super::daemon;
use crate::args::{GroupArgs, GroupCommand};
use crate::exit::Outcome;
use crate::printer::Printer;

/// A group of ToolHive's own, which it does not show.
const INTERNAL: &str = "__mcp-optimizer__";

pub(crate) fn run(args: &GroupArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    match &args.command {
        GroupCommand::Create { name } => {
            daemon::ask(async |daemon: DaemonClient| Ok(daemon.create_group(name).await?))?;
            printer.say(&format!("group {name} is made"));
        }
        GroupCommand::List => {
            let groups = daemon::ask(async |daemon: DaemonClient| Ok(daemon.groups().await?))?;
            let names = groups.into_iter().map(|group| group.name).filter(|name| name != INTERNAL);
            printer.table(["NAME"], &names.map(|name| [name]).collect::<Vec<_>>())?;
        }
        GroupCommand::Rm { name, with_workloads, yes } => {
            return remove(name, *with_workloads, *yes, printer);
        }
    }
    Ok(Outcome::Done)
}

fn remove(name: &str, with_workloads: bool, is_sure: bool, printer: &Printer) -> anyhow::Result<Outcome> {
    let groups = daemon::ask(async |daemon: DaemonClient| Ok(daemon.groups().await?))?;
    let members =
        groups.into_iter().find(|group| group.name == name).map(|GroupView { workloads, .. }| workloads);
    let members = members.unwrap_or_default();
    if !is_sure && !members.is_empty() && !confirmed(&members, with_workloads, printer)? {
        printer.say("nothing was removed");
        return Ok(Outcome::Failed);
    }
    daemon::ask(async |daemon: DaemonClient| Ok(daemon.remove_group(name, with_workloads).await?))?;
    printer.say(&format!("group {name} is removed"));
    Ok(Outcome::Done)
}

/// Asks; what is not a yes is a no.
fn confirmed(members: &[String], with_workloads: bool, printer: &Printer) -> anyhow::Result<bool> {
    let what = if with_workloads { "are removed too" } else { "move to the group default" };
    printer.say(&format!("{} {what}.", members.join(", ")));
    let _ = write!(std::io::stderr(), "Go on? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(&*answer.trim().to_lowercase(), "y" | "yes"))
}
