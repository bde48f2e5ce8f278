//! A directory of documents, each in a file of its name.

use std::fmt;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::json::{Document, NotADocument};
use model::{GroupName, WorkloadName};

use crate::file::{self, FileError, Held};

/// A name that can be a file's.
pub trait Key: Sized + Ord {
    /// The name that a text is, if it is one.
    fn parse(text: &str) -> Option<Self>;

    /// The text.
    fn text(&self) -> &str;
}

impl Key for WorkloadName {
    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }

    fn text(&self) -> &str {
        self.as_str()
    }
}

impl Key for GroupName {
    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }

    fn text(&self) -> &str {
        self.as_str()
    }
}

/// A directory of documents of one kind.
pub struct Folder<K, T> {
    path: Arc<Path>,
    lock: LockName,
    kind: PhantomData<fn(K) -> T>,
}

/// What the lock of `NAME.json` is called.
#[derive(Clone, Copy, Debug)]
enum LockName {
    /// `NAME.json.lock`
    File,
    /// `NAME.lock`
    Stem,
}

/// The content that a document was read from. A document is replaced only where it is still this.
#[derive(Clone, PartialEq, Eq)]
pub struct Version(Arc<[u8]>);

/// A document, and which version of it this is.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    pub value: T,
    pub version: Version,
}

/// Why an operation on a document was not done.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{name:?} exists already")]
    Exists { name: String },
    #[error("there is no {name:?}")]
    Missing { name: String },
    #[error("{name:?} was changed by somebody else meanwhile: read it again")]
    Changed { name: String },
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// A file that is no document.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody could have read it. It is out of the way now.
    #[error("{} could not be read and is now {}: {reason}", path.display(), aside.display())]
    SetAside { path: PathBuf, aside: PathBuf, reason: NotADocument },
    /// Somebody can: it is left where it is.
    #[error("{} is not understood: {reason}", path.display())]
    Unfit { path: PathBuf, reason: NotADocument },
    /// Its name is no name of what is kept here. It is left where it is.
    #[error("{} has a name that skep does not use", path.display())]
    Name { path: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
}

/// What is in a directory.
#[derive(Debug)]
pub struct Listing<K, T> {
    /// By name.
    pub entries: Vec<(K, Entry<T>)>,
    /// Files that could not be read, none of which keeps the others from being listed.
    pub troubles: Vec<Trouble>,
}

impl<T> Entry<T> {
    /// The document.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<K: Key, T: Document> Folder<K, T> {
    /// The documents of a directory, which need not exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: Arc::from(path), lock: LockName::File, kind: PhantomData }
    }

    pub(super) fn locked_by_stem(path: &Path) -> Self {
        Self { lock: LockName::Stem, ..Self::new(path) }
    }

    /// Creates a document.
    ///
    /// # Errors
    /// [`StateError::Exists`], even if another process makes it at the same time.
    pub fn create(&self, name: &K, value: &T) -> Result<Version, StateError> {
        let content = value.to_text().into_bytes();
        match self.hold(name)?.create(&content)? {
            true => Ok(Version(content.into())),
            false => Err(StateError::Exists { name: name.text().to_owned() }),
        }
    }

    /// Reads a document; `None` where there is none.
    ///
    /// # Errors
    /// [`StateError::Trouble`] says what became of a file that is none.
    pub fn read(&self, name: &K) -> Result<Option<Entry<T>>, StateError> {
        self.read_file(name).map_err(|trouble| match trouble {
            Trouble::File(error) => StateError::File(error),
            other => StateError::Trouble(other),
        })
    }

    /// Whether there is a file for it.
    #[must_use]
    pub fn exists(&self, name: &K) -> bool {
        self.file(name).exists()
    }

    /// Reads all documents, and removes what processes that were killed had begun to write.
    ///
    /// # Errors
    /// [`FileError`] if the directory cannot be listed. One that is not there has nothing in it.
    pub fn list(&self) -> Result<Listing<K, T>, FileError> {
        let mut listing = Listing { entries: Vec::new(), troubles: Vec::new() };
        let files = self.files()?;
        for name in files.iter().filter_map(|file| K::parse(begun_stem(file)?)) {
            // Whoever has the lock finds nothing begun, or is told of the writer who lives.
            listing.troubles.extend(self.hold(&name).err().map(Trouble::File));
        }
        for stem in files.iter().filter_map(|file| stem(file)) {
            let Some(name) = K::parse(stem) else {
                let path = self.path.join(format!("{stem}.json"));
                listing.troubles.push(Trouble::Name { path });
                continue;
            };
            match self.read_file(&name) {
                Ok(Some(entry)) => listing.entries.push((name, entry)),
                // It was deleted in between.
                Ok(None) => {}
                Err(trouble) => listing.troubles.push(trouble),
            }
        }
        listing.entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(listing)
    }

    /// Puts a document in the place of the version that it was made from.
    ///
    /// # Errors
    /// [`StateError::Changed`] where that is not there any more, [`StateError::Missing`] where nothing is.
    pub fn replace(&self, name: &K, version: &Version, value: &T) -> Result<Version, StateError> {
        let held = self.hold(name)?;
        let there = held.read()?.ok_or_else(|| StateError::Missing { name: name.text().to_owned() })?;
        if there != *version.0 {
            return Err(StateError::Changed { name: name.text().to_owned() });
        }
        let content = value.to_text().into_bytes();
        held.replace(&content)?;
        Ok(Version(content.into()))
    }

    /// Changes a document under its lock: nobody changes it between reading and writing. What is as before is not written.
    ///
    /// # Errors
    /// [`StateError::Missing`] where there is none.
    pub fn change<R>(&self, name: &K, change: impl FnOnce(&mut T) -> R) -> Result<(Entry<T>, R), StateError> {
        let held = self.hold(name)?;
        let missing = || StateError::Missing { name: name.text().to_owned() };
        let mut entry: Entry<T> = read_held(&held)?.ok_or_else(missing)?;
        let before = entry.value.to_text();
        let result = change(&mut entry.value);
        let after = entry.value.to_text();
        if after != before {
            held.replace(after.as_bytes())?;
            entry.version = Version(after.into_bytes().into());
        }
        Ok((entry, result))
    }

    /// Deletes a document. False where there is none.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn delete(&self, name: &K) -> Result<bool, FileError> {
        self.hold(name)?.remove()
    }

    fn file(&self, name: &K) -> PathBuf {
        self.path.join(format!("{}.json", name.text()))
    }

    fn hold(&self, name: &K) -> Result<Held, FileError> {
        let file = self.file(name);
        match self.lock {
            LockName::File => file::hold(&file),
            LockName::Stem => file::hold_by(&file, &self.path.join(format!("{}.lock", name.text()))),
        }
    }

    /// Reads without the lock; only what nobody can read is looked at again with it.
    fn read_file(&self, name: &K) -> Result<Option<Entry<T>>, Trouble> {
        let path = self.file(name);
        let Some(content) = file::read_bytes(&path)? else { return Ok(None) };
        match parse(content) {
            Ok(entry) => Ok(Some(entry)),
            Err(NotADocument::Broken(_)) => read_held(&self.hold(name)?),
            Err(reason) => Err(Trouble::Unfit { path, reason }),
        }
    }

    fn files(&self) -> Result<Vec<String>, FileError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::on(&self.path, "listed")(error)),
        };
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        entries.map(name).collect::<io::Result<_>>().map_err(FileError::on(&self.path, "listed"))
    }
}

/// What the document in a file is called. What begins with a dot is being written.
fn stem(file: &str) -> Option<&str> {
    file.strip_suffix(".json").filter(|stem| !stem.starts_with('.'))
}

/// What the document is called that a file is to become.
fn begun_stem(file: &str) -> Option<&str> {
    file.strip_prefix('.')?.strip_suffix(file::BEGUN)?.strip_suffix(".json")
}

fn parse<T: Document>(content: Vec<u8>) -> Result<Entry<T>, NotADocument> {
    let text = str::from_utf8(&content).map_err(|error| NotADocument::Broken(error.to_string()))?;
    Ok(Entry { value: T::parse(text)?, version: Version(content.into()) })
}

/// Reads a document whose lock is held; what nobody can read is moved aside.
fn read_held<T: Document>(held: &Held) -> Result<Option<Entry<T>>, Trouble> {
    let Some(content) = held.read()? else { return Ok(None) };
    match parse(content) {
        Ok(entry) => Ok(Some(entry)),
        Err(reason @ NotADocument::Broken(_)) => {
            Err(Trouble::SetAside { path: held.path().to_owned(), aside: held.set_aside()?, reason })
        }
        Err(reason) => Err(Trouble::Unfit { path: held.path().to_owned(), reason }),
    }
}

impl<K, T> Clone for Folder<K, T> {
    fn clone(&self) -> Self {
        Self { path: Arc::clone(&self.path), lock: self.lock, kind: PhantomData }
    }
}

impl<K, T> fmt::Debug for Folder<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Folder").field(&self.path).finish()
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::RunConfig;

    type RunConfigs = Folder<WorkloadName, RunConfig>;

    fn name(text: &str) -> WorkloadName {
        WorkloadName::new(text).unwrap()
    }

    fn folder() -> (tempfile::TempDir, RunConfigs) {
        let folder = tempfile::tempdir().unwrap();
        let configs = Folder::new(&folder.path().join("runconfigs"));
        (folder, configs)
    }

    fn write(folder: &tempfile::TempDir, file: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(folder.path().join("runconfigs")).unwrap();
        fs::write(folder.path().join("runconfigs").join(file), content).unwrap();
    }

    #[test]
    fn what_was_made_once_is_read_until_it_is_deleted() {
        let (_folder, configs) = folder();
        assert!(configs.list().unwrap().entries.is_empty());
        assert!(configs.read(&name("a")).unwrap().is_none());
        let version = configs.create(&name("a"), &RunConfig::new(&name("a"))).unwrap();
        assert!(matches!(
            configs.create(&name("a"), &RunConfig::new(&name("b"))),
            Err(StateError::Exists { .. })
        ));
        let entry = configs.read(&name("a")).unwrap().unwrap();
        assert_eq!((entry.version == version, &*entry.value.name), (true, "a"));
        assert!(configs.delete(&name("a")).unwrap() && !configs.delete(&name("a")).unwrap());
        assert!(configs.read(&name("a")).unwrap().is_none());
    }

    #[test]
    fn a_document_is_replaced_only_as_it_was_read() {
        let (_folder, configs) = folder();
        let mut config = RunConfig::new(&name("a"));
        let first = configs.create(&name("a"), &config).unwrap();
        config.port = 1;
        let second = configs.replace(&name("a"), &first, &config).unwrap();
        config.port = 2;
        assert!(matches!(configs.replace(&name("a"), &first, &config), Err(StateError::Changed { .. })));
        configs.replace(&name("a"), &second, &config).unwrap();
        assert_eq!(configs.read(&name("a")).unwrap().unwrap().value.port, 2);
        configs.delete(&name("a")).unwrap();
        assert!(matches!(configs.replace(&name("a"), &second, &config), Err(StateError::Missing { .. })));
        assert!(matches!(configs.change(&name("a"), |_| ()), Err(StateError::Missing { .. })));
    }

    #[test]
    fn a_change_keeps_what_is_not_known_and_nothing_is_written_where_nothing_changed() {
        let (folder, configs) = folder();
        let text = r#"{"future": 1e400, "name": "a"}"#;
        write(&folder, "a.json", text);
        let (entry, port) = configs.change(&name("a"), |config| config.port).unwrap();
        assert_eq!((port, &*entry.version.0), (0, text.as_bytes()));
        configs.change(&name("a"), |config| config.port = 9).unwrap();
        let written = fs::read_to_string(folder.path().join("runconfigs/a.json")).unwrap();
        assert!(written.starts_with("{\n  \"future\": 1e400,\n  \"name\": \"a\",\n"), "{written}");
    }

    #[test]
    fn what_cannot_be_read_is_out_of_the_way_and_the_rest_goes_on() {
        let (folder, configs) = folder();
        write(&folder, "good.json", r#"{"name":"good"}"#);
        write(&folder, "half.json", r#"{"name":"ha"#);
        write(&folder, "empty.json", "");
        write(&folder, "bytes.json", b"{\"name\":\"\xff\"}");
        write(&folder, "other.json", r#"{"name":"other","port":"later"}"#);
        write(&folder, "-x.json", "{}");
        write(&folder, ".good.json.new", "{");
        write(&folder, ".never.json.new", "{");
        write(&folder, "notes.txt", "");
        let listing = configs.list().unwrap();
        for begun in [".good.json.new", ".never.json.new"] {
            assert!(!folder.path().join("runconfigs").join(begun).exists(), "{begun}");
        }
        let names: Vec<&str> = listing.entries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["good"]);
        let mut aside = 0;
        for trouble in &listing.troubles {
            match trouble {
                Trouble::SetAside { path, aside: to, .. } => {
                    aside += 1;
                    assert!(
                        !path.exists() && to.exists() && trouble.to_string().contains(&*to.to_string_lossy())
                    );
                }
                Trouble::Unfit { path, reason } => {
                    assert!(path.ends_with("runconfigs/other.json") && path.exists());
                    assert!(reason.to_string().starts_with("port: "), "{reason}");
                }
                Trouble::Name { path } => assert!(path.ends_with("-x.json") && path.exists()),
                Trouble::File(error) => panic!("{error}"),
            }
        }
        assert_eq!((aside, listing.troubles.len()), (3, 5));
        assert_eq!(configs.list().unwrap().troubles.len(), 2, "what is aside is not seen again");
        configs.create(&name("half"), &RunConfig::new(&name("half"))).unwrap();
    }

    #[test]
    fn one_document_that_cannot_be_read_says_what_became_of_it() {
        let (folder, configs) = folder();
        write(&folder, "a.json", "{");
        assert!(matches!(configs.read(&name("a")), Err(StateError::Trouble(Trouble::SetAside { .. }))));
        assert!(configs.read(&name("a")).unwrap().is_none());
        write(&folder, "a.json", "{");
        let changed = configs.change(&name("a"), |_| ());
        assert!(matches!(changed, Err(StateError::Trouble(Trouble::SetAside { .. }))));
    }
}
