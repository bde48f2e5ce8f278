//! Following a path as the system does, and telling which links led the way.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::MOST_LINKS;

/// Where a path leads.
pub(super) struct Walk {
    /// Without links.
    pub(super) real: PathBuf,
    /// Each link on the way, at the place where it really is.
    pub(super) links: Vec<PathBuf>,
}

/// Follows an absolute path. `None` where it leads to nothing.
pub(super) fn walk(path: &Path) -> Option<Walk> {
    let mut walk = Walk { real: PathBuf::from("/"), links: Vec::new() };
    let mut left: Vec<OsString> = parts(path).collect();
    left.reverse();
    while let Some(part) = left.pop() {
        if part == ".." {
            walk.real.pop();
            continue;
        }
        let next = walk.real.join(part);
        match fs::read_link(&next) {
            Ok(text) => {
                if text.is_absolute() {
                    walk.real = PathBuf::from("/");
                }
                let at = left.len();
                left.extend(parts(&text));
                left[at..].reverse();
                walk.links.push(next);
            }
            // It is there, and no link.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => walk.real = next,
            Err(_) => return None,
        }
        if walk.links.len() > MOST_LINKS {
            return None;
        }
    }
    Some(walk)
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn it_leads_where_the_system_goes_and_names_each_link() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "").unwrap();
        symlink("a/b", dir.join("relative")).unwrap();
        symlink(dir.join("relative"), dir.join("absolute")).unwrap();
        symlink("../relative/file", dir.join("a/file")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        for (path, links) in [
            ("a/b/file", &[][..]),
            ("relative/file", &["relative"]),
            ("absolute/../file", &["absolute", "relative", "a/file", "relative"]),
        ] {
            let path = dir.join(path);
            let walked = walk(&path).unwrap();
            assert_eq!(walked.real, path.canonicalize().unwrap());
            assert_eq!(walked.links, links.iter().map(|link| dir.join(link)).collect::<Vec<_>>());
        }
        assert!(walk(&dir.join("loop")).is_none() && walk(&dir.join("absent/x")).is_none());
    }
}
