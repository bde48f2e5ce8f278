//! A server that is a package: from what was written to a version that is installed.

use std::path::Path;

use manager::packages::{self, InUse};
use model::run_config::RuntimeConfig;
use model::{PackageSpec, RunConfig, WorkloadName};
use workload::container::Runtime;

use crate::args::{IsolationLevel, RunArgs};
use crate::commands::configure;
use crate::printer::Printer;
use crate::surroundings;

/// A package as it is written; a folder with its whole path, since others will look there.
pub(super) fn read(text: &str) -> anyhow::Result<PackageSpec> {
    let package: PackageSpec = text.parse()?;
    match package.is_local() {
        true => Ok(package.in_folder(&configure::whole_path(Path::new(package.name()))?)),
        false => Ok(package),
    }
}

/// What a server of it is called: a folder by its last part.
pub(super) fn name(package: &PackageSpec) -> WorkloadName {
    match Path::new(package.name()).file_name() {
        Some(name) if package.is_local() => WorkloadName::derive(&name.to_string_lossy()),
        _ => package.workload_name(),
    }
}

/// What was asked for.
pub(super) fn configure(config: &mut RunConfig, package: &PackageSpec, args: &RunArgs) {
    let runtime = RuntimeConfig {
        builder_image: args.runtime_image.clone().unwrap_or_default(),
        additional_packages: args.runtime_add_package.clone(),
        build_with: args.build_with.clone(),
        ..RuntimeConfig::default()
    };
    if runtime != RuntimeConfig::default() {
        config.runtime_config = Some(runtime);
    }
    config.skep_mut().package = package.to_string();
}

/// Whether it is run in a container: if that is said, and if nothing is said and there is something that runs containers.
/// A folder is not made an image of.
pub(super) fn is_contained(package: &PackageSpec, level: Option<IsolationLevel>) -> anyhow::Result<bool> {
    match level {
        Some(level) => Ok(level == IsolationLevel::Container),
        None if package.is_local() => Ok(false),
        None => {
            let sockets = surroundings::here()?.runtimes.sockets;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(Runtime::find(&sockets)).is_ok())
        }
    }
}

/// Finds out the version, and installs it.
pub(super) fn pin(config: &mut RunConfig, printer: &Printer) -> anyhow::Result<Option<InUse>> {
    if config.skep.as_ref().is_none_or(|skep| skep.package.is_empty()) {
        return Ok(None);
    }
    let around = surroundings::here()?;
    let tell = |text: &str| printer.say(text);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(packages::pin(config, &around, &tell))?)
}
