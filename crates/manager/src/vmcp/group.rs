//! The workloads of a group as backends.

use super::Calling;
use crate::daemon::client::{AskError, DaemonClient};
use crate::daemon::wire::{Problem, WorkloadView};
use crate::target::{HttpTarget, HttpTransport, Member};
use model::WorkloadName;
use model::workload::Status;

/// Asks a daemon whether there is a group of this name.
///
/// # Errors
/// There is not, or [`AskError`].
pub async fn check_group(daemon: &DaemonClient, name: &str) -> Result<(), AskError> {
    let groups = daemon.groups().await?;
    match groups.iter().any(|group| group.name == name) {
        true => Ok(()),
        false => Err(Problem::no_group(name).into()),
    }
}

/// A group of the daemon's.
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) name: String,
    pub(crate) daemon: DaemonClient,
    /// How its workloads are called.
    pub(crate) calling: Calling,
}

impl Group {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which of these workloads are backends, by name. Those that are brought up or down stay where they are: a restart
    /// is no reason to forget them.
    pub(crate) fn members(&self, workloads: &[WorkloadView]) -> Vec<Member> {
        let of_group = workloads.iter().filter(|workload| workload.group == self.name && is_behind(workload));
        let mut members: Vec<Member> = of_group.filter_map(|workload| self.member(workload)).collect();
        members.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        members
    }

    fn member(&self, workload: &WorkloadView) -> Option<Member> {
        let name = WorkloadName::new(&workload.name).ok()?;
        let headers = self.calling.headers(&workload.name);
        let headers = headers.inspect_err(
            |error| tracing::warn!(backend.id = workload.name, %error, "a workload is left out"),
        );
        let http = HttpTarget {
            urls: vec![workload.url.clone()],
            transport: match &*workload.proxy_mode {
                "sse" => HttpTransport::Sse,
                _ => HttpTransport::StreamableHttp,
            },
            headers: headers.ok()?,
            ca_file: None,
            stateless: false,
        };
        Some(Member { name, http, call_within: self.calling.within(&workload.name) })
    }
}

/// Whether a workload is there, or about to be again.
pub(super) fn is_behind(workload: &WorkloadView) -> bool {
    let is_there = match workload.status {
        Status::Running
        | Status::Starting
        | Status::Stopping
        | Status::Unhealthy
        | Status::Unknown
        | Status::Unauthenticated
        | Status::AuthRetrying => true,
        Status::Stopped | Status::Error | Status::Removing | Status::PolicyStopped => false,
    };
    is_there && !workload.url.is_empty()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vmcp::config::{Outgoing, Source, Timeouts};

    use super::*;
    use crate::daemon::Folders;

    fn workload(name: &str, group: &str, status: &str, url: &str) -> WorkloadView {
        let view = serde_json::json!({
            "name": name, "package": "p", "url": url, "port": 1, "transport_type": "stdio", "proxy_mode": "sse",
            "status": status, "created_at": "2026-01-01T00:00:00Z", "group": group, "started_at": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn those_that_run_are_backends() {
        let folder = std::path::PathBuf::from("/nowhere");
        let folders =
            Folders { run: folder.clone(), state: folder.clone(), data: folder.clone(), config: folder };
        let outgoing = Outgoing { source: Source::Inline, default: None, backends: BTreeMap::new() };
        let calling = Calling { outgoing, timeouts: Timeouts::default() };
        let group = Group { name: "g".into(), daemon: DaemonClient::running(folders), calling };
        let url = "http://127.0.0.1:1/sse";
        let members = group.members(&[
            workload("c", "g", "starting", url),
            workload("a", "g", "running", url),
            workload("new", "g", "starting", ""),
            workload("b", "g", "stopped", url),
            workload("other", "default", "running", url),
        ]);
        let seen: Vec<_> = members.iter().map(|one| (one.name.as_str(), one.http.transport)).collect();
        assert_eq!(seen, [("a", HttpTransport::Sse), ("c", HttpTransport::Sse)]);
        assert_eq!(members[0].http.urls, [url]);
    }
}
