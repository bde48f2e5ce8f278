//! Where the keys that seal session tokens come from.

use std::path::{Path, PathBuf};

use proxy::session::{KeyError, KeyRing};
use store::file::FileError;

/// Where to look for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that must exist: the same one on every replica.
    Given(PathBuf),
    /// A file of our own, made with a fresh key when it is first needed.
    Own(PathBuf),
    /// A key that nobody else gets: sessions end with this process.
    Fresh,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("session key file {} does not exist; `openssl rand -base64 32 > FILE` makes one", path.display())]
    Missing { path: PathBuf },
    #[error("session key file {}: {reason}", path.display())]
    Content { path: PathBuf, reason: KeyError },
}

impl KeySource {
    /// Reads the keys, or makes them.
    ///
    /// # Errors
    /// [`KeySourceError`]. It never quotes what is in the file.
    pub fn load(&self) -> Result<KeyRing, KeySourceError> {
        match self {
            Self::Given(path) => match store::file::read(path)? {
                Some(text) => parse(path, &text),
                None => Err(KeySourceError::Missing { path: path.clone() }),
            },
            Self::Own(path) => {
                let made = store::file::read_or_create(path, || KeyRing::generate_line() + "\n")?;
                parse(path, &made)
            }
            Self::Fresh => Ok(KeyRing::parse(&KeyRing::generate_line()).expect("a line just made is a key")),
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<KeyRing, KeySourceError> {
    KeyRing::parse(text).map_err(|reason| KeySourceError::Content { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_keys_are_made_once_and_given_ones_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/session.keys");
        assert!(matches!(KeySource::Given(path.clone()).load(), Err(KeySourceError::Missing { .. })));
        KeySource::Own(path.clone()).load().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        KeySource::Own(path.clone()).load().unwrap();
        KeySource::Given(path.clone()).load().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_quoting_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "secret-but-not-a-key\n").unwrap();
        let error = KeySource::Given(path).load().unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("secret-but"), "{error}");
    }
}
