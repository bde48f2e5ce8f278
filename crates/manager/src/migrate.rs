//! What ToolHive has kept, taken over into our folders: workloads, groups, secrets, settings and the ignore file.
//!
//! It is told item by item what would be done, or done. ToolHive's folders are only read, and no lock is taken in them. Each item is
//! written whole or not at all, and what is there already stays as it is: doing it twice is doing it once.

mod decide;
mod found;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use model::group::Group;
use model::workload::StatusRecord;
use model::{GroupName, RunConfig, SecretValue, WorkloadName};
use serde::Serialize;
use store::file::{self, FileError};
use store::secrets::{EncryptedFile, GivenPassword, PasswordFile, Provider, SecretError};
use store::state::{State, StateError, StateRoots};

use crate::daemon::Folders;
use found::Found;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Group,
    Secret,
    Settings,
    Ignore,
    Workload,
    /// What has no place here.
    Other,
}

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is taken over.
    Carried,
    /// There is one already, which stays.
    Kept,
    /// It is not taken over.
    Refused,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "group",
            Self::Secret => "secret",
            Self::Settings => "settings",
            Self::Ignore => "ignore",
            Self::Workload => "workload",
            Self::Other => "other",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Carried => "carried",
            Self::Kept => "kept",
            Self::Refused => "refused",
        })
    }
}

/// An item, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    pub kind: Kind,
    pub name: String,
    pub verdict: Verdict,
    /// Why, or what is to be known of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// An item with what is done for it.
#[derive(Debug)]
struct Step {
    item: Item,
    action: Option<Action>,
}

/// What is done.
#[derive(Debug)]
enum Action {
    Group(GroupName, Group),
    Secret(String, SecretValue),
    File(PathBuf, String),
    Workload(WorkloadName, Box<RunConfig>, StatusRecord),
}

/// Whether it is done or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Told,
    Done,
}

/// Why nothing can be taken over.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("{} is what is used here already", .0.display())]
    Same(PathBuf),
    #[error("there is nothing of ToolHive's in {}", .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Nothing(Vec<PathBuf>),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why an item was not taken over after all.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Takes over what is in ToolHive's folders `from`, or tells what would be. Secrets are opened with the password, if it is known.
///
/// # Errors
/// [`MigrateError`]: nothing was done.
pub fn migrate(
    from: &Folders,
    to: &Folders,
    password: Option<&SecretValue>,
    extent: Extent,
) -> Result<Vec<Item>, MigrateError> {
    if from.state == to.state || from.data == to.data || from.config == to.config {
        return Err(MigrateError::Same(from.state.clone()));
    }
    let roots = [&from.config, &from.data, &from.state];
    if !roots.iter().any(|root| root.exists()) {
        return Err(MigrateError::Nothing(roots.map(Clone::clone).into()));
    }
    let (theirs, ours) = (Found::read(from)?, Found::read(to)?);
    let secrets = Secrets { from, to, password };
    let steps = decide::steps(&theirs, &ours, to, secrets.steps());
    let done = |step: Step| match extent {
        Extent::Told => step.item,
        Extent::Done => done(step, to),
    };
    Ok(steps.into_iter().map(done).collect())
}

fn done(Step { mut item, action }: Step, to: &Folders) -> Item {
    if let Some(Err(error)) = action.map(|action| act(action, to)) {
        (item.verdict, item.why) = (Verdict::Refused, error.to_string());
    }
    item
}

fn act(action: Action, to: &Folders) -> Result<(), StepError> {
    let state = || State::open(&StateRoots { state: to.state.clone(), data: to.data.clone() });
    match action {
        Action::Group(name, group) => state()?.groups.absorb(&name, &group)?,
        Action::Secret(name, value) => ours(to).set(&name, &value)?,
        Action::File(path, text) => {
            file::hold(&path)?.create(text.as_bytes())?;
        }
        Action::Workload(name, config, status) => {
            let state = state()?;
            // Without its configuration it is nothing yet.
            state.statuses.adopt(&name, &status)?;
            state.run_configs.create(&name, &config)?;
        }
    }
    Ok(())
}

/// Our encrypted secrets.
fn ours(to: &Folders) -> EncryptedFile {
    EncryptedFile::new(to.secrets(), Arc::new(PasswordFile::new(to.secrets_password())))
}

/// Both files of secrets.
struct Secrets<'a> {
    from: &'a Folders,
    to: &'a Folders,
    password: Option<&'a SecretValue>,
}

impl Secrets<'_> {
    fn steps(&self) -> Vec<Step> {
        let path = self.from.secrets();
        if std::fs::metadata(&path).map_or(0, |found| found.len()) == 0 {
            return Vec::new();
        }
        let refused = |why: String| vec![decide::refused(Kind::Secret, "secrets_encrypted", why)];
        let Some(password) = self.password else {
            let why = "they are encrypted, and ToolHive keeps the password in the keyring of your login: give it with --password-file";
            return refused(why.to_owned());
        };
        let theirs = EncryptedFile::new(path, Arc::new(GivenPassword(password.clone())));
        self.each(&theirs).unwrap_or_else(|error| refused(error.to_string()))
    }

    fn each(&self, theirs: &dyn Provider) -> Result<Vec<Step>, SecretError> {
        let ours = ours(self.to);
        let mut steps = Vec::new();
        for name in theirs.list()? {
            let Some(value) = theirs.get(&name)? else { continue };
            steps.push(match ours.get(&name)? {
                None => decide::carried(Kind::Secret, &name, "", Action::Secret(name.clone(), value)),
                Some(there) if there == value => decide::kept(Kind::Secret, &name, ""),
                Some(_) => decide::kept(Kind::Secret, &name, "another value is there"),
            });
        }
        Ok(steps)
    }
}
