//! Where a workload's secrets are looked up.

use std::sync::Arc;

use model::SecretValue;
use store::secrets::{EncryptedFile, Environment, PasswordFile, SharedProvider, UserSecrets, WithFallback};

pub use store::secrets::{Provider, SecretError};

use crate::daemon::Folders;

/// The encrypted file of these folders, and behind it the variables `PREFIX_SECRET_NAME`.
#[must_use]
pub fn provider(
    folders: &Folders,
    prefix: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> SharedProvider {
    let password = PasswordFile::new(folders.secrets_password());
    let file = EncryptedFile::new(folders.secrets(), Arc::new(password));
    let variables = variables.into_iter().map(|(name, value)| (name, SecretValue::new(value)));
    let found = WithFallback::new(Arc::new(file), Environment::new(prefix, variables));
    Arc::new(UserSecrets::new(Arc::new(found)))
}
