//! `.thvignore`: which paths of a mounted directory its workload does not see.
//!
//! A line is a path of the directory, or a shell pattern whose `*` stops at `/`; with a `/` at its end it
//! is a directory and no pattern. Empty lines and those that begin with `#` say nothing. It is looked once, when the
//! workload is started.
//!
//! The file of a mounted directory may have been written by the workload: it is read as a file of somebody else's, and
//! its lines are not told where they may be of another file.
//!
//! INVARIANT: what cannot be read or understood is an error, never a path that stays visible. Lines in the ways of other
//! tools (`!`, `**`) mean here what they mean in ToolHive, which is seldom what was meant: they are reported.

mod pattern;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::file::{self, FileError, Links};
use pattern::Pattern;

/// The name of the file in a mounted directory.
pub const FILE_NAME: &str = ".thvignore";

/// No ignore file is longer.
const MOST_BYTES: u64 = 1 << 20;

/// What a pattern has and a path seldom.
const SPECIAL: [char; 4] = ['*', '?', '[', '\\'];

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
    /// Whether its lines may be told.
    is_own: bool,
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
    /// Reads an ignore file of the user's. One that is not there has no lines.
    ///
    /// # Errors
    /// [`IgnoreError`].
    pub fn read(path: &Path) -> Result<Self, IgnoreError> {
        Self::read_by(path, Links::Followed)
    }

    fn read_by(path: &Path, links: Links) -> Result<Self, IgnoreError> {
        let found = file::read_regular(path, links, MOST_BYTES)?;
        let (text, is_own) = found.map_or_else(|| (String::new(), true), |found| (found.text, found.is_own));
        let mut rules = Self { path: path.to_owned(), rules: Vec::new(), is_own };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let rule = Rule::parse(index + 1, line);
            rules.rules.push(rule.map_err(|problem| rules.problem(index + 1, line, problem))?);
        }
        Ok(rules)
    }

    fn problem(&self, number: usize, line: &str, problem: &'static str) -> IgnoreError {
        IgnoreError::Line { path: self.path.clone(), number, line: self.told(line).to_owned(), problem }
    }

    fn told<'a>(&self, line: &'a str) -> &'a str {
        if self.is_own { line } else { "(in a file of another user)" }
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

    fn is_pattern(&self) -> bool {
        !self.directory_only && self.line.contains(SPECIAL)
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
    let own = IgnoreRules::read_by(&directory.join(FILE_NAME), Links::Refused)?;
    let mut found = BTreeMap::new();
    let mut misleading = Vec::new();
    for rules in [global, &own] {
        for rule in &rules.rules {
            find(directory, rules, rule, &mut found)?;
            if rule.is_misleading() {
                let line = rules.told(&rule.line);
                misleading.push(format!("{}, line {}: {line}", rules.path.display(), rule.number));
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
    let exactly = kind(&directory.join(&exact))?;
    let is_exact = exactly.is_some();
    if let Some(kind) = exactly.filter(|kind| *kind == Kind::Directory || !rule.directory_only) {
        found.insert(exact, kind);
    }
    // A pattern counts even where somebody has made a file of that very name.
    if rule.directory_only || is_exact && !rule.is_pattern() {
        return Ok(());
    }
    let parts: Result<Vec<Pattern>, _> = rule.parts.iter().map(|part| Pattern::parse(part)).collect();
    let parts = match parts {
        Ok(parts) => parts,
        Err(_) if is_exact => return Ok(()),
        Err(problem) => return Err(rules.problem(rule.number, &rule.line, problem)),
    };
    for path in matching(directory, &parts)? {
        if let Some(kind) = kind(&directory.join(&path))? {
            found.insert(path, kind);
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
            ("[x].txt", &["[x].txt", "x.txt"]),
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
    fn a_file_that_is_named_as_the_pattern_does_not_turn_it_off() {
        check(&["*.pem", "a.pem"], "*.pem", &["*.pem", "a.pem"]);
        check(&["?", "a"], "?", &["?", "a"]);
        check(&["d/*", "d/a"], "d/*", &["d/*", "d/a"]);
        check(&["\\*", "*"], "\\*", &["*", "\\*"]);
        check(&["[a", "a"], "[a", &["[a"]);
    }

    #[test]
    fn a_file_that_is_none_is_an_error_and_nobody_waits_for_it() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let refused = |mounted: &tempfile::TempDir| {
            let error = covered(mounted.path(), &IgnoreRules::default()).unwrap_err();
            assert!(matches!(error, IgnoreError::File(_)), "{error}");
            assert!(!error.to_string().contains("root"), "{error}");
        };
        let pipe = directory(&[]);
        mknodat(CWD, pipe.path().join(FILE_NAME), FileType::Fifo, Mode::RUSR, 0).unwrap();
        refused(&pipe);
        for link in ["/dev/zero", "/etc/passwd", "../nowhere"] {
            let linked = directory(&[]);
            std::os::unix::fs::symlink(link, linked.path().join(FILE_NAME)).unwrap();
            refused(&linked);
        }
        let long = directory(&[]);
        fs::write(long.path().join(FILE_NAME), "a\n".repeat(1 << 20)).unwrap();
        refused(&long);
    }

    #[test]
    fn lines_that_may_be_of_another_file_are_not_told() {
        let mounted = directory(&["other"]);
        fs::write(mounted.path().join("other"), "../secret\n").unwrap();
        fs::hard_link(mounted.path().join("other"), mounted.path().join(FILE_NAME)).unwrap();
        let error = covered(mounted.path(), &IgnoreRules::default()).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn the_users_own_file_may_be_a_link() {
        let home = directory(&["dotfiles/ignore"]);
        std::os::unix::fs::symlink("dotfiles/ignore", home.path().join("thvignore")).unwrap();
        assert_eq!(IgnoreRules::read(&home.path().join("thvignore")).unwrap().rules.len(), 1);
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
