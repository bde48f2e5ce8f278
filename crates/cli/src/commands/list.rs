//! `skep list` and `skep status`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use manager::daemon::client::DaemonClient;
use manager::daemon::wire::WorkloadView;
use model::Timestamp;
use model::workload::Status;
use serde::Serialize;

use super::daemon;
use crate::args::{ListArgs, ListFormat, OutputFormat, StatusArgs};
use crate::exit::Outcome;
use crate::face::Face;
use crate::printer::Printer;

pub(crate) fn list(args: &ListArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let mut views = daemon::ask(async |daemon: DaemonClient| Ok(daemon.list().await?))?;
    views.retain(|view| is_asked_for(view, args));
    match args.format {
        ListFormat::Json => printer.json(&views)?,
        ListFormat::Mcpservers => printer.json(&ClientEntries::of(&views))?,
        ListFormat::Text if views.is_empty() => match &args.group {
            Some(group) => printer.data(&format!("No MCP servers found in group '{group}'\n"))?,
            None => printer.data("No MCP servers found\n")?,
        },
        ListFormat::Text => table(&views, printer)?,
    }
    Ok(Outcome::Done)
}

fn is_asked_for(view: &WorkloadView, args: &ListArgs) -> bool {
    let runs = (Face::of_this_process().is_listed)(view.status);
    let has = |label: &String| match label.split_once('=') {
        Some((key, value)) => view.labels.get(key).is_some_and(|found| found == value),
        None => view.labels.contains_key(label),
    };
    (args.all || runs)
        && args.group.as_ref().is_none_or(|group| *group == view.group)
        && args.label.iter().all(has)
}

fn table(views: &[WorkloadView], printer: &Printer) -> anyhow::Result<()> {
    let row = |view: &WorkloadView| {
        [
            view.name.clone(),
            view.package.clone(),
            view.status.to_string(),
            view.url.clone(),
            view.port.to_string(),
            view.group.clone(),
            view.created_at.to_string(),
        ]
    };
    let rows: Vec<_> = views.iter().map(row).collect();
    printer.table(["NAME", "PACKAGE", "STATUS", "URL", "PORT", "GROUP", "CREATED"], &rows)
}

/// What clients have in their configuration.
#[derive(Serialize)]
struct ClientEntries<'a> {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<&'a str, ClientEntry<'a>>,
}

#[derive(Serialize)]
struct ClientEntry<'a> {
    url: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

impl<'a> ClientEntries<'a> {
    fn of(views: &'a [WorkloadView]) -> Self {
        let entry = |view: &'a WorkloadView| {
            (view.name.as_str(), ClientEntry { url: &view.url, kind: &view.proxy_mode })
        };
        Self { servers: views.iter().map(entry).collect() }
    }
}

/// What is told of one.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "str::is_empty")]
    health: &'a str,
    package: &'a str,
    url: &'a str,
    port: u16,
    transport: &'a str,
    proxy_mode: &'a str,
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime: Option<String>,
}

pub(crate) fn status(args: &StatusArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let view = daemon::ask(async |daemon: DaemonClient| Ok(daemon.show(&args.name).await?))?;
    let told = Told {
        name: &view.name,
        status: view.status,
        health: &view.status_context,
        package: &view.package,
        url: &view.url,
        port: view.port,
        transport: &view.transport_type,
        proxy_mode: &view.proxy_mode,
        group: &view.group,
        uptime: uptime(&view.started_at, SystemTime::now()),
    };
    match args.format {
        OutputFormat::Json => printer.json(&told)?,
        OutputFormat::Text => printer.data(&text(&told, &view))?,
    }
    Ok(Outcome::Done)
}

fn text(told: &Told<'_>, view: &WorkloadView) -> String {
    let created = view.created_at.as_str().get(..19).unwrap_or_default().replace('T', " ");
    let port = told.port.to_string();
    let lines = [
        ("Name", told.name),
        ("Status", told.status.as_str()),
        ("Health", told.health),
        ("Package", told.package),
        ("URL", told.url),
        ("Port", &port),
        ("Transport", told.transport),
        ("Proxy Mode", told.proxy_mode),
        ("Group", told.group),
        ("Created", &created),
        ("Remote", if view.remote { "true" } else { "" }),
        ("Uptime", told.uptime.as_deref().unwrap_or_default()),
    ];
    let said = lines.iter().filter(|(_, value)| !value.is_empty());
    said.map(|(title, value)| format!("{:<12}{value}\n", format!("{title}:"))).collect()
}

/// `2d 3h 4m`, of what has started.
fn uptime(started: &Timestamp, now: SystemTime) -> Option<String> {
    if started.is_never() {
        return None;
    }
    let started = humantime::parse_rfc3339_weak(started.as_str()).ok()?;
    let minutes = now.duration_since(started).unwrap_or(Duration::ZERO).as_secs() / 60;
    let (days, hours, minutes) = (minutes / (24 * 60), minutes / 60 % 24, minutes % 60);
    Some(match (days, hours) {
        (0, 0) => format!("{minutes}m"),
        (0, hours) => format!("{hours}h {minutes}m"),
        (days, hours) => format!("{days}d {hours}h {minutes}m"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_in_days_hours_and_minutes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (seconds, expect) in [(59, "0m"), (3_661, "1h 1m"), (2 * 86_400 + 61, "2d 0h 1m")] {
            let started = Timestamp::from(now - Duration::from_secs(seconds));
            assert_eq!(uptime(&started, now).as_deref(), Some(expect));
        }
        assert_eq!(uptime(&Timestamp::default(), now), None);
    }
}
