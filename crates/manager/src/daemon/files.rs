//! The files of the workloads, for callers that may not wait for the disk themselves.

use std::time::SystemTime;

use model::group::Group;
use model::workload::{Status, StatusRecord};
use model::{Document, GroupName, RunConfig, Timestamp, WorkloadName};
use store::file::FileError;
use store::state::{GroupError, State, StateError, StateRoots, StatusError};
use tokio::task::spawn_blocking;

use super::Folders;
use super::wire::{Problem, ProblemKind};

/// The files.
#[derive(Clone, Debug)]
pub(super) struct Files(State);

/// What is kept of a workload.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: WorkloadName,
    pub(super) config: RunConfig,
    pub(super) status: Option<StatusRecord>,
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        let kind = match &error {
            StateError::Exists { .. } => ProblemKind::Exists,
            StateError::Missing { .. } => ProblemKind::NotFound,
            StateError::Changed { .. } | StateError::File(_) | StateError::Trouble(_) => ProblemKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        Self::new(ProblemKind::Failed, error.to_string())
    }
}

impl From<StatusError> for Problem {
    fn from(error: StatusError) -> Self {
        Self::new(ProblemKind::Failed, error.to_string())
    }
}

impl Files {
    /// # Errors
    /// The folders cannot be made or written to.
    pub(super) fn open(folders: &Folders) -> Result<Self, Problem> {
        let roots = StateRoots { state: folders.state.clone(), data: folders.data.clone() };
        Ok(Self(State::open(&roots)?))
    }

    /// All workloads. A file that cannot be read is told in the log, and the others are given. A status without a RunConfig is
    /// what a removal left that was cut short, and removed.
    pub(super) async fn all(&self) -> Result<Vec<Kept>, Problem> {
        self.wait(|state| {
            let (configs, statuses) = (state.run_configs.list()?, state.statuses.list()?);
            for trouble in configs.troubles.iter().chain(&statuses.troubles) {
                tracing::error!(%trouble, "a workload's file is passed over");
            }
            for (name, _) in &statuses.entries {
                if !state.run_configs.exists(name) {
                    state.statuses.remove(name)?;
                }
            }
            let status_of = |name: &WorkloadName| {
                let found = statuses.entries.iter().find(|(of, _)| of == name);
                found.map(|(_, entry)| entry.value.clone())
            };
            let kept = configs.entries.into_iter().map(|(name, entry)| Kept {
                status: status_of(&name),
                config: entry.value,
                name,
            });
            Ok(kept.collect())
        })
        .await
    }

    /// The RunConfig as it is in its file.
    pub(super) async fn config(&self, name: &WorkloadName) -> Result<String, Problem> {
        let name = name.clone();
        self.wait(move |state| match state.run_configs.read(&name)? {
            Some(entry) => Ok(entry.value.to_text()),
            None => Err(Problem::not_found(name.as_str())),
        })
        .await
    }

    /// Keeps a new workload.
    pub(super) async fn create(&self, name: &WorkloadName, config: &RunConfig) -> Result<(), Problem> {
        let (name, config) = (name.clone(), config.clone());
        self.wait(move |state| {
            state.run_configs.create(&name, &config)?;
            // Of one that was here before.
            state.statuses.remove(&name)?;
            Ok(())
        })
        .await
    }

    /// Keeps the port that a workload got.
    pub(super) async fn keep_port(&self, name: &WorkloadName, port: u16) -> Result<(), Problem> {
        let name = name.clone();
        self.wait(move |state| Ok(state.run_configs.change(&name, |config| config.port = port).map(drop)?))
            .await
    }

    /// Keeps which group a workload belongs to.
    pub(super) async fn keep_group(&self, name: &WorkloadName, group: &GroupName) -> Result<(), Problem> {
        let (name, group) = (name.clone(), group.as_str().to_owned());
        self.wait(move |state| {
            Ok(state.run_configs.change(&name, |config| config.group = group).map(drop)?)
        })
        .await
    }

    /// All groups, by name.
    pub(super) async fn groups(&self) -> Result<Vec<Group>, Problem> {
        self.wait(|state| {
            let listing = state.groups.list()?;
            for trouble in &listing.troubles {
                tracing::error!(%trouble, "a group's file is passed over");
            }
            Ok(listing.entries.into_iter().map(|(_, entry)| entry.value).collect())
        })
        .await
    }

    /// Refuses a group that is not there.
    pub(super) async fn has_group(&self, name: &GroupName) -> Result<(), Problem> {
        let name = name.clone();
        self.wait(move |state| match state.groups.read(&name)? {
            Some(_) => Ok(()),
            None => Err(Problem::no_group(name.as_str())),
        })
        .await
    }

    pub(super) async fn create_group(&self, name: &GroupName) -> Result<Group, Problem> {
        let name = name.clone();
        self.wait(move |state| match state.groups.create(&name) {
            Err(StateError::Exists { .. }) => {
                Err(Problem::new(ProblemKind::Exists, format!("group '{name}' already exists")))
            }
            created => Ok(created?),
        })
        .await
    }

    pub(super) async fn remove_group(&self, name: &GroupName) -> Result<(), Problem> {
        let name = name.clone();
        self.wait(move |state| match state.groups.remove(&name) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Problem::no_group(name.as_str())),
            Err(GroupError::State(error)) => Err(error.into()),
            Err(error @ GroupError::IsDefault) => Err(Problem::new(ProblemKind::Invalid, error.to_string())),
        })
        .await
    }

    /// Keeps the version that a package is pinned to, and its image if it has one.
    pub(super) async fn keep_package(&self, name: &WorkloadName, config: &RunConfig) -> Result<(), Problem> {
        let (name, skep) = (name.clone(), config.skep.clone().unwrap_or_default());
        let image = config.image.clone();
        self.wait(move |state| {
            let changed = state.run_configs.change(&name, |config| {
                config.image = image;
                let kept = config.skep_mut();
                (kept.package, kept.package_asked) = (skep.package, skep.package_asked);
            });
            Ok(changed.map(drop)?)
        })
        .await
    }

    /// Keeps what a workload is now, and which process serves it.
    pub(super) async fn keep_status(
        &self,
        name: &WorkloadName,
        status: Status,
        context: &str,
        process: u32,
    ) -> Result<StatusRecord, Problem> {
        let (name, context) = (name.clone(), context.to_owned());
        self.wait(move |state| {
            let now = Timestamp::from(SystemTime::now());
            let record = state.statuses.set(&name, status, &context, &now)?;
            if record.process_id != i64::from(process) {
                state.statuses.set_process(&name, i64::from(process))?;
            }
            Ok(record)
        })
        .await
    }

    /// Forgets a workload: last of all its status, which says that it is being removed.
    pub(super) async fn remove(&self, name: &WorkloadName) -> Result<(), Problem> {
        let name = name.clone();
        self.wait(move |state| {
            state.run_configs.delete(&name)?;
            state.statuses.remove(&name)?;
            Ok(())
        })
        .await
    }

    async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let state = self.0.clone();
        let done = spawn_blocking(move || work(&state)).await;
        done.unwrap_or_else(|error| Err(Problem::new(ProblemKind::Failed, error.to_string())))
    }
}
