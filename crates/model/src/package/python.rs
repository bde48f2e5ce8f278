//! Names and versions of Python packages.

use super::{MAX_NAME, NotAPackage, PackageSpec, Scheme, Wanted, is_plain, of, split_version, version_error};

/// What a range begins with, longest first.
const COMPARISONS: [&str; 8] = ["===", "==", "~=", "!=", ">=", "<=", ">", "<"];

/// The name that all spellings of it come to.
#[must_use]
pub fn normal_name(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

pub(super) fn read(text: &str) -> Result<PackageSpec, NotAPackage> {
    let (name, extras, rest) = parts(text).ok_or_else(|| NotAPackage::Name {
        name: text.to_owned(),
        of: of(Scheme::Uvx),
        help: "write NAME or NAME[EXTRA,…], of letters, digits, '-', '_' and '.'",
    })?;
    let wanted = match rest.strip_prefix('@') {
        _ if rest.is_empty() => Wanted::Latest,
        Some(version) => self::version(version)?,
        None => range(rest)?,
    };
    Ok(PackageSpec { scheme: Scheme::Uvx, name: name.to_owned(), extras, wanted })
}

/// Name, extras, and what says the version.
fn parts(text: &str) -> Option<(&str, Vec<String>, &str)> {
    let end = text.find(['[', '@', '=', '~', '!', '<', '>']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let (extras, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (extras, rest) = rest.split_once(']')?;
            (extras.split(',').map(|extra| extra.trim().to_owned()).collect(), rest)
        }
        None => (Vec::new(), rest),
    };
    let is_rest = rest.is_empty() || split_version(&format!("n{rest}")).1.is_some() || begins_range(rest);
    let are_names = is_name(name) && extras.iter().all(|extra: &String| is_name(extra));
    (are_names && is_rest).then_some((name, extras, rest))
}

fn is_name(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= MAX_NAME
        && text.starts_with(is_end)
        && text.ends_with(is_end)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !text.contains("..")
}

fn begins_range(text: &str) -> bool {
    COMPARISONS.iter().any(|comparison| text.starts_with(comparison))
}

/// What stands behind `@`: a version, or `latest`.
pub(super) fn version(text: &str) -> Result<Wanted, NotAPackage> {
    match text {
        "latest" => Ok(Wanted::Latest),
        text if is_version(text) => Ok(Wanted::Exactly(text.to_owned())),
        text => Err(version_error(Scheme::Uvx, text, "write a version behind @, or a range such as >=1,<2")),
    }
}

fn range(text: &str) -> Result<Wanted, NotAPackage> {
    let refused = || version_error(Scheme::Uvx, text, "write ==1.2.3, or a range such as >=1,<2");
    let versions = text.split(',').map(|part| {
        let part = part.trim();
        let comparison = COMPARISONS.iter().find(|comparison| part.starts_with(**comparison))?;
        let version = part[comparison.len()..].trim();
        is_version(version.strip_suffix(".*").unwrap_or(version)).then_some((*comparison, version))
    });
    let versions: Vec<_> = versions.collect::<Option<_>>().ok_or_else(refused)?;
    match versions.as_slice() {
        [("==", version)] if !version.ends_with('*') => Ok(Wanted::Exactly((*version).to_owned())),
        _ => Ok(Wanted::Fitting(text.replace(' ', ""))),
    }
}

fn is_version(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".!+-_".contains(c);
    is_plain(text, allowed) && text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one() {
        for name in ["mcp-server-time", "MCP_Server.Time", "mcp--server__time"] {
            assert_eq!(normal_name(name), "mcp-server-time");
        }
    }
}
