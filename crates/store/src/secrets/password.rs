//! Where the password of the secrets' file comes from.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use aws_lc_rs::rand;
use model::SecretValue;
use zeroize::Zeroizing;

use crate::file::{self, FileError};

/// A password is made of so many random bytes.
const RANDOM: usize = 32;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} holds the password of the secrets and others may read it: chmod 600 it", path.display())]
    Readable { path: PathBuf },
    #[error("{} holds no password", path.display())]
    Empty { path: PathBuf },
    #[error("there are secrets, but {}, which holds their password, is not there: `skep secret setup` takes it", path.display())]
    Gone { path: PathBuf },
    #[error("{} holds another password already", path.display())]
    Another { path: PathBuf },
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// Where a password comes from.
pub trait PasswordSource: Send + Sync + std::fmt::Debug {
    /// The password of secrets that are there.
    ///
    /// # Errors
    /// [`PasswordError`].
    fn existing(&self) -> Result<SecretValue, PasswordError>;

    /// The password for secrets that are sealed anew: the one that there is, or a new one if this source makes them.
    ///
    /// # Errors
    /// [`PasswordError`].
    fn existing_or_new(&self) -> Result<SecretValue, PasswordError> {
        self.existing()
    }
}

/// A password that somebody gave.
#[derive(Clone, Debug)]
pub struct GivenPassword(pub SecretValue);

impl PasswordSource for GivenPassword {
    fn existing(&self) -> Result<SecretValue, PasswordError> {
        Ok(self.0.clone())
    }
}

/// A random password in a file of its own, readable by its owner only, made for the first secret.
///
/// It protects the secrets' file where that gets somewhere without this one: in a backup, a synchronised folder, a support
/// bundle. It does not protect from anyone who can read the owner's files, which every program of the owner's account
/// can that is not in a sandbox, and so can root; for that there are keyrings, and 1Password.
#[derive(Clone, Debug)]
pub struct PasswordFile {
    path: PathBuf,
}

impl PasswordFile {
    /// The password in a file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Keeps a password that somebody knows.
    ///
    /// # Errors
    /// [`PasswordError::Another`] where one is kept, and others.
    pub fn keep(&self, password: &SecretValue) -> Result<(), PasswordError> {
        let text = Zeroizing::new(format!("{}\n", password.reveal()));
        let kept = self.taken(file::read_or_create(&self.path, || text.to_string())?)?;
        if kept == *password { Ok(()) } else { Err(PasswordError::Another { path: self.path.clone() }) }
    }

    /// Whether one is kept.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    fn taken(&self, text: String) -> Result<SecretValue, PasswordError> {
        let text = Zeroizing::new(text);
        let path = || self.path.clone();
        let metadata = fs::metadata(&self.path).map_err(FileError::on(&self.path, "looked at"))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(PasswordError::Readable { path: path() });
        }
        match text.trim_end() {
            "" => Err(PasswordError::Empty { path: path() }),
            password => Ok(SecretValue::new(password.to_owned())),
        }
    }
}

impl PasswordSource for PasswordFile {
    fn existing(&self) -> Result<SecretValue, PasswordError> {
        let text = file::read(&self.path)?.ok_or_else(|| PasswordError::Gone { path: self.path.clone() })?;
        self.taken(text)
    }

    fn existing_or_new(&self) -> Result<SecretValue, PasswordError> {
        let mut random = Zeroizing::new([0; RANDOM]);
        rand::fill(&mut *random).map_err(|_| PasswordError::NoRandom)?;
        let mut text = Zeroizing::new(String::with_capacity(2 * RANDOM + 1));
        for byte in *random {
            write!(text, "{byte:02x}").expect("a text takes all that is written");
        }
        text.push('\n');
        self.taken(file::read_or_create(&self.path, || text.to_string())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let source = PasswordFile::new(path.clone());
        assert!(matches!(source.existing(), Err(PasswordError::Gone { .. })));
        let password = source.existing_or_new().unwrap();
        assert_eq!((password.reveal().len(), &source.existing_or_new().unwrap()), (64, &password));
        assert_eq!(source.existing().unwrap(), password);
        let other = PasswordFile::new(folder.path().join("other")).existing_or_new().unwrap();
        assert!(other != password);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{source:?}").contains(password.reveal()));
    }

    #[test]
    fn a_password_that_is_known_is_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let source = PasswordFile::new(folder.path().join("password"));
        let (known, other) = (SecretValue::new("known".to_owned()), SecretValue::new("other".to_owned()));
        assert!(!source.is_there());
        source.keep(&known).unwrap();
        source.keep(&known).unwrap();
        assert!(matches!(source.keep(&other), Err(PasswordError::Another { .. })));
        assert_eq!((source.existing().unwrap(), source.is_there()), (known, true));
    }

    #[test]
    fn a_password_that_others_may_read_or_that_is_empty_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let source = PasswordFile::new(path.clone());
        source.existing_or_new().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(source.existing(), Err(PasswordError::Readable { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "\n").unwrap();
        assert!(matches!(source.existing(), Err(PasswordError::Empty { .. })));
    }
}
