//! Where skep keeps its files.

use std::path::PathBuf;

use anyhow::Context;
use etcetera::{BaseStrategy, choose_base_strategy};
use manager::control::ControlFolder;

/// `$XDG_STATE_HOME/skep`, usually `~/.local/state/skep`: what must survive a restart and nobody edits.
///
/// # Errors
/// There is no home directory.
pub(crate) fn state() -> anyhow::Result<PathBuf> {
    let base = choose_base_strategy().context("there is no home directory")?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("skep"))
}

/// `$XDG_RUNTIME_DIR/skep`, or a folder in the state directory: where running skeps can be asked.
///
/// # Errors
/// There is no home directory.
pub(crate) fn control() -> anyhow::Result<ControlFolder> {
    let base = choose_base_strategy().context("there is no home directory")?;
    let own = base
        .runtime_dir()
        .map_or_else(|| state().map(|state| state.join("run")), |run| Ok(run.join("skep")))?;
    Ok(ControlFolder(own))
}
