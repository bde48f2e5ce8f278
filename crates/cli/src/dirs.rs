//! Where skep keeps its files.

use std::path::PathBuf;

use anyhow::Context;
use etcetera::{BaseStrategy, choose_base_strategy};

/// `$XDG_STATE_HOME/skep`, usually `~/.local/state/skep`: what must survive a restart and nobody edits.
///
/// # Errors
/// There is no home directory.
pub(crate) fn state() -> anyhow::Result<PathBuf> {
    let base = choose_base_strategy().context("there is no home directory")?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("skep"))
}
