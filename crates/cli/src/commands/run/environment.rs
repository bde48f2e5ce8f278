//! The variables that a command is run with.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::args::RunArgs;
use crate::face::{Face, Quotes};

/// What the directory says, then what the file says, then what the flags say.
pub(super) fn of(args: &RunArgs) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    if let Some(folder) = &args.env_file_dir {
        for path in files_of(folder)? {
            variables.extend(read_env_file(&path)?);
        }
    }
    if let Some(path) = &args.env_file {
        variables.extend(read_env_file(path)?);
    }
    for text in &args.env {
        let (name, value) = read_variable(text)?;
        variables.insert(name, value);
    }
    Ok(variables)
}

fn read_variable(text: &str) -> anyhow::Result<(String, String)> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => bail!("--env {text}: there is no such variable to pass on; write {text}=VALUE to set it"),
    }
}

/// The files of a directory, in order.
fn files_of(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut files = listed().with_context(|| format!("{} could not be listed", folder.display()))?;
    let is_hidden =
        |path: &PathBuf| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    files.retain(|path| !is_hidden(path) && path.is_file());
    files.sort();
    Ok(files)
}

/// Lines of `NAME=VALUE`; empty ones and those that begin with `#` are passed over.
fn read_env_file(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    let quotes = Face::of_this_process().quotes;
    parse_env_file(&text, quotes).with_context(|| format!("{}", path.display()))
}

fn parse_env_file(text: &str, quotes: Quotes) -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line is not quoted: it may be a secret.
        let (name, value) =
            line.split_once('=').with_context(|| format!("line {} is not NAME=VALUE", number + 1))?;
        let value = match quotes {
            Quotes::Around => unquoted(value.trim()),
            Quotes::PartOfIt => value.trim(),
        };
        variables.push((name.trim().to_owned(), value.to_owned()));
    }
    Ok(variables)
}

fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read_line_by_line() {
        let text = "# c\n\nA=1\nexport B = two words \nC=\"quoted # not a comment\"\nD='x'\nE=a=b\nF=\n";
        let expect = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "quoted # not a comment"),
            ("D", "x"),
            ("E", "a=b"),
            ("F", ""),
        ];
        let read = parse_env_file(text, Quotes::Around).unwrap();
        assert_eq!(read, expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let kept = parse_env_file("C=\"quoted\"", Quotes::PartOfIt).unwrap();
        assert_eq!(kept, [("C".to_owned(), "\"quoted\"".to_owned())]);
        let error = format!("{:#}", parse_env_file("A=1\nsk-secret\n", Quotes::Around).unwrap_err());
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_directory_is_its_files_in_order_without_those_that_are_hidden() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a", ".hidden"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("c")).unwrap();
        let files = files_of(folder.path()).unwrap();
        assert_eq!(files, ["a", "b"].map(|name| folder.path().join(name)));
        assert!(files_of(&folder.path().join("none")).is_err());
    }
}
