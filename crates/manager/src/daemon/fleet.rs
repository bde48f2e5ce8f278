//! All workloads of a daemon.

use std::sync::Arc;

use futures_util::future::join_all;
use model::group::Group;
use model::run_config::Run;
use model::workload::Status;
use model::{GroupName, RunConfig, WorkloadName};
use tokio::sync::{Mutex, broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use super::files::Kept;
use super::site::Site;
use super::wire::{GroupView, Problem, ProblemKind, WorkloadView};
use super::workload::{Beginning, Task, WorkloadHandle};

/// The workloads. Clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    site: Arc<Site>,
    /// Cancelled: no more is begun.
    stop: CancellationToken,
    /// Held while a workload gets its group, and while a group is removed: none is left in a group that is gone.
    groups: Arc<Mutex<()>>,
}

impl Fleet {
    /// Takes up what the files say: what was to run is started.
    ///
    /// # Errors
    /// They cannot be read at all. One that is corrupt is put aside, and the others go on.
    pub(super) async fn take_up(site: Arc<Site>, stop: CancellationToken) -> Result<Self, Problem> {
        let fleet = Self { site, stop, groups: Arc::default() };
        fleet.take_up_found().await?;
        Ok(fleet)
    }

    /// Takes up what the files say of workloads that are not known yet, and gives their names.
    pub(super) async fn take_up_found(&self) -> Result<Vec<String>, Problem> {
        let kept = self.site.files.all().await?;
        let mut workloads = self.site.workloads.lock();
        if self.stop.is_cancelled() {
            return Err(Problem::leaving());
        }
        let mut names = Vec::new();
        for Kept { name, config, status } in kept {
            if workloads.contains_key(&name) {
                continue;
            }
            let handle = WorkloadHandle::start(name.clone(), config, Beginning::Found(status), &self.site);
            names.push(name.as_str().to_owned());
            workloads.insert(name, handle);
        }
        Ok(names)
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
        let Run { name, group, .. } = config.checked().map_err(|problems| invalid(&problems))?;
        if let Ok(handle) = self.handle(name.as_str())
            && handle.view().status == Status::Error
        {
            // Whoever else does so at the same time was faster.
            let _ = handle.order(Task::Remove).await;
        }
        let (reply, answer) = oneshot::channel();
        {
            let _groups = self.groups.lock().await;
            self.site.files.has_group(&group).await?;
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

    /// All groups, and who is in them.
    pub(super) async fn list_groups(&self) -> Result<Vec<GroupView>, Problem> {
        let groups = self.site.files.groups().await?;
        Ok(groups.into_iter().map(|group| self.group_view(group)).collect())
    }

    pub(super) async fn create_group(&self, name: &str) -> Result<GroupView, Problem> {
        let group = self.site.files.create_group(&group_name(name)?).await?;
        Ok(self.group_view(group))
    }

    /// Removes a group; its workloads go with it, or are moved to the one that is always there. Where one of them does not, the
    /// group stays.
    pub(super) async fn remove_group(&self, name: &str, with_workloads: bool) -> Result<(), Problem> {
        let name = group_name(name)?;
        let _groups = self.groups.lock().await;
        if name.is_default() {
            // Says that it cannot be.
            return self.site.files.remove_group(&name).await;
        }
        self.site.files.has_group(&name).await?;
        let task = if with_workloads { Task::Remove } else { Task::Move(GroupName::default()) };
        let members = self.members(name.as_str()).into_iter();
        let done = join_all(members.map(async |workload| self.order(&workload, task.clone()).await)).await;
        let is_wrong = |done: &Result<_, Problem>| {
            done.as_ref().is_err_and(|problem| problem.kind != ProblemKind::NotFound)
        };
        if let Some(Err(problem)) = done.into_iter().find(is_wrong) {
            return Err(problem);
        }
        self.site.files.remove_group(&name).await
    }

    fn group_view(&self, group: Group) -> GroupView {
        let workloads = self.members(&group.name);
        GroupView { name: group.name, registered_clients: group.registered_clients, workloads }
    }

    fn members(&self, group: &str) -> Vec<String> {
        self.list().into_iter().filter(|view| view.group == group).map(|view| view.name).collect()
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

fn group_name(text: &str) -> Result<GroupName, Problem> {
    GroupName::new(text).map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()))
}
