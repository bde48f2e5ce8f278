//! Where a workload's secrets are looked up.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use model::SecretValue;
use parking_lot::Mutex;
use store::config::{ConfigError, ConfigFile};
use store::secrets::{
    Abilities, Credentials, EncryptedFile, Environment, GivenPassword, OnePassword, PasswordError,
    PasswordFile, SharedProvider, UserSecrets, WithFallback,
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
    #[error("{0:?} is none who keeps secrets: write encrypted, environment, 1password or systemd")]
    Unknown(String),
    #[error("there are no credentials of systemd's here: CREDENTIALS_DIRECTORY is not set")]
    NoCredentials,
}

impl SecretsKeeper {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Environment => "environment",
            Self::OnePassword => "1password",
            Self::Systemd => "systemd",
        }
    }
}

impl FromStr for SecretsKeeper {
    type Err = BadKeeper;

    fn from_str(text: &str) -> Result<Self, BadKeeper> {
        match text {
            // What early versions of ToolHive called it.
            "encrypted" | "basic" => Ok(Self::Encrypted),
            "environment" => Ok(Self::Environment),
            "1password" => Ok(Self::OnePassword),
            "systemd" => Ok(Self::Systemd),
            other => Err(BadKeeper::Unknown(other.to_owned())),
        }
    }
}

/// How secrets are looked up, besides what `config.yaml` says.
#[derive(Clone, Copy, Debug)]
pub struct SecretsSettings {
    /// Who keeps them, whatever the file says.
    pub keeper: Option<SecretsKeeper>,
    /// What the names of variables begin with: `PREFIX_SECRET_NAME`.
    pub prefix: &'static str,
    /// Whether a variable stands in for a secret that the keeper has not.
    pub fallback: bool,
}

/// The users' secrets. What `config.yaml` says of them counts from the next look on.
#[must_use]
pub fn provider(
    settings: SecretsSettings,
    folders: &Folders,
    variables: &[(String, String)],
) -> SharedProvider {
    let kept =
        Kept { settings, folders: folders.clone(), variables: variables.to_vec(), last: Mutex::default() };
    Arc::new(UserSecrets::new(Arc::new(kept)))
}

/// Secrets of whoever keeps them at the time.
struct Kept {
    settings: SecretsSettings,
    folders: Folders,
    variables: Vec<(String, String)>,
    /// Who kept them the last time: what was derived then need not be again.
    last: Mutex<Option<(SecretsKeeper, SharedProvider)>>,
}

/// Variables may be secrets.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Kept {
    fn now(&self) -> Result<SharedProvider, SecretError> {
        let keeper = match self.settings.keeper {
            Some(keeper) => keeper,
            None => configured(&self.folders)?,
        };
        let mut last = self.last.lock();
        if let Some((of, provider)) = &*last
            && *of == keeper
        {
            return Ok(Arc::clone(provider));
        }
        let provider = kept_by(keeper, self.settings, &self.folders, &self.variables);
        let provider = provider.map_err(|error| SecretError::Keeper(error.to_string()))?;
        *last = Some((keeper, Arc::clone(&provider)));
        Ok(provider)
    }
}

impl Provider for Kept {
    fn name(&self) -> &'static str {
        self.now().map_or("unknown", |provider| provider.name())
    }

    fn abilities(&self) -> Abilities {
        self.now().map_or_else(|_| Abilities::default(), |provider| provider.abilities())
    }

    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        self.now()?.get(name)
    }

    fn set(&self, name: &str, value: &SecretValue) -> Result<(), SecretError> {
        self.now()?.set(name, value)
    }

    fn delete(&self, name: &str) -> Result<bool, SecretError> {
        self.now()?.delete(name)
    }

    fn list(&self) -> Result<Vec<String>, SecretError> {
        self.now()?.list()
    }
}

/// Who keeps them, by `config.yaml`.
fn configured(folders: &Folders) -> Result<SecretsKeeper, SecretError> {
    let unknown = |error: &dyn Error| SecretError::Keeper(error.to_string());
    let config = ConfigFile::new(folders.config_file()).read().map_err(|error| unknown(&error))?;
    let word = config.secrets_provider().map(str::parse).transpose();
    Ok(word.map_err(|error: BadKeeper| unknown(&error))?.unwrap_or_default())
}

fn kept_by(
    keeper: SecretsKeeper,
    settings: SecretsSettings,
    folders: &Folders,
    variables: &[(String, String)],
) -> Result<SharedProvider, BadKeeper> {
    let values = variables.iter().map(|(name, value)| (name.clone(), SecretValue::new(value.clone())));
    let environment = Environment::new(settings.prefix, values);
    let kept: SharedProvider = match keeper {
        SecretsKeeper::Environment => return Ok(Arc::new(environment)),
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
    Ok(if settings.fallback { Arc::new(WithFallback::new(kept, environment)) } else { kept })
}

/// Why the keeper was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secrets(#[from] SecretError),
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// Says in `config.yaml` who keeps secrets.
///
/// # Errors
/// [`SetupError`]: nothing has changed.
pub fn set_keeper(keeper: SecretsKeeper, folders: &Folders) -> Result<(), SetupError> {
    Ok(ConfigFile::new(folders.config_file()).set_secrets_provider(keeper.as_str())?)
}

/// Whether there are encrypted secrets and nobody has their password.
#[must_use]
pub fn lacks_password(folders: &Folders) -> bool {
    folders.secrets().exists() && !PasswordFile::new(folders.secrets_password()).is_there()
}

/// Keeps the password of the encrypted secrets, those that ToolHive wrote too, if it opens them.
///
/// # Errors
/// [`SetupError`]: nothing has changed.
pub fn keep_password(password: &SecretValue, folders: &Folders) -> Result<(), SetupError> {
    EncryptedFile::new(folders.secrets(), Arc::new(GivenPassword(password.clone()))).list()?;
    Ok(PasswordFile::new(folders.secrets_password()).keep(password)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: SecretsSettings = SecretsSettings { keeper: None, prefix: "X", fallback: true };

    fn folders() -> (tempfile::TempDir, Folders) {
        let folder = tempfile::tempdir().unwrap();
        let at = |below: &str| folder.path().join(below);
        let folders = Folders { run: at("run"), state: at("state"), data: at("data"), config: at("config") };
        std::fs::create_dir_all(at("state")).unwrap();
        (folder, folders)
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn secret(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned())
    }

    #[test]
    fn each_keeper_is_asked_first_and_the_environment_after() {
        let (folder, folders) = folders();
        let credentials = folder.path().join("credentials");
        std::fs::create_dir_all(&credentials).unwrap();
        std::fs::write(credentials.join("a"), "of systemd\n").unwrap();
        let mut known = variables(&[("X_SECRET_a", "of the environment"), ("X_SECRET_b", "b")]);
        let get = |keeper: &str, known: &[(String, String)], name: &str| {
            let settings = SecretsSettings { keeper: Some(keeper.parse().unwrap()), ..SETTINGS };
            let value = provider(settings, &folders, known).get(name);
            value.map(|value| value.map(|value| value.reveal().to_owned())).map_err(|error| error.to_string())
        };
        assert_eq!(get("environment", &known, "a"), Ok(Some("of the environment".to_owned())));
        assert!(get("systemd", &known, "a").unwrap_err().contains("CREDENTIALS_DIRECTORY is not set"));
        known.push(("CREDENTIALS_DIRECTORY".to_owned(), credentials.display().to_string()));
        assert_eq!(get("systemd", &known, "a"), Ok(Some("of systemd".to_owned())));
        assert_eq!(get("systemd", &known, "b"), Ok(Some("b".to_owned())));
        let encrypted = provider(SETTINGS, &folders, &known);
        encrypted.set("a", &secret("of the file")).unwrap();
        assert_eq!(get("basic", &known, "a"), Ok(Some("of the file".to_owned())));
        let alone = provider(SecretsSettings { fallback: false, ..SETTINGS }, &folders, &known);
        assert_eq!((alone.get("b").unwrap(), encrypted.get("b").unwrap()), (None, Some(secret("b"))));
        assert!("keyring".parse::<SecretsKeeper>().unwrap_err().to_string().contains("encrypted"));
        for keeper in ["encrypted", "environment", "1password", "systemd"] {
            assert_eq!(keeper.parse::<SecretsKeeper>().unwrap().as_str(), keeper);
        }
    }

    #[test]
    fn what_the_file_says_counts_from_the_next_look_on() {
        let (_folder, folders) = folders();
        let provider = provider(SETTINGS, &folders, &variables(&[("X_SECRET_a", "of the environment")]));
        provider.set("a", &secret("of the file")).unwrap();
        set_keeper(SecretsKeeper::Environment, &folders).unwrap();
        assert_eq!(provider.get("a").unwrap(), Some(secret("of the environment")));
        assert!(provider.set("a", &secret("1")).is_err());
        set_keeper(SecretsKeeper::Encrypted, &folders).unwrap();
        assert_eq!(provider.get("a").unwrap(), Some(secret("of the file")));
        std::fs::write(folders.config_file(), "secrets: {provider_type: keyring}").unwrap();
        assert!(provider.get("a").unwrap_err().to_string().contains("\"keyring\""));
    }

    #[test]
    fn a_password_is_kept_if_it_opens_the_secrets() {
        let (_folder, folders) = folders();
        let written = EncryptedFile::new(folders.secrets(), Arc::new(GivenPassword(secret("known"))));
        written.set("a", &secret("1")).unwrap();
        assert!(lacks_password(&folders));
        assert!(keep_password(&secret("other"), &folders).is_err() && lacks_password(&folders));
        keep_password(&secret("known"), &folders).unwrap();
        assert!(!lacks_password(&folders));
        assert_eq!(provider(SETTINGS, &folders, &[]).get("a").unwrap(), Some(secret("1")));
    }
}
