//! `skep build`: the image of a package, or its Dockerfile.

use std::collections::BTreeMap;

use anyhow::Context;
use manager::packages::{self, ImageConfig};
use model::PackageSpec;
use model::run_config::RuntimeConfig;

use crate::args::BuildArgs;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::surroundings;

pub(crate) fn run(args: &BuildArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let package: PackageSpec = args.package.parse()?;
    let runtime = RuntimeConfig {
        builder_image: args.runtime_image.clone().unwrap_or_default(),
        additional_packages: args.runtime_add_package.clone(),
        build_with: args.build_with.clone(),
        ..RuntimeConfig::default()
    };
    let made = ImageConfig {
        package,
        program: args.program.clone(),
        args: args.args.clone(),
        runtime,
        build_env: BTreeMap::new(),
        logins: BTreeMap::new(),
        ca: None,
    };
    if args.output.is_none() && !args.dry_run {
        return built(&made, args, printer);
    }
    let recipe = packages::image(&made)?;
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

/// Has a runtime build it, and tells what it is called.
fn built(made: &ImageConfig, args: &BuildArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let around = surroundings::here()?;
    let tell = |text: &str| printer.say(text);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = runtime.block_on(packages::build(made, args.tag.as_deref(), &around, &tell))?;
    printer.data(&format!("{name}\n"))?;
    Ok(Outcome::Done)
}
