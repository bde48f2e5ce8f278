//! A sandbox and its command as the helper is told them, and how the helper is started.
//!
//! Everything that needs looking at the host from outside was done by then: the program is found, links are resolved.
//! The plan goes through an inherited memory file, never through arguments or environment: it holds the command's, and
//! those hold secrets. For the same reason it has no `Debug`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::hiding::{self, Hidden};
use super::installation::{self, Grounds, Homes};
use super::{
    Bounds, HOME, Mount, Network, Part, Sandbox, SandboxConfig, helper_command, overlap, report, system,
};
use crate::line;

/// What the command would be without a sandbox.
pub(crate) struct Invocation {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) cwd: Option<PathBuf>,
}

/// A path of the host at a place inside.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) source: OsString,
    pub(crate) target: OsString,
    pub(crate) is_writable: bool,
}

/// All that the helper is told.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) program: OsString,
    /// The program as the caller named it.
    pub(super) name: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) cwd: OsString,
    /// In the order they are put in place: what is further up comes first.
    pub(super) shown: Vec<Shown>,
    pub(super) links: Vec<(OsString, OsString)>,
    /// Directories inside that must keep their names, what is further up first.
    pub(super) pinned: Vec<OsString>,
    /// Files inside that are read-only in a writable directory.
    pub(super) fixed: Vec<OsString>,
    pub(super) hidden: Vec<Hidden>,
    pub(super) home: Option<OsString>,
    pub(super) network: Network,
    pub(super) bounds: Bounds,
    pub(super) waived: Vec<Part>,
}

impl Plan {
    /// Looks at the host for what this command needs.
    ///
    /// # Errors
    /// What the system would say to running a program that is not there.
    pub(super) fn new(Sandbox(config): &Sandbox, command: Invocation) -> io::Result<Self> {
        let mut env = command.env;
        let search = env.get("PATH".as_ref() as &OsStr).cloned();
        let search = search.unwrap_or_else(|| installation::DEFAULT_PATH.into());
        let here = command.cwd.clone().map_or_else(std::env::current_dir, Ok)?;
        let program = installation::find(&command.program, &search, &here)?;
        for (name, value) in [("HOME", HOME), ("TMPDIR", "/tmp"), ("USER", "sandbox"), ("LOGNAME", "sandbox")]
        {
            env.insert(name.into(), value.into());
        }
        let system = system::of_host(config.network);
        let shown = shown(config, system.shown, &program, &search);
        let mut covers = hiding::covers(&config.hide, &config.fixed, &shown, config.home.as_deref());
        covers.hidden.extend(system::hidden().filter(|path| !is_named(path, config)).map(Hidden::if_there));
        let cwd = command.cwd.map(|cwd| overlap::inside(cwd, config));
        Ok(Self {
            program: program.into(),
            name: command.program,
            args: command.args,
            env: env.into_iter().collect(),
            cwd: cwd.map_or_else(|| HOME.into(), Into::into),
            shown,
            links: system.links.into_iter().map(|(path, text)| (path.into(), text.into())).collect(),
            pinned: covers.pinned.into_iter().map(Into::into).collect(),
            fixed: config.fixed.iter().map(Into::into).collect(),
            hidden: covers.hidden,
            home: config.home.as_ref().map(Into::into),
            network: config.network,
            bounds: config.bounds,
            waived: config.waived.clone(),
        })
    }

    fn write(&self) -> io::Result<OwnedFd> {
        line::in_memory("sandbox-plan", self)
    }

    /// In the helper.
    pub(super) fn read(from: OwnedFd) -> io::Result<Self> {
        line::from_memory(from)
    }
}

/// Whether the profile itself shows a path, or something of it.
fn is_named(path: &Path, config: &SandboxConfig) -> bool {
    let mut mounts = config.read.iter().chain(&config.write);
    mounts.any(|mount| mount.target.starts_with(path) || path.starts_with(&mount.target))
}

/// Everything of the host that is shown, in order: the system, the program, the mounts.
fn shown(config: &SandboxConfig, system: Vec<PathBuf>, program: &Path, search: &OsStr) -> Vec<Shown> {
    let shown = |mount: Mount, is_writable| Shown {
        source: mount.source.into(),
        target: mount.target.into(),
        is_writable,
    };
    let grounds = Grounds {
        homes: Homes::new(config.user_home.as_deref()),
        mounts: config.write.iter().map(|mount| mount.source.clone()).collect(),
        kept: config.home.clone(),
    };
    let system =
        system.into_iter().filter_map(|target| Some(Mount { source: target.canonicalize().ok()?, target }));
    let program = installation::around(program, search, &grounds);
    let readable = system.chain(program).chain(config.read.iter().cloned()).map(|mount| shown(mount, false));
    let writable = config.write.iter().cloned().map(|mount| shown(mount, true));
    let mut all: Vec<Shown> = readable.chain(writable).collect();
    // Stable: of two at the same place the later one, which was asked for more explicitly, lies on top.
    all.sort_by_key(|shown| Path::new(&shown.target).components().count());
    all
}

/// A helper that is ready to be started.
pub(crate) struct Prepared {
    pub(crate) command: Command,
    /// What it inherits; to be kept open until it was started.
    pub(crate) passed_on: [OwnedFd; 3],
    /// Our end of what it says.
    pub(crate) ours: OwnedFd,
    /// Where it is read how the command ended ([`super::Ending`]), and that everything did.
    pub(crate) ending: OwnedFd,
}

/// Makes the plan and the command of the helper that carries it out.
pub(crate) fn prepare(sandbox: &Sandbox, invocation: Invocation) -> io::Result<Prepared> {
    let plan = Plan::new(sandbox, invocation)?.write()?;
    let (ours, theirs) = report::pair()?;
    let (ending, told) = pipe_with(PipeFlags::CLOEXEC)?;
    let passed_on = [plan, theirs, told];
    let mut command = helper_command();
    command.current_dir("/").process_group(0);
    command.args(passed_on.each_ref().map(|passed| passed.as_raw_fd().to_string()));
    Ok(Prepared { command, passed_on, ours, ending })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(program: &str) -> Invocation {
        let env = [("PATH", "/usr/bin:/bin"), ("HOME", "/root"), ("TOKEN", "secret")];
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Invocation { program: program.into(), args: vec!["secret".into()], env, cwd: None }
    }

    #[test]
    fn a_plan_comes_back_as_it_was_written() {
        let config = SandboxConfig {
            read: vec![Mount { source: "/usr/share".into(), target: "/a/b".into() }, Mount::same("/usr")],
            ..SandboxConfig::default()
        };
        let plan = Plan::new(&Sandbox::try_from(config).unwrap(), invocation("sh")).unwrap();
        let read = Plan::read(plan.write().unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&plan).unwrap(), serde_json::to_value(&read).unwrap());
        assert_eq!(read.name, "sh");
        assert!(PathBuf::from(&read.program).is_absolute());
        assert!(read.env.contains(&("HOME".into(), HOME.into())), "the host's is not told");
        let depths = read.shown.iter().map(|shown| PathBuf::from(&shown.target).components().count());
        assert!(depths.is_sorted());
    }

    #[test]
    fn settings_below_usr_are_hidden_unless_they_are_named() {
        for (read, is_hidden) in [(vec![], true), (vec![Mount::same("/usr")], false)] {
            let config = SandboxConfig { read, ..SandboxConfig::default() };
            let plan = Plan::new(&Sandbox::try_from(config).unwrap(), invocation("sh")).unwrap();
            assert_eq!(plan.hidden.iter().any(|hidden| hidden.path == "/usr/local/etc"), is_hidden);
        }
    }

    #[test]
    fn nothing_of_the_command_is_in_the_arguments_or_the_environment_of_the_helper() {
        let sandbox = Sandbox::try_from(SandboxConfig::default()).unwrap();
        let prepared = prepare(&sandbox, invocation("sh")).unwrap();
        assert!(!format!("{:?}", prepared.command).contains("secret"));
        assert_eq!(prepared.command.get_envs().count(), 0);
    }
}
