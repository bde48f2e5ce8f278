//! Secrets that systemd hands a service (`LoadCredential=` and its kin): one file each, in a directory that only the
//! service sees.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use model::SecretValue;

use super::{Abilities, Provider, SecretError};
use crate::file::FileError;

/// systemd gives no more to a service in all.
const MAX: u64 = 1024 * 1024;

/// Secrets in a directory of credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    directory: PathBuf,
}

impl Credentials {
    /// The secrets of a directory: what `CREDENTIALS_DIRECTORY` says.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

impl Provider for Credentials {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn abilities(&self) -> Abilities {
        Abilities { write: false, list: true }
    }

    /// The text of a file, without one newline at its end: editors and `echo` put it there.
    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        if name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | "..") {
            return Ok(None);
        }
        let path = self.directory.join(name);
        let mut text = String::new();
        let read = fs::File::open(&path).and_then(|file| file.take(MAX + 1).read_to_string(&mut text));
        // Whatever was read is wiped, also where it is not given.
        let value = SecretValue::new(text);
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::on(&path, "read")(error).into()),
            Ok(_) => {}
        }
        if value.reveal().len() as u64 > MAX {
            let path = path.display().to_string();
            return Err(SecretError::Unusable { path, reason: "it is larger than 1 MiB" });
        }
        let text = value.reveal();
        Ok(Some(SecretValue::new(text.strip_suffix('\n').unwrap_or(text).to_owned())))
    }

    fn list(&self) -> Result<Vec<String>, SecretError> {
        let listed = |error| SecretError::from(FileError::on(&self.directory, "listed")(error));
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(listed)? {
            names.extend(entry.map_err(listed)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_secrets_and_nothing_else_is() {
        let outside = tempfile::tempdir().unwrap();
        let directory = outside.path().join("credentials");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("token"), "hunter2\n").unwrap();
        fs::write(directory.join("lines"), "a\n\n").unwrap();
        fs::write(directory.join("bytes"), b"\xff").unwrap();
        fs::write(directory.join("huge"), vec![b'x'; MAX as usize + 1]).unwrap();
        fs::write(outside.path().join("other"), "x").unwrap();
        let provider = Credentials::new(directory);
        let get = |name: &str| provider.get(name).unwrap().map(|value| value.reveal().to_owned());
        for (name, value) in [
            ("token", Some("hunter2")),
            ("lines", Some("a\n")),
            ("none", None),
            ("../other", None),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(get(name).as_deref(), value, "{name}");
        }
        assert!(matches!(provider.get("bytes"), Err(SecretError::File(_))));
        assert!(matches!(provider.get("huge"), Err(SecretError::Unusable { .. })));
        assert_eq!(provider.list().unwrap(), ["bytes", "huge", "lines", "token"]);
    }
}
