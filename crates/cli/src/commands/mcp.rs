//! `skep mcp list` and `skep mcp call`.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use manager::client::{self, CallOutcome, Category, ClientSettings, Listing};
use manager::daemon::client::DaemonClient;
use manager::headers;

use super::daemon;
use crate::args::{McpArgs, McpCallArgs, McpCategory, McpCommand, McpListArgs, McpServerArgs, OutputFormat};
use crate::exit::Outcome;
use crate::printer::Printer;

pub(crate) fn run(args: &McpArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let (McpCommand::List(McpListArgs { server, .. }) | McpCommand::Call(McpCallArgs { server, .. })) =
        &args.command;
    let settings = settings(server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &args.command {
        McpCommand::List(args) => runtime.block_on(list(args, &settings, printer)),
        McpCommand::Call(args) => runtime.block_on(call(args, &settings, printer)),
    }
}

impl From<McpCategory> for Category {
    fn from(category: McpCategory) -> Self {
        match category {
            McpCategory::Tools => Self::Tools,
            McpCategory::Resources => Self::Resources,
            McpCategory::Prompts => Self::Prompts,
        }
    }
}

fn settings(args: &McpServerArgs) -> anyhow::Result<ClientSettings> {
    let mut settings = ClientSettings::new(&url(&args.server)?);
    settings.transport = args.transport.parse()?;
    settings.headers = headers::parse(&args.headers)?;
    settings.timeout = args.timeout;
    Ok(settings)
}

/// What is no URL is a name.
fn url(server: &str) -> anyhow::Result<String> {
    if server.contains("://") {
        return Ok(server.to_owned());
    }
    let view = daemon::ask(async |daemon: DaemonClient| Ok(daemon.show(server).await?))?;
    if view.url.is_empty() {
        bail!("{server} has no endpoint yet: it is {}", view.status);
    }
    Ok(view.url)
}

async fn list(args: &McpListArgs, settings: &ClientSettings, printer: &Printer) -> anyhow::Result<Outcome> {
    let categories = match args.category {
        None => Category::ALL.to_vec(),
        Some(category) => vec![category.into()],
    };
    let listing = client::list(settings, &categories).await?;
    match args.server.format {
        OutputFormat::Json => printer.json(&listing)?,
        OutputFormat::Text => tables(&listing, printer)?,
    }
    Ok(Outcome::Done)
}

fn tables(listing: &Listing, printer: &Printer) -> anyhow::Result<()> {
    let mut shown = 0;
    let mut heading = |title: &str| {
        shown += 1;
        printer.data(&format!("{}{title}:\n", if shown > 1 { "\n" } else { "" }))
    };
    let or_empty = |text: &Option<String>| one_line(text.as_deref().unwrap_or_default());
    if let Some(tools) = listing.tools.as_ref().filter(|tools| !tools.is_empty()) {
        heading("TOOLS")?;
        let rows: Vec<_> =
            tools.iter().map(|tool| [tool.name.clone(), or_empty(&tool.description)]).collect();
        printer.table(["NAME", "DESCRIPTION"], &rows)?;
    }
    if let Some(resources) = listing.resources.as_ref().filter(|resources| !resources.is_empty()) {
        heading("RESOURCES")?;
        let row = |resource: &client::Resource| {
            [
                resource.name.clone(),
                resource.uri.clone(),
                or_empty(&resource.description),
                resource.mime_type.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = resources.iter().map(row).collect();
        printer.table(["NAME", "URI", "DESCRIPTION", "MIME_TYPE"], &rows)?;
    }
    if let Some(prompts) = listing.prompts.as_ref().filter(|prompts| !prompts.is_empty()) {
        heading("PROMPTS")?;
        let arguments = |prompt: &client::Prompt| {
            let name = |argument: &client::PromptArgument| {
                if argument.required { argument.name.clone() } else { format!("[{}]", argument.name) }
            };
            prompt.arguments.iter().map(name).collect::<Vec<_>>().join(" ")
        };
        let row =
            |prompt: &client::Prompt| [prompt.name.clone(), or_empty(&prompt.description), arguments(prompt)];
        let rows: Vec<_> = prompts.iter().map(row).collect();
        printer.table(["NAME", "DESCRIPTION", "ARGUMENTS"], &rows)?;
    }
    if shown == 0 {
        printer.say("The server offers none of these.");
    }
    Ok(())
}

/// The first line of a description: the rest is for models.
fn one_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().trim_end().to_owned()
}

async fn call(args: &McpCallArgs, settings: &ClientSettings, printer: &Printer) -> anyhow::Result<Outcome> {
    let arguments = match (&args.args, &args.args_file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => Some(read_arguments(path)?),
        (None, None) => None,
    };
    let outcome = client::call(settings, &args.tool, arguments.as_deref()).await?;
    match args.server.format {
        OutputFormat::Json => printer.json(&outcome)?,
        OutputFormat::Text => show(&outcome, printer)?,
    }
    let failed = outcome.is_error && !args.ignore_tool_error;
    Ok(if failed { Outcome::Failed } else { Outcome::Done })
}

fn show(outcome: &CallOutcome, printer: &Printer) -> anyhow::Result<()> {
    if outcome.is_error {
        printer.say("Error: the tool failed");
    }
    for content in &outcome.content {
        match &content.text {
            Some(text) => printer.data(&format!("{text}\n"))?,
            None => printer.json(content)?,
        }
    }
    if let Some(structured) = &outcome.structured {
        printer.data("Structured content:\n")?;
        printer.json(structured)?;
    }
    Ok(())
}

fn read_arguments(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("stdin could not be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))
}
