//! A workload's log on disk: each line with the time it came, and a bound on what is kept.
//!
//! There are two files at most, `NAME.log` and the one before it, `NAME.log.1`. A disk that is full costs lines, nothing
//! else; it is told once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file grows to so many bytes before the next one is begun.
pub const MAX_FILE: u64 = 10 * 1024 * 1024;

/// A log file that is written to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    bound: u64,
    is_broken: bool,
}

impl LogFile {
    /// Opens the file, behind what is in it.
    ///
    /// # Errors
    /// It cannot be made or written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_bound(path, MAX_FILE)
    }

    fn with_bound(path: &Path, bound: u64) -> io::Result<Self> {
        let file = appending(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, bound, is_broken: false })
    }

    /// Adds a line, with this time before it.
    pub(super) fn write(&mut self, at: SystemTime, line: &str) {
        match self.try_write(at, line) {
            Ok(()) => self.is_broken = false,
            Err(error) if !self.is_broken => {
                self.is_broken = true;
                tracing::warn!(path = %self.path.display(), %error, "log lines are lost");
            }
            Err(_) => {}
        }
    }

    fn try_write(&mut self, at: SystemTime, line: &str) -> io::Result<()> {
        if self.size >= self.bound {
            std::fs::rename(&self.path, before(&self.path))?;
            self.file = appending(&self.path)?;
            self.size = 0;
        }
        let text = format!("{} {line}\n", humantime::format_rfc3339_millis(at));
        // One write, so that whoever reads meanwhile sees whole lines.
        self.file.write_all(text.as_bytes())?;
        self.size += text.len() as u64;
        Ok(())
    }
}

/// Where the lines before those of this file are.
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
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn what_is_kept_is_bounded_and_lines_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.log");
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        for line in 0..100 {
            // As after a restart: what is there counts.
            LogFile::with_bound(&path, 200).unwrap().write(at, &format!("line {line}"));
        }
        let files: Vec<_> =
            [before(&path), path.clone()].map(|path| std::fs::read_to_string(path).unwrap()).into();
        assert!(files.iter().all(|text| text.len() < 300), "{files:?}");
        let lines: Vec<_> = files.iter().flat_map(|text| text.lines()).collect();
        assert_eq!(*lines.last().unwrap(), "1970-01-01T00:00:01.500Z line 99");
        assert!(lines.iter().all(|line| line.starts_with("1970-01-01T00:00:01.500Z line ")), "{lines:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
