//! How the view comes about: what is seen of backends leads to the next one, clients are told what is different, and the log
//! what is wrong.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Hub;
use super::health::{Seen, Status};
use super::member::Member;
use super::meta::ListOfTools;
use crate::aggregate::{Kind as Listed, Listing, Problem, View};

/// Problems that are logged at a time.
const MAX_TOLD: usize = 100;

impl Hub {
    /// Takes note of how a backend is.
    pub(super) fn saw(&self, member: &Member, seen: Seen) -> Status {
        let (changed, status) = {
            let mut health = member.health.lock();
            (health.saw(seen, Instant::now()), health.status())
        };
        if changed {
            tracing::info!(backend.id = &*member.name, health = status.name(), "backend");
            self.refresh();
        }
        status
    }

    /// A backend has listed what it offers.
    pub(super) fn publish(&self, member: &Member, listing: Listing, seen: Seen) {
        member.listing.store(Some(Arc::new(listing)));
        member.health.lock().saw(seen, Instant::now());
        self.refresh();
        self.looked_at(member);
    }

    pub(super) fn looked_at(&self, member: &Member) {
        member.was_looked_at.store(true, Ordering::Release);
        self.looks.send_modify(|looks| *looks += 1);
        self.tell();
    }

    /// Says what is wrong with the view, once there has been time for all of it: what is not there yet is not wrong.
    fn tell(&self) {
        if self.is_settled() {
            let mut told = self.told.lock();
            let view = self.view.load_full();
            tell_problems(&view, &told);
            *told = view;
        }
    }

    /// Waits until each backend was asked once what it has, but not beyond this time of the hub's life: whoever starts
    /// anew does not lose at once what it is about to see.
    pub(super) async fn settled(&self, within: Duration) {
        let mut looks = self.looks.subscribe();
        let looking = async {
            // The hub has the sender.
            while !self.all_looked_at() && looks.changed().await.is_ok() {}
        };
        let _ = timeout_at(self.born + within, looking).await;
    }

    fn all_looked_at(&self) -> bool {
        self.members.load().values().all(|member| member.was_looked_at.load(Ordering::Acquire))
    }

    /// Whether each backend was asked once what it has, or has had the time in which it would have said so.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.all_looked_at() || self.born.elapsed() >= self.config.begin_within
    }

    /// Makes the next view, and tells clients what is different.
    pub(super) fn refresh(&self) {
        let mut finding = self.changing.lock();
        let offers: Vec<_> = self.members.load().values().map(|member| member.offer()).collect();
        let shape = self.shape.load();
        let mut view = View::new(&offers, &shape.aggregation, shape.workflows.composites());
        shape.meta.add_to(&mut view);
        let before = self.view.load_full();
        let differs = |kind| u64::from(!view.shows_same(kind, &before));
        let tools = match shape.meta.show(&view, finding.as_ref(), differs(Listed::Tools) > 0) {
            ListOfTools::Same => 0,
            ListOfTools::Another => 1,
        };
        finding.clone_from(&shape.meta.optimizer);
        let prompts = differs(Listed::Prompts);
        let resources = differs(Listed::Resources).max(differs(Listed::Templates));
        self.view.store(Arc::new(view));
        self.tell();
        if tools + prompts + resources > 0 {
            self.changes.send_modify(|changes| {
                changes.tools += tools;
                changes.prompts += prompts;
                changes.resources += resources;
            });
        }
    }
}

/// Says what is wrong now and was not before: a line for all of one kind of one backend.
fn tell_problems(view: &View, before: &View) {
    if view.problems() == before.problems() {
        return;
    }
    let known: HashSet<String> = before.problems().iter().map(ToString::to_string).collect();
    let new = view.problems().iter().filter(|problem| !known.contains(&problem.to_string()));
    for (problem, count) in by_topic(new).into_iter().take(MAX_TOLD) {
        let others = count - 1;
        tracing::warn!(%problem, others.alike = others, "not everything is as its backend lists it");
    }
}

/// The first problem of each topic, and how many there are.
fn by_topic<'p>(problems: impl Iterator<Item = &'p Problem>) -> Vec<(&'p Problem, usize)> {
    let (mut topics, mut places) = (Vec::<(&Problem, usize)>::new(), HashMap::new());
    for problem in problems {
        let place = *places.entry(problem.topic()).or_insert_with(|| {
            topics.push((problem, 0));
            topics.len() - 1
        });
        topics[place].1 += 1;
    }
    topics
}
