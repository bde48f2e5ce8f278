//! Where skep keeps its files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use etcetera::{BaseStrategy, choose_base_strategy};
use manager::daemon::Folders;

use crate::face::Face;

/// Where packages are installed: `~/.cache/skep/packages`. What is there can be had again.
pub(crate) fn packages() -> Option<PathBuf> {
    choose_base_strategy().ok().map(|base| base.cache_dir().join("skep/packages"))
}

/// Ours under the XDG folders: `~/.config`, `~/.local/state` and `~/.local/share`.
///
/// # Errors
/// There is no home directory.
pub(crate) fn folders() -> anyhow::Result<Folders> {
    folders_of(Face::of_this_process())
}

/// Those under another name.
///
/// # Errors
/// There is no home directory.
pub(crate) fn folders_of(face: &Face) -> anyhow::Result<Folders> {
    let base = choose_base_strategy().context("there is no home directory: set HOME")?;
    let data = base.data_dir().join(face.folder);
    let state = base.state_dir().map_or_else(|| data.clone(), |state| state.join(face.folder));
    Ok(Folders { run: state.join("run"), state, data, config: base.config_dir().join(face.folder) })
}

/// Those under a home directory where nobody says otherwise.
pub(crate) fn folders_in(home: &Path, face: &Face) -> Folders {
    let below = |folder: &str| home.join(folder).join(face.folder);
    let state = below(".local/state");
    Folders { run: state.join("run"), state, data: below(".local/share"), config: below(".config") }
}
