//! Where what is hidden has to be covered, and what keeps it from being moved out from under its cover. Pure.
//!
//! A path is hidden by what it is on the host: wherever else it is shown, as part of an installation or of another
//! mount, it is covered as well. In a directory that can be written each directory on the way to it is pinned: a
//! directory that is renamed takes the cover with it, and another one can be made in its place.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HOME;
use super::plan::Shown;

/// A path inside that is covered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hidden {
    pub(crate) path: OsString,
    /// Whether the command could have put links on the way to it.
    pub(crate) is_in_writable: bool,
    /// Whether it was named at another place, and may be out of sight at this one.
    pub(crate) is_elsewhere: bool,
}

impl Hidden {
    /// A path that is covered where it exists.
    pub(crate) fn if_there(path: &Path) -> Self {
        Self { path: path.into(), is_in_writable: false, is_elsewhere: true }
    }
}

/// All that is to be covered.
pub(crate) struct Covers {
    /// What is further up first.
    pub(crate) pinned: BTreeSet<PathBuf>,
    pub(crate) hidden: Vec<Hidden>,
}

/// One tree of the host as it is seen inside.
struct Tree<'a> {
    source: &'a Path,
    target: &'a Path,
    is_writable: bool,
}

/// Finds them for what is named, inside, as hidden and as fixed.
pub(crate) fn covers(hide: &[PathBuf], fixed: &[PathBuf], shown: &[Shown], home: Option<&Path>) -> Covers {
    let kept = home.map(|source| Tree { source, target: Path::new(HOME), is_writable: true });
    let trees: Vec<Tree<'_>> = kept
        .into_iter()
        .chain(shown.iter().map(|shown| Tree {
            source: Path::new(&shown.source),
            target: Path::new(&shown.target),
            is_writable: shown.is_writable,
        }))
        .collect();
    let mut covers = Covers { pinned: BTreeSet::new(), hidden: Vec::new() };
    for path in hide {
        let owner = owner(path, &trees);
        covers.add(path, owner, false);
        let Some(below) =
            owner.and_then(|owner| Some(owner.source.join(path.strip_prefix(owner.target).ok()?)))
        else {
            continue;
        };
        for tree in &trees {
            if let Ok(rest) = below.strip_prefix(tree.source)
                && !rest.as_os_str().is_empty()
            {
                covers.add(&tree.target.join(rest), Some(tree), true);
            }
        }
    }
    for path in fixed {
        covers.pin(path, owner(path, &trees));
    }
    covers
}

/// The tree in which a path is seen: the deepest, and of those at one place the last.
fn owner<'a, 'b>(path: &Path, trees: &'b [Tree<'a>]) -> Option<&'b Tree<'a>> {
    let above = trees.iter().filter(|tree| path.starts_with(tree.target));
    above.max_by_key(|tree| tree.target.components().count())
}

impl Covers {
    fn add(&mut self, path: &Path, tree: Option<&Tree<'_>>, is_elsewhere: bool) {
        if self.hidden.iter().any(|hidden| Path::new(&hidden.path) == path) {
            return;
        }
        let is_in_writable = tree.is_some_and(|tree| tree.is_writable);
        self.pin(path, tree);
        self.hidden.push(Hidden { path: path.into(), is_in_writable, is_elsewhere });
    }

    /// Pins what is between a path and the top of a tree that can be written.
    fn pin(&mut self, path: &Path, tree: Option<&Tree<'_>>) {
        let Some(tree) = tree.filter(|tree| tree.is_writable) else { return };
        let between = path.ancestors().skip(1).take_while(|dir| *dir != tree.target);
        self.pinned.extend(between.filter(|dir| dir.starts_with(tree.target)).map(Path::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, target: &str, is_writable: bool) -> Shown {
        Shown { source: source.into(), target: target.into(), is_writable }
    }

    #[test]
    fn a_path_is_covered_wherever_it_is_shown() {
        let shown = [
            shown("/proj", "/proj", false),
            shown("/other", "/other", false),
            shown("/proj/.env", "/env", false),
            shown("/proj", "/work", true),
        ];
        let hide = ["/work/.env", "/work/a/b/key", "/other/x/y"].map(PathBuf::from);
        let covers = covers(&hide, &["/work/c/.thvignore".into()], &shown, Some(Path::new("/kept")));
        let found: Vec<_> = covers
            .hidden
            .iter()
            .map(|hidden| (hidden.path.to_str().unwrap(), hidden.is_in_writable, hidden.is_elsewhere))
            .collect();
        let expect = [
            ("/work/.env", true, false),
            ("/proj/.env", false, true),
            ("/work/a/b/key", true, false),
            ("/proj/a/b/key", false, true),
            ("/other/x/y", false, false),
        ];
        assert_eq!(found, expect);
        assert_eq!(Vec::from_iter(covers.pinned), ["/work/a", "/work/a/b", "/work/c"].map(PathBuf::from));
    }
}
