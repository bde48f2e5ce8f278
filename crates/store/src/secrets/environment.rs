//! Secrets from environment variables, `PREFIX_SECRET_NAME`. The variables are handed in: nothing is read here.

use std::collections::BTreeMap;

use model::SecretValue;

use super::{Abilities, Provider, SecretError};

/// Secrets from the environment.
#[derive(Clone, Debug)]
pub struct Environment(BTreeMap<String, SecretValue>);

impl Environment {
    /// Keeps those of the variables that are secrets: `PREFIX_SECRET_` and a name.
    #[must_use]
    pub fn new(prefix: &str, variables: impl IntoIterator<Item = (String, SecretValue)>) -> Self {
        let before = format!("{prefix}_SECRET_");
        let named = |(variable, value): (String, SecretValue)| {
            let name = variable.strip_prefix(&before).filter(|name| !name.is_empty())?;
            Some((name.to_owned(), value))
        };
        Self(variables.into_iter().filter_map(named).collect())
    }
}

impl Provider for Environment {
    fn name(&self) -> &'static str {
        "environment"
    }

    /// Not listed, as in ToolHive: what is in the environment is nobody's list of secrets.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        Ok(self.0.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_prefix_are_secrets() {
        let variables =
            [("TOOLHIVE_SECRET_a", "1"), ("TOOLHIVE_SECRET_", "2"), ("SKEP_SECRET_b", "3"), ("PATH", "4")];
        let value = |text: &str| SecretValue::new(text.to_owned());
        let provider =
            Environment::new("TOOLHIVE", variables.map(|(name, text)| (name.to_owned(), value(text))));
        assert_eq!(provider.get("a").unwrap(), Some(value("1")));
        for name in ["", "b", "PATH"] {
            assert_eq!(provider.get(name).unwrap(), None, "{name}");
        }
        assert!(matches!(provider.list(), Err(SecretError::Unsupported { .. })));
        assert!(matches!(provider.set("a", &value("2")), Err(SecretError::Unsupported { .. })));
    }
}
