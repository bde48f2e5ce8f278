//! Where secrets come from, and where they are kept.
//!
//! A [`Provider`] knows secrets by name. [`UserSecrets`] and [`ScopedSecrets`] stand before one and say who may use which
//! names; [`WithFallback`] adds the environment. Values are [`SecretValue`]s: nothing here prints one or writes one in
//! clear.
//!
//! Providers wait (for the disk, for a key to be derived, for a program), and are to be called where waiting is allowed.

mod credentials;
mod encrypted;
mod environment;
mod fallback;
mod one_password;
mod password;
mod scope;

use std::fmt;
use std::sync::Arc;

use model::{SecretRef, SecretValue};

pub use credentials::Credentials;
pub use encrypted::{Cost, EncryptedFile};
pub use environment::Environment;
pub use fallback::WithFallback;
pub use one_password::OnePassword;
pub use password::{GivenPassword, PasswordError, PasswordFile, PasswordSource};
pub use scope::{Scope, ScopedSecrets, UserSecrets};

use crate::file::FileError;

/// What can be done with the secrets of a provider, besides reading them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// To set and to delete them.
    pub write: bool,
    pub list: bool,
}

/// A place that secrets are in.
pub trait Provider: Send + Sync + fmt::Debug {
    /// What it is called in settings and errors.
    fn name(&self) -> &'static str;

    /// What can be done besides reading.
    fn abilities(&self) -> Abilities;

    /// A secret; `None` where there is none of this name.
    ///
    /// # Errors
    /// [`SecretError`] where it is not known whether there is.
    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError>;

    /// Sets a secret.
    ///
    /// # Errors
    /// [`SecretError`]: nothing has changed.
    fn set(&self, name: &str, value: &SecretValue) -> Result<(), SecretError> {
        let _ = (name, value);
        Err(SecretError::Unsupported { provider: self.name(), operation: "set" })
    }

    /// Deletes a secret. False where there is none.
    ///
    /// # Errors
    /// [`SecretError`]: nothing has changed.
    fn delete(&self, name: &str) -> Result<bool, SecretError> {
        let _ = name;
        Err(SecretError::Unsupported { provider: self.name(), operation: "deleted" })
    }

    /// The names of all secrets, in order.
    ///
    /// # Errors
    /// [`SecretError`].
    fn list(&self) -> Result<Vec<String>, SecretError> {
        Err(SecretError::Unsupported { provider: self.name(), operation: "listed" })
    }
}

/// A provider that others share.
pub type SharedProvider = Arc<dyn Provider>;

/// Why secrets could not be had. No text here contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secrets of the provider {provider} cannot be {operation}")]
    Unsupported { provider: &'static str, operation: &'static str },
    #[error("{name:?} is not the name of a secret here: {help}")]
    Name { name: String, help: &'static str },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the secrets in {path} could not be opened: the password is another, or the file is damaged")]
    NotOpened { path: String },
    #[error("the secrets in {path} cannot be used: {reason}")]
    Unusable { path: String, reason: &'static str },
    #[error("who keeps secrets cannot be said: {0}")]
    Keeper(String),
    #[error("{program} did not give the secret: {reason}")]
    Program { program: String, reason: String },
}

/// Secrets that a workload needs and nobody has.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no secret {}: set it, or run without it", .0.join(", "))]
    Missing(Vec<String>),
    #[error("the secret {name}: {error}")]
    Failed { name: String, error: SecretError },
}

/// The environment variables that secrets become. All that are missing are named at once.
///
/// # Errors
/// [`ResolveError`].
pub fn resolve(
    provider: &dyn Provider,
    secrets: &[SecretRef],
) -> Result<Vec<(String, SecretValue)>, ResolveError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for secret in secrets {
        match provider.get(secret.name()) {
            Ok(Some(value)) => found.push((secret.target().to_owned(), value)),
            Ok(None) => missing.push(secret.name().to_owned()),
            Err(error) => return Err(ResolveError::Failed { name: secret.name().to_owned(), error }),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(ResolveError::Missing(missing)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_become_variables_or_all_missing_names() {
        let provider =
            Environment::new("SKEP", [("SKEP_SECRET_a".to_owned(), SecretValue::new("1".to_owned()))]);
        let secret = |text: &str| SecretRef::parse(text).unwrap();
        let found = resolve(&provider, &[secret("a,target=A"), secret("a,target=B")]).unwrap();
        let shown: Vec<_> = found.iter().map(|(target, value)| (&**target, value.reveal())).collect();
        assert_eq!(shown, [("A", "1"), ("B", "1")]);
        let missing = resolve(&provider, &[secret("x,target=A"), secret("a,target=B"), secret("y,target=C")]);
        assert_eq!(missing.unwrap_err().to_string(), "there is no secret x, y: set it, or run without it");
    }
}
