//! `skep runtime check`.

use workload::container::{ContainerError, Runtime};
use workload::sandbox::{self, Finding, Standing};

use crate::args::{OutputFormat, RuntimeArgs, RuntimeCommand};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::surroundings;

pub(crate) fn run(args: &RuntimeArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let RuntimeCommand::Check { format } = args.command;
    let findings = sandbox::check();
    let containers = containers()?;
    let parts = findings.iter().map(|finding| (finding.part.to_string(), &finding.standing));
    let parts: Vec<_> = parts.chain([("containers".to_owned(), &containers)]).collect();
    match format {
        OutputFormat::Json => {
            let of_containers = serde_json::json!({"part": "containers", "standing": containers});
            let all = findings.iter().map(serde_json::to_value).chain([Ok(of_containers)]);
            printer.json(&Result::<Vec<_>, _>::from_iter(all)?)?;
        }
        OutputFormat::Text => {
            let rows: Vec<_> = parts.iter().map(|(part, standing)| row(part, standing)).collect();
            printer.table(["PART", "HELD", "HOW"], &rows)?;
            for (part, standing) in parts {
                if let Standing::Missing { what_helps, .. } = standing {
                    printer.say(&format!("\n{part}: {what_helps}"));
                }
            }
        }
    }
    // Commands need no containers.
    let missing = |finding: &&Finding| matches!(finding.standing, Standing::Missing { .. });
    let is_enough = findings.iter().filter(missing).all(|finding| finding.part.can_be_waived());
    Ok(if is_enough { Outcome::Done } else { Outcome::Failed })
}

/// What would run an image.
fn containers() -> anyhow::Result<Standing> {
    let sockets = surroundings::here()?.runtimes.sockets;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(Runtime::find(&sockets)) {
        Ok(found) => {
            let rights = if found.is_rootless() { "rootless" } else { "with root's rights" };
            let (kind, version, socket) = (found.kind(), found.version(), found.socket().display());
            Standing::Enforced { by: Some(format!("{kind} {version} at {socket}, {rights}")) }
        }
        Err(error) => {
            let why = error.to_string();
            let what_helps = ContainerError::from(error).hint().unwrap_or_default().to_owned();
            Standing::Missing { why, what_helps }
        }
    })
}

fn row(part: &str, standing: &Standing) -> [String; 3] {
    let (held, how) = match standing {
        Standing::Enforced { by } => ("yes", by.clone().unwrap_or_default()),
        Standing::Missing { why, .. } => ("no", why.clone()),
    };
    [part.to_owned(), held.to_owned(), how]
}
