//! The one way a file is changed: by whoever holds its lock, to a whole new text or not at all.
//!
//! The lock is a file beside it that is never removed. ToolHive removes it, so whoever has it looks whether it is still
//! the one that others would take.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{FileError, read_bytes, sync_folder};

/// How the name of a file ends that is being written.
pub(crate) const BEGUN: &str = ".new";
/// Between two attempts to get a lock that another has. It is had for the time of one write.
const PAUSE: Duration = Duration::from_millis(10);
/// Attempts: five seconds, as others wait for it.
const ATTEMPTS: u32 = 500;

/// The right to change a file, until it is dropped.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    _lock: File,
}

/// Waits for the lock `PATH.lock`. Missing folders are made, and what somebody who was killed had begun to write is removed.
///
/// # Errors
/// [`FileError`], also if another has it for long.
pub fn hold(path: &Path) -> Result<Held, FileError> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    hold_by(path, Path::new(&lock))
}

/// [`hold`] by a lock of another name.
///
/// # Errors
/// See there.
pub fn hold_by(path: &Path, lock: &Path) -> Result<Held, FileError> {
    make_folder(folder_of(path))?;
    for _ in 0..ATTEMPTS {
        if let Some(taken) = try_lock(lock).map_err(FileError::on(lock, "locked"))? {
            let held = Held { path: path.to_owned(), _lock: taken };
            held.remove_begun()?;
            return Ok(held);
        }
        std::thread::sleep(PAUSE);
    }
    let late = io::Error::new(io::ErrorKind::TimedOut, "another process has it and does not let it go");
    Err(FileError::on(lock, "locked")(late))
}

/// The lock, unless another has it or has replaced it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(is_at(&lock, path)?.then_some(lock))
}

/// Whether a file is still the one that has this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

fn make_folder(folder: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o750).create(folder);
    made.map_err(FileError::on(folder, "made"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

impl Held {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in the file; `None` where there is none.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        read_bytes(&self.path)
    }

    /// Puts a new content in the place of the old, readable by its owner only. Whatever fails, even the machine, the file
    /// is the old one or the new one.
    ///
    /// # Errors
    /// [`FileError`]: the old one is in its place.
    pub fn replace(&self, content: &[u8]) -> Result<(), FileError> {
        let written =
            self.written(content).and_then(|new| new.persist(&self.path).map_err(|failed| failed.error));
        written.map_err(FileError::on(&self.path, "written"))?;
        sync_folder(folder_of(&self.path));
        Ok(())
    }

    /// Creates the file with this content. False where it is there already, even if who made it holds no lock.
    ///
    /// # Errors
    /// [`FileError`]: nothing was created.
    pub fn create(&self, content: &[u8]) -> Result<bool, FileError> {
        let new = self.written(content).map_err(FileError::on(&self.path, "written"))?;
        match new.persist_noclobber(&self.path) {
            Ok(_) => {
                sync_folder(folder_of(&self.path));
                Ok(true)
            }
            Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(failed) => Err(FileError::on(&self.path, "written")(failed.error)),
        }
    }

    /// Removes the file. False where there is none.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn remove(&self) -> Result<bool, FileError> {
        match fs::remove_file(&self.path) {
            Ok(()) => {
                sync_folder(folder_of(&self.path));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FileError::on(&self.path, "removed")(error)),
        }
    }

    /// Moves a file that nobody can read out of the way, to `PATH.corrupt-SECONDS`, and gives its new name.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn set_aside(&self) -> Result<PathBuf, FileError> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let named = |number: u64| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".corrupt-{}", seconds + number));
            PathBuf::from(name)
        };
        // Two within a second: the later one gets the next second.
        let free = (0..).map(named).find(|name| fs::symlink_metadata(name).is_err());
        let aside = free.expect("there are more seconds than files");
        fs::rename(&self.path, &aside).map_err(FileError::on(&self.path, "moved aside"))?;
        sync_folder(folder_of(&self.path));
        Ok(aside)
    }

    /// A flushed file beside this one. Its name is always the same, since one holds the lock: what a killed process has
    /// left is found by whoever holds it next.
    fn written(&self, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        // With mode 0600, as all temporary files.
        let mut new = tempfile::Builder::new()
            .prefix(&begun_name(&self.path))
            .rand_bytes(0)
            .tempfile_in(folder_of(&self.path))?;
        new.write_all(content)?;
        new.as_file().sync_all()?;
        Ok(new)
    }

    fn remove_begun(&self) -> Result<(), FileError> {
        let begun = folder_of(&self.path).join(begun_name(&self.path));
        match fs::remove_file(&begun) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::on(&begun, "removed")(error))
            }
            _ => Ok(()),
        }
    }
}

/// What the new content of a file is called until it is whole: `.NAME.new`.
fn begun_name(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(BEGUN);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        let held = hold(&path).unwrap();
        assert_eq!(held.read().unwrap(), None);
        held.replace(b"one").unwrap();
        // What a process that was killed while it wrote has left.
        drop(held);
        fs::write(folder.path().join("a/.b.json.new"), "half").unwrap();
        let held = hold(&path).unwrap();
        assert_eq!(names(&folder.path().join("a")), ["b.json", "b.json.lock"]);
        held.replace(b"two").unwrap();
        assert_eq!(held.read().unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&folder.path().join("a")), ["b.json", "b.json.lock"]);
        assert!(held.remove().unwrap() && !held.remove().unwrap());
    }

    #[test]
    fn one_of_many_creates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let created = std::thread::scope(|scope| {
            let create = |number: u8| {
                let path = &path;
                scope.spawn(move || hold(path).unwrap().create(&[number]).unwrap())
            };
            let threads: Vec<_> = (0..8).map(create).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|created| *created).count()
        });
        assert_eq!(created, 1);
    }

    #[test]
    fn a_lock_whose_name_another_file_has_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let lock = File::create(&path).unwrap();
        assert!(is_at(&lock, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&lock, &path).unwrap());
        let _other = File::create(&path).unwrap();
        assert!(!is_at(&lock, &path).unwrap());
    }

    #[test]
    fn no_change_is_lost_even_if_somebody_removes_locks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("count");
        let lock = folder.path().join("count.lock");
        const CHANGES: usize = 25;
        std::thread::scope(|scope| {
            for remover in [false, false, true, true] {
                let (path, lock) = (&path, &lock);
                scope.spawn(move || {
                    for _ in 0..CHANGES {
                        let held = hold(path).unwrap();
                        let count = held
                            .read()
                            .unwrap()
                            .map_or(0, |text| String::from_utf8(text).unwrap().parse().unwrap());
                        held.replace((count + 1_usize).to_string().as_bytes()).unwrap();
                        if remover {
                            // As ToolHive does it: while it has the lock.
                            fs::remove_file(lock).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), (4 * CHANGES).to_string());
    }

    #[test]
    fn what_is_set_aside_stays_under_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let held = hold(&folder.path().join("x.json")).unwrap();
        held.replace(b"1").unwrap();
        let first = held.set_aside().unwrap();
        held.replace(b"2").unwrap();
        let second = held.set_aside().unwrap();
        assert_eq!((fs::read(first).unwrap(), fs::read(second).unwrap()), (b"1".to_vec(), b"2".to_vec()));
        assert!(held.read().unwrap().is_none());
    }

    /// Runs this test again in a shell that prepares a place where little fits, at the path it is given.
    fn again_where_little_fits(script: &str, place: &Path) -> std::process::Output {
        let mut shell = std::process::Command::new("unshare");
        shell.args(["--mount", "--map-root-user", "sh", "-c", script]);
        shell.arg(std::env::current_exe().unwrap());
        shell.env(PLACE, place).output().unwrap()
    }

    const PLACE: &str = "STORE_TEST_PLACE";

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        if let Some(place) = std::env::var_os(PLACE) {
            let path = Path::new(&place).join("x.json");
            let held = hold(&path).unwrap();
            held.replace(b"old").unwrap();
            let error = held.replace(&[b'x'; 1 << 20]).unwrap_err().to_string();
            assert!(error.contains("x.json could not be written"), "{error}");
            assert_eq!(held.read().unwrap().unwrap(), b"old");
            assert!(hold(&path.with_extension("other")).unwrap().create(&[b'x'; 1 << 20]).is_err());
            assert_eq!(names(Path::new(&place)), ["x.json", "x.json.lock", "x.other.lock"]);
            held.replace(b"new").unwrap();
            println!("it failed as it should");
            return;
        }
        let test =
            "exec \"$0\" --exact file::held::tests::a_write_that_fails_leaves_the_old_file --nocapture";
        for prepare in
            ["mount -t tmpfs -o size=64k none \"$STORE_TEST_PLACE\" && ", "trap '' XFSZ; ulimit -f 64; "]
        {
            let place = tempfile::tempdir().unwrap();
            let out = again_where_little_fits(&format!("{prepare}{test}"), place.path());
            let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            if wrong.contains("unshare") {
                println!("not tried: {wrong}");
                continue;
            }
            assert!(out.status.success() && said.contains("it failed as it should"), "{said}{wrong}");
        }
    }
}
