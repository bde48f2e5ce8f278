//! `skep runtime check`.

use workload::sandbox::{self, Finding, Standing};

use crate::args::{OutputFormat, RuntimeArgs, RuntimeCommand};
use crate::exit::Outcome;
use crate::printer::Printer;

pub(crate) fn run(args: &RuntimeArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let RuntimeCommand::Check { format } = args.command;
    let findings = sandbox::check();
    let missing = |finding: &&Finding| matches!(finding.standing, Standing::Missing { .. });
    match format {
        OutputFormat::Json => printer.json(&findings)?,
        OutputFormat::Text => {
            let rows: Vec<_> = findings.iter().map(row).collect();
            printer.table(["PART", "HELD", "HOW"], &rows)?;
            for finding in findings.iter().filter(missing) {
                if let Standing::Missing { what_helps, .. } = &finding.standing {
                    printer.say(&format!("\n{}: {what_helps}", finding.part));
                }
            }
        }
    }
    let is_enough = findings.iter().filter(missing).all(|finding| finding.part.can_be_waived());
    Ok(if is_enough { Outcome::Done } else { Outcome::Failed })
}

fn row(finding: &Finding) -> [String; 3] {
    let (held, how) = match &finding.standing {
        Standing::Enforced { by } => ("yes", by.clone().unwrap_or_default()),
        Standing::Missing { why, .. } => ("no", why.clone()),
    };
    [finding.part.to_string(), held.to_owned(), how]
}
