//! What the workloads of a daemon share: the files, the threads, the list of who is there, and whoever listens for news.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use model::{RunConfig, WorkloadName};
use parking_lot::Mutex;
use proxy::listener::Workers;
use telemetry::Tasks;
use tokio::sync::{broadcast, watch};

use super::files::Files;
use super::wire::{Problem, ProblemKind, WorkloadView};
use super::workload::WorkloadHandle;
use crate::plan::{self, Surroundings};
use crate::serve::Serving;

/// News that a slow listener may be behind.
const NEWS: usize = 256;

/// The site.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) files: Files,
    pub(super) tasks: Tasks,
    pub(super) workloads: Mutex<BTreeMap<WorkloadName, WorkloadHandle>>,
    around: Surroundings,
    workers: Workers,
    news: broadcast::Sender<WorkloadView>,
}

impl Site {
    pub(super) fn new(files: Files, around: Surroundings, workers: Workers) -> Arc<Self> {
        Arc::new(Self {
            files,
            tasks: Tasks::new(),
            workloads: Mutex::default(),
            around,
            workers,
            news: broadcast::Sender::new(NEWS),
        })
    }

    /// Serves what a configuration says; gives the reason why not.
    pub(super) async fn serve(&self, name: &WorkloadName, config: &RunConfig) -> Result<Serving, String> {
        let mut settings = plan::settings(config, &self.around).map_err(|error| whole(&error))?;
        if let Some(folders) = &self.around.folders {
            settings.log_file = Some(folders.log(name.as_str()));
        }
        Serving::start(settings, &self.workers).await.map_err(|error| whole(&error))
    }

    /// Takes away what is kept of a workload; its log stays, for whoever asks what happened.
    pub(super) async fn remove(&self, name: &WorkloadName) -> Result<(), Problem> {
        let folders = self.around.folders.clone();
        let named = name.clone();
        let removing = tokio::task::spawn_blocking(move || {
            let Some(folders) = folders else { return Ok(()) };
            let sessions = std::fs::remove_file(folders.sessions().join(format!("{named}.redb")));
            let home = std::fs::remove_dir_all(folders.home(named.as_str()));
            for result in [sessions, home] {
                match result {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        });
        let removed = removing.await.map_err(std::io::Error::other).and_then(|removed| removed);
        removed.map_err(|error| {
            Problem::new(ProblemKind::Failed, format!("what {name} kept could not be removed: {error}"))
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
