//! `skep version`.

use serde::Serialize;

use crate::args::{OutputFormat, VersionArgs};
use crate::exit::Outcome;
use crate::face::{Face, VersionTold};
use crate::printer::Printer;

#[derive(Serialize)]
struct Version {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_date: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    go_version: Option<&'static str>,
    platform: String,
}

pub(crate) fn run(args: &VersionArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let unknown = match Face::of_this_process().version {
        VersionTold::Short => None,
        VersionTold::EachKey => Some("unknown"),
    };
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: unknown,
        build_date: unknown,
        go_version: unknown.map(|_| "none"),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    };
    let format = if args.json { OutputFormat::Json } else { args.format };
    match format {
        OutputFormat::Text => printer.data(&format!("skep {} ({})\n", version.version, version.platform))?,
        OutputFormat::Json => printer.json(&version)?,
    }
    Ok(Outcome::Done)
}
