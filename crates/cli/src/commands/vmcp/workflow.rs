//! `skep vmcp workflow`: the runs that the running endpoints of this user know of, which with a shared store are those of all
//! replicas, and what has happened in one.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::bail;
use manager::control::{Controls, RunList, RunReport};
use uuid::Uuid;

use crate::args::{OutputFormat, VmcpWorkflowArgs, VmcpWorkflowCommand};
use crate::dirs;
use crate::exit::Outcome;
use crate::printer::Printer;

pub(super) fn run(args: &VmcpWorkflowArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let controls = Controls::find(&dirs::folders()?.control(), args.name.as_deref())?;
        match &args.command {
            VmcpWorkflowCommand::List { format } => list(&controls, *format, printer).await,
            VmcpWorkflowCommand::Show { id, values, format } => {
                let id = whole(&controls, id).await?;
                let known = merged(&controls.run(id, *values).await?, printer);
                let Some((_, run)) = known.into_values().next() else {
                    bail!("run {id} has just been forgotten");
                };
                match format {
                    OutputFormat::Json => printer.json(&run)?,
                    OutputFormat::Text => printer.data(&told(&run))?,
                }
                Ok(Outcome::Done)
            }
        }
    })
}

async fn list(controls: &Controls, format: OutputFormat, printer: &Printer) -> anyhow::Result<Outcome> {
    let lists = controls.runs().await?;
    let mut runs: Vec<(String, RunReport)> = merged(&lists, printer).into_values().collect();
    runs.sort_by_key(|(_, run)| (run.began, run.id));
    if format == OutputFormat::Json {
        printer.json(&runs.into_iter().map(|(_, run)| run).collect::<Vec<_>>())?;
        return Ok(Outcome::Done);
    }
    let rows: Vec<_> = runs
        .iter()
        .map(|(name, run)| {
            let took = Duration::from_millis(run.last.saturating_sub(run.began));
            let took = humantime::format_duration(took).to_string();
            [run.id.to_string(), name.clone(), run.workflow.clone(), run.state.clone(), at(run.began), took]
        })
        .collect();
    printer.table(["RUN", "SERVER", "WORKFLOW", "STATE", "BEGAN", "LASTED SO FAR"], &rows)?;
    if lists.is_empty() {
        printer.say("no skep of this user is running");
    }
    Ok(Outcome::Done)
}

/// Each run once, with the name of its endpoint: where several know it, as the one tells it where it goes on.
fn merged(lists: &[RunList], printer: &Printer) -> BTreeMap<Uuid, (String, RunReport)> {
    let mut runs: BTreeMap<Uuid, (String, RunReport)> = BTreeMap::new();
    for list in lists {
        if let Some(problem) = &list.problem {
            printer.say(&format!("{}: its runs are not known: {problem}", list.name));
        }
        for run in &list.runs {
            if run.is_here || !runs.contains_key(&run.id) {
                runs.insert(run.id, (list.name.clone(), run.clone()));
            }
        }
    }
    runs
}

/// The run whose id begins so.
async fn whole(controls: &Controls, beginning: &str) -> anyhow::Result<Uuid> {
    if let Ok(id) = beginning.parse() {
        return Ok(id);
    }
    let lists = controls.runs().await?;
    let mut found: Vec<Uuid> = lists.iter().flat_map(|list| &list.runs).map(|run| run.id).collect();
    found.retain(|id| id.to_string().starts_with(beginning));
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [id] => Ok(id),
        [] => bail!("no run's id begins with {beginning:?}: `skep vmcp workflow list` shows them"),
        _ => bail!("{} runs' ids begin with {beginning:?}: write more of it", found.len()),
    }
}

fn told(run: &RunReport) -> String {
    let session = run.session.map_or_else(|| "-".to_owned(), |session| session.to_string());
    let mut text = String::new();
    for (title, value) in [
        ("run", run.id.to_string()),
        ("workflow", run.workflow.clone()),
        ("state", run.state.clone()),
        ("session", session),
    ] {
        text.push_str(&format!("{title:<15}{value}\n"));
    }
    if let Some(arguments) = &run.arguments {
        text.push_str(&format!("{:<15}{arguments}\n", "arguments"));
    }
    text.push('\n');
    for entry in &run.timeline {
        let task = entry.task.as_deref().unwrap_or("-");
        let detail = entry.detail.as_ref().map(ToString::to_string).unwrap_or_default();
        let line = format!("{}   {task:<20} {:<12} {detail}", at(entry.at), entry.what);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn at(milliseconds: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(milliseconds)).to_string()
}
