//! A route as a backend of a hub: it is asked from all workers, and from the hub's own tasks, each with connections of its
//! own.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use papaya::HashMap;
use proxy::Call;
use telemetry::Tasks;
use vmcp::hub::{Answering, Backend as HubBackend};

use super::front::sweep;
use super::route::{Backend, Route};

/// One backend of a hub.
pub(super) struct Lane {
    route: Route,
    /// For a call to be answered.
    call_within: Option<Duration>,
    /// What answers on each thread.
    backends: HashMap<ThreadId, Arc<Backend>>,
    tasks: Tasks,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("route", &self.route).finish_non_exhaustive()
    }
}

impl Lane {
    pub(super) fn new(route: Route, call_within: Option<Duration>, tasks: Tasks) -> Self {
        Self { route, call_within, backends: HashMap::new(), tasks }
    }

    fn here(&self) -> Arc<Backend> {
        let backends = self.backends.pin();
        if let Some(backend) = backends.get(&thread::current().id()) {
            return Arc::clone(backend);
        }
        let backend = Arc::new(self.route.backend());
        if let Backend::Forward { pool, .. } = &*backend {
            sweep(Arc::clone(pool), &self.tasks);
        }
        backends.insert(thread::current().id(), Arc::clone(&backend));
        backend
    }
}

impl HubBackend for Lane {
    fn handle(&self, call: Call) -> Answering<'_> {
        let backend = self.here();
        Box::pin(async move { backend.handle(call).await })
    }

    fn call_within(&self) -> Option<Duration> {
        self.call_within
    }
}
