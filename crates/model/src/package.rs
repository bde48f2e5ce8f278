//! A server that is a package: which registry has it, its name, and which version is wanted.
//!
//! What is read here ends up as an argument of a package manager and as the name of a folder, so each part has a closed
//! set of letters, and none begins like an option. Absent on purpose: whether such a package exists.

mod local;
mod python;

use std::fmt;
use std::str::FromStr;

pub use local::is_local;
pub use python::normal_name;

use crate::WorkloadName;

/// Longest name of a package; npm's own bound.
const MAX_NAME: usize = 214;
/// Longest version or range.
const MAX_VERSION: usize = 128;

/// Who has the package, by the program that is known for running such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// The npm registry.
    Npx,
    /// PyPI.
    Uvx,
    /// Go modules, and folders with Go programs.
    Go,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Npx, Self::Uvx, Self::Go];

    /// As it stands before `://`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Npx => "npx",
            Self::Uvx => "uvx",
            Self::Go => "go",
        }
    }
}

impl FromStr for Scheme {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == text).ok_or(())
    }
}

/// Which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest one.
    Latest,
    /// A range, a tag, a branch: whatever fits when it is asked.
    Fitting(String),
    /// This one.
    Exactly(String),
}

/// A package as it is written: `npx://@scope/name@1.2.3`, `uvx://name[extra]==1.2`, `go://example.com/a/cmd/b@v1.2.3`,
/// `go://./cmd/b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageSpec {
    scheme: Scheme,
    name: String,
    extras: Vec<String>,
    wanted: Wanted,
}

/// Why a text is no package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPackage {
    /// Nothing, or something else, is before `://`.
    #[error("{0:?} is no package: write npx://NAME, uvx://NAME or go://MODULE")]
    Scheme(String),
    /// The name has letters that no such name has.
    #[error("{name:?} is no name of {of}: {help}")]
    Name {
        /// What stands there.
        name: String,
        /// Of what.
        of: &'static str,
        /// What it should be.
        help: &'static str,
    },
    /// The version has letters that no version has.
    #[error("{version:?} is no version of {of}: {help}")]
    Version {
        /// What stands there.
        version: String,
        /// Of what.
        of: &'static str,
        /// What it should be.
        help: &'static str,
    },
    /// A folder for another scheme than Go's.
    #[error("{0:?} is a folder, and only go:// builds folders: run it as a command behind --")]
    Folder(String),
}

impl PackageSpec {
    /// Who has it.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its name, or the path of a folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The optional parts of a Python package that are wanted too.
    #[must_use]
    pub fn extras(&self) -> &[String] {
        &self.extras
    }

    /// Which version.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The one version that it names, if it names one.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        match &self.wanted {
            Wanted::Exactly(version) => Some(version),
            Wanted::Latest | Wanted::Fitting(_) => None,
        }
    }

    /// Whether it is a folder of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.scheme == Scheme::Go && is_local(&self.name)
    }

    /// The same package at this version.
    ///
    /// # Errors
    /// It is no version of such a package.
    pub fn at(&self, version: &str) -> Result<Self, NotAPackage> {
        let wanted = self.read_version(version)?;
        match wanted {
            Wanted::Exactly(_) => Ok(Self { wanted, ..self.clone() }),
            Wanted::Latest | Wanted::Fitting(_) => {
                Err(version_error(self.scheme, version, "it is not one version"))
            }
        }
    }

    /// The folder with another path.
    #[must_use]
    pub fn in_folder(&self, path: &str) -> Self {
        Self { name: path.to_owned(), ..self.clone() }
    }

    /// What a server of it is called when nobody named it: the package without scope marks and version.
    #[must_use]
    pub fn workload_name(&self) -> WorkloadName {
        WorkloadName::derive(self.name.trim_start_matches(['.', '/']))
    }

    fn read_version(&self, text: &str) -> Result<Wanted, NotAPackage> {
        match self.scheme {
            _ if self.is_local() => Ok(Wanted::Exactly(text.to_owned())),
            Scheme::Npx => npm_version(text),
            Scheme::Uvx => python::version(text),
            Scheme::Go => go_version(text),
        }
    }
}

impl FromStr for PackageSpec {
    type Err = NotAPackage;

    fn from_str(text: &str) -> Result<Self, NotAPackage> {
        let unknown = || NotAPackage::Scheme(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
        let scheme: Scheme = scheme.parse().map_err(|()| unknown())?;
        if is_local(rest) {
            return match scheme {
                Scheme::Go => local::read(rest),
                Scheme::Npx | Scheme::Uvx => Err(NotAPackage::Folder(rest.to_owned())),
            };
        }
        match scheme {
            Scheme::Npx => read_npm(rest),
            Scheme::Uvx => python::read(rest),
            Scheme::Go => read_go(rest),
        }
    }
}

/// So that it is read again as the same.
impl fmt::Display for PackageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.name)?;
        if !self.extras.is_empty() {
            write!(f, "[{}]", self.extras.join(","))?;
        }
        match &self.wanted {
            Wanted::Latest => Ok(()),
            // Python's ranges begin with what compares.
            Wanted::Fitting(range) if self.scheme == Scheme::Uvx => f.write_str(range),
            Wanted::Fitting(version) | Wanted::Exactly(version) => write!(f, "@{version}"),
        }
    }
}

fn read_npm(text: &str) -> Result<PackageSpec, NotAPackage> {
    let (name, version) = split_version(text);
    let (scope, plain) = match name.strip_prefix('@').map(|scoped| scoped.split_once('/')) {
        Some(Some((scope, plain))) => (Some(scope), plain),
        Some(None) => (None, ""),
        None => (None, name),
    };
    let is_part = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '~')
            && letters.all(|c| c.is_ascii_alphanumeric() || "._~-".contains(c))
            && !part.contains("..")
    };
    if name.len() > MAX_NAME || !is_part(plain) || !scope.is_none_or(is_part) {
        let help = "write NAME or @SCOPE/NAME, of letters, digits, '-', '_', '.' and '~'";
        return Err(NotAPackage::Name { name: name.to_owned(), of: of(Scheme::Npx), help });
    }
    let wanted = version.map_or(Ok(Wanted::Latest), npm_version)?;
    Ok(PackageSpec { scheme: Scheme::Npx, name: name.to_owned(), extras: Vec::new(), wanted })
}

fn npm_version(text: &str) -> Result<Wanted, NotAPackage> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".+-_^~<>=|* ".contains(c);
    if !is_plain(text, allowed) {
        let help = "write a version, a range such as ^1.2, or a tag";
        return Err(version_error(Scheme::Npx, text, help));
    }
    Ok(wanted(text, is_semantic(text)))
}

fn read_go(text: &str) -> Result<PackageSpec, NotAPackage> {
    let (name, version) = split_version(text);
    let is_part = |part: &str| {
        part.chars().all(|c| c.is_ascii_alphanumeric() || "._~-".contains(c))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '~')
            && !part.ends_with('.')
            && !part.contains("..")
    };
    let has_host = name.split('/').next().is_some_and(|host| host.contains('.'));
    if name.len() > MAX_NAME || !has_host || !name.split('/').all(is_part) {
        let help =
            "write a module's path such as example.com/name/cmd/server, or a folder such as ./cmd/server";
        return Err(NotAPackage::Name { name: name.to_owned(), of: of(Scheme::Go), help });
    }
    let wanted = version.map_or(Ok(Wanted::Latest), go_version)?;
    Ok(PackageSpec { scheme: Scheme::Go, name: name.to_owned(), extras: Vec::new(), wanted })
}

fn go_version(text: &str) -> Result<Wanted, NotAPackage> {
    if !is_plain(text, |c| c.is_ascii_alphanumeric() || ".+-_".contains(c)) {
        let help = "write a version such as v1.2.3, a branch or a commit";
        return Err(version_error(Scheme::Go, text, help));
    }
    Ok(wanted(text, text.strip_prefix('v').is_some_and(is_semantic)))
}

/// The name, and what stands behind the `@` that does not begin it.
fn split_version(text: &str) -> (&str, Option<&str>) {
    match text.char_indices().skip(1).find(|(_, c)| *c == '@') {
        Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn wanted(text: &str, is_exact: bool) -> Wanted {
    match text {
        "latest" => Wanted::Latest,
        text if is_exact => Wanted::Exactly(text.to_owned()),
        text => Wanted::Fitting(text.to_owned()),
    }
}

/// Not empty, not long, not an option, no letter that is not allowed.
fn is_plain(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.trim().is_empty()
        && text.len() <= MAX_VERSION
        && !text.starts_with('-')
        && !text.contains("..")
        && text.chars().all(allowed)
}

/// `1.2.3`, with whatever semantic versioning lets stand behind.
fn is_semantic(text: &str) -> bool {
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let has_rest = rest.len() > 1 && rest.chars().all(|c| c.is_ascii_alphanumeric() || ".+-".contains(c));
    numbers.split('.').count() == 3 && numbers.split('.').all(is_number) && (rest.is_empty() || has_rest)
}

fn of(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Npx => "an npm package",
        Scheme::Uvx => "a Python package",
        Scheme::Go => "a Go program",
    }
}

fn version_error(scheme: Scheme, version: &str, help: &'static str) -> NotAPackage {
    NotAPackage::Version { version: version.to_owned(), of: of(scheme), help }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> PackageSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn packages_are_read_and_written() {
        let exactly = |text: &str| Wanted::Exactly(text.to_owned());
        let fitting = |text: &str| Wanted::Fitting(text.to_owned());
        for (text, name, wanted, workload) in [
            ("npx://@scope/name", "@scope/name", Wanted::Latest, "scope-name"),
            ("npx://@scope/name@1.2.3", "@scope/name", exactly("1.2.3"), "scope-name"),
            ("npx://name@1.2.3-rc.1+b", "name", exactly("1.2.3-rc.1+b"), "name"),
            ("npx://name@^1.2", "name", fitting("^1.2"), "name"),
            ("npx://name@>=1.0.0 <2 || 3.x", "name", fitting(">=1.0.0 <2 || 3.x"), "name"),
            ("npx://name@next", "name", fitting("next"), "name"),
            ("npx://JSONStream@1", "JSONStream", fitting("1"), "JSONStream"),
            ("uvx://mcp-server-time", "mcp-server-time", Wanted::Latest, "mcp-server-time"),
            ("uvx://mcp.server_time@2026.1.26", "mcp.server_time", exactly("2026.1.26"), "mcp-server-time"),
            ("uvx://a==1!2.0rc1+local.1", "a", exactly("1!2.0rc1+local.1"), "a"),
            ("uvx://a>=1,<2", "a", fitting(">=1,<2"), "a"),
            ("uvx://a==1.*", "a", fitting("==1.*"), "a"),
            ("uvx://a~=1.4", "a", fitting("~=1.4"), "a"),
            (
                "go://github.com/x/y/cmd/z@v1.2.3",
                "github.com/x/y/cmd/z",
                exactly("v1.2.3"),
                "github-com-x-y-cmd-z",
            ),
            (
                "go://example.com/y@v0.0.0-20260101000000-0123456789ab",
                "example.com/y",
                exactly("v0.0.0-20260101000000-0123456789ab"),
                "example-com-y",
            ),
            (
                "go://example.com/y/v2@v2.0.0+incompatible",
                "example.com/y/v2",
                exactly("v2.0.0+incompatible"),
                "example-com-y-v2",
            ),
            ("go://example.com/y@main", "example.com/y", fitting("main"), "example-com-y"),
            ("go://./cmd/z", "./cmd/z", Wanted::Latest, "cmd-z"),
            ("go://../z", "../z", Wanted::Latest, "z"),
            ("go:///abs/z@h1-0123456789ab", "/abs/z", exactly("h1-0123456789ab"), "abs-z"),
            ("go:///abs/z@home", "/abs/z@home", Wanted::Latest, "abs-z-home"),
            ("go://.", ".", Wanted::Latest, "mcp-server"),
        ] {
            let spec = read(text);
            assert_eq!((spec.name(), spec.wanted()), (name, &wanted), "{text}");
            assert_eq!(spec.workload_name().as_str(), workload, "{text}");
            assert_eq!(read(&spec.to_string()), spec, "{text}: {spec}");
        }
        assert_eq!(read("npx://a@latest"), read("npx://a"));
        assert_eq!(read("uvx://a[x, y_z]@latest").extras(), ["x", "y_z"]);
        assert_eq!(read("uvx://a[x,y]==1.0").to_string(), "uvx://a[x,y]@1.0");
    }

    #[test]
    fn what_is_no_package_is_refused_with_the_reason() {
        for (text, expect) in [
            ("name", "npx://NAME"),
            ("docker://name", "npx://NAME"),
            ("npx://", "no name of an npm package"),
            ("npx://@scope", "no name of an npm package"),
            ("npx://@scope/", "no name of an npm package"),
            ("npx://a/b", "no name of an npm package"),
            ("npx://-y", "no name of an npm package"),
            ("npx://.hidden", "no name of an npm package"),
            ("npx://a b", "no name of an npm package"),
            ("npx://a;rm -rf", "no name of an npm package"),
            ("npx://$(id)", "no name of an npm package"),
            ("npx://é", "no name of an npm package"),
            ("npx://a@", "no version of an npm package"),
            ("npx://a@`id`", "no version of an npm package"),
            ("npx://a@1;id", "no version of an npm package"),
            ("npx://a@-1", "no version of an npm package"),
            ("npx://a@https://example.com/a.tgz", "no version of an npm package"),
            ("npx://a@file:../a", "no version of an npm package"),
            ("npx://a@git+ssh://x", "no version of an npm package"),
            ("npx://./a", "only go:// builds folders"),
            ("uvx:///a", "only go:// builds folders"),
            ("uvx://-r", "no name of a Python package"),
            ("uvx://a-", "no name of a Python package"),
            ("uvx://a[", "no name of a Python package"),
            ("uvx://a[x;y]", "no name of a Python package"),
            ("uvx://a[]", "no name of a Python package"),
            ("uvx://a @ https://x", "no name of a Python package"),
            ("uvx://a@>=1", "no version of a Python package"),
            ("uvx://a==", "no version of a Python package"),
            ("uvx://a==1;id", "no version of a Python package"),
            ("uvx://a>=1 && id", "no version of a Python package"),
            ("uvx://a<1,", "no version of a Python package"),
            ("go://name", "no name of a Go program"),
            ("go://example.com/../x", "no name of a Go program"),
            ("go://example.com//x", "no name of a Go program"),
            ("go://example.com/-x", "no name of a Go program"),
            ("go://example.com/x;id", "no name of a Go program"),
            ("go://example.com/x@a/b", "no version of a Go program"),
            ("go://example.com/x@$v", "no version of a Go program"),
            ("go://./a\nb", "no name of a Go program"),
        ] {
            let error = text.parse::<PackageSpec>().map(|spec| spec.to_string()).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
        assert!(format!("npx://{}", "a".repeat(215)).parse::<PackageSpec>().is_err());
    }

    #[test]
    fn only_one_version_pins() {
        assert_eq!(read("npx://a@^1").at("1.2.3").unwrap().to_string(), "npx://a@1.2.3");
        assert_eq!(read("uvx://a[x]>=1").at("1.2").unwrap().to_string(), "uvx://a[x]@1.2");
        assert!(read("npx://a").at("^1").is_err() && read("npx://a").at("1.2.3; id").is_err());
        assert!(read("go://example.com/a").at("main").is_err() && read("uvx://a").at("../x").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_harmless_and_read_again(scheme in 0..3usize, rest in "[ -~]{0,24}") {
            let text = format!("{}://{rest}", Scheme::ALL[scheme].as_str());
            if let Ok(spec) = text.parse::<PackageSpec>() {
                prop_assert_eq!(&read(&spec.to_string()), &spec);
                if !spec.is_local() {
                    let parts = [spec.name().to_owned(), spec.exact().unwrap_or_default().to_owned()];
                    for part in parts.iter().chain(spec.extras()) {
                        prop_assert!(!part.starts_with(['-', '.', '/']), "{part}");
                        prop_assert!(!part.contains([';', '`', '$', '\\', '"', '\'', '&', '(', '\n', ' ', '|', '>', '<']), "{part}");
                        prop_assert!(!part.contains(".."), "{part}");
                    }
                }
            }
        }
    }
}
