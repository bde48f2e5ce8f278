//! Named workloads on disk, in ToolHive's layout: run configs, groups and statuses, one JSON file each.
//!
//! Reading takes no lock and sees a whole file; changing takes the file's lock, and what was changed in between is seen
//! ([`Folder`]). All of it waits for the disk, and is to be called where waiting is allowed.

mod folder;
mod groups;

use std::path::{Path, PathBuf};

use model::workload::{Status, StatusRecord};
use model::{RunConfig, Timestamp, WorkloadName};

pub use folder::{Entry, Folder, Key, Listing, StateError, Trouble, Version};
pub use groups::{GroupError, Groups};

use crate::file::FileError;

/// The two directories that state is kept in. ToolHive's are `~/.local/state/toolhive` and `~/.local/share/toolhive`.
#[derive(Clone, Debug)]
pub struct StateRoots {
    pub state: PathBuf,
    pub data: PathBuf,
}

/// The state of named workloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    pub run_configs: Folder<WorkloadName, RunConfig>,
    pub groups: Groups,
    pub statuses: Statuses,
}

impl State {
    /// The state below two directories; what is missing is made. The group `default` is there then.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(roots: &StateRoots) -> Result<Self, StateError> {
        let state = Self {
            run_configs: Folder::new(&roots.state.join("runconfigs")),
            groups: Groups::new(&roots.state.join("groups")),
            statuses: Statuses::new(&roots.data.join("statuses")),
        };
        state.groups.ensure_default()?;
        Ok(state)
    }
}

/// The statuses of workloads. They are changed by the table of [`Status::may_become`] only.
#[derive(Clone, Debug)]
pub struct Statuses(Folder<WorkloadName, StatusRecord>);

/// Why a status was not changed.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("a workload that is {from} does not become {to}")]
    Illegal { from: Status, to: Status },
}

impl Statuses {
    fn new(path: &Path) -> Self {
        // ToolHive's lock of `NAME.json` there is `NAME.lock`.
        Self(Folder::locked_by_stem(path))
    }

    /// The status of a workload, if any is kept.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(&self, name: &WorkloadName) -> Result<Option<StatusRecord>, StateError> {
        Ok(self.0.read(name)?.map(Entry::into_value))
    }

    /// All of them.
    ///
    /// # Errors
    /// [`FileError`] if the directory cannot be listed.
    pub fn list(&self) -> Result<Listing<WorkloadName, StatusRecord>, FileError> {
        self.0.list()
    }

    /// Sets a workload's status, with why it is so for people, or makes the first record of it. What is there meanwhile is
    /// judged, not what was there when the caller looked.
    ///
    /// # Errors
    /// [`StatusError::Illegal`] where the status may not become that: nothing has changed.
    pub fn set(
        &self,
        name: &WorkloadName,
        status: Status,
        context: &str,
        now: &Timestamp,
    ) -> Result<StatusRecord, StatusError> {
        self.update(name, StatusRecord::new(status, now.clone()), |record| {
            if !record.status.may_become(status) {
                return Err(StatusError::Illegal { from: record.status, to: status });
            }
            record.status = status;
            context.clone_into(&mut record.status_context);
            record.updated_at = now.clone();
            Ok(())
        })
    }

    /// Keeps a record as it is, in the place of any that is there: of a workload that is only being made.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn adopt(&self, name: &WorkloadName, record: &StatusRecord) -> Result<(), StateError> {
        match self.0.create(name, record) {
            Err(StateError::Exists { .. }) => self.0.change(name, |there| *there = record.clone()).map(drop),
            created => created.map(drop),
        }
    }

    /// Says which process serves a workload; 0 for none.
    ///
    /// # Errors
    /// [`StateError`], also if no status is kept of it.
    pub fn set_process(&self, name: &WorkloadName, process_id: i64) -> Result<(), StateError> {
        self.0.change(name, |record| record.process_id = process_id).map(drop)
    }

    /// Forgets a workload. False where nothing was known of it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn remove(&self, name: &WorkloadName) -> Result<bool, FileError> {
        self.0.delete(name)
    }

    /// Changes a record, made from `first` if there is none.
    fn update(
        &self,
        name: &WorkloadName,
        mut first: StatusRecord,
        change: impl Fn(&mut StatusRecord) -> Result<(), StatusError>,
    ) -> Result<StatusRecord, StatusError> {
        change(&mut first)?;
        match self.0.create(name, &first) {
            Ok(_) => return Ok(first),
            Err(StateError::Exists { .. }) => {}
            Err(other) => return Err(other.into()),
        }
        let (entry, changed) = self.0.change(name, &change)?;
        changed.map(|()| entry.into_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let roots = StateRoots { state: folder.path().join("state"), data: folder.path().join("data") };
        let state = State::open(&roots).unwrap();
        (folder, state)
    }

    fn name(text: &str) -> WorkloadName {
        WorkloadName::new(text).unwrap()
    }

    #[test]
    fn files_are_where_toolhive_has_them() {
        let (folder, state) = state();
        let now = Timestamp::default();
        state.run_configs.create(&name("a"), &RunConfig::new(&name("a"))).unwrap();
        state.statuses.set(&name("a"), Status::Starting, "", &now).unwrap();
        for file in [
            "state/runconfigs/a.json",
            "state/groups/default.json",
            "data/statuses/a.json",
            "data/statuses/a.lock",
        ] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
        let text = std::fs::read_to_string(folder.path().join("data/statuses/a.json")).unwrap();
        let expect = "{\n  \"status\": \"starting\",\n  \"created_at\": \"0001-01-01T00:00:00Z\",\n  \"updated_at\": \"0001-01-01T00:00:00Z\",\n  \"process_id\": 0\n}\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_status_becomes_what_it_may_and_keeps_the_rest() {
        let (_folder, state) = state();
        let (name, statuses) = (name("a"), &state.statuses);
        let at = |text: &str| serde_json::from_value::<Timestamp>(text.into()).unwrap();
        let set = |status, context: &str, now: &str| statuses.set(&name, status, context, &at(now));
        set(Status::Starting, "", "1").unwrap();
        statuses.set_process(&name, 7).unwrap();
        set(Status::Running, "here", "2").unwrap();
        set(Status::Stopping, "", "3").unwrap();
        // A health check that read an older status.
        let refused = set(Status::Unhealthy, "no answer", "4").unwrap_err();
        assert_eq!(refused.to_string(), "a workload that is stopping does not become unhealthy");
        let record = statuses.read(&name).unwrap().unwrap();
        assert_eq!(
            (record.status, record.process_id, record.status_context.as_str()),
            (Status::Stopping, 7, "")
        );
        assert_eq!((record.created_at.as_str(), record.updated_at.as_str()), ("1", "3"));
        assert!(statuses.remove(&name).unwrap() && !statuses.remove(&name).unwrap());
    }
}
