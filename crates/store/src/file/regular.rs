//! Reading a file that somebody else may have put there: a pipe, a device or an endless file is refused, not waited for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::geteuid;

use super::FileError;

/// What a path that is a symbolic link comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// What it leads to.
    Followed,
    /// An error.
    Refused,
}

/// The text of a file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) text: String,
    /// Whether it belongs to this user and has no other name.
    pub(crate) is_own: bool,
}

/// Reads the text of a regular file; `None` where there is none.
///
/// # Errors
/// [`FileError`] for everything else that goes wrong: another kind of file, more bytes than these, no UTF-8.
pub(crate) fn read_regular(path: &Path, links: Links, most_bytes: u64) -> Result<Option<Found>, FileError> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, links == Links::Refused);
    let opened = open(path, flags, Mode::empty()).map_err(io::Error::from);
    match opened.and_then(|opened| read(&File::from(opened), most_bytes)) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::on(path, "read")(error)),
    }
}

fn read(file: &File, most_bytes: u64) -> io::Result<Found> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    // One more than allowed tells that there is more.
    file.take(most_bytes.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > most_bytes {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let is_own = metadata.uid() == geteuid().as_raw() && metadata.nlink() == 1;
    Ok(Found { text, is_own })
}
