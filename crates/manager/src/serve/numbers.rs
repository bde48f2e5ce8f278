//! What several servers as one are counted by at `/metrics`, beside what every endpoint is. `docs/metrics.md` has the list.

use std::sync::Arc;

use telemetry::Metrics;
use telemetry::metrics::Labels;
use vmcp::hub::{FindCounts, Hub};

/// Adds what can be read off a hub.
pub(super) fn register(hub: &Arc<Hub>, metrics: &Metrics) {
    register_backends(hub, metrics);
    register_workflows(hub, metrics);
    register_optimizer(hub, metrics);
}

fn register_backends(hub: &Arc<Hub>, metrics: &Metrics) {
    let read = Arc::clone(hub);
    metrics.gauge("backends", "Backends whose tools are shown", move || {
        read.backends().iter().filter(|backend| backend.status.is_shown()).count() as u64
    });
    let read = Arc::clone(hub);
    metrics.gauge("backends_discovered", "Backends, whether or not they are there", move || {
        read.backends().len() as u64
    });
    let read = Arc::clone(hub);
    metrics.counters("backend_requests", "Requests to backends, by method and outcome", move || {
        let mut lines = Vec::new();
        for (backend, counts) in read.backend_counts() {
            lines.extend(counts.requests().map(|(method, outcome, count)| {
                let backend = ("backend", backend.to_string().into());
                (vec![backend, ("method", method.into()), ("outcome", outcome.into())], count)
            }));
        }
        lines
    });
    let read = Arc::clone(hub);
    let help = "Time from a request to a backend to its answer's head";
    metrics.durations("backend_request_duration_seconds", help, move |each| {
        for (backend, counts) in read.backend_counts() {
            each(vec![("backend", backend.to_string().into())], counts.took());
        }
    });
}

fn register_workflows(hub: &Arc<Hub>, metrics: &Metrics) {
    let read = Arc::clone(hub);
    metrics.counters("workflows", "Runs of workflows, by what became of them", move || {
        let mut lines = Vec::new();
        for (workflow, counts) in read.run_counts() {
            lines.extend(counts.all().map(|(event, count)| {
                (vec![("workflow", workflow.to_string().into()), ("event", event.into())], count)
            }));
        }
        lines
    });
    let read = Arc::clone(hub);
    let help = "Time from a run's beginning to its end";
    metrics.durations("workflow_duration_seconds", help, move |each| {
        for (workflow, counts) in read.run_counts() {
            each(vec![("workflow", workflow.to_string().into())], counts.took());
        }
    });
}

fn register_optimizer(hub: &Arc<Hub>, metrics: &Metrics) {
    let counters = |name, help, of: fn(&FindCounts, u64) -> Vec<(Labels, u64)>| {
        let read = Arc::clone(hub);
        metrics.counters(name, help, move || {
            read.find_counts().map(|(counts, indexes)| of(counts, indexes)).unwrap_or_default()
        });
    };
    counters("find_tool", "Calls of find_tool, by outcome", |counts, _| by("outcome", &counts.finds()));
    counters("find_tool_results", "Tools that find_tool has given", |counts, _| {
        vec![(Vec::new(), counts.tools())]
    });
    counters("find_tool_tokens", "Tokens of all tools, and of those given", |counts, _| {
        by("of", &counts.tokens())
    });
    counters("call_tool", "Calls of call_tool, by outcome", |counts, _| by("outcome", &counts.calls()));
    counters("optimizer_indexes", "Indexes of tools that were made", |_, indexes| {
        vec![(Vec::new(), indexes)]
    });
    let read = Arc::clone(hub);
    metrics.durations("find_tool_duration_seconds", "Time that find_tool took", move |each| {
        if let Some((counts, _)) = read.find_counts() {
            each(Vec::new(), counts.took());
        }
    });
}

fn by(label: &'static str, counts: &[(&'static str, u64)]) -> Vec<(Labels, u64)> {
    counts.iter().map(|(value, count)| (vec![(label, (*value).into())], *count)).collect()
}
