//! Labels of containers and networks: their syntax, and which of them are not the user's to set.

use std::fmt;

/// Longest name and longest value.
const MAX_NAME: usize = 63;
/// Longest prefix of a key, and longest key.
const MAX_KEY: usize = 253;

/// Labels that begin so, or are this, say what a thing is to skep and ToolHive. Whoever could set one could hide a
/// workload or have another's containers removed.
const OURS: [&str; 2] = ["toolhive", "skep"];

/// A label of the user's, `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    key: String,
    value: String,
}

/// A text that is no label, or none that users set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotALabel {
    #[error("{0:?} is not a label: write KEY=VALUE")]
    NoValue(String),
    #[error(
        "{0:?} is not a label's key: use up to {MAX_NAME} letters, digits, '-', '_' and '.', beginning and ending with a letter or digit; before it, if anything, a DNS name and '/'"
    )]
    Key(String),
    #[error(
        "{0:?} is not a label's value: use up to {MAX_NAME} letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    )]
    Value(String),
    #[error("the label {0:?} is set by skep itself: choose another key")]
    Reserved(String),
}

impl Label {
    /// Reads `KEY=VALUE` as users give it.
    ///
    /// # Errors
    /// [`NotALabel`].
    pub fn parse(text: &str) -> Result<Self, NotALabel> {
        let (key, value) = text.split_once('=').ok_or_else(|| NotALabel::NoValue(text.to_owned()))?;
        Self::new(key, value)
    }

    /// Checks a key and a value that a user gives.
    ///
    /// # Errors
    /// [`NotALabel`].
    pub fn new(key: &str, value: &str) -> Result<Self, NotALabel> {
        if is_reserved(key) {
            return Err(NotALabel::Reserved(key.to_owned()));
        }
        if !is_key(key) {
            return Err(NotALabel::Key(key.to_owned()));
        }
        if !value.is_empty() && !is_part(value) {
            return Err(NotALabel::Value(value.to_owned()));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// Whether only skep sets a label of this key. Letter case does not make it another one.
#[must_use]
pub fn is_reserved(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let is = |ours: &str| {
        key.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '/']))
    };
    OURS.into_iter().any(is)
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    key.len() <= MAX_KEY && is_part(name) && prefix.is_none_or(is_dns_name)
}

fn is_part(text: &str) -> bool {
    let at_the_ends = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| at_the_ends(c) || matches!(c, '-' | '_' | '.');
    text.len() <= MAX_NAME
        && text.starts_with(at_the_ends)
        && text.ends_with(at_the_ends)
        && text.chars().all(inside)
}

fn is_dns_name(text: &str) -> bool {
    let is_label =
        |label: &str| is_part(label) && label.bytes().all(|b| !b.is_ascii_uppercase() && b != b'_');
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_checked() {
        let long = format!("{}=v", "k".repeat(64));
        for (text, valid) in [
            ("a=b", true),
            ("a=", true),
            ("example.com/a.b_c-d=1.2", true),
            ("toolhive.example.com=1", false),
            ("mytoolhive=1", true),
            ("toolhives=1", true),
            ("a", false),
            ("=b", false),
            ("-a=b", false),
            ("a=b=c", false),
            ("a=b c", false),
            ("Example.com/a=b", false),
            ("a/b/c=d", false),
            ("/a=b", false),
            (&long, false),
        ] {
            assert_eq!(Label::parse(text).is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn what_skep_sets_users_do_not() {
        for key in [
            "toolhive",
            "toolhive-name",
            "toolhive-basename",
            "toolhive-transport",
            "toolhive-port",
            "toolhive-network-isolation",
            "toolhive-auxiliary",
            "toolhive-auxiliary-workload",
            "toolhive-group",
            "Toolhive-Group",
            "skep",
            "skep-workload",
        ] {
            assert_eq!(Label::new(key, "x"), Err(NotALabel::Reserved(key.to_owned())));
        }
    }
}
