//! What to run. A [`CommandSpec`] that exists can be handed to the system: no empty program, no NUL bytes.
//!
//! Whether the program exists is not asked here but found out by starting it; asking first would only be a guess.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use crate::container::Container;
use crate::sandbox::Sandbox;

/// A command with its arguments, environment and directory.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandSpec {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    inherits_env: bool,
    cwd: Option<PathBuf>,
    place: Place,
}

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Where skep does.
    Here,
    Sandbox(Arc<Sandbox>),
    #[cfg(target_os = "linux")]
    Container(Container),
}

/// A command that no system can run, whatever is installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// The program's name is empty.
    #[error("the command is empty")]
    Empty,
    /// A text contains a NUL byte, which ends texts for the system.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
    /// An environment variable cannot have this name.
    #[error("{0:?} cannot be the name of an environment variable")]
    EnvName(String),
}

impl CommandSpec {
    /// A program (a path, or a name looked up on `PATH`) and its arguments, in skep's own environment and directory.
    ///
    /// # Errors
    /// [`BadCommand`] when the program is empty or a text contains a NUL byte.
    pub fn new(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, BadCommand> {
        let program = program.into();
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        if program.is_empty() {
            return Err(BadCommand::Empty);
        }
        refuse_nul("the program's name", &program)?;
        args.iter().try_for_each(|arg| refuse_nul("an argument", arg))?;
        Ok(Self { program, args, env: Vec::new(), inherits_env: true, cwd: None, place: Place::Here })
    }

    /// What an image runs: its entry point, with these arguments instead of its own if there are any. Its environment
    /// and directory are the image's, unless they are set.
    ///
    /// # Errors
    /// [`BadCommand`] when a text contains a NUL byte.
    #[cfg(target_os = "linux")]
    pub fn of_image(
        container: Container,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, BadCommand> {
        let spec = Self::new(container.image(), args)?.with_clear_env();
        Ok(Self { place: Place::Container(container), ..spec })
    }

    /// Sets environment variables, on top of the inherited ones or, after [`Self::with_clear_env`], alone.
    ///
    /// # Errors
    /// [`BadCommand`] when a name is empty or contains `=`, or anything contains a NUL byte.
    pub fn with_env(mut self, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, BadCommand> {
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(BadCommand::EnvName(name));
            }
            refuse_nul("the value of an environment variable", value.as_ref())?;
            self.env.push((name, value));
        }
        Ok(self)
    }

    /// Leaves out the inherited environment, `PATH` and `HOME` included.
    #[must_use]
    pub fn with_clear_env(mut self) -> Self {
        self.inherits_env = false;
        self
    }

    /// Runs it in this directory; a relative program path is then relative to it.
    ///
    /// # Errors
    /// [`BadCommand`] when the path contains a NUL byte.
    pub fn with_cwd(mut self, cwd: impl Into<PathBuf>) -> Result<Self, BadCommand> {
        let cwd = cwd.into();
        refuse_nul("the working directory", cwd.as_os_str())?;
        self.cwd = Some(cwd);
        Ok(self)
    }

    /// Runs it isolated. `HOME` is then the one inside, and so is the directory it runs in unless one was named, which
    /// must be visible inside.
    #[must_use]
    pub fn with_sandbox(mut self, sandbox: Sandbox) -> Self {
        self.place = Place::Sandbox(Arc::new(sandbox));
        self
    }

    /// The program as it was given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The directory it is to run in, if not skep's own.
    #[must_use]
    pub fn cwd(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }

    /// How it is isolated, if it is.
    #[must_use]
    pub fn sandbox(&self) -> Option<&Sandbox> {
        match &self.place {
            Place::Sandbox(sandbox) => Some(sandbox),
            _ => None,
        }
    }

    /// The container it runs in, if it does.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn container(&self) -> Option<&Container> {
        match &self.place {
            Place::Container(container) => Some(container),
            Place::Here | Place::Sandbox(_) => None,
        }
    }

    /// Whether sockets of its network are to be had ([`crate::Process::socket_inside`]).
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.place != Place::Here
    }

    /// The same for whoever runs it in a sandbox.
    #[cfg(target_os = "linux")]
    pub(super) fn to_invocation(&self) -> crate::sandbox::Invocation {
        let mut env: std::collections::BTreeMap<OsString, OsString> =
            if self.inherits_env { std::env::vars_os().collect() } else { Default::default() };
        env.extend(self.env.iter().map(|(name, value)| (name.into(), value.into())));
        crate::sandbox::Invocation {
            program: self.program.clone(),
            args: self.args.clone(),
            env,
            cwd: self.cwd.clone(),
        }
    }

    /// The same for whoever runs it in a container.
    #[cfg(target_os = "linux")]
    pub(super) fn to_inside(&self) -> crate::container::Inside {
        crate::container::Inside {
            args: self.args.clone(),
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: self.cwd.clone(),
        }
    }

    /// The same for the standard library, leader of a process group of its own.
    pub(super) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).process_group(0);
        if !self.inherits_env {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command
    }
}

/// Shows no argument and no value: both carry tokens.
impl fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("CommandSpec")
            .field("program", &self.program)
            .field("args.count", &self.args.len())
            .field("env.names", &names)
            .field("inherits_env", &self.inherits_env)
            .field("cwd", &self.cwd)
            .field("place", &self.place)
            .finish()
    }
}

fn refuse_nul(what: &'static str, text: &OsStr) -> Result<(), BadCommand> {
    if text.as_bytes().contains(&0) { Err(BadCommand::Nul(what)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_system_can_run_is_refused() {
        let none: [&str; 0] = [];
        assert_eq!(CommandSpec::new("", none), Err(BadCommand::Empty));
        assert_eq!(CommandSpec::new("a\0b", none), Err(BadCommand::Nul("the program's name")));
        assert_eq!(CommandSpec::new("a", ["\0"]), Err(BadCommand::Nul("an argument")));
        let spec = CommandSpec::new("a", none).unwrap();
        assert_eq!(spec.clone().with_cwd("\0"), Err(BadCommand::Nul("the working directory")));
        for name in ["", "A=B", "A\0"] {
            let env = [(name.to_owned(), String::new())];
            assert_eq!(spec.clone().with_env(env), Err(BadCommand::EnvName(name.to_owned())));
        }
        let value = [("A".to_owned(), "\0".to_owned())];
        assert_eq!(spec.with_env(value), Err(BadCommand::Nul("the value of an environment variable")));
    }

    #[test]
    fn debug_output_keeps_arguments_and_values_to_itself() {
        let env = [("API_KEY".to_owned(), "secret1".to_owned())];
        let spec = CommandSpec::new("server", ["--token=secret2"]).unwrap().with_env(env).unwrap();
        let text = format!("{spec:?}");
        assert!(text.contains("API_KEY") && text.contains("server"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
