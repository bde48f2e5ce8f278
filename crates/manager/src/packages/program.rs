//! Which program of a package is the server, and how it is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::package::{PackageSpec, Scheme, normal_name};
use serde::{Deserialize, Serialize};

use super::PackageError;
use super::cache::{Entry, Record};

/// A program of an installation; paths are relative to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// What it is run with, where its own first line does not say so: it names the folder that it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) through: Option<PathBuf>,
}

impl Program {
    /// What has to be there.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.path).chain(&self.through)
    }
}

/// How a package is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The installation, which has to be seen.
    pub folder: PathBuf,
    /// The file that is executed.
    pub program: PathBuf,
    /// What stands before the server's own arguments.
    pub args: Vec<String>,
}

impl Launch {
    /// The program, and all its arguments.
    pub(crate) fn line(&self, args: &[String]) -> (&str, Vec<String>) {
        // A path of a folder that was found by its text is one.
        (self.program.to_str().unwrap_or_default(), [&self.args, args].concat())
    }
}

/// How this installation is started.
pub(super) fn launch(entry: &Entry, spec: &PackageSpec, named: Option<&str>) -> Result<Launch, PackageError> {
    let Entry { folder, record } = entry;
    let name = chosen(record, spec, named)?;
    let Program { path, through } = &record.programs[&name];
    let path = folder.join(path);
    let (program, args) = match through {
        Some(through) => (folder.join(through), vec![path.to_string_lossy().into_owned()]),
        None => (path, Vec::new()),
    };
    Ok(Launch { folder: folder.clone(), program, args })
}

/// The one that was named; else the only one; else the one that is called like the package.
pub(super) fn chosen(
    record: &Record,
    spec: &PackageSpec,
    named: Option<&str>,
) -> Result<String, PackageError> {
    let (package, programs) = (record.package.clone(), &record.programs);
    let names = || programs.keys().cloned().collect::<Vec<_>>();
    match (named, names().as_slice()) {
        (_, []) => Err(PackageError::NoProgram(package)),
        (Some(named), _) if programs.contains_key(named) => Ok(named.to_owned()),
        (Some(named), _) => {
            Err(PackageError::OtherPrograms { package, program: named.to_owned(), names: names() })
        }
        (None, [only]) => Ok(only.clone()),
        (None, several) => {
            let found = several.iter().find(|name| is_called_like(name, spec));
            let same = || are_one(programs).then(|| several[0].clone());
            found.cloned().or_else(same).ok_or_else(|| PackageError::ManyPrograms { package, names: names() })
        }
    }
}

fn is_called_like(program: &str, spec: &PackageSpec) -> bool {
    let plain = spec.name().rsplit('/').next().unwrap_or_default();
    match spec.scheme() {
        Scheme::Uvx => normal_name(program) == normal_name(plain),
        Scheme::Npx | Scheme::Go => program == plain,
    }
}

/// Whether all names are of one file.
fn are_one(programs: &BTreeMap<String, Program>) -> bool {
    let mut all = programs.values();
    all.next().is_some_and(|first| all.all(|program| program == first))
}

/// Whether a file is a script of the Python that it was installed for.
pub(super) fn is_python(file: &Path) -> bool {
    let Ok(text) = std::fs::read(file) else { return false };
    let mut lines = text.split(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let second = lines.next().unwrap_or_default();
    // Where the path is too long for a first line, a shell hands it to Python in the second.
    first.starts_with(b"#!") && (contains(first, b"python") || second.starts_with(b"'''exec'"))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(programs: &[&str]) -> Record {
        let program = |name: &str| Program { path: name.into(), through: None };
        Record {
            package: "p".to_owned(),
            with: Vec::new(),
            programs: programs.iter().map(|name| ((*name).to_owned(), program(name))).collect(),
            installed_at: String::new(),
        }
    }

    #[test]
    fn the_program_is_the_named_the_only_or_the_like_named_one() {
        for (spec, programs, named, expect) in [
            ("npx://a@1.0.0", &["x"][..], None, Ok("x")),
            ("npx://@s/a@1.0.0", &["a", "b"], None, Ok("a")),
            ("npx://@s/a@1.0.0", &["a", "b"], Some("b"), Ok("b")),
            ("npx://a@1.0.0", &["b", "c"], None, Err("b, c; name one with --program")),
            ("npx://a@1.0.0", &["b", "c"], Some("a"), Err("no program \"a\"; it has b, c")),
            ("npx://a@1.0.0", &[], Some("a"), Err("no program to run")),
            ("uvx://A.b==1", &["a_b", "c"], None, Ok("a_b")),
            ("go://x.y/z/cmd/s@v1.0.0", &["s", "t"], None, Ok("s")),
        ] {
            let spec: PackageSpec = spec.parse().unwrap();
            let found = chosen(&record(programs), &spec, named).map_err(|error| error.to_string());
            match expect {
                Ok(name) => assert_eq!(found.unwrap(), name, "{spec} {programs:?}"),
                Err(part) => assert!(found.clone().unwrap_err().contains(part), "{found:?}"),
            }
        }
    }

    #[test]
    fn several_names_of_one_file_are_one_program() {
        let mut record = record(&["b", "c"]);
        record.programs.insert("c".to_owned(), record.programs["b"].clone());
        assert_eq!(chosen(&record, &"npx://a@1.0.0".parse().unwrap(), None).unwrap(), "b");
    }
}
