//! The one way a file is written: a new file beside it, flushed, then put in its place. Files that are changed, are so by
//! whoever holds their lock ([`hold`]).
//!
//! All of it waits for the disk, and is to be called where waiting is allowed.

mod held;
mod regular;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(crate) use held::BEGUN;
pub use held::{Held, hold, hold_by};
pub(crate) use regular::{Links, read_regular};

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be {action}: {source}", path.display())]
pub struct FileError {
    pub path: PathBuf,
    pub action: &'static str,
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn on(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, action, source }
    }
}

/// Reads a text; `None` where there is no such file.
///
/// # Errors
/// [`FileError`] for everything else that goes wrong, text that is not UTF-8 included.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::on(path, "read")(error)),
    }
}

/// Reads bytes; `None` where there is no such file.
///
/// # Errors
/// [`FileError`] for everything else that goes wrong.
pub fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::on(path, "read")(error)),
    }
}

/// Creates a file with this text unless it exists, and gives what is in it then: of several processes that create it at
/// once, one wins and all get its text. Missing folders are made.
///
/// # Errors
/// [`FileError`]. Nothing half-written is left.
pub fn read_or_create(path: &Path, text: impl FnOnce() -> String) -> Result<String, FileError> {
    if let Some(existing) = read(path)? {
        return Ok(existing);
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(FileError::on(folder, "made"))?;
    let text = text();
    let new = fresh(folder, text.as_bytes()).map_err(FileError::on(path, "written"))?;
    match new.persist_noclobber(path) {
        Ok(_) => {
            sync_folder(folder);
            Ok(text)
        }
        // Somebody was faster; a file that is gone again by now is what they wanted, and not ours to undo.
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| FileError::on(path, "written")(lost.error))
        }
        Err(failed) => Err(FileError::on(path, "written")(failed.error)),
    }
}

/// Puts a content in the place of what is there, for a file that nobody else changes: there is no lock. Readable by its owner
/// only.
///
/// # Errors
/// [`FileError`]: what was there is in its place.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let written = fresh(folder, content).and_then(|new| new.persist(path).map_err(|failed| failed.error));
    written.map_err(FileError::on(path, "written"))?;
    sync_folder(folder);
    Ok(())
}

/// A flushed file of no name that anybody knows. A temporary file is made with mode 0600.
fn fresh(folder: &Path, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    Ok(new)
}

/// A crash right after must not lose the name. Where a folder cannot be flushed the file itself still was.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_text_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(read(&path).unwrap(), None);
        assert_eq!(read_or_create(&path, || "one".into()).unwrap(), "one");
        assert_eq!(read_or_create(&path, || "two".into()).unwrap(), "one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn many_creators_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let texts: Vec<_> = std::thread::scope(|scope| {
            let create = |number: usize| {
                let path = &path;
                scope.spawn(move || read_or_create(path, || number.to_string()).unwrap())
            };
            let threads: Vec<_> = (0..8).map(create).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(texts.iter().all(|text| *text == texts[0]));
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
    }
}
