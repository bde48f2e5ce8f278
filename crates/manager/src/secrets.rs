//! Where a workload's secrets are looked up.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use model::SecretValue;
use store::secrets::{
    Credentials, EncryptedFile, Environment, OnePassword, PasswordFile, SharedProvider, UserSecrets,
    WithFallback,
};

pub use store::secrets::{Provider, SecretError};

use crate::daemon::Folders;

/// How long 1Password may take.
const TO_ANSWER: Duration = Duration::from_secs(30);

/// Who keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretsKeeper {
    /// The encrypted file.
    #[default]
    Encrypted,
    /// The variables `PREFIX_SECRET_NAME`, and nothing else.
    Environment,
    /// 1Password, by its program `op`.
    OnePassword,
    /// What systemd hands the service (`LoadCredential=`).
    Systemd,
}

/// A word that is none of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeeper {
    #[error("{0:?} keeps no secrets: write encrypted, environment, 1password or systemd")]
    Unknown(String),
    #[error("there are no credentials of systemd's here: CREDENTIALS_DIRECTORY is not set")]
    NoCredentials,
}

impl FromStr for SecretsKeeper {
    type Err = BadKeeper;

    fn from_str(text: &str) -> Result<Self, BadKeeper> {
        match text {
            "encrypted" => Ok(Self::Encrypted),
            "environment" => Ok(Self::Environment),
            "1password" => Ok(Self::OnePassword),
            "systemd" => Ok(Self::Systemd),
            other => Err(BadKeeper::Unknown(other.to_owned())),
        }
    }
}

/// The secrets of this keeper, and behind it the variables `PREFIX_SECRET_NAME`.
///
/// # Errors
/// [`BadKeeper::NoCredentials`].
pub fn provider(
    keeper: SecretsKeeper,
    folders: &Folders,
    prefix: &str,
    variables: &[(String, String)],
) -> Result<SharedProvider, BadKeeper> {
    let values = variables.iter().map(|(name, value)| (name.clone(), SecretValue::new(value.clone())));
    let environment = Environment::new(prefix, values);
    let kept: SharedProvider = match keeper {
        SecretsKeeper::Environment => return Ok(Arc::new(UserSecrets::new(Arc::new(environment)))),
        SecretsKeeper::Encrypted => {
            let password = PasswordFile::new(folders.secrets_password());
            Arc::new(EncryptedFile::new(folders.secrets(), Arc::new(password)))
        }
        SecretsKeeper::OnePassword => {
            let its_own = |name: &str| matches!(name, "HOME" | "PATH") || name.starts_with("OP_");
            let environment = variables.iter().filter(|(name, _)| its_own(name));
            let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
            Arc::new(OnePassword::new(PathBuf::from("op"), environment.collect(), TO_ANSWER))
        }
        SecretsKeeper::Systemd => {
            let directory = variables.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY");
            let (_, directory) = directory.ok_or(BadKeeper::NoCredentials)?;
            Arc::new(Credentials::new(PathBuf::from(directory)))
        }
    };
    Ok(Arc::new(UserSecrets::new(Arc::new(WithFallback::new(kept, environment)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keeper_is_asked_first_and_the_environment_after() {
        let folder = tempfile::tempdir().unwrap();
        let at = |below: &str| folder.path().join(below);
        let folders = Folders { run: at("run"), state: at("state"), data: at("data"), config: at("config") };
        std::fs::create_dir_all(at("state")).unwrap();
        std::fs::create_dir_all(at("credentials")).unwrap();
        std::fs::write(at("credentials/a"), "of systemd\n").unwrap();
        let mut variables: Vec<(String, String)> =
            [("X_SECRET_a", "of the environment"), ("X_SECRET_b", "b")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let get = |keeper: &str, variables: &[(String, String)], name: &str| {
            let provider = provider(keeper.parse().unwrap(), &folders, "X", variables)?;
            Ok::<_, BadKeeper>(provider.get(name).unwrap().map(|value| value.reveal().to_owned()))
        };
        assert_eq!(get("environment", &variables, "a"), Ok(Some("of the environment".to_owned())));
        assert_eq!(get("systemd", &variables, "a"), Err(BadKeeper::NoCredentials));
        variables.push(("CREDENTIALS_DIRECTORY".to_owned(), at("credentials").display().to_string()));
        assert_eq!(get("systemd", &variables, "a"), Ok(Some("of systemd".to_owned())));
        assert_eq!(get("systemd", &variables, "b"), Ok(Some("b".to_owned())));
        let encrypted = provider(SecretsKeeper::Encrypted, &folders, "X", &variables).unwrap();
        encrypted.set("a", &SecretValue::new("of the file".to_owned())).unwrap();
        assert_eq!(get("encrypted", &variables, "a"), Ok(Some("of the file".to_owned())));
        assert!("keyring".parse::<SecretsKeeper>().unwrap_err().to_string().contains("encrypted"));
    }
}
