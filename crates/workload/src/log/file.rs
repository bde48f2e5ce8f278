//! A workload's log on disk: each line with the time it came. A disk that is full costs lines, nothing else; it is told once.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use telemetry::bounded_file::BoundedFile;

/// A log file that is written to.
#[derive(Debug)]
pub struct LogFile {
    file: BoundedFile,
    is_broken: bool,
}

impl LogFile {
    /// Opens the file, behind what is in it.
    ///
    /// # Errors
    /// It cannot be made or written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BoundedFile::open(path)?, is_broken: false })
    }

    /// Adds a line, with this time before it.
    pub(super) fn write(&mut self, at: SystemTime, line: &str) {
        let text = format!("{} {line}\n", humantime::format_rfc3339_millis(at));
        match self.file.write_all(text.as_bytes()) {
            Ok(()) => self.is_broken = false,
            Err(error) if !self.is_broken => {
                self.is_broken = true;
                tracing::warn!(path = %self.file.path().display(), %error, "log lines are lost");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_line_has_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.log");
        let mut file = LogFile::open(&path).unwrap();
        file.write(UNIX_EPOCH + Duration::from_millis(1_500), "one");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1970-01-01T00:00:01.500Z one\n");
    }
}
