//! One backend as the hub knows it: how it is, what it offers, which eras it serves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use http::Response;
use parking_lot::Mutex;
use proxy::{Body, Call};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Backend;
use super::counts::BackendCounts;
use super::era::Eras;
use super::health::{Health, HealthPolicy};
use super::modern::freshness::Freshness;
use crate::aggregate::{Listing, Offer};

/// One backend.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) health: Mutex<Health>,
    pub(super) listing: ArcSwapOption<Listing>,
    pub(super) eras: Eras,
    /// How long what it has listed is good for, if it says so.
    pub(super) freshness: Mutex<Option<Freshness>>,
    /// Whether it was asked what it has, whatever came of that.
    pub(super) was_looked_at: AtomicBool,
    /// Somebody has heard that its lists have changed.
    pub(super) looks_again: Notify,
    /// It is not of the hub any more.
    pub(super) gone: CancellationToken,
    /// What was asked of it, wherever it was.
    pub(super) counts: Arc<BackendCounts>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.name).finish()
    }
}

impl Member {
    pub(super) fn new(name: &str, backend: Arc<dyn Backend>, policy: HealthPolicy) -> Arc<Self> {
        Arc::new(Self::made(name, backend, policy, Arc::default()))
    }

    /// The same server as the one before, somewhere else: what is known of that holds until it is seen again.
    pub(super) fn moved(before: &Self, backend: Arc<dyn Backend>, policy: HealthPolicy) -> Arc<Self> {
        let member = Self::made(&before.name, backend, policy, Arc::clone(&before.counts));
        *member.health.lock() = *before.health.lock();
        member.listing.store(before.listing.load_full());
        member.eras.takes_over(&before.eras);
        member.was_looked_at.store(before.was_looked_at.load(Ordering::Acquire), Ordering::Release);
        Arc::new(member)
    }

    fn made(name: &str, backend: Arc<dyn Backend>, policy: HealthPolicy, counts: Arc<BackendCounts>) -> Self {
        Self {
            name: name.into(),
            backend,
            health: Mutex::new(Health::new(policy)),
            listing: ArcSwapOption::empty(),
            eras: Eras::default(),
            freshness: Mutex::default(),
            was_looked_at: AtomicBool::new(false),
            looks_again: Notify::new(),
            gone: CancellationToken::new(),
            counts,
        }
    }

    /// Has the backend answer one request, and counts it.
    pub(super) async fn handle(&self, call: Call) -> Response<Body> {
        let counting = self.counts.begin(&call);
        let response = self.backend.handle(call).await;
        if let Some(mut counting) = counting {
            counting.answered(&response);
        }
        response
    }

    pub(super) fn look_again(&self) {
        self.looks_again.notify_one();
    }

    pub(super) fn offer(&self) -> Offer {
        Offer {
            backend: Arc::clone(&self.name),
            listing: self.listing.load_full(),
            is_shown: self.health.lock().status().is_shown(),
        }
    }

    pub(super) fn may_ask(&self) -> bool {
        self.health.lock().may_ask(Instant::now())
    }
}
