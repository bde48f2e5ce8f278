//! Where skep keeps its files.

use std::path::PathBuf;

use anyhow::Context;
use etcetera::{BaseStrategy, choose_base_strategy};
use manager::daemon::Folders;

/// Where packages are installed: `~/.cache/skep/packages`. What is there can be had again.
pub(crate) fn packages() -> Option<PathBuf> {
    choose_base_strategy().ok().map(|base| base.cache_dir().join("skep/packages"))
}

/// `skep` under the XDG folders: `~/.config`, `~/.local/state` and `~/.local/share`.
///
/// # Errors
/// There is no home directory.
pub(crate) fn folders() -> anyhow::Result<Folders> {
    let base = choose_base_strategy().context("there is no home directory: set HOME")?;
    let data = base.data_dir().join("skep");
    let state = base.state_dir().map_or_else(|| data.clone(), |state| state.join("skep"));
    Ok(Folders { run: state.join("run"), state, data, config: base.config_dir().join("skep") })
}
