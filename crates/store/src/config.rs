//! `config.yaml`: what people set once for all their servers. The file is ToolHive's.
//!
//! A key is changed in the text of the file, so that what is not known here, the order and the comments stay. What comes of it is
//! read again before it is written: it must say the same but for that key.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;
use yaml_edit::Document;

use crate::file::{self, FileError};

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Config {
    secrets: Option<Secrets>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Secrets {
    provider_type: Option<String>,
}

impl Config {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read: Option<Self> = serde_saphyr::from_str(text).map_err(|error| one_line(&error))?;
        Ok(read.unwrap_or_default())
    }

    /// The word for who keeps secrets; `None` where nobody said.
    #[must_use]
    pub fn secrets_provider(&self) -> Option<&str> {
        self.secrets.as_ref()?.provider_type.as_deref().filter(|word| !word.is_empty())
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
}

/// Why the file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is not understood: {reason}", path.display())]
    NotUnderstood { path: PathBuf, reason: String },
    #[error("{} is written in a way that skep does not change: set {key} in it yourself", path.display())]
    NotChanged { path: PathBuf, key: &'static str },
}

impl ConfigFile {
    /// The file of this path, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What it says; nothing where there is no file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(&self) -> Result<Config, ConfigError> {
        match file::read(&self.path)? {
            Some(text) => Config::parse(&text).map_err(|reason| not_understood(&self.path, reason)),
            None => Ok(Config::default()),
        }
    }

    /// Says who keeps secrets.
    ///
    /// # Errors
    /// [`ConfigError`]: the file is as before.
    pub fn set_secrets_provider(&self, word: &str) -> Result<(), ConfigError> {
        let held = file::hold(&self.path)?;
        let before = held.read()?.unwrap_or_default();
        let before = String::from_utf8(before)
            .map_err(|_| not_understood(&self.path, "it is not UTF-8".to_owned()))?;
        let after = self.with(&before, "secrets", "provider_type", word.into())?;
        // What ToolHive asks before it uses any.
        let after = self.with(&after, "secrets", "setup_completed", true.into())?;
        if after != before {
            held.replace(after.as_bytes())?;
        }
        Ok(())
    }

    /// The text with this key of a section set.
    fn with(
        &self,
        text: &str,
        section: &str,
        key: &'static str,
        value: Value,
    ) -> Result<String, ConfigError> {
        let mut wanted = values(text).map_err(|reason| not_understood(&self.path, reason))?;
        if wanted.get(section).and_then(|section| section.get(key)) == Some(&value) {
            return Ok(text.to_owned());
        }
        let not_changed = || ConfigError::NotChanged { path: self.path.clone(), key };
        let edited = edited(text, section, key, &value, wanted.is_null()).ok_or_else(not_changed)?;
        if !put(&mut wanted, section, key, value) || values(&edited).ok().as_ref() != Some(&wanted) {
            return Err(not_changed());
        }
        Ok(edited)
    }
}

fn not_understood(path: &Path, reason: String) -> ConfigError {
    ConfigError::NotUnderstood { path: path.to_owned(), reason }
}

/// All that a text says.
fn values(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str::<Option<Value>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|error| one_line(&error))
}

/// Errors show a piece of the file, which may hold what is private.
fn one_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// False where something else stands there.
fn put(values: &mut Value, section: &str, key: &str, value: Value) -> bool {
    if values.is_null() {
        *values = Value::Object(serde_json::Map::new());
    }
    let Some(sections) = values.as_object_mut() else { return false };
    let keys = sections.entry(section).or_insert(Value::Null);
    if keys.is_null() {
        *keys = Value::Object(serde_json::Map::new());
    }
    let Some(keys) = keys.as_object_mut() else { return false };
    keys.insert(key.to_owned(), value);
    true
}

fn edited(text: &str, section: &str, key: &str, value: &Value, is_nothing: bool) -> Option<String> {
    let lines = format!("{key}: {value}\n");
    if is_nothing {
        // Nothing, or comments.
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(format!("{text}{end}{section}:\n    {lines}"));
    }
    let document = Document::from_str(text).ok()?;
    let sections = document.as_mapping()?;
    let set = |keys: &yaml_edit::Mapping| match value {
        Value::Bool(value) => keys.set(key, *value),
        value => keys.set(key, value.as_str().unwrap_or_default()),
    };
    match sections.get_mapping(section) {
        Some(keys) => set(&keys),
        None => sections.set(section, &Document::from_str(&lines).ok()?.as_mapping()?),
    }
    Some(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(text: &str) -> (tempfile::TempDir, ConfigFile, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        (folder, ConfigFile::new(path.clone()), path)
    }

    #[test]
    fn a_key_is_changed_and_all_else_stays_to_the_letter() {
        for (before, after) in [
            ("", "secrets:\n    provider_type: \"1password\"\n    setup_completed: true\n"),
            ("# mine", "# mine\nsecrets:\n    provider_type: \"1password\"\n    setup_completed: true\n"),
            (
                "future: {x: [1, ~]} # one\nsecrets:\n    provider_type: basic # two\n    setup_completed: false\nregistry_url: \"\"\n",
                "future: {x: [1, ~]} # one\nsecrets:\n    provider_type: 1password # two\n    setup_completed: true\nregistry_url: \"\"\n",
            ),
            (
                "clients:\n    registered_clients: []\n# end\n",
                "clients:\n    registered_clients: []\n# end\nsecrets:\n  provider_type: \"1password\"\n  setup_completed: true\n",
            ),
            ("secrets: {}\nb: 2\n", "secrets: {provider_type: 1password, setup_completed: true}\nb: 2\n"),
        ] {
            let (_folder, config, path) = file(before);
            config.set_secrets_provider("1password").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
            assert_eq!(config.read().unwrap().secrets_provider(), Some("1password"));
            config.set_secrets_provider("1password").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_and_left() {
        for text in ["secrets: [", "secrets: 5\n", "- a\n", "a: 1\na: 2\n", "text\n"] {
            let (_folder, config, path) = file(text);
            let error = config.set_secrets_provider("encrypted").unwrap_err().to_string();
            assert!(error.contains("config.yaml"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let missing = ConfigFile::new(PathBuf::from("/nowhere/config.yaml"));
        assert_eq!(missing.read().unwrap(), Config::default());
        assert_eq!(Config::parse("secrets: null\n").unwrap().secrets_provider(), None);
        assert_eq!(Config::parse("secrets:\n  provider_type: \"\"\n").unwrap().secrets_provider(), None);
    }

    proptest! {
        #[test]
        fn a_change_is_made_or_refused_and_never_more(
            keys in proptest::collection::vec("[a-z]{1,4}( [a-z])?", 0..4),
            values in proptest::collection::vec("[a-zA-Z0-9 :#'\"\\[\\]{},&*!|>%@~-]{0,8}", 4),
            indent in 1_usize..5,
        ) {
            let mut text = String::new();
            for (key, value) in keys.iter().zip(&values) {
                text.push_str(&format!("{key}:\n{:indent$}v: {value} # c\n", ""));
            }
            let (_folder, config, path) = file(&text);
            let before = super::values(&text);
            match config.set_secrets_provider("encrypted") {
                Ok(()) => {
                    let mut wanted = before.unwrap();
                    prop_assert!(put(&mut wanted, "secrets", "provider_type", "encrypted".into()));
                    prop_assert!(put(&mut wanted, "secrets", "setup_completed", true.into()));
                    let after = std::fs::read_to_string(&path).unwrap();
                    prop_assert_eq!(super::values(&after).unwrap(), wanted);
                }
                Err(_) => prop_assert_eq!(std::fs::read_to_string(&path).unwrap(), text),
            }
        }
    }
}
