//! A file that is only added to and does not grow for ever: there are two at most, `NAME` and the one before it, `NAME.1`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file grows to so many bytes before the next one is begun.
pub const MAX_BYTES: u64 = 10 * 1024 * 1024;

/// The file that is written to. What is written at once stays together.
#[derive(Debug)]
pub struct BoundedFile {
    path: PathBuf,
    file: File,
    size: u64,
    bound: u64,
}

impl BoundedFile {
    /// Opens the file, behind what is in it, and makes it and its folder if need be.
    ///
    /// # Errors
    /// It cannot be made or written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_bound(path, MAX_BYTES)
    }

    /// The same with a bound of its own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_bound(path: &Path, bound: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = appending(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, bound })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size >= self.bound {
            match std::fs::rename(&self.path, before(&self.path)) {
                // Somebody has removed it.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.file = appending(&self.path)?;
            self.size = 0;
        }
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where what was written before is.
#[must_use]
pub fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn appending(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/w.log");
        for line in 0..100 {
            // As after a restart: what is there counts.
            let mut file = BoundedFile::with_bound(&path, 200).unwrap();
            file.write_all(format!("line {line}\n").as_bytes()).unwrap();
        }
        let texts = [before(&path), path.clone()].map(|path| std::fs::read_to_string(path).unwrap());
        assert!(texts.iter().all(|text| text.len() < 220), "{texts:?}");
        let lines: Vec<_> = texts.iter().flat_map(|text| text.lines()).collect();
        let first: usize = lines[0].strip_prefix("line ").unwrap().parse().unwrap();
        let expect: Vec<_> = (first..100).map(|line| format!("line {line}")).collect();
        assert_eq!(lines, expect);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }
}
