//! A file that outlives the server: every text recorded is a line in it, written before it is said to be. Several servers
//! may write to one file, so it tells whoever tests them what was carried out, and how often.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A line may be this long: longer ones would not be written in one piece.
const MAX_LINE: usize = 2048;

/// The file.
#[derive(Debug)]
pub struct Journal(File);

/// A text that is no line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotALine;

impl Journal {
    /// Opens the file to write behind its end.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// [`NotALine`], or what the system says.
    pub(crate) fn record(&self, text: &str) -> io::Result<Result<(), NotALine>> {
        if text.len() >= MAX_LINE || text.contains('\n') {
            return Ok(Err(NotALine));
        }
        // One write: lines of several servers do not mix.
        (&self.0).write_all(format!("{text}\n").as_bytes())?;
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (one, two) = (Journal::open(&path).unwrap(), Journal::open(&path).unwrap());
        one.record("a").unwrap().unwrap();
        two.record("b").unwrap().unwrap();
        assert_eq!(one.record("c\nd").unwrap(), Err(NotALine));
        assert_eq!(one.record(&"x".repeat(MAX_LINE)).unwrap(), Err(NotALine));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
    }
}
