//! `skep build`: the Dockerfile of a package.

use std::collections::BTreeMap;

use anyhow::Context;
use manager::packages::{self, ImageConfig};
use model::PackageSpec;
use model::run_config::RuntimeConfig;

use crate::args::BuildArgs;
use crate::exit::Outcome;
use crate::printer::Printer;

pub(crate) fn run(args: &BuildArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let package: PackageSpec = args.package.parse()?;
    let runtime = RuntimeConfig {
        builder_image: args.runtime_image.clone().unwrap_or_default(),
        additional_packages: args.runtime_add_package.clone(),
        build_with: args.build_with.clone(),
        ..RuntimeConfig::default()
    };
    let recipe = packages::image(&ImageConfig {
        package,
        program: args.program.clone(),
        args: args.args.clone(),
        runtime,
        build_env: BTreeMap::new(),
        logins: BTreeMap::new(),
        ca: None,
    })?;
    if let Some(path) = &args.output {
        std::fs::write(path, &recipe.dockerfile)
            .with_context(|| format!("{} could not be written", path.display()))?;
    }
    if args.dry_run {
        printer.data(&recipe.dockerfile)?;
    }
    printer.say(&format!("to be built as {}", recipe.name));
    Ok(Outcome::Done)
}
