//! Secrets: the reference that files hold, and the value that nothing prints or writes.

use std::fmt;

use zeroize::Zeroize;

/// A secret by its name, and the environment variable it becomes: `NAME,target=ENV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    name: String,
    target: String,
}

/// A text that refers to no secret. The text is not kept: it may be a secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reference to a secret: write NAME,target=VARIABLE")]
pub struct NotASecretRef;

impl SecretRef {
    /// Reads `NAME,target=ENV`.
    ///
    /// # Errors
    /// [`NotASecretRef`] for everything else, and for a target that can be no environment variable.
    pub fn parse(text: &str) -> Result<Self, NotASecretRef> {
        let (name, rest) = text.split_once(',').ok_or(NotASecretRef)?;
        let target = rest.strip_prefix("target=").ok_or(NotASecretRef)?;
        if name.is_empty() || target.is_empty() || target.contains(['=', '\0', '\n']) {
            return Err(NotASecretRef);
        }
        Ok(Self { name: name.to_owned(), target: target.to_owned() })
    }

    /// The name of the secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The environment variable.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},target={}", self.name, self.target)
    }
}

/// What a secret is. It is overwritten when dropped, does not print, and there is no way to serialise it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// Takes a text over. Copies that were made of it before are not its business.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_a_name_and_a_target() {
        for (text, name, target) in [
            ("github,target=GITHUB_TOKEN", "github", "GITHUB_TOKEN"),
            ("op://a/b c/d,target=X", "op://a/b c/d", "X"),
            ("a,target=b,target", "a", "b,target"),
        ] {
            let read = SecretRef::parse(text).unwrap();
            assert_eq!((read.name(), read.target()), (name, target));
            assert_eq!(read.to_string(), text);
        }
        for text in
            ["", "a", "a,", "a,b", ",target=b", "a,target=", "a, target=b", "a,target=b=c", "a,target=b\0"]
        {
            assert_eq!(SecretRef::parse(text), Err(NotASecretRef), "{text}");
        }
    }

    #[test]
    fn a_value_does_not_print() {
        assert!(!format!("{:?}", SecretValue::new("hunter2".to_owned())).contains("hunter2"));
    }
}
