//! `.thvignore`: which paths of a mounted directory its workload does not see.
//!
//! A line is a path of the directory, or a shell pattern whose `*` stops at `/`; with a `/` at its end it
//! is a directory and no pattern. Empty lines and those that begin with `#` say nothing. It is looked once, when the
//! workload is started.
//!
//! INVARIANT: what cannot be read or understood is an error, never a path that stays visible. Lines in the ways of other
//! tools (`!`, `**`) mean here what they mean in ToolHive, which is seldom what was meant: they are reported.

mod pattern;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::file::{self, FileError};
use pattern::Pattern;

/// The name of the file in a mounted directory.
pub const FILE_NAME: &str = ".thvignore";

/// Why it is not known what is to be hidden.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}, line {number}: {line:?} {problem}", path.display())]
    Line { path: PathBuf, number: usize, line: String, problem: &'static str },
}

/// The lines of an ignore file.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRules {
    path: PathBuf,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    number: usize,
    line: String,
    /// The parts of its path, of which there is at least one.
    parts: Vec<String>,
    directory_only: bool,
}

/// What is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
}

/// The paths of one mounted directory that are to be covered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Relative to the directory, in order, none below another. A symbolic link has the kind of what it leads to.
    pub paths: Vec<(PathBuf, Kind)>,
    /// Lines that are written in the way of other tools and do not mean here what they mean there.
    pub misleading: Vec<String>,
}

impl IgnoreRules {
    /// Reads an ignore file. One that is not there has no lines.
    ///
    /// # Errors
    /// [`IgnoreError`].
    pub fn read(path: &Path) -> Result<Self, IgnoreError> {
        let text = file::read(path)?.unwrap_or_default();
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let rule = Rule::parse(number, line);
            rules.push(rule.map_err(|problem| IgnoreError::Line {
                path: path.to_owned(),
                number,
                line: line.to_owned(),
                problem,
            })?);
        }
        Ok(Self { path: path.to_owned(), rules })
    }
}

impl Rule {
    fn parse(number: usize, line: &str) -> Result<Self, &'static str> {
        let parts: Vec<String> =
            line.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect();
        if parts.is_empty() {
            return Err("is the whole directory: do not mount it instead");
        }
        if parts.iter().any(|part| part == "..") {
            return Err("leads out of the directory: write a path below it, without ..");
        }
        Ok(Self { number, line: line.to_owned(), parts, directory_only: line.ends_with('/') })
    }

    fn is_misleading(&self) -> bool {
        self.line.starts_with('!')
            || self.line.contains("**")
            || self.directory_only && self.line.contains(['*', '?'])
    }
}

/// What is covered in a mounted directory: what the global rules say of it, and its own file.
///
/// # Errors
/// [`IgnoreError`]: then the directory must not be mounted.
pub fn covered(directory: &Path, global: &IgnoreRules) -> Result<Covered, IgnoreError> {
    let own = IgnoreRules::read(&directory.join(FILE_NAME))?;
    let mut found = BTreeMap::new();
    let mut misleading = Vec::new();
    for rules in [global, &own] {
        for rule in &rules.rules {
            find(directory, rules, rule, &mut found)?;
            if rule.is_misleading() {
                misleading.push(format!("{}, line {}: {}", rules.path.display(), rule.number, rule.line));
            }
        }
    }
    Ok(Covered { paths: outermost(found), misleading })
}

fn find(
    directory: &Path,
    rules: &IgnoreRules,
    rule: &Rule,
    found: &mut BTreeMap<PathBuf, Kind>,
) -> Result<(), IgnoreError> {
    let exact: PathBuf = rule.parts.iter().collect();
    match (kind(&directory.join(&exact))?, rule.directory_only) {
        (Some(Kind::Directory), _) => {
            found.insert(exact, Kind::Directory);
        }
        (Some(Kind::File), false) => {
            found.insert(exact, Kind::File);
        }
        (Some(Kind::File) | None, true) => {}
        (None, false) => {
            let parts: Result<Vec<Pattern>, _> = rule.parts.iter().map(|part| Pattern::parse(part)).collect();
            let parts = parts.map_err(|problem| IgnoreError::Line {
                path: rules.path.clone(),
                number: rule.number,
                line: rule.line.clone(),
                problem,
            })?;
            for path in matching(directory, &parts)? {
                if let Some(kind) = kind(&directory.join(&path))? {
                    found.insert(path, kind);
                }
            }
        }
    }
    Ok(())
}

/// The paths below a directory, relative to it, each part of which fits its pattern.
fn matching(directory: &Path, parts: &[Pattern]) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = vec![PathBuf::new()];
    for (index, part) in parts.iter().enumerate() {
        let mut next = Vec::new();
        for path in paths {
            let folder = directory.join(&path);
            // The directory itself must be there; below, what is no directory has nothing in it.
            if index > 0 && kind(&folder)? != Some(Kind::Directory) {
                continue;
            }
            for entry in fs::read_dir(&folder).map_err(FileError::on(&folder, "listed"))? {
                let name = entry.map_err(FileError::on(&folder, "listed"))?.file_name();
                if part.matches(&name.to_string_lossy()) {
                    next.push(path.join(name));
                }
            }
        }
        paths = next;
    }
    Ok(paths)
}

/// What is at a path; `None` where there is nothing, or a link to nothing.
fn kind(path: &Path) -> Result<Option<Kind>, FileError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(if found.is_dir() { Kind::Directory } else { Kind::File })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(FileError::on(path, "looked at")(error)),
    }
}

/// Without what is below a directory that is covered already: there is nothing to cover any more.
fn outermost(found: BTreeMap<PathBuf, Kind>) -> Vec<(PathBuf, Kind)> {
    let mut paths: Vec<(PathBuf, Kind)> = Vec::new();
    // A directory comes right before what is below it.
    for (path, kind) in found {
        let is_below = paths.last().is_some_and(|(last, _)| path.starts_with(last));
        if !is_below {
            paths.push((path, kind));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files; names that end with `/` are directories.
    fn directory(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
        }
        directory
    }

    fn check(names: &[&str], lines: &str, expect: &[&str]) {
        let directory = directory(names);
        fs::write(directory.path().join(FILE_NAME), lines).unwrap();
        let covered = covered(directory.path(), &IgnoreRules::default()).unwrap();
        let shown = covered.paths.iter().map(|(path, kind)| match kind {
            Kind::File => path.display().to_string(),
            Kind::Directory => format!("{}/", path.display()),
        });
        assert_eq!(shown.collect::<Vec<_>>(), expect, "{lines:?}");
    }

    #[test]
    fn lines_are_paths_and_patterns() {
        let names = [
            ".env",
            ".env.local",
            "a.key",
            "b/c.key",
            "b/d/e.key",
            "build/out",
            "file",
            "[x].txt",
            "x.txt",
            "é",
        ];
        for (lines, expect) in [
            ("", &[][..]),
            ("# .env\n\n   \n", &[]),
            ("  .env  \r\n", &[".env"]),
            (".env*", &[".env", ".env.local"]),
            ("*.key", &["a.key"]),
            ("*/*.key", &["b/c.key"]),
            ("b/*.key", &["b/c.key"]),
            ("*/*/e.key", &["b/d/e.key"]),
            ("build/", &["build/"]),
            ("build", &["build/"]),
            ("./build", &["build/"]),
            ("/build", &["build/"]),
            ("b/d", &["b/d/"]),
            ("file/", &[]),
            ("buil*/", &[]),
            ("nothing", &[]),
            ("file/x", &[]),
            ("[x].txt", &["[x].txt"]),
            ("[w-y].txt", &["x.txt"]),
            ("[^a].txt", &["x.txt"]),
            ("?", &["b/", "é"]),
            ("b\nb/c.key\nb/d/e.key", &["b/"]),
            ("b*\n*.key", &["a.key", "b/", "build/"]),
        ] {
            check(&names, lines, expect);
        }
    }

    #[test]
    fn what_is_written_for_other_tools_is_reported() {
        let directory = directory(&["a/b.log", "b.log", "keep"]);
        fs::write(directory.path().join(FILE_NAME), "!keep\n**/b.log\n*/\na/\n").unwrap();
        let covered = covered(directory.path(), &IgnoreRules::default()).unwrap();
        assert_eq!(covered.paths, [(PathBuf::from("a"), Kind::Directory)]);
        assert_eq!(covered.misleading.len(), 3, "{:?}", covered.misleading);
    }

    #[test]
    fn the_global_file_holds_for_each_directory() {
        let (home, mounted) = (directory(&[]), directory(&["a", "b"]));
        let path = home.path().join("thvignore");
        fs::write(&path, "a\n").unwrap();
        let global = IgnoreRules::read(&path).unwrap();
        let covered = covered(mounted.path(), &global).unwrap();
        assert_eq!(covered.paths, [(PathBuf::from("a"), Kind::File)]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in ["../x", "a/../b", "/", "./", ".", "[a", "a\\", "[z-a]", "[]"] {
            let directory = directory(&["a/b"]);
            fs::write(directory.path().join(FILE_NAME), line).unwrap();
            assert!(
                matches!(covered(directory.path(), &IgnoreRules::default()), Err(IgnoreError::Line { .. })),
                "{line}"
            );
        }
        let unreadable = directory(&[".thvignore/"]);
        assert!(matches!(covered(unreadable.path(), &IgnoreRules::default()), Err(IgnoreError::File(_))));
        let no_text = directory(&[]);
        fs::write(no_text.path().join(FILE_NAME), b"\xff\xfe").unwrap();
        assert!(covered(no_text.path(), &IgnoreRules::default()).is_err());
    }

    #[test]
    fn links_are_what_they_lead_to() {
        let directory = directory(&["real/x"]);
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
        fs::write(directory.path().join(FILE_NAME), "link\ndangling\n").unwrap();
        let covered = covered(directory.path(), &IgnoreRules::default()).unwrap();
        assert_eq!(covered.paths, [(PathBuf::from("link"), Kind::Directory)]);
    }
}
