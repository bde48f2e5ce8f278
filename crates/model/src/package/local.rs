//! Folders with Go programs.

use super::{NotAPackage, PackageSpec, Scheme, Wanted, of};

/// How a version of what was built of a folder begins: a digest stands behind.
const BUILT: &str = "h1-";
/// Hexadecimal digits of it.
const DIGITS: usize = 12;

/// Whether a text is a path, and no name of a registry.
#[must_use]
pub fn is_local(text: &str) -> bool {
    text.starts_with(['/']) || matches!(text, "." | "..") || text.starts_with("./") || text.starts_with("../")
}

pub(super) fn read(text: &str) -> Result<PackageSpec, NotAPackage> {
    if text.contains(char::is_control) {
        let help = "a path has no line ends";
        return Err(NotAPackage::Name { name: text.to_owned(), of: of(Scheme::Go), help });
    }
    let built = text.rsplit_once('@').filter(|(_, version)| is_built(version));
    let (name, wanted) = match built {
        Some((name, version)) => (name, Wanted::Exactly(version.to_owned())),
        None => (text, Wanted::Latest),
    };
    Ok(PackageSpec { scheme: Scheme::Go, name: name.to_owned(), extras: Vec::new(), wanted })
}

fn is_built(version: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    version.strip_prefix(BUILT).is_some_and(|digits| digits.len() == DIGITS && digits.chars().all(is_digit))
}
