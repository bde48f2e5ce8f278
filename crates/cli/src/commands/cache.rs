//! `skep cache`: the packages that are installed.

use manager::packages::{self, Cached};

use crate::args::{CacheArgs, CacheCommand, OutputFormat};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::surroundings;

pub(crate) fn run(args: &CacheArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let around = surroundings::here()?;
    match args.command {
        CacheCommand::List { format } => {
            let cached = packages::list(&around)?;
            match format {
                OutputFormat::Json => printer.json(&cached)?,
                OutputFormat::Text if cached.is_empty() => printer.say("No packages are installed"),
                OutputFormat::Text => {
                    let rows: Vec<_> = cached.iter().map(row).collect();
                    printer.table(["PACKAGE", "WITH", "SIZE", "INSTALLED", "USED BY"], &rows)?;
                }
            }
        }
        CacheCommand::Prune => {
            let pruned = packages::prune(&around)?;
            let (packages, size) = (pruned.packages, mebibytes(pruned.bytes));
            printer.say(&format!("{packages} removed, {size}; {} in use and left", pruned.in_use));
        }
    }
    Ok(Outcome::Done)
}

fn row(cached: &Cached) -> [String; 5] {
    [
        cached.package.clone(),
        cached.with.join(" "),
        mebibytes(cached.size),
        cached.installed_at.clone(),
        cached.used_by.join(" "),
    ]
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}
