//! Secrets in an encrypted file.
//!
//! ToolHive's file is read too, and becomes one of ours ([`format`]) when a secret is first changed. From then on ToolHive
//! cannot read it.

mod format;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::SecretValue;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Abilities, PasswordSource, Provider, SecretError};
use crate::file::{self, FileError};
pub use format::Cost;
use format::{Key, NotSealed, Sealed};

/// A larger file is not ours.
const MAX: u64 = 32 * 1024 * 1024;

/// Secrets in a file, under a password.
#[derive(Debug)]
pub struct EncryptedFile {
    path: PathBuf,
    password: Arc<dyn PasswordSource>,
    cost: Cost,
    /// The key that was derived last: deriving one is meant to be slow.
    key: Mutex<Option<Key>>,
}

/// What is sealed, in ToolHive's shape.
#[derive(Default, Serialize, Deserialize)]
struct Contents {
    #[serde(default)]
    secrets: BTreeMap<String, String>,
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.secrets.values_mut().for_each(Zeroize::zeroize);
    }
}

impl EncryptedFile {
    /// The secrets of a file, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf, password: Arc<dyn PasswordSource>) -> Self {
        Self::with_cost(path, password, Cost::default())
    }

    /// With another cost of deriving keys for new files.
    #[must_use]
    pub fn with_cost(path: PathBuf, password: Arc<dyn PasswordSource>, cost: Cost) -> Self {
        Self { path, password, cost, key: Mutex::new(None) }
    }

    /// What is in the file, and the key it was sealed with if it is one of ours.
    fn open(&self, bytes: Option<Vec<u8>>) -> Result<(Contents, Option<Key>), SecretError> {
        let bytes = bytes.unwrap_or_default();
        if bytes.is_empty() {
            return Ok((Contents::default(), None));
        }
        let (text, key) = match Sealed::read(&bytes).map_err(|reason| self.unusable(reason))? {
            Sealed::Ours(ours) => {
                let known = self.key.lock().clone().filter(|key| ours.is_sealed_with(key));
                let key = match known {
                    Some(key) => key,
                    None => ours.key(&self.password.existing()?).map_err(|reason| self.unusable(reason))?,
                };
                let text = ours.open(&key).map_err(|NotSealed| self.not_opened())?;
                *self.key.lock() = Some(key.clone());
                (text, Some(key))
            }
            Sealed::ToolHives(theirs) => {
                let text = theirs.open(&self.password.existing()?).map_err(|NotSealed| self.not_opened())?;
                (text, None)
            }
        };
        let contents = serde_json::from_slice(&text);
        // What serde_json says of it could quote it.
        Ok((contents.map_err(|_| self.unusable("it was opened, but holds no secrets"))?, key))
    }

    fn read(&self) -> Result<Contents, SecretError> {
        check_size(&self.path)?;
        Ok(self.open(file::read_bytes(&self.path)?)?.0)
    }

    /// Changes what is in the file, under its lock. What is as before is not written.
    fn change<R>(&self, change: impl FnOnce(&mut Contents) -> (bool, R)) -> Result<R, SecretError> {
        let held = file::hold(&self.path)?;
        check_size(&self.path)?;
        let (mut contents, key) = self.open(held.read()?)?;
        let (changed, result) = change(&mut contents);
        if !changed {
            return Ok(result);
        }
        let key = match key {
            Some(key) => key,
            None => {
                let password = self.password.existing_or_new()?;
                Key::new(&password, self.cost).map_err(|reason| self.unusable(reason))?
            }
        };
        let sealed = format::seal(&serialized(&contents), &key).map_err(|reason| self.unusable(reason))?;
        if sealed.len() as u64 > MAX {
            return Err(self.unusable("it would be larger than 32 MiB"));
        }
        held.replace(&sealed)?;
        *self.key.lock() = Some(key);
        Ok(result)
    }

    fn unusable(&self, reason: &'static str) -> SecretError {
        SecretError::Unusable { path: self.path.display().to_string(), reason }
    }

    fn not_opened(&self) -> SecretError {
        SecretError::NotOpened { path: self.path.display().to_string() }
    }
}

fn check_size(path: &Path) -> Result<(), SecretError> {
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX => {
            let path = path.display().to_string();
            Err(SecretError::Unusable { path, reason: "it is larger than 32 MiB" })
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::on(path, "looked at")(error).into())
        }
        _ => Ok(()),
    }
}

/// The JSON, in memory that is wiped and was never moved: the longest escape is six bytes for one.
fn serialized(contents: &Contents) -> Zeroizing<Vec<u8>> {
    let longest = |text: &String| 6 * text.len() + 6;
    let room = contents.secrets.iter().map(|(name, value)| longest(name) + longest(value)).sum::<usize>();
    let mut text = Zeroizing::new(Vec::with_capacity(room + 32));
    serde_json::to_writer(&mut *text, contents).expect("a map of texts is JSON");
    text
}

impl Provider for EncryptedFile {
    fn name(&self) -> &'static str {
        "encrypted"
    }

    fn abilities(&self) -> Abilities {
        Abilities { write: true, list: true }
    }

    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        let mut contents = self.read()?;
        Ok(contents.secrets.remove(name).map(SecretValue::new))
    }

    fn set(&self, name: &str, value: &SecretValue) -> Result<(), SecretError> {
        self.change(|contents| {
            let before = contents.secrets.insert(name.to_owned(), value.reveal().to_owned());
            let before = before.map(SecretValue::new);
            (before.as_ref() != Some(value), ())
        })
    }

    fn delete(&self, name: &str) -> Result<bool, SecretError> {
        self.change(|contents| {
            let was_there = contents.secrets.remove(name).map(SecretValue::new).is_some();
            (was_there, was_there)
        })
    }

    fn list(&self) -> Result<Vec<String>, SecretError> {
        Ok(self.read()?.secrets.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::{GivenPassword, PasswordFile};
    use std::os::unix::fs::PermissionsExt;

    /// What ToolHive would have written: made by `toolhive_secrets.py`, beside it.
    const TOOLHIVES: &[u8] = include_bytes!("encrypted/toolhive.bin");

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned())
    }

    fn secrets(path: &Path, password: &str) -> EncryptedFile {
        EncryptedFile::with_cost(path.to_owned(), Arc::new(GivenPassword(value(password))), Cost::CHEAP)
    }

    #[test]
    fn secrets_are_set_got_listed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/secrets_encrypted");
        let provider = secrets(&path, "password");
        assert_eq!(provider.get("a").unwrap(), None);
        assert!(provider.list().unwrap().is_empty() && !path.exists());
        provider.set("b", &value("hunter2\n\"é\"")).unwrap();
        provider.set("a", &value("")).unwrap();
        let again = secrets(&path, "password");
        assert_eq!(again.get("b").unwrap(), Some(value("hunter2\n\"é\"")));
        assert_eq!(again.list().unwrap(), ["a", "b"]);
        assert!(again.delete("a").unwrap() && !again.delete("a").unwrap());
        assert_eq!(provider.list().unwrap(), ["b"], "what another has changed is seen");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
        assert!(!format!("{provider:?}{again:?}").contains("hunter2"));
    }

    #[test]
    fn each_writing_differs_and_what_is_as_before_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        let provider = secrets(&path, "password");
        let written = |text: &str| {
            provider.set("a", &value(text)).unwrap();
            fs::read(&path).unwrap()
        };
        let (first, second) = (written("1"), written("2"));
        assert_eq!(second, written("2"));
        let third = written("1");
        assert!(first != third, "the same under another nonce");
        let other = secrets(&folder.path().join("other"), "password");
        other.set("a", &value("1")).unwrap();
        assert_ne!(fs::read(folder.path().join("other")).unwrap()[..40], first[..40], "another salt");
    }

    #[test]
    fn another_password_or_a_changed_byte_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        secrets(&path, "password").set("a", &value("1")).unwrap();
        let whole = fs::read(&path).unwrap();
        let refuses = |provider: &EncryptedFile| {
            assert!(provider.get("a").is_err() && provider.set("b", &value("2")).is_err());
        };
        refuses(&secrets(&path, "other"));
        assert_eq!(fs::read(&path).unwrap(), whole, "what could not be opened is not written over");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(secrets(&path, "password").get("a").is_err(), "byte {at}");
        }
        for length in 1..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(secrets(&path, "password").get("a").is_err(), "{length} bytes");
        }
    }

    #[test]
    fn toolhives_file_is_read_and_becomes_ours_with_the_first_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets_encrypted");
        fs::write(&path, TOOLHIVES).unwrap();
        assert!(secrets(&path, "other").get("github").is_err());
        let provider = secrets(&path, "correct horse");
        assert_eq!(provider.get("github").unwrap(), Some(value("ghp_example")));
        assert_eq!(provider.list().unwrap(), ["__thv_workloads_BEARER_TOKEN_a", "github"]);
        assert!(!provider.delete("none").unwrap());
        assert_eq!(fs::read(&path).unwrap(), TOOLHIVES);
        provider.set("new", &value("1")).unwrap();
        assert!(fs::read(&path).unwrap().starts_with(b"SKEPSEC"));
        let again = secrets(&path, "correct horse");
        assert_eq!(again.get("github").unwrap(), Some(value("ghp_example")));
        assert_eq!(again.list().unwrap().len(), 3);
    }

    #[test]
    fn a_password_is_made_for_the_first_secret_only() {
        let folder = tempfile::tempdir().unwrap();
        let (path, password) = (folder.path().join("secrets"), folder.path().join("password"));
        let open = || {
            let source = Arc::new(PasswordFile::new(password.clone()));
            EncryptedFile::with_cost(path.clone(), source, Cost::CHEAP)
        };
        assert_eq!(open().get("a").unwrap(), None);
        assert!(!password.exists());
        open().set("a", &value("1")).unwrap();
        assert_eq!(open().get("a").unwrap(), Some(value("1")));
        fs::remove_file(&password).unwrap();
        assert!(matches!(open().set("b", &value("2")), Err(SecretError::Password(_))));
        assert!(!password.exists());
    }

    #[test]
    fn no_secret_is_lost_between_two_who_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        std::thread::scope(|scope| {
            for number in 0..6 {
                let path = &path;
                scope.spawn(move || secrets(path, "p").set(&number.to_string(), &value("x")).unwrap());
            }
        });
        assert_eq!(secrets(&path, "p").list().unwrap().len(), 6);
    }

    #[test]
    fn an_empty_file_has_no_secrets_and_a_huge_one_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        fs::write(&path, "").unwrap();
        assert!(secrets(&path, "p").list().unwrap().is_empty());
        fs::File::create(&path).unwrap().set_len(MAX + 1).unwrap();
        assert!(matches!(secrets(&path, "p").list(), Err(SecretError::Unusable { .. })));
    }
}
