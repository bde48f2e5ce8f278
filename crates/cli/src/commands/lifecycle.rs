//! `skep stop`, `skep start` and `skep rm`: of one server, of many, of a group, of all.

use std::time::Duration;

use anyhow::bail;
use futures_util::future::join_all;
use manager::daemon::client::{AskError, DaemonClient};
use manager::daemon::wire::{ProblemKind, WorkloadView};
use model::workload::Status;

use super::{daemon, foreground};
use crate::args::{RestartArgs, RmArgs, StartArgs, StopArgs, Which};
use crate::exit::Outcome;
use crate::face::{Face, StopOfNone};
use crate::printer::Printer;

pub(crate) fn stop(args: &StopArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    daemon::ask(async |daemon: DaemonClient| {
        let running = |view: &WorkloadView| view.status != Status::Stopped;
        let names = chosen(&daemon, &args.which, running).await?;
        if names.is_empty() {
            printer.data("No running workloads to stop\n")?;
            return Ok(Outcome::Done);
        }
        let timeout = args.timeout.map(Duration::from_secs);
        let done = each(&names, |name| {
            let daemon = daemon.clone();
            async move { daemon.stop_workload(&name, timeout).await.map(|_| ()) }
        });
        let mut done = done.await;
        if Face::of_this_process().stop_of_none == StopOfNone::Remark {
            let before = done.len();
            done.retain(|(_, result)| !result.as_ref().is_err_and(is_not_found));
            if done.len() < before {
                printer.say("one or more workloads are not running");
            }
        }
        Ok(told(done, "stopped", printer))
    })
}

pub(crate) fn start(args: &StartArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    if args.foreground {
        return foreground::start(&args.which.names, printer);
    }
    daemon::ask(async |daemon: DaemonClient| {
        let stopped = |view: &WorkloadView| matches!(view.status, Status::Stopped | Status::Error);
        let names = chosen(&daemon, &args.which, stopped).await?;
        if names.is_empty() {
            printer.say("No stopped workloads to start");
        }
        let done = each(&names, |name| {
            let daemon = daemon.clone();
            async move { daemon.start(&name).await.map(|_| ()) }
        });
        Ok(told(done.await, "started", printer))
    })
}

pub(crate) fn restart(args: &RestartArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    if args.foreground {
        return foreground::start(&args.which.names, printer);
    }
    daemon::ask(async |daemon: DaemonClient| {
        let names = chosen(&daemon, &args.which, |_| true).await?;
        let done = each(&names, |name| {
            let daemon = daemon.clone();
            async move {
                let done =
                    if args.refresh { daemon.refresh(&name).await } else { daemon.restart(&name).await };
                done.map(|_| ())
            }
        });
        Ok(told(done.await, "restarted", printer))
    })
}

pub(crate) fn remove(args: &RmArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    daemon::ask(async |daemon: DaemonClient| {
        let names = chosen(&daemon, &args.which, |_| true).await?;
        let done = each(&names, |name| {
            let daemon = daemon.clone();
            async move { daemon.remove(&name).await }
        });
        Ok(told(done.await, "removed", printer))
    })
}

/// The names that were given, or those of the servers that are meant.
async fn chosen(
    daemon: &DaemonClient,
    which: &Which,
    is_meant: impl Fn(&WorkloadView) -> bool,
) -> anyhow::Result<Vec<String>> {
    if !which.names.is_empty() {
        let mut names = which.names.clone();
        names.sort();
        names.dedup();
        return Ok(names);
    }
    let mut views = daemon.list().await?;
    if let Some(group) = &which.group {
        views.retain(|view| view.group == *group);
        if views.is_empty() {
            bail!("there is no server in group {group:?}");
        }
    }
    Ok(views.into_iter().filter(is_meant).map(|view| view.name).collect())
}

type Done = (String, Result<(), AskError>);

/// Side by side: what one cannot do keeps the others from nothing.
async fn each<F: Future<Output = Result<(), AskError>>>(
    names: &[String],
    act: impl Fn(String) -> F,
) -> Vec<Done> {
    join_all(names.iter().map(async |name| (name.clone(), act(name.clone()).await))).await
}

fn told(done: Vec<Done>, what: &str, printer: &Printer) -> Outcome {
    let mut outcome = Outcome::Done;
    for (name, result) in done {
        match result {
            Ok(()) => printer.say(&format!("{name} {what}")),
            Err(error) if is_not_found(&error) => {
                printer.say(&format!("Error: {error}"));
                outcome = Outcome::Failed;
            }
            Err(error) => {
                printer.say(&format!("Error: {name}: {error}"));
                outcome = Outcome::Failed;
            }
        }
    }
    outcome
}

fn is_not_found(error: &AskError) -> bool {
    matches!(error, AskError::Problem(problem) if problem.kind == ProblemKind::NotFound)
}
