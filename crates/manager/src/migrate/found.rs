//! What is in somebody's folders, read without a trace.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use model::group::Group;
use model::workload::StatusRecord;
use model::{Document, RunConfig};
use store::file::{self, FileError};

use crate::daemon::Folders;

/// Documents by the names of their files, and why one is none.
pub(super) type Documents<T> = BTreeMap<String, Result<T, String>>;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) groups: Documents<Group>,
    pub(super) configs: Documents<RunConfig>,
    pub(super) statuses: Documents<StatusRecord>,
    pub(super) settings: Option<String>,
    pub(super) ignore: Option<String>,
    /// Skills and plugins.
    pub(super) has_database: bool,
}

impl Found {
    pub(super) fn read(folders: &Folders) -> Result<Self, FileError> {
        Ok(Self {
            groups: documents(&folders.state.join("groups"))?,
            configs: documents(&folders.state.join("runconfigs"))?,
            statuses: documents(&folders.data.join("statuses"))?,
            settings: file::read(&folders.config_file())?,
            ignore: file::read(&folders.global_ignore())?,
            has_database: folders.state.join("toolhive.db").exists(),
        })
    }
}

fn documents<T: Document>(folder: &Path) -> Result<Documents<T>, FileError> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Documents::new()),
        Err(source) => return Err(FileError { path: folder.to_owned(), action: "listed", source }),
    };
    let mut documents = Documents::new();
    for path in listed.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"));
        // What begins with a dot is being written.
        let Some(name) = name.filter(|name| !name.starts_with('.')) else { continue };
        let read = match file::read(&path) {
            Ok(Some(text)) => T::parse(&text).map_err(|error| error.to_string()),
            Ok(None) => continue,
            Err(error) => Err(error.to_string()),
        };
        documents.insert(name.to_owned(), read);
    }
    Ok(documents)
}
