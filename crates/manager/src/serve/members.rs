//! The members of a hub: made of what is said of them, and made anew when that changes. One task makes and ends them
//! ([`Members::follow`]); whoever wants others says so.
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
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use vmcp::hub::{Backend as HubBackend, Hub};

use super::lane::Lane;
use super::making::Making;
use super::route::Route;
use super::{ServeSettings, StartError};
use crate::target::{HttpTransport, Member, Target, Virtual};
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
}

/// Which members there are to be.
#[derive(Clone, Debug)]
enum Wanted {
    These(Vec<Member>),
    /// The workloads of a group that run.
    OfGroup(Box<Group>),
}

impl Wanted {
    fn of(target: &Virtual) -> Self {
        match &target.group {
            Some(group) => Self::OfGroup(Box::new(group.clone())),
            None => Self::These(target.members.clone()),
        }
    }
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
    wanted: watch::Sender<Wanted>,
}

impl Members {
    /// Those that are known from the start.
    pub(super) async fn of(target: &Virtual, kit: Kit) -> Result<Arc<Self>, StartError> {
        let wanted = watch::channel(Wanted::of(target)).0;
        let members = Self { kit, made: Mutex::default(), wanted };
        for member in &target.members {
            members.add(member.clone()).await?;
        }
        Ok(Arc::new(members))
    }

    /// From now on there are to be those of this target.
    pub(super) fn become_those_of(&self, target: &Virtual) {
        self.wanted.send_replace(Wanted::of(target));
    }

    /// Makes one, in place of the one of this name if there is one.
    async fn add(&self, member: Member) -> Result<(), StartError> {
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
        matches!(*self.wanted.borrow(), Wanted::OfGroup(_))
    }

    /// The group whose workloads they are; empty if none.
    pub(super) fn group(&self) -> String {
        match &*self.wanted.borrow() {
            Wanted::OfGroup(group) => group.name().to_owned(),
            Wanted::These(_) => String::new(),
        }
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

    /// Keeps the hub's backends those that are wanted. To be run as a task.
    pub(super) async fn follow(self: Arc<Self>, hub: Arc<Hub>) {
        let mut wanted = self.wanted.subscribe();
        let mut known = self.made.lock().values().map(|one| one.member.clone()).collect();
        loop {
            let now = wanted.borrow_and_update().clone();
            match now {
                Wanted::These(members) => {
                    self.become_other(members, &mut known, &hub).await;
                    // The sender lives as long as this.
                    let _ = wanted.changed().await;
                }
                Wanted::OfGroup(group) => self.follow_group(&group, &mut known, &mut wanted, &hub).await,
            }
        }
    }

    /// Follows a group until something else is wanted.
    async fn follow_group(
        &self,
        group: &Group,
        known: &mut Vec<Member>,
        wanted: &mut watch::Receiver<Wanted>,
        hub: &Arc<Hub>,
    ) {
        loop {
            let news = Notify::new();
            let mut hearing = pin!(group.daemon.events(|_| {
                news.notify_one();
                true
            }));
            let mut next = SOON;
            let ended = loop {
                match group.daemon.list().await {
                    Ok(workloads) => self.become_other(group.members(&workloads), known, hub).await,
                    Err(error) => tracing::debug!(%error, "the group's workloads are not known"),
                }
                tokio::select! {
                    _ = wanted.changed() => return,
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

    /// Makes members those that are wanted, unless that is what was tried last.
    async fn become_other(&self, mut wanted: Vec<Member>, known: &mut Vec<Member>, hub: &Arc<Hub>) {
        wanted.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        if wanted != *known {
            known.clone_from(&wanted);
            self.become_these(wanted, hub).await;
        }
    }

    /// From now on these are its members.
    async fn become_these(&self, wanted: Vec<Member>, hub: &Arc<Hub>) {
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
