//! The environment behind another provider.

use model::SecretValue;

use super::{Abilities, Environment, Provider, SecretError, SharedProvider};

/// A provider, and the environment for what it does not have. What fails is not made up for: a value from elsewhere would
/// hide it.
#[derive(Debug)]
pub struct WithFallback {
    provider: SharedProvider,
    environment: Environment,
}

impl WithFallback {
    /// Puts the environment behind a provider.
    #[must_use]
    pub fn new(provider: SharedProvider, environment: Environment) -> Self {
        Self { provider, environment }
    }
}

impl Provider for WithFallback {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn abilities(&self) -> Abilities {
        self.provider.abilities()
    }

    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        match self.provider.get(name)? {
            Some(value) => Ok(Some(value)),
            None => self.environment.get(name),
        }
    }

    fn set(&self, name: &str, value: &SecretValue) -> Result<(), SecretError> {
        self.provider.set(name, value)
    }

    fn delete(&self, name: &str) -> Result<bool, SecretError> {
        self.provider.delete(name)
    }

    fn list(&self) -> Result<Vec<String>, SecretError> {
        self.provider.list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Credentials;
    use std::sync::Arc;

    #[test]
    fn the_environment_has_what_the_provider_does_not_have() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "file").unwrap();
        std::fs::write(directory.path().join("bad"), b"\xff").unwrap();
        let variables =
            ["a", "b", "bad"].map(|name| (format!("X_SECRET_{name}"), SecretValue::new("env".to_owned())));
        let provider = Arc::new(Credentials::new(directory.path().to_owned()));
        let both = WithFallback::new(provider, Environment::new("X", variables));
        let get = |name: &str| both.get(name).map(|value| value.map(|value| value.reveal().to_owned()));
        assert_eq!(get("a").unwrap().as_deref(), Some("file"));
        assert_eq!(get("b").unwrap().as_deref(), Some("env"));
        assert_eq!(get("c").unwrap(), None);
        assert!(get("bad").is_err());
    }
}
