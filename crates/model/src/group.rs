//! Groups of workloads: their names, and what is kept of one.

use std::fmt;

use crate::json::{Document, NotADocument, members, read_document, write_document};

/// The longest name. It is a file's name, and those end at 255 bytes, with what is put after it.
const MAX: usize = 200;

/// A valid group name: lower-case letters, digits, `_`, `-` and single spaces inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);

/// A text that is no group name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a group name: use 1 to {MAX} lower-case letters, digits, '_', '-' and single spaces between them"
)]
pub struct NotAGroupName(pub String);

impl GroupName {
    /// The group that is always there.
    pub const DEFAULT: &str = "default";

    /// Checks a name.
    ///
    /// # Errors
    /// [`NotAGroupName`], which says what is allowed.
    pub fn new(text: &str) -> Result<Self, NotAGroupName> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | ' ');
        let spaced = text.trim() == text && !text.contains("  ");
        let valid = !text.is_empty() && text.len() <= MAX && text.chars().all(allowed) && spaced;
        if valid { Ok(Self(text.to_owned())) } else { Err(NotAGroupName(text.to_owned())) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the group that is always there.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == Self::DEFAULT
    }
}

impl Default for GroupName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

members! {
    /// What is kept of a group: the clients whose configuration names its workloads, and what is installed with it. Which
    /// workloads are in it, they say themselves.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Group {
        name: String = always,
        registered_clients: Vec<String> = always,
        skills: Vec<String>,
        plugins: Vec<String>,
        ; original
    }
}

impl Group {
    /// A group that nothing is in.
    #[must_use]
    pub fn new(name: &GroupName) -> Self {
        Self { name: name.as_str().to_owned(), ..Self::default() }
    }

    /// Takes what another one has and this one has not. Whether that is anything.
    pub fn absorb(&mut self, other: &Self) -> bool {
        let pairs = [
            (&mut self.registered_clients, &other.registered_clients),
            (&mut self.skills, &other.skills),
            (&mut self.plugins, &other.plugins),
        ];
        let mut gained = false;
        for (ours, theirs) in pairs {
            for text in theirs {
                if !ours.contains(text) {
                    ours.push(text.clone());
                    gained = true;
                }
            }
        }
        gained
    }
}

impl Document for Group {
    fn parse(text: &str) -> Result<Self, NotADocument> {
        let (mut group, original): (Self, _) = read_document(text, |_| {})?;
        group.original = original;
        Ok(group)
    }

    fn to_text(&self) -> String {
        write_document(self, &self.original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["default", "a b", "__mcp-optimizer__", "9", &"a".repeat(200)] {
            assert!(GroupName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", " a", "a ", "a  b", "a\tb", "a/b", "..", "a\0", "é", &"a".repeat(201)] {
            assert!(GroupName::new(bad).is_err(), "{bad}");
        }
        assert!(GroupName::default().is_default());
    }

    #[test]
    fn a_group_takes_what_it_has_not() {
        let group = |text: &str| Group::parse(text).unwrap();
        let mut ours = group(r#"{"name":"a","registered_clients":["x"]}"#);
        let theirs = group(r#"{"name":"a","registered_clients":["y","x"],"skills":["s"]}"#);
        assert!(ours.absorb(&theirs) && !ours.absorb(&theirs));
        assert_eq!(
            (&*ours.registered_clients, &*ours.skills),
            (&["x".to_owned(), "y".to_owned()][..], &["s".to_owned()][..])
        );
    }

    #[test]
    fn a_group_keeps_what_it_does_not_know() {
        let mut group = Group::parse(r#"{"color":"red","name":"a","registered_clients":[]}"#).unwrap();
        group.registered_clients.push("cursor".to_owned());
        let text = "{\n  \"color\": \"red\",\n  \"name\": \"a\",\n  \"registered_clients\": [\n    \"cursor\"\n  ]\n}\n";
        assert_eq!(group.to_text(), text);
        let new = Group::new(&GroupName::default()).to_text();
        assert_eq!(new, "{\n  \"name\": \"default\",\n  \"registered_clients\": []\n}\n");
    }
}
