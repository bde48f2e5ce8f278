//! The members of a hub: made of what is said of them, and made anew when that changes.
//!
//! Deliberately absent: their health, and what they offer; those are the hub's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use model::WorkloadName;
use parking_lot::Mutex;
use proxy::bridge::Paths;
use proxy::session::{KeyRing, SessionStore};
use telemetry::Tasks;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use vmcp::hub::{Backend as HubBackend, Hub};

use super::lane::Lane;
use super::making::Making;
use super::route::Route;
use super::{ServeSettings, StartError};
use crate::target::{HttpTransport, Member, Target};
use crate::vmcp::Group;

/// Changes of workloads that come together lead to one look.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A group is looked at unasked: soon, for what has happened before changes were heard of, and now and then.
const SOON: Duration = Duration::from_millis(250);
const NOW_AND_THEN: Duration = Duration::from_secs(10);
/// Between two tries to reach a daemon that does not run.
const PAUSE: Duration = Duration::from_secs(1);
/// For what a member that is gone has under way.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What members have in common.
pub(super) struct Kit {
    /// Those of the endpoint.
    pub(super) settings: ServeSettings,
    pub(super) paths: Paths,
    pub(super) keys: Arc<KeyRing>,
    pub(super) own: SocketAddr,
    pub(super) tasks: Tasks,
    pub(super) processes: Tasks,
    pub(super) store: Arc<dyn SessionStore>,
    /// The group whose workloads they are.
    pub(super) group: Option<String>,
}

struct Made {
    member: Member,
    route: Route,
    lane: Arc<Lane>,
    tasks: Tasks,
}

/// All members of one hub.
pub(super) struct Members {
    kit: Kit,
    made: Mutex<BTreeMap<WorkloadName, Made>>,
}

impl Members {
    pub(super) fn new(kit: Kit) -> Self {
        Self { kit, made: Mutex::default() }
    }

    /// Makes one, in place of the one of this name if there is one.
    pub(super) async fn add(&self, member: Member) -> Result<(), StartError> {
        let tasks = self.kit.tasks.some();
        let settings = ServeSettings {
            name: member.name.clone(),
            target: Target::Remote(member.http.clone()),
            control: None,
            resend: Arc::new(self.kit.settings.resend.of_another()),
            ..self.kit.settings.clone()
        };
        let making = Making {
            settings: &settings,
            paths: self.kit.paths.clone(),
            keys: Arc::clone(&self.kit.keys),
            own: self.kit.own,
            tasks: &tasks,
            processes: &self.kit.processes,
            store: Some(Arc::clone(&self.kit.store)),
            awaits_names: false,
        };
        let route = making.remote(&member.http).await?;
        let lane = Arc::new(Lane::new(route.clone(), member.call_within, tasks.clone()));
        self.made.lock().insert(member.name.clone(), Made { member, route, lane, tasks });
        Ok(())
    }

    /// Whether they come and go.
    pub(super) fn is_dynamic(&self) -> bool {
        self.kit.group.is_some()
    }

    /// The group whose workloads they are; empty if none.
    pub(super) fn group(&self) -> &str {
        self.kit.group.as_deref().unwrap_or_default()
    }

    /// How one is spoken to.
    pub(super) fn transport(&self, name: &str) -> Option<HttpTransport> {
        let made = self.made.lock();
        made.values().find(|made| made.member.name.as_str() == name).map(|made| made.member.http.transport)
    }

    /// As a hub takes them.
    pub(super) fn backends(&self) -> Vec<(String, Arc<dyn HubBackend>)> {
        let made = self.made.lock();
        let backend = |one: &Made| Arc::clone(&one.lane) as Arc<dyn HubBackend>;
        made.iter().map(|(name, one)| (name.to_string(), backend(one))).collect()
    }

    /// Keeps the hub's backends those of a group's workloads that run. To be run as a task.
    pub(super) async fn follow(self: Arc<Self>, group: Group, hub: Arc<Hub>) {
        let mut known = Vec::new();
        loop {
            let news = Notify::new();
            let mut hearing = pin!(group.daemon.events(|_| {
                news.notify_one();
                true
            }));
            let mut next = SOON;
            let ended = loop {
                match group.daemon.list().await {
                    Ok(workloads) => {
                        let wanted = group.members(&workloads);
                        if wanted != known {
                            self.become_these(wanted.clone(), &hub).await;
                            known = wanted;
                        }
                    }
                    Err(error) => tracing::debug!(%error, "the group's workloads are not known"),
                }
                tokio::select! {
                    ended = &mut hearing => break ended,
                    () = news.notified() => sleep(DEBOUNCE).await,
                    () = sleep(next) => next = NOW_AND_THEN,
                }
            };
            // What was there stays: its servers may outlive the daemon, or come back with it.
            tracing::debug!(?ended, "changes of workloads are not heard of");
            sleep(PAUSE).await;
        }
    }

    /// From now on these are its members.
    pub(super) async fn become_these(&self, wanted: Vec<Member>, hub: &Arc<Hub>) {
        let gone: Vec<Made> = {
            let mut made = self.made.lock();
            made.extract_if(.., |_, one| !wanted.contains(&one.member)).map(|(_, one)| one).collect()
        };
        for member in wanted {
            let name = member.name.clone();
            if !self.made.lock().contains_key(&name)
                && let Err(error) = self.add(member).await
            {
                tracing::warn!(backend.id = name.as_str(), %error, "a workload is left out");
            }
        }
        hub.set_backends(self.backends());
        let deadline = Instant::now() + LAST_WAIT;
        for one in &gone {
            one.route.shut_down(deadline).await;
            one.tasks.stop();
        }
    }

    pub(super) async fn shut_down(&self, deadline: Instant) {
        let routes: Vec<Route> = self.made.lock().values().map(|one| one.route.clone()).collect();
        join_all(routes.iter().map(|route| route.shut_down(deadline))).await;
    }
}
