//! `skep version`.

use serde::Serialize;

use crate::args::{OutputFormat, VersionArgs};
use crate::exit::Outcome;
use crate::printer::Printer;

#[derive(Serialize)]
struct Version {
    version: &'static str,
    platform: String,
}

pub(crate) fn run(args: &VersionArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    };
    match args.format {
        OutputFormat::Text => printer.data(&format!("skep {} ({})\n", version.version, version.platform))?,
        OutputFormat::Json => printer.json(&version)?,
    }
    Ok(Outcome::Done)
}
