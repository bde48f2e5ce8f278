//! Where a program lives on the host, and what has to be shown of it so that it runs.
//!
//! A program is looked up as the system would, then followed through symbolic links and `#!` lines. For each file on
//! the way the installation around it is shown: for `X/bin/prog` that is X. What is in the system's own directories is
//! there anyway. A file that is in no `bin` is shown alone.
//!
//! INVARIANT: neither the root nor a home directory, nor anything above it, is an installation. Directories
//! like `~/.local` and `~/.cargo` hold settings and credentials next to programs, so only their program directories
//! are. Each is judged as it is written and as it really is.
//!
//! INVARIANT: nothing is shown because of a link or a `#!` line that a server could have written. What such a one names
//! has to be of the system or in a directory of the `PATH`. A program in a writable mount is found inside where it is
//! outside: that mount is shown there once more, read-only.

mod homes;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, OFlags, access};

use super::Mount;
pub(super) use homes::Homes;
use walk::walk;

/// Where the C library looks when there is no `PATH`.
pub(super) const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Shown to everything (`super::system`).
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Directories whose parent is an installation.
const PROGRAM_DIRS: [&str; 4] = ["bin", "sbin", "libexec", "shims"];

/// What is shown of a directory of the user's settings that has programs in it.
const PROGRAM_PARTS: [&str; 6] = ["bin", "sbin", "lib", "lib64", "libexec", "pyvenv.cfg"];

/// Scripts that run scripts end somewhere; the kernel follows five.
const MOST_INTERPRETERS: usize = 5;

/// Links that lead to links end somewhere; the kernel follows forty.
const MOST_LINKS: usize = 40;

/// Finds a program: a path, or a name looked up on this `PATH`.
///
/// # Errors
/// The system's own for what it would say to running it.
pub(super) fn find(program: &OsStr, search: &OsStr, cwd: &Path) -> io::Result<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        let path = cwd.join(program);
        return refuse_unless_runnable(&path).map(|()| path);
    }
    let mut refused = None;
    for dir in std::env::split_paths(search) {
        let path = cwd.join(dir).join(program);
        match refuse_unless_runnable(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
}

fn refuse_unless_runnable(path: &Path) -> io::Result<()> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(access(path, Access::EXEC_OK)?)
}

/// What of the host is the user's own and what a server may have changed.
pub(super) struct Grounds {
    pub(super) homes: Homes,
    /// Sources of writable mounts, as they really are.
    pub(super) mounts: Vec<PathBuf>,
    /// The home directory that is kept, as it really is.
    pub(super) kept: Option<PathBuf>,
}

impl Grounds {
    fn is_writable(&self, real: &Path) -> bool {
        self.mounts.iter().chain(&self.kept).any(|source| real.starts_with(source))
    }

    /// Where a path really is, if no server could lead it elsewhere.
    fn settled(&self, path: &Path) -> Option<PathBuf> {
        let walked = walk(path)?;
        let is_led = walked.links.iter().any(|link| self.is_writable(link));
        (!is_led && !self.is_writable(&walked.real)).then_some(walked.real)
    }
}

/// What has to be shown for this program to run, beyond the system.
pub(super) fn around(program: &Path, search: &OsStr, grounds: &Grounds) -> Vec<Mount> {
    let on_path: Vec<PathBuf> =
        std::env::split_paths(search).filter_map(|dir| grounds.settled(&dir)).collect();
    let mut shown: Vec<Mount> = Vec::new();
    let mut next = Some(program.to_owned());
    // Whether a server may have said what comes next.
    let mut is_led = false;
    for _ in 0..MOST_INTERPRETERS {
        let Some(file) = next else { break };
        for hop in hops(&file) {
            let Some((dir, name)) = hop.parent().and_then(walk).zip(hop.file_name()) else { continue };
            let place = dir.real.join(name);
            is_led |= dir.links.iter().any(|link| grounds.is_writable(link));
            let more = if grounds.is_writable(&place) {
                is_led = true;
                let source = grounds.mounts.iter().find(|source| place.starts_with(source));
                source.map(Mount::same).into_iter().collect()
            } else if is_led && !is_of_system(&place) && !on_path.contains(&dir.real) {
                return shown;
            } else {
                is_led = false;
                mounts(&hop, grounds)
            };
            for mount in more {
                if !shown.contains(&mount) {
                    shown.push(mount);
                }
            }
        }
        next = interpreter(&file).and_then(|name| {
            let cwd = file.parent().unwrap_or_else(|| Path::new("/"));
            find(&name, search, cwd).ok()
        });
    }
    shown
}

/// The installation of one file, at the places it is asked for.
fn mounts(file: &Path, grounds: &Grounds) -> Vec<Mount> {
    let around = file.parent().and_then(Path::parent);
    let real = around.and_then(|around| grounds.settled(around));
    let paths = installation(file, real.as_deref(), &grounds.homes).into_iter();
    let settled = paths.filter_map(|target| Some(Mount { source: grounds.settled(&target)?, target }));
    settled.filter(|mount| mount.source.is_file() || !grounds.homes.is_home_or_above(&mount.source)).collect()
}

fn is_of_system(path: &Path) -> bool {
    SYSTEM.iter().any(|dir| path.starts_with(dir))
}

/// The file and what its links lead to, one by one, both as the link says it and as it is once the directories on the
/// way have been followed too: inside, either may be asked for.
fn hops(file: &Path) -> Vec<PathBuf> {
    let mut hops = vec![file.to_owned()];
    let mut link = file.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(text) = fs::read_link(&link) else { break };
        let said = link.parent().and_then(|dir| dir.canonicalize().ok()).unwrap_or_default().join(text);
        let (Some(Ok(dir)), Some(name)) = (said.parent().map(Path::canonicalize), said.file_name()) else {
            break;
        };
        link = dir.join(name);
        if said != link && !said.components().any(|part| part == Component::ParentDir) {
            hops.push(said);
        }
        hops.push(link.clone());
    }
    hops.extend(file.canonicalize());
    hops
}

/// What is shown for one file, where the directory above its own really is `real`. Pure.
fn installation(file: &Path, real: Option<&Path>, homes: &Homes) -> Vec<PathBuf> {
    if is_of_system(file) {
        return Vec::new();
    }
    let alone = || vec![file.to_owned()];
    let Some((dir, around)) = file.parent().and_then(|dir| Some((dir, dir.parent()?))) else {
        return alone();
    };
    let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let both = || [Some(around), real].into_iter().flatten();
    if both().any(|dir| homes.is_home_or_above(dir)) {
        return alone();
    }
    if name == ".bin" && around.ends_with("node_modules") {
        return vec![around.to_owned()];
    }
    if !PROGRAM_DIRS.contains(&name) {
        return alone();
    }
    let is_settings = both().any(|dir| {
        let is_hidden = dir.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        is_hidden && dir.parent().is_some_and(|dir| homes.is_home_or_above(dir))
    });
    if is_settings && name != "shims" && name != "libexec" {
        return PROGRAM_PARTS.iter().map(|part| around.join(part)).collect();
    }
    vec![around.to_owned()]
}

/// What the first line of a script says to run it with.
fn interpreter(file: &Path) -> Option<OsString> {
    // As much as the kernel looks at.
    let mut start = Vec::with_capacity(256);
    // Somebody may have put a pipe there meanwhile.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(file, flags, rustix::fs::Mode::empty()).ok()?;
    fs::File::from(file).take(256).read_to_end(&mut start).ok()?;
    interpreter_of(&start)
}

fn interpreter_of(start: &[u8]) -> Option<OsString> {
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let first = words.next()?;
    let is_env = Path::new(OsStr::from_bytes(first)).file_name() == Some(OsStr::new("env"));
    let word =
        if is_env { words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))? } else { first };
    Some(OsString::from_vec(word.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is writable.
    fn grounds(user_home: Option<&Path>) -> Grounds {
        Grounds { homes: Homes::new(user_home), mounts: Vec::new(), kept: None }
    }

    /// A program at a path that is made.
    fn write(path: &Path, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn targets(shown: &[Mount]) -> Vec<&Path> {
        shown.iter().map(|mount| mount.target.as_path()).collect()
    }

    #[test]
    fn an_installation_is_what_is_around_bin_and_never_the_home_directory() {
        for (file, expect) in [
            ("/usr/bin/node", &[][..]),
            ("/opt/node/bin/node", &["/opt/node"]),
            ("/bin/sh", &[]),
            ("/home/me/bin/tool", &["/home/me/bin/tool"]),
            ("/home/bin/tool", &["/home/bin/tool"]),
            ("/home/me/server.py", &["/home/me/server.py"]),
            ("/home/me/.nvm/versions/node/v20/bin/node", &["/home/me/.nvm/versions/node/v20"]),
            ("/home/me/.pyenv/shims/python3", &["/home/me/.pyenv"]),
            ("/home/me/app/.venv/bin/python", &["/home/me/app/.venv"]),
            ("/home/me/app/node_modules/.bin/tool", &["/home/me/app/node_modules"]),
            (
                "/home/me/.cargo/bin/tool",
                &[
                    "/home/me/.cargo/bin",
                    "/home/me/.cargo/sbin",
                    "/home/me/.cargo/lib",
                    "/home/me/.cargo/lib64",
                    "/home/me/.cargo/libexec",
                    "/home/me/.cargo/pyvenv.cfg",
                ],
            ),
            ("/tool", &["/tool"]),
        ] {
            let expect: Vec<PathBuf> = expect.iter().map(PathBuf::from).collect();
            let homes = Homes::new(Some(Path::new("/home/me")));
            assert_eq!(installation(Path::new(file), None, &homes), expect, "{file}");
        }
    }

    #[test]
    fn the_usual_home_directories_are_known_without_being_told() {
        for file in ["/home/you/bin/tool", "/root/bin/tool", "/home/bin/tool"] {
            assert_eq!(installation(Path::new(file), None, &Homes::new(None)), [Path::new(file)]);
        }
        let shown = installation(Path::new("/root/.cargo/bin/tool"), None, &Homes::new(None));
        assert!(!shown.contains(&"/root/.cargo".into()));
    }

    #[test]
    fn the_first_line_names_the_interpreter() {
        for (start, expect) in [
            ("#!/bin/sh\nexit", Some("/bin/sh")),
            ("#! /usr/bin/python3 -u\n", Some("/usr/bin/python3")),
            ("#!/usr/bin/env node\n", Some("node")),
            ("#!/usr/bin/env -S A=1 node --x\n", Some("node")),
            ("\x7fELF", None),
            ("#!\n", None),
        ] {
            assert_eq!(interpreter_of(start.as_bytes()), expect.map(OsString::from), "{start:?}");
        }
    }

    #[test]
    fn a_link_through_a_linked_directory_is_shown_as_it_is_said() {
        let dir = std::env::temp_dir().join(format!("skep-hops-{}", std::process::id()));
        for sub in ["python-3.12.4/bin", "venv/bin"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        fs::write(dir.join("python-3.12.4/bin/python"), "").unwrap();
        std::os::unix::fs::symlink("python-3.12.4", dir.join("python-3.12")).unwrap();
        std::os::unix::fs::symlink(dir.join("python-3.12/bin/python"), dir.join("venv/bin/python")).unwrap();
        let shown = around(&dir.join("venv/bin/python"), OsStr::new(""), &grounds(None));
        assert_eq!(targets(&shown), ["venv", "python-3.12", "python-3.12.4"].map(|path| dir.join(path)));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn links_and_interpreters_are_followed() {
        let dir = std::env::temp_dir().join(format!("skep-installation-{}", std::process::id()));
        for sub in ["tool/bin", "tool/lib", "run/bin", "home/links"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let write = |path: &str, text: &str| write(&dir.join(path), text);
        write("tool/lib/cli.js", "#!/usr/bin/env runner\n");
        write("run/bin/runner", "");
        std::os::unix::fs::symlink("../lib/cli.js", dir.join("tool/bin/tool")).unwrap();
        std::os::unix::fs::symlink("../../tool/bin/tool", dir.join("home/links/tool")).unwrap();
        let search = std::env::join_paths([dir.join("home/links"), dir.join("run/bin")]).unwrap();
        let program = find(OsStr::new("tool"), &search, Path::new("/")).unwrap();
        let shown = around(&program, &search, &grounds(Some(&dir.join("home"))));
        let expect = ["home/links/tool", "tool", "tool/lib/cli.js", "run"].map(|path| dir.join(path));
        assert_eq!(targets(&shown), expect);
        let missing = find(OsStr::new("absent"), &search, Path::new("/")).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_server_cannot_have_more_shown_than_it_was() {
        use std::os::unix::fs::symlink;
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().canonicalize().unwrap();
        let at = |path: &str| dir.join(path);
        write(&at("other/bin/tool"), "");
        write(&at("onpath/bin/runner"), "");
        for made in ["proj/bin", "kept"] {
            fs::create_dir_all(at(made)).unwrap();
        }
        symlink("/", at("kept/e")).unwrap();
        symlink("/", at("proj/e")).unwrap();
        symlink(at("other"), at("proj/.venv")).unwrap();
        symlink(at("other/bin/tool"), at("proj/bin/link")).unwrap();
        let grounds = Grounds { homes: Homes::new(None), mounts: vec![at("proj")], kept: Some(at("kept")) };
        let search = at("onpath/bin").into_os_string();
        let proj = || Mount::same(at("proj"));
        for (line, expect) in [
            ("/bin/sh".to_owned(), vec![proj()]),
            (at("kept/e/bin/sh").display().to_string(), vec![proj()]),
            (at("proj/e/bin/sh").display().to_string(), vec![proj()]),
            (at("proj/.venv/bin/tool").display().to_string(), vec![proj()]),
            (at("other/bin/tool").display().to_string(), vec![proj()]),
            ("/usr/bin/env runner".to_owned(), vec![proj(), Mount::same(at("onpath"))]),
        ] {
            write(&at("proj/server"), &format!("#!{line}\n"));
            assert_eq!(around(&at("proj/server"), &search, &grounds), expect, "{line}");
        }
        assert_eq!(around(&at("proj/bin/link"), &search, &grounds), [proj()]);
        assert_eq!(around(&at("proj/.venv/bin/tool"), &search, &grounds), []);
        assert_eq!(around(&at("kept/e/usr/bin/env"), &search, &grounds), []);
    }

    #[test]
    fn a_home_that_is_reached_through_a_link_is_one() {
        use std::os::unix::fs::symlink;
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().canonicalize().unwrap();
        write(&dir.join("users/me/bin/tool"), "");
        write(&dir.join("users/me/.cargo/bin/tool"), "");
        write(&dir.join("users/me/.cargo/credentials"), "");
        symlink(dir.join("users/me"), dir.join("me")).unwrap();
        symlink(dir.join("users/me/.cargo"), dir.join("cargo")).unwrap();
        for home in ["me", "users/me"] {
            for program in ["me/bin/tool", "users/me/bin/tool", "cargo/bin/tool", "me/.cargo/bin/tool"] {
                let shown = around(&dir.join(program), OsStr::new(""), &grounds(Some(&dir.join(home))));
                assert!(!shown.is_empty());
                for secret in ["users/me/.cargo/credentials", "users/me/.bashrc"] {
                    let secret = dir.join(secret);
                    let is_shown = shown.iter().any(|mount| secret.starts_with(&mount.source));
                    assert!(!is_shown, "{home} {program} {shown:?}");
                }
            }
        }
    }
}
