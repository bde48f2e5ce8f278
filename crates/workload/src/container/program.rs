//! What pid 1 of a container is run from: this program, and where it is linked dynamically its loader and libraries, in a
//! directory that is mounted read-only. An image has none of them, or others.
//!
//! INVARIANT: no code of an image runs in pid 1. So everything lies in one directory of skep's (an image could put a
//! better match beside a single file), the loader looks nowhere else, and variables that would tell it to are overridden.
//!
//! A directory is locked, shared, as long as a container has it. What other versions left is removed when nobody holds it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::OWN_DIR;

/// The loader, the libraries and the program, below [`OWN_DIR`].
const LOADER: &str = "ld.so";
const LIBRARIES: &str = "lib";
pub(super) const PROGRAM: &str = "skep";
/// Where the line's directory is mounted.
pub(super) const LINE_DIR: &str = "line";
/// What covers a file and a directory that is hidden.
pub(super) const EMPTY_FILE: &str = "empty";
pub(super) const EMPTY_DIR: &str = "nothing";

/// How the names of such directories begin.
const PREFIX: &str = "program-";

const EXE: &str = "/proc/self/exe";

/// A directory with all of it.
#[derive(Debug)]
pub(super) struct Staged {
    /// What is mounted at [`OWN_DIR`].
    pub(super) dir: PathBuf,
    /// What is mounted over the program's place in it, where it is not there itself.
    pub(super) program: Option<PathBuf>,
    /// Keeps the directory from being removed.
    pub(super) held: File,
    is_dynamic: bool,
}

impl Staged {
    /// How it is started.
    pub(super) fn command(&self) -> Vec<String> {
        let own = |name: &str| format!("{OWN_DIR}/{name}");
        if !self.is_dynamic {
            return vec![own(PROGRAM)];
        }
        vec![
            own(LOADER),
            "--inhibit-cache".to_owned(),
            "--library-path".to_owned(),
            own(LIBRARIES),
            own(PROGRAM),
        ]
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Gets it ready below `scratch`, unless this very program did so before.
pub(super) fn stage(scratch: &Path) -> io::Result<Staged> {
    let helper = crate::sandbox::helper_program();
    let exe = fs::metadata(helper.unwrap_or_else(|| Path::new(EXE)))?;
    let dir = scratch.join(format!("{PREFIX}{:x}-{:x}-{}", exe.dev(), exe.ino(), exe.mtime()));
    // What is at the path may be another version by now, or be closed to whoever root in a container is.
    let path = helper.map_or_else(|| fs::read_link(EXE), |path| Ok(path.to_owned()))?;
    let is_it = fs::metadata(&path).is_ok_and(|now| now.dev() == exe.dev() && now.ino() == exe.ino());
    let program = (is_it && exe.mode() & 0o005 == 0o005).then(|| path.clone());
    let loader = loader(helper.unwrap_or_else(|| Path::new(EXE)))?;
    let held = loop {
        if let Some(held) = hold(&dir)? {
            break held;
        }
        let made = dir.with_extension(std::process::id().to_string());
        fill(&made, &path, program.is_some(), loader.as_deref())?;
        // Somebody else may have been quicker, with the same.
        if fs::rename(&made, &dir).is_err() {
            fs::remove_dir_all(&made)?;
        }
    };
    sweep(scratch, &dir);
    Ok(Staged { dir, program, held, is_dynamic: loader.is_some() })
}

/// Keeps a directory from being removed. `None`: it is not there, or not any more.
fn hold(dir: &Path) -> io::Result<Option<File>> {
    let held = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    held.lock_shared()?;
    // Whoever had it may have removed it, and somebody made another.
    let is_it = |now: fs::Metadata, held: fs::Metadata| now.ino() == held.ino();
    Ok(fs::metadata(dir)
        .ok()
        .zip(held.metadata().ok())
        .is_some_and(|(now, held)| is_it(now, held))
        .then_some(held))
}

/// Removes the directories of other versions that nobody holds, and those that were never finished.
fn sweep(scratch: &Path, own: &Path) {
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == own || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let removed = match path.extension() {
            // Its maker is at it.
            Some(process) if Path::new("/proc").join(process).exists() => continue,
            Some(_) => fs::remove_dir_all(&path),
            None => remove_unless_held(&path),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, path = %path.display(), "what another version left is not removed");
        }
    }
}

fn remove_unless_held(dir: &Path) -> io::Result<()> {
    let lock = File::open(dir)?;
    match lock.try_lock() {
        Ok(()) => fs::remove_dir_all(dir),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn fill(dir: &Path, program: &Path, is_mounted: bool, loader: Option<&Path>) -> io::Result<()> {
    let _ = fs::remove_dir_all(dir);
    for name in ["", LIBRARIES, LINE_DIR, EMPTY_DIR] {
        fs::create_dir_all(dir.join(name))?;
        fs::set_permissions(dir.join(name), Permissions::from_mode(0o755))?;
    }
    copy(Path::new("/dev/null"), &dir.join(EMPTY_FILE), 0o444)?;
    copy(Path::new(if is_mounted { "/dev/null" } else { EXE }), &dir.join(PROGRAM), 0o755)?;
    let Some(loader) = loader else { return Ok(()) };
    copy(loader, &dir.join(LOADER), 0o755)?;
    for library in mapped(&fs::read_to_string("/proc/self/maps")?) {
        if library != program && library != fs::read_link(EXE)? {
            for name in names(&library)? {
                copy(&library, &dir.join(LIBRARIES).join(name), 0o644)?;
            }
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
    io::copy(&mut File::open(from).map_err(explain)?, &mut File::create(to)?)?;
    fs::set_permissions(to, Permissions::from_mode(mode))
}

/// Files with code in a list of mappings (proc_pid_maps(5)).
fn mapped(maps: &str) -> BTreeSet<PathBuf> {
    let files = maps.lines().filter_map(|line| {
        let rights = line.split_ascii_whitespace().nth(1)?;
        let path = &line[line.find('/')?..];
        rights.contains('x').then(|| PathBuf::from(path))
    });
    files.collect()
}

/// What a library may be asked for by: its own name, and those of links to it beside it.
fn names(library: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut names = BTreeSet::new();
    let Some((folder, name)) = library.parent().zip(library.file_name()) else { return Ok(names) };
    names.insert(PathBuf::from(name));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_library = entry.file_name().as_bytes().windows(3).any(|part| part == b".so");
        if is_library
            && entry.file_type()?.is_symlink()
            && entry.path().canonicalize().is_ok_and(|real| real == library)
        {
            names.insert(entry.file_name().into());
        }
    }
    Ok(names)
}

/// The loader that a program names (elf(5), 64 bits). `None`: it needs none.
fn loader(program: &Path) -> io::Result<Option<PathBuf>> {
    const PT_INTERP: u32 = 3;
    let file = File::open(program)?;
    let read = |at: u64, length: usize| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    };
    let header = read(0, 64)?;
    let (table, size, count) = (number(&header, 32, 8), number(&header, 54, 2), number(&header, 56, 2));
    for index in 0..count {
        let entry = read(table + index * size, 56)?;
        if number(&entry, 0, 4) == u64::from(PT_INTERP) {
            let length = usize::try_from(number(&entry, 32, 8)).map_err(io::Error::other)?.min(4096);
            let text = read(number(&entry, 8, 8), length)?;
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            return Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(text))));
        }
    }
    Ok(None)
}

/// A number in the machine's order.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut wide = [0; 8];
    for (to, from) in wide.iter_mut().zip(bytes.get(at..at + length).unwrap_or_default()) {
        *to = *from;
    }
    u64::from_le_bytes(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_code_are_found_in_a_list_of_mappings() {
        let maps = "55d0-55d1 r-xp 00001000 fe:00 12  /usr/bin/skep\n55d1-55d2 rw-p 0 fe:00 12  /usr/bin/skep\n\
                    7f00-7f01 r-xp 0 fe:00 7                          /usr/lib/a b/libc.so.6\n7f01-7f02 r--p 0 fe:00 8 /usr/share/x\n\
                    7ffd-7ffe r-xp 0 00:00 0 [vdso]\n7fff-8000 r-xp 0 00:00 0\n";
        let expect = ["/usr/bin/skep", "/usr/lib/a b/libc.so.6"].map(PathBuf::from);
        assert_eq!(mapped(maps).into_iter().collect::<Vec<_>>(), expect);
    }

    #[test]
    fn what_is_staged_starts_by_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let staged = stage(scratch.path()).unwrap();
        let again = stage(scratch.path()).unwrap();
        assert_eq!(staged.dir, again.dir);
        let program = staged.program.clone().unwrap_or_else(|| staged.at(PROGRAM));
        let here = |word: String| match word.strip_prefix(&format!("{OWN_DIR}/")) {
            Some(PROGRAM) => program.display().to_string(),
            Some(name) => staged.at(name).display().to_string(),
            None => word,
        };
        let mut words = staged.command().into_iter().map(here);
        let mut command = std::process::Command::new(words.next().unwrap());
        let output = command.args(words).arg("--list").env_clear().output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    fn what_other_versions_left_goes_when_nobody_holds_it() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let dir = scratch.path().join(name);
            fs::create_dir_all(dir.join("lib")).unwrap();
            dir
        };
        let (left, held, other) = (dir("program-1-2-3"), dir("program-4-5-6"), dir("0123456789abcdef"));
        let cut_short = dir("program-7-8-9.4194305");
        let being_made = dir(&format!("program-7-8-9.{}", std::process::id()));
        let holds = hold(&held).unwrap().unwrap();
        let staged = stage(scratch.path()).unwrap();
        let there = |dirs: [&Path; 6]| dirs.map(Path::exists);
        let all = || there([&left, &held, &other, &cut_short, &being_made, &staged.dir]);
        assert_eq!(all(), [false, true, true, false, true, true]);
        drop(holds);
        stage(scratch.path()).unwrap();
        assert_eq!(all(), [false, false, true, false, true, true]);
        // What was removed while it was waited for is not held.
        assert!(hold(&held).unwrap().is_none());
    }
}
