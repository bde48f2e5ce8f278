//! Whose secrets a name is for. Users have their names, and parts of the system have theirs, `__thv_SCOPE_NAME`, which
//! users neither see nor use.

use model::SecretValue;

use super::{Abilities, Provider, SecretError, SharedProvider};

/// What the names of all scopes begin with. ToolHive's, since the files are.
const RESERVED: &str = "__thv_";

/// How the system's names begin, which early versions of ToolHive kept without a scope.
const SYSTEM_NAMES: [&str; 8] = [
    "BEARER_TOKEN_",
    "OAUTH_CLIENT_SECRET_",
    "OAUTH_REFRESH_TOKEN_",
    "OAUTH_REG_TOKEN_",
    "registry-user-",
    "registry-default-",
    "BUILD_AUTH_FILE_",
    "REGISTRY_OAUTH_",
];

/// A part of the system that keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Registry,
    Workloads,
    Auth,
    Llm,
}

impl Scope {
    fn key(self, name: &str) -> String {
        let scope = match self {
            Self::Registry => "registry",
            Self::Workloads => "workloads",
            Self::Auth => "auth",
            Self::Llm => "llm",
        };
        format!("{RESERVED}{scope}_{name}")
    }
}

/// The users' secrets of a provider.
#[derive(Debug)]
pub struct UserSecrets(SharedProvider);

impl UserSecrets {
    /// Stands before a provider.
    #[must_use]
    pub fn new(provider: SharedProvider) -> Self {
        Self(provider)
    }
}

fn check(name: &str) -> Result<(), SecretError> {
    let help = match name {
        "" => "it is empty",
        name if name.starts_with(RESERVED) => "names that begin with __thv_ are the system's",
        name if name.contains('\0') => "it contains NUL",
        _ => return Ok(()),
    };
    Err(SecretError::Name { name: name.to_owned(), help })
}

impl Provider for UserSecrets {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn abilities(&self) -> Abilities {
        self.0.abilities()
    }

    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        check(name)?;
        self.0.get(name)
    }

    fn set(&self, name: &str, value: &SecretValue) -> Result<(), SecretError> {
        check(name)?;
        self.0.set(name, value)
    }

    fn delete(&self, name: &str) -> Result<bool, SecretError> {
        check(name)?;
        self.0.delete(name)
    }

    fn list(&self) -> Result<Vec<String>, SecretError> {
        let mut names = self.0.list()?;
        names.retain(|name| !name.starts_with(RESERVED));
        Ok(names)
    }
}

/// The secrets of one scope.
#[derive(Debug)]
pub struct ScopedSecrets {
    scope: Scope,
    provider: SharedProvider,
}

impl ScopedSecrets {
    /// The secrets that a scope has in a provider.
    #[must_use]
    pub fn new(scope: Scope, provider: SharedProvider) -> Self {
        Self { scope, provider }
    }
}

impl Provider for ScopedSecrets {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn abilities(&self) -> Abilities {
        self.provider.abilities()
    }

    /// What is not in the scope may be from before there were scopes: under its bare name.
    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        check(name)?;
        match self.provider.get(&self.scope.key(name))? {
            Some(value) => Ok(Some(value)),
            None => self.provider.get(name),
        }
    }

    fn set(&self, name: &str, value: &SecretValue) -> Result<(), SecretError> {
        check(name)?;
        self.provider.set(&self.scope.key(name), value)
    }

    /// Also under its bare name if that is one of the system's: what is deleted must not come back from there. Any other
    /// bare name is a user's secret.
    fn delete(&self, name: &str) -> Result<bool, SecretError> {
        check(name)?;
        let scoped = self.provider.delete(&self.scope.key(name))?;
        let is_systems = SYSTEM_NAMES.iter().any(|before| name.starts_with(before));
        Ok(is_systems && self.provider.delete(name)? || scoped)
    }

    fn list(&self) -> Result<Vec<String>, SecretError> {
        let before = self.scope.key("");
        let names = self.provider.list()?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(&before)).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// Secrets in memory.
    #[derive(Debug, Default)]
    struct Memory(Mutex<BTreeMap<String, SecretValue>>);

    impl Provider for Memory {
        fn name(&self) -> &'static str {
            "memory"
        }

        fn abilities(&self) -> Abilities {
            Abilities { write: true, list: true }
        }

        fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
            Ok(self.0.lock().get(name).cloned())
        }

        fn set(&self, name: &str, value: &SecretValue) -> Result<(), SecretError> {
            self.0.lock().insert(name.to_owned(), value.clone());
            Ok(())
        }

        fn delete(&self, name: &str) -> Result<bool, SecretError> {
            Ok(self.0.lock().remove(name).is_some())
        }

        fn list(&self) -> Result<Vec<String>, SecretError> {
            Ok(self.0.lock().keys().cloned().collect())
        }
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned())
    }

    #[test]
    fn users_neither_see_nor_use_the_systems_secrets() {
        let memory: SharedProvider = Arc::new(Memory::default());
        let user = UserSecrets::new(Arc::clone(&memory));
        let scoped = ScopedSecrets::new(Scope::Workloads, Arc::clone(&memory));
        user.set("mine", &value("1")).unwrap();
        scoped.set("BEARER_TOKEN_a", &value("2")).unwrap();
        assert_eq!(memory.list().unwrap(), ["__thv_workloads_BEARER_TOKEN_a", "mine"]);
        assert_eq!(user.list().unwrap(), ["mine"]);
        assert_eq!(scoped.list().unwrap(), ["BEARER_TOKEN_a"]);
        for name in ["__thv_workloads_BEARER_TOKEN_a", "__thv_x", "", "a\0"] {
            assert!(matches!(user.get(name), Err(SecretError::Name { .. })), "{name:?}");
            assert!(matches!(user.set(name, &value("3")), Err(SecretError::Name { .. })), "{name:?}");
            assert!(matches!(user.delete(name), Err(SecretError::Name { .. })), "{name:?}");
            assert!(matches!(scoped.get(name), Err(SecretError::Name { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_scope_finds_what_is_older_than_scopes() {
        let memory: SharedProvider = Arc::new(Memory::default());
        let scoped = ScopedSecrets::new(Scope::Workloads, Arc::clone(&memory));
        for (name, after_delete) in [("BEARER_TOKEN_a", None), ("github", Some(value("bare")))] {
            memory.set(name, &value("bare")).unwrap();
            assert_eq!(scoped.get(name).unwrap(), Some(value("bare")));
            scoped.set(name, &value("new")).unwrap();
            assert_eq!(scoped.get(name).unwrap(), Some(value("new")));
            assert!(scoped.delete(name).unwrap());
            assert_eq!(memory.get(name).unwrap(), after_delete, "{name}");
        }
    }
}
