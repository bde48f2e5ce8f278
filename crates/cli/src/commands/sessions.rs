//! `skep sessions`: what the running skeps of this user serve, what happened to a session, and the end of one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use manager::control::{Controls, SessionLine, SessionReport};
use uuid::Uuid;

use crate::args::{OutputFormat, SessionsArgs, SessionsCommand};
use crate::dirs;
use crate::exit::Outcome;
use crate::printer::Printer;

pub(crate) fn run(args: &SessionsArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let controls = Controls::find(&dirs::folders()?.control(), args.name.as_deref())?;
        match &args.command {
            SessionsCommand::List { format } => list(&controls, *format, printer).await,
            SessionsCommand::Show { id, format } => {
                let id = whole(&controls, id).await?;
                let report =
                    controls.show(id).await?.with_context(|| format!("session {id} has just ended"))?;
                match format {
                    OutputFormat::Json => printer.json(&report)?,
                    OutputFormat::Text => printer.data(&told(&report))?,
                }
                Ok(Outcome::Done)
            }
            SessionsCommand::End { id } => {
                let id = whole(&controls, id).await?;
                if !controls.end(id).await? {
                    bail!("session {id} has just ended");
                }
                printer
                    .say(&format!("session {id} is ended; its client begins another with its next request"));
                Ok(Outcome::Done)
            }
        }
    })
}

async fn list(controls: &Controls, format: OutputFormat, printer: &Printer) -> anyhow::Result<Outcome> {
    let lists = controls.list().await?;
    if format == OutputFormat::Json {
        printer.json(&lists)?;
        return Ok(Outcome::Done);
    }
    let mut rows = Vec::new();
    for list in &lists {
        for line in &list.sessions {
            let SessionLine { id, principal, place, epoch, began, idle_seconds } = line;
            rows.push([
                id.to_string(),
                list.name.clone(),
                principal.clone(),
                place.clone(),
                epoch.to_string(),
                age(*began),
                idle_seconds.map_or_else(|| "in use".to_owned(), |idle| span(Duration::from_secs(idle))),
            ]);
        }
    }
    printer.table(["SESSION", "SERVER", "PRINCIPAL", "LIVES AT", "MOVED", "AGE", "IDLE"], &rows)?;
    if lists.is_empty() {
        printer.say("no skep of this user is running");
    }
    Ok(Outcome::Done)
}

/// The session whose id begins so.
async fn whole(controls: &Controls, beginning: &str) -> anyhow::Result<Uuid> {
    if let Ok(id) = beginning.parse() {
        return Ok(id);
    }
    let lists = controls.list().await?;
    let ids = lists.iter().flat_map(|list| &list.sessions).map(|line| line.id);
    let found: Vec<Uuid> = ids.filter(|id| id.to_string().starts_with(beginning)).collect();
    match found[..] {
        [id] => Ok(id),
        [] => bail!("no session's id begins with {beginning:?}: `skep sessions list` shows them"),
        _ => bail!("{} sessions' ids begin with {beginning:?}: write more of it", found.len()),
    }
}

fn told(report: &SessionReport) -> String {
    let SessionReport { name, line, protocol_version, server, log_level, subscriptions, timeline } = report;
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let mut text = format!("session        {}\n", line.id);
    for (title, value) in [
        ("server", name.clone()),
        ("principal", line.principal.clone()),
        ("lives at", line.place.clone()),
        ("moved", line.epoch.to_string()),
        ("revision", known(protocol_version)),
        ("is called", known(server)),
        ("log level", known(log_level)),
        ("subscribed to", if subscriptions.is_empty() { "-".to_owned() } else { subscriptions.join(", ") }),
    ] {
        text.push_str(&format!("{title:<15}{value}\n"));
    }
    text.push('\n');
    for entry in timeline {
        let at = UNIX_EPOCH + Duration::from_millis(entry.at);
        let line = format!("{}   {:<14}{}", humantime::format_rfc3339_millis(at), entry.what, entry.detail);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn age(began: u64) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(began));
    span(since.unwrap_or_default())
}

/// As long as it is, in the two largest units.
fn span(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
