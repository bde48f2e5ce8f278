//! What the workloads of a daemon share: the files, the threads, the list of who is there, and whoever listens for news.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{RunConfig, WorkloadName};
use parking_lot::Mutex;
use proxy::listener::Workers;
use telemetry::Tasks;
use tokio::sync::{broadcast, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use workload::container::Runtime;

use super::files::Files;
use super::wire::{Problem, ProblemKind, WorkloadView};
use super::workload::WorkloadHandle;
use crate::plan::{self, Surroundings};
use crate::serve::Serving;
use crate::{images, packages};

/// News that a slow listener may be behind.
const NEWS: usize = 256;
/// Pauses before what another skep left is looked for. The last is longer than a runtime takes to make a container.
const SWEEPS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(10)];

/// The site.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) files: Files,
    pub(super) tasks: Tasks,
    pub(super) workloads: Mutex<BTreeMap<WorkloadName, WorkloadHandle>>,
    around: Arc<Surroundings>,
    workers: Workers,
    news: broadcast::Sender<WorkloadView>,
}

impl Site {
    pub(super) fn new(files: Files, around: Surroundings, workers: Workers) -> Arc<Self> {
        Arc::new(Self {
            files,
            tasks: Tasks::new(),
            workloads: Mutex::default(),
            around: Arc::new(around),
            workers,
            news: broadcast::Sender::new(NEWS),
        })
    }

    /// Serves what a configuration says; gives the reason why not.
    pub(super) async fn serve(&self, name: &WorkloadName, config: &RunConfig) -> Result<Serving, String> {
        let tell = |text: &str| tracing::info!(workload.name = %name, text, "getting ready");
        packages::ready(config, &self.around, &tell).await.map_err(|error| whole(&error))?;
        let config = images::ready(config, &self.around, &tell).await.map_err(|error| whole(&error))?;
        let around = Arc::clone(&self.around);
        // Keys are derived, and mounted folders looked through: others do not wait for that.
        let planned = spawn_blocking(move || plan::settings(&config, &around).map_err(|error| whole(&error)));
        let mut settings = planned.await.map_err(|error| error.to_string())??;
        if let Some(folders) = &self.around.folders {
            settings.log_file = Some(folders.log(name.as_str()));
        }
        Serving::start(settings, &self.workers).await.map_err(|error| whole(&error))
    }

    /// What has to be installed first, if anything.
    pub(super) fn missing(&self, config: &RunConfig) -> Option<String> {
        let package = config.skep.as_ref().map(|skep| skep.package.clone());
        package.filter(|_| packages::is_missing(config, &self.around))
    }

    /// Pins a package anew; false where that changes nothing.
    pub(super) async fn refresh(&self, name: &WorkloadName, config: &mut RunConfig) -> Result<bool, String> {
        let tell = |text: &str| tracing::info!(workload.name = %name, text, "package");
        packages::refresh(config, &self.around, &tell).await.map_err(|error| whole(&error))
    }

    /// Removes what a skep that was killed left of its containers, which is at most what had not begun, at once and a while
    /// later: what it had asked for last may be made only then.
    pub(super) async fn sweep(&self) {
        let Some(folders) = &self.around.folders else { return };
        let Ok(runtime) = Runtime::find(&self.around.runtimes.sockets).await else { return };
        for pause in SWEEPS {
            sleep(pause).await;
            match runtime.sweep(&folders.state.display().to_string()).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "containers that nobody runs were removed"),
                Err(error) => tracing::warn!(%error, "containers that nobody runs are not removed"),
            }
        }
    }

    /// What is there under the name of a workload that is not there yet: left by others, and not its to remove.
    pub(super) fn before(&self, name: &WorkloadName) -> Before {
        let there = |path: PathBuf| path.exists();
        let folders = self.around.folders.as_ref();
        Before {
            home: folders.is_some_and(|folders| there(folders.home(name.as_str()))),
            sessions: folders.is_some_and(|folders| there(folders.sessions_of(name.as_str()))),
        }
    }

    /// Takes away what is kept of a workload; its log stays, for whoever asks what happened.
    pub(super) async fn remove(&self, name: &WorkloadName) -> Result<(), Problem> {
        self.take_back(name, Before { home: false, sessions: false }).await
    }

    /// The same, but for what was there before.
    pub(super) async fn take_back(&self, name: &WorkloadName, before: Before) -> Result<(), Problem> {
        let folders = self.around.folders.clone();
        let named = name.clone();
        let removing = spawn_blocking(move || {
            let Some(folders) = folders else { return Ok(()) };
            if !before.sessions {
                gone(std::fs::remove_file(folders.sessions_of(named.as_str())))?;
            }
            if !before.home {
                gone(remove_tree(&folders.home(named.as_str())))?;
            }
            Ok(())
        });
        let removed = removing.await.map_err(io::Error::other).and_then(|removed| removed);
        removed.map_err(|error| {
            let message = format!("what {name} kept could not be removed: {error}");
            Problem::new(ProblemKind::Failed, message)
        })?;
        self.files.remove(name).await
    }

    /// Takes a workload off the list, if it is still this one.
    pub(super) fn forget(&self, name: &WorkloadName, view: &watch::Receiver<WorkloadView>) {
        let mut workloads = self.workloads.lock();
        if workloads.get(name).is_some_and(|handle| handle.shows(view)) {
            workloads.remove(name);
        }
    }

    pub(super) fn announce(&self, view: &WorkloadView) {
        // Nobody may listen.
        let _ = self.news.send(view.clone());
    }

    pub(super) fn news(&self) -> broadcast::Receiver<WorkloadView> {
        self.news.subscribe()
    }
}

/// What was there before a workload was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    home: bool,
    sessions: bool,
}

/// That nothing is there is what was wanted.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder, those in it too that may not be written to: servers make such, Go's module cache for one.
pub(crate) fn remove_tree(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(folder)?;
            std::fs::remove_dir_all(folder)
        }
        done => done,
    }
}

fn make_writable(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // A link leads elsewhere, and is not followed.
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// An error with what lies behind it.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        // Some errors tell their source themselves.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_may_not_be_written_to_is_removed_and_what_a_link_leads_to_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (home, other) = (folder.path().join("home"), folder.path().join("other"));
        std::fs::create_dir_all(home.join("pkg/mod")).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(home.join("pkg/mod/a"), "").unwrap();
        std::fs::write(other.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&other, home.join("link")).unwrap();
        for read_only in [home.join("pkg/mod"), home.join("pkg")] {
            std::fs::set_permissions(read_only, std::fs::Permissions::from_mode(0o555)).unwrap();
        }
        make_writable(&home).unwrap();
        remove_tree(&home).unwrap();
        assert!(!home.exists() && other.join("kept").exists());
        assert!(gone(remove_tree(&home)).is_ok());
    }
}
