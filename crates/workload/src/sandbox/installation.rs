//! Where a program lives on the host, and what has to be shown of it so that it runs.
//!
//! A program is looked up as the system would, then followed through symbolic links and `#!` lines. For each file on
//! the way the installation around it is shown: for `X/bin/prog` that is X. What is in the system's own directories is
//! there anyway. A file that is in no `bin` is shown alone.
//!
//! INVARIANT: neither the root nor a home directory, nor anything above it, is an installation. Directories
//! like `~/.local` and `~/.cargo` hold settings and credentials next to programs, so only their program directories
//! are.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};

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
    if path.metadata()?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(access(path, Access::EXEC_OK)?)
}

/// What has to be shown for this program to run, beyond the system.
pub(super) fn around(program: &Path, search: &OsStr, user_home: Option<&Path>) -> Vec<PathBuf> {
    let mut shown: Vec<PathBuf> = Vec::new();
    let mut next = Some(program.to_owned());
    for _ in 0..MOST_INTERPRETERS {
        let Some(file) = next else { break };
        for hop in hops(&file) {
            for path in installation(&hop, user_home) {
                if path.exists() && !shown.contains(&path) {
                    shown.push(path);
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

/// What is shown for one file. Pure.
fn installation(file: &Path, user_home: Option<&Path>) -> Vec<PathBuf> {
    if SYSTEM.iter().any(|dir| file.starts_with(dir)) {
        return Vec::new();
    }
    let alone = || vec![file.to_owned()];
    let Some((dir, around)) = file.parent().and_then(|dir| Some((dir, dir.parent()?))) else {
        return alone();
    };
    let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if name == ".bin" && around.ends_with("node_modules") {
        return vec![around.to_owned()];
    }
    if !PROGRAM_DIRS.contains(&name) || around == Path::new("/") {
        return alone();
    }
    if is_home_or_above(around, user_home) {
        return alone();
    }
    let is_hidden = around.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    let is_in_home = around.parent().is_some_and(|dir| is_home_or_above(dir, user_home));
    if is_in_home && is_hidden && name != "shims" && name != "libexec" {
        return PROGRAM_PARTS.iter().map(|part| around.join(part)).collect();
    }
    vec![around.to_owned()]
}

/// Whether everything of a user, or of all, is in this directory. Homes of others count as well.
fn is_home_or_above(dir: &Path, user_home: Option<&Path>) -> bool {
    let usual = [Path::new("/root"), Path::new("/home")];
    let is_usual = usual.contains(&dir) || dir.parent() == Some(Path::new("/home"));
    is_usual || user_home.is_some_and(|home| home.starts_with(dir))
}

/// What the first line of a script says to run it with.
fn interpreter(file: &Path) -> Option<OsString> {
    // As much as the kernel looks at.
    let mut start = Vec::with_capacity(256);
    fs::File::open(file).ok()?.take(256).read_to_end(&mut start).ok()?;
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
            assert_eq!(installation(Path::new(file), Some(Path::new("/home/me"))), expect, "{file}");
        }
    }

    #[test]
    fn the_usual_home_directories_are_known_without_being_told() {
        for file in ["/home/you/bin/tool", "/root/bin/tool", "/home/bin/tool"] {
            assert_eq!(installation(Path::new(file), None), [Path::new(file)]);
        }
        assert!(!installation(Path::new("/root/.cargo/bin/tool"), None).contains(&"/root/.cargo".into()));
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
        let shown = around(&dir.join("venv/bin/python"), OsStr::new(""), None);
        assert_eq!(shown, ["venv", "python-3.12", "python-3.12.4"].map(|path| dir.join(path)));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn links_and_interpreters_are_followed() {
        let dir = std::env::temp_dir().join(format!("skep-installation-{}", std::process::id()));
        for sub in ["tool/bin", "tool/lib", "run/bin", "home/links"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let write = |path: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            fs::write(dir.join(path), text).unwrap();
            fs::set_permissions(dir.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("tool/lib/cli.js", "#!/usr/bin/env runner\n");
        write("run/bin/runner", "");
        std::os::unix::fs::symlink("../lib/cli.js", dir.join("tool/bin/tool")).unwrap();
        std::os::unix::fs::symlink("../../tool/bin/tool", dir.join("home/links/tool")).unwrap();
        let search = std::env::join_paths([dir.join("home/links"), dir.join("run/bin")]).unwrap();
        let program = find(OsStr::new("tool"), &search, Path::new("/")).unwrap();
        let shown = around(&program, &search, Some(&dir.join("home")));
        let expect = ["home/links/tool", "tool", "tool/lib/cli.js", "run"].map(|path| dir.join(path));
        assert_eq!(shown, expect);
        let missing = find(OsStr::new("absent"), &search, Path::new("/")).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        fs::remove_dir_all(&dir).unwrap();
    }
}
