//! The name of a workload: what people call it by, and what its sessions belong to.

use std::fmt;

/// Longest name, as in ToolHive: what others have named is run under its name.
const MAX: usize = 100;
/// Longest name that is made here. Such a name is a DNS name's part, too.
const MAX_DERIVED: usize = 63;

/// A valid workload name: letters, digits, `.` (never two in a row), `_` and `-`, beginning with a letter or digit. It can
/// be a file's name, and a container's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName(String);

/// A text that is no workload name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a workload name: use 1 to {MAX} letters, digits, '_', '-' or single '.', beginning with a letter or digit"
)]
pub struct NotAName(pub String);

impl WorkloadName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NotAName`], which says what is allowed.
    pub fn new(text: &str) -> Result<Self, NotAName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let valid = text.len() <= MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(allowed)
            && !text.contains("..");
        if valid { Ok(Self(text.to_owned())) } else { Err(NotAName(text.to_owned())) }
    }

    /// A name made of whatever text a server is known by (a package, a program, a host).
    #[must_use]
    pub fn derive(text: &str) -> Self {
        let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let plain = plain.trim_matches('-');
        let cut = &plain[..plain.len().min(MAX_DERIVED)];
        Self::new(cut.trim_end_matches('-')).unwrap_or_else(|_| Self("mcp-server".to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "server-everything", "A.b_c-9", &"a".repeat(100)] {
            assert!(WorkloadName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "é", "a..b", &"a".repeat(101)] {
            assert!(WorkloadName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_text_gives_a_valid_name() {
        for (text, name) in [
            ("@modelcontextprotocol/server-everything", "modelcontextprotocol-server-everything"),
            ("mcp_server.py", "mcp-server-py"),
            ("///", "mcp-server"),
            ("", "mcp-server"),
        ] {
            assert_eq!(WorkloadName::derive(text).as_str(), name);
            assert!(WorkloadName::new(WorkloadName::derive(text).as_str()).is_ok());
        }
    }
}
