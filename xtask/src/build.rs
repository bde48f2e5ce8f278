//! The folders of the workspace, and the binary that is tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// `target`, wherever cargo was told to put it.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// The `skep` that `SKEP_TEST_BINARY` names, or else one built with a profile.
pub(crate) fn skep(profile: &str) -> anyhow::Result<PathBuf> {
    if let Some(binary) = testkit::program::binary() {
        ensure!(binary.is_file(), "SKEP_TEST_BINARY: {} is no file", binary.display());
        return Ok(binary);
    }
    cargo(&["build", "--package", "cli", "--bin", "skep", "--profile", profile])?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let path = target().join(folder).join("skep");
    ensure!(path.is_file(), "{} was not built", path.display());
    Ok(path)
}

/// Runs cargo in the workspace.
pub(crate) fn cargo(args: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    run(command.args(args).current_dir(root()))
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} could not be started"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
