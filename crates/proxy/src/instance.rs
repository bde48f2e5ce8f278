//! The instances of one backend: which there are, how loaded each is, and which to take next.
//!
//! skep chooses the instance itself and connects to its own address, never to a virtual one, so a session can be tied
//! to it. Instances that fail ([`health`]) are tried last. An instance that left the name's addresses takes no new session and keeps the ones it has.

pub(crate) mod health;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use papaya::HashMap;
use tokio::sync::Semaphore;

use crate::endpoint::Endpoint;
use crate::session::Pin;
use health::Health;

/// One place that serves the backend.
#[derive(Debug)]
pub struct Instance {
    /// Unique in this process; the key of connection pools.
    pub id: u64,
    pub endpoint: Arc<Endpoint>,
    pub address: SocketAddr,
    sessions: AtomicUsize,
    in_flight: AtomicUsize,
    /// Connections open to it, from all workers.
    pub(crate) connections: AtomicUsize,
    /// The right to rebuild a session on it: many sessions that were lost at once come at a bounded pace.
    pub(crate) rebuilding: Semaphore,
    pub(crate) health: Health,
}

/// Sessions rebuilt on one instance at once.
const REBUILT_AT_ONCE: usize = 32;

/// Counts one session or one request on an instance while it lives.
pub struct Load {
    instance: Arc<Instance>,
    counter: fn(&Instance) -> &AtomicUsize,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Load").field(&self.instance.address).finish()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        (self.counter)(&self.instance).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Instance {
    fn new(endpoint: Arc<Endpoint>, address: SocketAddr) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            endpoint,
            address,
            sessions: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            rebuilding: Semaphore::new(REBUILT_AT_ONCE),
            health: Health::new(),
        })
    }

    /// What a session's token says about it.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin { address: self.address, identity: self.endpoint.identity }
    }

    /// Sessions that live on it, as far as this process serves them.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Counts a session until dropped.
    #[must_use]
    pub fn hold_session(self: &Arc<Self>) -> Load {
        self.hold(|instance| &instance.sessions)
    }

    /// Counts a request until dropped.
    #[must_use]
    pub fn hold_request(self: &Arc<Self>) -> Load {
        self.hold(|instance| &instance.in_flight)
    }

    fn hold(self: &Arc<Self>, counter: fn(&Self) -> &AtomicUsize) -> Load {
        counter(self).fetch_add(1, Ordering::Relaxed);
        Load { instance: Arc::clone(self), counter }
    }

    fn load(&self) -> usize {
        self.sessions.load(Ordering::Relaxed) + self.in_flight.load(Ordering::Relaxed)
    }
}

/// All instances of one backend.
#[derive(Debug)]
pub struct Instances {
    /// Those that take new sessions.
    active: ArcSwap<Vec<Arc<Instance>>>,
    /// All that sessions may still be pinned to, by address and identity.
    known: HashMap<(SocketAddr, u64), Arc<Instance>>,
}

impl Instances {
    /// No instance yet.
    #[must_use]
    pub fn new() -> Self {
        Self { active: ArcSwap::from_pointee(Vec::new()), known: HashMap::new() }
    }

    /// Replaces the addresses of one endpoint. Instances that stay keep their counts; ones that left take no new
    /// session, and are forgotten when their last one ends.
    pub fn set(&self, endpoint: &Arc<Endpoint>, addresses: &[SocketAddr]) {
        let known = self.known.pin();
        let mut active: Vec<_> = self
            .active
            .load()
            .iter()
            .filter(|instance| !Arc::ptr_eq(&instance.endpoint, endpoint))
            .cloned()
            .collect();
        for address in addresses {
            let key = (*address, endpoint.identity);
            let instance = known.get_or_insert_with(key, || Instance::new(Arc::clone(endpoint), *address));
            if !active.iter().any(|other| other.id == instance.id) {
                active.push(Arc::clone(instance));
            }
        }
        known.retain(|_, instance| instance.load() > 0 || active.iter().any(|other| other.id == instance.id));
        self.active.store(Arc::new(active));
    }

    /// The instances that take new sessions.
    #[must_use]
    pub fn active(&self) -> Arc<Vec<Arc<Instance>>> {
        self.active.load_full()
    }

    /// How many of them failed of late and are tried last.
    #[must_use]
    pub fn ejected(&self) -> usize {
        self.active.load().iter().filter(|instance| instance.health.is_ejected()).count()
    }

    /// The instance a session is pinned to; `None` if this process knows of none there.
    #[must_use]
    pub fn pinned(&self, pin: &Pin) -> Option<Arc<Instance>> {
        self.known.pin().get(&(pin.address, pin.identity)).cloned()
    }

    /// The instances in the order to try them: the less loaded of two taken at random, then the others by load, then
    /// those that failed of late.
    pub fn choices(&self) -> impl Iterator<Item = Arc<Instance>> + use<> {
        let all: Vec<_> = self.active.load().iter().cloned().collect();
        let (mut last, mut left): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|instance| instance.health.is_ejected());
        if left.is_empty() {
            std::mem::swap(&mut left, &mut last);
        }
        let first = match left.len() {
            0 => None,
            1 => left.pop(),
            count => {
                let a = fastrand::usize(..count);
                let b = (a + 1 + fastrand::usize(..count - 1)) % count;
                let taken = if left[b].load() < left[a].load() { b } else { a };
                Some(left.swap_remove(taken))
            }
        };
        left.sort_by_key(|instance| instance.load());
        last.sort_by_key(|instance| instance.load());
        first.into_iter().chain(left).chain(last)
    }
}

impl Default for Instances {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::health::Fault;
    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        Arc::new(Endpoint::parse("http://backend:80/mcp").unwrap())
    }

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 80))
    }

    #[test]
    fn sessions_spread_evenly() {
        for count in [2u8, 3, 5] {
            let instances = Instances::new();
            instances.set(&endpoint(), &(1..=count).map(address).collect::<Vec<_>>());
            let held: Vec<_> =
                (0..500).filter_map(|_| Some(instances.choices().next()?.hold_session())).collect();
            let share = 500 / usize::from(count);
            for instance in instances.active().iter() {
                assert!(
                    instance.sessions().abs_diff(share) <= share / 10,
                    "{} of {share}",
                    instance.sessions()
                );
            }
            drop(held);
            assert!(instances.active().iter().all(|instance| instance.sessions() == 0));
        }
    }

    #[test]
    fn every_instance_is_a_choice_exactly_once() {
        let instances = Instances::new();
        instances.set(&endpoint(), &[address(1), address(2), address(3)]);
        let mut ids: Vec<_> = instances.choices().map(|instance| instance.address).collect();
        ids.sort();
        assert_eq!(ids, [address(1), address(2), address(3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_is_tried_last_and_all_are_tried_where_all_failed() {
        let instances = Instances::new();
        instances.set(&endpoint(), &[address(1), address(2), address(3)]);
        let active = instances.active();
        active[0].health.failed(Fault::Unreachable);
        for _ in 0..20 {
            assert_eq!(instances.choices().last().unwrap().id, active[0].id);
        }
        for instance in active.iter() {
            instance.health.failed(Fault::Unreachable);
        }
        assert_eq!(instances.choices().count(), 3);
    }

    #[test]
    fn an_instance_that_left_keeps_its_sessions_and_gets_no_new_ones() {
        let (instances, endpoint) = (Instances::new(), endpoint());
        instances.set(&endpoint, &[address(1), address(2)]);
        let leaving = instances.pinned(&Pin { address: address(1), identity: endpoint.identity }).unwrap();
        let session = leaving.hold_session();
        instances.set(&endpoint, &[address(2)]);
        assert!(instances.choices().all(|instance| instance.address == address(2)));
        assert!(instances.pinned(&leaving.pin()).is_some());
        drop(session);
        instances.set(&endpoint, &[address(2)]);
        assert!(instances.pinned(&leaving.pin()).is_none());
        assert!(instances.pinned(&Pin { address: address(2), identity: 0 }).is_none(), "identity counts");
    }
}
