//! All workloads of a daemon.

use std::sync::Arc;

use model::workload::Status;
use model::{RunConfig, WorkloadName};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use super::files::Kept;
use super::site::Site;
use super::wire::{Problem, ProblemKind, WorkloadView};
use super::workload::{Beginning, Task, WorkloadHandle};

/// The workloads. Clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    site: Arc<Site>,
    /// Cancelled: no more is begun.
    stop: CancellationToken,
}

impl Fleet {
    /// Takes up what the files say: what was to run is started.
    ///
    /// # Errors
    /// They cannot be read at all. One that is corrupt is put aside, and the others go on.
    pub(super) async fn take_up(site: Arc<Site>, stop: CancellationToken) -> Result<Self, Problem> {
        for Kept { name, config, status } in site.files.all().await? {
            let handle = WorkloadHandle::start(name.clone(), config, Beginning::Found(status), &site);
            site.workloads.lock().insert(name, handle);
        }
        Ok(Self { site, stop })
    }

    pub(super) fn list(&self) -> Vec<WorkloadView> {
        self.site.workloads.lock().values().map(WorkloadHandle::view).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.site.workloads.lock().len()
    }

    pub(super) fn show(&self, name: &str) -> Result<WorkloadView, Problem> {
        self.handle(name).map(|handle| handle.view())
    }

    /// The RunConfig as it is kept.
    pub(super) async fn config(&self, name: &str) -> Result<String, Problem> {
        self.handle(name)?;
        let name = WorkloadName::new(name).map_err(|_| Problem::not_found(name))?;
        self.site.files.config(&name).await
    }

    /// Makes a workload and starts it. One that failed is replaced.
    pub(super) async fn run(&self, config: RunConfig) -> Result<WorkloadView, Problem> {
        let invalid = |error: &dyn std::error::Error| Problem::new(ProblemKind::Invalid, error.to_string());
        let name = config.checked().map_err(|problems| invalid(&problems))?.name;
        if let Ok(handle) = self.handle(name.as_str())
            && handle.view().status == Status::Error
        {
            // Whoever else does so at the same time was faster.
            let _ = handle.order(Task::Remove).await;
        }
        let (reply, answer) = oneshot::channel();
        {
            let mut workloads = self.site.workloads.lock();
            if self.stop.is_cancelled() {
                return Err(Problem::leaving());
            }
            if workloads.contains_key(&name) {
                let message = format!(
                    "workload with name '{name}' already exists: `skep start {name}` starts it, `skep rm {name}` removes it"
                );
                return Err(Problem::new(ProblemKind::Exists, message));
            }
            let handle = WorkloadHandle::start(name.clone(), config, Beginning::New(reply), &self.site);
            workloads.insert(name.clone(), handle);
        }
        answer.await.map_err(|_| Problem::not_found(name.as_str()))?
    }

    /// Has something done to one of them, and waits until it is.
    pub(super) async fn order(&self, name: &str, task: Task) -> Result<WorkloadView, Problem> {
        let done = self.handle(name)?.order(task).await;
        done.map_err(|problem| if self.stop.is_cancelled() { Problem::leaving() } else { problem })
    }

    pub(super) fn news(&self) -> broadcast::Receiver<WorkloadView> {
        self.site.news()
    }

    /// Stops all, which are wanted as before.
    pub(super) async fn leave(&self) {
        self.site.tasks.stop();
        let left = self.site.tasks.wait(super::TO_LEAVE).await;
        if left > 0 {
            tracing::warn!(workloads = left, "workloads did not stop in time");
        }
    }

    fn handle(&self, name: &str) -> Result<WorkloadHandle, Problem> {
        let found =
            WorkloadName::new(name).ok().and_then(|name| self.site.workloads.lock().get(&name).cloned());
        found.ok_or_else(|| Problem::not_found(name))
    }
}
