//! The folder of installed packages.
//!
//! | path | holds |
//! |---|---|
//! | `SCHEME/NAME/VERSION/` | one installation; `/` of a name is `+` |
//! | `SCHEME/NAME/VERSION/skep.json` | its record; whoever runs it holds a shared lock of it |
//! | `SCHEME/NAME/.making-…/` | what is being made, or was when its maker was killed |
//! | `SCHEME/NAME/.lock` | held by who makes or removes; never removed |

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use model::package::{PackageSpec, Scheme, normal_name};
use model::{RunConfig, Timestamp};
use serde::{Deserialize, Serialize};

use super::PackageError;
use super::program::Program;
pub(super) use crate::daemon::remove_tree as remove;

/// The record of an installation.
const RECORD: &str = "skep.json";
/// How the name of what is being made begins.
const MAKING: &str = ".making-";
/// Between two looks at a lock that another has.
const PAUSE: Duration = Duration::from_millis(100);

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache(pub(crate) PathBuf);

/// What is known of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// At its version.
    pub(super) package: String,
    /// What was installed with it.
    pub(super) with: Vec<String>,
    pub(super) programs: BTreeMap<String, Program>,
    pub(super) installed_at: String,
}

/// An installation that is whole.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) folder: PathBuf,
    pub(super) record: Record,
}

/// Keeps an installation from being removed, until it is dropped.
#[derive(Debug)]
pub struct InUse {
    _record: File,
}

impl Cache {
    fn of_name(&self, spec: &PackageSpec) -> PathBuf {
        let name = match spec.scheme() {
            Scheme::Uvx => normal_name(spec.name()),
            Scheme::Npx | Scheme::Go => spec.name().trim_start_matches('/').replace('/', "+"),
        };
        self.0.join(spec.scheme().as_str()).join(name)
    }

    /// Where an installation is or would be.
    pub(super) fn place(&self, spec: &PackageSpec, version: &str, with: &[String]) -> PathBuf {
        let mut name = version.to_owned();
        if !spec.extras().is_empty() || !with.is_empty() {
            let parts = [&[spec.extras().join(",")], with].concat();
            name = format!("{version}+{}", &hex(parts.join("\n").as_bytes())[..12]);
        }
        self.of_name(spec).join(name)
    }

    /// An installation of exactly this, if it is there and whole.
    pub(super) fn find(&self, spec: &PackageSpec, with: &[String]) -> Option<Entry> {
        read(&self.place(spec, spec.exact()?, with))
    }

    /// Waits for the right to make and remove installations of this package.
    pub(super) async fn lock(&self, spec: &PackageSpec, waits: impl Fn()) -> Result<File, PackageError> {
        let folder = self.of_name(spec);
        fs::create_dir_all(&folder).map_err(PackageError::on(&folder, "made"))?;
        let path = folder.join(".lock");
        let file = open_lock(&path).map_err(PackageError::on(&path, "locked"))?;
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if is_told => {}
                Err(TryLockError::WouldBlock) => {
                    waits();
                    is_told = true;
                }
                Err(TryLockError::Error(error)) => return Err(PackageError::on(&path, "locked")(error)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A new folder to make an installation in, for whoever holds the lock. What others left there is removed.
    pub(super) fn begin(&self, spec: &PackageSpec) -> Result<PathBuf, PackageError> {
        let folder = self.of_name(spec);
        sweep(&folder);
        let making = folder.join(format!("{MAKING}{}", uuid::Uuid::new_v4().simple()));
        let made = ["entry", "home"].iter().try_for_each(|part| fs::create_dir_all(making.join(part)));
        made.map_err(PackageError::on(&making, "made"))?;
        Ok(making)
    }

    /// Puts what was made in its place. From here on it is an installation.
    pub(super) fn finish(
        &self,
        made: &Path,
        spec: &PackageSpec,
        with: &[String],
        programs: BTreeMap<String, Program>,
    ) -> Result<Entry, PackageError> {
        let place = self.place(spec, spec.exact().unwrap_or_default(), with);
        let record = Record {
            package: spec.to_string(),
            with: with.to_vec(),
            programs,
            installed_at: Timestamp::from(SystemTime::now()).to_string(),
        };
        let written = serde_json::to_string_pretty(&record).map_err(io::Error::other);
        let written = written.and_then(|text| fs::write(made.join(RECORD), text));
        // All of it is on the disk before its name is: a machine that stops leaves no half of it.
        let written = written.and_then(|()| Ok(rustix::fs::syncfs(File::open(made)?)?));
        written.map_err(PackageError::on(made, "written"))?;
        if place.exists() {
            remove(&place).map_err(PackageError::on(&place, "removed"))?;
        }
        fs::rename(made, &place).map_err(PackageError::on(&place, "made"))?;
        read(&place).ok_or_else(|| PackageError::Unreadable {
            package: spec.to_string(),
            what: format!("what is in {} is not whole", place.display()),
        })
    }
}

impl Entry {
    /// Keeps it from being removed.
    pub(super) fn hold(&self) -> Result<InUse, PackageError> {
        let path = self.folder.join(RECORD);
        let held = File::open(&path).and_then(|file| {
            file.lock_shared()?;
            Ok(InUse { _record: file })
        });
        held.map_err(PackageError::on(&path, "held"))
    }
}

/// What is in a folder, if that is whole.
fn read(folder: &Path) -> Option<Entry> {
    let record: Record = serde_json::from_str(&fs::read_to_string(folder.join(RECORD)).ok()?).ok()?;
    let files = record.programs.values().flat_map(Program::files);
    // A link to what is gone is not there: the Python of an environment, for one.
    let is_whole =
        files.into_iter().all(|file| folder.join(file).metadata().is_ok_and(|file| file.is_file()));
    is_whole.then(|| Entry { folder: folder.to_owned(), record })
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(MAKING)
            && let Err(error) = remove(&entry.path())
        {
            tracing::warn!(%error, path = %entry.path().display(), "left by an installation that was cut short");
        }
    }
}

/// An installation, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cached {
    /// The package at its version.
    pub package: String,
    /// What was installed with it.
    pub with: Vec<String>,
    /// When.
    pub installed_at: String,
    /// In bytes.
    pub size: u64,
    /// The workloads that are run from it.
    pub used_by: Vec<String>,
    /// Where.
    pub path: PathBuf,
}

/// What was pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Installations.
    pub packages: usize,
    /// What they took.
    pub bytes: u64,
    /// Installations that no workload names and that are in use, by a server in the foreground for one.
    pub in_use: usize,
}

/// The installations, by name.
pub(super) fn list(folder: &Path, configs: &[RunConfig]) -> Vec<Cached> {
    let mut cached: Vec<Cached> = entries(folder).map(|entry| cached(entry, configs)).collect();
    cached.sort_by(|a, b| a.package.cmp(&b.package).then_with(|| a.path.cmp(&b.path)));
    cached
}

/// Removes the installations that no workload names and nobody runs, and what was cut short.
///
/// # Errors
/// One cannot be removed.
pub(super) fn prune(folder: &Path, configs: &[RunConfig]) -> Result<Pruned, PackageError> {
    let mut pruned = Pruned::default();
    for name in names(folder) {
        let lock = name.join(".lock");
        // Whoever makes one just now, makes it for a workload.
        let Ok(file) = open_lock(&lock) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        sweep(&name);
        for path in folders(&name) {
            let used = read(&path).is_some_and(|entry| !cached(entry, configs).used_by.is_empty());
            if used {
                continue;
            }
            if is_in_use(&path) {
                pruned.in_use += 1;
                continue;
            }
            let size = size(&path);
            remove(&path).map_err(PackageError::on(&path, "removed"))?;
            pruned.packages += 1;
            pruned.bytes += size;
        }
    }
    Ok(pruned)
}

fn is_in_use(folder: &Path) -> bool {
    let Ok(record) = File::open(folder.join(RECORD)) else { return false };
    matches!(record.try_lock(), Err(TryLockError::WouldBlock))
}

fn names(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let schemes: Vec<PathBuf> = Scheme::ALL.iter().map(|scheme| folder.join(scheme.as_str())).collect();
    schemes.into_iter().flat_map(|scheme| folders(&scheme))
}

fn entries(folder: &Path) -> impl Iterator<Item = Entry> {
    names(folder).flat_map(|name| folders(&name)).filter_map(|path| read(&path))
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |entry: &fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !entry.file_name().to_string_lossy().starts_with('.')
    };
    found.filter(is_one).map(|entry| entry.path()).collect()
}

fn cached(entry: Entry, configs: &[RunConfig]) -> Cached {
    let Entry { folder, record } = entry;
    let used_by = configs.iter().filter(|config| names_it(config, &record)).map(|config| config.name.clone());
    Cached {
        used_by: used_by.collect(),
        size: size(&folder),
        package: record.package,
        with: record.with,
        installed_at: record.installed_at,
        path: folder,
    }
}

fn names_it(config: &RunConfig, record: &Record) -> bool {
    let package = config.skep.as_ref().map(|skep| &skep.package);
    let with = config.runtime_config.as_ref().map(|runtime| &*runtime.build_with).unwrap_or_default();
    package == Some(&record.package) && with == record.with
}

/// What is in it, as it is on the disk.
fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let of_entry = |entry: fs::DirEntry| match entry.metadata() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        Ok(kind) => kind.blocks() * 512,
        Err(_) => 0,
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(of_entry).sum()
}

/// A digest in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PackageSpec {
        text.parse().unwrap()
    }

    /// Installs a file.
    fn install(cache: &Cache, spec: &PackageSpec) -> Entry {
        let making = cache.begin(spec).unwrap();
        let made = making.join("entry");
        fs::write(made.join("run"), "").unwrap();
        let program = Program { path: "run".into(), through: None };
        let entry = cache.finish(&made, spec, &[], [("run".to_owned(), program)].into()).unwrap();
        remove(&making).unwrap();
        entry
    }

    fn config(package: &str) -> RunConfig {
        let mut config = RunConfig::new(&model::WorkloadName::derive("a"));
        package.clone_into(&mut config.skep_mut().package);
        config
    }

    #[test]
    fn each_package_has_a_place_of_its_own() {
        let cache = Cache("/c".into());
        let place = |text: &str, with: &[&str]| {
            let with: Vec<String> = with.iter().map(|text| (*text).to_owned()).collect();
            let spec = spec(text);
            cache.place(&spec, spec.exact().unwrap(), &with)
        };
        assert_eq!(place("npx://@s/n@1.2.3", &[]), Path::new("/c/npx/@s+n/1.2.3"));
        assert_eq!(place("uvx://A_b==1.0", &[]), Path::new("/c/uvx/a-b/1.0"));
        assert_eq!(place("go://x.y/z@v1.2.3", &[]), Path::new("/c/go/x.y+z/v1.2.3"));
        let plain = place("uvx://a==1", &[]);
        let places = [
            place("uvx://a[x]==1", &[]),
            place("uvx://a[x,y]==1", &[]),
            place("uvx://a==1", &["x"]),
            place("uvx://a==1", &["x", "y"]),
        ];
        for (index, one) in places.iter().enumerate() {
            assert!(*one != plain && !places[..index].contains(one), "{}", one.display());
        }
    }

    #[test]
    fn what_is_not_whole_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path().to_owned());
        let spec = spec("npx://a@1.2.3");
        assert!(cache.find(&spec, &[]).is_none());
        let making = cache.begin(&spec).unwrap();
        fs::write(making.join("entry/run"), "").unwrap();
        // Its maker is killed here; the next one takes it away.
        let entry = install(&cache, &spec);
        assert!(!making.exists());
        assert_eq!(cache.find(&spec, &[]).unwrap().folder, entry.folder);
        assert!(cache.find(&spec, &["with".to_owned()]).is_none());
        fs::remove_file(entry.folder.join("run")).unwrap();
        assert!(cache.find(&spec, &[]).is_none(), "its program is gone");
        install(&cache, &spec);
        fs::write(entry.folder.join(RECORD), "{").unwrap();
        assert!(cache.find(&spec, &[]).is_none(), "its record is cut");
        install(&cache, &spec);
        assert!(cache.find(&spec, &[]).is_some());
    }

    #[test]
    fn what_nobody_names_or_runs_is_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path().to_owned());
        let [used, unused, run] = ["npx://a@1.0.0", "npx://a@2.0.0", "uvx://b==1"].map(spec);
        let entries = [&used, &unused, &run].map(|spec| install(&cache, spec));
        let held = entries[2].hold().unwrap();
        let left = cache.begin(&used).unwrap();
        let configs = [config("npx://a@1.0.0"), config("npx://a@3.0.0"), config("")];
        let pruned = prune(folder.path(), &configs).unwrap();
        assert_eq!((pruned.packages, pruned.in_use), (1, 1));
        let packages = |configs: &[RunConfig]| {
            let listed = list(folder.path(), configs).into_iter();
            listed.map(|cached| (cached.package, cached.used_by.join(" "))).collect::<Vec<_>>()
        };
        let pair = |package: &str, by: &str| (package.to_owned(), by.to_owned());
        assert_eq!(packages(&configs), [pair("npx://a@1.0.0", "a"), pair("uvx://b@1", "")]);
        assert!(!left.exists());
        drop(held);
        assert_eq!(prune(folder.path(), &[]).unwrap().packages, 2);
        assert!(packages(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_makes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path().to_owned());
        let spec = spec("npx://a");
        let first = cache.lock(&spec, || panic!("nobody has it")).await.unwrap();
        let waited = std::cell::Cell::new(0);
        let second = cache.lock(&spec, || waited.set(waited.get() + 1));
        assert!(tokio::time::timeout(PAUSE * 5, second).await.is_err());
        assert_eq!(waited.get(), 1);
        assert_eq!(prune(folder.path(), &[]).unwrap(), Pruned::default());
        drop(first);
        cache.lock(&spec, || panic!("it is free")).await.unwrap();
    }
}
