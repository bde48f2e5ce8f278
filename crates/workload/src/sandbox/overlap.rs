//! Mounts that are in each other's way. What lies in a directory that a server writes can be replaced by it, for the
//! next start, with a link to anything: it must not be the source of another mount, nor be meant to stay read-only.

use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use super::HOME;
use super::{Problem, SandboxConfig, problem_with_target};

/// Replaces paths of the host by what they really are.
pub(super) fn settle(config: &mut SandboxConfig) -> Vec<Problem> {
    let mounts = config.read.iter_mut().chain(&mut config.write).map(|mount| &mut mount.source);
    mounts.chain(&mut config.home).filter_map(settle_one).collect()
}

fn settle_one(path: &mut PathBuf) -> Option<Problem> {
    match path.canonicalize() {
        Ok(real) => {
            let problem = problem_with_target(&real);
            *path = real;
            problem
        }
        Err(_) => Some(Problem::Missing(path.clone())),
    }
}

/// What is shown twice in a way that cannot be held.
pub(super) fn problems(config: &SandboxConfig) -> Vec<Problem> {
    let sources = |mounts: &'_ [super::Mount]| mounts.iter().map(|mount| mount.source.clone()).collect();
    let writable: Vec<PathBuf> = [sources(&config.write), config.home.iter().cloned().collect()].concat();
    let all: Vec<PathBuf> = [sources(&config.read), writable.clone()].concat();
    let mut problems = Vec::new();
    for inner in &all {
        if let Some(outer) = writable.iter().find(|outer| is_below(inner, outer)) {
            problems.push(Problem::InWritable { inner: inner.clone(), outer: outer.clone() });
        }
    }
    for inner in config.read.iter().map(|mount| &mount.target) {
        if let Some(outer) = config.write.iter().find(|outer| is_below(inner, &outer.target)) {
            problems.push(Problem::BelowWritable { inner: inner.clone(), outer: outer.target.clone() });
        }
    }
    problems
}

fn is_below(path: &Path, above: &Path) -> bool {
    path != above && path.starts_with(above)
}

/// Where a directory is inside: as it is said if a mount is there, otherwise where a mount shows it.
#[cfg(target_os = "linux")]
pub(super) fn inside(cwd: PathBuf, config: &SandboxConfig) -> PathBuf {
    let mounts = || config.read.iter().chain(&config.write);
    if cwd.starts_with(HOME) || mounts().any(|mount| cwd.starts_with(&mount.target)) {
        return cwd;
    }
    let Ok(real) = cwd.canonicalize() else { return cwd };
    let closest = mounts().filter(|mount| real.starts_with(&mount.source));
    let closest = closest.max_by_key(|mount| mount.source.components().count());
    let place = closest.and_then(|mount| Some(mount.target.join(real.strip_prefix(&mount.source).ok()?)));
    place.unwrap_or(cwd)
}

#[cfg(test)]
mod tests {
    use super::super::{BadSandbox, Mount, Sandbox};
    use super::*;
    use std::fs::create_dir_all;
    use std::os::unix::fs::symlink;

    fn mount(source: PathBuf, target: &str) -> Mount {
        Mount { source, target: target.into() }
    }

    #[test]
    fn nothing_is_shown_that_a_server_could_replace() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().canonicalize().unwrap();
        create_dir_all(dir.join("out/cfg")).unwrap();
        create_dir_all(dir.join("other")).unwrap();
        symlink(dir.join("out/cfg"), dir.join("link")).unwrap();
        symlink("/", dir.join("root")).unwrap();
        let (out, cfg, other) = (dir.join("out"), dir.join("out/cfg"), dir.join("other"));
        let write = |target: &str| vec![mount(out.clone(), target)];
        let in_out = || vec![Problem::InWritable { inner: cfg.clone(), outer: out.clone() }];
        let below = Problem::BelowWritable { inner: "/out/cfg".into(), outer: "/out".into() };
        let none = SandboxConfig::default;
        for (config, expect) in [
            (
                SandboxConfig { write: write("/out"), read: vec![mount(cfg.clone(), "/cfg")], ..none() },
                in_out(),
            ),
            (
                SandboxConfig { write: write("/out"), read: vec![mount(dir.join("link"), "/cfg")], ..none() },
                in_out(),
            ),
            (
                SandboxConfig { write: [write("/out"), vec![mount(cfg.clone(), "/cfg")]].concat(), ..none() },
                in_out(),
            ),
            (SandboxConfig { write: write("/out"), home: Some(cfg.clone()), ..none() }, in_out()),
            (
                SandboxConfig { home: Some(out.clone()), read: vec![mount(cfg.clone(), "/cfg")], ..none() },
                in_out(),
            ),
            (
                SandboxConfig {
                    write: write("/out"),
                    read: vec![mount(other.clone(), "/out/cfg")],
                    ..none()
                },
                vec![below],
            ),
            (
                SandboxConfig { read: vec![mount(dir.join("root"), "/all")], ..none() },
                vec![Problem::Reserved("/".into())],
            ),
            (SandboxConfig { write: write("/out"), read: write("/again"), ..none() }, vec![]),
            (
                SandboxConfig {
                    read: vec![mount(out.clone(), "/a"), mount(cfg.clone(), "/a/cfg")],
                    ..none()
                },
                vec![],
            ),
            (
                SandboxConfig { read: vec![mount(dir.clone(), "/a")], write: write("/a/out"), ..none() },
                vec![],
            ),
        ] {
            let problems = Sandbox::try_from(config.clone()).err().map(|BadSandbox(problems)| problems);
            assert_eq!(problems.unwrap_or_default(), expect, "{config:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_directory_of_the_host_is_where_a_mount_shows_it() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().canonicalize().unwrap();
        create_dir_all(dir.join("out/sub")).unwrap();
        symlink(dir.join("out"), dir.join("link")).unwrap();
        let config =
            SandboxConfig { write: vec![mount(dir.join("out"), "/work")], ..SandboxConfig::default() };
        for (cwd, expect) in [
            (dir.join("out/sub"), PathBuf::from("/work/sub")),
            (dir.join("link/sub"), PathBuf::from("/work/sub")),
            (PathBuf::from("/work/x"), PathBuf::from("/work/x")),
            (PathBuf::from("/usr"), PathBuf::from("/usr")),
        ] {
            assert_eq!(inside(cwd, &config), expect);
        }
    }
}
