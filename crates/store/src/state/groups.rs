//! Groups on disk. The group `default` is always there.

use std::path::Path;

use model::GroupName;
use model::group::Group;

use super::{Entry, Folder, Listing, StateError};

/// The groups.
#[derive(Clone, Debug)]
pub struct Groups(Folder<GroupName, Group>);

/// Why a group was not removed.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("the group \"default\" is always there: workloads without another group are in it")]
    IsDefault,
    #[error(transparent)]
    State(#[from] StateError),
}

impl Groups {
    pub(super) fn new(path: &Path) -> Self {
        Self(Folder::new(path))
    }

    /// Makes the group `default` unless it is there.
    pub(super) fn ensure_default(&self) -> Result<(), StateError> {
        let name = GroupName::default();
        if self.0.exists(&name) {
            return Ok(());
        }
        match self.0.create(&name, &Group::new(&name)) {
            Ok(_) | Err(StateError::Exists { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// All groups, by name.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn list(&self) -> Result<Listing<GroupName, Group>, StateError> {
        self.ensure_default()?;
        Ok(self.0.list()?)
    }

    /// A group, if there is one of this name.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(&self, name: &GroupName) -> Result<Option<Group>, StateError> {
        self.ensure_default()?;
        Ok(self.0.read(name)?.map(Entry::into_value))
    }

    /// Makes a group.
    ///
    /// # Errors
    /// [`StateError::Exists`], and others.
    pub fn create(&self, name: &GroupName) -> Result<Group, StateError> {
        let group = Group::new(name);
        self.ensure_default()?;
        self.0.create(name, &group)?;
        Ok(group)
    }

    /// Changes a group under its lock.
    ///
    /// # Errors
    /// [`StateError::Missing`], and others.
    pub fn change(&self, name: &GroupName, change: impl FnOnce(&mut Group)) -> Result<Group, StateError> {
        self.ensure_default()?;
        Ok(self.0.change(name, change)?.0.into_value())
    }

    /// Makes a group as somebody else had it, or gives the one that is there what it has not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn absorb(&self, name: &GroupName, group: &Group) -> Result<(), StateError> {
        match self.0.create(name, group) {
            Err(StateError::Exists { .. }) => self
                .change(name, |there| {
                    there.absorb(group);
                })
                .map(drop),
            created => created.map(drop),
        }
    }

    /// Removes a group. Its workloads are the caller's to move. False where there was none.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn remove(&self, name: &GroupName) -> Result<bool, GroupError> {
        if name.is_default() {
            return Err(GroupError::IsDefault);
        }
        Ok(self.0.delete(name).map_err(StateError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> GroupName {
        GroupName::new(text).unwrap()
    }

    fn names(groups: &Groups) -> Vec<String> {
        groups.list().unwrap().entries.into_iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn the_default_group_is_always_there() {
        let folder = tempfile::tempdir().unwrap();
        let groups = Groups::new(folder.path());
        assert_eq!(names(&groups), ["default"]);
        assert!(matches!(groups.remove(&GroupName::default()), Err(GroupError::IsDefault)));
        assert!(matches!(groups.create(&GroupName::default()), Err(StateError::Exists { .. })));
        std::fs::remove_file(folder.path().join("default.json")).unwrap();
        assert!(groups.read(&GroupName::default()).unwrap().is_some());
    }

    #[test]
    fn groups_are_made_changed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let groups = Groups::new(folder.path());
        groups.create(&group("my team")).unwrap();
        groups.create(&group("a")).unwrap();
        assert_eq!(names(&groups), ["a", "default", "my team"]);
        groups.change(&group("a"), |group| group.registered_clients.push("cursor".to_owned())).unwrap();
        assert_eq!(groups.read(&group("a")).unwrap().unwrap().registered_clients, ["cursor"]);
        assert!(matches!(groups.change(&group("b"), |_| {}), Err(StateError::Missing { .. })));
        assert!(groups.remove(&group("a")).unwrap() && !groups.remove(&group("a")).unwrap());
    }

    #[test]
    fn no_registration_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let groups = Groups::new(folder.path());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let groups = groups.clone();
                let register =
                    move |group: &mut Group| group.registered_clients.push(format!("client{number}"));
                scope.spawn(move || groups.change(&GroupName::default(), register).unwrap());
            }
        });
        assert_eq!(groups.read(&GroupName::default()).unwrap().unwrap().registered_clients.len(), 8);
    }
}
