//! A RunConfig in a file of somebody's own.

use std::path::Path;

use store::file::{self, FileError};

/// Writes a file with this text, in place of what is there.
///
/// # Errors
/// It cannot be written; what was there is as before then.
pub fn write(path: &Path, text: &str) -> Result<(), FileError> {
    file::replace(path, text.as_bytes())
}
