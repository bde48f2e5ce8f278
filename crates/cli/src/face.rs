//! The names this program goes by, and all that differs between them: [`SKEP`], and [`TOOLHIVE`], which is what a link named
//! `thv` starts and what people who come from ToolHive have in their scripts and fingers.
//!
//! INVARIANT: nothing else asks which name was used. What differs is a field here.

use std::ffi::OsStr;
use std::path::Path;

use model::workload::Status;

/// What differs.
#[derive(Debug)]
pub(crate) struct Face {
    /// What people type.
    pub(crate) command: &'static str,
    /// Our folder in those of the user.
    pub(crate) folder: &'static str,
    /// What the names of our environment variables begin with.
    pub(crate) variables: &'static str,
    /// How log lines look where nobody says it.
    pub(crate) log_lines: LogLines,
    /// How flags are written.
    pub(crate) flags: Flags,
    /// The exit code where the command line cannot be read.
    pub(crate) misuse: u8,
    /// What quotes around a value in an environment file are.
    pub(crate) quotes: Quotes,
    /// What is listed where not all is asked for.
    pub(crate) is_listed: fn(Status) -> bool,
    /// What to stop a server that is not there is.
    pub(crate) stop_of_none: StopOfNone,
    /// What is told of the version.
    pub(crate) version: VersionTold,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLines {
    Text,
    Json,
}

/// How flags are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    /// A switch has no value.
    Gnu,
    /// A switch may be written `--switch=false`, and a value may begin with a dash.
    Go,
}

/// What quotes around a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    Around,
    PartOfIt,
}

/// What to stop a server that is not there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopOfNone {
    Error,
    /// A remark: it does not run, as was wanted.
    Remark,
}

/// What is told of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionTold {
    Short,
    /// Each key that scripts look for, even where there is nothing to say.
    EachKey,
}

/// Its own.
pub(crate) static SKEP: Face = Face {
    command: "skep",
    folder: "skep",
    variables: "SKEP",
    log_lines: LogLines::Text,
    flags: Flags::Gnu,
    misuse: 2,
    quotes: Quotes::Around,
    // Right after a start of the daemon they do not run yet.
    is_listed: Status::is_wanted,
    stop_of_none: StopOfNone::Error,
    version: VersionTold::Short,
};

/// ToolHive's.
pub(crate) static TOOLHIVE: Face = Face {
    command: "thv",
    folder: "toolhive",
    variables: "TOOLHIVE",
    log_lines: LogLines::Json,
    flags: Flags::Go,
    misuse: 1,
    quotes: Quotes::PartOfIt,
    is_listed: |status| matches!(status, Status::Running | Status::AuthRetrying),
    stop_of_none: StopOfNone::Remark,
    version: VersionTold::EachKey,
};

impl Face {
    /// That of this process.
    pub(crate) fn of_this_process() -> &'static Self {
        Self::of(std::env::args_os().next().as_deref())
    }

    fn of(program: Option<&OsStr>) -> &'static Self {
        let name = program.and_then(|program| Path::new(program).file_name());
        if name == Some(OsStr::new(TOOLHIVE.command)) { &TOOLHIVE } else { &SKEP }
    }

    /// The name of an environment variable: `SKEP_DEBUG` of `DEBUG`.
    pub(crate) fn variable(&self, name: &str) -> String {
        format!("{}_{name}", self.variables)
    }

    /// A text for people, in which commands stand between backticks.
    pub(crate) fn told(&self, text: &str) -> String {
        text.replace("`skep ", &format!("`{} ", self.command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_decides() {
        for (program, command) in [
            (Some("thv"), "thv"),
            (Some("/usr/local/bin/thv"), "thv"),
            (Some("./skep"), "skep"),
            (Some("/opt/thv/skep"), "skep"),
            (Some("thv2"), "skep"),
            (Some(""), "skep"),
            (None, "skep"),
        ] {
            assert_eq!(Face::of(program.map(OsStr::new)).command, command, "{program:?}");
        }
    }

    #[test]
    fn commands_are_told_as_they_are_typed() {
        assert_eq!(TOOLHIVE.told("skep: `skep list --all` shows it"), "skep: `thv list --all` shows it");
        assert_eq!(SKEP.told("`skep list`"), "`skep list`");
    }
}
