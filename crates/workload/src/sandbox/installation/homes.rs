//! Home directories, which are never shown as a whole.

use std::path::{Path, PathBuf};

/// Where all homes usually are.
const ALL: &str = "/home";

/// The homes of this machine, as they are written and as they really are.
pub(in crate::sandbox) struct Homes {
    homes: Vec<PathBuf>,
    /// Directories in which each directory is one.
    parents: Vec<PathBuf>,
}

impl Homes {
    /// The usual ones, and the user's own.
    pub(in crate::sandbox) fn new(user_home: Option<&Path>) -> Self {
        let both = |path: &Path| [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten();
        let homes = [Some(Path::new("/root")), Some(Path::new(ALL)), user_home].into_iter().flatten();
        Self { homes: homes.flat_map(both).collect(), parents: both(Path::new(ALL)).collect() }
    }

    /// Whether everything of a user, or of all, is in this directory. Homes of others count as well.
    pub(super) fn is_home_or_above(&self, dir: &Path) -> bool {
        let is_one = dir.parent().is_some_and(|parent| self.parents.iter().any(|all| all == parent));
        is_one || self.homes.iter().any(|home| home.starts_with(dir))
    }
}
